//! Which tables and clusters of the trees use the byte. What trees share is looked through once.

use std::collections::HashMap;

use super::{OwnersOf, Search};
use crate::Error;
use crate::format::mapping::L1Entry;
use crate::guest::{Disk, State};
use crate::image::{Table, until_cut};
use crate::references::Role;
use crate::source::ReadAt;
use crate::units::{GuestOffset, GuestSpan, HostOffset, Span};

/// The tables that were looked through.
#[derive(Default)]
struct LookedThrough {
    l1: HashMap<Span, OwnersOf>,
    /// Each with the start of the guest range for which it was.
    l2: HashMap<HostOffset, (OwnersOf, GuestOffset)>,
}

impl<'i, R: ReadAt> Search<'_, 'i, R> {
    /// Finds the owners among the trees, once it is known which tables lead to them.
    pub(super) fn trees(&mut self) -> Result<(), Error> {
        let mut done = LookedThrough::default();
        for tree in until_cut(self.image.trees()) {
            let Some(disk) = Disk::of_tree(self.image, tree?) else { continue };
            let l1 = disk.tree().l1;
            let index = self.index(l1.span(), 8);
            if let Some(owner) = self.own(Role::L1Table, l1.span()) {
                (owner.index, owner.tree) = (index, Some(l1.tree));
            }
            // Where it is no table for QEMU, nobody knows what its bytes would mean.
            if self.leading.is_empty() || !l1.is_used(self.geometry) {
                continue;
            }
            match done.l1.get(&l1.span()) {
                Some(owners) => self.repeat(*owners, |owner| owner.tree = Some(l1.tree)),
                None => {
                    let owners = self.owners_of(|search| search.l1_table(&disk, &mut done))?;
                    done.l1.insert(l1.span(), owners);
                }
            }
        }
        Ok(())
    }

    fn l1_table(&mut self, disk: &Disk<'i, R>, done: &mut LookedThrough) -> Result<(), Error> {
        self.image.entries(Table::l1(disk.tree())).for_each(|entry| {
            let at = L1Entry(entry.raw).l2_offset();
            // Of an entry with flags alone QEMU's check takes the header for the table, which no guest sees.
            if at.0 == 0 || !self.leading.contains(&at) {
                return Ok(());
            }
            self.l2_table(disk, entry.index, at, done)
        })
    }

    fn l2_table(
        &mut self,
        disk: &Disk<'i, R>,
        l1_index: u64,
        at: HostOffset,
        done: &mut LookedThrough,
    ) -> Result<(), Error> {
        let (table, tree) = (self.geometry.cluster_at(at), disk.tree().l1.tree);
        let index = self.index(table, self.geometry.l2_entry_len());
        let start = self.geometry.l1_guest_offset(l1_index);
        let guest = start.map(|start| GuestSpan { start, len: self.geometry.l2_coverage() });
        if let Some(owner) = self.own(Role::L2Table, table) {
            (owner.index, owner.tree, owner.guest) = (index, Some(tree), guest);
        }
        let Some(guest) = guest.filter(|_| !self.image.has_external_data()) else { return Ok(()) };
        match done.l2.get(&at) {
            Some((owners, before)) => self.repeat(*owners, |owner| {
                owner.tree = Some(tree);
                owner.guest = owner.guest.map(|span| {
                    let within = span.start.0.saturating_sub(before.0);
                    GuestSpan { start: guest.start.saturating_add(within), ..span }
                });
            }),
            None => {
                let owners = self.owners_of(|search| search.clusters(disk, guest))?;
                done.l2.insert(at, (owners, guest.start));
            }
        }
        Ok(())
    }

    /// The clusters of the guest that use the byte.
    fn clusters(&mut self, disk: &Disk<'i, R>, guest: GuestSpan) -> Result<(), Error> {
        let left = disk.mapped_len().saturating_sub(guest.start.0);
        let range = GuestSpan { start: guest.start, len: guest.len.min(left) };
        for extent in disk.clusters(range) {
            let extent = extent?;
            let Some(host) = extent.host else { continue };
            let (role, len) = match extent.state {
                State::Compressed => (Role::Compressed, extent.stream_len),
                State::Data => (Role::Data, extent.guest.len),
                _ => (Role::KeptForData, extent.guest.len),
            };
            if let Some(owner) = self.own(role, Span::new(host, len)) {
                (owner.tree, owner.guest) = (Some(disk.tree().l1.tree), Some(extent.guest));
            }
        }
        Ok(())
    }
}
