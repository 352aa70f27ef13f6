//! What must hold for any bytes. `exercise` does to an image what a user can do, and stops the process with a
//! panic where an oracle sees a fault.
//!
//! Every input is walked, with all rules and no report: no panic, bounded reads, rows and memory. One in
//! [`WRITTEN_SHARE`] is written down in one of the formats, which must hold no raw byte and be valid; one in
//! [`CHECKED_SHARE`] is checked as a whole, and one in [`VIEWED_SHARE`] looked at as its guest would. One in
//! [`DEAR_SHARE`] goes through each of the oracles that run the reader again. A hash of the input chooses, so that
//! an input always meets the same ones; the replay of the corpus runs them all.

#![expect(clippy::panic, reason = "an oracle says by a panic what it saw")]

mod asked;
mod bounds;
mod counts;
mod guest;
mod independence;
mod output;
#[cfg(test)]
mod planted;
mod round_trip;
mod run;
mod valid;

use std::hash::{DefaultHasher, Hash, Hasher};

pub use asked::{Format, LIMITS, Tells};
pub use bounds::{memory_bound, read_bound, row_bound};
pub use counts::{check_counts, told_counts};
pub use guest::check_guest_view;
pub use independence::{check_deterministic, check_limits_are_monotone, check_reader_independent};
pub use output::{check_json, check_json_array, check_json_lines, check_text};
pub use round_trip::check_round_trip;
pub use run::{Run, run};
pub use valid::exercise_model;

use qcow2_inspect::units::to_usize;

/// Of how many inputs one is written down.
pub const WRITTEN_SHARE: u64 = 16;
/// Of how many inputs one is checked as a whole.
pub const CHECKED_SHARE: u64 = 8;
/// Of how many inputs one is looked at as its guest would.
pub const VIEWED_SHARE: u64 = 64;
/// Of how many inputs one goes through each of the dear oracles with what is written down.
pub const DEAR_WRITTEN_SHARE: u64 = 256;
/// Of how many inputs one goes through each of the dear oracles with the walk.
pub const DEAR_SHARE: u64 = 64;

/// Does to these bytes what a user can do, under all oracles, each of the dear ones on a share of the inputs.
///
/// # Panics
/// Where an oracle sees a fault.
pub fn exercise(bytes: &[u8]) {
    let mut hasher = DefaultHasher::new();
    bytes.hash(&mut hasher);
    let hash = hasher.finish();
    let Some(walk) = walk(bytes) else { return };
    let format = Format::WRITTEN.iter().cycle().nth(to_usize(hash >> 32 & 255));
    let written = || format.and_then(|format| run(bytes, *format, LIMITS));
    if is_due(hash, 1, WRITTEN_SHARE)
        && let Some(written) = written()
    {
        check_written(bytes, &written);
    }
    if is_due(hash, 7, CHECKED_SHARE) {
        run(bytes, Format::CheckText, LIMITS);
    }
    if is_due(hash, 0, VIEWED_SHARE) {
        check_guest_view(bytes);
    }
    for (decision, oracle) in (2..).zip(DEAR) {
        if is_due(hash, decision, DEAR_SHARE) {
            oracle(bytes, &walk, hash >> 16);
        } else if is_due(hash.rotate_left(4), decision, DEAR_WRITTEN_SHARE)
            && let Some(written) = written()
        {
            oracle(bytes, &written, hash >> 16);
        }
    }
}

/// Whether an input with this hash is one of the `share`. Each decision takes other bits of the hash.
fn is_due(hash: u64, decision: u32, share: u64) -> bool {
    hash.rotate_left(decision.saturating_mul(8)).is_multiple_of(share)
}

/// The same with every format and every oracle.
///
/// # Panics
/// Where an oracle sees a fault.
pub fn exercise_fully(bytes: &[u8]) {
    let Some(walk) = walk(bytes) else { return };
    check_guest_view(bytes);
    let all_choices = |run: &Run| {
        for choice in 0..41 {
            DEAR.iter().for_each(|oracle| oracle(bytes, run, choice));
        }
    };
    for format in Format::WRITTEN {
        let Some(written) = run(bytes, format, LIMITS) else { return };
        check_written(bytes, &written);
        all_choices(&written);
    }
    all_choices(&walk);
}

/// The oracles that run the reader again, each with the run to compare and a number to choose by.
const DEAR: [fn(&[u8], &Run, u64); 4] = [
    |bytes, first, _| check_deterministic(bytes, first),
    check_reader_independent,
    check_limits_are_monotone,
    |bytes, _, _| check_round_trip(bytes),
];

fn walk(bytes: &[u8]) -> Option<Run> {
    let walk = run(bytes, Format::Walk, LIMITS)?;
    bounds::check_bounds(bytes.len(), &walk);
    Some(walk)
}

fn check_written(bytes: &[u8], written: &Run) {
    bounds::check_bounds(bytes.len(), written);
    check_output(written);
}

fn check_output(written: &Run) {
    match written.format {
        Format::Walk => {}
        Format::Text
        | Format::Hex
        | Format::InfoText
        | Format::CheckText
        | Format::MapText
        | Format::BitmapText
        | Format::LocateText
        | Format::AuditText => check_text(&written.out),
        Format::Json | Format::InfoJson | Format::CheckJson | Format::BitmapJson | Format::AuditJson => {
            check_json(&written.out)
        }
        Format::MapJson => check_json_array(&written.out),
        // Where there is no disk, there are no lines.
        Format::MapLines if written.out.is_empty() => {}
        Format::JsonLines | Format::MapLines => check_json_lines(&written.out),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Model;

    /// Inputs whose hashes differ: each decision takes about its share of them, and not the same ones.
    #[test]
    fn every_dear_oracle_gets_its_share() {
        let hashes: Vec<u64> = (0..64 * 256_u64)
            .map(|input| {
                let mut hasher = DefaultHasher::new();
                input.to_be_bytes().hash(&mut hasher);
                hasher.finish()
            })
            .collect();
        let due = |decision, share| hashes.iter().filter(move |hash| is_due(**hash, decision, share)).count();
        assert!((900..1150).contains(&due(1, WRITTEN_SHARE)), "{}", due(1, WRITTEN_SHARE));
        for decision in (2..).take(DEAR.len()) {
            assert!((200..320).contains(&due(decision, DEAR_SHARE)), "{}", due(decision, DEAR_SHARE));
            let with_first =
                |hash: &&u64| is_due(**hash, 2, DEAR_SHARE) && is_due(**hash, decision, DEAR_SHARE);
            assert!(decision == 2 || hashes.iter().filter(with_first).count() < 20);
        }
    }

    /// Each format is held to its own rules.
    #[test]
    fn every_format_that_is_broken_is_seen() {
        let bytes = Model::small_from_seed(3).unwrap().write();
        for format in Format::WRITTEN {
            let mut written = run(bytes.as_slice(), format, LIMITS).unwrap();
            check_output(&written);
            written.out.extend(b"\x1b[2J");
            assert!(std::panic::catch_unwind(|| check_output(&written)).is_err(), "{format:?}");
        }
    }
}
