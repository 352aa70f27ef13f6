//! The encryption method, and the pointer to the LUKS header.

use super::ends_past_file;
use super::field::{extension_field, header_field as field, not_zeros};
use crate::Error;
use crate::finding::{Evidence, Finding, Severity, Structure, rules};
use crate::format::extension::{self, CRYPTO, CryptoExtension, crypto_field};
use crate::format::header::{CRYPT_AES, CRYPT_LUKS, field};
use crate::format::{Field, Layout};
use crate::image::{Extension, Header, Image, Luks};
use crate::source::ReadAt;
use crate::units::{Geometry, SECTOR, Span};

rules! {
    UNKNOWN_CRYPT_METHOD: H17 "unknown-crypt-method" Fatal Must {
        title: "crypt_method must be 0 (none), 1 (AES) or 2 (LUKS)",
        why: "nobody knows how to decrypt the data, or whether there is anything to decrypt",
        advice: "look at the extensions: with a LUKS header the number should be 2, without one probably 0",
        spec: "Header",
        fields: [Header.CRYPT_METHOD],
        qemu: Refused Refused "'Unsupported encryption method N'",
    }
    WEAK_AES_ENCRYPTION: H18 "weak-aes-encryption" Warning Should {
        title: "crypt_method 1 is the old AES format, deprecated because its design is weak",
        why: "its key is the bare password and its initial vectors can be predicted, so that known data shows \
            through",
        advice: "move the guest to LUKS: `qemu-img convert -o encrypt.format=luks` with the old and the new secret",
        spec: "Data encryption",
        fields: [Header.CRYPT_METHOD],
        qemu: Varies Refused "info shows the image as encrypted. Reading and check want the key: 'Parameter \
            'encrypt.key-secret' is required for cipher'",
    }
    CRYPTO_EXTENSION_UNEXPECTED: E09 "crypto-extension-unexpected" Fatal Must {
        title: "the encryption header extension may occur only where crypt_method is 2 (LUKS)",
        why: "it speaks of an encryption that the image does not claim to have",
        advice: "compare crypt_method: if the clusters look random, it should be 2",
        spec: "Full disk encryption header pointer",
        fields: [Extension.MAGIC],
        qemu: Refused Refused "'CRYPTO header extension only expected with LUKS encryption method'",
    }
    CRYPTO_EXTENSION_MISSING: E10 "crypto-extension-missing" Fatal Must {
        title: "an image with crypt_method 2 (LUKS) must have the encryption header extension",
        why: "the key slots cannot be found, and without them nobody can decrypt the data",
        advice: "search for the LUKS magic on cluster boundaries, and put its place into the extension of a copy",
        spec: "Full disk encryption header pointer",
        fields: [Header.CRYPT_METHOD],
        qemu: Refused Refused "'Missing CRYPTO header for crypt method 2'",
    }
    CRYPTO_EXTENSION_LENGTH: E11 "crypto-extension-length" Fatal Must {
        title: "the encryption header extension must have 16 bytes",
        why: "offset and length of the LUKS header do not fit into it",
        advice: "restore the 16 bytes from an earlier copy, or find the LUKS header by its magic",
        spec: "Full disk encryption header pointer",
        fields: [Extension.LENGTH],
        qemu: Refused Refused "'CRYPTO header extension size N, but expected size 16'",
    }
    CRYPTO_HEADER_UNALIGNED: E12 "crypto-header-unaligned" Fatal Must {
        title: "the encryption header must start on a cluster boundary",
        why: "QEMU reads the LUKS header by clusters, and refuses any other place",
        advice: "look for the LUKS magic at the boundary before and behind it",
        spec: "Full disk encryption header pointer",
        fields: [CryptoExtension.OFFSET],
        qemu: Refused Refused "'Encryption header offset 'N' is not a multiple of cluster size 'M''",
    }
    CRYPTO_HEADER_RANGE: E13 "crypto-header-range" Fatal Must {
        title: "the encryption header must lie inside the file, hold a whole LUKS header, and be followed by \
            zeros up to the end of its last cluster",
        why: "key material that is cut or overwritten makes the whole disk unreadable for ever",
        advice: "save the LUKS header before anything else: with it and the password, the data can still be decrypted",
        spec: "Full disk encryption header pointer",
        fields: [CryptoExtension.OFFSET, CryptoExtension.LENGTH],
        qemu: Varies Varies "offset behind the end: 'Volume is not in LUKS format'; length too small: \
            'Request for data outside of extension header'; length past the end opens. Check wants the key, \
            then counts a region past the end and leaks; junk behind the header is not seen",
    }
}

/// Judges the header's word on it.
pub(super) fn check_method<R: ReadAt>(image: &Image<R>, out: &mut Vec<Finding>) {
    let header = image.header();
    match header.v2.crypt_method {
        CRYPT_AES => out.push(field(
            header,
            &WEAK_AES_ENCRYPTION,
            field::CRYPT_METHOD,
            "1 (AES)",
            "0 (none) or 2 (LUKS)",
        )),
        CRYPT_LUKS if !image.has_extension(CRYPTO) => {
            let wanted = "an encryption header extension";
            out.push(field(header, &CRYPTO_EXTENSION_MISSING, field::CRYPT_METHOD, "2 (LUKS)", wanted));
        }
        unknown if unknown > CRYPT_LUKS => {
            out.push(field(header, &UNKNOWN_CRYPT_METHOD, field::CRYPT_METHOD, unknown, "0, 1 or 2"));
        }
        _ => {}
    }
}

/// Judges the extension that points at the LUKS header.
pub(super) fn check_pointer(
    extension: &Extension<'_>,
    header: &Header,
    geometry: Option<Geometry>,
    out: &mut Vec<Finding>,
) {
    let head = extension.head;
    if !header.is_luks() {
        let wanted = "no such extension where crypt_method is not 2";
        out.push(extension_field(
            extension,
            &CRYPTO_EXTENSION_UNEXPECTED,
            extension::field::MAGIC,
            Evidence::Hex(head.magic.0.into()),
            wanted,
        ));
    }
    if u64::from(head.length) != CryptoExtension::LEN {
        out.push(extension_field(
            extension,
            &CRYPTO_EXTENSION_LENGTH,
            extension::field::LENGTH,
            head.length,
            CryptoExtension::LEN,
        ));
    }
    let Some(pointer) = CryptoExtension::decode(extension.data) else { return };
    let Some(cluster_size) = geometry.map(Geometry::cluster_size) else { return };
    if !pointer.offset.is_aligned(cluster_size) {
        let at = crypto_field::OFFSET.at(extension.data_at());
        let (found, wanted) = (Evidence::Hex(pointer.offset.0), format!("a multiple of {cluster_size:#x}"));
        out.push(Finding::new(&CRYPTO_HEADER_UNALIGNED, Structure::CryptoExtension, at, found, wanted));
    }
}

/// E13: judges the part of the file that the extension points at.
pub(super) fn check_range<R: ReadAt>(
    image: &Image<R>,
    luks: &Luks,
    out: &mut Vec<Finding>,
) -> Result<(), Error> {
    let file_len = image.file_len();
    let (at, len) = (luks.span.at, luks.span.len);
    let finding = |field: Field, found: Evidence, wanted: Evidence| {
        let data_at = image.crypto_extension().map(|(data_at, _)| data_at).unwrap_or_default();
        Finding::new(&CRYPTO_HEADER_RANGE, Structure::CryptoExtension, field.at(data_at), found, wanted)
    };
    let luks_end = at.saturating_add(Luks::LEN);
    if luks_end.0 > file_len {
        let wanted = format!("at most {:#x}", file_len.saturating_sub(Luks::LEN));
        out.push(finding(crypto_field::OFFSET, Evidence::Hex(at.0), wanted.into()));
        return Ok(());
    }
    // Key material goes on up to the payload; what is behind the length cannot be read.
    let material_end = u64::from(luks.head.payload_offset).saturating_mul(SECTOR);
    if len < Luks::LEN {
        out.push(finding(crypto_field::LENGTH, len.into(), format!("at least {}", Luks::LEN).into()));
    } else if len < material_end {
        let wanted = format!("{material_end}, where the payload starts");
        out.push(finding(crypto_field::LENGTH, len.into(), wanted.into()).at_most(Severity::Warning));
    }
    let Some(geometry) = image.geometry() else { return Ok(()) };
    if luks.span.end().0 > file_len {
        let past = ends_past_file(file_len, luks.span, geometry);
        let worst = if past { Severity::Corruption } else { Severity::Warning };
        let wanted = format!("at most {}, where the file ends", file_len.saturating_sub(at.0));
        out.push(finding(crypto_field::LENGTH, len.into(), wanted.into()).at_most(worst));
        return Ok(());
    }
    if len < material_end {
        // What follows is key material, not padding.
        return Ok(());
    }
    let used = geometry.clusters_for(len).saturating_mul(geometry.cluster_size());
    let rest = Span::new(luks.span.end(), used.saturating_sub(len));
    if let Some(hidden) = image.chunks("the LUKS header's last cluster", rest).nonzero()? {
        let finding = Finding::new(&CRYPTO_HEADER_RANGE, Structure::Luks, hidden, not_zeros(hidden), "zeros");
        out.push(finding.at_most(Severity::Warning));
    }
    Ok(())
}
