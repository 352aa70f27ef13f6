//! Which guest data a fault hits: ranges per tree, merged.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::Serializer;

use super::Engine;
use crate::format::mapping::L1Entry;
use crate::rules::codes::{H34, L04, L11, L20};
use crate::rules::{Finding, Guest, Severity, Structure};
use crate::source::ReadAt;
use crate::units::{GuestOffset, GuestSpan, Tree};

/// L1 entries that are looked at, over all trees, for those that share a damaged table.
const STEPS: u64 = 1 << 22;

/// Guest ranges, merged; past a limit only their bytes are counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// Ends by start; none touches another.
    ranges: BTreeMap<u64, u64>,
    limit: usize,
    further: u64,
}

impl Ranges {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Takes one more range in.
    pub(super) fn add(&mut self, start: u64, len: u64) {
        let (mut start, mut end) = (start, start.saturating_add(len));
        if len == 0 {
            return;
        }
        if self.ranges.len() >= self.limit && !self.touches(start, end) {
            self.further = self.further.saturating_add(len);
            return;
        }
        while let Some((&other, &other_end)) = self.ranges.range(..=end).next_back() {
            if other_end < start {
                break;
            }
            self.ranges.remove(&other);
            (start, end) = (start.min(other), end.max(other_end));
        }
        self.ranges.insert(start, end);
    }

    fn touches(&self, start: u64, end: u64) -> bool {
        self.ranges.range(..=end).next_back().is_some_and(|(_, other_end)| *other_end >= start)
    }

    /// Bytes in all.
    pub fn bytes(&self) -> u64 {
        self.iter().fold(self.further, |sum, span| sum.saturating_add(span.len))
    }

    /// Bytes of the ranges that are not kept one by one.
    pub fn further_bytes(&self) -> u64 {
        self.further
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = GuestSpan> {
        self.ranges
            .iter()
            .map(|(start, end)| GuestSpan { start: GuestOffset(*start), len: end.saturating_sub(*start) })
    }

    /// Moves what lies from `vm_state` on into ranges of its own, and drops what lies between `end` and there.
    fn clip(&mut self, end: u64, vm_state: u64, into: &mut Self) {
        for (start, range_end) in std::mem::take(&mut self.ranges) {
            self.add(start, range_end.min(end).saturating_sub(start));
            let start = start.max(vm_state);
            into.add(start, range_end.saturating_sub(start));
        }
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.ranges.is_empty()
    }
}

impl Serialize for Ranges {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

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
    limit: usize,
}

impl Losses {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Takes note of what the findings in an L2 table hit; `start` is what the table maps first.
    pub(super) fn in_table(&mut self, table: u64, start: u64, found: &[Finding]) {
        for finding in found {
            let Some((guest, is_lost)) = hit(finding) else { continue };
            if self.tables.len() >= self.limit && !self.tables.contains_key(&table) {
                self.in_tree(finding);
                continue;
            }
            let limit = self.limit;
            let new = || (Ranges::new(limit), Ranges::new(limit));
            let (lost, doubtful) = self.tables.entry(table).or_insert_with(new);
            let ranges = if is_lost { lost } else { doubtful };
            ranges.add(guest.span.start.0.saturating_sub(start), guest.span.len);
        }
    }

    /// Takes note of what a finding hits in its own tree.
    pub(super) fn in_tree(&mut self, finding: &Finding) {
        if let Some((guest, is_lost)) = hit(finding) {
            let limit = self.limit;
            let new = || (Ranges::new(limit), Ranges::new(limit));
            let (lost, doubtful) = self.trees.entry(guest.tree).or_insert_with(new);
            (if is_lost { lost } else { doubtful }).add(guest.span.start.0, guest.span.len);
        }
    }
}

/// What a finding hits, and whether that is lost, or else doubtful.
fn hit(finding: &Finding) -> Option<(Guest, bool)> {
    let guest = finding.guest?;
    // Flags say something of the next write, and the sharing of a warning is deliberate or already O or L26.
    if finding.severity < Severity::Corruption || finding.rule == &L04 || finding.rule == &L11 {
        return None;
    }
    let is_lost = finding.rule.code.starts_with('L') && finding.rule.code <= L20.code;
    Some((guest, is_lost))
}

impl<R: ReadAt> Engine<'_, '_, R> {
    /// What the faults mean for each tree that has a damaged table, or a finding of its own.
    pub(super) fn losses(&mut self) -> Vec<Loss> {
        let mut losses = std::mem::take(&mut self.losses);
        if losses.tables.is_empty() && losses.trees.is_empty() {
            return Vec::new();
        }
        let (limit, coverage) = (losses.limit, self.geometry.l2_coverage());
        let mut steps = 0_u64;
        let mut all = Vec::new();
        for tree in self.trees() {
            let own = losses.trees.remove(&tree.l1.tree);
            let (mut lost, mut doubtful) = own.unwrap_or_else(|| (Ranges::new(limit), Ranges::new(limit)));
            let mut chunks = self.image.chunks("an L1 table", tree.l1.span());
            let mut start = 0_u64;
            while !losses.tables.is_empty() && steps < STEPS {
                let chunk = match chunks.next() {
                    Some(Ok(chunk)) => chunk,
                    Some(Err(error)) => {
                        self.totals.stop(error, Structure::L1Table, &H34);
                        break;
                    }
                    None => break,
                };
                for (_, raw) in chunk.entries() {
                    if let Some(hit) = losses.tables.get(&L1Entry(raw).l2_offset().0).filter(|_| raw != 0) {
                        hit.0.iter().for_each(|span| lost.add(start.saturating_add(span.start.0), span.len));
                        hit.1
                            .iter()
                            .for_each(|span| doubtful.add(start.saturating_add(span.start.0), span.len));
                    }
                    (start, steps) = (start.saturating_add(coverage), steps.saturating_add(1));
                }
            }
            let (disk_size, mut vm_state) = (tree.disk_size, Ranges::new(limit));
            // No guest can read what lies between the end of the disk and the VM state.
            let vm_start = self.geometry.l1_entries_for(disk_size).saturating_mul(coverage);
            lost.clip(disk_size, vm_start, &mut vm_state);
            doubtful.clip(disk_size, vm_start, &mut vm_state);
            if !lost.is_empty() || !doubtful.is_empty() || !vm_state.is_empty() {
                let (tree, lost_bytes, doubtful_bytes) = (tree.l1.tree, lost.bytes(), doubtful.bytes());
                all.push(Loss { tree, disk_size, lost_bytes, doubtful_bytes, lost, doubtful, vm_state });
            }
            if all.len() >= limit {
                break;
            }
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_merge_where_they_touch() {
        let mut ranges = Ranges::new(3);
        for (start, len) in [(10, 5), (20, 5), (15, 5), (40, 1), (0, 2), (100, 7), (41, 2), (5, 0)] {
            ranges.add(start, len);
        }
        let shown: Vec<_> = ranges.iter().map(|span| (span.start.0, span.len)).collect();
        assert_eq!(shown, [(0, 2), (10, 15), (40, 3)]);
        assert_eq!((ranges.further_bytes(), ranges.bytes()), (7, 27));
        ranges.add(0, u64::MAX);
        assert_eq!(ranges.iter().count(), 1);
    }

    #[test]
    fn ranges_end_with_the_disk_and_the_vm_state_is_apart() {
        let (mut ranges, mut vm_state) = (Ranges::new(9), Ranges::new(9));
        for (start, len) in [(0, 5), (90, 20), (115, 3), (120, 4), (130, 5), (140, 2)] {
            ranges.add(start, len);
        }
        ranges.clip(100, 133, &mut vm_state);
        let shown = |ranges: &Ranges| ranges.iter().map(|span| (span.start.0, span.len)).collect::<Vec<_>>();
        assert_eq!(shown(&ranges), [(0, 5), (90, 10)]);
        assert_eq!(shown(&vm_state), [(133, 2), (140, 2)]);
    }
}
