//! Family L: the L1 and L2 tables.

use qcow2_inspect::finding::Guest;
use qcow2_inspect::format::mapping::SubclusterBitmap;
use qcow2_inspect::image::{DiskTree, Entry, L1Table, Table};
use qcow2_inspect::rules::Judge;
use qcow2_inspect::units::{GuestOffset, HostOffset, Tree};

use crate::{load, tables};

#[test]
fn each_damage_breaks_its_rule() {
    tables::each_damage_breaks_its_rule(
        "L",
        &[
            "L01", "L02", "L03", "L05", "L06", "L07", "L08", "L09", "L10", "L12", "L13", "L14", "L16", "L17",
            "L18", "L19", "L20", "L21", "L23", "L24", "L25", "L29",
        ],
    );
}

#[test]
fn lost_guest_ranges_end_with_the_disk() {
    let range = |name: &str| {
        let guest = tables::finding(name).1.guest.unwrap();
        (guest.tree, guest.span.start.0, guest.span.len)
    };
    assert_eq!(range("L02"), (Tree::Active, 0, 128 << 10));
    assert_eq!(range("L03"), (Tree::Active, 32 << 10, 32 << 10));
    assert_eq!(range("L08"), (Tree::Active, 2 << 10, 1 << 10));
    assert_eq!(range("L09"), (Tree::Active, 512 << 10, 1 << 10));
    assert_eq!(range("L10"), (Tree::Active, (513 << 10) - 1, 1));
    assert_eq!(range("L10-subcluster"), (Tree::Active, 511, 1));
    for name in ["L01-highest-bit", "L05-highest-bit", "L12", "L17", "L21", "L23", "L24", "L25", "L29"] {
        assert_eq!(tables::finding(name).1.guest, None, "{name}");
    }
    let whole = Guest::new(Tree::Active, GuestOffset(0x1_0000), 0x1_0000, 0x1_2000);
    assert_eq!(whole.span.len, 0x2000);
    assert_eq!(Guest::new(Tree::Active, GuestOffset(0x2_0000), 0x1_0000, 0x1_2000).span.len, 0x1_0000);
}

fn disk_tree(tree: Tree, size: u32, disk_size: u64) -> DiskTree {
    DiskTree { l1: L1Table { tree, at: HostOffset(0), size }, disk_size }
}

/// The rules that an entry of an L2 table breaks, which stands somewhere.
fn fired(tree: DiskTree, l1_index: u64, entry: Entry) -> Vec<&'static str> {
    let draft = load("valid/v3-basic");
    let image = draft.image();
    let table = Table::l2(tree, l1_index, HostOffset(0x1000), image.geometry().unwrap());
    let mut out = Vec::new();
    Judge::new(&image, None).entry(&table, &entry, &mut out);
    tables::codes(&out)
}

#[test]
fn a_snapshot_keeps_its_vm_state_behind_its_own_disk() {
    // The image has grown to 1 MiB since: its own VM state would start at L1 index 8.
    let tree = disk_tree(Tree::Snapshot(0), 9, 64 << 10);
    let entry = |index| Entry { index, at: HostOffset(0x1000), raw: 0x1400, bitmap: None };
    assert_eq!(fired(tree, 1, entry(0)), [""; 0]);
    assert_eq!(fired(tree, 0, entry(64)), ["L24"]);
    assert_eq!(fired(tree, u64::MAX, entry(0)), [""; 0]);
}

#[test]
fn several_breaches_of_an_entry_are_all_told() {
    let tree = disk_tree(Tree::Active, u32::MAX, 1 << 20);
    let entry = |raw, bitmap: Option<u64>| {
        let bitmap = bitmap.map(SubclusterBitmap);
        Entry { index: u64::MAX, at: HostOffset(u64::MAX), raw, bitmap }
    };
    assert_eq!(fired(tree, u64::MAX, entry(u64::MAX, None)), ["L12", "L13"]);
    assert_eq!(fired(tree, u64::MAX, entry(!(1 << 62), None)), ["L05", "L08", "L09"]);
    assert_eq!(fired(tree, u64::MAX, entry(0, Some(u64::MAX))), ["L18", "L19"]);
    let (draft, mut out) = (load("valid/v3-basic"), Vec::new());
    Judge::new(&draft.image(), None).entry(&Table::l1(tree), &entry(u64::MAX, None), &mut out);
    assert_eq!(tables::codes(&out), ["L01", "L02", "L03", "L25"]);
}
