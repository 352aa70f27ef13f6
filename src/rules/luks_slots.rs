//! The key slots of the LUKS header, and where their key material lies.

use std::ops::Range;

use crate::finding::{Evidence, Finding, Rule, Severity, Structure, rules};
use crate::format::luks::{
    LuksHead, LuksSlot, SLOT_COUNT, SLOT_DISABLED, SLOT_ENABLED, STRIPES, slot_field as field,
};
use crate::format::{Field, Layout};
use crate::image::Luks;
use crate::units::{HostOffset, SECTOR, Span, to_u64};

rules! {
    LUKS_SLOT_CORRUPTED: K05 "luks-slot-corrupted" Fatal Must {
        title: "each LUKS key slot must have 4000 stripes and be marked as either active or disabled",
        why: "key material read with a wrong layout gives a wrong key",
        advice: "use another slot whose fields are sound, and its password",
        spec: "LUKS1 on-disk format, key slot",
        fields: [LuksSlot.ACTIVE, LuksSlot.STRIPES],
        qemu: Refused Refused "'Keyslot N is corrupted (stripes …)', or 'Keyslot N state … is corrupted'",
    }
    LUKS_SLOT_ITERATIONS: K06 "luks-slot-iterations" Fatal Must {
        title: "an active LUKS key slot must have an iteration count that is not 0",
        why: "no key can be derived for the slot",
        advice: "unlock by another slot, then add the password anew with `qemu-img amend`",
        spec: "LUKS1 on-disk format, key slot",
        fields: [LuksSlot.ITERATIONS],
        qemu: Refused Refused "'Keyslot N iteration count is zero'",
    }
    LUKS_SLOT_OVERLAP: K07 "luks-slot-overlap" Fatal Must {
        title: "the key material of each LUKS key slot must lie between header and payload, and overlap no \
            other's",
        why: "writing one slot, or the guest's data, destroys the key material of another",
        advice: "save the header now; change no passwords before it is mended",
        spec: "LUKS1 on-disk format, key slot",
        fields: [LuksSlot.KEY_MATERIAL_OFFSET],
        qemu: Refused Refused "'Keyslot N is overlapping with …'",
    }
    LUKS_NO_ACTIVE_SLOT: K08 "luks-no-active-slot" Note Extra {
        title: "at least one LUKS key slot is expected to be active: without one no passphrase opens the \
            image",
        why: "the data is encrypted by a key that nothing in the file gives back: deleted on purpose, or \
            overwritten",
        advice: "only a backup of the header helps",
        spec: "not in the specification; key slots can be erased to destroy the data",
        fields: [LuksSlot.ACTIVE],
        qemu: Silently Refused "info shows the slots as they are; check always needs the key, and no key can \
            fit",
    }
}

/// Where the first key slot's material may start, in QEMU and cryptsetup alike.
pub(super) const KEY_MATERIAL_START: u64 = 4096;

pub(super) fn check(luks: &Luks, out: &mut Vec<Finding>) {
    let payload = u64::from(luks.head.payload_offset).saturating_mul(SECTOR);
    let mut before: Vec<Range<u64>> = Vec::new();
    for (at, slot) in &luks.slots {
        let material = material(luks.head.key_bytes, slot);
        check_slot(*at, slot, out);
        if let Some(wanted) = misplaced(&material, payload, &before) {
            let found = format!("{:#x} to {:#x}", material.start, material.end);
            let finding =
                finding(*at, &LUKS_SLOT_OVERLAP, field::KEY_MATERIAL_OFFSET, found.into(), wanted.into());
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
        out.push(Finding::new(
            &LUKS_NO_ACTIVE_SLOT,
            Structure::LuksSlot,
            at,
            "no active key slot",
            "at least one",
        ));
    }
}

fn finding(at: HostOffset, rule: &'static Rule, field: Field, found: Evidence, wanted: Evidence) -> Finding {
    Finding::new(rule, Structure::LuksSlot, field.at(at), found, wanted)
}

fn check_slot(at: HostOffset, slot: &LuksSlot, out: &mut Vec<Finding>) {
    if slot.stripes != STRIPES {
        out.push(finding(at, &LUKS_SLOT_CORRUPTED, field::STRIPES, slot.stripes.into(), STRIPES.into()));
    }
    let active = slot.active.0 == SLOT_ENABLED;
    if !active && slot.active.0 != SLOT_DISABLED {
        let wanted = format!("{SLOT_ENABLED:#010x} or {SLOT_DISABLED:#010x}");
        out.push(finding(
            at,
            &LUKS_SLOT_CORRUPTED,
            field::ACTIVE,
            Evidence::Hex(slot.active.0.into()),
            wanted.into(),
        ));
    }
    if active && slot.iterations == 0 {
        out.push(finding(at, &LUKS_SLOT_ITERATIONS, field::ITERATIONS, 0_u32.into(), "at least 1".into()));
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
