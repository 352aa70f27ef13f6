//! Damages of family K. They are made in an image whose file ends behind the partition header, which is E13 in
//! every case.

use super::Damage;
use crate::format::Layout;
use crate::format::luks::{SLOT_DISABLED, SLOT_ENABLED};
use crate::image::Luks;
use crate::rules::codes::*;
use crate::testkit::Draft;
use crate::units::to_usize;

const CUT: &str = "damaged/E13-luks-header-cut";

#[expect(clippy::unwrap_used, reason = "a damage that does not fit its image is a mistake in the test")]
fn luks(draft: &Draft) -> Luks {
    draft.image().luks().unwrap().unwrap()
}

/// Changes a number of the fixed part.
fn set(draft: &mut Draft, name: &str, value: u64) {
    let luks = luks(draft);
    draft.set_field(luks.span.at, &luks.head.fields(), name, value);
}

/// Changes a name of the fixed part.
fn set_name(draft: &mut Draft, name: &str, text: &[u8]) {
    let luks = luks(draft);
    if let Some((field, _)) = luks.head.fields().iter().find(|(field, _)| field.name == name) {
        let mut chars = text.to_vec();
        chars.resize(to_usize(field.width), 0);
        draft.put(luks.span.at.0 + field.offset, &chars);
    }
}

/// Changes a number of a key slot.
fn set_slot(draft: &mut Draft, slot: usize, name: &str, value: u64) {
    let luks = luks(draft);
    if let Some((at, slot)) = luks.slots.get(slot) {
        draft.set_field(*at, &slot.fields(), name, value);
    }
}

pub(super) const DAMAGES: &[Damage] = &[
    Damage {
        rule: &K01,
        variant: "magic",
        base: CUT,
        breaks: |draft| draft.put(luks(draft).span.at.0, b"SKUL\xba\xbe"),
        nearly: |draft| draft.put(luks(draft).span.at.0, b"LUKS\xba\xbe"),
        also: &["E13"],
    },
    Damage {
        rule: &K01,
        variant: "version",
        base: CUT,
        breaks: |draft| set(draft, "version", 2),
        nearly: |draft| set(draft, "version", 1),
        also: &["E13"],
    },
    Damage {
        rule: &K02,
        variant: "no-nul",
        base: CUT,
        breaks: |draft| set_name(draft, "cipher_name", &[b'a'; 32]),
        nearly: |draft| set_name(draft, "cipher_name", &[b'a'; 31]),
        also: &["E13"],
    },
    Damage {
        rule: &K02,
        variant: "not-printable",
        base: CUT,
        breaks: |draft| set_name(draft, "hash_spec", b"sha256\x1b"),
        nearly: |draft| set_name(draft, "hash_spec", b"sha256"),
        also: &["E13"],
    },
    Damage {
        rule: &K03,
        variant: "",
        base: CUT,
        breaks: |draft| set(draft, "payload_offset", 7),
        nearly: |draft| set(draft, "payload_offset", 8),
        // No key material has room before it.
        also: &["E13", "K07"],
    },
    Damage {
        rule: &K04,
        variant: "zero",
        base: CUT,
        breaks: |draft| set(draft, "mk_digest_iterations", 0),
        nearly: |draft| set(draft, "mk_digest_iterations", 1000),
        also: &["E13"],
    },
    Damage {
        rule: &K04,
        variant: "few",
        base: CUT,
        breaks: |draft| set(draft, "mk_digest_iterations", 999),
        nearly: |draft| set(draft, "mk_digest_iterations", 1000),
        also: &["E13"],
    },
    Damage {
        rule: &K04,
        variant: "many",
        base: CUT,
        breaks: |draft| set(draft, "mk_digest_iterations", 100_000_001),
        nearly: |draft| set(draft, "mk_digest_iterations", 100_000_000),
        also: &["E13"],
    },
    Damage {
        rule: &K05,
        variant: "stripes",
        base: CUT,
        breaks: |draft| set_slot(draft, 7, "stripes", 3999),
        nearly: |draft| set_slot(draft, 7, "stripes", 4000),
        also: &["E13"],
    },
    Damage {
        rule: &K05,
        variant: "state",
        base: CUT,
        breaks: |draft| set_slot(draft, 7, "active", 0),
        nearly: |draft| set_slot(draft, 7, "active", SLOT_DISABLED.into()),
        also: &["E13"],
    },
    Damage {
        rule: &K06,
        variant: "",
        base: CUT,
        breaks: |draft| {
            set_slot(draft, 1, "active", SLOT_ENABLED.into());
            set_slot(draft, 1, "iterations", 0);
        },
        nearly: |draft| set_slot(draft, 1, "iterations", 0),
        also: &["E13"],
    },
    Damage {
        rule: &K07,
        variant: "in-header",
        base: CUT,
        breaks: |draft| set_slot(draft, 0, "key_material_offset", 7),
        nearly: |draft| set_slot(draft, 0, "key_material_offset", 8),
        also: &["E13"],
    },
    Damage {
        rule: &K07,
        variant: "in-payload",
        base: CUT,
        breaks: |draft| set_slot(draft, 7, "key_material_offset", 905),
        nearly: |draft| set_slot(draft, 7, "key_material_offset", 904),
        also: &["E13"],
    },
    Damage {
        rule: &K07,
        variant: "in-other-slot",
        base: CUT,
        breaks: |draft| set_slot(draft, 1, "key_material_offset", 135),
        nearly: |draft| set_slot(draft, 1, "key_material_offset", 136),
        also: &["E13"],
    },
    Damage {
        rule: &K08,
        variant: "",
        base: CUT,
        breaks: |draft| set_slot(draft, 0, "active", SLOT_DISABLED.into()),
        nearly: |draft| {
            set_slot(draft, 0, "active", SLOT_DISABLED.into());
            set_slot(draft, 1, "active", SLOT_ENABLED.into());
            set_slot(draft, 1, "iterations", 1);
        },
        also: &["E13"],
    },
    Damage {
        rule: &K09,
        variant: "unknown-cipher",
        base: CUT,
        breaks: |draft| set_name(draft, "cipher_name", b"aes2"),
        nearly: |draft| set_name(draft, "cipher_name", b"aes"),
        also: &["E13"],
    },
    Damage {
        rule: &K09,
        variant: "unknown-mode",
        base: CUT,
        breaks: |draft| set_name(draft, "cipher_mode", b"cbc"),
        nearly: |draft| set_name(draft, "cipher_mode", b"cbc-plain"),
        also: &["E13"],
    },
    Damage {
        rule: &K09,
        variant: "unknown-hash",
        base: CUT,
        breaks: |draft| set_name(draft, "hash_spec", b"sha257"),
        nearly: |draft| set_name(draft, "hash_spec", b"sha1"),
        also: &["E13"],
    },
    Damage {
        rule: &K09,
        variant: "weak-cipher",
        base: CUT,
        breaks: |draft| set_name(draft, "cipher_name", b"cast5"),
        nearly: |draft| set_name(draft, "cipher_name", b"serpent"),
        also: &["E13"],
    },
    Damage {
        rule: &K09,
        variant: "weak-mode",
        base: CUT,
        breaks: |draft| set_name(draft, "cipher_mode", b"ecb-plain64"),
        nearly: |draft| set_name(draft, "cipher_mode", b"cbc-essiv:sha256"),
        also: &["E13"],
    },
    Damage {
        rule: &K09,
        variant: "weak-hash",
        base: CUT,
        breaks: |draft| set_name(draft, "hash_spec", b"md5"),
        nearly: |draft| set_name(draft, "hash_spec", b"sha512"),
        also: &["E13"],
    },
    Damage {
        rule: &K09,
        variant: "key-size",
        base: CUT,
        breaks: |draft| set(draft, "key_bytes", 15),
        nearly: |draft| set(draft, "key_bytes", 16),
        also: &["E13"],
    },
];
