//! Header extensions: behind the header, each on an 8-byte boundary.

use binrw::{BinRead, BinWrite};

use super::scalar::Magic;
use crate::units::HostOffset;

/// Ends the list.
pub const END: Magic = Magic(0x0000_0000);
/// The backing file's format, as a string.
pub const BACKING_FORMAT: Magic = Magic(0xe279_2aca);
/// The feature name table.
pub const FEATURE_TABLE: Magic = Magic(0x6803_f857);
/// Where the bitmap directory is.
pub const BITMAPS: Magic = Magic(0x2385_2875);
/// Where the LUKS header is.
pub const CRYPTO: Magic = Magic(0x0537_be77);
/// The external data file's name, as a string.
pub const DATA_FILE: Magic = Magic(0x4441_5441);

/// The name of an extension, or `None` for one that the specification does not define.
pub const fn name(magic: Magic) -> Option<&'static str> {
    match magic {
        END => Some("end"),
        BACKING_FORMAT => Some("backing file format"),
        FEATURE_TABLE => Some("feature name table"),
        BITMAPS => Some("bitmaps"),
        CRYPTO => Some("full disk encryption header pointer"),
        DATA_FILE => Some("external data file name"),
        _ => None,
    }
}

super::layouts! {
    /// Where each field of an extension's fixed part stands.
    pub mod field;

    /// The fixed part of each extension; `length` bytes and padding to a multiple of 8 follow.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BinRead, BinWrite)]
    #[brw(big)]
    pub struct ExtensionHead {
        /// What it is.
        pub magic: Magic,
        /// Bytes of its data, without the padding.
        pub length: u32,
    }

    ExtensionHead: 8
}

super::layouts! {
    /// Where each field of the bitmaps extension's data stands.
    pub mod bitmaps_field;

    /// The data of the bitmaps extension.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BinRead, BinWrite)]
    #[brw(big)]
    pub struct BitmapsExtension {
        /// Entries of the bitmap directory; at least 1.
        pub nb_bitmaps: u32,
        /// Zero.
        pub reserved: u32,
        /// Bytes of the bitmap directory.
        pub bitmap_directory_size: u64,
        /// Where the bitmap directory starts; on a cluster boundary.
        pub bitmap_directory_offset: HostOffset,
    }

    BitmapsExtension: 24
}

super::layouts! {
    /// Where each field of the full disk encryption header pointer stands.
    pub mod crypto_field;

    /// The data of the full disk encryption header pointer.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, BinRead, BinWrite)]
    #[brw(big)]
    pub struct CryptoExtension {
        /// Where the encryption header starts; on a cluster boundary.
        pub offset: HostOffset,
        /// Bytes of the encryption header.
        pub length: u64,
    }

    CryptoExtension: 16
}
