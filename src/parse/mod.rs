//! Parsers of the variable-length lists, as nom combinators over bytes that are already read. Each keeps the
//! entries before a fault and says what is wrong at which offset.
#![warn(clippy::arithmetic_side_effects)]

pub(crate) mod bitmaps;
pub(crate) mod extensions;
mod kit;
pub(crate) mod snapshots;
