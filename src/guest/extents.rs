//! The guest's disk as extents: runs of offsets whose bytes come from one place.

use super::cluster::State;
use super::walk::Walk;
use crate::Error;
use crate::source::ReadAt;
use crate::units::{GuestSpan, HostOffset};

/// A run of guest offsets whose bytes come from one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Extent {
    /// The guest's offsets.
    pub guest: GuestSpan,
    /// Where their bytes come from.
    pub state: State,
    /// Where the first of them stands in the image file, or in the external data file where the image has one. With
    /// states other than [`State::Data`] the room is kept for later writes. Encrypted data stands there as ciphertext.
    pub host: Option<HostOffset>,
    /// Bytes of the compressed stream at `host`, up to the end of its last sector, where clusters were asked for one
    /// by one; else 0.
    pub stream_len: u64,
}

impl Extent {
    /// Whether `next` goes on where this one ends, in the guest and, if both have a place there, in the file.
    fn goes_on_with(&self, next: &Self) -> bool {
        let hosts = match (self.host, next.host) {
            (Some(host), Some(next)) => host.checked_add(self.guest.len) == Some(next),
            (None, None) => true,
            _ => false,
        };
        hosts && self.state == next.state && self.stream_len == 0 && next.stream_len == 0
    }
}

/// The extents of a range of guest offsets, in order and without gaps, each as long as can be. Memory: two windows of
/// 64 KiB. An error ends them.
#[derive(Debug)]
pub struct Extents<'i, R> {
    walk: Walk<'i, R>,
    open: Option<Extent>,
    fault: Option<Error>,
    done: bool,
}

impl<'i, R: ReadAt> Extents<'i, R> {
    pub(super) fn new(walk: Walk<'i, R>) -> Self {
        Self { walk, open: None, fault: None, done: false }
    }
}

impl<R: ReadAt> Iterator for Extents<'_, R> {
    type Item = Result<Extent, Error>;

    fn next(&mut self) -> Option<Self::Item> {
        while !self.done {
            match self.walk.step() {
                Ok(Some(next)) => match &mut self.open {
                    Some(open) if open.goes_on_with(&next) => {
                        open.guest.len = open.guest.len.saturating_add(next.guest.len);
                    }
                    open => {
                        if let Some(whole) = open.replace(next) {
                            return Some(Ok(whole));
                        }
                    }
                },
                Ok(None) => self.done = true,
                Err(error) => (self.done, self.fault) = (true, Some(error)),
            }
        }
        let last = self.open.take().map(Ok);
        last.or_else(|| self.fault.take().map(Err))
    }
}
