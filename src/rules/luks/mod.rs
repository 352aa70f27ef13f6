//! The rules about the LUKS header, which is never encrypted itself: no key is needed.

mod cipher;
mod pointer;
mod slots;

use crate::Error;
use crate::finding::{Evidence, Finding, Rule, Severity, Structure};
use crate::format::Field;
use crate::format::luks::{self, MAGIC, SECTOR};
use crate::format::scalar::Chars;
use crate::image::{Image, Luks};
use crate::rules::codes::{K01, K02, K03, K04};
use crate::source::ReadAt;
use crate::text;
use crate::units::to_u64;

/// Where the first key slot's material may start, in QEMU and cryptsetup alike.
const KEY_MATERIAL_START: u64 = 4096;
/// QEMU's least iterations for the master key's digest; cryptsetup has the same.
const FEW_ITERATIONS: u32 = 1000;
/// More would take minutes for one try of a passphrase.
const MANY_ITERATIONS: u32 = 100_000_000;

/// Judges the LUKS header, and whether the file holds what the extension points at.
///
/// # Errors
/// Where the bytes behind the header could not be read.
pub fn check_luks<R: ReadAt>(image: &Image<R>, luks: &Luks, out: &mut Vec<Finding>) -> Result<(), Error> {
    let mut found = Vec::new();
    magic(luks, &mut found);
    strings(luks, &mut found);
    cipher::check(luks, &mut found);
    numbers(luks, &mut found);
    slots::check(luks, &mut found);
    // What the file does not hold reads as zeros; that these are wrong is for E13 alone to say.
    found.retain(|finding| finding.at.is_none_or(|at| at.end() <= luks.present_end()));
    out.append(&mut found);
    pointer::check(image, luks, out)
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
        out.push(field(luks, &K01, luks::field::MAGIC, Evidence::Hex(found), "LUKS, 0xba and 0xbe"));
    }
    if luks.head.version != 1 {
        out.push(field(luks, &K01, luks::field::VERSION, u32::from(luks.head.version), 1_u32));
    }
}

/// The names of the algorithms, with their fields.
fn names(luks: &Luks) -> [(Field, &Chars<32>); 3] {
    let head = &luks.head;
    [
        (luks::field::CIPHER_NAME, &head.cipher_name),
        (luks::field::CIPHER_MODE, &head.cipher_mode),
        (luks::field::HASH_SPEC, &head.hash_spec),
    ]
}

fn is_well_formed(name: &Chars<32>) -> bool {
    name.is_terminated() && text::is_clean(name.text())
}

fn strings(luks: &Luks, out: &mut Vec<Finding>) {
    for (name, chars) in names(luks) {
        if let Some(found) = super::names::unprintable(chars.text()) {
            out.push(field(luks, &K02, name, found, "printable UTF-8"));
        } else if !chars.is_terminated() {
            let found = format!("{} bytes without a NUL", to_u64(chars.0.len()));
            out.push(field(luks, &K02, name, found, "a NUL behind the name"));
        }
    }
}

fn numbers(luks: &Luks, out: &mut Vec<Finding>) {
    let head = &luks.head;
    if u64::from(head.payload_offset) < KEY_MATERIAL_START / SECTOR {
        out.push(field(luks, &K03, luks::field::PAYLOAD_OFFSET, head.payload_offset, "at least 8 sectors"));
    }
    let iterations = head.mk_digest_iterations;
    let wanted = match iterations {
        0 => "at least 1",
        few if few < FEW_ITERATIONS => "at least 1000",
        many if many > MANY_ITERATIONS => "at most 100000000",
        _ => return,
    };
    let finding = field(luks, &K04, luks::field::MK_DIGEST_ITERATIONS, iterations, wanted);
    // QEMU accepts every count but 0.
    let worst = if iterations == 0 { Severity::Fatal } else { Severity::Warning };
    out.push(finding.at_most(worst));
}

#[cfg(all(test, feature = "testkit"))]
mod tests {
    use crate::finding::Severity;
    use crate::format::luks::slot_field;
    use crate::rules::testing_header::{families, findings, load};

    #[test]
    fn damages_fire_their_rule_and_near_ones_do_not() {
        families(&["K"]);
    }
    /// QEMU 10.0.2 opens this image: the end of the slot wraps.
    #[test]
    fn a_slot_that_wraps_is_not_fatal() {
        let mut draft = load("damaged/E13-luks-header-cut");
        let luks = draft.image().luks().unwrap().unwrap();
        let (at, _) = luks.slots[3];
        draft.set_field(at, slot_field::KEY_MATERIAL_OFFSET, 0xffff_ff88);
        let had = findings(&draft.bytes);
        let slots = had.iter().filter(|finding| finding.rule.code == "K07");
        assert_eq!(slots.map(|finding| finding.severity).collect::<Vec<_>>(), [Severity::Warning]);
    }
}
