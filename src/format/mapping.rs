//! L1 and L2 table entries: from guest clusters to host clusters.

use crate::units::{Geometry, HostOffset, SECTOR};

/// Bits 9 to 55 of an entry: where a table or a cluster starts.
const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;
/// The cluster's refcount is exactly one, so that it can be written in place.
const COPIED: u64 = 1 << 63;
const COMPRESSED: u64 = 1 << 62;
/// The cluster reads as zeros.
const ZERO: u64 = 1;

/// An entry of an L1 table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L1Entry(pub u64);

impl L1Entry {
    /// Bits that must be zero.
    pub const RESERVED: u64 = 0x7f00_0000_0000_01ff;

    /// Where the L2 table starts; 0 if there is none.
    pub const fn l2_offset(self) -> HostOffset {
        HostOffset(self.0 & OFFSET_MASK)
    }

    /// Whether it says that the L2 table's refcount is one.
    pub const fn copied(self) -> bool {
        self.0 & COPIED != 0
    }

    /// The reserved bits that are set.
    pub const fn reserved(self) -> u64 {
        self.0 & Self::RESERVED
    }
}

/// An entry of an L2 table: its first 64 bits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct L2Entry(pub u64);

/// What an L2 entry says of its guest cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapping {
    /// Nothing here: the backing file's data, or zeros.
    Unallocated,
    /// Zeros, without a host cluster.
    Zero,
    /// Zeros, with a host cluster kept for later writes.
    ZeroAllocated(HostOffset),
    /// The host cluster's bytes.
    Data(HostOffset),
    /// A compressed stream.
    Compressed(Compressed),
}

/// Where a compressed cluster's stream lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Compressed {
    /// The first byte; on no boundary.
    pub at: HostOffset,
    /// Bytes up to the end of the last 512-byte sector: the stream itself may be shorter.
    pub len: u64,
    /// Offset bits above 55, which must be zero; only clusters of up to 8 KiB have them.
    pub high_bits: u64,
}

impl L2Entry {
    /// Bits of a standard entry that must be zero; bit 0 is judged by version and entry width.
    pub const RESERVED: u64 = 0x3f00_0000_0000_01fe;

    /// The bits that the entry of a plain data cluster has not: all but its offset and the copied flag.
    pub const NOT_PLAIN: u64 = !(OFFSET_MASK | COPIED);

    /// Whether it says that the cluster's refcount is one.
    pub const fn copied(self) -> bool {
        self.0 & COPIED != 0
    }

    /// Whether it describes a compressed cluster.
    pub const fn is_compressed(self) -> bool {
        self.0 & COMPRESSED != 0
    }

    /// Bit 0: zero cluster in version 3, reserved in version 2 and with extended L2 entries.
    pub const fn zero_bit(self) -> bool {
        self.0 & ZERO != 0
    }

    /// The reserved bits of a standard entry that are set.
    pub const fn reserved(self) -> u64 {
        if self.is_compressed() { 0 } else { self.0 & Self::RESERVED }
    }

    /// The offset of a standard entry, whatever its kind.
    pub const fn standard_offset(self) -> HostOffset {
        HostOffset(self.0 & OFFSET_MASK)
    }

    /// The bits that decide what a standard entry maps to: two of them that share these map alike. COPIED, which matters
    /// with an external data file alone, is not among them, nor is the length of a compressed cluster.
    pub const fn mapping_bits(self) -> u64 {
        self.0 & (OFFSET_MASK | COMPRESSED | ZERO)
    }

    /// What it says, decided in QEMU's order. `external_data`: with an external data file an offset of 0 is a
    /// cluster like any other, and the COPIED flag tells it from an unallocated one.
    pub fn mapping(self, geometry: Geometry, external_data: bool) -> Mapping {
        if self.is_compressed() {
            return Mapping::Compressed(self.compressed(geometry));
        }
        let at = self.standard_offset();
        match (self.zero_bit() && !geometry.extended_l2(), at.0 != 0) {
            (true, true) => Mapping::ZeroAllocated(at),
            (true, false) => Mapping::Zero,
            (false, true) => Mapping::Data(at),
            (false, false) if external_data && self.copied() => Mapping::Data(at),
            (false, false) => Mapping::Unallocated,
        }
    }

    /// Splits a compressed entry: the number of further sectors takes `cluster_bits - 8` bits below bit 62.
    fn compressed(self, geometry: Geometry) -> Compressed {
        let sector_bits = geometry.cluster_bits().saturating_sub(8);
        let offset_bits = 62_u32.saturating_sub(sector_bits);
        let at = self.0 & low_bits(offset_bits);
        let sectors = (self.0.unbounded_shr(offset_bits) & low_bits(sector_bits)).saturating_add(1);
        Compressed {
            at: HostOffset(at),
            len: sectors.saturating_mul(SECTOR).saturating_sub(at % SECTOR),
            high_bits: at & !low_bits(56),
        }
    }
}

/// A mask of the `count` lowest bits.
const fn low_bits(count: u32) -> u64 {
    !u64::MAX.unbounded_shl(count)
}

/// The second 64 bits of an extended L2 entry: two bits for each of 32 subclusters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubclusterBitmap(pub u64);

/// What a subcluster bitmap says of one subcluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subcluster {
    /// Neither bit.
    Unallocated,
    /// Its bytes are in the host cluster.
    Allocated,
    /// It reads as zeros.
    Zero,
    /// Both bits, which is invalid.
    Invalid,
}

impl SubclusterBitmap {
    /// One bit for each subcluster whose bytes are in the host cluster.
    pub fn allocated(self) -> u32 {
        half(self.0 & 0xffff_ffff)
    }

    /// One bit for each subcluster that reads as zeros.
    pub fn zero(self) -> u32 {
        half(self.0 >> 32)
    }

    /// Subclusters with both bits, which is invalid.
    pub fn conflicting(self) -> u32 {
        self.allocated() & self.zero()
    }

    /// The state of the subcluster with this index, 0 to 31.
    pub fn get(self, index: u32) -> Subcluster {
        match (self.allocated().unbounded_shr(index) & 1 == 1, self.zero().unbounded_shr(index) & 1 == 1) {
            (false, false) => Subcluster::Unallocated,
            (true, false) => Subcluster::Allocated,
            (false, true) => Subcluster::Zero,
            (true, true) => Subcluster::Invalid,
        }
    }
}

/// A number that is known to fit into 32 bits.
fn half(bits: u64) -> u32 {
    u32::try_from(bits).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn geometry(cluster_bits: u32) -> Geometry {
        Geometry::new(cluster_bits, false).unwrap()
    }

    /// Each bit of an entry has one meaning: none is left out, none is judged twice.
    #[test]
    fn every_bit_has_one_meaning() {
        for bit in (0..64).map(|n| 1_u64 << n) {
            let l1 = [bit & OFFSET_MASK, bit & COPIED, bit & L1Entry::RESERVED];
            let l2 = [bit & OFFSET_MASK, bit & (COPIED | COMPRESSED | ZERO), bit & L2Entry::RESERVED];
            for meanings in [l1, l2] {
                assert_eq!(meanings.iter().filter(|meaning| **meaning != 0).count(), 1, "{bit:#x}");
            }
        }
    }

    #[test]
    fn compressed_entries_split_by_cluster_size() {
        // FORMAT: offset bits for cluster_bits 9 to 21.
        for (cluster_bits, offset_bits) in (9..=21).zip((49..=61).rev()) {
            let entry = L2Entry(COMPRESSED | (1 << offset_bits) | 0x1_0203);
            let Mapping::Compressed(stream) = entry.mapping(geometry(cluster_bits), false) else { panic!() };
            assert_eq!(stream.at, HostOffset(0x1_0203), "cluster_bits {cluster_bits}");
            assert_eq!(stream.len, 2 * 512 - 3, "cluster_bits {cluster_bits}");
            assert_eq!(stream.high_bits, 0);
        }
    }

    #[test]
    fn small_clusters_have_offset_bits_that_must_be_zero() {
        let Mapping::Compressed(stream) = L2Entry(COMPRESSED | 1 << 60 | 1 << 56).mapping(geometry(9), false)
        else {
            panic!()
        };
        assert_eq!(stream.high_bits, 1 << 60 | 1 << 56);
    }

    #[test]
    fn kinds_follow_qemu() {
        let plain = geometry(16);
        let extended = Geometry::new(16, true).unwrap();
        assert_eq!(L2Entry(0).mapping(plain, false), Mapping::Unallocated);
        assert_eq!(L2Entry(COPIED).mapping(plain, false), Mapping::Unallocated);
        assert_eq!(L2Entry(COPIED).mapping(plain, true), Mapping::Data(HostOffset(0)));
        assert_eq!(L2Entry(1).mapping(plain, false), Mapping::Zero);
        assert_eq!(L2Entry(0x5_0001).mapping(plain, false), Mapping::ZeroAllocated(HostOffset(0x5_0000)));
        assert_eq!(L2Entry(0x5_0001).mapping(extended, false), Mapping::Data(HostOffset(0x5_0000)));
    }
}
