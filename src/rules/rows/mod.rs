//! The catalogue's rows.

pub(super) mod bitmaps;
pub(super) mod extensions;
pub(super) mod header;
pub(super) mod luks;
pub(super) mod mapping;
pub(super) mod overlap;
pub(super) mod refcounts;
pub(super) mod snapshots;
pub(super) mod tool;
