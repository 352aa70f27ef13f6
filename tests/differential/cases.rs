//! Broken images as users met them, each made by QEMU and one write, with the answer that is right.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

use serde_json::Value;

use crate::guest::ours;

/// An image in a folder of its own.
struct Case {
    _folder: tempfile::TempDir,
    path: PathBuf,
}

impl Case {
    /// Makes a disk of this size, and hands it to these commands of `qemu-io`.
    fn new(size: &str, options: &str, writes: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("disk.qcow2");
        let case = Self { _folder: folder, path };
        case.run(Command::new("qemu-img").args(["create", "-q", "-f", "qcow2", "-o", options]), &[size]);
        case.write(writes);
        case
    }

    /// Runs a command with the image, and these arguments behind it.
    fn run(&self, command: &mut Command, more: &[&str]) {
        let output = command.arg(&self.path).args(more).output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }

    fn write(&self, writes: &[&str]) {
        for write in writes {
            self.run(Command::new("qemu-io").args(["-f", "qcow2", "-c", write]), &[]);
        }
    }

    /// Changes its bytes.
    fn edit(self, edit: impl FnOnce(&mut Vec<u8>)) -> Self {
        let mut bytes = fs::read(&self.path).unwrap();
        edit(&mut bytes);
        fs::write(&self.path, bytes).unwrap();
        self
    }

    fn ours(&self, command: &str, options: &[&str]) -> Output {
        ours(command, &self.path).args(options).output().unwrap()
    }

    /// What a command says as JSON.
    fn json(&self, command: &str, options: &[&str]) -> Value {
        let output = self.ours(command, &[&["--format", "json"], options].concat());
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// The number of breaches of a rule that `check` tells.
    fn count(&self, code: &str) -> u64 {
        let check = self.json("check", &[]);
        let rules = check["rules"].as_array().unwrap();
        rules.iter().find(|rule| rule["rule"] == code).map_or(0, |rule| rule["count"].as_u64().unwrap())
    }

    /// Holds our answer for `qemu-img check` against its own.
    fn agrees_with_qemu(&self) {
        let qemu =
            Command::new("qemu-img").args(["check", "--output=json"]).arg(&self.path).output().unwrap();
        let ours = self.json("check", &["--as-qemu"])["qemu"].take();
        assert_eq!(ours["exit_code"], qemu.status.code().unwrap(), "{qemu:?}");
        let theirs: Value = serde_json::from_slice(&qemu.stdout).unwrap_or_default();
        for (key, other) in
            [("corruptions", "corruptions"), ("leaks", "leaks"), ("check_errors", "check-errors")]
        {
            assert_eq!(ours[key].as_u64(), Some(theirs[other].as_u64().unwrap_or(0)), "{key}: {qemu:?}");
        }
    }
}

fn number(bytes: &[u8], at: u64, len: usize) -> u64 {
    let at = usize::try_from(at).unwrap();
    bytes[at..at + len].iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
}

fn put(bytes: &mut [u8], at: u64, new: &[u8]) {
    let at = usize::try_from(at).unwrap();
    bytes[at..at + new.len()].copy_from_slice(new);
}

/// Where the first L2 table of the active disk is, and how long.
fn l2_table(bytes: &[u8]) -> (u64, usize) {
    let l1 = number(bytes, 40, 8);
    (number(bytes, l1, 8) & 0x00ff_ffff_ffff_fe00, 1 << number(bytes, 20, 4))
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn is_rejected(case: &Case) {
    assert_eq!(case.json("audit", &["--policy", "upload"])["decision"], "reject");
}

#[test]
fn a_wiped_table_is_not_just_leaks() {
    for is_l1 in [false, true] {
        let case = Case::new("32M", "cluster_size=16k", &["write -P 7 0 3M"]).edit(|bytes| {
            let (at, len) = if is_l1 { (number(bytes, 40, 8), 8) } else { l2_table(bytes) };
            put(bytes, at, &vec![0; len]);
        });
        assert_eq!(case.count("L30"), 1);
        let verdict = text(&case.ours("check", &[]));
        let verdict = verdict.lines().nth(1).unwrap();
        assert!(verdict.contains("a table may be lost"), "{verdict}");
        let finding = &case.json("check", &[])["findings"];
        let finding = finding.as_array().unwrap().iter().find(|finding| finding["rule"] == "L30").unwrap();
        assert_eq!(
            (&finding["guest"][0]["start"], &finding["guest"][0]["length"]),
            (&0.into(), &(32 << 20).into())
        );
        is_rejected(&case);
        let out = case.path.with_extension("raw");
        let read = case.ours("read", &["-o", out.to_str().unwrap()]);
        assert!(String::from_utf8_lossy(&read.stderr).contains("may be lost"), "{read:?}");
        case.agrees_with_qemu();
    }
    // Near misses: nothing was written yet, and one cluster was leaked beside that.
    let fresh = Case::new("32M", "cluster_size=16k", &["write -z 0 1M", "discard 0 1M"]);
    assert_eq!((fresh.count("L30"), &fresh.json("check", &[])["verdict"]), (0, &"clean".into()));
}

#[test]
fn a_table_that_holds_something_else_is_lost_as_a_whole() {
    for pattern in [&[0, 1][..], &[0, 0, 0, 1], b"some text of a log file", &[0xff]] {
        let case = Case::new("1G", "cluster_size=64k", &["write -P 7 0 4M"]).edit(|bytes| {
            let (at, len) = l2_table(bytes);
            let new: Vec<u8> = pattern.iter().copied().cycle().take(len).collect();
            put(bytes, at, &new);
        });
        let case_name = pattern.escape_ascii().to_string();
        assert_eq!(case.count("L31"), 1, "{case_name}");
        let check = case.json("check", &[]);
        assert_eq!(
            (&check["verdict"], &check["losses"][0]["lost_bytes"]),
            (&"corrupt".into(), &(512 << 20).into())
        );
        let map = case.ours("map", &[]);
        assert_eq!(map.status.code(), Some(1), "{case_name}");
        assert!(text(&map).contains(" missing ") && !text(&map).contains(" zero "), "{case_name}");
        let out = case.path.with_extension("raw");
        let read = case.ours("read", &["-o", out.to_str().unwrap()]);
        assert!(read.status.code() == Some(1) && !out.exists(), "{case_name}");
        is_rejected(&case);
        case.agrees_with_qemu();
    }
}

#[test]
fn what_a_cut_file_lost_is_missing() {
    let case = Case::new("32M", "cluster_size=64k", &["write -P 7 0 3M"]);
    let case = case.edit(|bytes| bytes.truncate(bytes.len() * 2 / 3));
    let lost = case.json("check", &[])["losses"][0]["lost_bytes"].as_u64().unwrap();
    let map = case.ours("map", &["--format", "jsonl"]);
    let last = text(&map);
    let last: Value = serde_json::from_str(last.lines().last().unwrap()).unwrap();
    assert_eq!((last["missing"].as_u64(), map.status.code()), (Some(lost), Some(1)));
    let located = case.ours("locate", &["--guest", "2900000"]);
    assert_eq!(located.status.code(), Some(1));
    assert!(text(&located).contains("missing"), "{located:?}");
    assert_eq!(case.ours("read", &["-o", "-"]).status.code(), Some(1));
    case.agrees_with_qemu();
}

#[test]
fn a_bitmap_that_did_not_record_is_no_ground_for_a_backup() {
    let case = Case::new("16M", "cluster_size=64k", &[]);
    case.run(Command::new("qemu-img").args(["bitmap", "--add", "--disable"]), &["frozen"]);
    case.run(Command::new("qemu-img").args(["bitmap", "--add"]), &["recording"]);
    case.write(&["write 0 5M"]);
    let bitmaps = case.json("bitmap", &[])["bitmaps"].take();
    let states: Vec<_> =
        bitmaps.as_array().unwrap().iter().map(|bitmap| (&bitmap["state"], &bitmap["trusted"])).collect();
    assert_eq!(states, [(&"disabled".into(), &false.into()), (&"recording".into(), &true.into())]);
    // QEMU refuses an image whose directory is broken, and with it each bitmap.
    let case = case.edit(|bytes| {
        let mut at = number(bytes, 100, 4);
        while number(bytes, at, 4) != 0x2385_2875 {
            at += 8 + number(bytes, at + 4, 4).next_multiple_of(8);
        }
        let directory = number(bytes, at + 8 + 16, 8);
        put(bytes, directory + 18, &[0, 0]);
    });
    let bitmaps = case.json("bitmap", &[])["bitmaps"].take();
    assert!(bitmaps.as_array().unwrap().iter().all(|bitmap| bitmap["state"] == "broken"), "{bitmaps}");
}

#[test]
fn what_stands_beyond_any_file_is_counted_as_qemu_counts() {
    let image = || Case::new("16M", "cluster_size=64k", &["write -P 7 0 1M"]);
    for top in [0x80_u8, 0x7f, 0x40, 0x01] {
        image()
            .edit(|bytes| {
                let table = number(bytes, 48, 8);
                put(bytes, table, &[top]);
            })
            .agrees_with_qemu();
    }
    image()
        .edit(|bytes| {
            let table = number(bytes, 48, 8);
            put(bytes, table, &0x7fff_ffff_c000_0000_u64.to_be_bytes());
        })
        .agrees_with_qemu();
    for at in [0xe000_0000_0000_0000_u64, 0x7fff_ffff_c000_0000, 0x7fff_ffff_ffff_0000, 0x0001_0000_0000_0000]
    {
        let case = image();
        case.run(Command::new("qemu-img").args(["snapshot", "-c", "one"]), &[]);
        let case = case.edit(|bytes| {
            let table = number(bytes, 64, 8);
            put(bytes, table, &at.to_be_bytes());
        });
        case.agrees_with_qemu();
    }
}

#[test]
fn a_lost_snapshot_table_is_tied_to_the_leaks() {
    let case = Case::new("16M", "cluster_size=64k", &["write 0 1M"]);
    for (name, write) in [("a", "write -P 1 0 1M"), ("b", "write -P 2 0 1M")] {
        case.run(Command::new("qemu-img").args(["snapshot", "-c", name]), &[]);
        case.write(&[write]);
    }
    let case = case.edit(|bytes| {
        let table = usize::try_from(number(bytes, 64, 8)).unwrap();
        bytes.truncate(table);
    });
    let check = text(&case.ours("check", &[]));
    assert!(check.contains("2 snapshots that cannot be read"), "{check}");
    is_rejected(&case);
}
