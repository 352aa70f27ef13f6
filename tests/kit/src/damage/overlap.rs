//! Damages where one cluster has two owners. The refcounts agree wherever they can, so that counting alone finds
//! nothing.

use qcow2_inspect::format::{bitmap, header, snapshot};
use qcow2_inspect::rules::named::{
    BITMAP_OVERLAP, COMPRESSED_OVERLAP, DATA_CLUSTER_SHARED_IN_TREE, DATA_OVER_METADATA,
    L2_TABLE_OVER_METADATA, L2_TABLE_SHARED_IN_TREE, METADATA_OVERLAP, REFCOUNT_BLOCK_SHARED,
};

use super::{Damage, Draft, unchanged};

/// An L2 entry of the first active table.
fn map(draft: &mut Draft, index: u64, host: u64) {
    draft.put_u64(draft.l2_entry(index), host);
    draft.agree();
}

/// An L1 entry of the active table.
fn link(draft: &mut Draft, index: u64, table: u64) {
    draft.put_u64(draft.l1_entry(index), table);
    draft.agree();
}

fn host(draft: &Draft, index: u64) -> u64 {
    draft.get(draft.l2_entry(index), 8) & 0x00ff_ffff_ffff_fe00
}

/// Maps a guest cluster of `base` to a new cluster of its own.
fn map_new(draft: &mut Draft, index: u64) {
    let new = draft.add_clusters(1);
    map(draft, index, new);
}

/// Gives the guest range of an L1 entry a table of its own.
fn link_new(draft: &mut Draft, index: u64) {
    let new = draft.add_clusters(1);
    link(draft, index, new);
}

/// Gives a snapshot a second guest range, whose table maps this cluster.
fn link_in_snapshot(draft: &mut Draft, snapshot: usize, host: u64) {
    let table = draft.add_clusters(1);
    draft.put_u64(table, host);
    draft.put_u64(draft.snapshot(snapshot).l1().at.0 + 8, table);
    draft.set_snapshot(snapshot, snapshot::field::L1_SIZE, 2);
    draft.agree();
}

pub(super) static DAMAGES: &[Damage] = &[
    Damage {
        rule: &L2_TABLE_SHARED_IN_TREE,
        variant: "",
        base: "valid/v3-basic",
        breaks: |draft| link(draft, 1, draft.l2_entry(0)),
        nearly: |draft| link_new(draft, 1),
        also: &[],
    },
    Damage {
        rule: &L2_TABLE_SHARED_IN_TREE,
        variant: "in-snapshot",
        base: "valid/v3-snapshots",
        breaks: |draft| {
            let table = draft.snapshot(0).l1();
            draft.put_u64(table.at.0 + 8, draft.get(table.at.0, 8) & !(1 << 63));
            draft.set_snapshot(0, snapshot::field::L1_SIZE, 2);
            draft.agree();
        },
        // Two snapshots, and the active disk, with one table.
        nearly: |draft| {
            let table = draft.get(draft.snapshot(0).l1().at.0, 8) & !(1 << 63);
            draft.put_u64(draft.snapshot(1).l1().at.0, table);
            link(draft, 0, table);
        },
        also: &["L25"],
    },
    Damage {
        rule: &DATA_CLUSTER_SHARED_IN_TREE,
        variant: "",
        base: "valid/v3-basic",
        breaks: |draft| map(draft, 20, host(draft, 0)),
        nearly: |draft| map_new(draft, 20),
        also: &[],
    },
    Damage {
        rule: &DATA_CLUSTER_SHARED_IN_TREE,
        variant: "in-snapshot",
        base: "valid/v3-snapshots",
        breaks: |draft| {
            let table = draft.get(draft.snapshot(0).l1().at.0, 8) & !(1 << 63);
            draft.put_u64(table + 9 * 8, draft.get(table + 8, 8));
            draft.agree();
        },
        nearly: |draft| draft.agree(),
        also: &[],
    },
    // The range of its own that one snapshot has maps what the range that it shares with the active disk maps.
    Damage {
        rule: &DATA_CLUSTER_SHARED_IN_TREE,
        variant: "over-two-tables",
        base: "valid/v3-snapshots",
        breaks: |draft| {
            let shared = draft.get(draft.l1_entry(0), 8) & !(1 << 63);
            draft.put_u64(draft.snapshot(1).l1().at.0, shared);
            link_in_snapshot(draft, 1, host(draft, 8));
        },
        // The first snapshot does not have this cluster elsewhere.
        nearly: |draft| link_in_snapshot(draft, 0, host(draft, 8)),
        also: &[],
    },
    Damage {
        rule: &L2_TABLE_OVER_METADATA,
        variant: "",
        base: "valid/v3-snapshots",
        // The snapshot's L1 table has one entry: as an L2 table, it maps one cluster.
        breaks: |draft| {
            draft.set_header(header::field::L1_SIZE, 2);
            link(draft, 1, draft.snapshot(0).l1().at.0);
        },
        nearly: |draft| {
            draft.set_header(header::field::L1_SIZE, 2);
            link_new(draft, 1);
        },
        also: &["L25", "O02"],
    },
    Damage {
        rule: &METADATA_OVERLAP,
        variant: "",
        base: "valid/v3-snapshots",
        breaks: |draft| {
            let l1 = draft.header(header::field::L1_TABLE_OFFSET);
            draft.set_snapshot(0, snapshot::field::L1_TABLE_OFFSET, l1);
            draft.agree();
        },
        nearly: |draft| draft.agree(),
        also: &[],
    },
    Damage {
        rule: &DATA_OVER_METADATA,
        variant: "",
        base: "valid/v3-basic",
        breaks: |draft| map(draft, 20, draft.header(header::field::REFCOUNT_TABLE_OFFSET)),
        nearly: |draft| map_new(draft, 20),
        also: &[],
    },
    Damage {
        rule: &DATA_OVER_METADATA,
        variant: "snapshot-table",
        base: "valid/v3-snapshots",
        breaks: |draft| map(draft, 20, draft.header(header::field::SNAPSHOTS_OFFSET)),
        nearly: |draft| map_new(draft, 20),
        also: &[],
    },
    Damage {
        rule: &BITMAP_OVERLAP,
        variant: "",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| {
            let table = draft.bitmap(0).table().at.0;
            draft.set_bitmap(1, bitmap::field::BITMAP_TABLE_OFFSET, table);
            draft.agree();
        },
        nearly: |draft| draft.agree(),
        also: &["B18"],
    },
    Damage {
        rule: &BITMAP_OVERLAP,
        variant: "data",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| {
            let data = draft.get(draft.bitmap(0).table().at.0, 8);
            let index = draft.find_l2(|entry| entry == 0);
            map(draft, index, data);
        },
        nearly: |draft| draft.agree(),
        also: &[],
    },
    Damage {
        rule: &COMPRESSED_OVERLAP,
        variant: "",
        base: "valid/v3-zlib",
        breaks: |draft| map(draft, 20, draft.get(draft.l2_entry(0), 8)),
        nearly: unchanged,
        also: &["L24"],
    },
    Damage {
        rule: &COMPRESSED_OVERLAP,
        variant: "over-two-tables",
        base: "valid/v3-zlib",
        breaks: |draft| {
            draft.set_header(header::field::L1_SIZE, 2);
            let (table, stream) = (draft.add_clusters(1), draft.get(draft.l2_entry(0), 8));
            draft.put_u64(table, stream);
            link(draft, 1, table);
        },
        nearly: |draft| {
            draft.set_header(header::field::L1_SIZE, 2);
            let (table, stream) = (draft.add_clusters(1), draft.add_clusters(1));
            draft.put_u64(table, 1 << 62 | stream);
            link(draft, 1, table);
        },
        also: &["L25"],
    },
    Damage {
        rule: &COMPRESSED_OVERLAP,
        variant: "in-part",
        base: "valid/v3-zlib",
        // Two sectors from one byte on, and one from the next.
        breaks: |draft| {
            let stream = draft.get(draft.l2_entry(0), 8);
            draft.put_u64(draft.l2_entry(0), stream | 1 << 60);
            map(draft, 20, stream + 1);
        },
        nearly: |draft| {
            let stream = draft.get(draft.l2_entry(0), 8);
            map(draft, 20, stream + 1);
        },
        also: &["L24"],
    },
    Damage {
        rule: &REFCOUNT_BLOCK_SHARED,
        variant: "",
        base: "valid/v3-basic",
        breaks: |draft| {
            let block = draft.get(draft.refcount_table_entry(0), 8);
            draft.set_refcounts(block / 1024, 1, 2);
            draft.put_u64(draft.refcount_table_entry(1), block);
        },
        nearly: |draft| draft.agree(),
        also: &["R08"],
    },
    Damage {
        rule: &REFCOUNT_BLOCK_SHARED,
        variant: "mapped",
        base: "valid/v3-basic",
        breaks: |draft| map(draft, 20, draft.get(draft.refcount_table_entry(0), 8)),
        nearly: |draft| map_new(draft, 20),
        also: &[],
    },
];
