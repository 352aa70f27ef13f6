//! The bitmap directory and the bitmaps' tables.

use super::{Field, Image, Layout};

const HEAD: &Layout = &[
    ("bitmap_table_offset", 8),
    ("bitmap_table_size", 4),
    ("flags", 4),
    ("type", 1),
    ("granularity_bits", 1),
    ("name_size", 2),
    ("extra_data_size", 4),
];
const HEAD_LENGTH: u64 = 24;
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// One entry of a bitmap's table that is not zero.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BitmapTableEntry {
    pub(crate) bitmap: u64,
    pub(crate) index: u64,
    pub(crate) offset: u64,
    pub(crate) value: u64,
    pub(crate) kind: &'static str,
    pub(crate) host_offset: Option<u64>,
}

impl Image {
    /// The directory's fields, and the entries of all tables.
    pub(crate) fn bitmaps(&self) -> (Vec<Field>, Vec<BitmapTableEntry>) {
        let (mut fields, mut entries) = (Vec::new(), Vec::new());
        let (mut start, count) = self.bitmap_directory().unwrap_or((0, 0));
        for bitmap in 0..count {
            let of = format!("bitmap {bitmap}");
            let (table, table_size) = (self.u64(start), self.u32(start + 8));
            let (name_length, extra) = (self.number(start + 18, 2), self.u32(start + 20));
            fields.extend(self.fields(&of, start, HEAD));
            fields.push(self.text_field(&of, "name", start + HEAD_LENGTH + extra, name_length));
            entries.extend(self.table(table, table_size).into_iter().map(|(index, offset, value)| {
                let at = value & OFFSET;
                let (kind, host_offset) = if at == 0 { ("all-ones", None) } else { ("serialized", Some(at)) };
                BitmapTableEntry { bitmap, index, offset, value, kind, host_offset }
            }));
            let end = start + HEAD_LENGTH + extra + name_length;
            start = end.next_multiple_of(8);
            if start > end {
                fields.push(self.bytes_field(&of, "padding", end, start - end));
            }
        }
        (fields, entries)
    }
}
