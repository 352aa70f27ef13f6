//! What the reader may take of memory: every image of the corpus, and the cheapest hostile ones, under an allocator
//! that counts. One test alone, since it counts for the whole process.
#![allow(clippy::unwrap_used, reason = "a test may stop at what it does not expect")]

mod found;
mod images;

use std::fs;
use std::hint::black_box;
use std::num::NonZero;
use std::path::Path;

use peak_alloc::PeakAlloc;
use qcow2_inspect::check::{CheckOptions, check};
use qcow2_inspect::finding::Finding;
use qcow2_inspect::source::ReadAt;
use qcow2_inspect::{Image, Limit, Limits};
use qcow2_testkit::oracle::{Format, LIMITS, run};
use qcow2_testkit::{exercise_fully, memory_bound};

use images::{compressed, hostile, maps, scattered, streams};

#[global_allocator]
static HEAP: PeakAlloc = PeakAlloc;

/// Bytes that opening an image and walking over all its structures may take, whatever its counts say: 196,609 tables
/// are remembered at most, the L1 tables of 65,536 snapshots and the active one, and 131,072 L2 tables, in 79 bytes
/// each, which makes 15.5 million. All else takes 3 million at most: the first cluster of 2 MiB, and what is found.
const WALK: usize = 16 << 20;

/// Bytes that a deep check on two threads may take beyond the tables, by the size of a cluster: six parts of the file,
/// each of 1 MiB or of four clusters, and two clusters for each thread and its tables, whatever the file's length.
const fn deep_bound(cluster_size: usize) -> usize {
    let window = if 4 * cluster_size > 1 << 20 { 4 * cluster_size } else { 1 << 20 };
    6 * window + 4 * cluster_size + (4 << 20)
}

/// The most that was in use at once while `run` ran, beyond what was before. While a vector moves, it counts twice.
fn peak(run: impl FnOnce()) -> usize {
    HEAP.reset_peak_usage();
    let before = HEAP.peak_usage();
    run();
    HEAP.peak_usage().saturating_sub(before)
}

#[test]
fn memory_is_bounded_whatever_the_counts_say() {
    // The bounds hold nothing if nobody counts.
    let one = peak(|| drop(black_box(Vec::<u8>::with_capacity(black_box(1 << 30)))));
    assert!(one >= 1 << 30, "a vector of 1 GiB counts as {one} bytes");

    for (name, bytes) in corpus() {
        let walk = walk(&name, bytes.as_slice());
        let oracles = peak(|| exercise_fully(&bytes));
        println!(
            "{walk:>10} {oracles:>10} of {:>10}  {name}, {} bytes",
            memory_bound(bytes.len()),
            bytes.len()
        );
        assert!(oracles <= memory_bound(bytes.len()), "{name} took {oracles} bytes under every oracle");
    }
    for (name, hostile) in hostile() {
        println!("{:>10}  {name}", walk(name, hostile));
    }
    for cluster_bits in [12, 16, 21] {
        let image = Image::open(streams(cluster_bits), Limits::default()).unwrap();
        let options = CheckOptions { deep: NonZero::new(2), ..CheckOptions::default() };
        let mut decompressed = None;
        let deep = peak(|| decompressed = check(&image, &options, &mut |_: Finding| ()).decompressed);
        println!("{deep:>10}  a deep check of {} MiB of streams", image.file_len() >> 20);
        assert_eq!(decompressed, Some(32));
        assert!(deep < deep_bound(1 << cluster_bits), "clusters of 2^{cluster_bits}: {deep} bytes");
    }
    check_budgets();
    for (name, source) in found::broken() {
        found::check_findings(name, &source);
    }
    found::check_listed();
}

/// Each of the limits that an image of little else can reach takes no more memory than it says, and a bound on all of
/// them holds.
fn check_budgets() {
    for (limit, count, source) in [
        (Limit::CountedPages, 40_000, maps(scattered)),
        (Limit::L2Tables, 16_000, maps(|_| 0)),
        (Limit::CompressedClusters, 1_000_000, maps(compressed)),
    ] {
        let run = |limits: Limits| {
            let image = Image::open(&source, limits).unwrap();
            let mut complete = true;
            let check = || complete = check(&image, &CheckOptions::default(), &mut |_: Finding| ()).complete;
            (peak(check), complete)
        };
        let with = |count| {
            let mut limits = Limits::DEFAULT;
            limits.set(limit, count);
            limits
        };
        let (none, some) = (with(0), with(count));
        let most = usize::try_from(some.memory() - none.memory()).unwrap();
        let cost = run(some).0.saturating_sub(run(none).0);
        println!("{cost:>10} of {most:>10}  {count} {limit}");
        assert!(cost > most / 8 && cost <= most, "{count} {limit} took {cost} bytes, not {most}");

        let (peak, complete) = run(Limits::DEFAULT.within_memory(80 << 20));
        println!("{peak:>10} of {:>10}  {limit} within 80 MiB", 80 << 20);
        assert!(peak <= 80 << 20 && !complete, "{limit} took {peak} bytes of 80 MiB");
    }
}

fn walk(name: &str, source: impl ReadAt + Sync) -> usize {
    let peak = peak(|| {
        let _ = run(source, Format::Walk, LIMITS);
    });
    assert!(peak < WALK, "{name} took {peak} bytes");
    peak
}

fn corpus() -> Vec<(String, Vec<u8>)> {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus");
    let mut images = Vec::new();
    for folder in ["valid", "damaged", "crashes", "hostile"] {
        for entry in fs::read_dir(corpus.join(folder)).into_iter().flatten() {
            let path = entry.unwrap().path();
            if path.extension().is_some_and(|ending| ending == "qcow2") {
                images.push((path.file_stem().unwrap().display().to_string(), fs::read(&path).unwrap()));
            }
        }
    }
    assert!(images.len() >= 100, "only {} images", images.len());
    images
}
