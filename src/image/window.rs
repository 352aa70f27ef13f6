//! Reading a list of entries of unknown lengths in order, with few reads and bounded memory.

use crate::Error;
use crate::source::{Metered, ReadAt};
use crate::units::{HostOffset, to_u64, to_usize};

/// Bytes read at a time.
const WINDOW_LEN: u64 = 64 << 10;

/// A buffer over a part of the file, which moves on as it is asked for later bytes.
#[derive(Debug)]
pub(super) struct Window<'i, R> {
    source: &'i Metered<R>,
    what: &'static str,
    end: HostOffset,
    at: HostOffset,
    buf: Vec<u8>,
}

impl<'i, R: ReadAt> Window<'i, R> {
    /// Over the bytes before `end`; `what` is named in an error.
    pub(super) fn new(source: &'i Metered<R>, what: &'static str, end: HostOffset) -> Self {
        let end = end.min(HostOffset(source.len()));
        Self { source, what, end, at: HostOffset(0), buf: Vec::new() }
    }

    /// The bytes from `at` on: `len` of them, or as many as there are before the end.
    pub(super) fn get(&mut self, at: HostOffset, len: u64) -> Result<&[u8], Error> {
        let wanted_end = at.saturating_add(len).min(self.end);
        if at < self.at || wanted_end > self.at.saturating_add(to_u64(self.buf.len())) {
            let len = self.end.0.saturating_sub(at.0).min(len.max(WINDOW_LEN));
            self.buf = self.source.read_vec(self.what, at, len)?;
            self.at = at;
        }
        let start = to_usize(at.0.saturating_sub(self.at.0));
        let there = self.buf.get(start..).unwrap_or_default();
        Ok(there.get(..to_usize(len)).unwrap_or(there))
    }
}
