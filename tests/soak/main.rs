//! Many images through every command, each as a process: `make soak`, or SOAK_IMAGES=1000 and SOAK_SEED=7 for others.
//!
//! No run may end by a signal or a panic, take over 5 seconds or 256 MiB, write anything that is not valid JSON where that
//! was asked for, or let a byte of an image through that a terminal acts on.
#![expect(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::panic,
    reason = "what fails here is the test"
)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use std::{env, fs, panic, thread};

use qcow2_testkit::oracle::{check_json, check_json_array, check_json_lines, check_text};
use qcow2_testkit::{Model, Rng, mutate};

/// What is to be heard of a call beside its exit code.
#[derive(Clone, Copy)]
enum Wanted {
    Text,
    Document,
    Array,
    Lines,
    /// Text or raw guest bytes on standard output are the guest's own.
    Nothing,
}

use Wanted::{Array, Document, Lines, Nothing, Text};

/// Every command, in each of its formats; an image meets one format of each.
const COMMANDS: &[&[(&[&str], Wanted)]] = &[
    &[(&["info"], Text), (&["info", "--format", "json"], Document)],
    &[
        (&["dump"], Text),
        (&["dump", "--hex"], Text),
        (&["dump", "--format", "json"], Document),
        (&["dump", "--format", "jsonl"], Lines),
    ],
    &[
        (&["check", "--deep", "--as-qemu"], Text),
        (&["check", "--all", "--format", "json"], Document),
        (&["check", "--format", "jsonl"], Lines),
    ],
    &[(&["audit"], Text), (&["audit", "--format", "json"], Document)],
    &[
        (&["map", "-l", "16M"], Text),
        (&["map", "-l", "16M", "--format", "json"], Array),
        (&["map", "-l", "16M", "--format", "jsonl"], Lines),
    ],
    &[(&["bitmap"], Text), (&["bitmap", "--format", "json"], Document)],
    &[(&["locate", "--guest", "4096"], Text), (&["locate", "--guest", "0", "--format", "json"], Document)],
    &[(&["locate", "--host", "512"], Text), (&["locate", "--host", "4608", "--format", "json"], Document)],
    &[
        (&["read", "-l", "64K", "--keep-going", "--without-backing"], Text),
        (&["read", "-l", "1M", "--keep-going", "-o", "-"], Nothing),
    ],
    &[(&["scan"], Lines)],
];

const PATIENCE: Duration = Duration::from_secs(5);

/// Calls of one command.
#[derive(Clone, Default)]
struct Tally {
    calls: u64,
    slowest: Duration,
    codes: BTreeMap<i32, u64>,
}

/// An image by its number: those of the corpus come first, then a corpus image or a described one with edits.
fn image(number: u64, seed: u64, corpus: &[PathBuf]) -> Vec<u8> {
    if let Some(path) = corpus.get(usize::try_from(number).unwrap()) {
        return fs::read(path).unwrap();
    }
    let mut rng = Rng::new(seed.wrapping_add(number));
    let mut data = match (number.is_multiple_of(2), Model::small_from_seed(seed.wrapping_add(number))) {
        (true, Some(model)) => model.write(),
        _ => {
            fs::read(&corpus[usize::try_from(rng.below(corpus.len().try_into().unwrap())).unwrap()]).unwrap()
        }
    };
    let mut len = data.len();
    data.resize(len + 4096, 0);
    for _ in 0..=rng.below(6) {
        let max = data.len();
        len = mutate(&mut data, len, max, u32::try_from(rng.below(1 << 32)).unwrap());
    }
    data.truncate(len);
    data
}

fn run(program: &Path, arguments: &[&str], image: &Path) -> Output {
    // Memory that is reserved counts here as if it were used; each thread's own heap would reserve 64 MiB.
    let limits = "ulimit -v 262144; exec timeout -s KILL 5 \"$0\" \"$@\"";
    let mut command = Command::new("sh");
    command.args(["-c", limits]).arg(program).args(arguments).arg(image).env("MALLOC_ARENA_MAX", "1");
    command.output().unwrap()
}

/// What is wrong with a call.
fn fault(ran: &Output, took: Duration, wanted: Wanted) -> Option<String> {
    let code = ran.status.code();
    if !matches!(code, Some(0..=3)) || took >= PATIENCE {
        return Some(format!("{} after {took:?}: {}", ran.status, ran.stderr.escape_ascii()));
    }
    let is_report = !ran.stdout.is_empty();
    let sound = panic::catch_unwind(|| {
        check_text(&ran.stderr);
        match wanted {
            Text => check_text(&ran.stdout),
            Array if ran.stdout.starts_with(b"[") => check_json_array(&ran.stdout),
            Lines if is_report && !is_error(&ran.stdout) && !is_scan(&ran.stdout) => {
                check_json_lines(&ran.stdout)
            }
            Document if is_report && !is_error(&ran.stdout) => check_json(&ran.stdout),
            Array | Lines | Document => {
                let documents = serde_json::Deserializer::from_slice(&ran.stdout);
                assert!(
                    documents.into_iter::<serde_json::Value>().all(|document| document.is_ok()),
                    "not JSON"
                );
            }
            Nothing => {}
        }
    });
    sound
        .err()
        .map(|_| format!("unsound output: {}", ran.stdout[..ran.stdout.len().min(2000)].escape_ascii()))
}

fn is_error(out: &[u8]) -> bool {
    out.starts_with(b"{\"schema\":\"qcow2-inspect/error/")
}

fn is_scan(out: &[u8]) -> bool {
    out.starts_with(b"{\"schema\":\"qcow2-inspect/scan/")
}

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |value| value.parse().unwrap())
}

#[test]
fn every_command_survives_every_image() {
    let program = PathBuf::from(env::var_os("CARGO_BIN_EXE_qcow2-inspect").unwrap());
    let mut corpus = Vec::new();
    for folder in ["valid", "damaged", "hostile", "crashes"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(folder);
        let files = fs::read_dir(folder).into_iter().flatten().map(|file| file.unwrap().path());
        corpus.extend(files.filter(|path| path.extension().is_some_and(|ending| ending == "qcow2")));
    }
    corpus.sort();
    let (images, seed) = (number("SOAK_IMAGES", 100_000), number("SOAK_SEED", 1));
    let all = u64::try_from(corpus.len()).unwrap() + images;
    println!("{} images of the corpus and {images} others, seed {seed}", corpus.len());

    let tallies = Mutex::new(vec![Tally::default(); COMMANDS.len()]);
    let next = AtomicU64::new(0);
    let faults = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().unwrap().get() {
            scope.spawn(|| {
                let folder = tempfile::tempdir().unwrap();
                let path = folder.path().join("image.qcow2");
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= all {
                        break;
                    }
                    fs::write(&path, image(number, seed, &corpus)).unwrap();
                    for (place, formats) in COMMANDS.iter().enumerate() {
                        // By halves, since even and odd numbers are images of different kinds.
                        let (arguments, wanted) =
                            formats[usize::try_from(number / 2).unwrap() % formats.len()];
                        let start = Instant::now();
                        let ran = run(&program, arguments, &path);
                        let took = start.elapsed();
                        if let Some(fault) = fault(&ran, took, wanted) {
                            faults.fetch_add(1, Ordering::Relaxed);
                            println!("image {number} of seed {seed}: {arguments:?}: {fault}");
                        }
                        let tally = &mut tallies.lock().unwrap()[place];
                        tally.calls += 1;
                        tally.slowest = tally.slowest.max(took);
                        *tally.codes.entry(ran.status.code().unwrap_or(-1)).or_default() += 1;
                    }
                }
            });
        }
    });

    println!("{:<8} {:>9} {:>12}  exit codes", "command", "calls", "slowest (ms)");
    for (formats, tally) in COMMANDS.iter().zip(tallies.into_inner().unwrap()) {
        let codes: Vec<_> = tally.codes.iter().map(|(code, count)| format!("{code}: {count}")).collect();
        println!(
            "{:<8} {:>9} {:>12}  {}",
            formats[0].0[0],
            tally.calls,
            tally.slowest.as_millis(),
            codes.join(", ")
        );
    }
    assert_eq!(faults.into_inner(), 0, "calls that went wrong");
}
