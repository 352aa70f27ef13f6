//! Damages of L1 and L2 tables.

use qcow2_inspect::format::{header, snapshot};
use qcow2_inspect::rules::named::{
    COMPRESSED_BEYOND_FILE, COMPRESSED_COPIED_FLAG, COMPRESSED_OFFSET_BITS, COMPRESSED_WITH_DATA_FILE,
    COMPRESSED_WITH_SUBCLUSTERS, DATA_CLUSTER_BEYOND_FILE, DATA_CLUSTER_CUT, DATA_CLUSTER_UNALIGNED,
    DATA_FILE_COPIED_FLAG_CLEAR, DATA_FILE_OFFSET_MISMATCH, L1_ENTRY_BEYOND_DISK, L1_FLAGS_WITHOUT_L2_TABLE,
    L1_RESERVED_BITS, L2_ENTRY_BEYOND_DISK, L2_RESERVED_BITS, L2_TABLE_BEYOND_FILE, L2_TABLE_UNALIGNED,
    SUBCLUSTER_ALLOCATED_AND_ZERO, SUBCLUSTER_WITHOUT_CLUSTER, UNALLOCATED_COPIED_FLAG,
    ZERO_FLAG_IN_EXTENDED_ENTRY, ZERO_FLAG_IN_VERSION_2,
};
use qcow2_inspect::units::to_u64;

use super::{Damage, Draft};

const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;

/// Sets bits of an entry.
fn set(draft: &mut Draft, at: u64, bits: u64) {
    let entry = draft.get(at, 8);
    draft.put_u64(at, entry | bits);
}

/// Moves the L2 table of an L1 entry into a new cluster, `further` bytes in.
fn move_l2(draft: &mut Draft, l1_index: u64, further: u64) {
    let entry = draft.l1_entry(l1_index);
    let (old, len) = (draft.get(entry, 8) & !COPIED, draft.cluster_size());
    let at = draft.allocate(1 + further.div_ceil(len)) + further;
    (0..len).step_by(8).for_each(|offset| draft.put_u64(at + offset, draft.get(old + offset, 8)));
    draft.put_u64(entry, at | COPIED);
    draft.set_refcounts(old / len, 1, 0);
}

/// Makes the first compressed cluster start `further` bytes into the last cluster, of which the file has one.
fn move_stream(draft: &mut Draft, further: u64) {
    let at = draft.allocate(1);
    draft.truncate(at + 1);
    // The file's length counts as rounded up to its sector.
    draft.put_u64(draft.l2_entry(0), COMPRESSED | (at + 512 + further));
    let cluster = 0x1400 / 1024;
    draft.set_refcounts(cluster, 1, 4);
}

/// The second half of an extended entry.
fn bitmap(draft: &Draft, index: u64) -> u64 {
    draft.l2_entry(index) + 8
}

pub(super) static DAMAGES: &[Damage] = &[
    Damage {
        rule: &L1_RESERVED_BITS,
        variant: "lowest-bits",
        base: "valid/v3-512",
        breaks: |draft| set(draft, draft.l1_entry(0), 1),
        nearly: |draft| move_l2(draft, 0, 0),
        also: &[],
    },
    Damage {
        rule: &L1_RESERVED_BITS,
        variant: "highest-bit",
        base: "valid/v3-512",
        breaks: |draft| set(draft, draft.l1_entry(0), 1 << 62),
        nearly: |draft| set(draft, draft.l1_entry(0), 1 << 63),
        also: &[],
    },
    Damage {
        rule: &L1_RESERVED_BITS,
        variant: "in-snapshot",
        base: "valid/v3-snapshots",
        breaks: |draft| set(draft, draft.snapshot(0).l1().at.0, 1 << 56),
        nearly: |draft| draft.put_number(draft.snapshot(0).l1().at.0, 1, 0),
        also: &[],
    },
    Damage {
        rule: &L2_TABLE_UNALIGNED,
        variant: "",
        base: "valid/v3-basic",
        breaks: |draft| move_l2(draft, 0, 512),
        nearly: |draft| move_l2(draft, 0, 0),
        also: &[],
    },
    Damage {
        rule: &L2_TABLE_BEYOND_FILE,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| draft.put_u64(draft.l1_entry(1), to_u64(draft.bytes.len()) | COPIED),
        nearly: |draft| {
            let at = draft.allocate(1);
            draft.put_u64(draft.l1_entry(1), at | COPIED);
            draft.truncate(at + draft.cluster_size());
        },
        also: &[],
    },
    Damage {
        rule: &L2_TABLE_BEYOND_FILE,
        variant: "cut",
        base: "valid/v3-512",
        breaks: |draft| {
            let at = draft.allocate(1);
            draft.put_u64(draft.l1_entry(1), at | COPIED);
            draft.truncate(at + draft.cluster_size() - 1);
        },
        nearly: |draft| {
            let at = draft.allocate(1);
            draft.put_u64(draft.l1_entry(1), at | COPIED);
            draft.truncate(at + draft.cluster_size());
        },
        also: &[],
    },
    Damage {
        rule: &L2_RESERVED_BITS,
        variant: "lowest-bit",
        base: "valid/v3-512",
        breaks: |draft| set(draft, draft.l2_entry(0), 1 << 1),
        nearly: |draft| set(draft, draft.l2_entry(0), 1),
        also: &[],
    },
    Damage {
        rule: &L2_RESERVED_BITS,
        variant: "highest-bit",
        base: "valid/v3-512",
        breaks: |draft| set(draft, draft.l2_entry(0), 1 << 61),
        nearly: |draft| set(draft, draft.l2_entry(0), COPIED),
        also: &[],
    },
    Damage {
        rule: &ZERO_FLAG_IN_EXTENDED_ENTRY,
        variant: "",
        base: "valid/v3-extended-l2",
        breaks: |draft| set(draft, draft.l2_entry(0), 1),
        nearly: |draft| set(draft, bitmap(draft, 0), 1),
        also: &[],
    },
    Damage {
        rule: &ZERO_FLAG_IN_VERSION_2,
        variant: "",
        base: "valid/v2-basic",
        breaks: |draft| set(draft, draft.l2_entry(0), 1),
        nearly: |draft| set(draft, draft.l2_entry(0), COPIED),
        also: &[],
    },
    Damage {
        rule: &DATA_CLUSTER_UNALIGNED,
        variant: "",
        base: "valid/v3-basic",
        breaks: |draft| {
            let at = draft.allocate(2);
            draft.put_u64(draft.l2_entry(2), (at + 512) | COPIED);
        },
        nearly: |draft| {
            let at = draft.allocate(1);
            draft.put_u64(draft.l2_entry(2), at | COPIED);
        },
        also: &[],
    },
    Damage {
        rule: &DATA_CLUSTER_UNALIGNED,
        variant: "of-zero-cluster",
        base: "valid/v3-basic",
        breaks: |draft| {
            let at = draft.allocate(2);
            draft.put_u64(draft.l2_entry(2), (at + 512) | COPIED | 1);
        },
        nearly: |draft| {
            let at = draft.allocate(1);
            draft.put_u64(draft.l2_entry(2), at | COPIED | 1);
        },
        also: &[],
    },
    Damage {
        rule: &DATA_CLUSTER_BEYOND_FILE,
        variant: "",
        base: "valid/v3-basic",
        breaks: |draft| draft.truncate(0x2400),
        nearly: |draft| draft.truncate(0x2401),
        also: &["R08"],
    },
    Damage {
        rule: &DATA_CLUSTER_CUT,
        variant: "",
        base: "valid/v3-basic",
        breaks: |draft| draft.truncate(0x27ff),
        nearly: |_| (),
        also: &[],
    },
    Damage {
        rule: &DATA_CLUSTER_CUT,
        variant: "subcluster",
        base: "valid/v3-extended-l2",
        breaks: |draft| draft.truncate(0x1_41ff),
        // Only the first of 32 subclusters is allocated, and the file ends behind it.
        nearly: |_| (),
        also: &[],
    },
    Damage {
        rule: &COMPRESSED_COPIED_FLAG,
        variant: "",
        base: "valid/v3-zlib",
        breaks: |draft| set(draft, draft.l2_entry(0), COPIED),
        nearly: |_| (),
        also: &[],
    },
    Damage {
        rule: &COMPRESSED_OFFSET_BITS,
        variant: "",
        base: "valid/v3-zlib",
        breaks: |draft| set(draft, draft.l2_entry(0), 1 << 59),
        // With clusters of 1 KiB, bit 60 is the first of the number of sectors.
        nearly: |draft| set(draft, draft.l2_entry(0), 1 << 60),
        also: &[],
    },
    Damage {
        rule: &COMPRESSED_BEYOND_FILE,
        variant: "",
        base: "valid/v3-zlib",
        breaks: |draft| move_stream(draft, 1024 + 511),
        nearly: |draft| move_stream(draft, 511),
        also: &[],
    },
    Damage {
        rule: &COMPRESSED_WITH_DATA_FILE,
        variant: "",
        base: "valid/v3-data-file",
        breaks: |draft| draft.put_u64(draft.l2_entry(2), COMPRESSED | 2048),
        nearly: |draft| draft.put_u64(draft.l2_entry(2), COPIED | 2048),
        also: &[],
    },
    Damage {
        rule: &COMPRESSED_WITH_SUBCLUSTERS,
        variant: "",
        base: "valid/v3-extended-l2",
        breaks: |draft| draft.put_u64(draft.l2_entry(0), COMPRESSED | 0x1_4000),
        nearly: |draft| {
            draft.put_u64(draft.l2_entry(0), COMPRESSED | 0x1_4000);
            draft.put_u64(bitmap(draft, 0), 0);
        },
        also: &[],
    },
    Damage {
        rule: &SUBCLUSTER_ALLOCATED_AND_ZERO,
        variant: "",
        base: "valid/v3-extended-l2",
        breaks: |draft| set(draft, bitmap(draft, 0), 1 << 32),
        nearly: |draft| set(draft, bitmap(draft, 0), 1 << 33),
        also: &[],
    },
    Damage {
        rule: &SUBCLUSTER_WITHOUT_CLUSTER,
        variant: "",
        base: "valid/v3-extended-l2",
        breaks: |draft| set(draft, bitmap(draft, 1), 1 << 31),
        nearly: |draft| set(draft, bitmap(draft, 1), 1 << 32),
        also: &[],
    },
    Damage {
        rule: &DATA_FILE_OFFSET_MISMATCH,
        variant: "",
        base: "valid/v3-data-file",
        breaks: |draft| draft.put_u64(draft.l2_entry(2), COPIED | 3072),
        nearly: |draft| draft.put_u64(draft.l2_entry(3), COPIED | 3072),
        also: &[],
    },
    Damage {
        rule: &DATA_FILE_OFFSET_MISMATCH,
        variant: "offset-zero",
        base: "valid/v3-data-file",
        breaks: |draft| draft.put_u64(draft.l2_entry(1), COPIED),
        nearly: |draft| draft.put_u64(draft.l2_entry(0), COPIED),
        also: &[],
    },
    Damage {
        rule: &DATA_FILE_COPIED_FLAG_CLEAR,
        variant: "",
        base: "valid/v3-data-file",
        breaks: |draft| draft.put_u64(draft.l2_entry(2), 2048),
        nearly: |draft| draft.put_u64(draft.l2_entry(0), 0),
        also: &[],
    },
    Damage {
        rule: &UNALLOCATED_COPIED_FLAG,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| draft.put_u64(draft.l2_entry(2), COPIED),
        nearly: |draft| draft.put_u64(draft.l2_entry(2), 1),
        also: &[],
    },
    Damage {
        rule: &UNALLOCATED_COPIED_FLAG,
        variant: "zero-cluster",
        base: "valid/v3-512",
        breaks: |draft| draft.put_u64(draft.l2_entry(2), COPIED | 1),
        nearly: |draft| {
            let at = draft.allocate(1);
            draft.put_u64(draft.l2_entry(2), at | COPIED | 1);
        },
        also: &[],
    },
    Damage {
        rule: &L2_ENTRY_BEYOND_DISK,
        variant: "",
        base: "valid/v3-lazy-refcounts",
        breaks: |draft| {
            let at = draft.allocate(1);
            draft.put_u64(draft.l2_entry(64), at | COPIED);
        },
        nearly: |draft| {
            let at = draft.allocate(1);
            draft.put_u64(draft.l2_entry(63), at | COPIED);
        },
        also: &[],
    },
    Damage {
        rule: &L1_ENTRY_BEYOND_DISK,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| {
            let at = draft.allocate(1);
            draft.set_header(header::field::L1_SIZE, 3);
            draft.put_u64(draft.l1_entry(2), at | COPIED);
        },
        nearly: |draft| {
            draft.set_header(header::field::L1_SIZE, 3);
        },
        also: &[],
    },
    Damage {
        rule: &L1_FLAGS_WITHOUT_L2_TABLE,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| draft.put_u64(draft.l1_entry(1), COPIED),
        nearly: |draft| {
            let at = draft.allocate(1);
            draft.put_u64(draft.l1_entry(1), at | COPIED);
        },
        also: &[],
    },
    Damage {
        rule: &L1_FLAGS_WITHOUT_L2_TABLE,
        variant: "in-snapshot",
        base: "valid/v3-snapshots",
        breaks: |draft| {
            draft.set_snapshot(0, snapshot::field::L1_SIZE, 2);
            draft.put_u64(draft.snapshot(0).l1().at.0 + 8, COPIED);
        },
        nearly: |draft| {
            draft.set_snapshot(0, snapshot::field::L1_SIZE, 2);
        },
        also: &[],
    },
];
