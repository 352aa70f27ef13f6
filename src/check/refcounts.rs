//! The refcount table: its blocks, and which clusters have the stored refcount one.

use std::rc::Rc;

use super::Engine;
use super::counts::PAGE_LEN;
use crate::Limit;
use crate::finding::Structure;
use crate::format::qemu;
use crate::format::refcount::{RefcountTableEntry, RefcountWidth};
use crate::rules::RefcountRules;
use crate::rules::codes::{H34, R03};
use crate::source::ReadAt;
use crate::units::{HostOffset, Span, to_u64, to_usize};

/// The refcount table's entries that are not zero.
#[derive(Debug, Default)]
pub(super) struct Blocks {
    all: Rc<Vec<Block>>,
    /// Whether the table could not be read to its end, so that nobody knows which refcounts there are.
    pub(super) is_cut: bool,
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

impl Blocks {
    /// Whether QEMU cannot read the refcount of a cluster.
    pub(super) fn is_unreadable(&self, cluster: u64) -> bool {
        self.of(cluster).is_some_and(|block| !block.is_aligned)
    }

    /// The block that has the refcount of a cluster.
    pub(super) fn of(&self, cluster: u64) -> Option<&Block> {
        let index = cluster.checked_div(self.per_block)?;
        let place = self.all.binary_search_by_key(&index, |block| block.index).ok()?;
        self.all.get(place)
    }
}

impl<R: ReadAt> Engine<'_, '_, R> {
    /// The greatest refcount.
    pub(super) fn refcount_max(&self) -> u64 {
        self.width.map_or(u64::MAX, RefcountWidth::max)
    }

    /// Reads the table, judges its entries, and takes note of the clusters whose stored refcount is one.
    pub(super) fn load_refcounts(&mut self) {
        let image = self.image;
        let (Some(table), Some(rules), Some(width)) =
            (image.refcount_table(), RefcountRules::new(image), self.width)
        else {
            return;
        };
        self.blocks.per_block = width.block_entry_count(self.geometry);
        let cluster_size = self.geometry.cluster_size();
        // QEMU opens no image with a longer one (H30).
        let mut chunks = image
            .chunks("the refcount table", Span::new(table.at, table.len.min(qemu::MAX_REFCOUNT_TABLE_LEN)));
        let (mut index, mut blocks) = (0_u64, Vec::new());
        let limits = image.limits();
        'table: while let Some(chunk) = chunks.next() {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    self.totals.stop(error, Structure::RefcountTable, &H34);
                    self.blocks.is_cut = true;
                    break;
                }
            };
            for (entry_at, raw) in chunk.entries() {
                if raw != 0 && blocks.len() >= limits.refcount_blocks {
                    let error = limits.spent(Limit::RefcountBlocks, entry_at);
                    self.totals.stop(error, Structure::RefcountTable, &H34);
                    self.blocks.is_cut = true;
                    self.settle_grouped();
                    break 'table;
                }
                if raw != 0 {
                    let entry = RefcountTableEntry(raw);
                    rules.table_entry(index, entry_at, entry, &mut self.found);
                    self.thin_out();
                    let is_aligned = entry.block_offset().is_aligned(cluster_size);
                    if entry.block_offset().0 != 0 {
                        blocks.push(Block { index, entry_at, entry, is_aligned });
                    } else {
                        // Reserved bits alone: counted by QEMU, and no block.
                        self.totals.qemu.corrupt(1);
                    }
                }
                index = index.saturating_add(1);
            }
            self.settle_grouped();
        }
        self.blocks.all = Rc::new(blocks);
        for block in self.blocks().iter().filter(|block| block.is_aligned) {
            let at = block.entry.block_offset();
            if self.odd.is_new(Span::new(at, cluster_size)) {
                self.load_block(block, width);
            }
        }
    }

    fn load_block(&mut self, block: &Block, width: RefcountWidth) {
        let mut cluster = block.index.saturating_mul(self.blocks.per_block);
        let span = Span::new(block.entry.block_offset(), self.geometry.cluster_size());
        let mut chunks = self.image.chunks("a refcount block", span);
        while let Some(chunk) = chunks.next() {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => return self.totals.stop(error, Structure::RefcountBlock, &R03),
            };
            let count = width.count_in(to_u64(chunk.bytes.len()));
            // Pages at a time, since nearly all refcounts of a page are alike.
            let mut index = 0_u64;
            while index < count && cluster < self.file_clusters {
                let slot = cluster % PAGE_LEN;
                let len = PAGE_LEN.saturating_sub(slot).min(count.saturating_sub(index));
                let bytes_from = to_usize(width.byte_offset(index));
                let bytes_to = to_usize(width.byte_offset(index.saturating_add(len)));
                let bytes = chunk.bytes.get(bytes_from..bytes_to.max(bytes_from.saturating_add(1)));
                if bytes.is_none_or(|bytes| bytes.iter().any(|byte| *byte != 0)) {
                    let Some(page) = self.clusters.page(cluster / PAGE_LEN) else { return };
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
    }

    /// The stored refcount of one cluster; `None` where it cannot be read.
    pub(super) fn stored(&mut self, cluster: u64) -> Option<u64> {
        let Some(block) = self.blocks.of(cluster).copied() else { return Some(0) };
        if !block.is_aligned {
            return None;
        }
        let width = self.width?;
        let index = cluster.checked_rem(self.blocks.per_block)?;
        let at = block.entry.block_offset().saturating_add(width.byte_offset(index));
        let len = u64::from(width.bits().div_ceil(8));
        let mut chunks = self.image.chunks("a refcount", Span::new(at, len));
        match chunks.next() {
            None => Some(0),
            Some(Ok(chunk)) => Some(width.get(chunk.bytes, width.index_in_byte(index)).unwrap_or(0)),
            Some(Err(error)) => {
                self.totals.stop(error, Structure::RefcountBlock, &R03);
                None
            }
        }
    }

    /// Marks the blocks as metadata, each as often as the table points at it.
    pub(super) fn claim_blocks(&mut self) {
        for block in self.blocks().iter() {
            if self.is_counted(block) {
                let at = block.entry.block_offset();
                self.mark(Span::new(at, self.geometry.cluster_size()), false);
                self.block_clusters.insert(self.cluster(at));
            }
        }
    }

    /// Counts the references to the blocks, which QEMU does last: by then each must be the only one.
    pub(super) fn count_blocks(&mut self) {
        for block in self.blocks().iter() {
            let at = block.entry.block_offset();
            if !self.is_counted(block) {
                self.totals.qemu.corrupt(1);
            } else {
                self.refer(Span::new(at, self.geometry.cluster_size()), 1);
                if self.clusters.count(self.cluster(at)).min(self.refcount_max()) != 1 {
                    self.totals.qemu.corrupt(1);
                }
            }
        }
    }

    /// Whether a block counts as one: QEMU skips those with a broken entry, and those outside the file.
    fn is_counted(&self, block: &Block) -> bool {
        let end = self.file_clusters.max(self.touched_end);
        block.entry.reserved() == 0 && block.is_aligned && self.cluster(block.entry.block_offset()) < end
    }

    /// The blocks by the clusters that they cover.
    pub(super) fn blocks(&self) -> Rc<Vec<Block>> {
        Rc::clone(&self.blocks.all)
    }
}

/// Whether all 16-bit refcounts are one.
fn is_all_ones(refcounts: &[u8]) -> bool {
    let (refcounts, _) = refcounts.as_chunks::<2>();
    refcounts.iter().fold(0, |bits, [high, low]| bits | high | (low ^ 1)) == 0
}
