//! The structures of an image, by one name each.

use std::fmt;

use serde::Serialize;

/// The structure of the file that a finding or a field belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "report", derive(schemars::JsonSchema))]
#[serde(rename_all = "kebab-case")]
pub enum Structure {
    /// The whole file.
    File,
    /// The header's fixed fields.
    Header,
    /// The list of header extensions, or one whose payload has no structure that we know.
    Extension,
    /// One row of the feature name table.
    FeatureName,
    /// The bitmaps extension's payload.
    BitmapsExtension,
    /// The full disk encryption extension's payload.
    CryptoExtension,
    /// The backing file name.
    BackingFile,
    /// The external data file name.
    DataFile,
    /// The LUKS partition header.
    Luks,
    /// One key slot of the LUKS header.
    LuksSlot,
    /// The refcount table.
    RefcountTable,
    /// A refcount block.
    RefcountBlock,
    /// An L1 table.
    L1Table,
    /// An L2 table.
    L2Table,
    /// A snapshot table entry.
    Snapshot,
    /// A bitmap directory entry.
    Bitmap,
    /// A bitmap table.
    BitmapTable,
}

impl Structure {
    /// The name that reports use, and the part before the dot of a [`Judged`](super::Judged).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::File => "file",
            Self::Header => "header",
            Self::Extension => "extension",
            Self::FeatureName => "feature-name",
            Self::BitmapsExtension => "bitmaps-extension",
            Self::CryptoExtension => "crypto-extension",
            Self::BackingFile => "backing-file",
            Self::DataFile => "data-file",
            Self::Luks => "luks",
            Self::LuksSlot => "luks-slot",
            Self::RefcountTable => "refcount-table",
            Self::RefcountBlock => "refcount-block",
            Self::L1Table => "l1-table",
            Self::L2Table => "l2-table",
            Self::Snapshot => "snapshot",
            Self::Bitmap => "bitmap",
            Self::BitmapTable => "bitmap-table",
        }
    }
}

impl fmt::Display for Structure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
