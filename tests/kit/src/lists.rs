//! Changes of a draft that need room: clusters with their refcounts, and lists written anew.

use qcow2_inspect::format::extension::{BITMAPS, bitmaps_field};
use qcow2_inspect::format::header::field;
use qcow2_inspect::format::{Field, Layout};
use qcow2_inspect::image::{Bitmap, Snapshot};
use qcow2_inspect::units::{HostOffset, Span, to_u64, to_usize};

use super::Draft;

#[expect(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "a damage that does not fit its image is a mistake in the test"
)]
impl Draft {
    /// Adds clusters of zeros at the end, each with a refcount of 1, and says where they start.
    pub fn allocate(&mut self, count: u64) -> u64 {
        let at = self.add_clusters(count);
        self.set_refcounts(at / self.cluster_size(), count, 1);
        at
    }

    /// Frees the clusters that `span` touches.
    pub fn free(&mut self, span: Span) {
        let cluster_size = self.cluster_size();
        let first = span.at.0 / cluster_size;
        self.set_refcounts(first, span.end().0.div_ceil(cluster_size) - first, 0);
    }

    /// Changes the refcounts of `count` clusters from `first` on; blocks that are missing are added.
    pub fn set_refcounts(&mut self, first: u64, count: u64, value: u64) {
        let image = self.image();
        let (geometry, width) = (image.geometry().unwrap(), image.refcount_width().unwrap());
        let (per_block, bits) = (width.block_entry_count(geometry), u64::from(width.bits()));
        for cluster in first..first + count {
            let entry = self.refcount_table_entry_of(cluster / per_block);
            let at = self.get(entry, 8) + width.byte_offset(cluster % per_block);
            if bits < 8 {
                let shift = cluster * bits % 8;
                let byte = self.get(at, 1) & !(width.max() << shift);
                self.put_number(at, 1, byte | value << shift);
            } else {
                self.put_number(at, bits / 8, value);
            }
        }
    }

    /// Where the refcount table entry with this index is, which has a block.
    fn refcount_table_entry_of(&mut self, index: u64) -> u64 {
        let table = field::REFCOUNT_TABLE_OFFSET;
        let entry = self.get(table.offset, table.width) + index * 8;
        if self.get(entry, 8) == 0 {
            let block = self.add_clusters(1);
            self.put_u64(entry, block);
            self.set_refcounts(block / self.cluster_size(), 1, 1);
        }
        entry
    }

    /// Writes the snapshot table anew, in clusters of its own: the sizes of the entries' parts follow the parts.
    pub fn edit_snapshots(&mut self, edit: impl FnOnce(&mut Vec<Snapshot>)) {
        let mut list: Vec<Snapshot> = self.image().snapshots().map(Result::unwrap).collect();
        let old = list.first().zip(list.last()).map(|(first, last)| span(first.at, last.end()));
        edit(&mut list);
        let mut bytes = Vec::new();
        for snapshot in &list {
            let mut head = snapshot.head;
            head.extra_data_size = u32::try_from(snapshot.extra.len()).unwrap();
            head.id_str_size = u16::try_from(snapshot.id.len()).unwrap();
            head.name_size = u16::try_from(snapshot.name.len()).unwrap();
            bytes.extend([head.encode().as_slice(), &snapshot.extra, &snapshot.id, &snapshot.name].concat());
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        let at = self.rewritten(old, &bytes);
        self.set_header(field::SNAPSHOTS_OFFSET, at);
        self.set_header(field::NB_SNAPSHOTS, to_u64(list.len()));
    }

    /// Writes the bitmap directory anew, in clusters of its own: the sizes of the entries' parts follow the
    /// parts.
    pub fn edit_bitmaps(&mut self, edit: impl FnOnce(&mut Vec<Bitmap>)) {
        let mut list: Vec<Bitmap> = self.image().bitmaps().map(Result::unwrap).collect();
        let old = self.image().bitmap_directory();
        edit(&mut list);
        let mut bytes = Vec::new();
        for bitmap in &list {
            let mut head = bitmap.head;
            head.extra_data_size = u32::try_from(bitmap.extra.len()).unwrap();
            head.name_size = u16::try_from(bitmap.name.len()).unwrap();
            bytes.extend([head.encode().as_slice(), &bitmap.extra, &bitmap.name].concat());
            bytes.resize(bytes.len().next_multiple_of(8), 0);
        }
        let at = self.rewritten(old, &bytes);
        self.set_bitmaps_extension(bitmaps_field::BITMAP_DIRECTORY_OFFSET, at);
        self.set_bitmaps_extension(bitmaps_field::BITMAP_DIRECTORY_SIZE, to_u64(bytes.len()));
        self.set_bitmaps_extension(bitmaps_field::NB_BITMAPS, to_u64(list.len()));
    }

    /// Changes a field of the bitmaps extension, and answers what it was.
    pub fn set_bitmaps_extension(&mut self, field: Field, value: u64) -> u64 {
        self.set_field(HostOffset(self.extension_data(BITMAPS)), field, value)
    }

    /// Puts a list into new clusters and frees the old ones.
    fn rewritten(&mut self, old: Option<Span>, bytes: &[u8]) -> u64 {
        let at = self.allocate(to_u64(bytes.len()).div_ceil(self.cluster_size()));
        self.put(at, bytes);
        if let Some(old) = old {
            self.free(old);
        }
        at
    }

    /// Cuts the file.
    pub fn truncate(&mut self, len: u64) {
        self.bytes.truncate(to_usize(len));
    }
}

fn span(from: HostOffset, to: HostOffset) -> Span {
    Span::new(from, to.0 - from.0)
}
