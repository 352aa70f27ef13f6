//! `check --deep` against real `qemu-io`: streams that are cut, flipped, chained, too long or too short are broken
//! exactly where QEMU cannot read them.

use std::collections::BTreeSet;
use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use qcow2_testkit::Draft;
use serde_json::Value;
use zstd_safe::{CCtx, CParameter};

use crate::factory;

/// Compressed clusters of each image; each takes another damage.
const CLUSTERS: u64 = 160;

/// How the streams of an image are compressed, and how large their clusters are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    method: &'static str,
    cluster_bits: u32,
}

pub(crate) const KINDS: [Kind; 5] = [
    Kind { method: "zlib", cluster_bits: 9 },
    Kind { method: "zlib", cluster_bits: 12 },
    Kind { method: "zlib", cluster_bits: 16 },
    Kind { method: "zstd", cluster_bits: 12 },
    Kind { method: "zstd", cluster_bits: 16 },
];

/// What came of an image: how many streams QEMU reads, how many neither reads, and where both differ.
#[derive(Debug, Default)]
pub(crate) struct Compared {
    pub(crate) read: usize,
    pub(crate) refused: usize,
    /// Damage in streams of Zstandard that the C library does not notice, although the specification names it:
    /// it hands out wrong bytes (src/guest/zstd.rs).
    pub(crate) known: usize,
    pub(crate) differences: Vec<String>,
}

/// Makes an image of this kind, damages each of its streams, and compares.
pub(crate) fn compare(dir: &Path, kind: Kind) -> Compared {
    let path = dir.join(format!("{}-{}.qcow2", kind.method, kind.cluster_bits));
    let mut draft = Draft::new(make(&path, kind));
    let size = 1 << kind.cluster_bits;
    let damages: Vec<_> = (0..CLUSTERS).map(|index| damage(&mut draft, kind, index)).collect();
    fs::write(&path, &draft.bytes).unwrap();
    let (ours, theirs) = (broken(&path), unreadable(&path, size));
    let mut compared = Compared::default();
    for (index, what) in (0..CLUSTERS).zip(damages) {
        let guest = index * size;
        match (ours.contains(&guest), theirs.contains(&guest)) {
            (false, false) => compared.read += 1,
            (true, true) => compared.refused += 1,
            (true, false) if what.starts_with("damaged") && kind.method == "zstd" => compared.known += 1,
            (ours, _) => {
                let who = if ours { "L15 alone" } else { "qemu-io alone" };
                compared.differences.push(format!("{kind:?} {guest:#x} {what}: {who}"));
            }
        }
    }
    let stray: Vec<_> = ours.iter().filter(|guest| **guest >= CLUSTERS * size).collect();
    assert!(stray.is_empty(), "{kind:?}: {stray:?}");
    fs::remove_file(&path).unwrap();
    compared
}

/// An image whose clusters are all compressed by qemu-img, of text with some noise.
fn make(path: &Path, kind: Kind) -> Vec<u8> {
    let mut content = factory::mixture(usize::try_from(CLUSTERS << kind.cluster_bits).unwrap());
    // Noise and zeros of their own would not be compressed at all.
    for (place, byte) in content.iter_mut().enumerate() {
        *byte = if place % 3 == 0 { b'a' + *byte % 26 } else { b'x' };
    }
    let raw = path.with_extension("raw");
    fs::write(&raw, content).unwrap();
    let options = format!("cluster_size={},compression_type={}", 1 << kind.cluster_bits, kind.method);
    let made = Command::new("qemu-img")
        .args(["convert", "-c", "-f", "raw", "-O", "qcow2", "-o", &options])
        .args([&raw, path])
        .status();
    assert!(made.unwrap().success());
    fs::remove_file(raw).unwrap();
    fs::read(path).unwrap()
}

/// Damages the stream of a guest cluster, or replaces it, and says how.
fn damage(draft: &mut Draft, kind: Kind, index: u64) -> &'static str {
    let (entry_at, size) = (entry_at(draft, index), 1_usize << kind.cluster_bits);
    let entry = draft.get(entry_at, 8);
    let sector_bits = kind.cluster_bits - 8;
    let offset_bits = 62 - sector_bits;
    let at = entry & ((1 << offset_bits) - 1);
    let sectors = (entry >> offset_bits & ((1 << sector_bits) - 1)) + 1;
    let len = sectors * 512 - at % 512;
    let random = (index + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 16;
    let flip = |draft: &mut Draft, place: u64| {
        let byte = draft.get(at + place, 1) ^ 1 << (random >> 40 & 7);
        draft.put(at + place, &[u8::try_from(byte).unwrap()]);
    };
    let content: Vec<u8> = (0..size).map(|n| u8::try_from(n / 7 % 251).unwrap()).collect();
    let encode = |content: &[u8]| match kind.method {
        "zlib" => stored(content),
        _ => frame(content, false),
    };
    let half = size / 2;
    let (what, stream) = match index % 20 {
        0 => ("left alone", None),
        1..=5 => {
            flip(draft, random % len.saturating_sub(511).max(1));
            ("damaged in one bit", None)
        }
        6 | 7 => {
            (0..4).for_each(|n| flip(draft, random.rotate_left(n * 9) % len));
            ("damaged in four bits", None)
        }
        8 => {
            let from = random % len;
            draft.put(at + from, &vec![0; usize::try_from(len - from).unwrap()]);
            ("damaged by zeros from some byte on", None)
        }
        9 => {
            let fewer = (sectors / 2).saturating_sub(1);
            draft.put_u64(entry_at, 1 << 62 | fewer << offset_bits | at);
            ("room for half of it", None)
        }
        10 => ("as it should be", Some(encode(&content))),
        11 => ("too short", Some(encode(&content[1..]))),
        12 => ("too long", Some(encode(&[&content[..], b"!"].concat()))),
        13 => ("two streams of a half", Some([encode(&content[..half]), encode(&content[half..])].concat())),
        14 => ("junk behind it", Some([encode(&content), vec![0xa5; 100]].concat())),
        15 => {
            let (first, more) = (encode(&content[..half]), encode(&content[half - 1..]));
            ("two streams, too long together", Some([first, more].concat()))
        }
        16 => (
            "a checksum, or no last block",
            Some(match kind.method {
                "zlib" => without_last_block(&content),
                _ => frame(&content, true),
            }),
        ),
        17 => (
            "a wrong checksum, or no end",
            Some(match kind.method {
                "zlib" => without_last_block(&content[..half]),
                _ => {
                    let mut frame = frame(&content, true);
                    *frame.last_mut().unwrap() ^= 1;
                    frame
                }
            }),
        ),
        18 => ("a skippable frame before it", {
            let skippable = [0x184d_2a53_u32.to_le_bytes(), 5_u32.to_le_bytes()].concat();
            Some([skippable, b"hello".to_vec(), encode(&content)].concat())
        }),
        _ => ("its last byte cut off", {
            let mut stream = encode(&content);
            stream.pop();
            Some(stream)
        }),
    };
    if let Some(stream) = stream {
        // Where it ends in the middle of a sector, zeros follow.
        let at = draft.add_clusters(3);
        let sectors = u64::try_from(stream.len()).unwrap().div_ceil(512).clamp(1, 1 << sector_bits);
        draft.put(at, &stream);
        draft.put_u64(entry_at, 1 << 62 | (sectors - 1) << offset_bits | at);
    }
    what
}

fn entry_at(draft: &Draft, index: u64) -> u64 {
    let per_table = draft.cluster_size() / 8;
    let table = draft.get(draft.l1_entry(index / per_table), 8) & 0x00ff_ffff_ffff_fe00;
    table + index % per_table * 8
}

/// Stored blocks of deflate, the last one marked so.
fn stored(content: &[u8]) -> Vec<u8> {
    let mut stream = without_last_block(content);
    stream.extend([1, 0, 0, 0xff, 0xff]);
    stream
}

/// Stored blocks of deflate, none marked as the last.
fn without_last_block(content: &[u8]) -> Vec<u8> {
    let block = |part: &[u8]| {
        let len = u16::try_from(part.len()).unwrap();
        [&[0][..], &len.to_le_bytes(), &(!len).to_le_bytes(), part].concat()
    };
    content.chunks(65_535).flat_map(block).collect()
}

fn frame(content: &[u8], has_checksum: bool) -> Vec<u8> {
    let mut context = CCtx::create();
    context.set_parameter(CParameter::ChecksumFlag(has_checksum)).unwrap();
    let mut out = Vec::with_capacity(content.len() + 1024);
    context.compress2(&mut out, content).unwrap();
    out
}

/// The guest offsets of the clusters that break L15, by the command.
fn broken(path: &Path) -> BTreeSet<u64> {
    let program = env::var_os("CARGO_BIN_EXE_qcow2-inspect").expect("cargo says where the command is");
    let arguments = ["check", "--deep", "--all", "--format", "json"];
    let output = Command::new(program).args(arguments).arg(path).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["decompressed_clusters"], CLUSTERS, "{}", report["complete"]);
    let findings = report["findings"].as_array().unwrap().iter();
    let broken = findings.filter(|finding| finding["rule"] == "L15");
    broken.map(|finding| finding["guest"][0]["start"].as_u64().unwrap()).collect()
}

/// The guest offsets of the clusters that QEMU cannot read.
fn unreadable(path: &Path, size: u64) -> BTreeSet<u64> {
    let mut command = Command::new("qemu-io");
    command.args(["-r", "-f", "qcow2"]);
    for index in 0..CLUSTERS {
        command.args(["-c", &format!("read {} {size}", index * size)]);
    }
    let output = command.arg(path).output().expect("qemu-io on the PATH");
    let said =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let read: BTreeSet<u64> = said
        .lines()
        .filter_map(|line| line.strip_prefix(&format!("read {size}/{size} bytes at offset ")))
        .map(|offset| offset.parse().unwrap())
        .collect();
    let failed = said.lines().filter(|line| line.contains("read failed: Input/output error")).count();
    let all = (0..CLUSTERS).map(|index| index * size);
    let unreadable: BTreeSet<_> = all.filter(|guest| !read.contains(guest)).collect();
    assert_eq!(unreadable.len(), failed, "{said}");
    unreadable
}
