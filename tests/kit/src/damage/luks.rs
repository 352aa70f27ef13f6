//! Damages of family K.

use qcow2_inspect::format::Field;
use qcow2_inspect::format::luks::{SLOT_DISABLED, SLOT_ENABLED, field::*, slot_field::*};
use qcow2_inspect::image::Luks;
use qcow2_inspect::rules::named::*;
use qcow2_inspect::units::{Span, to_usize};

use super::{Damage, Draft};

/// The file ends behind the partition header, which is E13 in every row.
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

rows! { d:
    LUKS_MAGIC_VERSION "magic" in CUT
        with text = b"SKUL\xba\xbe", nearly b"LUKS\xba\xbe" => set_text(d, MAGIC, text), also "E13";
    LUKS_MAGIC_VERSION "version" in CUT with n = 2, nearly 1 => set(d, VERSION, n), also "E13";
    LUKS_NAME_MALFORMED "no-nul" in CUT
        with text = &[b'a'; 32], nearly &[b'a'; 31] => set_text(d, CIPHER_NAME, text), also "E13";
    LUKS_NAME_MALFORMED "not-printable" in CUT
        with text = b"sha256\x1b", nearly b"sha256" => set_text(d, HASH_SPEC, text), also "E13";
    // No key material has room before it.
    LUKS_PAYLOAD_IN_HEADER in CUT with n = 7, nearly 8 => set(d, PAYLOAD_OFFSET, n), also "E13" "K07";
    LUKS_DIGEST_ITERATIONS "zero" in CUT
        with n = 0, nearly 1000 => set(d, MK_DIGEST_ITERATIONS, n), also "E13";
    LUKS_DIGEST_ITERATIONS "few" in CUT
        with n = 999, nearly 1000 => set(d, MK_DIGEST_ITERATIONS, n), also "E13";
    LUKS_DIGEST_ITERATIONS "many" in CUT
        with n = 100_000_001, nearly 100_000_000 => set(d, MK_DIGEST_ITERATIONS, n), also "E13";
    LUKS_SLOT_CORRUPTED "stripes" in CUT
        with n = 3999, nearly 4000 => set_slot(d, 7, STRIPES, n), also "E13";
    LUKS_SLOT_CORRUPTED "state" in CUT
        with n = 0, nearly SLOT_DISABLED.into() => set_slot(d, 7, ACTIVE, n), also "E13";
    LUKS_SLOT_ITERATIONS in CUT
        => { set_slot(d, 1, ACTIVE, SLOT_ENABLED.into()); set_slot(d, 1, ITERATIONS, 0) },
        nearly set_slot(d, 1, ITERATIONS, 0), also "E13";
    LUKS_SLOT_OVERLAP "in-header" in CUT
        with n = 7, nearly 8 => set_slot(d, 0, KEY_MATERIAL_OFFSET, n), also "E13";
    LUKS_SLOT_OVERLAP "in-payload" in CUT
        with n = 905, nearly 904 => set_slot(d, 7, KEY_MATERIAL_OFFSET, n), also "E13";
    LUKS_SLOT_OVERLAP "in-other-slot" in CUT
        with n = 135, nearly 136 => set_slot(d, 1, KEY_MATERIAL_OFFSET, n), also "E13";
    LUKS_NO_ACTIVE_SLOT in CUT => set_slot(d, 0, ACTIVE, SLOT_DISABLED.into()), nearly {
        set_slot(d, 0, ACTIVE, SLOT_DISABLED.into());
        set_slot(d, 1, ACTIVE, SLOT_ENABLED.into());
        set_slot(d, 1, ITERATIONS, 1)
    }, also "E13";
    LUKS_CIPHER_WEAK "unknown-cipher" in CUT
        with text = b"aes2", nearly b"aes" => set_text(d, CIPHER_NAME, text), also "E13";
    LUKS_CIPHER_WEAK "unknown-mode" in CUT
        with text = b"cbc", nearly b"cbc-plain" => set_text(d, CIPHER_MODE, text), also "E13";
    LUKS_CIPHER_WEAK "unknown-hash" in CUT
        with text = b"sha257", nearly b"sha1" => set_text(d, HASH_SPEC, text), also "E13";
    LUKS_CIPHER_WEAK "weak-cipher" in CUT
        with text = b"cast5", nearly b"serpent" => set_text(d, CIPHER_NAME, text), also "E13";
    LUKS_CIPHER_WEAK "weak-mode" in CUT
        with text = b"ecb-plain64", nearly b"cbc-essiv:sha256" => set_text(d, CIPHER_MODE, text), also "E13";
    LUKS_CIPHER_WEAK "weak-hash" in CUT
        with text = b"md5", nearly b"sha512" => set_text(d, HASH_SPEC, text), also "E13";
    LUKS_CIPHER_WEAK "key-size" in CUT with n = 15, nearly 16 => set(d, KEY_BYTES, n), also "E13";
}
