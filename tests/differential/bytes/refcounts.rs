//! The refcount table and its blocks, at every width.

use super::Image;

/// One entry of the refcount table that is not zero.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct RefcountTableEntry {
    pub(crate) index: u64,
    pub(crate) offset: u64,
    pub(crate) value: u64,
}

/// One refcount that is not zero.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Refcount {
    /// The index of its block in the refcount table.
    pub(crate) block: u64,
    pub(crate) index: u64,
    /// Where its first byte, or the byte it shares, is.
    pub(crate) offset: u64,
    pub(crate) value: u64,
    /// The cluster that it counts.
    pub(crate) host_offset: u64,
}

impl Image {
    pub(crate) fn refcount_table(&self) -> Vec<RefcountTableEntry> {
        let entries = self.header("refcount_table_clusters") * self.cluster_size() / 8;
        let table = self.table(self.header("refcount_table_offset"), entries);
        table.into_iter().map(|(index, offset, value)| RefcountTableEntry { index, offset, value }).collect()
    }

    pub(crate) fn refcounts(&self) -> Vec<Refcount> {
        let per_block = self.cluster_size() * 8 / self.refcount_bits();
        let mut refcounts = Vec::new();
        for entry in self.refcount_table() {
            for (index, offset, value) in self.refcount_block(entry.value & !0x1ff) {
                let host_offset = (entry.index * per_block + index) * self.cluster_size();
                refcounts.push(Refcount { block: entry.index, index, offset, value, host_offset });
            }
        }
        refcounts
    }

    /// The width of a refcount.
    pub(crate) fn refcount_bits(&self) -> u64 {
        if self.header("version") == 2 { 16 } else { 1 << self.header("refcount_order") }
    }

    /// The index, offset and value of each refcount of a block that is not zero. Where several share a byte, the
    /// first has the lowest bits.
    fn refcount_block(&self, block: u64) -> Vec<(u64, u64, u64)> {
        let bits = self.refcount_bits();
        let bytes = self.stored(block, self.cluster_size());
        let mut refcounts = Vec::new();
        for (place, unit) in (0..).zip(bytes.chunks(usize::try_from(bits.div_ceil(8)).unwrap())) {
            let unit_value = unit.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
            let offset = block + place * bits.div_ceil(8);
            if bits >= 8 {
                refcounts.push((place, offset, unit_value));
            } else {
                let in_byte = 8 / bits;
                let value = |nth: u64| unit_value >> (nth * bits) & ((1 << bits) - 1);
                refcounts.extend((0..in_byte).map(|nth| (place * in_byte + nth, offset, value(nth))));
            }
        }
        refcounts.retain(|(.., value)| *value != 0);
        refcounts
    }
}
