//! What a byte of the file is: who refers to it, and how often its cluster is counted.

mod trees;

use std::collections::HashMap;

use crate::Error;
use crate::format::bitmap::{BitmapData, BitmapTableEntry};
use crate::format::refcount::RefcountTableEntry;
use crate::image::{Image, Visited};
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
/// not make sense are passed over. Work: each distinct table of all trees once; memory: some owners, and 32 bytes for
/// each L2 table.
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
        odd: 0,
    };
    search.header()?;
    let refcount = search.refcounts()?;
    search.lists()?;
    search.trees()?;
    search.bitmaps()?;
    Ok(Owners { at, owners: search.found, counted: search.counted, refcount })
}

/// The entries of a list up to the first that does not fit, or whose bytes cannot be had.
fn whole<T>(list: impl Iterator<Item = Result<T, Error>>) -> impl Iterator<Item = Result<T, Error>> {
    list.take_while(|entry| !matches!(entry, Err(Error::Cut { .. })))
}

struct Search<'i, R> {
    image: &'i Image<R>,
    geometry: Geometry,
    at: HostOffset,
    cluster: Span,
    found: Vec<Owner>,
    counted: u64,
    /// Tables that may share their bytes with others, so that each of them is work that no byte of the file pays for.
    odd: u64,
}

/// What was found in a table.
#[derive(Clone, Copy)]
struct Told {
    /// References to the byte's cluster.
    counted: u64,
    /// Whether something in it uses the byte itself.
    owned: bool,
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

    /// Takes what is known of a table; `false` where it has to be looked through, for the first time or because
    /// it has owners to tell for another tree or bitmap as well.
    fn is_known(&mut self, told: Option<Told>) -> bool {
        let known = told.filter(|told| !told.owned || self.found.len() >= TOLD);
        self.counted = self.counted.saturating_add(known.map_or(0, |told| told.counted));
        known.is_some()
    }

    /// Looks through a table, and says what was found in it.
    fn tell(&mut self, look: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<Told, Error> {
        let (counted, found) = (self.counted, self.found.len());
        look(self)?;
        Ok(Told { counted: self.counted.saturating_sub(counted), owned: self.found.len() > found })
    }

    fn odd(&mut self, at: HostOffset) -> Result<(), Error> {
        self.odd = self.odd.saturating_add(1);
        let value = self.image.limits().odd_tables;
        if self.odd > value { Err(Error::Budget { limit: "odd_tables", value, at }) } else { Ok(()) }
    }

    /// The entry of a table that the byte is in.
    fn index(&self, table: Span, entry_len: u64) -> Option<u64> {
        self.at.0.saturating_sub(table.at.0).checked_div(entry_len)
    }

    fn header(&mut self) -> Result<(), Error> {
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
        match self.image.backing_file() {
            Ok(Some(name)) => drop(self.own("backing file name", name.span())),
            Ok(None) | Err(Error::Cut { .. }) => {}
            Err(error) => return Err(error),
        }
        Ok(())
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
        for snapshot in whole(self.image.snapshots()) {
            let snapshot = snapshot?;
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

    fn bitmaps(&mut self) -> Result<(), Error> {
        if let Some(directory) = self.image.bitmap_directory() {
            self.offer("bitmap directory", directory);
        }
        let mut known: HashMap<Span, Told> = HashMap::new();
        let mut places = Visited::new(self.image.limits().remembered_tables);
        for bitmap in whole(self.image.bitmaps()) {
            let bitmap = bitmap?;
            let (place, table) = (u64::from(bitmap.index), bitmap.table());
            if let Some(owner) = self.offer("bitmap table", table) {
                owner.index = Some(place);
            }
            let told = known.get(&table).copied();
            if self.is_known(told) {
                continue;
            }
            if told.is_none() && places.first(table, ()).is_some() {
                self.odd(table.at)?;
            }
            let told = self.tell(|search| search.bitmap_data(place, table))?;
            known.insert(table, told);
        }
        Ok(())
    }

    fn bitmap_data(&mut self, place: u64, table: Span) -> Result<(), Error> {
        let mut chunks = self.image.chunks("a bitmap table", table);
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
        Ok(())
    }
}
