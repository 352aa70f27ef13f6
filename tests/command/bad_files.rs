//! What a path can lead to beside a file, and paths that attack a terminal.

use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::process::{check_refusal, command, corpus, finish, image, refuses, run, skipped};

/// A user who may do nothing.
const NOBODY: u32 = 65534;

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

#[test]
fn what_is_no_file_is_refused_unopened() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);

    let fifo = at("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    refuses(&fifo, text(&fifo), "is a FIFO, not a file or a block device");

    let socket = at("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    refuses(&socket, text(&socket), "is a socket, not a file or a block device");

    for device in ["/dev/null", "/dev/zero", "/dev/tty"] {
        refuses(device, device, "is a character device, not a file or a block device");
    }

    let through = at("through");
    symlink(&fifo, &through).unwrap();
    refuses(&through, text(&through), "is a FIFO, not a file or a block device");

    let around = at("around");
    symlink("around", &around).unwrap();
    let reason = fs::metadata(&around).unwrap_err().to_string();
    refuses(&around, text(&around), reason.split(" (os error").next().unwrap());

    let below = corpus("valid/v3-basic").join("below");
    refuses(&below, text(&below), "Not a directory");
}

#[test]
fn a_file_that_may_not_be_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
    let path = folder.path().join("secret.qcow2");
    fs::write(&path, image("valid/v3-basic")).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o000)).unwrap();
    if fs::File::open(&path).is_err() {
        return refuses(&path, text(&path), "Permission denied");
    }
    // Root may read everything, so somebody else has to try.
    let mut as_nobody = command(&["info", text(&path)]);
    as_nobody.uid(NOBODY).gid(NOBODY);
    if as_nobody.output().is_err() {
        return skipped("a file that may not be read", "root may read it, and nobody cannot run the command");
    }
    check_refusal(finish(as_nobody), text(&path), "Permission denied", false);
}

#[test]
fn a_path_with_control_characters_is_shown_escaped() {
    let folder = tempfile::tempdir().unwrap();
    let base = text(folder.path());
    let names: [(&[u8], &str); 4] = [
        (b"\x1b]0;owned\x07.qcow2", r"\x1b]0;owned\x07.qcow2"),
        (b"two\nlines", r"two\x0alines"),
        (b"\xff\xfe", r"\xff\xfe"),
        ("gpj\u{202e}.qcow2".as_bytes(), r"gpj\xe2\x80\xae.qcow2"),
    ];
    for (name, shown) in names {
        let path = folder.path().join(OsStr::from_bytes(name));
        let shown = format!("{base}/{shown}");
        refuses(&path, &shown, "No such file or directory");
        if fs::write(&path, image("valid/v3-basic")).is_err() {
            skipped(&shown, "the file system takes no such name");
            continue;
        }
        let dump = run(&["dump".as_ref(), path.as_os_str()]).report();
        assert_eq!(dump.lines().next(), Some(format!("file {shown} (10240 bytes)").as_str()));
        let info = run(&["info".as_ref(), "--format=json".as_ref(), path.as_os_str()]).json();
        assert_eq!(info["file"]["path"], shown);
    }
}

/// A loop device, given back at the end.
struct Loop(PathBuf);

impl Loop {
    fn new(file: &Path) -> Result<Self, String> {
        let made = Command::new("losetup").args(["--find", "--show", "--read-only"]).arg(file).output();
        let made = made.map_err(|error| error.to_string())?;
        if made.status.success() {
            Ok(Self(PathBuf::from(String::from_utf8(made.stdout).unwrap().trim_end())))
        } else {
            Err(String::from_utf8_lossy(&made.stderr).trim_end().to_owned())
        }
    }
}

impl Drop for Loop {
    fn drop(&mut self) {
        let _ = Command::new("losetup").arg("--detach").arg(&self.0).status();
    }
}

#[test]
fn a_block_device_is_read_like_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.qcow2");
    // Loop devices have whole sectors.
    let bytes = image("valid/v3-basic");
    assert_eq!(bytes.len() % 512, 0);
    fs::write(&path, bytes).unwrap();
    let device = match Loop::new(&path) {
        Ok(device) => device,
        Err(why) => return skipped("a block device", &why),
    };
    for name in ["dump", "info"] {
        let [file, device] = [&path, &device.0].map(|path| {
            let report = run(&[name, text(path)]).report().replace(text(path), "PATH");
            // How much of it is stored, a device does not say.
            report.lines().filter(|line| !line.starts_with("on the host:")).collect::<Vec<_>>().join("\n")
        });
        assert_eq!(file, device);
    }
}
