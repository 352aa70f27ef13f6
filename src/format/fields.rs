//! What a field is, and the values of a layout's fields, read off its one declaration.
//!
//! A layout derives `Serialize`; the serializer here visits its fields in order and adds up their widths. The
//! name of a field's newtype chooses how its value is shown.

use std::fmt;

use serde::ser::{Impossible, Serialize, SerializeStruct, Serializer};

use crate::units::{HostOffset, Span, to_u64};

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

/// The fields of `layout` in the order of the file, the first of them at `offset`.
pub(super) fn fields_of(layout: &impl Serialize, offset: u64) -> Vec<(Field, FieldValue)> {
    let mut visitor = Visitor { offset, ..Visitor::default() };
    // Only a layout with a type that no layout may have fails here; the test of each layout's length sees it.
    match layout.serialize(&mut visitor) {
        Ok(()) => visitor.fields,
        Err(fmt::Error) => Vec::new(),
    }
}

/// The serializer that collects fields.
#[derive(Default)]
struct Visitor {
    fields: Vec<(Field, FieldValue)>,
    name: &'static str,
    style: Option<Style>,
    chars: bool,
    offset: u64,
}

impl Visitor {
    fn push(&mut self, width: u64, value: FieldValue) -> fmt::Result {
        self.fields.push((Field { name: self.name, offset: self.offset, width }, value));
        self.offset = self.offset.saturating_add(width);
        (self.style, self.chars) = (None, false);
        Ok(())
    }

    fn number(&mut self, width: u64, value: u64) -> fmt::Result {
        self.push(width, FieldValue::Number(value, self.style.unwrap_or(Style::Number)))
    }
}

macro_rules! unsupported {
    ($($method:ident($($kind:ty),*) -> $ok:ty;)*) => {
        $(fn $method(self $(, _: $kind)*) -> Result<$ok, fmt::Error> { Err(fmt::Error) })*
    };
}

/// There is none: a layout has no such part.
type No = Impossible<(), fmt::Error>;

impl Serializer for &mut Visitor {
    type Ok = ();
    type Error = fmt::Error;
    type SerializeSeq = No;
    type SerializeTuple = No;
    type SerializeTupleStruct = No;
    type SerializeTupleVariant = No;
    type SerializeMap = No;
    type SerializeStruct = Self;
    type SerializeStructVariant = No;

    fn serialize_u8(self, value: u8) -> fmt::Result {
        self.number(1, value.into())
    }

    fn serialize_u16(self, value: u16) -> fmt::Result {
        self.number(2, value.into())
    }

    fn serialize_u32(self, value: u32) -> fmt::Result {
        self.number(4, value.into())
    }

    fn serialize_u64(self, value: u64) -> fmt::Result {
        self.number(8, value)
    }

    fn serialize_bytes(self, value: &[u8]) -> fmt::Result {
        let kind = if self.chars { FieldValue::Chars } else { FieldValue::Bytes };
        self.push(to_u64(value.len()), kind(value.to_vec()))
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, name: &'static str, value: &T) -> fmt::Result {
        self.chars = name == "Chars";
        self.style = match name {
            "HostOffset" | "GuestOffset" | "Magic" => Some(Style::Hex),
            "ByteSize" | "ByteSize32" => Some(Style::Size),
            "ClusterBits" | "GranularityBits" => Some(Style::Log2),
            "FeatureBits" | "BitmapFlags" => Some(Style::Bits),
            "Seconds" => Some(Style::Seconds),
            "Bytes" | "Chars" => None,
            _ => return Err(fmt::Error),
        };
        value.serialize(self)
    }

    fn serialize_struct(self, _: &'static str, _: usize) -> Result<Self, fmt::Error> {
        Ok(self)
    }

    unsupported! {
        serialize_bool(bool) -> ();
        serialize_i8(i8) -> ();
        serialize_i16(i16) -> ();
        serialize_i32(i32) -> ();
        serialize_i64(i64) -> ();
        serialize_f32(f32) -> ();
        serialize_f64(f64) -> ();
        serialize_char(char) -> ();
        serialize_str(&str) -> ();
        serialize_none() -> ();
        serialize_unit() -> ();
        serialize_unit_struct(&'static str) -> ();
        serialize_unit_variant(&'static str, u32, &'static str) -> ();
        serialize_seq(Option<usize>) -> No;
        serialize_tuple(usize) -> No;
        serialize_tuple_struct(&'static str, usize) -> No;
        serialize_tuple_variant(&'static str, u32, &'static str, usize) -> No;
        serialize_map(Option<usize>) -> No;
        serialize_struct_variant(&'static str, u32, &'static str, usize) -> No;
    }

    fn serialize_some<T: Serialize + ?Sized>(self, _: &T) -> fmt::Result {
        Err(fmt::Error)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        _: &'static str,
        _: &T,
    ) -> fmt::Result {
        Err(fmt::Error)
    }
}

impl SerializeStruct for &mut Visitor {
    type Ok = ();
    type Error = fmt::Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> fmt::Result {
        self.name = name;
        value.serialize(&mut **self)
    }

    fn end(self) -> fmt::Result {
        Ok(())
    }
}
