//! What the file has stored of refcounts: the table, its blocks, and which clusters have the refcount one.

use std::collections::HashSet;

use super::context::Context;
use super::counted::Counted;
use super::counts::PAGE_LEN;
use super::lists::judge_sections;
use super::repeated::Repeated;
use super::reporter::Reporter;
use crate::finding::Structure;
use crate::format::qemu;
use crate::format::refcount::{RefcountTableEntry, RefcountWidth};
use crate::image::{Part, Section, Table};
use crate::rules::Judge;
use crate::source::ReadAt;
use crate::units::{Geometry, HostOffset, to_u64, to_usize};
use crate::{Error, Limit};

/// The refcount table's entries that are not zero, and the refcounts that they lead to.
#[derive(Debug)]
pub(super) struct Stored {
    /// The blocks by the clusters that they cover.
    pub(super) blocks: Vec<Block>,
    /// Whether the table could not be read to its end, so that nobody knows which refcounts there are.
    pub(super) is_table_cut: bool,
    /// `None` where `refcount_order` makes no sense, and no refcount can be read.
    pub(super) width: Option<RefcountWidth>,
    geometry: Geometry,
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
    /// Whether QEMU can read it: it stands on a cluster boundary, and ends where a file can end.
    pub(super) is_readable: bool,
}

impl Stored {
    /// Whether QEMU cannot read the refcount of a cluster.
    pub(super) fn is_unreadable(&self, cluster: u64) -> bool {
        self.of(cluster).is_some_and(|block| !block.is_readable)
    }

    /// The block that has the refcount of a cluster.
    pub(super) fn of(&self, cluster: u64) -> Option<&Block> {
        let (index, _) = self.width?.place_of(cluster, self.geometry);
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
        let width = cx.image.refcount_width();
        let mut stored = Self { blocks: Vec::new(), is_table_cut: false, width, geometry: cx.geometry };
        let Some(table) = cx.image.refcount_table() else { return stored };
        let Some(width) = width else {
            judge_sections(cx.image, &[Section::Refcounts], judge, reporter);
            return stored;
        };
        if let Err(error) = stored.load_table(cx, &table, judge, reporter) {
            reporter.stop(error, Structure::RefcountTable);
            stored.is_table_cut = true;
        }
        reporter.end_table();
        for block in stored.blocks.iter().filter(|block| block.is_readable) {
            let table = Table::refcount_block(block.index, block.entry.block_offset(), cx.geometry, width);
            if !repeated.is_new(table.span) {
                continue;
            }
            let clusters = width.clusters_of_block(block.index, cx.geometry);
            let read = match clusters.filter(|clusters| clusters.end <= cx.file_clusters) {
                Some(clusters) => load_block(cx, &table, (width, clusters.start), counted),
                None => load_last_block(cx, &table, block, judge, counted, reporter),
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
            let block = cx.geometry.cluster_at(entry.block_offset());
            let is_readable = block.at.is_aligned(block.len) && block.end().0 <= qemu::MAX_FILE_LEN;
            if entry.block_offset().0 != 0 {
                self.blocks.push(Block { index: slot.index, entry_at: slot.at, entry, is_readable });
            } else {
                // Reserved bits alone: counted by QEMU, and no block.
                reporter.qemu.corrupt(1);
            }
            Ok(())
        })
    }

    /// The stored refcount of one cluster; `None` where it cannot be read.
    pub(super) fn refcount<R: ReadAt>(
        &self,
        cx: &Context<'_, R>,
        cluster: u64,
        reporter: &mut Reporter<'_>,
    ) -> Option<u64> {
        let Some(block) = self.of(cluster) else { return Some(0) };
        let (_, place) = self.width?.place_of(cluster, self.geometry);
        let refcount = cx.image.refcount_in(block.entry.block_offset(), place);
        refcount.unwrap_or_else(|error| {
            reporter.stop(error, Structure::RefcountBlock);
            None
        })
    }

    /// Marks the blocks as metadata, each as often as the table points at it, and answers in which clusters they are.
    pub(super) fn claim_blocks<R: ReadAt>(&self, cx: &Context<'_, R>, counted: &mut Counted) -> HashSet<u64> {
        let mut clusters = HashSet::new();
        for block in &self.blocks {
            if is_counted(cx, counted, block) {
                let at = block.entry.block_offset();
                counted.mark(cx, cx.geometry.cluster_at(at), false);
                clusters.insert(cx.geometry.cluster_of(at));
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
            counted.refer(cx, cx.geometry.cluster_at(at), 1, reporter);
            if counted.clusters.count(cx.geometry.cluster_of(at)).min(self.max()) != 1 {
                reporter.qemu.corrupt(1);
            }
        }
    }
}

/// Takes note of the clusters whose refcount in a block is one; `first` is the first that it counts.
fn load_block<R: ReadAt>(
    cx: &Context<'_, R>,
    table: &Table,
    (width, first): (RefcountWidth, u64),
    counted: &mut Counted,
) -> Result<(), Error> {
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
    block.entry.reserved() == 0
        && block.is_readable
        && cx.geometry.cluster_of(block.entry.block_offset()) < end
}

/// Whether all 16-bit refcounts are one.
fn is_all_ones(refcounts: &[u8]) -> bool {
    let (refcounts, _) = refcounts.as_chunks::<2>();
    refcounts.iter().fold(0, |bits, [high, low]| bits | high | (low ^ 1)) == 0
}
