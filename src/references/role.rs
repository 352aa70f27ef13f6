//! What bytes of the file are used for, by one name each.

use std::fmt;

use serde::{Serialize, Serializer};

/// What bytes of the file are to a pointer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Role {
    /// The header.
    Header,
    /// The header extensions.
    HeaderExtensions,
    /// The backing file's name.
    BackingFileName,
    /// An L1 table.
    L1Table,
    /// An L2 table.
    L2Table,
    /// The refcount table.
    RefcountTable,
    /// A refcount block.
    RefcountBlock,
    /// The snapshot table.
    SnapshotTable,
    /// The LUKS header.
    Luks,
    /// The bitmap directory.
    BitmapDirectory,
    /// The table of the bitmap with this index.
    BitmapTable(u32),
    /// Data of the bitmap with this index.
    BitmapData(u32),
    /// Guest data.
    Data,
    /// Room kept for guest data.
    KeptForData,
    /// Compressed guest data.
    Compressed,
}

impl Role {
    /// Its name, whatever bitmap it belongs to.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::HeaderExtensions => "header extensions",
            Self::BackingFileName => "backing file name",
            Self::L1Table => "L1 table",
            Self::L2Table => "L2 table",
            Self::RefcountTable => "refcount table",
            Self::RefcountBlock => "refcount block",
            Self::SnapshotTable => "snapshot table",
            Self::Luks => "LUKS header",
            Self::BitmapDirectory => "bitmap directory",
            Self::BitmapTable(_) => "bitmap table",
            Self::BitmapData(_) => "bitmap data",
            Self::Data => "guest data",
            Self::KeptForData => "room kept for guest data",
            Self::Compressed => "compressed cluster",
        }
    }
}

/// As it is called in a sentence that goes on with the guest range and the tree.
impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BitmapTable(index) => write!(f, "table of bitmap {index}"),
            Self::BitmapData(index) => write!(f, "data of bitmap {index}"),
            Self::Data => f.write_str("data"),
            Self::Compressed => f.write_str("compressed data"),
            role => f.write_str(role.as_str()),
        }
    }
}

impl Serialize for Role {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}
