//! `map --format json` against `qemu-img map --output=json`, byte for byte.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::process::Command;

use crate::factory::Sample;
use crate::guest::{View, ours};

/// A range that begins and ends on no boundary.
const ODD: [&str; 4] = ["-s", "70001", "-l", "200003"];

/// Where the two differ.
pub(crate) fn differences(sample: &Sample, views: &[View]) -> Vec<String> {
    let mut differences = Vec::new();
    for view in views.iter().filter(|_| !sample.slow_to_walk) {
        for range in [&[][..], &ODD] {
            let ours = view.ours("map", sample).args(["--format", "json"]).args(range).output().unwrap();
            let mut qemu = Command::new("qemu-img");
            qemu.args(["map", "--output=json"]).args(range);
            view.name_to(&mut qemu);
            let theirs = qemu.output().unwrap();
            if !theirs.status.success() || !ours.status.success() || ours.stdout != theirs.stdout {
                let text =
                    |bytes: &[u8]| String::from_utf8_lossy(bytes).chars().take(2000).collect::<String>();
                differences.push(format!(
                    "{}: map {range:?} of {}: {}\n{}{}\nqemu-img: {}\n{}{}",
                    sample.name,
                    view.tree(),
                    ours.status,
                    text(&ours.stderr),
                    text(&ours.stdout),
                    theirs.status,
                    text(&theirs.stderr),
                    text(&theirs.stdout)
                ));
            }
        }
    }
    differences
}

/// Holes count as zeros where far more clusters have a refcount than are stored. From a block on no boundary QEMU reads
/// no refcount, and then it does not look for holes.
#[test]
fn holes_are_zeros_only_where_refcounts_can_be_read() {
    const REFCOUNT_TABLE_OFFSET: u64 = 48;
    let dir = tempfile::tempdir().unwrap();
    let image = dir.path().join("disk.qcow2");
    let mut create = Command::new("qemu-img");
    create.args(["create", "-q", "-f", "qcow2", "-o", "preallocation=metadata"]).arg(&image).arg("64M");
    assert!(create.status().unwrap().success());
    let file = File::options().read(true).write(true).open(&image).unwrap();
    let number = |at| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes, at).unwrap();
        u64::from_be_bytes(bytes)
    };
    let entry = number(REFCOUNT_TABLE_OFFSET);
    let block = number(entry);
    for (shift, is_zero) in [(0, true), (512, false)] {
        file.write_all_at(&(block + shift).to_be_bytes(), entry).unwrap();
        let theirs = Command::new("qemu-img").args(["map", "--output=json"]).arg(&image).output().unwrap();
        let text = String::from_utf8(theirs.stdout).unwrap();
        assert!(text.contains(&format!("\"zero\": {is_zero}, \"data\": true")), "{shift}: {text}");
        let ours = ours("map", &image).args(["--format", "json"]).output().unwrap();
        assert_eq!(String::from_utf8(ours.stdout).unwrap(), text, "{shift}");
    }
}
