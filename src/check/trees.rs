//! The L1 tables of all trees, swept once: which L2 tables there are, and how many L1 entries lead to each.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::Engine;
use crate::finding::{Evidence, Finding, Guest, Structure};
use crate::format::mapping::L1Entry;
use crate::format::qemu;
use crate::image::DiskTree;
use crate::image::ends_past_file;
use crate::rules::codes::{H34, L26, S01, S08, T01};
use crate::rules::guest;
use crate::source::ReadAt;
use crate::units::{HostOffset, Span, Tree, to_u64, to_usize};
use crate::{Error, Limit};

/// Entries of one tree that point again at the same table, and are told by themselves.
const TOLD_REPEATS: u64 = 8;

/// The L2 tables, and what leads to them.
#[derive(Debug, Default)]
pub(super) struct Tables {
    /// Distinct L1 tables.
    pub(super) l1: Vec<L1Use>,
    /// L2 tables by offset.
    pub(super) l2: HashMap<u64, L2Use>,
    /// A snapshot that the list does not have, because the file ends within its texts.
    pub(super) cut: Option<DiskTree>,
    further_repeats: u64,
}

/// An L1 table.
#[derive(Clone, Copy, Debug)]
pub(super) struct L1Use {
    /// The first tree that has it.
    pub(super) tree: DiskTree,
    /// How many have it.
    pub(super) times: u64,
}

impl L1Use {
    fn is_active(&self) -> bool {
        self.tree.l1.tree == Tree::Active
    }

    fn span(&self) -> Span {
        self.tree.l1.span()
    }
}

/// An L2 table.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct L2Use {
    /// L1 entries that lead to it, over all trees.
    pub(super) times: u64,
    /// L1 entries of the active tree among them.
    pub(super) active_times: u32,
    /// The place in `l1` of the tree that stands for it: the active one, or the first.
    pub(super) l1: u32,
    /// The index of the entry there.
    pub(super) l1_index: u32,
    /// Behind the first byte of the last of these entries in the file.
    last_entry: u64,
    /// Entries of one tree that point there again.
    repeats: u64,
    /// Whether it stands for several guest ranges, in one tree or in several.
    pub(super) wanders: bool,
}

/// The L1 tables over a part of the file.
#[derive(Debug, Default)]
struct Cover {
    /// By their start, so that the first has the lowest.
    tables: BTreeSet<(u64, usize)>,
    times: u64,
    active: Option<usize>,
}

impl<R: ReadAt> Engine<'_, '_, R> {
    /// Finds all L2 tables, and counts the references to them and to the L1 tables.
    pub(super) fn sweep_trees(&mut self) {
        self.collect_l1();
        let mut edges: BTreeMap<u64, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
        let uses = std::mem::take(&mut self.tables.l1);
        for (place, table) in uses.iter().enumerate() {
            let span = table.span();
            let end = span.end().0.min(self.image.file_len());
            if span.at.0 < end {
                edges.entry(span.at.0).or_default().0.push(place);
                edges.entry(end).or_default().1.push(place);
            }
        }
        self.claim_l1(&uses);
        let mut cover = Cover::default();
        let mut from = 0;
        for (at, (starts, ends)) in edges {
            if cover.times != 0 && !self.sweep(&uses, &cover, from, at) {
                break;
            }
            for (places, is_start) in [(ends, false), (starts, true)] {
                for place in places {
                    cover.change(&uses, place, is_start);
                }
            }
            from = at;
        }
        self.tables.l1 = uses;
        if self.tables.further_repeats != 0 {
            let count = self.tables.further_repeats;
            let found = format!("{count} more entries of these tables");
            let at = Span::new(HostOffset(0), 0);
            let mut finding = Finding::new(&L26, Structure::L1Table, at, found, "none");
            (finding.at, finding.consequences) = (None, count);
            self.totals.push(finding);
        }
    }

    /// Counts the references to the clusters of the L1 tables, each cluster once however many tables overlap.
    fn claim_l1(&mut self, uses: &[L1Use]) {
        let mut edges: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for table in uses {
            if ends_past_file(self.image.file_len(), table.span(), self.geometry) {
                self.totals.qemu.corrupt(table.times);
                continue;
            }
            let clusters = self.clusters_of(table.span());
            let start = edges.entry(*clusters.start()).or_default();
            start.0 = start.0.saturating_add(table.times);
            let end = edges.entry(clusters.end().saturating_add(1)).or_default();
            end.1 = end.1.saturating_add(table.times);
        }
        let (mut times, mut from) = (0_u64, 0_u64);
        for (cluster, (starts, ends)) in edges {
            if times != 0 {
                self.claim_clusters(from, cluster, times);
            }
            times = times.saturating_add(starts).saturating_sub(ends);
            from = cluster;
        }
    }

    fn claim_clusters(&mut self, from: u64, to: u64, times: u64) {
        for cluster in from..to {
            let Some((page, slot)) = self.clusters.at(cluster) else { return };
            page.add(slot, times);
            if page.metadata.set(slot) || times > 1 {
                self.conflicts.add(cluster);
            }
        }
        self.touched_end = self.touched_end.max(to);
    }

    /// The distinct L1 tables that QEMU would read.
    fn collect_l1(&mut self) {
        let mut places: HashMap<Span, usize> = HashMap::new();
        for tree in self.trees() {
            let span = tree.l1.span();
            let is_active = tree.l1.tree == Tree::Active;
            let is_too_large = tree.l1.size > qemu::MAX_L1_ENTRIES && !is_active;
            if span.len == 0 || is_too_large || !span.at.is_aligned(self.geometry.cluster_size()) {
                continue;
            }
            let place = *places.entry(span).or_insert(self.tables.l1.len());
            match self.tables.l1.get_mut(place) {
                Some(table) => table.times = table.times.saturating_add(1),
                None => self.tables.l1.push(L1Use { tree, times: 1 }),
            }
        }
    }

    /// All trees, as far as the snapshot table goes. What ends it early, its own rules have told; but a reader may
    /// fail at any time.
    pub(super) fn trees(&mut self) -> Vec<DiskTree> {
        let mut trees = Vec::new();
        for tree in self.image.trees() {
            match tree {
                Ok(tree) => trees.push(tree),
                Err(Error::Cut { .. }) => {}
                Err(error) => self.totals.stop(error, Structure::Snapshot, &S01),
            }
        }
        trees.extend(self.tables.cut);
        trees
    }

    /// The entries from one edge to the next, which the same tables cover; `false` where no more can be kept.
    fn sweep(&mut self, uses: &[L1Use], cover: &Cover, from: u64, to: u64) -> bool {
        let Some((place, table)) = cover.stands_for(uses) else { return true };
        let span = Span::new(HostOffset(from), to.saturating_sub(from));
        let mut chunks = self.image.chunks("an L1 table", span);
        while let Some(chunk) = chunks.next() {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    self.totals.stop(error, Structure::L1Table, if table.is_active() { &H34 } else { &S08 });
                    return true;
                }
            };
            for (at, raw) in chunk.entries().filter(|(_, raw)| *raw != 0) {
                let index = at.0.saturating_sub(table.tree.l1.at.0) / 8;
                if !self.l1_entry(cover, (place, table), index, at, L1Entry(raw)) {
                    self.settle_l1();
                    return false;
                }
                if self.has_many() {
                    self.note_l1_losses();
                    self.thin_out();
                }
            }
            self.settle_l1();
        }
        true
    }

    /// Hands on what was found in an L1 table, with the guest ranges that it hits.
    fn settle_l1(&mut self) {
        self.note_l1_losses();
        self.settle_grouped();
    }

    fn note_l1_losses(&mut self) {
        for finding in &self.found {
            match (&finding.found, finding.guest) {
                // What an entry leads to is lost in each tree that shares it, up to its end, as far as their disks go.
                (Evidence::Hex(raw), Some(mut guest)) if finding.structure == Structure::L1Table => {
                    let coverage = self.geometry.l2_coverage();
                    let skipped = guest.span.start.0.checked_rem(coverage).unwrap_or_default();
                    guest.span.len = coverage.saturating_sub(skipped);
                    let whole = finding.clone().hurting(guest);
                    let start = guest.span.start.0.saturating_sub(skipped);
                    self.losses.in_table(L1Entry(*raw).l2_offset().0, start, &[whole]);
                }
                _ => self.losses.in_tree(finding),
            }
        }
    }

    fn l1_entry(
        &mut self,
        cover: &Cover,
        (place, table): (usize, &L1Use),
        index: u64,
        at: HostOffset,
        entry: L1Entry,
    ) -> bool {
        self.mapping.l1_entry(&table.tree, index, at, entry, &mut self.found);
        if entry.reserved() != 0 {
            self.totals.qemu.corrupt(cover.times);
        }
        let l2 = entry.l2_offset();
        if l2.0 == 0 {
            // QEMU takes the header for the table, and counts what its bytes happen to say.
            self.refer(Span::new(l2, self.geometry.cluster_size()), cover.times);
            return self.remember(cover, place, index, at, l2);
        }
        let is_aligned = l2.is_aligned(self.geometry.cluster_size());
        if !is_aligned {
            self.totals.qemu.corrupt(cover.times);
        }
        let span = Span::new(l2, self.geometry.cluster_size());
        let is_there = !ends_past_file(self.image.file_len(), span, self.geometry);
        if cover.active.is_some() {
            self.l1_flag(at, entry, index, is_there);
        }
        // The clusters of a table off the boundary belong to others: they are counted, and not claimed.
        self.refer(span, cover.times);
        if is_there && (is_aligned || self.odd.may_read_unaligned()) {
            return self.remember(cover, place, index, at, l2);
        }
        true
    }

    fn remember(&mut self, cover: &Cover, place: usize, index: u64, at: HostOffset, l2: HostOffset) -> bool {
        let limits = self.image.limits();
        if self.tables.l2.len() >= limits.l2_tables && !self.tables.l2.contains_key(&l2.0) {
            let error = limits.spent(Limit::L2Tables, at);
            self.totals.stop(error, Structure::L1Table, &T01);
            return false;
        }
        let is_active = cover.active.is_some();
        let (l1, l1_index) = (narrow(to_u64(place)), narrow(index));
        let table = self.tables.l2.entry(l2.0).or_insert(L2Use { l1, l1_index, ..L2Use::default() });
        table.wanders |= table.l1_index != l1_index || cover.is_shifted();
        if is_active && table.active_times == 0 {
            (table.l1, table.l1_index) = (l1, l1_index);
        }
        let lowest = cover.tables.first().map_or(u64::MAX, |(start, _)| *start);
        let is_twice = table.last_entry > lowest;
        let is_first = table.times == 0;
        table.times = table.times.saturating_add(cover.times);
        table.active_times = table.active_times.saturating_add(u32::from(is_active));
        let other = std::mem::replace(&mut table.last_entry, at.0.saturating_add(1)).saturating_sub(1);
        table.repeats = table.repeats.saturating_add(u64::from(is_twice));
        let is_told = table.repeats <= TOLD_REPEATS || self.options.each;
        if l2.0 == 0 {
            // L29 has told it.
            return true;
        }
        if is_first && l2.is_aligned(self.geometry.cluster_size()) {
            self.mark(Span::new(l2, self.geometry.cluster_size()), false);
        }
        if is_twice && !is_told {
            self.tables.further_repeats = self.tables.further_repeats.saturating_add(1);
        } else if is_twice {
            let guest = self.l1_guest(place, index);
            let span = Span::new(at, 8);
            let wanted = format!("a table of its own: the entry at {:#x} points there too", other);
            let found = Evidence::Hex(l2.0);
            self.found.push(Finding::new(&L26, Structure::L1Table, span, found, wanted).hurting(guest));
        }
        true
    }

    /// What an entry of the L1 table in this place maps.
    pub(super) fn l1_guest(&self, place: usize, index: u64) -> Guest {
        let coverage = self.geometry.l2_coverage();
        let start = index.saturating_mul(coverage);
        match self.tables.l1.get(place).map(|table| table.tree) {
            Some(tree) => guest(tree.l1.tree, start, coverage, tree.disk_size),
            None => guest(Tree::Active, start, coverage, self.image.header().v2.size.0),
        }
    }
}

impl Cover {
    fn change(&mut self, uses: &[L1Use], place: usize, is_start: bool) {
        let Some(table) = uses.get(place) else { return };
        let key = (table.tree.l1.at.0, place);
        if is_start {
            self.tables.insert(key);
            self.times = self.times.saturating_add(table.times);
        } else {
            self.tables.remove(&key);
            self.times = self.times.saturating_sub(table.times);
        }
        if table.is_active() {
            self.active = is_start.then_some(place);
        }
    }

    /// Whether an entry here has another index in one tree than in another.
    fn is_shifted(&self) -> bool {
        let (first, last) = (self.tables.first(), self.tables.last());
        first.zip(last).is_some_and(|((first, _), (last, _))| first != last)
    }

    /// The table that findings name: the active one where it is among them, else the first.
    fn stands_for<'u>(&self, uses: &'u [L1Use]) -> Option<(usize, &'u L1Use)> {
        let place = self.active.or(self.tables.first().map(|(_, place)| *place))?;
        Some((place, uses.get(place)?))
    }
}

/// An index that is known to fit: an L1 table has 32-bit sizes.
fn narrow(index: u64) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

impl L2Use {
    /// Whether both stand for the same guest range, and no other, so that no tree has both.
    pub(super) fn shares_range(&self, other: &Self) -> bool {
        !self.wanders && !other.wanders && self.l1_index == other.l1_index
    }

    /// The place of its tree.
    pub(super) fn place(&self) -> usize {
        to_usize(self.l1.into())
    }
}
