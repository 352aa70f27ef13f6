//! Damages of family H: the backing file's name and what is around it.

use qcow2_inspect::format::extension::BACKING_FORMAT;
use qcow2_inspect::format::header::field;
use qcow2_inspect::rules::named::*;
use qcow2_inspect::units::{to_u64, to_usize};

use super::{Damage, set, unchanged};
use crate::Draft;

/// Moves the backing file's name to `at`, or gives the image one; nothing stays behind.
pub(super) fn name_backing_file(draft: &mut Draft, at: u64, name: &[u8]) {
    let (old, len) = (draft.header(field::BACKING_FILE_OFFSET), draft.header(field::BACKING_FILE_SIZE));
    if old != 0 {
        draft.put(old, &vec![0; to_usize(len)]);
    }
    set(draft, field::BACKING_FILE_OFFSET, at);
    set(draft, field::BACKING_FILE_SIZE, to_u64(name.len()));
    draft.put(at, name);
}

pub(super) const DAMAGES: &[Damage] = &[
    Damage {
        rule: &BACKING_NAME_OFFSET_INVALID,
        variant: "",
        base: "valid/v3-backing",
        breaks: |draft| name_backing_file(draft, 0x401, b"base.raw"),
        nearly: |draft| name_backing_file(draft, 0x3f8, b"base.raw"),
        also: &["R01", "R02", "R03"],
    },
    Damage {
        rule: &BACKING_NAME_TOO_LONG,
        variant: "over-1023",
        base: "valid/v3-extended-l2",
        breaks: |draft| {
            draft.add_extension(BACKING_FORMAT, b"raw");
            name_backing_file(draft, 0x2000, &[b'a'; 1024]);
        },
        nearly: |draft| {
            draft.add_extension(BACKING_FORMAT, b"raw");
            name_backing_file(draft, 0x2000, &[b'a'; 1023]);
        },
        // The name is cut to what the specification allows, and its last byte left over.
        also: &["H41", "H43"],
    },
    Damage {
        rule: &BACKING_NAME_TOO_LONG,
        variant: "past-cluster",
        base: "valid/v3-backing",
        breaks: |draft| name_backing_file(draft, 0x3f9, b"base.raw"),
        nearly: |draft| name_backing_file(draft, 0x3f8, b"base.raw"),
        also: &["R03"],
    },
    Damage {
        rule: &BACKING_NAME_TOO_LONG,
        variant: "at-cluster-end",
        base: "valid/v3-backing",
        breaks: |draft| name_backing_file(draft, 0x400, b"a"),
        nearly: |draft| name_backing_file(draft, 0x3ff, b"a"),
        also: &["R03"],
    },
    Damage {
        rule: &BACKING_NAME_IN_HEADER,
        variant: "",
        base: "valid/v3-512",
        // A name that the header has by chance: the byte of the cluster size.
        breaks: |draft| {
            draft.set_header(field::BACKING_FILE_OFFSET, 3);
            draft.set_header(field::BACKING_FILE_SIZE, 1);
        },
        nearly: |draft| name_backing_file(draft, 112, b"a"),
        also: &["H40", "H41", "H42"],
    },
    Damage {
        rule: &BACKING_OFFSET_WITHOUT_SIZE,
        variant: "offset-alone",
        base: "valid/v3-512",
        breaks: |draft| set(draft, field::BACKING_FILE_OFFSET, 0x200),
        nearly: |draft| name_backing_file(draft, 0x200, b"a"),
        also: &[],
    },
    Damage {
        rule: &BACKING_OFFSET_WITHOUT_SIZE,
        variant: "size-alone",
        base: "valid/v3-512",
        breaks: |draft| set(draft, field::BACKING_FILE_SIZE, 1),
        nearly: |draft| set(draft, field::BACKING_FILE_SIZE, 0),
        also: &[],
    },
    Damage {
        rule: &BACKING_NAME_MALFORMED,
        variant: "nul",
        base: "valid/v3-backing",
        breaks: |draft| name_backing_file(draft, 0x88, b"base\0raw"),
        nearly: |draft| name_backing_file(draft, 0x88, b"base raw"),
        also: &[],
    },
    Damage {
        rule: &BACKING_NAME_MALFORMED,
        variant: "direction-override",
        base: "valid/v3-backing",
        breaks: |draft| name_backing_file(draft, 0x88, "a\u{202e}war.b".as_bytes()),
        nearly: |draft| name_backing_file(draft, 0x88, "größe 磁盘".as_bytes()),
        also: &[],
    },
    Damage {
        rule: &BACKING_NAME_MALFORMED,
        variant: "not-utf8",
        base: "valid/v3-backing",
        breaks: |draft| name_backing_file(draft, 0x88, b"gr\xf6\xdfe"),
        nearly: |draft| name_backing_file(draft, 0x88, "größe".as_bytes()),
        also: &[],
    },
    Damage {
        rule: &BACKING_FILE_UNTRUSTED,
        variant: "json",
        base: "valid/v3-backing",
        breaks: |draft| name_backing_file(draft, 0x88, b"json:{\"driver\":\"null-co\"}"),
        nearly: |draft| name_backing_file(draft, 0x88, b"json"),
        also: &[],
    },
    Damage {
        rule: &BACKING_FILE_UNTRUSTED,
        variant: "protocol",
        base: "valid/v3-backing",
        breaks: |draft| name_backing_file(draft, 0x88, b"nbd://host/disk"),
        nearly: |draft| name_backing_file(draft, 0x88, b"nbd/:host"),
        also: &[],
    },
    Damage {
        rule: &BACKING_FILE_UNTRUSTED,
        variant: "device",
        base: "valid/v3-backing",
        breaks: |draft| name_backing_file(draft, 0x88, b"/tmp/..//dev/sda"),
        nearly: |draft| name_backing_file(draft, 0x88, b"/device/sda"),
        also: &[],
    },
    Damage {
        rule: &BACKING_FORMAT_MISSING,
        variant: "",
        base: "valid/v3-backing",
        breaks: |draft| draft.put(112, &[0; 24]),
        nearly: unchanged,
        also: &[],
    },
    Damage {
        rule: &HEADER_CLUSTER_HIDDEN_DATA,
        variant: "behind-the-name",
        base: "valid/v3-backing",
        breaks: |draft| draft.put(1023, &[1]),
        nearly: |draft| name_backing_file(draft, 1016, b"base.raw"),
        also: &[],
    },
    Damage {
        rule: &HEADER_CLUSTER_HIDDEN_DATA,
        variant: "before-the-name",
        base: "valid/v3-backing",
        breaks: |draft| {
            name_backing_file(draft, 0x200, b"base.raw");
            draft.put(0x1ff, &[1]);
        },
        nearly: |draft| name_backing_file(draft, 0x1ff, b"base.raw"),
        also: &[],
    },
];
