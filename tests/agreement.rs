//! The reports of one image do not contradict one another: what `dump` and `info` find `check` finds too, and an entry
//! that the end of the file cuts has one meaning.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may stop at what it does not expect"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Debug, Write};
use std::path::{Path, PathBuf};
use std::{fs, io};

use qcow2_inspect::check::CheckOptions;
use qcow2_inspect::format::{bitmap, header};
use qcow2_inspect::guest::{Disk, Extent, Trace, owners};
use qcow2_inspect::image::Bitmap;
use qcow2_inspect::report::{self, CheckReport, InfoReport, JsonSink, Options, Row, Section, Sink, Subject};
use qcow2_inspect::units::{GuestOffset, GuestSpan, HostOffset, to_u64, to_usize};
use qcow2_inspect::{Image, Limits};
use qcow2_testkit::oracle::told_counts;
use qcow2_testkit::{Draft, Rng, damages};
use serde_json::{Value, json};

/// A day in 2040: every date in the corpus but a wrong one is before it.
const NOW: i64 = 2_208_988_800;

/// No finding is left out.
const LIMITS: Limits = Limits { findings_per_rule: 1 << 20, ..Limits::DEFAULT };

/// The folders of the corpus, and in how many places each image of theirs is cut.
const CUTS: [(&str, usize); 4] = [("valid", 30), ("damaged", 6), ("crashes", 6), ("hostile", 6)];

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn images(folder: &str) -> Vec<(String, Vec<u8>)> {
    let entries = fs::read_dir(corpus().join(folder)).into_iter().flatten();
    let paths: BTreeSet<_> = entries.map(|entry| entry.unwrap().path()).collect();
    let paths = paths.into_iter().filter(|path| path.extension().is_some_and(|ending| ending == "qcow2"));
    let name = |path: &Path| format!("{folder}/{}", path.file_stem().unwrap().to_str().unwrap());
    paths.map(|path| (name(&path), fs::read(&path).unwrap())).collect()
}

/// Where the fields, entries and runs of refcounts of an image stand, by section.
#[derive(Default)]
struct Places {
    spans: BTreeMap<Section, Vec<(u64, u64)>>,
    section: Option<Section>,
}

impl Sink for Places {
    fn section(&mut self, section: Section) -> io::Result<()> {
        self.section = Some(section);
        Ok(())
    }

    fn row(&mut self, row: &Row<'_>) -> io::Result<()> {
        if let Some(section) = self.section.filter(|_| row.width > 1) {
            self.spans.entry(section).or_default().push((row.at.0, row.width));
        }
        Ok(())
    }
}

/// Lengths at which an image is cut: within what `Places` has, as often in one section as in another, and one anywhere.
fn lengths(bytes: &[u8], count: usize, rng: &mut Rng) -> BTreeSet<usize> {
    let mut below = |bound: usize| to_usize(rng.below(to_u64(bound)));
    let mut lengths = BTreeSet::from([below(bytes.len())]);
    let mut places = Places::default();
    if let Ok(image) = Image::open(bytes, LIMITS) {
        let subject = Subject { path: b"image", len: image.file_len() };
        report::dump(&image, &subject, &Options::default(), &mut places).unwrap();
    }
    let sections: Vec<_> = places.spans.into_values().collect();
    for _ in 0..if sections.is_empty() { 0 } else { count } {
        let rows = &sections[below(sections.len())];
        let (at, width) = rows[below(rows.len())];
        let within = below(to_usize(width - 1));
        lengths.insert(to_usize(at).saturating_add(1 + within).min(bytes.len()));
    }
    lengths
}

/// Every image of the corpus, whole and cut.
fn whole_and_cut() -> Vec<(String, Vec<u8>)> {
    let mut rng = Rng::new(0x6375_7473);
    let mut all = Vec::new();
    for (folder, count) in CUTS {
        for (name, bytes) in images(folder) {
            let lengths = lengths(&bytes, count, &mut rng);
            all.extend(lengths.iter().map(|len| (format!("{name} cut to {len}"), bytes[..*len].to_vec())));
            all.push((name, bytes));
        }
    }
    assert!(all.len() > 1500, "only {} images", all.len());
    all
}

/// What the reports say of an image, as JSON.
struct Reports<'i>(&'i Image<&'i [u8]>);

impl Reports<'_> {
    fn document(
        &self,
        write: impl FnOnce(&mut JsonSink<&mut Vec<u8>>, Subject<'_>) -> io::Result<()>,
    ) -> Value {
        let mut out = Vec::new();
        write(&mut JsonSink::new(&mut out), Subject { path: b"image", len: self.0.file_len() }).unwrap();
        serde_json::from_slice(&out).unwrap()
    }

    fn check(&self) -> Value {
        let options = CheckOptions { each: true, now: Some(NOW), ..CheckOptions::default() };
        self.document(|sink, subject| {
            let report = CheckReport { subject, options, as_qemu: true };
            report::write_check(self.0, &report, sink, &mut |_| ()).map(drop)
        })
    }

    fn dump(&self, sections: &[Section]) -> Value {
        let options = Options { sections: sections.to_vec(), now: Some(NOW), ..Options::default() };
        self.document(|sink, subject| report::dump(self.0, &subject, &options, sink).map(drop))
    }

    fn info(&self) -> Value {
        self.document(|sink, subject| {
            let report = InfoReport { subject, offset: 0, now: Some(NOW), sandbox: "none" };
            report::write_info(self.0, &report, sink).map(drop)
        })
    }
}

/// The findings of a report with their rules. The severity is no part of them: under the dirty bit, `check` takes
/// refcounts that may be stale for notes (R11).
fn findings(report: &Value) -> BTreeMap<String, String> {
    let findings = report["findings"].as_array().unwrap().iter();
    let identity = |finding: &Value| {
        json!(["rule", "structure", "offset", "length", "evidence", "guest"].map(|key| &finding[key]))
            .to_string()
    };
    findings.map(|finding| (identity(finding), finding["rule"].as_str().unwrap().to_owned())).collect()
}

/// Contradictions by their kind: how many there are, and the first of them.
#[derive(Default)]
struct Contradictions(BTreeMap<String, (u64, String)>);

impl Contradictions {
    fn add(&mut self, kind: String, case: impl FnOnce() -> String) {
        self.0.entry(kind).or_insert_with(|| (0, case())).0 += 1;
    }

    fn assert_none(&self) {
        let mut summary = String::new();
        for (kind, (count, first)) in &self.0 {
            writeln!(summary, "{kind}: {count} times, as in\n  {first}").unwrap();
        }
        assert!(self.0.is_empty(), "{} kinds of contradictions\n{summary}", self.0.len());
    }
}

#[test]
fn every_finding_of_dump_and_info_is_in_check() {
    let mut contradictions = Contradictions::default();
    for (name, bytes) in whole_and_cut() {
        let Ok(image) = Image::open(bytes.as_slice(), LIMITS) else { continue };
        let reports = Reports(&image);
        let checked = findings(&reports.check());
        for (report, document) in [("dump", reports.dump(&Section::ALL)), ("info", reports.info())] {
            for (finding, rule) in findings(&document) {
                if !checked.contains_key(&finding) {
                    contradictions.add(format!("{report} {rule}"), || format!("{name}: {finding}"));
                }
            }
        }
    }
    contradictions.assert_none();
}

/// What `info` looks at, it judges as `dump` does. Of bitmaps it sees the directory alone: B18 is about their bits.
#[test]
fn info_finds_what_dump_finds_in_the_same_parts() {
    let sections =
        [Section::Header, Section::Extensions, Section::Luks, Section::Snapshots, Section::Bitmaps];
    let mut contradictions = Contradictions::default();
    for (name, bytes) in whole_and_cut() {
        let Ok(image) = Image::open(bytes.as_slice(), LIMITS) else { continue };
        let reports = Reports(&image);
        let of_entries = |finding: &str| finding.contains("\"bitmap-table\"") || finding.contains("\"B18\"");
        let mut dumped = findings(&reports.dump(&sections));
        dumped.retain(|finding, _| !of_entries(finding));
        let told = findings(&reports.info());
        for (finding, rule) in told.iter().filter(|(finding, _)| !dumped.contains_key(*finding)) {
            contradictions.add(format!("info alone {rule}"), || format!("{name}: {finding}"));
        }
        for (finding, rule) in dumped.iter().filter(|(finding, _)| !told.contains_key(*finding)) {
            contradictions.add(format!("dump alone {rule}"), || format!("{name}: {finding}"));
        }
    }
    contradictions.assert_none();
}

/// Bit 63 of an entry.
const COPIED: u64 = 1 << 63;
/// Bits of an L1 or an L2 entry that must be zero.
const RESERVED: u64 = 0x3f << 56;

/// Clusters of 512 bytes that entries lead to: the last two bytes that are not zero tell them apart.
const FAR: [u64; 3] = [0x1_0000, 0x1_0200, 0x1_0400];

/// Rules that say that a table is cut.
const OF_THE_CUT: [&str; 3] = ["B04", "H34", "L03"];

/// An image at whose end is a table with an entry that is to be cut.
struct Case {
    name: String,
    bytes: Vec<u8>,
    at: u64,
    width: u64,
}

impl Case {
    fn new(kind: &str, draft: Draft, at: u64, width: u64) -> Self {
        let name = match width {
            16 => format!("{kind} {:#018x} {:#018x}", draft.get(at, 8), draft.get(at + 8, 8)),
            _ => format!("{kind} {:#x}", draft.get(at, width)),
        };
        Self { name, bytes: draft.bytes, at, width }
    }

    /// The file up to the first `there` bytes of the entry.
    fn cut(&self, there: u64) -> &[u8] {
        &self.bytes[..to_usize(self.at + there)]
    }

    /// The same with zeros for the other bytes of the entry, as QEMU reads it: nothing is left to be cut.
    fn filled(&self, there: u64) -> Vec<u8> {
        let mut bytes = self.cut(there).to_vec();
        bytes.resize(to_usize(self.at + self.width), 0);
        bytes
    }
}

/// A valid image that is at least so many clusters long.
fn roomy(name: &str, clusters: u64) -> Draft {
    let mut draft = Draft::new(fs::read(corpus().join(format!("valid/{name}.qcow2"))).unwrap());
    let there = to_u64(draft.bytes.len()).div_ceil(draft.cluster_size());
    draft.add_clusters(clusters - there);
    draft
}

/// Copies a cluster to the end of the file, and says where it stands there.
fn copied_to_the_end(draft: &mut Draft, from: u64) -> u64 {
    let (from, len) = (to_usize(from), to_usize(draft.cluster_size()));
    let cluster = draft.bytes[from..from + len].to_vec();
    let at = draft.add_clusters(1);
    draft.put(at, &cluster);
    at
}

fn l1_entry(value: u64) -> Case {
    let mut draft = roomy("v3-512", 140);
    draft.put_u64(FAR[0], 0x1_0600);
    draft.put_u64(FAR[1], 0x1_0800);
    let table = draft.header(header::field::L1_TABLE_OFFSET);
    let at = copied_to_the_end(&mut draft, table);
    draft.set_header(header::field::L1_TABLE_OFFSET, at);
    draft.put_u64(at + 8, value);
    draft.agree();
    Case::new("L1 entry", draft, at + 8, 8)
}

fn l2_entry(value: u64) -> Case {
    let mut draft = roomy("v3-512", 140);
    let table = draft.l2_entry(0);
    let at = copied_to_the_end(&mut draft, table);
    draft.put_u64(draft.l1_entry(0), at);
    draft.put_u64(at + 16, value);
    draft.agree();
    Case::new("L2 entry", draft, at + 16, 8)
}

fn extended_l2_entry(value: u64, bitmap: u64) -> Case {
    let mut draft = roomy("v3-extended-l2", 10);
    let table = draft.l2_entry(0);
    let at = copied_to_the_end(&mut draft, table);
    draft.put_u64(draft.l1_entry(0), at);
    draft.put_u64(at + 16, value);
    draft.put_u64(at + 24, bitmap);
    draft.agree();
    Case::new("extended L2 entry", draft, at + 16, 16)
}

fn refcount_table_entry(value: u64) -> Case {
    let mut draft = roomy("v3-512", 300);
    let table = draft.header(header::field::REFCOUNT_TABLE_OFFSET);
    let at = copied_to_the_end(&mut draft, table);
    draft.set_header(header::field::REFCOUNT_TABLE_OFFSET, at);
    draft.put_u64(at + 8, FAR[1]);
    draft.agree();
    draft.put_u64(at + 8, value);
    Case::new("refcount table entry", draft, at + 8, 8)
}

/// The refcount is that of a data cluster.
fn refcount(name: &str, width: u64, value: u64) -> Case {
    let mut draft = roomy(name, 20);
    let block = draft.get(draft.refcount_table_entry(0), 8);
    let at = copied_to_the_end(&mut draft, block);
    draft.put_u64(draft.refcount_table_entry(0), at);
    draft.agree();
    draft.put_number(at + 5 * width, width, value);
    Case::new("refcount", draft, at + 5 * width, width)
}

fn bitmap_table_entry(value: u64) -> Case {
    let mut draft = roomy("v3-bitmaps-512", 140);
    draft.put(FAR[0], &[0b0011]);
    draft.put(FAR[1], &[0b1100]);
    let table = draft.bitmap(0).table().at.0;
    let at = copied_to_the_end(&mut draft, table);
    draft.set_bitmap(0, bitmap::field::BITMAP_TABLE_OFFSET, at);
    draft.put_u64(at, value);
    draft.agree();
    Case::new("bitmap table entry", draft, at, 8)
}

fn cases() -> Vec<Case> {
    vec![
        l1_entry(COPIED | FAR[1]),
        l1_entry(RESERVED),
        l2_entry(COPIED | FAR[1]),
        l2_entry(1 << 62 | FAR[2] | 0x10),
        l2_entry(RESERVED),
        extended_l2_entry(COPIED | 0x2_4000, 0xff00_ff00_00ff_00ff),
        extended_l2_entry(0, 0xff00_0000_ff00_0000),
        extended_l2_entry(RESERVED, 0),
        refcount_table_entry(FAR[1]),
        refcount_table_entry(COPIED | FAR[1]),
        refcount("v3-512", 2, 0x0101),
        refcount("v3-refcount-64", 8, 1 << 56 | 1),
        bitmap_table_entry(FAR[1]),
        bitmap_table_entry(0xff << 56),
    ]
}

/// What each reader makes of an image, line by line.
fn answers(bytes: &[u8], entry_at: u64) -> Vec<(&'static str, String)> {
    let image = Image::open(bytes, LIMITS).unwrap();
    let (dump, check) = (Reports(&image).dump(&Section::ALL), Reports(&image).check());
    let (owned, miscounted) = owned(&image, bytes);
    vec![
        ("row of dump", row(&dump, entry_at)),
        ("findings of dump", beside_the_cut(&dump, image.file_len())),
        ("findings of check", beside_the_cut(&check, image.file_len())),
        ("prediction of check", check["qemu"].to_string()),
        ("references of check", lines(told_counts(bytes))),
        ("map", mapped(&image)),
        ("locate", located(&image)),
        ("owners", owned),
        ("owners and check", miscounted),
        ("bitmaps", lines(image.bitmaps().map(|bitmap| dirty(&image, &bitmap.unwrap())))),
    ]
}

fn lines<T: Debug>(items: impl IntoIterator<Item = T>) -> String {
    items.into_iter().map(|item| format!("{item:?}\n")).collect()
}

fn mapped(image: &Image<&[u8]>) -> String {
    let whole = GuestSpan { start: GuestOffset(0), len: image.disk_len() };
    let extents = Disk::active(image).unwrap().extents(whole).map(Result::unwrap);
    lines(extents.map(|Extent { guest, state, host, .. }| (guest, state.as_str(), host)))
}

/// The row of the table entry, or of the refcounts, that stand there.
fn row(dump: &Value, entry_at: u64) -> String {
    let rows = ["refcounts", "l1", "l2", "bitmaps"].map(|section| dump[section].as_array().unwrap());
    let number = |row: &Value, key: &str| row[key].as_u64().unwrap();
    let is_there = |row: &&&Value| {
        entry_at.checked_sub(number(row, "offset")).is_some_and(|within| within < number(row, "width"))
    };
    let keys = ["offset", "value", "bitmap", "kind", "host_offset", "l2_offset", "rules"];
    rows.into_iter()
        .flatten()
        .filter(|row| is_there(&row))
        .map(|row| format!("{}\n", json!(keys.map(|key| &row[key]))))
        .collect()
}

/// The findings beside the cut itself, whatever the length of the file.
fn beside_the_cut(report: &Value, file_len: u64) -> String {
    let all = findings(report).into_iter();
    let beside = all.filter(|(_, rule)| !OF_THE_CUT.contains(&rule.as_str()));
    beside
        .map(|(finding, _)| finding.replace(&format!("{file_len:#x} bytes of the file"), "") + "\n")
        .collect()
}

/// Each place of the guest with what stands in the tables on the way there.
fn located(image: &Image<&[u8]>) -> String {
    let disk = Disk::active(image).unwrap();
    let step = image.geometry().unwrap().subcluster_size();
    let places = (0..disk.len()).step_by(to_usize(step));
    lines(places.map(|guest| {
        let Trace { l1, l2, bitmap, state, host, .. } = disk.locate(GuestOffset(guest)).unwrap();
        (guest, l1.map(|l1| l1.entry), l2.map(|l2| l2.entry), bitmap, state.as_str(), host)
    }))
}

/// Who has each cluster; and those that `check` counts other references to.
fn owned(image: &Image<&[u8]>, bytes: &[u8]) -> (String, String) {
    let geometry = image.geometry().unwrap();
    let counts: BTreeMap<_, _> = told_counts(bytes).into_iter().collect();
    let (mut owned, mut miscounted) = (String::new(), String::new());
    for cluster in 0..geometry.clusters_for(image.file_len()) {
        let found = owners(image, HostOffset(cluster * geometry.cluster_size())).unwrap();
        let who = found.owners.iter().map(|owner| (owner.role, owner.index, owner.guest));
        let who = lines(who).replace('\n', " ");
        writeln!(owned, "cluster {cluster}: {} {:?} {who}", found.counted, found.refcount).unwrap();
        let counted = counts.get(&cluster).copied().flatten();
        if counted.is_some_and(|counted| counted != found.counted) {
            writeln!(miscounted, "cluster {cluster}: {}, check {counted:?}", found.counted).unwrap();
        }
    }
    (owned, miscounted)
}

fn dirty(image: &Image<&[u8]>, bitmap: &Bitmap) -> Vec<GuestSpan> {
    image.dirty_runs(bitmap).unwrap().map(Result::unwrap).collect()
}

/// The first line of one that is not in the other.
fn only<'t>(one: &'t str, other: &str) -> &'t str {
    let known: BTreeSet<_> = other.lines().collect();
    one.lines().find(|line| !known.contains(line)).unwrap_or("nothing more")
}

#[test]
fn a_cut_entry_is_read_the_same_by_all() {
    let mut contradictions = Contradictions::default();
    for case in cases() {
        for there in 1..case.width {
            let filled = case.filled(there);
            // Whether a guest is to be told of an entry of zeros that it is none, or that one may be lost, is open.
            let is_empty = filled[to_usize(case.at)..].iter().all(|byte| *byte == 0);
            let answers = answers(case.cut(there), case.at).into_iter().zip(answers(&filled, case.at));
            for ((reader, cut), (_, filled)) in answers {
                if cut != filled && !(is_empty && ["map", "locate"].contains(&reader)) {
                    contradictions.add(format!("{}: {reader}", case.name), || {
                        format!(
                            "{there} bytes: {}\n  filled up: {}",
                            only(&cut, &filled),
                            only(&filled, &cut)
                        )
                    });
                }
            }
        }
    }
    contradictions.assert_none();
}

/// What the header alone says is told by each report, and at its field.
#[test]
fn a_short_refcount_table_is_told_at_its_field() {
    let damage = damages().find(|damage| damage.rule.code == "R10").unwrap();
    let mut draft = Draft::new(fs::read(corpus().join(format!("{}.qcow2", damage.base))).unwrap());
    (damage.breaks)(&mut draft);
    let image = draft.image();
    let (dump, info, check) =
        (Reports(&image).dump(&Section::ALL), Reports(&image).info(), Reports(&image).check());
    for (name, report) in [("dump", &dump), ("info", &info), ("check", &check)] {
        let told = findings(report).into_values().filter(|rule| rule == "R10").count();
        assert_eq!(told, 1, "{name}");
    }
    let rows = dump["header"].as_array().unwrap().iter();
    let row = rows.clone().find(|row| row["name"] == "refcount_table_clusters").unwrap();
    assert_eq!(row["rules"], json!(["R10"]));
}
