//! The header, at offset 0 of the file.

use binrw::{BinRead, BinWrite};

use super::scalar::{ByteSize, Bytes, ClusterBits, FeatureBits, Magic};
use crate::units::HostOffset;

/// The four bytes that every qcow file starts with: `QFI` and 0xfb.
pub const MAGIC: Magic = Magic(0x5146_49fb);

/// `crypt_method` of an image that is not encrypted.
pub const CRYPT_NONE: u32 = 0;
/// `crypt_method` of the old AES-CBC encryption.
pub const CRYPT_AES: u32 = 1;
/// `crypt_method` of LUKS encryption.
pub const CRYPT_LUKS: u32 = 2;

/// `compression_type` of raw deflate streams.
pub const COMPRESSION_ZLIB: u8 = 0;
/// `compression_type` of Zstandard frames.
pub const COMPRESSION_ZSTD: u8 = 1;

/// The name of a `crypt_method`; `None` for one that the specification does not define.
pub const fn crypt_method_name(number: u32) -> Option<&'static str> {
    match number {
        CRYPT_NONE => Some("none"),
        CRYPT_AES => Some("aes"),
        CRYPT_LUKS => Some("luks"),
        _ => None,
    }
}

/// The name of a `compression_type`; `None` for one that the specification does not define.
pub const fn compression_type_name(number: u8) -> Option<&'static str> {
    match number {
        COMPRESSION_ZLIB => Some("zlib"),
        COMPRESSION_ZSTD => Some("zstd"),
        _ => None,
    }
}

/// Bytes of the longest backing file name.
pub const MAX_BACKING_NAME_LEN: u32 = 1023;

super::layouts! {
    /// Where each field of the header stands.
    pub mod field;

    /// The fields that both versions have.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BinRead, BinWrite)]
    #[brw(big)]
    pub struct HeaderV2 {
        /// [`MAGIC`].
        pub magic: Magic,
        /// 2 or 3.
        pub version: u32,
        /// Where the backing file's name starts; 0 if there is none.
        pub backing_file_offset: HostOffset,
        /// Bytes of the backing file's name; at most 1023.
        pub backing_file_size: u32,
        /// The binary logarithm of the cluster size; at least 9.
        pub cluster_bits: ClusterBits,
        /// Bytes of the guest's disk.
        pub size: ByteSize,
        /// 0 none, 1 AES, 2 LUKS.
        pub crypt_method: u32,
        /// Entries of the active L1 table.
        pub l1_size: u32,
        /// Where the active L1 table starts; on a cluster boundary.
        pub l1_table_offset: HostOffset,
        /// Where the refcount table starts; on a cluster boundary.
        pub refcount_table_offset: HostOffset,
        /// Clusters of the refcount table.
        pub refcount_table_clusters: u32,
        /// Entries of the snapshot table.
        pub nb_snapshots: u32,
        /// Where the snapshot table starts; on a cluster boundary.
        pub snapshots_offset: HostOffset,
    }

    /// The fields that version 3 adds, behind [`HeaderV2`].
    #[derive(Clone, Copy, Debug, PartialEq, Eq, BinRead, BinWrite)]
    #[brw(big)]
    pub struct HeaderV3 {
        /// Features that a reader must know to read the image.
        pub incompatible_features: FeatureBits,
        /// Features that a reader may ignore.
        pub compatible_features: FeatureBits,
        /// Features that a writer must clear if it does not know them.
        pub autoclear_features: FeatureBits,
        /// The binary logarithm of the width of a refcount in bits; at most 6.
        pub refcount_order: u32,
        /// Bytes of the whole header; the extensions start behind it.
        pub header_length: u32,
    }

    /// The additional fields that a version 3 header may have, behind [`HeaderV3`].
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BinRead, BinWrite)]
    #[brw(big)]
    pub struct HeaderAdditional {
        /// 0 zlib, 1 zstd.
        pub compression_type: u8,
        /// Zero.
        pub padding: Bytes<7>,
    }

    HeaderV2: 72, HeaderV3: 32, HeaderAdditional: 8
}

impl Default for HeaderV3 {
    /// What an image of version 2, which has none of these fields, means by their absence.
    fn default() -> Self {
        Self {
            incompatible_features: FeatureBits(0),
            compatible_features: FeatureBits(0),
            autoclear_features: FeatureBits(0),
            refcount_order: 4,
            header_length: 72,
        }
    }
}
