//! `map` and `read` where a table is missing or no good: they say so, whatever QEMU makes of it.

use std::fs;
use std::path::Path;

use qcow2_inspect::format::{header, snapshot};
use qcow2_testkit::Draft;
use serde_json::Value;

use crate::process::{Ran, corpus, image, run};

/// Far behind the end of any image here.
const FAR: u64 = 1 << 32;

/// An image in a file, with options that say which disk of it.
struct Case {
    rule: &'static str,
    /// Whether QEMU reads zeros.
    is_zero: bool,
    /// Guest bytes from the start that are there all the same.
    there: u64,
    draft: Draft,
    options: &'static [&'static str],
}

fn case(
    rule: &'static str,
    is_zero: bool,
    there: u64,
    options: &'static [&'static str],
    change: impl FnOnce(&mut Draft),
) -> Case {
    let mut draft = Draft::new(image("valid/v3-snapshots"));
    change(&mut draft);
    Case { rule, is_zero, there, draft, options }
}

fn cases() -> Vec<Case> {
    const SNAPSHOT: &[&str] = &["--snapshot", "1"];
    let cut = |draft: &mut Draft, at: u64| draft.bytes.truncate(usize::try_from(at).unwrap());
    vec![
        case("H26", false, 0, &[], |draft| {
            draft.set_header(header::field::L1_SIZE, 0);
        }),
        case("H24", false, 0, &[], |draft| {
            let at = draft.header(header::field::L1_TABLE_OFFSET);
            draft.set_header(header::field::L1_TABLE_OFFSET, at + 8);
        }),
        case("H34", true, 0, &[], |draft| {
            draft.set_header(header::field::L1_TABLE_OFFSET, FAR);
        }),
        case("L03", true, 0, &[], |draft| draft.put_u64(draft.l1_entry(0), FAR)),
        case("L03", true, 0, &[], |draft| {
            let at = draft.add_clusters(0);
            draft.put_u64(draft.l1_entry(0), at);
        }),
        // Of a copy of the table at the end of the file, half an entry more than two is there.
        case("L03", true, 2, &[], |draft| {
            let table = draft.l2_entry(0);
            let entries = [0, 1].map(|n| draft.get(table + n * 8, 8));
            let at = draft.add_clusters(1);
            (0..2).zip(entries).for_each(|(n, entry)| draft.put_u64(at + n * 8, entry));
            draft.put_u64(draft.l1_entry(0), at);
            cut(draft, at + 20);
        }),
        case("S07", true, 0, SNAPSHOT, |draft| {
            draft.set_snapshot(0, snapshot::field::L1_SIZE, 0);
        }),
        case("S08", true, 0, SNAPSHOT, |draft| {
            draft.set_snapshot(0, snapshot::field::L1_TABLE_OFFSET, FAR);
        }),
        case("S05", false, 0, SNAPSHOT, |draft| {
            let at = draft.snapshot(0).head.l1_table_offset.0;
            draft.set_snapshot(0, snapshot::field::L1_TABLE_OFFSET, at + 8);
        }),
    ]
}

fn map(path: &Path, format: &str, options: &[&str]) -> Ran {
    run(&[&["map", path.to_str().unwrap(), "--format", format], options].concat())
}

#[test]
fn what_no_table_reaches_is_told_and_never_silent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.qcow2");
    for Case { rule, is_zero, there, draft, options } in cases() {
        fs::write(&path, &draft.bytes).unwrap();
        let there = there * draft.cluster_size();
        let cover = draft.image().geometry().unwrap().l2_coverage();
        let lost = draft.header(header::field::SIZE).min(cover) - there;
        let case = format!("{rule}, {there:#x}");
        for format in ["text", "json", "jsonl"] {
            let ran = map(&path, format, options);
            assert_eq!(ran.code, Some(1), "{case}: {}", ran.stderr);
            assert_eq!(ran.stderr.lines().count(), 1, "{case}: {}", ran.stderr);
            assert!(
                ran.stderr.ends_with(&format!(": {lost} guest bytes are missing\n")),
                "{case}: {}",
                ran.stderr
            );
            let text = String::from_utf8(ran.stdout).unwrap();
            // QEMU's own array has no word for what QEMU takes for zeros.
            assert_eq!(text.contains(rule), format != "json" || !is_zero, "{case}: {text}");
            if format == "json" && !is_zero {
                let ranges: Vec<Value> = serde_json::from_str(&text).unwrap();
                let bad: Vec<_> = ranges.iter().filter(|range| range.get("error").is_some()).collect();
                assert!(bad.iter().all(|range| range["zero"] == false && range["data"] == false), "{text}");
                assert_eq!(bad[0]["start"], there, "{case}: {text}");
                let sum: u64 = bad.iter().map(|range| range["length"].as_u64().unwrap()).sum();
                assert_eq!(sum, lost, "{case}: {text}");
            }
        }
        let read =
            |more: &[&str]| run(&[&["read", path.to_str().unwrap(), "-o", "-"], options, more].concat());
        let ran = read(&[]);
        assert_eq!(ran.code, Some(1), "{case}: {}", ran.stderr);
        assert!(ran.stderr.contains(&format!("guest offset {there:#x}, ")), "{case}: {}", ran.stderr);
        assert!(ran.stderr.contains(&format!("{rule}: ")), "{case}: {}", ran.stderr);
        let ran = read(&["--keep-going"]);
        let len = u64::try_from(ran.stdout.len()).unwrap();
        assert_eq!((ran.code, len), (Some(2), draft.header(header::field::SIZE)), "{case}");
        assert!(
            ran.stderr.ends_with(&format!("zeros stand for {lost} guest bytes\n")),
            "{case}: {}",
            ran.stderr
        );
        if there != 0 {
            assert_eq!(read(&["-l", &there.to_string()]).code, Some(0), "{case}");
        }
    }
}

#[test]
fn an_l1_table_that_is_longer_than_its_disk_or_shorter_by_what_the_disk_has_not_is_no_fault() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.qcow2");
    let mut draft = Draft::new(image("valid/v3-basic"));
    let cover = draft.image().geometry().unwrap().l2_coverage();
    for size in [512, 1024, cover - 512, cover] {
        draft.set_header(header::field::SIZE, size);
        fs::write(&path, &draft.bytes).unwrap();
        assert_eq!(map(&path, "json", &[]).code, Some(0), "{size}");
    }
    // One entry is for less than one L2 table.
    draft.set_header(header::field::L1_SIZE, 1);
    fs::write(&path, &draft.bytes).unwrap();
    assert_eq!(map(&path, "json", &[]).code, Some(0));
    draft.set_header(header::field::SIZE, cover + 512);
    fs::write(&path, &draft.bytes).unwrap();
    let ran = map(&path, "json", &[]);
    assert_eq!(
        (ran.code, ran.stderr.contains(": 512 guest bytes are missing")),
        (Some(1), true),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_data_file_that_is_too_short_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let short = folder.path().join("short.raw");
    let path = corpus("valid/v3-data-file");
    let lines = map(&path, "jsonl", &[]).report();
    let data: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .filter(|line: &Value| line["kind"] == "data")
        .collect();
    let first = data[0]["offset"].as_u64().unwrap();
    let sum: u64 = data.iter().map(|range| range["length"].as_u64().unwrap()).sum();
    fs::write(&short, vec![7; usize::try_from(first + 100).unwrap()]).unwrap();
    let read = |more: &[&str]| {
        let named = ["read", path.to_str().unwrap(), "-o", "-", "--data-file", short.to_str().unwrap()];
        run(&[&named, more].concat())
    };
    let ran = read(&[]);
    assert_eq!(ran.code, Some(1), "{}", ran.stderr);
    assert!(ran.stderr.ends_with("L10: it lies behind the end of the data file\n"), "{}", ran.stderr);
    let ran = read(&["--keep-going"]);
    assert_eq!(ran.code, Some(2), "{}", ran.stderr);
    assert!(ran.stderr.ends_with(&format!("zeros stand for {} guest bytes\n", sum - 100)), "{}", ran.stderr);
    let start = usize::try_from(data[0]["start"].as_u64().unwrap()).unwrap();
    assert_eq!((ran.stdout[start + 99], ran.stdout[start + 100]), (7, 0));
    // What is no file of this image is not looked at.
    let path = corpus("valid/v3-basic");
    let plain = run(&["read", path.to_str().unwrap(), "-o", "-"]).stdout;
    let named = ["read", path.to_str().unwrap(), "-o", "-", "--data-file", short.to_str().unwrap()];
    assert_eq!(run(&named).stdout, plain);
}
