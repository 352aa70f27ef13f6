//! What `check` costs beside `qemu-img check`, in one run: cpu time and memory on the largest images, on scattered
//! clusters and on many snapshots. It prints the targets beside what it measured, and asserts none of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "a benchmark may stop at what it does not expect"
)]

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let image = |name: &str| folder.path().join(name);
    println!("{:<42}{:>11}{:>11}{:>11}", "", "cpu", "wall", "peak");

    let big = image("1-TiB.qcow2");
    create(&big, &["-o", "preallocation=metadata"], "1T");
    pair("16.8 million clusters of 64 KiB", &big, "at least 7 times less cpu, under 48 MiB");
    std::fs::remove_file(&big).unwrap();

    let scattered = image("scattered.qcow2");
    create(&scattered, &["-o", "preallocation=metadata,cluster_size=4k"], "16G");
    pair("4.2 million clusters of 4 KiB in order", &scattered, "");
    shuffle(&scattered);
    pair("the same, scattered", &scattered, "ours under a second");
    std::fs::remove_file(&scattered).unwrap();

    let shared = image("shared.qcow2");
    create(&shared, &["-o", "preallocation=metadata"], "64G");
    let none = ours("1 million clusters without snapshots", &shared);
    for number in 0..200 {
        run_qemu(&["snapshot", "-c", &format!("s{number}")], &shared);
    }
    let many = ours("the same with 200 snapshots", &shared);
    qemu("qemu-img on that", &shared);
    println!("200 snapshots cost {:.2} times none; target: at most 1.5", ratio(many, none));
}

fn create(path: &Path, options: &[&str], size: &str) {
    let made = Command::new("qemu-img")
        .args(["create", "-q", "-f", "qcow2"])
        .args(options)
        .arg(path)
        .arg(size)
        .status();
    assert!(made.unwrap().success());
}

fn run_qemu(arguments: &[&str], path: &Path) {
    assert!(Command::new("qemu-img").args(arguments).arg(path).status().unwrap().success());
}

fn pair(label: &str, path: &Path, target: &str) {
    let ours = ours(label, path);
    let qemu = qemu("  qemu-img", path);
    println!(
        "  {:.1} times less cpu{}{target}",
        ratio(qemu, ours),
        if target.is_empty() { "" } else { "; target: " }
    );
}

fn ours(label: &str, path: &Path) -> Duration {
    let command =
        std::env::var("CARGO_BIN_EXE_qcow2-inspect").expect("cargo names the command that it built");
    // The best of three, since other work on the machine only adds.
    (0..3)
        .map(|_| measure(Command::new(&command).arg("check").arg(path)))
        .min()
        .map(|best| show(label, best))
        .unwrap()
}

fn qemu(label: &str, path: &Path) -> Duration {
    show(label, measure(Command::new("qemu-img").arg("check").arg(path)))
}

/// Cpu time, wall time and peak memory in bytes.
type Cost = (Duration, Duration, u64);

fn show(label: &str, (cpu, wall, peak): Cost) -> Duration {
    println!(
        "{label:<42}{:>11}{:>11}{:>11}",
        format!("{cpu:.2?}"),
        format!("{wall:.2?}"),
        format!("{:.1} MiB", peak as f64 / 1_048_576.0)
    );
    cpu
}

fn measure(command: &mut Command) -> Cost {
    let start = Instant::now();
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let (mut cpu, mut peak) = (Duration::ZERO, 0);
    let wall = loop {
        // What a child has used is gone with it: the last look before its end counts.
        cpu = cpu.max(cpu_of(child.id()).unwrap_or_default());
        peak = peak.max(peak_of(child.id()).unwrap_or(0));
        if child.try_wait().unwrap().is_some() {
            break start.elapsed();
        }
        std::thread::sleep(Duration::from_millis(1));
    };
    (cpu, wall, peak)
}

/// Cpu time that a process used so far, from the scheduler, in nanoseconds there.
fn cpu_of(process: u32) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{process}/schedstat")).ok()?;
    Some(Duration::from_nanos(text.split_whitespace().next()?.parse().ok()?))
}

fn peak_of(process: u32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

fn ratio(more: Duration, less: Duration) -> f64 {
    more.as_secs_f64() / less.as_secs_f64().max(1e-9)
}

/// Gives each guest cluster the host cluster of another.
fn shuffle(path: &Path) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let number = |at: u64, len: usize| {
        let mut bytes = [0; 8];
        file.read_exact_at(&mut bytes[8 - len..], at).unwrap();
        u64::from_be_bytes(bytes)
    };
    let cluster_size = 1 << number(20, 4);
    let l1 = number(40, 8);
    let tables: Vec<u64> = (0..number(36, 4))
        .map(|n| number(l1 + n * 8, 8) & 0x00ff_ffff_ffff_fe00)
        .filter(|at| *at != 0)
        .collect();
    let mut bytes = vec![0; cluster_size * tables.len()];
    for (table, at) in bytes.chunks_mut(cluster_size).zip(&tables) {
        file.read_exact_at(table, *at).unwrap();
    }
    let (entries, _) = bytes.as_chunks_mut::<8>();
    let mut noise = 0x9e37_79b9_7f4a_7c15_u64;
    for n in (1..entries.len()).rev() {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        entries.swap(n, usize::try_from((noise >> 33) % (n as u64 + 1)).unwrap());
    }
    for (table, at) in bytes.chunks(cluster_size).zip(&tables) {
        file.write_all_at(table, *at).unwrap();
    }
}
