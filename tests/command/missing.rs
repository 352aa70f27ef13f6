//! Guest bytes that are not in the file: one word for them in all commands, and no exit code of 0.

use std::fs;
use std::path::Path;
use std::process::Command;

use qcow2_testkit::Draft;
use serde_json::Value;

use crate::process::{Ran, image, run};

/// The guest bytes of the disk that `map` calls missing, and how it ends.
fn missing(path: &Path) -> (u64, Option<i32>) {
    let ran = run(&["map", "--format=jsonl", path.to_str().unwrap()]);
    let lines = String::from_utf8(ran.stdout).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let is_missing = |line: &&Value| line["kind"] == "missing";
    assert!(lines.iter().filter(is_missing).all(|line| line["rule"].is_string()), "{lines:?}");
    let sum = lines.iter().filter(is_missing).map(|line| line["length"].as_u64().unwrap()).sum();
    assert_eq!(lines.last().unwrap()["missing"], sum);
    (sum, ran.code)
}

/// `read` into a file: what it says, and whether the file is there.
fn read(path: &Path, more: &[&str]) -> (Ran, Option<Vec<u8>>) {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("disk.raw");
    let ran = run(&[&["read", path.to_str().unwrap(), "-o", out.to_str().unwrap()], more].concat());
    (ran, fs::read(out).ok())
}

/// What `qemu-img map` prints.
fn qemu_map(path: &Path) -> Value {
    let ran = Command::new("qemu-img").args(["map", "--output=json"]).arg(path).output().unwrap();
    assert!(ran.status.success(), "{ran:?}");
    serde_json::from_slice(&ran.stdout).unwrap()
}

#[test]
fn what_a_cut_file_does_not_hold_is_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.qcow2");
    let whole = image("valid/v3-basic");
    fs::write(&path, &whole).unwrap();
    assert_eq!(missing(&path), (0, Some(0)));
    let cluster = 1024;
    let mut seen = 0;
    for clusters in 4..whole.len() / cluster {
        fs::write(&path, &whole[..clusters * cluster]).unwrap();
        let (bytes, code) = missing(&path);
        let check = run(&["check", "--format=json", path.to_str().unwrap()]);
        let check: Value = serde_json::from_slice(&check.stdout).unwrap();
        let lost: u64 =
            check["losses"].as_array().unwrap().iter().map(|loss| loss["lost_bytes"].as_u64().unwrap()).sum();
        assert_eq!(bytes, lost, "{clusters} clusters: map and check differ");
        assert_eq!(code, Some(i32::from(bytes != 0)), "{clusters} clusters");
        let array = run(&["map", "--format=json", path.to_str().unwrap()]);
        if check["verdict"] != "unusable" {
            let theirs = qemu_map(&path);
            let mut ours: Value = serde_json::from_slice(&array.stdout).unwrap();
            ours.as_array_mut()
                .unwrap()
                .iter_mut()
                .for_each(|range| _ = range.as_object_mut().unwrap().remove("error"));
            assert_eq!(ours, theirs, "{clusters} clusters");
        }
        let (ran, file) = read(&path, &[]);
        assert_eq!((ran.code, file.is_some()), (code, bytes == 0), "{clusters} clusters: {}", ran.stderr);
        let (ran, file) = read(&path, &["--keep-going"]);
        assert_eq!(ran.code, Some(if bytes == 0 { 0 } else { 2 }), "{clusters} clusters: {}", ran.stderr);
        assert!(file.is_some());
        if bytes != 0 {
            assert!(ran.stderr.contains(&format!("zeros stand for {bytes} guest bytes")), "{}", ran.stderr);
            seen += 1;
        }
    }
    assert!(seen > 3, "only {seen} cuts lost anything");
}

/// Every entry of the table says zeros and leads nowhere: nobody meant zeros by it.
#[test]
fn zeros_of_an_overwritten_table_are_missing() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.qcow2");
    let mut draft = Draft::new(image("valid/v3-basic"));
    (0..128).for_each(|index| draft.put_u64(draft.l2_entry(index), 0x0001_0001_0001_0001));
    fs::write(&path, &draft.bytes).unwrap();
    assert_eq!(missing(&path), (128 << 10, Some(1)));
    let (ran, file) = read(&path, &[]);
    assert_eq!((ran.code, file), (Some(1), None), "{}", ran.stderr);
    let there = run(&["locate", "--guest", "0x400", "--format=json", path.to_str().unwrap()]);
    let located: Value = serde_json::from_slice(&there.stdout).unwrap();
    assert_eq!((&located["guest"]["kind"], &located["guest"]["rule"]), (&"missing".into(), &"L09".into()));
    assert_eq!(there.code, Some(1));
    // A cluster of zeros that keeps its place behind the end of a file that was cut is one of zeros.
    let mut draft = Draft::new(image("valid/v3-basic"));
    let behind = u64::try_from(draft.bytes.len()).unwrap().next_multiple_of(1024) + 4096;
    draft.put_u64(draft.l2_entry(0), behind | 1 << 63 | 1);
    fs::write(&path, &draft.bytes).unwrap();
    assert_eq!(missing(&path), (0, Some(0)));
}

/// Its L2 table was wiped: whoever takes the disk out is told that zeros may be lost data.
#[test]
fn what_a_wiped_table_had_is_told_by_read() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.qcow2");
    let mut draft = Draft::new(image("valid/v3-basic"));
    fs::write(&path, &draft.bytes).unwrap();
    let (ran, _) = read(&path, &[]);
    assert_eq!((ran.code, ran.stderr.as_str()), (Some(0), ""));
    (0..128).for_each(|index| draft.put_u64(draft.l2_entry(index), 0));
    fs::write(&path, &draft.bytes).unwrap();
    let (ran, file) = read(&path, &[]);
    let wanted = "L30: 131072 guest bytes, the first at 0x0, read as zeros and may be lost; see check";
    assert_eq!(ran.stderr, format!("qcow2-inspect: {}: {wanted}\n", path.display()));
    assert!(ran.code == Some(0) && file.is_some());
}
