//! H43: what hides in the first cluster.

use super::span::not_zeros;
use crate::Error;
use crate::finding::{Finding, Structure};
use crate::image::Image;
use crate::rules::codes::H43;
use crate::source::ReadAt;
use crate::units::{HostOffset, Span};

/// Judges the bytes of the first cluster that belong to nothing: between the extensions and the backing file's
/// name, and behind both.
///
/// # Errors
/// Where they could not be read.
pub fn check_header_gap<R: ReadAt>(image: &Image<R>, out: &mut Vec<Finding>) -> Result<(), Error> {
    // A name that could not be read has its place all the same, and would be taken for what hides.
    if image.backing_file().is_err() {
        return Ok(());
    }
    let behind = image.header_gap();
    let name_at = image.backing_file().ok().flatten().map(|name| name.at);
    let list_end = image.extensions_end();
    let between = name_at.and_then(|name_at| from_to(list_end, name_at));
    // Behind an extension that does not fit, its own data stands, and whatever the list has after it.
    let list_is_broken = image.extensions().any(|extension| extension.is_err());
    let spans = match list_is_broken {
        true => [None, behind.and_then(|gap| from_to(gap.at.max(image.extensions_limit()), gap.end()))],
        false => [between, behind],
    };
    for span in spans.into_iter().flatten() {
        if let Some(hidden) = image.chunks("the first cluster", span).nonzero()? {
            out.push(Finding::new(&H43, Structure::Header, hidden, not_zeros(hidden), "zeros"));
        }
    }
    Ok(())
}

fn from_to(start: HostOffset, end: HostOffset) -> Option<Span> {
    let len = end.0.checked_sub(start.0).filter(|len| *len > 0)?;
    Some(Span::new(start, len))
}
