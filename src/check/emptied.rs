//! Tables that lead to no cluster, beside clusters in use that nothing refers to: they may be what is left of lost tables (L30).

use std::collections::HashMap;

use super::cluster_runs::ClusterRuns;
use super::context::Context;
use super::lists::Lists;
use super::reporter::Reporter;
use crate::finding::{Finding, Guest, Severity, Structure};
use crate::format::header::field;
use crate::image::{DiskTree, Table};
use crate::rules::named::TABLE_MAY_BE_LOST;
use crate::source::ReadAt;
use crate::text::Size;
use crate::units::GuestOffset;

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

    /// Tells them, if there are clusters that could have belonged to them; and snapshots that cannot be read likewise.
    pub(super) fn report<R: ReadAt>(
        self,
        cx: &Context<'_, R>,
        orphans: &ClusterRuns,
        lists: &Lists,
        reporter: &mut Reporter<'_>,
    ) {
        let count = orphans.count().saturating_sub(lists.unloaded);
        let is_missed = !self.tables.is_empty() || lists.unread_snapshots != 0;
        if count <= FEW || !is_missed {
            return;
        }
        let looked = match orphans.look(cx) {
            Ok(looked) => looked,
            Err(error) => return reporter.stop(error, Structure::File),
        };
        let bytes = Size(count.saturating_mul(cx.geometry.cluster_size()));
        let clusters = format!("{count} clusters ({bytes}) that nothing refers to, {looked}");
        let finding = |structure, span, found: String| {
            let wanted = "an entry for what they hold, or no such clusters";
            let finding = Finding::new(&TABLE_MAY_BE_LOST, structure, span, found, wanted);
            // Its older copy speaks for a table that was there; without one it may never have been written.
            if looked.table.is_some() { finding } else { finding.at_most(Severity::Warning) }
        };
        if lists.unread_snapshots != 0 {
            let claimed = match lists.unread_snapshots {
                1 => "1 snapshot".to_owned(),
                several => format!("{several} snapshots"),
            };
            let found = format!("{claimed} that cannot be read, and {clusters}");
            let span = cx.image.header().span(field::SNAPSHOTS_OFFSET);
            reporter.found.push(finding(Structure::Snapshot, span, found));
        }
        for (table, guest) in self.tables {
            let found = format!("no entry that leads to a cluster, and {clusters}");
            reporter.found.push(finding(table.kind.structure(), table.span, found).hurting(guest));
            reporter.keep_few();
        }
        if self.further != 0 {
            let more = Finding::more(&TABLE_MAY_BE_LOST, Structure::L2Table, self.further);
            reporter.found.push(more.at_most(Severity::Warning));
        }
        reporter.end_table();
    }
}
