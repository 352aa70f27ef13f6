//! What must hold for any bytes. `exercise` does to an image what a user can do, and stops the process with a
//! panic where an oracle sees a fault.
//!
//! The cheap oracles look at every input: no panic, bounded reads and rows, text without a raw byte, valid JSON.
//! The dear ones, which run the reader again, look at a share of the inputs that a hash of the bytes chooses.
#![expect(clippy::panic, reason = "an oracle says by a panic what it saw")]

mod bounds;
mod independence;
mod output;
mod round_trip;
mod run;

use std::hash::{DefaultHasher, Hash, Hasher};

pub use bounds::{LIMITS, memory_bound, read_bound, row_bound};
pub use independence::{check_deterministic, check_limits_are_monotone, check_reader_independent};
pub use output::{check_json, check_json_lines, check_text};
pub use round_trip::check_round_trip;
pub use run::{Format, Run, run};

/// Of how many inputs one goes through each of the dear oracles.
pub const DEAR_SHARE: u64 = 16;

/// Does to these bytes what a user can do, under all oracles, each of the dear ones on a share of the inputs.
///
/// # Panics
/// Where an oracle sees a fault.
pub fn exercise(bytes: &[u8]) {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let hash = hasher.finish();
    exercise_as(bytes, |oracle| hash.rotate_left(oracle.saturating_mul(8)) % DEAR_SHARE == 0, hash);
}

/// The same with every oracle.
///
/// # Panics
/// Where an oracle sees a fault.
pub fn exercise_fully(bytes: &[u8]) {
    for choice in 0..Format::ALL.len() {
        exercise_as(bytes, |_| true, u64::try_from(choice).unwrap_or_default());
    }
}

/// Runs the formats in turn, by `choice`, and the dear oracles that `is_due` names.
fn exercise_as(bytes: &[u8], is_due: impl Fn(u32) -> bool, choice: u64) {
    let formats = Format::ALL.len();
    let at = usize::try_from(choice % u64::try_from(formats).unwrap_or(1)).unwrap_or_default();
    let Some(format) = Format::ALL.get(at).copied() else { return };
    let Some(first) = run(bytes, format, LIMITS) else { return };
    bounds::check_bounds(bytes.len(), &first);
    match format {
        Format::Text | Format::Hex | Format::InfoText => check_text(&first.out),
        Format::Json | Format::InfoJson => check_json(&first.out),
        Format::JsonLines => check_json_lines(&first.out),
    }
    if is_due(0) {
        check_deterministic(bytes, &first);
    }
    if is_due(1) {
        check_reader_independent(bytes, &first, choice);
    }
    if is_due(2) {
        check_limits_are_monotone(bytes, &first, choice);
    }
    if is_due(3) {
        check_round_trip(bytes);
    }
}
