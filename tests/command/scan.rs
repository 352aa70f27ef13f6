//! `scan`: many images, each in a process of its own.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{PATIENCE, Ran, command, corpus, finish, image, run};

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
        // Whatever comes of it, and if it is no image.
        assert_eq!(line["file"]["len"], fs::metadata(path).unwrap().len(), "{name}");
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
    // One file, so that the lines differ in the path alone.
    fs::copy(corpus("valid/v3-basic"), &short).unwrap();
    fs::hard_link(&short, &long).unwrap();
    assert_eq!(gone_on_with(&done, &[&long]), (1, false));
    let whole = fs::read(&done).unwrap();
    let name = whole.len() - "\n".len() - ".qcow2".len();
    // The second is cut within a character.
    for len in [name, name - 7] {
        fs::write(&done, &whole[..len]).unwrap();
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
    let mut list: Vec<_> = list
        .lines()
        .map(|line| {
            let columns: Vec<_> = line.split('\t').collect();
            assert_eq!(columns.len(), 5, "{line}");
            (columns[0], Path::new(columns[4]).strip_prefix(&images).unwrap().to_str().unwrap())
        })
        .collect();
    list.sort();
    assert_eq!(list, [("0", "good.qcow2"), ("2", "backed.qcow2"), ("2", "bad.qcow2")]);
}

/// Until what is written next has a later time than this file: file systems count in milliseconds.
fn wait_for_the_clock(file: &Path, clock: &Path) {
    use std::os::unix::fs::MetadataExt;
    let changed = |path| fs::metadata(path).map(|there| (there.ctime(), there.ctime_nsec())).unwrap();
    while {
        fs::write(clock, "").unwrap();
        changed(clock) <= changed(file)
    } {}
}

/// Whatever an answer depends on has to be as it was, or the image is judged again.
#[test]
fn what_was_judged_otherwise_or_was_another_file_is_not_done() {
    let folder = tempfile::tempdir().unwrap();
    let done = folder.path().join("done");
    let done = done.to_str().unwrap();
    for name in ["a", "b"] {
        fs::create_dir(folder.path().join(name)).unwrap();
    }
    fs::copy(corpus("valid/v3-basic"), folder.path().join("a/x")).unwrap();
    fs::copy(corpus("valid/v3-backing"), folder.path().join("b/x")).unwrap();
    let scan = |from: &str, options: &[&str]| {
        let mut scan = command(&[&["scan", "--resume", done], options, &["x"]].concat());
        scan.current_dir(folder.path().join(from));
        let ran = finish(scan);
        (ran.code, lines(&ran).len())
    };
    assert_eq!(scan("b", &["--policy", "forensic"]), (Some(0), 1));
    assert_eq!(scan("b", &["--policy", "forensic"]), (Some(0), 0));
    // Another policy, another name of the same one, another limit.
    assert_eq!(scan("b", &[]), (Some(2), 1));
    assert_eq!(scan("b", &["--policy", "upload"]), (Some(2), 0));
    assert_eq!(scan("b", &["--deep"]), (Some(2), 1));
    assert_eq!(scan("b", &["--limit", "conflicts=7"]), (Some(2), 1));
    // A policy of that name with other lines.
    let own = folder.path().join("own.toml");
    let own = own.to_str().unwrap();
    for (bar, code) in [("never", 0), ("always", 2)] {
        let text = format!("name = \"forensic\"\nreject = {{ default = \"{bar}\" }}\n");
        fs::write(own, text).unwrap();
        assert_eq!(scan("b", &["--policy", own]).0, Some(code));
    }
    // Another file of the same name.
    assert_eq!(scan("a", &[]), (Some(0), 1));
    assert_eq!(scan("a", &[]), (Some(0), 0));
    let path = folder.path().join("a/x");
    let clock = || wait_for_the_clock(&path, &folder.path().join("clock"));
    clock();
    fs::copy(folder.path().join("b/x"), folder.path().join("a/x")).unwrap();
    assert_eq!(scan("a", &[]), (Some(2), 1));
    // As long as before, and with the time of writing set to what it was.
    clock();
    let before = fs::metadata(&path).unwrap();
    fs::write(&path, vec![0; usize::try_from(before.len()).unwrap()]).unwrap();
    fs::File::options().write(true).open(&path).unwrap().set_modified(before.modified().unwrap()).unwrap();
    assert_eq!(scan("a", &[]), (Some(1), 1));
}

/// What earlier versions wrote says too little of the image: it is passed over, and the list is gone on with.
#[test]
fn a_line_of_an_earlier_list_names_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let done = folder.path().join("done");
    let path = corpus("valid/v3-backing");
    fs::write(&done, format!("0\t{}\n", path.display())).unwrap();
    assert_eq!(gone_on_with(&done, &[&path]), (1, false));
    assert_eq!(gone_on_with(&done, &[&path]), (0, true));
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

/// Each process gets what was read once: a pipe cannot be read again, and a file may be another by then.
#[test]
fn a_policy_from_a_pipe_holds_for_each() {
    let folder = folder();
    let policy = run(&["policy", "show", "forensic"]).report();
    let mut scan = command(&["scan", "--policy", "/dev/stdin", folder.path().to_str().unwrap()]);
    let mut scan = scan.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    scan.stdin.take().unwrap().write_all(policy.as_bytes()).unwrap();
    let ran = scan.wait_with_output().unwrap();
    let ran = Ran { code: ran.status.code(), stdout: ran.stdout, stderr: String::new() };
    let lines = lines(&ran);
    assert_eq!((ran.code, lines.len()), (Some(1), 4));
    // The one that is no image has the policy's name too.
    assert!(lines.iter().all(|(_, line)| line["policy"] == "forensic"), "{lines:?}");
    assert_eq!(lines.iter().filter(|(_, line)| line["decision"] == "accept").count(), 3);
}

/// The arguments with which a scan starts a process for an image.
#[cfg(target_os = "linux")]
fn scan_one(policy: &str, parent: &str, seconds: &str) -> Vec<String> {
    [
        "scan-one",
        "--name=x",
        &format!("--policy={policy}"),
        &format!("--parent={parent}"),
        &format!("--seconds={seconds}"),
    ]
    .map(str::to_owned)
    .to_vec()
}

#[cfg(target_os = "linux")]
#[test]
fn a_process_is_there_for_its_scan_alone() {
    let policy = run(&["policy", "show"]).report();
    let one = |parent: &str, seconds: &str| {
        let mut one = command(&scan_one(&policy, parent, seconds));
        one.stdin(fs::File::open(corpus("valid/v3-basic")).unwrap());
        finish(one)
    };
    let own = std::process::id().to_string();
    assert_eq!((one(&own, "60").code, lines(&one(&own, "60")).len()), (Some(0), 1));
    assert_eq!(one(&own, "0").code, Some(1));
    let orphan = one("1", "60");
    assert_eq!((orphan.code, orphan.stdout.as_slice()), (Some(1), &b""[..]));
    assert_eq!(orphan.stderr, "qcow2-inspect: nobody waits for the answer\n");
}

/// A process whose answer does not fit into the pipe waits, and ends when what started it is killed.
#[cfg(target_os = "linux")]
#[test]
fn a_process_ends_with_its_scan() {
    use std::io::{ErrorKind, Read};

    use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

    let policy = run(&["policy", "show"]).report();
    let (mut reader, mut writer) = std::io::pipe().unwrap();
    let flags = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    let mut filled = 0;
    loop {
        match writer.write(&[0]) {
            Ok(len) => filled += len,
            Err(error) if error.kind() == ErrorKind::WouldBlock => break,
            Err(error) => panic!("{error}"),
        }
    }
    fcntl_setfl(&writer, flags).unwrap();
    let one = command(&scan_one(&policy, "$$", "600"));
    // The shell is the parent. Whether the process has come to its answer by the end of the pause is no matter.
    let script = r#"image=$1; shift; "$@" "--parent=$$" <"$image" & echo $! >&2; sleep 0.3; kill -9 $$"#;
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", script, "sh"]).arg(corpus("valid/v3-basic")).arg(one.get_program());
    shell.args(one.get_args().filter(|argument| !argument.to_string_lossy().starts_with("--parent")));
    let ended = shell.stdout(writer).stderr(Stdio::piped()).output().unwrap();
    assert_eq!(ended.status.code(), None, "the shell was to be killed");
    drop(shell);
    // Before there is room in the pipe, or its last write could go through.
    let id = String::from_utf8(ended.stderr).unwrap().lines().next().unwrap().to_owned();
    let is_there = || {
        let state = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
        state.rsplit(") ").next().is_some_and(|state| !state.is_empty() && !state.starts_with('Z'))
    };
    let start = Instant::now();
    while is_there() {
        assert!(start.elapsed() < PATIENCE, "process {id} goes on without its parent");
        std::thread::sleep(Duration::from_millis(1));
    }
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).unwrap();
    assert_eq!(bytes.len(), filled);
}
