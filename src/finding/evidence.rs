//! The values that a finding shows.

use std::borrow::Cow;
use std::fmt;

use serde::{Serialize, Serializer};

use crate::{Limit, text};

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
    /// A limit that is spent, with its value.
    Spent(Limit, u64),
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
            Self::Spent(limit, value) => write!(f, "{limit} {value} spent"),
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
