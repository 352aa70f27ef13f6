//! Images of few bytes that claim much, as files that take no memory of their own.

use std::io;
use std::ops::Range;

use qcow2_inspect::format::Layout;
use qcow2_inspect::format::bitmap::BitmapHead;
use qcow2_inspect::format::extension::{BITMAPS, BitmapsExtension, ExtensionHead};
use qcow2_inspect::format::features::BITMAPS as BITMAPS_BIT;
use qcow2_inspect::format::header::{HeaderV2, HeaderV3, MAGIC};
use qcow2_inspect::format::scalar::{ByteSize, ClusterBits, FeatureBits, GranularityBits, Magic};
use qcow2_inspect::format::snapshot::SnapshotHead;
use qcow2_inspect::source::ReadAt;
use qcow2_inspect::units::HostOffset;

/// A large file of few bytes. It takes no memory of its own while it is read.
pub(super) struct Sparse {
    pub(super) len: u64,
    parts: Vec<(u64, Vec<u8>)>,
    /// What stands elsewhere in a part of it: the 64-bit number at each place.
    pub(super) elsewhere: fn(u64) -> u64,
    pub(super) filled: Range<u64>,
}

impl Sparse {
    /// Puts bytes over those that were there.
    pub(super) fn put(&mut self, at: u64, bytes: &[u8]) {
        self.parts.push((at, bytes.to_vec()));
    }
}

impl ReadAt for Sparse {
    fn len(&self) -> io::Result<u64> {
        Ok(self.len)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let left = usize::try_from(self.len.saturating_sub(offset)).unwrap_or(usize::MAX);
        let len = buf.len().min(left);
        let buf = buf.get_mut(..len).unwrap_or_default();
        for (at, byte) in (offset..).zip(&mut *buf) {
            let number = if self.filled.contains(&at) { (self.elsewhere)(at & !7) } else { 0 };
            *byte = number.rotate_left(u32::try_from(at % 8).unwrap() * 8 + 8).to_le_bytes()[0];
        }
        for (at, bytes) in &self.parts {
            let skip = usize::try_from(offset.saturating_sub(*at)).unwrap();
            let from = usize::try_from(at.saturating_sub(offset)).unwrap();
            let to = buf.get_mut(from..).unwrap_or_default();
            to.iter_mut().zip(bytes.iter().skip(skip)).for_each(|(to, byte)| *to = *byte);
        }
        Ok(len)
    }
}

/// Images of few bytes that claim much.
pub(super) fn hostile() -> Vec<(&'static str, Sparse)> {
    vec![
        ("131,072 empty extensions", extensions()),
        ("an extension of 4 GiB", {
            let one = ExtensionHead { magic: Magic(0x1234_5678), length: u32::MAX }.encode();
            image(21, |_| {}, |_| {}, &one, Vec::new())
        }),
        ("65,536 zero snapshots", snapshots(65_536, SnapshotHead::default())),
        ("more snapshots than QEMU allows", snapshots(u32::MAX, SnapshotHead::default())),
        (
            "extra data of 4 GiB",
            snapshots(1, SnapshotHead { extra_data_size: u32::MAX, ..Default::default() }),
        ),
        ("snapshots with the longest names", {
            let names = SnapshotHead { id_str_size: u16::MAX, name_size: u16::MAX, ..Default::default() };
            snapshots(65_536, SnapshotHead { extra_data_size: 1024, ..names })
        }),
        ("20,000 bitmaps", bitmaps(20_000, None)),
        ("a bitmap directory of 64 MiB", bitmaps(1, Some(64 << 20))),
        ("4 billion bitmaps in 2^64 bytes", bitmaps(u32::MAX, Some(u64::MAX))),
        ("an L1 table of 4 million entries behind the end", {
            let l1 = |header: &mut HeaderV2| {
                (header.l1_size, header.l1_table_offset) = (4 << 20, HostOffset(1 << 40));
            };
            image(16, l1, |_| {}, &[], Vec::new())
        }),
        ("65,536 snapshots of two L2 tables each", trees()),
        ("a refcount table of 8 MiB", {
            image(16, |header| header.refcount_table_clusters = 128, |_| {}, &[], Vec::new())
        }),
        ("a refcount table of 2^48 bytes", {
            image(16, |header| header.refcount_table_clusters = u32::MAX, |_| {}, &[], Vec::new())
        }),
        ("a disk of 1 PiB", image(16, |header| header.size = ByteSize(1 << 50), |_| {}, &[], Vec::new())),
        ("a header of 4 GiB", image(21, |_| {}, |header| header.header_length = u32::MAX, &[], Vec::new())),
        ("clusters of 1 GiB", image(30, |_| {}, |_| {}, &[], Vec::new())),
    ]
}

/// Four clusters: the header, the refcount table, a block, the L1 table.
pub(super) fn image(
    cluster_bits: u32,
    change: impl FnOnce(&mut HeaderV2),
    change_v3: impl FnOnce(&mut HeaderV3),
    extensions: &[u8],
    mut parts: Vec<(u64, Vec<u8>)>,
) -> Sparse {
    let mut v2 = HeaderV2 {
        magic: MAGIC,
        version: 3,
        cluster_bits: ClusterBits(cluster_bits),
        size: ByteSize(1 << 20),
        l1_size: 1,
        l1_table_offset: HostOffset(3 << cluster_bits),
        refcount_table_offset: HostOffset(1 << cluster_bits),
        refcount_table_clusters: 1,
        ..Default::default()
    };
    let mut v3 = HeaderV3 { refcount_order: 4, header_length: 104, ..Default::default() };
    change(&mut v2);
    change_v3(&mut v3);
    parts.push((0, [v2.encode(), v3.encode(), extensions.to_vec()].concat()));
    parts.push((1 << cluster_bits, (2_u64 << cluster_bits).to_be_bytes().to_vec()));
    let end = |(at, bytes): &(u64, Vec<u8>)| at + u64::try_from(bytes.len()).unwrap();
    let len = parts.iter().map(end).max().unwrap_or_default().max(4 << cluster_bits);
    Sparse { len, parts, elsewhere: |_| 0, filled: 0..u64::MAX }
}

fn extensions() -> Sparse {
    let one = ExtensionHead { magic: Magic(0x1234_5678), length: 0 }.encode();
    image(21, |_| {}, |_| {}, &one.repeat(131_072), Vec::new())
}

/// Entries with this head, in a file that goes on with zeros for 64 MiB.
fn snapshots(count: u32, head: SnapshotHead) -> Sparse {
    let table = |header: &mut HeaderV2| {
        (header.nb_snapshots, header.snapshots_offset) = (count, HostOffset(4 << 16));
    };
    let mut image = image(16, table, |_| {}, &[], vec![(4 << 16, head.encode())]);
    image.len = 64 << 20;
    image
}

/// As many snapshots as QEMU allows, each with tables of its own: more than are remembered.
fn trees() -> Sparse {
    const L1_TABLES: u64 = 1 << 30;
    const L2_TABLES: u64 = 1 << 32;
    const COUNT: u32 = 65_536;
    let table = |header: &mut HeaderV2| {
        (header.nb_snapshots, header.snapshots_offset) = (COUNT, HostOffset(1 << 20));
    };
    let entry = |n| {
        let l1_table_offset = HostOffset(L1_TABLES + u64::from(n) * 512);
        let head = SnapshotHead { l1_table_offset, l1_size: 2, id_str_size: 8, ..Default::default() };
        [head.encode(), format!("{n:08}").into_bytes()].concat()
    };
    let mut image = image(9, table, |_| {}, &[], vec![(1 << 20, (0..COUNT).flat_map(entry).collect())]);
    image.elsewhere = |at| {
        let (n, entry) = ((at.max(L1_TABLES) - L1_TABLES) / 512, at % 512 / 8);
        let is_l1 = (L1_TABLES..L2_TABLES).contains(&at) && entry < 2;
        if is_l1 { (L2_TABLES + (2 * n + entry) * 512) | 1 << 63 } else { 0 }
    };
    image.len = 1 << 33;
    image
}

/// Bitmaps in a directory that claims to have `size` bytes.
pub(super) fn bitmaps(count: u32, size: Option<u64>) -> Sparse {
    let count_there = count.min(65_535);
    let mut directory = Vec::with_capacity(48 * usize::try_from(count_there).unwrap());
    for n in 0..count_there {
        let name = format!("bitmap-{n:08}");
        let head = BitmapHead {
            bitmap_table_offset: HostOffset(3 << 16),
            bitmap_table_size: 1,
            r#type: 1,
            granularity_bits: GranularityBits(16),
            name_size: 15,
            ..Default::default()
        };
        directory.extend(head.encode());
        directory.extend(name.into_bytes());
        directory.resize(directory.len().next_multiple_of(8), 0);
    }
    let extension = BitmapsExtension {
        nb_bitmaps: count,
        bitmap_directory_size: size.unwrap_or(u64::try_from(directory.len()).unwrap()),
        bitmap_directory_offset: HostOffset(4 << 16),
        ..Default::default()
    };
    let extensions = [ExtensionHead { magic: BITMAPS, length: 24 }.encode(), extension.encode(), vec![0; 8]];
    let bit = |header: &mut HeaderV3| header.autoclear_features = FeatureBits(1 << BITMAPS_BIT.bit);
    image(16, |_| {}, bit, &extensions.concat(), vec![(4 << 16, directory)])
}

/// A file of 16 GiB with 16,384 L2 tables, each entry of which goes by its place.
pub(super) fn maps(entry: fn(u64) -> u64) -> Sparse {
    const COUNT: u64 = 16_384;
    let l1 = |header: &mut HeaderV2| {
        (header.l1_size, header.l1_table_offset) = (16_384, HostOffset(1 << 20));
        header.size = ByteSize(COUNT * 64 * 512);
    };
    let tables = (0..COUNT).flat_map(|n| ((L2_TABLES + n * 512) | 1 << 63).to_be_bytes()).collect();
    let mut image = image(9, l1, |_| {}, &[], vec![(1 << 20, tables)]);
    image.elsewhere = entry;
    image.len = 16 << 30;
    image
}

const L2_TABLES: u64 = 1 << 24;

/// The number of an entry of these tables.
fn entry_number(at: u64) -> Option<u64> {
    Some(at.checked_sub(L2_TABLES)? / 8).filter(|n| *n < 16_384 * 64)
}

/// A cluster anywhere in the file.
pub(super) fn scattered(at: u64) -> u64 {
    let Some(n) = entry_number(at) else { return 0 };
    ((n.wrapping_mul(0x9e37_79b9_7f4a_7c15) % (1 << 25)) * 512) | 1 << 63
}

/// A stream behind the one before, one sector long.
pub(super) fn compressed(at: u64) -> u64 {
    let Some(n) = entry_number(at) else { return 0 };
    1 << 62 | ((1 << 30) + n * 512)
}

/// 32 compressed clusters with as much room as an entry can give, and as much between them: no two are read at once.
pub(super) fn streams(cluster_bits: u32) -> Sparse {
    let entry =
        |n: u64| 1 << 62 | !(u64::MAX << (cluster_bits - 8)) << (70 - cluster_bits) | (n << cluster_bits);
    let entries = (0..32_u64).flat_map(|n| entry(8 + 4 * n).to_be_bytes()).collect();
    let parts = vec![
        (3 << cluster_bits, (4_u64 << cluster_bits).to_be_bytes().to_vec()),
        (4 << cluster_bits, entries),
    ];
    let mut image = image(cluster_bits, |_| {}, |_| {}, &[], parts);
    image.len = (8 + 4 * 32) << cluster_bits;
    image
}
