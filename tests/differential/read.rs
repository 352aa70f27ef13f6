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
