//! Clusters that two owners claim, so that no reference count makes them right.

use std::collections::BTreeSet;

use crate::units::to_u64;

/// How many clusters are remembered that are no breach beyond their refcount.
const SHARED: usize = 1024;

/// The first clusters in conflict, and how many there are in all.
#[derive(Debug)]
pub(super) struct Conflicts {
    clusters: BTreeSet<u64>,
    /// Those with fewer refcounts than references: whoever writes to one owner may change the others.
    low_refcounts: BTreeSet<u64>,
    /// The others of those.
    shared: BTreeSet<u64>,
    further: u64,
    limit: usize,
}

impl Conflicts {
    /// None yet; `limit` are remembered.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            clusters: BTreeSet::new(),
            low_refcounts: BTreeSet::new(),
            shared: BTreeSet::new(),
            further: 0,
            limit,
        }
    }

    /// Takes one more.
    pub(super) fn add(&mut self, cluster: u64) {
        if self.clusters.len() < self.limit {
            self.clusters.insert(cluster);
        } else if !self.clusters.contains(&cluster) {
            self.further = self.further.saturating_add(1);
        }
    }

    /// Takes note that the refcount of a cluster is too low, if it is one of these.
    pub(super) fn add_low_refcount(&mut self, cluster: u64) {
        if self.clusters.contains(&cluster) || self.shared.contains(&cluster) {
            self.low_refcounts.insert(cluster);
        }
    }

    /// Takes a cluster that several refer to and whose refcount does not know of all, one of the first: that is no
    /// breach beyond the refcount, but their data is in doubt.
    pub(super) fn add_shared(&mut self, cluster: u64) {
        if !self.clusters.contains(&cluster) && self.shared.len() < SHARED {
            self.shared.insert(cluster);
        }
    }

    /// Whether sharing it is no breach by itself.
    pub(super) fn is_shared(&self, cluster: u64) -> bool {
        self.shared.contains(&cluster)
    }

    /// Whether its refcount is too low.
    pub(super) fn has_low_refcount(&self, cluster: u64) -> bool {
        self.low_refcounts.contains(&cluster)
    }

    /// Those that are remembered.
    pub(super) fn clusters(&self) -> impl Iterator<Item = &u64> {
        self.clusters.iter().chain(&self.shared)
    }

    /// How often a cluster came that is not remembered.
    pub(super) fn further(&self) -> u64 {
        self.further
    }

    /// How many are remembered.
    pub(super) fn len(&self) -> u64 {
        to_u64(self.clusters.len().saturating_add(self.shared.len()))
    }
}
