//! The L1 tables of all trees, swept once: which L2 tables there are, and how many L1 entries lead to each.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::context::Context;
use super::counted::Counted;
use super::emptied::Emptied;
use super::flags::Flags;
use super::lists::Lists;
use super::lost::Losses;
use super::repeated::Repeated;
use super::reporter::Reporter;
use super::stored::Stored;
use super::tree_tables::{L1Use, L2Use, Trees};
use crate::Limit;
use crate::finding::{Evidence, Finding, Structure};
use crate::format::mapping::L1Entry;
use crate::format::qemu;
use crate::image::{Entry, Table};
use crate::rules::Judge;
use crate::rules::named::L2_TABLE_SHARED_IN_TREE;
use crate::source::ReadAt;
use crate::units::{GuestOffset, HostOffset, Span, to_u64};

/// For how many more trees there is room at a time.
const ROOM: usize = 4096;
/// Entries of one tree that point again at the same table, and are told by themselves.
const TOLD_REPEATS: u64 = 8;

/// The L1 tables over a part of the file.
#[derive(Debug, Default)]
struct TablesHere {
    /// By their start, so that the first has the lowest.
    tables: BTreeSet<(u64, usize)>,
    times: u64,
    active: Option<usize>,
}

/// The pass over the L1 tables.
pub(super) struct Sweep<'p, 'a, 'w, R> {
    pub(super) cx: &'p Context<'a, R>,
    pub(super) judge: &'p Judge<'a, R>,
    pub(super) stored: &'p Stored,
    pub(super) counted: &'p mut Counted,
    pub(super) repeated: &'p mut Repeated,
    pub(super) losses: &'p mut Losses,
    pub(super) flags: &'p mut Flags,
    pub(super) emptied: &'p mut Emptied,
    pub(super) reporter: &'p mut Reporter<'w>,
    pub(super) trees: Trees,
    pub(super) further_repeats: u64,
}

impl<R: ReadAt> Sweep<'_, '_, '_, R> {
    /// Finds all L2 tables, and counts the references to them and to the L1 tables.
    pub(super) fn trees(mut self, lists: &Lists) -> Trees {
        self.collect_trees(lists);
        let mut edges: BTreeMap<u64, (Vec<usize>, Vec<usize>)> = BTreeMap::new();
        let uses = self.trees.l1.clone();
        for (place, table) in uses.iter().enumerate() {
            let span = table.span();
            let end = span.end().0.min(self.cx.image.file_len());
            if span.at.0 < end {
                edges.entry(span.at.0).or_default().0.push(place);
                edges.entry(end).or_default().1.push(place);
            }
        }
        self.claim_l1(&uses);
        let mut here = TablesHere::default();
        let mut from = 0;
        for (at, (starts, ends)) in edges {
            if here.times != 0 && !self.sweep(&uses, &here, from, at) {
                break;
            }
            for (places, is_start) in [(ends, false), (starts, true)] {
                for place in places {
                    here.change(&uses, place, is_start);
                    let tree = uses.get(place).map(|table| table.tree);
                    tree.into_iter().for_each(|tree| self.emptied.l1_edge(place, tree, is_start));
                }
            }
            from = at;
        }
        if self.further_repeats != 0 {
            let further = self.further_repeats;
            self.reporter.push(Finding::more(&L2_TABLE_SHARED_IN_TREE, Structure::L1Table, further));
        }
        self.trees
    }

    /// Counts the references to the clusters of the L1 tables, each cluster once however many tables overlap.
    fn claim_l1(&mut self, uses: &[L1Use]) {
        let mut edges: BTreeMap<u64, (u64, u64)> = BTreeMap::new();
        for table in uses {
            if table.span().end().0 > qemu::MAX_FILE_LEN {
                // Reading there fails, and so does the check (block/qcow2-refcount.c, `check_refcounts_l1`).
                self.reporter.qemu.gives_up = true;
            }
            if self.cx.is_past_file(table.span()) {
                self.reporter.qemu.corrupt(table.times);
                continue;
            }
            let clusters = self.cx.geometry.clusters_of(table.span());
            let start = edges.entry(*clusters.start()).or_default();
            start.0 = start.0.saturating_add(table.times);
            let end = edges.entry(clusters.end().saturating_add(1)).or_default();
            end.1 = end.1.saturating_add(table.times);
        }
        let (mut times, mut from) = (0_u64, 0_u64);
        for (cluster, (starts, ends)) in edges {
            if times != 0 {
                self.counted.claim_clusters(from..cluster, times);
            }
            times = times.saturating_add(starts).saturating_sub(ends);
            from = cluster;
        }
    }

    /// All trees, and the distinct L1 tables that QEMU would read. What ends the snapshot table early, its own rules have
    /// told.
    fn collect_trees(&mut self, lists: &Lists) {
        for tree in self.cx.image.tree_pointers() {
            match tree {
                Ok(tree) => {
                    // There may be 65,536: room for as many again would be half of what a check takes.
                    if self.trees.all.len() == self.trees.all.capacity() {
                        self.trees.all.reserve_exact(ROOM);
                    }
                    self.trees.all.push(tree);
                }
                Err(error) => self.reporter.stop(error, Structure::Snapshot),
            }
        }
        self.trees.all.extend(lists.cut);
        let mut places: HashMap<Span, usize> = HashMap::new();
        for (tree, _) in &self.trees.all {
            let span = tree.l1.span();
            if span.len == 0 || !tree.l1.is_used(self.cx.geometry) {
                continue;
            }
            let place = *places.entry(span).or_insert(self.trees.l1.len());
            match self.trees.l1.get_mut(place) {
                Some(table) => table.times = table.times.saturating_add(1),
                None => self.trees.l1.push(L1Use { tree: *tree, times: 1 }),
            }
        }
    }

    /// The entries from one edge to the next, which are those of the same tables; `false` where no more can be kept. Takes note
    /// of whether there is one.
    fn sweep(&mut self, uses: &[L1Use], here: &TablesHere, from: u64, to: u64) -> bool {
        let Some((place, table)) = here.stands_for(uses) else { return true };
        let span = Span::new(HostOffset(from), to.saturating_sub(from));
        let part = Table { span, ..Table::l1(table.tree) };
        let skipped = from.saturating_sub(table.tree.l1.at.0) / 8;
        let mut entries = self.cx.image.entries(part);
        let mut is_used = false;
        while let Some(chunk) = entries.next() {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    self.end_l1_table();
                    self.reporter.stop(error, Structure::L1Table);
                    is_used = true;
                    break;
                }
            };
            for entry in chunk.entries() {
                is_used = true;
                let entry = Entry { index: entry.index.saturating_add(skipped), ..entry };
                self.judge.entry(&part, &entry, &mut self.reporter.found);
                if !self.l1_entry(here, place, entry.index, entry.at, L1Entry(entry.raw)) {
                    self.end_l1_table();
                    return false;
                }
                if self.reporter.has_many() {
                    self.note_l1_losses();
                    self.reporter.keep_few();
                }
            }
        }
        self.end_l1_table();
        self.emptied.l1_part(is_used);
        true
    }

    /// Hands on what was found in an L1 table, with the guest ranges that it hits.
    fn end_l1_table(&mut self) {
        self.note_l1_losses();
        self.reporter.end_table();
    }

    fn note_l1_losses(&mut self) {
        for finding in &self.reporter.found {
            match (&finding.found, finding.guest) {
                // What an entry leads to is lost in each tree that shares it, up to its end, as far as their disks go.
                (Evidence::Hex(raw), Some(mut guest)) if finding.structure == Structure::L1Table => {
                    let coverage = self.cx.geometry.l2_coverage();
                    let skipped = guest.span.start.0.checked_rem(coverage).unwrap_or_default();
                    guest.span.len = coverage.saturating_sub(skipped);
                    let whole = finding.clone().hurting(guest);
                    let start = GuestOffset(guest.span.start.0.saturating_sub(skipped));
                    self.losses.in_table(L1Entry(*raw).l2_offset().0, Some(start), &[whole]);
                }
                _ => self.losses.in_tree(finding),
            }
        }
    }

    fn l1_entry(
        &mut self,
        here: &TablesHere,
        place: usize,
        index: u64,
        at: HostOffset,
        entry: L1Entry,
    ) -> bool {
        if entry.reserved() != 0 {
            self.reporter.qemu.corrupt(here.times);
        }
        let l2 = entry.l2_offset();
        if l2.0 == 0 {
            // QEMU takes the header for the table, and counts what its bytes happen to say.
            self.counted.refer(self.cx, self.cx.geometry.cluster_at(l2), here.times, self.reporter);
            return self.remember(here, place, index, at, l2);
        }
        let is_aligned = l2.is_aligned(self.cx.geometry.cluster_size());
        if !is_aligned {
            self.reporter.qemu.corrupt(here.times);
        }
        let span = self.cx.geometry.cluster_at(l2);
        let is_there = !self.cx.is_past_file(span);
        if here.active.is_some() {
            let known = (self.stored, &mut *self.counted);
            self.flags.l1(self.cx, known, at, (entry, index), is_there, self.reporter);
        }
        // The clusters of a table off the boundary belong to others: they are counted, and not claimed.
        self.counted.refer(self.cx, span, here.times, self.reporter);
        if is_there && (is_aligned || self.repeated.may_read_unaligned()) {
            return self.remember(here, place, index, at, l2);
        }
        true
    }

    fn remember(
        &mut self,
        here: &TablesHere,
        place: usize,
        index: u64,
        at: HostOffset,
        l2: HostOffset,
    ) -> bool {
        let limits = self.cx.image.limits();
        if self.trees.l2.len() >= limits.l2_tables && !self.trees.l2.contains_key(&l2.0) {
            self.reporter.stop(limits.spent(Limit::L2Tables, at), Structure::L1Table);
            return false;
        }
        let is_active = here.active.is_some();
        let (l1, l1_index) = (narrow(to_u64(place)), narrow(index));
        let Trees { l1: l1_tables, l2: l2_tables, .. } = &mut self.trees;
        let table = l2_tables.entry(l2.0).or_insert(L2Use { l1, l1_index, ..L2Use::default() });
        table.is_elsewhere |= table.l1_index != l1_index || here.is_shifted();
        // A place that a guest can reach goes first, so that what is lost there is told; then the active tree.
        let rank = |l1_index: u32, is_active| {
            (self.cx.geometry.l1_guest_offset(l1_index.into()).is_some(), is_active)
        };
        let is_active_before = l1_tables.get(table.place()).is_some_and(L1Use::is_active);
        if rank(l1_index, is_active) > rank(table.l1_index, is_active_before) {
            (table.l1, table.l1_index) = (l1, l1_index);
        }
        let lowest = here.tables.first().map_or(u64::MAX, |(start, _)| *start);
        let is_twice = table.last_entry > lowest;
        let is_first = table.times == 0;
        table.times = table.times.saturating_add(here.times);
        table.active_times = table.active_times.saturating_add(u32::from(is_active));
        let other = std::mem::replace(&mut table.last_entry, at.0.saturating_add(1)).saturating_sub(1);
        table.repeats = table.repeats.saturating_add(u64::from(is_twice));
        let is_told = table.repeats <= TOLD_REPEATS || self.cx.options.each;
        if l2.0 == 0 {
            // L29 has told it.
            return true;
        }
        if is_first && l2.is_aligned(self.cx.geometry.cluster_size()) {
            self.counted.mark(self.cx, self.cx.geometry.cluster_at(l2), false);
        }
        if is_twice && !is_told {
            self.further_repeats = self.further_repeats.saturating_add(1);
        } else if is_twice {
            let guest = self.trees.tree(place).and_then(|tree| tree.l1_guest(index, self.cx.geometry));
            let span = Span::new(at, 8);
            let wanted = format!("a table of its own: the entry at {:#x} points there too", other);
            let found = Evidence::Hex(l2.0);
            let finding = Finding::new(&L2_TABLE_SHARED_IN_TREE, Structure::L1Table, span, found, wanted);
            self.reporter.found.push(Finding { guest, ..finding });
        }
        true
    }
}

impl TablesHere {
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
