//! Where a field of a layout stands in the file, and words for what stands where nothing should.

use crate::format::{Field, FieldValue};
use crate::units::{HostOffset, Span};

/// The bytes of the field called `name` of a layout that starts at `at`; nothing there where it has none.
pub(super) fn field_span(at: HostOffset, fields: &[(Field, FieldValue)], name: &str) -> Span {
    let field = fields.iter().find(|(field, _)| field.name == name);
    field.map_or(Span::new(at, 0), |(field, _)| field.at(at))
}

/// What was found where only zeros should be: from the first byte that is none to the last.
pub(super) fn not_zeros(hidden: Span) -> String {
    match hidden.len {
        1 => "a byte that is not zero".to_owned(),
        len => format!("{len} bytes that are not all zero"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::Layout;
    use crate::format::extension::ExtensionHead;

    #[test]
    fn a_field_is_found_by_its_name() {
        let span = field_span(HostOffset(0x70), &ExtensionHead::default().fields(), "length");
        assert_eq!(span, Span::new(HostOffset(0x74), 4));
    }
}
