//! `map --format json` against `qemu-img map --output=json`, byte for byte.

use std::process::Command;

use crate::factory::Sample;
use crate::guest::View;

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
