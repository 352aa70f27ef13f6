//! Readers that are difficult on purpose: what a report says must not depend on how the bytes come.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

use qcow2_inspect::source::ReadAt;
use qcow2_inspect::units::to_u64;

/// Returns at most so many bytes per call, as pipes and network disks do.
#[derive(Debug)]
pub struct SmallBlocks<R> {
    source: R,
    most: usize,
}

impl<R> SmallBlocks<R> {
    /// Reads at most `most` bytes at a time, and at least one.
    pub const fn new(source: R, most: usize) -> Self {
        Self { source, most: if most == 0 { 1 } else { most } }
    }
}

impl<R: ReadAt> ReadAt for SmallBlocks<R> {
    fn len(&self) -> io::Result<u64> {
        self.source.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let most = buf.len().min(self.most);
        self.source.read_at(offset, buf.get_mut(..most).unwrap_or_default())
    }
}

/// Fails from a certain read on, as a disk that dies.
#[derive(Debug)]
pub struct FailingAt<R> {
    source: R,
    reads_left: AtomicU64,
    kind: io::ErrorKind,
}

impl<R> FailingAt<R> {
    /// The first `reads` calls succeed, and every later one fails with this kind of error.
    pub const fn new(source: R, reads: u64, kind: io::ErrorKind) -> Self {
        Self { source, reads_left: AtomicU64::new(reads), kind }
    }

    /// Whether a read has failed.
    pub fn has_failed(&self) -> bool {
        self.reads_left.load(Ordering::Relaxed) == u64::MAX
    }
}

impl<R: ReadAt> ReadAt for FailingAt<R> {
    fn len(&self) -> io::Result<u64> {
        self.source.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        let left = self.reads_left.load(Ordering::Relaxed);
        match left.checked_sub(1) {
            Some(less) if left != u64::MAX => {
                self.reads_left.store(less, Ordering::Relaxed);
                self.source.read_at(offset, buf)
            }
            _ => {
                self.reads_left.store(u64::MAX, Ordering::Relaxed);
                Err(self.kind.into())
            }
        }
    }
}

/// Fails at one read and at no other, as a cable that is moved.
#[derive(Debug)]
pub struct FailingOnce<R> {
    source: R,
    fails_at: u64,
    calls: AtomicU64,
    kind: io::ErrorKind,
}

impl<R> FailingOnce<R> {
    /// The call with this number, from 0 on, fails with this kind of error.
    pub const fn new(source: R, fails_at: u64, kind: io::ErrorKind) -> Self {
        Self { source, fails_at, calls: AtomicU64::new(0), kind }
    }
}

impl<R: ReadAt> ReadAt for FailingOnce<R> {
    fn len(&self) -> io::Result<u64> {
        self.source.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if self.calls.fetch_add(1, Ordering::Relaxed) == self.fails_at {
            return Err(self.kind.into());
        }
        self.source.read_at(offset, buf)
    }
}

/// Counts what is read, apart from the library's own meter.
#[derive(Debug)]
pub struct Counting<R> {
    source: R,
    reads: AtomicU64,
    bytes: AtomicU64,
    most: AtomicU64,
}

impl<R> Counting<R> {
    /// Counts from zero.
    pub const fn new(source: R) -> Self {
        Self { source, reads: AtomicU64::new(0), bytes: AtomicU64::new(0), most: AtomicU64::new(0) }
    }

    /// Calls so far.
    pub fn reads(&self) -> u64 {
        self.reads.load(Ordering::Relaxed)
    }

    /// Bytes read so far.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// The longest buffer that was to be filled: memory that the caller had to have.
    pub fn longest_buffer(&self) -> u64 {
        self.most.load(Ordering::Relaxed)
    }
}

impl<R: ReadAt> ReadAt for Counting<R> {
    fn len(&self) -> io::Result<u64> {
        self.source.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        self.reads.fetch_add(1, Ordering::Relaxed);
        self.most.fetch_max(to_u64(buf.len()), Ordering::Relaxed);
        let count = self.source.read_at(offset, buf)?;
        self.bytes.fetch_add(to_u64(count), Ordering::Relaxed);
        Ok(count)
    }
}

/// Answers each call with `Interrupted` before it works, as a signal does.
#[derive(Debug)]
pub struct Interrupting<R> {
    source: R,
    calls: AtomicU64,
}

impl<R> Interrupting<R> {
    /// Interrupts every other call.
    pub const fn new(source: R) -> Self {
        Self { source, calls: AtomicU64::new(0) }
    }
}

impl<R: ReadAt> ReadAt for Interrupting<R> {
    fn len(&self) -> io::Result<u64> {
        self.source.len()
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        if self.calls.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        self.source.read_at(offset, buf)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Model, check};
    use qcow2_inspect::units::HostOffset;
    use qcow2_inspect::{Error, Image, Limits};

    const BYTES: [u8; 10] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9];

    #[test]
    fn small_blocks_are_small() {
        let source = SmallBlocks::new(&BYTES[..], 3);
        let mut buf = [0xff; 8];
        assert_eq!(source.read_at(4, &mut buf).unwrap(), 3);
        assert_eq!(buf, [4, 5, 6, 0xff, 0xff, 0xff, 0xff, 0xff]);
        assert_eq!(SmallBlocks::new(&BYTES[..], 0).read_at(9, &mut buf).unwrap(), 1);
        assert_eq!(source.read_at(10, &mut buf).unwrap(), 0);
        assert_eq!(ReadAt::len(&source).unwrap(), 10);
    }

    #[test]
    fn reads_fail_from_the_chosen_one_on() {
        let source = FailingAt::new(&BYTES[..], 2, io::ErrorKind::TimedOut);
        assert!(source.read_at(0, &mut [0]).is_ok() && source.read_at(0, &mut [0]).is_ok());
        assert!(!source.has_failed());
        for _ in 0..3 {
            assert_eq!(source.read_at(0, &mut [0]).unwrap_err().kind(), io::ErrorKind::TimedOut);
        }
        assert!(source.has_failed());
    }

    #[test]
    fn one_read_fails_and_no_other() {
        let source = FailingOnce::new(&BYTES[..], 1, io::ErrorKind::TimedOut);
        let outcomes = [(); 4].map(|()| source.read_at(0, &mut [0]).is_ok());
        assert_eq!(outcomes, [true, false, true, true]);
    }

    #[test]
    fn reads_and_bytes_are_counted() {
        let source = Counting::new(&BYTES[..]);
        source.read_at(0, &mut [0; 4]).unwrap();
        source.read_at(8, &mut [0; 7]).unwrap();
        assert_eq!((source.reads(), source.bytes(), source.longest_buffer()), (2, 6, 7));
    }

    /// What is read does not depend on the reader, and the library's meter agrees with ours.
    #[test]
    fn images_are_the_same_through_every_reader() {
        for seed in 0..40 {
            let plan = Model::small_from_seed(seed).unwrap().plan();
            let written = plan.write();
            let bytes = written.bytes.as_slice();
            check(&plan, &written, &Image::open(SmallBlocks::new(bytes, 7), Limits::default()).unwrap());
            check(&plan, &written, &Image::open(Interrupting::new(bytes), Limits::default()).unwrap());
            let counting = Counting::new(bytes);
            let image = Image::open(&counting, Limits::default()).unwrap();
            check(&plan, &written, &image);
            assert_eq!(image.bytes_read(), counting.bytes());
        }
    }

    #[test]
    fn a_failing_reader_is_an_error_that_says_so() {
        let bytes = Model::small_from_seed(0).unwrap().write();
        let source = FailingAt::new(bytes.as_slice(), 0, io::ErrorKind::PermissionDenied);
        let wanted =
            Error::Io { what: "the header", at: HostOffset(0), kind: io::ErrorKind::PermissionDenied };
        assert_eq!(Image::open(&source, Limits::default()).unwrap_err(), wanted);
        assert!(source.has_failed());
    }
}
