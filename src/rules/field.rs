//! Findings about fields, and words for what stands where nothing should.

use crate::finding::{Evidence, Finding, Rule, Structure};
use crate::format::Field;
use crate::image::{Extension, Header};
use crate::units::{Span, to_u64};

/// A finding about a field of the header.
pub(super) fn header_field(
    header: &Header,
    rule: &'static Rule,
    field: Field,
    found: impl Into<Evidence>,
    wanted: impl Into<Evidence>,
) -> Finding {
    Finding::new(rule, Structure::Header, header.span(field), found, wanted)
}

/// A finding about a field of an extension's head.
pub(super) fn extension_field(
    extension: &Extension<'_>,
    rule: &'static Rule,
    field: Field,
    found: impl Into<Evidence>,
    wanted: impl Into<Evidence>,
) -> Finding {
    Finding::new(rule, Structure::Extension, field.at(extension.at), found, wanted)
}

/// The bytes of an extension's data.
pub(super) fn extension_data(extension: &Extension<'_>) -> Span {
    Span::new(extension.data_at(), to_u64(extension.data.len()))
}

/// What was found where only zeros should be: from the first byte that is none to the last.
pub(super) fn not_zeros(hidden: Span) -> String {
    match hidden.len {
        1 => "a byte that is not zero".to_owned(),
        len => format!("{len} bytes that are not all zero"),
    }
}
