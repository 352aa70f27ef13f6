//! The one judge: takes the parts of an image as a walk hands them out, and says which rules they break.

use super::bitmap_tables::Tails;
use super::{
    BitmapRules, ExtensionRules, L2Place, MappingRules, RefcountRules, SnapshotRules, check_backing_file,
    check_header, check_header_gap, check_luks, check_unchanged, stopped,
};
use crate::Error;
use crate::finding::{Finding, Rule, Structure};
use crate::format::bitmap::{BitmapHead, BitmapTableEntry};
use crate::format::mapping::{L1Entry, L2Entry};
use crate::format::refcount::RefcountTableEntry;
use crate::image::{Entry, Image, L1Table, Part, Section, Table, TableKind};
use crate::rules::named::{
    BITMAP_DIRECTORY_BROKEN, CRYPTO_HEADER_RANGE, EXTENSION_TOO_LARGE, SNAPSHOT_TABLE_BEYOND_FILE,
};
use crate::source::ReadAt;

/// Judges an image part by part. The parts of a section have to come in their order, and its end behind them.
#[derive(Debug)]
pub struct Judge<'i, R> {
    image: &'i Image<R>,
    extensions: ExtensionRules,
    snapshots: SnapshotRules,
    bitmaps: BitmapRules,
    /// The bitmap whose table comes next.
    bitmap: Option<BitmapHead>,
    tails: Tails,
    mapping: Option<MappingRules>,
    refcounts: Option<RefcountRules>,
    error: Option<Error>,
    /// Whether it was told that a limit on the whole run is spent.
    is_over: bool,
}

impl<'i, R: ReadAt> Judge<'i, R> {
    /// A judge of this image. `now`: seconds since 1970, to tell a date in the future.
    pub fn new(image: &'i Image<R>, now: Option<i64>) -> Self {
        Self {
            image,
            extensions: ExtensionRules::new(image),
            snapshots: SnapshotRules::new(image, now),
            bitmaps: BitmapRules::new(image),
            bitmap: None,
            tails: Tails::default(),
            mapping: MappingRules::new(image),
            refcounts: RefcountRules::new(image),
            error: None,
            is_over: false,
        }
    }

    /// Judges a part, and adds what it breaks to `out`.
    pub fn part(&mut self, part: &Part<'_>, out: &mut Vec<Finding>) {
        let before = out.len();
        match *part {
            Part::Header => self.header(out),
            Part::Extension(extension) => self.extensions.extension(extension, out),
            Part::FeatureName(at, row) => self.extensions.feature_name(at, row, out),
            Part::Luks(luks) => {
                let read = check_luks(self.image, luks, out);
                self.or_stopped(read, Structure::Luks, out);
            }
            Part::Snapshot(snapshot) => self.snapshots.snapshot(snapshot, out),
            Part::Bitmap(bitmap) => {
                self.bitmap = Some(bitmap.head);
                self.bitmaps.bitmap(bitmap, out);
            }
            Part::Table(table) | Part::Shared(table, _) => self.table(table, out),
            Part::Entry(table, entry) => self.entry(table, entry, out),
            Part::Refcounts(block, run) => {
                self.refcounts.iter().for_each(|rules| rules.run(block.span.at, run, out));
            }
            Part::TableEnd(..) => {}
            Part::Stopped(structure, error) => self.or_stopped(Err(error), structure, out),
            Part::End(section, fault) => self.end(section, fault, out),
        }
        self.tell_once(before, out);
    }

    /// To be called when all parts were judged: asks whether the file held still.
    pub fn finish(&mut self, out: &mut Vec<Finding>) {
        let before = out.len();
        check_unchanged(self.image, out);
        self.tell_once(before, out);
    }

    /// Once nothing more can be read, all that comes would say so again.
    fn tell_once(&mut self, before: usize, out: &mut Vec<Finding>) {
        let mut place = before;
        while let Some(finding) = out.get(place) {
            if finding.ends_run() && std::mem::replace(&mut self.is_over, true) {
                out.remove(place);
            } else {
                place = place.saturating_add(1);
            }
        }
    }

    /// Judges an entry of a table. Those of a refcount block come as runs.
    #[inline]
    pub fn entry(&self, table: &Table, entry: &Entry, out: &mut Vec<Finding>) {
        let Entry { index, at, raw, bitmap } = *entry;
        match table.kind {
            TableKind::Refcounts => {
                let entry = RefcountTableEntry(raw);
                self.refcounts.iter().for_each(|rules| rules.table_entry(index, at, entry, out));
            }
            TableKind::RefcountBlock(_) => {}
            TableKind::L1(tree) => {
                let entry = L1Entry(raw);
                self.rules_of(&tree.l1).iter().for_each(|rules| rules.l1_entry(&tree, index, at, entry, out));
            }
            TableKind::L2 { tree, l1_index } => {
                let place = L2Place { tree: tree.l1.tree, disk_size: tree.disk_size, l1_index, index, at };
                let rules = self.rules_of(&tree.l1);
                rules.iter().for_each(|rules| rules.l2_entry(&place, L2Entry(raw), bitmap, out));
            }
            TableKind::Bitmap { in_use, .. } => {
                self.bitmaps.table_entry(in_use, index, at, BitmapTableEntry(raw), out);
            }
        }
    }

    /// The rules of a tree's tables, if its L1 table is one.
    fn rules_of(&self, l1: &L1Table) -> Option<&MappingRules> {
        self.mapping.as_ref().filter(|rules| l1.is_used(rules.geometry))
    }

    /// The last error that became a finding since this was asked: bytes that could not be read, or a limit that is spent.
    pub fn take_error(&mut self) -> Option<Error> {
        self.error.take()
    }

    fn or_stopped(&mut self, read: Result<(), Error>, structure: Structure, out: &mut Vec<Finding>) {
        if let Err(error) = read {
            self.error = Some(error);
            out.push(stopped(error, structure, cut_rule(structure)));
        }
    }

    fn header(&mut self, out: &mut Vec<Finding>) {
        check_header(self.image, out);
        check_backing_file(self.image, out);
        let read = check_header_gap(self.image, out);
        self.or_stopped(read, Structure::Header, out);
    }

    /// What can be told of a table before its entries come.
    fn table(&mut self, table: &Table, out: &mut Vec<Finding>) {
        let TableKind::Bitmap { .. } = table.kind else { return };
        let Some(head) = self.bitmap.take() else { return };
        let read = self.tails.check(self.image, (&head, table), out);
        self.or_stopped(read, Structure::BitmapTable, out);
    }

    fn end(&mut self, section: Section, fault: Option<Error>, out: &mut Vec<Finding>) {
        self.error = fault.filter(|fault| !matches!(fault, Error::Cut { .. })).or(self.error);
        match section {
            Section::Extensions => self.extensions.finish(fault, out),
            Section::Snapshots => self.snapshots.finish(fault, out),
            Section::Bitmaps => self.bitmaps.finish(fault, out),
            Section::Header | Section::Luks | Section::Refcounts | Section::L1 | Section::L2 => {}
        }
    }
}

/// The rule that a list breaks which does not fit. Tables end where the file does, and no rule is needed for that.
fn cut_rule(structure: Structure) -> &'static Rule {
    match structure {
        Structure::Extension => &EXTENSION_TOO_LARGE,
        Structure::Bitmap | Structure::BitmapTable => &BITMAP_DIRECTORY_BROKEN,
        Structure::Luks => &CRYPTO_HEADER_RANGE,
        _ => &SNAPSHOT_TABLE_BEYOND_FILE,
    }
}
