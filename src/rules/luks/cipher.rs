//! K09: what the algorithms are worth.

use super::{field, is_well_formed, names};
use crate::finding::{Finding, Severity};
use crate::format::Field;
use crate::format::luks::field;
use crate::image::Luks;
use crate::rules::codes::K09;

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

pub(super) fn check(luks: &Luks, out: &mut Vec<Finding>) {
    // A malformed name is K02's.
    let [cipher, mode, hash] = names(luks).map(|(name, chars)| {
        let text = is_well_formed(chars).then(|| str::from_utf8(chars.text()).ok()).flatten();
        text.map(|text| (name, text))
    });
    let mut report = |(name, text): (Field, &str), severity, wanted: &'static str| {
        let finding = field(luks, &K09, name, text.to_owned(), wanted).at_most(severity);
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
                field(luks, &K09, field::KEY_BYTES, key_bytes, "a key size of this cipher and mode")
                    .only_qemu(),
            );
        }
    }
}
