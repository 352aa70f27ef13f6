//! An image in memory, to be damaged field by field.

use qcow2_inspect::Limits;
use qcow2_inspect::format::extension::ExtensionHead;
use qcow2_inspect::format::scalar::Magic;
use qcow2_inspect::format::{Field, Layout, header};
use qcow2_inspect::image::{Bitmap, Image, Snapshot};
use qcow2_inspect::units::{HostOffset, Span, to_u64, to_usize};

/// The bytes of an image, and where its structures are. A method that looks for what the image does not have
/// panics: a damage names the kind of image that it is made for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// The file.
    pub bytes: Vec<u8>,
}

#[expect(
    clippy::panic,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::missing_panics_doc,
    reason = "a damage that does not fit its image is a mistake in the test"
)]
impl Draft {
    /// A draft of this file.
    pub fn new(bytes: Vec<u8>) -> Self {
        Self { bytes }
    }

    /// The image as the reader sees it.
    pub fn image(&self) -> Image<&[u8]> {
        Image::open(self.bytes.as_slice(), Limits::default()).unwrap()
    }

    /// Bytes of a cluster.
    pub fn cluster_size(&self) -> u64 {
        self.image().geometry().unwrap().cluster_size()
    }

    /// The number of `width` bytes at `at`.
    pub fn get(&self, at: u64, width: u64) -> u64 {
        let bytes = &self.bytes[to_usize(at)..to_usize(at + width)];
        bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
    }

    /// Writes bytes at `at`; the file grows where it is too short.
    pub fn put(&mut self, at: u64, bytes: &[u8]) {
        let end = to_usize(at) + bytes.len();
        if self.bytes.len() < end {
            self.bytes.resize(end, 0);
        }
        self.bytes[to_usize(at)..end].copy_from_slice(bytes);
    }

    /// Writes the low `width` bytes of a number at `at`.
    pub fn put_number(&mut self, at: u64, width: u64, value: u64) {
        self.put(at, &value.to_be_bytes()[8 - to_usize(width)..]);
    }

    /// Writes a 64-bit number at `at`.
    pub fn put_u64(&mut self, at: u64, value: u64) {
        self.put_number(at, 8, value);
    }

    /// Adds clusters of zeros at the end, from a cluster boundary on, and says where they start.
    pub fn add_clusters(&mut self, count: u64) -> u64 {
        let cluster_size = to_usize(self.cluster_size());
        let at = self.bytes.len().next_multiple_of(cluster_size);
        self.bytes.resize(at + to_usize(count) * cluster_size, 0);
        to_u64(at)
    }

    /// A field of the header.
    pub fn header(&self, field: Field) -> u64 {
        let span = self.image().header().span(field);
        self.get(span.at.0, span.len)
    }

    /// Changes a field of the header, and answers what it was.
    pub fn set_header(&mut self, field: Field, value: u64) -> u64 {
        let span = self.image().header().span(field);
        self.set(span, value)
    }

    /// Where the first extension with this magic starts.
    pub fn extension(&self, magic: Magic) -> u64 {
        let image = self.image();
        let found = image.extensions().map_while(Result::ok).find(|extension| extension.head.magic == magic);
        found.unwrap_or_else(|| panic!("no extension {magic}")).at.0
    }

    /// Where the data of the first extension with this magic starts.
    pub fn extension_data(&self, magic: Magic) -> u64 {
        self.extension(magic) + ExtensionHead::LEN
    }

    /// Puts an extension in front of the others; the area has to have room.
    pub fn add_extension(&mut self, magic: Magic, data: &[u8]) {
        let image = self.image();
        let (from, to) = (to_usize(image.header().extensions_at().0), to_usize(image.extensions_end().0));
        let rest = self.bytes[from..to].to_vec();
        let mut new = ExtensionHead { magic, length: u32::try_from(data.len()).unwrap() }.encode();
        new.extend(data);
        new.resize(new.len().next_multiple_of(8), 0);
        assert!(to + new.len() <= to_usize(self.cluster_size()), "the first cluster is full");
        self.put(to_u64(from), &[new, rest].concat());
    }

    /// Where an entry of the active L1 table is.
    pub fn l1_entry(&self, index: u64) -> u64 {
        self.header(header::field::L1_TABLE_OFFSET) + index * 8
    }

    /// Where an entry of the first active L2 table is.
    pub fn l2_entry(&self, index: u64) -> u64 {
        let l1_size = self.header(header::field::L1_SIZE);
        let table = (0..l1_size).map(|n| self.get(self.l1_entry(n), 8)).find(|entry| *entry != 0);
        let table = table.unwrap_or_else(|| panic!("no L2 table")) & 0x00ff_ffff_ffff_fe00;
        table + index * self.image().geometry().unwrap().l2_entry_len()
    }

    /// The index of the first entry of the first active L2 table that `wanted` holds for.
    pub fn find_l2(&self, wanted: impl Fn(u64) -> bool) -> u64 {
        let count = self.image().geometry().unwrap().l2_entry_count();
        let found = (0..count).find(|n| wanted(self.get(self.l2_entry(*n), 8)));
        found.unwrap_or_else(|| panic!("no such L2 entry"))
    }

    /// Where an entry of the refcount table is.
    pub fn refcount_table_entry(&self, index: u64) -> u64 {
        self.header(header::field::REFCOUNT_TABLE_OFFSET) + index * 8
    }

    /// A snapshot by its index.
    pub fn snapshot(&self, index: usize) -> Snapshot {
        self.image().snapshots().nth(index).unwrap().unwrap()
    }

    /// Changes a field of a snapshot's fixed part, and answers what it was.
    pub fn set_snapshot(&mut self, index: usize, field: Field, value: u64) -> u64 {
        self.set_field(self.snapshot(index).at, field, value)
    }

    /// Changes a field of a snapshot's extra data, and answers what it was.
    pub fn set_snapshot_extra(&mut self, index: usize, field: Field, value: u64) -> u64 {
        let snapshot = self.snapshot(index);
        assert!(snapshot.extra_fields().iter().any(|(had, _)| *had == field), "no field {}", field.name);
        self.set_field(snapshot.extra_at(), field, value)
    }

    /// A bitmap by its index.
    pub fn bitmap(&self, index: usize) -> Bitmap {
        self.image().bitmaps().nth(index).unwrap().unwrap()
    }

    /// Changes a field of a bitmap's fixed part, and answers what it was.
    pub fn set_bitmap(&mut self, index: usize, field: Field, value: u64) -> u64 {
        self.set_field(self.bitmap(index).at, field, value)
    }

    /// Changes a field of a structure that stands at `at`, and answers what it was.
    pub fn set_field(&mut self, at: HostOffset, field: Field, value: u64) -> u64 {
        self.set(field.at(at), value)
    }

    /// Changes the number that these bytes are, and answers what it was.
    fn set(&mut self, Span { at, len }: Span, value: u64) -> u64 {
        let old = self.get(at.0, len);
        self.put_number(at.0, len, value);
        old
    }
}
