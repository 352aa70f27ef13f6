//! Reports on what the guest sees.

mod bitmaps;
mod hexdump;
mod locate;
mod map;
mod map_json;

pub use bitmaps::{BitmapOptions, BitmapsTold, write_bitmaps};
pub use hexdump::HexdumpSink;
pub use locate::{Located, write_located};
pub use map::write_map;
pub use map_json::write_map_json;

use std::borrow::Cow;

use crate::guest::{Extent, State};
use crate::source::ReadAt;
use crate::{Error, Image, text};

/// How a walk along a guest's disk ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Guest bytes in each state.
    pub bytes: StateBytes,
    /// What cut the walk.
    pub cut: Option<Error>,
}

/// Guest bytes in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StateBytes {
    /// From the file.
    pub data: u64,
    /// Zeros.
    pub zero: u64,
    /// From compressed streams.
    pub compressed: u64,
    /// Those that a backing file would fill.
    pub unallocated: u64,
    /// Those that the tables break a rule for.
    pub broken: u64,
}

impl StateBytes {
    fn add(&mut self, extent: &Extent) {
        let bytes = match extent.state {
            State::Data => &mut self.data,
            State::Zero => &mut self.zero,
            State::Compressed => &mut self.compressed,
            State::Unallocated => &mut self.unallocated,
            State::Broken(_) => &mut self.broken,
        };
        *bytes = bytes.saturating_add(extent.guest.len);
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
