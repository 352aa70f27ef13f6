//! The trait that a source of bytes implements.

use std::fs::File;
use std::io;
#[cfg(unix)]
use std::time::Duration;
use std::time::SystemTime;

use crate::units::{to_u64, to_usize};

/// Something whose bytes can be read at any offset, and which is never written to.
pub trait ReadAt {
    /// How many bytes it has.
    ///
    /// # Errors
    /// Whatever keeps the length from being known.
    fn len(&self) -> io::Result<u64>;

    /// Whether it has no bytes.
    ///
    /// # Errors
    /// As [`Self::len`].
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }

    /// Reads some bytes at `offset` into `buf` and returns how many; 0 only at the end.
    ///
    /// # Errors
    /// Whatever keeps the bytes from being read. `Interrupted` is tried again.
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize>;

    /// The first offset from `offset` on whose byte is stored; `None` where all the rest are holes, which read as
    /// zeros. A source that does not know says `offset`.
    fn next_data(&self, offset: u64) -> Option<u64> {
        Some(offset)
    }

    /// The first offset from `offset` on that is in a hole, or a very large one where there is none. A source that
    /// does not know says so.
    fn next_hole(&self, offset: u64) -> u64 {
        let _ = offset;
        u64::MAX
    }

    /// How many bytes are stored, where that is known.
    fn stored_len(&self) -> Option<u64> {
        None
    }

    /// When it was last changed, where that is known: on Unix by the time that no writer can put back, which `chmod` and
    /// `ln` move too.
    fn changed(&self) -> Option<SystemTime> {
        None
    }

    /// Whether another process is seen to hold a lock on this byte, which need not be one that is there. A source that
    /// cannot ask says no.
    fn is_locked(&self, byte: u64) -> bool {
        let _ = byte;
        false
    }
}

impl<T: ReadAt + ?Sized> ReadAt for &T {
    fn len(&self) -> io::Result<u64> {
        (**self).len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        (**self).read_at(offset, buf)
    }

    fn next_data(&self, offset: u64) -> Option<u64> {
        (**self).next_data(offset)
    }

    fn next_hole(&self, offset: u64) -> u64 {
        (**self).next_hole(offset)
    }

    fn stored_len(&self) -> Option<u64> {
        (**self).stored_len()
    }

    fn changed(&self) -> Option<SystemTime> {
        (**self).changed()
    }

    fn is_locked(&self, byte: u64) -> bool {
        (**self).is_locked(byte)
    }
}

impl ReadAt for [u8] {
    fn len(&self) -> io::Result<u64> {
        Ok(to_u64(<[u8]>::len(self)))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let rest = self.get(to_usize(offset)..).unwrap_or_default();
        let count = rest.len().min(buf.len());
        if let (Some(to), Some(from)) = (buf.get_mut(..count), rest.get(..count)) {
            to.copy_from_slice(from);
        }
        Ok(count)
    }
}

impl ReadAt for Vec<u8> {
    fn len(&self) -> io::Result<u64> {
        ReadAt::len(self.as_slice())
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.as_slice().read_at(offset, buf)
    }
}

impl ReadAt for File {
    /// The length by seeking, since a block device's metadata says 0.
    fn len(&self) -> io::Result<u64> {
        use io::Seek;
        let mut file = self;
        file.seek(io::SeekFrom::End(0))
    }

    #[cfg(unix)]
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        // An offset that the system call's signed type cannot hold is behind the end of any file.
        if i64::try_from(offset).is_err() {
            return Ok(0);
        }
        std::os::unix::fs::FileExt::read_at(self, buf, offset)
    }

    #[cfg(windows)]
    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(self, buf, offset)
    }

    #[cfg(unix)]
    fn next_data(&self, offset: u64) -> Option<u64> {
        match rustix::fs::seek(self, rustix::fs::SeekFrom::Data(offset)) {
            Ok(at) => Some(at),
            Err(rustix::io::Errno::NXIO) => None,
            Err(_) => Some(offset),
        }
    }

    #[cfg(unix)]
    fn next_hole(&self, offset: u64) -> u64 {
        rustix::fs::seek(self, rustix::fs::SeekFrom::Hole(offset)).unwrap_or(u64::MAX)
    }

    #[cfg(unix)]
    fn stored_len(&self) -> Option<u64> {
        use std::os::unix::fs::MetadataExt;
        // A device says 0.
        let metadata = self.metadata().ok().filter(std::fs::Metadata::is_file)?;
        Some(metadata.blocks().saturating_mul(512))
    }

    #[cfg(unix)]
    fn changed(&self) -> Option<SystemTime> {
        use std::os::unix::fs::MetadataExt;
        let metadata = self.metadata().ok()?;
        let seconds = Duration::from_secs(metadata.ctime().unsigned_abs());
        let start = match metadata.ctime() {
            // By a clock that is wrong.
            ..0 => SystemTime::UNIX_EPOCH.checked_sub(seconds)?,
            0.. => SystemTime::UNIX_EPOCH.checked_add(seconds)?,
        };
        start.checked_add(Duration::from_nanos(u64::try_from(metadata.ctime_nsec()).ok()?))
    }

    #[cfg(not(unix))]
    fn changed(&self) -> Option<SystemTime> {
        self.metadata().and_then(|metadata| metadata.modified()).ok()
    }

    fn is_locked(&self, byte: u64) -> bool {
        is_locked(self, byte)
    }
}

/// Whether another process, or another open file of this one, holds a lock on this byte. To ask takes none.
///
/// Not by rustix: it has `F_GETLK` alone, and with debug assertions it panics over the answer where the lock is of an open
/// file and not of a process, as QEMU's are.
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
fn is_locked(file: &File, byte: u64) -> bool {
    use nix::fcntl::{FcntlArg, fcntl};
    use nix::libc::{F_UNLCK, F_WRLCK, SEEK_SET, flock};

    // What would keep a writer out, asked of an open file: a descriptor that may only read can ask, too.
    let (Ok(l_type), Ok(l_whence), Ok(l_start)) =
        (i16::try_from(F_WRLCK), i16::try_from(SEEK_SET), i64::try_from(byte))
    else {
        return false;
    };
    let mut lock = flock { l_type, l_whence, l_start, l_len: 1, l_pid: 0 };
    fcntl(file, FcntlArg::F_OFD_GETLK(&mut lock)).is_ok() && i32::from(lock.l_type) != F_UNLCK
}

/// The same where it cannot be asked.
#[cfg(not(all(target_os = "linux", target_pointer_width = "64")))]
fn is_locked(_: &File, _: u64) -> bool {
    false
}

#[cfg(all(test, unix))]
mod tests {
    use std::io::{Seek, SeekFrom, Write};

    use super::*;

    /// Whatever the features, since a check looks at no hole and at so many stored bytes.
    #[test]
    fn the_holes_of_a_file_are_seen() {
        const MIB: u64 = 1 << 20;
        let mut file = tempfile::tempfile().unwrap();
        file.seek(SeekFrom::Start(16 * MIB)).unwrap();
        file.write_all(&[1; 512]).unwrap();
        file.set_len(64 * MIB).unwrap();
        let start = file.next_data(0).unwrap();
        assert!((15 * MIB..=16 * MIB).contains(&start), "{start}");
        let end = file.next_hole(16 * MIB);
        assert!((16 * MIB + 512..=17 * MIB).contains(&end), "{end}");
        assert_eq!(file.next_data(32 * MIB), None);
    }
}
