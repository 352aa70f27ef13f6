//! The rows of the lists: extensions, key slots, snapshots, bitmaps.

use std::io;

use super::Dumper;
use crate::finding::Structure;
use crate::format::bitmap::{self, BitmapHead, DIRTY_TRACKING};
use crate::format::extension::{
    self, BACKING_FORMAT, BITMAPS, BitmapsExtension, CRYPTO, CryptoExtension, DATA_FILE, FEATURE_TABLE,
};
use crate::format::features::{FeatureName, FeatureSet};
use crate::format::luks::SLOT_ENABLED;
use crate::format::snapshot::SnapshotHead;
use crate::format::{Field, FieldValue, Layout, part};
use crate::image::{Bitmap, Extension, Luks, Part, Section, Snapshot};
use crate::report::row::{Context, Detail};
use crate::report::sink::Sink;
use crate::report::value::Value;
use crate::source::ReadAt;
use crate::units::{HostOffset, Span, to_u64};

/// Where a list goes on behind what was shown of it.
#[derive(Debug, Default)]
pub(super) struct List {
    /// Where the next entry of the snapshot table or the bitmap directory starts, and its place; `None` before the first.
    next: Option<(HostOffset, u32)>,
    /// The extension whose bytes are still to be shown, and the next row of its feature name table.
    extension: Option<(Span, Context)>,
    feature: u64,
}

/// The extensions.
impl<R: ReadAt, S: Sink> Dumper<'_, R, S> {
    pub(super) fn extension(&mut self, extension: &Extension<'_>) -> io::Result<()> {
        let context = Context { extension: Some(extension.index), ..Context::default() };
        let name = extension::name(extension.head.magic).unwrap_or("unknown");
        self.heading(extension.at, "extension", context, &[Detail::new("name", Value::Word(name))])?;
        for field in extension.head.fields() {
            self.field(Structure::Extension, extension.at, &field, &[])?;
        }
        let (at, data) = (extension.data_at(), extension.data);
        match extension.head.magic {
            BACKING_FORMAT => self.text(Structure::Extension, part::DATA, at, data)?,
            DATA_FILE => self.text(Structure::DataFile, part::NAME, at, data)?,
            FEATURE_TABLE => {}
            BITMAPS => self.payload::<BitmapsExtension>(Structure::BitmapsExtension, at, data)?,
            CRYPTO => self.payload::<CryptoExtension>(Structure::CryptoExtension, at, data)?,
            _ if data.is_empty() => {}
            _ => self.raw(Structure::Extension, part::DATA, at, data)?,
        }
        let span = Span::new(extension.at, extension.end().0.saturating_sub(extension.at.0));
        (self.list.extension, self.list.feature) = (Some((span, context)), 0);
        Ok(())
    }

    /// The fields of a payload; bytes where it is too short for them.
    fn payload<T: Layout>(&mut self, structure: Structure, at: HostOffset, data: &[u8]) -> io::Result<()> {
        match T::decode(data) {
            Some(payload) => {
                payload.fields().iter().try_for_each(|field| self.field(structure, at, field, &[]))
            }
            None => self.raw(Structure::Extension, part::DATA, at, data),
        }
    }

    pub(super) fn feature_name(&mut self, at: HostOffset, feature: &FeatureName) -> io::Result<()> {
        let context = self.list.extension.map(|(_, context)| context).unwrap_or_default();
        let context = Context { feature: Some(self.list.feature), ..context };
        self.list.feature = self.list.feature.saturating_add(1);
        let set = FeatureSet::from_type(feature.r#type).map_or("unknown", FeatureSet::as_str);
        self.heading(at, "feature", context, &[Detail::new("set", Value::Word(set))])?;
        feature.fields().iter().try_for_each(|field| self.field(Structure::FeatureName, at, field, &[]))
    }

    /// Shows the bytes of an extension behind the last of its rows.
    pub(super) fn extension_ends(&mut self, next: &Part<'_>) -> io::Result<()> {
        if matches!(next, Part::FeatureName(..)) {
            return Ok(());
        }
        match self.list.extension.take() {
            Some((span, _)) => self.hex(span),
            None => Ok(()),
        }
    }
}

/// The LUKS header and the snapshot table.
impl<R: ReadAt, S: Sink> Dumper<'_, R, S> {
    pub(super) fn luks(&mut self, luks: &Luks) -> io::Result<()> {
        self.heading(luks.span.at, "LUKS header", Context::default(), &[])?;
        let is_present = |field: Field| luks.holds(field.at(luks.span.at));
        for field in luks.head.fields().iter().filter(|(field, _)| is_present(*field)) {
            self.field(Structure::Luks, luks.span.at, field, &[])?;
        }
        for (slot, (at, layout)) in (0_u64..).zip(&luks.slots) {
            let context = Context { slot: Some(slot), ..Context::default() };
            let enabled = Value::Flag(layout.active.0 == SLOT_ENABLED);
            self.heading(*at, "key slot", context, &[Detail::new("enabled", enabled)])?;
            for field in layout.fields() {
                self.field(Structure::LuksSlot, *at, &field, &[])?;
            }
        }
        self.hex(Span::new(luks.span.at, to_u64(luks.bytes.len())))
    }

    pub(super) fn snapshot(&mut self, snapshot: &Snapshot) -> io::Result<()> {
        let context = Context { snapshot: Some(snapshot.index), ..Context::default() };
        self.heading(snapshot.at, "snapshot", context, &[])?;
        for field in snapshot.head.fields() {
            self.field(Structure::Snapshot, snapshot.at, &field, &[])?;
        }
        for field in snapshot.extra_fields() {
            self.field(Structure::Snapshot, snapshot.extra_at(), &field, &[])?;
        }
        if let Some((at, bytes)) = snapshot.unknown_extra() {
            self.raw(Structure::Snapshot, part::EXTRA_DATA, at, bytes)?;
        }
        self.text(Structure::Snapshot, part::ID_STR, snapshot.id_at(), &snapshot.id)?;
        self.text(Structure::Snapshot, part::NAME, snapshot.name_at(), &snapshot.name)?;
        if to_u64(snapshot.padding.len()) > 0 {
            self.raw(Structure::Snapshot, part::PADDING, snapshot.padding_at(), &snapshot.padding)?;
        }
        self.list.next = Some((snapshot.end(), snapshot.index.saturating_add(1)));
        self.hex(snapshot.span())
    }

    /// The entry of the snapshot table that ends it before its time.
    pub(super) fn cut_snapshot(&mut self, list: List) -> io::Result<()> {
        let start = (self.image.header().v2.snapshots_offset, 0);
        let (next, index) = list.next.unwrap_or(start);
        let context = Context { snapshot: Some(index), ..Context::default() };
        let end = HostOffset(self.image.file_len());
        self.cut_entry::<SnapshotHead>("snapshot", context, (next, end))
    }
}

/// The bitmap directory.
impl<R: ReadAt, S: Sink> Dumper<'_, R, S> {
    pub(super) fn bitmap(&mut self, bitmap: &Bitmap) -> io::Result<()> {
        let context = Context { bitmap: Some(bitmap.index), ..Context::default() };
        self.heading(bitmap.at, "bitmap", context, &[])?;
        for field in bitmap.head.fields() {
            self.bitmap_field(bitmap, &field)?;
        }
        if !bitmap.extra.is_empty() {
            self.raw(Structure::Bitmap, part::EXTRA_DATA, bitmap.extra_at(), &bitmap.extra)?;
        }
        self.text(Structure::Bitmap, part::NAME, bitmap.name_at(), &bitmap.name)?;
        if !bitmap.padding.is_empty() {
            self.raw(Structure::Bitmap, part::PADDING, bitmap.padding_at(), &bitmap.padding)?;
        }
        self.list.next = Some((bitmap.end(), bitmap.index.saturating_add(1)));
        self.hex(bitmap.span())
    }

    fn bitmap_field(&mut self, bitmap: &Bitmap, field: &(Field, FieldValue)) -> io::Result<()> {
        let names: Vec<&str> = bitmap.head.flags.names().collect();
        let details = match field.0 {
            bitmap::field::FLAGS if !names.is_empty() => Some(Detail::new("names", Value::Words(&names))),
            bitmap::field::TYPE if bitmap.head.r#type == DIRTY_TRACKING => {
                Some(Detail::new("means", Value::Word("dirty-tracking")))
            }
            _ => None,
        };
        self.field(Structure::Bitmap, bitmap.at, field, details.as_slice())
    }

    /// The same for the bitmap directory.
    pub(super) fn cut_bitmap(&mut self, list: List) -> io::Result<()> {
        let directory = self.image.bitmap_directory().unwrap_or_default();
        let (next, index) = list.next.unwrap_or((directory.at, 0));
        let context = Context { bitmap: Some(index), ..Context::default() };
        self.cut_entry::<BitmapHead>("bitmap", context, (next, directory.end()))
    }

    /// Where the extension that leads to the bitmaps may not have been read, that is to be said; the section of the
    /// extensions does, if it is shown.
    pub(super) fn unread_bitmaps(&mut self) -> io::Result<()> {
        let is_told = self.options.sections.contains(&Section::Extensions);
        let unread = self.image.unread_extensions().filter(|_| !is_told);
        if let Some(error) = unread.filter(|_| self.image.bitmaps_extension().is_none()) {
            self.stop(error, Structure::Extension);
        }
        Ok(())
    }
}
