//! Entries of the snapshot table, each on an 8-byte boundary: a fixed part, extra data, an id and a name.

use binrw::{BinRead, BinWrite};

use super::scalar::{ByteSize, ByteSize32, Seconds};
use crate::units::HostOffset;

super::layouts! {
    /// Where each field of a snapshot table entry's fixed part stands.
    pub mod field;

    /// The fixed part of one snapshot table entry.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BinRead, BinWrite)]
    #[brw(big)]
    pub struct SnapshotHead {
        /// Where the snapshot's L1 table starts; on a cluster boundary.
        pub l1_table_offset: HostOffset,
        /// Entries of that table.
        pub l1_size: u32,
        /// Bytes of the id.
        pub id_str_size: u16,
        /// Bytes of the name.
        pub name_size: u16,
        /// When it was taken: seconds since 1970.
        pub date_sec: Seconds,
        /// When it was taken: nanoseconds of that second.
        pub date_nsec: u32,
        /// How long the guest had run, in nanoseconds.
        pub vm_clock_nsec: u64,
        /// Bytes of VM state, unless the extra data has a 64-bit field for it.
        pub vm_state_size: ByteSize32,
        /// Bytes of extra data.
        pub extra_data_size: u32,
    }

    SnapshotHead: 40
}

impl SnapshotHead {
    /// Bytes of the whole entry without its padding: at most 2^33.
    pub fn entry_len(&self) -> u64 {
        let sizes = [self.extra_data_size.into(), self.id_str_size.into(), self.name_size.into()];
        sizes.into_iter().fold(<Self as super::Layout>::LEN, u64::saturating_add)
    }
}

super::layouts! {
    /// Where each field of a snapshot's extra data stands.
    pub mod extra_field;

    /// The extra data that the specification defines; an entry may have less of it, or more behind it.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, BinRead, BinWrite)]
    #[brw(big)]
    pub struct SnapshotExtra {
        /// Bytes of VM state.
        pub vm_state_size_large: ByteSize,
        /// Bytes of the guest's disk when the snapshot was taken.
        pub disk_size: ByteSize,
        /// The instruction count when it was taken; all ones if there is none.
        pub icount: u64,
    }

    SnapshotExtra: 24
}

/// `icount` of a snapshot without an instruction count.
pub const NO_ICOUNT: u64 = u64::MAX;
