//! The one walk over what an image holds: hands out its parts in the order of the file's lists, one at a time.
//!
//! Whoever takes them may judge, show or count them; where a part cannot be read, that is a part too, and the walk goes
//! on behind it.

use super::visited::{Earlier, Seen, Tables};
use super::{Bitmap, DiskTree, Entry, Extension, Image, Luks, RefcountRun, Snapshot, Table, TableKind};
use crate::Error;
use crate::finding::Structure;
use crate::format::features::FeatureName;
use crate::format::mapping::L1Entry;
use crate::format::refcount::RefcountTableEntry;
use crate::source::ReadAt;
use crate::units::HostOffset;

/// A part of the walk that can be left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Section {
    /// The header's fields and the backing file's name.
    Header,
    /// The header extensions.
    Extensions,
    /// The LUKS header.
    Luks,
    /// The refcount table and its blocks.
    Refcounts,
    /// The snapshot table.
    Snapshots,
    /// The L1 tables of all trees.
    L1,
    /// The L2 tables of all trees.
    L2,
    /// The bitmap directory and the bitmap tables.
    Bitmaps,
}

impl Section {
    /// All, in the order of a dump.
    pub const ALL: [Self; 8] = [
        Self::Header,
        Self::Extensions,
        Self::Luks,
        Self::Refcounts,
        Self::Snapshots,
        Self::L1,
        Self::L2,
        Self::Bitmaps,
    ];

    /// The name that reports and the command line use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Extensions => "extensions",
            Self::Luks => "luks",
            Self::Refcounts => "refcounts",
            Self::Snapshots => "snapshots",
            Self::L1 => "l1",
            Self::L2 => "l2",
            Self::Bitmaps => "bitmaps",
        }
    }
}

/// What a walk hands out.
#[derive(Clone, Copy, Debug)]
pub enum Part<'p> {
    /// The header, and the backing file's name that it points at.
    Header,
    /// A header extension.
    Extension(&'p Extension<'p>),
    /// A row of the feature name table that is the extension before it, and where it stands.
    FeatureName(HostOffset, &'p FeatureName),
    /// The LUKS header.
    Luks(&'p Luks),
    /// A snapshot table entry.
    Snapshot(&'p Snapshot),
    /// A bitmap directory entry.
    Bitmap(&'p Bitmap),
    /// A table begins; its entries follow.
    Table(&'p Table),
    /// A table whose bytes were handed out before, all or some of them, with the table that had them.
    Shared(&'p Table, Earlier),
    /// An entry of the table at hand that is not zero.
    Entry(&'p Table, &'p Entry),
    /// Equal refcounts of the block at hand.
    Refcounts(&'p Table, &'p RefcountRun),
    /// The table ends; so many of its entries were in the file and could be read.
    TableEnd(&'p Table, u64),
    /// The rest of a structure could not be read. What ends a list comes with the list's end.
    Stopped(Structure, Error),
    /// The section ends, for a list perhaps before its time.
    End(Section, Option<Error>),
}

/// A walk over an image.
#[derive(Debug)]
pub struct Walk<'i, R> {
    image: &'i Image<R>,
    tables: Tables,
    /// What ended the list of snapshots, once that was handed out: it ends the tables of the trees too.
    snapshots_ended_by: Option<Error>,
    /// Whether a table was left out because too many were read again.
    pub is_spent: bool,
    /// Whether tables that trees share may come more than once, since no more places could be remembered.
    pub is_forgetful: bool,
}

impl<'i, R: ReadAt> Walk<'i, R> {
    /// Nothing handed out yet.
    pub const fn new(image: &'i Image<R>, tables: Tables) -> Self {
        Self { image, tables, snapshots_ended_by: None, is_spent: false, is_forgetful: false }
    }

    /// Hands the parts of a section to `visit`, and its end.
    ///
    /// # Errors
    /// What `visit` says: it ends the walk.
    pub fn section<E>(
        &mut self,
        section: Section,
        visit: &mut impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let fault = match section {
            Section::Header => visit(Part::Header).map(|()| None),
            Section::Extensions => self.extensions(visit),
            Section::Luks => self.luks(visit).map(|()| None),
            Section::Refcounts => self.refcounts(visit).map(|()| None),
            Section::Snapshots => self.snapshots(visit),
            Section::L1 => self.l1_tables(visit).map(|()| None),
            Section::L2 => self.l2_tables(visit).map(|()| None),
            Section::Bitmaps => self.bitmaps(visit),
        };
        visit(Part::End(section, fault?))
    }

    fn extensions<E>(&self, visit: &mut impl FnMut(Part<'_>) -> Result<(), E>) -> Result<Option<Error>, E> {
        let mut fault = None;
        for extension in self.image.extensions() {
            match extension {
                Ok(extension) => {
                    visit(Part::Extension(&extension))?;
                    extension.feature_names().try_for_each(|(at, row)| visit(Part::FeatureName(at, &row)))?;
                }
                // Where a limit cut the list, that comes behind what does not fit for it.
                Err(error) => fault = Some(error),
            }
        }
        Ok(fault)
    }

    fn luks<E>(&self, visit: &mut impl FnMut(Part<'_>) -> Result<(), E>) -> Result<(), E> {
        match self.image.luks() {
            Ok(Some(luks)) => visit(Part::Luks(&luks)),
            Ok(None) => Ok(()),
            Err(error) => visit(Part::Stopped(Structure::Luks, error)),
        }
    }

    fn snapshots<E>(
        &mut self,
        visit: &mut impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<Option<Error>, E> {
        for snapshot in self.image.snapshots() {
            match snapshot {
                Ok(snapshot) => visit(Part::Snapshot(&snapshot))?,
                Err(error) => self.snapshots_ended_by = Some(error),
            }
        }
        Ok(self.snapshots_ended_by)
    }

    /// Hands out what ends the list of snapshots, if that was not told yet.
    fn trees_end<E>(
        &mut self,
        error: Error,
        visit: &mut impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        match self.snapshots_ended_by.replace(error) {
            Some(told) if told == error => Ok(()),
            _ => visit(Part::Stopped(Structure::Snapshot, error)),
        }
    }

    fn bitmaps<E>(&mut self, visit: &mut impl FnMut(Part<'_>) -> Result<(), E>) -> Result<Option<Error>, E> {
        let (mut seen, mut fault) = (Seen::new(self.image, self.tables), None);
        for bitmap in self.image.bitmaps() {
            let bitmap = match bitmap {
                Ok(bitmap) => bitmap,
                Err(error) => {
                    fault = Some(error);
                    break;
                }
            };
            visit(Part::Bitmap(&bitmap))?;
            let table = Table::bitmap(&bitmap);
            // The header is no table, whatever the entry says.
            if self.tables != Tables::Unread && table.span.at.0 != 0 {
                match seen.earlier(&table) {
                    Some(earlier) => visit(Part::Shared(&table, earlier))?,
                    None => self.table(&table, visit)?,
                }
            }
        }
        self.is_spent |= seen.is_spent();
        Ok(fault)
    }

    /// The refcount table, and then its blocks.
    fn refcounts<E>(&mut self, visit: &mut impl FnMut(Part<'_>) -> Result<(), E>) -> Result<(), E> {
        let Some(table) = self.image.refcount_table().filter(|_| self.tables != Tables::Unread) else {
            return Ok(());
        };
        self.table(&table, visit)?;
        let Some((geometry, width)) = self.image.geometry().zip(self.image.refcount_width()) else {
            return Ok(());
        };
        let mut seen = Seen::new(self.image, self.tables);
        let walked = self.each_entry(&table, &mut |walk, entry| {
            let at = RefcountTableEntry(entry.raw).block_offset();
            // Nobody reads refcounts from an unaligned block; the table's entry tells why.
            if at.0 == 0 || !at.is_aligned(geometry.cluster_size()) {
                return Ok(());
            }
            let block = Table::refcount_block(entry.index, at, geometry, width);
            match seen.earlier(&block) {
                Some(earlier) => visit(Part::Shared(&block, earlier)),
                None => walk.refcount_block(&block, visit),
            }
        });
        self.is_spent |= seen.is_spent();
        or_stopped(walked, Structure::RefcountTable, visit)
    }

    fn refcount_block<E>(
        &self,
        block: &Table,
        visit: &mut impl FnMut(Part<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        let TableKind::RefcountBlock(index) = block.kind else { return Ok(()) };
        visit(Part::Table(block))?;
        let mut passed = 0_u64;
        for run in self.image.refcount_runs(index, block.span.at).into_iter().flatten() {
            match run {
                Ok(run) => {
                    passed = run.index.saturating_add(run.count);
                    visit(Part::Refcounts(block, &run))?;
                }
                Err(error) => visit(Part::Stopped(Structure::RefcountBlock, error))?,
            }
        }
        visit(Part::TableEnd(block, passed))
    }

    fn l1_tables<E>(&mut self, visit: &mut impl FnMut(Part<'_>) -> Result<(), E>) -> Result<(), E> {
        if self.image.geometry().is_none() || self.tables == Tables::Unread {
            return Ok(());
        }
        let mut seen = Seen::new(self.image, self.tables);
        for tree in self.image.trees() {
            let table = match tree {
                Ok(tree) => Table::l1(tree),
                Err(error) => {
                    self.trees_end(error, visit)?;
                    break;
                }
            };
            match seen.earlier(&table) {
                Some(earlier) => visit(Part::Shared(&table, earlier))?,
                None => self.table(&table, visit)?,
            }
        }
        self.is_spent |= seen.is_spent();
        Ok(())
    }

    /// The L2 tables, tree by tree. An L1 table that was gone through for another tree comes as shared.
    fn l2_tables<E>(&mut self, visit: &mut impl FnMut(Part<'_>) -> Result<(), E>) -> Result<(), E> {
        let Some(geometry) = self.image.geometry().filter(|_| self.tables != Tables::Unread) else {
            return Ok(());
        };
        let (mut l1_seen, mut l2_seen) =
            (Seen::new(self.image, self.tables), Seen::new(self.image, self.tables));
        for tree in self.image.trees() {
            let tree: DiskTree = match tree {
                Ok(tree) => tree,
                Err(error) => {
                    self.trees_end(error, visit)?;
                    break;
                }
            };
            let l1 = Table::l1(tree);
            if let Some(earlier) = l1_seen.earlier(&l1) {
                visit(Part::Shared(&l1, earlier))?;
                continue;
            }
            let walked = self.each_entry(&l1, &mut |walk, entry| {
                let at = L1Entry(entry.raw).l2_offset();
                if at.0 == 0 {
                    return Ok(());
                }
                let table = Table::l2(tree, entry.index, at, geometry);
                match l2_seen.earlier(&table) {
                    Some(earlier) => visit(Part::Shared(&table, earlier)),
                    None => walk.table(&table, visit),
                }
            });
            or_stopped(walked, Structure::L1Table, visit)?;
        }
        self.is_spent |= l1_seen.is_spent() || l2_seen.is_spent();
        self.is_forgetful |= l2_seen.visited.is_full();
        Ok(())
    }

    /// A table from its beginning to its end.
    fn table<E>(&self, table: &Table, visit: &mut impl FnMut(Part<'_>) -> Result<(), E>) -> Result<(), E> {
        visit(Part::Table(table))?;
        let mut entries = self.image.entries(*table);
        let mut stopped = None;
        while let Some(chunk) = entries.next() {
            match chunk {
                Ok(chunk) => chunk.entries().try_for_each(|entry| visit(Part::Entry(table, &entry)))?,
                Err(error) => stopped = Some(error),
            }
        }
        if let Some(error) = stopped {
            visit(Part::Stopped(table.kind.structure(), error))?;
        }
        visit(Part::TableEnd(table, entries.passed()))
    }

    /// Goes through the entries of a table that leads to others.
    fn each_entry<E>(
        &self,
        table: &Table,
        visit: &mut dyn FnMut(&Self, Entry) -> Result<(), E>,
    ) -> Result<(), Stop<E>> {
        self.image.entries(*table).for_each(|entry| visit(self, entry).map_err(Stop::Visitor))
    }
}

/// Why a walk over a table ends early.
enum Stop<E> {
    Unread(Error),
    Visitor(E),
}

/// Hands out what kept a table from being read.
fn or_stopped<E>(
    walked: Result<(), Stop<E>>,
    structure: Structure,
    visit: &mut impl FnMut(Part<'_>) -> Result<(), E>,
) -> Result<(), E> {
    match walked {
        Ok(()) => Ok(()),
        Err(Stop::Unread(error)) => visit(Part::Stopped(structure, error)),
        Err(Stop::Visitor(error)) => Err(error),
    }
}

impl<E> From<Error> for Stop<E> {
    fn from(error: Error) -> Self {
        Self::Unread(error)
    }
}
