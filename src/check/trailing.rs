//! R12: what the file has behind its last cluster in use.

use super::context::Context;
use super::reporter::Reporter;
use crate::finding::{Finding, Structure};
use crate::rules::named::TRAILING_DATA;
use crate::source::ReadAt;
use crate::units::{HostOffset, Span};
use crate::{Error, Image, Limit};

/// Looks at what the file has behind the end of the image, which is behind the last cluster that is counted.
pub(super) fn trailing_data<R: ReadAt>(
    cx: &Context<'_, R>,
    image_end: u64,
    touched_end: u64,
    reporter: &mut Reporter<'_>,
) {
    // Where refcounts cannot be read, the references still tell what is in use.
    let at = HostOffset(image_end).max(cx.host_offset(touched_end));
    let len = cx.image.file_len().saturating_sub(at.0);
    if len == 0 || image_end == 0 {
        return;
    }
    let mut hidden = None;
    let looked = look_behind(cx.image, at, &mut hidden);
    if let Some(span) = hidden {
        let found = format!("{len} bytes behind the end at {at}, not all of them zero");
        reporter.push(Finding::new(&TRAILING_DATA, Structure::File, span, found, "zeros or nothing"));
    }
    if let Err(error) = looked {
        reporter.stop(error, Structure::File);
    }
}

/// Looks at what is stored from `at` on, up to the first piece that is not all zeros. Holes read as zeros, and
/// cost nothing.
fn look_behind<R: ReadAt>(
    image: &Image<R>,
    mut at: HostOffset,
    hidden: &mut Option<Span>,
) -> Result<(), Error> {
    let source = image.source();
    let mut left = image.limits().trailing_bytes;
    while let Some(data) = source.next_data(at)? {
        if left == 0 {
            return Err(image.limits().spent(Limit::TrailingBytes, data));
        }
        let stored = source.next_hole(data)?.0.saturating_sub(data.0);
        let piece = Span::new(data, stored.clamp(1, left));
        *hidden = image.chunks("the bytes behind the image", piece).nonzero()?;
        if hidden.is_some() {
            return Ok(());
        }
        left = left.saturating_sub(piece.len);
        at = piece.end();
    }
    Ok(())
}

#[cfg(all(test, feature = "testkit"))]
mod tests {
    use crate::check::{CheckOptions, check};
    use crate::finding::Finding;
    use crate::rules::testing_header::load;
    use crate::{Image, Limits};

    /// What lies behind the limit was not looked at, and that is said.
    #[test]
    fn bytes_behind_the_limit_are_no_secret() {
        let found = |zeros: usize, byte: Option<usize>, trailing_bytes: u64| {
            let mut bytes = load("valid/v3-basic").bytes;
            let len = bytes.len();
            bytes.resize(len + zeros, 0);
            byte.into_iter().for_each(|at| bytes[len + at] = 1);
            let limits = Limits { trailing_bytes, ..Limits::default() };
            let image = Image::open(bytes.as_slice(), limits).unwrap();
            let mut codes = Vec::new();
            check(&image, &CheckOptions::default(), &mut |finding: Finding| codes.push(finding.rule.code));
            codes
        };
        assert_eq!(found(1000, None, 1000), [""; 0]);
        assert_eq!(found(1000, Some(999), 1000), ["R12"]);
        assert_eq!(found(1001, None, 1000), ["T01"]);
        assert_eq!(found(1001, Some(1000), 1000), ["T01"]);
        assert_eq!(found(1001, Some(0), 1000), ["R12"]);
    }
}
