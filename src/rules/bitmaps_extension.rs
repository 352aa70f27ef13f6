//! The bitmaps extension, and the feature bit that vouches for it.

use super::field::{extension_field, header_field as field};
use crate::finding::{Evidence, Finding, Severity, Structure, rules};
use crate::format::extension::{self, BITMAPS, BitmapsExtension, bitmaps_field};
use crate::format::header::field;
use crate::format::{Field, Layout, qemu};
use crate::image::{Extension, Header, Image};
use crate::source::ReadAt;
use crate::units::Geometry;

rules! {
    BITMAPS_EXTENSION_LENGTH: E14 "bitmaps-extension-length" Fatal Must {
        title: "the bitmaps extension must have 24 bytes",
        why: "the place and number of the bitmaps cannot be told",
        advice: "drop the extension in a copy: bitmaps only speed up the next backup, and a full one replaces them",
        spec: "Bitmaps extension",
        fields: [Extension.LENGTH],
        qemu: Refused Refused "'bitmaps_ext: Invalid extension length'",
    }
    BITMAPS_RESERVED_NONZERO: E15 "bitmaps-reserved-nonzero" Fatal Must {
        title: "the reserved field of the bitmaps extension must be 0",
        why: "a later format may give the field a meaning that changes the others",
        advice: "zero it in a copy if no newer program made the image",
        spec: "Bitmaps extension",
        fields: [BitmapsExtension.RESERVED],
        qemu: Refused Refused "'bitmaps_ext: Reserved field is not zero'; not checked while autoclear bit 0 \
            is clear",
    }
    BITMAPS_COUNT_ZERO: E16 "bitmaps-count-zero" Fatal Must {
        title: "a bitmaps extension must announce at least one bitmap",
        why: "an empty list should not be announced at all, and QEMU takes it for damage",
        advice: "remove the extension, and clear autoclear bit 0, in a copy",
        spec: "Bitmaps extension",
        fields: [BitmapsExtension.NB_BITMAPS],
        qemu: Refused Refused "'found bitmaps extension with zero bitmaps'; not checked while autoclear bit \
            0 is clear",
    }
    TOO_MANY_BITMAPS: E17 "too-many-bitmaps" Fatal Qemu {
        title: "nb_bitmaps must be at most 65535 for QEMU to open the image",
        why: "each bitmap costs memory when the image is opened, and QEMU stops here",
        advice: "compare with the directory, which mostly has far fewer entries",
        spec: "QEMU block/qcow2.h, QCOW2_MAX_BITMAPS",
        fields: [BitmapsExtension.NB_BITMAPS],
        qemu: Refused Refused "'bitmaps_ext: Image has N bitmaps, exceeding the QEMU supported maximum of \
            65535'",
    }
    BITMAP_DIRECTORY_OFFSET_INVALID: E18 "bitmap-directory-offset-invalid" Fatal Must {
        title: "bitmap_directory_offset must be a multiple of the cluster size, not 0, and inside the file",
        why: "the directory would be read from the header, from another structure or from nowhere",
        advice: "look for the bitmaps' names in the file: the directory is the cluster that has them",
        spec: "Bitmaps extension",
        fields: [BitmapsExtension.BITMAP_DIRECTORY_OFFSET],
        qemu: Refused Refused "unaligned: 'bitmaps_ext: invalid bitmap directory offset'; 0: the header is read as the \
            directory ('Broken bitmap directory'); behind the end: 'Bitmap '' doesn't satisfy the constraints'; 2^63: 'Failed to read \
            bitmap directory: Input/output error'",
    }
    BITMAP_DIRECTORY_SIZE_INVALID: E19 "bitmap-directory-size-invalid" Fatal Qemu {
        title: "bitmap_directory_size must be from 1 to 67107840 bytes for QEMU to open the image",
        why: "the directory is loaded as a whole, and QEMU bounds or needs its size",
        advice: "count the entries by `dump --only bitmaps`, and set the size that they take in a copy",
        spec: "QEMU block/qcow2.h, QCOW2_MAX_BITMAP_DIRECTORY_SIZE",
        fields: [BitmapsExtension.BITMAP_DIRECTORY_SIZE],
        qemu: Refused Refused "'bitmaps_ext: bitmap directory size (N) exceeds the maximum supported size \
            (67107840)', or 'Requested bitmap directory size is zero'",
    }
    BITMAPS_BIT_WITHOUT_EXTENSION: E20 "bitmaps-bit-without-extension" Warning Must {
        title: "the bitmaps bit (autoclear bit 0) must not be set without a bitmaps extension",
        why: "the bit promises bitmaps that cannot be found, and whoever relies on them misses changes",
        advice: "clear the bit in a copy, and make the next backup a full one",
        spec: "Header",
        fields: [Header.AUTOCLEAR_FEATURES],
        qemu: Silently Silently "accepted, though the specification calls it an error",
    }
    BITMAPS_INCONSISTENT: E21 "bitmaps-inconsistent" Warning Must {
        title: "a bitmaps extension is trusted only while autoclear bit 0 is set; here it is clear, and the \
            bitmaps are out of date",
        why: "something wrote to the image without keeping the bitmaps, so they miss changes",
        advice: "make a full backup; do not base an incremental one on them",
        spec: "Header",
        fields: [Extension.MAGIC],
        qemu: Varies Leak "opens with the warning 'a program lacking bitmap support modified this file, so \
            all bitmaps are now considered inconsistent', and checks only the extension's length. Check \
            counts their clusters as leaks; opening for writing drops the extension",
        bitmap: Inconsistent,
    }
    BITMAPS_IN_VERSION_2: E22 "bitmaps-in-version-2" Warning Extra {
        title: "a version 2 image is not expected to have a bitmaps extension: it has no bit to say that it \
            is consistent",
        why: "version 2 has no bit to say that the bitmaps are up to date, so nobody may trust them",
        advice: "remove them, or upgrade the image (`qemu-img amend -o compat=1.1`) and start new ones",
        spec: "not in the specification; QEMU considers such bitmaps inconsistent",
        fields: [Extension.MAGIC],
        qemu: Varies Varies "opens with the warning 'This qcow2 v2 image contains bitmaps, but they may have \
            been modified by a program without persistent bitmap support'. Check counts leaks only where the \
            bitmaps' clusters have a refcount",
        bitmap: Inconsistent,
    }
}

/// Judges whether the bit comes with the extension.
pub(super) fn check_bit<R: ReadAt>(image: &Image<R>, out: &mut Vec<Finding>) {
    let header = image.header();
    // Without the bit the list need not be looked through.
    if header.bitmaps_are_loaded() && !image.may_have_extension(BITMAPS) {
        out.push(field(
            header,
            &BITMAPS_BIT_WITHOUT_EXTENSION,
            field::AUTOCLEAR_FEATURES,
            "the bitmaps bit",
            "a bitmaps extension",
        ));
    }
}

/// Judges the extension. Only its length is fatal in any case: at the rest QEMU looks only where it would load the
/// bitmaps.
pub(super) fn check(
    extension: &Extension<'_>,
    header: &Header,
    geometry: Option<Geometry>,
    file_len: u64,
    out: &mut Vec<Finding>,
) {
    let is_consistent = header.bitmaps_are_loaded();
    let magic = || Evidence::Hex(extension.head.magic.0.into());
    if !header.has_v3() {
        out.push(extension_field(
            extension,
            &BITMAPS_IN_VERSION_2,
            extension::field::MAGIC,
            magic(),
            "no such extension in version 2",
        ));
    } else if !is_consistent {
        out.push(extension_field(
            extension,
            &BITMAPS_INCONSISTENT,
            extension::field::MAGIC,
            magic(),
            "autoclear feature bit 0 with it",
        ));
    }
    if u64::from(extension.head.length) != BitmapsExtension::LEN {
        out.push(extension_field(
            extension,
            &BITMAPS_EXTENSION_LENGTH,
            extension::field::LENGTH,
            extension.head.length,
            BitmapsExtension::LEN,
        ));
    }
    let Some(bitmaps) = BitmapsExtension::decode(extension.data) else { return };
    let worst = if is_consistent { Severity::Fatal } else { Severity::Warning };
    let finding = |rule, field: Field, found: Evidence, wanted: Evidence| {
        let at = field.at(extension.data_at());
        Finding::new(rule, Structure::BitmapsExtension, at, found, wanted).at_most(worst)
    };
    if bitmaps.reserved != 0 {
        out.push(finding(
            &BITMAPS_RESERVED_NONZERO,
            bitmaps_field::RESERVED,
            Evidence::Hex(bitmaps.reserved.into()),
            0_u32.into(),
        ));
    }
    match bitmaps.nb_bitmaps {
        0 => out.push(finding(
            &BITMAPS_COUNT_ZERO,
            bitmaps_field::NB_BITMAPS,
            0_u32.into(),
            "at least 1".into(),
        )),
        many if many > qemu::MAX_BITMAPS => {
            let wanted = format!("at most {}", qemu::MAX_BITMAPS);
            out.push(
                finding(&TOO_MANY_BITMAPS, bitmaps_field::NB_BITMAPS, many.into(), wanted.into()).only_qemu(),
            );
        }
        _ => {}
    }
    match bitmaps.bitmap_directory_size {
        // No bitmap's entry has room in it: not only QEMU's limit.
        0 => out.push(finding(
            &BITMAP_DIRECTORY_SIZE_INVALID,
            bitmaps_field::BITMAP_DIRECTORY_SIZE,
            0_u32.into(),
            "at least 1".into(),
        )),
        long if long > qemu::MAX_BITMAP_DIRECTORY_LEN => {
            let wanted = format!("at most {}", qemu::MAX_BITMAP_DIRECTORY_LEN);
            out.push(
                finding(
                    &BITMAP_DIRECTORY_SIZE_INVALID,
                    bitmaps_field::BITMAP_DIRECTORY_SIZE,
                    long.into(),
                    wanted.into(),
                )
                .only_qemu(),
            );
        }
        _ => {}
    }
    let at = bitmaps.bitmap_directory_offset;
    let wanted = match geometry.map(Geometry::cluster_size) {
        Some(cluster_size) if !at.is_aligned(cluster_size) => format!("a multiple of {cluster_size:#x}"),
        _ if at.0 == 0 => "a cluster behind the header".to_owned(),
        _ if at.0 >= file_len => format!("less than {file_len:#x}"),
        _ => return,
    };
    out.push(finding(
        &BITMAP_DIRECTORY_OFFSET_INVALID,
        bitmaps_field::BITMAP_DIRECTORY_OFFSET,
        Evidence::Hex(at.0),
        wanted.into(),
    ));
}
