//! The stored refcounts against the references that were counted: R04 to R07, R09.

use std::collections::{BTreeMap, HashSet};
use std::ops::Range;

use super::cluster_runs::ClusterRuns;
use super::context::Context;
use super::counted::Counted;
use super::counts::PAGE_LEN;
use super::flags::Flags;
use super::repeated::Repeated;
use super::reporter::Reporter;
use super::runs::{Run, Runs};
use super::stored::{Block, Stored};
use crate::finding::{Rule, Structure};
use crate::format::refcount::RefcountWidth;
use crate::image::Table;
use crate::rules::named::{
    REFCOUNT_BLOCK_OWN_REFCOUNT, REFCOUNT_OVERFLOW, REFCOUNT_TOO_HIGH, REFCOUNT_TOO_LOW,
    REFCOUNT_ZERO_BUT_USED,
};
use crate::source::ReadAt;
use crate::units::{HostOffset, to_u64, to_usize};

/// What came of the comparison.
#[derive(Debug, Default)]
pub(super) struct Compared {
    /// Behind the last cluster that has a refcount or a reference; 0 where that is not known.
    pub(super) image_end: u64,
    /// Clusters that have a refcount, and that nothing refers to. None are counted where references may be missing.
    pub(super) orphans: ClusterRuns,
    /// Clusters that something refers to, and more should.
    pub(super) missed: ClusterRuns,
    /// Clusters whose refcount is too low.
    pub(super) low: ClusterRuns,
}

/// The comparison under way.
struct Comparison<'p, 'a, 'w, R> {
    cx: &'p Context<'a, R>,
    stored: &'p Stored,
    /// Clusters that refcount blocks are in.
    blocks: &'p HashSet<u64>,
    counted: &'p mut Counted,
    flags: &'p mut Flags,
    reporter: &'p mut Reporter<'w>,
    width: RefcountWidth,
    /// Where the file ends, or the last reference.
    end: u64,
    highest: u64,
    orphans: ClusterRuns,
    missed: ClusterRuns,
    low: ClusterRuns,
    /// The run at hand of clusters whose refcount is wrong, and that of clusters with more references than it can say.
    run: Option<Run>,
    overflow: Option<Run>,
    /// The runs of the block at hand, by rule.
    runs: BTreeMap<&'static Rule, Runs>,
    /// The block at hand, and its first cluster; `None` where there is no block.
    block: Option<(HostOffset, u64)>,
    /// Whether no time is left.
    is_spent: bool,
}

/// Compares the refcounts of all clusters.
pub(super) fn compare<R: ReadAt>(
    cx: &Context<'_, R>,
    (stored, blocks): (&Stored, &HashSet<u64>),
    (counted, flags): (&mut Counted, &mut Flags),
    repeated: &mut Repeated,
    reporter: &mut Reporter<'_>,
) -> Compared {
    let Some(width) = stored.width else { return Compared::default() };
    let end = cx.file_clusters.max(counted.touched_end);
    let mut comparison = Comparison {
        cx,
        stored,
        blocks,
        counted,
        flags,
        reporter,
        width,
        end,
        highest: 0,
        orphans: ClusterRuns::default(),
        missed: ClusterRuns::default(),
        low: ClusterRuns::default(),
        run: None,
        overflow: None,
        runs: BTreeMap::new(),
        block: None,
        is_spent: false,
    };
    repeated.start_again();
    comparison.all(repeated);
    if comparison.is_spent {
        return Compared::default();
    }
    let image_end = comparison.highest.checked_add(1).and_then(|end| cx.geometry.host_offset(end));
    let image_end = image_end.unwrap_or_default().0;
    Compared { image_end, orphans: comparison.orphans, missed: comparison.missed, low: comparison.low }
}

impl<R: ReadAt> Comparison<'_, '_, '_, R> {
    fn all(&mut self, repeated: &mut Repeated) {
        let pages = self.counted.clusters.numbers();
        let of = to_u64(self.stored.blocks.len());
        let mut next = 0_u64;
        for (done, block) in (0_u64..).zip(&self.stored.blocks) {
            // Those behind it count no clusters either.
            let Some(clusters) = self.width.clusters_of_block(block.index, self.cx.geometry) else { break };
            self.without_block(&pages, next, clusters.start.min(self.end));
            next = clusters.end;
            self.with_block(block, clusters, repeated);
            if self.is_spent {
                return;
            }
            self.reporter.progress("refcount blocks", done, of);
        }
        self.without_block(&pages, next, self.end);
    }

    /// Clusters without a refcount block: their refcounts are 0.
    fn without_block(&mut self, pages: &[u64], from: u64, to: u64) {
        if from >= to {
            return;
        }
        self.block = None;
        let first = pages.partition_point(|page| *page < from / PAGE_LEN);
        for page in pages.get(first..).unwrap_or_default() {
            let start = page.saturating_mul(PAGE_LEN);
            if start >= to || !self.has_time(start) {
                break;
            }
            for cluster in start.max(from)..start.saturating_add(PAGE_LEN).min(to) {
                self.compare_one(cluster, 0);
            }
        }
        self.end_runs();
    }

    fn with_block(&mut self, block: &Block, clusters: Range<u64>, repeated: &mut Repeated) {
        let Range { start, end } = clusters;
        if !block.is_readable {
            // QEMU cannot read it, and counts an error for each cluster.
            let end = end.min(self.end);
            let errors = end.saturating_sub(start);
            self.count_overflow(start, end);
            self.reporter.qemu.check_errors = self.reporter.qemu.check_errors.saturating_add(errors);
            return;
        }
        let at = block.entry.block_offset();
        self.block = Some((at, start));
        let table = Table::refcount_block(block.index, at, self.cx.geometry, self.width);
        if !repeated.is_new(table.span) {
            return;
        }
        let mut entries = self.cx.image.entries(table);
        let mut next = start;
        while next < end {
            let (cluster, bytes) = match entries.next() {
                Some(Ok(chunk)) => {
                    let passed = self.width.count_in(chunk.at.0.saturating_sub(at.0));
                    (start.saturating_add(passed), chunk.bytes)
                }
                Some(Err(error)) => {
                    self.reporter.stop(error, Structure::RefcountBlock);
                    break;
                }
                // What is not there reads as zeros.
                None => (end, &[][..]),
            };
            self.compare_chunk(next, cluster.saturating_sub(next), &[]);
            let count = self.width.count_in(to_u64(bytes.len())).min(end.saturating_sub(cluster));
            self.compare_chunk(cluster, count, bytes);
            next = cluster.saturating_add(count);
        }
        self.end_runs();
    }

    /// Counts for QEMU what more references than a refcount can say are, where it reads no refcount.
    fn count_overflow(&mut self, start: u64, end: u64) {
        let max = self.width.max();
        let mut page = start / PAGE_LEN;
        while page.saturating_mul(PAGE_LEN) < end {
            if let Some(counts) = self.counted.clusters.peek(page) {
                for slot in 0..PAGE_LEN {
                    let cluster = page.saturating_mul(PAGE_LEN).saturating_add(slot);
                    if (start..end).contains(&cluster) {
                        self.reporter.qemu.corrupt(counts.count(to_usize(slot)).saturating_sub(max));
                    }
                }
            }
            page = page.saturating_add(1);
        }
    }

    /// The refcounts in `bytes`, or zeros where there are none, of `count` clusters from `first` on.
    fn compare_chunk(&mut self, first: u64, count: u64, bytes: &[u8]) {
        let inside = self.end.saturating_sub(first).min(count);
        let mut index = 0_u64;
        while index < inside {
            let cluster = first.saturating_add(index);
            let slot = cluster % PAGE_LEN;
            let len = PAGE_LEN.saturating_sub(slot).min(inside.saturating_sub(index));
            if !self.has_time(cluster) {
                return;
            }
            if !self.is_page_right(cluster, len, index, bytes) {
                for n in 0..len {
                    let stored = self.width.get(bytes, index.saturating_add(n)).unwrap_or(0);
                    self.compare_one(cluster.saturating_add(n), stored);
                }
            }
            index = index.saturating_add(len);
        }
    }

    /// Whether there is time for another page. There may be millions of them, and nothing has to be read for most.
    fn has_time(&mut self, cluster: u64) -> bool {
        if !self.is_spent
            && let Err(error) =
                self.cx.image.source().work(self.cx.geometry.host_offset(cluster).unwrap_or_default())
        {
            self.reporter.stop(error, Structure::File);
            self.is_spent = true;
        }
        !self.is_spent
    }

    /// Whether a part of a page agrees in all its clusters, told without looking at each by itself.
    fn is_page_right(&mut self, cluster: u64, len: u64, index: u64, bytes: &[u8]) -> bool {
        let from = to_usize(self.width.byte_offset(index));
        let to = to_usize(self.width.byte_offset(index.saturating_add(len)));
        let stored = bytes.get(from..to.min(bytes.len())).unwrap_or_default();
        let Some(page) = self.counted.clusters.peek(cluster / PAGE_LEN) else {
            // Narrow refcounts share bytes with neighbours only at the end of a block, and then none is left over.
            return self.run.is_none() && to > from && stored.iter().all(|byte| *byte == 0);
        };
        let (16, Some(counts)) = (self.width.bits(), page.narrow()) else { return false };
        let (stored, _) = stored.as_chunks::<2>();
        let slot = to_usize(cluster % PAGE_LEN);
        let counts = counts.get(slot..slot.saturating_add(to_usize(len))).unwrap_or_default();
        if self.run.is_some() || stored.len() != counts.len() {
            return false;
        }
        // No early end, so that many are compared at a time.
        let differing =
            stored.iter().zip(counts).fold(0, |bits, ([high, low], count)| bits | high | (low ^ count));
        let is_right = differing == 0;
        if is_right && let Some(last) = counts.iter().rposition(|count| *count != 0) {
            self.highest = self.highest.max(cluster.saturating_add(to_u64(last)));
        }
        is_right
    }

    #[inline]
    fn compare_one(&mut self, cluster: u64, stored: u64) {
        let slot = to_usize(cluster % PAGE_LEN);
        let page = self.counted.clusters.peek(cluster / PAGE_LEN);
        let counted = page.map_or(0, |page| page.count(slot));
        let is_flagged = page.is_some_and(|page| page.is_flagged(slot));
        let is_metadata = page.is_some_and(|page| page.metadata.get(slot));
        if stored != 0 || counted != 0 {
            self.highest = cluster;
        }
        let max = self.width.max();
        if counted > max {
            self.reporter.qemu.corrupt(counted.saturating_sub(max));
            self.add(Run::new(&REFCOUNT_OVERFLOW, cluster, (max, counted)));
        }
        let counted = counted.min(max);
        if is_flagged && stored >= counted {
            self.flags.unexplained(is_metadata);
        }
        if stored == counted {
            return self.end_run();
        }
        let rule = match () {
            () if self.blocks.contains(&cluster) => &REFCOUNT_BLOCK_OWN_REFCOUNT,
            () if stored == 0 => &REFCOUNT_ZERO_BUT_USED,
            () if stored < counted => &REFCOUNT_TOO_LOW,
            () => &REFCOUNT_TOO_HIGH,
        };
        if stored < counted {
            self.reporter.qemu.corrupt(1);
            self.low.add(cluster);
            if counted > 1 && !self.reporter.may_be_stale {
                self.counted.conflicts.add_shared(cluster);
            }
            self.counted.conflicts.add_low_refcount(cluster);
        } else {
            self.reporter.qemu.leaks = self.reporter.qemu.leaks.saturating_add(1);
        }
        // Where references may be missing, a refcount that seems too high may be right.
        if stored > counted && self.reporter.is_incomplete {
            return self.end_run();
        }
        let missed = if counted == 0 { &mut self.orphans } else { &mut self.missed };
        if stored > counted {
            missed.add(cluster);
        }
        let flags = u64::from(is_flagged && stored < counted);
        self.add(Run::new(rule, cluster, (stored, counted)).with_flags(flags));
    }

    /// Adds a cluster to the run at hand, or ends that one and begins the next.
    fn add(&mut self, cluster: Run) {
        let is_overflow = *cluster.rule == REFCOUNT_OVERFLOW;
        let open = if is_overflow { &mut self.overflow } else { &mut self.run };
        if !open.as_mut().is_some_and(|run| run.join(&cluster)) {
            let ended = open.replace(cluster);
            self.end(ended);
        }
    }

    fn end_run(&mut self) {
        let ended = self.run.take();
        self.end(ended);
    }

    fn end(&mut self, ended: Option<Run>) {
        let Some(run) = ended else { return };
        if self.cx.options.each {
            self.tell(&Runs::of(run));
        } else {
            self.runs.entry(run.rule).or_default().add(run);
        }
    }

    /// Tells what was found in a block, or in clusters without one.
    fn end_runs(&mut self) {
        self.end_run();
        let ended = self.overflow.take();
        self.end(ended);
        for runs in std::mem::take(&mut self.runs).into_values() {
            self.tell(&runs);
        }
    }

    fn tell(&mut self, runs: &Runs) {
        let block = self.block.map(|(at, first)| (at, first, self.width));
        if let Some(finding) = runs.finding(block, self.cx.geometry) {
            self.reporter.push(finding);
        }
    }
}
