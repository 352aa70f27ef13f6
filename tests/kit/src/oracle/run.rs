//! One use of the reader, and all that an oracle compares of it.

use std::io;
use std::num::NonZero;

use qcow2_inspect::audit::{AuditOptions, Decision, Policy, audit};
use qcow2_inspect::check::{CheckOptions, Verdict};
use qcow2_inspect::finding::Finding;
use qcow2_inspect::report::{
    self, CheckFormat, CheckReport, Heading, JsonSink, JsonlSink, Options, Row, Section, Sink, Subject,
    Summary, TextOptions, TextSink,
};
use qcow2_inspect::source::ReadAt;
use qcow2_inspect::units::HostOffset;
use qcow2_inspect::{Error, Image, Limits};

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
    let options = Options { hex: format == Format::Hex, ..Options::default() };
    let schema = "qcow2-inspect/dump/1";
    let summary = match format {
        Format::Walk => dump(image, &options, Silent, seen),
        Format::Text | Format::Hex => {
            dump(image, &options, TextSink::new(out, TextOptions::default(), subject)?, seen)
        }
        Format::Json => dump(image, &options, JsonSink::new(out, schema, subject)?, seen),
        Format::JsonLines => dump(image, &options, JsonlSink::new(out, schema, subject)?, seen),
        Format::InfoText => {
            return Ok((Vec::new(), report::write_info_text(out, image, subject, None, false)?));
        }
        Format::InfoJson => {
            return Ok((Vec::new(), report::write_info_json(out, image, subject, None, "none")?));
        }
        Format::CheckText | Format::CheckJson => return check(image, format, subject, out),
        Format::AuditText | Format::AuditJson => return audited(image, format, subject, out),
        _ => return Ok((Vec::new(), guest::write(image, format, subject, out)?)),
    }?;
    Ok((summary.findings.iter().cloned().collect(), summary.complete))
}

fn check<R: ReadAt>(
    image: &Image<R>,
    format: Format,
    subject: &Subject<'_>,
    out: &mut Vec<u8>,
) -> io::Result<(Vec<Finding>, bool)> {
    let is_json = format == Format::CheckJson;
    let options = CheckOptions { each: is_json, deep: is_json.then_some(NonZero::<usize>::MIN), now: None };
    let format = if is_json { CheckFormat::Json } else { CheckFormat::Text { color: false } };
    let report = CheckReport { subject: *subject, options, format, as_qemu: true };
    let (checked, findings) = report::write_check(out, image, &report, &mut |_| ())?;
    let is_sure = checked.verdict != Verdict::Clean && checked.verdict != Verdict::Leaks;
    assert!(checked.complete || is_sure, "a check that was cut says {:?}", checked.verdict);
    Ok((findings.iter().cloned().collect(), checked.complete))
}

/// The audit by the strictest policy as JSON, and by the mildest as text.
fn audited<R: ReadAt + Sync>(
    image: &Image<R>,
    format: Format,
    subject: &Subject<'_>,
    out: &mut Vec<u8>,
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
    match is_json {
        true => report::write_audit_json(out, &audit, subject)?,
        false => report::write_audit_text(out, &audit, subject, false)?,
    }
    Ok((audit.findings.iter().cloned().collect(), audit.complete))
}

fn dump<R: ReadAt, S: Sink>(
    image: &Image<R>,
    options: &Options,
    sink: S,
    seen: &mut Seen,
) -> io::Result<Summary> {
    report::dump(image, options, &mut Watching { sink, seen })
}

/// A sink that writes nothing.
struct Silent;

impl Sink for Silent {
    fn begin(&mut self, _: Section) -> io::Result<()> {
        Ok(())
    }

    fn heading(&mut self, _: &Heading<'_>) -> io::Result<()> {
        Ok(())
    }

    fn row(&mut self, _: &Row<'_>) -> io::Result<()> {
        Ok(())
    }

    fn bytes(&mut self, _: HostOffset, _: &[u8], _: bool) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self, _: Section) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, _: &Summary) -> io::Result<()> {
        Ok(())
    }
}

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
    fn begin(&mut self, section: Section) -> io::Result<()> {
        self.sink.begin(section)
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

    fn end(&mut self, section: Section) -> io::Result<()> {
        self.sink.end(section)
    }

    fn finish(&mut self, summary: &Summary) -> io::Result<()> {
        self.sink.finish(summary)
    }
}
