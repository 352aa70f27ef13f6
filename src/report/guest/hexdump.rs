//! The guest's bytes as hex lines with guest offsets.

use std::io::{self, Write};

use crate::guest::{Fault, Sink};
use crate::report::hex::HexWriter;
use crate::units::{GuestOffset, GuestSpan, HostOffset, to_u64, to_usize};

/// Bytes of a line.
const LINE_LEN: usize = 16;

/// Writes hex lines; lines that repeat are folded, however many they are.
#[derive(Debug)]
pub struct HexdumpSink<W> {
    out: W,
    hex: HexWriter,
    /// The first bytes of a line, or a whole one that may be the last.
    held: Vec<u8>,
    at: GuestOffset,
}

impl<W: Write> HexdumpSink<W> {
    /// Into `out`.
    pub fn new(out: W) -> Self {
        Self { out, hex: HexWriter::default(), held: Vec::new(), at: GuestOffset(0) }
    }

    /// Writes what is left, with the last line whole.
    ///
    /// # Errors
    /// Where it cannot be written.
    pub fn finish(mut self) -> io::Result<()> {
        self.write(false)?;
        self.out.flush()
    }

    fn write(&mut self, more: bool) -> io::Result<()> {
        // The writer's lines have offsets of the kind that hex lines of the image have.
        self.hex.write(&mut self.out, HostOffset(self.at.0), &self.held, more)?;
        self.at = self.at.saturating_add(to_u64(self.held.len()));
        self.held.clear();
        Ok(())
    }
}

impl<W: Write> Sink for HexdumpSink<W> {
    fn bytes(&mut self, at: GuestOffset, mut bytes: &[u8]) -> io::Result<()> {
        if self.held.is_empty() {
            self.at = at;
        }
        while !bytes.is_empty() {
            if self.held.len() >= LINE_LEN {
                self.write(true)?;
            }
            // Whole lines go at once, but for the last, which nobody knows to be the last yet.
            let room = LINE_LEN.saturating_sub(self.held.len());
            let whole = match self.held.len() {
                0 => bytes.len().saturating_sub(1) / LINE_LEN * LINE_LEN,
                _ => 0,
            };
            let take = if whole > 0 { whole } else { room.min(bytes.len()) };
            let (now, later) = bytes.split_at(take);
            self.held.extend_from_slice(now);
            bytes = later;
        }
        Ok(())
    }

    fn zeros(&mut self, range: GuestSpan) -> io::Result<()> {
        // Two lines and what completes the line before are enough for the rest to be folded.
        let some = range.len.min(to_u64(LINE_LEN.saturating_mul(4)));
        self.bytes(range.start, vec![0; to_usize(some)].as_slice())?;
        let mut left = range.len.saturating_sub(some);
        let lines = left & !15;
        if lines > 0 {
            // The held line is one of zeros, and moves to the end of them.
            self.at = self.at.saturating_add(lines);
            left = left.saturating_sub(lines);
        }
        let start = range.start.saturating_add(some).saturating_add(lines);
        self.bytes(start, vec![0; to_usize(left)].as_slice())
    }

    fn fault(&mut self, _: &Fault) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(parts: &[(&[u8], u64)]) -> String {
        let mut out = Vec::new();
        let mut sink = HexdumpSink::new(&mut out);
        let mut at = GuestOffset(0x1003);
        for (bytes, zeros) in parts {
            sink.bytes(at, bytes).unwrap();
            at.0 += to_u64(bytes.len());
            sink.zeros(GuestSpan { start: at, len: *zeros }).unwrap();
            at.0 += zeros;
        }
        sink.finish().unwrap();
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn zeros_fold_as_if_they_were_written() {
        for zeros in 0..200 {
            let whole = [b"abc".as_slice(), &vec![0; zeros], b"xyz"].concat();
            let parts: &[(&[u8], u64)] = &[(b"abc", to_u64(zeros)), (b"xyz", 0)];
            assert_eq!(dump(parts), dump(&[(&whole, 0)]), "{zeros} zeros");
        }
        let dumped = dump(&[(b"", 1 << 60), (b"end", 0)]);
        assert_eq!(
            dumped.lines().map(|line| line.split(' ').next().unwrap()).collect::<Vec<_>>(),
            ["0000000000001003:", "*", "1000000000001003:"]
        );
    }
}
