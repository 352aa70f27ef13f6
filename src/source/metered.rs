//! The only way to bytes: it counts what is read, and stops at the limits.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use super::{QemuLock, ReadAt};
use crate::units::{HostOffset, to_u64, to_usize};
use crate::{Error, Limit, Limits};

/// Reads from one look at the clock to the next.
const READS_PER_LOOK: u64 = 16;

/// A source with its length, as it was when it was opened, and a meter.
#[derive(Debug)]
pub(crate) struct Metered<R> {
    source: R,
    len: u64,
    changed: Option<SystemTime>,
    /// The lock of a writer that another process held then.
    writer: Option<QemuLock>,
    limits: Limits,
    /// Past it, the time of the limits is spent.
    deadline: Option<Instant>,
    read_bytes: AtomicU64,
    reads: AtomicU64,
    /// The limit that was spent first: nothing is read any more.
    spent: OnceLock<Limit>,
}

impl<R: ReadAt> Metered<R> {
    pub(crate) fn new(source: R, limits: Limits) -> Result<Self, Error> {
        let len = length(&source)?;
        let changed = source.changed();
        let writer = QemuLock::of_writer(&source);
        let deadline = Instant::now().checked_add(Duration::from_secs(limits.seconds));
        let (read_bytes, reads, spent) = Default::default();
        Ok(Self { source, len, changed, writer, limits, deadline, read_bytes, reads, spent })
    }

    /// Bytes of the file.
    pub(crate) fn len(&self) -> u64 {
        self.len
    }

    /// Whether the source is not what it was, by its length and the time of its last change.
    pub(crate) fn has_changed(&self) -> Result<bool, Error> {
        Ok(length(&self.source)? != self.len || self.source.changed() != self.changed)
    }

    /// The lock of a writer that another process held at the start, or holds now.
    pub(crate) fn writer(&self) -> Option<QemuLock> {
        self.writer.or_else(|| QemuLock::of_writer(&self.source))
    }

    /// The lock that keeps `qemu-img check` from opening the file now.
    pub(crate) fn lock_against_check(&self) -> Option<QemuLock> {
        QemuLock::against_check(&self.source)
    }

    /// Bytes read so far.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.read_bytes.load(Ordering::Relaxed)
    }

    /// Fills `buf` from `at` on, as far as the file goes, and returns the bytes that are there. `what` is named
    /// in an error.
    pub(crate) fn read<'b>(
        &self,
        what: &'static str,
        at: HostOffset,
        buf: &'b mut [u8],
    ) -> Result<&'b [u8], Error> {
        let there = to_usize(self.len.saturating_sub(at.0)).min(buf.len());
        let mut filled = 0;
        while filled < there {
            let offset = at.saturating_add(to_u64(filled));
            self.charge(offset, to_u64(there.saturating_sub(filled)))?;
            let rest = buf.get_mut(filled..there).unwrap_or_default();
            match self.source.read_at(offset.0, rest) {
                // The file has become shorter; what is left is what is there.
                Ok(0) => break,
                Ok(count) => {
                    self.read_bytes.fetch_add(to_u64(count), Ordering::Relaxed);
                    filled = filled.saturating_add(count).min(there);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(Error::Io { what, at: offset, kind: error.kind() }),
            }
        }
        Ok(buf.get(..filled).unwrap_or_default())
    }

    /// The same into a vector of its own, of at most `len` bytes: never more than the file has.
    pub(crate) fn read_vec(&self, what: &'static str, at: HostOffset, len: u64) -> Result<Vec<u8>, Error> {
        let mut bytes = vec![0; to_usize(len.min(self.len.saturating_sub(at.0)))];
        let there = self.read(what, at, &mut bytes)?.len();
        bytes.truncate(there);
        Ok(bytes)
    }

    /// The first offset from `at` on whose byte is stored; `None` where there is none before the end. Each question
    /// counts as a read.
    pub(crate) fn next_data(&self, at: HostOffset) -> Result<Option<HostOffset>, Error> {
        if at.0 >= self.len {
            return Ok(None);
        }
        self.charge(at, 0)?;
        let next = self.source.next_data(at.0).map(|next| HostOffset(next.max(at.0)));
        Ok(next.filter(|next| next.0 < self.len))
    }

    /// The first offset from `at` on that is in a hole, or behind the end. Each question counts as a read.
    pub(crate) fn next_hole(&self, at: HostOffset) -> Result<HostOffset, Error> {
        self.charge(at, 0)?;
        Ok(HostOffset(self.source.next_hole(at.0).clamp(at.0, self.len.max(at.0))))
    }

    /// How many bytes are stored, where that is known.
    pub(crate) fn stored_len(&self) -> Option<u64> {
        self.source.stored_len()
    }

    /// Counts work on bytes that were read as if it were a read of none, so that the limit on time holds there too.
    pub(crate) fn work(&self, at: HostOffset) -> Result<(), Error> {
        self.charge(at, 0)
    }

    fn charge(&self, at: HostOffset, bytes: u64) -> Result<(), Error> {
        let spent = match self.spent.get() {
            Some(spent) => *spent,
            None => match self.passed(bytes) {
                Some(spent) => *self.spent.get_or_init(|| spent),
                None => return Ok(()),
            },
        };
        Err(self.limits.spent(spent, at))
    }

    /// Counts a read, and answers which limit it passes.
    fn passed(&self, bytes: u64) -> Option<Limit> {
        if self.bytes_read().saturating_add(bytes) > self.limits.read_bytes {
            return Some(Limit::ReadBytes);
        }
        let reads = self.reads.fetch_add(1, Ordering::Relaxed);
        if reads >= self.limits.reads {
            return Some(Limit::Reads);
        }
        let is_late = || self.deadline.is_some_and(|deadline| Instant::now() >= deadline);
        (reads.is_multiple_of(READS_PER_LOOK) && is_late()).then_some(Limit::Seconds)
    }
}

fn length(source: &impl ReadAt) -> Result<u64, Error> {
    source.len().map_err(|error| Error::Io {
        what: "the file's length",
        at: HostOffset(0),
        kind: error.kind(),
    })
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    /// A source that loses its length.
    struct Fading(Cell<bool>);

    impl ReadAt for Fading {
        fn len(&self) -> io::Result<u64> {
            if self.0.get() { Err(io::ErrorKind::NotFound.into()) } else { Ok(1) }
        }

        fn read_at(&self, _: u64, _: &mut [u8]) -> io::Result<usize> {
            Ok(0)
        }
    }

    #[test]
    fn a_length_that_is_not_known_any_more_is_not_the_same() {
        let source = Metered::new(Fading(Cell::new(false)), Limits::default()).unwrap();
        assert_eq!(source.has_changed(), Ok(false));
        source.source.0.set(true);
        let (what, at) = ("the file's length", HostOffset(0));
        assert_eq!(source.has_changed(), Err(Error::Io { what, at, kind: io::ErrorKind::NotFound }));
    }

    fn metered(limits: Limits) -> Metered<Vec<u8>> {
        Metered::new((0..100).collect(), limits).unwrap()
    }

    #[test]
    fn reads_what_is_there() {
        let source = metered(Limits::default());
        assert_eq!(source.read("bytes", HostOffset(98), &mut [0; 4]).unwrap(), [98, 99]);
        assert!(source.read("bytes", HostOffset(u64::MAX), &mut [0; 4]).unwrap().is_empty());
        assert_eq!(source.read_vec("bytes", HostOffset(99), u64::MAX).unwrap(), [99]);
        assert_eq!(source.bytes_read(), 3);
    }

    #[test]
    fn stops_at_each_limit() {
        let source = metered(Limits { read_bytes: 10, ..Limits::default() });
        assert!(source.read("bytes", HostOffset(0), &mut [0; 10]).is_ok());
        let spent = Error::Budget { limit: Limit::ReadBytes, value: 10, at: HostOffset(5) };
        assert_eq!(source.read("bytes", HostOffset(5), &mut [0; 1]), Err(spent));

        assert!(source.next_data(HostOffset(0)).is_err(), "nothing is answered any more");

        let source = metered(Limits { reads: 1, ..Limits::default() });
        assert!(source.read("bytes", HostOffset(0), &mut [0; 1]).is_ok());
        let spent = Error::Budget { limit: Limit::Reads, value: 1, at: HostOffset(0) };
        assert_eq!(source.read("bytes", HostOffset(0), &mut [0; 1]), Err(spent));
    }
}
