//! The rules about the header extensions: the list, and what the known ones hold.

mod feature_table;
mod payload;

use std::collections::HashMap;

use super::stopped;
use crate::Error;
use crate::finding::{Evidence, Finding, Rule, Severity, Structure};
use crate::format::extension::{self as kinds, ExtensionHead, field};
use crate::format::features::{BITMAPS, FeatureName};
use crate::format::header::CRYPT_LUKS;
use crate::format::scalar::Magic;
use crate::format::{Field, Layout};
use crate::image::{Extension, Image};
use crate::rules::codes::{E01, E02, E03, E04, E05, E06, E09, E21, E22, E23, E26};
use crate::source::ReadAt;
use crate::units::{Geometry, HostOffset, Span};

/// QEMU's longest name of a format, whose buffer has 16 bytes.
const QEMU_MAX_FORMAT: u32 = 15;

/// Judges one extension after the other, in the order of the file. It remembers the first of each type, which
/// costs at most some bytes for each 8 of the extension area.
#[derive(Debug)]
pub struct ExtensionRules {
    image: Facts,
    first: HashMap<Magic, HostOffset>,
    named: feature_table::Named,
    list_end: HostOffset,
    padded: bool,
    ended: bool,
}

/// What the rest of the image says that an extension has to agree with.
#[derive(Clone, Copy, Debug)]
struct Facts {
    limit: HostOffset,
    file_len: u64,
    geometry: Option<Geometry>,
    has_v3: bool,
    has_backing: bool,
    has_external_data: bool,
    is_luks: bool,
    bitmaps_are_consistent: bool,
}

impl ExtensionRules {
    /// The rules for the extensions of `image`.
    pub fn new<R: ReadAt>(image: &Image<R>) -> Self {
        let header = image.header();
        let facts = Facts {
            limit: image.extensions_limit(),
            file_len: image.file_len(),
            geometry: image.geometry(),
            has_v3: header.has_v3(),
            has_backing: super::header::is_named(header),
            has_external_data: image.has_external_data(),
            is_luks: header.v2.crypt_method == CRYPT_LUKS,
            bitmaps_are_consistent: header.v3().autoclear_features.contains(BITMAPS),
        };
        let list_end = header.extensions_at();
        let named = feature_table::Named::default();
        Self { image: facts, first: HashMap::new(), named, list_end, padded: true, ended: false }
    }

    /// Judges the next extension, and what it holds. The rows of a feature name table are for
    /// [`feature_name`](Self::feature_name) to judge, since there may be very many.
    pub fn extension(&mut self, extension: &Extension<'_>, out: &mut Vec<Finding>) {
        let (head, at) = (extension.head, extension.at);
        self.list_end = extension.end();
        self.padded = self.list_end.0.saturating_sub(at.0).is_multiple_of(8);
        self.ended = extension.is_end();
        if let Some(first) = self.first.get(&head.magic) {
            let wanted = format!("one such extension, as at {first}");
            out.push(about(extension, &E02, field::MAGIC, format!("{} again", head.magic), wanted));
        } else {
            self.first.insert(head.magic, at);
        }
        match head.magic {
            kinds::END if head.length != 0 => {
                out.push(about(extension, &E04, field::LENGTH, head.length, 0_u32));
            }
            kinds::END => {}
            kinds::BACKING_FORMAT => self.backing_format(extension, out),
            kinds::FEATURE_TABLE => {
                self.named = feature_table::Named::default();
                feature_table::check(extension, out);
            }
            kinds::BITMAPS => self.bitmaps(extension, out),
            kinds::CRYPTO => {
                if !self.image.is_luks {
                    let wanted = "no such extension where crypt_method is not 2";
                    out.push(about(
                        extension,
                        &E09,
                        field::MAGIC,
                        Evidence::Hex(head.magic.0.into()),
                        wanted,
                    ));
                }
                payload::crypto(extension, self.image.geometry, out);
            }
            kinds::DATA_FILE => {
                if !self.image.has_external_data {
                    let wanted = "no such extension without incompatible feature bit 2";
                    out.push(about(
                        extension,
                        &E23,
                        field::MAGIC,
                        Evidence::Hex(head.magic.0.into()),
                        wanted,
                    ));
                }
                payload::data_file(extension, out);
            }
            magic => {
                let nonzero = extension.data.iter().filter(|byte| **byte != 0).count();
                let found = format!("{magic}: {} bytes, {nonzero} of them not 0", head.length);
                out.push(about(extension, &E26, field::MAGIC, found, "a type that is known"));
            }
        }
    }

    /// Judges the next of the [`feature_names`](Extension::feature_names) of that extension, which stands at `at`.
    pub fn feature_name(&mut self, at: HostOffset, row: &FeatureName, out: &mut Vec<Finding>) {
        feature_table::check_row(at, row, &mut self.named, out);
    }

    /// Judges the list as a whole. `fault` is what ended it early.
    pub fn finish(&mut self, fault: Option<Error>, out: &mut Vec<Finding>) {
        let left = self.image.limit.0.saturating_sub(self.list_end.0);
        match fault {
            Some(error) => out.push(self.fault(error)),
            None if self.ended => {}
            // QEMU reads zeros behind the end of the file, which are an end mark where there is room for one.
            None if left >= ExtensionHead::LEN && self.list_end.0 >= self.image.file_len => {}
            None if left > 0 => {
                let at = Span::new(self.list_end, left);
                let found = format!("{left} bytes left");
                out.push(Finding::new(
                    &E01,
                    Structure::Extension,
                    at,
                    found,
                    "room for an end mark, or none left",
                ));
            }
            None if self.padded => {}
            None => {
                let at = Span::new(self.list_end, 0);
                let found = format!("the space ends at {}", self.image.limit);
                out.push(Finding::new(&E03, Structure::Extension, at, found, "an end mark before it"));
            }
        }
    }

    /// An extension that does not fit is fatal; but where it would fit, and only the file ends before, QEMU
    /// reads zeros instead.
    fn fault(&self, error: Error) -> Finding {
        let finding = stopped(error, Structure::Extension, &E01);
        let Error::Cut { at, wanted, had, .. } = error else { return finding };
        // Where the data does not fit, it is the length in front of it that is wrong.
        let is_data = at > self.list_end;
        let length = field::LENGTH.at(self.list_end);
        let at_length = if is_data { Some(length) } else { finding.at };
        let file_ends = at.saturating_add(had).0 >= self.image.file_len;
        let fits = at.saturating_add(wanted) <= self.image.limit;
        let worst = if file_ends && fits { Severity::Corruption } else { Severity::Fatal };
        Finding { at: at_length, ..finding }.at_most(worst)
    }

    fn backing_format(&self, extension: &Extension<'_>, out: &mut Vec<Finding>) {
        if extension.head.length > QEMU_MAX_FORMAT {
            let finding = about(extension, &E05, field::LENGTH, extension.head.length, "at most 15");
            out.push(finding.only_qemu());
        }
        let at = payload::data_span(extension);
        let mut unexpected = |found: String, wanted: &'static str| {
            out.push(Finding::new(&E06, Structure::Extension, at, found, wanted));
        };
        if !self.image.has_backing {
            unexpected("a backing format".into(), "no such extension without a backing file");
        }
        if !payload::is_known_format(extension.data) {
            unexpected(super::names::shown(extension.data), "the name of a format that QEMU knows");
        }
        payload::string(extension, Structure::Extension, out);
    }

    fn bitmaps(&self, extension: &Extension<'_>, out: &mut Vec<Finding>) {
        let magic = || Evidence::Hex(extension.head.magic.0.into());
        if !self.image.has_v3 {
            out.push(about(extension, &E22, field::MAGIC, magic(), "no such extension in version 2"));
        } else if !self.image.bitmaps_are_consistent {
            out.push(about(extension, &E21, field::MAGIC, magic(), "autoclear feature bit 0 with it"));
        }
        // QEMU looks at the rest of the extension only where it would load the bitmaps.
        let worst = if self.image.bitmaps_are_consistent { Severity::Fatal } else { Severity::Warning };
        payload::bitmaps(extension, self.image.geometry, self.image.file_len, worst, out);
    }
}

/// A finding about a field of an extension's head.
fn about(
    extension: &Extension<'_>,
    rule: &'static Rule,
    field: Field,
    found: impl Into<Evidence>,
    wanted: impl Into<Evidence>,
) -> Finding {
    Finding::new(rule, Structure::Extension, field.at(extension.at), found, wanted)
}

#[cfg(all(test, feature = "testkit"))]
mod tests {
    use crate::finding::Severity;
    use crate::format::extension::{self, BITMAPS};
    use crate::format::header::field;
    use crate::format::scalar::Magic;
    use crate::rules::testing_header::{families, findings, load};
    use crate::units::HostOffset;

    #[test]
    fn damages_fire_their_rule_and_near_ones_do_not() {
        families(&["E"]);
    }

    /// What QEMU does not look at cannot keep it from opening the image.
    #[test]
    fn bitmaps_that_are_not_loaded_are_no_more_than_warnings() {
        let mut draft = load("valid/v3-bitmaps");
        let data = draft.extension_data(BITMAPS);
        draft.put(data, &[0xff; 24]);
        let severities = |file: &[u8]| -> Vec<_> {
            let had = findings(file);
            had.iter().map(|finding| (finding.rule.code, finding.severity)).collect()
        };
        let fatal = ["E15", "E17", "E19", "E18"];
        assert_eq!(severities(&draft.bytes), fatal.map(|code| (code, Severity::Fatal)));
        draft.set_header(field::AUTOCLEAR_FEATURES, 0);
        let lower = ["E21", "E15", "E17", "E19", "E18"].map(|code| (code, Severity::Warning));
        assert_eq!(severities(&draft.bytes), lower);
        draft.set_field(HostOffset(draft.extension(BITMAPS)), extension::field::LENGTH, 16);
        assert!(severities(&draft.bytes).contains(&("E14", Severity::Fatal)));
    }

    /// Bytes that are too few for an end mark are too few behind the end of the file, too.
    #[test]
    fn left_over_bytes_are_missed_nowhere() {
        let mut draft = load("valid/v3-basic");
        draft.set_header(field::HEADER_LENGTH, 1023);
        for len in [130, 1023, 1024] {
            let had = findings(&draft.bytes[..len]);
            let fatal = had.iter().filter(|finding| finding.severity == Severity::Fatal);
            assert_eq!(fatal.map(|finding| finding.rule.code).collect::<Vec<_>>(), ["E01"], "{len}");
        }
    }

    /// An area full of empty extensions: QEMU needs seconds for it.
    #[test]
    fn many_extensions_are_cheap() {
        let mut draft = load("valid/v3-extended-l2");
        draft.set_header(field::CLUSTER_BITS, 21);
        draft.bytes.resize(2 << 20, 0);
        let at = draft.image().header().extensions_at().0;
        for n in 0..((2 << 20) - at) / 8 {
            draft.put_number(at + n * 8, 8, (u64::from(Magic(0x6162_6364).0) + n % 100_000) << 32);
        }
        let had = findings(&draft.bytes);
        assert_eq!(had.iter().filter(|finding| finding.rule.code == "E26").count(), 262_130);
        assert_eq!(had.iter().filter(|finding| finding.rule.code == "E02").count(), 162_130);
    }
}
