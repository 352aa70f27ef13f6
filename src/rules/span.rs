//! Words for what stands where nothing should.

use crate::units::Span;

/// What was found where only zeros should be: from the first byte that is none to the last.
pub(super) fn not_zeros(hidden: Span) -> String {
    match hidden.len {
        1 => "a byte that is not zero".to_owned(),
        len => format!("{len} bytes that are not all zero"),
    }
}
