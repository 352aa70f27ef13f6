//! What the reader costs: memory and time of `dump` and `info` on the largest images and on the cheapest hostile
//! ones. It prints the targets beside what it measured, and asserts none of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::as_conversions,
    reason = "it may stop at what it does not expect"
)]

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use qcow2_inspect::format::Layout;
use qcow2_inspect::format::bitmap::BitmapHead;
use qcow2_inspect::format::extension::{BITMAPS, BitmapsExtension, ExtensionHead};
use qcow2_inspect::format::features::BITMAPS as BITMAPS_BIT;
use qcow2_inspect::format::header::{HeaderV2, HeaderV3, MAGIC};
use qcow2_inspect::format::scalar::{ByteSize, ClusterBits, FeatureBits, Magic};
use qcow2_inspect::report::{InfoReport, JsonSink, Subject, write_info};
use qcow2_inspect::units::HostOffset;
use qcow2_inspect::{Image, Limits};

fn main() {
    let folder = tempfile::tempdir().unwrap();
    let image = |name: &str| folder.path().join(name);

    println!("{:<44}{:>10}{:>12}  target", "", "wall", "peak");
    let big = image("1-TiB.qcow2");
    let options = ["create", "-q", "-f", "qcow2", "-o", "preallocation=metadata"];
    let made = Command::new("qemu-img").args(options).arg(&big).arg("1T").status();
    if made.is_ok_and(|made| made.success()) {
        let memory = "16 MiB";
        run("dump, 16.8 million L2 entries", &["dump"], &big, memory);
        run("dump --format json, the same", &["dump", "--format", "json"], &big, memory);
        run("info, the same", &["info"], &big, memory);
        println!("{:<44}{:>10}{:>12}  1 MiB", "info reads", "", human(info_reads(&big)));
    } else {
        println!("the image of 1 TiB is left out: qemu-img could not make it");
    }
    fs::remove_file(&big).ok();

    for (name, write) in [
        ("131,072 empty extensions", write_extensions as fn(&Path)),
        ("65,536 zero snapshots", write_snapshots),
        ("20,000 bitmaps", write_bitmaps),
    ] {
        let path = image("hostile.qcow2");
        write(&path);
        for command in ["info", "dump"] {
            run(&format!("{command}, {name}"), &[command], &path, "well under 1 s");
        }
    }
}

/// Runs the command and prints its wall time and its peak memory.
fn run(label: &str, arguments: &[&str], image: &Path, target: &str) {
    let command =
        std::env::var("CARGO_BIN_EXE_qcow2-inspect").expect("cargo names the command that it built");
    let start = Instant::now();
    let mut child = Command::new(command)
        .args(arguments)
        .arg(image)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut peak = 0;
    let wall = loop {
        peak = peak.max(peak_of(child.id()).unwrap_or(0));
        if child.try_wait().unwrap().is_some() {
            break start.elapsed();
        }
        std::thread::sleep(Duration::from_millis(2));
    };
    println!("{label:<44}{:>10}{:>12}  {target}", format!("{:.2?}", wall), human(peak));
}

/// The most memory that a process had so far.
fn peak_of(process: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

fn info_reads(path: &Path) -> u64 {
    let image = Image::open(File::open(path).unwrap(), Limits::default()).unwrap();
    let subject = Subject { path: b"", len: image.file_len() };
    let report = InfoReport { subject, offset: 0, now: None, sandbox: "none" };
    write_info(&image, &report, &mut JsonSink::new(std::io::sink())).unwrap();
    image.bytes_read()
}

fn human(bytes: u64) -> String {
    format!("{:.1} KiB", bytes as f64 / 1024.0)
}

fn header(cluster_bits: u32) -> (HeaderV2, HeaderV3) {
    let v2 = HeaderV2 {
        magic: MAGIC,
        version: 3,
        cluster_bits: ClusterBits(cluster_bits),
        size: ByteSize(1 << 20),
        l1_size: 1,
        l1_table_offset: HostOffset(3 << cluster_bits),
        refcount_table_offset: HostOffset(1 << cluster_bits),
        refcount_table_clusters: 1,
        ..Default::default()
    };
    (v2, HeaderV3 { header_length: 104, ..Default::default() })
}

fn write(path: &Path, v2: HeaderV2, v3: HeaderV3, extensions: &[u8], parts: &[(u64, &[u8])]) {
    let mut file = File::create(path).unwrap();
    file.write_all(&[v2.encode(), v3.encode(), extensions.to_vec()].concat()).unwrap();
    file.set_len(4 << v2.cluster_bits.0).unwrap();
    for (at, bytes) in parts {
        file.write_all_at(bytes, *at).unwrap();
    }
}

fn write_extensions(path: &Path) {
    let (v2, v3) = header(21);
    let one = ExtensionHead { magic: Magic(0x1234_5678), length: 0 }.encode();
    write(path, v2, v3, &one.repeat(131_072), &[]);
}

fn write_snapshots(path: &Path) {
    let (mut v2, v3) = header(16);
    (v2.nb_snapshots, v2.snapshots_offset) = (65_536, HostOffset(4 << 16));
    write(path, v2, v3, &[], &[(4 << 16, &[0; 65_536 * 40])]);
}

fn write_bitmaps(path: &Path) {
    let (v2, mut v3) = header(16);
    v3.autoclear_features = FeatureBits(1 << BITMAPS_BIT.bit);
    let mut directory = Vec::new();
    for n in 0..20_000 {
        let name = format!("bitmap-{n:08}");
        let head = BitmapHead {
            bitmap_table_offset: HostOffset(3 << 16),
            bitmap_table_size: 1,
            r#type: 1,
            granularity_bits: qcow2_inspect::format::scalar::GranularityBits(16),
            name_size: name.len() as u16,
            ..Default::default()
        };
        directory.extend(head.encode());
        directory.extend(name.into_bytes());
        directory.resize(directory.len().next_multiple_of(8), 0);
    }
    let extension = BitmapsExtension {
        nb_bitmaps: 20_000,
        bitmap_directory_size: directory.len() as u64,
        bitmap_directory_offset: HostOffset(4 << 16),
        ..Default::default()
    };
    let extensions = [ExtensionHead { magic: BITMAPS, length: 24 }.encode(), extension.encode(), vec![0; 8]];
    write(path, v2, v3, &extensions.concat(), &[(4 << 16, &directory)]);
}
