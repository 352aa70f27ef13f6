//! What a field of a layout is, and what it holds.

use crate::units::{HostOffset, Span};

/// How a number on disk is best read by people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// A count: decimal.
    Number,
    /// An offset, a magic or a table entry: hex, as wide as the field.
    Hex,
    /// A length in bytes: decimal, with its binary unit.
    Size,
    /// The binary logarithm of a length in bytes.
    Log2,
    /// Flags: the numbers of the bits that are set.
    Bits,
    /// Seconds since 1970.
    Seconds,
}

/// The value of a field.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FieldValue {
    /// A number.
    Number(u64, Style),
    /// Bytes without more meaning.
    Bytes(Vec<u8>),
    /// Text, padded with zero bytes.
    Chars(Vec<u8>),
}

/// A field of a structure: what it is called, and where it stands. Every layout has a constant for each of its fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Field {
    /// The specification's name for it.
    pub name: &'static str,
    /// Bytes from the start of the structure.
    pub offset: u64,
    /// How many bytes it has.
    pub width: u64,
}

impl Field {
    /// The offset behind it, from the start of the structure.
    pub const fn end(self) -> u64 {
        self.offset.saturating_add(self.width)
    }

    /// Its bytes in a structure that starts at `base`.
    pub const fn at(self, base: HostOffset) -> Span {
        Span::new(base.saturating_add(self.offset), self.width)
    }
}

/// Bytes from the first field to the end of the last.
pub(super) const fn extent(fields: &[Field]) -> u64 {
    match fields {
        [only] => only.width,
        [first, .., last] => last.end().saturating_sub(first.offset),
        [] => 0,
    }
}
