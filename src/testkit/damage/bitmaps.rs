//! Damages of the bitmap directory and its entries.

use super::{Damage, Draft};
use crate::format::bitmap::{self, BitmapHead};
use crate::format::{Layout, extension};
use crate::image::Bitmap;
use crate::rules::codes::{B01, B02, B03, B06, B07, B08, B09, B10, B11, B12, B13, B19};
use crate::units::HostOffset;

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
        rule: &B01,
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
        rule: &B01,
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
        rule: &B02,
        variant: "less",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| {
            draft.set_bitmaps_extension(extension::bitmaps_field::NB_BITMAPS, 3);
        },
        nearly: add_bitmap,
        also: &[],
    },
    Damage {
        rule: &B02,
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
        rule: &B03,
        variant: "",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| with_bitmap(draft, 1, |bitmap| bitmap.extra = vec![0]),
        nearly: |draft| rename(draft, 1, b"weekly2"),
        also: &[],
    },
    Damage {
        rule: &B06,
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
        rule: &B06,
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
        rule: &B06,
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
        rule: &B07,
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
        rule: &B07,
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
        rule: &B08,
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
        rule: &B08,
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
        rule: &B09,
        variant: "",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| rename(draft, 1, &[b'w'; 1024]),
        nearly: |draft| rename(draft, 1, &[b'w'; 1023]),
        also: &[],
    },
    Damage {
        rule: &B10,
        variant: "",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| rename(draft, 1, b""),
        nearly: |draft| rename(draft, 1, b" "),
        also: &[],
    },
    Damage {
        rule: &B11,
        variant: "",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| rename(draft, 1, b"daily"),
        nearly: |draft| rename(draft, 1, b"Daily"),
        also: &[],
    },
    Damage {
        rule: &B11,
        variant: "up-to-nul",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| rename(draft, 1, b"daily\0copy"),
        nearly: |draft| rename(draft, 1, b"daily copy"),
        also: &["B12"],
    },
    Damage {
        rule: &B12,
        variant: "nul",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| rename(draft, 1, b"a\0b"),
        nearly: |draft| rename(draft, 1, b"a b"),
        also: &[],
    },
    Damage {
        rule: &B12,
        variant: "not-utf8",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| rename(draft, 1, b"w\xf6chentlich"),
        nearly: |draft| rename(draft, 1, "wöchentlich".as_bytes()),
        also: &[],
    },
    Damage {
        rule: &B13,
        variant: "",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| draft.put(draft.bitmap(1).end().0 - 1, b"x"),
        nearly: |draft| draft.put(draft.bitmap(1).padding_at().0 - 1, b"x"),
        also: &[],
    },
    Damage {
        rule: &B19,
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
