//! Valid images as a few hundred arbitrary bytes: any bytes describe one, and small changes of the bytes are
//! small changes of the image.
//!
//! What an image cannot have at the same time is settled in [`Model::plan`], by leaving something out; no
//! bytes are refused.

mod build;
mod trees;

use arbitrary::{Arbitrary, Unstructured};
use qcow2_inspect::{Image, Limits};

use super::writer::{Plan, Written};
use super::{Rng, expect};

/// Random bytes that describe an image with all of its parts.
const SEED_LEN: usize = 2048;

/// A valid image, small and with any mixture of features.
#[derive(Arbitrary, Clone, Debug)]
pub struct Model {
    cluster_bits: u8,
    version_2: u8,
    header_length: u8,
    refcount_order: u8,
    extended_l2: u8,
    zstd: bool,
    dirty: bool,
    lazy_refcounts: bool,
    more_features: u16,
    size: Size,
    files: Files,
    feature_names: u8,
    end_marker: bool,
    unknown_extensions: [Extension; 2],
    spare_l1_entries: u8,
    restored_vm_state: bool,
    writes: [Write; 20],
    snapshots: [Snapshot; 3],
    bitmaps: [Bitmap; 3],
    refcounts_first: bool,
    rotate: u8,
    gap_every: u8,
    spare_refcount_table_clusters: u8,
    tail_clusters: u8,
    trim: bool,
}

/// How large the disk is.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Size {
    Clusters(u8),
    Bytes(u32),
    Tables(u8),
    Log2(u8),
    Zero,
}

/// The other files.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Files {
    None,
    Backing(Backing),
    Alone,
    Data { name: u8, raw: bool },
    DataAndBacking { name: u8, backing: Backing },
}

/// A backing file.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Backing {
    name: u8,
    gap: u8,
    len: u16,
    fill: u16,
}

/// An unknown header extension.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Extension {
    present: bool,
    magic: u32,
    len: u8,
    fill: u16,
}

/// Something that the guest wrote, at one of four places in the L1 table.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Write {
    table: u8,
    slot: u8,
    kind: Kind,
}

/// What it wrote.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Kind {
    Nothing,
    Data(u16),
    Zero,
    ZeroAllocated(u16),
    Compressed { fill: u16, style: u8, apart: u8, skip: u8 },
    Subclusters { fill: u16, host: bool, allocated: u32, zero: u32 },
}

/// A snapshot.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Snapshot {
    present: bool,
    id: u8,
    name: u8,
    date_sec: u32,
    date_nsec: u32,
    vm_clock_nsec: u64,
    vm_state: u8,
    vm_data: Option<u16>,
    smaller_disk: u8,
    icount: u64,
    extra_len: u8,
    relations: [Relation; 4],
    stale_copied: bool,
}

/// What became of an active L2 table since a snapshot was taken.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Relation {
    /// It is still shared.
    Shared,
    /// It was not there.
    Absent,
    /// It was copied, and then some entries changed.
    Copied { changed: u16, fill: u16 },
    /// Nothing of it is shared any more.
    Own(u16),
}

/// A persistent bitmap.
#[derive(Arbitrary, Clone, Copy, Debug)]
struct Bitmap {
    present: bool,
    name: u8,
    granularity: u8,
    auto: bool,
    in_use: u8,
    cells: [Cell; 3],
}

/// What one cluster of a bitmap says.
#[derive(Arbitrary, Clone, Copy, Debug)]
enum Cell {
    Zeroes,
    Ones,
    Serialized(u16),
}

impl Model {
    /// The image that these bytes describe; bytes that are missing count as zero. `None` never happens, but
    /// for a fault of the decoder.
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        Self::arbitrary(&mut Unstructured::new(bytes)).ok()
    }

    /// The image of a seed.
    pub fn from_seed(seed: u64) -> Option<Self> {
        let mut bytes = [0; SEED_LEN];
        Rng::new(seed).fill(&mut bytes);
        Self::from_bytes(&bytes)
    }

    /// The same with the smallest clusters.
    pub fn small_from_seed(seed: u64) -> Option<Self> {
        Some(Self { cluster_bits: 0, extended_l2: 0, ..Self::from_seed(seed)? })
    }

    /// Writes the image.
    pub fn write(&self) -> Vec<u8> {
        self.plan().write().bytes
    }
}

/// Writes the image that these bytes describe, reads it back, and compares all that it holds.
///
/// # Panics
/// Where the reader sees something else than what was written.
pub fn check_model(bytes: &[u8]) {
    let Some(model) = Model::from_bytes(bytes) else { return };
    let plan = model.plan();
    check_plan(&plan, &plan.write());
}

/// The same for a plan that was written.
#[expect(clippy::panic, reason = "tests and fuzz targets alone use it")]
pub(super) fn check_plan(plan: &Plan, written: &Written) {
    match Image::open(written.bytes.as_slice(), Limits::default()) {
        Ok(image) => expect::check(plan, written, &image),
        Err(error) => panic!("what was written cannot be opened: {error}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use qcow2_inspect::units::to_usize;

    #[test]
    fn no_bytes_describe_an_image_too() {
        check_model(&[]);
        check_model(&[0xff; SEED_LEN]);
        let mut bytes = [0; SEED_LEN];
        Rng::new(5).fill(&mut bytes);
        // As few bytes as a fuzzer has at first, and the smallest clusters.
        bytes[0] = 0;
        for len in 0..400 {
            check_model(&bytes[..len]);
        }
    }

    #[test]
    fn images_read_back_as_they_were_written() {
        for seed in 0..600 {
            let plan = Model::from_seed(seed).unwrap().plan();
            // The large ones cost much and differ little.
            if plan.cluster_bits < 17 || seed % 16 == 0 {
                check_plan(&plan, &plan.write());
            }
        }
    }

    #[test]
    fn small_clusters_make_small_images() {
        let lens = (0..300).map(|seed| Model::from_seed(seed).unwrap().plan());
        let lens: Vec<_> =
            lens.filter(|plan| plan.cluster_bits == 9).map(|plan| plan.write().bytes.len()).collect();
        assert!(lens.iter().all(|len| *len <= 72 << 10), "{:?}", lens.iter().max());
        assert!(lens.iter().sum::<usize>() / lens.len() < 32 << 10);
    }
    /// The comparison has to see a difference that is there.
    #[test]
    #[should_panic(expected = "table ")]
    fn a_changed_entry_is_seen() {
        let with_table = |seed| {
            let plan = Model::small_from_seed(seed).unwrap().plan();
            plan.tables.first().is_some_and(|table| !table.entries.is_empty()).then_some(plan)
        };
        let plan = (0..).find_map(with_table).unwrap();
        let mut written = plan.write();
        let (index, _) = plan.tables[0].entries.first_key_value().unwrap();
        let at = written.places.tables[0].0 + index * plan.geometry().l2_entry_len();
        written.bytes[to_usize(at) + 6] ^= 2;
        check_plan(&plan, &written);
    }
}
