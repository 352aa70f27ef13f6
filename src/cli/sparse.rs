//! A raw file that is written beside its place, with holes for zeros, and put there when it is whole.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use qcow2_inspect::guest::{Fault, Sink};
use qcow2_inspect::units::{GuestOffset, GuestSpan, to_u64};

/// Bytes that are left out where all are zero.
const BLOCK_LEN: usize = 4096;

/// The file, which is removed unless it is finished.
#[derive(Debug)]
pub(super) struct SparseFile {
    file: File,
    path: PathBuf,
    /// Where the guest offset 0 of the file lies.
    start: GuestOffset,
    is_finished: bool,
}

impl SparseFile {
    /// A file beside `place`, for guest bytes from `start` on.
    pub(super) fn create(place: &Path, start: GuestOffset) -> io::Result<Self> {
        let mut name = OsString::from(".");
        name.push(place.file_name().ok_or(io::ErrorKind::InvalidFilename)?);
        name.push(format!(".{}.part", std::process::id()));
        let path = place.with_file_name(name);
        let file = OpenOptions::new().write(true).create_new(true).open(&path)?;
        Ok(Self { file, path, start, is_finished: false })
    }

    /// Gives the file its length and its place. Without `replace`, a file that is there by now stays.
    pub(super) fn finish(mut self, len: u64, place: &Path, replace: bool) -> io::Result<()> {
        self.file.set_len(len)?;
        if replace {
            fs::rename(&self.path, place)?;
        } else {
            rename_new(&self.path, place)?;
        }
        self.is_finished = true;
        Ok(())
    }

    fn write(&mut self, at: GuestOffset, bytes: &[u8]) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(at.0.saturating_sub(self.start.0)))?;
        self.file.write_all(bytes)
    }
}

impl Drop for SparseFile {
    fn drop(&mut self) {
        if !self.is_finished {
            // There is nobody to tell.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Sink for SparseFile {
    fn bytes(&mut self, at: GuestOffset, bytes: &[u8]) -> io::Result<()> {
        let mut rest = bytes;
        let mut at = at;
        while !rest.is_empty() {
            let zeros = run(rest, true);
            let (_, behind) = rest.split_at_checked(zeros).unwrap_or((rest, &[]));
            let (data, behind) = behind.split_at_checked(run(behind, false)).unwrap_or((behind, &[]));
            at = at.saturating_add(to_u64(zeros));
            if !data.is_empty() {
                self.write(at, data)?;
            }
            at = at.saturating_add(to_u64(data.len()));
            rest = behind;
        }
        Ok(())
    }

    fn zeros(&mut self, _: GuestSpan) -> io::Result<()> {
        Ok(())
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

/// Moves a file to a place where none is.
#[cfg(target_os = "linux")]
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use rustix::io::Errno;
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // The file system does not know the flag.
        Err(Errno::INVAL | Errno::NOSYS) => rename_checked(from, to),
        result => Ok(result?),
    }
}

#[cfg(not(target_os = "linux"))]
fn rename_new(from: &Path, to: &Path) -> io::Result<()> {
    rename_checked(from, to)
}

fn rename_checked(from: &Path, to: &Path) -> io::Result<()> {
    if to.symlink_metadata().is_ok() {
        return Err(io::ErrorKind::AlreadyExists.into());
    }
    fs::rename(from, to)
}
