//! Clusters as runs, as they come in order.

/// How many runs are remembered.
const REMEMBERED: usize = 4096;

/// A set of clusters, of which the first runs are remembered and all are counted.
#[derive(Debug, Default)]
pub(super) struct ClusterRuns {
    count: u64,
    /// The first clusters of runs, and those behind them.
    runs: Vec<(u64, u64)>,
    has_more: bool,
}

impl ClusterRuns {
    /// Takes one more cluster, which comes behind all others.
    pub(super) fn add(&mut self, cluster: u64) {
        self.count = self.count.saturating_add(1);
        let end = cluster.saturating_add(1);
        if let Some(run) = self.runs.last_mut().filter(|run| run.1 == cluster && !self.has_more) {
            run.1 = end;
        } else if self.runs.len() < REMEMBERED {
            self.runs.push((cluster, end));
        } else {
            self.has_more = true;
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Those that are remembered.
    pub(super) fn clusters(&self) -> impl Iterator<Item = u64> {
        self.runs.iter().flat_map(|(start, end)| *start..*end)
    }

    /// How many side by side there are from a cluster on.
    pub(super) fn from(&self, cluster: u64) -> u64 {
        let run = self.run(cluster).filter(|(_, end)| cluster < *end);
        run.map_or(0, |(_, end)| end.saturating_sub(cluster))
    }

    /// How many side by side there are right before a cluster.
    pub(super) fn before(&self, cluster: u64) -> u64 {
        let run = cluster.checked_sub(1).and_then(|last| self.run(last)).filter(|(_, end)| cluster <= *end);
        run.map_or(0, |(start, _)| cluster.saturating_sub(start))
    }

    /// Whether a cluster is one of those that are remembered.
    pub(super) fn has(&self, cluster: u64) -> bool {
        self.run(cluster).is_some_and(|(_, end)| cluster < end)
    }

    /// Whether a cluster may be one of all.
    pub(super) fn may_have(&self, cluster: u64) -> bool {
        self.has(cluster) || self.has_more && self.run(cluster) == self.runs.last().copied()
    }

    /// The last run that starts at a cluster or before.
    fn run(&self, cluster: u64) -> Option<(u64, u64)> {
        let behind = self.runs.partition_point(|(start, _)| *start <= cluster);
        self.runs.get(behind.checked_sub(1)?).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_kept_and_all_are_counted() {
        let mut runs = ClusterRuns::default();
        [5, 6, 7, 100].into_iter().for_each(|cluster| runs.add(cluster));
        assert_eq!((runs.count(), runs.clusters().collect::<Vec<_>>()), (4, vec![5, 6, 7, 100]));
        let found: Vec<u64> = (0..200).filter(|cluster| runs.has(*cluster)).collect();
        assert_eq!(found, [5, 6, 7, 100]);
        assert_eq!((0..200).filter(|cluster| runs.may_have(*cluster)).count(), 4);
        assert_eq!([4, 5, 7, 8].map(|cluster| runs.from(cluster)), [0, 3, 1, 0]);
        assert_eq!([5, 6, 8, 9].map(|cluster| runs.before(cluster)), [0, 1, 3, 0]);
        (0..10_000).for_each(|n| runs.add(1000 + 2 * n));
        assert_eq!((runs.count(), runs.runs.len()), (10_004, REMEMBERED));
        assert!(runs.may_have(1000) && !runs.may_have(1001) && !runs.has(20_999));
        assert!(runs.may_have(20_999), "it may be one that was not remembered");
    }
}
