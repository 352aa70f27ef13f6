//! A table of mapping entries, read in windows, with its holes told from its zeros.

use crate::Error;
use crate::image::Image;
use crate::source::ReadAt;
use crate::units::{Span, to_u64, to_usize};

/// Bytes read at a time: a multiple of every entry's length.
const WINDOW_LEN: u64 = 64 << 10;

/// A table and the part of it that was read last.
#[derive(Debug)]
pub(super) struct TableWindow {
    what: &'static str,
    span: Span,
    /// Bytes of an entry: a power of two.
    entry_len: u64,
    first: u64,
    bytes: Vec<u8>,
}

/// What stands at some place of a table.
#[derive(Debug)]
pub(super) enum Ahead<'t> {
    /// Entries, at least one; what the end of the file cuts off of one is zero, as QEMU reads it.
    Bytes(&'t [u8]),
    /// So many bytes of zeros, at least one entry: a hole.
    Zeros(u64),
    /// So many bytes up to the table's end, at least one entry, behind the end of the file, and before them what is left of
    /// a cut entry if that is only zeros. QEMU writes every table whole, so that something was lost, and reads zeros.
    Behind(u64),
}

impl TableWindow {
    /// The table of these bytes, with entries of so many; `what` is named in an error. Nothing is read yet.
    pub(super) const fn new(what: &'static str, span: Span, entry_len: u64) -> Self {
        Self { what, span, entry_len, first: 0, bytes: Vec::new() }
    }

    /// Goes on with another table, in the same memory. It is read even where it is the same one again, so that work that
    /// goes over one table over and over is paid for.
    pub(super) fn turn_to(&mut self, span: Span) {
        self.span = span;
        self.bytes.clear();
    }

    /// What stands from the byte `offset` of the table on, which is within the table and on an entry.
    pub(super) fn part<R: ReadAt>(&mut self, image: &Image<R>, offset: u64) -> Result<Ahead<'_>, Error> {
        let is_in =
            offset.checked_sub(self.first).is_some_and(|in_window| in_window < to_u64(self.bytes.len()));
        if !is_in {
            let at = self.span.at.saturating_add(offset);
            let left = self.span.len.saturating_sub(offset);
            let whole_entries = !self.entry_len.saturating_sub(1);
            let in_file = Span::new(at, left).within(image.file_len()).len;
            if in_file == 0 {
                return Ok(Ahead::Behind(left));
            }
            let is_cut = in_file < self.entry_len;
            let there = if is_cut { self.entry_len } else { in_file & whole_entries };
            let hole = match image.source().next_data(at)? {
                Some(data) => data.0.saturating_sub(at.0) & whole_entries,
                None => there,
            };
            if hole > 0 {
                return Ok(Ahead::Zeros(hole.min(there)));
            }
            self.bytes.resize(to_usize(there.min(WINDOW_LEN)), 0);
            let read = image.source().read(self.what, at, &mut self.bytes)?.len();
            // Of an entry that is cut, or of a file that has become shorter meanwhile, which is told of elsewhere.
            self.bytes.get_mut(read..).unwrap_or_default().fill(0);
            if is_cut && self.bytes.iter().all(|byte| *byte == 0) {
                self.bytes.clear();
                return Ok(Ahead::Behind(left));
            }
            self.first = offset;
        }
        let in_window = to_usize(offset.saturating_sub(self.first));
        Ok(Ahead::Bytes(self.bytes.get(in_window..).unwrap_or_default()))
    }
}
