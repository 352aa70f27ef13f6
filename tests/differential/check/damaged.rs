//! Images of the corpus, damaged field by field: each field that `dump` shows takes values that break it in
//! different ways, and every damage of the test kit is done.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::thread;

use qcow2_testkit::{Draft, damages};
use serde_json::Value;

use super::Comparison;

const WORKERS: usize = 2;
/// Fields of one section of one image that are damaged.
const PER_SECTION: usize = 14;

/// Compares all of them, made under `dir`.
pub(crate) fn images(dir: &Path) -> Vec<Comparison> {
    let mut jobs: Vec<(String, Vec<u8>)> = Vec::new();
    for base in bases() {
        let name = base.file_stem().unwrap().to_str().unwrap().to_owned();
        let bytes = fs::read(&base).unwrap();
        // What is encrypted takes a key, which no damage must hit.
        if bytes[32..36] == [0; 4] {
            jobs.extend(
                fields(&base, &bytes).into_iter().map(|(what, bytes)| (format!("{name} {what}"), bytes)),
            );
        }
    }
    for damage in damages() {
        let base = corpus().join(format!("{}.qcow2", damage.base));
        for (kind, edit) in [("breaks", damage.breaks), ("nearly", damage.nearly)] {
            let mut draft = Draft::new(fs::read(&base).unwrap());
            edit(&mut draft);
            let name = format!("{} {} {kind}", damage.rule.code, damage.variant);
            if draft.bytes.get(32..36).is_none_or(|method| method == [0; 4]) {
                jobs.push((name, draft.bytes));
            }
        }
    }
    compare(dir, jobs)
}

pub(super) fn compare(dir: &Path, jobs: Vec<(String, Vec<u8>)>) -> Vec<Comparison> {
    let next = Mutex::new(jobs.into_iter().enumerate());
    let done = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..WORKERS {
            scope.spawn(|| {
                loop {
                    let Some((place, (name, bytes))) = next.lock().unwrap().next() else { break };
                    let path = dir.join(format!("{place}.qcow2"));
                    fs::write(&path, bytes).unwrap();
                    let comparison = Comparison::new(&name, &path, None);
                    fs::remove_file(&path).unwrap();
                    done.lock().unwrap().push((place, comparison));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap();
    done.sort_by_key(|(place, _)| *place);
    done.into_iter().map(|(_, comparison)| comparison).collect()
}

pub(super) fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn bases() -> Vec<PathBuf> {
    let entries = fs::read_dir(corpus().join("valid")).unwrap();
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "qcow2"));
    paths.sort();
    paths
}

/// The image with each field damaged, in ways that take turns.
fn fields(path: &Path, bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
    let program = env::var_os("CARGO_BIN_EXE_qcow2-inspect").expect("cargo says where the command is");
    let output = Command::new(program).args(["dump", "--format", "json"]).arg(path).output().unwrap();
    let dump: Value = serde_json::from_slice(&output.stdout).unwrap();
    let cluster_size = 1_u64 << bytes[23];
    let mut images = Vec::new();
    for section in ["header", "extensions", "refcounts", "snapshots", "l1", "l2", "bitmaps"] {
        let rows = dump[section].as_array().unwrap();
        let rows: Vec<_> =
            rows.iter().filter(|row| [1, 2, 4, 8].contains(&row["width"].as_u64().unwrap_or(0))).collect();
        let step = rows.len().div_ceil(PER_SECTION).max(1);
        for (turn, row) in rows.iter().step_by(step).enumerate() {
            let (at, width) = (row["offset"].as_u64().unwrap(), row["width"].as_u64().unwrap());
            let old = number(bytes, at, width);
            let ways = [
                ("to zero", 0),
                ("its highest bit", old ^ 1 << (width * 8 - 1)),
                ("up by a cluster", old.wrapping_add(cluster_size)),
                ("its lowest bit", old ^ 1),
                ("off the boundary", old ^ 512),
                ("far away", old ^ 1 << (width * 8 - 2).min(40)),
                ("to all ones", u64::MAX),
            ];
            for pick in [0, 1, 2] {
                let (way, new) = ways[(turn + pick * 2) % ways.len()];
                let mut damaged = bytes.to_vec();
                let new = new.to_be_bytes();
                let width = usize::try_from(width).unwrap();
                let at = usize::try_from(at).unwrap();
                damaged[at..at + width].copy_from_slice(&new[8 - width..]);
                if damaged != bytes && damaged[32..36] == [0; 4] {
                    images.push((format!("{section} {} at {at:#x} {way}", row["name"]), damaged));
                }
            }
        }
    }
    images
}

fn number(bytes: &[u8], at: u64, width: u64) -> u64 {
    let at = usize::try_from(at).unwrap();
    let field = &bytes[at..at + usize::try_from(width).unwrap()];
    field.iter().fold(0, |value, byte| value << 8 | u64::from(*byte))
}
