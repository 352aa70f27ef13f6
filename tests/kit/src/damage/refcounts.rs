//! Damages of the refcount table and its blocks.

use qcow2_inspect::rules::named::{
    REFCOUNT_BEYOND_FILE, REFCOUNT_BLOCK_BEYOND_FILE, REFCOUNT_BLOCK_UNALIGNED, REFCOUNT_ENTRY_RESERVED_BITS,
    REFCOUNT_TABLE_TOO_SHORT,
};
use qcow2_inspect::units::to_u64;

use super::{Damage, Draft};

/// Adds a second refcount block, all zeros, `further` bytes into its clusters.
fn add_block(draft: &mut Draft, further: u64) {
    let at = draft.allocate(1 + further.div_ceil(draft.cluster_size()));
    draft.put_u64(draft.refcount_table_entry(1), at + further);
}

pub(super) static DAMAGES: &[Damage] = &[
    Damage {
        rule: &REFCOUNT_ENTRY_RESERVED_BITS,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| {
            add_block(draft, 0);
            let entry = draft.refcount_table_entry(1);
            draft.put_u64(entry, draft.get(entry, 8) | 1 << 8);
        },
        // The new block stands at 0x1200: bit 9 is the lowest of an offset.
        nearly: |draft| add_block(draft, 0),
        also: &[],
    },
    Damage {
        rule: &REFCOUNT_BLOCK_UNALIGNED,
        variant: "",
        base: "valid/v3-basic",
        breaks: |draft| add_block(draft, 512),
        nearly: |draft| add_block(draft, 0),
        also: &[],
    },
    Damage {
        rule: &REFCOUNT_BLOCK_UNALIGNED,
        variant: "covers-the-file",
        base: "valid/v3-basic",
        breaks: |draft| {
            let entry = draft.refcount_table_entry(0);
            draft.put_u64(entry, draft.get(entry, 8) + 512);
        },
        nearly: |_| (),
        also: &[],
    },
    Damage {
        rule: &REFCOUNT_BLOCK_BEYOND_FILE,
        variant: "",
        base: "valid/v3-basic",
        breaks: |draft| draft.put_u64(draft.refcount_table_entry(1), to_u64(draft.bytes.len())),
        nearly: |draft| {
            add_block(draft, 0);
            draft.truncate(to_u64(draft.bytes.len()) - 1023);
        },
        also: &[],
    },
    Damage {
        rule: &REFCOUNT_BEYOND_FILE,
        variant: "",
        base: "valid/v3-extended-l2",
        breaks: |draft| draft.set_refcounts(6, 1, 1),
        // The file ends within its sixth cluster, whose refcount is 1.
        nearly: |_| (),
        also: &[],
    },
    Damage {
        rule: &REFCOUNT_BEYOND_FILE,
        variant: "one-bit-wide",
        base: "valid/v3-refcount-1",
        breaks: |draft| draft.set_refcounts(7, 1, 1),
        nearly: |draft| draft.set_refcounts(7, 1, 0),
        also: &[],
    },
    Damage {
        rule: &REFCOUNT_TABLE_TOO_SHORT,
        variant: "",
        base: "valid/v3-refcount-64",
        // A table of one cluster has 64 entries for blocks of 64 refcounts.
        breaks: |draft| draft.bytes.resize((2 << 20) + 1, 0),
        nearly: |draft| draft.bytes.resize(2 << 20, 0),
        also: &[],
    },
];
