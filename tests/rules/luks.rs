//! Family K: the LUKS header.

use qcow2_inspect::finding::Severity;
use qcow2_inspect::format::extension::{CRYPTO, crypto_field};
use qcow2_inspect::format::luks::slot_field;
use qcow2_inspect::report::{self, JsonSink, Options, Section, Subject};
use qcow2_inspect::units::HostOffset;

use crate::heads::{families, findings};
use crate::load;

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

/// What the file does not hold reads as zeros, which only E13 is to tell: also where the header would stand at 2^64.
#[test]
fn a_header_at_the_last_offset_is_not_there() {
    let mut draft = load("damaged/E13-luks-header-cut");
    let extension = HostOffset(draft.extension_data(CRYPTO));
    draft.set_field(extension, crypto_field::OFFSET, u64::MAX);
    let had = findings(&draft.bytes);
    let luks: Vec<_> =
        had.iter().map(|finding| finding.rule.code).filter(|code| code.starts_with('K')).collect();
    assert!(luks.is_empty() && had.iter().any(|finding| finding.rule.code == "E13"), "{luks:?}");
    let (mut out, image) = (Vec::new(), draft.image());
    let subject = Subject { path: b"image", len: image.file_len() };
    let options = Options { sections: vec![Section::Luks], ..Options::default() };
    report::dump(&image, &subject, &options, &mut JsonSink::new(&mut out)).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert!(text.contains("LUKS header") && !text.contains("payload_offset"), "{text}");
}
