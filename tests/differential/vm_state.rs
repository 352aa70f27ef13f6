//! `read --vm-state` against the VM state that `qemu-io` wrote, and reads back.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::Command;

use crate::bytes::Image;
use crate::guest::{ours, succeed};

/// What is written of a VM's state: the byte, the offset and the length, in sectors of 512 bytes.
type Parts = &'static [(u8, u64, u64)];

/// Of a VM of a small disk, and after that has grown: several L2 tables, and gaps.
const SMALL: Parts = &[(2, 0, 200), (3, 101, 7), (4, 9000, 33)];
const LARGE: Parts = &[(5, 0, 100), (6, 50, 2), (7, 5000, 1)];
const SECTOR: u64 = 512;
/// Where an entry of the snapshot table has the length of the VM state, in 32 bits and in 64.
const LENGTHS: [(u64, usize); 2] = [(32, 4), (40, 8)];

fn tool(name: &str, arguments: &[&str], image: &Path) -> String {
    let output = succeed(Command::new(name).args(arguments).arg(image));
    String::from_utf8(output.stdout).unwrap()
}

/// Writes the state, takes a snapshot of it, and says in the file how long it is.
fn save(image: &Path, name: &str, parts: Parts, length: u64) {
    for (byte, start, count) in parts {
        let write = format!("write -b -P {byte} {} {}", start * SECTOR, count * SECTOR);
        tool("qemu-io", &["-f", "qcow2", "-c", &write], image);
    }
    tool("qemu-img", &["snapshot", "-c", name], image);
    let at = Image::open(image).snapshots().last().unwrap().fields[0].offset;
    let file = File::options().write(true).open(image).unwrap();
    for (place, width) in LENGTHS {
        file.write_all_at(&length.to_be_bytes()[8 - width..], at + place).unwrap();
    }
}

/// The state as it was written.
fn state(parts: Parts, length: u64) -> Vec<u8> {
    let mut state = vec![0; length.try_into().unwrap()];
    for (byte, start, count) in parts {
        let (start, end) = (start * SECTOR, (start + count) * SECTOR);
        state[usize::try_from(start).unwrap()..usize::try_from(end.min(length)).unwrap()].fill(*byte);
    }
    state
}

#[test]
fn vm_state_is_what_qemu_wrote() {
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("disk.qcow2");
    succeed(
        Command::new("qemu-img")
            .args(["create", "-q", "-f", "qcow2", "-o", "cluster_size=4k"])
            .arg(&image)
            .arg("1M"),
    );
    tool("qemu-io", &["-f", "qcow2", "-c", "write -P 1 0 64k"], &image);
    // The states end inside a sector, and the later one lies behind a larger disk.
    let cases = [("small", SMALL, 9032 * SECTOR + 77), ("large", LARGE, 5001 * SECTOR)];
    let (name, parts, length) = cases[0];
    save(&image, name, parts, length);
    succeed(Command::new("qemu-img").args(["resize", "-q"]).arg(&image).arg("40M"));
    let (name, parts, length) = cases[1];
    save(&image, name, parts, length);

    for (name, parts, length) in cases {
        let read = |options: &[&str]| {
            let mut ours = ours("read", &image);
            succeed(ours.args(["--vm-state", "-o", "-", "--snapshot", name]).args(options)).stdout
        };
        let wanted = state(parts, length);
        assert!(read(&[]) == wanted, "the state of {name} is another");
        assert!(read(&["-l", "1000"]) == wanted[..1000], "the start of the state of {name} is another");
        let part = read(&["-s", "5000", "-l", "1000"]);
        assert!(part == wanted[5000..6000], "a part of the state of {name} is another");
        let hex = succeed(ours("read", &image).args(["--vm-state", "-l", "16", "--snapshot", name])).stdout;
        assert!(String::from_utf8(hex).unwrap().contains(&format!("{:02x}", parts[0].0).repeat(4)));
        // And QEMU itself finds it there, once it has gone back to the snapshot.
        let copy = dir.path().join(format!("{name}.qcow2"));
        fs::copy(&image, &copy).unwrap();
        tool("qemu-img", &["snapshot", "-a", name], &copy);
        let (byte, start, count) = *parts.last().unwrap();
        let read = format!("read -b -P {byte} {} {}", start * SECTOR, count * SECTOR);
        let told = tool("qemu-io", &["-f", "qcow2", "-c", &read], &copy);
        assert!(!told.contains("verification failed"), "{name}: {told}");
    }
    let none = ours("read", &image).args(["--vm-state", "--snapshot", "none"]).output().unwrap();
    assert_eq!(none.status.code(), Some(1));
}
