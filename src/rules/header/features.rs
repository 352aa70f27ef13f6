//! Feature bits: unknown ones, known ones that tell of a risk, and those that contradict other parts.

use super::field;
use crate::finding::{Evidence, Finding, Rule};
use crate::format::Field;
use crate::format::extension::{BITMAPS, DATA_FILE};
use crate::format::features::{self, FeatureSet};
use crate::format::header::field;
use crate::format::scalar::{FeatureBits, Magic};
use crate::image::Image;
use crate::rules::codes::{E20, E24, H12, H13, H14, H19, H20, H21, H44, H45, H46};
use crate::source::ReadAt;

const INCOMPATIBLE: Field = field::INCOMPATIBLE_FEATURES;
const COMPATIBLE: Field = field::COMPATIBLE_FEATURES;
const AUTOCLEAR: Field = field::AUTOCLEAR_FEATURES;

pub(super) fn check<R: ReadAt>(image: &Image<R>, out: &mut Vec<Finding>) {
    let header = image.header();
    let v3 = header.v3();
    let (incompatible, compatible, autoclear) =
        (v3.incompatible_features, v3.compatible_features, v3.autoclear_features);

    let sets: [(_, _, _, &'static Rule, _); 3] = [
        (FeatureSet::Incompatible, INCOMPATIBLE, incompatible, &H12, "no bit above 4"),
        (FeatureSet::Compatible, COMPATIBLE, compatible, &H13, "no bit above 0"),
        (FeatureSet::Autoclear, AUTOCLEAR, autoclear, &H14, "no bit above 1"),
    ];
    for (set, name, bits, rule, wanted) in sets {
        let FeatureBits(unknown) = set.unknown(bits);
        if unknown != 0 {
            out.push(field(header, rule, name, Evidence::Hex(unknown), wanted));
        }
    }

    let mut when = |holds: bool, rule, name, found, wanted| {
        if holds {
            out.push(field(header, rule, name, found, wanted));
        }
    };
    let dirty = incompatible.contains(features::DIRTY);
    when(dirty, &H19, INCOMPATIBLE, "the dirty bit", "an image that was closed");
    let corrupt = incompatible.contains(features::CORRUPT);
    when(corrupt, &H20, INCOMPATIBLE, "the corrupt bit", "an image that nobody found corrupt");
    let lazy = compatible.contains(features::LAZY_REFCOUNTS);
    when(lazy, &H46, COMPATIBLE, "the lazy refcounts bit", "refcounts that are never late");

    let compressed = incompatible.contains(features::COMPRESSION) && header.compression_type() == 0;
    when(compressed, &H21, INCOMPATIBLE, "the compression bit", "a compression_type that is not 0");

    let raw = autoclear.contains(features::RAW_EXTERNAL);
    let raw_without_data = raw && !image.has_external_data();
    when(
        raw_without_data,
        &H44,
        AUTOCLEAR,
        "the raw external data bit",
        "the external data file bit with it",
    );
    let raw_with_backing = raw && super::backing::is_named(header);
    when(raw_with_backing, &H45, AUTOCLEAR, "the raw external data bit", "no backing file");

    // Without a set bit the list need not be read; it can be long.
    let has = |magic: Magic| image.extensions().flatten().any(|extension| extension.head.magic == magic);
    let may_have = |magic| image.unread_extensions().is_some() || has(magic);
    let bitmaps = autoclear.contains(features::BITMAPS) && !may_have(BITMAPS);
    when(bitmaps, &E20, AUTOCLEAR, "the bitmaps bit", "a bitmaps extension");
    let unnamed_data = image.has_external_data() && !may_have(DATA_FILE);
    when(unnamed_data, &E24, INCOMPATIBLE, "the external data file bit", "an extension with the file's name");
}
