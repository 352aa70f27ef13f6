//! What a walk over an image hands out, and what holes of the file make of its map.
#![expect(clippy::unwrap_used, reason = "what fails here is the test")]

use std::convert::Infallible;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::{fs, io};

use qcow2_inspect::format::bitmap::field::BITMAP_TABLE_OFFSET;
use qcow2_inspect::format::extension::BITMAPS;
use qcow2_inspect::format::extension::bitmaps_field::BITMAP_DIRECTORY_SIZE;
use qcow2_inspect::guest::Disk;
use qcow2_inspect::image::{Section, Tables, Walk};
use qcow2_inspect::report::{Walked, write_map_json};
use qcow2_inspect::source::ReadAt;
use qcow2_inspect::units::{GuestOffset, GuestSpan, HostOffset, to_usize};
use qcow2_inspect::{Error, Image, Limits};
use qcow2_testkit::Draft;

/// A valid image of the corpus.
fn load(name: &str) -> Draft {
    let valid = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus/valid");
    Draft::new(fs::read(valid.join(name)).unwrap())
}

/// Whether a walk over the bitmaps left a table out for its limit.
fn is_spent(draft: &Draft, tables: Tables) -> bool {
    let image = draft.image();
    let mut walk = Walk::new(&image, tables);
    let Ok(()) = walk.section(Section::Bitmaps, &mut |_| -> Result<(), Infallible> { Ok(()) });
    walk.is_spent
}

#[test]
fn a_table_that_is_left_out_is_told_of_whatever_ends_the_list() {
    let mut draft = load("v3-bitmaps.qcow2");
    let table = draft.bitmap(0).head.bitmap_table_offset.0;
    draft.set_bitmap(1, BITMAP_TABLE_OFFSET, table);
    let mut cut = Draft::new(draft.bytes.clone());
    let at = HostOffset(cut.extension_data(BITMAPS));
    let len = cut.get(BITMAP_DIRECTORY_SIZE.at(at).at.0, BITMAP_DIRECTORY_SIZE.width);
    cut.set_field(at, BITMAP_DIRECTORY_SIZE, len + 8);
    for draft in [&draft, &cut] {
        assert!(is_spent(draft, Tables::Again(0)));
        assert!(!is_spent(draft, Tables::Again(9)) && !is_spent(draft, Tables::Once));
    }
}

/// A file with a hole, on a disk that dies.
struct Sparse {
    bytes: Vec<u8>,
    hole: Range<u64>,
    stored: Option<u64>,
    dies: AtomicBool,
}

impl ReadAt for Sparse {
    fn len(&self) -> io::Result<u64> {
        ReadAt::len(&self.bytes)
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        match self.dies.load(Ordering::Relaxed) {
            true => Err(io::ErrorKind::TimedOut.into()),
            false => self.bytes.as_slice().read_at(offset, buf),
        }
    }

    fn next_data(&self, offset: u64) -> Option<u64> {
        Some(if self.hole.contains(&offset) { self.hole.end } else { offset })
    }

    fn next_hole(&self, offset: u64) -> u64 {
        if offset < self.hole.end { offset.max(self.hole.start) } else { u64::MAX }
    }

    fn stored_len(&self) -> Option<u64> {
        self.stored
    }
}

/// The map of the whole disk.
fn map(image: &Image<&Sparse>) -> (String, Walked) {
    let (mut out, disk) = (Vec::new(), Disk::active(image).unwrap());
    let whole = GuestSpan { start: GuestOffset(0), len: disk.len() };
    let walked = write_map_json(&mut out, u64::MAX, &disk, whole).unwrap();
    (String::from_utf8(out).unwrap(), walked)
}

/// Holes are zeros only where the refcounts say that far more was allocated than is stored.
#[test]
fn refcounts_that_cannot_be_read_are_no_answer() {
    let draft = load("v3-basic.qcow2");
    let at = draft.l2_entry(0);
    let cluster = draft.get(at, 8) & 0x00ff_ffff_ffff_fe00;
    let size = draft.cluster_size();
    for (stored, is_zero) in [(None, false), (Some(1 << 30), false), (Some(0), true)] {
        let hole = cluster..cluster + size;
        let source = Sparse { bytes: draft.bytes.clone(), hole, stored, dies: AtomicBool::new(false) };
        let image = Image::open(&source, Limits::default()).unwrap();
        let (text, walked) = map(&image);
        let told =
            format!("\"zero\": {is_zero}, \"data\": true, \"compressed\": false, \"offset\": {cluster}}}");
        assert!(text.contains(&told) && walked.cut.is_none(), "{stored:?}: {text}");
        source.dies.store(true, Ordering::Relaxed);
        let (_, walked) = map(&image);
        let Some(Error::Io { what, .. }) = walked.cut else { panic!("{walked:?}") };
        assert_eq!(what == "the refcount table", stored.is_some(), "{what}");
    }
}

/// QEMU asks for the refcounts of all clusters, and takes an error for the answer that nothing was allocated ahead. Of a
/// block on no boundary it cannot read any, whatever stands there.
#[test]
fn refcounts_on_no_boundary_are_no_answer() {
    let mut draft = load("v3-basic.qcow2");
    let entry = draft.refcount_table_entry(0);
    let block = draft.get(entry, 8);
    let refcounts = draft.bytes[to_usize(block)..][..to_usize(draft.cluster_size())].to_vec();
    let to = draft.add_clusters(2);
    let cluster = draft.get(draft.l2_entry(0), 8) & 0x00ff_ffff_ffff_fe00;
    for (at, is_zero) in [(to, true), (to + 512, false)] {
        draft.put(at, &refcounts);
        draft.put_u64(entry, at);
        let hole = cluster..cluster + draft.cluster_size();
        let source =
            Sparse { bytes: draft.bytes.clone(), hole, stored: Some(0), dies: AtomicBool::new(false) };
        let (text, _) = map(&Image::open(&source, Limits::default()).unwrap());
        let told =
            format!("\"zero\": {is_zero}, \"data\": true, \"compressed\": false, \"offset\": {cluster}}}");
        assert!(text.contains(&told), "{at:#x}: {text}");
    }
}
