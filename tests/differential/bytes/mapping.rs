//! L1 and L2 tables of the active disk and of every snapshot.

use std::collections::HashMap;

use super::Image;

const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
const ZERO: u64 = 1;

/// One L1 entry that is not zero.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct L1Entry {
    pub(crate) tree: String,
    pub(crate) index: u64,
    pub(crate) offset: u64,
    pub(crate) value: u64,
    pub(crate) guest_offset: u64,
    pub(crate) l2_offset: u64,
    pub(crate) copied: bool,
}

/// One L2 entry that is not zero.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct L2Entry {
    pub(crate) tree: String,
    pub(crate) l1_index: u64,
    pub(crate) index: u64,
    pub(crate) offset: u64,
    pub(crate) value: u64,
    pub(crate) kind: &'static str,
    pub(crate) guest_offset: u64,
    pub(crate) host_offset: Option<u64>,
    pub(crate) copied: bool,
    pub(crate) compressed_length: Option<u64>,
    pub(crate) bitmap: Option<u64>,
}

/// An L1 entry that points at an L2 table that an earlier one points at.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct SharedTable {
    pub(crate) tree: String,
    pub(crate) l1_index: u64,
    pub(crate) first_tree: String,
    pub(crate) first_l1_index: u64,
}

impl Image {
    /// The L1 entries of all trees, the active one first.
    pub(crate) fn l1(&self) -> Vec<L1Entry> {
        let active = (self.header("l1_table_offset"), self.header("l1_size"));
        let snapshots =
            self.snapshots().into_iter().map(|snapshot| (snapshot.l1_table_offset, snapshot.l1_size));
        let names = (0..).map(|number| format!("snapshot:{number}"));
        let trees = std::iter::once(("active".to_owned(), active)).chain(names.zip(snapshots));
        let mut entries = Vec::new();
        for (tree, (table, count)) in trees {
            entries.extend(self.table(table, count).into_iter().map(|(index, offset, value)| L1Entry {
                tree: tree.clone(),
                index,
                offset,
                value,
                guest_offset: index * self.l2_entries() * self.cluster_size(),
                l2_offset: value & OFFSET,
                copied: value & COPIED != 0,
            }));
        }
        entries
    }

    /// The entries of each distinct L2 table under its first L1 entry, and the L1 entries that come later.
    pub(crate) fn l2(&self) -> (Vec<L2Entry>, Vec<SharedTable>) {
        let (mut entries, mut shared) = (Vec::new(), Vec::new());
        let mut seen = HashMap::new();
        for l1 in self.l1() {
            if let Some((first_tree, first_l1_index)) = seen.get(&l1.l2_offset).cloned() {
                shared.push(SharedTable { tree: l1.tree, l1_index: l1.index, first_tree, first_l1_index });
            } else {
                entries.extend(self.l2_table(&l1));
                seen.insert(l1.l2_offset, (l1.tree, l1.index));
            }
        }
        (entries, shared)
    }

    fn l2_entries(&self) -> u64 {
        self.cluster_size() / if self.has_extended_l2() { 16 } else { 8 }
    }

    fn l2_table(&self, l1: &L1Entry) -> Vec<L2Entry> {
        let words = self.table(l1.l2_offset, self.cluster_size() / 8);
        if !self.has_extended_l2() {
            return words
                .into_iter()
                .map(|(index, _, value)| self.l2_entry(l1, index, value, None))
                .collect();
        }
        let mut indices: Vec<u64> = words.iter().map(|(word, ..)| word / 2).collect();
        indices.dedup();
        let entry = |index: u64| {
            let offset = l1.l2_offset + index * 16;
            self.l2_entry(l1, index, self.u64(offset), Some(self.u64(offset + 8)))
        };
        indices.into_iter().map(entry).collect()
    }

    fn l2_entry(&self, l1: &L1Entry, index: u64, value: u64, bitmap: Option<u64>) -> L2Entry {
        let width = if bitmap.is_some() { 16 } else { 8 };
        let copied = value & COPIED != 0;
        let at = value & OFFSET;
        let (kind, host_offset, compressed_length) = if value & COMPRESSED != 0 {
            let (start, length) = self.compressed(value);
            ("compressed", Some(start), Some(length))
        } else if bitmap.is_none() && value & ZERO != 0 {
            if at == 0 { ("zero", None, None) } else { ("zero-allocated", Some(at), None) }
        } else if at != 0 || self.has_data_file() && copied {
            ("data", Some(at), None)
        } else {
            ("unallocated", None, None)
        };
        L2Entry {
            tree: l1.tree.clone(),
            l1_index: l1.index,
            index,
            offset: l1.l2_offset + index * width,
            value,
            kind,
            guest_offset: l1.guest_offset + index * self.cluster_size(),
            host_offset,
            copied,
            compressed_length,
            bitmap,
        }
    }

    /// Where a compressed cluster's bytes start, and how many there are up to the end of its last sector.
    fn compressed(&self, value: u64) -> (u64, u64) {
        let sector_bits = self.header("cluster_bits") - 8;
        let offset_bits = 62 - sector_bits;
        let start = value & ((1 << offset_bits) - 1);
        let more_sectors = value >> offset_bits & ((1 << sector_bits) - 1);
        (start, (more_sectors + 1) * 512 - start % 512)
    }
}
