//! What the images must show between them, read off their bytes: a recipe that no longer makes what its name says
//! would otherwise take its comparison away in silence.

use crate::bytes::{
    BACKING_FORMAT, BitmapTableEntry, Field, FieldValue, Image, L1Entry, L2Entry, Refcount, SharedTable,
};
use crate::factory::Sample;

const FEWEST: usize = 90;
const PEBIBYTE: u64 = 1 << 50;

/// Whether an image shows something.
type Shows = fn(&Seen<'_>) -> bool;

/// What at least one image has to show, besides each cluster size, refcount width and feature.
const WANTED: &[(&str, Shows)] = &[
    ("version 2", |seen| seen.sample.v2),
    ("an empty disk", |seen| seen.header("size") == 0),
    ("a disk of a pebibyte", |seen| seen.header("size") >= PEBIBYTE),
    ("a disk that ends within a cluster", |seen| seen.header("size") % seen.image.cluster_size() != 0),
    ("AES", |seen| seen.header("crypt_method") == 1 && seen.sample.needs_key),
    ("LUKS", |seen| seen.header("crypt_method") == 2 && seen.sample.needs_key),
    ("a backing file", |seen| seen.sample.has_backing && !seen.sample.v2),
    ("a backing file in version 2", |seen| seen.sample.has_backing && seen.sample.v2),
    ("a backing file's format", |seen| seen.sample.has_backing && seen.has_number("magic", BACKING_FORMAT)),
    ("a backing file without a format", |seen| {
        seen.sample.has_backing && !seen.has_number("magic", BACKING_FORMAT)
    }),
    ("a data file", |seen| seen.sample.has_data_file),
    ("a walk that takes long", |seen| seen.sample.slow_to_walk),
    ("an L1 table of several clusters", |seen| seen.header("l1_size") * 8 > seen.image.cluster_size()),
    ("an L1 entry for VM state", |seen| seen.l1.iter().any(|entry| entry.guest_offset > seen.header("size"))),
    ("an L2 table that trees share", |seen| !seen.shared.is_empty()),
    ("a refcount table of several clusters", |seen| seen.header("refcount_table_clusters") > 1),
    ("several refcount blocks", |seen| seen.refcounts.iter().any(|refcount| refcount.block > 1)),
    ("a refcount above 1", |seen| seen.refcounts.iter().any(|refcount| refcount.value > 1)),
    ("data", |seen| seen.has_entry("data", false)),
    ("plain zeros", |seen| seen.has_entry("zero", false)),
    ("allocated zeros", |seen| seen.has_entry("zero-allocated", false)),
    ("zlib in the smallest clusters", |seen| seen.has_compressed(0, 9)),
    ("zlib in the largest clusters", |seen| seen.has_compressed(0, 21)),
    ("zstd in the smallest clusters", |seen| seen.has_compressed(1, 9)),
    ("zstd in the largest clusters", |seen| seen.has_compressed(1, 21)),
    ("subclusters of data", |seen| seen.has_entry("data", true)),
    ("subclusters of unallocated zeros", |seen| seen.has_entry("unallocated", true)),
    ("compression besides subclusters", |seen| seen.has_entry("compressed", true)),
    ("subclusters of three kinds in one cluster", |seen| seen.l2.iter().any(is_mixed)),
    ("many snapshots", |seen| seen.header("nb_snapshots") >= 40),
    ("a snapshot in version 2", |seen| seen.sample.v2 && seen.header("nb_snapshots") > 0),
    ("a snapshot with VM state", |seen| seen.has_number("vm_state_size_large", 102_400)),
    ("a snapshot with icount", |seen| seen.has_number("icount", 0)),
    ("a snapshot without icount", |seen| seen.has_number("icount", u64::MAX)),
    ("a disabled bitmap", |seen| seen.has_number("flags", 0)),
    ("an enabled bitmap", |seen| seen.has_number("flags", 2)),
    ("a bitmap in use", |seen| seen.has_number("flags", 3)),
    ("the finest bitmap", |seen| seen.has_number("granularity_bits", 9)),
    ("a bitmap with clusters of its own", |seen| seen.has_bitmap_entry("serialized")),
    ("a bitmap of ones", |seen| seen.has_bitmap_entry("all-ones")),
];

/// What no image shows.
pub(crate) fn gaps(samples: &[Sample]) -> Vec<String> {
    let seen: Vec<_> = samples.iter().map(Seen::new).collect();
    let any = |shows: &dyn Fn(&Seen<'_>) -> bool| seen.iter().any(shows);
    let mut gaps = Vec::new();
    if samples.len() < FEWEST {
        gaps.push(format!("{} images are fewer than {FEWEST}", samples.len()));
    }
    for (what, shows) in WANTED {
        if !any(shows) {
            gaps.push(format!("no image has {what}"));
        }
    }
    let values = [("cluster_bits", 9..22), ("refcount_order", 0..7), ("compression_type", 0..2)];
    for (name, range) in values {
        let missing = range.filter(|number| !any(&|seen| seen.header(name) == *number));
        gaps.extend(missing.map(|number| format!("no image has {name} {number}")));
    }
    let bits = [("incompatible_features", 0..5), ("compatible_features", 0..1), ("autoclear_features", 0..2)];
    for (name, range) in bits {
        let missing = range.filter(|bit| !any(&|seen| seen.header(name) >> bit & 1 != 0));
        gaps.extend(missing.map(|bit| format!("no image has bit {bit} of {name}")));
    }
    gaps
}

/// Data, zeros and nothing, side by side.
fn is_mixed(entry: &L2Entry) -> bool {
    entry.bitmap.is_some_and(|bitmap| {
        let (allocated, zero) = (bitmap & 0xffff_ffff, bitmap >> 32);
        allocated != 0 && zero != 0 && allocated | zero != 0xffff_ffff
    })
}

/// One image, read whole.
struct Seen<'a> {
    sample: &'a Sample,
    image: Image,
    fields: Vec<Field>,
    refcounts: Vec<Refcount>,
    l1: Vec<L1Entry>,
    l2: Vec<L2Entry>,
    shared: Vec<SharedTable>,
    bitmap_entries: Vec<BitmapTableEntry>,
}

impl<'a> Seen<'a> {
    fn new(sample: &'a Sample) -> Self {
        let image = Image::open(&sample.path);
        let (l2, shared) = image.l2();
        let (mut fields, bitmap_entries) = image.bitmaps();
        fields.extend(image.extension_fields());
        fields.extend(image.snapshots().into_iter().flat_map(|snapshot| snapshot.fields));
        let (refcounts, l1) = (image.refcounts(), image.l1());
        Self { sample, image, fields, refcounts, l1, l2, shared, bitmap_entries }
    }

    fn header(&self, name: &str) -> u64 {
        self.image.header(name)
    }

    fn has_number(&self, name: &str, number: u64) -> bool {
        self.fields.iter().any(|field| field.name == name && field.value == FieldValue::Number(number))
    }

    fn has_entry(&self, kind: &str, extended: bool) -> bool {
        self.image.has_extended_l2() == extended && self.l2.iter().any(|entry| entry.kind == kind)
    }

    fn has_compressed(&self, compression_type: u64, cluster_bits: u64) -> bool {
        self.header("compression_type") == compression_type
            && self.header("cluster_bits") == cluster_bits
            && self.has_entry("compressed", false)
    }

    fn has_bitmap_entry(&self, kind: &str) -> bool {
        self.bitmap_entries.iter().any(|entry| entry.kind == kind)
    }
}
