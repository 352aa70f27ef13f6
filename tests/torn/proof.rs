//! Holds the reading of the bytes to QEMU itself.

use std::fs;
use std::path::Path;
use std::process::Command;

use qcow2_inspect::units::{to_u64, to_usize};

use super::judged::{Judged, pairs};
use super::seeds::Base;
use super::spans::Spans;
use super::truth::{L1, Reader, SECTOR};

/// Larger disks take too long.
const LARGEST: u64 = 16 << 20;
/// Parts of a disk that are read by themselves.
const PARTS: usize = 3;

/// Where QEMU reads something else of a damaged image than was thought, or opens what was thought to be refused.
pub(crate) fn differences(base: &Base, torn: &[u8], judged: &Judged, folder: &Path) -> Vec<String> {
    let path = folder.join("torn.qcow2");
    fs::write(&path, torn).unwrap();
    let mut command = Command::new("qemu-io");
    let opened = command.args(["-r", "-f", "qcow2", "-c", "length"]).arg(&path).output().unwrap();
    let is_refused = !opened.status.success() || opened.stderr.starts_with(b"qemu-io: can't open");
    if is_refused != judged.is_refused() {
        let said = String::from_utf8_lossy(&opened.stderr).trim().to_owned();
        return vec![format!("QEMU refuses: {is_refused} ({said}); the check: {:?}", judged.verdict)];
    }
    if is_refused || base.reader().size > LARGEST {
        return Vec::new();
    }
    let before = base.reader();
    let after = Reader::open(torn).unwrap();
    let mut differences = Vec::new();
    for pair in pairs(&before, &after) {
        let Some(l1) = pair.after else { continue };
        let (wanted, errors) = after.disk(l1);
        // A snapshot's tree as the active one: its parts can be read by themselves then.
        fs::write(&path, with_active(torn, l1)).unwrap();
        for (from, to) in parts(&errors, to_u64(wanted.len())) {
            let read = read(&path, folder, from, to);
            let wanted = (!errors.has(from)).then(|| &wanted[to_usize(from)..to_usize(to)]);
            if read.as_deref() != wanted {
                let is_error = (read.is_none(), wanted.is_none());
                differences.push(format!("{:?} {from:#x}..{to:#x}: errors {is_error:?}", pair.tree));
            }
        }
    }
    differences
}

/// Whether `qemu-img check` finds nothing.
pub(crate) fn is_sound(file: &[u8], folder: &Path) -> bool {
    let path = folder.join("sound.qcow2");
    fs::write(&path, file).unwrap();
    let checked = Command::new("qemu-img").args(["check", "-q", "-f", "qcow2"]).arg(path).output().unwrap();
    checked.status.success()
}

/// The image with this L1 table for the active one.
fn with_active(file: &[u8], l1: L1) -> Vec<u8> {
    let mut file = file.to_vec();
    let [.., a, b, c, d] = l1.size.to_be_bytes();
    file[36..40].copy_from_slice(&[a, b, c, d]);
    file[40..48].copy_from_slice(&l1.at.to_be_bytes());
    file
}

/// The whole disk where nothing is an error; else some parts that can be read, and some sectors that cannot: after an
/// error of some kinds, QEMU reads nothing more of an image that it has open.
fn parts(errors: &Spans, len: u64) -> Vec<(u64, u64)> {
    let mut all = Spans::default();
    all.add(0, len);
    let readable = all.without(errors);
    let step = |spans: &Spans| (spans.iter().count() / PARTS).max(1);
    let mut parts: Vec<(u64, u64)> = readable.iter().step_by(step(&readable)).take(PARTS).collect();
    let sectors = errors.iter().step_by(step(errors)).take(PARTS);
    parts.extend(sectors.map(|(from, to)| (from, to.min(from + SECTOR))));
    parts
}

/// A part of the disk; `None` where it cannot be read.
fn read(path: &Path, folder: &Path, from: u64, to: u64) -> Option<Vec<u8>> {
    let out = folder.join("part.raw");
    let image = format!(
        "driver=raw,offset={from},size={},file.driver=qcow2,file.file.driver=file,file.file.filename={}",
        to - from,
        path.display()
    );
    let mut command = Command::new("qemu-img");
    command.args(["convert", "-q", "-O", "raw", "--image-opts", &image]).arg(&out);
    command.output().unwrap().status.success().then(|| fs::read(&out).unwrap())
}
