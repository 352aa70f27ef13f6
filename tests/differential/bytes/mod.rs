//! An independent reading of an image: written from the specification, with nothing of the library in it.
//!
//! It trusts the image, which `qemu-img` made, and panics where it is broken. It reads with `pread` alone, so that
//! an image that claims a pebibyte costs what its file has.

mod bitmaps;
mod extensions;
mod luks;
mod mapping;
mod refcounts;
mod snapshots;

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

pub(crate) use bitmaps::BitmapTableEntry;
pub(crate) use extensions::BACKING_FORMAT;
pub(crate) use mapping::{L1Entry, L2Entry, SharedTable};
pub(crate) use refcounts::{Refcount, RefcountTableEntry};

/// Consecutive fields: names and widths in bytes.
type Layout = [(&'static str, u64)];

const HEADER: &Layout = &[
    ("magic", 4),
    ("version", 4),
    ("backing_file_offset", 8),
    ("backing_file_size", 4),
    ("cluster_bits", 4),
    ("size", 8),
    ("crypt_method", 4),
    ("l1_size", 4),
    ("l1_table_offset", 8),
    ("refcount_table_offset", 8),
    ("refcount_table_clusters", 4),
    ("nb_snapshots", 4),
    ("snapshots_offset", 8),
    ("incompatible_features", 8),
    ("compatible_features", 8),
    ("autoclear_features", 8),
    ("refcount_order", 4),
    ("header_length", 4),
    ("compression_type", 1),
];
const PADDING: u64 = 7;
/// Where fields start that the specification does not know.
const UNKNOWN: u64 = 112;
/// How many bytes of a field are shown that has no more meaning.
const SHOWN_BYTES: u64 = 64;
const V2_LENGTH: u64 = 72;
const EXTERNAL_DATA_FILE: u64 = 1 << 2;
const EXTENDED_L2: u64 = 1 << 4;

/// One field of a structure, where it lies and what it says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Field {
    /// The structure: `header`, `extension 0`, `snapshot 1`, …
    pub(crate) of: String,
    pub(crate) name: String,
    pub(crate) offset: u64,
    pub(crate) width: u64,
    pub(crate) value: FieldValue,
}

/// What a field says.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum FieldValue {
    Number(u64),
    /// Without the zeros that pad it; of bytes that are no text, the first in hexadecimal.
    Text(String),
}

impl Field {
    fn new(of: &str, name: &str, offset: u64, width: u64, value: FieldValue) -> Self {
        Self { of: of.to_owned(), name: name.to_owned(), offset, width, value }
    }
}

/// An image, open.
pub(crate) struct Image {
    file: File,
    header: Vec<Field>,
}

impl Image {
    pub(crate) fn open(path: &Path) -> Self {
        let mut image = Self { file: File::open(path).unwrap(), header: Vec::new() };
        let length = if image.u32(4) == 2 { V2_LENGTH } else { image.u32(100) };
        image.header = image.fields("header", 0, HEADER);
        image.header.retain(|field| field.offset < length);
        image
    }

    /// The fields of the header that are there.
    pub(crate) fn header_fields(&self) -> Vec<Field> {
        let mut fields = self.header.clone();
        if let Some(last) = fields.last().filter(|field| field.name == "compression_type") {
            fields.push(self.bytes_field("header", "padding", last.offset + last.width, PADDING));
        }
        if let Some(length @ 1..) = self.header("header_length").checked_sub(UNKNOWN) {
            fields.push(self.bytes_field("header", "unknown_fields", UNKNOWN, length));
        }
        let (start, length) = (self.header("backing_file_offset"), self.header("backing_file_size"));
        if start != 0 {
            fields.push(self.text_field("header", "backing_file", start, length));
        }
        fields
    }

    /// A number of the header, or 0 if its version has none.
    pub(crate) fn header(&self, name: &str) -> u64 {
        assert!(HEADER.iter().any(|(known, _)| *known == name), "{name}");
        match self.header.iter().find(|field| field.name == name).map(|field| &field.value) {
            Some(FieldValue::Number(value)) => *value,
            _ => 0,
        }
    }

    pub(crate) fn cluster_size(&self) -> u64 {
        1 << self.header("cluster_bits")
    }

    pub(crate) fn has_data_file(&self) -> bool {
        self.header("incompatible_features") & EXTERNAL_DATA_FILE != 0
    }

    pub(crate) fn has_extended_l2(&self) -> bool {
        self.header("incompatible_features") & EXTENDED_L2 != 0
    }

    /// How many bytes the file has.
    fn length(&self) -> u64 {
        self.file.metadata().unwrap().len()
    }

    /// Bytes from any offset; zeros where the file has ended.
    pub(crate) fn stored(&self, offset: u64, length: u64) -> Vec<u8> {
        let mut bytes = vec![0; usize::try_from(length).unwrap()];
        let mut done = 0;
        while done < bytes.len() {
            let place = offset + u64::try_from(done).unwrap();
            match self.file.read_at(&mut bytes[done..], place).unwrap() {
                0 => break,
                count => done += count,
            }
        }
        bytes
    }

    /// A big-endian number of up to eight bytes.
    fn number(&self, offset: u64, width: u64) -> u64 {
        self.stored(offset, width).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    fn u32(&self, offset: u64) -> u64 {
        self.number(offset, 4)
    }

    fn u64(&self, offset: u64) -> u64 {
        self.number(offset, 8)
    }

    /// A table of 64-bit entries: the index, offset and value of each that is not zero.
    fn table(&self, offset: u64, count: u64) -> Vec<(u64, u64, u64)> {
        let bytes = self.stored(offset, count * 8);
        let entries = bytes.as_chunks::<8>().0.iter().map(|entry| u64::from_be_bytes(*entry));
        let entries = (0..).zip(entries).filter(|(_, value)| *value != 0);
        entries.map(|(index, value)| (index, offset + index * 8, value)).collect()
    }

    /// Consecutive numbers.
    fn fields(&self, of: &str, start: u64, layout: &Layout) -> Vec<Field> {
        let mut offset = start;
        let mut fields = Vec::new();
        for (name, width) in layout {
            fields.push(self.number_field(of, name, offset, *width));
            offset += width;
        }
        fields
    }

    fn number_field(&self, of: &str, name: &str, offset: u64, width: u64) -> Field {
        Field::new(of, name, offset, width, FieldValue::Number(self.number(offset, width)))
    }

    fn bytes_field(&self, of: &str, name: &str, offset: u64, width: u64) -> Field {
        let shown = self.stored(offset, width.min(SHOWN_BYTES));
        let digits = shown.iter().map(|byte| format!("{byte:02x}")).collect();
        Field::new(of, name, offset, width, FieldValue::Text(digits))
    }

    fn text_field(&self, of: &str, name: &str, offset: u64, width: u64) -> Field {
        let text = String::from_utf8(self.stored(offset, width)).unwrap();
        Field::new(of, name, offset, width, FieldValue::Text(text.trim_end_matches('\0').to_owned()))
    }
}
