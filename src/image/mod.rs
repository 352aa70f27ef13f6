//! An image, opened leniently: whatever its structures say, those that can be found are there to be read, one
//! at a time and in bounded memory.
#![warn(clippy::arithmetic_side_effects)]

mod bitmaps;
mod bounds;
mod chunks;
mod entries;
mod extensions;
mod header;
mod list;
mod luks;
mod refcounts;
mod snapshot_names;
mod snapshots;
mod visited;
mod walk;
mod window;

use crate::finding::Guest;
use crate::format::features::EXTENDED_L2;
use crate::format::foreign;
use crate::format::header::{MAGIC, field as header_field};
use crate::format::mapping::{L2Entry, Mapping};
use crate::format::qemu;
use crate::format::refcount::RefcountWidth;
use crate::format::snapshot::field as snapshot_field;
use crate::source::{Metered, QemuLock, ReadAt};
use crate::units::{Geometry, GuestOffset, HostOffset, Span, Tree, to_u64, whole_sectors};
use crate::{Error, Limits};

pub use crate::parse::extensions::Extension;
pub use bitmaps::{Bitmap, Bitmaps};
pub use bounds::{ends_past_file, is_cut, sector_end};
pub use chunks::{Chunk, Chunks};
pub use entries::{Entries, Entry, EntryChunk, Table, TableKind};
use extensions::ExtensionArea;
pub use header::Header;
pub use luks::Luks;
pub use refcounts::{RefcountRun, RefcountRuns};
pub use snapshot_names::{SnapshotName, SnapshotNames};
pub use snapshots::{Snapshot, Snapshots};
pub use visited::{Earlier, Repeats, Tables, Visited};
pub use walk::{Part, Section, Walk};

/// A qcow2 image.
#[derive(Debug)]
pub struct Image<R> {
    source: Metered<R>,
    limits: Limits,
    header: Header,
    geometry: Option<Geometry>,
    extensions: ExtensionArea,
    backing_name: Result<Option<Name>, Error>,
    unknown_fields: Result<Option<Span>, Error>,
}

/// A name that the image holds, as its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Name {
    /// Where it starts.
    pub at: HostOffset,
    /// Its bytes, as far as they are in the file.
    pub bytes: Vec<u8>,
}

/// An L1 table, and so a whole mapping of guest offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct L1Table {
    /// Which mapping it is.
    pub tree: Tree,
    /// Where it starts.
    pub at: HostOffset,
    /// How many entries it has.
    pub size: u32,
}

/// A mapping of guest offsets, and how much of it is disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DiskTree {
    /// Its L1 table.
    pub l1: L1Table,
    /// Bytes of the disk; VM state may lie behind it.
    pub disk_size: u64,
}

impl DiskTree {
    /// Bytes of the disk in whole sectors, as QEMU has it.
    pub fn disk_len(&self) -> u64 {
        whole_sectors(self.disk_size)
    }

    /// Where VM state lies, if there is any: from the first L1 entry that the disk does not need. `None` where that would
    /// be past 2^64.
    pub fn vm_state_at(&self, geometry: Geometry) -> Option<GuestOffset> {
        geometry.l1_guest_offset(geometry.l1_entries_for(self.disk_size))
    }

    /// What an entry of the L1 table maps, up to the end of the disk unless it lies behind it; `None` past 2^64.
    pub fn l1_guest(&self, index: u64, geometry: Geometry) -> Option<Guest> {
        let start = geometry.l1_guest_offset(index)?;
        Some(Guest::new(self.l1.tree, start, geometry.l2_coverage(), self.disk_size))
    }
}

impl<R: ReadAt> Image<R> {
    /// Opens an image: reads its header and extensions, and judges neither.
    ///
    /// # Errors
    /// [`Error::NotQcow2`] without the magic or for version 1, and [`Error::Io`] where the header cannot be read.
    pub fn open(source: R, limits: Limits) -> Result<Self, Error> {
        let source = Metered::new(source, limits)?;
        let start = source.read_vec("the header", HostOffset(0), Header::MAX_KNOWN_LEN)?;
        let header = Header::decode(&start, source.len());
        if header.v2.magic != MAGIC || header.v2.version == 1 {
            return Err(Error::NotQcow2 { looks_like: identify(&source)? });
        }
        let geometry =
            Geometry::new(header.v2.cluster_bits.0, header.v3().incompatible_features.contains(EXTENDED_L2));
        let extensions = ExtensionArea::read(&source, &header, geometry, &limits)?;
        let backing_name = extensions::backing_name(&source, &header);
        let unknown_fields = extensions::unknown_fields(&source, &header, geometry, &limits);
        Ok(Self { source, limits, header, geometry, extensions, backing_name, unknown_fields })
    }

    /// Whether the file is no longer what it was when it was opened: its length, the time of its last change, or the
    /// bytes of its header, which a block device has no such time for.
    ///
    /// # Errors
    /// Where the length or the header cannot be read again.
    pub fn has_changed(&self) -> Result<bool, Error> {
        if self.source.has_changed()? {
            return Ok(true);
        }
        let start = self.source.read_vec("the header", HostOffset(0), Header::MAX_KNOWN_LEN)?;
        Ok(Header::decode(&start, self.source.len()) != self.header)
    }

    /// The lock by which another process was seen to have the image open for writing when it was opened here, or has it
    /// now. `None` proves nothing: locking may be off, or the other process on another host.
    pub fn writer(&self) -> Option<QemuLock> {
        self.source.writer()
    }

    /// The lock for which `qemu-img check` would not open the image now.
    pub fn lock_against_qemu_check(&self) -> Option<QemuLock> {
        self.source.lock_against_check()
    }

    /// Bytes of the file.
    pub fn file_len(&self) -> u64 {
        self.source.len()
    }

    /// Bytes that the file takes on its host, holes left out; `None` where that is not known.
    pub fn stored_len(&self) -> Option<u64> {
        self.source.stored_len()
    }

    /// Bytes read from the file so far.
    pub fn bytes_read(&self) -> u64 {
        self.source.bytes_read()
    }

    /// Bytes of the active disk, in whole sectors, as QEMU has it. Bitmaps are as long as this calls for.
    pub fn disk_len(&self) -> u64 {
        whole_sectors(self.header.v2.size.0)
    }

    /// The limits that it was opened with.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The header.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The unknown additional fields of the header, from their first byte that is not zero to the last; `None`
    /// where all are zero, which means the same as if they were absent.
    ///
    /// # Errors
    /// Where the bytes could not be read.
    pub fn unknown_header_fields(&self) -> Result<Option<Span>, Error> {
        self.unknown_fields
    }

    /// How guest offsets split; `None` where `cluster_bits` makes no sense, and no table can be found.
    pub fn geometry(&self) -> Option<Geometry> {
        self.geometry
    }

    /// The width of the refcounts; `None` where `refcount_order` makes no sense.
    pub fn refcount_width(&self) -> Option<RefcountWidth> {
        RefcountWidth::new(self.header.v3().refcount_order)
    }

    /// Whether guest clusters lie in an external data file.
    pub fn has_external_data(&self) -> bool {
        self.header.has_external_data()
    }

    /// What an L2 entry of this image says.
    pub fn mapping(&self, geometry: Geometry, entry: L2Entry) -> Mapping {
        entry.mapping(geometry, self.has_external_data())
    }

    /// The active L1 table.
    pub fn active_l1(&self) -> L1Table {
        let header = &self.header.v2;
        L1Table { tree: Tree::Active, at: header.l1_table_offset, size: header.l1_size }
    }

    /// The active tree.
    pub fn active_tree(&self) -> DiskTree {
        DiskTree { l1: self.active_l1(), disk_size: self.header.v2.size.0 }
    }

    /// The active tree, and every snapshot's up to the first entry of the snapshot table that does not fit, with
    /// that fault.
    pub fn trees(&self) -> impl Iterator<Item = Result<DiskTree, Error>> + use<'_, R> {
        self.tree_pointers().map(|tree| tree.map(|(tree, _)| tree))
    }

    /// The same, each with where the pointer to its L1 table stands.
    pub fn tree_pointers(&self) -> impl Iterator<Item = Result<(DiskTree, HostOffset), Error>> + use<'_, R> {
        let active = self.active_tree();
        let pointer = self.header.span(header_field::L1_TABLE_OFFSET).at;
        let snapshots = self.snapshots().map(move |snapshot| {
            let snapshot = snapshot?;
            let pointer = snapshot_field::L1_TABLE_OFFSET.at(snapshot.at).at;
            Ok((snapshot.disk_tree(active.disk_size), pointer))
        });
        std::iter::once(Ok((active, pointer))).chain(snapshots)
    }

    /// The bytes of `span`, in chunks and as far as the file goes; `what` is named in an error.
    pub fn chunks(&self, what: &'static str, span: Span) -> Chunks<'_, R> {
        Chunks::new(&self.source, what, span)
    }

    /// Where the bytes come from.
    pub(crate) fn source(&self) -> &Metered<R> {
        &self.source
    }

    /// The header extensions up to the first that does not fit, with that fault.
    pub fn extensions(&self) -> impl Iterator<Item = Result<Extension<'_>, Error>> {
        self.extensions.iter()
    }

    /// Whether it has a backing file, even if the name cannot be read.
    pub fn has_backing_file(&self) -> bool {
        !matches!(self.backing_file(), Ok(None))
    }

    /// The backing file's name; `None` without one.
    ///
    /// # Errors
    /// Where its bytes could not be read.
    pub fn backing_file(&self) -> Result<Option<&Name>, Error> {
        self.backing_name.as_ref().map(Option::as_ref).map_err(|error| *error)
    }

    /// The snapshot table's entries up to the first that does not fit, with that fault.
    pub fn snapshots(&self) -> Snapshots<'_, R> {
        Snapshots::new(&self.source, &self.header, &self.limits)
    }
}

/// The entries of a list up to the first that does not fit. An error in reading one is handed on.
pub(crate) fn until_cut<T>(
    list: impl Iterator<Item = Result<T, Error>>,
) -> impl Iterator<Item = Result<T, Error>> {
    list.take_while(|entry| !matches!(entry, Err(Error::Cut { .. })))
}

/// What a file without the magic looks like.
fn identify<R: ReadAt>(source: &Metered<R>) -> Result<&'static str, Error> {
    let start = source.read_vec("the file's start", HostOffset(0), foreign::START_LEN)?;
    let tail_at = HostOffset(source.len().saturating_sub(foreign::TAIL_LEN));
    let tail = source.read_vec("the file's end", tail_at, foreign::TAIL_LEN)?;
    Ok(foreign::identify(&start, &tail))
}

impl L1Table {
    /// The bytes of the table.
    pub fn span(&self) -> Span {
        Span::new(self.at, u64::from(self.size).saturating_mul(8))
    }

    /// Whether QEMU uses it: it takes none off a cluster boundary, and none of a snapshot that is longer than its limit.
    /// Where it is not used, nobody knows what its bytes would mean.
    pub fn is_used(&self, geometry: Geometry) -> bool {
        let is_too_long = self.size > qemu::MAX_L1_ENTRIES && self.tree != Tree::Active;
        !is_too_long && self.at.is_aligned(geometry.cluster_size())
    }
}

impl Name {
    /// The bytes of the name.
    pub fn span(&self) -> Span {
        Span::new(self.at, to_u64(self.bytes.len()))
    }
}
