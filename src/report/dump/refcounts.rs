//! The refcount table and its blocks: equal neighbours in one row.

use std::io;

use super::Dumper;
use super::skipped::{BEHIND_THE_END, Empty};
use crate::finding::Structure;
use crate::format::Style;
use crate::format::refcount::RefcountTableEntry;
use crate::image::{RefcountRun, Visited};
use crate::report::row::{Context, Detail, Label, Row, Sink};
use crate::report::value::Value;
use crate::rules::codes::{H34, R03};
use crate::rules::{self, RefcountRules};
use crate::source::ReadAt;
use crate::units::{HostOffset, Span, to_u64};

const TABLE: &str = "refcount_table";

impl<R: ReadAt, S: Sink> Dumper<'_, R, S> {
    pub(super) fn refcounts(&mut self) -> io::Result<()> {
        let image = self.image;
        let Some((table, rules)) = image.refcount_table().zip(RefcountRules::new(image)) else {
            return Ok(());
        };
        self.heading(table.at, "refcount table", Context::default(), &[])?;
        let mut empty = Empty::default();
        let (mut index, mut at) = (0_u64, table.at);
        let mut chunks = image.chunks("the refcount table", table);
        while let Some(chunk) = chunks.next() {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    self.stop(error, Structure::RefcountTable, &H34);
                    break;
                }
            };
            for (entry_at, raw) in chunk.entries() {
                if raw == 0 {
                    empty.add(index, entry_at);
                } else {
                    self.skipped(TABLE, &mut empty)?;
                    rules.table_entry(index, entry_at, RefcountTableEntry(raw), &mut self.found);
                    let details = [Detail::new("index", Value::Number(index, Style::Number))];
                    let row = Row::remark(Label::Entry(TABLE, index), entry_at, 8, &details);
                    self.row(Structure::RefcountTable, "entry", Row { value: Value::Entry(raw), ..row })?;
                    self.settle();
                }
                (index, at) = (index.saturating_add(1), entry_at.saturating_add(8));
            }
        }
        self.skipped(TABLE, &mut empty)?;
        self.skip(TABLE, (index, (table.len / 8).saturating_sub(index)), at, BEHIND_THE_END)?;
        rules::check_refcount_table_cover(image, &mut self.found);
        self.settle();
        self.hex(table)?;
        self.blocks(&rules)
    }

    fn blocks(&mut self, rules: &RefcountRules) -> io::Result<()> {
        let image = self.image;
        let Some((table, geometry)) = image.refcount_table().zip(image.geometry()) else { return Ok(()) };
        let cluster_size = geometry.cluster_size();
        let mut chunks = image.chunks("the refcount table", table);
        let mut shown = Visited::new(image.limits().remembered_tables);
        let mut index = 0_u64;
        while let Some(chunk) = chunks.next() {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    self.stop(error, Structure::RefcountTable, &H34);
                    break;
                }
            };
            for (n, (_, raw)) in (index..).zip(chunk.entries()) {
                let block = Span::new(RefcountTableEntry(raw).block_offset(), cluster_size);
                // Nobody reads refcounts from an unaligned block; the table's row says why.
                if block.at.0 == 0 || !block.at.is_aligned(cluster_size) {
                    continue;
                }
                match shown.first(self.in_file(block), (n, block.at)) {
                    Some(earlier) => self.shared_block(n, block.at, earlier)?,
                    None => self.block(rules, n, block)?,
                }
            }
            index = index.saturating_add(to_u64(chunk.bytes.len()) / 8);
        }
        Ok(())
    }

    /// Says which block was shown that has all or some of this one's bytes.
    fn shared_block(&mut self, index: u64, at: HostOffset, earlier: (u64, HostOffset)) -> io::Result<()> {
        let context = Context { block: Some(index), ..Context::default() };
        self.heading(at, "refcount block", context, &[])?;
        let key = if at == earlier.1 { "same_as" } else { "overlaps" };
        let details = [Detail::new(key, Value::Number(earlier.0, Style::Number))];
        self.sink.row(&Row::remark(Label::Field("refcount"), at, 0, &details))
    }

    fn block(&mut self, rules: &RefcountRules, index: u64, block: Span) -> io::Result<()> {
        let Some(runs) = self.image.refcount_runs(index, block.at) else { return Ok(()) };
        let context = Context { block: Some(index), ..Context::default() };
        let first = Detail::new("host_offset", Value::Offset(runs.host_offset(0).0));
        self.heading(block.at, "refcount block", context, &[first])?;
        for run in runs {
            match run {
                Ok(run) => self.run(rules, &run)?,
                Err(error) => self.stop(error, Structure::RefcountBlock, &R03),
            }
        }
        self.hex(block)
    }

    fn run(&mut self, rules: &RefcountRules, run: &RefcountRun) -> io::Result<()> {
        if run.value == 0 {
            return self.skip("refcount", (run.index, run.count), run.at.at, "zero");
        }
        rules.run(run.at, run.first_cluster, run.count, run.value, &mut self.found);
        let details = [
            Detail::new("index", Value::Number(run.index, Style::Number)),
            Detail::new("count", Value::Number(run.count, Style::Number)),
            Detail::new("host_offset", Value::Offset(run.host_offset.0)),
        ];
        let last = run.index.saturating_add(run.count.saturating_sub(1));
        let row = Row::remark(Label::Entries("refcount", run.index, last), run.at.at, run.at.len, &details);
        self.row(
            Structure::RefcountBlock,
            "entry",
            Row { value: Value::Number(run.value, Style::Number), ..row },
        )?;
        self.settle();
        Ok(())
    }

    /// Says of the empty entries up to here that they are left out.
    pub(super) fn skipped(&mut self, name: &'static str, empty: &mut Empty) -> io::Result<()> {
        let run = std::mem::take(empty);
        self.skip(name, run.range(), run.at(), "unallocated")
    }
}
