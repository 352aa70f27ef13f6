//! Lays the images of ../corpus as named seeds into corpus/parse_image, where `cargo fuzz run parse_image` looks.
//! So the seeds are in git once, and what the fuzzer finds lands beside the copies, in a folder that git ignores.

use std::fs::{self, File};
use std::io;
use std::path::Path;

/// As the Makefile's -max_len: without one, libFuzzer makes inputs as long as the longest seed.
const MAX_LEN: usize = 16_384;

const FOLDERS: [&str; 4] = ["valid", "damaged", "crashes", "hostile"];

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-changed=../corpus");
    if let Err(error) = lay_seeds(Path::new("corpus/parse_image")) {
        println!("cargo:warning=fuzzing starts without seeds: {error}");
    }
}

fn lay_seeds(to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for folder in FOLDERS {
        let from = Path::new("../corpus").join(folder);
        if !from.is_dir() {
            continue;
        }
        for entry in fs::read_dir(from)? {
            let image = entry?.path();
            if image.extension().is_none_or(|extension| extension != "qcow2") {
                continue;
            }
            let seed = to.join(image.file_name().unwrap_or_default());
            let mut bytes = fs::read(&image)?;
            bytes.truncate(MAX_LEN);
            fs::write(&seed, bytes)?;
            // As old as its original, else cargo would take every seed for a change and build again.
            File::options().write(true).open(&seed)?.set_modified(fs::metadata(&image)?.modified()?)?;
            println!("cargo:rerun-if-changed={}", seed.display());
        }
    }
    Ok(())
}
