//! Clusters in conflict with many owners, in images made for it: the one owner that makes it a breach decides, however
//! many come before it.
#![allow(clippy::unwrap_used, reason = "a test may stop at what it does not expect")]

use qcow2_inspect::audit::{AuditOptions, Decision, Policy, audit};
use qcow2_inspect::check::{CheckOptions, Checked, Verdict, check};
use qcow2_inspect::finding::Finding;
use qcow2_inspect::format::{header, snapshot};
use qcow2_inspect::references::Role;
use qcow2_inspect::rules::named::BUDGET_SPENT;
use qcow2_inspect::units::{Tree, to_usize};
use qcow2_inspect::{Image, Limits};
use qcow2_testkit::Draft;

const COUNTS: [u64; 4] = [7, 8, 9, 20];
const CLUSTER: u64 = 512;
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
const COMPRESSED: u64 = 1 << 62;

/// An image with two empty L2 tables, and where they are.
fn image() -> (Draft, u64, u64) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/valid/v3-512.qcow2");
    let mut draft = Draft::new(std::fs::read(path).unwrap());
    let tables = [0, 1].map(|n| draft.get(draft.l1_entry(n), 8) & OFFSET);
    tables.iter().for_each(|table| draft.put(*table, &[0; 512]));
    (draft, tables[0], tables[1])
}

fn checked(draft: &Draft) -> Checked {
    check(&draft.image(), &CheckOptions::default(), &mut |_: Finding| ())
}

fn assert_breach(draft: &Draft, rule: &str, case: &str) -> Checked {
    let checked = checked(draft);
    assert!(checked.rules.iter().any(|(found, _)| found.code == rule), "{case}: {:?}", checked.rules);
    assert_eq!(checked.verdict, Verdict::Corrupt, "{case}");
    let gate = audit(&draft.image(), &Policy::upload(), &AuditOptions::default());
    assert_eq!(gate.decision, Decision::Reject, "{case}");
    checked
}

#[test]
fn data_over_a_table_is_a_breach_with_any_number_of_owners() {
    for count in COUNTS {
        for is_table_first in [false, true] {
            let (mut draft, mut over, mut table) = image();
            if is_table_first {
                (over, table) = (table, over);
            }
            (0..count).for_each(|n| draft.put_u64(over + n * 8, table));
            let case = format!("{count}, table first: {is_table_first}");
            let checked = assert_breach(&draft, "O02", &case);
            let doubtful = checked.losses[0].doubtful_bytes;
            assert!(doubtful >= 64 * CLUSTER + 7 * CLUSTER, "{case}: {doubtful}");
        }
    }
}

#[test]
fn data_over_compressed_clusters_is_a_breach_with_any_number_of_owners() {
    for count in COUNTS {
        for (odd, is_data_odd) in [(0, true), (count, true), (0, false), (count, false)] {
            let (mut draft, table, _) = image();
            let host = draft.add_clusters(1);
            for n in 0..=count {
                let is_data = (n == odd) == is_data_odd;
                draft.put_u64(table + n * 8, if is_data { host } else { COMPRESSED | (host + n * 16) });
            }
            assert_breach(&draft, "O04", &format!("{count}, odd {odd}, data: {is_data_odd}"));
        }
    }
}

#[test]
fn what_all_owners_map_is_doubtful_however_few_are_named() {
    for count in COUNTS {
        // Guest clusters apart from each other, over the other table: and the 64 that this one maps.
        let (mut draft, over, table) = image();
        (0..count).for_each(|n| draft.put_u64(over + n * 3 * 8, table));
        let checked = assert_breach(&draft, "O02", &count.to_string());
        let loss = &checked.losses[0];
        assert_eq!((loss.doubtful_bytes, checked.complete), ((64 + count) * CLUSTER, true), "{count}");
        assert_eq!(loss.lost_bytes, 0, "{count}");
    }
}

#[test]
fn a_long_name_of_an_owner_is_cut() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/valid/v3-snapshots.qcow2");
    let mut draft = Draft::new(std::fs::read(path).unwrap());
    let table = draft.get(draft.snapshot(0).head.l1_table_offset.0, 8) & OFFSET;
    draft.put_u64(table, draft.get(draft.l1_entry(0), 8) & OFFSET);
    draft.set_snapshot(0, snapshot::field::NAME_SIZE, 65_535);
    draft.set_header(header::field::NB_SNAPSHOTS, 1);
    let from = draft.header(header::field::SNAPSHOTS_OFFSET);
    let entry = draft.bytes[usize::try_from(from).unwrap()..][..100].to_vec();
    let to = draft.add_clusters(65);
    draft.put(to, &entry);
    draft.set_header(header::field::SNAPSHOTS_OFFSET, to);
    let mut found = Vec::new();
    check(&draft.image(), &CheckOptions::default(), &mut |finding: Finding| found.push(finding));
    let shared = found.iter().find(|finding| finding.rule.code == "O02").unwrap();
    let text = format!("{:?}", shared.found);
    assert!(text.contains("(snapshot 1 \\\"") && text.contains('…') && text.len() < 1000, "{text}");
}

/// QEMU uses the tree of an entry that the end of the file cuts: the pointer to its L1 table stands in that entry.
#[test]
fn a_cut_snapshot_owns_its_table() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/corpus/valid/v3-snapshots.qcow2");
    let mut draft = Draft::new(std::fs::read(path).unwrap());
    let snapshot = draft.snapshot(0);
    let entry =
        draft.bytes[to_usize(snapshot.at.0)..][..to_usize(snapshot.id_at().0 - snapshot.at.0)].to_vec();
    let table = draft.add_clusters(1);
    draft.set_header(header::field::NB_SNAPSHOTS, 1);
    draft.set_header(header::field::SNAPSHOTS_OFFSET, table);
    // The guest's first cluster over the snapshot's L1 table.
    draft.put_u64(draft.l2_entry(0), snapshot.head.l1_table_offset.0);
    draft.bytes.truncate(to_usize(table));
    draft.put(table, &entry);
    let checked = checked(&draft);
    let owners = checked.owners.iter().flat_map(|(_, owners)| owners);
    let l1 =
        owners.clone().find(|owner| owner.role == Role::L1Table && owner.tree == Some(Tree::Snapshot(0)));
    assert_eq!(l1.map(|owner| owner.pointer.0), Some(table), "{:?}", checked.owners);
}

/// What cannot be remembered is not judged, and nobody calls that clean.
#[test]
fn conflicts_past_the_limit_are_no_secret() {
    let (mut draft, over, table) = image();
    (0..3).for_each(|n| draft.put_u64(over + n * 8, table));
    for conflicts in [0, 1] {
        let limits = Limits { conflicts, ..Limits::DEFAULT };
        let image = Image::open(draft.bytes.as_slice(), limits).unwrap();
        let gate = audit(&image, &Policy::upload(), &AuditOptions::default());
        assert_eq!((gate.decision, gate.complete), (Decision::Reject, conflicts == 1), "{conflicts}");
        assert_eq!(gate.findings.has(&BUDGET_SPENT), conflicts == 0, "{conflicts}");
    }
}
