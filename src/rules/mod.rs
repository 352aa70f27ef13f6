//! The rules: what must hold, how bad a breach is, what QEMU makes of it, and the functions that judge. Each `check_`
//! function, and each method of a `…Rules`, looks at one structure and adds what it finds to `out`. Findings are about
//! the bytes; what to do about them is the report's business.
#![warn(clippy::arithmetic_side_effects)]

mod bitmap_tables;
mod bitmaps;
mod catalogue;
mod changed;
mod extensions;
mod gap;
mod header;
mod l2;
mod luks;
mod mapping;
mod names;
mod refcounts;
mod rows;
mod seen;
mod snapshots;
mod span;
mod stop;
#[cfg(all(test, feature = "testkit"))]
pub(crate) mod testing_header;
#[cfg(all(test, feature = "testkit"))]
#[expect(
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]
pub(crate) mod testing_tables;

use crate::image::{ends_past_file, is_cut};

pub use bitmap_tables::check_bitmap_tail;
pub use bitmaps::BitmapRules;
pub use catalogue::{Example, catalogue, codes, find, judges};
pub use changed::check_unchanged;
pub use extensions::ExtensionRules;
pub use gap::check_header_gap;
pub use header::{check_backing_file, check_header};
pub use luks::check_luks;
pub(crate) use mapping::guest;
pub use mapping::{L2Place, MappingRules};
pub use refcounts::{RefcountRules, check_refcount_table_cover};
pub use snapshots::SnapshotRules;
pub use stop::stopped;
