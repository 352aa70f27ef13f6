//! The refcount table and its blocks.

use std::ops::Range;

use crate::units::{Geometry, HostOffset, Span, to_u64, to_usize};

/// An entry of the refcount table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefcountTableEntry(pub u64);

impl RefcountTableEntry {
    /// Bits that must be zero.
    pub const RESERVED: u64 = 0x1ff;

    /// Where the refcount block starts; 0 if all of its refcounts are 0.
    pub const fn block_offset(self) -> HostOffset {
        HostOffset(self.0 & !Self::RESERVED)
    }

    /// The reserved bits that are set.
    pub const fn reserved(self) -> u64 {
        self.0 & Self::RESERVED
    }
}

/// How wide a refcount is: 1, 2, 4, 8, 16, 32 or 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefcountWidth {
    order: u32,
}

impl RefcountWidth {
    /// The greatest `refcount_order`.
    pub const MAX_ORDER: u32 = 6;

    /// The width for a header's `refcount_order`, or `None` where that is too large.
    pub const fn new(order: u32) -> Option<Self> {
        if order <= Self::MAX_ORDER { Some(Self { order }) } else { None }
    }

    /// The width in bits.
    pub const fn bits(self) -> u32 {
        1_u32.unbounded_shl(self.order)
    }

    /// The greatest refcount of this width.
    pub const fn max(self) -> u64 {
        u64::MAX.unbounded_shr(u64::BITS.saturating_sub(self.bits()))
    }

    /// Refcounts in a block, which fills one cluster.
    pub const fn block_entry_count(self, geometry: Geometry) -> u64 {
        self.count_in(geometry.cluster_size())
    }

    /// The clusters that the block with this index in the table counts; `None` where their numbers pass 2^64.
    pub fn clusters_of_block(self, index: u64, geometry: Geometry) -> Option<Range<u64>> {
        let per_block = self.block_entry_count(geometry);
        let first = index.checked_mul(per_block)?;
        Some(first..first.checked_add(per_block)?)
    }

    /// The index in the table of the block that counts this cluster, and the place of its refcount there.
    pub const fn place_of(self, cluster: u64, geometry: Geometry) -> (u64, u64) {
        // A power of two.
        let per_block = self.block_entry_count(geometry);
        (cluster.unbounded_shr(per_block.trailing_zeros()), cluster & per_block.saturating_sub(1))
    }

    /// Refcounts that `len` bytes hold.
    pub const fn count_in(self, len: u64) -> u64 {
        len.saturating_mul(8).unbounded_shr(self.order)
    }

    /// The place of the refcount with this index among those that share its first byte; 0 for wide ones.
    pub const fn index_in_byte(self, index: u64) -> u64 {
        index & 7_u64.unbounded_shr(self.order)
    }

    /// Where the refcount with this index starts, in bytes from the start of its block; narrow ones share a
    /// byte.
    pub const fn byte_offset(self, index: u64) -> u64 {
        match self.order {
            0..=2 => index.unbounded_shr(3_u32.saturating_sub(self.order)),
            _ => index.unbounded_shl(self.order.saturating_sub(3)),
        }
    }

    /// Bytes that hold one refcount; narrow ones share theirs.
    pub const fn byte_len(self) -> u64 {
        1_u64.unbounded_shl(self.order.saturating_sub(3))
    }

    /// The bytes that hold `count` refcounts from `index` on, of a block that starts at `block`.
    pub const fn span(self, block: HostOffset, index: u64, count: u64) -> Span {
        let from = self.byte_offset(index);
        let last = self.byte_offset(index.saturating_add(count.saturating_sub(1)));
        let len = last.saturating_add(self.byte_len()).saturating_sub(from);
        Span::new(block.saturating_add(from), len)
    }

    /// The refcount with this index; `None` behind the end of `block`. Narrow ones start at the least
    /// significant bit of their byte.
    pub fn get(self, block: &[u8], index: u64) -> Option<u64> {
        let at = to_usize(self.byte_offset(index));
        match self.order {
            0..=2 => {
                let byte = u64::from(*block.get(at)?);
                let in_byte = self.index_in_byte(index);
                let shift = u32::try_from(in_byte).ok()?.unbounded_shl(self.order);
                Some(byte.unbounded_shr(shift) & self.max())
            }
            3 => block.get(at).copied().map(u64::from),
            4 => be(block, at).map(u16::from_be_bytes).map(u64::from),
            5 => be(block, at).map(u32::from_be_bytes).map(u64::from),
            _ => be(block, at).map(u64::from_be_bytes),
        }
    }

    /// How many refcounts from this one on are the same, as far as whole bytes tell: 1 at least.
    pub fn equal_from(self, block: &[u8], index: u64) -> u64 {
        let len = self.byte_len();
        let here = block.get(to_usize(self.byte_offset(index))..).unwrap_or_default();
        let (Some(next), Some(value)) = (here.get(to_usize(len)..), self.get(block, index)) else { return 1 };
        // Narrow refcounts must fill their byte with the same bits.
        let filled = value.saturating_mul(u64::from(u8::MAX).checked_div(self.max()).unwrap_or(0));
        let is_whole = self.order >= 3 || here.first().is_some_and(|&byte| u64::from(byte) == filled);
        if !is_whole || self.index_in_byte(index) != 0 {
            return 1;
        }
        self.count_in(to_u64(equal_len(here, next)).saturating_add(len))
    }
}

/// How many bytes two slices have in common at their start.
fn equal_len(left: &[u8], right: &[u8]) -> usize {
    const PIECE: usize = 64;
    let pieces = left.chunks_exact(PIECE).zip(right.chunks_exact(PIECE));
    let start = pieces.take_while(|(left, right)| left == right).count().saturating_mul(PIECE);
    let rest = left.iter().skip(start).zip(right.iter().skip(start));
    start.saturating_add(rest.take_while(|(left, right)| left == right).count())
}

fn be<const N: usize>(block: &[u8], at: usize) -> Option<[u8; N]> {
    block.get(at..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The start of a block for seven clusters in use, as qemu-img wrote it at each width.
    #[test]
    fn reads_what_qemu_writes() {
        let blocks: [&[u8]; 7] = [
            &[0x7f],
            &[0x55, 0x15],
            &[0x11, 0x11, 0x11, 0x01],
            &[1, 1, 1, 1, 1, 1, 1, 0],
            &[0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 0],
            &[0, 0, 0, 1].repeat(7),
            &[0, 0, 0, 0, 0, 0, 0, 1].repeat(7),
        ];
        for (order, block) in (0..).zip(blocks) {
            let width = RefcountWidth::new(order).unwrap();
            let counts: Vec<_> = (0..7).map(|index| width.get(block, index)).collect();
            assert_eq!(counts, [Some(1); 7], "order {order}");
            assert_ne!(width.get(block, 7), Some(1), "order {order}");
        }
        assert_eq!(RefcountWidth::new(7), None);
    }

    #[test]
    fn equal_refcounts_are_counted_by_whole_bytes() {
        let runs = [(0_u64, 1), (1, 200), (2, 3), (3, 1)];
        for order in 0..=6_u32 {
            let width = RefcountWidth::new(order).unwrap();
            let values: Vec<u64> =
                runs.iter().flat_map(|&(value, count)| vec![value & width.max(); count]).collect();
            let mut block = vec![0; to_usize(width.byte_offset(256)) + 8];
            for (index, value) in values.iter().enumerate() {
                let at = to_usize(width.byte_offset(to_u64(index)));
                if order < 3 {
                    block[at] |=
                        u8::try_from(value << (width.index_in_byte(to_u64(index)) << order)).unwrap();
                } else {
                    let len = to_usize(width.byte_len());
                    block[at..at + len].copy_from_slice(&value.to_be_bytes()[8 - len..]);
                }
            }
            for (index, value) in values.iter().enumerate() {
                let same = values[index..].iter().take_while(|other| *other == value).count();
                let told = to_usize(width.equal_from(&block, to_u64(index)));
                let behind = values.get(index + told - 1);
                assert!(
                    told >= 1 && told <= same && behind == Some(value),
                    "order {order}, index {index}: {told}"
                );
                assert!(order < 3 || told == same, "order {order}, index {index}: {told} of {same}");
            }
        }
    }

    #[test]
    fn widths_have_their_maximum() {
        let max = |order| RefcountWidth::new(order).unwrap().max();
        assert_eq!([max(0), max(1), max(2), max(3), max(4)], [1, 3, 15, 255, 65535]);
        assert_eq!([max(5), max(6)], [u64::from(u32::MAX), u64::MAX]);
    }
}
