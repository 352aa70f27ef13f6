//! The snapshot table.

use super::{Field, FieldValue, Image, Layout};

const HEAD: &Layout = &[
    ("l1_table_offset", 8),
    ("l1_size", 4),
    ("id_str_size", 2),
    ("name_size", 2),
    ("date_sec", 4),
    ("date_nsec", 4),
    ("vm_clock_nsec", 8),
    ("vm_state_size", 4),
    ("extra_data_size", 4),
];
const EXTRA: &Layout = &[("vm_state_size_large", 8), ("disk_size", 8), ("icount", 8)];
const HEAD_LENGTH: u64 = 40;

/// One entry of the table.
pub(crate) struct Snapshot {
    pub(crate) l1_table_offset: u64,
    pub(crate) l1_size: u64,
    pub(crate) fields: Vec<Field>,
}

impl Image {
    pub(crate) fn snapshots(&self) -> Vec<Snapshot> {
        let mut start = self.header("snapshots_offset");
        let mut snapshots = Vec::new();
        for number in 0..self.header("nb_snapshots") {
            let of = format!("snapshot {number}");
            let mut fields = self.fields(&of, start, HEAD);
            let head = |name: &str| {
                let field = fields.iter().find(|field| field.name == name).unwrap();
                let FieldValue::Number(number) = field.value else { panic!("{field:?}") };
                number
            };
            let (l1_table_offset, l1_size) = (head("l1_table_offset"), head("l1_size"));
            let (id_length, name_length, extra) =
                (head("id_str_size"), head("name_size"), head("extra_data_size"));
            let extra_end = start + HEAD_LENGTH + extra;
            let mut extra_fields = self.fields(&of, start + HEAD_LENGTH, EXTRA);
            extra_fields.retain(|field| field.offset + field.width <= extra_end);
            fields.extend(extra_fields);
            fields.push(self.text_field(&of, "id_str", extra_end, id_length));
            fields.push(self.text_field(&of, "name", extra_end + id_length, name_length));
            let end = extra_end + id_length + name_length;
            start = end.next_multiple_of(8);
            // QEMU lets the file end right behind the last name.
            let padding_end = start.min(self.length());
            if padding_end > end {
                fields.push(self.bytes_field(&of, "padding", end, padding_end - end));
            }
            snapshots.push(Snapshot { l1_table_offset, l1_size, fields });
        }
        snapshots
    }
}
