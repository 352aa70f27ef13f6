//! The values of rows, in text and in JSON.

use std::fmt;

use serde::{Serialize, Serializer};

use super::human::{Size, Timestamp};
use crate::format::mapping::{Subcluster, SubclusterBitmap};
use crate::format::{FieldValue, Style};
use crate::image::SnapshotNames;
use crate::text;
use crate::units::{Geometry, Tree};

/// A value of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value<'a> {
    /// Nothing stands there.
    None,
    /// A number on disk, and how people read it.
    Number(u64, Style),
    /// A 64-bit table entry: a string in JSON, since many readers lose bits above 2^53.
    Entry(u64),
    /// An offset that is derived: hex in text, a number in JSON.
    Offset(u64),
    /// Yes or no.
    Flag(bool),
    /// One of our own words.
    Word(&'static str),
    /// Several of them.
    Words(&'a [&'a str]),
    /// Text of the image.
    Text(&'a [u8]),
    /// Bytes of the image.
    Bytes(&'a [u8]),
    /// Which tree.
    Tree(Tree),
    /// A letter for each subcluster: `d` data, `z` zero, `.` unallocated, `!` both at once.
    Subclusters(SubclusterBitmap),
}

impl<'a> From<&'a FieldValue> for Value<'a> {
    fn from(value: &'a FieldValue) -> Self {
        match value {
            FieldValue::Number(number, style) => Self::Number(*number, *style),
            FieldValue::Bytes(bytes) => Self::Bytes(bytes),
            FieldValue::Chars(chars) => Self::Text(crate::format::scalar::text(chars)),
        }
    }
}

/// A value for people, as wide as its field.
pub(super) struct Shown<'a> {
    pub(super) value: Value<'a>,
    pub(super) width: u64,
    pub(super) names: &'a SnapshotNames,
}

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.value {
            Value::None => Ok(()),
            Value::Number(number, style) => self.number(f, number, style),
            Value::Entry(entry) => write!(f, "{entry:#018x}"),
            Value::Offset(offset) => write!(f, "{offset:#x}"),
            Value::Flag(flag) => f.write_str(if flag { "yes" } else { "no" }),
            Value::Word(word) => f.write_str(word),
            Value::Words(words) => {
                for (n, word) in words.iter().enumerate() {
                    f.write_str(if n == 0 { "" } else { ", " })?;
                    f.write_str(word)?;
                }
                Ok(())
            }
            Value::Text(name) => write!(f, "\"{}\"", text::escape(name)),
            Value::Bytes(bytes) => bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}")),
            Value::Tree(tree) => self.names.words(tree).fmt(f),
            Value::Subclusters(bitmap) => Letters(bitmap).fmt(f),
        }
    }
}

impl Shown<'_> {
    fn number(&self, f: &mut fmt::Formatter<'_>, number: u64, style: Style) -> fmt::Result {
        match style {
            Style::Number => write!(f, "{number}"),
            Style::Hex | Style::Bits => match self.width {
                1 => write!(f, "{number:#04x}"),
                2 => write!(f, "{number:#06x}"),
                4 => write!(f, "{number:#010x}"),
                _ => write!(f, "{number:#018x}"),
            },
            Style::Size => write!(f, "{} ({number})", Size(number)),
            Style::Log2 => match u32::try_from(number).ok().and_then(|bits| 1_u64.checked_shl(bits)) {
                Some(size) => write!(f, "{number} ({})", Size(size)),
                None => write!(f, "{number}"),
            },
            Style::Seconds => write!(f, "{number} ({})", Timestamp::new(number, 0)),
        }
    }
}

impl Serialize for Value<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match *self {
            Self::None => serializer.serialize_none(),
            Self::Number(number, _) | Self::Offset(number) => serializer.serialize_u64(number),
            Self::Entry(entry) => serializer.collect_str(&format_args!("{entry:#x}")),
            Self::Flag(flag) => serializer.serialize_bool(flag),
            Self::Word(word) => serializer.serialize_str(word),
            Self::Words(words) => words.serialize(serializer),
            Self::Text(name) => serializer.serialize_str(&text::escape(name)),
            Self::Bytes(bytes) => serializer.collect_str(&Hex(bytes)),
            Self::Tree(tree) => tree.serialize(serializer),
            Self::Subclusters(bitmap) => serializer.collect_str(&Letters(bitmap)),
        }
    }
}

/// A subcluster bitmap as 32 letters.
struct Letters(SubclusterBitmap);

impl fmt::Display for Letters {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (0..Geometry::SUBCLUSTERS).try_for_each(|index| {
            f.write_str(match self.0.get(index) {
                Subcluster::Unallocated => ".",
                Subcluster::Allocated => "d",
                Subcluster::Zero => "z",
                Subcluster::Invalid => "!",
            })
        })
    }
}

/// Bytes as hex digits.
pub(super) struct Hex<'a>(pub(super) &'a [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// The bytes of a text that cannot be shown as it is: its JSON twin key holds them.
pub(super) fn unclean(name: &[u8]) -> Option<Hex<'_>> {
    (!text::is_clean(name)).then_some(Hex(name))
}
