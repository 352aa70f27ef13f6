//! QEMU's own limits, with their names in its source. The specification sets none of them: what is beyond one, other
//! readers may use.

use std::ops::RangeInclusive;

/// The largest `cluster_bits`: clusters of 2 MiB (block/qcow2.h, `MAX_CLUSTER_BITS`).
pub const MAX_CLUSTER_BITS: u32 = 21;
/// Entries of the longest L1 table, which has 32 MiB (block/qcow2.h, `QCOW_MAX_L1_SIZE`).
pub const MAX_L1_ENTRIES: u32 = (32 << 20) / 8;
/// Bytes of the longest refcount table (block/qcow2.h, `QCOW_MAX_REFTABLE_SIZE`).
pub const MAX_REFCOUNT_TABLE_LEN: u64 = 8 << 20;
/// The largest number of snapshots (block/qcow2.h, `QCOW_MAX_SNAPSHOTS`).
pub const MAX_SNAPSHOTS: u32 = 65_536;
/// Bytes of the longest snapshot table (block/qcow2.h, `QCOW_MAX_SNAPSHOTS_SIZE`).
pub const MAX_SNAPSHOT_TABLE_LEN: u64 = 64 << 20;
/// Bytes of the longest extra data of a snapshot (block/qcow2.h, `QCOW_MAX_SNAPSHOT_EXTRA_DATA`).
pub const MAX_SNAPSHOT_EXTRA_LEN: u32 = 1024;
/// The largest number of bitmaps (block/qcow2.h, `QCOW2_MAX_BITMAPS`).
pub const MAX_BITMAPS: u32 = 65_535;
/// Bytes of the longest bitmap directory (block/qcow2.h, `QCOW2_MAX_BITMAP_DIRECTORY_SIZE`).
pub const MAX_BITMAP_DIRECTORY_LEN: u64 = 1024 * 65_535;
/// Entries of the longest bitmap table (block/qcow2-bitmap.c, `BME_MAX_TABLE_SIZE`).
pub const MAX_BITMAP_TABLE_ENTRIES: u64 = 0x800_0000;
/// Bytes of the longest bitmap's data (block/qcow2-bitmap.c, `BME_MAX_PHYS_SIZE`).
pub const MAX_BITMAP_DATA_LEN: u64 = 512 << 20;
/// Bytes of the longest name of a bitmap (block/qcow2-bitmap.c, `BME_MAX_NAME_SIZE`).
pub const MAX_BITMAP_NAME_LEN: u16 = 1023;
/// What `granularity_bits` may be: granularities from 512 bytes to 2 GiB (block/qcow2-bitmap.c,
/// `BME_MIN_GRANULARITY_BITS` and `BME_MAX_GRANULARITY_BITS`).
pub const BITMAP_GRANULARITY_BITS: RangeInclusive<u8> = 9..=31;
/// Bytes of the longest name of a backing format, for which there is a buffer of 16 (block/qcow2.c,
/// `qcow2_read_extensions`).
pub const MAX_FORMAT_NAME_LEN: u32 = 15;
/// Where the largest file ends; reading behind it fails (include/block/block-common.h, `BDRV_MAX_LENGTH`).
pub const MAX_FILE_LEN: u64 = 0x7fff_ffff_c000_0000;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Limits;

    /// What QEMU takes must not be cut by the limits that nobody asked to change.
    #[test]
    fn the_default_limits_take_what_qemu_takes() {
        let limits = Limits::DEFAULT;
        assert_eq!(limits.snapshots, u64::from(MAX_SNAPSHOTS));
        assert_eq!(limits.bitmaps, u64::from(MAX_BITMAPS));
        assert!(limits.extension_area_len >= 1 << MAX_CLUSTER_BITS);
        assert!(limits.decoded_cluster_len >= 1 << MAX_CLUSTER_BITS);
        assert!(limits.entry_len >= u64::from(MAX_SNAPSHOT_EXTRA_LEN) + 2 * 65_535);
    }
}
