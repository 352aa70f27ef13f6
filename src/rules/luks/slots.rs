//! The key slots, and where their key material lies.

use std::ops::Range;

use super::KEY_MATERIAL_START;
use crate::finding::{Evidence, Finding, Rule, Severity, Structure};
use crate::format::luks::{
    LuksHead, LuksSlot, SECTOR, SLOT_COUNT, SLOT_DISABLED, SLOT_ENABLED, STRIPES, slot_field,
};
use crate::format::{Field, Layout};
use crate::image::Luks;
use crate::rules::codes::{K05, K06, K07, K08};
use crate::units::{HostOffset, Span, to_u64};

pub(super) fn check(luks: &Luks, out: &mut Vec<Finding>) {
    let payload = u64::from(luks.head.payload_offset).saturating_mul(SECTOR);
    let mut before: Vec<Range<u64>> = Vec::new();
    for (at, slot) in &luks.slots {
        let material = material(luks.head.key_bytes, slot);
        check_slot(*at, slot, out);
        if let Some(wanted) = misplaced(&material, payload, &before) {
            let found = format!("{:#x} to {:#x}", material.start, material.end);
            let finding = finding(*at, &K07, slot_field::KEY_MATERIAL_OFFSET, found.into(), wanted.into());
            // QEMU counts the sectors in 32 bits, and takes an end that wraps for one before the payload.
            let wrapped = (material.end / SECTOR) & u64::from(u32::MAX);
            let missed = material.end > payload && wrapped.saturating_mul(SECTOR) <= payload;
            out.push(if missed { finding.at_most(Severity::Warning) } else { finding });
        }
        before.push(material);
    }
    let is_whole = to_u64(luks.slots.len()) == SLOT_COUNT;
    if is_whole && luks.slots.iter().all(|(_, slot)| slot.active.0 != SLOT_ENABLED) {
        let at =
            Span::new(luks.span.at.saturating_add(LuksHead::LEN), SLOT_COUNT.saturating_mul(LuksSlot::LEN));
        out.push(Finding::new(&K08, Structure::LuksSlot, at, "no active key slot", "at least one"));
    }
}

fn finding(at: HostOffset, rule: &'static Rule, field: Field, found: Evidence, wanted: Evidence) -> Finding {
    Finding::new(rule, Structure::LuksSlot, field.at(at), found, wanted)
}

fn check_slot(at: HostOffset, slot: &LuksSlot, out: &mut Vec<Finding>) {
    if slot.stripes != STRIPES {
        out.push(finding(at, &K05, slot_field::STRIPES, slot.stripes.into(), STRIPES.into()));
    }
    let active = slot.active.0 == SLOT_ENABLED;
    if !active && slot.active.0 != SLOT_DISABLED {
        let wanted = format!("{SLOT_ENABLED:#010x} or {SLOT_DISABLED:#010x}");
        out.push(finding(at, &K05, slot_field::ACTIVE, Evidence::Hex(slot.active.0.into()), wanted.into()));
    }
    if active && slot.iterations == 0 {
        out.push(finding(at, &K06, slot_field::ITERATIONS, 0_u32.into(), "at least 1".into()));
    }
}

/// The bytes of a slot's key material, from the start of the LUKS header: rounded up to 4096, as cryptsetup and
/// QEMU do (crypto/block-luks.c, `qcrypto_block_luks_splitkeylen_sectors`).
fn material(key_bytes: u32, slot: &LuksSlot) -> Range<u64> {
    let start = u64::from(slot.key_material_offset).saturating_mul(SECTOR);
    let len = u64::from(key_bytes).saturating_mul(slot.stripes.into());
    let len = len.checked_next_multiple_of(KEY_MATERIAL_START).unwrap_or(u64::MAX);
    start..start.saturating_add(len)
}

/// What is wanted of a slot's place, where it is wrong.
fn misplaced(material: &Range<u64>, payload: u64, before: &[Range<u64>]) -> Option<String> {
    if material.start < KEY_MATERIAL_START {
        return Some(format!("a start at {KEY_MATERIAL_START:#x} or later"));
    }
    if material.end > payload {
        return Some(format!("an end at {payload:#x} or before, where the payload starts"));
    }
    let overlaps = |other: &Range<u64>| material.start < other.end && other.start < material.end;
    let other = before.iter().position(overlaps)?;
    Some(format!("a place of its own: slot {other} is there"))
}
