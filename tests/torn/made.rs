//! Images that QEMU itself writes, each with what it was after every step.

use std::fs;
use std::path::Path;
use std::process::Command;

use qcow2_testkit::writer::Fill;

use super::seeds::Base;

/// Options of `qemu-img create`, clusters of the disk, and steps: `w FROM COUNT` writes clusters, `c` compressed ones, `z`
/// zeros, `d` discards, `s` takes a snapshot, `x` makes a compressed copy.
const RECIPES: [(&str, u64, &str); 20] = [
    ("cluster_size=512", 256, "w 0 40; w 60 70; w 200 30; w 10 20"),
    ("cluster_size=512", 200, "w 0 100; s; w 20 30; w 150 20; s; w 0 10; w 190 9"),
    ("cluster_size=512,compat=0.10", 128, "w 3 50; s; w 3 20; w 100 20"),
    ("cluster_size=512,refcount_bits=64", 192, "w 0 64; w 64 64; w 128 64; s; w 30 70"),
    ("cluster_size=1k", 256, "w 0 128; s; w 120 20; d 30 5; w 200 56"),
    ("cluster_size=1k,refcount_bits=1", 200, "w 0 30; w 150 50; w 40 10; z 5 5"),
    ("cluster_size=4k", 600, "w 0 60; w 512 60; s; w 30 60; s; w 100 9"),
    ("cluster_size=4k,compat=0.10", 300, "w 0 60; w 100 60; w 200 60"),
    ("cluster_size=4k,refcount_bits=8", 200, "c 0 20; w 20 30; s; c 60 20; w 5 20"),
    ("cluster_size=4k,compression_type=zstd", 200, "c 0 40; w 50 30; w 0 10; c 100 20"),
    ("cluster_size=16k,extended_l2=on", 100, "w 0 30; s; w 10 10; w 50 20; z 3 2"),
    ("cluster_size=16k,extended_l2=on", 100, "w 0 20; c 30 10; w 45 20; s; w 0 5"),
    ("cluster_size=64k", 100, "w 0 20; w 40 20; w 80 20"),
    ("cluster_size=64k", 64, "w 0 16; s; w 8 16; s; w 4 4; w 60 4"),
    ("cluster_size=64k", 64, "w 0 20; c 20 10; s; c 40 10; w 18 4"),
    ("cluster_size=64k", 64, "w 0 30; w 40 10; x"),
    ("cluster_size=64k,compression_type=zstd", 64, "w 0 30; w 40 10; x"),
    ("cluster_size=64k,extended_l2=on", 60, "w 0 10; s; w 5 10; w 50 10; d 2 1"),
    ("cluster_size=256k", 24, "w 0 8; s; w 4 6; w 20 4"),
    ("cluster_size=2M", 6, "w 0 2; w 4 1; s; w 1 1"),
];

/// All of them.
pub(crate) fn bases(folder: &Path) -> Vec<Base> {
    RECIPES.iter().enumerate().map(|(number, recipe)| base(folder, number, *recipe)).collect()
}

fn base(folder: &Path, number: usize, (options, clusters, steps): (&str, u64, &str)) -> Base {
    let path = folder.join("made.qcow2");
    let size = clusters * cluster_size(options);
    let image = path.display().to_string();
    let size_told = size.to_string();
    run("qemu-img", &["create", "-q", "-f", "qcow2", "-o", options, &image, &size_told]);
    let mut history = Vec::new();
    for (step, words) in steps.split(';').enumerate() {
        history.push(fs::read(&path).unwrap());
        let mut words = words.split_whitespace();
        let verb = words.next().unwrap();
        let mut count = || words.next().map(|word| word.parse::<u64>().unwrap() * cluster_size(options));
        match verb {
            "s" => run("qemu-img", &["snapshot", "-c", &format!("s{step}"), &image]),
            "x" => {
                let copy = folder.join("copy.qcow2");
                let told = copy.display().to_string();
                run("qemu-img", &["convert", "-q", "-c", "-O", "qcow2", "-o", options, &image, &told]);
                fs::rename(copy, &path).unwrap();
                // The copy is another image.
                history.clear();
            }
            verb => {
                let (from, len) = (count().unwrap(), count().unwrap());
                let content = folder.join("content.raw");
                let fill =
                    Fill(u16::try_from(number * 100 + step).unwrap() << 2 | if verb == "c" { 1 } else { 3 });
                let mut bytes = vec![0; len.try_into().unwrap()];
                // Each cluster by itself, so that no two are the same.
                for (n, part) in (0..).zip(bytes.chunks_mut(512)) {
                    Fill(fill.0.wrapping_add(n << 2)).write(part);
                }
                fs::write(&content, bytes).unwrap();
                let source = content.display();
                let command = match verb {
                    "w" => format!("write -s {source} {from} {len}"),
                    "c" => format!("write -c -s {source} {from} {len}"),
                    "z" => format!("write -z {from} {len}"),
                    _ => format!("discard {from} {len}"),
                };
                run("qemu-io", &["-f", "qcow2", "-c", &command, &image]);
            }
        }
    }
    let file = fs::read(&path).unwrap();
    Base::new(file, format!("qemu: {options}, {clusters} clusters: {steps}"), history)
}

fn cluster_size(options: &str) -> u64 {
    let size = options.split(',').find_map(|option| option.strip_prefix("cluster_size=")).unwrap();
    let (number, unit) = size.split_at(size.trim_end_matches(['k', 'M']).len());
    number.parse::<u64>().unwrap()
        << if unit == "k" {
            10
        } else if unit == "M" {
            20
        } else {
            0
        }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program).args(arguments).output().expect("qemu-img and qemu-io on the PATH");
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && !said.contains("failed"), "{program} {arguments:?}: {said}");
}
