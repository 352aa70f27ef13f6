//! Holds the direction of the rooms in src/ and of the modules in each room, their size and that of the test kit's, and
//! what the top level of the repository may hold.
//!
//! Each room may import what stands below it, never what stands above. Every violation is listed, with file and line.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "a test may stop at what it does not expect"
)]

mod circles;
mod judge;
mod planted;
mod source;
mod tokens;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The rooms from the ground up. Those on one floor do not import one another, except on the ground floor.
const FLOORS: [&[&str]; 12] = [
    &["units", "limits", "error", "text"],
    &["format"],
    &["parse", "source", "finding"],
    &["image"],
    &["rules", "references"],
    &["guest"],
    &["check"],
    &["audit"],
    &["report"],
    &["sandbox"],
    &["cli"],
    &["main"],
];

const KIT: &str = "tests/kit/src";

/// A file with more lines than this before its unit tests is two rooms in one.
const MAX_LINES: usize = 400;

/// Types of the libraries that read for us: whoever uses the crate must not depend on which these are.
const OUR_OWN_AFFAIR: [&str; 5] = ["BinRead", "BinWrite", "ReadEndian", "WriteEndian", "IResult"];

const TOP_LEVEL: &str = ".cargo .ci .gitattributes .gitignore CHANGELOG.md CONTRIBUTING.md Cargo.lock Cargo.toml \
    LICENSE-APACHE LICENSE-MIT Makefile README.md SECURITY.md benches clippy.toml corpus deny.toml examples fuzz \
    rustfmt.toml src tests";

#[test]
fn imports_go_down_and_in_no_circle() {
    let sources = sources_in("src");
    none(&[judge::violations(&sources), circles::violations(&sources)].concat());
}

#[test]
fn the_kit_is_made_of_small_files() {
    none(&judge::violations_of_files(KIT, &sources_in(KIT)));
}

fn none(violations: &[String]) {
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

fn sources_in(folder: &str) -> Vec<source::Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let files: Vec<_> = rust_files(root, folder)
        .into_iter()
        .map(|name| {
            let text = fs::read_to_string(root.join(folder).join(&name)).unwrap();
            (name, text)
        })
        .collect();
    assert!(files.len() > 10, "only {} files found under {}/{folder}", files.len(), root.display());
    source::read(&files)
}

/// Goes by what git tracks, for whoever tries the examples of the README here has their files lying about.
#[test]
fn the_top_level_holds_only_what_was_agreed() {
    let tracked = git_files(&["ls-files"]).unwrap_or_default();
    let stray = strays(&tracked);
    assert!(stray.is_empty(), "not agreed on the top level: {}", stray.join(", "));
}

fn strays(tracked: &[String]) -> Vec<&str> {
    let entries: BTreeSet<_> = tracked.iter().filter_map(|path| path.split('/').next()).collect();
    entries.into_iter().filter(|entry| !TOP_LEVEL.split(' ').any(|agreed| agreed == *entry)).collect()
}

/// The Rust files of a folder, by their names there.
fn rust_files(root: &Path, folder: &str) -> BTreeSet<String> {
    let listed = git_files(&["ls-files", "--cached", "--others", "--exclude-standard", folder]);
    let files = listed.unwrap_or_else(|| {
        let relative = |path: PathBuf| path.strip_prefix(root).unwrap().to_str().unwrap().replace('\\', "/");
        walk(&root.join(folder)).into_iter().map(relative).collect()
    });
    let is_there = |file: &String| file.ends_with(".rs") && root.join(file).exists();
    let name = |file: String| file.strip_prefix(&format!("{folder}/")).unwrap().to_owned();
    files.into_iter().filter(is_there).map(name).collect()
}

/// What git lists, unless this is no checkout but, say, an unpacked archive.
fn git_files(arguments: &[&str]) -> Option<Vec<String>> {
    let listing =
        Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    let files: Vec<_> = String::from_utf8(listing.stdout).unwrap().lines().map(str::to_owned).collect();
    (listing.status.success() && !files.is_empty()).then_some(files)
}

fn walk(folder: &Path) -> Vec<PathBuf> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    paths.flat_map(|path| if path.is_dir() { walk(&path) } else { vec![path] }).collect()
}
