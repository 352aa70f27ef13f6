//! Damages of the bitmaps' tables and data.

use qcow2_inspect::format::{bitmap, header};
use qcow2_inspect::rules::named::{
    BITMAP_DATA_OFFSET_INVALID, BITMAP_ENTRY_FLAG_WITH_OFFSET, BITMAP_ENTRY_RESERVED_BITS,
    BITMAP_TABLE_OFFSET_INVALID, BITMAP_TABLE_SIZE_INVALID, BITMAP_TABLE_SIZE_MISMATCH, BITMAP_TAIL_BITS,
};
use qcow2_inspect::units::to_u64;

use super::{Damage, Draft};

/// Moves a bitmap's table into new clusters, `further` bytes in, with room for `size` entries.
fn move_table(draft: &mut Draft, index: usize, size: u64, further: u64) -> u64 {
    let old = draft.bitmap(index).table();
    let at = draft.allocate((further + size * 8).div_ceil(draft.cluster_size())) + further;
    draft.put_u64(at, draft.get(old.at.0, 8));
    draft.free(old);
    draft.set_bitmap(index, bitmap::field::BITMAP_TABLE_OFFSET, at);
    draft.set_bitmap(index, bitmap::field::BITMAP_TABLE_SIZE, size);
    at
}

/// Moves the data of the first bitmap into a new cluster, `further` bytes in.
fn move_data(draft: &mut Draft, further: u64) -> u64 {
    let (entry, len) = (draft.bitmap(0).table().at.0, draft.cluster_size());
    let old = draft.get(entry, 8);
    let at = draft.allocate(1 + further.div_ceil(len)) + further;
    (0..len).step_by(8).for_each(|offset| draft.put_u64(at + offset, draft.get(old + offset, 8)));
    draft.put_u64(entry, at);
    draft.set_refcounts(old / len, 1, 0);
    at
}

/// Sets a bit of the first bitmap.
fn set_data_bit(draft: &mut Draft, bit: u64) {
    let at = draft.get(draft.bitmap(0).table().at.0, 8) + bit / 8;
    draft.put_number(at, 1, draft.get(at, 1) | 1 << (bit % 8));
}

/// Makes a disk whose bits fill a cluster longer, and the L1 table with it.
fn grow(draft: &mut Draft, by: u64) {
    let (size, l1_size) = (draft.header(header::field::SIZE), draft.header(header::field::L1_SIZE));
    draft.set_header(header::field::SIZE, size + by);
    draft.set_header(header::field::L1_SIZE, l1_size + 1);
}

pub(super) static DAMAGES: &[Damage] = &[
    Damage {
        rule: &BITMAP_TABLE_OFFSET_INVALID,
        variant: "zero",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| {
            draft.set_bitmap(1, bitmap::field::BITMAP_TABLE_OFFSET, 0);
        },
        nearly: |draft| {
            move_table(draft, 1, 1, 0);
        },
        also: &[],
    },
    Damage {
        rule: &BITMAP_TABLE_OFFSET_INVALID,
        variant: "unaligned",
        base: "valid/v3-bitmaps",
        breaks: |draft| {
            move_table(draft, 1, 1, 512);
        },
        nearly: |draft| {
            move_table(draft, 1, 1, 0);
        },
        also: &[],
    },
    Damage {
        rule: &BITMAP_TABLE_OFFSET_INVALID,
        variant: "beyond-file",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| {
            let at = draft.add_clusters(2) + 1024;
            draft.truncate(at - 1024);
            draft.set_bitmap(1, bitmap::field::BITMAP_TABLE_OFFSET, at);
        },
        nearly: |draft| {
            let at = move_table(draft, 1, 1, 0);
            draft.truncate(at + 8);
        },
        also: &[],
    },
    Damage {
        rule: &BITMAP_TABLE_OFFSET_INVALID,
        variant: "cut",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| {
            let at = move_table(draft, 1, 1, 0);
            draft.truncate(at + 7);
        },
        nearly: |draft| {
            let at = move_table(draft, 1, 1, 0);
            draft.truncate(at + 8);
        },
        also: &[],
    },
    Damage {
        rule: &BITMAP_TABLE_SIZE_INVALID,
        variant: "zero",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| {
            draft.set_bitmap(1, bitmap::field::BITMAP_TABLE_SIZE, 0);
        },
        nearly: |draft| {
            draft.set_bitmap(1, bitmap::field::BITMAP_TABLE_SIZE, 1);
        },
        also: &[],
    },
    Damage {
        rule: &BITMAP_TABLE_SIZE_INVALID,
        variant: "too-large",
        base: "valid/v3-bitmaps",
        // A bitmap in use may have any size; 524,288 clusters of 1 KiB are 512 MiB.
        breaks: |draft| {
            draft.set_bitmap(1, bitmap::field::FLAGS, 1);
            move_table(draft, 1, 524_289, 0);
        },
        nearly: |draft| {
            draft.set_bitmap(1, bitmap::field::FLAGS, 1);
            move_table(draft, 1, 524_288, 0);
        },
        also: &["B17", "B19"],
    },
    Damage {
        rule: &BITMAP_ENTRY_RESERVED_BITS,
        variant: "",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| draft.put_u64(draft.bitmap(1).table().at.0, 1 << 1),
        nearly: |draft| draft.put_u64(draft.bitmap(1).table().at.0, 1),
        also: &[],
    },
    Damage {
        rule: &BITMAP_ENTRY_RESERVED_BITS,
        variant: "in-use",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| {
            draft.set_bitmap(1, bitmap::field::FLAGS, 1);
            draft.put_u64(draft.bitmap(1).table().at.0, 1 << 56);
        },
        nearly: |draft| {
            draft.set_bitmap(1, bitmap::field::FLAGS, 1);
            draft.put_u64(draft.bitmap(1).table().at.0, 1);
        },
        also: &["B19"],
    },
    Damage {
        rule: &BITMAP_ENTRY_FLAG_WITH_OFFSET,
        variant: "",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| {
            let entry = draft.bitmap(0).table().at.0;
            draft.put_u64(entry, draft.get(entry, 8) | 1);
        },
        nearly: |draft| {
            let entry = draft.bitmap(0).table().at;
            let data = draft.get(entry.0, 8);
            draft.put_u64(entry.0, 1);
            draft.set_refcounts(data / 1024, 1, 0);
        },
        also: &[],
    },
    Damage {
        rule: &BITMAP_DATA_OFFSET_INVALID,
        variant: "unaligned",
        base: "valid/v3-bitmaps",
        breaks: |draft| {
            move_data(draft, 512);
        },
        nearly: |draft| {
            move_data(draft, 0);
        },
        also: &[],
    },
    Damage {
        rule: &BITMAP_DATA_OFFSET_INVALID,
        variant: "beyond-file",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| {
            draft.add_clusters(0);
            draft.put_u64(draft.bitmap(0).table().at.0, to_u64(draft.bytes.len()));
        },
        nearly: |draft| {
            let at = move_data(draft, 0);
            draft.truncate(at + draft.cluster_size());
        },
        also: &[],
    },
    Damage {
        rule: &BITMAP_DATA_OFFSET_INVALID,
        variant: "cut",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| {
            let at = move_data(draft, 0);
            draft.truncate(at + draft.cluster_size() - 1);
        },
        nearly: |draft| {
            let at = move_data(draft, 0);
            draft.truncate(at + draft.cluster_size());
        },
        also: &[],
    },
    Damage {
        rule: &BITMAP_TABLE_SIZE_MISMATCH,
        variant: "",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| {
            draft.set_bitmap(1, bitmap::field::BITMAP_TABLE_SIZE, 2);
        },
        // The finest granularity that one cluster has the bits for.
        nearly: |draft| {
            draft.set_bitmap(1, bitmap::field::BITMAP_TABLE_SIZE, 1);
            draft.set_bitmap(1, bitmap::field::GRANULARITY_BITS, 9);
        },
        also: &[],
    },
    // QEMU counts the disk in whole sectors: a part of one takes no bit.
    Damage {
        rule: &BITMAP_TABLE_SIZE_MISMATCH,
        variant: "part-of-a-sector",
        base: "valid/v3-bitmaps",
        breaks: |draft| {
            grow(draft, 1);
            move_table(draft, 0, 2, 0);
        },
        nearly: |draft| grow(draft, 511),
        also: &["H28"],
    },
    Damage {
        rule: &BITMAP_TABLE_SIZE_MISMATCH,
        variant: "one-more-sector",
        base: "valid/v3-bitmaps",
        breaks: |draft| grow(draft, 512),
        nearly: |draft| {
            grow(draft, 512);
            move_table(draft, 0, 2, 0);
        },
        also: &[],
    },
    Damage {
        rule: &BITMAP_TAIL_BITS,
        variant: "",
        base: "valid/v3-bitmap-tail",
        breaks: |draft| set_data_bit(draft, 11),
        nearly: |draft| set_data_bit(draft, 9),
        also: &[],
    },
    Damage {
        rule: &BITMAP_TAIL_BITS,
        variant: "last-bit",
        base: "valid/v3-bitmap-tail",
        breaks: |draft| set_data_bit(draft, 512 * 8 - 1),
        nearly: |draft| set_data_bit(draft, 10),
        also: &[],
    },
    Damage {
        rule: &BITMAP_TAIL_BITS,
        variant: "part-of-a-sector",
        base: "valid/v3-bitmap-tail",
        breaks: |draft| {
            draft.set_header(header::field::SIZE, (10 << 16) + 511);
            set_data_bit(draft, 10);
        },
        nearly: |draft| {
            draft.set_header(header::field::SIZE, (10 << 16) + 512);
            set_data_bit(draft, 10);
        },
        also: &["H28"],
    },
];
