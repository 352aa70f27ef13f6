//! Damages of the bitmap directory and its entries.

use qcow2_inspect::format::bitmap::{self, BitmapHead};
use qcow2_inspect::format::{Layout, extension};
use qcow2_inspect::image::Bitmap;
use qcow2_inspect::rules::named::{
    BITMAP_COUNT_MISMATCH, BITMAP_DIRECTORY_BROKEN, BITMAP_EXTRA_DATA, BITMAP_FLAGS_RESERVED,
    BITMAP_GRANULARITY_INVALID, BITMAP_IN_USE, BITMAP_NAME_EMPTY, BITMAP_NAME_MALFORMED,
    BITMAP_NAME_TOO_LONG, BITMAP_PADDING_NONZERO, BITMAP_TYPE_UNKNOWN, DUPLICATE_BITMAP,
};
use qcow2_inspect::units::HostOffset;

use super::{Damage, Draft};

fn with_bitmap(draft: &mut Draft, index: usize, edit: impl Fn(&mut Bitmap)) {
    draft.edit_bitmaps(|list| list.iter_mut().skip(index).take(1).for_each(edit));
}

fn rename(draft: &mut Draft, index: usize, name: &[u8]) {
    with_bitmap(draft, index, |bitmap| bitmap.name = name.to_vec());
}

/// Adds a bitmap without dirty bits.
fn add_bitmap(draft: &mut Draft) {
    let table = draft.allocate(1);
    draft.edit_bitmaps(|list| {
        list.extend(list.last().cloned());
        for new in list.iter_mut().skip(2) {
            new.head.bitmap_table_offset = HostOffset(table);
            new.name = b"monthly".to_vec();
        }
    });
}

pub(super) static DAMAGES: &[Damage] = &[
    Damage {
        rule: &BITMAP_DIRECTORY_BROKEN,
        variant: "",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| {
            draft.set_bitmap(1, bitmap::field::NAME_SIZE, 9);
            draft.put(draft.bitmap(0).end().0 + BitmapHead::LEN, b"weekly-ab");
        },
        nearly: |draft| {
            draft.set_bitmap(1, bitmap::field::NAME_SIZE, 8);
            draft.put(draft.bitmap(1).name_at().0, b"weekly-a");
        },
        also: &[],
    },
    Damage {
        rule: &BITMAP_DIRECTORY_BROKEN,
        variant: "padding-missing",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| {
            draft.set_bitmaps_extension(extension::bitmaps_field::BITMAP_DIRECTORY_SIZE, 63);
        },
        nearly: |draft| {
            draft.set_bitmaps_extension(extension::bitmaps_field::BITMAP_DIRECTORY_SIZE, 64);
        },
        also: &[],
    },
    Damage {
        rule: &BITMAP_COUNT_MISMATCH,
        variant: "less",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| {
            draft.set_bitmaps_extension(extension::bitmaps_field::NB_BITMAPS, 3);
        },
        nearly: add_bitmap,
        also: &[],
    },
    Damage {
        rule: &BITMAP_COUNT_MISMATCH,
        variant: "more",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| {
            draft.set_bitmaps_extension(extension::bitmaps_field::NB_BITMAPS, 1);
        },
        nearly: |draft| {
            draft.free(draft.bitmap(1).table());
            draft.edit_bitmaps(|list| list.truncate(1));
        },
        also: &[],
    },
    Damage {
        rule: &BITMAP_EXTRA_DATA,
        variant: "",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| with_bitmap(draft, 1, |bitmap| bitmap.extra = vec![0]),
        nearly: |draft| rename(draft, 1, b"weekly2"),
        also: &[],
    },
    Damage {
        rule: &BITMAP_GRANULARITY_INVALID,
        variant: "too-coarse",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| {
            draft.set_bitmap(1, bitmap::field::GRANULARITY_BITS, 32);
        },
        nearly: |draft| {
            draft.set_bitmap(1, bitmap::field::GRANULARITY_BITS, 31);
        },
        also: &[],
    },
    Damage {
        rule: &BITMAP_GRANULARITY_INVALID,
        variant: "too-fine",
        base: "valid/v3-bitmaps",
        breaks: |draft| {
            draft.set_bitmap(0, bitmap::field::GRANULARITY_BITS, 8);
            draft.set_bitmap(0, bitmap::field::BITMAP_TABLE_SIZE, 2);
        },
        nearly: |draft| {
            draft.set_bitmap(0, bitmap::field::GRANULARITY_BITS, 9);
        },
        also: &[],
    },
    Damage {
        rule: &BITMAP_GRANULARITY_INVALID,
        variant: "impossible",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| {
            draft.set_bitmap(1, bitmap::field::GRANULARITY_BITS, 64);
        },
        nearly: |draft| {
            draft.set_bitmap(1, bitmap::field::GRANULARITY_BITS, 31);
        },
        also: &[],
    },
    Damage {
        rule: &BITMAP_FLAGS_RESERVED,
        variant: "",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| {
            draft.set_bitmap(1, bitmap::field::FLAGS, 8);
        },
        nearly: |draft| {
            draft.set_bitmap(1, bitmap::field::FLAGS, 2);
        },
        also: &[],
    },
    Damage {
        rule: &BITMAP_FLAGS_RESERVED,
        variant: "extra-data-compatible",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| {
            draft.set_bitmap(1, bitmap::field::FLAGS, 4);
        },
        nearly: |draft| {
            draft.set_bitmap(1, bitmap::field::FLAGS, 2);
        },
        also: &[],
    },
    Damage {
        rule: &BITMAP_TYPE_UNKNOWN,
        variant: "",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| {
            draft.set_bitmap(1, bitmap::field::TYPE, 2);
        },
        nearly: |draft| {
            draft.set_bitmap(1, bitmap::field::TYPE, 1);
        },
        also: &[],
    },
    Damage {
        rule: &BITMAP_TYPE_UNKNOWN,
        variant: "with-auto-flag",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| {
            draft.set_bitmap(1, bitmap::field::TYPE, 0);
            draft.set_bitmap(1, bitmap::field::FLAGS, 2);
        },
        nearly: |draft| {
            draft.set_bitmap(1, bitmap::field::FLAGS, 2);
        },
        also: &[],
    },
    Damage {
        rule: &BITMAP_NAME_TOO_LONG,
        variant: "",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| rename(draft, 1, &[b'w'; 1024]),
        nearly: |draft| rename(draft, 1, &[b'w'; 1023]),
        also: &[],
    },
    Damage {
        rule: &BITMAP_NAME_EMPTY,
        variant: "",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| rename(draft, 1, b""),
        nearly: |draft| rename(draft, 1, b" "),
        also: &[],
    },
    Damage {
        rule: &DUPLICATE_BITMAP,
        variant: "",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| rename(draft, 1, b"daily"),
        nearly: |draft| rename(draft, 1, b"Daily"),
        also: &[],
    },
    Damage {
        rule: &DUPLICATE_BITMAP,
        variant: "up-to-nul",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| rename(draft, 1, b"daily\0copy"),
        nearly: |draft| rename(draft, 1, b"daily copy"),
        also: &["B12"],
    },
    Damage {
        rule: &BITMAP_NAME_MALFORMED,
        variant: "nul",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| rename(draft, 1, b"a\0b"),
        nearly: |draft| rename(draft, 1, b"a b"),
        also: &[],
    },
    Damage {
        rule: &BITMAP_NAME_MALFORMED,
        variant: "not-utf8",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| rename(draft, 1, b"w\xf6chentlich"),
        nearly: |draft| rename(draft, 1, "wöchentlich".as_bytes()),
        also: &[],
    },
    Damage {
        rule: &BITMAP_PADDING_NONZERO,
        variant: "",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| draft.put(draft.bitmap(1).end().0 - 1, b"x"),
        nearly: |draft| draft.put(draft.bitmap(1).padding_at().0 - 1, b"x"),
        also: &[],
    },
    Damage {
        rule: &BITMAP_IN_USE,
        variant: "",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| {
            draft.set_bitmap(1, bitmap::field::FLAGS, 1);
        },
        nearly: |draft| {
            draft.set_bitmap(1, bitmap::field::FLAGS, 2);
        },
        also: &[],
    },
];
