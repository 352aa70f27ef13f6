//! A raw file with holes for zeros.

use std::fs::File;
use std::io;

use qcow2_inspect::guest::{Fault, Sink};
use qcow2_inspect::report::output_spent;
use qcow2_inspect::units::{GuestOffset, GuestSpan, to_u64};

use super::new_file::NewFile;

/// Bytes that are left out where all are zero.
const BLOCK_LEN: usize = 4096;

/// The file, of which nothing is left unless it is finished.
#[derive(Debug)]
pub(super) struct SparseFile {
    file: NewFile,
    /// Where the guest offset 0 of the file lies.
    start: GuestOffset,
    /// How many bytes may still be written to it, of how many in all. Holes take none.
    left: u64,
    limit: u64,
}

impl SparseFile {
    /// A file for these guest bytes: all holes, and as long as it is going to be, so that a file system that cannot hold
    /// it says so before the work.
    pub(super) fn new(file: NewFile, range: GuestSpan, limit: u64) -> io::Result<Self> {
        file.get()?.set_len(range.len).map_err(|error| {
            let reason = super::input::reason(&error);
            io::Error::new(error.kind(), format!("cannot have {} bytes there: {reason}", range.len))
        })?;
        Ok(Self { file, start: range.start, left: limit, limit })
    }

    /// Puts it into its place. Without `replace`, a file that is there by now stays.
    pub(super) fn finish(self, replace: bool) -> io::Result<()> {
        self.file.finish(replace)
    }
}

#[cfg(unix)]
fn write(file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, at)
}

#[cfg(not(unix))]
fn write(mut file: &File, at: u64, bytes: &[u8]) -> io::Result<()> {
    use io::{Seek, Write};
    file.seek(io::SeekFrom::Start(at))?;
    file.write_all(bytes)
}

impl Sink for SparseFile {
    fn bytes(&mut self, at: GuestOffset, bytes: &[u8]) -> io::Result<()> {
        let file = self.file.get()?;
        let mut rest = bytes;
        let mut at = at.0.saturating_sub(self.start.0);
        while !rest.is_empty() {
            let zeros = run(rest, true);
            let (_, behind) = rest.split_at_checked(zeros).unwrap_or((rest, &[]));
            let (data, behind) = behind.split_at_checked(run(behind, false)).unwrap_or((behind, &[]));
            at = at.saturating_add(to_u64(zeros));
            if !data.is_empty() {
                // Not up to the limit: nothing of it stays.
                let left = self.left.checked_sub(to_u64(data.len()));
                self.left = left.ok_or_else(|| output_spent(self.limit))?;
                write(file, at, data)?;
            }
            at = at.saturating_add(to_u64(data.len()));
            rest = behind;
        }
        Ok(())
    }

    fn zeros(&mut self, _: GuestSpan) -> io::Result<()> {
        self.file.get().map(drop)
    }

    fn fault(&mut self, _: &Fault) -> io::Result<()> {
        Ok(())
    }
}

/// Bytes of the blocks at the start that are all zero, or that are not.
fn run(bytes: &[u8], zero: bool) -> usize {
    let alike = bytes.chunks(BLOCK_LEN).take_while(|block| is_zero(block) == zero);
    alike.fold(0, |len, block| len.saturating_add(block.len()))
}

/// Whether all bytes are zero: 64 at a time, which the compiler turns into wide instructions.
fn is_zero(block: &[u8]) -> bool {
    let (groups, rest) = block.as_chunks::<64>();
    let any = |bytes: &[u8]| bytes.iter().fold(0, |any, byte| any | byte);
    groups.iter().all(|group| any(group) == 0) && any(rest) == 0
}
