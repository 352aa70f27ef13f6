//! Tries from inside what the sandbox forbids, so that a test can prove it of each command. Only in builds for tests,
//! and only where this variable of the environment asks for it.

use std::fs::{self, File};
use std::io::{self, Write};
use std::net::TcpStream;
use std::os::fd::AsFd;
use std::process::Command;
use std::thread;

use rustix::fs::{FlockOperation, fcntl_lock};

const WANTED: &str = "QCOW2_INSPECT_PROBE_SANDBOX";

/// Writes one line per attempt and thread to standard error: what was tried, and the error's number, or `done`.
pub(super) fn run() {
    if std::env::var_os(WANTED).is_none() {
        return;
    }
    attempt_all("main");
    let _ = thread::spawn(|| attempt_all("worker")).join();
}

/// Of a file that is open, under no name.
fn change_mode() -> io::Result<()> {
    let file = File::from(io::stderr().as_fd().try_clone_to_owned()?);
    let permissions = file.metadata()?.permissions();
    file.set_permissions(permissions)
}

/// On a file that is open: the first of the ways is that of flock(2), the other that of fcntl(2).
fn lock(by: impl Fn(&File) -> io::Result<()>) -> io::Result<()> {
    by(&File::from(io::stderr().as_fd().try_clone_to_owned()?))
}

fn attempt_all(thread: &str) {
    let here = std::env::temp_dir();
    let file = here.join("qcow2-inspect-probe");
    let attempts: [(&str, io::Result<()>); 11] = [
        ("open", File::open("/etc/passwd").map(drop)),
        ("write", File::create(&file).map(drop)),
        ("truncate", File::options().write(true).open("/dev/null").map(drop)),
        ("folder", fs::create_dir(&file)),
        ("rename", fs::rename("/nonexistent", &file)),
        ("remove", fs::remove_file(&file)),
        ("mode", change_mode()),
        ("flock", lock(|file| file.try_lock_shared().map_err(io::Error::from))),
        ("lock", lock(|file| Ok(fcntl_lock(file, FlockOperation::NonBlockingLockShared)?))),
        ("connect", TcpStream::connect("127.0.0.1:9").map(drop)),
        ("execute", Command::new("/bin/true").status().map(drop)),
    ];
    for (what, went) in attempts {
        let outcome = match went {
            Ok(()) => "done".to_owned(),
            Err(error) => error.raw_os_error().map_or_else(|| error.to_string(), |number| number.to_string()),
        };
        let _ = writeln!(io::stderr(), "probe {thread} {what} {outcome}");
    }
}
