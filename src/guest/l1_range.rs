//! Which guest offsets an L1 table has entries for, and what is to be said of the others.

use super::cluster::State;
use crate::finding::Rule;
use crate::image::L1Table;
use crate::rules::named::{
    L1_OFFSET_INVALID, L1_TABLE_TOO_SMALL, SNAPSHOT_L1_BEYOND_FILE, SNAPSHOT_L1_TOO_SMALL,
    SNAPSHOT_L1_UNALIGNED, TABLE_BEYOND_FILE,
};
use crate::units::{Geometry, Tree};

/// What an L1 table reaches, in entries.
#[derive(Clone, Copy, Debug)]
pub(super) struct L1Range {
    is_aligned: bool,
    entries: u64,
    /// What the disk needs, with its VM state where that is known.
    wanted: u64,
    tree: Tree,
}

impl L1Range {
    pub(super) fn new(l1: L1Table, geometry: Geometry, wanted: u64) -> Self {
        let is_aligned = l1.at.is_aligned(geometry.cluster_size());
        Self { is_aligned, entries: l1.size.into(), wanted, tree: l1.tree }
    }

    /// The state from an entry on that nobody can look up, and for how many entries; `None` where it is in the table.
    pub(super) fn beyond(&self, index: u64) -> Option<(State, u64)> {
        let (unaligned, too_small) = match self.tree {
            Tree::Active => (&L1_OFFSET_INVALID, &L1_TABLE_TOO_SMALL),
            Tree::Snapshot(_) => (&SNAPSHOT_L1_UNALIGNED, &SNAPSHOT_L1_TOO_SMALL),
        };
        let (state, end) = match () {
            // Nobody asks for the guest's bytes there.
            () if index >= self.entries.max(self.wanted) => (State::Unallocated, u64::MAX),
            () if index >= self.entries => (State::Broken(too_small), self.wanted),
            // QEMU refuses to use it, so that nobody knows what it would mean.
            () if !self.is_aligned => (State::Broken(unaligned), self.entries),
            () => return None,
        };
        Some((state, end.saturating_sub(index)))
    }

    /// The rule that a table breaks which the end of the file cuts.
    pub(super) fn cut_rule(&self) -> &'static Rule {
        match self.tree {
            Tree::Active => &TABLE_BEYOND_FILE,
            Tree::Snapshot(_) => &SNAPSHOT_L1_BEYOND_FILE,
        }
    }
}
