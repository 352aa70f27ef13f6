//! What the process can still do once it reads an image: nothing but read it, and put a named output in its place.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::process::{command, corpus, run, skipped};

/// Each command that reads an image, with what it needs beside it.
pub(crate) const COMMANDS: &[&[&str]] = &[
    &["info"],
    &["dump"],
    &["check", "--deep"],
    &["audit"],
    &["map"],
    &["read", "--max-length", "4096"],
    &["bitmap"],
    &["locate", "--guest", "0"],
];

/// An image of the corpus, by its path.
pub(crate) fn image(name: &str) -> String {
    corpus(name).into_os_string().into_string().unwrap()
}

/// Whether this kernel has what the sandbox is made of.
pub(crate) fn is_there(test: &str) -> bool {
    let there = run(&["info", "--sandbox", "require", &image("valid/v3-basic")]).code == Some(0);
    if !there {
        skipped(test, "kernel without Landlock or seccomp");
    }
    there
}

#[test]
fn what_is_in_force_is_told() {
    let image = image("valid/v3-basic");
    let told =
        |mode: &str| run(&["info", "--format", "json", "--sandbox", mode, &image]).json()["sandbox"].clone();
    assert_eq!(told("off"), "none");
    if is_there("what_is_in_force_is_told") {
        // Kernels before 6.12 know a part of Landlock, all that files need.
        let auto = told("auto");
        assert!(auto == "landlock,seccomp" || auto == "landlock-files,seccomp", "{auto}");
        assert_eq!(told("require"), auto);
    }
}

/// Images whose names lead elsewhere, and some without.
fn traced_images() -> Vec<String> {
    let mut images = Vec::new();
    for folder in ["hostile", "damaged", "valid"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(folder);
        let files = fs::read_dir(folder).into_iter().flatten().map(|file| file.unwrap().path());
        let images_of = files.filter(|path| path.extension().is_some_and(|ending| ending == "qcow2"));
        let leads_elsewhere = |path: &Path| {
            let path = path.to_str().unwrap();
            ["hostile", "backing", "data-file", "H40", "H41", "E25"].iter().any(|part| path.contains(part))
        };
        images.extend(
            images_of.filter(|path| leads_elsewhere(path)).map(|path| path.to_str().unwrap().to_owned()),
        );
    }
    assert!(images.len() >= 10, "{images:?}");
    images
}

/// The kernel's own word for it: of the files named in system calls, the image alone is opened, for reading, and what
/// the dynamic linker and the runtime open before it.
#[test]
fn no_other_file_is_opened() {
    if Command::new("strace").args(["-o", "/dev/null", "true"]).status().is_ok_and(|status| status.success())
    {
        for image in traced_images() {
            for arguments in COMMANDS {
                trace(&[*arguments, &[image.as_str()]].concat(), &image);
            }
        }
    } else {
        skipped("no_other_file_is_opened", "no strace, or it may not trace");
    }
}

/// What is opened before the image, and what a thread may ask for in vain later: none of it can be named by an image.
const OF_THE_SYSTEM: &[&str] =
    &["/etc/ld.so", "/lib", "/usr/lib", "/proc/self/", "/proc/sys/vm/", "/sys/fs/cgroup/", "/dev/tty"];

fn trace(arguments: &[&str], image: &str) {
    let folder = tempfile::tempdir().unwrap();
    let mut traced = Command::new("strace");
    // A file for each thread: in one, calls that another thread comes between are torn apart.
    traced
        .args(["-ff", "-qq", "-e", "trace=%file,%network,/^exec,/write.*,/^fallocate,/^ftruncate", "-o"])
        .arg(folder.path().join("log"));
    let call = command(arguments);
    // Where tests look for libraries is none of a user's business.
    traced.env_remove("LD_LIBRARY_PATH");
    traced.arg(call.get_program()).args(call.get_args()).output().unwrap();
    let mut opened = 0;
    for log in fs::read_dir(&folder).unwrap() {
        let log = fs::read_to_string(log.unwrap().path()).unwrap();
        // Threads start once the image is open.
        let is_main = log.contains("execve(");
        let times = trace_of_thread(&log, !is_main, arguments, image);
        assert!(is_main || times == 0, "{arguments:?}: {log}");
        opened += times;
    }
    assert_eq!(opened, 1, "{arguments:?}");
}

/// How often a thread opens the image. It opens nothing else once that `is_open`.
fn trace_of_thread(log: &str, mut is_open: bool, arguments: &[&str], image: &str) -> usize {
    let mut opened = 0;
    for line in log.lines() {
        let (name, rest) = line.split_once('(').unwrap_or((line, ""));
        match name {
            "open" | "openat" | "openat2" if rest.contains(&format!("\"{image}\"")) => {
                assert!(rest.contains("O_RDONLY") && !rest.contains("O_CREAT"), "{line}");
                (opened, is_open) = (opened + 1, true);
            }
            "open" | "openat" | "openat2" | "creat" => {
                let of_the_system = OF_THE_SYSTEM.iter().any(|start| rest.contains(&format!("\"{start}")));
                let is_refused = rest.contains("= -1 EPERM ");
                assert!(of_the_system && (!is_open || is_refused), "{arguments:?}: {line}");
            }
            // Looking at the image and at what the runtime wants to know; the first is the command itself.
            "execve" => assert!(rest.contains("qcow2-inspect"), "{line}"),
            "access" | "stat" | "newfstatat" | "statx" | "readlink" | "fstat" | "prlimit64" | "getcwd" => {
                let known = !is_open || rest.contains(image) || rest.contains("AT_EMPTY_PATH");
                assert!(known, "{arguments:?}: {line}");
            }
            "write" | "writev" => assert!(rest.starts_with("1,") || rest.starts_with("2,"), "{line}"),
            // The end of a thread, which may come while strace asks what it is about.
            "???" => {}
            _ if name.starts_with("+++") || name.starts_with("---") => {}
            other => panic!("{arguments:?}: an unexpected call {other}: {line}"),
        }
    }
    opened
}
