//! The reference count of each host cluster, and how it is stored.

use qcow2_inspect::units::{HostOffset, Span, to_u64, to_usize};

use super::{Places, Plan, Uses, places};

/// Counts the references of each cluster of the file.
pub(super) fn refcounts(plan: &Plan, uses: &Uses, places: &Places) -> Vec<u64> {
    let cluster_size = to_u64(plan.cluster_size());
    let mut counts = vec![0; to_usize(places.cluster_count)];
    let mut add = |at: HostOffset, len: u64, uses: u64| {
        if len > 0 && uses > 0 && at.0 > 0 {
            let (first, last) = (at.0 / cluster_size, (at.0 + len - 1) / cluster_size);
            counts[to_usize(first)..=to_usize(last)].iter_mut().for_each(|count| *count += uses);
        }
    };
    add(places.refcount_table, places.refcount_table_clusters * cluster_size, 1);
    places.refcount_blocks.iter().for_each(|at| add(*at, cluster_size, 1));
    add(places.l1, u64::from(plan.active.l1_size) * 8, 1);
    for (at, snapshot) in places.snapshot_l1.iter().zip(&plan.snapshots) {
        add(*at, u64::from(snapshot.tree.l1_size) * 8, 1);
    }
    add(places.snapshot_table, places::snapshot_table_len(plan), 1);
    places.tables.iter().zip(&uses.tables).for_each(|(at, uses)| add(*at, cluster_size, *uses));
    places.clusters.iter().zip(&uses.clusters).for_each(|(at, uses)| add(*at, cluster_size, *uses));
    for (Span { at, len }, uses) in places.streams.iter().zip(&uses.streams) {
        add(*at, *len, *uses);
    }
    add(places.bitmap_directory, places::bitmap_directory_len(plan), 1);
    for (at, bitmap) in places.bitmap_tables.iter().zip(&plan.bitmaps) {
        add(*at, to_u64(bitmap.table.len()) * 8, 1);
    }
    places.bitmap_clusters.iter().flatten().for_each(|at| add(*at, cluster_size, 1));
    // The header.
    counts[0] = 1;
    counts
}

/// Stores a refcount in a block. Narrow ones start at the least significant bit of their byte.
pub(super) fn put(block: &mut [u8], order: u32, index: usize, count: u64) {
    if order < 3 {
        let per_byte = 8 >> order;
        let [.., low] = count.to_be_bytes();
        block[index / per_byte] |= low << ((index % per_byte) << order);
    } else {
        let width = 1 << (order - 3);
        block[index * width..][..width].copy_from_slice(&count.to_be_bytes()[8 - width..]);
    }
}
