//! The rules: what must hold, how bad a breach is, what QEMU makes of it, and the functions that judge. Each `check_`
//! function, and each method of a `…Rules`, looks at one structure and adds what it finds to `out`. A finding says
//! what is in the bytes; what that means and what to do about it says the row of its rule.
#![warn(clippy::arithmetic_side_effects)]

mod backing;
mod bitmap_tables;
mod bitmaps;
mod bitmaps_extension;
mod catalogue;
mod data_file;
mod encryption;
mod extensions;
mod features;
mod field;
mod header;
mod header_tables;
mod judge;
mod l1;
mod l2;
mod l2_compressed;
mod lost_tables;
mod luks;
mod luks_slots;
mod names;
mod refcounts;
mod sharing;
mod snapshot_labels;
mod snapshots;
mod tool;

use crate::image::{ends_past_file, is_cut};

use backing::check_backing_file;
use bitmaps::BitmapRules;
pub use catalogue::{Example, catalogue, find, judges, named};
use extensions::ExtensionRules;
use header::{check_header, check_header_gap};
pub use judge::Judge;
use l1::{L2Place, MappingRules};
use luks::check_luks;
use refcounts::RefcountRules;
use snapshots::SnapshotRules;
use tool::check_unchanged;
pub use tool::{being_written, stopped};
