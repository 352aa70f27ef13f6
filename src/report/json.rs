//! The dump as one JSON document, written as it goes: an array for each section, the findings last.

use std::io::{self, Write};

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::document::Document;
use super::row::{Context, Heading, Row, Sink, Summary};
use super::subject::Subject;
use super::value::{Value, unclean};
use crate::finding::Findings;
use crate::finding::{Evidence, Finding, Rule};
use crate::image::Section;
use crate::units::{HostOffset, to_u64};

/// Writes the dump as JSON.
#[derive(Debug)]
pub struct JsonSink<W> {
    document: Document<W>,
    context: Context,
}

impl<W: Write> JsonSink<W> {
    /// Into `out`, under this schema name.
    ///
    /// # Errors
    /// Where the start cannot be written.
    pub fn new(out: W, schema: &str, subject: &Subject<'_>) -> io::Result<Self> {
        let mut document = Document::new(out);
        document.field("schema", schema)?;
        document.field("file", subject)?;
        Ok(Self { document, context: Context::default() })
    }
}

impl<W: Write> Sink for JsonSink<W> {
    fn begin(&mut self, section: Section) -> io::Result<()> {
        self.context = Context::default();
        self.document.begin_array(section.as_str())
    }

    fn heading(&mut self, heading: &Heading<'_>) -> io::Result<()> {
        self.context = heading.context;
        Ok(())
    }

    fn row(&mut self, row: &Row<'_>) -> io::Result<()> {
        self.document.item(&RowItem { section: None, context: self.context, row })
    }

    fn bytes(&mut self, at: HostOffset, bytes: &[u8], _: bool) -> io::Result<()> {
        self.row(&bytes_row(at, bytes))
    }

    fn end(&mut self, _: Section) -> io::Result<()> {
        self.document.end_array()
    }

    fn finish(&mut self, summary: &Summary) -> io::Result<()> {
        self.document.field("complete", &summary.complete)?;
        write_findings(&mut self.document, &summary.findings)?;
        self.document.finish()
    }
}

/// The findings as the array that every document has.
pub(super) fn write_findings<W: Write>(document: &mut Document<W>, findings: &Findings) -> io::Result<()> {
    document.begin_array("findings")?;
    for finding in findings.iter() {
        document.item(&FindingItem { section: None, finding })?;
    }
    document.end_array()
}

/// The raw bytes of a structure as a row of their own.
pub(super) fn bytes_row(at: HostOffset, bytes: &[u8]) -> Row<'_> {
    let label = super::row::Label::Field("bytes");
    Row { value: Value::Bytes(bytes), ..Row::remark(label, at, to_u64(bytes.len()), &[]) }
}

/// A row as a JSON object; `section` is its `type` in JSON Lines.
pub(super) struct RowItem<'a> {
    pub(super) section: Option<&'static str>,
    pub(super) context: Context,
    pub(super) row: &'a Row<'a>,
}

impl Serialize for RowItem<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Row { label, at, width, value, details, valid, rules } = self.row;
        let mut map = serializer.serialize_map(None)?;
        if let Some(section) = self.section {
            map.serialize_entry("type", section)?;
        }
        map.serialize_entry("name", label)?;
        map.serialize_entry("offset", &at.0)?;
        map.serialize_entry("width", width)?;
        map.serialize_entry("value", value)?;
        if let Value::Text(name) = value
            && let Some(hex) = unclean(name)
        {
            map.serialize_entry("value_hex", &hex)?;
        }
        map.serialize_entry("valid", valid)?;
        map.serialize_entry("rules", &RuleCodes(rules))?;
        for detail in self.context.details() {
            map.serialize_entry(detail.key, &detail.value)?;
        }
        for detail in *details {
            map.serialize_entry(detail.key, &detail.value)?;
        }
        map.end()
    }
}

/// The rules of a row, as their codes.
struct RuleCodes<'a>(&'a [&'static Rule]);

impl Serialize for RuleCodes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.0.iter().map(|rule| rule.code))
    }
}

/// A finding as a JSON object; `section` is its `type` in JSON Lines.
pub(super) struct FindingItem<'a> {
    pub(super) section: Option<&'static str>,
    pub(super) finding: &'a Finding,
}

/// What a finding shows.
#[derive(Serialize)]
struct EvidenceItem<'a> {
    found: &'a Evidence,
    wanted: &'a Evidence,
}

impl Serialize for FindingItem<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let finding = self.finding;
        let mut map = serializer.serialize_map(None)?;
        if let Some(section) = self.section {
            map.serialize_entry("type", section)?;
        }
        map.serialize_entry("rule", finding.rule.code)?;
        map.serialize_entry("slug", finding.rule.slug)?;
        map.serialize_entry("severity", &finding.severity)?;
        map.serialize_entry("structure", &finding.structure)?;
        map.serialize_entry("offset", &finding.at.map(|at| at.at))?;
        map.serialize_entry("length", &finding.at.map(|at| at.len))?;
        map.serialize_entry("message", &finding.message())?;
        map.serialize_entry("evidence", &EvidenceItem { found: &finding.found, wanted: &finding.wanted })?;
        if finding.qemu_limit {
            map.serialize_entry("limit", "qemu")?;
        }
        map.serialize_entry("guest", finding.guest.as_slice())?;
        map.serialize_entry("consequences", &finding.consequences)?;
        map.end()
    }
}
