//! Every image of the corpus through every oracle, on stable Rust and without the fuzzer.
#![allow(clippy::unwrap_used, reason = "a test may stop at what it does not expect")]

use std::fs;
use std::path::Path;

use qcow2_testkit::{Rng, exercise_fully, mutate};

fn images() -> Vec<(String, Vec<u8>)> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut images = Vec::new();
    for folder in ["valid", "damaged", "crashes", "hostile"] {
        for entry in fs::read_dir(corpus.join(folder)).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "qcow2") {
                images.push((path.display().to_string(), fs::read(&path).unwrap()));
            }
        }
    }
    assert!(images.len() >= 100, "only {} images", images.len());
    images
}

#[test]
fn every_image_passes_every_oracle() {
    for (path, bytes) in images() {
        println!("{path}");
        exercise_fully(&bytes);
    }
}

/// What a user is handed after a transfer that broke off.
#[test]
fn images_cut_at_any_byte_pass_every_oracle() {
    let small = images().into_iter().filter(|(_, bytes)| bytes.len() <= 20 << 10);
    for (path, bytes) in small.filter(|(path, _)| path.contains("/valid/")) {
        println!("{path}");
        let step = (bytes.len() / 200).max(1) | 1;
        for len in (0..600.min(bytes.len())).chain((600..bytes.len()).step_by(step)) {
            qcow2_testkit::exercise(&bytes[..len]);
        }
    }
}

/// A short run of what the fuzzer does at length.
#[test]
fn edited_images_pass_the_oracles() {
    let mut rng = Rng::new(0x7163_6f77);
    for (path, bytes) in images().into_iter().filter(|(_, bytes)| bytes.len() <= 20 << 10) {
        println!("{path}");
        let mut data = bytes.clone();
        data.resize(bytes.len() + 2048, 0);
        let mut len = bytes.len();
        for _ in 0..20 {
            let max = data.len();
            len = mutate(&mut data, len, max, u32::try_from(rng.below(1 << 32)).unwrap());
            qcow2_testkit::exercise(&data[..len]);
        }
    }
}
