//! A table of mapping entries, read in windows, with its holes told from its zeros.

use crate::Error;
use crate::image::Image;
use crate::source::ReadAt;
use crate::units::{Span, to_u64, to_usize};

/// Bytes read at a time: a multiple of every entry's length.
const WINDOW_LEN: u64 = 64 << 10;
/// The longest entry.
const ENTRY_LEN: u64 = 16;

/// A table and the part of it that was read last.
#[derive(Debug)]
pub(super) struct Table {
    what: &'static str,
    span: Span,
    first: u64,
    bytes: Vec<u8>,
}

/// What stands at some place of a table.
#[derive(Debug)]
pub(super) enum Part<'t> {
    /// Entries, at least one.
    Bytes(&'t [u8]),
    /// So many bytes of zeros, at least one entry: a hole, or behind the end of the file, where QEMU reads zeros.
    Zeros(u64),
}

impl Table {
    /// The table of these bytes; `what` is named in an error. Nothing is read yet.
    pub(super) const fn new(what: &'static str, span: Span) -> Self {
        Self { what, span, first: 0, bytes: Vec::new() }
    }

    /// Goes on with another table, in the same memory. It is read even where it is the same one again, so that work that
    /// goes over one table over and over is paid for.
    pub(super) fn turn_to(&mut self, span: Span) {
        self.span = span;
        self.bytes.clear();
    }

    /// What stands from the byte `offset` of the table on, which is within the table and on an entry.
    pub(super) fn part<R: ReadAt>(&mut self, image: &Image<R>, offset: u64) -> Result<Part<'_>, Error> {
        let is_in =
            offset.checked_sub(self.first).is_some_and(|in_window| in_window < to_u64(self.bytes.len()));
        if !is_in {
            let at = self.span.at.saturating_add(offset);
            let left = self.span.len.saturating_sub(offset);
            let hole = match image.source().next_data(at)? {
                Some(data) => data.0.saturating_sub(at.0) & !ENTRY_LEN.saturating_sub(1),
                None => left,
            };
            if hole > 0 {
                return Ok(Part::Zeros(hole.min(left)));
            }
            let want = left.min(WINDOW_LEN);
            self.bytes.resize(to_usize(want), 0);
            let there = image.source().read(self.what, at, &mut self.bytes)?.len();
            // An entry that the end of the file cuts, or cut off, has zeros for the rest.
            let whole = there.max(1).next_multiple_of(to_usize(ENTRY_LEN)).min(to_usize(want));
            self.bytes.truncate(whole);
            if let Some(rest) = self.bytes.get_mut(there..) {
                rest.fill(0);
            }
            self.first = offset;
        }
        let in_window = to_usize(offset.saturating_sub(self.first));
        Ok(Part::Bytes(self.bytes.get(in_window..).unwrap_or_default()))
    }
}
