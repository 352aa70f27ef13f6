//! Damages of family H: the header's own fields.

use qcow2_inspect::format::extension::BACKING_FORMAT;
use qcow2_inspect::format::features::EXTENDED_L2;
use qcow2_inspect::format::header::field;
use qcow2_inspect::rules::named::*;

use super::backing::name_backing_file;
use super::{Damage, set, unchanged};

pub(super) const DAMAGES: &[Damage] = &[
    Damage {
        rule: &HEADER_CUT,
        variant: "fixed-fields",
        base: "valid/v3-basic",
        breaks: |draft| draft.bytes.truncate(103),
        nearly: |draft| draft.bytes.truncate(112),
        also: &["H34"],
    },
    Damage {
        rule: &HEADER_CUT,
        variant: "additional-fields",
        base: "valid/v3-basic",
        breaks: |draft| draft.bytes.truncate(111),
        nearly: |draft| draft.bytes.truncate(112),
        also: &["H34"],
    },
    Damage {
        rule: &HEADER_CUT,
        variant: "version-2",
        base: "valid/v2-basic",
        breaks: |draft| draft.bytes.truncate(59),
        nearly: |draft| draft.bytes.truncate(72),
        also: &["H34"],
    },
    Damage {
        rule: &BAD_MAGIC,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| {
            set(draft, field::MAGIC, 0x5146_49fa);
            draft.bytes.truncate(512);
        },
        nearly: unchanged,
        also: &[],
    },
    Damage {
        rule: &BAD_MAGIC,
        variant: "version-1",
        base: "valid/v3-512",
        breaks: |draft| {
            set(draft, field::VERSION, 1);
            draft.bytes.truncate(512);
        },
        nearly: |draft| set(draft, field::VERSION, 2),
        also: &[],
    },
    Damage {
        rule: &BAD_MAGIC,
        variant: "empty",
        base: "valid/v3-512",
        breaks: |draft| {
            draft.bytes.clear();
        },
        nearly: unchanged,
        also: &[],
    },
    Damage {
        rule: &BAD_MAGIC,
        variant: "zeros",
        base: "valid/v3-512",
        breaks: |draft| {
            draft.bytes = vec![0; 600];
        },
        nearly: unchanged,
        also: &[],
    },
    Damage {
        rule: &BAD_MAGIC,
        variant: "text",
        base: "valid/v3-512",
        breaks: |draft| {
            draft.bytes = b"no such image\n".to_vec();
        },
        nearly: unchanged,
        also: &[],
    },
    Damage {
        rule: &BAD_MAGIC,
        variant: "footer",
        base: "valid/v3-512",
        breaks: |draft| {
            draft.bytes = vec![0; 600];
            draft.put(600 - 512, b"conectix");
        },
        nearly: unchanged,
        also: &[],
    },
    Damage {
        rule: &UNSUPPORTED_VERSION,
        variant: "too-new",
        base: "valid/v3-basic",
        breaks: |draft| set(draft, field::VERSION, 4),
        nearly: |draft| set(draft, field::VERSION, 3),
        also: &[],
    },
    Damage {
        rule: &UNSUPPORTED_VERSION,
        variant: "zero",
        base: "valid/v2-basic",
        breaks: |draft| set(draft, field::VERSION, 0),
        nearly: |draft| set(draft, field::VERSION, 2),
        also: &[],
    },
    Damage {
        rule: &CLUSTER_TOO_SMALL,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| set(draft, field::CLUSTER_BITS, 8),
        nearly: |draft| set(draft, field::CLUSTER_BITS, 9),
        also: &[],
    },
    Damage {
        rule: &CLUSTER_TOO_LARGE,
        variant: "",
        base: "valid/v3-size-0",
        breaks: |draft| set(draft, field::CLUSTER_BITS, 22),
        nearly: |draft| set(draft, field::CLUSTER_BITS, 21),
        // The tables stand on boundaries of small clusters, and so in the first large one.
        also: &["H31", "H43", "R02", "R03", "R08"],
    },
    Damage {
        rule: &SUBCLUSTER_TOO_SMALL,
        variant: "",
        base: "valid/v3-size-0",
        breaks: |draft| set(draft, field::INCOMPATIBLE_FEATURES, 1 << EXTENDED_L2.bit),
        nearly: |draft| set(draft, field::INCOMPATIBLE_FEATURES, 0),
        also: &[],
    },
    Damage {
        rule: &HEADER_LENGTH_TOO_SHORT,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| set(draft, field::HEADER_LENGTH, 96),
        nearly: |draft| set(draft, field::HEADER_LENGTH, 104),
        also: &[],
    },
    Damage {
        rule: &HEADER_LENGTH_UNALIGNED,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| set(draft, field::HEADER_LENGTH, 116),
        nearly: |draft| set(draft, field::HEADER_LENGTH, 120),
        also: &[],
    },
    Damage {
        rule: &HEADER_BEYOND_CLUSTER,
        variant: "",
        base: "valid/v3-basic",
        breaks: |draft| set(draft, field::HEADER_LENGTH, 1032),
        nearly: |draft| set(draft, field::HEADER_LENGTH, 1024),
        also: &[],
    },
    Damage {
        rule: &HEADER_PADDING_NONZERO,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| draft.put(field::PADDING.end() - 1, &[1]),
        // The same byte, where it belongs to the end mark's length.
        nearly: |draft| {
            draft.set_header(field::HEADER_LENGTH, 104);
            draft.put(field::PADDING.end() - 1, &[1]);
        },
        also: &[],
    },
    Damage {
        rule: &UNKNOWN_HEADER_FIELDS,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| {
            draft.set_header(field::HEADER_LENGTH, 120);
            draft.put(119, &[1]);
        },
        nearly: |draft| set(draft, field::HEADER_LENGTH, 120),
        also: &[],
    },
    Damage {
        rule: &UNKNOWN_INCOMPATIBLE_FEATURE,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| set(draft, field::INCOMPATIBLE_FEATURES, 1 << 5),
        nearly: |draft| set(draft, field::INCOMPATIBLE_FEATURES, 1),
        also: &[],
    },
    Damage {
        rule: &UNKNOWN_COMPATIBLE_FEATURE,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| set(draft, field::COMPATIBLE_FEATURES, 1 << 1),
        nearly: |draft| set(draft, field::COMPATIBLE_FEATURES, 1),
        also: &[],
    },
    Damage {
        rule: &UNKNOWN_AUTOCLEAR_FEATURE,
        variant: "",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| set(draft, field::AUTOCLEAR_FEATURES, 1 << 2 | 1),
        nearly: |draft| set(draft, field::AUTOCLEAR_FEATURES, 1),
        also: &[],
    },
    Damage {
        rule: &REFCOUNT_ORDER_TOO_LARGE,
        variant: "",
        base: "valid/v3-refcount-64",
        breaks: |draft| set(draft, field::REFCOUNT_ORDER, 7),
        nearly: |draft| set(draft, field::REFCOUNT_ORDER, 6),
        also: &[],
    },
    Damage {
        rule: &UNKNOWN_CRYPT_METHOD,
        variant: "",
        base: "valid/v3-aes",
        breaks: |draft| set(draft, field::CRYPT_METHOD, 3),
        nearly: |draft| set(draft, field::CRYPT_METHOD, 1),
        also: &[],
    },
    Damage {
        rule: &WEAK_AES_ENCRYPTION,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| set(draft, field::CRYPT_METHOD, 1),
        nearly: |draft| set(draft, field::CRYPT_METHOD, 0),
        also: &[],
    },
    Damage {
        rule: &DIRTY_BIT_SET,
        variant: "",
        base: "valid/v3-lazy-refcounts",
        breaks: |draft| set(draft, field::INCOMPATIBLE_FEATURES, 1),
        nearly: unchanged,
        also: &[],
    },
    Damage {
        rule: &CORRUPT_BIT_SET,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| set(draft, field::INCOMPATIBLE_FEATURES, 1 << 1),
        nearly: |draft| set(draft, field::INCOMPATIBLE_FEATURES, 1),
        also: &[],
    },
    Damage {
        rule: &COMPRESSION_BIT_MISMATCH,
        variant: "bit-missing",
        base: "valid/v3-zstd",
        breaks: |draft| set(draft, field::INCOMPATIBLE_FEATURES, 0),
        nearly: |draft| {
            draft.set_header(field::INCOMPATIBLE_FEATURES, 0);
            draft.set_header(field::COMPRESSION_TYPE, 0);
        },
        also: &[],
    },
    Damage {
        rule: &COMPRESSION_BIT_MISMATCH,
        variant: "type-zero",
        base: "valid/v3-basic",
        breaks: |draft| set(draft, field::INCOMPATIBLE_FEATURES, 1 << 3),
        nearly: |draft| {
            draft.set_header(field::INCOMPATIBLE_FEATURES, 1 << 3);
            draft.set_header(field::COMPRESSION_TYPE, 1);
        },
        also: &[],
    },
    Damage {
        rule: &COMPRESSION_BIT_MISMATCH,
        variant: "type-absent",
        base: "valid/v3-basic",
        breaks: |draft| {
            draft.set_header(field::INCOMPATIBLE_FEATURES, 1 << 3);
            draft.set_header(field::HEADER_LENGTH, 104);
        },
        nearly: |draft| set(draft, field::HEADER_LENGTH, 104),
        also: &[],
    },
    Damage {
        rule: &UNKNOWN_COMPRESSION_TYPE,
        variant: "",
        base: "valid/v3-zstd",
        breaks: |draft| set(draft, field::COMPRESSION_TYPE, 2),
        nearly: |draft| set(draft, field::COMPRESSION_TYPE, 1),
        also: &[],
    },
    Damage {
        rule: &RAW_BIT_WITHOUT_DATA_FILE,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| set(draft, field::AUTOCLEAR_FEATURES, 1 << 1),
        nearly: |draft| {
            draft.set_header(field::AUTOCLEAR_FEATURES, 1 << 1);
            draft.set_header(field::INCOMPATIBLE_FEATURES, 1 << 2);
        },
        also: &[],
    },
    Damage {
        rule: &RAW_BIT_WITH_BACKING,
        variant: "",
        base: "valid/v3-data-file-raw",
        breaks: |draft| {
            draft.add_extension(BACKING_FORMAT, b"raw");
            name_backing_file(draft, 0x200, b"base.raw");
        },
        nearly: |draft| {
            draft.add_extension(BACKING_FORMAT, b"raw");
            name_backing_file(draft, 0x200, b"base.raw");
            draft.set_header(field::AUTOCLEAR_FEATURES, 0);
        },
        also: &["H41"],
    },
    Damage {
        rule: &LAZY_REFCOUNTS_ENABLED,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| set(draft, field::COMPATIBLE_FEATURES, 1),
        nearly: |draft| set(draft, field::COMPATIBLE_FEATURES, 1 << 1),
        also: &[],
    },
];
