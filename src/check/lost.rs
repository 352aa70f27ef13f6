//! Which guest data a fault hits: ranges per tree, merged.

use std::collections::BTreeMap;

use serde::Serialize;

use super::claims::Owner;
use super::context::Context;
use super::ranges::Ranges;
use super::reporter::Reporter;
use crate::finding::{Finding, Guest, GuestData, Severity, Structure};
use crate::format::mapping::L1Entry;
use crate::image::{DiskTree, Table};
use crate::rules::named::L2_TABLE_SHARED_IN_TREE;
use crate::source::ReadAt;
use crate::units::{GuestOffset, HostOffset, Tree, to_u64};
use crate::{Error, Limit};

/// Steps for each range that may be kept, over all trees, to find the L1 entries that share a damaged table. An entry
/// is one, and so is a range that is looked at for it.
const STEPS: u64 = 1 << 12;
/// So many entries of an L1 table are a step whatever is in them.
const STEP_ENTRIES: u64 = 16;

/// What the faults of an image mean for the disk of one tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Loss {
    /// Which one.
    pub tree: Tree,
    /// Bytes of that disk.
    pub disk_size: u64,
    /// Bytes that cannot be read, or that read as zeros.
    pub lost_bytes: u64,
    /// Bytes that may have been overwritten, or that another owner may overwrite.
    pub doubtful_bytes: u64,
    /// Where those are.
    pub lost: Ranges,
    /// Where these are.
    pub doubtful: Ranges,
    /// Lost or doubtful ranges of the VM state, which lies behind the disk: offsets count on from the disk's.
    #[serde(skip_serializing_if = "Ranges::is_empty")]
    pub vm_state: Ranges,
}

/// Ranges of damaged L2 tables and of trees, as the findings come.
#[derive(Debug, Default)]
pub(super) struct Losses {
    /// By the table's offset: ranges from the start of what the table maps.
    tables: BTreeMap<u64, (Ranges, Ranges)>,
    trees: BTreeMap<Tree, (Ranges, Ranges)>,
    /// As many tables, trees, and ranges of each are kept.
    limit: usize,
    /// Whether a damaged table was left out, so that nobody looks for the trees that share it.
    is_table_missing: bool,
    /// Whether a tree was left out.
    is_tree_missing: bool,
}

impl Losses {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Takes note of what the findings in an L2 table hit; `start` is what the table maps first, if a guest can reach it.
    pub(super) fn in_table(&mut self, table: u64, start: Option<GuestOffset>, found: &[Finding]) {
        let Some(start) = start else { return };
        for finding in found {
            let Some((guest, is_lost)) = hit(finding) else { continue };
            if self.tables.len() >= self.limit && !self.tables.contains_key(&table) {
                self.is_table_missing = true;
                self.in_tree(finding);
                continue;
            }
            let limit = self.limit;
            let new = || (Ranges::new(limit), Ranges::new(limit));
            let (lost, doubtful) = self.tables.entry(table).or_insert_with(new);
            let ranges = if is_lost { lost } else { doubtful };
            ranges.add(guest.span.start.0.saturating_sub(start.0), guest.span.len);
        }
    }

    /// Takes note of what a finding hits in its own tree.
    pub(super) fn in_tree(&mut self, finding: &Finding) {
        if let Some((guest, is_lost)) = hit(finding) {
            self.guest(guest, is_lost);
        }
    }

    /// Takes note of what depends on an owner of a cluster that another owner may overwrite.
    pub(super) fn doubt(&mut self, owner: &Owner) {
        if let Some((tree, span)) = owner.tree.zip(owner.guest) {
            self.guest(Guest { tree, span }, false);
        }
    }

    fn guest(&mut self, guest: Guest, is_lost: bool) {
        if self.trees.len() >= self.limit && !self.trees.contains_key(&guest.tree) {
            return self.is_tree_missing = true;
        }
        let limit = self.limit;
        let new = || (Ranges::new(limit), Ranges::new(limit));
        let (lost, doubtful) = self.trees.entry(guest.tree).or_insert_with(new);
        (if is_lost { lost } else { doubtful }).add(guest.span.start.0, guest.span.len);
    }

    fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.trees.is_empty() && !self.is_tree_missing
    }
}

/// What a finding hits, and whether that is lost, or else doubtful.
fn hit(finding: &Finding) -> Option<(Guest, bool)> {
    let guest = finding.guest?;
    // The sharing of a warning is deliberate or already O or L26.
    if finding.severity < Severity::Corruption {
        return None;
    }
    match finding.rule.attributes.guest {
        GuestData::Lost => Some((guest, true)),
        GuestData::Doubtful => Some((guest, false)),
        GuestData::Unharmed => None,
    }
}

/// What is hit of one tree, as its tables come by.
struct TreeLoss {
    lost: Ranges,
    doubtful: Ranges,
    vm_state: Ranges,
    disk_size: u64,
    /// No guest can read what lies between the end of the disk and this, which is the end where there is no VM state.
    vm_start: u64,
}

impl TreeLoss {
    /// What is hit without its tables.
    fn new((mut lost, mut doubtful): (Ranges, Ranges), disk_size: u64, vm_start: u64, limit: usize) -> Self {
        let mut vm_state = Ranges::new(limit);
        lost.clip(disk_size, vm_start, &mut vm_state);
        doubtful.clip(disk_size, vm_start, &mut vm_state);
        Self { lost, doubtful, vm_state, disk_size, vm_start }
    }

    /// Takes in a damaged table that maps `coverage` bytes from `start` on; answers how many steps that took.
    fn table(&mut self, (lost, doubtful): &(Ranges, Ranges), start: u64, coverage: u64) -> u64 {
        if start >= self.vm_start {
            let steps = self.vm_state.append(lost, start);
            return steps.saturating_add(self.vm_state.append(doubtful, start));
        }
        let left = self.disk_size.saturating_sub(start);
        let mut steps = 0_u64;
        for (tree, table) in [(&mut self.lost, lost), (&mut self.doubtful, doubtful)] {
            let taken = if left >= coverage {
                tree.append(table, start)
            } else {
                // At most one table of a tree: the last of the disk.
                let mut table = table.clone();
                table.clip(left, u64::MAX, &mut Ranges::new(0));
                tree.append(&table, start)
            };
            steps = steps.saturating_add(taken);
        }
        steps
    }

    fn is_empty(&self) -> bool {
        self.lost.is_empty() && self.doubtful.is_empty() && self.vm_state.is_empty()
    }

    fn is_rough(&self) -> bool {
        self.lost.is_rough() || self.doubtful.is_rough() || self.vm_state.is_rough()
    }
}

impl Losses {
    /// What the faults mean for each tree that has a damaged table, or a finding of its own.
    pub(super) fn of_trees<R: ReadAt>(
        mut self,
        cx: &Context<'_, R>,
        trees: &[(DiskTree, HostOffset)],
        reporter: &mut Reporter<'_>,
    ) -> Vec<Loss> {
        if self.is_empty() {
            return Vec::new();
        }
        let limit = self.limit;
        // The finding has told all that a table hits which is there only once.
        let is_shared = trees.len() > 1 || reporter.rules.contains_key(L2_TABLE_SHARED_IN_TREE.code);
        let mut is_incomplete = self.is_tree_missing || self.is_table_missing && is_shared;
        let mut steps = to_u64(limit).saturating_mul(STEPS);
        let mut all = Vec::new();
        for (tree, _) in trees {
            let own = self.trees.remove(&tree.l1.tree);
            let own = own.unwrap_or_else(|| (Ranges::new(limit), Ranges::new(limit)));
            // Of the L1 table's last entry, the disk need not have all.
            let vm_start = tree.vm_state_at(cx.geometry).map_or(u64::MAX, |start| start.0);
            let mut hits = TreeLoss::new(own, tree.disk_size, vm_start, limit);
            match add_tables(cx, &mut hits, &self.tables, tree, &mut steps) {
                Ok(is_whole) => is_incomplete |= !is_whole,
                Err(error) => reporter.stop(error, Structure::L1Table),
            }
            hits.lost.at_most(tree.disk_size);
            hits.doubtful.at_most(tree.disk_size);
            if hits.is_empty() {
                continue;
            }
            if all.len() >= limit {
                is_incomplete = true;
                break;
            }
            is_incomplete |= hits.is_rough();
            let TreeLoss { lost, doubtful, vm_state, disk_size, .. } = hits;
            let (tree, lost_bytes, doubtful_bytes) = (tree.l1.tree, lost.bytes(), doubtful.bytes());
            all.push(Loss { tree, disk_size, lost_bytes, doubtful_bytes, lost, doubtful, vm_state });
        }
        if is_incomplete {
            reporter.spent(cx.image, Limit::LostRanges, Structure::File);
        }
        all
    }
}

/// Adds the damaged tables of a tree to what is hit of it; `false` where no steps are left for that.
fn add_tables<R: ReadAt>(
    cx: &Context<'_, R>,
    hits: &mut TreeLoss,
    damaged: &BTreeMap<u64, (Ranges, Ranges)>,
    tree: &DiskTree,
    steps: &mut u64,
) -> Result<bool, Error> {
    let coverage = cx.geometry.l2_coverage();
    let mut entries = cx.image.entries(Table::l1(*tree));
    let mut passed = 0_u64;
    while !damaged.is_empty() {
        // Before anything is read: there may be as many trees as snapshots.
        if *steps == 0 {
            return Ok(false);
        }
        let Some(chunk) = entries.next().transpose()? else { break };
        let end = chunk.first.saturating_add(chunk.count());
        *steps = steps.saturating_sub(end.saturating_sub(passed).div_ceil(STEP_ENTRIES));
        passed = end;
        for entry in chunk.entries() {
            *steps = steps.saturating_sub(1);
            if let Some(table) = damaged.get(&L1Entry(entry.raw).l2_offset().0) {
                if *steps == 0 {
                    return Ok(false);
                }
                // What is past 2^64 no guest can reach, nor what the table's entries behind this one lead to.
                let Some(here) = cx.geometry.l1_guest_offset(entry.index) else { return Ok(true) };
                *steps = steps.saturating_sub(hits.table(table, here.0, coverage));
            }
        }
    }
    // What is all zeros at the end was read too.
    *steps = steps.saturating_sub(entries.passed().saturating_sub(passed).div_ceil(STEP_ENTRIES));
    Ok(*steps != 0 || damaged.is_empty())
}
