//! Which tables and clusters of the trees use the byte. What trees share is looked through once.

use std::collections::HashMap;

use super::{Search, Told, whole};
use crate::Error;
use crate::format::mapping::{L1Entry, L2Entry, Mapping};
use crate::guest::{Disk, State};
use crate::image::Visited;
use crate::source::ReadAt;
use crate::units::{GuestSpan, HostOffset, Span, to_u64};

/// The tables that were looked through.
struct Known {
    l1: HashMap<Span, Told>,
    l2: HashMap<HostOffset, Told>,
    l1_places: Visited<()>,
}

impl<'i, R: ReadAt> Search<'i, R> {
    pub(super) fn trees(&mut self) -> Result<(), Error> {
        let l1_places = Visited::new(self.image.limits().remembered_tables);
        let mut known = Known { l1: HashMap::new(), l2: HashMap::new(), l1_places };
        for tree in whole(self.image.trees()) {
            if let Some(disk) = Disk::of_tree(self.image, tree?) {
                self.tree(&disk, &mut known)?;
            }
        }
        Ok(())
    }

    fn tree(&mut self, disk: &Disk<'i, R>, known: &mut Known) -> Result<(), Error> {
        let l1 = disk.tree().l1;
        let index = self.index(l1.span(), 8);
        if let Some(owner) = self.offer("L1 table", l1.span()) {
            (owner.index, owner.tree) = (index, Some(l1.tree));
        }
        let told = known.l1.get(&l1.span()).copied();
        if self.is_known(told) {
            return Ok(());
        }
        if told.is_none() && known.l1_places.first(l1.span(), ()).is_some() {
            self.odd(l1.at)?;
        }
        let told = self.tell(|search| {
            let mut l1_index = 0_u64;
            let mut chunks = search.image.chunks("an L1 table", l1.span());
            while let Some(chunk) = chunks.next() {
                for (_, raw) in chunk?.entries() {
                    let at = L1Entry(raw).l2_offset();
                    if at.0 != 0 {
                        search.l2_table(disk, l1_index, at, known)?;
                    }
                    l1_index = l1_index.saturating_add(1);
                }
            }
            Ok(())
        })?;
        known.l1.insert(l1.span(), told);
        Ok(())
    }

    fn l2_table(
        &mut self,
        disk: &Disk<'i, R>,
        l1_index: u64,
        at: HostOffset,
        known: &mut Known,
    ) -> Result<(), Error> {
        let table = Span::new(at, self.geometry.cluster_size());
        let index = self.index(table, self.geometry.l2_entry_len());
        let start = self.geometry.l1_guest_offset(l1_index);
        let guest = start.map(|start| GuestSpan { start, len: self.geometry.l2_coverage() });
        if let Some(owner) = self.offer("L2 table", table) {
            (owner.index, owner.tree, owner.guest) = (index, Some(disk.tree().l1.tree), guest);
        }
        let told = known.l2.get(&at).copied();
        if self.image.has_external_data() || self.is_known(told) {
            return Ok(());
        }
        if told.is_none() && at.0 & self.geometry.cluster_size().saturating_sub(1) != 0 {
            self.odd(at)?;
        }
        let told = self.tell(|search| match guest {
            Some(guest) if search.may_refer(table)? => search.data(disk, guest),
            _ => Ok(()),
        })?;
        let limit = self.image.limits().l2_tables;
        if known.l2.len() >= limit {
            return Err(Error::Budget { limit: "l2_tables", value: to_u64(limit), at });
        }
        known.l2.insert(at, told);
        Ok(())
    }

    /// Whether an entry of the L2 table refers to the byte's cluster.
    fn may_refer(&self, table: Span) -> Result<bool, Error> {
        let (cluster_size, wide) = (self.geometry.cluster_size(), self.geometry.l2_entry_len() == 16);
        let mut chunks = self.image.chunks("an L2 table", table);
        while let Some(chunk) = chunks.next() {
            let entries = chunk?.entries();
            for (_, raw) in entries.step_by(if wide { 2 } else { 1 }) {
                let span = match self.image.mapping(self.geometry, L2Entry(raw)) {
                    Mapping::Data(at) | Mapping::ZeroAllocated(at) => Span::new(at, cluster_size),
                    Mapping::Compressed(stream) => Span::new(stream.at, stream.len),
                    _ => continue,
                };
                if self.counts(span) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// The clusters of the guest that use the byte.
    fn data(&mut self, disk: &Disk<'i, R>, guest: GuestSpan) -> Result<(), Error> {
        let left = disk.mapped_len().saturating_sub(guest.start.0);
        let range = GuestSpan { start: guest.start, len: guest.len.min(left) };
        let mask = !self.geometry.cluster_size().saturating_sub(1);
        // Subclusters of one cluster are several extents and one reference.
        let mut counted_for = None;
        for extent in disk.clusters(range) {
            let extent = extent?;
            let Some(host) = extent.host else { continue };
            let is_stream = extent.state == State::Compressed;
            let span = Span::new(host, if is_stream { extent.stream_len } else { extent.guest.len });
            if !self.counts(span) {
                continue;
            }
            // Where in the extent the byte's cluster begins, and the guest cluster that is there.
            let ahead = if is_stream { 0 } else { self.cluster.at.0.saturating_sub(host.0) };
            let guest_cluster = extent.guest.start.0.saturating_add(ahead) & mask;
            if counted_for != Some(guest_cluster) {
                counted_for = Some(guest_cluster);
                self.counted = self.counted.saturating_add(1);
            }
            let structure = match extent.state {
                State::Compressed => "compressed cluster",
                State::Data => "guest data",
                _ => "room kept for guest data",
            };
            if let Some(owner) = self.own(structure, span) {
                (owner.tree, owner.guest) = (Some(disk.tree().l1.tree), Some(extent.guest));
            }
        }
        Ok(())
    }
}
