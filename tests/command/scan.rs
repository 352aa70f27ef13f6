//! `scan`: many images, each in a process of its own.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::process::{Ran, command, corpus, run};

/// The lines of a scan, by the file's name.
fn lines(ran: &Ran) -> Vec<(String, Value)> {
    let documents =
        serde_json::Deserializer::from_slice(&ran.stdout).into_iter::<Value>().map(Result::unwrap);
    let name =
        |line: &Value| Path::new(line["file"]["path"].as_str().unwrap()).file_name().unwrap().to_owned();
    let mut lines: Vec<_> = documents.map(|line| (name(&line).into_string().unwrap(), line)).collect();
    lines.sort_by(|one, other| one.0.cmp(&other.0));
    lines
}

/// Some images in a folder with another below.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("below")).unwrap();
    for (from, to) in [
        ("valid/v3-basic", "good.qcow2"),
        ("damaged/L02-l2-table-unaligned", "below/bad.qcow2"),
        ("valid/v3-backing", "below/backed.qcow2"),
    ] {
        fs::copy(corpus(from), folder.path().join(to)).unwrap();
    }
    fs::write(folder.path().join("note.txt"), "hello").unwrap();
    std::os::unix::fs::symlink("note.txt", folder.path().join("link")).unwrap();
    folder
}

#[test]
fn each_image_is_a_line_as_audit_would_have_it() {
    let folder = folder();
    let ran = run(&["scan", folder.path().to_str().unwrap()]);
    assert_eq!(ran.code, Some(2));
    let lines = lines(&ran);
    let names: Vec<_> = lines.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(names, ["backed.qcow2", "bad.qcow2", "good.qcow2", "note.txt"]);
    for (name, line) in &lines {
        assert_eq!(line["schema"], "qcow2-inspect/scan/1", "{name}");
        let path = line["file"]["path"].as_str().unwrap();
        let alone = run(&["audit", "--format", "json", path]);
        let alone: Value = serde_json::from_slice(&alone.stdout).unwrap();
        for key in ["decision", "reasons", "verdict", "capabilities", "complete", "error"] {
            if let Some(wanted) = alone.get(key) {
                assert_eq!(line[key], *wanted, "{name}: {key}");
            }
        }
    }
    assert_eq!(lines[3].1["decision"], "reject");
    let table: Vec<&str> = ran.stderr.lines().map(str::trim_end).collect();
    assert_eq!(table[..3], ["accepted              1", "rejected              2", "not judged            1"]);
}

#[test]
fn a_list_is_read_from_standard_input_and_can_be_gone_on_with() {
    let folder = folder();
    let done = folder.path().join("done");
    let good = folder.path().join("good.qcow2");
    let scan = |list: &[u8]| {
        let mut scan = command(&["scan", "-0", "-", "--resume", done.to_str().unwrap()]);
        let mut scan =
            scan.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        scan.stdin.take().unwrap().write_all(list).unwrap();
        let ran = scan.wait_with_output().unwrap();
        let stderr = String::from_utf8(ran.stderr).unwrap();
        Ran { code: ran.status.code(), stdout: ran.stdout, stderr }
    };
    let first = scan(format!("{}\0", good.display()).as_bytes());
    assert_eq!((first.code, lines(&first).len()), (Some(0), 1));
    let second = scan(format!("{}\0{}\0", good.display(), folder.path().join("none").display()).as_bytes());
    let left = lines(&second);
    assert_eq!((second.code, left.len()), (Some(1), 1), "{}", second.stderr);
    assert_eq!(left[0].1["error"], "No such file or directory");
    assert!(second.stderr.contains("done before           1"), "{}", second.stderr);
}

#[test]
fn a_process_that_fails_stops_no_other() {
    let folder = folder();
    let path = folder.path().to_str().unwrap();
    let ran = run(&["scan", "--timeout", "0", path]);
    let lines = lines(&ran);
    assert_eq!(lines.len(), 4, "{}", ran.stderr);
    for (name, line) in lines.iter().filter(|(_, line)| line["error"] == "given up after 0 s") {
        assert_eq!((&line["decision"], &line["complete"]), (&"reject".into(), &false.into()), "{name}");
    }
    // One that was quick enough has its answer all the same.
    let judged = lines.iter().filter(|(_, line)| line["error"].is_null()).count();
    assert!(judged <= 3 && (judged == 3 || ran.code != Some(0)), "{}", ran.stderr);
}

#[test]
fn limits_and_policies_hold_for_each() {
    let folder = folder();
    let path = folder.path().to_str().unwrap();
    let cut = run(&["scan", "--limit", "reads=2", path]);
    assert!(lines(&cut).iter().all(|(_, line)| line["decision"] == "reject"), "{}", cut.stderr);
    let forensic = run(&["scan", "--policy", "forensic", path]);
    let accepted = lines(&forensic).iter().filter(|(_, line)| line["decision"] == "accept").count();
    assert_eq!(accepted, 3, "{}", forensic.stderr);
    for wrong in [["--policy", "none-such"], ["--limit", "speed=1"]] {
        let ran = run(&["scan", wrong[0], wrong[1], path]);
        assert_eq!((ran.code, ran.stdout.len()), (Some(1), 0), "{wrong:?}");
    }
}
