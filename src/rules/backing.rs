//! The backing file: where its name stands, what the name says, and the name of its format.

use super::field::{extension_data, extension_field, header_field as field};
use super::{data_file, names, stopped};
use crate::finding::{Evidence, Finding, Structure, rules};
use crate::format::extension::{self, BACKING_FORMAT};
use crate::format::header::{MAX_BACKING_NAME_LEN, field};
use crate::format::scalar::text as before_nul;
use crate::format::{Field, qemu};
use crate::image::{Extension, Header, Image};
use crate::source::ReadAt;
use crate::text;
use crate::units::Geometry;

rules! {
    BACKING_NAME_OFFSET_INVALID: H36 "backing-name-offset-invalid" Fatal Must {
        title: "backing_file_offset must lie inside the first cluster",
        why: "the name would be read from clusters that hold other structures",
        advice: "take the name from whoever made the image, and rebase a copy with `qemu-img rebase -u`",
        spec: "Header extensions",
        fields: [Header.BACKING_FILE_OFFSET],
        qemu: Refused Refused "'Invalid backing file offset'; exactly at the cluster's end with a length: \
            'Backing file name too long', without one it opens",
    }
    BACKING_NAME_TOO_LONG: H37 "backing-name-too-long" Fatal Must {
        title: "the backing file name must have at most 1023 bytes and end inside the first cluster",
        why: "a longer name runs out of the first cluster or out of the reader's buffer",
        advice: "shorten the path: move the backing file, and rebase a copy with `qemu-img rebase -u`",
        spec: "Header",
        fields: [Header.BACKING_FILE_SIZE],
        qemu: Refused Refused "'Backing file name too long'; not checked where backing_file_offset is 0",
    }
    BACKING_NAME_IN_HEADER: H38 "backing-name-in-header" Warning Must {
        title: "the backing file name must lie behind the header and its extensions, not over them",
        why: "the end of the extension list is where the name starts, so a name inside it hides extensions from \
            some readers",
        advice: "treat it as hostile: no program writes that, and what is hidden differs by reader",
        spec: "Header extensions",
        fields: [Header.BACKING_FILE_OFFSET],
        qemu: Silently Silently "extensions end where the name starts, so a name at offset 4 hides all of \
            them; other readers may still see them",
        risk: TwoReadings,
    }
    BACKING_OFFSET_WITHOUT_SIZE: H39 "backing-offset-without-size" Warning Extra {
        title: "backing_file_offset and backing_file_size are expected to be both 0 or both not 0",
        why: "one reader sees a backing file where another sees none, and the offset alone already ends the \
            extension list",
        advice: "clear both fields in a copy if no backing file is meant",
        spec: "not in the specification; readers differ",
        fields: [Header.BACKING_FILE_OFFSET, Header.BACKING_FILE_SIZE],
        qemu: Silently Silently "no backing file; but an offset with length 0 still ends the extensions \
            there, which can hide them",
        risk: TwoReadings,
    }
    BACKING_NAME_MALFORMED: H40 "backing-name-malformed" Warning Extra {
        title: "the backing file name must be valid UTF-8 without NUL and control characters",
        why: "names are cut at a NUL by some and not by others, and control characters attack whoever prints them",
        advice: "do not open it with a program that follows the name; replace it by `qemu-img rebase -u` on a copy",
        spec: "not in the specification; what is shown would not be what is opened",
        fields: [BackingFile.NAME],
        qemu: Silently Silently "the name is cut at its first NUL: 'bk.raw\\0zz' opens bk.raw",
        risk: FalseName,
    }
    BACKING_FILE_UNTRUSTED: H41 "backing-file-untrusted" Warning Extra {
        title: "the backing file name decides what QEMU opens next: another file of the host, a device, a \
            network address or the image itself",
        why: "opening the image makes QEMU open what is named, with QEMU's rights: files of the host, devices, the \
            network",
        advice: "detach it first: `qemu-img rebase -u -b ''` on a copy, or open it with backing overridden",
        spec: "not in the specification; opening the image opens what the name says",
        fields: [BackingFile.NAME],
        qemu: Varies Varies "info shows the name only; check, map and reading open it, and connect for nbd: \
            and the like. Missing file: exit 1. An image that is its own backing file never ends: memory \
            grows without bound; only --backing-chain says 'creates an infinite loop'",
        risk: OtherFile,
    }
    BACKING_FORMAT_MISSING: H42 "backing-format-missing" Warning Extra {
        title: "an image with a backing file should name that file's format, or readers must guess it",
        why: "without the format QEMU probes, and a guest that writes a header into a raw disk chooses what it is \
            taken for",
        advice: "name the format: `qemu-img rebase -u -F FORMAT -b NAME`, once you know which it is",
        spec: "not in the specification; a raw backing file whose guest wrote an image header is probed as \
            that",
        fields: [],
        qemu: Silently Silently "the backing file's format is probed; QEMU deprecates this",
    }
    BACKING_FORMAT_TOO_LONG: E05 "backing-format-too-long" Fatal Qemu {
        title: "the backing format's name must have at most 15 bytes for QEMU to open the image",
        why: "QEMU keeps the name in 16 bytes, and refuses a longer one",
        advice: "no known format has so long a name: set the right one with `qemu-img rebase -u -F`",
        spec: "QEMU block/qcow2.c, qcow2_read_extensions (a buffer of 16 bytes)",
        fields: [Extension.LENGTH],
        qemu: Refused Refused "'ERROR: ext_backing_format: len=N too large (>=16)'",
    }
    BACKING_FORMAT_UNEXPECTED: E06 "backing-format-unexpected" Note Extra {
        title: "a backing format is expected only where there is a backing file, and to name a known format",
        why: "it is useless where there is no backing file, and a format that nobody knows keeps QEMU from opening \
            one",
        advice: "drop it, or name raw or qcow2, with `qemu-img rebase -u -F`",
        spec: "not in the specification; QEMU resolves the name to one of its drivers",
        fields: [Extension.DATA],
        qemu: Silently Varies "not looked at without a backing file. With one, check opens it, and fails on \
            the name of a driver that does not exist",
    }
}

const OFFSET: Field = field::BACKING_FILE_OFFSET;
const SIZE: Field = field::BACKING_FILE_SIZE;

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

/// Judges the header's fields for the name.
pub(super) fn check_fields<R: ReadAt>(image: &Image<R>, out: &mut Vec<Finding>) {
    let header = image.header();
    let (at, len) = (header.v2.backing_file_offset, header.v2.backing_file_size);
    match (at.0, len) {
        (0, 0) => return,
        // Of the two, the one that is not 0 is what should not be there.
        (0, _) => {
            return out.push(field(header, &BACKING_OFFSET_WITHOUT_SIZE, SIZE, len, "0, as the offset"));
        }
        (_, 0) => out.push(field(
            header,
            &BACKING_OFFSET_WITHOUT_SIZE,
            OFFSET,
            Evidence::Hex(at.0),
            "0, as the size",
        )),
        _ if !image.has_extension(BACKING_FORMAT) => {
            let finding = field(header, &BACKING_FORMAT_MISSING, OFFSET, "a backing file", "its format too");
            // What is missing stands nowhere.
            out.push(Finding { at: None, ..finding });
        }
        _ => {}
    }
    if at < header.extensions_at() {
        let wanted = format!("at least {}", header.extensions_at());
        out.push(field(header, &BACKING_NAME_IN_HEADER, OFFSET, Evidence::Hex(at.0), wanted));
    }
    if len > MAX_BACKING_NAME_LEN {
        out.push(field(header, &BACKING_NAME_TOO_LONG, SIZE, len, format!("at most {MAX_BACKING_NAME_LEN}")));
    }
    let Some(cluster_size) = image.geometry().map(Geometry::cluster_size) else { return };
    match cluster_size.checked_sub(at.0) {
        None => {
            let wanted = format!("at most {cluster_size:#x}");
            out.push(field(header, &BACKING_NAME_OFFSET_INVALID, OFFSET, Evidence::Hex(at.0), wanted));
        }
        Some(room) if u64::from(len) > room && len <= MAX_BACKING_NAME_LEN => {
            out.push(field(
                header,
                &BACKING_NAME_TOO_LONG,
                SIZE,
                len,
                format!("at most {room}, the rest of the cluster"),
            ));
        }
        Some(_) => {}
    }
}

/// Judges the backing file's name, and where it leads. No file is opened or looked for.
pub(super) fn check_backing_file<R: ReadAt>(image: &Image<R>, out: &mut Vec<Finding>) {
    let name = match image.backing_file() {
        Ok(None) => return,
        Ok(Some(name)) => name,
        Err(error) => return out.push(stopped(error, Structure::BackingFile, &BACKING_NAME_TOO_LONG)),
    };
    if let Some(found) = names::unprintable(&name.bytes) {
        out.push(Finding::new(
            &BACKING_NAME_MALFORMED,
            Structure::BackingFile,
            name.span(),
            found,
            "printable UTF-8",
        ));
    }
    out.push(names::opened(&BACKING_FILE_UNTRUSTED, Structure::BackingFile, name.span(), &name.bytes));
}

/// Judges the extension that names the backing file's format.
pub(super) fn check_format(extension: &Extension<'_>, header: &Header, out: &mut Vec<Finding>) {
    if extension.head.length > qemu::MAX_FORMAT_NAME_LEN {
        let wanted = format!("at most {}", qemu::MAX_FORMAT_NAME_LEN);
        out.push(
            extension_field(
                extension,
                &BACKING_FORMAT_TOO_LONG,
                extension::field::LENGTH,
                extension.head.length,
                wanted,
            )
            .only_qemu(),
        );
    }
    let mut unexpected = |found: String, wanted: &'static str| {
        out.push(Finding::new(
            &BACKING_FORMAT_UNEXPECTED,
            Structure::Extension,
            extension_data(extension),
            found,
            wanted,
        ));
    };
    if !header.names_backing_file() {
        unexpected("a backing format".into(), "no such extension without a backing file");
    }
    if !FORMATS.iter().any(|format| format.as_bytes() == before_nul(extension.data)) {
        unexpected(text::shown(extension.data), "the name of a format that QEMU knows");
    }
    data_file::check_string(extension, Structure::Extension, out);
}
