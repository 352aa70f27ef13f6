//! The kinds of numbers and byte strings that layouts are made of, and how people read them.

use std::fmt;

use binrw::{BinRead, BinWrite};

use super::{FieldValue, Style};
use crate::units::HostOffset;

/// What a field of a layout can be.
pub(super) trait Scalar {
    /// How many bytes it has on disk.
    const WIDTH: u64;

    /// What it holds.
    fn value(&self) -> FieldValue;
}

macro_rules! numbers {
    ($($kind:ty: $width:literal;)*) => {$(
        impl Scalar for $kind {
            const WIDTH: u64 = $width;

            fn value(&self) -> FieldValue {
                FieldValue::Number((*self).into(), Style::Number)
            }
        }
    )*};
}

numbers! {
    u8: 1;
    u16: 2;
    u32: 4;
    u64: 8;
}

/// Says how people read a newtype of a number.
macro_rules! styles {
    ($($name:ident($kind:ty): $style:ident;)*) => {$(
        impl $crate::format::scalar::Scalar for $name {
            const WIDTH: u64 = <$kind as $crate::format::scalar::Scalar>::WIDTH;

            fn value(&self) -> $crate::format::FieldValue {
                $crate::format::FieldValue::Number(self.0.into(), $crate::format::Style::$style)
            }
        }
    )*};
}
pub(super) use styles;

styles! { HostOffset(u64): Hex; }

macro_rules! scalar {
    ($($(#[$doc:meta])* $name:ident($kind:ty): $style:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, BinRead, BinWrite)]
        #[brw(big)]
        pub struct $name(pub $kind);

        styles! { $name($kind): $style; }
    )*};
}

scalar! {
    /// A number that names a format.
    Magic(u32): Hex;
    /// A length in bytes.
    ByteSize(u64): Size;
    /// A short length in bytes.
    ByteSize32(u32): Size;
    /// The binary logarithm of the cluster size.
    ClusterBits(u32): Log2;
    /// The binary logarithm of a bitmap's granularity.
    GranularityBits(u8): Log2;
    /// A set of feature bits.
    FeatureBits(u64): Bits;
    /// Seconds since 1970, UTC.
    Seconds(u32): Seconds;
}

impl FeatureBits {
    /// Whether the bit with this number is set.
    pub const fn has(self, bit: u32) -> bool {
        self.0.unbounded_shr(bit) & 1 == 1
    }
}

impl fmt::Display for Magic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#010x}", self.0)
    }
}

macro_rules! byte_string {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, BinRead, BinWrite)]
        #[brw(big)]
        pub struct $name<const N: usize>(pub [u8; N]);

        impl<const N: usize> Scalar for $name<N> {
            #[expect(clippy::as_conversions, reason = "a usize fits, and a constant can't have it from `to_u64`")]
            const WIDTH: u64 = N as u64;

            fn value(&self) -> FieldValue {
                FieldValue::$name(self.0.to_vec())
            }
        }

        impl<const N: usize> Default for $name<N> {
            fn default() -> Self {
                Self([0; N])
            }
        }
    )*};
}

byte_string! {
    /// Bytes without more meaning.
    Bytes;
    /// Text, padded with zero bytes.
    Chars;
}

impl<const N: usize> Chars<N> {
    /// The bytes before the first zero byte.
    pub fn text(&self) -> &[u8] {
        text(&self.0)
    }

    /// Whether a zero byte ends it.
    pub fn is_terminated(&self) -> bool {
        self.0.contains(&0)
    }
}

/// The bytes of a padded string before its first zero byte.
pub fn text(padded: &[u8]) -> &[u8] {
    padded.split(|byte| *byte == 0).next().unwrap_or_default()
}
