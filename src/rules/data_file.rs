//! The external data file's name, and the strings of extensions.

use super::field::{extension_data, extension_field, header_field as field};
use super::names;
use crate::finding::{Evidence, Finding, Structure, rules};
use crate::format::extension::{self, DATA_FILE};
use crate::format::header::field;
use crate::image::{Extension, Header, Image};
use crate::source::ReadAt;

rules! {
    DATA_FILE_NAME_UNEXPECTED: E23 "data-file-name-unexpected" Warning Extra {
        title: "a data file name is expected only with the external data file bit (incompatible bit 2)",
        why: "readers that follow the name without looking at the bit open a file that the image does not need",
        advice: "reject it from strangers: CVE-2024-32498 is about such names; QEMU drops it at the next header \
            update",
        spec: "not in the specification; a reader may show or open a file that the image does not use",
        fields: [Extension.MAGIC],
        qemu: Silently Silently "info shows the name as the data file, though it is not used; the next \
            rewrite of the header drops it",
        risk: UnclearDataFile,
    }
    DATA_FILE_NAME_MISSING: E24 "data-file-name-missing" Warning Extra {
        title: "an image with an external data file should name it; otherwise each user must supply it",
        why: "the image cannot be opened without somebody who knows the data file",
        advice: "ask for the file, and open with data-file.filename=…",
        spec: "not in the specification, which makes the name optional",
        fields: [Header.INCOMPATIBLE_FEATURES],
        qemu: Varies Refused "info shows the image; opening it for data: ''data-file' is required for this \
            image'",
        risk: UnclearDataFile,
    }
    DATA_FILE_UNTRUSTED: E25 "data-file-untrusted" Warning Extra {
        title: "the data file name decides which file of the host QEMU takes for the guest's disk",
        why: "the guest's disk is whatever file is named there, with the rights of the process that opens it",
        advice: "open it only with the data file given by hand, and never in a service that follows the name",
        spec: "not in the specification; opening the image opens that file (CVE-2024-32498, CVE-2024-4467)",
        fields: [DataFile.NAME],
        qemu: Varies Varies "info does not open it; check, map and reading do. json: and nbd: are plain file \
            names here, a NUL cuts the name, the image itself is accepted. Missing file: exit 1; empty name: \
            'The 'file' block driver requires a file name'",
        risk: OtherFile,
    }
    EXTENSION_STRING_MALFORMED: E27 "extension-string-malformed" Warning Extra {
        title: "an extension that holds a name must be valid UTF-8 without NUL",
        why: "text that is cut at a NUL, or is no text, is read as different names",
        advice: "set the string anew with `qemu-img rebase -u` or `amend` on a copy",
        spec: "String header extensions",
        fields: [Extension.DATA, DataFile.NAME],
        qemu: Silently Silently "the string is cut at its first NUL, and otherwise taken as it stands",
        risk: FalseName,
    }
}

/// Judges whether an image with an external data file names it.
pub(super) fn check_bit<R: ReadAt>(image: &Image<R>, out: &mut Vec<Finding>) {
    if image.has_external_data() && !image.may_have_extension(DATA_FILE) {
        let (found, wanted) = ("the external data file bit", "an extension with the file's name");
        out.push(field(image.header(), &DATA_FILE_NAME_MISSING, field::INCOMPATIBLE_FEATURES, found, wanted));
    }
}

/// Judges the extension with the name. QEMU takes even a protocol for a plain file here, but other readers may not.
pub(super) fn check(extension: &Extension<'_>, header: &Header, out: &mut Vec<Finding>) {
    if !header.has_external_data() {
        let wanted = "no such extension without incompatible feature bit 2";
        out.push(extension_field(
            extension,
            &DATA_FILE_NAME_UNEXPECTED,
            extension::field::MAGIC,
            Evidence::Hex(extension.head.magic.0.into()),
            wanted,
        ));
    }
    check_string(extension, Structure::DataFile, out);
    let (at, name) = (extension_data(extension), extension.data);
    // What makes it no string at all is for E27 to say.
    out.push(match names::unprintable(name).filter(|_| names::not_a_string(name).is_none()) {
        Some(found) => Finding::new(&DATA_FILE_UNTRUSTED, Structure::DataFile, at, found, "printable UTF-8"),
        None => names::opened(&DATA_FILE_UNTRUSTED, Structure::DataFile, at, name),
    });
}

/// Judges the data of an extension that holds a name.
pub(super) fn check_string(extension: &Extension<'_>, structure: Structure, out: &mut Vec<Finding>) {
    if let Some(found) = names::not_a_string(extension.data) {
        out.push(Finding::new(
            &EXTENSION_STRING_MALFORMED,
            structure,
            extension_data(extension),
            found,
            "UTF-8 without NUL",
        ));
    }
}
