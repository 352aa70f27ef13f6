//! The LUKS header, which is never encrypted itself: no key is needed. Its key slots are in `luks_slots`.

use super::{encryption, luks_slots, names};
use crate::Error;
use crate::finding::{Evidence, Finding, Rule, Severity, Structure, rules};
use crate::format::Field;
use crate::format::luks::{MAGIC, field};
use crate::format::scalar::Chars;
use crate::image::{Image, Luks};
use crate::source::ReadAt;
use crate::text;
use crate::units::{SECTOR, to_u64};

rules! {
    LUKS_MAGIC_VERSION: K01 "luks-magic-version" Fatal Must {
        title: "the LUKS header must begin with the magic LUKS 0xba 0xbe and have version 1",
        why: "without them no program takes it for a LUKS header, and the disk cannot be decrypted",
        advice: "restore the header from a backup of it: there is no other way to the master key",
        spec: "Full disk encryption header pointer; LUKS1 on-disk format, partition header",
        fields: [Luks.MAGIC, Luks.VERSION],
        qemu: Refused Refused "'Volume is not in LUKS format', or 'LUKS version 2 is not supported'",
    }
    LUKS_NAME_MALFORMED: K02 "luks-name-malformed" Fatal Must {
        title: "the LUKS header's names of cipher, mode and hash must be printable and end with a NUL",
        why: "the cipher cannot be looked up, and a name without an end runs into the next field",
        advice: "QEMU writes aes, xts-plain64 and sha256: compare, and mend a copy",
        spec: "LUKS1 on-disk format, partition header",
        fields: [Luks.CIPHER_NAME, Luks.CIPHER_MODE, Luks.HASH_SPEC],
        qemu: Refused Refused "'LUKS header cipher name is not NUL terminated', and likewise for 'cipher \
            mode' and 'hash spec'",
    }
    LUKS_PAYLOAD_IN_HEADER: K03 "luks-payload-in-header" Fatal Must {
        title: "the LUKS payload must start behind the LUKS header, at byte 4096 or later",
        why: "writing the guest's first sectors would overwrite the key slots",
        advice: "compare with the length in the encryption extension, which says where the header ends",
        spec: "LUKS1 on-disk format, partition header",
        fields: [Luks.PAYLOAD_OFFSET],
        qemu: Refused Refused "'LUKS payload is overlapping with the header'",
    }
    LUKS_DIGEST_ITERATIONS: K04 "luks-digest-iterations" Fatal Must {
        title: "the LUKS master key digest must have an iteration count that is not 0, nor absurdly low or \
            high",
        why: "the password check is impossible at 0, weak if low, and takes minutes if absurdly high",
        advice: "do not unlock it in a service with a time limit; restore the number from a header backup",
        spec: "LUKS1 on-disk format, partition header",
        fields: [Luks.MK_DIGEST_ITERATIONS],
        qemu: Varies Refused "0: 'LUKS key iteration count is zero'; any other count is accepted. Check \
            always needs the key",
    }
    LUKS_CIPHER_WEAK: K09 "luks-cipher-weak" Fatal Extra {
        title: "the LUKS cipher, mode, hash and key size should be known ones, and none that is known to be \
            weak",
        why: "data can be changed or guessed without the key, or no program can decrypt it",
        advice: "re-encrypt: convert into a new LUKS image with QEMU's defaults",
        spec: "not in the specification; security",
        fields: [Luks.CIPHER_NAME, Luks.CIPHER_MODE, Luks.HASH_SPEC, Luks.KEY_BYTES],
        qemu: Varies Refused "unknown: 'Algorithm 'foo' with key size N bytes not supported'; weak ones are \
            accepted. Check always needs the key",
    }
}

/// QEMU's least iterations for the master key's digest; cryptsetup has the same.
const FEW_ITERATIONS: u32 = 1000;
/// More would take minutes for one try of a passphrase.
const MANY_ITERATIONS: u32 = 100_000_000;

/// Ciphers that QEMU knows (crypto/block-luks.c), with their key sizes in bytes.
const CIPHERS: &[(&str, &[u32])] = &[
    ("aes", &[16, 24, 32]),
    ("cast5", &[16]),
    ("serpent", &[16, 24, 32]),
    ("sm4", &[16]),
    ("twofish", &[16, 24, 32]),
];
/// Blocks of 64 bits repeat too soon on a disk.
const WEAK_CIPHERS: &[&str] = &["cast5"];
const MODES: &[&str] = &["cbc", "ctr", "ecb", "xts"];
/// ECB shows equal blocks; CTR shows what changed when a sector is written twice.
const WEAK_MODES: &[&str] = &["ctr", "ecb"];
const IV_GENERATORS: &[&str] = &["essiv", "plain", "plain64"];
const HASHES: &[&str] = &["md5", "ripemd160", "sha1", "sha224", "sha256", "sha384", "sha512", "sm3"];
const WEAK_HASHES: &[&str] = &["md5"];
/// Collisions are known, which key derivation does not rest on.
const OLD_HASHES: &[&str] = &["ripemd160", "sha1"];

/// Judges the LUKS header, and whether the file holds what the extension points at.
///
/// # Errors
/// Where the bytes behind the header could not be read.
pub(super) fn check_luks<R: ReadAt>(
    image: &Image<R>,
    luks: &Luks,
    out: &mut Vec<Finding>,
) -> Result<(), Error> {
    let mut found = Vec::new();
    magic(luks, &mut found);
    strings(luks, &mut found);
    algorithms(luks, &mut found);
    numbers(luks, &mut found);
    luks_slots::check(luks, &mut found);
    // What the file does not hold reads as zeros; that these are wrong is for E13 alone to say.
    found.retain(|finding| finding.at.is_none_or(|at| luks.holds(at)));
    out.append(&mut found);
    encryption::check_range(image, luks, out)
}

/// A finding about a field of the fixed part.
fn field(
    luks: &Luks,
    rule: &'static Rule,
    field: Field,
    found: impl Into<Evidence>,
    wanted: impl Into<Evidence>,
) -> Finding {
    Finding::new(rule, Structure::Luks, field.at(luks.span.at), found, wanted)
}

fn magic(luks: &Luks, out: &mut Vec<Finding>) {
    if luks.head.magic.0 != MAGIC {
        let found =
            luks.head.magic.0.iter().fold(0_u64, |value, byte| value.unbounded_shl(8) | u64::from(*byte));
        out.push(field(luks, &LUKS_MAGIC_VERSION, field::MAGIC, Evidence::Hex(found), "LUKS, 0xba and 0xbe"));
    }
    if luks.head.version != 1 {
        out.push(field(luks, &LUKS_MAGIC_VERSION, field::VERSION, u32::from(luks.head.version), 1_u32));
    }
}

/// The names of the algorithms, with their fields.
fn algorithm_names(luks: &Luks) -> [(Field, &Chars<32>); 3] {
    let head = &luks.head;
    [
        (field::CIPHER_NAME, &head.cipher_name),
        (field::CIPHER_MODE, &head.cipher_mode),
        (field::HASH_SPEC, &head.hash_spec),
    ]
}

fn is_well_formed(name: &Chars<32>) -> bool {
    name.is_terminated() && text::is_clean(name.text())
}

fn strings(luks: &Luks, out: &mut Vec<Finding>) {
    for (name, chars) in algorithm_names(luks) {
        if let Some(found) = names::unprintable(chars.text()) {
            out.push(field(luks, &LUKS_NAME_MALFORMED, name, found, "printable UTF-8"));
        } else if !chars.is_terminated() {
            let found = format!("{} bytes without a NUL", to_u64(chars.0.len()));
            out.push(field(luks, &LUKS_NAME_MALFORMED, name, found, "a NUL behind the name"));
        }
    }
}

/// K09: what the algorithms are worth.
fn algorithms(luks: &Luks, out: &mut Vec<Finding>) {
    // A malformed name is K02's.
    let [cipher, mode, hash] = algorithm_names(luks).map(|(name, chars)| {
        let text = is_well_formed(chars).then(|| str::from_utf8(chars.text()).ok()).flatten();
        text.map(|text| (name, text))
    });
    let mut report = |(name, text): (Field, &str), severity, wanted: &'static str| {
        let finding = field(luks, &LUKS_CIPHER_WEAK, name, text.to_owned(), wanted).at_most(severity);
        // The LUKS1 format leaves the names open; an unknown one is fatal by QEMU's list alone.
        out.push(if severity == Severity::Fatal { finding.only_qemu() } else { finding });
    };
    let mut named_cipher = None;
    if let Some((name, text)) = cipher {
        named_cipher = CIPHERS.iter().find(|(known, _)| *known == text);
        if named_cipher.is_none() {
            report((name, text), Severity::Fatal, "a cipher that QEMU knows");
        } else if WEAK_CIPHERS.contains(&text) {
            report((name, text), Severity::Warning, "a cipher with blocks of 128 bits");
        }
    }
    let mut halves = 1;
    if let Some((name, text)) = mode {
        // As in xts-plain64 and cbc-essiv:sha256.
        let (chaining, iv) = text.split_once('-').unwrap_or((text, ""));
        let generator = iv.split(':').next().unwrap_or_default();
        halves = if chaining == "xts" { 2 } else { 1 };
        if !MODES.contains(&chaining) || !IV_GENERATORS.contains(&generator) {
            report((name, text), Severity::Fatal, "a mode that QEMU knows");
        } else if WEAK_MODES.contains(&chaining) {
            report((name, text), Severity::Warning, "xts, or cbc with essiv");
        } else if chaining == "cbc" && generator != "essiv" {
            report(
                (name, text),
                Severity::Note,
                "xts, or cbc with essiv: this one's start values are guessable",
            );
        }
    }
    if let Some((name, text)) = hash {
        if !HASHES.contains(&text) {
            report((name, text), Severity::Fatal, "a hash that QEMU knows");
        } else if WEAK_HASHES.contains(&text) {
            report((name, text), Severity::Warning, "sha256 or sha512");
        } else if OLD_HASHES.contains(&text) {
            report((name, text), Severity::Note, "sha256 or sha512");
        }
    }
    let key_bytes = luks.head.key_bytes;
    if let Some((_, sizes)) = named_cipher.filter(|_| mode.is_some()) {
        // XTS has two keys.
        let fits = |size: &&u32| size.checked_mul(halves) == Some(key_bytes);
        if sizes.iter().find(fits).is_none() {
            out.push(
                field(
                    luks,
                    &LUKS_CIPHER_WEAK,
                    field::KEY_BYTES,
                    key_bytes,
                    "a key size of this cipher and mode",
                )
                .only_qemu(),
            );
        }
    }
}

fn numbers(luks: &Luks, out: &mut Vec<Finding>) {
    let head = &luks.head;
    let least = luks_slots::KEY_MATERIAL_START / SECTOR;
    if u64::from(head.payload_offset) < least {
        let wanted = format!("at least {least} sectors");
        out.push(field(luks, &LUKS_PAYLOAD_IN_HEADER, field::PAYLOAD_OFFSET, head.payload_offset, wanted));
    }
    let iterations = head.mk_digest_iterations;
    let wanted = match iterations {
        0 => "at least 1".to_owned(),
        few if few < FEW_ITERATIONS => format!("at least {FEW_ITERATIONS}"),
        many if many > MANY_ITERATIONS => format!("at most {MANY_ITERATIONS}"),
        _ => return,
    };
    let finding = field(luks, &LUKS_DIGEST_ITERATIONS, field::MK_DIGEST_ITERATIONS, iterations, wanted);
    // QEMU accepts every count but 0.
    let worst = if iterations == 0 { Severity::Fatal } else { Severity::Warning };
    out.push(finding.at_most(worst));
}
