//! The same input gives the same report: however often, however it is read, and whatever the limits, as long as
//! they are not reached.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use super::{LIMITS, Run, run};
use crate::Limits;
use crate::rules::Finding;
use crate::testkit::readers::{FailingAt, SmallBlocks};
use crate::units::HostOffset;

/// # Panics
/// Where a second run differs from the first.
pub fn check_deterministic(bytes: &[u8], first: &Run) {
    let second = run(bytes, first.format, LIMITS);
    assert!(second.is_some_and(|second| second.says_as(first)), "two runs differ");
}

/// # Panics
/// Where a reader of small blocks gives another report, or one that fails another verdict.
pub fn check_reader_independent(bytes: &[u8], first: &Run, choice: u64) {
    let block = usize::try_from(choice % 97).unwrap_or_default().saturating_add(1);
    let small = run(SmallBlocks::new(bytes, block), first.format, LIMITS);
    assert!(small.is_some_and(|small| small.says_as(first)), "blocks of {block} bytes give another report");

    let fails_at = choice % 41;
    let Some(failing) = run(FailingAt::new(bytes, fails_at, ErrorKind::TimedOut), first.format, LIMITS)
    else {
        return;
    };
    if failing.complete {
        assert!(failing.says_as(first), "the failing read {fails_at} was not noticed");
    } else {
        check_subset(&failing.findings, &first.findings, "T02", &format!("a failing read {fails_at}"));
    }
}

/// # Panics
/// Where a lower limit gives a finding that a higher one does not, other than that of the limit itself.
pub fn check_limits_are_monotone(bytes: &[u8], first: &Run, choice: u64) {
    let small = choice % 61;
    let lower = Limits {
        read_bytes: small.saturating_mul(256),
        reads: small.saturating_mul(2),
        extension_area_len: small.saturating_mul(16),
        entry_len: small.saturating_add(24),
        snapshots: small % 4,
        bitmaps: small % 3,
        ..LIMITS
    };
    let Some(low) = run(bytes, first.format, lower) else { return };
    check_subset(&low.findings, &first.findings, "T01", "a lower limit");
}

/// Whether each of `fewer`, other than those of the rule `but`, is among `all`.
fn check_subset(fewer: &[Finding], all: &[Finding], but: &str, why: &str) {
    // The finding that stands for the rest of a rule has no place of its own.
    let place = |finding: &Finding| (finding.rule.code, finding.at.map(|at| (at.at, at.len)));
    let known: BTreeSet<(&str, Option<(HostOffset, u64)>)> = all.iter().map(place).collect();
    let many: BTreeSet<&str> =
        all.iter().filter(|finding| finding.at.is_none()).map(|finding| finding.rule.code).collect();
    for finding in fewer.iter().filter(|finding| finding.rule.code != but) {
        let is_known = known.contains(&place(finding)) || many.contains(finding.rule.code);
        assert!(is_known, "{why} alone gives {}: {}", finding.rule.code, finding.message());
    }
}
