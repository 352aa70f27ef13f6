//! Every structure that is read whole can be written back as it was.

use super::LIMITS;
use crate::Image;
use crate::format::Layout;
use crate::units::{HostOffset, to_usize};

/// # Panics
/// Where a structure that was read gives other bytes when it is written.
pub fn check_round_trip(bytes: &[u8]) {
    let Ok(image) = Image::open(bytes, LIMITS) else { return };
    let header = image.header();
    same(bytes, "header", HostOffset(0), &header.v2.encode());
    if header.has_v3() {
        same(bytes, "version 3 header", HostOffset(72), &header.v3().encode());
    }
    for extension in image.extensions().map_while(Result::ok) {
        let parts = [&extension.head.encode(), extension.data, extension.padding].concat();
        same(bytes, "extension", extension.at, &parts);
    }
    for snapshot in image.snapshots().map_while(Result::ok) {
        let parts =
            [&snapshot.extra, &snapshot.id, &snapshot.name, &snapshot.padding].map(Vec::as_slice).concat();
        same(bytes, "snapshot", snapshot.at, &[snapshot.head.encode(), parts].concat());
    }
    for bitmap in image.bitmaps().map_while(Result::ok) {
        let parts = [&bitmap.extra, &bitmap.name, &bitmap.padding].map(Vec::as_slice).concat();
        same(bytes, "bitmap", bitmap.at, &[bitmap.head.encode(), parts].concat());
    }
    if let Ok(Some(luks)) = image.luks() {
        let slots = luks.slots.iter().flat_map(|(_, slot)| slot.encode());
        let written: Vec<u8> = luks.head.encode().into_iter().chain(slots).collect();
        same(bytes, "LUKS header", luks.span.at, &written);
    }
}

/// Whether `written` stands at `at`, as far as the file goes; behind it, the reader counts on zeros.
fn same(bytes: &[u8], what: &str, at: HostOffset, written: &[u8]) {
    let there = bytes.get(to_usize(at.0)..).unwrap_or_default();
    let there = there.get(..written.len()).unwrap_or(there);
    let (present, behind) = written.split_at(there.len());
    assert_eq!(present, there, "{what} at {at} is written otherwise than it was read");
    assert!(behind.iter().all(|byte| *byte == 0), "{what} at {at} has bytes behind the end of the file");
}
