//! What is told of clusters side by side whose refcount is wrong in the same way.

use crate::finding::{Finding, Rule, Severity, Structure};
use crate::format::refcount::RefcountWidth;
use crate::rules::named::REFCOUNT_OVERFLOW;
use crate::units::{Geometry, HostOffset, Span};

/// How many ranges of clusters a finding names.
const NAMED: usize = 8;

/// Neighbouring clusters with the same fault.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    first: u64,
    count: u64,
    stored: u64,
    counted: u64,
    pub(super) rule: &'static Rule,
    /// Entries whose bit 63 is wrong in consequence.
    flags: u64,
}

impl Run {
    /// One cluster.
    pub(super) fn new(rule: &'static Rule, cluster: u64, (stored, counted): (u64, u64)) -> Self {
        Self { first: cluster, count: 1, stored, counted, rule, flags: 0 }
    }

    /// The same with entries whose bit 63 is wrong in consequence.
    pub(super) fn with_flags(self, flags: u64) -> Self {
        Self { flags, ..self }
    }

    /// Takes the next run in, if it goes on behind this one with the same fault.
    pub(super) fn join(&mut self, next: &Self) -> bool {
        let goes_on = self.end() == next.first && self.is_like(next);
        if goes_on {
            self.count = self.count.saturating_add(next.count);
            self.flags = self.flags.saturating_add(next.flags);
        }
        goes_on
    }

    fn is_like(&self, other: &Self) -> bool {
        (self.rule, self.stored, self.counted) == (other.rule, other.stored, other.counted)
    }

    fn end(&self) -> u64 {
        self.first.saturating_add(self.count)
    }
}

/// The runs of one rule in the clusters that a refcount block counts.
#[derive(Debug, Default)]
pub(super) struct Runs {
    named: Vec<Run>,
    clusters: u64,
    flags: u64,
    /// Clusters that are not named.
    further: u64,
}

impl Runs {
    /// One run alone.
    pub(super) fn of(run: Run) -> Self {
        let mut runs = Self::default();
        runs.add(run);
        runs
    }

    /// Takes one more in.
    pub(super) fn add(&mut self, run: Run) {
        self.clusters = self.clusters.saturating_add(run.count);
        self.flags = self.flags.saturating_add(run.flags);
        if self.named.len() < NAMED {
            self.named.push(run);
        } else {
            self.further = self.further.saturating_add(run.count);
        }
    }

    /// One finding for all of them. `block`: where the block stands, which cluster it counts first, and how.
    pub(super) fn finding(
        &self,
        block: Option<(HostOffset, u64, RefcountWidth)>,
        geometry: Geometry,
    ) -> Option<Finding> {
        let first = self.named.first()?;
        let is_overflow = *first.rule == REFCOUNT_OVERFLOW;
        let is_same = self.named.iter().all(|run| run.is_like(first));
        let mut found = self.found(geometry, is_overflow)?;
        if self.further != 0 {
            found = format!("{found} and {} more clusters", self.further);
        }
        if self.flags != 0 {
            found = format!("{found}; {} flags of bit 63 are wrong in consequence", self.flags);
        }
        let wanted = match () {
            () if is_overflow => format!("at most {}", first.stored),
            () if is_same && self.further == 0 => {
                format!("{}, the references that were counted", first.counted)
            }
            () => "the references that were counted".to_owned(),
        };
        let span = self.span(block.filter(|_| !is_overflow), geometry)?;
        let mut finding = Finding::new(first.rule, Structure::RefcountBlock, span, found, wanted);
        finding.consequences = self.clusters;
        // A refcount that is too high wastes space and harms nothing.
        let is_leak = self.named.iter().all(|run| run.stored > run.counted);
        Some(if is_leak { finding.at_most(Severity::Leak) } else { finding })
    }

    fn found(&self, geometry: Geometry, is_overflow: bool) -> Option<String> {
        let first = self.named.first()?;
        let is_same = self.named.iter().all(|run| run.is_like(first));
        let counts = |run: &Run| match is_overflow {
            true => format!("{} references", run.counted),
            false => format!("refcount {}, references {}", run.stored, run.counted),
        };
        let range = |run: &Run| {
            let len = run.count.saturating_mul(geometry.cluster_size());
            let range = format!("{}+{len:#x}", geometry.host_offset(run.first)?);
            Some(if is_same { range } else { format!("{range} ({})", counts(run)) })
        };
        let ranges: Option<Vec<String>> = self.named.iter().map(range).collect();
        let (at, clusters, ranges) = (geometry.host_offset(first.first)?, self.clusters, ranges?.join(", "));
        Some(match (is_same, clusters, is_overflow) {
            (true, 1, true) => format!("{} references to the cluster at {at}", first.counted),
            (true, 1, false) => format!("{} for the cluster at {at}", first.stored),
            (true, _, true) => {
                format!("{} references to each of {clusters} clusters: {ranges}", first.counted)
            }
            (true, _, false) => format!("{} for {clusters} clusters: {ranges}", first.stored),
            (false, ..) => format!("{clusters} clusters: {ranges}"),
        })
    }

    /// The refcounts from the first run to the last one that is named, or the clusters where no block has them.
    fn span(&self, block: Option<(HostOffset, u64, RefcountWidth)>, geometry: Geometry) -> Option<Span> {
        let (first, end) = (self.named.first()?.first, self.named.last()?.end());
        let count = end.saturating_sub(first);
        Some(match block {
            Some((at, start, width)) => width.span(at, first.saturating_sub(start), count),
            None => Span::new(geometry.host_offset(first)?, count.saturating_mul(geometry.cluster_size())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::named::REFCOUNT_TOO_LOW;

    fn found(rule: &'static Rule, clusters: &[(u64, u64, u64)]) -> (String, String, u64) {
        let (mut runs, mut open): (Runs, Option<Run>) = Default::default();
        for (cluster, stored, counted) in clusters {
            let next = Run::new(rule, *cluster, (*stored, *counted)).with_flags(1);
            if !open.as_mut().is_some_and(|run| run.join(&next)) {
                open.replace(next).into_iter().for_each(|run| runs.add(run));
            }
        }
        open.into_iter().for_each(|run| runs.add(run));
        let finding = runs.finding(None, Geometry::new(9, false).unwrap()).unwrap();
        (finding.found.to_string(), finding.wanted.to_string(), finding.consequences)
    }

    #[test]
    fn neighbours_with_one_fault_are_one_range() {
        let clusters = [(8, 1, 2), (9, 1, 2), (10, 0, 2), (12, 0, 2)];
        let ranges = "0x1000+0x400 (refcount 1, references 2), 0x1400+0x200 (refcount 0, references 2), \
            0x1800+0x200 (refcount 0, references 2)";
        let flags = "4 flags of bit 63 are wrong in consequence";
        let (found, wanted, count) = found(&REFCOUNT_TOO_LOW, &clusters);
        assert_eq!(found, format!("4 clusters: {ranges}; {flags}"));
        assert_eq!((wanted.as_str(), count), ("the references that were counted", 4));
    }

    #[test]
    fn more_references_than_can_be_stored_are_told_by_range_too() {
        let clusters: Vec<_> = (0..100).map(|n| (8 + n * 2, 1, 3)).collect();
        let (found, wanted, count) = found(&REFCOUNT_OVERFLOW, &clusters);
        assert!(
            found.starts_with("3 references to each of 100 clusters: 0x1000+0x200, 0x1400+0x200"),
            "{found}"
        );
        assert!(found.contains(" and 92 more clusters; "), "{found}");
        assert_eq!((wanted.as_str(), count), ("at most 1", 100));
    }
}
