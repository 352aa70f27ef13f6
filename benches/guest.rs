//! What the guest's view costs, beside qemu-img in the same run: time, processor time and memory of `map`, `read` and
//! `bitmap`. It prints the targets beside what it measured, and asserts none of them.
#![allow(
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::unwrap_used,
    reason = "what fails here is the measurement"
)]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use qcow2_inspect::{Image, Limits};

/// Times that each pair is run, in turns; the best of each counts.
const ROUNDS: usize = 3;
/// Clock ticks of a second in /proc, which every Linux has at 100.
const TICKS: u64 = 100;

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let image = |name: &str| folder.path().join(name);
    println!(
        "{:<34}{:>22}{:>22}{:>8}{:>12}  target",
        "best of each", "ours wall/cpu", "qemu-img", "times", "our peak"
    );

    let big = image("1-TiB.qcow2");
    qemu(&["create", "-q", "-f", "qcow2", "-o", "preallocation=metadata"], &big, "1T");
    maps("map, 16.8 million clusters", &big, "15");
    fs::remove_file(&big).unwrap();

    let scattered = image("scattered.qcow2");
    qemu(&["create", "-q", "-f", "qcow2", "-o", "preallocation=metadata"], &scattered, "256G");
    scatter(&scattered);
    maps("map, 4.2 million extents", &scattered, "70");
    fs::remove_file(&scattered).unwrap();

    let raw = image("source.raw");
    write_source(&raw, 512 << 20);
    for (name, options, target) in [
        ("read, plain", &[][..], "1"),
        ("read, zlib", &["-c"], "1.1"),
        ("read, zstd", &["-c", "-o", "compression_type=zstd"], "1.4"),
    ] {
        let made = image("copied.qcow2");
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-f", "raw", "-O", "qcow2"]).args(options).arg(&raw).arg(&made);
        assert!(convert.status().unwrap().success());
        let (ours, theirs) = (image("ours.raw"), image("theirs.raw"));
        let mut read = program("read");
        read.arg("-o").arg(&ours).arg(&made);
        let mut convert = Command::new("qemu-img");
        convert.args(["convert", "-O", "raw"]).arg(&made).arg(&theirs);
        pair(name, &mut read, &mut convert, &[&ours, &theirs], target);
        for path in [&made, &theirs] {
            fs::remove_file(path).unwrap();
        }
    }

    let bitmaps = image("bitmaps.qcow2");
    write_bitmaps(&bitmaps);
    let mut all = program("bitmap");
    all.args(["--format", "json"]).arg(&bitmaps);
    let cost = measure(&mut all);
    println!(
        "{:<34}{:>22}{:>22}{:>8}{:>12}  under 1 s",
        "bitmap, 8 million runs in 8",
        cost.shown(),
        "",
        "",
        human(cost.peak)
    );
}

fn maps(name: &str, path: &Path, target: &str) {
    let mut ours = program("map");
    ours.args(["--format", "json"]).arg(path);
    let mut theirs = Command::new("qemu-img");
    theirs.args(["map", "--output=json"]).arg(path);
    pair(name, &mut ours, &mut theirs, &[], target);
}

/// Runs both in turns and prints how they compare; `made` is removed before each, since writing over a file costs
/// more than writing a new one.
fn pair(name: &str, ours: &mut Command, theirs: &mut Command, made: &[&Path], target: &str) {
    let fresh = |command: &mut Command| {
        made.iter().for_each(|path| drop(fs::remove_file(path)));
        measure(command)
    };
    let (mut best, mut other) = (fresh(ours), fresh(theirs));
    for _ in 1..ROUNDS {
        best = best.better(fresh(ours));
        other = other.better(fresh(theirs));
    }
    let times = other.cpu.as_secs_f64() / best.cpu.as_secs_f64().max(1.0 / TICKS as f64);
    println!(
        "{name:<34}{:>22}{:>22}{:>8}{:>12}  {target} times less cpu",
        best.shown(),
        other.shown(),
        format!("{times:.1}"),
        human(best.peak)
    );
}

/// What a command cost.
#[derive(Clone, Copy)]
struct Cost {
    wall: Duration,
    cpu: Duration,
    peak: u64,
}

impl Cost {
    fn better(self, other: Self) -> Self {
        Self {
            wall: self.wall.min(other.wall),
            cpu: self.cpu.min(other.cpu),
            peak: self.peak.max(other.peak),
        }
    }

    fn shown(self) -> String {
        format!("{:.2?}/{:.2?}", self.wall, self.cpu)
    }
}

fn measure(command: &mut Command) -> Cost {
    let (before, start) = (children_cpu(), Instant::now());
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    let mut peak = 0;
    let (wall, status) = loop {
        peak = peak.max(peak_of(child.id()).unwrap_or(0));
        if let Some(status) = child.try_wait().unwrap() {
            break (start.elapsed(), status);
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    assert!(status.success(), "{command:?}: {status}");
    Cost { wall, cpu: children_cpu().saturating_sub(before), peak }
}

/// The processor time of all children that have ended: fields 16 and 17 of /proc/self/stat.
fn children_cpu() -> Duration {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[13].parse::<u64>().unwrap() + fields[14].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 1000 / TICKS)
}

/// The most memory that a process had so far.
fn peak_of(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

fn program(verb: &str) -> Command {
    let mut command = Command::new(
        std::env::var("CARGO_BIN_EXE_qcow2-inspect").expect("cargo names the command that it built"),
    );
    command.arg(verb);
    command
}

fn qemu(arguments: &[&str], path: &Path, size: &str) {
    let made = Command::new("qemu-img").args(arguments).arg(path).arg(size).status().unwrap();
    assert!(made.success(), "qemu-img could not make {}", path.display());
}

fn human(bytes: u64) -> String {
    format!("{:.1} MiB", bytes as f64 / 1048576.0)
}

/// Swaps neighbours in every L2 table, so that no two clusters go on where another ends.
fn scatter(path: &Path) {
    let file = File::options().read(true).write(true).open(path).unwrap();
    let image = Image::open(&file, Limits::default()).unwrap();
    let mut l1 = vec![0; image.active_l1().size as usize * 8];
    file.read_exact_at(&mut l1, image.active_l1().at.0).unwrap();
    for entry in l1.as_chunks::<8>().0 {
        let at = u64::from_be_bytes(*entry) & 0x00ff_ffff_ffff_fe00;
        let mut table = vec![0; 65536];
        file.read_exact_at(&mut table, at).unwrap();
        for two in table.as_chunks_mut::<16>().0 {
            two.rotate_left(8);
        }
        file.write_all_at(&table, at).unwrap();
    }
}

/// Text, code and noise in turns.
fn write_source(path: &Path, len: usize) {
    let code = fs::read(std::env::current_exe().unwrap()).unwrap();
    let text: Vec<u8> =
        (0..100_000).flat_map(|n| format!("line {n:08} of it, {}\n", n % 97).into_bytes()).collect();
    let (mut file, mut written, mut noise) = (File::create(path).unwrap(), 0, 1_u64);
    while written < len {
        let random: Vec<u8> = (0..1 << 18)
            .map(|_| {
                noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                (noise >> 56) as u8
            })
            .collect();
        for part in [&text, &code, &random] {
            file.write_all(part).unwrap();
            written += part.len();
        }
    }
}

/// Eight bitmaps of a disk of 128 GiB, in which every second bit is set.
fn write_bitmaps(path: &Path) {
    qemu(&["create", "-q", "-f", "qcow2"], path, "128G");
    for n in 0..8 {
        let mut add = Command::new("qemu-img");
        add.args(["bitmap", "--add", "-g", "64k"]).arg(path).arg(format!("bitmap-{n}"));
        assert!(add.status().unwrap().success());
    }
    let file = File::options().read(true).write(true).open(path).unwrap();
    let image = Image::open(&file, Limits::default()).unwrap();
    let mut end = image.file_len().next_multiple_of(65536);
    for bitmap in image.bitmaps().map(Result::unwrap) {
        for entry in 0..u64::from(bitmap.head.bitmap_table_size) {
            file.write_all_at(&end.to_be_bytes(), bitmap.table().at.0 + entry * 8).unwrap();
            file.write_all_at(&[0x55; 65536], end).unwrap();
            end += 65536;
        }
    }
}
