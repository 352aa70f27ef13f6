//! Ranges of a guest's disk, merged, of which only so many are kept.

use std::collections::BTreeMap;

use serde::Serialize;
use serde::ser::Serializer;

use crate::units::{GuestOffset, GuestSpan, to_u64};

/// Guest ranges, merged; past a limit only their bytes are counted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ranges {
    /// Ends by start; none touches another.
    ranges: BTreeMap<u64, u64>,
    /// Bytes of these.
    kept: u64,
    limit: usize,
    further: Further,
}

/// Bytes whose places are not kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Further {
    bytes: u64,
    /// They lie from here on.
    start: u64,
    /// From here to the end, each byte is among them. Entries come in order, so that this tells what comes again.
    last: u64,
    /// They lie in front of this.
    end: u64,
    /// Whether some may be counted twice, or lie elsewhere.
    is_rough: bool,
}

impl Further {
    fn meets(&self, start: u64, end: u64) -> bool {
        self.bytes != 0 && start < self.end && end > self.start
    }

    fn add(&mut self, start: u64, end: u64) {
        if self.bytes == 0 {
            *self =
                Self { bytes: end.saturating_sub(start), start, last: start, end, is_rough: self.is_rough };
        } else if start >= self.last {
            self.bytes = self.bytes.saturating_add(end.saturating_sub(start.max(self.end)));
            self.last = if start > self.end { start } else { self.last };
            self.end = self.end.max(end);
        } else {
            self.join(&Self { bytes: end.saturating_sub(start), start, last: start, end, is_rough: false });
        }
    }

    /// Adds what others have.
    fn join(&mut self, other: &Self) {
        if other.bytes == 0 {
            return;
        }
        if self.bytes == 0 {
            *self = Self { is_rough: self.is_rough || other.is_rough, ..*other };
            return;
        }
        self.is_rough |= other.is_rough || self.meets(other.start, other.end);
        self.bytes = self.bytes.saturating_add(other.bytes);
        self.start = self.start.min(other.start);
        if other.end > self.end {
            (self.last, self.end) = (other.last, other.end);
        }
    }

    /// What may lie in a part of the disk: all that fits there.
    fn within(&self, start: u64, end: u64) -> Self {
        if self.start >= start && self.end <= end {
            return *self;
        }
        let (start, end) = (self.start.max(start), self.end.min(end));
        let bytes = self.bytes.min(end.saturating_sub(start));
        if bytes == 0 { Self::default() } else { Self { bytes, start, last: end, end, is_rough: true } }
    }

    fn moved(&self, by: u64) -> Self {
        let [start, last, end] = [self.start, self.last, self.end].map(|at| at.saturating_add(by));
        Self { start, last, end, ..*self }
    }
}

impl Ranges {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, ..Self::default() }
    }

    /// Takes one more range in.
    pub(super) fn add(&mut self, start: u64, len: u64) {
        let (mut start, mut end) = (start, start.saturating_add(len));
        if len == 0 || self.has(start, end) {
            return;
        }
        if self.is_full() && !self.touches(start, end) {
            return self.further.add(start, end);
        }
        self.further.is_rough |= self.further.meets(start, end);
        while let Some((&other, &other_end)) = self.ranges.range(..=end).next_back() {
            if other_end < start {
                break;
            }
            self.ranges.remove(&other);
            self.kept = self.kept.saturating_sub(other_end.saturating_sub(other));
            (start, end) = (start.min(other), end.max(other_end));
        }
        self.ranges.insert(start, end);
        self.kept = self.kept.saturating_add(end.saturating_sub(start));
    }

    /// Takes in what another has, `by` bytes further on, and answers how many steps that took.
    pub(super) fn append(&mut self, other: &Self, by: u64) -> u64 {
        let further = other.further.moved(by);
        let whole = other.whole().moved(by);
        // What is not kept one by one need not be looked at one by one.
        if self.is_full() && !self.touches(whole.start, whole.end) {
            self.further.join(&whole);
            return 1;
        }
        for (start, end) in &other.ranges {
            self.add(start.saturating_add(by), end.saturating_sub(*start));
        }
        self.further.join(&further);
        to_u64(other.ranges.len()).saturating_add(1)
    }

    /// All bytes, without their places.
    fn whole(&self) -> Further {
        let mut whole = self.further;
        let (first, last) = (self.ranges.first_key_value(), self.ranges.last_key_value());
        if let Some(((start, _), (_, end))) = first.zip(last) {
            let is_alone = whole.bytes == 0;
            whole.start = if is_alone { *start } else { whole.start.min(*start) };
            whole.end = whole.end.max(*end);
        }
        Further { bytes: self.bytes(), last: whole.end, ..whole }
    }

    fn is_full(&self) -> bool {
        self.ranges.len() >= self.limit
    }

    fn has(&self, start: u64, end: u64) -> bool {
        self.ranges.range(..=start).next_back().is_some_and(|(_, other_end)| *other_end >= end)
    }

    fn touches(&self, start: u64, end: u64) -> bool {
        self.ranges.range(..=end).next_back().is_some_and(|(_, other_end)| *other_end >= start)
    }

    /// Bytes in all.
    pub fn bytes(&self) -> u64 {
        self.kept.saturating_add(self.further.bytes)
    }

    /// Bytes of the ranges that are not kept one by one.
    pub fn further_bytes(&self) -> u64 {
        self.further.bytes
    }

    /// Whether the bytes that are not kept one by one may be fewer.
    pub(super) fn is_rough(&self) -> bool {
        self.further.is_rough
    }

    /// The ranges, in order.
    pub fn iter(&self) -> impl Iterator<Item = GuestSpan> {
        self.ranges
            .iter()
            .map(|(start, end)| GuestSpan { start: GuestOffset(*start), len: end.saturating_sub(*start) })
    }

    /// Moves what lies from `vm_state` on into ranges of its own, and drops what lies between `end` and there. Bytes
    /// whose places are not kept count wherever they may lie.
    pub(super) fn clip(&mut self, end: u64, vm_state: u64, into: &mut Self) {
        let Self { ranges, further, .. } = std::mem::replace(self, Self::new(self.limit));
        for (start, range_end) in ranges {
            self.add(start, range_end.min(end).saturating_sub(start));
            let start = start.max(vm_state);
            into.add(start, range_end.saturating_sub(start));
        }
        self.further = further.within(0, end);
        into.further.join(&further.within(vm_state, u64::MAX));
    }

    /// Counts no more bytes than there are.
    pub(super) fn at_most(&mut self, bytes: u64) {
        self.further.bytes = self.further.bytes.min(bytes.saturating_sub(self.kept));
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.bytes() == 0
    }
}

impl Serialize for Ranges {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ranges(limit: usize, spans: &[(u64, u64)]) -> Ranges {
        let mut ranges = Ranges::new(limit);
        spans.iter().for_each(|(start, len)| ranges.add(*start, *len));
        ranges
    }

    fn shown(ranges: &Ranges) -> Vec<(u64, u64)> {
        ranges.iter().map(|span| (span.start.0, span.len)).collect()
    }

    #[test]
    fn ranges_merge_where_they_touch() {
        let spans = [(10, 5), (20, 5), (15, 5), (40, 1), (0, 2), (100, 7), (41, 2), (5, 0)];
        let mut ranges = ranges(3, &spans);
        assert_eq!(shown(&ranges), [(0, 2), (10, 15), (40, 3)]);
        assert_eq!((ranges.further_bytes(), ranges.bytes(), ranges.is_rough()), (7, 27, false));
        ranges.add(0, u64::MAX);
        assert_eq!((ranges.iter().count(), ranges.is_rough()), (1, true));
    }

    #[test]
    fn ranges_end_with_the_disk_and_the_vm_state_is_apart() {
        let mut vm_state = Ranges::new(9);
        let mut ranges = ranges(9, &[(0, 5), (90, 20), (115, 3), (120, 4), (130, 5), (140, 2)]);
        ranges.clip(100, 133, &mut vm_state);
        assert_eq!(shown(&ranges), [(0, 5), (90, 10)]);
        assert_eq!(shown(&vm_state), [(133, 2), (140, 2)]);
    }

    #[test]
    fn bytes_without_a_place_are_exact_in_order_and_rough_where_they_may_be_counted_twice() {
        let in_order: Vec<_> = (0..100).map(|n| (n * 10, 5)).collect();
        let twice: Vec<_> = in_order.iter().flat_map(|span| [*span; 2]).collect();
        let overlapping: Vec<_> = (0..100).flat_map(|n| [(n * 10, 4), (n * 10 + 2, 3)]).collect();
        for spans in [in_order, twice, overlapping] {
            let found = ranges(7, &spans);
            assert_eq!((found.bytes(), found.further_bytes(), found.is_rough()), (500, 465, false));
        }
        assert!(ranges(1, &[(0, 5), (50, 5), (100, 5), (50, 5)]).is_rough());
        assert!(ranges(1, &[(0, 5), (50, 5), (5, 100)]).is_rough());
        assert!(!ranges(1, &[(0, 5), (50, 5), (30, 5)]).is_rough());
    }

    #[test]
    fn what_is_not_kept_is_carried_on_and_ends_with_the_disk() {
        let spans: Vec<_> = (0..10).map(|n| (n * 10, 5)).collect();
        let table = ranges(4, &spans);
        let mut tree = Ranges::new(4);
        assert_eq!([0, 100, 200].map(|at| tree.append(&table, at)), [5, 1, 1]);
        assert_eq!((tree.bytes(), tree.further_bytes(), tree.is_rough()), (150, 130, false));
        assert_eq!(shown(&tree), shown(&table));

        // At most 15 of the 30 bytes behind the fourth range lie in front of 55.
        let (mut cut, mut vm_state) = (table.clone(), Ranges::new(4));
        cut.clip(55, 1000, &mut vm_state);
        assert_eq!((cut.bytes(), cut.is_rough(), vm_state.is_empty()), (20 + 15, true, true));
        cut.at_most(21);
        assert_eq!((cut.bytes(), cut.further_bytes()), (21, 1));
        // All of them lie in front of 95, and behind 40.
        let (mut whole, mut behind) = (table.clone(), table);
        whole.clip(95, 1000, &mut vm_state);
        assert_eq!((whole.bytes(), whole.is_rough()), (50, false));
        behind.clip(38, 40, &mut vm_state);
        assert_eq!((behind.bytes(), behind.is_rough()), (20, false));
        assert_eq!((vm_state.bytes(), vm_state.is_rough()), (30, false));
    }

    #[test]
    fn nothing_is_kept_without_room() {
        let ranges = ranges(0, &[(0, 5), (10, 5)]);
        assert_eq!((ranges.bytes(), ranges.is_empty(), ranges.iter().count()), (10, false, 0));
    }
}
