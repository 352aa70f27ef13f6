//! The rows of the tables: an entry each, but for those that are empty or behind the end of the file. A table that
//! several places share is shown once.

use std::io;

use super::Dumper;

use crate::format::bitmap::{BitmapData, BitmapTableEntry};
use crate::format::mapping::{L1Entry, L2Entry, Mapping};
use crate::format::{Style, part};
use crate::image::{Earlier, Entry, RefcountRun, Section, Table, TableKind};
use crate::report::row::{Context, Detail, Label, Row};
use crate::report::sink::Sink;
use crate::report::value::Value;
use crate::source::ReadAt;
use crate::units::{HostOffset, Tree, to_u64};

/// Why entries are not shown that the file does not hold.
const BEHIND_THE_END: &str = "behind-the-end-of-the-file";

/// Which rows of a table were written.
#[derive(Debug, Default)]
pub(super) struct TableRows {
    /// The first entry that no row tells of.
    next: u64,
    shared: Option<Shared>,
}

/// A run of L1 entries whose L2 tables were shown with another tree, or in another place of this one.
#[derive(Debug)]
struct Shared {
    l1: HostOffset,
    tree: Tree,
    first: u64,
    last: u64,
    /// Where the first one was shown.
    other: Tree,
    other_first: u64,
    /// Whether they are the very tables, and not others that overlap them.
    same: bool,
}

impl TableKind {
    /// What rows call its entries.
    const fn label(self) -> &'static str {
        match self {
            Self::Refcounts => "refcount_table",
            Self::RefcountBlock(_) => "refcount",
            Self::L1(_) => "L1",
            Self::L2 { .. } => "L2",
            Self::Bitmap { .. } => "bitmap_table",
        }
    }

    /// What an entry of zeros means.
    const fn empty(self) -> &'static str {
        match self {
            Self::Bitmap { .. } => "all-zeroes",
            Self::RefcountBlock(_) => "zero",
            _ => "unallocated",
        }
    }

    fn context(self) -> Context {
        let (block, l1_index) = match self {
            Self::RefcountBlock(block) => (Some(block), None),
            Self::L2 { l1_index, .. } => (None, Some(l1_index)),
            _ => (None, None),
        };
        Context { tree: self.tree(), block, l1_index, ..Context::default() }
    }
}

impl<R: ReadAt, S: Sink> Dumper<'_, R, S> {
    pub(super) fn table_begins(&mut self, table: &Table) -> io::Result<()> {
        self.shared_ends()?;
        self.table.next = 0;
        let (title, details) = match table.kind {
            TableKind::Refcounts => ("refcount table", None),
            TableKind::RefcountBlock(block) => {
                let first =
                    self.image.refcount_runs(block, table.span.at).and_then(|runs| runs.host_offset(0));
                ("refcount block", Some(host_offset(first)))
            }
            TableKind::L1(_) => ("L1 table", None),
            TableKind::L2 { l1_index, .. } => ("L2 table", Some(self.guest_offset(l1_index))),
            // Its directory entry is the heading.
            TableKind::Bitmap { .. } => return Ok(()),
        };
        self.heading(table.span.at, title, table.kind.context(), details.as_slice())
    }

    pub(super) fn table_ends(&mut self, table: &Table, passed: u64) -> io::Result<()> {
        // Of a refcount block nothing is said that the file does not hold.
        if let TableKind::RefcountBlock(_) = table.kind {
            return self.hex(table.span);
        }
        self.empty(table, passed)?;
        let behind = table.entry_count().saturating_sub(passed);
        self.skip(table.kind.label(), (passed, behind), table.entry_at(passed), BEHIND_THE_END)?;
        self.hex(table.span)
    }

    /// Says of the entries up to this one that they are left out because they are empty.
    fn empty(&mut self, table: &Table, end: u64) -> io::Result<()> {
        let first = std::mem::replace(&mut self.table.next, end);
        let count = end.saturating_sub(first);
        self.skip(table.kind.label(), (first, count), table.entry_at(first), table.kind.empty())
    }

    pub(super) fn entry(&mut self, table: &Table, entry: &Entry) -> io::Result<()> {
        self.empty(table, entry.index)?;
        self.table.next = entry.index.saturating_add(1);
        match table.kind {
            TableKind::L1(_) => self.l1_entry(table, entry),
            TableKind::L2 { l1_index, .. } => self.l2_entry(table, l1_index, entry),
            TableKind::Bitmap { .. } => self.bitmap_entry(table, entry),
            TableKind::Refcounts | TableKind::RefcountBlock(_) => {
                self.entry_row(table, entry, &[index(entry)])
            }
        }
    }

    fn entry_row(&mut self, table: &Table, entry: &Entry, details: &[Detail<'_>]) -> io::Result<()> {
        let label = Label::Entry(table.kind.label(), entry.index);
        let row = Row::remark(label, entry.at, table.entry_len, details);
        self.row(table.kind.structure(), part::ENTRY, Row { value: Value::Entry(entry.raw), ..row })
    }

    fn l1_entry(&mut self, table: &Table, entry: &Entry) -> io::Result<()> {
        let l1 = L1Entry(entry.raw);
        let details = [
            index(entry),
            self.guest_offset(entry.index),
            Detail::new("l2_offset", Value::Offset(l1.l2_offset().0)),
            Detail::new("copied", Value::Flag(l1.copied())),
        ];
        self.entry_row(table, entry, &details)
    }

    fn l2_entry(&mut self, table: &Table, l1_index: u64, entry: &Entry) -> io::Result<()> {
        let Some(geometry) = self.image.geometry() else { return Ok(()) };
        let l2 = L2Entry(entry.raw);
        let (kind, host, len) = match self.image.mapping(geometry, l2) {
            Mapping::Unallocated => ("unallocated", None, None),
            Mapping::Zero => ("zero", None, None),
            Mapping::ZeroAllocated(at) => ("zero-allocated", Some(at), None),
            Mapping::Data(at) => ("data", Some(at), None),
            Mapping::Compressed(stream) => ("compressed", Some(stream.at), Some(stream.len)),
        };
        let guest = geometry.guest_offset(l1_index, entry.index);
        let all = [
            Some(index(entry)),
            guest.map(|guest| Detail::new("guest_offset", Value::Offset(guest.0))),
            Some(Detail::new("kind", Value::Word(kind))),
            host.map(|host| Detail::new("host_offset", Value::Offset(host.0))),
            len.map(|len| Detail::new("compressed_length", Value::Number(len, Style::Number))),
            Some(Detail::new("copied", Value::Flag(l2.copied()))),
            entry.bitmap.map(|bitmap| Detail::new("bitmap", Value::Entry(bitmap.0))),
            entry.bitmap.map(|bitmap| Detail::new("subclusters", Value::Subclusters(bitmap))),
        ];
        let mut details = [Detail::new("index", Value::None); 8];
        let mut count = 0_usize;
        for (to, detail) in details.iter_mut().zip(all.into_iter().flatten()) {
            (*to, count) = (detail, count.saturating_add(1));
        }
        self.entry_row(table, entry, details.get(..count).unwrap_or_default())
    }

    fn bitmap_entry(&mut self, table: &Table, entry: &Entry) -> io::Result<()> {
        let (kind, host) = match BitmapTableEntry(entry.raw).data() {
            BitmapData::Zeroes => ("all-zeroes", None),
            BitmapData::Ones => ("all-ones", None),
            BitmapData::Serialized(host) => ("serialized", Some(host)),
        };
        let details = [index(entry), Detail::new("kind", Value::Word(kind)), host_offset(host)];
        self.entry_row(table, entry, &details)
    }

    /// Equal neighbours of a refcount block in one row.
    pub(super) fn refcounts(&mut self, block: &Table, run: &RefcountRun) -> io::Result<()> {
        let label = block.kind.label();
        if run.value == 0 {
            return self.skip(label, (run.index, run.count), run.at.at, block.kind.empty());
        }
        let details = [
            Detail::new("index", Value::Number(run.index, Style::Number)),
            Detail::new("count", Value::Number(run.count, Style::Number)),
            host_offset(run.host_offset),
        ];
        let last = run.index.saturating_add(run.count.saturating_sub(1));
        let row = Row::remark(Label::Entries(label, run.index, last), run.at.at, run.at.len, &details);
        let value = Value::Number(run.value, Style::Number);
        self.row(block.kind.structure(), part::ENTRY, Row { value, ..row })
    }

    /// Where the guest range of an L1 entry starts.
    fn guest_offset(&self, l1_index: u64) -> Detail<'static> {
        let guest = self.image.geometry().and_then(|geometry| geometry.l1_guest_offset(l1_index));
        Detail::new("guest_offset", guest.map_or(Value::None, |guest| Value::Offset(guest.0)))
    }
}

/// What was shown before.
impl<R: ReadAt, S: Sink> Dumper<'_, R, S> {
    /// Says which table was shown that has all or some of this one's bytes.
    pub(super) fn shared(&mut self, table: &Table, earlier: Earlier) -> io::Result<()> {
        let place = Value::Number(earlier.index, Style::Number);
        let (title, label, other) = match (table.kind, earlier.tree) {
            (TableKind::L2 { tree, l1_index }, Some(other)) => {
                return self.shared_l2(Shared {
                    l1: tree.l1.at,
                    tree: tree.l1.tree,
                    first: l1_index,
                    last: l1_index,
                    other,
                    other_first: earlier.index,
                    same: earlier.is_same,
                });
            }
            (TableKind::RefcountBlock(_), _) => ("refcount block", "refcount", place),
            (TableKind::Bitmap { .. }, _) => ("", table.kind.label(), place),
            (_, tree) => (self.l1_title(), "L1", tree.map_or(Value::None, Value::Tree)),
        };
        self.shared_ends()?;
        if !title.is_empty() {
            self.heading(table.span.at, title, table.kind.context(), &[])?;
        }
        let details = [Detail::new(if earlier.is_same { "same_as" } else { "overlaps" }, other)];
        self.sink.row(&Row::remark(Label::Field(label), table.span.at, 0, &details))
    }

    /// What the L1 table at hand stands for in this section.
    fn l1_title(&self) -> &'static str {
        if self.section == Section::L2 { "L2 tables" } else { "L1 table" }
    }

    /// Takes one more table, if it is shared with the same tree and as far behind the first one there as here.
    fn shared_l2(&mut self, next: Shared) -> io::Result<()> {
        if let Some(run) = &mut self.table.shared {
            let distance = next.first.saturating_sub(run.first);
            let goes_on = (next.tree, next.other, next.same) == (run.tree, run.other, run.same)
                && next.other_first == run.other_first.saturating_add(distance);
            if goes_on {
                run.last = next.last;
                return Ok(());
            }
        }
        self.shared_ends()?;
        self.table.shared = Some(next);
        Ok(())
    }

    /// Says where the L2 tables were shown that came last.
    pub(super) fn shared_ends(&mut self) -> io::Result<()> {
        let Some(run) = self.table.shared.take() else { return Ok(()) };
        let context = Context { tree: Some(run.tree), ..Context::default() };
        self.heading(run.l1, "L2 tables", context, &[])?;
        let details = [
            Detail::new(if run.same { "same_as" } else { "overlaps" }, Value::Tree(run.other)),
            Detail::new("of_l1_index", Value::Number(run.other_first, Style::Number)),
        ];
        self.sink.row(&Row::remark(Label::Entries("L1", run.first, run.last), run.l1, 0, &details))
    }

    /// Says that tables which trees share may have come more than once.
    pub(super) fn forgot_tables(&mut self) -> io::Result<()> {
        let limit = to_u64(self.image.limits().remembered_tables);
        let details = [Detail::new("remembered_tables", Value::Number(limit, Style::Number))];
        let label = Label::Field("shared tables may have been shown more than once");
        self.sink.row(&Row::remark(label, HostOffset(0), 0, &details))
    }
}

/// Where what a row tells of starts, if 64 bits can say it.
fn host_offset(at: Option<HostOffset>) -> Detail<'static> {
    Detail::new("host_offset", at.map_or(Value::None, |at| Value::Offset(at.0)))
}

fn index(entry: &Entry) -> Detail<'static> {
    Detail::new("index", Value::Number(entry.index, Style::Number))
}
