//! What the bytes of a qcow2 file mean: fixed layouts as binrw derives, table entries as newtypes with named
//! bits. No input or output happens here, and nothing is judged.
#![warn(clippy::arithmetic_side_effects)]

pub mod bitmap;
pub mod extension;
pub mod features;
mod fields;
pub mod foreign;
pub mod header;
pub mod luks;
pub mod mapping;
pub mod probe;
pub mod qemu;
pub mod refcount;
pub mod scalar;
pub mod snapshot;

use std::io::Cursor;

use binrw::meta::{ReadEndian, WriteEndian};
use binrw::{BinRead, BinWrite};
use serde::Serialize;

pub use fields::{Field, FieldValue, Style};

use crate::units::to_usize;

/// A structure of a fixed length, declared once: reading, writing, and the names, offsets and widths of its
/// fields come from the one `struct`.
pub trait Layout: Sized + Serialize {
    /// How many bytes it has on disk.
    const LEN: u64;

    /// Reads it from the start of `bytes`; `None` if they are fewer than [`Self::LEN`].
    fn decode(bytes: &[u8]) -> Option<Self>;

    /// Its bytes on disk.
    fn encode(&self) -> Vec<u8>;

    /// Reads it as QEMU does, for which bytes behind the end of the file are zero.
    fn decode_zero_filled(bytes: &[u8]) -> Option<Self> {
        let len = to_usize(Self::LEN);
        let mut whole = bytes.get(..len.min(bytes.len()))?.to_vec();
        whole.resize(len, 0);
        Self::decode(&whole)
    }

    /// Its fields in the order of the file.
    fn fields(&self) -> Vec<Field> {
        fields::fields_of(self)
    }
}

fn decode<T>(bytes: &[u8]) -> Option<T>
where
    T: for<'a> BinRead<Args<'a> = ()> + ReadEndian,
{
    T::read(&mut Cursor::new(bytes)).ok()
}

fn encode<T>(layout: &T) -> Vec<u8>
where
    T: for<'a> BinWrite<Args<'a> = ()> + WriteEndian,
{
    let mut bytes = Cursor::new(Vec::new());
    // Writing to memory does not fail, and no layout has a condition of its own.
    let _ = layout.write(&mut bytes);
    bytes.into_inner()
}

/// Declares the length of each layout, and a test that holds the declaration to it.
macro_rules! layouts {
    ($($layout:ty: $len:literal),* $(,)?) => {
        $(impl $crate::format::Layout for $layout {
            const LEN: u64 = $len;

            fn decode(bytes: &[u8]) -> Option<Self> {
                $crate::format::decode(bytes)
            }

            fn encode(&self) -> Vec<u8> {
                $crate::format::encode(self)
            }
        })*

        #[cfg(test)]
        #[test]
        fn layouts_have_their_length() {
            use $crate::format::Layout;
            $({
                let bytes: Vec<u8> = (0..=250).cycle().take($len).collect();
                let layout = <$layout>::decode(&bytes).unwrap();
                assert_eq!(layout.encode(), bytes, "{} does not round-trip", stringify!($layout));
                assert_eq!(layout.fields().last().unwrap().end(), $len, "{}", stringify!($layout));
                assert!(<$layout>::decode(&bytes[..bytes.len() - 1]).is_none());
            })*
        }
    };
}
use layouts;
