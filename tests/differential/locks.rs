//! Images that another process has open: what we say of them, and when `qemu-img check` would not open them.
//!
//! The other process is real `qemu-io` or `qemu-nbd`; single locks of QEMU's are taken by the test itself.

use std::env;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, fcntl};
use nix::libc;
use serde_json::Value;

use crate::ours::PROGRAM;

/// What "at once" is on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// The byte that QEMU locks whether it only reads or writes as well: no other may write.
const ANY: i64 = 201;

/// An empty image in a folder of its own.
fn image(folder: &Path) -> PathBuf {
    let path = folder.join("disk.qcow2");
    let made = Command::new("qemu-img").args(["create", "-q", "-f", "qcow2"]).arg(&path).arg("4M").status();
    assert!(made.expect("qemu-img on the PATH").success());
    path
}

/// Runs the command on an image, in its sandbox where there is one: the exit code, what it reports, and what else it says.
fn ours(arguments: &[&str], image: &Path) -> (Option<i32>, String, String) {
    let program = env::var_os(PROGRAM).expect("cargo says where the command is");
    let ran = Command::new(program).args(arguments).arg(image).output().unwrap();
    let text = |bytes| String::from_utf8(bytes).unwrap();
    (ran.status.code(), text(ran.stdout), text(ran.stderr))
}

/// The findings of T06 in a report as JSON, with the exit code that it came with.
fn written(arguments: &[&str], image: &Path) -> (Option<i32>, usize) {
    let (code, report, _) = ours(&[arguments, &["--format", "json"]].concat(), image);
    let report: Value = serde_json::from_str(&report).unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    (code, findings.filter(|finding| finding["rule"] == "T06").count())
}

/// A lock on one byte, as it is asked for or taken.
fn lock(kind: i32, byte: i64) -> libc::flock {
    let kind = i16::try_from(kind).unwrap();
    libc::flock { l_type: kind, l_whence: 0, l_start: byte, l_len: 1, l_pid: 0 }
}

/// Another process that has the image open, until this goes.
struct Holder(Child);

impl Holder {
    fn new(tool: &str, arguments: &[&str], image: &Path) -> Self {
        let mut command = Command::new(tool);
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::null());
        let mut holder = Self(command.spawn().expect("qemu-utils on the PATH"));
        let file = File::open(image).unwrap();
        let start = Instant::now();
        loop {
            let mut asked = lock(libc::F_WRLCK, ANY);
            fcntl(&file, FcntlArg::F_OFD_GETLK(&mut asked)).unwrap();
            if i32::from(asked.l_type) != libc::F_UNLCK {
                return holder;
            }
            let ended = holder.0.try_wait().unwrap();
            assert!(ended.is_none() && start.elapsed() < PATIENCE, "{tool} {arguments:?}: {ended:?}");
            sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn a_writer_is_told_and_a_reader_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let image = image(folder.path());
    let path = image.to_str().unwrap();
    let socket = format!("--socket={}", folder.path().join("nbd.sock").display());
    let served = ["--persistent", "--format=qcow2", &socket, path];
    let cases: [(&str, &[&str], bool); 4] = [
        ("qemu-io", &[path], true),
        ("qemu-io", &["-r", path], false),
        ("qemu-nbd", &served, true),
        ("qemu-nbd", &[&served[..], &["--read-only"]].concat(), false),
    ];
    for (tool, arguments, writes) in cases {
        let case = format!("{tool} {arguments:?}");
        let holder = Holder::new(tool, arguments, &image);
        let fires = usize::from(writes);

        let (code, report, _) = ours(&["check"], &image);
        let mut lines = report.lines();
        let is_told = lines.next().is_some_and(|line| line.ends_with("open for writing (T06)"));
        assert_eq!((code, is_told), (Some(0), writes), "{case}: {report}");
        let verdict = lines.next().unwrap();
        assert_eq!(
            verdict.starts_with("verdict: clean; it is being written (T06)"),
            writes,
            "{case}: {report}"
        );

        assert_eq!(written(&["check"], &image), (Some(0), fires), "{case}");
        assert_eq!(written(&["check", "--fail-on=warning"], &image), (Some(2 * i32::from(writes)), fires));
        for command in [&["info"][..], &["dump"], &["bitmap"], &["audit", "--policy=forensic"]] {
            assert_eq!(written(command, &image), (Some(0), fires), "{case}: {command:?}");
        }
        for policy in ["--policy=upload", "--policy=import"] {
            assert_eq!(written(&["audit", policy], &image), (Some(2 * i32::from(writes)), fires), "{case}");
        }
        for command in [&["read", "-l512"][..], &["map"], &["bitmap"], &["locate", "--guest=0"]] {
            let (code, _, said) = ours(command, &image);
            assert_eq!((code, said.contains(": T06: ")), (Some(0), writes), "{case}: {command:?}: {said}");
        }
        drop(holder);
        assert_eq!(written(&["check"], &image), (Some(0), 0), "{case}");
    }
}

/// Of an image inside another file too, since QEMU locks the file.
#[test]
fn a_writer_of_a_part_of_a_file_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let alone = fs::read(image(folder.path())).unwrap();
    let path = folder.path().join("outer");
    fs::write(&path, [&[0; 4096], alone.as_slice()].concat()).unwrap();
    let part = format!(
        "driver=qcow2,file.driver=raw,file.offset=4096,file.file.driver=file,file.file.filename={}",
        path.display()
    );
    let holder = Holder::new("qemu-io", &["--image-opts", &part], &path);
    assert_eq!(written(&["check", "--offset=4096"], &path), (Some(0), 1));
    drop(holder);
}

/// Each of QEMU's locks by itself: those that keep `qemu-img check` out are those for which we do not speak for it.
#[test]
fn what_qemu_img_check_does_not_open_is_not_answered_for() {
    let folder = tempfile::tempdir().unwrap();
    let image = image(folder.path());
    let mut refused = Vec::new();
    for byte in (100..=104).chain(200..=204) {
        let file = File::open(&image).unwrap();
        fcntl(&file, FcntlArg::F_OFD_SETLK(&lock(libc::F_RDLCK, byte))).unwrap();
        let real = Command::new("qemu-img").args(["check", "-f", "qcow2"]).arg(&image).output().unwrap();
        let (code, report, said) = ours(&["check", "--as-qemu"], &image);
        assert_eq!(code, real.status.code(), "byte {byte}: {said}");
        let is_refused = said.starts_with("qcow2-inspect: ") && said.lines().count() == 1;
        assert_eq!(
            (is_refused, report.is_empty()),
            (code == Some(1), code == Some(1)),
            "byte {byte}: {said}"
        );
        if code == Some(1) {
            let real = String::from_utf8_lossy(&real.stderr).into_owned();
            assert!(real.contains("Failed to get") && said.contains("--as-qemu"), "byte {byte}: {real}");
            refused.push(byte);
        }
        // Of these, only the first two are a writer's.
        assert_eq!(written(&["check"], &image), (Some(0), usize::from(byte == 101 || byte == 103)), "{byte}");
    }
    assert_eq!(refused, [101, 103, 200]);
}

/// A lock of our own would keep a writer from opening the image.
#[test]
fn no_lock_is_taken() {
    let folder = tempfile::tempdir().unwrap();
    let image = image(folder.path());
    // It waits for its standard output to be read, with the image open.
    let program = env::var_os(PROGRAM).expect("cargo says where the command is");
    let mut command = Command::new(program);
    command.args(["read", "-o-"]).arg(&image).stdout(Stdio::piped());
    let mut reader = Holder(command.spawn().unwrap());
    reader.0.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
    assert!(reader.0.try_wait().unwrap().is_none(), "it is still at it");
    let wrote = Command::new("qemu-io").args(["-c", "write 0 64k"]).arg(&image).output().unwrap();
    assert!(wrote.status.success(), "{wrote:?}");
}

/// What is rejected for a writer alone is looked at again once that is gone.
#[test]
fn a_scan_comes_back_to_what_was_being_written() {
    let folder = tempfile::tempdir().unwrap();
    let image = image(folder.path());
    let list = folder.path().join("done");
    let options = ["scan", "--resume", list.to_str().unwrap()];
    let holder = Holder::new("qemu-io", &[image.to_str().unwrap()], &image);
    let (code, lines, said) = ours(&options, &image);
    assert_eq!(code, Some(2), "{said}");
    assert!(lines.contains("\"reject.T06\""), "{lines}");
    drop(holder);
    assert_eq!(ours(&options, &image).0, Some(0));
}

/// A writer that was killed, with lazy refcounts: not closed until QEMU opens the image for writing again.
#[test]
fn what_a_killed_writer_leaves_is_not_closed() {
    let folder = tempfile::tempdir().unwrap();
    let image = image(folder.path());
    let amended =
        Command::new("qemu-img").args(["amend", "-o", "lazy_refcounts=on"]).arg(&image).status().unwrap();
    assert!(amended.success());
    let mut writer = Holder::new("qemu-io", &[image.to_str().unwrap()], &image);
    let input = writer.0.stdin.as_mut().unwrap();
    input.write_all(b"write -P 1 0 1M\nflush\nsigraise 9\n").unwrap();
    writer.0.wait().unwrap();
    let verdict = |code| {
        let (had, report, said) = ours(&["check", "--format=json", "--as-qemu"], &image);
        assert_eq!(had, Some(code), "{report} {said}");
        serde_json::from_str::<Value>(&report).unwrap()
    };
    let report = verdict(3);
    assert_eq!((&report["verdict"], &report["corruptions"]), (&"not-closed".into(), &0.into()));
    // QEMU's counters stay QEMU's.
    let real = Command::new("qemu-img").args(["check", "-q"]).arg(&image).output().unwrap();
    assert_eq!((real.status.code(), &report["qemu"]["exit_code"]), (Some(2), &2.into()));
    let mended = Command::new("qemu-io").args(["-c", "read 0 512"]).arg(&image).output().unwrap();
    assert!(mended.status.success());
    assert_eq!(verdict(0)["verdict"], "clean");
}
