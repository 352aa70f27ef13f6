//! Differential tests: what we say of images that real `qemu-img` and `qemu-io` made, against what `qemu-img` says
//! of them and against a second reading of their bytes.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what fails here is the test"
)]

mod bytes;
mod coverage;
mod dump;
mod factory;
mod info;
mod ours;

use std::io::{Write, stderr};

#[test]
fn every_image_is_shown_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let samples = factory::samples(dir.path());
    let mut differences = coverage::gaps(&samples);
    for sample in &samples {
        differences.extend(info::differences(sample));
        differences.extend(dump::differences(sample));
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    // Written past the capture of the harness, which would keep it from whoever reads the log.
    writeln!(stderr(), "differential: {} images, {}", samples.len(), factory::qemu_version()).unwrap();
}
