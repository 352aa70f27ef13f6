//! The rules by structure: each `check_` function, and each method of a `…Rules`, looks at one structure and
//! adds what it finds to `out`. Findings are about the bytes; what to do about them is the report's business.
#![warn(clippy::arithmetic_side_effects)]

mod bounds;
mod extensions;
mod gap;
mod header;
mod luks;
pub(crate) mod names;
mod span;
mod stop;
#[cfg(all(test, feature = "testkit"))]
mod testing_header;

pub use bounds::ends_past_file;
pub use extensions::ExtensionRules;
pub use gap::check_header_gap;
pub use header::{check_backing_file, check_header};
pub use luks::check_luks;
pub use stop::stopped;
