//! Small images that ask for endless work: each is checked within reads that its stored bytes account for, however
//! much it claims, and is never called clean. Each step of the check is over bytes that were read, so that a bound on
//! them bounds the steps; no time is asserted.
#![allow(clippy::unwrap_used, clippy::as_conversions, reason = "a test may stop at what it does not expect")]

use std::fs::File;
use std::io;
use std::num::NonZero;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};

use qcow2_inspect::check::{CheckOptions, Checked, Verdict, check};
use qcow2_inspect::finding::Finding;
use qcow2_inspect::format::Layout;
use qcow2_inspect::format::header::{HeaderV2, HeaderV3, MAGIC};
use qcow2_inspect::format::scalar::{ByteSize, ClusterBits};
use qcow2_inspect::format::snapshot::SnapshotHead;
use qcow2_inspect::source::ReadAt;
use qcow2_inspect::units::HostOffset;
use qcow2_inspect::{Image, Limits};

const COPIED: u64 = 1 << 63;

/// Counts the calls that read.
struct Counting<'c>(File, &'c AtomicU64);

impl ReadAt for Counting<'_> {
    fn len(&self) -> io::Result<u64> {
        ReadAt::len(&self.0)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.1.fetch_add(1, Ordering::Relaxed);
        ReadAt::read_at(&self.0, offset, buf)
    }
}

struct Hostile {
    header: HeaderV2,
    file: File,
    end: u64,
}

impl Hostile {
    /// An image of clusters of 2^`cluster_bits` bytes: the header, a refcount table with one block, and an L1 table.
    fn new(cluster_bits: u32) -> Self {
        let at = |cluster: u64| HostOffset(cluster << cluster_bits);
        let header = HeaderV2 {
            magic: MAGIC,
            version: 3,
            cluster_bits: ClusterBits(cluster_bits),
            size: ByteSize(1 << 40),
            l1_size: 1,
            l1_table_offset: at(3),
            refcount_table_offset: at(1),
            refcount_table_clusters: 1,
            ..Default::default()
        };
        let hostile = Self { header, file: tempfile::tempfile().unwrap(), end: at(4).0 };
        hostile.put(at(1).0, &[at(2).0]);
        hostile
    }

    fn put(&self, at: u64, entries: &[u64]) {
        let bytes: Vec<u8> = entries.iter().flat_map(|entry| entry.to_be_bytes()).collect();
        self.file.write_all_at(&bytes, at).unwrap();
    }

    /// Checks it, within so many bytes and calls; answers what came of it, with the codes of the rules.
    fn check(self, name: &str, most_bytes: u64, most_reads: u64) -> (Checked, Vec<&'static str>) {
        let v3 = HeaderV3 { header_length: 104, refcount_order: 4, ..Default::default() };
        self.file.write_all_at(&[self.header.encode(), v3.encode()].concat(), 0).unwrap();
        if self.file.metadata().unwrap().len() < self.end {
            self.file.set_len(self.end).unwrap();
        }
        let reads = AtomicU64::new(0);
        let image = Image::open(Counting(self.file, &reads), Limits::default()).unwrap();
        let mut count = 0_u64;
        let options = CheckOptions { deep: NonZero::new(1), ..CheckOptions::default() };
        let checked = check(&image, &options, &mut |_: Finding| count += 1);
        let (bytes, reads) = (image.bytes_read(), reads.into_inner());
        println!("{name}: {bytes} bytes in {reads} reads, {count} findings, {:?}", checked.verdict);
        assert!(bytes <= most_bytes, "{name}: {bytes} bytes read, over {most_bytes}");
        assert!(reads <= most_reads, "{name}: {reads} reads, over {most_reads}");
        assert!(count < 100_000, "{name}: {count} findings");
        assert_ne!(checked.verdict, Verdict::Clean, "{name}");
        let codes = checked.rules.iter().map(|(rule, _)| rule.code).collect();
        (checked, codes)
    }
}

#[test]
fn one_l1_of_four_million_entries_on_one_l2() {
    let mut image = Hostile::new(16);
    (image.header.l1_size, image.end) = (1 << 22, (4 << 16) + (32 << 20) + (2 << 16));
    let table = (4 << 16) + (32 << 20);
    image.header.l1_table_offset = HostOffset(4 << 16);
    image.put(4 << 16, &vec![table; 1 << 22]);
    image.put(table, &vec![table + (1 << 16); 8192]);
    // The L1 table is read for its entries, and once more for what is lost.
    let (checked, codes) = image.check("one L2 table", (64 << 20) + (1 << 20), 1100);
    assert!(codes.contains(&"L26"), "{codes:?}");
    assert_eq!(checked.counters.allocated_clusters, 8192 << 22);
}

#[test]
fn many_used_l1_entries_and_a_hole() {
    let mut image = Hostile::new(12);
    image.header.l1_size = 131_072;
    let entries: Vec<u64> = (0..131_072).map(|n| COPIED | (4096 + n) << 12).collect();
    image.put(3 << 12, &entries);
    image.end = 1 << 43;
    // Each table once, the L1 table twice, and what `trailing_bytes` allows of the hole.
    image.check("131,072 tables in a hole", (131_072 << 12) + (64 << 20) + (4 << 20), 131_072 + 1100);
}

#[test]
fn an_l2_that_is_its_own_l1() {
    let mut image = Hostile::new(16);
    image.header.l1_size = 8192;
    image.put(3 << 16, &[3 << 16; 8192]);
    // The table in each of its roles.
    let (_, codes) = image.check("an L2 table that is its L1 table", 10 << 16, 16);
    assert!(codes.contains(&"L28") || codes.contains(&"O02"), "{codes:?}");
}

#[test]
fn refcount_blocks_that_count_themselves() {
    let mut image = Hostile::new(16);
    image.put(1 << 16, &[2 << 16; 8192]);
    image.end = 1 << 43;
    // The block as often as `odd_tables` allows, in two walks, and what `trailing_bytes` allows.
    let (_, codes) =
        image.check("one refcount block 8,192 times", ((2 * 257) << 16) + (64 << 20) + (1 << 20), 1600);
    assert!(codes.contains(&"O05"), "{codes:?}");
}

#[test]
fn snapshots_on_one_l1() {
    let mut image = Hostile::new(16);
    (image.header.nb_snapshots, image.header.snapshots_offset) = (65_536, HostOffset(600 << 16));
    let head = SnapshotHead { l1_table_offset: HostOffset(4 << 16), l1_size: 1 << 22, ..Default::default() };
    image.file.write_all_at(&head.encode().repeat(65_536), 600 << 16).unwrap();
    image.put(4 << 16, &vec![599 << 16; 1 << 22]);
    // The L1 table twice, and six times the 40 bytes of each snapshot.
    let (_, codes) = image.check("65,536 snapshots on one L1 table", (64 << 20) + 6 * (65_536 * 40), 1300);
    assert!(codes.contains(&"O01"), "{codes:?}");
}

#[test]
fn snapshots_on_overlapping_l1s() {
    let mut image = Hostile::new(9);
    (image.header.nb_snapshots, image.header.snapshots_offset) = (65_536, HostOffset(128 << 20));
    let heads = (0..65_536_u64).flat_map(|n| {
        SnapshotHead { l1_table_offset: HostOffset((4 + n) << 9), l1_size: 1 << 22, ..Default::default() }
            .encode()
    });
    image.file.write_all_at(&heads.collect::<Vec<u8>>(), 128 << 20).unwrap();
    image.put(4 << 9, &vec![4 << 9; 8 << 20]);
    // The 64 MiB that they cover twice, cut where each begins, and as above.
    image.check(
        "65,536 L1 tables, each a cluster further",
        (128 << 20) + 6 * (65_536 * 40),
        2 * 65_536 + 2048,
    );
}

/// 4,000 snapshots, each with an L1 and an L2 table of its own, map the same 64 clusters, one in 64 of them at the
/// same guest offset. No tree maps any twice, unless the last one has a second table.
#[test]
fn clusters_that_many_trees_map_elsewhere() {
    const COUNT: u64 = 4000;
    for twice in [false, true] {
        let mut image = Hostile::new(9);
        let (l1, l2, data, table) = (16, 16 + COUNT, 16 + 2 * COUNT, 16 + 2 * COUNT + 64);
        (image.header.nb_snapshots, image.header.snapshots_offset) = (4000, HostOffset(table << 9));
        // As much as the L1 tables map: none of the disk is lost for want of entries.
        image.header.size = ByteSize(64 * 64 * 512);
        for n in 0..COUNT {
            let entries: Vec<u64> = (0..64).map(|k| (data + (k + n) % 64) << 9).collect();
            image.put(((l1 + n) << 9) | (n % 64 * 8), &[(l2 + n) << 9]);
            image.put((l2 + n) << 9, &entries);
        }
        if twice {
            image.put((l1 + COUNT - 1) << 9, &[l2 << 9]);
        }
        let heads = (0..COUNT).flat_map(|n| {
            let l1_table_offset = HostOffset((l1 + n) << 9);
            SnapshotHead { l1_table_offset, l1_size: 64, ..Default::default() }.encode()
        });
        image.file.write_all_at(&heads.collect::<Vec<u8>>(), table << 9).unwrap();
        // Each table three times: for the references, for the owners, and for which tree has which.
        let most = 3 * ((2 * COUNT) << 9) + 6 * (COUNT * 40) + (64 << 10);
        let (checked, codes) = image.check("clusters that many trees map", most, 3 * 2 * COUNT + 100);
        assert_eq!(codes.contains(&"L27"), twice, "{codes:?}");
        assert!(!checked.rules.iter().any(|(rule, _)| rule.code == "T01"), "{codes:?}");
    }
}

#[test]
fn tables_at_the_end_of_all_offsets() {
    let mut image = Hostile::new(12);
    image.header.l1_table_offset = HostOffset(u64::MAX - 4095);
    image.header.snapshots_offset = HostOffset(u64::MAX - 4095);
    image.header.nb_snapshots = 1;
    // The clusters that are there.
    image.check("tables at 2^64 - 4096", 1 << 16, 16);
    let mut image = Hostile::new(12);
    image.put(3 << 12, &[u64::MAX]);
    image.put(1 << 12, &[u64::MAX, !0xfff]);
    image.header.size = ByteSize(u64::MAX);
    // The same.
    image.check("entries of all ones", 1 << 16, 32);
}
