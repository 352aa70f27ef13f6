//! The same input gives the same report: however often, however it is read, and whatever the limits, as long as
//! they are not reached.

use std::collections::BTreeSet;
use std::io::ErrorKind;

use qcow2_inspect::finding::{Finding, Rule, Structure};
use qcow2_inspect::rules::named::{BUDGET_SPENT, L2_ENTRY_BEYOND_DISK, READ_ERROR};
use qcow2_inspect::source::ReadAt;
use qcow2_inspect::units::{HostOffset, to_usize};
use qcow2_inspect::{Limit, Limits};

use super::{LIMITS, Run, Tells, run};
use crate::readers::{Counting, FailingAt, FailingOnce, SmallBlocks};

/// # Panics
/// Where a second run differs from the first.
pub fn check_deterministic<R: ReadAt + Sync + ?Sized>(source: &R, first: &Run) {
    let second = run(source, first.format, LIMITS);
    assert!(second.is_some_and(|second| second.says_as(first)), "two runs differ");
}

/// # Panics
/// Where a reader of small blocks gives another report, or one that fails another verdict.
pub fn check_reader_independent<R: ReadAt + Sync + ?Sized>(source: &R, first: &Run, choice: u64) {
    let block = usize::try_from(choice % 97).unwrap_or_default().saturating_add(1);
    let small = run(SmallBlocks::new(source, block), first.format, LIMITS);
    assert!(small.is_some_and(|small| small.says_as(first)), "blocks of {block} bytes give another report");

    // Where all later reads fail as well, some other structure tells of it; so one alone fails, too.
    let (fails_at, kind) = (choice % 41, ErrorKind::TimedOut);
    let dying = run(FailingAt::new(source, fails_at, kind), first.format, LIMITS);
    let once = run(FailingOnce::new(source, fails_at, kind), first.format, LIMITS);
    for failing in [dying, once].into_iter().flatten() {
        check_failing(first, &failing, fails_at);
    }
}

/// What a run whose read `fails_at` failed may say beside the `first`, whose reads did not.
fn check_failing(first: &Run, failing: &Run, fails_at: u64) {
    if failing.complete {
        assert!(failing.says_as(first), "{:?}: the failing read {fails_at} was not noticed", first.format);
    } else {
        check_subset(failing, first, &READ_ERROR, &format!("a failing read {fails_at}"));
    }
}

/// # Panics
/// Where a lower limit is not held, or gives a finding that a higher one does not, other than that of the limit
/// itself.
pub fn check_limits_are_monotone<R: ReadAt + Sync + ?Sized>(source: &R, first: &Run, choice: u64) {
    let lower = lower_limits(choice);
    let counting = Counting::new(source);
    let low = run(&counting, first.format, lower);
    check_held(&lower, &counting);
    if let Some(low) = low {
        check_lower(first, &low);
    }
}

/// Limits of which one alone is low, so that no other hides what comes of it: all that the others do not lower and that
/// cut the work. Past `remembered_tables` more is shown, past `lost_ranges` places are left out, and by `trailing_bytes`
/// goes the place of a finding.
const ALONE: [Limit; 7] = [
    Limit::CompressedClusters,
    Limit::Conflicts,
    Limit::CountedPages,
    Limit::DecodedBytes,
    Limit::L2Tables,
    Limit::OddTables,
    Limit::RefcountBlocks,
];

fn lower_limits(choice: u64) -> Limits {
    let small = choice % 61;
    if let (true, Some(limit)) =
        (choice.is_multiple_of(2), ALONE.iter().cycle().nth(to_usize(choice / 2 % 64)))
    {
        let mut lower = LIMITS;
        lower.set(*limit, small / 20);
        return lower;
    }
    Limits {
        read_bytes: small.saturating_mul(256),
        reads: small.saturating_mul(2),
        extension_area_len: small.saturating_mul(16),
        entry_len: small.saturating_add(24),
        snapshots: small % 4,
        bitmaps: small % 3,
        ..LIMITS
    }
}

/// Whether no more was read than the limits allow. Lists come through windows of 64 KiB, tables in chunks of as
/// much, and the header's 112 bytes always whole.
fn check_held<R>(limits: &Limits, counting: &Counting<R>) {
    assert!(counting.bytes() <= limits.read_bytes, "{} bytes, over the limit", counting.bytes());
    assert!(counting.reads() <= limits.reads, "{} reads, over the limit", counting.reads());
    let longest = limits.entry_len.max(limits.extension_area_len).max(64 << 10);
    assert!(counting.longest_buffer() <= longest, "{} bytes in one read", counting.longest_buffer());
}

/// What a run with lower limits may say beside the `first`.
fn check_lower(first: &Run, low: &Run) {
    if low.complete {
        let format = first.format;
        assert!(low.says_as(first), "{format:?}: the report differs although no limit was reached");
    } else {
        check_subset(low, first, &BUDGET_SPENT, "a lower limit");
    }
}

/// Whether the run that was cut says so by the rule `cut`, and finds nothing else that the `first` did not.
///
/// A table that trees share is judged for the tree that comes by first. Where the way to that one could not be read, it
/// is another, and the disk of that one may end earlier: L24. And of L2 tables that overlap, the one that comes by first
/// is judged: it is another, with entries that nobody judged before.
fn check_subset(run: &Run, first: &Run, cut: &Rule, why: &str) {
    let tells = first.format.tells();
    let is_told = tells == Tells::Nothing || run.findings.iter().any(|finding| finding.rule == cut);
    // Another limit may have cut the first run too.
    assert!(
        is_told || run.says_as(first),
        "{:?}: {why} cut the work, and no {} says so",
        first.format,
        cut.code
    );
    if tells != Tells::Places {
        return;
    }
    // The finding that stands for the rest of a rule has no place of its own.
    let place = |finding: &Finding| (finding.rule.code, finding.at.map(|span| (span.at, span.len)));
    let known: BTreeSet<(&str, Option<(HostOffset, u64)>)> = first.findings.iter().map(place).collect();
    let may_be_new = |finding: &Finding| {
        let goes_by_overlap = first.overlaps && finding.structure == Structure::L2Table;
        [cut, &L2_ENTRY_BEYOND_DISK].contains(&finding.rule) || goes_by_overlap
    };
    for finding in run.findings.iter().filter(|finding| !may_be_new(finding)) {
        let is_known = known.contains(&place(finding)) || known.contains(&(finding.rule.code, None));
        assert!(is_known, "{why} alone gives {}: {}", finding.rule.code, finding.message());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::oracle::Format;
    use crate::oracle::planted::{Liar, report_of};
    use crate::{Draft, Model};
    use qcow2_inspect::format::header::field;
    use qcow2_inspect::units::Span;

    fn image() -> Vec<u8> {
        Model::small_from_seed(3).unwrap().write()
    }

    /// The image with a disk that is no whole number of sectors: H28, and a pointer behind the file: H34.
    fn damaged() -> Vec<u8> {
        let mut draft = Draft::new(image());
        draft.set_header(field::SIZE, draft.header(field::SIZE) + 1);
        draft.set_header(field::L1_TABLE_OFFSET, 1 << 40);
        draft.bytes
    }

    /// The run as one that was cut, which this rule tells.
    fn cut(mut run: Run, rule: &'static Rule) -> Run {
        run.findings.push(Finding::new(rule, Structure::Header, Span::default(), 1_u64, "0"));
        Run { complete: false, ..run }
    }

    #[test]
    #[should_panic = "two runs differ"]
    fn a_reader_that_changes_its_mind_is_seen() {
        // The first run reads the size as it is, the second with another lowest byte.
        let source = Liar::new(image(), |call, at, byte| byte ^ u8::from(call.number > 1000 && at == 31));
        let first = run(&source, Format::Text, LIMITS).unwrap();
        source.skip_to(1001);
        check_deterministic(&source, &first);
    }

    #[test]
    #[should_panic = "bytes give another report"]
    fn a_reader_whose_bytes_depend_on_the_length_of_the_call_is_seen() {
        let source = Liar::new(image(), |call, at, byte| byte ^ u8::from(call.len < 16 && at == 31));
        let first = run(&source, Format::Text, LIMITS).unwrap();
        check_reader_independent(&source, &first, 5);
    }

    #[test]
    #[should_panic = "Walk: the failing read 7 was not noticed"]
    fn a_failing_read_that_is_swallowed_is_seen() {
        let (first, failing) = (report_of(&damaged()), report_of(&image()));
        assert!(failing.complete);
        check_failing(&first, &failing, 7);
    }

    #[test]
    #[should_panic = "a failing read 7 alone gives H28"]
    fn a_finding_that_only_a_failing_read_gives_is_seen() {
        let (first, failing) = (report_of(&image()), report_of(&damaged()));
        check_failing(&first, &cut(failing, &READ_ERROR), 7);
    }

    #[test]
    #[should_panic = "a lower limit alone gives H28"]
    fn a_finding_that_only_a_lower_limit_gives_is_seen() {
        let (first, low) = (report_of(&image()), report_of(&damaged()));
        check_lower(&first, &cut(low, &BUDGET_SPENT));
    }

    #[test]
    #[should_panic = "Walk: the report differs although no limit was reached"]
    fn a_budget_that_cuts_without_a_word_is_seen() {
        let (first, low) = (report_of(&damaged()), report_of(&image()));
        check_lower(&first, &low);
    }

    #[test]
    fn each_limit_is_low_alone_once() {
        let lowered = |limit: Limit| (0..41).any(|choice| lower_limits(choice).get(limit) == 0);
        assert!(ALONE.into_iter().all(lowered));
        assert!((0..41).any(|choice| lower_limits(choice).reads < 100));
    }

    #[test]
    #[should_panic = "Walk: a lower limit cut the work, and no T01 says so"]
    fn a_limit_that_is_not_named_is_seen() {
        let (first, low) = (report_of(&damaged()), report_of(&image()));
        check_lower(&first, &cut(low, &READ_ERROR));
    }

    fn read(lens: &[usize], limits: Limits) {
        let source = Counting::new(vec![0; 1 << 20]);
        lens.iter().for_each(|len| drop(source.read_at(0, &mut vec![0; *len])));
        check_held(&limits, &source);
    }

    #[test]
    fn what_the_limits_allow_passes() {
        read(&[100, 64 << 10], Limits { read_bytes: (64 << 10) + 100, reads: 2, entry_len: 9, ..LIMITS });
    }

    #[test]
    #[should_panic = "101 bytes, over the limit"]
    fn a_byte_over_the_limit_is_seen() {
        read(&[100, 1], Limits { read_bytes: 100, ..LIMITS });
    }

    #[test]
    #[should_panic = "2 reads, over the limit"]
    fn a_read_over_the_limit_is_seen() {
        read(&[1, 1], Limits { reads: 1, ..LIMITS });
    }

    #[test]
    #[should_panic = "65537 bytes in one read"]
    fn a_buffer_over_the_limit_is_seen() {
        read(&[(64 << 10) + 1], Limits { entry_len: 100, extension_area_len: 100, ..LIMITS });
    }

    /// What may differ: fewer findings, and the one that says why.
    #[test]
    fn a_cut_report_may_say_less() {
        let (bytes, has) = (damaged(), |run: &Run, code| run.findings.iter().any(|f| f.rule.code == code));
        let first = report_of(&bytes);
        let spent = |n: u64| run(bytes.as_slice(), Format::Walk, Limits { read_bytes: n * 64, ..LIMITS });
        let spent = (0..1000).filter_map(spent).find(|run| has(run, "T01")).unwrap();
        check_lower(&first, &spent);
        let failing = |n| run(FailingAt::new(bytes.as_slice(), n, ErrorKind::TimedOut), Format::Walk, LIMITS);
        let failing = (0..1000).filter_map(failing).find(|run| has(run, "T02")).unwrap();
        check_failing(&first, &failing, 2);
    }
}
