//! L2 entries that are not plain: judged by the rules, and counted as QEMU counts them.

use super::flags::beyond_file;
use super::tables::{L2Reading, TableWalk};
use crate::format::mapping::{Compressed, L2Entry, Mapping, SubclusterBitmap};
use crate::image::Entry;
use crate::source::ReadAt;
use crate::units::{HostOffset, Span};

impl<R: ReadAt> TableWalk<'_, '_, '_, R> {
    /// One entry that has to be looked at closely.
    pub(super) fn odd_entry(
        &mut self,
        table: &mut L2Reading,
        index: u64,
        entry: L2Entry,
        bitmap: Option<SubclusterBitmap>,
    ) {
        table.seen.entry(self.cx, entry);
        // The header is no table, whatever QEMU counts in it.
        if !table.is_header() {
            let here = Entry { index, at: table.l2.entry_at(index), raw: entry.0, bitmap };
            self.judge.entry(&table.l2, &here, &mut self.reporter.found);
        }
        if self.reporter.has_many() {
            self.note_losses(table);
            self.reporter.keep_few();
        }
        let bitmap = bitmap.unwrap_or_default();
        if entry.reserved() != 0 {
            self.reporter.qemu.corrupt(table.times);
        }
        let mapping = self.cx.image.mapping(self.cx.geometry, entry);
        if mapping != Mapping::Unallocated || bitmap.zero() != 0 {
            self.hold(table, index, 1);
        }
        match mapping {
            Mapping::Compressed(stream) => self.compressed(table, index, entry, bitmap, stream),
            Mapping::Data(at) | Mapping::ZeroAllocated(at) => {
                self.host_cluster(table, index, entry, bitmap, at)
            }
            Mapping::Unallocated => {
                if bitmap.allocated() != 0 {
                    self.reporter.qemu.corrupt(table.times);
                }
            }
            Mapping::Zero => {}
        }
    }

    fn compressed(
        &mut self,
        table: &L2Reading,
        index: u64,
        entry: L2Entry,
        bitmap: SubclusterBitmap,
        stream: Compressed,
    ) {
        self.active.compressed = self.active.compressed.saturating_add(table.active_times.max(1));
        if entry.copied() {
            self.reporter.qemu.corrupt(table.times);
        }
        if self.cx.has_external_data {
            return self.reporter.qemu.corrupt(table.times);
        }
        let span = Span::new(stream.at, stream.len);
        if !table.is_header() && !self.cx.is_past_file(span) {
            self.streams.push(stream, table.number, index);
        }
        if bitmap.0 != 0 {
            // QEMU reads it all the same, and counts none of its clusters.
            return self.reporter.qemu.corrupt(table.times);
        }
        if table.active_times != 0 {
            let counters = &mut self.active.counters;
            for counter in [
                &mut counters.allocated_clusters,
                &mut counters.compressed_clusters,
                &mut counters.fragmented_clusters,
            ] {
                *counter = counter.saturating_add(table.active_times);
            }
        }
        if self.counted.refer(self.cx, span, table.times, self.reporter) && !table.is_header() {
            for cluster in self.cx.geometry.clusters_of(span) {
                let Some((page, slot)) = self.counted.clusters.at(cluster) else { return };
                page.rare_mut().packed.set(slot);
                if page.metadata.get(slot) || page.plain.get(slot) {
                    self.counted.conflicts.add(cluster);
                }
            }
        }
    }

    fn host_cluster(
        &mut self,
        table: &mut L2Reading,
        index: u64,
        entry: L2Entry,
        bitmap: SubclusterBitmap,
        at: HostOffset,
    ) {
        let cluster = self.cx.geometry.cluster_of(at);
        let span = self.cx.geometry.cluster_at(at);
        let is_there = !self.cx.is_past_file(span);
        if bitmap.conflicting() != 0 {
            self.reporter.qemu.corrupt(table.times);
        }
        if !at.is_aligned(self.cx.geometry.cluster_size()) {
            self.reporter.qemu.corrupt(table.times);
        }
        self.count_mapped(table, at.0, 1);
        if self.cx.has_external_data {
            // Data files have no refcounts: QEMU takes each for one.
            if !entry.copied() && !table.is_header() {
                self.reporter.qemu.corrupt(table.active_times);
            }
        } else if is_there && at.is_aligned(self.cx.geometry.cluster_size()) {
            self.map(table, index, entry.0, cluster);
        } else {
            self.counted.refer(self.cx, span, table.times, self.reporter);
            self.stray_flag(table, cluster, entry);
        }
    }

    /// Counts as QEMU does where the flag of an entry that has another fault is wrong too.
    fn stray_flag(&mut self, table: &L2Reading, cluster: u64, entry: L2Entry) {
        // QEMU looks at no flag of a table whose own refcount it cannot read.
        let is_read = !self.stored.is_unreadable(self.cx.geometry.cluster_of(table.at()));
        if table.active_times != 0 && !table.is_header() && is_read {
            beyond_file(self.cx, self.stored, cluster, entry.copied(), table.active_times, self.reporter);
        }
    }
}
