//! Damages of family K. They are made in an image whose file ends behind the partition header, which is E13 in
//! every case.

use qcow2_inspect::format::Field;
use qcow2_inspect::format::luks::{self, SLOT_DISABLED, SLOT_ENABLED};
use qcow2_inspect::image::Luks;
use qcow2_inspect::rules::named::*;
use qcow2_inspect::units::{Span, to_usize};

use super::Damage;
use crate::Draft;

const CUT: &str = "damaged/E13-luks-header-cut";

#[expect(clippy::unwrap_used, reason = "a damage that does not fit its image is a mistake in the test")]
fn luks(draft: &Draft) -> Luks {
    draft.image().luks().unwrap().unwrap()
}

/// Changes a number of the fixed part.
fn set(draft: &mut Draft, field: Field, value: u64) {
    draft.set_field(luks(draft).span.at, field, value);
}

/// Changes text of the fixed part.
fn set_text(draft: &mut Draft, field: Field, text: &[u8]) {
    let Span { at, len } = field.at(luks(draft).span.at);
    let mut chars = text.to_vec();
    chars.resize(to_usize(len), 0);
    draft.put(at.0, &chars);
}

/// Changes a number of a key slot.
fn set_slot(draft: &mut Draft, slot: usize, field: Field, value: u64) {
    if let Some((at, _)) = luks(draft).slots.get(slot) {
        draft.set_field(*at, field, value);
    }
}

pub(super) const DAMAGES: &[Damage] = &[
    Damage {
        rule: &LUKS_MAGIC_VERSION,
        variant: "magic",
        base: CUT,
        breaks: |draft| set_text(draft, luks::field::MAGIC, b"SKUL\xba\xbe"),
        nearly: |draft| set_text(draft, luks::field::MAGIC, b"LUKS\xba\xbe"),
        also: &["E13"],
    },
    Damage {
        rule: &LUKS_MAGIC_VERSION,
        variant: "version",
        base: CUT,
        breaks: |draft| set(draft, luks::field::VERSION, 2),
        nearly: |draft| set(draft, luks::field::VERSION, 1),
        also: &["E13"],
    },
    Damage {
        rule: &LUKS_NAME_MALFORMED,
        variant: "no-nul",
        base: CUT,
        breaks: |draft| set_text(draft, luks::field::CIPHER_NAME, &[b'a'; 32]),
        nearly: |draft| set_text(draft, luks::field::CIPHER_NAME, &[b'a'; 31]),
        also: &["E13"],
    },
    Damage {
        rule: &LUKS_NAME_MALFORMED,
        variant: "not-printable",
        base: CUT,
        breaks: |draft| set_text(draft, luks::field::HASH_SPEC, b"sha256\x1b"),
        nearly: |draft| set_text(draft, luks::field::HASH_SPEC, b"sha256"),
        also: &["E13"],
    },
    Damage {
        rule: &LUKS_PAYLOAD_IN_HEADER,
        variant: "",
        base: CUT,
        breaks: |draft| set(draft, luks::field::PAYLOAD_OFFSET, 7),
        nearly: |draft| set(draft, luks::field::PAYLOAD_OFFSET, 8),
        // No key material has room before it.
        also: &["E13", "K07"],
    },
    Damage {
        rule: &LUKS_DIGEST_ITERATIONS,
        variant: "zero",
        base: CUT,
        breaks: |draft| set(draft, luks::field::MK_DIGEST_ITERATIONS, 0),
        nearly: |draft| set(draft, luks::field::MK_DIGEST_ITERATIONS, 1000),
        also: &["E13"],
    },
    Damage {
        rule: &LUKS_DIGEST_ITERATIONS,
        variant: "few",
        base: CUT,
        breaks: |draft| set(draft, luks::field::MK_DIGEST_ITERATIONS, 999),
        nearly: |draft| set(draft, luks::field::MK_DIGEST_ITERATIONS, 1000),
        also: &["E13"],
    },
    Damage {
        rule: &LUKS_DIGEST_ITERATIONS,
        variant: "many",
        base: CUT,
        breaks: |draft| set(draft, luks::field::MK_DIGEST_ITERATIONS, 100_000_001),
        nearly: |draft| set(draft, luks::field::MK_DIGEST_ITERATIONS, 100_000_000),
        also: &["E13"],
    },
    Damage {
        rule: &LUKS_SLOT_CORRUPTED,
        variant: "stripes",
        base: CUT,
        breaks: |draft| set_slot(draft, 7, luks::slot_field::STRIPES, 3999),
        nearly: |draft| set_slot(draft, 7, luks::slot_field::STRIPES, 4000),
        also: &["E13"],
    },
    Damage {
        rule: &LUKS_SLOT_CORRUPTED,
        variant: "state",
        base: CUT,
        breaks: |draft| set_slot(draft, 7, luks::slot_field::ACTIVE, 0),
        nearly: |draft| set_slot(draft, 7, luks::slot_field::ACTIVE, SLOT_DISABLED.into()),
        also: &["E13"],
    },
    Damage {
        rule: &LUKS_SLOT_ITERATIONS,
        variant: "",
        base: CUT,
        breaks: |draft| {
            set_slot(draft, 1, luks::slot_field::ACTIVE, SLOT_ENABLED.into());
            set_slot(draft, 1, luks::slot_field::ITERATIONS, 0);
        },
        nearly: |draft| set_slot(draft, 1, luks::slot_field::ITERATIONS, 0),
        also: &["E13"],
    },
    Damage {
        rule: &LUKS_SLOT_OVERLAP,
        variant: "in-header",
        base: CUT,
        breaks: |draft| set_slot(draft, 0, luks::slot_field::KEY_MATERIAL_OFFSET, 7),
        nearly: |draft| set_slot(draft, 0, luks::slot_field::KEY_MATERIAL_OFFSET, 8),
        also: &["E13"],
    },
    Damage {
        rule: &LUKS_SLOT_OVERLAP,
        variant: "in-payload",
        base: CUT,
        breaks: |draft| set_slot(draft, 7, luks::slot_field::KEY_MATERIAL_OFFSET, 905),
        nearly: |draft| set_slot(draft, 7, luks::slot_field::KEY_MATERIAL_OFFSET, 904),
        also: &["E13"],
    },
    Damage {
        rule: &LUKS_SLOT_OVERLAP,
        variant: "in-other-slot",
        base: CUT,
        breaks: |draft| set_slot(draft, 1, luks::slot_field::KEY_MATERIAL_OFFSET, 135),
        nearly: |draft| set_slot(draft, 1, luks::slot_field::KEY_MATERIAL_OFFSET, 136),
        also: &["E13"],
    },
    Damage {
        rule: &LUKS_NO_ACTIVE_SLOT,
        variant: "",
        base: CUT,
        breaks: |draft| set_slot(draft, 0, luks::slot_field::ACTIVE, SLOT_DISABLED.into()),
        nearly: |draft| {
            set_slot(draft, 0, luks::slot_field::ACTIVE, SLOT_DISABLED.into());
            set_slot(draft, 1, luks::slot_field::ACTIVE, SLOT_ENABLED.into());
            set_slot(draft, 1, luks::slot_field::ITERATIONS, 1);
        },
        also: &["E13"],
    },
    Damage {
        rule: &LUKS_CIPHER_WEAK,
        variant: "unknown-cipher",
        base: CUT,
        breaks: |draft| set_text(draft, luks::field::CIPHER_NAME, b"aes2"),
        nearly: |draft| set_text(draft, luks::field::CIPHER_NAME, b"aes"),
        also: &["E13"],
    },
    Damage {
        rule: &LUKS_CIPHER_WEAK,
        variant: "unknown-mode",
        base: CUT,
        breaks: |draft| set_text(draft, luks::field::CIPHER_MODE, b"cbc"),
        nearly: |draft| set_text(draft, luks::field::CIPHER_MODE, b"cbc-plain"),
        also: &["E13"],
    },
    Damage {
        rule: &LUKS_CIPHER_WEAK,
        variant: "unknown-hash",
        base: CUT,
        breaks: |draft| set_text(draft, luks::field::HASH_SPEC, b"sha257"),
        nearly: |draft| set_text(draft, luks::field::HASH_SPEC, b"sha1"),
        also: &["E13"],
    },
    Damage {
        rule: &LUKS_CIPHER_WEAK,
        variant: "weak-cipher",
        base: CUT,
        breaks: |draft| set_text(draft, luks::field::CIPHER_NAME, b"cast5"),
        nearly: |draft| set_text(draft, luks::field::CIPHER_NAME, b"serpent"),
        also: &["E13"],
    },
    Damage {
        rule: &LUKS_CIPHER_WEAK,
        variant: "weak-mode",
        base: CUT,
        breaks: |draft| set_text(draft, luks::field::CIPHER_MODE, b"ecb-plain64"),
        nearly: |draft| set_text(draft, luks::field::CIPHER_MODE, b"cbc-essiv:sha256"),
        also: &["E13"],
    },
    Damage {
        rule: &LUKS_CIPHER_WEAK,
        variant: "weak-hash",
        base: CUT,
        breaks: |draft| set_text(draft, luks::field::HASH_SPEC, b"md5"),
        nearly: |draft| set_text(draft, luks::field::HASH_SPEC, b"sha512"),
        also: &["E13"],
    },
    Damage {
        rule: &LUKS_CIPHER_WEAK,
        variant: "key-size",
        base: CUT,
        breaks: |draft| set(draft, luks::field::KEY_BYTES, 15),
        nearly: |draft| set(draft, luks::field::KEY_BYTES, 16),
        also: &["E13"],
    },
];
