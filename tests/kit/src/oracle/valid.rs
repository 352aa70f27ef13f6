//! What must hold for a valid image of any shape: nothing is wrong with it, it reads back as it was written, and
//! one damage makes exactly its rule fire.
#![expect(clippy::arithmetic_side_effects, reason = "the image is one that we wrote")]

use std::collections::BTreeSet;

use qcow2_inspect::finding::Severity;
use qcow2_inspect::format::features::{EXTENDED_L2, EXTERNAL_DATA};
use qcow2_inspect::format::{Field, bitmap, header, snapshot};
use qcow2_inspect::units::{HostOffset, Span};

use super::{Format, LIMITS, run};
use crate::{Draft, Model, check};

/// Images of larger clusters cost a hundred times as much as the others and differ little from them. The largest
/// are left to the test that compares the writer with QEMU; of the middle ones, one in [`MIDDLE_SHARE`] is
/// exercised.
const SMALL_CLUSTER_BITS: u32 = 12;
const LARGE_CLUSTER_BITS: u32 = 17;
const MIDDLE_SHARE: usize = 64;

/// One way to break a valid image of any shape.
struct Break {
    /// The rule that has to fire.
    rule: &'static str,
    /// Others that may.
    also: &'static [&'static str],
    /// Breaks it; false where the image has nothing of the kind.
    apply: fn(&mut Draft) -> bool,
}

const fn one(rule: &'static str, also: &'static [&'static str], apply: fn(&mut Draft) -> bool) -> Break {
    Break { rule, also, apply }
}

/// What a table may have when it is read from the wrong place.
const SHIFTED: &[&str] = &[
    "L03", "L05", "L06", "L07", "L08", "L09", "L10", "L12", "L13", "L14", "L16", "L17", "L18", "L19", "L20",
    "L21", "L23", "L24",
];

const BREAKS: &[Break] = &[
    one("H03", &[], |draft| is_v3(draft) && set(draft, header::field::VERSION, |_| 4)),
    one("H12", &["H13"], |draft| {
        is_v3(draft) && set(draft, header::field::INCOMPATIBLE_FEATURES, |bits| bits | 1 << 40)
    }),
    one("H13", &[], |draft| {
        is_v3(draft) && set(draft, header::field::COMPATIBLE_FEATURES, |bits| bits | 1 << 63)
    }),
    one("H14", &[], |draft| {
        is_v3(draft) && set(draft, header::field::AUTOCLEAR_FEATURES, |bits| bits | 1 << 17)
    }),
    one("H16", &["R10"], |draft| is_v3(draft) && set(draft, header::field::REFCOUNT_ORDER, |_| 7)),
    one("H17", &["E09"], |draft| set(draft, header::field::CRYPT_METHOD, |_| 3)),
    one("H29", &["R10"], |draft| set(draft, header::field::REFCOUNT_TABLE_CLUSTERS, |_| 0)),
    one("L01", &[], |draft| change_l1(draft, |entry| entry | 1 << 60)),
    one("L02", SHIFTED, |draft| draft.cluster_size() > 512 && change_l1(draft, |entry| entry + 512)),
    one("L05", &[], |draft| {
        change_l2(draft, |entry| entry != 0 && entry >> 62 & 1 == 0, |entry| entry | 1 << 58)
    }),
    one("L08", &["L09", "L10", "L20"], |draft| {
        let is_data =
            |entry: u64| entry & 0x00ff_ffff_ffff_fe01 > 1 && entry >> 62 & 1 == 0 && entry & 1 == 0;
        draft.cluster_size() > 512 && change_l2(draft, is_data, |entry| entry + 512)
    }),
    one("L23", &["L24"], |draft| {
        let plain = draft.header(header::field::VERSION) == 2 || {
            let bits = draft.header(header::field::INCOMPATIBLE_FEATURES);
            bits >> EXTENDED_L2.bit & 1 == 0 && bits >> EXTERNAL_DATA.bit & 1 == 0
        };
        plain && change_l2(draft, |entry| entry == 0, |entry| entry | 1 << 63)
    }),
    one("R01", &[], |draft| change_refcount_table(draft, |entry| entry != 0, |entry| entry | 1)),
    one("R03", &[], |draft| change_refcount_table(draft, |entry| entry == 0, |_| 1 << 50)),
    one("S10", &[], |draft| {
        let date = |draft: &Draft| {
            let first = draft.image().snapshots().flatten().next();
            first.map(|snapshot| snapshot::field::DATE_NSEC.at(snapshot.at))
        };
        change(draft, date, |_| 1_000_000_000)
    }),
    one("S14", &["S09"], |draft| {
        let name = |draft: &Draft| {
            let mut snapshots = draft.image().snapshots().flatten().collect::<Vec<_>>().into_iter();
            let named = snapshots.find(|snapshot| !snapshot.name.is_empty());
            named.map(|snapshot| Span::new(snapshot.name_at(), 1))
        };
        change(draft, name, |_| 0x1b)
    }),
    one("B07", &["B14", "B17", "B19"], |draft| {
        change_bitmap(draft, bitmap::field::FLAGS, |flags| flags | 1 << 20)
    }),
    one("B08", &[], |draft| change_bitmap(draft, bitmap::field::TYPE, |_| 2)),
    one("B12", &["B11"], |draft| {
        let name = |draft: &Draft| {
            let first = draft.image().bitmaps().flatten().next();
            first.map(|bitmap| Span::new(bitmap.name_at(), 1))
        };
        change(draft, name, |_| 0xff)
    }),
];

/// Writes the image that these bytes describe, and holds it to all of this; `bytes` choose the damage, too.
///
/// # Panics
/// Where an oracle sees a fault.
pub fn exercise_model(bytes: &[u8]) {
    let Some(model) = Model::from_bytes(bytes) else { return };
    let plan = model.plan();
    let sum = bytes.iter().fold(0_usize, |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    let is_due = match plan.cluster_bits {
        ..=SMALL_CLUSTER_BITS => true,
        LARGE_CLUSTER_BITS.. => false,
        _ => sum.is_multiple_of(MIDDLE_SHARE),
    };
    if !is_due {
        return;
    }
    let written = plan.write();
    let draft = Draft::new(written.bytes.clone());
    check(&plan, &written, &draft.image());

    check_valid(&draft);
    let damages = (0..BREAKS.len()).filter_map(|n| BREAKS.get(sum.wrapping_add(n) % BREAKS.len()));
    for damage in damages {
        let mut broken = draft.clone();
        if (damage.apply)(&mut broken) {
            check_damage(&draft, &broken, damage);
            return;
        }
    }
}

fn check_valid(draft: &Draft) {
    let fired = fired(draft, Severity::Warning);
    assert!(fired.is_empty(), "a valid image has {fired:?}");
}

fn check_damage(draft: &Draft, broken: &Draft, damage: &Break) {
    let before = fired(draft, Severity::Note);
    let after = fired(broken, Severity::Note);
    assert!(after.contains(damage.rule), "{} did not fire, but {after:?}", damage.rule);
    let mut allowed = before;
    allowed.insert(damage.rule);
    allowed.extend(damage.also);
    let further: Vec<_> = after.difference(&allowed).collect();
    assert!(further.is_empty(), "{} came with {further:?}", damage.rule);
}

/// The rules with a finding of at least this severity.
fn fired(draft: &Draft, least: Severity) -> BTreeSet<&'static str> {
    let Some(run) = run(draft.bytes.as_slice(), Format::Walk, LIMITS) else { return BTreeSet::from(["H02"]) };
    let findings = run.findings.iter().filter(|finding| finding.severity >= least);
    findings.map(|finding| finding.rule.code).collect()
}

fn is_v3(draft: &Draft) -> bool {
    draft.header(header::field::VERSION) == 3
}

fn set(draft: &mut Draft, field: Field, change: fn(u64) -> u64) -> bool {
    draft.set_header(field, change(draft.header(field)));
    true
}

/// Changes the number that `find` finds, if it finds one.
fn change(draft: &mut Draft, find: impl Fn(&Draft) -> Option<Span>, change: fn(u64) -> u64) -> bool {
    let Some(Span { at, len }) = find(draft) else { return false };
    draft.put_number(at.0, len, change(draft.get(at.0, len)));
    true
}

/// The bytes of a table's entry, or of its first half.
fn entry_at(at: u64) -> Span {
    Span::new(HostOffset(at), 8)
}

fn change_l1(draft: &mut Draft, to: fn(u64) -> u64) -> bool {
    let entry = |draft: &Draft| {
        let entries = (0..draft.header(header::field::L1_SIZE)).map(|n| draft.l1_entry(n));
        entries.into_iter().find(|at| draft.get(*at, 8) != 0).map(entry_at)
    };
    change(draft, entry, to)
}

/// Changes the first entry of the first active L2 table that `is_meant` holds for.
fn change_l2(draft: &mut Draft, is_meant: fn(u64) -> bool, to: fn(u64) -> u64) -> bool {
    let has_table = (0..draft.header(header::field::L1_SIZE)).any(|n| draft.get(draft.l1_entry(n), 8) != 0);
    let count = draft.image().geometry().map_or(0, |geometry| geometry.l2_entry_count()).min(64);
    let entry = |draft: &Draft| {
        let first = has_table.then(|| draft.l2_entry(0))?;
        let width = draft.image().geometry()?.l2_entry_len();
        let mut entries = (0..count).map(|n| first + n * width);
        let found = entries.find(|at| {
            let subclusters = if width == 16 { draft.get(*at + 8, 8) } else { 0 };
            let entry = draft.get(*at, 8);
            is_meant(entry) && (entry != 0 || subclusters == 0)
        });
        found.map(entry_at)
    };
    change(draft, entry, to)
}

fn change_refcount_table(draft: &mut Draft, is_meant: fn(u64) -> bool, to: fn(u64) -> u64) -> bool {
    let count = draft.header(header::field::REFCOUNT_TABLE_CLUSTERS) * draft.cluster_size() / 8;
    let entry = |draft: &Draft| {
        let mut entries = (0..count.min(4096)).map(|n| draft.refcount_table_entry(n));
        entries.find(|at| is_meant(draft.get(*at, 8))).map(entry_at)
    };
    change(draft, entry, to)
}

fn change_bitmap(draft: &mut Draft, field: Field, to: fn(u64) -> u64) -> bool {
    let of_first = |draft: &Draft| draft.image().bitmaps().flatten().next().map(|bitmap| field.at(bitmap.at));
    change(draft, of_first, to)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Rng;

    #[test]
    fn models_are_valid_and_damages_are_seen() {
        for seed in 0..1500 {
            let mut bytes = [0; 1024];
            Rng::new(seed).fill(&mut bytes);
            // Small clusters, mostly: the others cost much and differ little.
            if seed % 16 != 0 {
                bytes[0] = 0;
            }
            exercise_model(&bytes);
        }
    }

    /// A break that does what `apply` does, and claims to fire H13 alone.
    fn check_h13(apply: fn(&mut Draft) -> bool) {
        let draft = Draft::new(Model::small_from_seed(3).unwrap().write());
        let mut broken = draft.clone();
        assert!(is_v3(&draft) && apply(&mut broken));
        check_damage(&draft, &broken, &one("H13", &[], apply));
    }

    #[test]
    fn a_damage_that_fires_its_rule_passes() {
        check_h13(|draft| set(draft, header::field::COMPATIBLE_FEATURES, |bits| bits | 1 << 63));
    }

    #[test]
    #[should_panic = "H13 did not fire"]
    fn a_damage_that_nobody_sees_is_seen() {
        check_h13(|_| true);
    }

    #[test]
    #[should_panic = "H13 came with [\"H14\"]"]
    fn a_finding_too_many_is_seen() {
        check_h13(|draft| {
            set(draft, header::field::COMPATIBLE_FEATURES, |bits| bits | 1 << 63)
                && set(draft, header::field::AUTOCLEAR_FEATURES, |bits| bits | 1 << 63)
        });
    }

    #[test]
    #[should_panic = "a valid image has {\"H29\""]
    fn a_finding_on_a_valid_image_is_seen() {
        let mut draft = Draft::new(Model::small_from_seed(3).unwrap().write());
        check_valid(&draft);
        draft.set_header(header::field::REFCOUNT_TABLE_CLUSTERS, 0);
        check_valid(&draft);
    }

    #[test]
    fn an_image_that_reads_otherwise_than_written_is_seen() {
        let plan = Model::small_from_seed(3).unwrap().plan();
        let written = plan.write();
        let mut draft = Draft::new(written.bytes.clone());
        check(&plan, &written, &draft.image());
        draft.set_header(header::field::SIZE, draft.header(header::field::SIZE) + 512);
        assert!(std::panic::catch_unwind(|| check(&plan, &written, &draft.image())).is_err());
    }

    #[test]
    fn every_break_applies_to_some_model() {
        for damage in BREAKS {
            let applies = (0..400).any(|seed| {
                let model = Model::from_seed(seed).unwrap();
                (damage.apply)(&mut Draft::new(model.write()))
            });
            assert!(applies, "{}", damage.rule);
        }
    }
}
