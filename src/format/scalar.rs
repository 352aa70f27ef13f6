//! The kinds of numbers and byte strings that layouts are made of. A newtype's name tells `fields` how people
//! read it.

use std::fmt;

use binrw::{BinRead, BinWrite};
use serde::{Serialize, Serializer};

use crate::units::HostOffset;

/// What a field of a layout can be.
pub(super) trait Scalar {
    /// How many bytes it has on disk.
    const WIDTH: u64;
}

macro_rules! widths {
    ($($kind:ty: $width:expr;)*) => {
        $(impl Scalar for $kind {
            const WIDTH: u64 = $width;
        })*
    };
}
pub(super) use widths;

widths! {
    u8: 1;
    u16: 2;
    u32: 4;
    u64: 8;
    HostOffset: u64::WIDTH;
}

macro_rules! scalar {
    ($($(#[$doc:meta])* $name:ident($kind:ty);)*) => {$(
        $(#[$doc])*
        #[derive(
            Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, BinRead, BinWrite,
        )]
        #[brw(big)]
        pub struct $name(pub $kind);

        widths! { $name: <$kind>::WIDTH; }
    )*};
}

scalar! {
    /// A number that names a format.
    Magic(u32);
    /// A length in bytes.
    ByteSize(u64);
    /// A short length in bytes.
    ByteSize32(u32);
    /// The binary logarithm of the cluster size.
    ClusterBits(u32);
    /// The binary logarithm of a bitmap's granularity.
    GranularityBits(u8);
    /// A set of feature bits.
    FeatureBits(u64);
    /// Seconds since 1970, UTC.
    Seconds(u32);
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

/// Serializes as a byte string; serde has no arrays of over 32 elements.
struct Raw<'a>(&'a [u8]);

impl Serialize for Raw<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(self.0)
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
        }

        impl<const N: usize> Default for $name<N> {
            fn default() -> Self {
                Self([0; N])
            }
        }

        impl<const N: usize> Serialize for $name<N> {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.serialize_newtype_struct(stringify!($name), &Raw(&self.0))
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
