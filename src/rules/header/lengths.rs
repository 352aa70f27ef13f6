//! The header's own length, its version and what is unused in it.

use super::field;
use crate::finding::{Evidence, Finding, Severity, Structure};
use crate::format::features::EXTENDED_L2;
use crate::format::header::{COMPRESSION_ZSTD, HeaderAdditional, field};
use crate::format::refcount::RefcountWidth;
use crate::image::Header;
use crate::rules::codes::{H01, H03, H04, H05, H06, H07, H08, H09, H10, H16, H21, H22};
use crate::units::{Geometry, HostOffset, Span, to_usize};

/// QEMU's largest `cluster_bits` (block/qcow2.h, `MAX_CLUSTER_BITS`).
const QEMU_MAX_CLUSTER_BITS: u32 = 21;
/// The smallest `cluster_bits` with extended L2 entries: 32 subclusters of 512 bytes.
const EXTENDED_MIN_CLUSTER_BITS: u32 = 14;
/// Bytes of a version 2 header without which QEMU does not open the image: the refcount table's fields.
const V2_NEEDED: u64 = 60;

pub(super) fn check(header: &Header, geometry: Option<Geometry>, out: &mut Vec<Finding>) {
    let version = header.v2.version;
    if !matches!(version, 2 | 3) {
        out.push(field(header, &H03, field::VERSION, version, "2 or 3"));
    }
    clusters(header, out);
    let v3 = header.v3();
    if RefcountWidth::new(v3.refcount_order).is_none() {
        out.push(field(header, &H16, field::REFCOUNT_ORDER, v3.refcount_order, "at most 6"));
    }
    if header.has_v3() {
        let length = v3.header_length;
        let mut wrong = |rule, wanted: Evidence| {
            out.push(field(header, rule, field::HEADER_LENGTH, length, wanted));
        };
        if u64::from(length) < Header::V3_LEN {
            wrong(&H07, "at least 104".into());
        }
        if !length.is_multiple_of(8) {
            wrong(&H08, "a multiple of 8".into());
        }
        if let Some(geometry) = geometry.filter(|geometry| u64::from(length) > geometry.cluster_size()) {
            wrong(&H09, format!("at most {}", geometry.cluster_size()).into());
        }
    }
    if let Some(additional) = header.additional() {
        check_additional(header, additional, out);
    }
}

fn clusters(header: &Header, out: &mut Vec<Finding>) {
    let bits = header.v2.cluster_bits.0;
    let mut wrong = |rule, wanted| out.push(field(header, rule, field::CLUSTER_BITS, bits, wanted));
    if bits < Geometry::MIN_CLUSTER_BITS {
        wrong(&H04, "at least 9");
    } else if bits < EXTENDED_MIN_CLUSTER_BITS && header.v3().incompatible_features.contains(EXTENDED_L2) {
        wrong(&H06, "at least 14");
    } else if bits > QEMU_MAX_CLUSTER_BITS {
        let finding = field(header, &H05, field::CLUSTER_BITS, bits, "at most 21");
        // The specification has no upper bound, but host offsets have 64 bits.
        out.push(if bits < u64::BITS { finding.only_qemu() } else { finding });
    }
}

fn check_additional(header: &Header, additional: HeaderAdditional, out: &mut Vec<Finding>) {
    let compression_type = additional.compression_type;
    if compression_type > COMPRESSION_ZSTD {
        let wanted = "0 (deflate) or 1 (zstd)";
        out.push(field(header, &H22, field::COMPRESSION_TYPE, u64::from(compression_type), wanted));
    }
    let flagged = header.v3().incompatible_features.contains(crate::format::features::COMPRESSION);
    if compression_type != 0 && !flagged {
        let wanted = "incompatible feature bit 3, or 0";
        out.push(field(header, &H21, field::COMPRESSION_TYPE, u64::from(compression_type), wanted));
    }
    // A header_length of 106 to 111 covers the padding only in part.
    let padding_at = field::PADDING.offset;
    let covered = header.wanted_len().min(Header::MAX_KNOWN_LEN).saturating_sub(padding_at);
    let padding = additional.padding.0.get(..to_usize(covered)).unwrap_or_default();
    if padding.iter().any(|byte| *byte != 0) {
        let at = Span::new(HostOffset(padding_at), covered);
        let found = padding.iter().fold(0_u64, |value, byte| value.unbounded_shl(8) | u64::from(*byte));
        out.push(Finding::new(&H10, Structure::Header, at, Evidence::Hex(found), "zeros"));
    }
}

/// H01: whether the file holds the whole header.
pub(super) fn check_cut(header: &Header, file_len: u64, out: &mut Vec<Finding>) {
    // Behind a header_length that is out of bounds the fixed fields count.
    let known = header.wanted_len().min(Header::MAX_KNOWN_LEN);
    let Some(missing) = known.checked_sub(file_len).filter(|missing| *missing > 0) else { return };
    let needed = if header.has_v3() { Header::V3_LEN } else { V2_NEEDED };
    let at = Span::new(HostOffset(file_len), missing);
    let finding = Finding::new(
        &H01,
        Structure::Header,
        at,
        format!("a file of {file_len} bytes"),
        format!("at least {known} bytes"),
    );
    // QEMU reads zeros behind the end, and opens the image where it can do with those.
    out.push(if file_len < needed { finding } else { finding.at_most(Severity::Corruption) });
}
