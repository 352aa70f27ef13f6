//! A list of entries of unknown lengths, read one after the other in bounded memory: the snapshot table, and the bitmap
//! directory.

use super::window::Window;
use crate::format::Layout;
use crate::source::ReadAt;
use crate::units::HostOffset;
use crate::{Error, Limit, Limits};

/// An entry of a list: a fixed part that says how long the whole is, and what follows on it.
pub(super) trait ListEntry: Sized {
    /// The fixed part.
    type Head: Layout;
    /// How many are read.
    const LIMIT: Limit;

    /// Bytes of the whole without its padding.
    fn entry_len(head: &Self::Head) -> u64;

    /// Reads the entry that starts at `at` off its bytes, or as many of them as there are.
    fn parse(index: u32, at: HostOffset, bytes: &[u8]) -> Result<Self, Error>;

    /// Where the next entry starts.
    fn next_at(&self) -> HostOffset;
}

/// Reads one entry after the other, up to the list's end or a fault.
#[derive(Debug)]
pub(super) struct List<'i, R> {
    window: Window<'i, R>,
    at: HostOffset,
    /// Where the list ends, and how many entries it has, as far as either is known.
    end: Option<HostOffset>,
    count: Option<u32>,
    index: u32,
    limits: Limits,
}

impl<'i, R: ReadAt> List<'i, R> {
    /// The list that starts at `at`, and has so many bytes or so many entries.
    pub(super) fn new(
        window: Window<'i, R>,
        at: HostOffset,
        (end, count): (Option<HostOffset>, Option<u32>),
        limits: &Limits,
    ) -> Self {
        Self { window, at, end, count, index: 0, limits: *limits }
    }

    /// The next entry, or what ends the list before its time.
    pub(super) fn next<T: ListEntry>(&mut self) -> Option<Result<T, Error>> {
        if self.end.is_some_and(|end| self.at >= end) || self.count.is_some_and(|count| self.index >= count) {
            return None;
        }
        let entry = self.entry::<T>();
        match &entry {
            Ok(entry) => {
                self.at = entry.next_at();
                self.index = self.index.saturating_add(1);
            }
            Err(_) => self.count = Some(0),
        }
        Some(entry)
    }

    fn entry<T: ListEntry>(&mut self) -> Result<T, Error> {
        let at = self.at;
        if u64::from(self.index) >= self.limits.get(T::LIMIT) {
            return Err(self.limits.spent(T::LIMIT, at));
        }
        let wanted = match T::Head::decode(self.window.get(at, T::Head::LEN)?) {
            Some(head) => T::entry_len(&head).next_multiple_of(8),
            None => T::Head::LEN,
        };
        if wanted > self.limits.entry_len {
            return Err(self.limits.spent(Limit::EntryLen, at));
        }
        T::parse(self.index, at, self.window.get(at, wanted)?)
    }
}
