//! What a rule says when it fires: where, what was found, what was wanted, and whom it hurts.

use std::borrow::Cow;
use std::fmt;

use serde::{Serialize, Serializer};

use super::{Rule, Severity};
use crate::text;
use crate::units::{GuestSpan, Span, Tree};

/// The structure of the file that a finding or a field belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
    /// The name that reports use, and the part before the dot of [`Rule::fields`].
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

impl Serialize for Structure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// A range of guest offsets that a finding concerns.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Guest {
    /// In which tree.
    pub tree: Tree,
    /// Which bytes of it.
    #[serde(flatten)]
    pub span: GuestSpan,
}

/// A value that a finding shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// A number, shown in decimal.
    Number(u64),
    /// An offset, a mask or a table entry, shown in hex.
    Hex(u64),
    /// Words; text of the image among them is escaped where it is shown.
    Text(Cow<'static, str>),
    /// So many more, of which nothing else is kept.
    More(u64),
}

impl From<u64> for Evidence {
    fn from(value: u64) -> Self {
        Self::Number(value)
    }
}

impl From<u32> for Evidence {
    fn from(value: u32) -> Self {
        Self::Number(value.into())
    }
}

impl From<&'static str> for Evidence {
    fn from(text: &'static str) -> Self {
        Self::Text(Cow::Borrowed(text))
    }
}

impl From<String> for Evidence {
    fn from(text: String) -> Self {
        Self::Text(Cow::Owned(text))
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Number(value) => write!(f, "{value}"),
            Self::Hex(value) => write!(f, "{value:#x}"),
            // Whoever judged has escaped and shortened names; nothing gets through here that a terminal must not see.
            Self::Text(text) => f.write_str(&text::escape(text.as_bytes())),
            Self::More(count) => write!(f, "{count} more, not listed one by one"),
        }
    }
}

impl Serialize for Evidence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Number(value) => serializer.serialize_u64(*value),
            other => serializer.collect_str(other),
        }
    }
}

/// A breach of a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The rule.
    pub rule: &'static Rule,
    /// At most the rule's own severity.
    pub severity: Severity,
    /// What it was found in.
    pub structure: Structure,
    /// The bytes of the file that are wrong, where there are such bytes.
    pub at: Option<Span>,
    /// What stands there.
    pub found: Evidence,
    /// What should.
    pub wanted: Evidence,
    /// Whether only QEMU's own limit is passed, and the specification allows it.
    pub qemu_limit: bool,
    /// The guest data that it hurts.
    pub guest: Option<Guest>,
    /// How many breaches it stands for.
    pub consequences: u64,
}

impl Finding {
    /// A finding at the rule's own severity.
    pub fn new(
        rule: &'static Rule,
        structure: Structure,
        at: Span,
        found: impl Into<Evidence>,
        wanted: impl Into<Evidence>,
    ) -> Self {
        Self {
            rule,
            severity: rule.severity,
            structure,
            at: Some(at),
            found: found.into(),
            wanted: wanted.into(),
            qemu_limit: false,
            guest: None,
            consequences: 1,
        }
    }

    /// The same, no worse than `severity`.
    #[must_use]
    pub fn at_most(mut self, severity: Severity) -> Self {
        self.severity = self.severity.min(severity);
        self
    }

    /// The same, marked as a limit of QEMU's own.
    #[must_use]
    pub fn only_qemu(mut self) -> Self {
        self.qemu_limit = true;
        self
    }

    /// The same, with the guest range that it hurts.
    #[must_use]
    pub fn hurting(mut self, guest: Guest) -> Self {
        self.guest = Some(guest);
        self
    }

    /// The rule and the evidence as one sentence.
    pub fn message(&self) -> String {
        format!("{}; found {}, wanted {}", self.rule.title, self.found, self.wanted)
    }
}
