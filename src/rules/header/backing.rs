//! The backing file's name: where the header says that it stands, and what it says.

use super::field;
use crate::finding::{Evidence, Finding, Structure};
use crate::format::Field;
use crate::format::extension::BACKING_FORMAT;
use crate::format::header::field;
use crate::image::{Header, Image};
use crate::rules::codes::{H36, H37, H38, H39, H40, H41, H42};
use crate::rules::{names, stopped};
use crate::source::ReadAt;
use crate::units::Geometry;

/// Longest name, by the specification.
const MAX_NAME: u32 = 1023;

const OFFSET: Field = field::BACKING_FILE_OFFSET;
const SIZE: Field = field::BACKING_FILE_SIZE;

/// Whether the image has a backing file.
pub(in crate::rules) fn is_named(header: &Header) -> bool {
    header.v2.backing_file_offset.0 != 0 && header.v2.backing_file_size != 0
}

pub(super) fn check<R: ReadAt>(image: &Image<R>, out: &mut Vec<Finding>) {
    let header = image.header();
    let (at, len) = (header.v2.backing_file_offset, header.v2.backing_file_size);
    match (at.0, len) {
        (0, 0) => return,
        // Of the two, the one that is not 0 is what should not be there.
        (0, _) => return out.push(field(header, &H39, SIZE, len, "0, as the offset")),
        (_, 0) => out.push(field(header, &H39, OFFSET, Evidence::Hex(at.0), "0, as the size")),
        _ if !image.extensions().flatten().any(|extension| extension.head.magic == BACKING_FORMAT) => {
            let finding = Finding::new(
                &H42,
                Structure::Header,
                header.span(OFFSET),
                "a backing file",
                "its format too",
            );
            // What is missing stands nowhere.
            out.push(Finding { at: None, ..finding });
        }
        _ => {}
    }
    if at < header.extensions_at() {
        let wanted = format!("at least {}", header.extensions_at());
        out.push(field(header, &H38, OFFSET, Evidence::Hex(at.0), wanted));
    }
    if len > MAX_NAME {
        out.push(field(header, &H37, SIZE, len, "at most 1023"));
    }
    let Some(cluster_size) = image.geometry().map(Geometry::cluster_size) else { return };
    match cluster_size.checked_sub(at.0) {
        None => {
            let wanted = format!("at most {cluster_size:#x}");
            out.push(field(header, &H36, OFFSET, Evidence::Hex(at.0), wanted));
        }
        Some(room) if u64::from(len) > room && len <= MAX_NAME => {
            out.push(field(header, &H37, SIZE, len, format!("at most {room}, the rest of the cluster")));
        }
        Some(_) => {}
    }
}

/// Judges the backing file's name, and where it leads. No file is opened or looked for.
pub fn check_backing_file<R: ReadAt>(image: &Image<R>, out: &mut Vec<Finding>) {
    let name = match image.backing_file() {
        Ok(None) => return,
        Ok(Some(name)) => name,
        Err(error) => return out.push(stopped(error, Structure::BackingFile, &H37)),
    };
    if let Some(found) = names::unprintable(&name.bytes) {
        out.push(Finding::new(&H40, Structure::BackingFile, name.span(), found, "printable UTF-8"));
    }
    out.push(names::opened(&H41, Structure::BackingFile, name.span(), &name.bytes));
}
