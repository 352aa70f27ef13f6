//! A report as one JSON document, written as it goes.

use std::io::{self, Write};

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

use super::document::Document;
use super::limited::Roomy;
use super::row::{Context, Heading, Row};
use super::sink::{List, Sink};
use super::subject::Subject;
use super::value::{Value, unclean};
use crate::finding::{Evidence, Finding, Findings, Rule};
use crate::units::{HostOffset, to_u64};

/// Writes a report as one JSON document: a key for each fact, an array for each list, the findings last.
#[derive(Debug)]
pub struct JsonSink<W> {
    document: Document<Roomy<W>>,
    context: Context,
    /// Whether the item at hand was left out as a whole.
    is_skipped: bool,
}

/// What every document begins with.
#[derive(Serialize)]
pub(super) struct Start<'a> {
    pub(super) schema: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) file: Option<&'a Subject<'a>>,
}

impl<W: Write> JsonSink<W> {
    /// Into `out`.
    pub fn new(out: W) -> Self {
        Self::within(out, u64::MAX)
    }

    /// Into `out`, without further items where `limit` bytes were written.
    pub(super) fn within(out: W, limit: u64) -> Self {
        Self {
            document: Document::new(Roomy::new(out, limit)),
            context: Context::default(),
            is_skipped: false,
        }
    }
}

impl<W: Write> Sink for JsonSink<W> {
    fn begin(&mut self, schema: &'static str, file: Option<&Subject<'_>>) -> io::Result<()> {
        self.document.begin_object()?;
        self.document.entries(&Start { schema, file })
    }

    fn facts<T: Serialize>(&mut self, facts: &T) -> io::Result<()> {
        self.document.entries(facts)
    }

    fn list(&mut self, list: List) -> io::Result<()> {
        self.context = Context::default();
        self.document.begin_array(list.key)
    }

    #[inline]
    fn item<T: Serialize>(&mut self, item: &T) -> io::Result<()> {
        if self.document.out.has_room() { self.document.item(item) } else { Ok(()) }
    }

    fn open<T: Serialize>(&mut self, item: &T, list: List) -> io::Result<()> {
        self.is_skipped = !self.document.out.has_room();
        if self.is_skipped {
            return Ok(());
        }
        self.document.begin_object()?;
        self.document.entries(item)?;
        self.document.begin_array(list.key)
    }

    fn close<T: Serialize>(&mut self, rest: &T) -> io::Result<()> {
        if std::mem::take(&mut self.is_skipped) {
            return Ok(());
        }
        self.document.end()?;
        self.document.entries(rest)?;
        self.document.end()
    }

    fn end(&mut self) -> io::Result<()> {
        self.document.end()
    }

    fn heading(&mut self, heading: &Heading<'_>) -> io::Result<()> {
        self.context = heading.context;
        Ok(())
    }

    #[inline]
    fn row(&mut self, row: &Row<'_>) -> io::Result<()> {
        self.item(&RowItem { context: self.context, row })
    }

    fn bytes(&mut self, at: HostOffset, bytes: &[u8], _: bool) -> io::Result<()> {
        self.row(&bytes_row(at, bytes))
    }

    fn findings(&mut self, findings: &Findings) -> io::Result<()> {
        self.document.begin_array("findings")?;
        findings.iter().try_for_each(|finding| self.document.item(&FindingItem(finding)))?;
        self.document.end()
    }

    fn is_cut(&self) -> bool {
        self.document.out.is_cut
    }

    fn finish(&mut self) -> io::Result<()> {
        self.document.end()?;
        self.document.out.write_all(b"\n")?;
        self.document.out.finish()
    }
}

/// The raw bytes of a structure as a row of their own.
pub(super) fn bytes_row(at: HostOffset, bytes: &[u8]) -> Row<'_> {
    let label = super::row::Label::Field("bytes");
    Row { value: Value::Bytes(bytes), ..Row::remark(label, at, to_u64(bytes.len()), &[]) }
}

/// A row as a JSON object.
pub(super) struct RowItem<'a> {
    pub(super) context: Context,
    pub(super) row: &'a Row<'a>,
}

impl Serialize for RowItem<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Row { label, at, width, value, details, valid, rules } = self.row;
        let mut map = serializer.serialize_map(None)?;
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

/// A finding as a JSON object.
pub(super) struct FindingItem<'a>(pub(super) &'a Finding);

/// What a finding shows.
#[derive(Serialize)]
struct EvidenceItem<'a> {
    found: &'a Evidence,
    wanted: &'a Evidence,
}

impl Serialize for FindingItem<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let finding = self.0;
        let mut map = serializer.serialize_map(None)?;
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
