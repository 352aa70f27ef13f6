//! What the reader is asked to do with an input, and within which limits.

use qcow2_inspect::Limits;
use qcow2_inspect::report::{self, TextOptions};

/// The limits that inputs are exercised with: the defaults, with fewer findings kept one by one, fewer tables read
/// again and less decompressed, so that a small hostile input passes these limits too.
pub const LIMITS: Limits =
    Limits { findings_per_rule: 20, odd_tables: 4, decoded_bytes: 16 << 20, ..Limits::DEFAULT };

/// What a user can ask for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Nothing written down: the walk and all rules alone.
    Walk,
    /// `dump`.
    Text,
    /// `dump --hex`.
    Hex,
    /// `dump --format json`.
    Json,
    /// `dump --format jsonl`.
    JsonLines,
    /// `info`.
    InfoText,
    /// `info --format json`.
    InfoJson,
    /// `check`.
    CheckText,
    /// `check --all --deep --format json`.
    CheckJson,
    /// `map`.
    MapText,
    /// `map --format json`.
    MapJson,
    /// `map --format jsonl`.
    MapLines,
    /// `bitmap`.
    BitmapText,
    /// `bitmap --format json`.
    BitmapJson,
    /// `locate`, once for the guest and once for the file.
    LocateText,
    /// `audit`.
    AuditText,
    /// `audit --format json`.
    AuditJson,
}

impl Format {
    /// Those that write something down.
    pub const WRITTEN: [Self; 16] = [
        Self::Text,
        Self::Hex,
        Self::Json,
        Self::JsonLines,
        Self::InfoText,
        Self::InfoJson,
        Self::CheckText,
        Self::CheckJson,
        Self::MapText,
        Self::MapJson,
        Self::MapLines,
        Self::BitmapText,
        Self::BitmapJson,
        Self::LocateText,
        Self::AuditText,
        Self::AuditJson,
    ];

    /// How it is written down.
    pub fn written(self) -> report::Format {
        match self {
            Self::Json
            | Self::InfoJson
            | Self::CheckJson
            | Self::MapJson
            | Self::BitmapJson
            | Self::AuditJson => report::Format::Json,
            Self::JsonLines | Self::MapLines => report::Format::JsonLines,
            _ => report::Format::Text(TextOptions::default()),
        }
    }

    /// Whether it is of the guest's view.
    pub fn is_of_guest(self) -> bool {
        matches!(
            self,
            Self::MapText
                | Self::MapJson
                | Self::MapLines
                | Self::BitmapText
                | Self::BitmapJson
                | Self::LocateText
        )
    }

    /// What its findings are worth beside those of another run.
    pub fn tells(self) -> Tells {
        match self {
            Self::Walk | Self::Text | Self::Hex | Self::Json | Self::JsonLines => Tells::Places,
            Self::CheckText | Self::CheckJson | Self::AuditText | Self::AuditJson => Tells::Cuts,
            Self::InfoText
            | Self::InfoJson
            | Self::MapText
            | Self::MapJson
            | Self::MapLines
            | Self::BitmapText
            | Self::BitmapJson
            | Self::LocateText => Tells::Nothing,
        }
    }
}

/// What the findings of a format are worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tells {
    /// None are handed back.
    Nothing,
    /// What cut the work is among them. The others need not be those of another run: one fault is told of by the rule
    /// that says most, and neighbours are one finding.
    Cuts,
    /// Each stands where it stands in any other run.
    Places,
}
