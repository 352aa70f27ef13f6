//! The catalogue's rows.

mod bitmaps;
mod extensions;
mod header;
mod luks;
mod mapping;
mod overlap;
mod refcounts;
mod snapshots;
mod tool;

use crate::finding::Rule;

/// Every rule by its code.
pub mod codes {
    pub use super::bitmaps::*;
    pub use super::extensions::*;
    pub use super::header::*;
    pub use super::luks::*;
    pub use super::mapping::*;
    pub use super::overlap::*;
    pub use super::refcounts::*;
    pub use super::snapshots::*;
    pub use super::tool::*;
}

/// All rows, by family and number.
pub fn catalogue() -> impl Iterator<Item = &'static Rule> {
    [
        header::ALL,
        extensions::ALL,
        mapping::ALL,
        overlap::ALL,
        refcounts::ALL,
        snapshots::ALL,
        bitmaps::ALL,
        luks::ALL,
        tool::ALL,
    ]
    .into_iter()
    .flatten()
    .copied()
}
