//! The dump as JSON Lines: an object a line, each with its `type`, a summary last.

use std::io::{self, Write};

use serde::Serialize;

use super::json::{FindingItem, RowItem, bytes_row};
use super::row::{Context, Heading, Row, Sink, Summary};
use super::subject::Subject;
use crate::finding::Severity;
use crate::image::Section;
use crate::units::HostOffset;

/// Writes the dump as JSON Lines.
#[derive(Debug)]
pub struct JsonlSink<W> {
    out: W,
    context: Context,
    section: Option<Section>,
}

#[derive(Serialize)]
struct Start<'a> {
    r#type: &'static str,
    schema: &'a str,
    file: &'a Subject<'a>,
}

#[derive(Serialize)]
struct End {
    r#type: &'static str,
    complete: bool,
    finding_count: u64,
    worst: Option<Severity>,
}

impl<W: Write> JsonlSink<W> {
    /// Into `out`, under this schema name.
    ///
    /// # Errors
    /// Where the first line cannot be written.
    pub fn new(out: W, schema: &str, subject: &Subject<'_>) -> io::Result<Self> {
        let mut sink = Self { out, context: Context::default(), section: None };
        sink.line(&Start { r#type: "file", schema, file: subject })?;
        Ok(sink)
    }

    fn line(&mut self, item: &impl Serialize) -> io::Result<()> {
        serde_json::to_writer(&mut self.out, item)?;
        self.out.write_all(b"\n")
    }
}

impl<W: Write> Sink for JsonlSink<W> {
    fn begin(&mut self, section: Section) -> io::Result<()> {
        (self.section, self.context) = (Some(section), Context::default());
        Ok(())
    }

    fn heading(&mut self, heading: &Heading<'_>) -> io::Result<()> {
        self.context = heading.context;
        Ok(())
    }

    fn row(&mut self, row: &Row<'_>) -> io::Result<()> {
        let section = self.section.map(Section::as_str);
        let context = self.context;
        self.line(&RowItem { section, context, row })
    }

    fn bytes(&mut self, at: HostOffset, bytes: &[u8], _: bool) -> io::Result<()> {
        self.row(&bytes_row(at, bytes))
    }

    fn end(&mut self, _: Section) -> io::Result<()> {
        Ok(())
    }

    fn finish(&mut self, summary: &Summary) -> io::Result<()> {
        for finding in summary.findings.iter() {
            self.line(&FindingItem { section: Some("finding"), finding })?;
        }
        self.line(&End {
            r#type: "summary",
            complete: summary.complete,
            finding_count: summary.findings.count(),
            worst: summary.findings.worst(),
        })?;
        self.out.flush()
    }
}
