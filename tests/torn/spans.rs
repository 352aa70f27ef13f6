//! Sets of byte ranges.

use std::collections::BTreeMap;

/// Ranges, merged, by their start.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Spans(BTreeMap<u64, u64>);

impl Spans {
    pub(crate) fn add(&mut self, start: u64, len: u64) {
        let (mut start, mut end) = (start, start.saturating_add(len));
        if len == 0 {
            return;
        }
        while let Some((&other, &other_end)) = self.0.range(..=end).next_back() {
            if other_end < start {
                break;
            }
            self.0.remove(&other);
            (start, end) = (start.min(other), end.max(other_end));
        }
        self.0.insert(start, end);
    }

    pub(crate) fn extend(&mut self, other: &Self) {
        other.iter().for_each(|(start, end)| self.add(start, end - start));
    }

    /// Starts and ends, in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (u64, u64)> {
        self.0.iter().map(|(start, end)| (*start, *end))
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.iter().map(|(start, end)| end - start).sum()
    }

    pub(crate) fn has(&self, at: u64) -> bool {
        self.0.range(..=at).next_back().is_some_and(|(_, end)| *end > at)
    }

    /// What is in `self` and not in `other`.
    pub(crate) fn without(&self, other: &Self) -> Self {
        let mut rest = Self::default();
        for (mut start, end) in self.iter() {
            let from = other.0.range(..start).next_back().map_or(start, |(other, _)| *other);
            for (other, other_end) in other.0.range(from..end) {
                rest.add(start, other.saturating_sub(start));
                start = start.max(*other_end);
            }
            rest.add(start, end.saturating_sub(start));
        }
        rest
    }

    /// What lies in front of `end`.
    pub(crate) fn before(&self, end: u64) -> Self {
        let mut rest = Self::default();
        self.iter().for_each(|(start, to)| rest.add(start, to.min(end).saturating_sub(start)));
        rest
    }
}

#[test]
fn ranges_are_added_and_taken_away() {
    let set = |ranges: &[(u64, u64)]| {
        let mut set = Spans::default();
        ranges.iter().for_each(|(start, end)| set.add(*start, end - start));
        set
    };
    let all = set(&[(10, 20), (30, 40), (20, 25)]);
    assert_eq!(all, set(&[(10, 25), (30, 40)]));
    let taken = set(&[(0, 12), (14, 16), (24, 31), (39, 50)]);
    assert_eq!(all.without(&taken), set(&[(12, 14), (16, 24), (31, 39)]));
    assert_eq!(all.before(32), set(&[(10, 25), (30, 32)]));
    assert_eq!((all.bytes(), all.without(&all)), (25, Spans::default()));
}
