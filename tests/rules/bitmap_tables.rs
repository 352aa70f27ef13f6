//! Bitmap tables and the bits behind the end of a disk.

use std::convert::Infallible;

use qcow2_inspect::finding::Finding;
use qcow2_inspect::format::bitmap::field;
use qcow2_inspect::image::{Part, Section, Tables, Walk};
use qcow2_inspect::rules::Judge;
use qcow2_inspect::units::{HostOffset, Span};
use qcow2_testkit::Draft;

use crate::{load, tables};

/// What B18 finds in the first bitmap, and how many bytes were read for it.
fn tail(draft: &Draft) -> (Vec<Finding>, u64) {
    let image = draft.image();
    let (mut judge, mut told) = (Judge::new(&image, None), None);
    let Ok(()) =
        Walk::new(&image, Tables::Once).section(Section::Bitmaps, &mut |part| -> Result<(), Infallible> {
            let (before, mut out) = (image.bytes_read(), Vec::new());
            judge.part(&part, &mut out);
            if matches!(part, Part::Table(_)) && told.is_none() {
                told = Some((out, image.bytes_read() - before));
            }
            Ok(())
        });
    told.unwrap()
}

#[test]
fn stray_bits_are_found_where_they_are() {
    let (draft, first) = tables::finding("B18");
    let data = draft.get(draft.bitmap(0).table().at.0, 8);
    assert_eq!(first.at, Some(Span::new(HostOffset(data + 1), 1)));
    assert_eq!(first.wanted, "zero in the bits 0xf8".to_owned().into());
    let (_, last) = tables::finding("B18-last-bit");
    assert_eq!(last.at, Some(Span::new(HostOffset(data + 511), 1)));
    assert_eq!(last.wanted, "zero in the bits 0xff".to_owned().into());
}

#[test]
fn no_more_is_read_than_needed() {
    // 11 bits: the table's entry, and all but one byte of the cluster.
    assert_eq!(tail(&load("valid/v3-bitmap-tail")), (vec![], 8 + 511));
    // The bits fill the cluster.
    assert_eq!(tail(&load("valid/v3-bitmaps")), (vec![], 0));
    let mut draft = load("valid/v3-bitmap-tail");
    for (entry, wanted) in [(0, 8), (1, 8), (1 << 40, 8)] {
        draft.put_u64(draft.bitmap(0).table().at.0, entry);
        assert_eq!(tail(&draft), (vec![], wanted), "{entry:#x}");
    }
    draft.set_bitmap(0, field::BITMAP_TABLE_SIZE, 2);
    assert_eq!(tail(&draft), (vec![], 0));
}
