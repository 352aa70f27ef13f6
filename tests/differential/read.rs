//! `read -o` against `qemu-img convert -O raw`, byte for byte.

use std::fs;
use std::process::Command;

use crate::bytes::Image;
use crate::factory::Sample;
use crate::guest::{View, succeed};

/// Longer files cannot be compared in a reasonable time, or cannot be at all.
const LONGEST: u64 = 1 << 33;

/// Where the two differ.
pub(crate) fn differences(sample: &Sample, views: &[View]) -> Vec<String> {
    let mut differences = Vec::new();
    for view in views.iter().filter(|view| Image::open(&view.path).header("size") <= LONGEST) {
        let place = sample.path.with_file_name("ours.raw");
        let mut ours = view.ours("read", sample);
        ours.arg("-o").arg(&place);
        if sample.has_backing {
            ours.arg("--without-backing");
        }
        if sample.has_data_file {
            ours.arg("--data-file").arg(sample.path.with_file_name("data.raw"));
        }
        let ours = ours.output().unwrap();
        let told = String::from_utf8_lossy(&ours.stderr);
        let mut differ =
            |what: String| differences.push(format!("{}: read of {}: {what}", sample.name, view.tree()));
        if sample.needs_key {
            let refused = ours.status.code() == Some(1) && told.contains("encrypted") && !place.exists();
            if !refused {
                differ(format!("encrypted data is not refused: {}\n{told}", ours.status));
            }
            let ciphertext = succeed(view.ours("read", sample).args(["--raw", "-o", "-"]));
            if ciphertext.stdout != stored(&Image::open(&view.path)) {
                differ("other ciphertext than the file has".to_owned());
            }
            continue;
        }
        let theirs = sample.path.with_file_name("theirs.raw");
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-O", "raw"]);
        view.name_to(&mut convert);
        succeed(convert.arg(&theirs));
        if !ours.status.success() {
            differ(format!("{}\n{told}", ours.status));
        } else if !Command::new("cmp").arg("-s").args([&place, &theirs]).status().unwrap().success() {
            differ("other bytes than qemu-img convert".to_owned());
        }
        fs::remove_file(&place).ok();
        fs::remove_file(&theirs).unwrap();
    }
    differences
}

/// The disk of an image without compressed clusters as the file has it, by an independent reading of its tables.
fn stored(image: &Image) -> Vec<u8> {
    let mut disk = vec![0; image.header("size").try_into().unwrap()];
    let (entries, _) = image.l2();
    let mut filled = 0;
    for entry in entries.iter().filter(|entry| entry.tree == "active" && entry.kind == "data") {
        let parts = if entry.bitmap.is_some() { 32 } else { 1 };
        let length = image.cluster_size() / parts;
        for part in (0..parts).filter(|part| entry.bitmap.is_none_or(|bits| bits >> part & 1 == 1)) {
            let bytes = image.stored(entry.host_offset.unwrap() + part * length, length);
            let start = usize::try_from(entry.guest_offset + part * length).unwrap();
            let place = &mut disk[start..];
            let room = place.len().min(bytes.len());
            place[..room].copy_from_slice(&bytes[..room]);
            filled += room;
        }
    }
    assert!(filled == 0 || disk.iter().any(|byte| *byte != 0));
    disk
}
