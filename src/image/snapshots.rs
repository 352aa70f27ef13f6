//! The snapshot table, entry by entry.

use super::list::{List, ListEntry};
use super::window::Window;
use super::{DiskTree, Header, L1Table};
use crate::format::snapshot::{NO_ICOUNT, SnapshotExtra, SnapshotHead, extra_field};
use crate::format::{Field, FieldValue, Layout};
use crate::parse;
use crate::source::{Metered, ReadAt};
use crate::units::{Geometry, HostOffset, Span, Tree, to_u64};
use crate::{Error, Limit, Limits};

/// One snapshot table entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Its place in the table.
    pub index: u32,
    /// Where its entry starts.
    pub at: HostOffset,
    /// The fixed part.
    pub head: SnapshotHead,
    /// The extra data.
    pub extra: Vec<u8>,
    /// The id.
    pub id: Vec<u8>,
    /// The name.
    pub name: Vec<u8>,
    /// The bytes behind it, up to a multiple of 8.
    pub padding: Vec<u8>,
}

impl Snapshot {
    /// Its L1 table.
    pub fn l1(&self) -> L1Table {
        L1Table { tree: Tree::Snapshot(self.index), at: self.head.l1_table_offset, size: self.head.l1_size }
    }

    /// The disk as it was then; `virtual_size` is the image's.
    pub fn disk_tree(&self, virtual_size: u64) -> DiskTree {
        DiskTree { l1: self.l1(), disk_size: self.disk_size().unwrap_or(virtual_size) }
    }

    /// Where the extra data starts.
    pub fn extra_at(&self) -> HostOffset {
        self.at.saturating_add(SnapshotHead::LEN)
    }

    /// Where the id starts.
    pub fn id_at(&self) -> HostOffset {
        self.extra_at().saturating_add(to_u64(self.extra.len()))
    }

    /// Where the name starts.
    pub fn name_at(&self) -> HostOffset {
        self.id_at().saturating_add(to_u64(self.id.len()))
    }

    /// Where the padding starts.
    pub fn padding_at(&self) -> HostOffset {
        self.name_at().saturating_add(to_u64(self.name.len()))
    }

    /// Where the next entry starts.
    pub fn end(&self) -> HostOffset {
        self.padding_at().saturating_add(to_u64(self.padding.len()))
    }

    /// The bytes of the entry with its padding.
    pub fn span(&self) -> Span {
        Span::new(self.at, self.end().0.saturating_sub(self.at.0))
    }

    /// The known fields of the extra data that the entry has, with offsets from the start of the extra data.
    pub fn extra_fields(&self) -> Vec<(Field, FieldValue)> {
        let mut fields =
            SnapshotExtra::decode_zero_filled(&self.extra).map_or(Vec::new(), |extra| extra.fields());
        fields.retain(|(field, _)| self.has_extra(*field));
        fields
    }

    /// The extra data behind the known fields.
    pub fn unknown_extra(&self) -> Option<(HostOffset, &[u8])> {
        let known = self.extra_fields().last().map_or(0, |(field, _)| field.end());
        let rest = self.extra.get(usize::try_from(known).ok()?..)?;
        (!rest.is_empty()).then_some((self.extra_at().saturating_add(known), rest))
    }

    /// Bytes of VM state: of the 64-bit field where the entry has it.
    pub fn vm_state_size(&self) -> u64 {
        self.known_extra(extra_field::VM_STATE_SIZE_LARGE)
            .map_or(self.head.vm_state_size.0.into(), |extra| extra.vm_state_size_large.0)
    }

    /// Bytes of the guest's disk; `None` where the entry does not say, and it is that of the image.
    pub fn disk_size(&self) -> Option<u64> {
        self.known_extra(extra_field::DISK_SIZE).map(|extra| extra.disk_size.0)
    }

    /// The instruction count, where there is one.
    pub fn icount(&self) -> Option<u64> {
        self.known_extra(extra_field::ICOUNT).map(|extra| extra.icount).filter(|icount| *icount != NO_ICOUNT)
    }

    /// Whether the extra data goes on to the end of this field.
    fn has_extra(&self, field: Field) -> bool {
        field.end() <= to_u64(self.extra.len())
    }

    /// The extra data, where it has this field.
    fn known_extra(&self, field: Field) -> Option<SnapshotExtra> {
        self.has_extra(field).then(|| SnapshotExtra::decode_zero_filled(&self.extra)).flatten()
    }

    /// L1 entries that its disk and VM state need.
    pub fn l1_entries_wanted(&self, geometry: Geometry, virtual_size: u64) -> u64 {
        // VM state lies behind the disk as it was then: QEMU resizes the image to that before it loads the state.
        let disk = geometry.l1_entries_for(self.disk_size().unwrap_or(virtual_size));
        disk.saturating_add(geometry.l1_entries_for(self.vm_state_size()))
    }
}

impl ListEntry for Snapshot {
    type Head = SnapshotHead;

    const LIMIT: Limit = Limit::Snapshots;

    fn entry_len(head: &SnapshotHead) -> u64 {
        head.entry_len()
    }

    fn parse(index: u32, at: HostOffset, bytes: &[u8]) -> Result<Self, Error> {
        let parts = parse::snapshots::parse(bytes, at)?;
        Ok(Self {
            index,
            at,
            head: parts.head,
            extra: parts.extra.to_vec(),
            id: parts.id.to_vec(),
            name: parts.name.to_vec(),
            padding: parts.padding.to_vec(),
        })
    }

    fn next_at(&self) -> HostOffset {
        self.end()
    }
}

/// Reads one entry after the other, up to the table's end or a fault.
#[derive(Debug)]
pub struct Snapshots<'i, R>(List<'i, R>);

impl<'i, R: ReadAt> Snapshots<'i, R> {
    pub(super) fn new(source: &'i Metered<R>, header: &Header, limits: &Limits) -> Self {
        // The header says how many entries there are, and not where they end.
        let window = Window::new(source, "the snapshot table", HostOffset(u64::MAX));
        let (at, count) = (header.v2.snapshots_offset, header.v2.nb_snapshots);
        Self(List::new(window, at, (None, Some(count)), limits))
    }
}

impl<R: ReadAt> Iterator for Snapshots<'_, R> {
    type Item = Result<Snapshot, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::scalar::ByteSize;

    #[test]
    fn vm_state_starts_behind_the_snapshots_own_disk() {
        let extra =
            SnapshotExtra { vm_state_size_large: ByteSize(1), disk_size: ByteSize(1 << 20), icount: 0 };
        let mut snapshot = Snapshot {
            index: 0,
            at: HostOffset(0),
            head: SnapshotHead::default(),
            extra: extra.encode(),
            id: Vec::new(),
            name: Vec::new(),
            padding: Vec::new(),
        };
        let geometry = Geometry::new(10, false).unwrap();
        // One L1 entry maps 128 KiB. The image has grown since, from 1 to 4 MiB.
        assert_eq!(snapshot.l1_entries_wanted(geometry, 4 << 20), 8 + 1);
        snapshot.extra.truncate(15);
        assert_eq!(snapshot.l1_entries_wanted(geometry, 4 << 20), 32 + 1);
        snapshot.extra.clear();
        assert_eq!(snapshot.l1_entries_wanted(geometry, u64::MAX), 1 << 47);
    }
}
