//! What an [`Error`] that stopped a structure means as a finding.

use crate::Error;
use crate::finding::{Evidence, Finding, Rule, Structure};
use crate::rules::codes::{T01, T02};
use crate::units::Span;

/// The finding for `error`, which stopped the reading of `structure`: T01 for a spent limit, T02 for bytes that
/// could not be read, and `cut` where a part does not fit into its list or into the file.
pub fn stopped(error: Error, structure: Structure, cut: &'static Rule) -> Finding {
    match error {
        Error::Cut { what, at, wanted, had } => Finding::new(
            cut,
            structure,
            Span::new(at, had),
            format!("{what} with {had} bytes left"),
            format!("{wanted} bytes"),
        ),
        Error::Budget { limit, value, at } => Finding::new(
            &T01,
            structure,
            Span::new(at, 0),
            format!("{limit} {value} spent"),
            "a higher limit",
        ),
        Error::Io { what, at, kind } => Finding::new(
            &T02,
            structure,
            Span::new(at, 0),
            format!("{what}: {kind}"),
            "bytes that can be read",
        ),
        Error::NotQcow2 { looks_like } => {
            Finding::new(cut, structure, Span::default(), looks_like, Evidence::from("a qcow2 image"))
        }
    }
}
