//! Bytes as hex lines with absolute offsets, repeated lines folded.

use std::io::{self, Write};

use crate::units::{HostOffset, to_u64};

/// Bytes of a line.
const LINE_LEN: usize = 16;
/// What the hexdump crate puts behind the columns: a space and an offset from the start of its slice.
const RELATIVE_OFFSET_LEN: usize = 9;

/// Writes hex lines; it remembers the line before, so that long runs fold across calls.
#[derive(Debug, Default)]
pub(super) struct HexWriter {
    last: Option<[u8; LINE_LEN]>,
    folding: bool,
}

impl HexWriter {
    /// Writes the lines of `bytes`, which start at `at`. While `more` follow, repeated lines stay folded; the
    /// last line of all is always written, so that the end can be seen.
    pub(super) fn write(
        &mut self,
        out: &mut impl Write,
        at: HostOffset,
        bytes: &[u8],
        more: bool,
    ) -> io::Result<()> {
        let line_count = bytes.len().div_ceil(LINE_LEN);
        for (n, line) in bytes.chunks(LINE_LEN).enumerate() {
            let is_last = !more && n.saturating_add(1) == line_count;
            let whole = line.first_chunk::<LINE_LEN>().copied();
            if !is_last && whole.is_some() && whole == self.last {
                if !self.folding {
                    writeln!(out, "*")?;
                }
                self.folding = true;
                continue;
            }
            (self.last, self.folding) = (whole, false);
            let line_at = at.saturating_add(to_u64(n.saturating_mul(LINE_LEN)));
            let columns = hexdump::hexdump_iter(line).next();
            let columns = columns.as_deref().unwrap_or_default();
            let shown = columns.get(..columns.len().saturating_sub(RELATIVE_OFFSET_LEN)).unwrap_or(columns);
            writeln!(out, "{:016x}: {}", line_at.0, shown.trim_end())?;
        }
        if !more {
            *self = Self::default();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn repeated_lines_fold_across_calls() {
        let mut out = Vec::new();
        let mut hex = HexWriter::default();
        hex.write(&mut out, HostOffset(0x1000), &[0; 48], true).unwrap();
        hex.write(&mut out, HostOffset(0x1030), &[&[0; 32], &b"QFI\xfb"[..]].concat(), false).unwrap();
        let wanted = "\
            0000000000001000: |00000000 00000000 00000000 00000000| ................\n\
            *\n\
            0000000000001050: |514649fb|                            QFI.\n";
        assert_eq!(String::from_utf8(out).unwrap(), wanted);
    }
}
