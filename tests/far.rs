//! Offsets that 64 bits cannot hold: what no guest and no file can have is told of no place, and not of the last one.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may stop at what it does not expect"
)]

use std::collections::BTreeMap;
use std::io;

use qcow2_inspect::check::{CheckOptions, Checked, check};
use qcow2_inspect::finding::Finding;
use qcow2_inspect::format::Layout;
use qcow2_inspect::format::header::{HeaderV2, HeaderV3, MAGIC};
use qcow2_inspect::format::scalar::{ByteSize, ClusterBits};
use qcow2_inspect::format::snapshot::{SnapshotExtra, SnapshotHead};
use qcow2_inspect::report::{self, JsonSink, Subject};
use qcow2_inspect::source::ReadAt;
use qcow2_inspect::units::{GuestOffset, GuestSpan, HostOffset, Tree, to_u64, to_usize};
use qcow2_inspect::{Image, Limits};

/// A long file of which some pieces are stored.
#[derive(Default)]
struct Far {
    len: u64,
    pieces: BTreeMap<u64, Vec<u8>>,
}

impl Far {
    fn put(&mut self, at: u64, bytes: impl Into<Vec<u8>>) {
        self.pieces.insert(at, bytes.into());
    }

    fn put_u64(&mut self, at: u64, value: u64) {
        self.put(at, value.to_be_bytes());
    }
}

impl ReadAt for Far {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let len = (self.len.saturating_sub(offset)).min(to_u64(buf.len()));
        let buf = &mut buf[..to_usize(len)];
        buf.fill(0);
        for (at, bytes) in self.pieces.range(..offset + len) {
            for (byte, at) in bytes.iter().zip(*at..).filter(|(_, at)| *at >= offset) {
                if let Some(to) = buf.get_mut(to_usize(at - offset)) {
                    *to = *byte;
                }
            }
        }
        Ok(buf.len())
    }

    fn next_data(&self, offset: u64) -> Option<u64> {
        let ends = |(at, bytes): (&u64, &Vec<u8>)| at + to_u64(bytes.len()) > offset;
        self.pieces.iter().find(|piece| ends(*piece)).map(|(at, _)| offset.max(*at))
    }

    fn next_hole(&self, offset: u64) -> u64 {
        let here = self.pieces.range(..=offset).next_back();
        here.map_or(offset, |(at, bytes)| offset.max(at + to_u64(bytes.len())))
    }
}

const CLUSTER_BITS: u32 = 24;
const CLUSTER: u64 = 1 << CLUSTER_BITS;
/// What one L2 table maps with such clusters, and L1 entries for all that a guest can have.
const COVERAGE: u64 = 1 << 45;
const REACHED: u32 = 1 << 19;
/// Offset bits of an entry that is on no cluster boundary.
const BROKEN: u64 = 1 << 20 | 512;

fn header(cluster_bits: u32, refcount_order: u32, change: impl FnOnce(&mut HeaderV2)) -> Vec<u8> {
    let mut v2 = HeaderV2 {
        magic: MAGIC,
        version: 3,
        cluster_bits: ClusterBits(cluster_bits),
        size: ByteSize(COVERAGE),
        refcount_table_clusters: 1,
        ..Default::default()
    };
    change(&mut v2);
    let v3 = HeaderV3 { header_length: 104, refcount_order, ..Default::default() };
    [v2.encode(), v3.encode()].concat()
}

/// An L1 table with an entry that no guest can reach, to an L2 table with a cluster on no boundary. A snapshot may have that
/// table as its second.
fn beyond_any_guest(l1_entry: u64, has_snapshot: bool) -> Far {
    // Nothing lies behind the last cluster that is in use: all of that would be read.
    let len = if has_snapshot { 6 } else { 4 } * CLUSTER;
    let mut file = Far { len, ..Far::default() };
    file.put(
        0,
        header(CLUSTER_BITS, 4, |header| {
            (header.l1_table_offset, header.l1_size) = (HostOffset(CLUSTER), REACHED + 3);
            header.refcount_table_offset = HostOffset(3 * CLUSTER);
            (header.nb_snapshots, header.snapshots_offset) = (has_snapshot.into(), HostOffset(4 * CLUSTER));
        }),
    );
    file.put_u64(CLUSTER + u64::from(REACHED + 2) * 8, l1_entry);
    file.put_u64(2 * CLUSTER + 5 * 8, BROKEN);
    if has_snapshot {
        let head = SnapshotHead {
            l1_table_offset: HostOffset(5 * CLUSTER),
            l1_size: 2,
            extra_data_size: 24,
            ..Default::default()
        };
        let disk_size = ByteSize(2 * COVERAGE);
        let extra = SnapshotExtra { vm_state_size_large: ByteSize(0), disk_size, icount: 0 };
        file.put(4 * CLUSTER, [head.encode(), extra.encode()].concat());
        file.put_u64(5 * CLUSTER + 8, l1_entry);
    }
    file
}

fn checked(file: &Far) -> (Checked, Vec<Finding>) {
    let image = Image::open(file, Limits::default()).unwrap();
    let mut found = Vec::new();
    let checked = check(&image, &CheckOptions::default(), &mut |finding: Finding| found.push(finding));
    (checked, found)
}

fn of<'f>(found: &'f [Finding], rule: &str) -> &'f Finding {
    found.iter().find(|finding| finding.rule.code == rule).unwrap_or_else(|| panic!("no {rule}: {found:#?}"))
}

#[test]
fn what_no_guest_can_reach_hurts_none() {
    for (l1_entry, rule) in [(2 * CLUSTER, "L08"), (2 * CLUSTER + 512, "L02"), (8 * CLUSTER, "L03")] {
        let (checked, found) = checked(&beyond_any_guest(l1_entry, false));
        assert_eq!(of(&found, rule).guest, None, "{rule}");
        assert_eq!(checked.losses, [], "{rule}");
    }
}

#[test]
fn a_table_is_lost_where_a_snapshot_can_reach_it() {
    let (checked, found) = checked(&beyond_any_guest(2 * CLUSTER, true));
    let span = GuestSpan { start: GuestOffset(COVERAGE + 5 * CLUSTER), len: CLUSTER };
    let guest = of(&found, "L08").guest.unwrap();
    assert_eq!((guest.tree, guest.span), (Tree::Snapshot(0), span));
    let losses: Vec<_> = checked.losses.iter().map(|loss| (loss.tree, loss.lost_bytes)).collect();
    assert_eq!(losses, [(Tree::Snapshot(0), CLUSTER)]);
    let lost: Vec<_> = checked.losses[0].lost.iter().collect();
    assert_eq!(lost, [span]);
}

/// A block whose first cluster starts at 2^64.
#[test]
fn refcounts_of_no_cluster_have_no_place() {
    const MIB: u64 = 1 << 20;
    let mut file = Far { len: 12 * MIB, ..Far::default() };
    file.put(
        0,
        header(21, 0, |header| {
            (header.refcount_table_offset, header.refcount_table_clusters) = (HostOffset(2 * MIB), 3);
        }),
    );
    file.put_u64(2 * MIB + (1 << 19) * 8, 8 * MIB);
    file.put(8 * MIB, [0x10]);
    let image = Image::open(&file, Limits::default()).unwrap();
    let (mut out, subject) = (Vec::new(), Subject { path: b"far", len: image.file_len() });
    report::dump(&image, &subject, &report::Options::default(), &mut JsonSink::new(&mut out)).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("\"block\":524288") && !text.contains(&u64::MAX.to_string()), "{text}");
}
