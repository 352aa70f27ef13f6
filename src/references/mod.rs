//! Who refers to which bytes of the file: in which role, from where, for which guest range, and how often QEMU's check
//! counts it.
//!
//! What an entry refers to is said in one place; which tables are gone through is the caller's choice. The visits here
//! go through each distinct table of the trees once.
#![warn(clippy::arithmetic_side_effects)]

mod lists;
mod role;
mod trees;

use std::collections::BTreeMap;

use crate::Error;
use crate::finding::Guest;
use crate::format::bitmap::{BitmapData, BitmapTableEntry};
use crate::format::mapping::{L1Entry, L2Entry, Mapping};
use crate::format::refcount::RefcountTableEntry;
use crate::image::{DiskTree, Entry, Image, L1Table, Part, Table, TableKind, ends_past_file};
use crate::source::ReadAt;
use crate::units::{Geometry, GuestOffset, GuestSpan, HostOffset, Span, Tree};

pub use role::Role;

/// A pointer, and what it leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reference {
    /// What the bytes are to the pointer.
    pub role: Role,
    /// Where the pointer stands.
    pub pointer: HostOffset,
    /// Where the table starts that the pointer is an entry of, if it is one.
    pub table: Option<HostOffset>,
    /// The bytes that it leads to; they may lie behind the end of the file.
    pub span: Span,
    /// The tree that it belongs to; of those that share the table, the one that stands for it.
    pub tree: Option<Tree>,
    /// What those bytes mean to the guest, up to the end of the disk; `None` past 2^64.
    pub guest: Option<GuestSpan>,
    /// Whether QEMU follows the pointer. It does not load bitmaps that may be stale, and skips broken entries of the
    /// refcount table.
    pub is_followed: bool,
    /// How often QEMU's check counts it, for each cluster that the bytes touch. It follows some that it does not count.
    pub counted: u64,
}

impl Reference {
    /// The same for `len` guest bytes of a tree.
    fn in_tree(self, tree: DiskTree, start: Option<GuestOffset>, len: u64) -> Self {
        let guest = start.map(|start| Guest::new(tree.l1.tree, start, len, tree.disk_size).span);
        Self { tree: Some(tree.l1.tree), guest, ..self }
    }

    fn followed_if(self, is_followed: bool) -> Self {
        Self { is_followed, ..self }.counted_if(is_followed)
    }

    fn counted_if(self, is_counted: bool) -> Self {
        Self { counted: if is_counted { self.counted } else { 0 }, ..self }
    }

    fn times(self, times: u64) -> Self {
        Self { counted: self.counted.saturating_mul(times), ..self }
    }
}

/// Tells references from the structures of an image.
#[derive(Debug)]
pub struct References<'i, R> {
    image: &'i Image<R>,
    geometry: Geometry,
}

impl<'i, R: ReadAt> References<'i, R> {
    /// Those of this image; `None` where its cluster size makes no sense, and no table can be found.
    pub fn new(image: &'i Image<R>) -> Option<Self> {
        Some(Self { image, geometry: image.geometry()? })
    }

    /// Hands each reference of the image to `visit`: those of the lists, of the trees, and of the bitmaps.
    ///
    /// # Errors
    /// Where something cannot be read or a limit is spent, and what `visit` says.
    pub fn all(&self, visit: &mut impl FnMut(&Reference) -> Result<(), Error>) -> Result<(), Error> {
        self.lists(visit)?;
        self.trees(visit)?;
        self.bitmaps(visit)
    }

    /// What a part of a list, or an entry of a table, refers to by itself.
    pub fn part(&self, part: &Part<'_>) -> Option<Reference> {
        match part {
            Part::Bitmap(bitmap) => self.bitmap_table(bitmap),
            Part::Entry(table, entry) => self.entry(table, entry),
            _ => None,
        }
    }

    /// What an entry of a table refers to.
    pub fn entry(&self, table: &Table, entry: &Entry) -> Option<Reference> {
        match table.kind {
            TableKind::Refcounts => {
                let block = RefcountTableEntry(entry.raw);
                let at = block.block_offset();
                let is_followed = block.reserved() == 0 && at.is_aligned(self.geometry.cluster_size());
                let reference =
                    self.entry_reference(Role::RefcountBlock, table, entry, self.geometry.cluster_at(at));
                (at.0 != 0).then(|| reference.followed_if(is_followed))
            }
            TableKind::RefcountBlock(_) => None,
            TableKind::L1(tree) => Some(self.l2_table(tree, entry.index, L1Entry(entry.raw).l2_offset())),
            TableKind::L2 { tree, l1_index } => {
                let reference = self.l2_entry(table, entry)?;
                let start = self.geometry.guest_offset(l1_index, entry.index);
                Some(reference.in_tree(tree, start, self.geometry.cluster_size()))
            }
            TableKind::Bitmap { index, .. } => {
                let data = BitmapTableEntry(entry.raw);
                let BitmapData::Serialized(at) = data.data() else { return None };
                let is_whole = data.reserved() == 0 && !data.is_ambiguous();
                let is_counted = is_whole && at.is_aligned(self.geometry.cluster_size());
                let reference =
                    self.entry_reference(Role::BitmapData(index), table, entry, self.geometry.cluster_at(at));
                Some(reference.followed_if(self.image.bitmaps_are_loaded()).counted_if(is_counted))
            }
        }
    }

    /// The L1 table of a tree, to which `pointer` leads.
    pub fn l1_table(&self, l1: L1Table, pointer: HostOffset) -> Reference {
        let reference = self.reference(Role::L1Table, pointer, l1.span());
        Reference { tree: Some(l1.tree), ..reference }.followed_if(l1.is_used(self.geometry))
    }

    /// The L2 table at `at`, to which the entry `l1_index` of a tree leads. Where the entry has flags alone, QEMU's check
    /// takes the header for it.
    pub fn l2_table(&self, tree: DiskTree, l1_index: u64, at: HostOffset) -> Reference {
        let l1 = Table::l1(tree);
        let start = self.geometry.l1_guest_offset(l1_index);
        let reference = self.reference(Role::L2Table, l1.entry_at(l1_index), self.geometry.cluster_at(at));
        let reference = reference.in_tree(tree, start, self.geometry.l2_coverage());
        Reference { table: Some(l1.span.at), ..reference }
    }

    fn l2_entry(&self, table: &Table, entry: &Entry) -> Option<Reference> {
        // The clusters of an external data file are not in this one, and compressed ones nobody reads then.
        if self.image.has_external_data() {
            return None;
        }
        match self.image.mapping(self.geometry, L2Entry(entry.raw)) {
            Mapping::Unallocated | Mapping::Zero => None,
            Mapping::Data(at) | Mapping::ZeroAllocated(at) => {
                Some(self.entry_reference(Role::Data, table, entry, self.geometry.cluster_at(at)))
            }
            Mapping::Compressed(stream) => {
                // QEMU reads one with subclusters all the same, and counts none of its clusters.
                let is_counted = entry.bitmap.unwrap_or_default().0 == 0;
                let span = Span::new(stream.at, stream.len);
                Some(self.entry_reference(Role::Compressed, table, entry, span).counted_if(is_counted))
            }
        }
    }

    fn entry_reference(&self, role: Role, table: &Table, entry: &Entry, span: Span) -> Reference {
        Reference { table: Some(table.span.at), ..self.reference(role, entry.at, span) }
    }

    /// A reference that QEMU follows and counts, unless it passes the end of the file.
    fn reference(&self, role: Role, pointer: HostOffset, span: Span) -> Reference {
        let is_counted = span.len != 0 && !ends_past_file(self.image.file_len(), span, self.geometry);
        let counted = u64::from(is_counted);
        Reference { role, pointer, table: None, span, tree: None, guest: None, is_followed: true, counted }
    }
}

/// How often each host cluster is referenced, by QEMU's count: every cluster with a reference, in order. What an entry
/// of the snapshot table leads to that the end of the file cuts is left out.
///
/// # Errors
/// Where something cannot be read, or a limit is spent.
pub fn count<R: ReadAt>(image: &Image<R>) -> Result<Vec<(u64, u64)>, Error> {
    let Some(references) = References::new(image) else { return Ok(Vec::new()) };
    let mut counts: BTreeMap<u64, u64> = BTreeMap::new();
    references.all(&mut |reference| {
        // Behind the end of the file nothing is counted, so that the clusters are no more than the file has.
        let clusters = references.geometry.clusters_of(reference.span);
        for cluster in clusters.take_while(|_| reference.counted != 0) {
            let count = counts.entry(cluster).or_default();
            *count = count.saturating_add(reference.counted);
        }
        Ok(())
    })?;
    Ok(counts.into_iter().collect())
}
