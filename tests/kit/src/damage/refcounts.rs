//! Damages of family R, and of the flags of entries that go with the refcounts: what the refcount table and its
//! blocks are, and what only counting the references shows.

use qcow2_inspect::rules::named::*;
use qcow2_inspect::units::to_usize;

use super::steps::{COPIED, file_len, point_at_new, target};
use super::{Damage, Draft};

/// Flips bit 63 of the entry at `entry`.
fn flip(draft: &mut Draft, entry: u64) {
    draft.put_u64(entry, draft.get(entry, 8) ^ COPIED);
}

/// Changes the refcount of the cluster that the entry at `entry` points at.
fn set_refcount(draft: &mut Draft, entry: u64, value: u64) {
    draft.set_refcounts(target(draft, entry) / draft.cluster_size(), 1, value);
}

/// Wipes the first L2 table, and frees all of its clusters but so many.
fn wipe_l2(draft: &mut Draft, leaked: usize) {
    let entries: Vec<u64> = (0..draft.cluster_size() / 8).map(|index| draft.l2_entry(index)).collect();
    let mut used = entries.clone();
    used.retain(|entry| target(draft, *entry) != 0);
    used.iter().skip(leaked).for_each(|entry| set_refcount(draft, *entry, 0));
    entries.iter().for_each(|entry| draft.put_u64(*entry, 0));
}

/// Writes a pattern over the first L2 table.
fn overwrite_l2(draft: &mut Draft, pattern: &[u8]) {
    let bytes: Vec<u8> = pattern.iter().copied().cycle().take(to_usize(draft.cluster_size())).collect();
    draft.put(draft.l2_entry(0), &bytes);
}

rows! { d:
    // The table and its blocks.
    REFCOUNT_BLOCK_UNALIGNED in "valid/v3-basic"
        with further = 512, nearly 0 => point_at_new(d, d.refcount_table_entry(1), further, 0);
    REFCOUNT_BLOCK_UNALIGNED "covers-the-file" in "valid/v3-basic"
        => d.put_u64(d.refcount_table_entry(0), d.get(d.refcount_table_entry(0), 8) + 512);
    REFCOUNT_BLOCK_BEYOND_FILE in "valid/v3-basic" => d.put_u64(d.refcount_table_entry(1), file_len(d)),
        nearly { point_at_new(d, d.refcount_table_entry(1), 0, 0); d.truncate(file_len(d) - 1023) };
    // The new block stands at 0x1200: bit 9 is the lowest of an offset.
    REFCOUNT_ENTRY_RESERVED_BITS in "valid/v3-512"
        with flags = 1 << 8, nearly 0 => point_at_new(d, d.refcount_table_entry(1), 0, flags);
    // The file ends within its sixth cluster, whose refcount is 1.
    REFCOUNT_BEYOND_FILE in "valid/v3-extended-l2" => d.set_refcounts(6, 1, 1);
    REFCOUNT_BEYOND_FILE "one-bit-wide" in "valid/v3-refcount-1"
        with refcount = 1, nearly 0 => d.set_refcounts(7, 1, refcount);
    // A table of one cluster has 64 entries for blocks of 64 refcounts.
    REFCOUNT_TABLE_TOO_SHORT in "valid/v3-refcount-64"
        with len = (2 << 20) + 1, nearly 2 << 20 => d.bytes.resize(len, 0);

    // What the references say.
    L1_COPIED_FLAG_WRONG in "valid/v3-basic" => flip(d, d.l1_entry(0));
    // Bit 63 of a snapshot's tables may be stale (S16).
    L1_COPIED_FLAG_WRONG "with-snapshots" in "valid/v3-snapshots"
        => flip(d, d.l1_entry(0)), nearly flip(d, d.snapshot(0).l1().at.0);
    L2_COPIED_FLAG_WRONG in "valid/v3-snapshots"
        => flip(d, d.l2_entry(0)), nearly flip(d, target(d, d.snapshot(0).l1().at.0));
    L2_COPIED_FLAG_WRONG "clear" in "valid/v3-basic" => flip(d, d.l2_entry(0));
    REFCOUNT_BLOCK_OWN_REFCOUNT in "valid/v3-basic" => set_refcount(d, d.refcount_table_entry(0), 0);
    REFCOUNT_BLOCK_OWN_REFCOUNT "too-high" in "valid/v3-basic"
        => set_refcount(d, d.refcount_table_entry(0), 2);
    REFCOUNT_TOO_LOW in "valid/v3-snapshots"
        with refcount = 1, nearly 3 => set_refcount(d, d.l2_entry(0), refcount);
    REFCOUNT_TOO_HIGH in "valid/v3-basic" => d.allocate(3), nearly d.add_clusters(3);
    REFCOUNT_TOO_HIGH "with-a-flag" in "valid/v3-basic" => set_refcount(d, d.l2_entry(0), 2), also "L11";
    REFCOUNT_ZERO_BUT_USED in "valid/v3-basic" => set_refcount(d, d.l2_entry(0), 0);
    REFCOUNT_ZERO_BUT_USED "block-wiped" in "valid/v3-basic" => d.set_refcounts(0, 10, 0), also "R04";
    REFCOUNT_ZERO_BUT_USED "block-lost" in "valid/v3-basic" => d.put_u64(d.refcount_table_entry(0), 0);
    REFCOUNT_OVERFLOW in "valid/v3-refcount-1"
        => d.put_u64(d.l2_entry(5), d.get(d.l2_entry(0), 8)), also "L27";
    // One leaked cluster says nothing.
    TABLE_MAY_BE_LOST "l2" in "valid/v3-basic" with leaked = 2, nearly 1 => wipe_l2(d, leaked), also "R06";
    TABLE_MAY_BE_LOST "l1" in "valid/v3-basic"
        => (0..8).for_each(|n| d.put_u64(d.l1_entry(n), 0)), also "R06";
    TABLE_OVERWRITTEN "refcounts" in "valid/v3-basic"
        => overwrite_l2(d, &[0, 1]), also "L09" "R06";
    TABLE_OVERWRITTEN "text" in "valid/v3-basic"
        => overwrite_l2(d, b"hidden? "), also "L13" "R06";
    TRAILING_DATA in "valid/v3-basic"
        with text = b"hidden", nearly &[0; 6] => d.put(file_len(d) + 2048, text);
}
