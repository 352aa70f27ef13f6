//! Rows for everything that an image holds: each field with its offset, its value and whether it holds.
//!
//! A field's mark comes from the findings of its structure that touch its bytes, and from nothing else.

mod header;
mod lists;
mod tables;

pub(super) use header::feature_names;

use std::io;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::row::{Context, Detail, Heading, Label, Row, Summary};
use super::schema::{self, Shape, keys};
use super::sink::Sink;
use super::subject::Subject;
use super::text::write_findings;
use super::value::Value;
use crate::finding::{Finding, Findings, Rule, Severity, Structure};
use crate::format::{Field, FieldValue, Layout};
use crate::image::{Part, Section, SnapshotNames, Tables, Walk};
use crate::rules::named::READ_ERROR;
use crate::rules::{self, Judge};
use crate::source::ReadAt;
use crate::units::{HostOffset, Span, to_u64, to_usize};
use crate::{Error, Image};
use lists::List;
use tables::TableRows;

/// Why no table of clusters is read.
const NO_CLUSTER_SIZE: &str = "the cluster size is invalid";
/// Bytes of a value that are shown without `--hex`.
const SHOWN_BYTES: u64 = 64;

/// What a dump shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// The sections, in any order.
    pub sections: Vec<Section>,
    /// Whether the bytes of each structure are shown too.
    pub hex: bool,
    /// The present, in seconds since 1970; without it nothing is said of dates in the future.
    pub now: Option<i64>,
}

impl Default for Options {
    fn default() -> Self {
        Self { sections: Section::ALL.to_vec(), hex: false, now: None }
    }
}

pub(super) const SHAPE: Shape =
    Shape::of_image("qcow2-inspect/dump/1").facts(&[keys::<Ended>()]).totals(&[keys::<Totals>()]).lists(&[
        schema::List::rows(Section::Header),
        schema::List::rows(Section::Extensions),
        schema::List::rows(Section::Luks),
        schema::List::rows(Section::Refcounts),
        schema::List::rows(Section::Snapshots),
        schema::List::rows(Section::L1),
        schema::List::rows(Section::L2),
        schema::List::rows(Section::Bitmaps),
    ]);

#[derive(Serialize, JsonSchema)]
struct Ended {
    complete: bool,
}

#[derive(Serialize, JsonSchema)]
struct Totals {
    finding_count: u64,
    worst: Option<Severity>,
}

/// Has the image walked and judged, and hands a row for each field to `sink`.
///
/// # Errors
/// Only what the sink returns: what is wrong with the image is in the summary.
pub fn dump<R: ReadAt, S: Sink>(
    image: &Image<R>,
    subject: &Subject<'_>,
    options: &Options,
    sink: &mut S,
) -> io::Result<Summary> {
    sink.begin(&SHAPE, Some(subject))?;
    let needs_names = [Section::Snapshots, Section::L1, Section::L2].map(|of| options.sections.contains(&of));
    let names =
        if needs_names.contains(&true) { SnapshotNames::read(image) } else { SnapshotNames::default() };
    let names = Arc::new(names);
    sink.names(&names)?;
    sink.text(|out, _| writeln!(out, "file {subject}"))?;
    let mut dumper = Dumper {
        image,
        options,
        sink,
        judge: Judge::new(image, options.now),
        findings: Findings::new(image.limits().findings_per_rule),
        found: Vec::new(),
        fired: Vec::new(),
        section: Section::Header,
        list: List::default(),
        table: TableRows::default(),
    };
    let mut walk = Walk::new(image, Tables::Once);
    for section in Section::ALL.into_iter().filter(|section| options.sections.contains(section)) {
        dumper.section = section;
        dumper.sink.section(section)?;
        walk.section(section, &mut |part| dumper.part(&part))?;
        if section == Section::L2 && walk.is_forgetful {
            dumper.forgot_tables()?;
        }
        dumper.sink.end_section(section)?;
    }
    dumper.judge.finish(&mut dumper.found);
    dumper.list_found();
    let Dumper { mut findings, sink, .. } = dumper;
    if let Some(error) = names.stopped_by().filter(|_| findings.is_complete()) {
        findings.push(rules::stopped(error, Structure::Snapshot, &READ_ERROR));
    }
    let complete = findings.is_complete() && !sink.is_cut();
    sink.text(|out, color| {
        writeln!(out)?;
        // The rules of what was left out say nothing.
        if Section::ALL.iter().any(|section| !options.sections.contains(section)) {
            write!(out, "of these sections alone, ")?;
        }
        write_findings(out, findings.iter(), &names, color)?;
        if complete { Ok(()) } else { writeln!(out, "incomplete: something was not read, see above") }
    })?;
    sink.facts(&Ended { complete })?;
    sink.totals(&Totals { finding_count: findings.count(), worst: findings.worst() })?;
    sink.findings(&findings)?;
    sink.finish()?;
    Ok(Summary { complete, findings })
}

/// A dump under way.
struct Dumper<'a, R, S> {
    image: &'a Image<R>,
    options: &'a Options,
    sink: &'a mut S,
    judge: Judge<'a, R>,
    findings: Findings,
    /// What was found in the part at hand.
    found: Vec<Finding>,
    /// The rules that fired for the row at hand.
    fired: Vec<&'static Rule>,
    section: Section,
    /// Where the list at hand goes on.
    list: List,
    /// Which rows of the table at hand were written.
    table: TableRows,
}

impl<R: ReadAt, S: Sink> Dumper<'_, R, S> {
    /// Judges a part and writes its rows, which have their marks from what was found in it alone.
    fn part(&mut self, part: &Part<'_>) -> io::Result<()> {
        self.judge.part(part, &mut self.found);
        self.extension_ends(part)?;
        match *part {
            Part::Header => self.header()?,
            Part::Extension(extension) => self.extension(extension)?,
            Part::FeatureName(at, row) => self.feature_name(at, row)?,
            Part::Luks(luks) => self.luks(luks)?,
            Part::Snapshot(snapshot) => self.snapshot(snapshot)?,
            Part::Bitmap(bitmap) => self.bitmap(bitmap)?,
            Part::Table(table) => self.table_begins(table)?,
            Part::Shared(table, earlier) => self.shared(table, earlier)?,
            Part::Entry(table, entry) => self.entry(table, entry)?,
            Part::Refcounts(block, run) => self.refcounts(block, run)?,
            Part::TableEnd(table, passed) => self.table_ends(table, passed)?,
            Part::Stopped(..) => {}
            Part::End(section, fault) => self.section_ends(section, fault)?,
        }
        self.list_found();
        Ok(())
    }

    fn section_ends(&mut self, section: Section, fault: Option<Error>) -> io::Result<()> {
        let list = std::mem::take(&mut self.list);
        match section {
            Section::Snapshots if fault.is_some() => self.cut_snapshot(list),
            Section::Bitmaps if fault.is_some() => self.cut_bitmap(list),
            Section::Bitmaps => self.unread_bitmaps(),
            Section::L1 | Section::L2 if self.image.geometry().is_none() => self.unreadable(NO_CLUSTER_SIZE),
            _ => self.shared_ends(),
        }
    }

    /// Moves what was found in the part at hand to what was found in all.
    fn list_found(&mut self) {
        self.found.drain(..).for_each(|finding| self.findings.push(finding));
    }

    /// Takes note of what keeps something from being shown that no rule needs.
    fn stop(&mut self, error: Error, structure: Structure) {
        self.judge.part(&Part::Stopped(structure, error), &mut self.found);
    }

    /// The row of a field or an entry, with its mark. `field` is its name in the catalogue.
    fn row(&mut self, structure: Structure, field: &str, row: Row<'_>) -> io::Result<()> {
        let span = Span::new(row.at, row.width);
        let mut fired = std::mem::take(&mut self.fired);
        let mut broken = false;
        fired.clear();
        for finding in self.found.iter().filter(|finding| finding.structure == structure) {
            if finding.at.is_some_and(|at| at.touches(span)) {
                broken |= finding.severity > Severity::Note;
                if !fired.contains(&finding.rule) {
                    fired.push(finding.rule);
                }
            }
        }
        let judged = broken || rules::judges(structure, field);
        let valid = judged.then_some(!broken);
        let written = self.sink.row(&Row { valid, rules: &fired, ..row });
        self.fired = fired;
        written
    }

    /// The row of a layout's field; the layout stands at `base`.
    fn field(
        &mut self,
        structure: Structure,
        base: HostOffset,
        (field, value): &(Field, FieldValue),
        details: &[Detail<'_>],
    ) -> io::Result<()> {
        let Span { at, len } = field.at(base);
        let row =
            Row { value: Value::from(value), ..Row::remark(Label::Field(field.name), at, len, details) };
        self.row(structure, field.name, row)
    }

    /// The row of a text of the image; nothing for an empty one.
    fn text(
        &mut self,
        structure: Structure,
        name: &'static str,
        at: HostOffset,
        text: &[u8],
    ) -> io::Result<()> {
        let row =
            Row { value: Value::Text(text), ..Row::remark(Label::Field(name), at, to_u64(text.len()), &[]) };
        self.row(structure, name, row)
    }

    /// The row of bytes without more meaning: the first of them, if they are many.
    fn raw(
        &mut self,
        structure: Structure,
        name: &'static str,
        at: HostOffset,
        bytes: &[u8],
    ) -> io::Result<()> {
        let shown = bytes.get(..to_usize(SHOWN_BYTES)).unwrap_or(bytes);
        let details =
            [Detail::new("shown_bytes", Value::Number(to_u64(shown.len()), crate::format::Style::Number))];
        let details = if shown.len() < bytes.len() { details.as_slice() } else { &[] };
        let row = Row::remark(Label::Field(name), at, to_u64(bytes.len()), details);
        self.row(structure, name, Row { value: Value::Bytes(shown), ..row })
    }

    /// Entries that are left out, and why.
    fn skip(
        &mut self,
        name: &'static str,
        (first, count): (u64, u64),
        at: HostOffset,
        kind: &'static str,
    ) -> io::Result<()> {
        let Some(further) = count.checked_sub(1) else { return Ok(()) };
        let details = [
            Detail::new("kind", Value::Word(kind)),
            Detail::new("skipped", Value::Number(count, crate::format::Style::Number)),
        ];
        self.sink.row(&Row::remark(
            Label::Entries(name, first, first.saturating_add(further)),
            at,
            0,
            &details,
        ))
    }

    fn heading(
        &mut self,
        at: HostOffset,
        title: &'static str,
        context: Context,
        details: &[Detail<'_>],
    ) -> io::Result<()> {
        self.sink.heading(&Heading { at, title, context, details })
    }

    /// The fields of an entry that does not fit as a whole, as far as it is there. No rule has judged them.
    fn cut_entry<T: Layout>(
        &mut self,
        title: &'static str,
        context: Context,
        (at, end): (HostOffset, HostOffset),
    ) -> io::Result<()> {
        let span = Span::new(at, T::LEN.min(end.0.saturating_sub(at.0)));
        let mut chunks = self.image.chunks("an entry that is cut short", span);
        let chunk = match chunks.next() {
            Some(Ok(chunk)) => chunk,
            Some(Err(error)) => {
                self.stop(error, Structure::File);
                return Ok(());
            }
            None => return Ok(()),
        };
        let Some(layout) = T::decode_zero_filled(chunk.bytes) else { return Ok(()) };
        self.heading(at, title, context, &[Detail::new("state", Value::Word("cut-short"))])?;
        let present = to_u64(chunk.bytes.len());
        for (field, value) in layout.fields().iter().filter(|(field, _)| field.end() <= present) {
            let Span { at, len } = field.at(at);
            let row = Row::remark(Label::Field(field.name), at, len, &[]);
            self.sink.row(&Row { value: Value::from(value), ..row })?;
        }
        Ok(())
    }

    /// Says that a section has no rows because the header makes no sense of it.
    fn unreadable(&mut self, why: &'static str) -> io::Result<()> {
        let details = [Detail::new("why", Value::Word(why))];
        self.sink.row(&Row::remark(Label::Field("not read"), HostOffset(0), 0, &details))
    }

    /// The bytes of a structure, where the user wants them.
    fn hex(&mut self, span: Span) -> io::Result<()> {
        if !self.options.hex {
            return Ok(());
        }
        let end = span.end().min(HostOffset(self.image.file_len()));
        let mut chunks = self.image.chunks("bytes to show", span);
        while let Some(chunk) = chunks.next() {
            match chunk {
                Ok(chunk) => {
                    let more = chunk.at.saturating_add(to_u64(chunk.bytes.len())) < end;
                    self.sink.bytes(chunk.at, chunk.bytes, more)?;
                }
                Err(error) => self.stop(error, Structure::File),
            }
        }
        Ok(())
    }
}
