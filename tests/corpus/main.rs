//! The regression corpus: every image gives the report that stands beside it, every damage of the test kit has
//! its image, and none is missing. `CORPUS=write` makes what is missing and writes the reports anew.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "it may stop at what it does not expect"
)]

mod hostile;
mod recipes;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Once;

use hostile::HOSTILE;
use qcow2_inspect::audit::{Audit, AuditOptions, Policy, audit};
use qcow2_inspect::check::{CheckOptions, check};
use qcow2_inspect::finding::{Finding, Rule, Severity};
use qcow2_inspect::format::header::field;
use qcow2_inspect::report::{self, CheckReport, Options, Subject, Summary, TextOptions, TextSink};
use qcow2_inspect::rules::catalogue;
use qcow2_inspect::text::escape;
use qcow2_inspect::{Image, Limits};
use qcow2_testkit::{Damage, Draft, damages};
use recipes::RECIPES;

/// Rules that fire on valid images too, since they warn of what the image asks for.
const EXPECTED_WARNINGS: &[(&str, &str)] = &[("v3-aes", "H18"), ("v3-backing-no-format", "H42")];

/// A day in 2040: every date in the corpus but a wrong one is before it.
const NOW: i64 = 2_208_988_800;

/// Rows and findings that a damaged image's report keeps at most.
const BROKEN_ROWS: usize = 6;
const FINDINGS: usize = 8;

/// Bytes of a damaged image that is kept as a file although its rule has another.
const TINY: usize = 1600;

/// Bytes of the largest damaged image that is kept as a file at all.
const LARGEST: usize = 100 << 10;

/// Rules that no bytes of an image alone make fire: what a run meets.
const WITHOUT_DAMAGE: &[&str] = &["T01", "T02", "T03", "T04", "T05"];

/// Rules that only `check --deep` can see, because it decompresses.
const DEEP: &[&str] = &["L15"];

/// Rules that only `check` can see, because it counts the references.
const COUNTED: &[&str] = &[
    "L04", "L11", "L26", "L27", "L28", "L30", "O01", "O02", "O03", "O04", "O05", "R04", "R05", "R06", "R07",
    "R09", "R12",
];

/// The corpus, after it was written anew where that is wanted.
fn corpus() -> PathBuf {
    static WRITTEN: Once = Once::new();
    WRITTEN.call_once(|| {
        if writing() {
            make_missing();
        }
    });
    folder()
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn writing() -> bool {
    std::env::var_os("CORPUS").is_some_and(|what| what == "write")
}

/// The images of a folder of the corpus, by name.
fn images(folder: &str) -> Vec<(String, Vec<u8>)> {
    let Ok(entries) = fs::read_dir(corpus().join(folder)) else { return Vec::new() };
    let paths: BTreeSet<_> = entries.map(|entry| entry.unwrap().path()).collect();
    let images = paths.iter().filter(|path| path.extension().is_some_and(|ending| ending == "qcow2"));
    images
        .map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), fs::read(path).unwrap()))
        .collect()
}

fn dump(name: &str, bytes: &[u8]) -> (String, Option<Summary>) {
    let image = match Image::open(bytes, Limits::default()) {
        Ok(image) => image,
        Err(error) => return (format!("{error}\n"), None),
    };
    let mut out = Vec::new();
    let subject = Subject { path: name.as_bytes(), len: image.file_len() };
    let mut sink = TextSink::new(&mut out, TextOptions::default());
    let options = Options { now: Some(NOW), ..Options::default() };
    let summary = report::dump(&image, &subject, &options, &mut sink).unwrap();
    (String::from_utf8(out).unwrap(), Some(summary))
}

fn options(is_deep: bool) -> CheckOptions {
    CheckOptions { now: Some(NOW), deep: is_deep.then_some(NonZero::<usize>::MIN), ..CheckOptions::default() }
}

fn check_report(name: &str, bytes: &[u8]) -> String {
    let image = Image::open(bytes, Limits::default()).unwrap();
    let report = CheckReport {
        subject: Subject { path: name.as_bytes(), len: image.file_len() },
        options: options(DEEP.iter().any(|code| name.starts_with(code))),
        as_qemu: true,
    };
    let mut out = Vec::new();
    let mut sink = TextSink::new(&mut out, TextOptions::default());
    report::write_check(&image, &report, &mut sink, &mut |_| ()).unwrap();
    String::from_utf8(out).unwrap()
}

/// What the default policy says of an image that stands in `/images`; or else why it is none.
fn audited(name: &str, bytes: &[u8]) -> Result<Audit, String> {
    let image = Image::open(bytes, Limits::default()).map_err(|error| error.to_string())?;
    let path = format!("/images/{name}").into_bytes();
    let options = AuditOptions { now: Some(NOW), path: Some(path), ..AuditOptions::default() };
    Ok(audit(&image, &Policy::upload(), &options))
}

fn audit_report(name: &str, bytes: &[u8]) -> String {
    match audited(name, bytes) {
        Ok(audit) => {
            let mut out = Vec::new();
            let subject = Subject { path: name.as_bytes(), len: u64::try_from(bytes.len()).unwrap() };
            let mut sink = TextSink::new(&mut out, TextOptions::default());
            report::write_audit(&audit, &subject, &mut sink).unwrap();
            let report = String::from_utf8(out).unwrap();
            // What is found beside the reasons, `check` says too.
            report.split("beside the reasons").take(1).collect()
        }
        Err(reason) => format!("{reason}\n"),
    }
}

/// What of a dump a damaged image's report keeps: the rows that do not hold, and the findings.
fn faults_of(dump: &str) -> String {
    let findings = dump.find("\nfindings:").unwrap_or(0);
    let (rows, findings) = dump.split_at(findings);
    let file = rows.lines().take(1);
    let broken: Vec<_> = rows.lines().filter(|line| line.get(16..20) == Some(": - ")).collect();
    let further = broken.len().saturating_sub(BROKEN_ROWS);
    let further = (further > 0).then(|| format!("and {further} more\n"));
    let rows = file.chain(broken.into_iter().take(BROKEN_ROWS)).map(|line| format!("{line}\n"));
    rows.chain(further)
        .chain([findings.lines().take(FINDINGS).map(|line| format!("{line}\n")).collect()])
        .collect()
}

#[test]
fn every_image_gives_its_report() {
    let mut wrong = Vec::new();
    for folder in ["valid", "damaged", "crashes", "hostile"] {
        for (name, bytes) in images(folder) {
            let file = format!("{name}.qcow2");
            let (mut report, _) = dump(&file, &bytes);
            if folder == "hostile" {
                report = audit_report(&file, &bytes);
            } else if COUNTED.iter().chain(DEEP).any(|code| name.starts_with(code)) {
                report = check_report(&file, &bytes);
            } else if folder != "valid" {
                report = faults_of(&report);
            }
            let beside = corpus().join(folder).join(format!("{name}.txt"));
            if writing() {
                fs::write(&beside, &report).unwrap();
            }
            if fs::read_to_string(&beside).ok().as_ref() != Some(&report) {
                wrong.push(format!("{}\n{report}", beside.display()));
            }
        }
    }
    assert!(wrong.is_empty(), "reports that differ or are missing:\n{}", wrong.join("\n"));
}

#[test]
fn valid_images_have_nothing_above_a_note() {
    for (name, bytes) in images("valid") {
        let (_, summary) = dump(&name, &bytes);
        let findings = summary.unwrap().findings;
        for finding in findings.iter().filter(|finding| finding.severity > Severity::Note) {
            let named = EXPECTED_WARNINGS.contains(&(name.as_str(), finding.rule.code));
            assert!(named, "{name}: {} {}", finding.rule.code, finding.message());
        }
    }
}

#[test]
fn no_image_is_missing_and_no_report_is_left_over() {
    let folder = corpus();
    let made = RECIPES.iter().map(|recipe| recipe.name.to_owned());
    let made = made.chain(HOSTILE.iter().map(|hostile| format!("hostile/{}", hostile.name)));
    let missing: Vec<_> = made
        .chain(kept().into_iter().map(|(name, _)| name))
        .filter(|name| !folder.join(format!("{name}.qcow2")).is_file())
        .collect();
    assert!(missing.is_empty(), "missing: {missing:?}");
    for part in ["valid", "damaged", "crashes", "hostile"] {
        for entry in fs::read_dir(folder.join(part)).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "txt") {
                assert!(path.with_extension("qcow2").is_file(), "{} has no image", path.display());
            }
        }
    }
}

/// The codes of the rules that fire, and H02 where the reader refuses the file.
fn fired(draft: &Draft, rule: &Rule) -> BTreeSet<&'static str> {
    let is_deep = DEEP.contains(&rule.code);
    if is_deep || COUNTED.contains(&rule.code) {
        return checked(&draft.bytes, is_deep);
    }
    match dump("", &draft.bytes) {
        (_, Some(summary)) => summary.findings.iter().map(|finding| finding.rule.code).collect(),
        (_, None) => BTreeSet::from(["H02"]),
    }
}

/// The codes of the rules that fire when everything is checked.
fn checked(bytes: &[u8], is_deep: bool) -> BTreeSet<&'static str> {
    let image = Image::open(bytes, Limits::default()).unwrap();
    let mut codes = BTreeSet::new();
    check(&image, &options(is_deep), &mut |finding: Finding| {
        codes.insert(finding.rule.code);
    });
    codes
}

#[test]
fn each_damage_fires_its_rule_and_its_near_miss_does_not() {
    let mut wrong = Vec::new();
    corpus();
    for damage in damages() {
        let label = image_name(damage);
        println!("{label}");
        let base = base_of(damage);
        let before = fired(&base, damage.rule);
        let after = fired(&damaged(damage), damage.rule);
        let mut expected = before.clone();
        expected.extend(damage.also);
        expected.insert(damage.rule.code);
        if !after.contains(damage.rule.code) {
            wrong.push(format!("{label}: did not fire, but {after:?}"));
        } else if !after.is_subset(&expected) {
            wrong.push(format!("{label}: also fired {:?}", after.difference(&expected).collect::<Vec<_>>()));
        }
        let mut near = base;
        (damage.nearly)(&mut near);
        if !before.contains(damage.rule.code) && fired(&near, damage.rule).contains(damage.rule.code) {
            wrong.push(format!("{label}: fired on a near miss"));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
}

/// Each rule that finds anything has a damage, but those that say of a run what it could not do.
#[test]
fn every_rule_has_a_damage() {
    let damaged: BTreeSet<_> = damages().map(|damage| damage.rule.code).collect();
    let missing: Vec<_> = catalogue()
        .filter(|rule| rule.reports_itself() && !damaged.contains(rule.code))
        .map(|rule| rule.code)
        .filter(|code| !WITHOUT_DAMAGE.contains(code))
        .collect();
    assert!(missing.is_empty(), "no damage fires {missing:?}");
}

/// corpus/README.md names the rules without a file in corpus/damaged, and no others.
#[test]
fn the_readme_names_the_rules_without_an_image() {
    let readme = fs::read_to_string(corpus().join("README.md")).unwrap();
    let table = readme.split_once("| rule | why |").unwrap().1;
    let cells = table.lines().filter_map(|line| line.split('|').nth(1));
    let named = cells.flat_map(|cell| cell.split(',')).map(str::trim);
    let shown: Vec<_> = images("damaged").into_iter().map(|(name, _)| name).collect();
    let without = catalogue().map(|rule| rule.code);
    let without: BTreeSet<_> =
        without.filter(|code| !shown.iter().any(|name| name.split('-').any(|part| part == *code))).collect();
    let named: BTreeSet<_> = named.filter(|code| !code.is_empty() && *code != "---").collect();
    assert_eq!(named, without);
}

/// `explain` shows of each rule an image that breaks it, and what is found there.
#[test]
fn explain_shows_the_images_that_are_here() {
    let images = images("damaged");
    let mut lines = String::new();
    for rule in catalogue() {
        let is_own = |name: &&(String, _)| name.0.split('-').any(|part| part == rule.code);
        let Some((name, bytes)) = images.iter().find(is_own) else { continue };
        let Ok(image) = Image::open(bytes.as_slice(), Limits::default()) else {
            lines.push_str(&format!("{}\tcorpus/damaged/{name}.qcow2\tnot a qcow2 image\n", rule.code));
            continue;
        };
        let mut found = None;
        check(&image, &options(true), &mut |finding: Finding| {
            if finding.rule == rule && found.is_none() {
                found = Some(finding);
            }
        });
        let finding = found.unwrap_or_else(|| panic!("{name} does not break {}", rule.code));
        let at = finding.at.map(|span| format!(" at {}", span.at)).unwrap_or_default();
        let said = format!("{}{at}: found {}, wanted {}", finding.structure, finding.found, finding.wanted);
        let said = escape(said.as_bytes());
        lines.push_str(&format!("{}\tcorpus/damaged/{name}.qcow2\t{said}\n", rule.code));
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/rules/examples.tsv");
    if writing() {
        fs::write(&path, &lines).unwrap();
    }
    let wrong: Vec<_> = catalogue()
        .filter(|rule| {
            rule.example().is_some_and(|example| !folder().join("..").join(example.image).is_file())
        })
        .map(|rule| rule.code)
        .collect();
    assert!(wrong.is_empty() || writing(), "the examples of these rules are no files: {wrong:?}");
    assert_eq!(fs::read_to_string(&path).unwrap(), lines, "`make corpus` writes the examples anew");
}

fn base_of(damage: &Damage) -> Draft {
    Draft::new(fs::read(folder().join(format!("{}.qcow2", damage.base))).unwrap())
}

fn damaged(damage: &Damage) -> Draft {
    let mut draft = base_of(damage);
    (damage.breaks)(&mut draft);
    draft
}

/// The damaged image's name in the corpus.
fn image_name(damage: &Damage) -> String {
    let parts = [damage.rule.code, damage.rule.slug, damage.variant];
    let parts: Vec<_> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("damaged/{}", parts.join("-"))
}

/// The damaged images that are kept as files: of each rule the tiny ones, or else the smallest.
fn kept() -> Vec<(String, Draft)> {
    let mut drafts: Vec<_> = damages().map(|damage| (damage, damaged(damage))).collect();
    drafts.retain(|(_, draft)| draft.bytes.len() <= LARGEST);
    drafts.sort_by_key(|(_, draft)| draft.bytes.len());
    let mut rules = BTreeSet::new();
    drafts.retain(|(damage, draft)| rules.insert(damage.rule.code) || draft.bytes.len() <= TINY);
    drafts.retain(|(damage, _)| !EXTENDED.contains(&damage.rule.code));
    let kept = drafts.into_iter().map(|(damage, draft)| (image_name(damage), draft));
    kept.chain([extended_entries()]).collect()
}

/// Rules about extended L2 entries. The smallest image with such entries that QEMU opens has 80 KiB, so one with
/// clusters that are too small for them (H06) has the damages of all.
const EXTENDED: [&str; 4] = ["L06", "L17", "L18", "L19"];

fn extended_entries() -> (String, Draft) {
    let mut draft = Draft::new(fs::read(folder().join("valid/v3-512.qcow2")).unwrap());
    draft.set_header(field::INCOMPATIBLE_FEATURES, 1 << 4);
    // Half as many entries fit into its two L2 tables.
    draft.set_header(field::SIZE, 32 << 10);
    let data = draft.get(draft.l2_entry(0), 8);
    // A data cluster with one subcluster, nothing twice, and what L17 makes of the first.
    for (index, entry, bitmap) in
        [(0, data, 1), (1, 0, 0), (2, 0, 0), (3, 1 << 62 | data & 0x00ff_ffff_ffff_fe00, 1)]
    {
        let at = draft.l2_entry(index);
        draft.put_u64(at, entry);
        draft.put_u64(at + 8, bitmap);
    }
    for damage in damages().filter(|damage| ["L06", "L18", "L19"].contains(&damage.rule.code)) {
        (damage.breaks)(&mut draft);
    }
    (format!("damaged/{}-extended-l2-entries", EXTENDED.join("-")), draft)
}

fn make_missing() {
    let workshop = tempfile::tempdir().unwrap();
    for recipe in RECIPES {
        let path = folder().join(format!("{}.qcow2", recipe.name));
        if !path.is_file() {
            fs::write(path, recipe.make(workshop.path())).unwrap();
        }
    }
    for (name, draft) in kept() {
        fs::write(folder().join(format!("{name}.qcow2")), draft.bytes).unwrap();
    }
    for hostile in HOSTILE {
        fs::write(folder().join(format!("hostile/{}.qcow2", hostile.name)), hostile.bytes()).unwrap();
    }
}

/// corpus/hostile/decisions.list has a line for each hostile image: what `audit` answers, and the rules or limits that
/// have to be among its reasons.
#[test]
fn every_hostile_image_is_decided_as_the_table_says() {
    let table = fs::read_to_string(corpus().join("hostile/decisions.list")).unwrap();
    let lines = table.lines().filter(|line| !line.starts_with('#'));
    let mut rows: BTreeMap<_, _> = lines
        .map(|line| {
            let mut words = line.split_whitespace();
            (words.next().unwrap().to_owned(), words.collect::<Vec<_>>())
        })
        .collect();
    let mut wrong = Vec::new();
    for (name, bytes) in images("hostile") {
        let row = rows.remove(&name).unwrap_or_default();
        let (decision, reasons) = match audited(&format!("{name}.qcow2"), &bytes) {
            Ok(audit) => {
                let reasons = audit.reasons.iter();
                let names = reasons.map(|reason| match (reason.rule, &reason.key) {
                    (Some(rule), _) => rule.code.to_owned(),
                    (None, key) => key.clone().unwrap(),
                });
                let decision = match audit.exit_code() {
                    0 => "accept",
                    1 => "unjudged",
                    _ => "reject",
                };
                (decision, names.collect())
            }
            Err(_) => ("refused", Vec::new()),
        };
        let is_so = row.split_first().is_some_and(|(wanted, rules)| {
            *wanted == decision && rules.iter().all(|rule| reasons.iter().any(|reason| reason == rule))
        });
        if !is_so {
            wrong.push(format!("{name:<40} {decision} {}, not {row:?}", reasons.join(" ")));
        }
    }
    assert!(wrong.is_empty(), "{} wrong:\n{}", wrong.len(), wrong.join("\n"));
    assert!(rows.is_empty(), "no such image: {:?}", rows.keys());
}
