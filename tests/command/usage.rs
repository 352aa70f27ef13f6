//! Command lines that are wrong, help, and outputs that nobody reads to the end.

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::path::Path;
use std::process::Stdio;

use crate::process::{command, corpus, finish, image, run};

const WRONG: &[&[&str]] = &[
    &[],
    &["frobnicate"],
    &["dump"],
    &["info"],
    &["dump", "a", "b"],
    &["dump", "--frobnicate", "a"],
    &["dump", "--only", "l3", "a"],
    &["dump", "--only", "", "a"],
    &["dump", "--only", "l1", "--hide", "l2", "a"],
    &["dump", "--format", "xml", "a"],
    &["info", "--hex", "a"],
    &["info", "--color", "blue", "a"],
    &["info", "--offset", "-1", "a"],
    &["info", "--offset=-1", "a"],
    &["info", "--offset=+1", "a"],
    &["info", "--offset=0x", "a"],
    &["info", "--offset=0x+1", "a"],
    &["info", "--offset=0x1k", "a"],
    &["info", "--offset=18446744073709551616", "a"],
];

#[test]
fn a_wrong_command_line_is_exit_1() {
    for arguments in WRONG {
        let ran = run(arguments);
        assert_eq!((ran.code, ran.stdout.as_slice()), (Some(1), b"".as_slice()), "{arguments:?}");
        assert!(ran.stderr.contains("Usage:") || ran.stderr.starts_with("error: "), "{}", ran.stderr);
    }
}

/// Such as the second of two files that a shell found by a pattern.
#[test]
fn arguments_are_quoted_without_what_a_terminal_obeys() {
    let hostile = "\u{1b}]0;owned\u{7}\u{202e}";
    for arguments in [["info", "a", hostile], ["info", "--color", hostile], ["info", "--offset", hostile]] {
        let ran = run(&arguments);
        assert_eq!(ran.code, Some(1));
        assert!(!ran.stderr.contains(['\u{1b}', '\u{7}', '\u{202e}']), "{}", ran.stderr.escape_debug());
        assert!(ran.stderr.starts_with("error: "), "{}", ran.stderr);
    }
}

#[test]
fn help_and_version_are_exit_0() {
    for arguments in [&["--help"][..], &["-h"], &["help"], &["dump", "--help"], &["info", "-h"]] {
        let help = run(arguments).report();
        assert!(help.contains("Usage: qcow2-inspect"), "{help}");
    }
    for name in ["dump", "info"] {
        let help = run(&[name, "--help"]).report();
        assert!(help.contains("Exit code: 0 when complete"), "{help}");
    }
    for flag in ["--version", "-V"] {
        assert_eq!(run(&[flag]).report(), concat!("qcow2-inspect ", env!("CARGO_PKG_VERSION"), "\n"));
    }
}

/// An image with an L2 table that takes more text than a pipe holds.
fn write_long(path: &Path) {
    let mut bytes = image("valid/v3-basic");
    bytes[20..24].copy_from_slice(&16_u32.to_be_bytes());
    bytes.resize(0x2_0000, 0x11);
    fs::write(path, bytes).unwrap();
}

#[test]
fn a_closed_pipe_is_no_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.qcow2");
    write_long(&path);
    for options in [&["--format=text"][..], &["--format=json"], &["--format=jsonl"], &["--hex"]] {
        let arguments = [&["dump", path.to_str().unwrap()], options].concat();
        assert!(run(&arguments).stdout.len() > 1 << 18, "{options:?}: a pipe could hold it all");
        let mut child = command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        child.stdout.take().unwrap().read_exact(&mut [0; 100]).unwrap();
        let ended = child.wait_with_output().unwrap();
        assert_eq!((ended.status.code(), ended.stderr.as_slice()), (Some(0), b"".as_slice()), "{options:?}");
    }
}

#[test]
fn a_pipe_that_was_never_open_is_no_error_but_a_refusal_stays_one() {
    let basic = corpus("valid/v3-basic");
    let basic = basic.to_str().unwrap();
    for (path, code, stderr) in
        [(basic, 0, ""), ("missing", 1, "qcow2-inspect: missing: No such file or directory\n")]
    {
        for arguments in [["dump", "--format=json", path], ["info", "--format=json", path]] {
            let (reader, writer) = std::io::pipe().unwrap();
            drop(reader);
            let ended = command(&arguments).stdout(writer).output().unwrap();
            let said = String::from_utf8(ended.stderr).unwrap();
            assert_eq!((ended.status.code(), said.as_str()), (Some(code), stderr), "{arguments:?}");
        }
    }
}

/// Only 0 lets an image go further, so it must not come from whoever stops reading.
#[test]
fn a_closed_pipe_changes_no_verdict() {
    let [good, rejected] = ["valid/v3-basic", "hostile/backing-device"].map(corpus);
    let [corrupt, leaky] = ["damaged/L02-l2-table-unaligned", "damaged/E21-bitmaps-inconsistent"].map(corpus);
    let hostile = corpus("hostile/backing-device").parent().unwrap().to_owned();
    let cases: [(&[&str], &[&Path], &[i32]); 15] = [
        (&["audit"], &[&good], &[0]),
        (&["audit"], &[&rejected], &[2]),
        (&["audit", "--format=json"], &[&good], &[0]),
        (&["audit", "--format=json"], &[&rejected], &[2]),
        (&["check"], &[&good], &[0]),
        (&["check"], &[&corrupt], &[2]),
        (&["check"], &[&leaky], &[3]),
        (&["check", "--format=json"], &[&corrupt], &[2]),
        (&["check", "--format=jsonl"], &[&corrupt], &[2]),
        (&["check", "--format=jsonl"], &[&good], &[0]),
        (&["scan"], &[&good], &[0]),
        (&["scan", "--jobs=1"], &[&rejected, &good], &[2]),
        // Nobody would see what comes after, so it is not looked at.
        (&["scan", "--jobs=1"], &[&good, &rejected], &[1]),
        (&["scan", "--jobs=3"], &[&good, &good, &good, &good, &rejected], &[1, 2]),
        (&["scan"], &[&hostile], &[1, 2]),
    ];
    for (options, paths, codes) in cases {
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let mut command = command(options);
        let ended = command.args(paths).stdout(writer).stderr(Stdio::piped()).output().unwrap();
        assert!(codes.contains(&ended.status.code().unwrap()), "{options:?} {paths:?}: {}", ended.status);
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(!said.contains("qcow2-inspect:"), "{options:?}: {said}");
    }
}

#[test]
fn a_full_disk_is_an_error() {
    let Ok(full) = OpenOptions::new().write(true).open("/dev/full") else {
        return crate::process::skipped("a full disk", "there is no /dev/full");
    };
    for name in ["dump", "info"] {
        let mut command = command(&[name.as_ref(), corpus("valid/v3-basic").as_os_str()]);
        let ended = command.stdout(full.try_clone().unwrap()).stderr(Stdio::piped()).output().unwrap();
        assert_eq!(ended.status.code(), Some(1));
        let said = String::from_utf8(ended.stderr).unwrap();
        assert!(said.starts_with("qcow2-inspect: cannot write the report: "), "{said}");
        assert_eq!(said.lines().count(), 1);
    }
}

/// The report can be longer than what stdout's buffer holds, and is the same each time.
#[test]
fn two_runs_give_the_same() {
    let path = corpus("valid/v3-bitmaps");
    let once = || finish(command(&["dump".as_ref(), "--hex".as_ref(), path.as_os_str()]));
    assert_eq!(once(), once());
}
