//! A report as one JSON document, written as it goes.

use std::io::{self, Write};
use std::sync::Arc;

use serde::Serialize;

use super::document::Document;
use super::items::{FindingItem, RowItem, Start, bytes_row};
use super::limited::Roomy;
use super::row::{Context, Heading, Row};
use super::schema::{List, Shape};
use super::sink::Sink;
use super::subject::Subject;
use crate::finding::Findings;
use crate::image::SnapshotNames;
use crate::units::HostOffset;

/// Writes a report as one JSON document: a key for each fact, an array for each list, the findings last.
#[derive(Debug)]
pub struct JsonSink<W> {
    document: Document<Roomy<W>>,
    context: Context,
    names: Arc<SnapshotNames>,
    /// Whether the item at hand was left out as a whole.
    is_skipped: bool,
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
            names: Arc::default(),
            is_skipped: false,
        }
    }
}

impl<W: Write> Sink for JsonSink<W> {
    fn begin(&mut self, shape: &'static Shape, file: Option<&Subject<'_>>) -> io::Result<()> {
        self.document.begin_object()?;
        self.document.entries(&Start { schema: shape.schema, file })
    }

    fn names(&mut self, names: &Arc<SnapshotNames>) -> io::Result<()> {
        self.names = Arc::clone(names);
        Ok(())
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
        findings
            .iter()
            .try_for_each(|finding| self.document.item(&FindingItem::new(finding, &self.names)))?;
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
