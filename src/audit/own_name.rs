//! H41 and E25: a name that leads back to the image itself, so that opening it never ends.

use crate::Image;
use crate::finding::{Finding, Structure};
use crate::format::scalar;
use crate::rules::named::{BACKING_FILE_UNTRUSTED, DATA_FILE_UNTRUSTED};
use crate::source::ReadAt;
use crate::units::{Span, to_u64};

/// Judges the backing file's and the data file's name against the image's own path. The names are compared as text:
/// no file is looked for.
pub(super) fn check<R: ReadAt>(image: &Image<R>, path: Option<&[u8]>, out: &mut Vec<Finding>) {
    let Some(path) = path else { return };
    let mut itself = |rule, structure, at, name: &[u8]| {
        if leads_to(name, path) {
            out.push(Finding::new(rule, structure, at, "the image itself", "another file"));
        }
    };
    if let Ok(Some(name)) = image.backing_file() {
        itself(&BACKING_FILE_UNTRUSTED, Structure::BackingFile, name.span(), &name.bytes);
    }
    if let Some((at, name)) = image.data_file() {
        itself(&DATA_FILE_UNTRUSTED, Structure::DataFile, Span::new(at, to_u64(name.len())), name);
    }
}

/// Whether a name, as QEMU resolves it beside an image with this path, is that path.
fn leads_to(name: &[u8], path: &[u8]) -> bool {
    let name = scalar::text(name);
    let name = name.strip_prefix(b"file:").unwrap_or(name);
    if name.is_empty() {
        return false;
    }
    let folder_end = path.iter().rposition(|byte| *byte == b'/').map_or(0, |slash| slash.saturating_add(1));
    let folder = path.get(..folder_end).unwrap_or_default();
    let whole = if name.starts_with(b"/") { name.to_vec() } else { [folder, name].concat() };
    parts(&whole) == parts(path)
}

/// The steps of a path from the root, `.` and `..` resolved by their text.
fn parts(path: &[u8]) -> Vec<&[u8]> {
    let mut parts = Vec::new();
    for part in path.split(|byte| *byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_leads_to_the_image_however_it_is_spelled() {
        let path = b"/images/a/disk.qcow2";
        for name in [
            "disk.qcow2",
            "./disk.qcow2",
            "file:disk.qcow2",
            "../a/disk.qcow2",
            "/images/a/disk.qcow2",
            "/images//a/./disk.qcow2",
            "/images/b/../a/disk.qcow2",
            "disk.qcow2\0.base",
        ] {
            assert!(leads_to(name.as_bytes(), path), "{name:?}");
        }
        for name in ["", "disk.qcow", "a/disk.qcow2", "../disk.qcow2", "/disk.qcow2", "nbd:disk.qcow2"] {
            assert!(!leads_to(name.as_bytes(), path), "{name:?}");
        }
    }
}
