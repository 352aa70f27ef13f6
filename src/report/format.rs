//! A report in a format that is chosen while the program runs.

use std::io::{self, Write};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::Serialize;

use super::json::JsonSink;
use super::jsonl::JsonlSink;
use super::limited::Limited;
use super::row::{Heading, Row};
use super::sarif::SarifSink;
use super::schema::{List, Shape, keys};
use super::sink::Sink;
use super::subject::{Named, Subject};
use super::text::{TextOptions, TextSink};
use crate::finding::{Finding, Findings};
use crate::image::{Section, SnapshotNames};
use crate::units::HostOffset;

/// A format of reports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// For people.
    Text(TextOptions),
    /// One JSON document.
    Json,
    /// One JSON object a line: the first names the schema and the file, the last is a summary.
    JsonLines,
    /// The findings, as SARIF 2.1.0.
    Sarif,
}

/// A sink of any format.
#[derive(Debug)]
pub enum Report<W: Write> {
    /// See [`Format::Text`].
    Text(TextSink<Limited<W>>),
    /// See [`Format::Json`].
    Json(JsonSink<W>),
    /// See [`Format::JsonLines`].
    JsonLines(JsonlSink<W>),
    /// See [`Format::Sarif`].
    Sarif(SarifSink<W>),
}

impl<W: Write> Report<W> {
    /// A report into `out`, of about `limit` bytes at most: text ends there, and the others leave out further items, so that
    /// what is written can still be parsed.
    pub fn new(out: W, format: Format, limit: u64) -> Self {
        match format {
            Format::Text(options) => Self::Text(TextSink::new(Limited::new(out, limit), options)),
            Format::Json => Self::Json(JsonSink::within(out, limit)),
            Format::JsonLines => Self::JsonLines(JsonlSink::within(out, limit)),
            Format::Sarif => Self::Sarif(SarifSink::within(out, limit)),
        }
    }
}

/// Hands an event to the sink that there is.
macro_rules! to_sink {
    ($report:expr, $sink:ident => $event:expr) => {
        match $report {
            Report::Text($sink) => $event,
            Report::Json($sink) => $event,
            Report::JsonLines($sink) => $event,
            Report::Sarif($sink) => $event,
        }
    };
}

impl<W: Write> Sink for Report<W> {
    fn begin(&mut self, shape: &'static Shape, subject: Option<&Subject<'_>>) -> io::Result<()> {
        to_sink!(self, sink => sink.begin(shape, subject))
    }

    fn names(&mut self, names: &Arc<SnapshotNames>) -> io::Result<()> {
        to_sink!(self, sink => sink.names(names))
    }

    fn head<T: Serialize>(&mut self, facts: &T) -> io::Result<()> {
        to_sink!(self, sink => sink.head(facts))
    }

    fn facts<T: Serialize>(&mut self, facts: &T) -> io::Result<()> {
        to_sink!(self, sink => sink.facts(facts))
    }

    fn totals<T: Serialize>(&mut self, facts: &T) -> io::Result<()> {
        to_sink!(self, sink => sink.totals(facts))
    }

    fn text(&mut self, write: impl FnOnce(&mut dyn Write, bool) -> io::Result<()>) -> io::Result<()> {
        to_sink!(self, sink => sink.text(write))
    }

    fn list(&mut self, list: List) -> io::Result<()> {
        to_sink!(self, sink => sink.list(list))
    }

    #[inline]
    fn item<T: Serialize>(&mut self, item: &T) -> io::Result<()> {
        to_sink!(self, sink => sink.item(item))
    }

    fn open<T: Serialize>(&mut self, item: &T, list: List) -> io::Result<()> {
        to_sink!(self, sink => sink.open(item, list))
    }

    fn close<T: Serialize>(&mut self, rest: &T) -> io::Result<()> {
        to_sink!(self, sink => sink.close(rest))
    }

    fn end(&mut self) -> io::Result<()> {
        to_sink!(self, sink => sink.end())
    }

    fn section(&mut self, section: Section) -> io::Result<()> {
        to_sink!(self, sink => sink.section(section))
    }

    fn heading(&mut self, heading: &Heading<'_>) -> io::Result<()> {
        to_sink!(self, sink => sink.heading(heading))
    }

    #[inline]
    fn row(&mut self, row: &Row<'_>) -> io::Result<()> {
        to_sink!(self, sink => sink.row(row))
    }

    fn bytes(&mut self, at: HostOffset, bytes: &[u8], more: bool) -> io::Result<()> {
        to_sink!(self, sink => sink.bytes(at, bytes, more))
    }

    fn end_section(&mut self, section: Section) -> io::Result<()> {
        to_sink!(self, sink => sink.end_section(section))
    }

    fn is_following(&self) -> bool {
        to_sink!(self, sink => sink.is_following())
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        to_sink!(self, sink => sink.finding(finding))
    }

    fn findings(&mut self, findings: &Findings) -> io::Result<()> {
        to_sink!(self, sink => sink.findings(findings))
    }

    fn is_cut(&self) -> bool {
        to_sink!(self, sink => sink.is_cut())
    }

    fn finish(&mut self) -> io::Result<()> {
        to_sink!(self, sink => sink.finish())
    }
}

/// The report on a file that there is no report on.
pub(super) const ERROR: Shape = Shape::line("qcow2-inspect/error/1", &[keys::<Refusal<'static>>()]);

#[derive(Serialize, JsonSchema)]
struct Refusal<'a> {
    schema: &'static str,
    file: Named<'a>,
    /// Why there is no report.
    error: &'a str,
}

/// Writes why there is no report on the file of this path: as one line of JSON, or as a run without results. Text says
/// nothing: people are told elsewhere.
///
/// # Errors
/// Only what `out` returns.
pub fn write_error(mut out: impl Write, format: Format, path: &[u8], error: &str) -> io::Result<()> {
    let schema = ERROR.schema;
    match format {
        Format::Text(_) => Ok(()),
        Format::Json | Format::JsonLines => {
            serde_json::to_writer(&mut out, &Refusal { schema, file: Named::new(path), error })?;
            writeln!(out)?;
            out.flush()
        }
        Format::Sarif => {
            let mut sink = SarifSink::new(out);
            sink.begin(&ERROR, Some(&Subject { path, len: 0 }))?;
            sink.refuse(error);
            sink.finish()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_a_line_of_json() {
        let mut error = Vec::new();
        write_error(&mut error, Format::Json, b"a\n", "no").unwrap();
        let wanted =
            r#"{"schema":"qcow2-inspect/error/1","file":{"path":"a\\x0a","path_hex":"610a"},"error":"no"}"#;
        assert_eq!(String::from_utf8(error).unwrap(), format!("{wanted}\n"));
    }
}
