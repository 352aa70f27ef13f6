//! The feature bits, what has to agree with them, and the table of their names.

use super::field::{extension_field, header_field as field};
use super::names;
use crate::finding::{Evidence, Finding, Rule, Structure, rules};
use crate::format::features::{self as bits, FeatureName, FeatureSet};
use crate::format::header::{COMPRESSION_ZSTD, HeaderAdditional, field};
use crate::format::scalar::FeatureBits;
use crate::format::{Field, Layout, extension};
use crate::image::{Extension, Header, Image};
use crate::source::ReadAt;
use crate::text;
use crate::units::{HostOffset, to_u64};

rules! {
    UNKNOWN_INCOMPATIBLE_FEATURE: H12 "unknown-incompatible-feature" Fatal Must {
        title: "no incompatible feature bit above 4 may be set: a reader that does not know it must refuse",
        why: "the bit says that a reader that does not know it would misread the image",
        advice: "find the program that set it, and read the image with that; clearing the bit in a copy shows wrong \
            data where it mattered",
        spec: "Header",
        fields: [Header.INCOMPATIBLE_FEATURES],
        qemu: Refused Refused "'Unsupported qcow2 feature(s): …' with the name that the image's own feature \
            name table gives, or 'Unknown incompatible feature: HEX'",
    }
    UNKNOWN_COMPATIBLE_FEATURE: H13 "unknown-compatible-feature" Note Should {
        title: "compatible feature bits above 0 are reserved; a reader that does not know them ignores them",
        why: "it is harmless to readers by definition, but tells of a program that nobody here knows",
        advice: "nothing; ask which program wrote the image if you did not expect a newer one",
        spec: "Header",
        fields: [Header.COMPATIBLE_FEATURES],
        qemu: Silently Silently "ignored, as it should be",
    }
    UNKNOWN_AUTOCLEAR_FEATURE: H14 "unknown-autoclear-feature" Note Should {
        title: "autoclear feature bits above 1 are reserved; a program that does not know them clears them \
            before it writes",
        why: "the first program that opens the image for writing clears it, and with it what it promised",
        advice: "open the image read-only as long as it matters who set the bit",
        spec: "Header",
        fields: [Header.AUTOCLEAR_FEATURES],
        qemu: Silently Silently "ignored while the image is read only; opening it for writing rewrites the \
            header without the bits",
    }
    DIRTY_BIT_SET: H19 "dirty-bit-set" Note Should {
        title: "the dirty bit (incompatible bit 0) is set: the image was not closed, and its refcounts may \
            be out of date",
        why: "after a crash the counts may be too low, and a writer that trusts them would allocate clusters that \
            are in use",
        advice: "let QEMU repair it on a copy (`qemu-img check -r all`); opening it for writing does the same and \
            removes the evidence",
        spec: "Header",
        fields: [Header.INCOMPATIBLE_FEATURES],
        qemu: Silently Silently "info shows 'dirty-flag'. Check compares the refcounts as ever; opening for \
            writing repairs them, which destroys evidence",
        risk: NotClosed,
    }
    CORRUPT_BIT_SET: H20 "corrupt-bit-set" Warning Should {
        title: "the corrupt bit (incompatible bit 1) is set: a program found broken metadata and forbade \
            writing",
        why: "QEMU met metadata that it could not trust, and refuses to write until it is repaired",
        advice: "find out what is broken with `check` before anything repairs it, since a clean repair also clears \
            the bit",
        spec: "Header",
        fields: [Header.INCOMPATIBLE_FEATURES],
        qemu: Varies Silently "read only it opens, and info shows 'corrupt'; for writing: 'qcow2: Image is \
            corrupt; cannot be opened read/write'. Check does not count the bit, and a repair that ends \
            clean removes it",
        risk: Unsound,
    }
    COMPRESSION_BIT_MISMATCH: H21 "compression-bit-mismatch" Fatal Must {
        title: "the compression bit (incompatible bit 3) must be set exactly where compression_type is \
            present and not 0",
        why: "a reader that looks at the bit and one that looks at the type would use different decompressors",
        advice: "decompress one cluster with each method (`check --deep` on copies) and correct whichever of the two \
            is wrong",
        spec: "Additional fields (version 3 and higher)",
        fields: [Header.INCOMPATIBLE_FEATURES, Header.COMPRESSION_TYPE],
        qemu: Refused Refused "'qcow2: Compression type incompatible feature bit must be set', or 'must not \
            be set'",
    }
    UNKNOWN_COMPRESSION_TYPE: H22 "unknown-compression-type" Fatal Must {
        title: "compression_type must be 0 (deflate) or 1 (zstd)",
        why: "compressed clusters cannot be read, and which method would read them is not known",
        advice: "get the program that made the image; type 0 is deflate and 1 is Zstandard, and there are no others",
        spec: "Additional fields (version 3 and higher)",
        fields: [Header.COMPRESSION_TYPE],
        qemu: Refused Refused "'qcow2: unknown compression type: N', before the compression bit is looked at",
    }
    COMPRESSION_TYPE_ABSENT: H23 "compression-type-absent" Fatal Must reported_as COMPRESSION_BIT_MISMATCH {
        title: "the compression bit needs a header_length above 104, so that compression_type is present",
        why: "the field that the bit speaks of would not exist",
        advice: "treat it as H21: lengthen the header in a copy, or clear the bit",
        spec: "Additional fields (version 3 and higher)",
        fields: [Header.INCOMPATIBLE_FEATURES, Header.HEADER_LENGTH],
        qemu: Refused Refused "an absent compression_type counts as 0: 'qcow2: Compression type incompatible \
            feature bit must not be set'",
    }
    RAW_BIT_WITHOUT_DATA_FILE: H44 "raw-bit-without-data-file" Fatal Must {
        title: "the raw external data bit (autoclear bit 1) needs the external data file bit (incompatible \
            bit 2)",
        why: "the bit promises a raw file beside the image, and there is none",
        advice: "clear autoclear bit 1 in a copy, unless the data file bit is the one that was lost",
        spec: "Header",
        fields: [Header.AUTOCLEAR_FEATURES],
        qemu: Varies Refused "info shows the image; opening it for data: 'data-file-raw requires a data \
            file'",
    }
    RAW_BIT_WITH_BACKING: H45 "raw-bit-with-backing" Warning Must {
        title: "the raw external data bit (autoclear bit 1) must not be set in an image with a backing file",
        why: "a raw data file holds the whole disk, so nothing may come from a backing file, and readers disagree \
            which wins",
        advice: "detach the backing file if the data file is complete; else clear autoclear bit 1 in a copy",
        spec: "Header",
        fields: [Header.AUTOCLEAR_FEATURES],
        qemu: Silently Silently "accepted: info, opening and reading work",
    }
    LAZY_REFCOUNTS_ENABLED: H46 "lazy-refcounts-enabled" Note Should {
        title: "refcounts may be updated lazily (compatible bit 0): a crash leaves them out of date",
        why: "it is faster, and the price is that a crash makes a repair necessary",
        advice: "nothing, unless the storage is one that crashes; `qemu-img amend -o lazy_refcounts=off` ends it",
        spec: "Header",
        fields: [Header.COMPATIBLE_FEATURES],
        qemu: Silently Silently "info shows 'lazy-refcounts'",
    }
    FEATURE_TABLE_MALFORMED: E07 "feature-table-malformed" Warning Must {
        title: "the feature name table must consist of 48-byte rows with type 0 to 2, bit 0 to 63, a \
            printable name, and no feature named twice",
        why: "the table names features in error messages, and a broken row makes a message lie or a parser fail",
        advice: "ignore the table, which decides nothing; a rewrite by QEMU replaces it",
        spec: "Feature name table",
        fields: [Extension.LENGTH, FeatureName.TYPE, FeatureName.BIT, FeatureName.NAME],
        qemu: Silently Silently "used only to name an unknown incompatible bit, and not checked: the bit \
            number counts modulo 64, the first of two rows wins, and a table of 47 bytes is used too",
        risk: FalseName,
    }
    FEATURE_NAME_SPOOFED: E08 "feature-name-spoofed" Warning Extra {
        title: "the feature name table must give the known feature bits their usual names",
        why: "a program that shows the name would call a dangerous bit harmless",
        advice: "trust the bit numbers and not the names; ask who wrote the table",
        spec: "not in the specification; readers print these names in their messages",
        fields: [FeatureName.NAME],
        qemu: Silently Silently "names of bits that QEMU knows are never used",
        risk: FalseName,
    }
}

const INCOMPATIBLE: Field = field::INCOMPATIBLE_FEATURES;
const COMPATIBLE: Field = field::COMPATIBLE_FEATURES;
const AUTOCLEAR: Field = field::AUTOCLEAR_FEATURES;

/// Judges the bits: unknown ones, known ones that tell of a risk, and those that contradict other fields.
pub(super) fn check<R: ReadAt>(image: &Image<R>, out: &mut Vec<Finding>) {
    let header = image.header();
    let v3 = header.v3();
    let (incompatible, compatible, autoclear) =
        (v3.incompatible_features, v3.compatible_features, v3.autoclear_features);

    let sets: [(_, _, _, &'static Rule, _); 3] = [
        (
            FeatureSet::Incompatible,
            INCOMPATIBLE,
            incompatible,
            &UNKNOWN_INCOMPATIBLE_FEATURE,
            "no bit above 4",
        ),
        (FeatureSet::Compatible, COMPATIBLE, compatible, &UNKNOWN_COMPATIBLE_FEATURE, "no bit above 0"),
        (FeatureSet::Autoclear, AUTOCLEAR, autoclear, &UNKNOWN_AUTOCLEAR_FEATURE, "no bit above 1"),
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
    let dirty = incompatible.contains(bits::DIRTY);
    when(dirty, &DIRTY_BIT_SET, INCOMPATIBLE, "the dirty bit", "an image that was closed");
    let corrupt = incompatible.contains(bits::CORRUPT);
    when(corrupt, &CORRUPT_BIT_SET, INCOMPATIBLE, "the corrupt bit", "an image that nobody found corrupt");
    let lazy = compatible.contains(bits::LAZY_REFCOUNTS);
    when(
        lazy,
        &LAZY_REFCOUNTS_ENABLED,
        COMPATIBLE,
        "the lazy refcounts bit",
        "refcounts that are never late",
    );

    let compressed = incompatible.contains(bits::COMPRESSION) && header.compression_type() == 0;
    when(
        compressed,
        &COMPRESSION_BIT_MISMATCH,
        INCOMPATIBLE,
        "the compression bit",
        "a compression_type that is not 0",
    );

    let raw = autoclear.contains(bits::RAW_EXTERNAL);
    let without_data = raw && !image.has_external_data();
    let wanted = "the external data file bit with it";
    when(without_data, &RAW_BIT_WITHOUT_DATA_FILE, AUTOCLEAR, "the raw external data bit", wanted);
    let with_backing = raw && header.names_backing_file();
    when(with_backing, &RAW_BIT_WITH_BACKING, AUTOCLEAR, "the raw external data bit", "no backing file");
}

/// Judges `compression_type`, and whether the compression bit comes with it.
pub(super) fn check_compression(header: &Header, additional: HeaderAdditional, out: &mut Vec<Finding>) {
    let number = additional.compression_type;
    let mut wrong = |rule, wanted| {
        out.push(field(header, rule, field::COMPRESSION_TYPE, u64::from(number), wanted));
    };
    if number > COMPRESSION_ZSTD {
        wrong(&UNKNOWN_COMPRESSION_TYPE, "0 (deflate) or 1 (zstd)");
    }
    if number != 0 && !header.v3().incompatible_features.contains(bits::COMPRESSION) {
        wrong(&COMPRESSION_BIT_MISMATCH, "incompatible feature bit 3, or 0");
    }
}

/// The features that a table has named so far, one bit each, by their sets.
pub(super) type Named = [u64; FeatureSet::ALL.len()];

/// Judges the feature name table apart from its rows.
pub(super) fn check_names(table: &Extension<'_>, out: &mut Vec<Finding>) {
    if !u64::from(table.head.length).is_multiple_of(FeatureName::LEN) {
        let wanted = format!("a multiple of {}", FeatureName::LEN);
        out.push(extension_field(
            table,
            &FEATURE_TABLE_MALFORMED,
            extension::field::LENGTH,
            table.head.length,
            wanted,
        ));
    }
}

/// Judges a row of it: readers put its names into their messages.
pub(super) fn check_name(at: HostOffset, row: &FeatureName, named: &mut Named, out: &mut Vec<Finding>) {
    let finding = |rule: &'static Rule, field: Field, found: Evidence, wanted: Evidence| {
        Finding::new(rule, Structure::FeatureName, field.at(at), found, wanted)
    };
    let set = FeatureSet::from_type(row.r#type);
    if set.is_none() {
        out.push(finding(
            &FEATURE_TABLE_MALFORMED,
            bits::field::TYPE,
            u32::from(row.r#type).into(),
            "0, 1 or 2".into(),
        ));
    }
    let bit = Some(u32::from(row.bit)).filter(|bit| *bit < u64::BITS);
    if bit.is_none() {
        out.push(finding(
            &FEATURE_TABLE_MALFORMED,
            bits::field::BIT,
            u32::from(row.bit).into(),
            "at most 63".into(),
        ));
    }
    let name = row.name.text();
    if let Some(found) = names::unprintable(name) {
        out.push(finding(
            &FEATURE_TABLE_MALFORMED,
            bits::field::NAME,
            found.into(),
            "printable UTF-8".into(),
        ));
    } else if row.name.0.iter().skip(name.len()).any(|byte| *byte != 0) {
        let found = format!("bytes that are not 0 behind the {} of the name", to_u64(name.len()));
        out.push(finding(
            &FEATURE_TABLE_MALFORMED,
            bits::field::NAME,
            found.into(),
            "a name padded with zeros".into(),
        ));
    }
    let (Some(set), Some(bit)) = (set, bit) else { return };
    let of_set = FeatureSet::ALL.iter().zip(named).find(|(other, _)| **other == set);
    if let Some((_, seen)) = of_set {
        let mask = 1_u64.unbounded_shl(bit);
        if *seen & mask != 0 {
            let found = format!("{} bit {bit} again", set.as_str());
            out.push(finding(
                &FEATURE_TABLE_MALFORMED,
                bits::field::BIT,
                found.into(),
                "each feature once".into(),
            ));
        }
        *seen |= mask;
    }
    if let Some(known) = set.known().find(|known| known.bit == bit && known.name.as_bytes() != name) {
        out.push(finding(
            &FEATURE_NAME_SPOOFED,
            bits::field::NAME,
            text::shown(name).into(),
            known.name.into(),
        ));
    }
}
