//! The list of header extensions. What the known ones hold is judged in the files of what they speak of.

use std::collections::HashMap;

use super::features::Named;
use super::field::extension_field;
use super::{backing, bitmaps_extension, data_file, encryption, features, stopped};
use crate::Error;
use crate::finding::{Finding, Severity, Structure, rules};
use crate::format::Layout;
use crate::format::extension::{self as kinds, ExtensionHead, field};
use crate::format::features::FeatureName;
use crate::format::scalar::Magic;
use crate::image::{Extension, Header, Image};
use crate::source::ReadAt;
use crate::units::{Geometry, HostOffset, Span};

rules! {
    EXTENSION_TOO_LARGE: E01 "extension-too-large" Fatal Must {
        title: "each header extension must end before the backing file name or the end of the first cluster",
        why: "a length that passes the end makes a reader run into the backing file name or into another cluster",
        advice: "compare the lengths by `dump --only extensions`; the first wrong one hides all behind it",
        spec: "Header extensions",
        fields: [Extension.LENGTH],
        qemu: Varies Varies "'Header extension too large'. Where it would fit, and only the file ends before, zeros \
            are read: it opens, and check counts what the missing tables cost",
    }
    DUPLICATE_EXTENSION: E02 "duplicate-extension" Warning Must {
        title: "each type of header extension must occur at most once",
        why: "readers keep the first, the last or neither, so that each sees another backing format or data file",
        advice: "reject it from strangers; on a copy, remove the one that is not meant",
        spec: "Header extensions",
        fields: [Extension.MAGIC],
        qemu: Silently Silently "the last one wins; other readers take the first, or refuse",
        risk: TwoReadings,
    }
    EXTENSION_END_MISSING: E03 "extension-end-missing" Warning Should {
        title: "the list of header extensions should close with an end mark, or fill its space exactly",
        why: "what stands behind the list may be taken for more extensions",
        advice: "write an end mark, eight zero bytes, behind the last extension of a copy",
        spec: "Header extensions",
        fields: [],
        qemu: Silently Silently "accepted, also where only the padding of the last extension passes the end. \
            Where 1 to 7 bytes are left over they are taken for one more extension: 'Header extension too \
            large'",
        risk: TwoReadings,
    }
    EXTENSION_END_LENGTH: E04 "extension-end-length" Note Should {
        title: "the extension that ends the list should have length 0",
        why: "most readers ignore the length, and the bytes that it spans stay hidden",
        advice: "set the length to 0 in a copy, and look at what it covered",
        spec: "Header extensions",
        fields: [Extension.LENGTH],
        qemu: Varies Varies "a length that still fits is ignored; a larger one: 'Header extension too \
            large', because lengths are checked before the type is looked at",
        risk: TwoReadings,
    }
    UNKNOWN_EXTENSION: E26 "unknown-extension" Note Extra {
        title: "a header extension of unknown type may be ignored; it can carry any data",
        why: "readers skip it, and keep it when they rewrite the header: a place for data that nobody looks at",
        advice: "look at its bytes with `dump --only extensions --hex`",
        spec: "Header extensions",
        fields: [Extension.MAGIC],
        qemu: Silently Silently "ignored, and kept when QEMU rewrites the header, though several change \
            their order",
        risk: HiddenBytes,
    }
}

/// Judges one extension after the other, in the order of the file. It remembers the first of each type, which
/// costs at most some bytes for each 8 of the extension area.
#[derive(Debug)]
pub(super) struct ExtensionRules {
    header: Header,
    geometry: Option<Geometry>,
    file_len: u64,
    limit: HostOffset,
    first: HashMap<Magic, HostOffset>,
    named: Named,
    list_end: HostOffset,
    padded: bool,
    ended: bool,
}

impl ExtensionRules {
    /// The rules for the extensions of `image`.
    pub(super) fn new<R: ReadAt>(image: &Image<R>) -> Self {
        Self {
            header: image.header().clone(),
            geometry: image.geometry(),
            file_len: image.file_len(),
            limit: image.extensions_limit(),
            first: HashMap::new(),
            named: Named::default(),
            list_end: image.header().extensions_at(),
            padded: true,
            ended: false,
        }
    }

    /// Judges the next extension, and what it holds. The rows of a feature name table are for
    /// [`feature_name`](Self::feature_name) to judge, since there may be very many.
    pub(super) fn extension(&mut self, extension: &Extension<'_>, out: &mut Vec<Finding>) {
        let (head, at) = (extension.head, extension.at);
        self.list_end = extension.end();
        self.padded = self.list_end.0.saturating_sub(at.0).is_multiple_of(8);
        self.ended = extension.is_end();
        if let Some(first) = self.first.get(&head.magic) {
            let wanted = format!("one such extension, as at {first}");
            out.push(extension_field(
                extension,
                &DUPLICATE_EXTENSION,
                field::MAGIC,
                format!("{} again", head.magic),
                wanted,
            ));
        } else {
            self.first.insert(head.magic, at);
        }
        match head.magic {
            kinds::END if head.length != 0 => {
                out.push(extension_field(
                    extension,
                    &EXTENSION_END_LENGTH,
                    field::LENGTH,
                    head.length,
                    0_u32,
                ));
            }
            kinds::END => {}
            kinds::BACKING_FORMAT => backing::check_format(extension, &self.header, out),
            kinds::FEATURE_TABLE => {
                self.named = Named::default();
                features::check_names(extension, out);
            }
            kinds::BITMAPS => {
                bitmaps_extension::check(extension, &self.header, self.geometry, self.file_len, out);
            }
            kinds::CRYPTO => encryption::check_pointer(extension, &self.header, self.geometry, out),
            kinds::DATA_FILE => data_file::check(extension, &self.header, out),
            magic => {
                let nonzero = extension.data.iter().filter(|byte| **byte != 0).count();
                let found = format!("{magic}: {} bytes, {nonzero} of them not 0", head.length);
                out.push(extension_field(
                    extension,
                    &UNKNOWN_EXTENSION,
                    field::MAGIC,
                    found,
                    "a type that is known",
                ));
            }
        }
    }

    /// Judges the next of the [`feature_names`](Extension::feature_names) of that extension, which stands at `at`.
    pub(super) fn feature_name(&mut self, at: HostOffset, row: &FeatureName, out: &mut Vec<Finding>) {
        features::check_name(at, row, &mut self.named, out);
    }

    /// Judges the list as a whole. `fault` is what ended it early.
    pub(super) fn finish(&mut self, fault: Option<Error>, out: &mut Vec<Finding>) {
        let left = self.limit.0.saturating_sub(self.list_end.0);
        match fault {
            Some(error) => out.push(self.fault(error)),
            None if self.ended => {}
            // QEMU reads zeros behind the end of the file, which are an end mark where there is room for one.
            None if left >= ExtensionHead::LEN && self.list_end.0 >= self.file_len => {}
            None if left > 0 => {
                let at = Span::new(self.list_end, left);
                let found = format!("{left} bytes left");
                out.push(Finding::new(
                    &EXTENSION_TOO_LARGE,
                    Structure::Extension,
                    at,
                    found,
                    "room for an end mark, or none left",
                ));
            }
            None if self.padded => {}
            None => {
                let at = Span::new(self.list_end, 0);
                let found = format!("the space ends at {}", self.limit);
                out.push(Finding::new(
                    &EXTENSION_END_MISSING,
                    Structure::Extension,
                    at,
                    found,
                    "an end mark before it",
                ));
            }
        }
    }

    /// An extension that does not fit is fatal; but where it would fit, and only the file ends before, QEMU
    /// reads zeros instead.
    fn fault(&self, error: Error) -> Finding {
        let finding = stopped(error, Structure::Extension, &EXTENSION_TOO_LARGE);
        let Error::Cut { at, wanted, had, .. } = error else { return finding };
        // Where the data does not fit, it is the length in front of it that is wrong.
        let is_data = at > self.list_end;
        let at_length = if is_data { Some(field::LENGTH.at(self.list_end)) } else { finding.at };
        let file_ends = at.saturating_add(had).0 >= self.file_len;
        let fits = at.saturating_add(wanted) <= self.limit;
        let worst = if file_ends && fits { Severity::Corruption } else { Severity::Fatal };
        Finding { at: at_length, ..finding }.at_most(worst)
    }
}
