//! Tables that lead to no cluster, beside clusters in use that nothing refers to: they may be what is left of lost tables (L30).

use std::collections::HashMap;

use super::cluster_runs::ClusterRuns;
use super::context::Context;
use super::reporter::Reporter;
use crate::finding::{Finding, Guest, Severity, Structure};
use crate::format::header::field;
use crate::image::{DiskTree, Table};
use crate::rules::named::TABLE_MAY_BE_LOST;
use crate::source::ReadAt;
use crate::text::Size;
use crate::units::{GuestOffset, Span};

/// So many are remembered one by one, and more only counted.
const KEPT: usize = 4096;
/// So few clusters without an owner say nothing of a table: a single one is leaked by any write that was cut off.
const FEW: u64 = 1;

/// The tables without any entry.
#[derive(Debug, Default)]
pub(super) struct Emptied {
    tables: Vec<(Table, Guest)>,
    further: u64,
    /// How many of the parts that L1 tables were swept in had an entry so far, and how many before each table.
    filled: u64,
    filled_before: HashMap<usize, u64>,
}

impl Emptied {
    /// Takes note of a part of the file that L1 tables have, and whether it had an entry.
    pub(super) fn l1_part(&mut self, has_entry: bool) {
        self.filled = self.filled.saturating_add(u64::from(has_entry));
    }

    /// Takes note of where an L1 table starts or ends among these parts.
    pub(super) fn l1_edge(&mut self, place: usize, tree: DiskTree, is_start: bool) {
        if is_start {
            self.filled_before.insert(place, self.filled);
        } else if self.filled_before.remove(&place) == Some(self.filled) {
            self.add(Table::l1(tree), tree, GuestOffset(0), tree.disk_size);
        }
    }

    /// Takes one more, which would map this part of the guest's disk. Where the disk ends before that, nothing is missed.
    pub(super) fn add(&mut self, table: Table, tree: DiskTree, start: GuestOffset, len: u64) {
        let (tree, disk_size) = (tree.l1.tree, tree.disk_size);
        if start.0 >= disk_size {
            return;
        }
        if self.tables.len() < KEPT {
            self.tables.push((table, Guest::new(tree, start, len, disk_size)));
        } else {
            self.further = self.further.saturating_add(1);
        }
    }

    /// Tells them, and snapshots that cannot be read likewise; whether there are any.
    pub(super) fn report<R: ReadAt>(
        self,
        cx: &Context<'_, R>,
        unread_snapshots: u64,
        evidence: &Evidence,
        reporter: &mut Reporter<'_>,
    ) -> bool {
        let is_missed = unread_snapshots != 0 || !self.tables.is_empty();
        let claimed = match unread_snapshots {
            1 => "1 snapshot that cannot be read".to_owned(),
            several => format!("{several} snapshots that cannot be read"),
        };
        if unread_snapshots != 0 {
            let span = cx.image.header().span(field::SNAPSHOTS_OFFSET);
            reporter.found.push(evidence.finding(Structure::Snapshot, span, &claimed));
        }
        for (table, guest) in self.tables {
            let finding =
                evidence.finding(table.kind.structure(), table.span, "no entry that leads to a cluster");
            reporter.found.push(finding.hurting(guest));
            reporter.keep_few();
        }
        if self.further != 0 {
            let more = Finding::more(&TABLE_MAY_BE_LOST, Structure::L2Table, self.further);
            reporter.found.push(more.at_most(Severity::Warning));
        }
        reporter.end_table();
        is_missed
    }
}

/// What speaks for a table that was lost: clusters in use that nothing refers to, and what they hold.
pub(super) struct Evidence {
    clusters: String,
    has_table: bool,
}

impl Evidence {
    /// What these clusters say: those that nothing refers to, of which so many are known to be something else, and those
    /// that more should refer to. `None` where they are too few to say anything, or hold nothing.
    pub(super) fn of<R: ReadAt>(
        cx: &Context<'_, R>,
        (orphans, missed): (&ClusterRuns, &ClusterRuns),
        known: u64,
        reporter: &mut Reporter<'_>,
    ) -> Option<Self> {
        let count = orphans.count().saturating_sub(known);
        if count.saturating_add(missed.count()) <= FEW {
            return None;
        }
        let looked = match orphans.look(cx) {
            // Nobody misses zeros: they read as such all the same.
            Ok(looked) if looked.are_zeros() && missed.count() == 0 => return None,
            Ok(looked) => looked,
            Err(error) => {
                reporter.stop(error, Structure::File);
                return None;
            }
        };
        let mut clusters = Vec::new();
        if count != 0 {
            let bytes = Size(count.saturating_mul(cx.geometry.cluster_size()));
            clusters.push(format!("{count} clusters ({bytes}) that nothing refers to, {looked}"));
        }
        if missed.count() != 0 {
            clusters.push(format!("{} clusters that more should refer to", missed.count()));
        }
        Some(Self { clusters: clusters.join(", and "), has_table: looked.table.is_some() })
    }

    /// Whether one of them is a table.
    pub(super) fn has_table(&self) -> bool {
        self.has_table
    }

    /// The finding of a table, or a part of one, that has no entries.
    pub(super) fn finding(&self, structure: Structure, span: Span, what: &str) -> Finding {
        let found = format!("{what}, and {}", self.clusters);
        let wanted = "an entry for what they hold, or no such clusters";
        let finding = Finding::new(&TABLE_MAY_BE_LOST, structure, span, found, wanted);
        // Its older copy speaks for a table that was there; without one it may never have been written.
        if self.has_table { finding } else { finding.at_most(Severity::Warning) }
    }
}
