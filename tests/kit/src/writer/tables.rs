//! L1 and L2 tables.

use qcow2_inspect::units::{HostOffset, Span, to_usize};

use super::{EntryPlan, Places, Plan, SnapshotPlan, TreePlan, Uses};

const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;

/// An L1 table. Only the active one tells which L2 tables have a single reference.
pub(super) fn l1(uses: &Uses, places: &Places, tree: &TreePlan, active: bool) -> Vec<u8> {
    let mut bytes = vec![0; to_usize(u64::from(tree.l1_size) * 8)];
    for (&index, &table) in &tree.l1 {
        let copied = active && uses.tables[table] == 1;
        let entry = places.tables[table].0 | if copied { COPIED } else { 0 };
        bytes[to_usize(index * 8)..][..8].copy_from_slice(&entry.to_be_bytes());
    }
    bytes
}

/// An L2 table of the pool.
pub(super) fn l2(plan: &Plan, uses: &Uses, places: &Places, table: usize) -> Vec<u8> {
    let geometry = plan.geometry();
    let mut bytes = vec![0; plan.cluster_size()];
    let active_at = plan.active.l1.iter().find(|(_, used)| **used == table).map(|(l1_index, _)| *l1_index);
    let stale = plan.snapshots.iter().any(|s: &SnapshotPlan| {
        s.stale_copied && active_at.is_none() && s.tree.l1.values().any(|used| *used == table)
    });
    for (&index, &entry) in &plan.tables[table].entries {
        let (mut first, second) = match entry {
            EntryPlan::Zero => (ZERO, 0),
            EntryPlan::ZeroAllocated(_) => (ZERO, 0),
            EntryPlan::Data(_) => (0, 0),
            EntryPlan::Compressed(stream) => (compressed(plan.cluster_bits, places.streams[stream]), 0),
            EntryPlan::Subclusters { allocated, zero, .. } => {
                (0, u64::from(zero) << 32 | u64::from(allocated))
            }
        };
        if let Some(cluster) = entry.cluster() {
            let at = match plan.data_file() {
                Some(_) => geometry.guest_offset(active_at.unwrap_or_default(), index).map_or(0, |at| at.0),
                None => places.clusters[cluster].0,
            };
            // QEMU takes each cluster of an external data file for one with a single reference.
            let copied = match active_at {
                Some(_) => plan.data_file().is_some() || uses.clusters[cluster] == 1,
                None => stale,
            };
            first |= at | if copied { COPIED } else { 0 };
        }
        let entry = [first.to_be_bytes(), second.to_be_bytes()].concat();
        let len = to_usize(geometry.l2_entry_len());
        bytes[to_usize(index) * len..][..len].copy_from_slice(&entry[..len]);
    }
    bytes
}

/// A compressed cluster's entry: where the stream starts, and how many further sectors it touches.
fn compressed(cluster_bits: u32, stream: Span) -> u64 {
    let Span { at: HostOffset(at), len } = stream;
    let sectors = (at % 512 + len) / 512;
    COMPRESSED | at | (sectors - 1) << (70 - cluster_bits)
}
