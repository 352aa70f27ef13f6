//! The rules by structure: each `check_` function, and each method of a `…Rules`, looks at one structure and
//! adds what it finds to `out`. Findings are about the bytes; what to do about them is the report's business.
#![warn(clippy::arithmetic_side_effects)]

mod bitmap_tables;
mod bitmaps;
mod changed;
mod counts;
mod engine;
mod extensions;
mod gap;
mod header;
mod l2;
mod luks;
mod mapping;
pub(crate) mod names;
mod refcounts;
mod seen;
mod snapshots;
mod span;
mod stop;
#[cfg(all(test, feature = "testkit"))]
mod testing_header;
#[cfg(all(test, feature = "testkit"))]
#[expect(
    clippy::arithmetic_side_effects,
    clippy::panic,
    clippy::unwrap_used,
    reason = "a test may stop at what it does not expect"
)]
mod testing_tables;

use crate::image::{ends_past_file, is_cut};

pub use bitmap_tables::check_bitmap_tail;
pub use bitmaps::BitmapRules;
pub use changed::check_unchanged;
#[cfg(feature = "testkit")]
pub use engine::count_references;
pub use engine::{
    CheckOptions, Checked, Counters, Loss, Owner, Progress, QemuAnswer, Ranges, Role, Verdict, Watch, check,
};
pub use extensions::ExtensionRules;
pub use gap::check_header_gap;
pub use header::{check_backing_file, check_header};
pub use luks::check_luks;
pub use mapping::{L2Place, MappingRules};
pub use refcounts::{RefcountRules, check_refcount_table_cover};
pub use snapshots::SnapshotRules;
pub use stop::stopped;
