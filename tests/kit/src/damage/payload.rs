//! Damages of family E: what the extensions hold.

use qcow2_inspect::format::extension::{
    BACKING_FORMAT, BITMAPS, CRYPTO, DATA_FILE, FEATURE_TABLE, bitmaps_field, crypto_field, field,
};
use qcow2_inspect::format::features::{FeatureName, FeatureSet};
use qcow2_inspect::format::scalar::{Chars, Magic};
use qcow2_inspect::format::{Field, Layout};
use qcow2_inspect::image::Luks;
use qcow2_inspect::rules::named::*;
use qcow2_inspect::units::{HostOffset, to_usize};

use super::Damage;
use crate::Draft;

/// Changes the length of the first extension with this magic.
pub(super) fn set_length(draft: &mut Draft, magic: Magic, length: u64) {
    draft.set_field(HostOffset(draft.extension(magic)), field::LENGTH, length);
}

/// Changes a field of the data of the first extension with this magic.
fn set_data(draft: &mut Draft, magic: Magic, field: Field, value: u64) {
    draft.set_field(HostOffset(draft.extension_data(magic)), field, value);
}

/// Replaces the data of an extension by a string of the same length.
pub(super) fn set_string(draft: &mut Draft, magic: Magic, text: &[u8]) {
    draft.put(draft.extension_data(magic), text);
}

/// Adds the feature name table as QEMU writes it. In clusters of 512 bytes it leaves no room for anything else,
/// and QEMU leaves it out of small ones.
fn add_table(draft: &mut Draft) {
    let rows = (0..).zip(FeatureSet::ALL).flat_map(|(number, set)| {
        set.known().flat_map(move |feature| row(number, feature.bit, feature.name.as_bytes()))
    });
    draft.add_extension(FEATURE_TABLE, &rows.collect::<Vec<_>>());
}

fn row(kind: u8, bit: impl TryInto<u8>, name: &[u8]) -> Vec<u8> {
    let mut chars = [0; 46];
    chars.iter_mut().zip(name).for_each(|(to, from)| *to = *from);
    FeatureName { r#type: kind, bit: bit.try_into().unwrap_or(u8::MAX), name: Chars(chars) }.encode()
}

/// Adds the feature name table with other rows, from the first on.
fn set_rows(draft: &mut Draft, rows: &[(u8, u8, &[u8])]) {
    add_table(draft);
    let mut at = draft.extension_data(FEATURE_TABLE);
    for (kind, bit, name) in rows {
        draft.put(at, &row(*kind, *bit, name));
        at += FeatureName::LEN;
    }
}

/// Moves the LUKS header by `bytes`; its key material stays.
fn move_luks(draft: &mut Draft, bytes: u64) {
    let pointer = crypto_field::OFFSET.at(HostOffset(draft.extension_data(CRYPTO)));
    let at = draft.get(pointer.at.0, pointer.len);
    let header = draft.bytes.iter().copied().skip(to_usize(at)).take(to_usize(Luks::LEN));
    let header: Vec<u8> = header.collect();
    draft.put(at + bytes, &header);
    set_data(draft, CRYPTO, crypto_field::OFFSET, at + bytes);
}

/// Gives a LUKS image that was cut behind its partition header its key slots back, as zeros, and the refcounts of
/// their last clusters: half a MiB that the corpus is spared.
fn uncut(draft: &mut Draft) {
    draft.bytes.resize(0x8_2000, 0);
    draft.put(0x8_1c00, &[0, 1].repeat(8));
}

pub(super) const DAMAGES: &[Damage] = &[
    Damage {
        rule: &FEATURE_TABLE_MALFORMED,
        variant: "length",
        base: "valid/v3-size-0",
        breaks: |draft| {
            add_table(draft);
            set_length(draft, FEATURE_TABLE, 383);
        },
        nearly: |draft| {
            add_table(draft);
            set_length(draft, FEATURE_TABLE, 384);
        },
        also: &[],
    },
    Damage {
        rule: &FEATURE_TABLE_MALFORMED,
        variant: "type",
        base: "valid/v3-size-0",
        breaks: |draft| set_rows(draft, &[(3, 40, b"a")]),
        nearly: |draft| set_rows(draft, &[(2, 40, b"a")]),
        also: &[],
    },
    Damage {
        rule: &FEATURE_TABLE_MALFORMED,
        variant: "bit",
        base: "valid/v3-size-0",
        breaks: |draft| set_rows(draft, &[(0, 64, b"a")]),
        nearly: |draft| set_rows(draft, &[(0, 63, b"a")]),
        also: &[],
    },
    Damage {
        rule: &FEATURE_TABLE_MALFORMED,
        variant: "name",
        base: "valid/v3-size-0",
        breaks: |draft| set_rows(draft, &[(0, 40, b"a\x1b[2J")]),
        nearly: |draft| set_rows(draft, &[(0, 40, "naïve".as_bytes())]),
        also: &[],
    },
    Damage {
        rule: &FEATURE_TABLE_MALFORMED,
        variant: "name-padding",
        base: "valid/v3-size-0",
        breaks: |draft| set_rows(draft, &[(0, 40, b"a\0b")]),
        nearly: |draft| set_rows(draft, &[(0, 40, &[b'a'; 46])]),
        also: &[],
    },
    Damage {
        rule: &FEATURE_TABLE_MALFORMED,
        variant: "named-twice",
        base: "valid/v3-size-0",
        breaks: |draft| set_rows(draft, &[(1, 40, b"a"), (1, 40, b"b")]),
        nearly: |draft| set_rows(draft, &[(1, 40, b"a"), (2, 40, b"a")]),
        also: &[],
    },
    Damage {
        rule: &FEATURE_NAME_SPOOFED,
        variant: "",
        base: "valid/v3-size-0",
        breaks: |draft| set_rows(draft, &[(0, 0, b"harmless bit")]),
        nearly: |draft| set_rows(draft, &[(0, 5, b"dirty bit")]),
        also: &[],
    },
    Damage {
        rule: &CRYPTO_EXTENSION_LENGTH,
        variant: "shorter",
        base: "damaged/E13-luks-header-cut",
        breaks: |draft| set_length(draft, CRYPTO, 15),
        nearly: |draft| set_length(draft, CRYPTO, 16),
        also: &[],
    },
    Damage {
        rule: &CRYPTO_EXTENSION_LENGTH,
        variant: "longer",
        base: "damaged/E13-luks-header-cut",
        breaks: |draft| set_length(draft, CRYPTO, 17),
        nearly: |draft| set_length(draft, CRYPTO, 16),
        also: &[],
    },
    Damage {
        rule: &CRYPTO_HEADER_UNALIGNED,
        variant: "",
        base: "damaged/E13-luks-header-cut",
        breaks: |draft| set_data(draft, CRYPTO, crypto_field::OFFSET, 0xc00 + 512),
        nearly: |draft| set_data(draft, CRYPTO, crypto_field::OFFSET, 0xc00),
        also: &["K01", "K03", "K04", "K05", "K07"],
    },
    Damage {
        rule: &CRYPTO_HEADER_RANGE,
        variant: "behind-file",
        base: "damaged/E13-luks-header-cut",
        breaks: |draft| {
            uncut(draft);
            set_data(draft, CRYPTO, crypto_field::OFFSET, 0x8_2000);
        },
        nearly: |draft| {
            uncut(draft);
            move_luks(draft, 1024);
        },
        also: &[],
    },
    Damage {
        rule: &CRYPTO_HEADER_RANGE,
        variant: "length-too-small",
        base: "damaged/E13-luks-header-cut",
        breaks: |draft| {
            uncut(draft);
            set_data(draft, CRYPTO, crypto_field::LENGTH, 591);
        },
        nearly: |draft| {
            uncut(draft);
            set_data(draft, CRYPTO, crypto_field::LENGTH, 0x8_1000);
        },
        // What belongs to the header lies behind its length.
        also: &[],
    },
    Damage {
        rule: &CRYPTO_HEADER_RANGE,
        variant: "key-material-left-out",
        base: "damaged/E13-luks-header-cut",
        breaks: |draft| {
            uncut(draft);
            set_data(draft, CRYPTO, crypto_field::LENGTH, 0x8_0fff);
        },
        nearly: |draft| {
            uncut(draft);
            set_data(draft, CRYPTO, crypto_field::LENGTH, 0x8_1000);
        },
        also: &[],
    },
    Damage {
        rule: &CRYPTO_HEADER_RANGE,
        variant: "length-past-file",
        base: "damaged/E13-luks-header-cut",
        breaks: |draft| {
            uncut(draft);
            set_data(draft, CRYPTO, crypto_field::LENGTH, 0x8_1800);
        },
        nearly: |draft| {
            uncut(draft);
            set_data(draft, CRYPTO, crypto_field::LENGTH, 0x8_1400);
        },
        also: &[],
    },
    Damage {
        rule: &CRYPTO_HEADER_RANGE,
        variant: "hidden-behind",
        base: "damaged/E13-luks-header-cut",
        breaks: |draft| {
            uncut(draft);
            set_data(draft, CRYPTO, crypto_field::LENGTH, 0x8_13ff);
            draft.put(0x8_1fff, &[1]);
        },
        nearly: |draft| {
            uncut(draft);
            set_data(draft, CRYPTO, crypto_field::LENGTH, 0x8_1400);
            draft.put(0x8_1fff, &[1]);
        },
        also: &[],
    },
    Damage {
        rule: &BITMAPS_EXTENSION_LENGTH,
        variant: "",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| set_length(draft, BITMAPS, 23),
        nearly: |draft| set_length(draft, BITMAPS, 24),
        also: &[],
    },
    Damage {
        rule: &BITMAPS_RESERVED_NONZERO,
        variant: "",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| set_data(draft, BITMAPS, bitmaps_field::RESERVED, 1),
        nearly: |draft| set_data(draft, BITMAPS, bitmaps_field::RESERVED, 0),
        also: &[],
    },
    Damage {
        rule: &BITMAPS_COUNT_ZERO,
        variant: "",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| set_data(draft, BITMAPS, bitmaps_field::NB_BITMAPS, 0),
        nearly: |draft| set_data(draft, BITMAPS, bitmaps_field::NB_BITMAPS, 1),
        also: &[],
    },
    Damage {
        rule: &TOO_MANY_BITMAPS,
        variant: "",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| set_data(draft, BITMAPS, bitmaps_field::NB_BITMAPS, 65_536),
        nearly: |draft| set_data(draft, BITMAPS, bitmaps_field::NB_BITMAPS, 65_535),
        also: &["B02"],
    },
    Damage {
        rule: &BITMAP_DIRECTORY_OFFSET_INVALID,
        variant: "unaligned",
        base: "valid/v3-bitmaps",
        breaks: |draft| set_data(draft, BITMAPS, bitmaps_field::BITMAP_DIRECTORY_OFFSET, 0x4200),
        nearly: |draft| set_data(draft, BITMAPS, bitmaps_field::BITMAP_DIRECTORY_OFFSET, 0x4400),
        also: &["B01", "B04", "B05", "B06", "B08", "B10", "B11"],
    },
    Damage {
        rule: &BITMAP_DIRECTORY_OFFSET_INVALID,
        variant: "zero",
        base: "valid/v3-bitmaps",
        breaks: |draft| set_data(draft, BITMAPS, bitmaps_field::BITMAP_DIRECTORY_OFFSET, 0),
        nearly: |draft| set_data(draft, BITMAPS, bitmaps_field::BITMAP_DIRECTORY_OFFSET, 0x400),
        also: &["B01", "B03", "B04", "B05", "B06", "B08", "B10", "B13"],
    },
    Damage {
        rule: &BITMAP_DIRECTORY_OFFSET_INVALID,
        variant: "behind-file",
        base: "valid/v3-bitmaps",
        breaks: |draft| set_data(draft, BITMAPS, bitmaps_field::BITMAP_DIRECTORY_OFFSET, 0x4800),
        nearly: |draft| set_data(draft, BITMAPS, bitmaps_field::BITMAP_DIRECTORY_OFFSET, 0x4400),
        also: &["B01"],
    },
    Damage {
        rule: &BITMAP_DIRECTORY_SIZE_INVALID,
        variant: "too-large",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| set_data(draft, BITMAPS, bitmaps_field::BITMAP_DIRECTORY_SIZE, 67_107_841),
        nearly: |draft| set_data(draft, BITMAPS, bitmaps_field::BITMAP_DIRECTORY_SIZE, 67_107_840),
        also: &["B01"],
    },
    Damage {
        rule: &BITMAP_DIRECTORY_SIZE_INVALID,
        variant: "zero",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| set_data(draft, BITMAPS, bitmaps_field::BITMAP_DIRECTORY_SIZE, 0),
        nearly: |draft| set_data(draft, BITMAPS, bitmaps_field::BITMAP_DIRECTORY_SIZE, 1),
        also: &[],
    },
    Damage {
        rule: &DATA_FILE_UNTRUSTED,
        variant: "device",
        base: "valid/v3-data-file",
        breaks: |draft| set_string(draft, DATA_FILE, b"/dev/sda"),
        nearly: |draft| set_string(draft, DATA_FILE, b"/dew/sda"),
        also: &[],
    },
    Damage {
        rule: &DATA_FILE_UNTRUSTED,
        variant: "protocol",
        base: "valid/v3-data-file",
        breaks: |draft| set_string(draft, DATA_FILE, b"nbd:hos1"),
        nearly: |draft| set_string(draft, DATA_FILE, b"nbd/:os1"),
        also: &[],
    },
    Damage {
        rule: &DATA_FILE_UNTRUSTED,
        variant: "control-character",
        base: "valid/v3-data-file",
        breaks: |draft| set_string(draft, DATA_FILE, b"dat\x1b.raw"),
        nearly: |draft| set_string(draft, DATA_FILE, b"dat[.raw"),
        also: &[],
    },
    Damage {
        rule: &EXTENSION_STRING_MALFORMED,
        variant: "backing-format",
        base: "valid/v3-backing",
        breaks: |draft| set_length(draft, BACKING_FORMAT, 4),
        nearly: |draft| set_length(draft, BACKING_FORMAT, 3),
        also: &[],
    },
    Damage {
        rule: &EXTENSION_STRING_MALFORMED,
        variant: "data-file",
        base: "valid/v3-data-file",
        breaks: |draft| set_string(draft, DATA_FILE, b"d\xe9ta.raw"),
        nearly: |draft| set_string(draft, DATA_FILE, "dé.raw.".as_bytes()),
        also: &[],
    },
];
