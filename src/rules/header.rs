//! The header: its own fields, its length, and what else lies in its cluster.

use super::field::{header_field as field, not_zeros};
use super::stopped;
use super::{backing, bitmaps_extension, data_file, encryption, features, header_tables};
use crate::Error;
use crate::finding::{Evidence, Finding, Severity, Structure, rules};
use crate::format::features::EXTENDED_L2;
use crate::format::header::{HeaderAdditional, field};
use crate::format::qemu;
use crate::format::refcount::RefcountWidth;
use crate::image::{Header, Image};
use crate::source::ReadAt;
use crate::units::{Geometry, HostOffset, Span, to_usize};

rules! {
    HEADER_CUT: H01 "header-cut" Fatal Must {
        title: "the file must hold the whole header: 72 bytes in version 2, at least 104 in version 3",
        why: "readers fill the missing bytes differently: QEMU takes zeros, others refuse, so one file means two \
            things",
        advice: "get the file again from where it came: a header is never cut by normal use, and what lies behind it \
            is gone too",
        spec: "Header",
        fields: [Header.MAGIC, Header.VERSION, Header.HEADER_LENGTH],
        qemu: Varies Varies "bytes behind the end read as 0, so the cut decides. Below 24 bytes: \
            'Unsupported cluster size: 2^0'; version 3 below 104: 'qcow2 header too short'; version 2 below \
            60: 'Image does not contain a reference count table'. Cut later it opens, and check counts \
            corruptions",
        // For qemu-img check, no field of version 2 that can be cut off has to be other than zero.
        opens_in_version_2: true,
    }
    BAD_MAGIC: H02 "bad-magic" Fatal Must {
        title: "the file must begin with the magic 0x514649fb, the letters QFI and the byte 0xfb",
        why: "without the magic nobody can know that the file is QCOW2, and tools that probe by content take it \
            for a raw disk",
        advice: "look at what the file looks like instead; if it should be QCOW2, its first cluster was overwritten \
            and has to come from a backup",
        spec: "Header",
        fields: [Header.MAGIC],
        qemu: Refused Refused "'Image is not in qcow2 format' where -f qcow2 asks for the format; without it \
            the file is probed, and usually opened as raw",
    }
    UNSUPPORTED_VERSION: H03 "unsupported-version" Fatal Must {
        title: "version must be 2 or 3",
        why: "version 1 has another layout, and no later one is defined, so that every field behind this one would \
            be guessed",
        advice: "convert a version 1 image with `qemu-img convert -f qcow`; any other number is damage or a forgery",
        spec: "Header",
        fields: [Header.VERSION],
        qemu: Refused Refused "'Unsupported qcow2 version N'",
    }
    CLUSTER_TOO_SMALL: H04 "cluster-too-small" Fatal Must {
        title: "cluster_bits must be at least 9, which is a cluster of 512 bytes",
        why: "every offset and index depends on the cluster size, and tables of smaller clusters could not be \
            addressed",
        advice: "try cluster_bits of 16, QEMU's default, in a copy: if the L1 table then makes sense, only this field \
            is damaged",
        spec: "Header",
        fields: [Header.CLUSTER_BITS],
        qemu: Refused Refused "'Unsupported cluster size: 2^N'",
    }
    CLUSTER_TOO_LARGE: H05 "cluster-too-large" Fatal Qemu {
        title: "cluster_bits must be at most 21, which is a cluster of 2 MiB, for QEMU to open the image",
        why: "the specification has no upper bound, but QEMU stops at 2 MiB and writes no more, so that the field is \
            damaged, or the image works with other readers alone",
        advice: "damage is likelier than a tool that makes such clusters: try cluster_bits of 16, QEMU's default, in a \
            copy; if the L1 table then makes sense, that was it. Else read the data with the tool that made the image",
        spec: "QEMU block/qcow2.h, MAX_CLUSTER_BITS",
        fields: [Header.CLUSTER_BITS],
        qemu: Refused Refused "'Unsupported cluster size: 2^N'",
    }
    SUBCLUSTER_TOO_SMALL: H06 "subcluster-too-small" Fatal Must {
        title: "an image with extended L2 entries must have cluster_bits of at least 14, so that each of the \
            32 subclusters has 512 bytes or more",
        why: "a subcluster would be smaller than a sector, and the allocation bitmaps would have no meaning",
        advice: "clear incompatible bit 4 in a copy only if the L2 tables turn out to have 8-byte entries; else the \
            image was made wrong",
        spec: "Header",
        fields: [Header.CLUSTER_BITS],
        qemu: Refused Refused "'Unsupported subcluster size: N'",
    }
    HEADER_LENGTH_TOO_SHORT: H07 "header-length-too-short" Fatal Must {
        title: "header_length must be at least 104 in version 3",
        why: "fields that version 3 requires, the feature bits among them, would not be there",
        advice: "set header_length to 104 in a copy and check again: a shorter version 3 header was never written by \
            any release",
        spec: "Header",
        fields: [Header.HEADER_LENGTH],
        qemu: Refused Refused "'qcow2 header too short'",
    }
    HEADER_LENGTH_UNALIGNED: H08 "header-length-unaligned" Warning Must {
        title: "header_length must be a multiple of 8",
        why: "readers that round the length up, and readers that do not, start the extension list at different \
            bytes",
        advice: "do not accept it from strangers: two programs may see two lists of extensions; QEMU writes 104 or \
            112",
        spec: "Header padding",
        fields: [Header.HEADER_LENGTH],
        qemu: Silently Silently "any number is taken as it stands: 105, 113 or 121 open if the extensions \
            start exactly there. Where they start elsewhere, 'Header extension too large' can follow by \
            accident",
        risk: TwoReadings,
    }
    HEADER_BEYOND_CLUSTER: H09 "header-beyond-cluster" Fatal Must {
        title: "header_length must not exceed the cluster size: the header lies in the first cluster",
        why: "fields would run into clusters that belong to other structures",
        advice: "compare with header_length 112 in a copy; nothing defines fields so far behind",
        spec: "Header",
        fields: [Header.HEADER_LENGTH],
        qemu: Refused Refused "'qcow2 header exceeds cluster size'",
    }
    HEADER_PADDING_NONZERO: H10 "header-padding-nonzero" Warning Must {
        title: "the padding behind the header's last known field must be zero",
        why: "the bytes mean nothing today, so what stands there is hidden data, or will mean something to a later \
            reader",
        advice: "zero the bytes in a copy, and ask who wrote them",
        spec: "Header padding",
        fields: [Header.PADDING],
        qemu: Silently Silently "these bytes are not looked at",
        risk: HiddenBytes,
    }
    UNKNOWN_HEADER_FIELDS: H11 "unknown-header-fields" Note Should {
        title: "header fields behind the known ones belong to a later version of the format, and may be \
            ignored",
        why: "a later format may use them, and a reader that keeps them on rewriting carries along what it does \
            not understand",
        advice: "nothing, where a newer program made the image; else look at the bytes with `dump --only header \
            --hex`",
        spec: "Additional fields (version 3 and higher)",
        fields: [Header.UNKNOWN_FIELDS],
        qemu: Silently Silently "they are ignored, and kept together with header_length when QEMU rewrites \
            the header",
        risk: HiddenBytes,
    }
    VERSION_2_HEADER_FIELDS: H15 "version-2-header-fields" Note Must reported_as never {
        title: "a version 2 header ends at byte 72: what follows is extensions, and no field of version 3",
        why: "a reader that takes those bytes for version 3 fields sees feature bits where extensions stand",
        advice: "nothing to do: this tool reads version 2 as QEMU does",
        spec: "Header",
        fields: [],
        qemu: Silently Silently "every field of version 3 counts as 0, refcount_order as 4",
    }
    REFCOUNT_ORDER_TOO_LARGE: H16 "refcount-order-too-large" Fatal Must {
        title: "refcount_order must be at most 6, which is a refcount of 64 bits",
        why: "refcounts of more than 64 bits cannot be read, and no cluster could be allocated or freed",
        advice: "set refcount_order to 4, the default, in a copy and compare: if the counts agree with the \
            references, that was it",
        spec: "Header",
        fields: [Header.REFCOUNT_ORDER],
        qemu: Refused Refused "'Reference count entry width too large; may not exceed 64 bits'",
    }
    HEADER_CLUSTER_HIDDEN_DATA: H43 "header-cluster-hidden-data" Warning Must {
        title: "the first cluster must be zero behind the extensions and the backing file name",
        why: "nobody reads these bytes, which makes them a place to hide data, and the next header update erases \
            them",
        advice: "save a copy before any writer opens the image, and look at the bytes with `dump --hex`",
        spec: "Header extensions",
        fields: [],
        qemu: Silently Silently "not looked at, and zeroed without a word by any rewrite of the header",
        risk: HiddenBytes,
    }
}

/// The smallest `cluster_bits` with extended L2 entries: 32 subclusters of 512 bytes.
const EXTENDED_MIN_CLUSTER_BITS: u32 = 14;
/// Bytes of a version 2 header without which QEMU does not open the image: the refcount table's fields.
const V2_NEEDED: u64 = 60;

/// Judges the header's fields: alone, and against each other, the file and the extensions.
pub(super) fn check_header<R: ReadAt>(image: &Image<R>, out: &mut Vec<Finding>) {
    let header = image.header();
    let mut found = Vec::new();
    numbers(header, image.geometry(), &mut found);
    if let Some(additional) = header.additional() {
        features::check_compression(header, additional, &mut found);
        padding(header, additional, &mut found);
    }
    match image.unknown_header_fields() {
        Ok(None) => {}
        Ok(Some(at)) => {
            let wanted = "fields that this tool knows";
            found.push(Finding::new(&UNKNOWN_HEADER_FIELDS, Structure::Header, at, not_zeros(at), wanted));
        }
        Err(error) => found.push(stopped(error, Structure::Header, &UNKNOWN_HEADER_FIELDS)),
    }
    encryption::check_method(image, &mut found);
    features::check(image, &mut found);
    bitmaps_extension::check_bit(image, &mut found);
    data_file::check_bit(image, &mut found);
    if let Some(geometry) = image.geometry() {
        header_tables::check(header, geometry, image.file_len(), &mut found);
    }
    backing::check_fields(image, &mut found);

    // What the file does not hold reads as zeros; that these are wrong is for H01 alone to say.
    let file_len = image.file_len();
    found.retain(|finding| finding.at.is_none_or(|at| at.end().0 <= file_len));
    cut(header, file_len, out);
    out.append(&mut found);
}

fn numbers(header: &Header, geometry: Option<Geometry>, out: &mut Vec<Finding>) {
    let version = header.v2.version;
    if !matches!(version, 2 | 3) {
        out.push(field(header, &UNSUPPORTED_VERSION, field::VERSION, version, "2 or 3"));
    }
    cluster_bits(header, out);
    let v3 = header.v3();
    if RefcountWidth::new(v3.refcount_order).is_none() {
        let wanted = format!("at most {}", RefcountWidth::MAX_ORDER);
        out.push(field(header, &REFCOUNT_ORDER_TOO_LARGE, field::REFCOUNT_ORDER, v3.refcount_order, wanted));
    }
    if !header.has_v3() {
        return;
    }
    let length = v3.header_length;
    let mut wrong =
        |rule, wanted: String| out.push(field(header, rule, field::HEADER_LENGTH, length, wanted));
    if u64::from(length) < Header::V3_LEN {
        wrong(&HEADER_LENGTH_TOO_SHORT, format!("at least {}", Header::V3_LEN));
    }
    if !length.is_multiple_of(8) {
        wrong(&HEADER_LENGTH_UNALIGNED, "a multiple of 8".to_owned());
    }
    if let Some(geometry) = geometry.filter(|geometry| u64::from(length) > geometry.cluster_size()) {
        wrong(&HEADER_BEYOND_CLUSTER, format!("at most {}", geometry.cluster_size()));
    }
}

fn cluster_bits(header: &Header, out: &mut Vec<Finding>) {
    let bits = header.v2.cluster_bits.0;
    let wrong = |rule, wanted: String| field(header, rule, field::CLUSTER_BITS, bits, wanted);
    if bits < Geometry::MIN_CLUSTER_BITS {
        out.push(wrong(&CLUSTER_TOO_SMALL, format!("at least {}", Geometry::MIN_CLUSTER_BITS)));
    } else if bits < EXTENDED_MIN_CLUSTER_BITS && header.v3().incompatible_features.contains(EXTENDED_L2) {
        out.push(wrong(&SUBCLUSTER_TOO_SMALL, format!("at least {EXTENDED_MIN_CLUSTER_BITS}")));
    } else if bits > qemu::MAX_CLUSTER_BITS {
        let finding = wrong(&CLUSTER_TOO_LARGE, format!("at most {}", qemu::MAX_CLUSTER_BITS));
        // The specification has no upper bound, but host offsets have 64 bits.
        out.push(if bits < u64::BITS { finding.only_qemu() } else { finding });
    }
}

fn padding(header: &Header, additional: HeaderAdditional, out: &mut Vec<Finding>) {
    // A header_length of 106 to 111 covers the padding only in part.
    let padding_at = field::PADDING.offset;
    let covered = header.wanted_len().min(field::PADDING.end()).saturating_sub(padding_at);
    let padding = additional.padding.0.get(..to_usize(covered)).unwrap_or_default();
    if padding.iter().any(|byte| *byte != 0) {
        let at = Span::new(HostOffset(padding_at), covered);
        let found = padding.iter().fold(0_u64, |value, byte| value.unbounded_shl(8) | u64::from(*byte));
        out.push(Finding::new(&HEADER_PADDING_NONZERO, Structure::Header, at, Evidence::Hex(found), "zeros"));
    }
}

/// H01: whether the file holds the whole header.
fn cut(header: &Header, file_len: u64, out: &mut Vec<Finding>) {
    // Behind a header_length that is out of bounds the fixed fields count.
    let known = header.wanted_len().min(Header::MAX_KNOWN_LEN);
    let Some(missing) = known.checked_sub(file_len).filter(|missing| *missing > 0) else { return };
    let needed = if header.has_v3() { Header::V3_LEN } else { V2_NEEDED };
    let at = Span::new(HostOffset(file_len), missing);
    let finding = Finding::new(
        &HEADER_CUT,
        Structure::Header,
        at,
        format!("a file of {file_len} bytes"),
        format!("at least {known} bytes"),
    );
    // QEMU reads zeros behind the end, and opens the image where it can do with those.
    out.push(if file_len < needed { finding } else { finding.at_most(Severity::Corruption) });
}

/// H43: judges the bytes of the first cluster that belong to nothing: between the extensions and the backing file's
/// name, and behind both.
///
/// # Errors
/// Where they could not be read.
pub(super) fn check_header_gap<R: ReadAt>(image: &Image<R>, out: &mut Vec<Finding>) -> Result<(), Error> {
    // A name that could not be read has its place all the same, and would be taken for what hides.
    let Ok(name) = image.backing_file() else { return Ok(()) };
    let behind = image.header_gap();
    // The name may stand in another cluster, and what lies on the way there is no business of this rule.
    let between = name.and_then(|_| from_to(image.extensions_end(), image.extensions_limit()));
    // Behind an extension that does not fit, its own data stands, and whatever the list has after it.
    let list_is_broken = image.extensions().any(|extension| extension.is_err());
    let spans = match list_is_broken {
        true => [None, behind.and_then(|gap| from_to(gap.at.max(image.extensions_limit()), gap.end()))],
        false => [between, behind],
    };
    for span in spans.into_iter().flatten() {
        if let Some(hidden) = image.chunks("the first cluster", span).nonzero()? {
            out.push(Finding::new(
                &HEADER_CLUSTER_HIDDEN_DATA,
                Structure::Header,
                hidden,
                not_zeros(hidden),
                "zeros",
            ));
        }
    }
    Ok(())
}

fn from_to(start: HostOffset, end: HostOffset) -> Option<Span> {
    let len = end.0.checked_sub(start.0).filter(|len| *len > 0)?;
    Some(Span::new(start, len))
}
