//! Damages that only counting the references shows: refcounts, and the flags that go with them.

use qcow2_inspect::format::mapping::L2Entry;
use qcow2_inspect::rules::named::{
    L1_COPIED_FLAG_WRONG, L2_COPIED_FLAG_WRONG, REFCOUNT_BLOCK_OWN_REFCOUNT, REFCOUNT_OVERFLOW,
    REFCOUNT_TOO_HIGH, REFCOUNT_TOO_LOW, REFCOUNT_ZERO_BUT_USED, TABLE_MAY_BE_LOST, TRAILING_DATA,
};
use qcow2_inspect::units::to_u64;

use super::{Damage, Draft, unchanged};

const COPIED: u64 = 1 << 63;

fn flip(draft: &mut Draft, entry: u64, bits: u64) {
    draft.put_u64(entry, draft.get(entry, 8) ^ bits);
}

/// The cluster of the first refcount block.
fn block(draft: &Draft) -> u64 {
    draft.get(draft.refcount_table_entry(0), 8) / draft.cluster_size()
}

/// The cluster of an entry of the first active L2 table.
fn data(draft: &Draft, index: u64) -> u64 {
    (draft.get(draft.l2_entry(index), 8) & !COPIED) / draft.cluster_size()
}

/// Where the first snapshot's first L2 table is.
fn snapshot_table(draft: &Draft) -> u64 {
    draft.get(draft.snapshot(0).l1().at.0, 8) & !COPIED
}

/// Wipes the first L2 table, and frees all of its clusters but so many.
fn wipe_l2(draft: &mut Draft, leaked: usize) {
    let len = draft.cluster_size();
    let entries: Vec<u64> = (0..len / 8).map(|index| draft.l2_entry(index)).collect();
    let offset = |entry: &u64| L2Entry(draft.get(*entry, 8)).standard_offset().0;
    let used: Vec<u64> = entries.iter().map(offset).filter(|at| *at != 0).collect();
    entries.iter().for_each(|entry| draft.put_u64(*entry, 0));
    used.iter().skip(leaked).for_each(|at| draft.set_refcounts(at / len, 1, 0));
}

pub(super) static DAMAGES: &[Damage] = &[
    Damage {
        rule: &TABLE_MAY_BE_LOST,
        variant: "l2",
        base: "valid/v3-basic",
        breaks: |draft| wipe_l2(draft, 2),
        // One leaked cluster says nothing.
        nearly: |draft| wipe_l2(draft, 1),
        also: &["R06"],
    },
    Damage {
        rule: &TABLE_MAY_BE_LOST,
        variant: "l1",
        base: "valid/v3-basic",
        breaks: |draft| (0..8).for_each(|index| draft.put_u64(draft.l1_entry(index), 0)),
        nearly: unchanged,
        also: &["R06"],
    },
    Damage {
        rule: &L1_COPIED_FLAG_WRONG,
        variant: "",
        base: "valid/v3-basic",
        breaks: |draft| flip(draft, draft.l1_entry(0), COPIED),
        nearly: unchanged,
        also: &[],
    },
    Damage {
        rule: &L1_COPIED_FLAG_WRONG,
        variant: "with-snapshots",
        base: "valid/v3-snapshots",
        breaks: |draft| flip(draft, draft.l1_entry(0), COPIED),
        // Bit 63 of a snapshot's tables may be stale (S16).
        nearly: |draft| flip(draft, draft.snapshot(0).l1().at.0, COPIED),
        also: &[],
    },
    Damage {
        rule: &L2_COPIED_FLAG_WRONG,
        variant: "",
        base: "valid/v3-snapshots",
        breaks: |draft| flip(draft, draft.l2_entry(0), COPIED),
        nearly: |draft| flip(draft, snapshot_table(draft), COPIED),
        also: &[],
    },
    Damage {
        rule: &L2_COPIED_FLAG_WRONG,
        variant: "clear",
        base: "valid/v3-basic",
        breaks: |draft| flip(draft, draft.l2_entry(0), COPIED),
        nearly: unchanged,
        also: &[],
    },
    Damage {
        rule: &REFCOUNT_BLOCK_OWN_REFCOUNT,
        variant: "",
        base: "valid/v3-basic",
        breaks: |draft| draft.set_refcounts(block(draft), 1, 0),
        nearly: unchanged,
        also: &[],
    },
    Damage {
        rule: &REFCOUNT_BLOCK_OWN_REFCOUNT,
        variant: "too-high",
        base: "valid/v3-basic",
        breaks: |draft| draft.set_refcounts(block(draft), 1, 2),
        nearly: unchanged,
        also: &[],
    },
    Damage {
        rule: &REFCOUNT_TOO_LOW,
        variant: "",
        base: "valid/v3-snapshots",
        breaks: |draft| draft.set_refcounts(data(draft, 0), 1, 1),
        nearly: |draft| draft.set_refcounts(data(draft, 0), 1, 3),
        also: &[],
    },
    Damage {
        rule: &REFCOUNT_TOO_HIGH,
        variant: "",
        base: "valid/v3-basic",
        breaks: |draft| {
            draft.allocate(3);
        },
        nearly: |draft| {
            draft.add_clusters(3);
        },
        also: &[],
    },
    Damage {
        rule: &REFCOUNT_TOO_HIGH,
        variant: "with-a-flag",
        base: "valid/v3-basic",
        breaks: |draft| draft.set_refcounts(data(draft, 0), 1, 2),
        nearly: unchanged,
        also: &["L11"],
    },
    Damage {
        rule: &REFCOUNT_ZERO_BUT_USED,
        variant: "",
        base: "valid/v3-basic",
        breaks: |draft| draft.set_refcounts(data(draft, 0), 1, 0),
        nearly: unchanged,
        also: &[],
    },
    Damage {
        rule: &REFCOUNT_ZERO_BUT_USED,
        variant: "block-wiped",
        base: "valid/v3-basic",
        breaks: |draft| draft.set_refcounts(0, 10, 0),
        nearly: unchanged,
        also: &["R04"],
    },
    Damage {
        rule: &REFCOUNT_ZERO_BUT_USED,
        variant: "block-lost",
        base: "valid/v3-basic",
        breaks: |draft| draft.put_u64(draft.refcount_table_entry(0), 0),
        nearly: unchanged,
        also: &[],
    },
    Damage {
        rule: &REFCOUNT_OVERFLOW,
        variant: "",
        base: "valid/v3-refcount-1",
        breaks: |draft| draft.put_u64(draft.l2_entry(5), draft.get(draft.l2_entry(0), 8)),
        nearly: unchanged,
        also: &["L27"],
    },
    Damage {
        rule: &TRAILING_DATA,
        variant: "",
        base: "valid/v3-basic",
        breaks: |draft| draft.put(to_u64(draft.bytes.len()) + 2048, b"hidden"),
        nearly: |draft| draft.put(to_u64(draft.bytes.len()) + 2048, &[0; 6]),
        also: &[],
    },
];
