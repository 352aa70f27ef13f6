//! What the extensions with a fixed layout, and those that hold a name, say.

use super::about;
use crate::finding::{Evidence, Finding, Severity, Structure};
use crate::format::extension::{BitmapsExtension, CryptoExtension, bitmaps_field, crypto_field, field};
use crate::format::{Field, Layout};
use crate::image::Extension;
use crate::rules::codes::{E11, E12, E14, E15, E16, E17, E18, E19, E25, E27};
use crate::rules::names;
use crate::units::{Geometry, HostOffset, Span, to_u64};

/// QEMU's largest number of bitmaps (block/qcow2.h, `QCOW2_MAX_BITMAPS`).
const QEMU_MAX_BITMAPS: u32 = 65_535;
/// QEMU's longest bitmap directory (block/qcow2.h, `QCOW2_MAX_BITMAP_DIRECTORY_SIZE`).
const QEMU_MAX_BITMAP_DIRECTORY: u64 = 67_107_840;

/// The names of QEMU's formats and protocols, by which it opens a backing file.
const FORMATS: &[&str] = &[
    "bochs",
    "cloop",
    "dmg",
    "file",
    "ftp",
    "ftps",
    "gluster",
    "host_device",
    "http",
    "https",
    "iscsi",
    "luks",
    "nbd",
    "nfs",
    "nvme",
    "parallels",
    "qcow",
    "qcow2",
    "qed",
    "raw",
    "rbd",
    "ssh",
    "vdi",
    "vhdx",
    "vmdk",
    "vpc",
    "vvfat",
];

/// Whether QEMU has a driver of this name.
pub(super) fn is_known_format(name: &[u8]) -> bool {
    FORMATS.iter().any(|format| format.as_bytes() == crate::format::scalar::text(name))
}

/// The bytes of an extension's data.
pub(super) fn data_span(extension: &Extension<'_>) -> Span {
    Span::new(extension.data_at(), to_u64(extension.data.len()))
}

/// An extension that holds a name.
pub(super) fn string(extension: &Extension<'_>, structure: Structure, out: &mut Vec<Finding>) {
    if let Some(found) = names::not_a_string(extension.data) {
        out.push(Finding::new(&E27, structure, data_span(extension), found, "UTF-8 without NUL"));
    }
}

/// The external data file's name. QEMU takes even a protocol for a plain file here, but other readers may not.
pub(super) fn data_file(extension: &Extension<'_>, out: &mut Vec<Finding>) {
    string(extension, Structure::DataFile, out);
    let (at, name) = (data_span(extension), extension.data);
    let finding = names::opened(&E25, Structure::DataFile, at, name);
    // What makes it no string at all is for E27 to say.
    match names::unprintable(name).filter(|_| names::not_a_string(name).is_none()) {
        Some(found) => out.push(Finding::new(&E25, Structure::DataFile, at, found, "printable UTF-8")),
        None => out.push(finding),
    }
}

/// The full disk encryption header pointer.
pub(super) fn crypto(extension: &Extension<'_>, geometry: Option<Geometry>, out: &mut Vec<Finding>) {
    if u64::from(extension.head.length) != CryptoExtension::LEN {
        out.push(about(extension, &E11, field::LENGTH, extension.head.length, 16_u32));
    }
    let Some(pointer) = CryptoExtension::decode(extension.data) else { return };
    let at = crypto_field::OFFSET.at(extension.data_at());
    if let Some(geometry) = geometry.filter(|geometry| !pointer.offset.is_aligned(geometry.cluster_size())) {
        let wanted = multiple(geometry);
        out.push(Finding::new(&E12, Structure::CryptoExtension, at, hex(pointer.offset), wanted));
    }
}

/// The bitmaps extension. Only its length is fatal in any case; for the rest, `worst` is.
pub(super) fn bitmaps(
    extension: &Extension<'_>,
    geometry: Option<Geometry>,
    file_len: u64,
    worst: Severity,
    out: &mut Vec<Finding>,
) {
    if u64::from(extension.head.length) != BitmapsExtension::LEN {
        out.push(about(extension, &E14, field::LENGTH, extension.head.length, 24_u32));
    }
    let Some(bitmaps) = BitmapsExtension::decode(extension.data) else { return };
    let finding = |rule, field: Field, found: Evidence, wanted: Evidence| {
        let at = field.at(extension.data_at());
        Finding::new(rule, Structure::BitmapsExtension, at, found, wanted).at_most(worst)
    };
    if bitmaps.reserved != 0 {
        out.push(finding(
            &E15,
            bitmaps_field::RESERVED,
            Evidence::Hex(bitmaps.reserved.into()),
            0_u32.into(),
        ));
    }
    match bitmaps.nb_bitmaps {
        0 => out.push(finding(&E16, bitmaps_field::NB_BITMAPS, 0_u32.into(), "at least 1".into())),
        many if many > QEMU_MAX_BITMAPS => {
            out.push(
                finding(&E17, bitmaps_field::NB_BITMAPS, many.into(), "at most 65535".into()).only_qemu(),
            );
        }
        _ => {}
    }
    match bitmaps.bitmap_directory_size {
        // No bitmap's entry has room in it: not only QEMU's limit.
        0 => out.push(finding(&E19, bitmaps_field::BITMAP_DIRECTORY_SIZE, 0_u32.into(), "at least 1".into())),
        long if long > QEMU_MAX_BITMAP_DIRECTORY => {
            let finding =
                finding(&E19, bitmaps_field::BITMAP_DIRECTORY_SIZE, long.into(), "at most 67107840".into());
            out.push(finding.only_qemu());
        }
        _ => {}
    }
    let at = bitmaps.bitmap_directory_offset;
    let wanted: Option<Evidence> = match geometry {
        Some(geometry) if !at.is_aligned(geometry.cluster_size()) => Some(multiple(geometry).into()),
        _ if at.0 == 0 => Some("a cluster behind the header".into()),
        _ if at.0 >= file_len => Some(format!("less than {file_len:#x}").into()),
        _ => None,
    };
    out.extend(wanted.map(|wanted| finding(&E18, bitmaps_field::BITMAP_DIRECTORY_OFFSET, hex(at), wanted)));
}

fn hex(at: HostOffset) -> Evidence {
    Evidence::Hex(at.0)
}

fn multiple(geometry: Geometry) -> String {
    format!("a multiple of {:#x}", geometry.cluster_size())
}
