//! Damages of family H: the header's own fields.

use super::backing::name_backing_file;
use super::{Damage, set, unchanged};
use crate::format::extension::BACKING_FORMAT;
use crate::format::features::EXTENDED_L2;
use crate::rules::codes::*;

pub(super) const DAMAGES: &[Damage] = &[
    Damage {
        rule: &H01,
        variant: "fixed-fields",
        base: "valid/v3-basic",
        breaks: |draft| draft.bytes.truncate(103),
        nearly: |draft| draft.bytes.truncate(112),
        also: &["H34"],
    },
    Damage {
        rule: &H01,
        variant: "additional-fields",
        base: "valid/v3-basic",
        breaks: |draft| draft.bytes.truncate(111),
        nearly: |draft| draft.bytes.truncate(112),
        also: &["H34"],
    },
    Damage {
        rule: &H01,
        variant: "version-2",
        base: "valid/v2-basic",
        breaks: |draft| draft.bytes.truncate(59),
        nearly: |draft| draft.bytes.truncate(72),
        also: &["H34"],
    },
    Damage {
        rule: &H02,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| {
            draft.put(3, &[0xfa]);
            draft.bytes.truncate(512);
        },
        nearly: unchanged,
        also: &[],
    },
    Damage {
        rule: &H02,
        variant: "version-1",
        base: "valid/v3-512",
        breaks: |draft| {
            draft.put_number(4, 4, 1);
            draft.bytes.truncate(512);
        },
        nearly: |draft| draft.put_number(4, 4, 2),
        also: &[],
    },
    Damage {
        rule: &H02,
        variant: "empty",
        base: "valid/v3-512",
        breaks: |draft| {
            draft.bytes.clear();
        },
        nearly: unchanged,
        also: &[],
    },
    Damage {
        rule: &H02,
        variant: "zeros",
        base: "valid/v3-512",
        breaks: |draft| {
            draft.bytes = vec![0; 600];
        },
        nearly: unchanged,
        also: &[],
    },
    Damage {
        rule: &H02,
        variant: "text",
        base: "valid/v3-512",
        breaks: |draft| {
            draft.bytes = b"no such image\n".to_vec();
        },
        nearly: unchanged,
        also: &[],
    },
    Damage {
        rule: &H02,
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
        rule: &H03,
        variant: "too-new",
        base: "valid/v3-basic",
        breaks: |draft| draft.put_number(4, 4, 4),
        nearly: |draft| draft.put_number(4, 4, 3),
        also: &[],
    },
    Damage {
        rule: &H03,
        variant: "zero",
        base: "valid/v2-basic",
        breaks: |draft| draft.put_number(4, 4, 0),
        nearly: |draft| draft.put_number(4, 4, 2),
        also: &[],
    },
    Damage {
        rule: &H04,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| set(draft, "cluster_bits", 8),
        nearly: |draft| set(draft, "cluster_bits", 9),
        also: &[],
    },
    Damage {
        rule: &H05,
        variant: "",
        base: "valid/v3-size-0",
        breaks: |draft| set(draft, "cluster_bits", 22),
        nearly: |draft| set(draft, "cluster_bits", 21),
        // The tables stand on boundaries of small clusters, and so in the first large one.
        also: &["H31", "H43", "R02", "R03", "R08"],
    },
    Damage {
        rule: &H06,
        variant: "",
        base: "valid/v3-size-0",
        breaks: |draft| set(draft, "incompatible_features", 1 << EXTENDED_L2.bit),
        nearly: |draft| set(draft, "incompatible_features", 0),
        also: &[],
    },
    Damage {
        rule: &H07,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| set(draft, "header_length", 96),
        nearly: |draft| set(draft, "header_length", 104),
        also: &[],
    },
    Damage {
        rule: &H08,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| set(draft, "header_length", 116),
        nearly: |draft| set(draft, "header_length", 120),
        also: &[],
    },
    Damage {
        rule: &H09,
        variant: "",
        base: "valid/v3-basic",
        breaks: |draft| set(draft, "header_length", 1032),
        nearly: |draft| set(draft, "header_length", 1024),
        also: &[],
    },
    Damage {
        rule: &H10,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| draft.put(111, &[1]),
        // The same byte, where it belongs to the end mark's length.
        nearly: |draft| {
            draft.set_header("header_length", 104);
            draft.put(111, &[1]);
        },
        also: &[],
    },
    Damage {
        rule: &H11,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| {
            draft.set_header("header_length", 120);
            draft.put(119, &[1]);
        },
        nearly: |draft| set(draft, "header_length", 120),
        also: &[],
    },
    Damage {
        rule: &H12,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| set(draft, "incompatible_features", 1 << 5),
        nearly: |draft| set(draft, "incompatible_features", 1),
        also: &[],
    },
    Damage {
        rule: &H13,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| set(draft, "compatible_features", 1 << 1),
        nearly: |draft| set(draft, "compatible_features", 1),
        also: &[],
    },
    Damage {
        rule: &H14,
        variant: "",
        base: "valid/v3-bitmaps-512",
        breaks: |draft| set(draft, "autoclear_features", 1 << 2 | 1),
        nearly: |draft| set(draft, "autoclear_features", 1),
        also: &[],
    },
    Damage {
        rule: &H16,
        variant: "",
        base: "valid/v3-refcount-64",
        breaks: |draft| set(draft, "refcount_order", 7),
        nearly: |draft| set(draft, "refcount_order", 6),
        also: &[],
    },
    Damage {
        rule: &H17,
        variant: "",
        base: "valid/v3-aes",
        breaks: |draft| set(draft, "crypt_method", 3),
        nearly: |draft| set(draft, "crypt_method", 1),
        also: &[],
    },
    Damage {
        rule: &H18,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| set(draft, "crypt_method", 1),
        nearly: |draft| set(draft, "crypt_method", 0),
        also: &[],
    },
    Damage {
        rule: &H19,
        variant: "",
        base: "valid/v3-lazy-refcounts",
        breaks: |draft| set(draft, "incompatible_features", 1),
        nearly: unchanged,
        also: &[],
    },
    Damage {
        rule: &H20,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| set(draft, "incompatible_features", 1 << 1),
        nearly: |draft| set(draft, "incompatible_features", 1),
        also: &[],
    },
    Damage {
        rule: &H21,
        variant: "bit-missing",
        base: "valid/v3-zstd",
        breaks: |draft| set(draft, "incompatible_features", 0),
        nearly: |draft| {
            draft.set_header("incompatible_features", 0);
            draft.set_header("compression_type", 0);
        },
        also: &[],
    },
    Damage {
        rule: &H21,
        variant: "type-zero",
        base: "valid/v3-basic",
        breaks: |draft| set(draft, "incompatible_features", 1 << 3),
        nearly: |draft| {
            draft.set_header("incompatible_features", 1 << 3);
            draft.set_header("compression_type", 1);
        },
        also: &[],
    },
    Damage {
        rule: &H21,
        variant: "type-absent",
        base: "valid/v3-basic",
        breaks: |draft| {
            draft.set_header("incompatible_features", 1 << 3);
            draft.set_header("header_length", 104);
        },
        nearly: |draft| set(draft, "header_length", 104),
        also: &[],
    },
    Damage {
        rule: &H22,
        variant: "",
        base: "valid/v3-zstd",
        breaks: |draft| set(draft, "compression_type", 2),
        nearly: |draft| set(draft, "compression_type", 1),
        also: &[],
    },
    Damage {
        rule: &H44,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| set(draft, "autoclear_features", 1 << 1),
        nearly: |draft| {
            draft.set_header("autoclear_features", 1 << 1);
            draft.set_header("incompatible_features", 1 << 2);
        },
        also: &[],
    },
    Damage {
        rule: &H45,
        variant: "",
        base: "valid/v3-data-file-raw",
        breaks: |draft| {
            draft.add_extension(BACKING_FORMAT, b"raw");
            name_backing_file(draft, 0x200, b"base.raw");
        },
        nearly: |draft| {
            draft.add_extension(BACKING_FORMAT, b"raw");
            name_backing_file(draft, 0x200, b"base.raw");
            draft.set_header("autoclear_features", 0);
        },
        also: &["H41"],
    },
    Damage {
        rule: &H46,
        variant: "",
        base: "valid/v3-512",
        breaks: |draft| set(draft, "compatible_features", 1),
        nearly: |draft| set(draft, "compatible_features", 1 << 1),
        also: &[],
    },
];
