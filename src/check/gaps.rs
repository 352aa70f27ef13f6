//! Parts of tables that may be lost (L30): entries of zeros, where clusters that nothing refers to lie right beside those
//! of the entries around them. Whoever writes a disk from its start to its end takes clusters in that order.

use super::cluster_runs::ClusterRuns;
use super::context::Context;
use super::emptied::Evidence;
use super::reporter::Reporter;
use super::tables::L2Reading;
use super::tree_tables::Trees;
use crate::Error;
use crate::finding::{Finding, Guest, Structure};
use crate::format::mapping::L2Entry;
use crate::image::{Entry, Table};
use crate::rules::named::TABLE_MAY_BE_LOST;
use crate::source::ReadAt;
use crate::units::{SECTOR, Span};

/// So few clusters beside a gap say nothing: a write that was cut off leaves one.
const FEW: u64 = 2;

/// The entries of zeros at hand, and what stands around them.
struct Gap {
    first: u64,
    end: u64,
    /// The last cluster of the entries before, and the first of those behind.
    before: Option<u64>,
    behind: Option<u64>,
}

/// Tells the parts of L2 tables that may be lost; and of L1 tables, where one of the orphans is an L2 table. Whether there
/// are any.
pub(super) fn report<R: ReadAt>(
    cx: &Context<'_, R>,
    trees: &Trees,
    missing: &Missing<'_>,
    evidence: &Evidence,
    reporter: &mut Reporter<'_>,
) -> bool {
    let before = reporter.count_of(&TABLE_MAY_BE_LOST);
    for (at, table) in trees.ordered() {
        let table = L2Reading::new(cx, trees, at, &table);
        if table.is_header() {
            continue;
        }
        if let Err(error) = l2_table(cx, &table, missing, evidence, reporter) {
            reporter.stop(error, Structure::L2Table);
        }
        reporter.end_table();
    }
    if evidence.has_table() {
        for table in &trees.l1 {
            if let Err(error) = l1_table(cx, Table::l1(table.tree), table.tree.disk_size, evidence, reporter)
            {
                reporter.stop(error, Structure::L1Table);
            }
            reporter.end_table();
        }
    }
    reporter.count_of(&TABLE_MAY_BE_LOST) != before
}

/// The clusters that something does not refer to, and should.
pub(super) struct Missing<'r> {
    /// Nothing refers to these.
    pub(super) orphans: &'r ClusterRuns,
    /// Something does, and more should.
    pub(super) missed: &'r ClusterRuns,
}

impl Missing<'_> {
    /// How many side by side there are from a cluster on.
    fn from(&self, cluster: u64) -> u64 {
        self.orphans.from(cluster).max(self.missed.from(cluster))
    }

    /// How many side by side there are right before a cluster.
    fn before(&self, cluster: u64) -> u64 {
        self.orphans.before(cluster).max(self.missed.before(cluster))
    }
}

fn l2_table<R: ReadAt>(
    cx: &Context<'_, R>,
    table: &L2Reading,
    missing: &Missing<'_>,
    evidence: &Evidence,
    reporter: &mut Reporter<'_>,
) -> Result<(), Error> {
    let mut gap = Gap { first: 0, end: 0, before: None, behind: None };
    let tell = |gap: &Gap, reporter: &mut Reporter<'_>| {
        if let Some((first, count)) = likely(gap, table.l2.entry_len, missing) {
            let (tree, len) = (table.tree, count.saturating_mul(cx.geometry.cluster_size()));
            let start = table.guest_offset(first, cx.geometry).filter(|start| start.0 < tree.disk_size);
            let guest = start.map(|start| Guest::new(tree.l1.tree, start, len, tree.disk_size));
            tell_entries(table.l2, (first, count), guest, evidence, reporter);
        }
    };
    let mut is_used = false;
    cx.image.entries(table.l2).for_each(|entry| {
        is_used = true;
        let clusters = clusters_of(cx, &entry);
        (gap.end, gap.behind) = (entry.index, clusters.map(|(first, _)| first));
        tell(&gap, reporter);
        gap.first = entry.index.saturating_add(1);
        gap.before = clusters.map(|(_, last)| last).or(gap.before);
        Ok::<(), Error>(())
    })?;
    (gap.end, gap.behind) = (table.l2.entry_count(), None);
    if is_used {
        tell(&gap, reporter);
    }
    Ok(())
}

/// The first and the last cluster that an entry leads to.
fn clusters_of<R: ReadAt>(cx: &Context<'_, R>, entry: &Entry) -> Option<(u64, u64)> {
    let l2 = L2Entry(entry.raw);
    let span = if l2.is_compressed() {
        let stream = l2.compressed(cx.geometry);
        Span::new(stream.at, stream.len)
    } else {
        cx.geometry.cluster_at(l2.standard_offset())
    };
    let clusters = cx.geometry.clusters_of(span);
    (span.at.0 != 0).then(|| (*clusters.start(), *clusters.end()))
}

/// Which entries of a gap had the clusters beside it, most likely: whole sectors of the table, as far as the gap goes.
fn likely(gap: &Gap, entry_len: u64, missing: &Missing<'_>) -> Option<(u64, u64)> {
    let len = gap.end.saturating_sub(gap.first);
    let per_sector = SECTOR.checked_div(entry_len).filter(|count| *count != 0)?;
    let behind = gap.before.map_or(0, |cluster| missing.from(cluster.saturating_add(1)));
    let before = gap.behind.map_or(0, |cluster| missing.before(cluster));
    if len == 0 || behind < FEW && before < FEW {
        return None;
    }
    if behind >= FEW {
        let end = gap.first.saturating_add(behind).next_multiple_of(per_sector).min(gap.end);
        return Some((gap.first, end.saturating_sub(gap.first)));
    }
    let first = gap.end.saturating_sub(before);
    let first = first.saturating_sub(first.checked_rem(per_sector)?).max(gap.first);
    Some((first, gap.end.saturating_sub(first)))
}

/// The entries of zeros in an L1 table, as far as the disk needs them.
fn l1_table<R: ReadAt>(
    cx: &Context<'_, R>,
    table: Table,
    disk_size: u64,
    evidence: &Evidence,
    reporter: &mut Reporter<'_>,
) -> Result<(), Error> {
    let needed = cx.geometry.l1_entries_for(disk_size).min(table.entry_count());
    let coverage = cx.geometry.l2_coverage();
    let (mut first, mut is_used) = (0_u64, false);
    let tell = |first: u64, end: u64, reporter: &mut Reporter<'_>| {
        let count = end.min(needed).saturating_sub(first);
        if count != 0
            && let Some(tree) = table.kind.tree()
        {
            let start = cx.geometry.l1_guest_offset(first);
            let len = count.saturating_mul(coverage);
            let guest = start.map(|start| Guest::new(tree, start, len, disk_size));
            tell_entries(table, (first, count), guest, evidence, reporter);
        }
    };
    cx.image.entries(table).for_each(|entry| {
        is_used = true;
        tell(first, entry.index, reporter);
        first = entry.index.saturating_add(1);
        Ok::<(), Error>(())
    })?;
    if is_used {
        tell(first, needed, reporter);
    }
    Ok(())
}

fn tell_entries(
    table: Table,
    (first, count): (u64, u64),
    guest: Option<Guest>,
    evidence: &Evidence,
    reporter: &mut Reporter<'_>,
) {
    let what = match count {
        1 => format!("no entry {first}"),
        _ => format!("no entries {first} to {}", first.saturating_add(count.saturating_sub(1))),
    };
    let span = Span::new(table.entry_at(first), count.saturating_mul(table.entry_len));
    let finding = evidence.finding(table.kind.structure(), span, &what);
    reporter.found.push(Finding { guest, ..finding });
    reporter.keep_few();
}
