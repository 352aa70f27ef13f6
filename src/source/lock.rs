//! QEMU's locks on the file of an image, which tell whether another process has it open for writing. They are asked for,
//! and none is taken.
//!
//! QEMU locks single bytes of a file, whatever they hold (block/file-posix.c): byte 100 + n where it makes use of
//! permission n, and byte 200 + n where it lets no other process do so. That no lock is found proves nothing: locking may
//! be switched off, and on some file systems the locks of another host are not seen.

use super::ReadAt;

/// A lock of QEMU's that says something to whoever reads the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QemuLock {
    /// Its holder may write.
    Write,
    /// Its holder may change the length of the file.
    Resize,
    /// Its holder lets no other process read: what is in the file makes no whole for now.
    ReadAlone,
}

impl QemuLock {
    /// The byte that is locked.
    pub const fn byte(self) -> u64 {
        match self {
            Self::Write => 101,
            Self::Resize => 103,
            Self::ReadAlone => 200,
        }
    }

    /// What it is for, in QEMU's words.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Write => "write",
            Self::Resize => "resize",
            Self::ReadAlone => "consistent read",
        }
    }

    /// The first lock of a writer that another process holds now, where one is seen.
    pub(crate) fn of_writer(source: &impl ReadAt) -> Option<Self> {
        [Self::Write, Self::Resize].into_iter().find(|lock| source.is_locked(lock.byte()))
    }

    /// The first lock that keeps `qemu-img check` from opening the file now, where one is seen.
    pub(crate) fn against_check(source: &impl ReadAt) -> Option<Self> {
        Self::of_writer(source)
            .or_else(|| source.is_locked(Self::ReadAlone.byte()).then_some(Self::ReadAlone))
    }
}
