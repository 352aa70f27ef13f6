//! The rules, each against the damages of the kit that break it and those that nearly do.
#![expect(clippy::unwrap_used, clippy::panic, reason = "what fails here is the test")]

mod bitmap_tables;
mod bitmaps;
mod extensions;
mod header;
mod heads;
mod l1;
mod luks;
mod refcounts;
mod snapshot_labels;
mod snapshots;
mod tables;
mod tool;
mod trailing;

use std::path::{Path, PathBuf};

use qcow2_testkit::Draft;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

/// An image of the corpus, by its path without the ending.
fn load(name: &str) -> Draft {
    let path = corpus().join(name).with_extension("qcow2");
    Draft::new(std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display())))
}

/// The valid images of the corpus, each with its name.
fn valid_images() -> Vec<(String, Vec<u8>)> {
    let paths = std::fs::read_dir(corpus().join("valid")).unwrap().map(|entry| entry.unwrap().path());
    let images = paths.filter(|path| path.extension().is_some_and(|ending| ending == "qcow2"));
    let name = |path: &Path| path.file_stem().unwrap().to_str().unwrap().to_owned();
    images.map(|path| (name(&path), std::fs::read(&path).unwrap())).collect()
}
