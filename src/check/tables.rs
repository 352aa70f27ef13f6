//! The pass over the L2 tables, each read once: a healthy run of entries costs a few comparisons.

use super::context::Context;
use super::counted::Counted;
use super::counts::PAGE_LEN;
use super::emptied::Emptied;
use super::flags::{Flag, Flags};
use super::lost::Losses;
use super::overwritten::{self, Seen};
use super::reporter::Reporter;
use super::stored::Stored;
use super::streams::StreamList;
use super::tree_tables::{L2Use, Trees};
use super::{Counters, Ranges};
use crate::Image;
use crate::finding::{Guest, Structure};
use crate::format::mapping::{L2Entry, SubclusterBitmap};
use crate::image::{DiskTree, Table};
use crate::rules::Judge;
use crate::source::ReadAt;
use crate::units::{Geometry, GuestOffset, HostOffset, to_u64, to_usize};

/// The L2 table at hand, as the tree has it that stands for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct L2Reading {
    /// The table.
    pub(super) l2: Table,
    /// The tree.
    pub(super) tree: DiskTree,
    /// What it maps first there; `None` past 2^64, where no guest can have anything.
    pub(super) start: Option<GuestOffset>,
    /// Its place in the order of the walk.
    pub(super) number: u32,
    /// Whether snapshots have other tables for its guest range.
    is_one_of_several: bool,
    /// L1 entries that lead to it, over all trees.
    pub(super) times: u64,
    /// L1 entries of the active tree among them.
    pub(super) active_times: u64,
    /// Entries from this one on lie behind the disk.
    disk_end: u64,
    /// Where the next cluster lies if it is not fragmented; 0 at the start, as QEMU has it.
    pub(super) next_offset: u64,
    /// Whether it holds entries at all.
    pub(super) seen: Seen,
}

impl L2Reading {
    /// A table, as if it were the only one.
    pub(super) fn new<R: ReadAt>(cx: &Context<'_, R>, trees: &Trees, at: u64, table: &L2Use) -> Self {
        let tree = trees.tree(table.place()).unwrap_or_else(|| cx.image.active_tree());
        let l1_index = u64::from(table.l1_index);
        let start = cx.geometry.l1_guest_offset(l1_index);
        let left = start.map_or(0, |start| tree.disk_size.saturating_sub(start.0));
        Self {
            l2: Table::l2(tree, l1_index, HostOffset(at), cx.geometry),
            tree,
            start,
            number: 0,
            is_one_of_several: false,
            times: table.times,
            active_times: table.active_times.into(),
            // Behind the disk lies VM state, and the rules of the disk's end do not hold.
            disk_end: if left == 0 { u64::MAX } else { cx.geometry.clusters_for(left) },
            next_offset: 0,
            seen: Seen::default(),
        }
    }

    /// Where it starts.
    pub(super) fn at(&self) -> HostOffset {
        self.l2.span.at
    }

    /// Whether it is the header, which an L1 entry with flags alone makes QEMU take for a table.
    pub(super) fn is_header(&self) -> bool {
        self.at().0 == 0
    }

    /// All that it maps; `None` past 2^64.
    pub(super) fn guest(&self, geometry: Geometry) -> Option<Guest> {
        let (tree, len) = (self.tree.l1.tree, geometry.l2_coverage());
        self.start.map(|start| Guest::new(tree, start, len, self.tree.disk_size))
    }

    /// The guest offset of an entry; `None` past 2^64.
    pub(super) fn guest_offset(&self, index: u64, geometry: Geometry) -> Option<GuestOffset> {
        self.start?.checked_add(index.checked_mul(geometry.cluster_size())?)
    }
}

/// What the active tree maps.
#[derive(Debug, Default)]
pub(super) struct Active {
    pub(super) counters: Counters,
    /// Compressed clusters of all trees, each table once, or as often as the active tree has it.
    pub(super) compressed: u64,
    /// The guest ranges that it maps, where a backing file has the rest.
    pub(super) held: Option<Ranges>,
}

impl Active {
    /// Nothing mapped yet.
    pub(super) fn new<R: ReadAt>(image: &Image<R>) -> Self {
        let is_backed = image.has_backing_file();
        let held = is_backed.then(|| Ranges::new(image.limits().lost_ranges));
        Self { held, ..Self::default() }
    }
}

/// The pass over the L2 tables, each read once.
pub(super) struct TableWalk<'p, 'a, 'w, R> {
    pub(super) cx: &'p Context<'a, R>,
    pub(super) judge: &'p Judge<'a, R>,
    pub(super) stored: &'p Stored,
    pub(super) counted: &'p mut Counted,
    pub(super) losses: &'p mut Losses,
    pub(super) flags: &'p mut Flags,
    pub(super) emptied: &'p mut Emptied,
    pub(super) reporter: &'p mut Reporter<'w>,
    pub(super) active: Active,
    pub(super) streams: StreamList,
}

impl<R: ReadAt> TableWalk<'_, '_, '_, R> {
    /// Walks all tables, guest range by guest range. Those of one range are copies that snapshots keep, and map the
    /// same clusters; no tree has two of them. So a cluster that was seen in another range, or that one table maps
    /// twice, is all that can be mapped twice by one tree.
    pub(super) fn tables(mut self, trees: &Trees) -> (Active, StreamList) {
        let tables = trees.ordered();
        let of = to_u64(tables.len());
        let mut done = 0_u64;
        'all: for range in tables.chunk_by(|(_, a), (_, b)| a.shares_range(b)) {
            let is_one_of_several = range.len() > 1;
            for (at, table) in range {
                let number = u32::try_from(done).unwrap_or(u32::MAX);
                let reading = L2Reading::new(self.cx, trees, *at, table);
                self.walk_table(L2Reading { number, is_one_of_several, ..reading });
                self.counted.clusters.end_table();
                if self.counted.is_spent() {
                    break 'all;
                }
                self.reporter.progress("L2 tables", done, of);
                done = done.saturating_add(1);
            }
            self.counted.clusters.end_range();
        }
        (self.active, self.streams)
    }

    fn walk_table(&mut self, mut table: L2Reading) {
        let mut entries = self.cx.image.entries(table.l2);
        let mut is_empty = true;
        while let Some(chunk) = entries.next() {
            let chunk = match chunk {
                Ok(chunk) => chunk,
                Err(error) => {
                    self.reporter.stop(error, Structure::L2Table);
                    is_empty = false;
                    break;
                }
            };
            if self.cx.geometry.extended_l2() {
                for entry in chunk.entries() {
                    is_empty = false;
                    self.entry(&mut table, entry.index, entry.raw, entry.bitmap);
                }
                continue;
            }
            let (mut entries, mut index) = (chunk.bytes.as_chunks::<8>().0, chunk.first);
            while let Some(entry) = entries.first() {
                let raw = u64::from_be_bytes(*entry);
                let len = if raw == 0 {
                    entries.iter().take_while(|entry| **entry == [0; 8]).count()
                } else {
                    is_empty = false;
                    self.entry_run(&mut table, index, raw, entries)
                };
                entries = entries.get(len.max(1)..).unwrap_or_default();
                index = index.saturating_add(to_u64(len));
            }
        }
        let is_empty = is_empty || table.seen.are_all_zeros(table.l2.entry_count());
        if let Some(start) = table.start.filter(|_| is_empty && !table.is_header()) {
            self.emptied.add(table.l2, table.tree, start, self.cx.geometry.l2_coverage());
        }
        if !table.is_header() {
            let guest = table.guest(self.cx.geometry);
            overwritten::judge(self.cx, (table.l2, guest), table.seen, self.reporter);
        }
        self.note_losses(&table);
        self.reporter.end_table();
    }

    /// Takes note of what the findings that are kept of a table hit.
    pub(super) fn note_losses(&mut self, table: &L2Reading) {
        self.losses.in_table(table.at().0, table.start, &self.reporter.found);
    }

    /// The entries from `index` on that map clusters side by side, all in one page of clusters, or one entry of
    /// another kind; answers how many they were.
    #[inline]
    fn entry_run(&mut self, table: &mut L2Reading, index: u64, raw: u64, entries: &[[u8; 8]]) -> usize {
        let offset = L2Entry(raw).standard_offset();
        let cluster_size = self.cx.geometry.cluster_size();
        if !self.is_plain(table, index, raw) {
            self.odd_entry(table, index, L2Entry(raw), None);
            return 1;
        }
        let cluster = self.cx.geometry.cluster_of(offset);
        let in_page = PAGE_LEN.saturating_sub(cluster % PAGE_LEN);
        let in_file =
            self.cx.image.file_len().saturating_sub(offset.0).unbounded_shr(self.cx.geometry.cluster_bits());
        let most = to_usize(in_page.min(in_file).min(table.disk_end.saturating_sub(index)));
        let mut next = raw;
        let goes_on = |entry: &&[u8; 8]| {
            next = next.wrapping_add(cluster_size);
            u64::from_be_bytes(**entry) == next
        };
        let len = entries.iter().take(most).skip(1).take_while(goes_on).count().saturating_add(1);
        self.count_mapped(table, offset.0, to_u64(len));
        self.hold(table, index, to_u64(len));
        self.map_run(table, index, raw, cluster, len);
        len
    }

    /// Counts the references of a run of plain entries, all at once where nothing is wrong with any of them.
    #[inline]
    fn map_run(&mut self, table: &L2Reading, index: u64, raw: u64, cluster: u64, len: usize) {
        if len > 1 && !table.is_header() {
            let Some((page, slot)) = self.counted.clusters.at(cluster) else { return };
            let is_flag_right = match (table.active_times, L2Entry(raw).copied()) {
                (0, _) => true,
                (_, false) => !page.one.any(slot, len),
                _ => page.one.all(slot, len),
            };
            let is_alone = !page.seen.any(slot, len) && !page.metadata.any(slot, len) && !page.has_packed();
            if is_flag_right && is_alone && !(table.is_one_of_several && page.is_own(slot, len)) {
                page.add_run(slot, len, table.times);
                page.plain.set_run(slot, len);
                if table.is_one_of_several {
                    page.rare_mut().own.set_run(slot, len);
                    self.counted.clusters.remember_own(cluster);
                } else {
                    page.seen.set_run(slot, len);
                }
                self.counted.touched_end = self.counted.touched_end.max(cluster.saturating_add(to_u64(len)));
                return;
            }
        }
        let cluster_size = self.cx.geometry.cluster_size();
        for n in 0..to_u64(len) {
            let raw = raw.saturating_add(n.saturating_mul(cluster_size));
            self.map(table, index.saturating_add(n), raw, cluster.saturating_add(n));
        }
    }

    #[inline]
    fn is_plain(&self, table: &L2Reading, index: u64, raw: u64) -> bool {
        let offset = L2Entry(raw).standard_offset();
        let cluster_size = self.cx.geometry.cluster_size();
        raw & L2Entry::NOT_PLAIN == 0
            && offset.0 != 0
            && offset.is_aligned(cluster_size)
            && offset.0.saturating_add(cluster_size) <= self.cx.image.file_len()
            && index < table.disk_end
            && !self.cx.has_external_data
    }

    /// One entry that is not zero.
    #[inline]
    fn entry(&mut self, table: &mut L2Reading, index: u64, raw: u64, bitmap: Option<SubclusterBitmap>) {
        let offset = L2Entry(raw).standard_offset();
        let is_plain =
            self.is_plain(table, index, raw) && bitmap.is_none_or(|bitmap| bitmap.conflicting() == 0);
        if is_plain {
            self.count_mapped(table, offset.0, 1);
            self.hold(table, index, 1);
            self.map(table, index, raw, self.cx.geometry.cluster_of(offset));
        } else {
            self.odd_entry(table, index, L2Entry(raw), bitmap);
        }
    }

    /// What `qemu-img check` counts of active entries with host clusters, `count` of them side by side.
    #[inline]
    pub(super) fn count_mapped(&mut self, table: &mut L2Reading, offset: u64, count: u64) {
        if table.active_times != 0 {
            let counted = table.active_times.saturating_mul(count);
            self.active.counters.allocated_clusters =
                self.active.counters.allocated_clusters.saturating_add(counted);
            if table.next_offset != 0 && offset != table.next_offset {
                let counted = self.active.counters.fragmented_clusters.saturating_add(table.active_times);
                self.active.counters.fragmented_clusters = counted;
            }
            table.next_offset = offset.saturating_add(self.cx.geometry.cluster_size().saturating_mul(count));
        }
    }

    /// Counts the references of a standard entry to its cluster, which stands on a boundary and in the file.
    #[inline]
    pub(super) fn map(&mut self, table: &L2Reading, index: u64, raw: u64, cluster: u64) {
        let Some((page, slot)) = self.counted.clusters.at(cluster) else { return };
        page.add(slot, table.times);
        let is_active = table.active_times != 0;
        if table.is_header() {
            return self.counted.touched_end = self.counted.touched_end.max(cluster.saturating_add(1));
        }
        let is_twice = match table.is_one_of_several {
            true => page.rare_mut().own.set(slot) || page.seen.get(slot),
            false => page.seen.set(slot),
        };
        let is_conflict = is_twice || page.metadata.get(slot) || page.is_packed(slot);
        page.plain.set(slot);
        let is_flag_wrong = is_active && page.one.get(slot) != L2Entry(raw).copied();
        self.counted.touched_end = self.counted.touched_end.max(cluster.saturating_add(1));
        if table.is_one_of_several {
            self.counted.clusters.remember_own(cluster);
        }
        if is_conflict {
            self.counted.conflicts.add(cluster);
        }
        if is_flag_wrong {
            let guest = table.guest_offset(index, self.cx.geometry);
            let flag = Flag { at: table.l2.entry_at(index), raw, cluster, guest, is_l1: false };
            let known = (self.stored, &mut *self.counted);
            self.flags.wrong(flag, table.active_times, known, self.reporter);
        }
    }

    /// Takes note that the active tree maps these entries, where a backing file has what it does not.
    #[inline]
    pub(super) fn hold(&mut self, table: &L2Reading, index: u64, count: u64) {
        if self.active.held.is_none() || table.active_times == 0 || table.is_header() {
            return;
        }
        let Some(start) = table.guest_offset(index, self.cx.geometry) else { return };
        let left = table.tree.disk_size.saturating_sub(start.0);
        let len = count.saturating_mul(self.cx.geometry.cluster_size()).min(left);
        if let Some(held) = &mut self.active.held {
            held.add(start.0, len);
        }
    }
}
