//! One guest offset on its way through the tables, with every value that it meets.

use super::{Disk, Extent, State};
use crate::Error;
use crate::format::mapping::{L1Entry, L2Entry, SubclusterBitmap};
use crate::image::{Entry, Table};
use crate::source::ReadAt;
use crate::units::{GuestOffset, GuestPlace, GuestSpan, HostOffset};

/// A table entry on the way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Step<E> {
    /// Its place in its table.
    pub index: u64,
    /// Where it stands in the file; behind the end of the file QEMU reads zeros.
    pub at: HostOffset,
    /// What stands there.
    pub entry: E,
}

/// The way of one guest offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Trace {
    /// The guest offset.
    pub guest: GuestOffset,
    /// Whether it is one of the disk. Behind that lies VM state, where there is any.
    pub in_disk: bool,
    /// The L1 entry; `None` where the table does not reach so far.
    pub l1: Option<Step<L1Entry>>,
    /// The L2 entry; `None` where there is no table, or its place makes no sense.
    pub l2: Option<Step<L2Entry>>,
    /// The subcluster bitmap of an extended L2 entry.
    pub bitmap: Option<SubclusterBitmap>,
    /// The subcluster, with extended L2 entries.
    pub subcluster: Option<u64>,
    /// What comes of it.
    pub state: State,
    /// Where the byte stands in the file, or where its compressed stream starts.
    pub host: Option<HostOffset>,
    /// Bytes of the compressed stream, up to the end of its last sector.
    pub stream_len: u64,
}

impl<R: ReadAt> Disk<'_, R> {
    /// Follows a guest offset.
    ///
    /// # Errors
    /// Where a table cannot be read.
    pub fn locate(&self, guest: GuestOffset) -> Result<Trace, Error> {
        let (geometry, image, tree) = (self.geometry, self.image(), self.tree());
        let GuestPlace { l1_index, l2_index, in_cluster, .. } = geometry.place(guest);
        let table = Table::l1(tree);
        let l1 = (l1_index < table.entry_count()).then(|| image.entry(&table, l1_index)).transpose()?;
        let l1 = l1.map(|Entry { index, at, raw, .. }| Step { index, at, entry: L1Entry(raw) });
        let l2_at = l1.map(|step| step.entry.l2_offset());
        let l2_at = l2_at.filter(|at| at.0 != 0 && at.is_aligned(geometry.cluster_size()));
        let (mut l2, mut bitmap) = (None, None);
        if let Some(l2_at) = l2_at {
            let entry = image.entry(&Table::l2(tree, l1_index, l2_at, geometry), l2_index)?;
            l2 = Some(Step { index: l2_index, at: entry.at, entry: L2Entry(entry.raw) });
            bitmap = entry.bitmap;
        }
        // What it means is decided in one place.
        let extent = self.clusters(GuestSpan { start: guest, len: 1 }).next().transpose()?;
        let (state, host, stream_len) = match extent {
            Some(Extent { state, host, stream_len, .. }) => (state, host, stream_len),
            None => (State::Unallocated, None, 0),
        };
        let shift = geometry.subcluster_size().trailing_zeros();
        let subcluster = geometry.extended_l2().then(|| in_cluster.unbounded_shr(shift));
        let in_disk = guest.0 < self.len();
        Ok(Trace { guest, in_disk, l1, l2, bitmap, subcluster, state, host, stream_len })
    }
}
