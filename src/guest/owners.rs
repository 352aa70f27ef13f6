//! What a byte of the file is: who refers to it, and how often its cluster is counted.

use super::{Disk, State};
use crate::Error;
use crate::format::bitmap::{BitmapData, BitmapTableEntry};
use crate::format::mapping::L1Entry;
use crate::format::refcount::RefcountTableEntry;
use crate::image::Image;
use crate::source::ReadAt;
use crate::units::{Geometry, GuestSpan, HostOffset, Span, Tree};

/// Owners that are told one by one; more only make the count.
const TOLD: usize = 1000;

/// Something that uses a byte of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// What it is.
    pub structure: &'static str,
    /// The bytes of it.
    pub span: Span,
    /// Which field of it the byte is in, for the header.
    pub field: Option<&'static str>,
    /// The entry of the table that the byte is in, or the place in a list.
    pub index: Option<u64>,
    /// The tree that it belongs to.
    pub tree: Option<Tree>,
    /// The guest bytes that are there; with a compressed stream, those of its whole cluster.
    pub guest: Option<GuestSpan>,
}

/// What a byte of the file is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owners {
    /// The byte.
    pub at: HostOffset,
    /// Who uses it: none for free space; several where trees share data, or where the image is damaged.
    pub owners: Vec<Owner>,
    /// References to its cluster, as QEMU counts them.
    pub counted: u64,
    /// The refcount of its cluster; `None` where the image has none for it.
    pub refcount: Option<u64>,
}

/// Looks through all that the image refers to for what uses the byte at `at`. Bitmaps, snapshots and tables that do
/// not make sense are passed over. Work: all tables of all trees; memory: some owners.
///
/// # Errors
/// Where a table cannot be read, or a limit is spent.
pub fn owners<R: ReadAt>(image: &Image<R>, at: HostOffset) -> Result<Owners, Error> {
    let Some(geometry) = image.geometry() else {
        return Ok(Owners { at, owners: Vec::new(), counted: 0, refcount: None });
    };
    let mut search = Search {
        image,
        geometry,
        at,
        cluster: Span::new(
            HostOffset(at.0 & !geometry.cluster_size().saturating_sub(1)),
            geometry.cluster_size(),
        ),
        found: Vec::new(),
        counted: 0,
    };
    search.header();
    let refcount = search.refcounts()?;
    search.lists()?;
    search.trees()?;
    search.bitmaps()?;
    Ok(Owners { at, owners: search.found, counted: search.counted, refcount })
}

struct Search<'i, R> {
    image: &'i Image<R>,
    geometry: Geometry,
    at: HostOffset,
    cluster: Span,
    found: Vec<Owner>,
    counted: u64,
}

impl<'i, R: ReadAt> Search<'i, R> {
    fn has(&self, span: Span) -> bool {
        span.at <= self.at && self.at.0.saturating_sub(span.at.0) < span.len
    }

    /// Whether some cluster that the span uses is that of the byte.
    fn counts(&self, span: Span) -> bool {
        span.len > 0 && span.at < self.cluster.end() && self.cluster.at < span.end()
    }

    /// Counts a structure, and takes it for an owner if the byte is in it.
    fn offer(&mut self, structure: &'static str, span: Span) -> Option<&mut Owner> {
        if self.counts(span) {
            self.counted = self.counted.saturating_add(1);
        }
        self.own(structure, span)
    }

    fn own(&mut self, structure: &'static str, span: Span) -> Option<&mut Owner> {
        if !self.has(span) || self.found.len() >= TOLD {
            return None;
        }
        self.found.push(Owner { structure, span, field: None, index: None, tree: None, guest: None });
        self.found.last_mut()
    }

    /// The entry of a table that the byte is in.
    fn index(&self, table: Span, entry_len: u64) -> Option<u64> {
        self.at.0.saturating_sub(table.at.0).checked_div(entry_len)
    }

    fn header(&mut self) {
        if self.counts(Span::new(HostOffset(0), self.geometry.cluster_size())) {
            self.counted = self.counted.saturating_add(1);
        }
        let header = self.image.header();
        let at = self.at;
        let field = header.fields().into_iter().find(|field| field.offset <= at.0 && at.0 < field.end());
        let (start, end) = (header.extensions_at(), self.image.extensions_end());
        if let Some(owner) = self.own("header", Span::new(HostOffset(0), start.0)) {
            owner.field = field.map(|field| field.name);
        }
        self.own("header extensions", Span::new(start, end.0.saturating_sub(start.0)));
        if let Ok(Some(name)) = self.image.backing_file() {
            self.own("backing file name", name.span());
        }
    }

    fn refcounts(&mut self) -> Result<Option<u64>, Error> {
        let Some((table, width)) = self.image.refcount_table().zip(self.image.refcount_width()) else {
            return Ok(None);
        };
        let index = self.index(table, 8);
        if let Some(owner) = self.offer("refcount table", table) {
            owner.index = index;
        }
        let cluster_size = self.geometry.cluster_size();
        let number = self.at.0.unbounded_shr(self.geometry.cluster_bits());
        let per_block = width.block_entry_count(self.geometry);
        let (mut block, mut refcount) = (0_u64, None);
        let mut chunks = self.image.chunks("the refcount table", table);
        while let Some(chunk) = chunks.next() {
            for (_, raw) in chunk?.entries() {
                let at = RefcountTableEntry(raw).block_offset();
                if at.0 != 0 {
                    let span = Span::new(at, cluster_size);
                    if let Some(owner) = self.offer("refcount block", span) {
                        owner.index = Some(block);
                    }
                    if number.checked_div(per_block) == Some(block) {
                        let in_block = number.checked_rem(per_block).unwrap_or_default();
                        let byte = at.saturating_add(width.byte_offset(in_block));
                        let mut bytes = [0; 8];
                        let there = self.image.source().read("a refcount", byte, &mut bytes)?.len();
                        let narrow = if width.bits() < 8 {
                            in_block & 7_u64.unbounded_shr(width.bits().trailing_zeros())
                        } else {
                            0
                        };
                        refcount = bytes.get(..there).and_then(|bytes| width.get(bytes, narrow));
                    }
                }
                block = block.saturating_add(1);
            }
        }
        Ok(refcount)
    }

    /// The snapshot table, the LUKS header and the bitmap directory.
    fn lists(&mut self) -> Result<(), Error> {
        let (start, mut end) = (self.image.header().v2.snapshots_offset, HostOffset(0));
        for snapshot in self.image.snapshots().map_while(Result::ok) {
            end = snapshot.end();
            let index = u64::from(snapshot.index);
            if let Some(owner) = self.own("snapshot table", snapshot.span()) {
                owner.index = Some(index);
            }
        }
        if self.counts(Span::new(start, end.0.saturating_sub(start.0))) {
            self.counted = self.counted.saturating_add(1);
        }
        if let Some((_, extension)) = self.image.crypto_extension() {
            self.offer("LUKS header", Span::new(extension.offset, extension.length));
        }
        Ok(())
    }

    fn trees(&mut self) -> Result<(), Error> {
        if let Some(disk) = Disk::active(self.image) {
            self.tree(&disk)?;
        }
        for snapshot in self.image.snapshots().map_while(Result::ok) {
            if let Some(disk) = Disk::of_snapshot(self.image, &snapshot) {
                self.tree(&disk)?;
            }
        }
        Ok(())
    }

    fn tree(&mut self, disk: &Disk<'i, R>) -> Result<(), Error> {
        let (l1, cluster_size) = (disk.tree().l1, self.geometry.cluster_size());
        let index = self.index(l1.span(), 8);
        if let Some(owner) = self.offer("L1 table", l1.span()) {
            (owner.index, owner.tree) = (index, Some(l1.tree));
        }
        let mut l1_index = 0_u64;
        let mut chunks = self.image.chunks("an L1 table", l1.span());
        while let Some(chunk) = chunks.next() {
            for (_, raw) in chunk?.entries() {
                let at = L1Entry(raw).l2_offset();
                if at.0 != 0 {
                    let span = Span::new(at, cluster_size);
                    let index = self.index(span, self.geometry.l2_entry_len());
                    let (start, len) = (self.geometry.l1_guest_offset(l1_index), self.geometry.l2_coverage());
                    if let Some(owner) = self.offer("L2 table", span) {
                        (owner.index, owner.tree) = (index, Some(l1.tree));
                        owner.guest = start.map(|start| GuestSpan { start, len });
                    }
                }
                l1_index = l1_index.saturating_add(1);
            }
        }
        if self.image.has_external_data() { Ok(()) } else { self.data(disk) }
    }

    fn data(&mut self, disk: &Disk<'i, R>) -> Result<(), Error> {
        let range = GuestSpan { start: Default::default(), len: disk.mapped_len() };
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

    fn bitmaps(&mut self) -> Result<(), Error> {
        if let Some(directory) = self.image.bitmap_directory() {
            self.offer("bitmap directory", directory);
        }
        for bitmap in self.image.bitmaps().map_while(Result::ok) {
            let place = u64::from(bitmap.index);
            if let Some(owner) = self.offer("bitmap table", bitmap.table()) {
                owner.index = Some(place);
            }
            let mut chunks = self.image.chunks("a bitmap table", bitmap.table());
            while let Some(chunk) = chunks.next() {
                for (_, raw) in chunk?.entries() {
                    if let BitmapData::Serialized(at) = BitmapTableEntry(raw).data()
                        && let Some(owner) =
                            self.offer("bitmap data", Span::new(at, self.geometry.cluster_size()))
                    {
                        owner.index = Some(place);
                    }
                }
            }
        }
        Ok(())
    }
}
