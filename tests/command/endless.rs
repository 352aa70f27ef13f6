//! Small images whose tables claim the same bytes again and again: the guest's view of them ends, and says why.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use qcow2_inspect::format::Layout;
use qcow2_inspect::format::header::{HeaderV2, HeaderV3, MAGIC};
use qcow2_inspect::format::scalar::{ByteSize, ClusterBits};
use qcow2_inspect::units::HostOffset;

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
    // And what has, once for each of the first thousand owners.
    let ran = run(&["locate", "--host", &at(3).0.to_string(), "--format=json", path]).json();
    assert_eq!(ran["host"]["counted"], 1 << (14 + 13));
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
    assert_eq!(ran["host"]["counted"], 4 << 13);
}
