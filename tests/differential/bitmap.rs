//! `bitmap` against what `qemu-nbd` exports of each bitmap that QEMU can use.

use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;

use crate::bytes::Image;
use crate::factory::Sample;
use crate::guest::{View, ours, succeed};

/// Longer names do not fit into a request of NBD.
const LONGEST_NAME: usize = 255;

/// Where the two differ, and how many bitmaps were compared.
pub(crate) fn differences(sample: &Sample, active: &View) -> (Vec<String>, usize) {
    if Image::open(&sample.path).bitmaps().0.is_empty() {
        return (Vec::new(), 0);
    }
    let mut differences = Vec::new();
    let report = succeed(ours("bitmap", &sample.path).args(["--format", "json"]));
    let report: Value = serde_json::from_slice(&report.stdout).unwrap();
    let mut compared = 0;
    for bitmap in report["bitmaps"].as_array().unwrap() {
        let name = bitmap["name"].as_str().unwrap();
        // A disabled one is loaded too.
        let usable = bitmap["trusted"] == true || bitmap["state"] == "disabled";
        let is_in_use = bitmap["flags"].as_array().unwrap().iter().any(|flag| flag == "in-use");
        let is_loaded = !sample.fires.iter().any(|rule| rule == "E21" || rule == "E22");
        if usable != (is_loaded && !is_in_use) {
            differences
                .push(format!("{}: bitmap {name}: trusted is {usable}: {}", sample.name, bitmap["reason"]));
        }
        if !usable || name.len() > LONGEST_NAME {
            continue;
        }
        compared += 1;
        let theirs = exported(active, name);
        let mut dirty: Vec<(u64, u64)> = Vec::new();
        for span in bitmap["dirty"].as_array().unwrap() {
            dirty.push((span["start"].as_u64().unwrap(), span["length"].as_u64().unwrap()));
        }
        let bytes: u64 = dirty.iter().map(|(_, length)| length).sum();
        if dirty != theirs || bitmap["dirty_bytes"] != bytes {
            differences.push(format!("{}: bitmap {name}: {dirty:?}, qemu-nbd {theirs:?}", sample.name));
        }
    }
    (differences, compared)
}

/// The dirty ranges, as QEMU's own client sees them over NBD.
fn exported(view: &View, name: &str) -> Vec<(u64, u64)> {
    let folder = view.path.parent().unwrap();
    let socket = folder.join("nbd.sock");
    let mut server = Command::new("qemu-nbd")
        .current_dir(folder)
        .args(["--read-only", "--persistent", "--format=qcow2", "--bitmap", name, "--socket"])
        .arg(&socket)
        .arg(&view.path)
        .stdin(Stdio::null())
        .spawn()
        .expect("qemu-nbd on the PATH");
    while !socket.exists() {
        assert!(server.try_wait().unwrap().is_none(), "qemu-nbd gave up on {}: {name}", view.path.display());
        sleep(Duration::from_millis(5));
    }
    // The key in QEMU's options that shows a bitmap in place of what is allocated: what is dirty is no data.
    let node = serde_json::json!({
        "driver": "nbd",
        "server": {"type": "unix", "path": socket},
        "x-dirty-bitmap": format!("qemu:dirty-bitmap:{name}"),
    });
    let map =
        Command::new("qemu-img").args(["map", "--output=json"]).arg(format!("json:{node}")).output().unwrap();
    server.kill().unwrap();
    server.wait().unwrap();
    std::fs::remove_file(&socket).unwrap();
    assert!(map.status.success(), "{name}: {}", String::from_utf8_lossy(&map.stderr));
    let map: Value = serde_json::from_slice(&map.stdout).unwrap();
    let mut dirty: Vec<(u64, u64)> = Vec::new();
    for part in map.as_array().unwrap().iter().filter(|part| part["data"] == false) {
        let (start, length) = (part["start"].as_u64().unwrap(), part["length"].as_u64().unwrap());
        match dirty.last_mut() {
            Some((before, so_far)) if *before + *so_far == start => *so_far += length,
            _ if length > 0 => dirty.push((start, length)),
            _ => {}
        }
    }
    dirty
}
