//! The compressed clusters of all trees, 16 bytes each.

use crate::format::mapping::Compressed;
use crate::units::{Geometry, HostOffset, SECTOR, Span};

/// Bytes of the last sector that need not belong to a stream.
pub(super) const SECTOR_REST: u64 = SECTOR - 1;

/// A compressed cluster, by its L2 entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stream {
    /// Where it starts, and in the low bits how many further sectors it takes: 62 bits.
    place: u64,
    /// The table, by its place in the order of the walk.
    pub(super) table: u32,
    /// The entry there.
    pub(super) index: u32,
}

/// All compressed clusters.
#[derive(Debug)]
pub(super) struct StreamList {
    pub(super) all: Vec<Stream>,
    sector_bits: u32,
    pub(super) limit: usize,
    /// Whether some were left out.
    pub(super) is_spent: bool,
}

impl StreamList {
    /// None yet; `limit` are remembered.
    pub(super) fn new(geometry: Geometry, limit: usize) -> Self {
        let sector_bits = geometry.cluster_bits().saturating_sub(8);
        Self { all: Vec::new(), sector_bits, limit, is_spent: false }
    }

    /// Takes one more, which lies in the file.
    pub(super) fn push(&mut self, stream: Compressed, table: u32, index: u64) {
        if self.all.len() >= self.limit {
            return self.is_spent = true;
        }
        let sectors = stream.at.0 & SECTOR_REST;
        let sectors = stream.len.saturating_add(sectors) / SECTOR;
        let place = stream.at.0.unbounded_shl(self.sector_bits) | sectors.saturating_sub(1);
        // A table has 2^27 entries at most.
        self.all.push(Stream { place, table, index: u32::try_from(index).unwrap_or(u32::MAX) });
    }

    /// The bytes that the entry gives it: whole sectors at the end.
    pub(super) fn span(&self, stream: Stream) -> Span {
        let at = stream.place.unbounded_shr(self.sector_bits);
        let sectors = stream.place & !u64::MAX.unbounded_shl(self.sector_bits);
        let len = sectors.saturating_add(1).saturating_mul(SECTOR).saturating_sub(at & SECTOR_REST);
        Span::new(HostOffset(at), len)
    }

    /// The entry, without bit 63.
    pub(super) fn entry(&self, stream: Stream) -> u64 {
        let offset_bits = 62_u32.saturating_sub(self.sector_bits);
        let at = stream.place.unbounded_shr(self.sector_bits);
        1 << 62 | stream.place.unbounded_shl(offset_bits) & !(3 << 62) | at
    }
}

impl Stream {
    /// Whether both are the same bytes of the file.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        self.place == other.place
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::mapping::{L2Entry, Mapping};

    #[test]
    fn an_entry_keeps_its_offset_and_its_sectors() {
        for cluster_bits in [9, 16, 21, 30] {
            let geometry = Geometry::new(cluster_bits, false).unwrap();
            let mut streams = StreamList::new(geometry, 3);
            let highest = (1_u64 << 62) - 1;
            for bits in [0, 0x1_2345, highest & !0xfff, highest] {
                let entry = L2Entry(1 << 62 | bits);
                let Mapping::Compressed(stream) = entry.mapping(geometry, false) else { unreachable!() };
                streams.push(stream, 7, 9);
                let kept = streams.all.pop().unwrap();
                assert_eq!(streams.span(kept), Span::new(stream.at, stream.len), "{cluster_bits}: {bits:#x}");
                assert_eq!(streams.entry(kept), entry.0, "{cluster_bits}: {bits:#x}");
            }
        }
    }
}
