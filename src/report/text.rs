//! A report for people; a dump has an offset, a validity mark, and `name=value`.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use anstyle::{AnsiColor, Style};

use super::hex::HexWriter;
use super::items::snapshot_of;
use super::row::{Detail, Heading, Row};
use super::sink::Sink;
use super::value::{Shown, Value};
use crate::finding::{Finding, Severity};
use crate::image::{Section, SnapshotNames};
use crate::units::{HostOffset, Tree};

/// What the text looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextOptions {
    /// Whether each line of a dump starts with its offset.
    pub offset: bool,
    /// Whether a column of a dump says what is valid.
    pub valid: bool,
    /// Whether marks are coloured.
    pub color: bool,
}

impl Default for TextOptions {
    fn default() -> Self {
        Self { offset: true, valid: true, color: false }
    }
}

/// Writes a report as text.
#[derive(Debug)]
pub struct TextSink<W> {
    out: W,
    options: TextOptions,
    hex: HexWriter,
    names: Arc<SnapshotNames>,
    /// Whether the section at hand has nothing so far.
    empty: bool,
}

impl<W: Write> TextSink<W> {
    /// Into `out`.
    pub fn new(out: W, options: TextOptions) -> Self {
        Self { out, options, hex: HexWriter::default(), names: Arc::default(), empty: true }
    }

    fn columns(&mut self, at: HostOffset, valid: Option<bool>) -> io::Result<()> {
        if std::mem::take(&mut self.empty) {
            writeln!(self.out)?;
        }
        if self.options.offset {
            write!(self.out, "{:016x}: ", at.0)?;
        }
        if self.options.valid {
            let (mark, color) = match valid {
                Some(true) => ("+", AnsiColor::Green),
                Some(false) => ("-", AnsiColor::Red),
                None => (" ", AnsiColor::White),
            };
            let style = painted(self.options.color && valid.is_some(), color);
            write!(self.out, "{style}{mark}{style:#} ")?;
        }
        Ok(())
    }

    fn details(&mut self, details: &[Detail<'_>]) -> io::Result<()> {
        for detail in details {
            match detail.value {
                // The label has it.
                _ if detail.key == "index" || detail.key == "count" => {}
                Value::Word(word) if detail.key == "means" => write!(self.out, " ({word})")?,
                Value::Flag(true) => write!(self.out, " {}", detail.key)?,
                Value::Flag(false) | Value::None => {}
                value => {
                    write!(self.out, " {}={}", detail.key, Shown { value, width: 8, names: &self.names })?
                }
            }
        }
        Ok(())
    }
}

impl<W: Write> Sink for TextSink<W> {
    #[inline]
    fn text(&mut self, write: impl FnOnce(&mut dyn Write, bool) -> io::Result<()>) -> io::Result<()> {
        write(&mut self.out, self.options.color)
    }

    fn names(&mut self, names: &Arc<SnapshotNames>) -> io::Result<()> {
        self.names = Arc::clone(names);
        Ok(())
    }

    fn section(&mut self, section: Section) -> io::Result<()> {
        self.empty = true;
        write!(self.out, "\n{}", section.as_str())
    }

    fn heading(&mut self, heading: &Heading<'_>) -> io::Result<()> {
        self.columns(heading.at, None)?;
        let snapshot = heading.context.snapshot.and_then(|index| self.names.of(Tree::Snapshot(index)));
        match snapshot {
            Some(snapshot) => write!(self.out, "{snapshot}")?,
            None => write!(self.out, "{}", heading.title)?,
        }
        for detail in heading.context.details() {
            if detail.key == "extension" && heading.context.feature.is_some() {
                continue;
            }
            let value = Shown { value: detail.value, width: 8, names: &self.names };
            match detail.key {
                "snapshot" if snapshot.is_some() => write!(self.out, " index={value}")?,
                key if heading.title.ends_with(key) => write!(self.out, " {value}")?,
                key => write!(self.out, " {key}={value}")?,
            }
        }
        self.details(heading.details)?;
        writeln!(self.out)
    }

    fn row(&mut self, row: &Row<'_>) -> io::Result<()> {
        self.columns(row.at, row.valid)?;
        write!(self.out, "  {}", row.label)?;
        if row.value != Value::None {
            write!(self.out, "={}", Shown { value: row.value, width: row.width, names: &self.names })?;
        }
        self.details(row.details)?;
        for (n, rule) in row.rules.iter().enumerate() {
            write!(self.out, "{}{}", if n == 0 { "  # " } else { " " }, rule.code)?;
        }
        writeln!(self.out)
    }

    fn bytes(&mut self, at: HostOffset, bytes: &[u8], more: bool) -> io::Result<()> {
        self.hex.write(&mut self.out, at, bytes, more)
    }

    fn end_section(&mut self, _: Section) -> io::Result<()> {
        if self.empty { writeln!(self.out, ": none") } else { Ok(()) }
    }

    fn finish(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn painted(color: bool, of: AnsiColor) -> Style {
    if color { of.on_default() } else { Style::new() }
}

/// Writes how many findings there are, and each of them, the worst first. `names` are those of the image's snapshots.
///
/// # Errors
/// Where it cannot be written.
pub fn write_findings<'f>(
    out: &mut (impl Write + ?Sized),
    findings: impl Iterator<Item = &'f Finding> + Clone,
    names: &SnapshotNames,
    color: bool,
) -> io::Result<()> {
    let mut counts: BTreeMap<_, u64> = BTreeMap::new();
    for finding in findings.clone() {
        let count = counts.entry(Reverse(finding.severity)).or_default();
        *count = count.saturating_add(finding.consequences);
    }
    if counts.is_empty() {
        return writeln!(out, "findings: none");
    }
    let shown: Vec<_> = counts.iter().map(|(severity, count)| counted(*count, severity.0)).collect();
    writeln!(out, "findings: {}", shown.join(", "))?;
    for Reverse(severity) in counts.into_keys() {
        let mut these = findings.clone().filter(|finding| finding.severity == severity);
        these.try_for_each(|finding| write_finding(out, finding, names, color))?;
    }
    Ok(())
}

fn counted(count: u64, severity: Severity) -> String {
    let plural = if count == 1 || severity == Severity::Fatal { "" } else { "s" };
    format!("{count} {}{plural}", severity.as_str())
}

fn write_finding(
    out: &mut (impl Write + ?Sized),
    finding: &Finding,
    names: &SnapshotNames,
    color: bool,
) -> io::Result<()> {
    let style = painted(
        color,
        match finding.severity {
            Severity::Fatal | Severity::Corruption => AnsiColor::Red,
            Severity::Leak | Severity::Warning => AnsiColor::Yellow,
            Severity::Note => AnsiColor::Cyan,
        },
    );
    write!(out, "{style}{:<10}{style:#} {}", finding.severity.as_str(), finding.rule.code)?;
    match snapshot_of(finding, names) {
        Some(snapshot) => write!(out, " {snapshot}")?,
        None => write!(out, " {}", finding.structure)?,
    }
    if let Some(at) = finding.at {
        write!(out, " at {}", at.at)?;
    }
    write!(out, ": {}", finding.message())?;
    if finding.qemu_limit {
        write!(out, " (QEMU's own limit)")?;
    }
    if let Some(guest) = finding.guest {
        write!(out, " [{}]", names.guest(guest.tree, guest.span))?;
    }
    writeln!(out)
}
