//! Reports on what the guest sees.

mod bitmaps;
mod hexdump;
mod locate;
mod map_json;
mod map_lines;
mod map_text;

pub use bitmaps::{BitmapOptions, BitmapsTold, write_bitmaps_json, write_bitmaps_text};
pub use hexdump::HexdumpSink;
pub use locate::{Located, write_located_json, write_located_text};
pub use map_json::write_map_json;
pub use map_lines::write_map_lines;
pub use map_text::write_map_text;

use crate::Error;
use crate::guest::{Extent, State};

/// How a walk along a guest's disk ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Walked {
    /// Guest bytes in each state: data, zero, compressed, unallocated, broken.
    pub bytes: [u64; 5],
    /// What cut the walk.
    pub cut: Option<Error>,
}

impl Walked {
    fn add(&mut self, extent: &Extent) {
        if let Some(bytes) = self.bytes.get_mut(place(extent.state)) {
            *bytes = bytes.saturating_add(extent.guest.len);
        }
    }

    /// Guest bytes that the tables break a rule for.
    pub fn broken(&self) -> u64 {
        self.bytes.get(place(State::Broken(&crate::rules::codes::L08))).copied().unwrap_or_default()
    }

    /// Guest bytes that a backing file would fill.
    pub fn unallocated(&self) -> u64 {
        self.bytes.get(place(State::Unallocated)).copied().unwrap_or_default()
    }
}

const fn place(state: State) -> usize {
    match state {
        State::Data => 0,
        State::Zero => 1,
        State::Compressed => 2,
        State::Unallocated => 3,
        State::Broken(_) => 4,
    }
}
