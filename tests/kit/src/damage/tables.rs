//! Damages of family H: the tables that the header points at.

use qcow2_inspect::format::Field;
use qcow2_inspect::format::header::field;
use qcow2_inspect::rules::named::*;
use qcow2_inspect::units::{to_u64, to_usize};

use super::{Damage, set};
use crate::Draft;

/// Where the largest file that QEMU can have ends.
const LAST_OFFSET: u64 = 0x7fff_ffff_c000_0000;

/// Copies the `len` bytes of a table into new clusters, and points the header there.
fn move_table(draft: &mut Draft, field: Field, len: u64) {
    let from = to_usize(draft.header(field));
    let table: Vec<u8> = draft.bytes.iter().copied().skip(from).take(to_usize(len)).collect();
    let at = draft.add_clusters(1);
    draft.put(at, &table);
    set(draft, field, at);
}

/// The same, with the file ending right behind the table.
fn move_table_to_end(draft: &mut Draft, field: Field, len: u64) {
    move_table(draft, field, len);
    let end = draft.header(field) + len;
    draft.bytes.truncate(to_usize(end));
}

/// Points the header behind the end of the file: `clusters` clusters behind it.
fn point_behind_end(draft: &mut Draft, field: Field, clusters: u64) {
    let cluster_size = draft.cluster_size();
    let end = to_u64(draft.bytes.len()).next_multiple_of(cluster_size);
    set(draft, field, end + clusters * cluster_size);
}

pub(super) const DAMAGES: &[Damage] = &[
    Damage {
        rule: &L1_OFFSET_INVALID,
        variant: "unaligned",
        base: "valid/v3-basic",
        breaks: |draft| set(draft, field::L1_TABLE_OFFSET, 0xc00 + 512),
        nearly: |draft| move_table(draft, field::L1_TABLE_OFFSET, 64),
        also: &[],
    },
    Damage {
        rule: &L1_OFFSET_INVALID,
        variant: "near-2-63",
        base: "valid/v3-basic",
        breaks: |draft| set(draft, field::L1_TABLE_OFFSET, LAST_OFFSET),
        nearly: |draft| set(draft, field::L1_TABLE_OFFSET, LAST_OFFSET - 1024),
        also: &[],
    },
    Damage {
        rule: &L1_TABLE_TOO_LARGE,
        variant: "",
        base: "valid/v3-basic",
        breaks: |draft| set(draft, field::L1_SIZE, 4_194_305),
        nearly: |draft| set(draft, field::L1_SIZE, 4_194_304),
        also: &["H34", "L01", "L02", "L03", "L05", "L08", "L09", "L25", "L29"],
    },
    Damage {
        rule: &L1_TABLE_TOO_SMALL,
        variant: "",
        base: "valid/v3-basic",
        breaks: |draft| set(draft, field::L1_SIZE, 7),
        nearly: |draft| set(draft, field::L1_SIZE, 8),
        also: &[],
    },
    Damage {
        rule: &L1_TABLE_TOO_SMALL,
        variant: "size-not-rounded-down",
        base: "valid/v3-basic",
        breaks: |draft| set(draft, field::SIZE, (1 << 20) + 1),
        nearly: |draft| set(draft, field::SIZE, (1 << 20) - 1),
        also: &["H28"],
    },
    Damage {
        rule: &DISK_SIZE_TOO_LARGE,
        variant: "",
        base: "valid/v3-basic",
        breaks: |draft| set(draft, field::SIZE, 1 << 48),
        nearly: |draft| set(draft, field::SIZE, (1 << 48) - (1 << 17)),
        also: &["H26"],
    },
    Damage {
        rule: &DISK_SIZE_UNALIGNED,
        variant: "",
        base: "valid/v3-basic",
        breaks: |draft| set(draft, field::SIZE, (1 << 20) - 511),
        nearly: |draft| set(draft, field::SIZE, (1 << 20) - 512),
        also: &[],
    },
    Damage {
        rule: &REFCOUNT_TABLE_MISSING,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| set(draft, field::REFCOUNT_TABLE_CLUSTERS, 0),
        nearly: |draft| set(draft, field::REFCOUNT_TABLE_CLUSTERS, 1),
        also: &[],
    },
    Damage {
        rule: &REFCOUNT_TABLE_TOO_LARGE,
        variant: "",
        base: "valid/v3-basic",
        breaks: |draft| set(draft, field::REFCOUNT_TABLE_CLUSTERS, 8193),
        nearly: |draft| set(draft, field::REFCOUNT_TABLE_CLUSTERS, 8192),
        also: &["H34", "R01", "R02", "R03"],
    },
    Damage {
        rule: &REFCOUNT_TABLE_OFFSET_INVALID,
        variant: "unaligned",
        base: "valid/v3-basic",
        breaks: |draft| set(draft, field::REFCOUNT_TABLE_OFFSET, 0x400 + 512),
        nearly: |draft| move_table(draft, field::REFCOUNT_TABLE_OFFSET, 1024),
        also: &["R01", "R03"],
    },
    Damage {
        rule: &REFCOUNT_TABLE_OFFSET_INVALID,
        variant: "near-2-63",
        base: "valid/v3-basic",
        breaks: |draft| set(draft, field::REFCOUNT_TABLE_OFFSET, LAST_OFFSET),
        nearly: |draft| set(draft, field::REFCOUNT_TABLE_OFFSET, LAST_OFFSET - 1024),
        also: &[],
    },
    Damage {
        rule: &SNAPSHOTS_OFFSET_INVALID,
        variant: "no-snapshots",
        base: "valid/v3-basic",
        breaks: |draft| set(draft, field::SNAPSHOTS_OFFSET, 512),
        nearly: |draft| set(draft, field::SNAPSHOTS_OFFSET, 1024),
        also: &[],
    },
    Damage {
        rule: &TOO_MANY_SNAPSHOTS,
        variant: "",
        base: "valid/v3-snapshots",
        breaks: |draft| set(draft, field::NB_SNAPSHOTS, 65_537),
        nearly: |draft| set(draft, field::NB_SNAPSHOTS, 65_536),
        also: &["H34", "S02", "S04", "S07", "S09", "S14", "S18", "T01"],
    },
    Damage {
        rule: &TABLE_BEYOND_FILE,
        variant: "l1-table",
        base: "valid/v3-512",
        breaks: |draft| point_behind_end(draft, field::L1_TABLE_OFFSET, 1),
        nearly: |draft| move_table_to_end(draft, field::L1_TABLE_OFFSET, 64),
        also: &[],
    },
    Damage {
        rule: &TABLE_BEYOND_FILE,
        variant: "l1-table-by-less",
        base: "valid/v3-512",
        breaks: |draft| point_behind_end(draft, field::L1_TABLE_OFFSET, 0),
        nearly: |draft| move_table_to_end(draft, field::L1_TABLE_OFFSET, 64),
        also: &[],
    },
    Damage {
        rule: &TABLE_BEYOND_FILE,
        variant: "refcount-table",
        base: "valid/v3-512",
        breaks: |draft| point_behind_end(draft, field::REFCOUNT_TABLE_OFFSET, 0),
        nearly: |draft| move_table_to_end(draft, field::REFCOUNT_TABLE_OFFSET, 1024),
        also: &[],
    },
    Damage {
        rule: &TABLE_BEYOND_FILE,
        variant: "snapshot-table",
        base: "valid/v3-snapshots",
        breaks: |draft| point_behind_end(draft, field::SNAPSHOTS_OFFSET, 1),
        nearly: |draft| {
            let len = draft.snapshot(1).padding_at().0 - draft.snapshot(0).at.0;
            move_table_to_end(draft, field::SNAPSHOTS_OFFSET, len);
        },
        also: &["S01"],
    },
    Damage {
        rule: &TABLE_IN_HEADER_CLUSTER,
        variant: "l1-table",
        base: "valid/v3-basic",
        breaks: |draft| set(draft, field::L1_TABLE_OFFSET, 0),
        nearly: |draft| {
            draft.set_header(field::SIZE, 0);
            draft.set_header(field::L1_SIZE, 0);
            draft.set_header(field::L1_TABLE_OFFSET, 0);
        },
        also: &["L01", "L03", "L29"],
    },
    Damage {
        rule: &TABLE_IN_HEADER_CLUSTER,
        variant: "refcount-table",
        base: "valid/v3-basic",
        breaks: |draft| set(draft, field::REFCOUNT_TABLE_OFFSET, 0),
        nearly: |draft| set(draft, field::REFCOUNT_TABLE_OFFSET, 0x400),
        also: &["R01", "R03", "R08"],
    },
    Damage {
        rule: &TABLE_IN_HEADER_CLUSTER,
        variant: "snapshot-table",
        base: "valid/v3-snapshots",
        breaks: |draft| set(draft, field::SNAPSHOTS_OFFSET, 0),
        nearly: |draft| {
            draft.set_header(field::SNAPSHOTS_OFFSET, 0);
            draft.set_header(field::NB_SNAPSHOTS, 0);
        },
        also: &["L05", "L09", "S04", "S05", "S07", "S08", "S09", "S14", "S15", "S18"],
    },
];
