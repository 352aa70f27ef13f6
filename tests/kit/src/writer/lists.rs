//! The snapshot table and the bitmap directory, and what bitmaps hold.

use qcow2_inspect::format::Layout;
use qcow2_inspect::format::bitmap::{BitmapHead, DIRTY_TRACKING};
use qcow2_inspect::format::scalar::{ByteSize, ByteSize32, GranularityBits, Seconds};
use qcow2_inspect::format::snapshot::{SnapshotExtra, SnapshotHead};
use qcow2_inspect::units::{HostOffset, to_u64, to_usize};

use super::{BitmapCluster, BitmapPlan, Places, Plan, SnapshotPlan};

/// What unknown extra data is made of.
const UNKNOWN_EXTRA: u8 = 0x5a;

/// The snapshot table; the last entry has no padding.
pub(super) fn snapshot_table(plan: &Plan, places: &Places) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    for (snapshot, l1) in plan.snapshots.iter().zip(&places.snapshot_l1) {
        bytes.resize(bytes.len().next_multiple_of(8), 0);
        bytes.extend(snapshot_head(snapshot, *l1).encode());
        bytes.extend(snapshot_extra(snapshot));
        bytes.extend(&snapshot.id);
        bytes.extend(&snapshot.name);
    }
    bytes
}

/// The fixed part of a snapshot's entry.
pub(crate) fn snapshot_head(plan: &SnapshotPlan, l1_table_offset: HostOffset) -> SnapshotHead {
    let short = |len: usize| u16::try_from(len).unwrap_or(u16::MAX);
    SnapshotHead {
        l1_table_offset,
        l1_size: plan.tree.l1_size,
        id_str_size: short(plan.id.len()),
        name_size: short(plan.name.len()),
        date_sec: Seconds(plan.date_sec),
        date_nsec: plan.date_nsec,
        vm_clock_nsec: plan.vm_clock_nsec,
        // As QEMU has it: 0 where the number does not fit.
        vm_state_size: ByteSize32(u32::try_from(plan.vm_state_size).unwrap_or_default()),
        extra_data_size: plan.extra_len,
    }
}

/// A snapshot's extra data.
pub(crate) fn snapshot_extra(plan: &SnapshotPlan) -> Vec<u8> {
    let known = SnapshotExtra {
        vm_state_size_large: ByteSize(plan.vm_state_size),
        disk_size: ByteSize(plan.disk_size),
        icount: plan.icount,
    };
    let mut bytes = known.encode();
    bytes.resize(to_usize(plan.extra_len.into()), UNKNOWN_EXTRA);
    bytes
}

/// The bitmap directory.
pub(super) fn bitmap_directory(plan: &Plan, places: &Places) -> Vec<u8> {
    let mut bytes: Vec<u8> = Vec::new();
    for (bitmap, table) in plan.bitmaps.iter().zip(&places.bitmap_tables) {
        bytes.extend(bitmap_head(bitmap, *table).encode());
        bytes.extend(&bitmap.name);
        bytes.resize(bytes.len().next_multiple_of(8), 0);
    }
    bytes
}

/// The fixed part of a bitmap's entry.
pub(crate) fn bitmap_head(plan: &BitmapPlan, bitmap_table_offset: HostOffset) -> BitmapHead {
    BitmapHead {
        bitmap_table_offset,
        bitmap_table_size: u32::try_from(plan.table.len()).unwrap_or(u32::MAX),
        flags: plan.flags,
        r#type: DIRTY_TRACKING,
        granularity_bits: GranularityBits(plan.granularity_bits),
        name_size: u16::try_from(plan.name.len()).unwrap_or(u16::MAX),
        extra_data_size: 0,
    }
}

/// A bitmap's table.
pub(super) fn bitmap_table(plan: &BitmapPlan, clusters: &[HostOffset]) -> Vec<u8> {
    let entry = |(cluster, at): (&BitmapCluster, &HostOffset)| match cluster {
        BitmapCluster::Zeroes => 0,
        BitmapCluster::Ones => 1,
        BitmapCluster::Serialized(_) => at.0,
    };
    plan.table.iter().zip(clusters).map(entry).flat_map(u64::to_be_bytes).collect()
}

/// The bytes of one cluster of a bitmap; `None` where they are not in the file.
pub(crate) fn bitmap_cluster(plan: &Plan, bitmap: &BitmapPlan, index: usize) -> Option<Vec<u8>> {
    let Some(BitmapCluster::Serialized(fill)) = bitmap.table.get(index) else { return None };
    let mut bytes = fill.bytes(plan.cluster_size());
    let bits = plan.size.div_ceil(1 << bitmap.granularity_bits);
    let bits = bits.saturating_sub(to_u64(index * plan.cluster_size()) * 8);
    let whole = to_usize(bits / 8);
    if let Some(tail) = bytes.get_mut(whole..)
        && let Some((first, rest)) = tail.split_first_mut()
    {
        *first &= !(u8::MAX << (bits % 8));
        rest.fill(0);
    }
    Some(bytes)
}
