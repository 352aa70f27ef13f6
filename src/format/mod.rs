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

pub use fields::{Field, FieldValue, Style};

use crate::units::to_usize;

/// The parts that are no field of a layout, by the names that rules and reports give them.
pub mod part {
    /// An entry of a table.
    pub const ENTRY: &str = "entry";
    /// The fields of the header that the specification does not know.
    pub const UNKNOWN_FIELDS: &str = "unknown_fields";
    /// What an extension holds.
    pub const DATA: &str = "data";
    /// What stands behind the fixed part of a snapshot table entry or of a bitmap directory entry.
    pub const EXTRA_DATA: &str = "extra_data";
    /// The id of a snapshot.
    pub const ID_STR: &str = "id_str";
    /// The name of a snapshot, a bitmap or a file.
    pub const NAME: &str = "name";
    /// The bytes up to the next multiple of 8.
    pub const PADDING: &str = "padding";
}

/// A structure of a fixed length, declared once: reading, writing, and the names, offsets and widths of its
/// fields come from the one `struct`.
pub trait Layout: Sized {
    /// Its fields in the order of the file.
    const FIELDS: &'static [Field];

    /// How many bytes it has on disk.
    const LEN: u64 = fields::extent(Self::FIELDS);

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

    /// Its fields in the order of the file, with their values.
    fn fields(&self) -> Vec<(Field, FieldValue)>;
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

/// Declares the layouts of one structure, which stand one behind the other in it; a module with a [`Field`] for each
/// of their fields, at its offset from the start of the structure; and how long each layout is by the specification.
macro_rules! layouts {
    (
        $(#[$module_attribute:meta])*
        pub mod $module:ident;
        $(
            $(#[$attribute:meta])*
            pub struct $layout:ident {
                $($(#[$field_attribute:meta])* pub $field:ident: $kind:ty,)*
            }
        )*
        $($of_len:ident: $len:literal),*
    ) => {
        $(
            $(#[$attribute])*
            pub struct $layout {
                $($(#[$field_attribute])* pub $field: $kind,)*
            }

            impl $crate::format::Layout for $layout {
                const FIELDS: &'static [$crate::format::Field] =
                    pastey::paste! { &[$($module::[<$field:upper>]),*] };

                fn decode(bytes: &[u8]) -> Option<Self> {
                    $crate::format::decode(bytes)
                }

                fn encode(&self) -> Vec<u8> {
                    $crate::format::encode(self)
                }

                fn fields(&self) -> Vec<($crate::format::Field, $crate::format::FieldValue)> {
                    let values = [$($crate::format::scalar::Scalar::value(&self.$field)),*];
                    Self::FIELDS.iter().copied().zip(values).collect()
                }
            }
        )*

        $(#[$module_attribute])*
        pub mod $module {
            use super::*;

            $crate::format::layouts! { @constants (0) $($($field: $kind,)*)* }

            #[cfg(test)]
            #[test]
            fn layouts_are_what_they_declare() {
                $($crate::format::test_layout::<$of_len>($len);)*
            }
        }
    };
    // Each field starts where the one before it ends.
    (@constants ($offset:expr)) => {};
    (@constants ($offset:expr) $field:ident: $kind:ty, $($rest:tt)*) => {
        pastey::paste! {
            #[doc = "Where `" $field "` stands."]
            pub const [<$field:upper>]: $crate::format::Field = $crate::format::Field {
                name: stringify!([<$field>]),
                offset: $offset,
                width: <$kind as $crate::format::scalar::Scalar>::WIDTH,
            };
            $crate::format::layouts! { @constants ([<$field:upper>].end()) $($rest)* }
        }
    };
}
use layouts;

/// Holds what a layout declares against its length by the specification, and against how it is read and written.
#[cfg(test)]
#[expect(clippy::arithmetic_side_effects, reason = "the numbers are small")]
fn test_layout<T: Layout>(len: u64) {
    let name = std::any::type_name::<T>();
    let bytes: Vec<u8> = (0..=250).cycle().take(to_usize(len)).collect();
    let layout = T::decode(&bytes).unwrap();
    assert_eq!(layout.encode(), bytes, "{name} does not round-trip");
    assert!(T::decode(&bytes[..bytes.len() - 1]).is_none());
    assert_eq!(T::LEN, len, "{name}");
    let start = T::FIELDS[0].offset;
    for (field, value) in layout.fields() {
        let bytes = &bytes[to_usize(field.offset - start)..to_usize(field.end() - start)];
        match value {
            FieldValue::Number(number, _) => {
                let had = bytes.iter().fold(0, |value, byte| value << 8 | u64::from(*byte));
                assert_eq!(number, had, "{name}, {field:?}");
            }
            FieldValue::Bytes(had) | FieldValue::Chars(had) => assert_eq!(had, bytes, "{name}, {field:?}"),
        }
    }
}
