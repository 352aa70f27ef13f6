//! Runs the rules about the tables and the lists that lead to them over whole images, for the tests of several files.

use std::convert::Infallible;

use qcow2_inspect::finding::{Finding, Judged, Severity, Structure};
use qcow2_inspect::format::bitmap::BitmapHead;
use qcow2_inspect::format::extension::BitmapsExtension;
use qcow2_inspect::format::header::{HeaderAdditional, HeaderV2, HeaderV3};
use qcow2_inspect::format::snapshot::{SnapshotExtra, SnapshotHead};
use qcow2_inspect::format::{Field, Layout, part};
use qcow2_inspect::image::{Bitmap, Section, Snapshot, Tables, Walk};
use qcow2_inspect::rules::Judge;
use qcow2_inspect::units::{HostOffset, Span, to_u64};
use qcow2_inspect::{Image, Limits};
use qcow2_testkit::{Damage, Draft, damages};

use crate::{load, valid_images};

/// A day in 2040; every date in the corpus is before it.
pub(crate) const NOW: i64 = 2_208_988_800;

/// What families L, R, S and B find.
pub(crate) fn findings(draft: &Draft) -> Vec<Finding> {
    let image = Image::open(draft.bytes.as_slice(), Limits::default()).unwrap();
    let (mut walk, mut judge) = (Walk::new(&image, Tables::Once), Judge::new(&image, Some(NOW)));
    let mut out = Vec::new();
    for section in [Section::Refcounts, Section::L1, Section::L2, Section::Snapshots, Section::Bitmaps] {
        let Ok(()) = walk.section(section, &mut |part| -> Result<(), Infallible> {
            judge.part(&part, &mut out);
            Ok(())
        });
    }
    out
}

/// The codes of the rules that fire, in order and without repetition.
pub(crate) fn codes(findings: &[Finding]) -> Vec<&'static str> {
    let mut codes: Vec<_> = findings.iter().map(|finding| finding.rule.code).collect();
    codes.sort_unstable();
    codes.dedup();
    codes
}

/// The finding of the damage called `RULE-variant`, which has to be the only one of its rule.
pub(crate) fn finding(name: &str) -> (Draft, Finding) {
    let damage = damages().find(|damage| title(damage) == name).unwrap_or_else(|| panic!("no damage {name}"));
    let mut draft = load(damage.base);
    (damage.breaks)(&mut draft);
    let mut found = findings(&draft);
    found.retain(|finding| finding.rule == damage.rule);
    assert_eq!(found.len(), 1, "{name}: {found:#?}");
    (draft, found.remove(0))
}

pub(crate) fn title(damage: &Damage) -> String {
    format!("{}-{}", damage.rule.code, damage.variant).trim_end_matches('-').to_owned()
}

/// Holds for every damage of these rules: broken, the rule fires, at bytes of one of its fields, and else only
/// what the damage names; nearly broken, it does not.
pub(crate) fn each_damage_breaks_its_rule(family: &str, rules: &[&str]) {
    let mut seen = Vec::new();
    for damage in damages().filter(|damage| rules.contains(&damage.rule.code)) {
        let name = title(damage);
        seen.push(damage.rule.code);
        let mut draft = load(damage.base);
        (damage.breaks)(&mut draft);
        let found = findings(&draft);
        let worst =
            found.iter().filter(|finding| finding.rule == damage.rule).map(|finding| finding.severity);
        let worst = worst.max().unwrap_or_else(|| panic!("{name}: only {:?}", codes(&found)));
        assert!(worst <= damage.rule.severity, "{name}: {worst:?}");
        let others: Vec<_> = codes(&found).into_iter().filter(|code| *code != damage.rule.code).collect();
        assert!(others.iter().all(|code| damage.also.contains(code)), "{name}: {others:?} too");
        let fields: Vec<_> = damage.rule.fields.iter().flat_map(|field| spans(&draft, *field)).collect();
        for finding in found.iter().filter(|finding| finding.rule == damage.rule) {
            let is_field = finding.at.is_some_and(|at| fields.contains(&(finding.structure, at)));
            // What is cut short has no field, and stray bits have none.
            assert!(is_field || ["S01", "B01", "B18"].contains(&damage.rule.code), "{name}: {finding:#?}");
        }

        let mut draft = load(damage.base);
        (damage.nearly)(&mut draft);
        let found = findings(&draft);
        assert!(!codes(&found).contains(&damage.rule.code), "{name}: nearly, and {:?}", codes(&found));
        let mut others = found;
        others.retain(|found| found.severity > Severity::Note && !damage.also.contains(&found.rule.code));
        assert!(others.is_empty(), "{name}: nearly, and {:?}", codes(&others));
    }
    seen.sort_unstable();
    seen.dedup();
    assert_eq!(seen, rules, "each rule of family {family} needs a damage");
}

/// Where the field that a rule names is, in each structure of its kind.
fn spans(draft: &Draft, judged: Judged) -> Vec<(Structure, Span)> {
    let image = draft.image();
    let Judged { structure, name } = judged;
    let bytes = |at, bytes: &[u8]| Span::new(at, to_u64(bytes.len()));
    let named = |fields: &[Field]| *fields.iter().find(|field| field.name == name).unwrap();
    let of_snapshot = |s: Snapshot| match name {
        part::ID_STR => bytes(s.id_at(), &s.id),
        part::NAME => bytes(s.name_at(), &s.name),
        part::PADDING => bytes(s.padding_at(), &s.padding),
        _ => match SnapshotExtra::FIELDS.iter().find(|field| field.name == name) {
            Some(field) => field.at(s.extra_at()),
            None => named(SnapshotHead::FIELDS).at(s.at),
        },
    };
    let of_bitmap = |b: Bitmap| match name {
        part::NAME => bytes(b.name_at(), &b.name),
        part::PADDING => bytes(b.padding_at(), &b.padding),
        _ => named(BitmapHead::FIELDS).at(b.at),
    };
    let every = |kind, span: Span, len| {
        (0..span.len / len).map(|n| (kind, Span::new(span.at.saturating_add(n * len), len))).collect()
    };
    let file = Span::new(HostOffset(0), image.file_len() + 4096);
    match structure {
        Structure::Header => {
            let fields = [HeaderV2::FIELDS, HeaderV3::FIELDS, HeaderAdditional::FIELDS].concat();
            vec![(Structure::Header, image.header().span(named(&fields)))]
        }
        Structure::Snapshot => {
            let snapshots = image.snapshots().map_while(Result::ok);
            let whole = snapshots.map(of_snapshot).map(|span| (Structure::Snapshot, span));
            // Of an entry that is cut short, the fixed part stands behind the entry before it.
            let next =
                image.snapshots().map_while(Result::ok).last().map_or(HostOffset(0), |last| last.end());
            let cut =
                SnapshotHead::FIELDS.iter().find(|field| field.name == name).map(|field| field.at(next));
            whole.chain(cut.map(|span| (Structure::Snapshot, span))).collect()
        }
        Structure::Bitmap => {
            let bitmaps = image.bitmaps().map_while(Result::ok);
            bitmaps.map(of_bitmap).map(|span| (Structure::Bitmap, span)).collect()
        }
        Structure::BitmapsExtension => {
            let (at, _) = image.bitmaps_extension().unwrap();
            vec![(Structure::BitmapsExtension, named(BitmapsExtension::FIELDS).at(at))]
        }
        Structure::BitmapTable | Structure::L1Table | Structure::RefcountTable => every(structure, file, 8),
        Structure::L2Table => every(structure, file, image.geometry().unwrap().l2_entry_len()),
        Structure::RefcountBlock => {
            let bits = image.refcount_width().unwrap().bits();
            every(structure, file, u64::from(bits.max(8) / 8))
        }
        _ => panic!("{judged}"),
    }
}

#[test]
fn valid_images_are_quiet() {
    for (name, bytes) in valid_images() {
        let found = findings(&Draft::new(bytes));
        assert!(found.is_empty(), "{name}: {found:#?}");
    }
}
