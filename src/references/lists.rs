//! The references of the header, of the lists that it leads to, and of the refcount table.

use super::{Reference, References, Role};
use crate::format::header::field;
use crate::image::{Bitmap, Part, Section, Tables, Walk, until_cut};
use crate::source::ReadAt;
use crate::units::{HostOffset, Span};
use crate::{Error, Limit};

impl<R: ReadAt> References<'_, R> {
    /// Hands what lies beside the trees and bitmaps to `visit`: the header, the refcount table and its blocks, the
    /// snapshot table, the LUKS header.
    ///
    /// # Errors
    /// Where the refcount table or the snapshot table cannot be read, and what `visit` says.
    pub fn lists(&self, visit: &mut impl FnMut(&Reference) -> Result<(), Error>) -> Result<(), Error> {
        visit(&self.header())?;
        self.refcount_table().iter().try_for_each(&mut *visit)?;
        // Without a width nobody knows what the blocks stand for.
        if let Some(table) = self.image.refcount_table().filter(|_| self.image.refcount_width().is_some()) {
            self.image
                .entries(table)
                .for_each(|entry| self.entry(&table, &entry).iter().try_for_each(&mut *visit))?;
        }
        let start = self.image.header().v2.snapshots_offset;
        let mut end = start;
        for snapshot in until_cut(self.image.snapshots()) {
            end = snapshot?.padding_at();
        }
        visit(&self.snapshot_table(Span::new(start, end.0.saturating_sub(start.0))))?;
        self.luks().iter().try_for_each(visit)
    }

    /// Hands the bitmap directory, and the tables and data that it leads to, to `visit`. Tables that share bytes are read
    /// as often as the limit `odd_tables` allows.
    ///
    /// # Errors
    /// Where something cannot be read or that limit is spent, and what `visit` says.
    pub fn bitmaps(&self, visit: &mut impl FnMut(&Reference) -> Result<(), Error>) -> Result<(), Error> {
        self.bitmap_directory().iter().try_for_each(&mut *visit)?;
        let limits = self.image.limits();
        let mut walk = Walk::new(self.image, Tables::Again(limits.odd_tables));
        walk.section(Section::Bitmaps, &mut |part| match part {
            Part::Stopped(_, error) => Err(error),
            Part::End(_, Some(error)) if !matches!(error, Error::Cut { .. }) => Err(error),
            Part::Shared(table, _) => Err(limits.spent(Limit::OddTables, table.span.at)),
            part => self.part(&part).iter().try_for_each(&mut *visit),
        })
    }

    /// The cluster that the header is in, with whatever else is there.
    pub fn header(&self) -> Reference {
        self.reference(Role::Header, HostOffset(0), self.geometry.cluster_at(HostOffset(0)))
    }

    /// The refcount table.
    pub fn refcount_table(&self) -> Option<Reference> {
        let pointer = self.image.header().span(field::REFCOUNT_TABLE_OFFSET).at;
        let table = self.image.refcount_table()?;
        Some(self.reference(Role::RefcountTable, pointer, table.span))
    }

    /// The snapshot table, which takes these bytes.
    pub fn snapshot_table(&self, span: Span) -> Reference {
        self.reference(Role::SnapshotTable, self.image.header().span(field::SNAPSHOTS_OFFSET).at, span)
    }

    /// The LUKS header. QEMU takes notice of it where that is the encryption.
    pub fn luks(&self) -> Option<Reference> {
        let (pointer, extension) = self.image.crypto_extension()?;
        let is_followed = self.image.header().is_luks();
        let span = Span::new(extension.offset, extension.length);
        Some(self.reference(Role::Luks, pointer, span).followed_if(is_followed))
    }

    /// The bitmap directory.
    pub fn bitmap_directory(&self) -> Option<Reference> {
        let (pointer, _) = self.image.bitmaps_extension()?;
        let span = self.image.bitmap_directory()?;
        let reference = self.reference(Role::BitmapDirectory, pointer, span);
        Some(reference.followed_if(self.image.bitmaps_are_loaded()))
    }

    /// The table of a bitmap. The header is none, whatever the entry says.
    pub(super) fn bitmap_table(&self, bitmap: &Bitmap) -> Option<Reference> {
        let span = bitmap.table();
        let reference = self.reference(Role::BitmapTable(bitmap.index), bitmap.at, span);
        (span.at.0 != 0).then(|| reference.followed_if(self.image.bitmaps_are_loaded()))
    }
}
