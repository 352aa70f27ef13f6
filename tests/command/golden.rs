//! Whole outputs beside goldens, and JSON that holds for every image of the corpus. `CORPUS=write` writes the
//! goldens anew.

use std::fs;
use std::path::{Path, PathBuf};

use qcow2_inspect::format::snapshot::field;
use qcow2_testkit::Draft;
use serde_json::Value;

use crate::process::{command, corpus, finish, image, run};

const IMAGES: &[&str] = &[
    "valid/v3-snapshots",
    "valid/v3-bitmaps",
    "valid/v3-extended-l2",
    "damaged/B12-bitmap-name-malformed-nul",
];

/// Arguments, and the ending of the golden.
const REPORTS: &[(&str, &str, &str)] = &[
    ("dump", "text", "dump.txt"),
    ("dump", "json", "dump.json"),
    ("dump", "jsonl", "dump.jsonl"),
    ("info", "text", "info.txt"),
    ("info", "json", "info.json"),
];

/// A day of 2011: snapshots from the future are a finding, and who knows what a clock says where this runs.
const DATE: u64 = 1_314_604_262;

fn golden(image: &str, ending: &str) -> PathBuf {
    let name = image.rsplit('/').next().unwrap();
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(format!("{name}.{ending}"))
}

/// What is the machine's: the state of the sandbox, and the room that the file takes. Each with what ends its value.
const OF_THE_MACHINE: &[(&str, char)] =
    &[("\"sandbox\":\"", '"'), ("\"actual_size\":", ','), ("on the host:    ", '\n')];

/// The report without that.
fn portable(mut report: String) -> String {
    for (key, end) in OF_THE_MACHINE {
        let Some((before, after)) = report.split_once(key) else { continue };
        let (_, after) = after.split_once(*end).unwrap();
        report = format!("{before}{key}…{end}{after}");
    }
    report
}

#[test]
fn whole_reports_are_as_they_were() {
    let folder = tempfile::tempdir().unwrap();
    let mut differ = Vec::new();
    for name in IMAGES {
        let mut draft = Draft::new(image(name));
        for index in 0..draft.image().snapshots().count() {
            draft.set_snapshot(index, field::DATE_SEC, DATE);
        }
        fs::write(folder.path().join("disk.qcow2"), &draft.bytes).unwrap();
        for (what, format, ending) in REPORTS {
            let mut command = command(&[what, "--format", format, "disk.qcow2"]);
            command.current_dir(folder.path());
            let report = portable(finish(command).report());
            let path = golden(name, ending);
            if std::env::var_os("CORPUS").is_some_and(|what| what == "write") {
                fs::write(&path, &report).unwrap();
            }
            if fs::read_to_string(&path).ok().as_ref() != Some(&report) {
                differ.push(format!("{}:\n{report}", path.display()));
            }
        }
    }
    assert!(differ.is_empty(), "{}", differ.join("\n"));
}

#[test]
fn every_image_of_the_corpus_gives_valid_json() {
    let mut count = 0;
    for folder in ["valid", "damaged", "hostile"] {
        for entry in fs::read_dir(corpus("valid").with_file_name(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|ending| ending != "qcow2") {
                continue;
            }
            count += 1;
            let path = path.to_str().unwrap();
            let bytes = fs::read(path).unwrap();
            // Those that are no qcow2 files are refused.
            if !bytes.starts_with(b"QFI\xfb") || bytes.get(7) == Some(&1) {
                continue;
            }
            let [info] = run(&["info", "--format", "json", path]).documents().try_into().unwrap();
            assert_eq!(info["schema"], "qcow2-inspect/info/1");
            assert_eq!(info["file"]["path"], path);
            let [dump] = run(&["dump", "--hex", "--format=json", path]).documents().try_into().unwrap();
            assert_eq!(dump["schema"], "qcow2-inspect/dump/1");
            check_dump(&dump, &bytes, path);
            let lines = run(&["dump", "--hex", "--format=jsonl", path]).documents();
            check_lines(&lines, &dump);
        }
    }
    assert!(count > 150, "only {count} images");
}

/// What a row of the dump says of bytes is what the file has there.
fn check_dump(dump: &Value, bytes: &[u8], path: &str) {
    let sections = dump.as_object().unwrap().values().filter_map(Value::as_array);
    for row in sections.flatten().filter(|row| row["name"] == "bytes") {
        let at = usize::try_from(row["offset"].as_u64().unwrap()).unwrap();
        let len = usize::try_from(row["width"].as_u64().unwrap()).unwrap();
        let there: String = bytes[at..at + len].iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(row["value"], there, "{path}: {row}");
    }
    for finding in dump["findings"].as_array().unwrap() {
        let offset = finding["offset"].as_u64().unwrap_or_default();
        assert!(offset <= u64::try_from(bytes.len()).unwrap() || !finding["length"].is_null(), "{finding}");
    }
}

/// JSON Lines say the same as the document.
fn check_lines(lines: &[Value], dump: &Value) {
    let [first, rest @ .., last] = lines else { panic!("no lines") };
    assert_eq!(
        (&first["type"], &first["schema"], &first["file"]),
        (&"file".into(), &dump["schema"], &dump["file"])
    );
    assert_eq!((&last["type"], &last["complete"]), (&"summary".into(), &dump["complete"]));
    let mut sections = Vec::new();
    for section in ["header", "extensions", "luks", "refcounts", "snapshots", "l1", "l2", "bitmaps"] {
        sections.extend(dump[section].as_array().unwrap().iter().map(|row| (section, row)));
    }
    sections.extend(dump["findings"].as_array().unwrap().iter().map(|finding| ("finding", finding)));
    assert_eq!(rest.len(), sections.len());
    for (line, (section, row)) in rest.iter().zip(sections) {
        let mut line = line.as_object().unwrap().clone();
        assert_eq!(line.remove("type"), Some(section.into()));
        assert_eq!(Some(&line), row.as_object());
    }
}

/// Whatever the file is too short for is not shown as if it were there.
#[test]
fn a_cut_header_has_no_values_that_are_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.qcow2");
    let path = path.to_str().unwrap();
    let keys = [
        ("version", 8, "format"),
        ("cluster_size", 24, "cluster size"),
        ("virtual_size", 32, "virtual size"),
        ("snapshots_claimed", 64, "snapshots"),
        ("crypt_method", 36, "encryption"),
        ("refcount_bits", 100, "refcounts"),
        ("compression_type", 105, "compression"),
    ];
    let whole = image("valid/v3-basic");
    for len in [4, 7, 8, 23, 24, 31, 32, 35, 36, 72, 99, 100, 104, 105, 112, 600] {
        fs::write(path, &whole[..len]).unwrap();
        let [info] = run(&["info", "--format=json", path]).documents().try_into().unwrap();
        let text = run(&["info", path]).report();
        for (key, end, name) in keys {
            let line = text.lines().find(|line| line.starts_with(&format!("{name}:"))).unwrap();
            assert_eq!(info[key].is_null(), len < end, "{key} in {len} bytes");
            assert_eq!(line.ends_with("behind the end of the file"), len < end, "{line}: {len} bytes");
        }
        let dump = run(&["dump", "--only=header", "--format=json", path]).json();
        let rows = dump["header"].as_array().unwrap();
        let end = |row: &Value| row["offset"].as_u64().unwrap() + row["width"].as_u64().unwrap();
        assert!(rows.iter().map(end).all(|end| end <= u64::try_from(len).unwrap()), "{dump}");
    }
}

#[test]
fn the_readme_shows_what_the_command_prints() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(root.join("README.md")).unwrap();
    let (_, sample) = readme.split_once("$ qcow2-inspect ").unwrap();
    let (arguments, sample) = sample.split_once('\n').unwrap();
    let mut command = command(&arguments.split(' ').collect::<Vec<_>>());
    command.current_dir(root);
    assert_eq!(finish(command).report(), sample.split_once("```").unwrap().0);
}
