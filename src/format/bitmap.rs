//! Persistent dirty bitmaps: entries of the bitmap directory, each on an 8-byte boundary, and of their tables.

use binrw::{BinRead, BinWrite};

use super::scalar::GranularityBits;
use crate::units::{Geometry, HostOffset};

/// The flags of a bitmap.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BinRead, BinWrite)]
#[brw(big)]
pub struct BitmapFlags(pub u32);

super::scalar::styles! { BitmapFlags(u32): Bits; }

impl BitmapFlags {
    /// It was being written and was not saved: it can't be trusted.
    pub const IN_USE: u32 = 1;
    /// It records each write to the guest's disk.
    pub const AUTO: u32 = 2;
    /// A reader that does not know the extra data may still use it.
    pub const EXTRA_DATA_COMPATIBLE: u32 = 4;
    /// Flags that must be zero.
    pub const RESERVED: u32 = !7;

    /// Whether a flag is set.
    pub const fn has(self, flag: u32) -> bool {
        self.0 & flag != 0
    }

    /// The names of the flags that are set, as QEMU gives them.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        [
            (Self::IN_USE, "in-use"),
            (Self::AUTO, "auto"),
            (Self::EXTRA_DATA_COMPATIBLE, "extra-data-compatible"),
        ]
        .into_iter()
        .filter(move |(flag, _)| self.has(*flag))
        .map(|(_, name)| name)
    }
}

/// `type` of a dirty tracking bitmap, the only one that there is.
pub const DIRTY_TRACKING: u8 = 1;

super::layouts! {
    /// Where each field of a bitmap directory entry's fixed part stands.
    pub mod field;

    /// The fixed part of one bitmap directory entry; extra data, the name and padding follow.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BinRead, BinWrite)]
    #[brw(big)]
    pub struct BitmapHead {
        /// Where the bitmap's table starts; on a cluster boundary.
        pub bitmap_table_offset: HostOffset,
        /// Entries of that table.
        pub bitmap_table_size: u32,
        /// What state it is in.
        pub flags: BitmapFlags,
        /// [`DIRTY_TRACKING`].
        pub r#type: u8,
        /// The binary logarithm of the guest bytes that one bit stands for.
        pub granularity_bits: GranularityBits,
        /// Bytes of the name.
        pub name_size: u16,
        /// Bytes of extra data.
        pub extra_data_size: u32,
    }

    BitmapHead: 24
}

impl BitmapHead {
    /// Bytes of the whole entry without its padding: at most 2^33.
    pub fn entry_len(&self) -> u64 {
        let sizes = [self.extra_data_size.into(), self.name_size.into()];
        sizes.into_iter().fold(<Self as super::Layout>::LEN, u64::saturating_add)
    }

    /// Bits for a disk of `len` bytes; `None` where a bit stands for 2^64 or more.
    pub fn bit_count_for(&self, len: u64) -> Option<u64> {
        let granularity = 1_u64.checked_shl(self.granularity_bits.0.into())?;
        Some(len.div_ceil(granularity))
    }

    /// Entries that the table needs for a disk of `len` bytes, which QEMU counts in whole sectors; `None` where a bit
    /// stands for 2^64 or more.
    pub fn table_size_for(&self, len: u64, geometry: Geometry) -> Option<u64> {
        Some(geometry.clusters_for(self.bit_count_for(len)?.div_ceil(8)))
    }
}

/// An entry of a bitmap table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BitmapTableEntry(pub u64);

/// What a bitmap table entry says of its part of the bitmap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BitmapData {
    /// All bits are 0.
    Zeroes,
    /// All bits are 1.
    Ones,
    /// The bits are in this cluster.
    Serialized(HostOffset),
}

impl BitmapTableEntry {
    /// Bits that must be zero.
    pub const RESERVED: u64 = 0xff00_0000_0000_01fe;
    const OFFSET_MASK: u64 = 0x00ff_ffff_ffff_fe00;

    /// What it says.
    pub const fn data(self) -> BitmapData {
        match (self.0 & Self::OFFSET_MASK, self.0 & 1) {
            (0, 0) => BitmapData::Zeroes,
            (0, _) => BitmapData::Ones,
            (offset, _) => BitmapData::Serialized(HostOffset(offset)),
        }
    }

    /// The reserved bits that are set.
    pub const fn reserved(self) -> u64 {
        self.0 & Self::RESERVED
    }

    /// Whether bit 0, which means all ones, stands beside an offset.
    pub const fn is_ambiguous(self) -> bool {
        self.0 & 1 != 0 && self.0 & Self::OFFSET_MASK != 0
    }
}
