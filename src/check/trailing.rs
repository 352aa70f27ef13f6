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
    let Some(touched_end) = cx.geometry.host_offset(touched_end) else { return };
    let at = HostOffset(image_end).max(touched_end);
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
