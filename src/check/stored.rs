//! What the file has stored of refcounts: the table, its blocks, and which clusters have the refcount one.

use std::collections::HashSet;

use super::context::Context;
use super::counted::Counted;
use super::counts::PAGE_LEN;
use super::lists::judge_sections;
use super::repeated::Repeated;
use super::reporter::Reporter;
use crate::finding::Structure;
use crate::format::refcount::{RefcountTableEntry, RefcountWidth};
use crate::image::{Part, Section, Table, TableKind};
use crate::rules::Judge;
use crate::source::ReadAt;
use crate::units::{HostOffset, to_u64, to_usize};
use crate::{Error, Limit};

/// The refcount table's entries that are not zero, and the refcounts that they lead to.
#[derive(Debug, Default)]
pub(super) struct Stored {
    /// The blocks by the clusters that they cover.
    pub(super) blocks: Vec<Block>,
    /// Whether the table could not be read to its end, so that nobody knows which refcounts there are.
    pub(super) is_table_cut: bool,
    /// `None` where `refcount_order` makes no sense, and no refcount can be read.
    pub(super) width: Option<RefcountWidth>,
    /// Refcounts in a block.
    per_block: u64,
}

/// A refcount block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    /// Its place in the refcount table.
    pub(super) index: u64,
    /// Where that entry stands.
    pub(super) entry_at: HostOffset,
    /// The entry.
    pub(super) entry: RefcountTableEntry,
    /// Whether it stands on a cluster boundary; QEMU reads no other.
    pub(super) is_aligned: bool,
}

impl Stored {
    /// Whether QEMU cannot read the refcount of a cluster.
    pub(super) fn is_unreadable(&self, cluster: u64) -> bool {
        self.of(cluster).is_some_and(|block| !block.is_aligned)
    }

    /// The block that has the refcount of a cluster.
    pub(super) fn of(&self, cluster: u64) -> Option<&Block> {
        let index = cluster.checked_div(self.per_block)?;
        let place = self.blocks.binary_search_by_key(&index, |block| block.index).ok()?;
        self.blocks.get(place)
    }

    /// The greatest refcount.
    pub(super) fn max(&self) -> u64 {
        self.width.map_or(u64::MAX, RefcountWidth::max)
    }

    /// Reads the table and its blocks, judges them, and takes note of the clusters whose stored refcount is one.
    pub(super) fn load<R: ReadAt>(
        cx: &Context<'_, R>,
        judge: &mut Judge<'_, R>,
        counted: &mut Counted,
        repeated: &mut Repeated,
        reporter: &mut Reporter<'_>,
    ) -> Self {
        let Some(table) = cx.image.refcount_table() else { return Self::default() };
        let Some(width) = cx.image.refcount_width() else {
            judge_sections(cx.image, &[Section::Refcounts], judge, reporter);
            return Self::default();
        };
        let per_block = width.block_entry_count(cx.geometry);
        let mut stored = Self { blocks: Vec::new(), is_table_cut: false, width: Some(width), per_block };
        if let Err(error) = stored.load_table(cx, &table, judge, reporter) {
            reporter.stop(error, Structure::RefcountTable);
            stored.is_table_cut = true;
        }
        reporter.end_table();
        for block in stored.blocks.iter().filter(|block| block.is_aligned) {
            let table = Table::refcount_block(block.index, block.entry.block_offset(), cx.geometry, width);
            if !repeated.is_new(table.span) {
                continue;
            }
            let ends_in_file = block.index.saturating_add(1).saturating_mul(per_block) <= cx.file_clusters;
            let read = match ends_in_file {
                true => stored.load_block(cx, &table, block, counted),
                false => load_last_block(cx, &table, block, judge, counted, reporter),
            };
            if let Err(error) = read {
                reporter.stop(error, Structure::RefcountBlock);
            }
            reporter.end_table();
        }
        stored
    }

    fn load_table<R: ReadAt>(
        &mut self,
        cx: &Context<'_, R>,
        table: &Table,
        judge: &mut Judge<'_, R>,
        reporter: &mut Reporter<'_>,
    ) -> Result<(), Error> {
        let limits = cx.image.limits();
        cx.image.entries(*table).for_each(|slot| {
            if self.blocks.len() >= limits.refcount_blocks {
                return Err(limits.spent(Limit::RefcountBlocks, slot.at));
            }
            judge.entry(table, &slot, &mut reporter.found);
            reporter.keep_few();
            let entry = RefcountTableEntry(slot.raw);
            let is_aligned = entry.block_offset().is_aligned(cx.geometry.cluster_size());
            if entry.block_offset().0 != 0 {
                self.blocks.push(Block { index: slot.index, entry_at: slot.at, entry, is_aligned });
            } else {
                // Reserved bits alone: counted by QEMU, and no block.
                reporter.qemu.corrupt(1);
            }
            Ok(())
        })
    }

    fn load_block<R: ReadAt>(
        &self,
        cx: &Context<'_, R>,
        table: &Table,
        block: &Block,
        counted: &mut Counted,
    ) -> Result<(), Error> {
        let Some(width) = self.width else { return Ok(()) };
        let first = block.index.saturating_mul(self.per_block);
        let mut entries = cx.image.entries(*table);
        while let Some(chunk) = entries.next() {
            let chunk = chunk?;
            let passed = width.count_in(chunk.at.0.saturating_sub(table.span.at.0));
            let mut cluster = first.saturating_add(passed);
            let count = width.count_in(to_u64(chunk.bytes.len()));
            // Pages at a time, since nearly all refcounts of a page are alike.
            let mut index = 0_u64;
            while index < count && cluster < cx.file_clusters {
                let slot = cluster % PAGE_LEN;
                let len = PAGE_LEN.saturating_sub(slot).min(count.saturating_sub(index));
                let bytes_from = to_usize(width.byte_offset(index));
                let bytes_to = to_usize(width.byte_offset(index.saturating_add(len)));
                let bytes = chunk.bytes.get(bytes_from..bytes_to.max(bytes_from.saturating_add(1)));
                if bytes.is_none_or(|bytes| bytes.iter().any(|byte| *byte != 0)) {
                    let Some(page) = counted.clusters.page(cluster / PAGE_LEN) else { return Ok(()) };
                    if width.bits() == 16 && is_all_ones(bytes.unwrap_or_default()) {
                        page.one.set_run(to_usize(slot), to_usize(len));
                    } else {
                        for n in 0..len {
                            if width.get(chunk.bytes, index.saturating_add(n)) == Some(1) {
                                page.one.set(to_usize(slot.saturating_add(n)));
                            }
                        }
                    }
                }
                (index, cluster) = (index.saturating_add(len), cluster.saturating_add(len));
            }
        }
        Ok(())
    }

    /// The stored refcount of one cluster; `None` where it cannot be read.
    pub(super) fn refcount<R: ReadAt>(
        &self,
        cx: &Context<'_, R>,
        cluster: u64,
        reporter: &mut Reporter<'_>,
    ) -> Option<u64> {
        let Some(block) = self.of(cluster) else { return Some(0) };
        if !block.is_aligned {
            return None;
        }
        let width = self.width?;
        let index = cluster.checked_rem(self.per_block)?;
        let span = width.span(block.entry.block_offset(), index, 1);
        let kind = TableKind::RefcountBlock(block.index);
        match cx.image.entries(Table { kind, span, entry_len: span.len }).next() {
            None => Some(0),
            Some(Ok(chunk)) => Some(width.get(chunk.bytes, width.index_in_byte(index)).unwrap_or(0)),
            Some(Err(error)) => {
                reporter.stop(error, Structure::RefcountBlock);
                None
            }
        }
    }

    /// Marks the blocks as metadata, each as often as the table points at it, and answers in which clusters they are.
    pub(super) fn claim_blocks<R: ReadAt>(&self, cx: &Context<'_, R>, counted: &mut Counted) -> HashSet<u64> {
        let mut clusters = HashSet::new();
        for block in &self.blocks {
            if is_counted(cx, counted, block) {
                let at = block.entry.block_offset();
                counted.mark(cx, cx.cluster_at(at), false);
                clusters.insert(cx.cluster(at));
            }
        }
        clusters
    }

    /// Counts the references to the blocks, which QEMU does last: by then each must be the only one.
    pub(super) fn count_blocks<R: ReadAt>(
        &self,
        cx: &Context<'_, R>,
        counted: &mut Counted,
        reporter: &mut Reporter<'_>,
    ) {
        for block in &self.blocks {
            let at = block.entry.block_offset();
            if !is_counted(cx, counted, block) {
                reporter.qemu.corrupt(1);
                continue;
            }
            counted.refer(cx, cx.cluster_at(at), 1, reporter);
            if counted.clusters.count(cx.cluster(at)).min(self.max()) != 1 {
                reporter.qemu.corrupt(1);
            }
        }
    }
}

/// The same for a block that counts clusters which the file does not have (R08), run by run.
fn load_last_block<R: ReadAt>(
    cx: &Context<'_, R>,
    table: &Table,
    block: &Block,
    judge: &mut Judge<'_, R>,
    counted: &mut Counted,
    reporter: &mut Reporter<'_>,
) -> Result<(), Error> {
    for run in cx.image.refcount_runs(block.index, table.span.at).into_iter().flatten() {
        let run = run?;
        judge.part(&Part::Refcounts(table, &run), &mut reporter.found);
        reporter.keep_few();
        let end = run.first_cluster.saturating_add(run.count).min(cx.file_clusters);
        let mut cluster = run.first_cluster;
        while run.value == 1 && cluster < end {
            let Some((page, slot)) = counted.clusters.at(cluster) else { return Ok(()) };
            let len = PAGE_LEN.saturating_sub(to_u64(slot)).min(end.saturating_sub(cluster));
            page.one.set_run(slot, to_usize(len));
            cluster = cluster.saturating_add(len);
        }
    }
    Ok(())
}

/// Whether a block counts as one: QEMU skips those with a broken entry, and those outside the file.
fn is_counted<R: ReadAt>(cx: &Context<'_, R>, counted: &Counted, block: &Block) -> bool {
    let end = cx.file_clusters.max(counted.touched_end);
    block.entry.reserved() == 0 && block.is_aligned && cx.cluster(block.entry.block_offset()) < end
}

/// Whether all 16-bit refcounts are one.
fn is_all_ones(refcounts: &[u8]) -> bool {
    let (refcounts, _) = refcounts.as_chunks::<2>();
    refcounts.iter().fold(0, |bits, [high, low]| bits | high | (low ^ 1)) == 0
}
