//! One use of the reader, and all that an oracle compares of it.

use std::io::{self, Write};
use std::num::NonZero;

use qcow2_inspect::audit::{AuditOptions, Decision, Policy, audit};
use qcow2_inspect::check::{CheckOptions, Verdict};
use qcow2_inspect::finding::Finding;
use qcow2_inspect::report::{
    self, CheckReport, Findings, Heading, InfoReport, Options, Report, Row, Section, Shape, Sink, Subject,
};
use qcow2_inspect::source::ReadAt;
use qcow2_inspect::units::HostOffset;
use qcow2_inspect::{Error, Image, Limits};
use serde::Serialize;

use super::asked::Format;
use super::guest;

/// What came of it.
#[derive(Debug)]
pub struct Run {
    /// What was asked for.
    pub format: Format,
    /// What was written.
    pub out: Vec<u8>,
    /// What was found, where the format [tells](Format::tells) of it.
    pub findings: Vec<Finding>,
    /// Whether nothing cut the work.
    pub complete: bool,
    /// Bytes read from the source.
    pub bytes_read: u64,
    /// Rows that the walk handed out.
    pub rows: u64,
    /// Whether some tables were passed over because others, that were shown before, have some of their bytes.
    pub overlaps: bool,
}

impl Run {
    /// Whether another run said the same, whatever it cost.
    pub fn says_as(&self, other: &Self) -> bool {
        self.out == other.out
            && self.findings == other.findings
            && (self.complete, self.rows) == (other.complete, other.rows)
    }
}

/// Opens the source and writes one report; `None` where it is not a qcow2 image.
///
/// # Panics
/// Where writing to memory fails, or the image cannot be opened for another reason than its magic or the source.
pub fn run<R: ReadAt + Sync>(source: R, format: Format, limits: Limits) -> Option<Run> {
    let image = match Image::open(source, limits) {
        Ok(image) => image,
        Err(Error::NotQcow2 { .. } | Error::Io { .. } | Error::Budget { .. }) => return None,
        Err(error) => panic!("an image was not opened: {error}"),
    };
    let subject = Subject { path: b"image", len: image.file_len() };
    let mut out = Vec::new();
    let mut seen = Seen::default();
    let written = write(&image, format, &subject, &mut out, &mut seen);
    let (findings, complete) = written.unwrap_or_else(|error| panic!("memory could not be written: {error}"));
    let Seen { rows, overlaps } = seen;
    Some(Run { format, out, findings, complete, bytes_read: image.bytes_read(), rows, overlaps })
}

fn write<R: ReadAt + Sync>(
    image: &Image<R>,
    format: Format,
    subject: &Subject<'_>,
    out: &mut Vec<u8>,
    seen: &mut Seen,
) -> io::Result<(Vec<Finding>, bool)> {
    if format.is_of_guest() {
        return Ok((Vec::new(), guest::write(image, format, subject, out)?));
    }
    let mut report = Report::new(out, format.written(), u64::MAX);
    let options = Options { hex: format == Format::Hex, ..Options::default() };
    let summary = match format {
        Format::Walk => report::dump(image, subject, &options, &mut Watching { sink: Silent, seen })?,
        Format::Text | Format::Hex | Format::Json | Format::JsonLines => {
            report::dump(image, subject, &options, &mut Watching { sink: report, seen })?
        }
        Format::InfoText | Format::InfoJson => {
            let info = InfoReport { subject: *subject, offset: 0, now: None, sandbox: "none" };
            let complete = report::write_info(image, &info, &mut report)?;
            return Ok((Vec::new(), complete));
        }
        Format::CheckText | Format::CheckJson => return check(image, format, subject, &mut report),
        _ => return audited(image, format, subject, &mut report),
    };
    Ok((summary.findings.iter().cloned().collect(), summary.complete))
}

fn check<R: ReadAt>(
    image: &Image<R>,
    format: Format,
    subject: &Subject<'_>,
    sink: &mut impl Sink,
) -> io::Result<(Vec<Finding>, bool)> {
    let is_json = format == Format::CheckJson;
    let options = CheckOptions { each: is_json, deep: is_json.then_some(NonZero::<usize>::MIN), now: None };
    let report = CheckReport { subject: *subject, options, as_qemu: true };
    let (checked, findings) = report::write_check(image, &report, sink, &mut |_| ())?;
    let is_sure = !matches!(checked.verdict, Verdict::NotClosed | Verdict::Leaks | Verdict::Clean);
    assert!(checked.complete || is_sure, "a check that was cut says {:?}", checked.verdict);
    Ok((findings.iter().cloned().collect(), checked.complete))
}

/// The audit by the strictest policy as JSON, and by the mildest as text.
fn audited<R: ReadAt + Sync>(
    image: &Image<R>,
    format: Format,
    subject: &Subject<'_>,
    sink: &mut impl Sink,
) -> io::Result<(Vec<Finding>, bool)> {
    let options = AuditOptions { path: Some(b"/images/image".to_vec()), ..AuditOptions::default() };
    let is_json = format == Format::AuditJson;
    let policy = if is_json { Policy::upload() } else { Policy::forensic() };
    let audit = audit(image, &policy, &options);
    let is_accepted = audit.decision == Decision::Accept;
    assert_eq!(is_accepted, audit.exit_code() == 0, "a decision and its exit code");
    assert_eq!(is_accepted, audit.reasons.is_empty(), "a decision and its reasons");
    assert!(is_json || is_accepted == audit.complete, "what could be judged is no evidence against it");
    assert!(audit.complete || !is_accepted, "an audit that was cut accepts");
    report::write_audit(&audit, subject, sink)?;
    Ok((audit.findings.iter().cloned().collect(), audit.complete))
}

/// A sink that writes nothing.
struct Silent;

impl Sink for Silent {}

/// What passed a sink.
#[derive(Default)]
struct Seen {
    rows: u64,
    overlaps: bool,
}

/// A sink that keeps account of what it passes on.
struct Watching<'a, S> {
    sink: S,
    seen: &'a mut Seen,
}

impl<S: Sink> Sink for Watching<'_, S> {
    fn begin(&mut self, shape: &'static Shape, subject: Option<&Subject<'_>>) -> io::Result<()> {
        self.sink.begin(shape, subject)
    }

    fn facts<T: Serialize>(&mut self, facts: &T) -> io::Result<()> {
        self.sink.facts(facts)
    }

    fn totals<T: Serialize>(&mut self, facts: &T) -> io::Result<()> {
        self.sink.totals(facts)
    }

    fn text(&mut self, write: impl FnOnce(&mut dyn Write, bool) -> io::Result<()>) -> io::Result<()> {
        self.sink.text(write)
    }

    fn section(&mut self, section: Section) -> io::Result<()> {
        self.sink.section(section)
    }

    fn heading(&mut self, heading: &Heading<'_>) -> io::Result<()> {
        self.seen.rows = self.seen.rows.saturating_add(1);
        self.sink.heading(heading)
    }

    fn row(&mut self, row: &Row<'_>) -> io::Result<()> {
        self.seen.rows = self.seen.rows.saturating_add(1);
        self.seen.overlaps |= row.details.iter().any(|detail| detail.key == "overlaps");
        self.sink.row(row)
    }

    fn bytes(&mut self, at: HostOffset, bytes: &[u8], more: bool) -> io::Result<()> {
        self.sink.bytes(at, bytes, more)
    }

    fn end_section(&mut self, section: Section) -> io::Result<()> {
        self.sink.end_section(section)
    }

    fn findings(&mut self, findings: &Findings) -> io::Result<()> {
        self.sink.findings(findings)
    }

    fn finish(&mut self) -> io::Result<()> {
        self.sink.finish()
    }
}
