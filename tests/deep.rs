//! The deep check on images made for it: what is found does not depend on the threads, each stream is decompressed
//! once however many entries have it, and what it may cost is bounded.
#![allow(clippy::unwrap_used, clippy::as_conversions, reason = "a test may stop at what it does not expect")]

use std::collections::BTreeSet;
use std::io;
use std::num::NonZero;

use qcow2_inspect::check::{CheckOptions, Checked, Verdict, check};
use qcow2_inspect::finding::Finding;
use qcow2_inspect::format::Layout;
use qcow2_inspect::format::header::{HeaderV2, HeaderV3, MAGIC};
use qcow2_inspect::format::scalar::{ByteSize, ClusterBits};
use qcow2_inspect::format::snapshot::SnapshotHead;
use qcow2_inspect::source::ReadAt;
use qcow2_inspect::units::{HostOffset, Tree};
use qcow2_inspect::{Image, Limits};
use qcow2_testkit::readers::FailingOnce;

const CLUSTER_BITS: u32 = 12;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// Entries of a table.
const ENTRIES: u64 = CLUSTER / 8;
const COMPRESSED: u64 = 1 << 62;
/// Bits of an entry that say where the stream starts.
const OFFSET_BITS: u32 = 70 - CLUSTER_BITS;

/// An image in the making: the header, a refcount table without blocks, an L1 table and its L2 tables. Refcounts are
/// not its matter.
struct Packed {
    bytes: Vec<u8>,
    tables: u64,
    snapshots: u32,
    /// Where the next stream goes.
    end: usize,
}

impl Packed {
    /// An image with room for so many compressed clusters.
    fn new(count: u64) -> Self {
        let tables = count.div_ceil(ENTRIES);
        let mut packed =
            Self { bytes: Vec::new(), tables, snapshots: 0, end: ((8 + tables) << CLUSTER_BITS) as usize };
        packed.bytes.resize(packed.end, 0);
        (0..tables).for_each(|n| packed.put(2 * CLUSTER + n * 8, &((8 + n) << CLUSTER_BITS).to_be_bytes()));
        packed
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        let end = at as usize + bytes.len();
        self.bytes.resize(self.bytes.len().max(end), 0);
        self.bytes.get_mut(at as usize..end).unwrap().copy_from_slice(bytes);
    }

    /// Maps a guest cluster to `len` bytes at `at`.
    fn map(&mut self, index: u64, at: u64, len: u64) {
        let sectors = (at % 512 + len).div_ceil(512);
        let entry = COMPRESSED | (sectors - 1) << OFFSET_BITS | at;
        self.put(8 * CLUSTER + index * 8, &entry.to_be_bytes());
    }

    /// Adds a stream right behind the one before, and maps a guest cluster to it.
    fn add(&mut self, index: u64, stream: &[u8]) {
        let at = self.end as u64;
        self.put(at, stream);
        self.map(index, at, stream.len() as u64);
        self.end += stream.len();
    }

    /// Adds snapshots that share the L1 table.
    fn add_snapshots(&mut self, count: u32) {
        let head = SnapshotHead {
            l1_table_offset: HostOffset(2 * CLUSTER),
            l1_size: self.tables as u32,
            ..Default::default()
        };
        self.snapshots = count;
        self.put(3 * CLUSTER, &head.encode().repeat(count as usize));
    }

    fn image(&self, limits: Limits) -> Image<Vec<u8>> {
        Image::open(self.finished(), limits).unwrap()
    }

    fn finished(&self) -> Vec<u8> {
        let header = HeaderV2 {
            magic: MAGIC,
            version: 3,
            cluster_bits: ClusterBits(CLUSTER_BITS),
            size: ByteSize(self.tables * ENTRIES * CLUSTER),
            l1_size: self.tables as u32,
            l1_table_offset: HostOffset(2 * CLUSTER),
            refcount_table_offset: HostOffset(CLUSTER),
            refcount_table_clusters: 1,
            nb_snapshots: self.snapshots,
            snapshots_offset: HostOffset(if self.snapshots == 0 { 0 } else { 3 * CLUSTER }),
            ..Default::default()
        };
        let v3 = HeaderV3 { header_length: 104, refcount_order: 4, ..Default::default() };
        let mut bytes = self.bytes.clone();
        bytes.get_mut(..104).unwrap().copy_from_slice(&[header.encode(), v3.encode()].concat());
        bytes
    }
}

/// A cluster of one byte's repetition, which takes some 20 bytes; or half of one, which is broken.
fn stream(n: u64, is_whole: bool) -> Vec<u8> {
    let len = if is_whole { CLUSTER } else { CLUSTER / 2 };
    miniz_oxide::deflate::compress_to_vec(&vec![n as u8; len as usize], 6)
}

fn deep<R: ReadAt>(image: &Image<R>, threads: usize, each: bool) -> (Checked, Vec<Finding>) {
    let mut findings = Vec::new();
    let options = CheckOptions { deep: NonZero::new(threads), each, ..CheckOptions::default() };
    let checked = check(image, &options, &mut |finding: Finding| findings.push(finding));
    (checked, findings)
}

fn starts(findings: &[Finding], code: &str) -> BTreeSet<u64> {
    let of_rule = findings.iter().filter(|finding| finding.rule.code == code);
    of_rule.map(|finding| finding.guest.unwrap().span.start.0).collect()
}

/// More streams than a batch has, over several windows of the file, some of them far behind.
fn many() -> Packed {
    let count = 3 * 1024;
    let mut packed = Packed::new(count);
    for n in 0..count {
        if n % 700 == 699 {
            packed.end += 3 << 20;
        }
        packed.add(n, &stream(n, n % 97 != 0));
    }
    packed
}

#[test]
fn what_is_found_is_the_same_whatever_the_threads() {
    let packed = many();
    let wanted: BTreeSet<u64> = (0..3 * 1024).filter(|n| n % 97 == 0).map(|n| n * CLUSTER).collect();
    for each in [false, true] {
        let image = packed.image(Limits::default());
        let (checked, alone) = deep(&image, 1, each);
        assert_eq!(checked.decompressed, Some(3 * 1024));
        assert_eq!(checked.verdict, Verdict::Corrupt);
        assert_eq!(starts(&alone, "L15"), wanted);
        let lost = checked.losses.first().unwrap();
        assert_eq!((lost.tree, lost.lost_bytes), (Tree::Active, wanted.len() as u64 * CLUSTER));
        for threads in [2, 3, 8] {
            let other = packed.image(Limits::default());
            let (_, findings) = deep(&other, threads, each);
            assert_eq!(findings, alone, "{threads} threads");
            assert_eq!(other.bytes_read(), image.bytes_read(), "{threads} threads");
        }
    }
}

#[test]
fn a_stream_of_many_entries_and_snapshots_is_decompressed_once() {
    let mut packed = Packed::new(2 * ENTRIES);
    packed.add_snapshots(64);
    packed.add(0, &stream(1, true));
    packed.add(1, &stream(2, false));
    let first = (8 + packed.tables) << CLUSTER_BITS;
    let len = stream(1, true).len() as u64;
    // The first stream again, in both tables.
    (2..2 * ENTRIES).for_each(|n| packed.map(n, first, len));
    let image = packed.image(Limits { decoded_bytes: 2 * CLUSTER, ..Limits::default() });
    let (checked, findings) = deep(&image, 2, false);
    assert!(checked.complete);
    assert_eq!(checked.decompressed, Some(2 * ENTRIES));
    assert_eq!(starts(&findings, "L15"), BTreeSet::from([CLUSTER]));
    assert_eq!(starts(&findings, "O04"), BTreeSet::from([0]));
    assert_eq!(checked.losses.len(), 65);
    assert!(checked.losses.iter().all(|loss| loss.lost_bytes == CLUSTER), "{:?}", checked.losses);
}

#[test]
fn each_limit_is_told_and_never_clean() {
    let packed = many();
    let spent = |limits: Limits| {
        let (checked, findings) = deep(&packed.image(limits), 2, false);
        assert!(!checked.complete && checked.verdict != Verdict::Clean);
        let told = findings.iter().filter(|finding| finding.rule.code == "T01");
        told.map(|finding| finding.found.to_string()).collect::<Vec<_>>()
    };
    let limits = Limits { decoded_bytes: 100 * CLUSTER, ..Limits::default() };
    assert_eq!(spent(limits), ["decoded_bytes 409600 spent"]);
    assert_eq!(spent(Limits { decoded_cluster_len: 2048, ..limits }), ["decoded_cluster_len 2048 spent"]);
    assert_eq!(spent(Limits { compressed_clusters: 5, ..limits }), ["compressed_clusters 5 spent"]);
    let (checked, findings) = deep(&packed.image(limits), 2, false);
    assert_eq!(checked.decompressed, Some(100));
    assert_eq!(starts(&findings, "L15"), BTreeSet::from([0, 97 * CLUSTER]));
}

/// 1,024 streams that start one byte behind each other, each with all the room that an entry can give.
#[test]
fn overlapping_streams_are_read_in_one_go() {
    let mut packed = Packed::new(1024);
    let at = packed.end as u64;
    packed.put(at, &vec![7; 4 * CLUSTER as usize]);
    let most = 512 * 16;
    (0..1024).for_each(|n| packed.map(n, at + n, most - (at + n) % 512));
    let image = packed.image(Limits::default());
    let (checked, findings) = deep(&image, 2, true);
    assert_eq!(checked.decompressed, Some(1024));
    assert_eq!(findings.iter().filter(|finding| finding.rule.code == "O04").count(), 1023);
    let (bytes, len) = (image.bytes_read(), image.file_len());
    assert!(bytes < 8 * len, "{bytes} bytes read of {len}");
}

/// The second stream starts in the last sector of the first, where its bytes may have ended or not.
#[test]
fn only_decompressing_tells_where_a_stream_ends() {
    for (inside, wanted) in [(0, 0), (1, 1)] {
        let mut packed = Packed::new(2);
        let (first, second) = (stream(1, true), stream(2, true));
        let at = packed.end as u64;
        packed.put(at, &first);
        packed.map(0, at, first.len() as u64);
        let start = at + first.len() as u64 - inside;
        if inside == 0 {
            packed.put(start, &second);
        }
        packed.map(1, start, second.len() as u64);
        let image = packed.image(Limits::default());
        let count = |deep: Option<NonZero<usize>>| {
            let mut count = 0;
            let options = CheckOptions { deep, ..CheckOptions::default() };
            check(&image, &options, &mut |finding: Finding| count += usize::from(finding.rule.code == "O04"));
            count
        };
        assert_eq!((count(None), count(NonZero::new(1))), (0, wanted), "{inside}");
    }
}

#[test]
fn a_part_that_cannot_be_read_leaves_the_others() {
    let packed = many();
    let mut told = 0;
    for fails_at in 0..120 {
        let source = FailingOnce::new(packed.finished(), fails_at, io::ErrorKind::Other);
        let Ok(image) = Image::open(source, Limits::default()) else { continue };
        let (checked, findings) = deep(&image, 2, true);
        let is_told = findings.iter().any(|finding| finding.rule.code == "T02");
        assert_ne!(checked.verdict, Verdict::Clean, "read {fails_at}");
        if is_told && checked.decompressed.is_some_and(|count| (1..3 * 1024).contains(&count)) {
            told += 1;
            assert!(!checked.complete);
            let found = starts(&findings, "L15");
            assert!(found.len() > 5, "read {fails_at}: {found:?}");
        }
    }
    assert!(told > 3, "{told} of the reads were streams");
}
