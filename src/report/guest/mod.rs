//! Reports on what the guest sees.

mod bitmaps;
mod hexdump;
mod locate;
mod map;
mod map_json;

pub(super) use bitmaps::SHAPE as BITMAP;
pub use bitmaps::{BitmapOptions, BitmapsTold, write_bitmaps};
pub use hexdump::HexdumpSink;
pub(super) use locate::SHAPE as LOCATE;
pub use locate::{Located, write_located};
pub(super) use map::SHAPE as MAP;
pub use map::write_map;
pub use map_json::write_map_json;

use std::borrow::Cow;

use crate::guest::{Extent, State};
use crate::source::ReadAt;
use crate::{Error, Image, text};

/// How a walk along a guest's disk ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Guest bytes in each state: data, zero, compressed, unallocated, missing.
    pub bytes: [u64; 5],
    /// What cut the walk.
    pub cut: Option<Error>,
}

impl Walked {
    fn add(&mut self, extent: &Extent) {
        if let Some(bytes) = self.bytes.get_mut(place(extent)) {
            *bytes = bytes.saturating_add(extent.guest.len);
        }
    }

    /// Guest bytes that nobody can tell: their tables break a rule, or they would lie behind the end of the file.
    pub fn missing(&self) -> u64 {
        let [.., missing] = self.bytes;
        missing
    }

    /// Guest bytes that a backing file would fill.
    pub fn unallocated(&self) -> u64 {
        let [.., unallocated, _] = self.bytes;
        unallocated
    }
}

/// The name of the file that what is unallocated comes from, as it may be shown, or what kept it from being read:
/// without it a map does not say where all bytes come from.
fn backing<R: ReadAt>(image: &Image<R>) -> (Option<Cow<'_, str>>, Option<Error>) {
    match image.backing_file() {
        Ok(name) => (name.map(|name| text::escape(&name.bytes)), None),
        Err(error) => (None, Some(error)),
    }
}

fn place(extent: &Extent) -> usize {
    match extent.state {
        _ if extent.lost_for().is_some() => 4,
        State::Data => 0,
        State::Zero => 1,
        State::Compressed => 2,
        State::Unallocated => 3,
        State::Broken(_) => 4,
    }
}
