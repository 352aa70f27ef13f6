//! Small images whose tables claim the same bytes again and again: the guest's view of them ends, and says why.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use qcow2_inspect::format::Layout;
use qcow2_inspect::format::header::{HeaderV2, HeaderV3, MAGIC};
use qcow2_inspect::format::scalar::{ByteSize, ClusterBits};
use qcow2_inspect::guest::owners;
use qcow2_inspect::units::{GuestOffset, GuestSpan, HostOffset, Tree};
use qcow2_inspect::{Image, Limits};
use serde_json::{Value, json};

use crate::process::{Ran, run};

const COPIED: u64 = 1 << 63;

fn at(cluster: u64) -> HostOffset {
    HostOffset(cluster << 16)
}

/// An image whose L1 table has so many entries for one L2 table, all of whose entries are for one cluster.
fn image(path: &Path, tables: u32) {
    let header = HeaderV2 {
        magic: MAGIC,
        version: 3,
        cluster_bits: ClusterBits(16),
        size: ByteSize(u64::from(tables) << 29),
        l1_size: tables,
        l1_table_offset: at(4),
        refcount_table_offset: at(1),
        refcount_table_clusters: 1,
        ..Default::default()
    };
    let v3 = HeaderV3 { header_length: 104, refcount_order: 4, ..Default::default() };
    let file = File::create(path).unwrap();
    let repeat = |at: HostOffset, entry: u64, count: u32| {
        let bytes = entry.to_be_bytes().repeat(count.try_into().unwrap());
        file.write_all_at(&bytes, at.0).unwrap();
    };
    file.write_all_at(&[header.encode(), v3.encode()].concat(), 0).unwrap();
    repeat(at(4), COPIED | at(2).0, tables);
    repeat(at(2), COPIED | at(3).0, 1 << 13);
    file.write_all_at(&[0x5a; 1 << 16], at(3).0).unwrap();
}

fn is_cut(ran: &Ran) {
    assert_eq!((ran.code, ran.stderr.lines().count()), (Some(1), 1), "{}", ran.stderr);
    assert!(
        ran.stderr.contains(": stopped at 0x") && ran.stderr.contains(" the limit read_bytes of "),
        "{}",
        ran.stderr
    );
}

#[test]
fn tables_that_are_one_table_are_walked_up_to_a_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.qcow2");
    image(&path, 1 << 14);
    let path = path.to_str().unwrap();
    let out = folder.path().join("disk.raw");
    for format in ["text", "json", "jsonl"] {
        let ran = run(&["map", "--format", format, path]);
        is_cut(&ran);
        assert!(ran.stdout.len() < 1 << 30, "{} bytes", ran.stdout.len());
    }
    is_cut(&run(&["read", "-o", out.to_str().unwrap(), path]));
    assert!(!out.exists());
    // What has nothing in the byte's cluster is looked at once.
    let ran = run(&["locate", "--host", "0", "--format=json", path]).json();
    assert_eq!(ran["host"]["counted"], 1);
    // And what has too; of its owners only so many are told.
    let (data, all) = (at(3).0.to_string(), 1_u64 << (14 + 13));
    let ran = run(&["locate", "--host", &data, "--format=json", "--limit", "owners=1000", path]);
    let reason = "stopped at 0x30000: the limit owners of 1000 is spent";
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(1), &*format!("qcow2-inspect: {path}: {reason}\n")));
    let told: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!((&told["complete"], &told["error"]), (&json!(false), &json!(reason)));
    let host = &told["host"];
    assert_eq!(host["owners"].as_array().unwrap().len(), 1000);
    assert_eq!((&host["further_owners"], &host["counted"]), (&json!(all - 1000), &json!(all)));
    let ran = run(&["locate", "--host", &data, "--limit", "owners=1000", path]);
    let text = String::from_utf8(ran.stdout).unwrap();
    assert!(text.contains(&format!("\nand {} more\n", all - 1000)), "{text}");
    assert!(text.ends_with(&format!("\nincomplete: {reason}\n")) && ran.code == Some(1), "{text}");
}

#[test]
fn what_tables_share_is_looked_through_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.qcow2");
    image(&path, 1 << 14);
    let image = Image::open(File::open(&path).unwrap(), Limits::default()).unwrap();
    let before = image.bytes_read();
    let found = owners(&image, at(3)).unwrap();
    assert_eq!((found.owners.len(), found.counted), (65_537, 1 << (14 + 13)));
    // The L1 table, the refcount table and the L2 table, of which the last two are read twice at most.
    let read = image.bytes_read() - before;
    assert!(read < 1 << 20, "{read} bytes");
    // Each table of the guest has the owners that it would have alone.
    for (place, owner) in (0..).zip(&found.owners) {
        let guest = GuestSpan { start: GuestOffset(place << 16), len: 1 << 16 };
        assert_eq!((owner.guest, owner.tree, owner.span.at), (Some(guest), Some(Tree::Active), at(3)));
    }
}

#[test]
fn an_honest_image_is_within_the_limit() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.qcow2");
    // Four times the same table is no more than some snapshots have.
    image(&path, 4);
    let path = path.to_str().unwrap();
    run(&["map", path]).report();
    let ran = run(&["locate", "--host", &at(3).0.to_string(), "--format=json", path]).json();
    assert_eq!((&ran["host"]["counted"], &ran["complete"]), (&json!(4 << 13), &json!(true)));
    assert_eq!(ran["host"]["owners"].as_array().unwrap().len(), 4 << 13);
}
