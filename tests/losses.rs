//! Which guest data is lost, where more of it is than is kept range by range: the bytes are counted all the same, or
//! the check says that it is not complete.
#![allow(clippy::unwrap_used, reason = "a test may stop at what it does not expect")]

use qcow2_inspect::check::{CheckOptions, Checked, check};
use qcow2_inspect::finding::Finding;
use qcow2_inspect::format::header::field;
use qcow2_inspect::units::Tree;
use qcow2_inspect::{Image, Limits};
use qcow2_testkit::Draft;

const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Offset bits of an entry that is on no cluster boundary.
const BROKEN: u64 = 1 << 20 | 512;

fn draft(name: &str) -> Draft {
    let path = format!("{}/corpus/valid/{name}.qcow2", env!("CARGO_MANIFEST_DIR"));
    Draft::new(std::fs::read(path).unwrap())
}

/// The check with room for so many ranges, and whether it says that this was too little.
fn checked(draft: &Draft, lost_ranges: usize) -> (Checked, bool) {
    let limits = Limits { lost_ranges, ..Limits::DEFAULT };
    let image = Image::open(draft.bytes.as_slice(), limits).unwrap();
    let mut is_told = false;
    let checked = check(&image, &CheckOptions::default(), &mut |finding: Finding| {
        is_told |= finding.rule.code == "T01" && finding.found.to_string().contains("lost_ranges");
    });
    assert_eq!(checked.complete, !is_told, "{:?}", checked.rules);
    (checked, is_told)
}

/// Every other entry of the first L2 table is broken: 64 of 128 clusters of 1 KiB.
fn every_other() -> Draft {
    let mut draft = draft("v3-basic");
    // The others say zeros: most of the table makes sense.
    (0..128).for_each(|n| draft.put_u64(draft.l2_entry(n), if n % 2 == 0 { BROKEN } else { 1 }));
    draft
}

#[test]
fn bytes_are_exact_where_places_are_not_kept() {
    let draft = every_other();
    for room in [64, 63, 5, 1] {
        let (checked, is_told) = checked(&draft, room);
        let loss = &checked.losses[0];
        assert_eq!((loss.lost_bytes, is_told), (64 << 10, false), "{room}");
        assert_eq!(loss.lost.further_bytes(), u64::try_from(64 - room).unwrap() << 10);
        assert_eq!(loss.lost.iter().count(), room);
    }
}

#[test]
fn a_table_that_is_lost_twice_counts_twice() {
    let mut draft = every_other();
    let table = draft.get(draft.l1_entry(0), 8) & OFFSET;
    (1..4).for_each(|n| draft.put_u64(draft.l1_entry(n), table));
    for room in [1000, 64, 5] {
        let (checked, is_told) = checked(&draft, room);
        assert_eq!((checked.losses[0].lost_bytes, is_told), (4 * (64 << 10), false), "{room}");
    }
}

#[test]
fn a_disk_that_ends_within_a_table_loses_no_more_than_it_has() {
    let mut draft = every_other();
    let table = draft.get(draft.l1_entry(0), 8) & OFFSET;
    (1..8).for_each(|n| draft.put_u64(draft.l1_entry(n), table));
    draft.set_header(field::SIZE, (7 << 17) + 4096);
    let exact = checked(&draft, 1000).0.losses[0].lost_bytes;
    assert_eq!(exact, 7 * (64 << 10) + 2048);
    for room in [64, 9, 1] {
        let (checked, is_told) = checked(&draft, room);
        let lost = checked.losses[0].lost_bytes;
        assert!(lost >= exact && lost <= exact + 2048, "{room}: {lost}");
        assert!(is_told || lost == exact, "{room}: {lost}");
    }
}

/// A damage of each tree in a table of its own.
fn three_trees() -> Draft {
    let mut draft = draft("v3-snapshots");
    let mut tables = vec![draft.get(draft.l1_entry(0), 8) & OFFSET];
    tables.extend([0, 1].map(|n| draft.get(draft.snapshot(n).head.l1_table_offset.0, 8) & OFFSET));
    tables.into_iter().for_each(|table| draft.put_u64(table, BROKEN));
    draft
}

#[test]
fn trees_that_are_left_out_are_told_of() {
    let draft = three_trees();
    for (room, trees) in [(1, 1), (2, 2), (3, 3), (1000, 3)] {
        let (checked, is_told) = checked(&draft, room);
        assert_eq!((checked.losses.len(), is_told), (trees, trees < 3), "{room}");
    }
    let (checked, is_told) = checked(&draft, 0);
    assert_eq!((checked.losses.len(), is_told), (0, true));
}

#[test]
fn a_search_that_ends_early_is_told_of() {
    let mut draft = draft("v3-snapshots");
    let table = draft.get(draft.snapshot(0).head.l1_table_offset.0, 8) & OFFSET;
    draft.put_u64(table, BROKEN);
    let l1_size = 1 << 18;
    let l1 = draft.add_clusters(l1_size / 128);
    draft.set_header(field::L1_TABLE_OFFSET, l1);
    draft.set_header(field::L1_SIZE, l1_size);
    let is_of = |tree: Tree| tree == Tree::Snapshot(0);
    let is_hit =
        |checked: &Checked| checked.losses.iter().any(|loss| is_of(loss.tree) && loss.lost_bytes != 0);
    let (all, is_told) = checked(&draft, 1000);
    assert_eq!((is_hit(&all), is_told), (true, false), "{:?}", all.losses);
    let (cut, is_told) = checked(&draft, 2);
    assert_eq!((is_hit(&cut), is_told), (false, true), "{:?}", cut.losses);
}
