//! Damages of family O, where one cluster has two owners. The refcounts agree wherever they can, so that counting
//! alone finds nothing.

use qcow2_inspect::format::{bitmap, header, snapshot};
use qcow2_inspect::rules::named::*;

use super::steps::{COMPRESSED, set_bits, target};
use super::{Damage, Draft};

/// Lets the entry at `at` of any table point there.
fn point(draft: &mut Draft, at: u64, to: u64) {
    draft.put_u64(at, to);
    draft.agree();
}

/// Lets it point at a new cluster of its own.
fn point_at_own(draft: &mut Draft, at: u64) {
    let new = draft.add_clusters(1);
    point(draft, at, new);
}

/// Gives a snapshot a second guest range, whose table maps this cluster.
fn link_in_snapshot(draft: &mut Draft, snapshot: usize, host: u64) {
    let table = draft.add_clusters(1);
    draft.put_u64(table, host);
    draft.set_snapshot(snapshot, snapshot::field::L1_SIZE, 2);
    point(draft, l1(draft, snapshot) + 8, table);
}

/// Gives the disk a second L2 table, which maps a stream of its own or that of the first table.
fn link_stream(draft: &mut Draft, is_own: bool) {
    draft.set_header(header::field::L1_SIZE, 2);
    let table = draft.add_clusters(1);
    let own = is_own.then(|| COMPRESSED | draft.add_clusters(1));
    draft.put_u64(table, own.unwrap_or(draft.get(draft.l2_entry(0), 8)));
    point(draft, draft.l1_entry(1), table);
}

/// Where the first entry of a snapshot's L1 table is.
fn l1(draft: &Draft, snapshot: usize) -> u64 {
    draft.snapshot(snapshot).l1().at.0
}

rows! { d:
    L2_TABLE_SHARED_IN_TREE in "valid/v3-basic"
        => point(d, d.l1_entry(1), d.l2_entry(0)), nearly point_at_own(d, d.l1_entry(1));
    // Two snapshots, and the active disk, with one table.
    L2_TABLE_SHARED_IN_TREE "in-snapshot" in "valid/v3-snapshots"
        => { d.set_snapshot(0, snapshot::field::L1_SIZE, 2); point(d, l1(d, 0) + 8, target(d, l1(d, 0))) },
        nearly { d.put_u64(l1(d, 1), target(d, l1(d, 0))); point(d, d.l1_entry(0), target(d, l1(d, 0))) },
        also "L25";
    DATA_CLUSTER_SHARED_IN_TREE in "valid/v3-basic"
        => point(d, d.l2_entry(20), target(d, d.l2_entry(0))), nearly point_at_own(d, d.l2_entry(20));
    DATA_CLUSTER_SHARED_IN_TREE "in-snapshot" in "valid/v3-snapshots" => {
        let table = target(d, l1(d, 0));
        point(d, table + 9 * 8, d.get(table + 8, 8))
    }, nearly d.agree();
    // The range of its own that one snapshot has maps what the range that it shares with the active disk maps. The
    // other does not have this cluster elsewhere.
    DATA_CLUSTER_SHARED_IN_TREE "over-two-tables" in "valid/v3-snapshots" => {
        d.put_u64(l1(d, 1), target(d, d.l1_entry(0)));
        link_in_snapshot(d, 1, target(d, d.l2_entry(8)))
    }, nearly link_in_snapshot(d, 0, target(d, d.l2_entry(8)));
    // The snapshot's L1 table has one entry: as an L2 table, it maps one cluster.
    L2_TABLE_OVER_METADATA in "valid/v3-snapshots"
        => { d.set_header(header::field::L1_SIZE, 2); point(d, d.l1_entry(1), l1(d, 0)) },
        nearly { d.set_header(header::field::L1_SIZE, 2); point_at_own(d, d.l1_entry(1)) }, also "L25" "O02";
    METADATA_OVERLAP in "valid/v3-snapshots"
        => { d.set_snapshot(0, snapshot::field::L1_TABLE_OFFSET, d.l1_entry(0)); d.agree() },
        nearly d.agree();
    DATA_OVER_METADATA in "valid/v3-basic"
        => point(d, d.l2_entry(20), d.refcount_table_entry(0)), nearly point_at_own(d, d.l2_entry(20));
    DATA_OVER_METADATA "snapshot-table" in "valid/v3-snapshots"
        => point(d, d.l2_entry(20), d.snapshot(0).at.0), nearly point_at_own(d, d.l2_entry(20));
    BITMAP_OVERLAP in "valid/v3-bitmaps-512" => {
        d.set_bitmap(1, bitmap::field::BITMAP_TABLE_OFFSET, d.bitmap(0).table().at.0);
        d.agree()
    }, nearly d.agree(), also "B18";
    BITMAP_OVERLAP "data" in "valid/v3-bitmaps-512"
        => point(d, d.l2_entry(d.find_l2(|entry| entry == 0)), d.get(d.bitmap(0).table().at.0, 8)),
        nearly d.agree();
    COMPRESSED_OVERLAP in "valid/v3-zlib" => point(d, d.l2_entry(20), d.get(d.l2_entry(0), 8)), also "L24";
    COMPRESSED_OVERLAP "over-two-tables" in "valid/v3-zlib"
        with is_own = false, nearly true => link_stream(d, is_own), also "L25";
    // Two sectors from one byte on, and one from the next.
    COMPRESSED_OVERLAP "in-part" in "valid/v3-zlib" with bits = 1 << 60, nearly 0 => {
        let stream = d.get(d.l2_entry(0), 8);
        set_bits(d, d.l2_entry(0), bits);
        point(d, d.l2_entry(20), stream + 1)
    }, also "L24";
    REFCOUNT_BLOCK_SHARED in "valid/v3-basic" => {
        let block = d.get(d.refcount_table_entry(0), 8);
        d.set_refcounts(block / 1024, 1, 2);
        d.put_u64(d.refcount_table_entry(1), block)
    }, nearly d.agree(), also "R08";
    REFCOUNT_BLOCK_SHARED "mapped" in "valid/v3-basic"
        => point(d, d.l2_entry(20), d.get(d.refcount_table_entry(0), 8)),
        nearly point_at_own(d, d.l2_entry(20));
}
