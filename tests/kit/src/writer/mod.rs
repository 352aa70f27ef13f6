//! Writes whole valid images from a description of what is in them.
//!
//! Layouts go back through their own declaration. Table entries, refcounts and bitmaps are put together here by
//! hand, apart from the code that takes them to pieces, so that each proves the other.
#![expect(
    clippy::indexing_slicing,
    reason = "a plan that refers to what is not there is a mistake in the test"
)]

mod counts;
mod fill;
mod guest;
mod head;
mod lists;
mod places;
mod plan;
mod stream;
mod tables;

use qcow2_inspect::format::extension::END;
use qcow2_inspect::format::header::{HeaderAdditional, HeaderV2, HeaderV3};
use qcow2_inspect::format::scalar::Magic;
use qcow2_inspect::units::{HostOffset, to_u64, to_usize};

pub use fill::Fill;
pub(super) use lists::{bitmap_cluster, bitmap_head, snapshot_extra, snapshot_head};
pub use places::{Places, Uses};
pub use plan::{
    Backing, BitmapCluster, BitmapPlan, DataFile, EntryPlan, LayoutPlan, Plan, SnapshotPlan, StreamPlan,
    TablePlan, TreePlan, Version3,
};
pub(super) use stream::stored;

/// An image that was written, and where everything in it is.
#[derive(Clone, Debug)]
pub struct Written {
    /// The file.
    pub bytes: Vec<u8>,
    /// The header's fields of both versions.
    pub header: HeaderV2,
    /// Those of version 3.
    pub header_v3: Option<HeaderV3>,
    /// The additional ones, which are there if `header_length` says so.
    pub additional: HeaderAdditional,
    /// The extensions, with the end marker where there is one.
    pub extensions: Vec<(Magic, Vec<u8>)>,
    /// Where each structure is.
    pub places: Places,
    /// How often each member of the pools is used.
    pub uses: Uses,
    /// The refcount of each cluster of the file.
    pub refcounts: Vec<u64>,
}

impl Plan {
    /// Bytes of the first cluster that the header, the extensions and the backing file's name take.
    pub fn head_len(&self) -> usize {
        head::len(self)
    }

    /// Writes the image.
    pub fn write(&self) -> Written {
        let uses = Uses::of(self);
        let cluster_size = self.cluster_size();
        let encode = |stream| stream::encode(stream, self.zstd(), cluster_size);
        let streams: Vec<Vec<u8>> = self.streams.iter().map(encode).collect();
        let places = Places::new(self, &uses, &streams);
        let refcounts = counts::refcounts(self, &uses, &places);

        let mut file = File { bytes: vec![0; to_usize(places.file_len)] };
        file.put(HostOffset(0), &head::encode(self, &places));
        self.write_refcounts(&mut file, &places, &refcounts);
        file.put(places.l1, &tables::l1(&uses, &places, &self.active, true));
        for (table, at) in places.tables.iter().enumerate().filter(|(table, _)| uses.tables[*table] > 0) {
            file.put(*at, &tables::l2(self, &uses, &places, table));
        }
        for (fill, at) in self.clusters.iter().zip(&places.clusters).filter(|(_, at)| at.0 != 0) {
            fill.write(&mut file.bytes[to_usize(at.0)..][..cluster_size]);
        }
        for (stream, span) in streams.iter().zip(&places.streams).filter(|(_, span)| span.at.0 != 0) {
            file.put(span.at, stream);
        }
        file.put(places.snapshot_table, &lists::snapshot_table(self, &places));
        for (snapshot, at) in self.snapshots.iter().zip(&places.snapshot_l1) {
            file.put(*at, &tables::l1(&uses, &places, &snapshot.tree, false));
        }
        self.write_bitmaps(&mut file, &places);

        let mut extensions = head::extensions(self, &places);
        extensions.extend(self.end_marker.then_some((END, Vec::new())));
        let (header, header_v3, additional) = head::header(self, &places);
        Written { bytes: file.bytes, header, header_v3, additional, extensions, places, uses, refcounts }
    }

    fn write_refcounts(&self, file: &mut File, places: &Places, refcounts: &[u64]) {
        let cluster_size = self.cluster_size();
        let table: Vec<u8> = places.refcount_blocks.iter().flat_map(|at| at.0.to_be_bytes()).collect();
        file.put(places.refcount_table, &table);
        let per_block = (cluster_size * 8) >> self.refcount_order();
        for (counts, at) in refcounts.chunks(per_block).zip(&places.refcount_blocks) {
            let block = &mut file.bytes[to_usize(at.0)..][..cluster_size];
            for (index, count) in counts.iter().enumerate() {
                counts::put(block, self.refcount_order(), index, *count);
            }
        }
    }

    fn write_bitmaps(&self, file: &mut File, places: &Places) {
        file.put(places.bitmap_directory, &lists::bitmap_directory(self, places));
        let tables = places.bitmap_tables.iter().zip(&places.bitmap_clusters);
        for (bitmap, (table, clusters)) in self.bitmaps.iter().zip(tables) {
            file.put(*table, &lists::bitmap_table(bitmap, clusters));
            for (index, at) in clusters.iter().enumerate() {
                if let Some(bytes) = bitmap_cluster(self, bitmap, index) {
                    file.put(*at, &bytes);
                }
            }
        }
    }
}

/// The file that is being written.
struct File {
    bytes: Vec<u8>,
}

impl File {
    fn put(&mut self, at: HostOffset, bytes: &[u8]) {
        debug_assert!(
            at.0.saturating_add(to_u64(bytes.len())) <= to_u64(self.bytes.len()) || bytes.is_empty()
        );
        if !bytes.is_empty() {
            self.bytes[to_usize(at.0)..][..bytes.len()].copy_from_slice(bytes);
        }
    }
}
