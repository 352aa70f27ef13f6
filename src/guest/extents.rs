//! The guest's disk as extents: runs of offsets whose bytes come from one place.

use super::cluster::Extent;
use super::walk::ExtentWalk;
use crate::Error;
use crate::source::ReadAt;

/// The extents of a range of guest offsets, in order and without gaps, each as long as can be. Memory: two windows of
/// 64 KiB. An error ends them.
#[derive(Debug)]
pub struct Extents<'i, R> {
    walk: ExtentWalk<'i, R>,
    open: Option<Extent>,
    fault: Option<Error>,
    done: bool,
}

impl<'i, R: ReadAt> Extents<'i, R> {
    pub(super) fn new(walk: ExtentWalk<'i, R>) -> Self {
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
                    // Where bytes would be that are missing nobody asks for each.
                    Some(open) if open.is_missing_with(&next) => {
                        open.guest.len = open.guest.len.saturating_add(next.guest.len);
                        (open.host, open.stream_len) = (None, 0);
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
