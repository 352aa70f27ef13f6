//! The references of the L1 and L2 tables, each distinct table read once.

use std::collections::HashMap;
use std::hash::Hash;

use super::{Reference, References};
use crate::format::mapping::L1Entry;
use crate::image::{DiskTree, Repeats, Table, Visited, until_cut};
use crate::source::ReadAt;
use crate::units::{HostOffset, Span};
use crate::{Error, Limit};

/// Distinct tables in the order in which they came, each with what leads to it first, and how many pointers do.
struct Distinct<K, T> {
    tables: Vec<(K, T, u64)>,
    places: HashMap<K, usize>,
}

impl<K: Copy + Eq + Hash, T> Distinct<K, T> {
    fn new() -> Self {
        Self { tables: Vec::new(), places: HashMap::new() }
    }

    /// Whether the table is new.
    fn add(&mut self, key: K, first: T, times: u64) -> bool {
        let next = self.tables.len();
        let place = *self.places.entry(key).or_insert(next);
        match self.tables.get_mut(place) {
            Some((.., count)) => *count = count.saturating_add(times),
            None => self.tables.push((key, first, times)),
        }
        place == next
    }
}

impl<R: ReadAt> References<'_, R> {
    /// Hands the references of the trees to `visit`: the L1 table of each tree; the L2 table of each entry of an L1 table;
    /// the clusters of each entry of an L2 table. Those of a table that trees share come once, counted as often as the
    /// trees have it. Memory: some 200 bytes for each distinct table.
    ///
    /// # Errors
    /// Where a table cannot be read, or one of the limits `l2_tables` and `odd_tables` is spent, and what `visit` says.
    pub fn trees(&self, visit: &mut impl FnMut(&Reference) -> Result<(), Error>) -> Result<(), Error> {
        let limits = self.image.limits();
        // Each of them is work that no byte of the file pays for.
        let mut overlapping = Repeats::new(limits.odd_tables);
        let mut overlaps = |at| match overlapping.may_read(0) {
            true => Ok(()),
            false => Err(limits.spent(Limit::OddTables, at)),
        };
        let mut l1_tables: Distinct<Span, DiskTree> = Distinct::new();
        for tree in until_cut(self.image.tree_pointers()) {
            let (tree, pointer) = tree?;
            let reference = self.l1_table(tree.l1, pointer);
            if reference.is_followed {
                l1_tables.add(reference.span, tree, 1);
            }
            visit(&reference)?;
        }
        let mut l2_tables: Distinct<HostOffset, (DiskTree, u64)> = Distinct::new();
        let mut seen = Visited::new(limits.remembered_tables);
        for (span, tree, times) in l1_tables.tables {
            if seen.first(span, ()).is_some() {
                overlaps(span.at)?;
            }
            self.image.entries(Table::l1(tree)).for_each(|entry| -> Result<(), Error> {
                let at = L1Entry(entry.raw).l2_offset();
                visit(&self.l2_table(tree, entry.index, at).times(times))?;
                // The clusters of an external data file are not in this one.
                if self.image.has_external_data() || !l2_tables.add(at, (tree, entry.index), times) {
                    return Ok(());
                }
                if l2_tables.tables.len() > limits.l2_tables {
                    return Err(limits.spent(Limit::L2Tables, at));
                }
                if at.is_aligned(self.geometry.cluster_size()) { Ok(()) } else { overlaps(at) }
            })?;
        }
        for (at, (tree, l1_index), times) in l2_tables.tables {
            let table = Table::l2(tree, l1_index, at, self.geometry);
            self.image.entries(table).for_each(|entry| match self.entry(&table, &entry) {
                Some(reference) => visit(&reference.times(times)),
                None => Ok(()),
            })?;
        }
        Ok(())
    }
}
