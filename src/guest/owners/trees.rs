//! Which tables and clusters of the trees use the byte. What trees share is looked through once.

use std::collections::HashMap;

use super::{Search, Told, whole};
use crate::format::mapping::{L1Entry, L2Entry, Mapping, SubclusterBitmap};
use crate::format::qemu;
use crate::guest::{Disk, State};
use crate::image::Visited;
use crate::source::ReadAt;
use crate::units::{GuestOffset, GuestSpan, HostOffset, Span, Tree};
use crate::{Error, Limit};

/// The tables that were looked through.
struct Known {
    l1: HashMap<Span, Told>,
    l2: HashMap<HostOffset, KnownL2>,
    l1_places: Visited<()>,
}

/// An L2 table that was looked through.
#[derive(Clone, Copy)]
struct KnownL2 {
    told: Told,
    /// Where the guest range began that it stood for; `None` past 2^64, where it has no owners.
    start: Option<GuestOffset>,
}

/// What an L2 table has in the byte's cluster.
#[derive(Default)]
struct References {
    /// As QEMU counts them.
    counted: u64,
    /// Whether it has any, counted or not.
    any: bool,
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
        if let Some(owner) = self.own("L1 table", l1.span()) {
            (owner.index, owner.tree) = (index, Some(l1.tree));
        }
        // Where it is no table for QEMU, nobody knows what its bytes would mean.
        let is_too_large = l1.size > qemu::MAX_L1_ENTRIES && l1.tree != Tree::Active;
        if is_too_large || !l1.at.is_aligned(self.geometry.cluster_size()) {
            return Ok(());
        }
        self.count(l1.span());
        if let Some(told) = known.l1.get(&l1.span()) {
            self.repeat(*told, |owner| owner.tree = Some(l1.tree));
            return Ok(());
        }
        if known.l1_places.first(l1.span(), ()).is_some() {
            self.odd(l1.at)?;
        }
        let told = self.tell(|search| {
            let mut l1_index = 0_u64;
            let mut chunks = search.image.chunks("an L1 table", l1.span());
            while let Some(chunk) = chunks.next() {
                for (_, raw) in chunk?.entries() {
                    if raw != 0 {
                        search.l2_table(disk, l1_index, L1Entry(raw).l2_offset(), known)?;
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
        let (table, tree) = (Span::new(at, self.geometry.cluster_size()), disk.tree().l1.tree);
        let index = self.index(table, self.geometry.l2_entry_len());
        // Of an entry with flags alone QEMU's check takes the header for the table, which no guest sees.
        let start = self.geometry.l1_guest_offset(l1_index).filter(|_| at.0 != 0);
        let guest = start.map(|start| GuestSpan { start, len: self.geometry.l2_coverage() });
        self.count(table);
        if at.0 != 0
            && let Some(owner) = self.own("L2 table", table)
        {
            (owner.index, owner.tree, owner.guest) = (index, Some(tree), guest);
        }
        if self.image.has_external_data() {
            return Ok(());
        }
        let before = known.l2.get(&at).copied();
        // One that stood for no guest range is looked through again for the first that it stands for.
        if let Some(KnownL2 { told, start: old }) =
            before.filter(|known| known.start.is_some() || start.is_none())
        {
            let moved = |at: GuestOffset| {
                let within = at.0.saturating_sub(old.unwrap_or_default().0);
                start.unwrap_or_default().saturating_add(within)
            };
            // Without a range it has no owners.
            let told = if start.is_some() { told } else { Told { owners: 0, ..told } };
            self.repeat(told, |owner| {
                owner.tree = Some(tree);
                owner.guest = owner.guest.map(|guest| GuestSpan { start: moved(guest.start), ..guest });
            });
            return Ok(());
        }
        if before.is_none() && !at.is_aligned(self.geometry.cluster_size()) {
            self.odd(at)?;
        }
        let told = self.tell(|search| {
            let references = search.references(table)?;
            search.counted = search.counted.saturating_add(references.counted);
            match guest {
                Some(guest) if references.any => search.data(disk, guest),
                _ => Ok(()),
            }
        })?;
        let limits = self.image.limits();
        if known.l2.len() >= limits.l2_tables {
            return Err(limits.spent(Limit::L2Tables, at));
        }
        known.l2.insert(at, KnownL2 { told, start });
        Ok(())
    }

    /// The references that an L2 table has to the byte's cluster.
    fn references(&self, table: Span) -> Result<References, Error> {
        let mut references = References::default();
        let mut chunks = self.image.chunks("an L2 table", table);
        while let Some(chunk) = chunks.next() {
            let chunk = chunk?;
            if self.geometry.extended_l2() {
                chunk.wide_entries().for_each(|(_, (raw, bitmap))| {
                    self.entry(L2Entry(raw), SubclusterBitmap(bitmap), &mut references);
                });
            } else {
                chunk.entries().for_each(|(_, raw)| {
                    self.entry(L2Entry(raw), SubclusterBitmap::default(), &mut references);
                });
            }
        }
        Ok(references)
    }

    fn entry(&self, entry: L2Entry, bitmap: SubclusterBitmap, references: &mut References) {
        let (span, is_counted) = match self.image.mapping(self.geometry, entry) {
            Mapping::Data(at) | Mapping::ZeroAllocated(at) => {
                (Span::new(at, self.geometry.cluster_size()), true)
            }
            // QEMU's check passes over a compressed cluster that has subclusters.
            Mapping::Compressed(stream) => (Span::new(stream.at, stream.len), bitmap.0 == 0),
            _ => return,
        };
        if self.touches(span) {
            references.any = true;
            let counted = u64::from(is_counted && self.counts(span));
            references.counted = references.counted.saturating_add(counted);
        }
    }

    /// The clusters of the guest that use the byte.
    fn data(&mut self, disk: &Disk<'i, R>, guest: GuestSpan) -> Result<(), Error> {
        let left = disk.mapped_len().saturating_sub(guest.start.0);
        let range = GuestSpan { start: guest.start, len: guest.len.min(left) };
        for extent in disk.clusters(range) {
            let extent = extent?;
            let Some(host) = extent.host else { continue };
            let is_stream = extent.state == State::Compressed;
            let span = Span::new(host, if is_stream { extent.stream_len } else { extent.guest.len });
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
