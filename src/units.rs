//! Offsets, spans and the geometry of an image: newtypes with checked arithmetic.

use std::fmt;
use std::ops::RangeInclusive;

use binrw::{BinRead, BinWrite};
use serde::{Serialize, Serializer};

macro_rules! offset {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, BinRead, BinWrite,
        )]
        #[brw(big)]
        pub struct $name(pub u64);

        impl $name {
            /// This offset moved on, or `None` past 2^64.
            pub const fn checked_add(self, bytes: u64) -> Option<Self> {
                match self.0.checked_add(bytes) {
                    Some(sum) => Some(Self(sum)),
                    None => None,
                }
            }

            /// This offset moved on, or the last one that there is.
            #[must_use]
            pub const fn saturating_add(self, bytes: u64) -> Self {
                Self(self.0.saturating_add(bytes))
            }

            /// Whether it is a multiple of `alignment`, a power of two.
            pub const fn is_aligned(self, alignment: u64) -> bool {
                self.0 & alignment.saturating_sub(1) == 0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:#x}", self.0)
            }
        }
    };
}

offset! {
    /// A byte offset in the image file.
    HostOffset
}

offset! {
    /// A byte offset in the disk that a guest sees.
    GuestOffset
}

/// A run of bytes of the image file; it may lie behind the end of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Span {
    /// The first byte.
    pub at: HostOffset,
    /// How many bytes.
    pub len: u64,
}

impl Span {
    /// `len` bytes at `at`.
    pub const fn new(at: HostOffset, len: u64) -> Self {
        Self { at, len }
    }

    /// The offset behind the last byte, or 2^64 - 1 where that is less.
    pub const fn end(self) -> HostOffset {
        self.at.saturating_add(self.len)
    }

    /// The part of it that a file of `len` bytes holds.
    #[must_use]
    pub const fn within(self, len: u64) -> Self {
        let there = len.saturating_sub(self.at.0);
        Self::new(self.at, if there < self.len { there } else { self.len })
    }

    /// Whether the two share a byte, an empty span counting as the place where it stands.
    pub fn touches(self, other: Self) -> bool {
        let (end, other_end) =
            (self.at.saturating_add(self.len.max(1)), other.at.saturating_add(other.len.max(1)));
        self.at < other_end && other.at < end
    }
}

/// A run of guest bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct GuestSpan {
    /// The first byte.
    pub start: GuestOffset,
    /// How many bytes.
    #[serde(rename = "length")]
    pub len: u64,
}

impl GuestSpan {
    /// `len` bytes from `start` on, or `None` where they pass 2^64.
    pub const fn new(start: GuestOffset, len: u64) -> Option<Self> {
        match start.checked_add(len) {
            Some(_) => Some(Self { start, len }),
            None => None,
        }
    }
}

/// One mapping of guest offsets: the active disk, or a snapshot by its place in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Tree {
    /// What the guest sees now.
    Active,
    /// What it saw when the snapshot with this index was taken.
    Snapshot(u32),
}

impl fmt::Display for Tree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Active => f.write_str("active"),
            Self::Snapshot(index) => write!(f, "snapshot:{index}"),
        }
    }
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// How guest offsets split into table indices, for one image.
///
/// Cluster sizes up to 1 GiB are worked with, although QEMU stops at 2 MiB: the specification has no upper
/// bound, and with this one only the product of a table index can pass 2^64, which is `None` below.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    cluster_bits: u32,
    cluster_size: u64,
    l2_entry_len: u64,
}

impl Geometry {
    /// The smallest `cluster_bits` that the specification allows.
    pub const MIN_CLUSTER_BITS: u32 = 9;
    /// The largest `cluster_bits` that this crate works with.
    pub const MAX_CLUSTER_BITS: u32 = 30;
    /// Subclusters of a cluster with an extended L2 entry.
    pub const SUBCLUSTERS: u32 = 32;

    /// The geometry for a header's `cluster_bits`, or `None` where that is out of bounds.
    pub fn new(cluster_bits: u32, extended_l2: bool) -> Option<Self> {
        if !(Self::MIN_CLUSTER_BITS..=Self::MAX_CLUSTER_BITS).contains(&cluster_bits) {
            return None;
        }
        let cluster_size = 1_u64.checked_shl(cluster_bits)?;
        Some(Self { cluster_bits, cluster_size, l2_entry_len: if extended_l2 { 16 } else { 8 } })
    }

    /// The header's `cluster_bits`.
    pub const fn cluster_bits(self) -> u32 {
        self.cluster_bits
    }

    /// Bytes of a cluster.
    pub const fn cluster_size(self) -> u64 {
        self.cluster_size
    }

    /// Whether L2 entries have 128 bits and clusters have subclusters.
    pub const fn extended_l2(self) -> bool {
        self.l2_entry_len == 16
    }

    /// The number of the cluster that an offset is in.
    #[inline]
    pub const fn cluster_of(self, at: HostOffset) -> u64 {
        at.0.unbounded_shr(self.cluster_bits)
    }

    /// The numbers of the clusters that bytes are in; that of the one at their place where there are none.
    #[inline]
    pub const fn clusters_of(self, span: Span) -> RangeInclusive<u64> {
        let last = span.at.saturating_add(span.len.saturating_sub(1));
        RangeInclusive::new(self.cluster_of(span.at), self.cluster_of(last))
    }

    /// Where the cluster with this number starts, or `None` past 2^64.
    pub const fn host_offset(self, cluster: u64) -> Option<HostOffset> {
        match cluster.checked_mul(self.cluster_size) {
            Some(offset) => Some(HostOffset(offset)),
            None => None,
        }
    }

    /// The cluster that starts at an offset, on a boundary or not.
    #[inline]
    pub const fn cluster_at(self, at: HostOffset) -> Span {
        Span::new(at, self.cluster_size)
    }

    /// Bytes of an L2 entry: 8, or 16 with extended L2 entries.
    pub const fn l2_entry_len(self) -> u64 {
        self.l2_entry_len
    }

    /// Entries of an L2 table, which fills one cluster.
    pub const fn l2_entry_count(self) -> u64 {
        self.cluster_size / if self.extended_l2() { 16 } else { 8 }
    }

    /// Guest bytes that one L2 table maps: at most 2^57.
    pub const fn l2_coverage(self) -> u64 {
        self.l2_entry_count().saturating_mul(self.cluster_size)
    }

    /// Bytes of a subcluster.
    pub const fn subcluster_size(self) -> u64 {
        self.cluster_size / 32
    }

    /// L1 entries that a disk of `size` bytes needs, which is also the index of the first one for VM state.
    pub const fn l1_entries_for(self, size: u64) -> u64 {
        size.div_ceil(self.l2_coverage())
    }

    /// Where the guest range of an L1 entry starts, or `None` past 2^64.
    pub const fn l1_guest_offset(self, l1_index: u64) -> Option<GuestOffset> {
        match l1_index.checked_mul(self.l2_coverage()) {
            Some(offset) => Some(GuestOffset(offset)),
            None => None,
        }
    }

    /// Where the guest range of an L2 entry starts, or `None` past 2^64.
    pub const fn guest_offset(self, l1_index: u64, l2_index: u64) -> Option<GuestOffset> {
        match (self.l1_guest_offset(l1_index), l2_index.checked_mul(self.cluster_size)) {
            (Some(start), Some(offset)) => start.checked_add(offset),
            _ => None,
        }
    }

    /// Where a guest offset is found. All lengths are powers of two.
    #[inline]
    pub const fn place(self, at: GuestOffset) -> GuestPlace {
        let coverage = self.l2_coverage();
        let in_l2 = at.0 & coverage.saturating_sub(1);
        GuestPlace {
            l1_index: at.0.unbounded_shr(coverage.trailing_zeros()),
            in_l2,
            l2_index: in_l2.unbounded_shr(self.cluster_bits),
            in_cluster: in_l2 & self.cluster_size.saturating_sub(1),
        }
    }

    /// Clusters that `len` bytes fill, the last one perhaps partly.
    pub const fn clusters_for(self, len: u64) -> u64 {
        len.div_ceil(self.cluster_size)
    }
}

/// Where the tables have a guest offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GuestPlace {
    /// The index of the L1 entry.
    pub l1_index: u64,
    /// How far into what the L2 table maps it is.
    pub in_l2: u64,
    /// The index of the L2 entry.
    pub l2_index: u64,
    /// How far into the cluster it is.
    pub in_cluster: u64,
}

/// Bytes of a sector, in which QEMU counts disks and files, compressed entries their streams, and LUKS its offsets.
pub const SECTOR: u64 = 512;

/// The length of a disk of `size` bytes as QEMU has it: whole sectors; the rest is not there.
pub const fn whole_sectors(size: u64) -> u64 {
    size & !SECTOR.saturating_sub(1)
}

/// A count of the file as a length in memory; where it cannot be one, the longest.
pub fn to_usize(count: u64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

/// A length in memory as a count.
pub fn to_u64(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}
