//! The header extensions, those with a payload that we know field by field.

use std::io;

use super::Dumper;
use crate::finding::Structure;
use crate::format::Layout;
use crate::format::extension::{
    self, BACKING_FORMAT, BITMAPS, BitmapsExtension, CRYPTO, CryptoExtension, DATA_FILE, FEATURE_TABLE,
};
use crate::format::features::FeatureSet;
use crate::image::Extension;
use crate::report::row::{Context, Detail, Sink};
use crate::report::value::Value;
use crate::rules::ExtensionRules;
use crate::source::ReadAt;
use crate::units::{HostOffset, Span};

impl<R: ReadAt, S: Sink> Dumper<'_, R, S> {
    pub(super) fn extensions(&mut self) -> io::Result<()> {
        let image = self.image;
        let mut rules = ExtensionRules::new(image);
        let mut fault = None;
        for extension in image.extensions() {
            match extension {
                Ok(extension) => {
                    rules.extension(&extension, &mut self.found);
                    self.extension(&extension, &mut rules)?;
                    self.settle();
                }
                Err(error) => fault = Some(error),
            }
        }
        rules.finish(fault, &mut self.found);
        Ok(())
    }

    fn extension(&mut self, extension: &Extension<'_>, rules: &mut ExtensionRules) -> io::Result<()> {
        let context = Context { extension: Some(extension.index), ..Context::default() };
        let name = extension::name(extension.head.magic).unwrap_or("unknown");
        self.heading(extension.at, "extension", context, &[Detail::new("name", Value::Word(name))])?;
        for field in extension.head.fields() {
            self.field(Structure::Extension, extension.at, &field, &[])?;
        }
        let (at, data) = (extension.data_at(), extension.data);
        match extension.head.magic {
            BACKING_FORMAT => self.text(Structure::Extension, "data", at, data)?,
            DATA_FILE => self.text(Structure::DataFile, "name", at, data)?,
            FEATURE_TABLE => self.feature_table(context, extension, rules)?,
            BITMAPS => self.payload::<BitmapsExtension>(Structure::BitmapsExtension, at, data)?,
            CRYPTO => self.payload::<CryptoExtension>(Structure::CryptoExtension, at, data)?,
            _ if data.is_empty() => {}
            _ => self.raw(Structure::Extension, "data", at, data)?,
        }
        self.hex(Span::new(extension.at, extension.end().0.saturating_sub(extension.at.0)))
    }

    /// The fields of a payload; bytes where it is too short for them.
    fn payload<T: Layout>(&mut self, structure: Structure, at: HostOffset, data: &[u8]) -> io::Result<()> {
        match T::decode(data) {
            Some(payload) => {
                payload.fields().iter().try_for_each(|field| self.field(structure, at, field, &[]))
            }
            None => self.raw(Structure::Extension, "data", at, data),
        }
    }

    fn feature_table(
        &mut self,
        context: Context,
        extension: &Extension<'_>,
        rules: &mut ExtensionRules,
    ) -> io::Result<()> {
        for (index, (at, feature)) in (0_u64..).zip(extension.feature_names()) {
            // Row by row, so that no row looks through what was found in all others.
            self.settle();
            rules.feature_name(at, &feature, &mut self.found);
            let set = FeatureSet::from_type(feature.r#type).map_or("unknown", FeatureSet::as_str);
            let context = Context { feature: Some(index), ..context };
            self.heading(at, "feature", context, &[Detail::new("set", Value::Word(set))])?;
            for field in feature.fields() {
                self.field(Structure::FeatureName, at, &field, &[])?;
            }
        }
        Ok(())
    }
}
