//! `scan`: many images, each in a process of its own.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;

use serde_json::Value;

use crate::process::{Ran, command, corpus, finish, image, run};

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
    assert_eq!(table[..2], ["accepted              1", "rejected              3 (of them not judged 1)"]);
    // As whoever counts the lines by their decision finds it.
    assert_eq!(lines.iter().filter(|(_, line)| line["decision"] == "reject").count(), 3);
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

/// The number of images that a scan looks at, and what it says of those that it leaves out.
fn gone_on_with(done: &Path, paths: &[&Path]) -> (usize, bool) {
    let mut scan = command(&["scan".as_ref(), "--resume".as_ref(), done.as_os_str()]);
    scan.args(paths);
    let ran = finish(scan);
    (lines(&ran).len(), ran.stderr.contains("done before"))
}

#[test]
fn no_name_stands_for_another_in_the_list_of_what_is_done() {
    use std::os::unix::ffi::OsStrExt;
    let folder = tempfile::tempdir().unwrap();
    let done = folder.path().join("done");
    let names =
        [&b"a\x01b"[..], br"a\x01b", br"a\\x01b", b"a\xffb", br"a\xffb", br"a\\xffb", b"a\nb", br"a\x0ab"];
    for (count, name) in names.iter().enumerate() {
        let path = folder.path().join(OsStr::from_bytes(name));
        fs::copy(corpus("valid/v3-basic"), &path).unwrap();
        assert_eq!(gone_on_with(&done, &[&path]), (1, false), "{}", name.escape_ascii());
        assert_eq!(gone_on_with(&done, &[&path]), (0, true), "{}", name.escape_ascii());
        assert_eq!(fs::read_to_string(&done).unwrap().lines().count(), count + 1);
    }
}

/// A scan that was stopped can have written half a name, which may be that of another file.
#[test]
fn a_line_that_was_cut_names_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let done = folder.path().join("done");
    let [short, long] = ["ä.qcow2", "ä.qcow2.qcow2"].map(|name| folder.path().join(name));
    for path in [&short, &long] {
        fs::copy(corpus("valid/v3-basic"), path).unwrap();
    }
    let whole = short.to_str().unwrap();
    // The second is cut within a character.
    for len in [whole.len(), whole.len() - 7] {
        fs::write(&done, &format!("0\t{whole}").as_bytes()[..len + 2]).unwrap();
        assert_eq!(gone_on_with(&done, &[&long]), (1, false));
        assert_eq!(gone_on_with(&done, &[&short, &long]), (1, true));
        assert_eq!(gone_on_with(&done, &[&short, &long]), (0, true));
    }
}

/// Whether it was judged before or now is no matter to whoever goes by the exit code.
#[test]
fn a_scan_that_goes_on_answers_as_a_whole_one() {
    let folder = folder();
    let images = folder.path().join("below");
    let done = folder.path().join("done");
    let scan = |options: &[&str]| {
        let fixed = ["scan", "--resume", done.to_str().unwrap(), images.to_str().unwrap()];
        let ran = run(&[&fixed, options].concat());
        (ran.code, lines(&ran).len(), ran.stderr)
    };
    // What could not be judged is not done.
    for _ in 0..2 {
        let (code, len, told) = scan(&["--limit", "reads=2"]);
        assert_eq!((code, len), (Some(1), 2), "{told}");
        assert_eq!(fs::read(&done).unwrap(), b"");
    }
    assert_eq!(scan(&[]).0, Some(2));
    let (code, len, told) = scan(&[]);
    assert_eq!((code, len), (Some(2), 0), "{told}");
    assert!(told.contains("done before           2 (of them rejected 2)\n"), "{told}");
    fs::copy(corpus("valid/v3-basic"), images.join("good.qcow2")).unwrap();
    let (code, len, told) = scan(&[]);
    assert_eq!((code, len), (Some(2), 1), "{told}");
    let list = fs::read_to_string(&done).unwrap();
    let mut list: Vec<_> = list.lines().map(|line| line.replace(images.to_str().unwrap(), "")).collect();
    list.sort();
    assert_eq!(list, ["0\t/good.qcow2", "2\t/backed.qcow2", "2\t/bad.qcow2"]);
}

#[test]
fn a_list_that_no_scan_wrote_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().unwrap();
    let good = corpus("valid/v3-basic");
    let scan = |list: &Path| run(&["scan".as_ref(), "--resume".as_ref(), list.as_os_str(), good.as_os_str()]);
    for list in [Path::new("/dev/full"), Path::new("/dev/zero"), folder.path()] {
        let ran = scan(list);
        assert_eq!((ran.code, ran.stdout.len()), (Some(1), 0), "{}", ran.stderr);
        assert_eq!(ran.stderr, format!("qcow2-inspect: {}: is no regular file\n", list.display()));
    }
    let list = folder.path().join("list");
    let long = format!("0\t/a\n0\t{}\n", "a".repeat(1 << 20));
    for (wrong, line) in [
        (b"a.qcow2\n".to_vec(), 1),
        (b"0\t/a\n\n".to_vec(), 2),
        (b"0\t/a\n1\t/b\n".to_vec(), 2),
        (image("valid/v3-basic"), 1),
        (long.into_bytes(), 2),
    ] {
        fs::write(&list, &wrong).unwrap();
        let ran = scan(&list);
        assert_eq!((ran.code, ran.stdout.len()), (Some(1), 0), "{}", ran.stderr);
        let reason = format!("is no list of what a scan has done: line {line} is none of its lines\n");
        assert!(ran.stderr.ends_with(&reason), "{}", ran.stderr);
        assert!(fs::read(&list).unwrap() == wrong);
    }
    // Endless but for its length, and with no room for it anywhere.
    fs::File::create(&list).unwrap().set_len(1 << 40).unwrap();
    assert_eq!(scan(&list).code, Some(1));
}

#[test]
fn what_nobody_read_is_not_done() {
    let folder = tempfile::tempdir().unwrap();
    let done = folder.path().join("done");
    let good = corpus("valid/v3-basic");
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut scan = command(&["scan".as_ref(), "--resume".as_ref(), done.as_os_str(), good.as_os_str()]);
    assert_eq!(scan.stdout(writer).stderr(Stdio::piped()).output().unwrap().status.code(), Some(0));
    assert_eq!(gone_on_with(&done, &[&good]), (1, false));
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
fn a_scan_of_nothing_accepts_nothing() {
    let folder = tempfile::tempdir().unwrap();
    // Standard input is empty.
    for path in ["-", folder.path().to_str().unwrap()] {
        let ran = run(&["scan", path]);
        assert_eq!((ran.code, ran.stdout.len()), (Some(1), 0), "{}", ran.stderr);
        let reason = "nothing to scan: no file was named, or is in the folders";
        assert_eq!(ran.stderr, format!("qcow2-inspect: {reason}\n"));
    }
}

#[test]
fn more_jobs_than_a_system_has_threads_are_fewer() {
    let folder = folder();
    for jobs in ["1", "999999", "18446744073709551615"] {
        let ran = run(&["scan", "-j", jobs, folder.path().to_str().unwrap()]);
        assert_eq!((ran.code, lines(&ran).len()), (Some(2), 4), "{jobs}: {}", ran.stderr);
    }
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
