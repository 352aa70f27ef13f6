#![expect(clippy::as_conversions, reason = "the numbers are small")]

use qcow2_inspect::format::header;

use super::*;
use crate::Draft;

const MAX: usize = 48 << 10;

fn image(seed: u64) -> Vec<u8> {
    Model::small_from_seed(seed).unwrap().write()
}

/// An image in a buffer that has room to grow.
fn buffer(bytes: &[u8]) -> Vec<u8> {
    let mut data = bytes.to_vec();
    data.resize(MAX, 0xaa);
    data
}

#[test]
fn a_seed_gives_the_same_bytes() {
    let image = image(1);
    let run = |seed| {
        let mut data = buffer(&image);
        let size = mutate(&mut data, image.len(), MAX, seed);
        data.truncate(size);
        data
    };
    let mut different = std::collections::HashSet::new();
    for seed in 0..1000 {
        assert_eq!(run(seed), run(seed));
        different.insert(run(seed));
    }
    assert!(different.len() > 700, "{}", different.len());
}

#[test]
fn nothing_panics_and_the_size_is_kept() {
    let mut rng = Rng::new(7);
    for round in 0..400 {
        let mut data = buffer(&image(round % 40));
        let mut size = image(round % 40).len();
        // Edits pile up, so that later ones meet broken images.
        for _ in 0..30 {
            let max_size = usize::try_from(rng.below(MAX as u64 + 100)).unwrap();
            size = mutate(&mut data, size, max_size, rng.next_u64() as u32);
            assert!(size <= max_size.min(MAX));
        }
    }
    for len in 0..80 {
        let mut data = vec![0x51; len];
        rng.fill(&mut data);
        for seed in 0..50 {
            assert!(mutate(&mut data, len, len, seed) <= len);
            assert!(mutate(&mut data, len + 5, len + 9, seed) <= len);
        }
    }
}

#[test]
fn nothing_becomes_an_image() {
    let is_image = |seed| {
        let mut data = vec![0; MAX];
        let size = mutate(&mut data, 0, MAX, seed);
        Image::open(&data[..size], Limits::default()).is_ok()
    };
    assert!((0..100).filter(|seed| is_image(*seed)).count() > 30);
}

#[test]
fn every_target_is_found() {
    // An image with all of them but LUKS.
    let bytes = (0..)
        .map(image)
        .find(|bytes| {
            let image = Image::open(bytes.as_slice(), Limits::default()).unwrap();
            let tables = [Tables::L2, Tables::SnapshotL2, Tables::BitmapTable];
            tables.iter().all(|table| changes(bytes, entry(*table)) == 1)
                && image.feature_names().count() > 0
                && image.snapshots().count() > 1
        })
        .unwrap();
    for table in [Tables::L1, Tables::SnapshotL1, Tables::RefcountTable] {
        assert_eq!(changes(&bytes, entry(table)), 1, "{table:?}");
    }
    let layouts = [
        Layouts::Header,
        Layouts::Extension,
        Layouts::ExtensionData,
        Layouts::Snapshot,
        Layouts::SnapshotExtra,
        Layouts::Bitmap,
    ];
    for layout in layouts {
        let edit = Edit::Field { layout, index: 0, field: 1, value: Value::Flip(0) };
        assert_eq!(changes(&bytes, edit), 1, "{layout:?}");
    }
}

fn entry(table: Tables) -> Edit {
    Edit::Entry { table, index: 0, slot: u16::MAX, value: Value::Flip(3) }
}

/// How many bytes an edit changes.
fn changes(bytes: &[u8], edit: Edit) -> usize {
    let mut data = bytes.to_vec();
    let size = edit.apply(&mut data, bytes.len(), bytes.len());
    assert_eq!(size, bytes.len());
    data.iter().zip(bytes).filter(|(new, old)| new != old).count()
}

#[test]
fn edits_do_what_they_say() {
    let bytes = image(3);
    let draft = Draft::new(bytes.clone());
    let size = draft.cluster_size() as usize;
    let run = |edit: Edit| {
        let mut data = buffer(&bytes);
        let size = edit.apply(&mut data, bytes.len(), MAX);
        data.truncate(size);
        Draft::new(data)
    };
    // The header's fields in order; the seventh is the virtual size.
    let field = |field, value| Edit::Field { layout: Layouts::Header, index: 0, field, value };
    assert_eq!(run(field(5, Value::Max)).header(header::field::SIZE), u64::MAX);
    assert_eq!(run(field(7, Value::NearMax(1))).header(header::field::L1_SIZE), u64::from(u32::MAX - 1));
    let copied = run(Edit::CopyCluster { from: 0, to: (bytes.len().div_ceil(size)) as u16 });
    assert_eq!(copied.bytes[bytes.len().next_multiple_of(size)..], bytes[..size]);
    let swapped = run(Edit::SwapClusters { a: 1, b: 2 });
    assert_eq!(swapped.bytes[size..2 * size], bytes[2 * size..3 * size]);
    assert_eq!(swapped.bytes[2 * size..3 * size], bytes[size..2 * size]);
    assert_eq!(run(Edit::Resize { cluster: 2, delta: -1 }).bytes, bytes[..2 * size - 1]);
    assert_eq!(run(Edit::Resize { cluster: u16::MAX, delta: 9 }).bytes.len(), bytes.len() + 9);
    let pointed = run(Edit::Point { table: Tables::RefcountTable, index: 0, slot: 0, cluster: 2, flags: 1 });
    assert_eq!(pointed.get(pointed.refcount_table_entry(0), 8), 2 * size as u64);
}

/// The refcount of each width is found where the reader finds it.
#[test]
fn refcounts_are_found() {
    let mut orders = std::collections::HashSet::new();
    for seed in 0..60 {
        let bytes = image(seed);
        let mut data = bytes.clone();
        let size = data.len();
        Edit::Refcount { cluster: 2, value: Value::Zero }.apply(&mut data, size, size);
        let count = |bytes: &[u8]| {
            let draft = Draft::new(bytes.to_vec());
            let image = draft.image();
            let block = draft.get(draft.refcount_table_entry(0), 8) as usize;
            let width = image.refcount_width().unwrap();
            orders.insert(width.bits());
            (0..8).map(|n| width.get(&draft.bytes[block..], n).unwrap()).collect::<Vec<_>>()
        };
        let mut wanted = [&bytes, &data].map(|bytes| bytes.as_slice()).map(count);
        wanted[0][2] = 0;
        assert_eq!(wanted[0], wanted[1], "seed {seed}");
    }
    assert_eq!(orders.len(), 7);
}
