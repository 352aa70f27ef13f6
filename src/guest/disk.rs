//! One tree of an image as the disk that a guest sees.

use super::cluster::Extent;
use super::extents::Extents;
use super::walk::ExtentWalk;
use crate::Error;
use crate::image::{DiskTree, Image, L1Table, Snapshot};
use crate::source::ReadAt;
use crate::units::{Geometry, GuestOffset, GuestSpan};

/// The disk of one tree.
#[derive(Debug)]
pub struct Disk<'i, R> {
    pub(super) image: &'i Image<R>,
    pub(super) geometry: Geometry,
    pub(super) tree: DiskTree,
    vm_state_len: Option<u64>,
}

impl<R> Clone for Disk<'_, R> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<R> Copy for Disk<'_, R> {}

impl<'i, R: ReadAt> Disk<'i, R> {
    /// What the guest sees now; `None` where `cluster_bits` makes no sense, and no table can be found.
    pub fn active(image: &'i Image<R>) -> Option<Self> {
        Self::of_tree(image, image.active_tree())
    }

    /// What it saw when this snapshot was taken; `None` as with [`Self::active`].
    pub fn of_snapshot(image: &'i Image<R>, snapshot: &Snapshot) -> Option<Self> {
        let disk = Self::of_tree(image, snapshot.disk_tree(image.header().v2.size.0))?;
        Some(Self { vm_state_len: Some(snapshot.vm_state_size()), ..disk })
    }

    /// The disk of this tree; `None` as with [`Self::active`].
    pub fn of_tree(image: &'i Image<R>, tree: DiskTree) -> Option<Self> {
        Some(Self { image, geometry: image.geometry()?, tree, vm_state_len: None })
    }

    /// The image.
    pub fn image(&self) -> &'i Image<R> {
        self.image
    }

    /// The tree.
    pub fn tree(&self) -> DiskTree {
        self.tree
    }

    /// Bytes of the disk: whole sectors, as QEMU has it.
    pub fn len(&self) -> u64 {
        self.tree.disk_len()
    }

    /// Whether the disk has no bytes.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that the L1 table maps: beyond the disk lies VM state, where the tree has any.
    pub fn mapped_len(&self) -> u64 {
        u64::from(self.tree.l1.size).saturating_mul(self.geometry.l2_coverage())
    }

    /// Where VM state lies, if there is any: behind the disk of this tree; `None` where that goes on up to 2^64. A snapshot's
    /// state stays behind the disk as it was then: QEMU resizes the image to that before it loads it.
    pub fn vm_state_at(&self) -> Option<GuestOffset> {
        self.tree.vm_state_at(self.geometry)
    }

    /// Bytes of VM state; `None` for the active disk, which does not say.
    pub fn vm_state_len(&self) -> Option<u64> {
        self.vm_state_len
    }

    /// Whether the clusters hold ciphertext.
    pub fn is_encrypted(&self) -> bool {
        self.image.header().is_encrypted()
    }

    /// The L1 table, and how many entries of it the disk needs, with its VM state where that is known.
    fn table(&self) -> (L1Table, u64) {
        let disk = self.geometry.l1_entries_for(self.tree.disk_size);
        let vm_state = self.geometry.l1_entries_for(self.vm_state_len.unwrap_or_default());
        (self.tree.l1, disk.saturating_add(vm_state))
    }

    /// The extents of these guest offsets, which may lie behind the end of the disk.
    pub fn extents(&self, range: GuestSpan) -> Extents<'i, R> {
        Extents::new(ExtentWalk::new(self.image, self.geometry, self.table(), range, false))
    }

    /// Hands the runs that the extents are made of to `visit`, up to its first error: neighbours may belong together.
    /// Where there are millions of them it costs half.
    ///
    /// # Errors
    /// Where a table cannot be read, and what `visit` says.
    pub fn for_each_run<E: From<Error>>(
        &self,
        range: GuestSpan,
        visit: impl FnMut(Extent) -> Result<(), E>,
    ) -> Result<(), E> {
        ExtentWalk::new(self.image, self.geometry, self.table(), range, false).for_each(visit)
    }

    /// The same, with each compressed cluster alone, and its stream.
    pub fn clusters(&self, range: GuestSpan) -> Extents<'i, R> {
        Extents::new(ExtentWalk::new(self.image, self.geometry, self.table(), range, true))
    }
}

/// The snapshot with this id, or else with this name, as QEMU looks it up; `None` if there is neither.
///
/// # Errors
/// Where the snapshot table cannot be read up to its end, and none was found before.
pub fn find_snapshot<R: ReadAt>(image: &Image<R>, id_or_name: &[u8]) -> Result<Option<Snapshot>, Error> {
    let mut by_name = None;
    for snapshot in image.snapshots() {
        match snapshot {
            Ok(snapshot) if snapshot.id == id_or_name => return Ok(Some(snapshot)),
            Ok(snapshot) if snapshot.name == id_or_name && by_name.is_none() => by_name = Some(snapshot),
            Ok(_) => {}
            Err(error) => return by_name.map_or(Err(error), |snapshot| Ok(Some(snapshot))),
        }
    }
    Ok(by_name)
}
