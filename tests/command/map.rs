//! `map` and `locate` as commands: trees, ranges, and what they say of backing files and broken tables.

use std::fs;

use serde_json::{Value, json};

use crate::process::{Ran, corpus, image, run};

fn map(name: &str, options: &[&str]) -> Ran {
    let path = corpus(name);
    run(&[&["map", path.to_str().unwrap()], options].concat())
}

fn lines(name: &str, options: &[&str]) -> Vec<Value> {
    let report = map(name, &[&["--format=jsonl"], options].concat()).report();
    report.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn what_a_backing_file_would_fill_is_told() {
    let text = map("valid/v3-backing", &[]).report();
    let rows = [
        "0x0000000000000000 0x0000000000000800 unallocated  backing file",
        "0x0000000000000800 0x0000000000000400 data         0x1400",
        "0x0000000000000c00 0x000000000000f400 unallocated  backing file",
        "what is unallocated comes from the backing file \"base.raw\", which was not opened",
    ];
    for row in rows {
        assert!(text.lines().any(|line| line == row), "{row}\n{text}");
    }
    let lines = lines("valid/v3-backing", &[]);
    assert_eq!(lines[0]["backing_file"], "base.raw");
    let backed: Vec<_> = lines.iter().filter(|line| line["backing"] == true).collect();
    assert_eq!(backed.len(), 2);
    assert_eq!(lines.last().unwrap()["unallocated"], 63 << 10);
    // Without one, the same is no business of any other file.
    let text = map("valid/v3-basic", &[]).report();
    assert!(text.contains("unallocated") && !text.contains("backing"), "{text}");
}

#[test]
fn a_snapshot_goes_by_its_id_and_then_by_its_name() {
    let path = corpus("valid/v3-snapshots");
    let info = run(&["info", "--format=json", path.to_str().unwrap()]).json();
    let active = lines("valid/v3-snapshots", &[]);
    assert_eq!(active[0]["tree"], "active");
    for snapshot in info["snapshots"].as_array().unwrap() {
        let (index, id) = (&snapshot["index"], snapshot["id"].as_str().unwrap());
        let by_id = lines("valid/v3-snapshots", &["--snapshot", id]);
        let by_name = lines("valid/v3-snapshots", &["--snapshot", snapshot["name"].as_str().unwrap()]);
        assert_eq!(by_id[0]["tree"], format!("snapshot:{index}"));
        assert_eq!(by_id, by_name);
        assert_ne!(by_id, active);
    }
    let ran = map("valid/v3-snapshots", &["--snapshot", "none\u{1b}"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.ends_with(": there is no snapshot none\\x1b\n"), "{}", ran.stderr);
}

#[test]
fn a_range_cuts_at_the_byte() {
    let whole = lines("valid/v3-basic", &[]);
    let length = whole[0]["length"].as_u64().unwrap();
    for (start, len) in [(0, 1), (1, 513), (1025, 70_000), (length - 1, 10), (length, 5), (length + 9, 1)] {
        let options = ["-s", &start.to_string(), "-l", &len.to_string()];
        let part = lines("valid/v3-basic", &options);
        let spans = |lines: &[Value]| -> Vec<(u64, u64, Value)> {
            let extents = lines.iter().filter(|line| line["type"] == "extent");
            let number = |line: &Value, key: &str| line[key].as_u64().unwrap();
            extents
                .map(|line| (number(line, "start"), number(line, "length"), line["kind"].clone()))
                .collect()
        };
        let end = (start + len).min(length);
        let cut = spans(&whole).into_iter().filter_map(|(at, len, kind)| {
            let (from, to) = (at.max(start), (at + len).min(end));
            (from < to).then(|| (from, to - from, kind))
        });
        assert_eq!(spans(&part), cut.collect::<Vec<_>>(), "{options:?}");
    }
    assert_eq!(lines("valid/v3-basic", &["-s", "1K", "-l", "0x200"])[1]["start"], 1024);
}

#[test]
fn a_range_that_comes_from_nowhere_is_told_and_exits_1() {
    let ran = map("damaged/L08-data-cluster-unaligned", &["--format=json"]);
    assert_eq!(ran.code, Some(1));
    assert!(ran.stderr.ends_with(" guest bytes are missing\n"), "{}", ran.stderr);
    let map: Value = serde_json::from_slice(&ran.stdout).unwrap();
    let broken: Vec<_> = map.as_array().unwrap().iter().filter(|part| part.get("error").is_some()).collect();
    assert!(broken.iter().all(|part| part["data"] == false && part["zero"] == false), "{broken:?}");
    assert!(broken[0]["error"].as_str().unwrap().starts_with("L08: "));
}

#[test]
fn locate_follows_a_guest_offset_and_comes_back() {
    let path = corpus("valid/v3-basic");
    let path = path.to_str().unwrap();
    let extents = lines("valid/v3-basic", &[]);
    let data = extents.iter().find(|line| line["kind"] == "data").unwrap();
    let offset = data["start"].as_u64().unwrap() + 5;
    let there = run(&["locate", "--guest", &offset.to_string(), "--format=json", path]).json();
    let host = there["guest"]["host_offset"].as_u64().unwrap();
    assert_eq!(host, data["offset"].as_u64().unwrap() + 5);
    let back = run(&["locate", "--host", &format!("{host:#x}"), "--format=json", path]).json();
    let owner = &back["host"]["owners"][0];
    assert_eq!((&owner["structure"], &owner["tree"]), (&json!("guest data"), &json!("active")));
    let start = owner["guest"]["start"].as_u64().unwrap();
    assert!(start <= offset && offset < start + owner["guest"]["length"].as_u64().unwrap());
    for entry in ["l1_entry_offset", "l2_entry_offset"] {
        let at = there["guest"][entry].as_u64().unwrap().to_string();
        let text = run(&["locate", "--host", &at, path]).report();
        assert!(text.contains(if entry.starts_with("l1") { "L1 table" } else { "L2 table" }), "{text}");
    }
    for options in [&[][..], &["--guest", "0", "--host", "0"], &["--host", "0", "--snapshot", "1"]] {
        let ran = run(&[&["locate", path], options].concat());
        assert_eq!((ran.code, ran.stdout.len()), (Some(1), 0), "{options:?}: {}", ran.stderr);
    }
}

#[test]
fn locate_says_what_is_not_of_the_disk() {
    let path = corpus("valid/v3-basic");
    let path = path.to_str().unwrap();
    let len = lines("valid/v3-basic", &[])[0]["length"].as_u64().unwrap();
    for (offset, in_disk) in [(len - 1, true), (len, false), (u64::MAX, false)] {
        let offset = offset.to_string();
        let found = run(&["locate", "--guest", &offset, "--format=json", path]).json();
        assert_eq!(found["guest"]["in_disk"], in_disk, "{offset}");
        let text = run(&["locate", "--guest", &offset, path]).report();
        assert_eq!(text.contains(", at or behind the end of the disk\n"), !in_disk, "{text}");
    }
}

#[test]
fn locate_says_what_nothing_refers_to() {
    let path = corpus("valid/v3-basic");
    let path = path.to_str().unwrap();
    // The end of the header's cluster, and what lies behind the end of the file.
    let (used, free) = ("\nnothing refers to it, but its cluster is in use\n", "\nnothing refers to it\n");
    for (offset, line) in [("1023", used), ("0x10000000000", free)] {
        let text = run(&["locate", "--host", offset, path]).report();
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn commands_on_the_guest_answer_to_what_is_no_image() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.qcow2");
    let name = path.to_str().unwrap();
    let mut no_geometry = image("valid/v3-basic");
    no_geometry[23] = 63;
    for bytes in [b"no image".to_vec(), no_geometry] {
        fs::write(&path, bytes).unwrap();
        for arguments in [&["map"][..], &["read"], &["bitmap", "--name", "x"], &["locate", "--guest", "0"]] {
            let ran = run(&[arguments, &[name]].concat());
            assert_eq!((ran.code, ran.stderr.lines().count()), (Some(1), 1), "{arguments:?}: {}", ran.stderr);
        }
    }
}
