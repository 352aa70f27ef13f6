//! The LUKS1 partition header of an encrypted image.

use super::{Field, Image};

/// What the bytes of a field are.
#[derive(Clone, Copy)]
enum Form {
    Number,
    Bytes,
    Text,
}

use Form::{Bytes, Number, Text};

const HEAD: &[(&str, u64, Form)] = &[
    ("magic", 6, Bytes),
    ("version", 2, Number),
    ("cipher_name", 32, Text),
    ("cipher_mode", 32, Text),
    ("hash_spec", 32, Text),
    ("payload_offset", 4, Number),
    ("key_bytes", 4, Number),
    ("mk_digest", 20, Bytes),
    ("mk_digest_salt", 32, Bytes),
    ("mk_digest_iterations", 4, Number),
    ("uuid", 40, Text),
];
const SLOT: &[(&str, u64, Form)] = &[
    ("active", 4, Number),
    ("iterations", 4, Number),
    ("salt", 32, Bytes),
    ("key_material_offset", 4, Number),
    ("stripes", 4, Number),
];
const SLOTS: u64 = 8;

impl Image {
    /// The fields of the header and its key slots.
    pub(crate) fn luks_fields(&self) -> Vec<Field> {
        let Some(start) = self.luks_header() else { return Vec::new() };
        let mut fields = Vec::new();
        let mut offset = self.luks_part(&mut fields, "luks", start, HEAD);
        for slot in 0..SLOTS {
            offset = self.luks_part(&mut fields, &format!("slot {slot}"), offset, SLOT);
        }
        fields
    }

    /// Reads consecutive fields, and says where they end.
    fn luks_part(&self, fields: &mut Vec<Field>, of: &str, start: u64, layout: &[(&str, u64, Form)]) -> u64 {
        let mut offset = start;
        for (name, width, form) in layout {
            fields.push(match form {
                Number => self.number_field(of, name, offset, *width),
                Bytes => self.bytes_field(of, name, offset, *width),
                Text => self.text_field(of, name, offset, *width),
            });
            offset += width;
        }
        offset
    }
}
