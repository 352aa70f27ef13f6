//! Damages of family E: the list of extensions, and how it agrees with the header.

use qcow2_inspect::format::Layout;
use qcow2_inspect::format::extension::{
    BACKING_FORMAT, BITMAPS, BitmapsExtension, DATA_FILE, END, ExtensionHead, FEATURE_TABLE,
};
use qcow2_inspect::format::header::field;
use qcow2_inspect::format::scalar::Magic;
use qcow2_inspect::rules::named::*;
use qcow2_inspect::units::HostOffset;

use super::backing::name_backing_file;
use super::payload::{set_length, set_string};
use super::{Damage, set, unchanged};
use crate::Draft;

/// A type that the specification does not define.
const UNKNOWN: Magic = Magic(0x6162_6364);

/// An extension written over what stands at `at`, with no padding.
fn put_extension(draft: &mut Draft, at: u64, magic: Magic, length: u32) {
    draft.put(at, &ExtensionHead { magic, length }.encode());
}

pub(super) const DAMAGES: &[Damage] = &[
    Damage {
        rule: &EXTENSION_TOO_LARGE,
        variant: "data",
        base: "valid/v3-basic",
        breaks: |draft| put_extension(draft, 112, UNKNOWN, 1024 - 120 + 1),
        nearly: |draft| put_extension(draft, 112, UNKNOWN, 1024 - 120),
        also: &[],
    },
    Damage {
        rule: &EXTENSION_TOO_LARGE,
        variant: "left-over-bytes",
        base: "valid/v3-backing",
        breaks: |draft| name_backing_file(draft, 0x87, b"base.raw"),
        nearly: |draft| name_backing_file(draft, 0x80, b"base.raw"),
        also: &[],
    },
    Damage {
        rule: &EXTENSION_TOO_LARGE,
        variant: "file-ends",
        base: "valid/v3-basic",
        breaks: |draft| {
            put_extension(draft, 112, UNKNOWN, 80);
            draft.bytes.truncate(199);
        },
        nearly: |draft| {
            put_extension(draft, 112, UNKNOWN, 80);
            draft.bytes.truncate(200);
        },
        also: &["H34"],
    },
    Damage {
        rule: &DUPLICATE_EXTENSION,
        variant: "known",
        base: "valid/v3-backing",
        breaks: |draft| {
            name_backing_file(draft, 0x200, b"base.raw");
            draft.add_extension(BACKING_FORMAT, b"qcow2");
        },
        nearly: |draft| {
            name_backing_file(draft, 0x200, b"base.raw");
            draft.add_extension(UNKNOWN, b"qcow2");
        },
        also: &[],
    },
    Damage {
        rule: &DUPLICATE_EXTENSION,
        variant: "unknown",
        base: "valid/v3-basic",
        breaks: |draft| {
            draft.add_extension(UNKNOWN, b"");
            draft.add_extension(UNKNOWN, b"");
        },
        nearly: |draft| {
            draft.add_extension(UNKNOWN, b"");
            draft.add_extension(Magic(UNKNOWN.0 + 1), b"");
        },
        also: &["E26"],
    },
    Damage {
        rule: &EXTENSION_END_MISSING,
        variant: "",
        base: "valid/v3-backing",
        // The name stands where the padding should.
        breaks: |draft| name_backing_file(draft, 0x7b, b"base.raw"),
        nearly: |draft| name_backing_file(draft, 0x80, b"base.raw"),
        also: &[],
    },
    Damage {
        rule: &EXTENSION_END_LENGTH,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| set_length(draft, END, 8),
        nearly: |draft| set_length(draft, END, 0),
        also: &[],
    },
    Damage {
        rule: &BACKING_FORMAT_TOO_LONG,
        variant: "",
        base: "valid/v3-backing",
        breaks: |draft| {
            name_backing_file(draft, 0x200, b"base.raw");
            set_length(draft, BACKING_FORMAT, 16);
            set_string(draft, BACKING_FORMAT, b"sixteen-letters!");
        },
        nearly: |draft| {
            name_backing_file(draft, 0x200, b"base.raw");
            set_length(draft, BACKING_FORMAT, 15);
            set_string(draft, BACKING_FORMAT, b"fifteen-letters");
        },
        also: &["E06"],
    },
    Damage {
        rule: &BACKING_FORMAT_UNEXPECTED,
        variant: "no-backing-file",
        base: "valid/v3-basic",
        breaks: |draft| draft.add_extension(BACKING_FORMAT, b"raw"),
        nearly: |draft| {
            draft.add_extension(BACKING_FORMAT, b"raw");
            name_backing_file(draft, 0x200, b"base.raw");
        },
        also: &[],
    },
    Damage {
        rule: &BACKING_FORMAT_UNEXPECTED,
        variant: "unknown-format",
        base: "valid/v3-backing",
        breaks: |draft| set_string(draft, BACKING_FORMAT, b"raW"),
        nearly: |draft| set_string(draft, BACKING_FORMAT, b"vpc"),
        also: &[],
    },
    Damage {
        rule: &CRYPTO_EXTENSION_UNEXPECTED,
        variant: "",
        base: "damaged/E13-luks-header-cut",
        breaks: |draft| set(draft, field::CRYPT_METHOD, 0),
        nearly: |draft| set(draft, field::CRYPT_METHOD, 2),
        also: &[],
    },
    Damage {
        rule: &CRYPTO_EXTENSION_MISSING,
        variant: "",
        base: "damaged/E13-luks-header-cut",
        breaks: |draft| draft.put(112, &[0; 24]),
        nearly: unchanged,
        also: &[],
    },
    Damage {
        rule: &BITMAPS_BIT_WITHOUT_EXTENSION,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| set(draft, field::AUTOCLEAR_FEATURES, 1),
        nearly: |draft| set(draft, field::AUTOCLEAR_FEATURES, 1 << 2),
        also: &[],
    },
    Damage {
        rule: &BITMAPS_INCONSISTENT,
        variant: "",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| set(draft, field::AUTOCLEAR_FEATURES, 0),
        nearly: |draft| set(draft, field::AUTOCLEAR_FEATURES, 1),
        also: &[],
    },
    Damage {
        rule: &BITMAPS_IN_VERSION_2,
        variant: "",
        base: "valid/v2-basic",
        breaks: |draft| {
            let bitmap_directory_offset = HostOffset(draft.add_clusters(1));
            let bitmaps = BitmapsExtension {
                nb_bitmaps: 1,
                reserved: 0,
                bitmap_directory_size: 24,
                bitmap_directory_offset,
            };
            draft.add_extension(BITMAPS, &bitmaps.encode());
        },
        nearly: |draft| draft.add_extension(UNKNOWN, &[0; 24]),
        also: &["B04", "B05", "B06", "B08", "B10"],
    },
    Damage {
        rule: &DATA_FILE_NAME_UNEXPECTED,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| draft.add_extension(DATA_FILE, b"data.raw"),
        nearly: |draft| draft.add_extension(UNKNOWN, b"data.raw"),
        also: &["E25"],
    },
    Damage {
        rule: &DATA_FILE_NAME_MISSING,
        variant: "",
        base: "valid/v3-data-file",
        breaks: |draft| draft.put(112, &[0; 16]),
        nearly: unchanged,
        also: &[],
    },
    Damage {
        rule: &UNKNOWN_EXTENSION,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| draft.add_extension(UNKNOWN, b"anything"),
        nearly: |draft| draft.add_extension(FEATURE_TABLE, b""),
        also: &[],
    },
];
