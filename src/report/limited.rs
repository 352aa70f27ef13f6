//! How much a report may have: the limit `output_bytes`.

use std::io::{self, Write};

use crate::units::to_u64;

/// A writer that takes so many bytes and no more.
#[derive(Debug)]
pub struct Limited<W> {
    out: W,
    left: u64,
    limit: u64,
}

impl<W: Write> Limited<W> {
    /// Of `limit` bytes, into `out`.
    pub fn new(out: W, limit: u64) -> Self {
        Self { out, left: limit, limit }
    }
}

impl<W: Write> Write for Limited<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if len == 0 && !bytes.is_empty() {
            return Err(output_spent(self.limit));
        }
        let written = self.out.write(bytes.get(..len).unwrap_or_default())?;
        self.left = self.left.saturating_sub(to_u64(written));
        Ok(written)
    }

    /// As long as there is room, at once: reports are written in many small pieces.
    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        let room = usize::try_from(self.left).unwrap_or(usize::MAX);
        self.left = self.left.saturating_sub(to_u64(bytes.len()));
        match bytes.get(..room) {
            Some(fitting) if room < bytes.len() => {
                self.out.write_all(fitting)?;
                Err(output_spent(self.limit))
            }
            _ => self.out.write_all(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// What is said where more would be written than the limit `output_bytes` has it.
pub fn output_spent(limit: u64) -> io::Error {
    io::Error::other(format!("the limit output_bytes of {limit} is spent"))
}

/// A writer that says when there is no room for another item, and takes what ends the report all the same.
#[derive(Debug)]
pub(super) struct Roomy<W> {
    out: W,
    left: u64,
    limit: u64,
    /// Whether an item was left out.
    pub(super) is_cut: bool,
}

impl<W: Write> Roomy<W> {
    pub(super) fn new(out: W, limit: u64) -> Self {
        Self { out, left: limit, limit, is_cut: false }
    }

    /// Whether there is room for one more item. Where there is not, none that comes later has room.
    #[inline]
    pub(super) fn has_room(&mut self) -> bool {
        self.is_cut |= self.left == 0;
        !self.is_cut
    }

    /// Flushes it, and fails where an item was left out.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.out.flush()?;
        if self.is_cut { Err(output_spent(self.limit)) } else { Ok(()) }
    }
}

impl<W: Write> Write for Roomy<W> {
    #[inline]
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.out.write(bytes)?;
        self.left = self.left.saturating_sub(to_u64(written));
        Ok(written)
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.left = self.left.saturating_sub(to_u64(bytes.len()));
        self.out.write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fits_is_written_and_no_more() {
        for pieces in [&[b"abc".as_slice(), b"defg"][..], &[b"abcde", b"f"], &[b"abcdefg"]] {
            let mut written = Vec::new();
            let mut limited = Limited::new(&mut written, 5);
            let failed = pieces.iter().find_map(|piece| limited.write_all(piece).err());
            assert!(failed.is_some_and(|error| error.to_string().contains("output_bytes of 5")));
            assert_eq!(written, b"abcde");
        }
    }
}
