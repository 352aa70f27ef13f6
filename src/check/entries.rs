//! L2 entries that are not plain: judged by the rules, and counted as QEMU counts them.

use super::Engine;
use super::tables::L2Reading;
use crate::format::mapping::{Compressed, L2Entry, Mapping, SubclusterBitmap};
use crate::image::{Entry, ends_past_file};
use crate::rules::L2Place;
use crate::source::ReadAt;
use crate::units::{HostOffset, Span};

impl<R: ReadAt> Engine<'_, '_, R> {
    /// One entry that has to be looked at closely.
    pub(super) fn odd_entry(
        &mut self,
        table: &mut L2Reading,
        index: u64,
        entry: L2Entry,
        bitmap: Option<SubclusterBitmap>,
    ) {
        let place = table.place(index, self.geometry.l2_entry_len());
        // The header is no table, whatever QEMU counts in it.
        if !table.is_header() {
            let here = Entry { index, at: place.at, raw: entry.0, bitmap };
            self.judge.entry(&table.l2, &here, &mut self.found);
        }
        if self.has_many() {
            self.note_losses(table);
            self.thin_out();
        }
        let bitmap = bitmap.unwrap_or_default();
        if entry.reserved() != 0 {
            self.totals.qemu.corrupt(table.times);
        }
        let mapping = self.image.mapping(self.geometry, entry);
        if mapping != Mapping::Unallocated || bitmap.zero() != 0 {
            self.hold(table, index, 1);
        }
        match mapping {
            Mapping::Compressed(stream) => self.compressed(table, &place, entry, bitmap, stream),
            Mapping::Data(at) | Mapping::ZeroAllocated(at) => {
                self.host_cluster(table, index, entry, bitmap, at)
            }
            Mapping::Unallocated => {
                if bitmap.allocated() != 0 {
                    self.totals.qemu.corrupt(table.times);
                }
            }
            Mapping::Zero => {}
        }
    }

    fn compressed(
        &mut self,
        table: &L2Reading,
        place: &L2Place,
        entry: L2Entry,
        bitmap: SubclusterBitmap,
        stream: Compressed,
    ) {
        self.compressed = self.compressed.saturating_add(table.active_times.max(1));
        if entry.copied() {
            self.totals.qemu.corrupt(table.times);
        }
        if self.has_external_data {
            return self.totals.qemu.corrupt(table.times);
        }
        let span = Span::new(stream.at, stream.len);
        if !table.is_header() && !ends_past_file(self.image.file_len(), span, self.geometry) {
            self.streams.push(stream, table.number, place.index);
        }
        if bitmap.0 != 0 {
            // QEMU reads it all the same, and counts none of its clusters.
            return self.totals.qemu.corrupt(table.times);
        }
        if table.active_times != 0 {
            let counters = &mut self.counters;
            for counter in [
                &mut counters.allocated_clusters,
                &mut counters.compressed_clusters,
                &mut counters.fragmented_clusters,
            ] {
                *counter = counter.saturating_add(table.active_times);
            }
        }
        if self.refer(span, table.times) && !table.is_header() {
            for cluster in self.clusters_of(span) {
                let Some((page, slot)) = self.clusters.at(cluster) else { return };
                page.rare_mut().packed.set(slot);
                if page.metadata.get(slot) || page.plain.get(slot) {
                    self.conflicts.add(cluster);
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
        let cluster = self.cluster(at);
        let span = Span::new(at, self.geometry.cluster_size());
        let is_there = !ends_past_file(self.image.file_len(), span, self.geometry);
        if bitmap.conflicting() != 0 {
            self.totals.qemu.corrupt(table.times);
        }
        if !at.is_aligned(self.geometry.cluster_size()) {
            self.totals.qemu.corrupt(table.times);
        }
        self.count_mapped(table, at.0, 1);
        if self.has_external_data {
            // Data files have no refcounts: QEMU takes each for one.
            if !entry.copied() && !table.is_header() {
                self.totals.qemu.corrupt(table.active_times);
            }
        } else if is_there && at.is_aligned(self.geometry.cluster_size()) {
            self.map(table, index, entry.0, cluster);
        } else {
            self.refer(span, table.times);
            self.stray_flag(table, cluster, entry);
        }
    }

    /// Counts as QEMU does where the flag of an entry that has another fault is wrong too.
    fn stray_flag(&mut self, table: &L2Reading, cluster: u64, entry: L2Entry) {
        if table.active_times != 0 && !table.is_header() {
            self.flag_beyond_file(cluster, entry.copied(), table.active_times);
        }
    }
}
