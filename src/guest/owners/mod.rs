//! What a byte of the file is: who refers to it, and how often its cluster is counted.

mod bitmaps;
mod structures;
mod trees;

use crate::image::{Image, ends_past_file};
use crate::source::ReadAt;
use crate::units::{Geometry, GuestSpan, HostOffset, Span, Tree, to_u64, to_usize};
use crate::{Error, Limit};

/// Something that uses a byte of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
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
#[non_exhaustive]
pub struct Owners {
    /// The byte.
    pub at: HostOffset,
    /// Who uses it: none for free space; several where trees share data, or where the image is damaged. What QEMU does
    /// not count is here too, such as the bitmaps that it does not load.
    pub owners: Vec<Owner>,
    /// How many more there are than the limit `owners` lets be told.
    pub further: u64,
    /// References to its cluster, as QEMU's check counts them. An entry of the snapshot table that the end of the file
    /// cuts, and what it would lead to, is left out.
    pub counted: u64,
    /// The refcount of its cluster; `None` where the image has none for it.
    pub refcount: Option<u64>,
    limit: u64,
}

impl Owners {
    /// What kept some owners from being told.
    pub fn cut(&self) -> Option<Error> {
        let error = Error::Budget { limit: Limit::Owners, value: self.limit, at: self.at };
        (self.further > 0).then_some(error)
    }
}

/// Looks through all that the image refers to for what uses the byte at `at`. Bitmaps, snapshots and tables that do
/// not make sense are passed over. Work: each distinct table of all trees once, and once more where it refers to the
/// byte's cluster; what other trees share of it is told without another look. Memory: the owners, and 48 bytes for
/// each distinct table.
///
/// # Errors
/// Where a table cannot be read, or a limit is spent; that of the owners makes them [incomplete](Owners::cut).
pub fn owners<R: ReadAt>(image: &Image<R>, at: HostOffset) -> Result<Owners, Error> {
    let limit = to_u64(image.limits().owners);
    let Some(geometry) = image.geometry() else {
        return Ok(Owners { at, owners: Vec::new(), further: 0, counted: 0, refcount: None, limit });
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
        further: 0,
        counted: 0,
        odd: 0,
    };
    search.header()?;
    let refcount = search.refcounts()?;
    search.lists()?;
    search.trees()?;
    search.bitmaps()?;
    let Search { found, further, counted, .. } = search;
    Ok(Owners { at, owners: found, further, counted, refcount, limit })
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
    /// Owners that there was no room for.
    further: u64,
    counted: u64,
    /// Tables that may share their bytes with others, so that each of them is work that no byte of the file pays for.
    odd: u64,
}

/// What was found in a table.
#[derive(Clone, Copy)]
struct Told {
    /// References to the byte's cluster.
    counted: u64,
    /// How many owners it gave, and the place of the first of them.
    owners: u64,
    from: usize,
}

impl<R: ReadAt> Search<'_, R> {
    fn has(&self, span: Span) -> bool {
        span.at <= self.at && self.at.0.saturating_sub(span.at.0) < span.len
    }

    /// Whether some cluster that the span uses is that of the byte.
    fn touches(&self, span: Span) -> bool {
        span.len > 0 && span.at < self.cluster.end() && self.cluster.at < span.end()
    }

    /// Whether QEMU counts a reference to the byte's cluster for something in this place.
    fn counts(&self, span: Span) -> bool {
        self.touches(span) && !ends_past_file(self.image.file_len(), span, self.geometry)
    }

    fn count(&mut self, span: Span) {
        self.counted = self.counted.saturating_add(u64::from(self.counts(span)));
    }

    /// Takes a structure for an owner if the byte is in it.
    fn own(&mut self, structure: &'static str, span: Span) -> Option<&mut Owner> {
        if !self.has(span) {
            return None;
        }
        if self.found.len() >= self.image.limits().owners {
            self.further = self.further.saturating_add(1);
            return None;
        }
        self.found.push(Owner { structure, span, field: None, index: None, tree: None, guest: None });
        self.found.last_mut()
    }

    /// Looks through a table, and says what was found in it.
    fn tell(&mut self, look: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<Told, Error> {
        let (counted, from, further) = (self.counted, self.found.len(), self.further);
        look(self)?;
        let owners = to_u64(self.found.len().saturating_sub(from));
        Ok(Told {
            counted: self.counted.saturating_sub(counted),
            owners: owners.saturating_add(self.further.saturating_sub(further)),
            from,
        })
    }

    /// Tells again what was found in a table, for another that has it, with what is different there.
    fn repeat(&mut self, told: Told, change: impl Fn(&mut Owner)) {
        self.counted = self.counted.saturating_add(told.counted);
        // Those that there was no room for have none behind them either.
        let end = told.from.saturating_add(to_usize(told.owners)).min(self.found.len());
        let room = self.image.limits().owners.saturating_sub(self.found.len());
        let again: Vec<Owner> =
            self.found.get(told.from..end).into_iter().flatten().take(room).cloned().collect();
        self.further = self.further.saturating_add(told.owners.saturating_sub(to_u64(again.len())));
        self.found.extend(again.into_iter().map(|mut owner| {
            change(&mut owner);
            owner
        }));
    }

    /// Takes note of a table that may share its bytes with another.
    fn odd(&mut self, at: HostOffset) -> Result<(), Error> {
        self.odd = self.odd.saturating_add(1);
        let limits = self.image.limits();
        if self.odd > limits.odd_tables { Err(limits.spent(Limit::OddTables, at)) } else { Ok(()) }
    }

    /// The entry of a table that the byte is in.
    fn index(&self, table: Span, entry_len: u64) -> Option<u64> {
        self.at.0.saturating_sub(table.at.0).checked_div(entry_len)
    }
}
