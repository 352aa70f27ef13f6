//! The walk over everything that an image holds: each field with its offset, its value and whether it holds.
//!
//! A field's mark comes from the findings of its structure that touch its bytes, and from nothing else.

mod bitmaps;
mod extensions;
mod header;
mod luks;
mod mapping;
mod refcounts;
mod skipped;
mod snapshots;

pub(super) use header::feature_names;

use std::io;

use super::row::{Context, Detail, Heading, Label, Row, Section, Sink, Summary};
use super::value::Value;
use crate::finding::Findings;
use crate::finding::{Finding, Rule, Severity, Structure};
use crate::format::{Field, Layout};
use crate::rules;
use crate::rules::codes::T02;
use crate::rules::{check_unchanged, stopped};
use crate::source::ReadAt;
use crate::units::{HostOffset, Span, to_u64, to_usize};
use crate::{Error, Image};

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

/// Walks over the image and hands every row to `sink`.
///
/// # Errors
/// Only what the sink returns: what is wrong with the image is in the summary.
pub fn dump<R: ReadAt, S: Sink>(image: &Image<R>, options: &Options, sink: &mut S) -> io::Result<Summary> {
    let findings = Findings::new(image.limits().findings_per_rule);
    let mut dumper = Dumper { image, options, sink, findings, found: Vec::new(), fired: Vec::new() };
    for section in Section::ALL {
        if options.sections.contains(&section) {
            dumper.sink.begin(section)?;
            dumper.section(section)?;
            dumper.settle();
            dumper.sink.end(section)?;
        }
    }
    check_unchanged(image, &mut dumper.found);
    dumper.settle();
    let findings = dumper.findings;
    let complete = findings.is_complete();
    let is_part = Section::ALL.iter().any(|section| !options.sections.contains(section));
    let summary = Summary { complete, is_part, findings };
    sink.finish(&summary)?;
    Ok(summary)
}

/// A dump under way.
struct Dumper<'a, R, S> {
    image: &'a Image<R>,
    options: &'a Options,
    sink: &'a mut S,
    findings: Findings,
    /// What was found in the structure at hand.
    found: Vec<Finding>,
    /// The rules that fired for the row at hand.
    fired: Vec<&'static Rule>,
}

impl<R: ReadAt, S: Sink> Dumper<'_, R, S> {
    fn section(&mut self, section: Section) -> io::Result<()> {
        match section {
            Section::Header => self.header(),
            Section::Extensions => self.extensions(),
            Section::Luks => self.luks(),
            Section::Refcounts => self.refcounts(),
            Section::Snapshots => self.snapshots(),
            Section::L1 => self.l1_tables(),
            Section::L2 => self.l2_tables(),
            Section::Bitmaps => self.bitmaps(),
        }
    }

    /// Moves what was found in the structure at hand to what was found in all.
    fn settle(&mut self) {
        self.found.drain(..).for_each(|finding| self.findings.push(finding));
    }

    /// Takes note of what stopped the reading of a structure.
    fn stop(&mut self, error: Error, structure: Structure, cut: &'static Rule) {
        self.findings.push(stopped(error, structure, cut));
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
        let judged = broken || rules::judges(structure.as_str(), field);
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
        field: &Field,
        details: &[Detail<'_>],
    ) -> io::Result<()> {
        let row = Row {
            value: Value::from(&field.value),
            ..Row::remark(Label::Field(field.name), base.saturating_add(field.offset), field.width, details)
        };
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

    /// The part of a span that is in the file.
    fn in_file(&self, span: Span) -> Span {
        Span::new(span.at, span.len.min(self.image.file_len().saturating_sub(span.at.0)))
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
                self.stop(error, Structure::File, &T02);
                return Ok(());
            }
            None => return Ok(()),
        };
        let Some(layout) = T::decode_zero_filled(chunk.bytes) else { return Ok(()) };
        self.heading(at, title, context, &[Detail::new("state", Value::Word("cut-short"))])?;
        let present = to_u64(chunk.bytes.len());
        for field in layout.fields().iter().filter(|field| field.end() <= present) {
            let row =
                Row::remark(Label::Field(field.name), at.saturating_add(field.offset), field.width, &[]);
            self.sink.row(&Row { value: Value::from(&field.value), ..row })?;
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
                Err(error) => self.stop(error, Structure::File, &T02),
            }
        }
        Ok(())
    }
}
