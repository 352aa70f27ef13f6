//! The bitmap directory, entry by entry.

use super::Image;
use super::list::{List, ListEntry};
use super::window::Window;
use crate::format::Layout;
use crate::format::bitmap::BitmapHead;
use crate::parse;
use crate::source::ReadAt;
use crate::units::{HostOffset, Span, to_u64};
use crate::{Error, Limit};

/// One bitmap directory entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bitmap {
    /// Its place in the directory.
    pub index: u32,
    /// Where its entry starts.
    pub at: HostOffset,
    /// The fixed part.
    pub head: BitmapHead,
    /// The extra data.
    pub extra: Vec<u8>,
    /// The name.
    pub name: Vec<u8>,
    /// The bytes behind it, up to a multiple of 8.
    pub padding: Vec<u8>,
}

impl Bitmap {
    /// The bytes of its table.
    pub fn table(&self) -> Span {
        Span::new(self.head.bitmap_table_offset, u64::from(self.head.bitmap_table_size).saturating_mul(8))
    }

    /// Where the extra data starts.
    pub fn extra_at(&self) -> HostOffset {
        self.at.saturating_add(BitmapHead::LEN)
    }

    /// Where the name starts.
    pub fn name_at(&self) -> HostOffset {
        self.extra_at().saturating_add(to_u64(self.extra.len()))
    }

    /// Where the padding starts.
    pub fn padding_at(&self) -> HostOffset {
        self.name_at().saturating_add(to_u64(self.name.len()))
    }

    /// Where the next entry starts.
    pub fn end(&self) -> HostOffset {
        self.padding_at().saturating_add(to_u64(self.padding.len()))
    }

    /// The bytes of the entry with its padding.
    pub fn span(&self) -> Span {
        Span::new(self.at, self.end().0.saturating_sub(self.at.0))
    }
}

impl ListEntry for Bitmap {
    type Head = BitmapHead;

    const LIMIT: Limit = Limit::Bitmaps;

    fn entry_len(head: &BitmapHead) -> u64 {
        head.entry_len()
    }

    fn parse(index: u32, at: HostOffset, bytes: &[u8]) -> Result<Self, Error> {
        let parts = parse::bitmaps::parse(bytes, at)?;
        Ok(Self {
            index,
            at,
            head: parts.head,
            extra: parts.extra.to_vec(),
            name: parts.name.to_vec(),
            padding: parts.padding.to_vec(),
        })
    }

    fn next_at(&self) -> HostOffset {
        self.end()
    }
}

/// Reads one entry after the other, up to the directory's end or a fault.
#[derive(Debug)]
pub struct Bitmaps<'i, R>(List<'i, R>);

impl<R: ReadAt> Image<R> {
    /// The bitmap directory's bytes; `None` without a bitmaps extension.
    pub fn bitmap_directory(&self) -> Option<Span> {
        let (_, extension) = self.bitmaps_extension()?;
        Some(Span::new(extension.bitmap_directory_offset, extension.bitmap_directory_size))
    }

    /// Whether QEMU would load the bitmaps: only then a broken one keeps the image from being opened.
    pub fn bitmaps_are_loaded(&self) -> bool {
        self.header().bitmaps_are_loaded()
    }

    /// The bitmap directory's entries up to the first that does not fit, with that fault.
    pub fn bitmaps(&self) -> Bitmaps<'_, R> {
        let directory = self.bitmap_directory().unwrap_or(Span::new(HostOffset(0), 0));
        let window = Window::new(&self.source, "the bitmap directory", directory.end());
        Bitmaps(List::new(window, directory.at, (Some(directory.end()), None), &self.limits))
    }
}

impl<R: ReadAt> Iterator for Bitmaps<'_, R> {
    type Item = Result<Bitmap, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}
