//! Where the fields stand that findings are about, and words for what stands where nothing should.

use crate::finding::{Evidence, Finding, Rule, Structure};
use crate::format::{Field, Layout};
use crate::image::{Extension, Header, Snapshot};
use crate::units::{HostOffset, Span, to_u64};

/// The bytes of the field called `name` of a layout that starts at `at`; nothing there where it has none.
pub(super) fn field_span(at: HostOffset, fields: &[Field], name: &str) -> Span {
    let field = fields.iter().find(|field| field.name == name);
    field.map_or(Span::new(at, 0), |field| Span::new(at.saturating_add(field.offset), field.width))
}

/// A finding about a field of the header.
pub(super) fn header_field(
    header: &Header,
    rule: &'static Rule,
    name: &str,
    found: impl Into<Evidence>,
    wanted: impl Into<Evidence>,
) -> Finding {
    Finding::new(rule, Structure::Header, header.span(name), found, wanted)
}

/// A finding about a field of an extension's head.
pub(super) fn extension_field(
    extension: &Extension<'_>,
    rule: &'static Rule,
    name: &str,
    found: impl Into<Evidence>,
    wanted: impl Into<Evidence>,
) -> Finding {
    let at = field_span(extension.at, &extension.head.fields(), name);
    Finding::new(rule, Structure::Extension, at, found, wanted)
}

/// The bytes of an extension's data.
pub(super) fn extension_data(extension: &Extension<'_>) -> Span {
    Span::new(extension.data_at(), to_u64(extension.data.len()))
}

/// The bytes of a field of a snapshot table entry's fixed part.
pub(super) fn snapshot_field(snapshot: &Snapshot, name: &str) -> Span {
    field_span(snapshot.at, &snapshot.head.fields(), name)
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
    use crate::format::extension::ExtensionHead;

    #[test]
    fn a_field_is_found_by_its_name() {
        let span = field_span(HostOffset(0x70), &ExtensionHead::default().fields(), "length");
        assert_eq!(span, Span::new(HostOffset(0x74), 4));
    }
}
