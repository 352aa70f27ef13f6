//! The rules by structure: each `check_` function, and each method of a `…Rules`, looks at one structure and
//! adds what it finds to `out`. Findings are about the bytes; what to do about them is the report's business.
#![warn(clippy::arithmetic_side_effects)]

mod bounds;
mod stop;

pub use bounds::ends_past_file;
pub use stop::stopped;
