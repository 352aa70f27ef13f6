//! Differential tests: what we say of images that real `qemu-img` and `qemu-io` made, against what `qemu-img` says
//! of them and against a second reading of their bytes.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "what fails here is the test"
)]

mod advice;
mod audit;
mod bitmap;
mod bytes;
mod cases;
mod check;
mod coverage;
mod deep;
mod dump;
mod factory;
mod guest;
mod info;
#[cfg(all(target_os = "linux", target_pointer_width = "64"))]
mod locks;
mod map;
mod ours;
mod probe;
mod read;
mod vm_state;

use std::io::{Write, stderr};

#[test]
fn every_image_is_shown_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let samples = factory::samples(dir.path());
    let mut differences = coverage::gaps(&samples);
    let (mut trees, mut bitmaps) = (0, 0);
    for sample in &samples {
        differences.extend(info::differences(sample));
        differences.extend(dump::differences(sample));
        let views = guest::views(sample);
        trees += views.len();
        differences.extend(map::differences(sample, &views));
        differences.extend(read::differences(sample, &views));
        let (different, compared) = bitmap::differences(sample, &views[0]);
        differences.extend(different);
        bitmaps += compared;
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
    // Written past the capture of the harness, which would keep it from whoever reads the log.
    let images = samples.len();
    writeln!(
        stderr(),
        "differential: {images} images, {trees} trees, {bitmaps} bitmaps, {}",
        factory::qemu_version()
    )
    .unwrap();
}

#[test]
fn a_check_of_real_images_is_as_qemus() {
    let dir = tempfile::tempdir().unwrap();
    let samples = factory::samples(dir.path());
    let comparisons: Vec<_> = samples.iter().map(check::Comparison::of_sample).collect();
    report("check of real images", &comparisons);
}

#[test]
fn real_images_are_accepted() {
    let dir = tempfile::tempdir().unwrap();
    let samples = factory::samples(dir.path());
    let (differences, accepted) = audit::differences(&samples);
    let images = samples.len();
    // Written past the capture of the harness, which would keep it from whoever reads the log.
    writeln!(stderr(), "audit of real images: {accepted} of {images} accepted").unwrap();
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

#[test]
fn a_check_of_damaged_images_is_as_qemus() {
    let dir = tempfile::tempdir().unwrap();
    let comparisons = check::images(dir.path());
    assert!(comparisons.len() >= 300, "only {} images", comparisons.len());
    report("check of damaged images", &comparisons);
    let mut missed = check::missed_blind_spots(&comparisons);
    missed.extend(check::missed_damages(&comparisons));
    assert!(missed.is_empty(), "blind spots of qemu-img check that have no image: {missed:?}");
}

#[test]
fn a_check_of_cut_images_is_as_qemus() {
    let dir = tempfile::tempdir().unwrap();
    let comparisons = check::cut_images(dir.path());
    assert!(comparisons.len() >= 200, "only {} images", comparisons.len());
    report("check of cut images", &comparisons);
}

#[test]
fn a_deep_check_finds_what_qemu_cannot_read() {
    let dir = tempfile::tempdir().unwrap();
    let mut differences = Vec::new();
    for kind in deep::KINDS {
        let compared = deep::compare(dir.path(), kind);
        let (read, refused, known) = (compared.read, compared.refused, compared.known);
        // Written past the capture of the harness, which would keep it from whoever reads the log.
        let line =
            format!("deep: {kind:?}: {read} read and {refused} refused by both, {known} known differences");
        writeln!(stderr(), "{line}").unwrap();
        assert!(read >= 40 && refused >= 40 && known <= 4, "{line}");
        differences.extend(compared.differences);
    }
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}

/// Prints each image whose class is another for us, with the rules that explain it, and fails where none does or
/// where the prediction is wrong.
fn report(title: &str, comparisons: &[check::Comparison]) {
    let mut differences: Vec<_> = comparisons.iter().flat_map(check::Comparison::differences).collect();
    let mut lines = vec![format!("{title}: {} images", comparisons.len())];
    for (reason, names) in check::by_reason(comparisons) {
        if !check::is_explained(&reason) {
            differences.push(format!("{reason}: {names:?}"));
        }
        lines.push(format!("  {} {reason}", names.len()));
        lines.extend(names.iter().map(|name| format!("    {name}")));
    }
    // Written past the capture of the harness, which would keep it from whoever reads the log.
    let lines = lines.join("\n");
    stderr().write_all(format!("{lines}\n").as_bytes()).unwrap();
    assert!(differences.is_empty(), "{} differences:\n{}", differences.len(), differences.join("\n"));
}
