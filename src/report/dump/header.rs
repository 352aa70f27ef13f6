//! The header and the backing file's name.

use std::io;

use super::{Dumper, SHOWN_BYTES};
use crate::finding::Structure;
use crate::format::features::FeatureSet;
use crate::format::header::{self, field};
use crate::format::scalar::FeatureBits;
use crate::format::{Field, FieldValue, Style, part};
use crate::report::row::{Context, Detail, Label, Row};
use crate::report::sink::Sink;
use crate::report::value::Value;
use crate::source::ReadAt;
use crate::units::{HostOffset, Span};

impl<R: ReadAt, S: Sink> Dumper<'_, R, S> {
    pub(super) fn header(&mut self) -> io::Result<()> {
        let image = self.image;
        self.heading(HostOffset(0), "header", Context::default(), &[])?;
        for field in image.header().fields() {
            self.header_field(&field)?;
        }
        self.unknown_fields()?;
        self.hex(Span::new(HostOffset(0), image.header().wanted_len()))?;
        // The judge tells of a name that cannot be read.
        let Ok(Some(name)) = image.backing_file() else { return Ok(()) };
        self.text(Structure::BackingFile, "backing_file", name.at, &name.bytes)?;
        self.hex(name.span())
    }

    fn header_field(&mut self, field: &(Field, FieldValue)) -> io::Result<()> {
        let (which, FieldValue::Number(number, _)) = *field else {
            return self.field(Structure::Header, HostOffset(0), field, &[]);
        };
        let set = match which {
            field::INCOMPATIBLE_FEATURES => FeatureSet::Incompatible,
            field::COMPATIBLE_FEATURES => FeatureSet::Compatible,
            field::AUTOCLEAR_FEATURES => FeatureSet::Autoclear,
            _ => {
                let word = meaning(which, number).map(|word| Detail::new("means", Value::Word(word)));
                return self.field(Structure::Header, HostOffset(0), field, word.as_slice());
            }
        };
        let names = feature_names(set, FeatureBits(number));
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let details = [Detail::new("names", Value::Words(&names))];
        let details = if names.is_empty() { &[] } else { details.as_slice() };
        self.field(Structure::Header, HostOffset(0), field, details)
    }

    /// The first bytes of additional fields that the specification does not know.
    fn unknown_fields(&mut self) -> io::Result<()> {
        let Some(span) = self.image.header().unknown_fields() else { return Ok(()) };
        let shown = Span::new(span.at, span.len.min(SHOWN_BYTES));
        let mut chunks = self.image.chunks("unknown header fields", shown);
        match chunks.next() {
            Some(Ok(chunk)) => {
                let details = [Detail::new("shown_bytes", Value::Number(shown.len, Style::Number))];
                let details = if shown.len < span.len { details.as_slice() } else { &[] };
                let row = Row::remark(Label::Field(part::UNKNOWN_FIELDS), span.at, span.len, details);
                self.row(
                    Structure::Header,
                    part::UNKNOWN_FIELDS,
                    Row { value: Value::Bytes(chunk.bytes), ..row },
                )
            }
            Some(Err(error)) => {
                self.stop(error, Structure::Header);
                Ok(())
            }
            None => Ok(()),
        }
    }
}

/// What the number of a method or a type stands for.
fn meaning(field: Field, number: u64) -> Option<&'static str> {
    match field {
        field::CRYPT_METHOD => header::crypt_method_name(u32::try_from(number).ok()?),
        field::COMPRESSION_TYPE => header::compression_type_name(u8::try_from(number).ok()?),
        _ => None,
    }
}

/// The names of the bits that are set; one that the specification does not know goes by its number.
pub(in crate::report) fn feature_names(set: FeatureSet, bits: FeatureBits) -> Vec<String> {
    bits.bits()
        .map(|bit| match set.known().find(|feature| feature.bit == bit) {
            Some(feature) => feature.name.to_owned(),
            None => format!("bit {bit}"),
        })
        .collect()
}
