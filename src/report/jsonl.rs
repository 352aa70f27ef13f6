//! A report as JSON Lines: an object a line, each with its `type`. The first names the schema and the file, the last is a
//! summary with the facts.

use std::io::{self, Write};
use std::sync::Arc;

use serde::Serialize;

use super::document::write_entries;
use super::items::{FindingItem, RowItem, Start, bytes_row};
use super::limited::Roomy;
use super::row::{Context, Heading, Row};
use super::schema::{List, Shape};
use super::sink::Sink;
use super::subject::Subject;
use crate::finding::{Finding, Findings};
use crate::image::SnapshotNames;
use crate::units::HostOffset;

/// Writes a report as JSON Lines.
#[derive(Debug)]
pub struct JsonlSink<W> {
    out: Roomy<W>,
    context: Context,
    names: Arc<SnapshotNames>,
    /// The lists at hand: one, or one in an item of another.
    lists: Vec<List>,
    /// Whether the first line may still get facts.
    is_first: bool,
    /// The entries of the last line.
    summary: Vec<u8>,
    /// Whether the item at hand was left out as a whole.
    is_skipped: bool,
    /// Whether findings were told as they came.
    has_followed: bool,
}

impl<W: Write> JsonlSink<W> {
    /// Into `out`.
    pub fn new(out: W) -> Self {
        Self::within(out, u64::MAX)
    }

    /// Into `out`, without further items where `limit` bytes were written.
    pub(super) fn within(out: W, limit: u64) -> Self {
        Self {
            out: Roomy::new(out, limit),
            context: Context::default(),
            names: Arc::default(),
            lists: Vec::new(),
            is_first: false,
            summary: Vec::new(),
            is_skipped: false,
            has_followed: false,
        }
    }

    fn line<T: Serialize>(&mut self, r#type: &str, item: &T) -> io::Result<()> {
        self.end_first()?;
        begin(&mut self.out, r#type)?;
        write_entries(&mut self.out, item, b",", &mut false)?;
        self.out.write_all(b"}\n")
    }

    /// Ends the first line.
    #[inline]
    fn end_first(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.is_first) { self.out.write_all(b"}\n") } else { Ok(()) }
    }
}

/// Begins a line.
fn begin(out: &mut impl Write, r#type: &str) -> io::Result<()> {
    for part in ["{\"type\":\"", r#type, "\""] {
        out.write_all(part.as_bytes())?;
    }
    Ok(())
}

impl<W: Write> Sink for JsonlSink<W> {
    fn begin(&mut self, shape: &'static Shape, file: Option<&Subject<'_>>) -> io::Result<()> {
        self.is_first = true;
        begin(&mut self.out, if file.is_some() { "file" } else { "schema" })?;
        write_entries(&mut self.out, &Start { schema: shape.schema, file }, b",", &mut false)
    }

    fn head<T: Serialize>(&mut self, facts: &T) -> io::Result<()> {
        write_entries(&mut self.out, facts, b",", &mut false)
    }

    fn names(&mut self, names: &Arc<SnapshotNames>) -> io::Result<()> {
        self.names = Arc::clone(names);
        Ok(())
    }

    fn facts<T: Serialize>(&mut self, facts: &T) -> io::Result<()> {
        write_entries(&mut self.summary, facts, b",", &mut false)
    }

    fn totals<T: Serialize>(&mut self, facts: &T) -> io::Result<()> {
        self.facts(facts)
    }

    fn list(&mut self, list: List) -> io::Result<()> {
        self.context = Context::default();
        self.lists.push(list);
        Ok(())
    }

    #[inline]
    fn item<T: Serialize>(&mut self, item: &T) -> io::Result<()> {
        let Some(list) = self.lists.last().filter(|_| self.out.has_room()) else { return Ok(()) };
        self.line(list.item, item)
    }

    fn open<T: Serialize>(&mut self, item: &T, list: List) -> io::Result<()> {
        self.is_skipped = !self.out.has_room();
        self.item(item)?;
        self.list(list)
    }

    fn close<T: Serialize>(&mut self, rest: &T) -> io::Result<()> {
        self.lists.pop();
        match self.lists.last() {
            Some(list) if !std::mem::take(&mut self.is_skipped) => {
                self.line(&format!("{}_end", list.item), rest)
            }
            _ => Ok(()),
        }
    }

    fn end(&mut self) -> io::Result<()> {
        self.lists.pop();
        Ok(())
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

    fn is_following(&self) -> bool {
        true
    }

    fn finding(&mut self, finding: &Finding) -> io::Result<()> {
        self.has_followed = true;
        let names = Arc::clone(&self.names);
        if self.out.has_room() { self.line("finding", &FindingItem::new(finding, &names)) } else { Ok(()) }
    }

    fn findings(&mut self, findings: &Findings) -> io::Result<()> {
        if self.has_followed {
            return Ok(());
        }
        let names = Arc::clone(&self.names);
        findings.iter().try_for_each(|finding| self.line("finding", &FindingItem::new(finding, &names)))
    }

    fn is_cut(&self) -> bool {
        self.out.is_cut
    }

    fn finish(&mut self) -> io::Result<()> {
        self.end_first()?;
        begin(&mut self.out, "summary")?;
        self.out.write_all(&self.summary)?;
        self.out.write_all(b"}\n")?;
        self.out.finish()
    }
}
