//! The tables of all trees, as the sweep over the L1 tables finds them.

use std::collections::HashMap;

use crate::image::DiskTree;
use crate::units::{HostOffset, Span, Tree, to_usize};

/// The tables of all trees, and what leads to them.
#[derive(Debug, Default)]
pub(super) struct Trees {
    /// All trees, as far as the snapshot table goes, each with where the pointer to its L1 table stands.
    pub(super) all: Vec<(DiskTree, HostOffset)>,
    /// Distinct L1 tables that QEMU would read.
    pub(super) l1: Vec<L1Use>,
    /// L2 tables by offset.
    pub(super) l2: HashMap<u64, L2Use>,
}

impl Trees {
    /// The tree that stands for the L1 table in this place.
    pub(super) fn tree(&self, place: usize) -> Option<DiskTree> {
        self.l1.get(place).map(|table| table.tree)
    }

    /// The distinct L1 tables, each with the first tree that has it.
    pub(super) fn l1_trees(&self) -> Vec<DiskTree> {
        self.l1.iter().map(|table| table.tree).collect()
    }

    /// The L2 tables in the order in which they are walked: by guest range, the one of the active tree first.
    pub(super) fn ordered(&self) -> Vec<(u64, L2Use)> {
        let mut tables: Vec<(u64, L2Use)> = self.l2.iter().map(|(at, table)| (*at, *table)).collect();
        tables.sort_unstable_by_key(|(at, table)| {
            (table.is_elsewhere, table.l1_index, table.active_times == 0, table.l1, *at)
        });
        tables
    }
}

/// An L1 table.
#[derive(Clone, Copy, Debug)]
pub(super) struct L1Use {
    /// The first tree that has it.
    pub(super) tree: DiskTree,
    /// How many have it.
    pub(super) times: u64,
}

impl L1Use {
    pub(super) fn is_active(&self) -> bool {
        self.tree.l1.tree == Tree::Active
    }

    pub(super) fn span(&self) -> Span {
        self.tree.l1.span()
    }
}

/// An L2 table.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct L2Use {
    /// L1 entries that lead to it, over all trees.
    pub(super) times: u64,
    /// L1 entries of the active tree among them.
    pub(super) active_times: u32,
    /// The place in `l1` of the tree that stands for it: the active one, or the first.
    pub(super) l1: u32,
    /// The index of the entry there.
    pub(super) l1_index: u32,
    /// Behind the first byte of the last of these entries in the file.
    pub(super) last_entry: u64,
    /// Entries of one tree that point there again.
    pub(super) repeats: u64,
    /// Whether it stands for several guest ranges, in one tree or in several.
    pub(super) is_elsewhere: bool,
}

impl L2Use {
    /// Whether both stand for the same guest range, and no other, so that no tree has both.
    pub(super) fn shares_range(&self, other: &Self) -> bool {
        !self.is_elsewhere && !other.is_elsewhere && self.l1_index == other.l1_index
    }

    /// The place of its tree.
    pub(super) fn place(&self) -> usize {
        to_usize(self.l1.into())
    }
}
