//! Family K: the LUKS header.

use qcow2_inspect::finding::Severity;
use qcow2_inspect::format::luks::slot_field;

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
