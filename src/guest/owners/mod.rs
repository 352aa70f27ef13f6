//! What a byte of the file is: who uses it, and how often its cluster is counted.

mod place;
mod trees;

use std::collections::HashSet;

use crate::image::{Image, until_cut};
use crate::references::{Reference, References, Role};
use crate::source::ReadAt;
use crate::units::{Geometry, GuestOffset, GuestSpan, HostOffset, Span, Tree, to_u64, to_usize};
use crate::{Error, Limit};

/// Something that uses a byte of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Owner {
    /// What it is.
    pub role: Role,
    /// The bytes of it.
    pub span: Span,
    /// Which field of it the byte is in, or of the entry that the byte is in.
    pub field: Option<&'static str>,
    /// The entry of the table that the byte is in, or the place in a list.
    pub index: Option<u64>,
    /// The tree that it belongs to.
    pub tree: Option<Tree>,
    /// The guest bytes that are there; with a compressed stream, those of its whole cluster.
    pub guest: Option<GuestSpan>,
    /// The guest offset of the very byte; for an entry of a table of the guest's, where the range starts that it is for.
    pub guest_offset: Option<GuestOffset>,
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
    /// The refcount of its cluster; `None` where the image has none for it that QEMU reads.
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
/// not make sense are passed over. Work: each distinct table of all trees once, and once more where something in it
/// leads to the byte's cluster; what other trees share of it is told without another look. Memory: the owners, and some
/// 200 bytes for each distinct table.
///
/// # Errors
/// Where a table cannot be read, or a limit is spent; that of the owners makes them [incomplete](Owners::cut).
pub fn owners<R: ReadAt>(image: &Image<R>, at: HostOffset) -> Result<Owners, Error> {
    let limit = image.limits().owners;
    let mut found =
        Owners { at, owners: Vec::new(), further: 0, counted: 0, refcount: None, limit: to_u64(limit) };
    let Some((references, geometry)) = References::new(image).zip(image.geometry()) else { return Ok(found) };
    let start = HostOffset(at.0 & !geometry.cluster_size().saturating_sub(1));
    let cluster = geometry.cluster_at(start);
    let mut search = Search { image, geometry, cluster, limit, found: &mut found, leading: HashSet::new() };
    search.found.refcount = image.refcount(geometry.cluster_of(at))?;
    references.lists(&mut |reference| search.reference(reference))?;
    references.trees(&mut |reference| search.reference(reference))?;
    search.trees()?;
    references.bitmaps(&mut |reference| search.reference(reference))?;
    for owner in &mut found.owners {
        place::place(image, geometry, at, owner)?;
    }
    Ok(found)
}

struct Search<'s, 'i, R> {
    image: &'i Image<R>,
    geometry: Geometry,
    cluster: Span,
    limit: usize,
    found: &'s mut Owners,
    /// The L2 tables that the byte is in, and those with an entry that leads to its cluster.
    leading: HashSet<HostOffset>,
}

/// The owners that were found in a table.
#[derive(Clone, Copy)]
struct OwnersOf {
    count: u64,
    /// The place of the first of them.
    from: usize,
}

impl<R: ReadAt> Search<'_, '_, R> {
    /// Takes note of a reference: of the owner that it gives, or for the trees, of the table that leads to them.
    fn reference(&mut self, reference: &Reference) -> Result<(), Error> {
        let Reference { role, span, table, .. } = *reference;
        if role == Role::Header {
            self.header()?;
        }
        if span.len == 0 || span.at >= self.cluster.end() || self.cluster.at >= span.end() {
            return Ok(());
        }
        self.found.counted = self.found.counted.saturating_add(reference.counted);
        match role {
            Role::SnapshotTable => self.snapshots()?,
            Role::RefcountTable => self.own_at(role, span, self.index(span, 8)),
            Role::RefcountBlock => self.own_at(role, span, block_index(reference)),
            Role::BitmapTable(index) | Role::BitmapData(index) => self.own_at(role, span, Some(index.into())),
            Role::Header | Role::L1Table => {}
            Role::L2Table if self.has(span) => _ = self.leading.insert(span.at),
            Role::L2Table => {}
            Role::Data | Role::Compressed => self.leading.extend(table),
            _ => self.own_at(role, span, None),
        }
        Ok(())
    }

    /// The header, and what it says to stand behind it.
    fn header(&mut self) -> Result<(), Error> {
        let (header, at) = (self.image.header(), self.found.at);
        let (start, end) = (header.extensions_at(), self.image.extensions_end());
        if let Some(owner) = self.own(Role::Header, Span::new(HostOffset(0), start.0)) {
            let field =
                header.fields().into_iter().find(|(field, _)| field.offset <= at.0 && at.0 < field.end());
            owner.field = field.map(|(field, _)| field.name);
        }
        self.own(Role::HeaderExtensions, Span::new(start, end.0.saturating_sub(start.0)));
        if let Some(name) = self.image.backing_file()? {
            self.own(Role::BackingFileName, name.span());
        }
        Ok(())
    }

    fn snapshots(&mut self) -> Result<(), Error> {
        for snapshot in until_cut(self.image.snapshots()) {
            let snapshot = snapshot?;
            self.own_at(Role::SnapshotTable, snapshot.span(), Some(snapshot.index.into()));
        }
        Ok(())
    }

    fn has(&self, span: Span) -> bool {
        span.at <= self.found.at && self.found.at.0.saturating_sub(span.at.0) < span.len
    }

    /// The entry of the table that the byte is in.
    fn index(&self, table: Span, entry_len: u64) -> Option<u64> {
        self.found.at.0.checked_sub(table.at.0)?.checked_div(entry_len)
    }

    /// Takes a structure for an owner if the byte is in it.
    fn own(&mut self, role: Role, span: Span) -> Option<&mut Owner> {
        if !self.has(span) {
            return None;
        }
        let Owners { owners, further, .. } = &mut *self.found;
        if owners.len() >= self.limit {
            *further = further.saturating_add(1);
            return None;
        }
        owners.push(Owner {
            role,
            span,
            field: None,
            index: None,
            tree: None,
            guest: None,
            guest_offset: None,
        });
        owners.last_mut()
    }

    /// The same, with the place of the byte or of the structure.
    fn own_at(&mut self, role: Role, span: Span, index: Option<u64>) {
        if let Some(owner) = self.own(role, span) {
            owner.index = index;
        }
    }

    /// Looks through a table, and says which owners were found in it.
    fn owners_of(&mut self, look: impl FnOnce(&mut Self) -> Result<(), Error>) -> Result<OwnersOf, Error> {
        let (from, further) = (self.found.owners.len(), self.found.further);
        look(self)?;
        let count = to_u64(self.found.owners.len().saturating_sub(from));
        let count = count.saturating_add(self.found.further.saturating_sub(further));
        Ok(OwnersOf { count, from })
    }

    /// Tells again which owners were found in a table, for another that has it, with what is different there.
    fn repeat(&mut self, of: OwnersOf, change: impl Fn(&mut Owner)) {
        let Owners { owners, further, .. } = &mut *self.found;
        // Those that there was no room for have none behind them either.
        let end = of.from.saturating_add(to_usize(of.count)).min(owners.len());
        let room = self.limit.saturating_sub(owners.len());
        let again: Vec<Owner> = owners.get(of.from..end).into_iter().flatten().take(room).cloned().collect();
        *further = further.saturating_add(of.count.saturating_sub(to_u64(again.len())));
        owners.extend(again.into_iter().map(|mut owner| {
            change(&mut owner);
            owner
        }));
    }
}

/// The place in the refcount table of the entry that leads to a block.
fn block_index(block: &Reference) -> Option<u64> {
    Some(block.pointer.0.saturating_sub(block.table?.0) / 8)
}
