//! `bitmap`: what can be trusted, and how two are combined.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::process::{corpus, image, run};

fn bitmaps(path: &Path, options: &[&str]) -> Value {
    run(&[&["bitmap", "--format=json", path.to_str().unwrap()], options].concat()).json()["bitmaps"].take()
}

/// The verdict on a bitmap of an image of the corpus: the code of the rule, or nothing where it can be trusted.
fn verdict(name: &str, bitmap: &str) -> Option<String> {
    let path = corpus(name);
    let found = bitmaps(&path, &["--name", bitmap, "--list"]);
    assert_eq!(found.as_array().unwrap().len(), 1, "{found}");
    let text = run(&["bitmap", "--name", bitmap, path.to_str().unwrap()]).report();
    let line = text.lines().find_map(|line| line.strip_prefix("can be used for an incremental backup: "));
    let Some(reason) = found[0]["reason"].as_str() else {
        assert_eq!((&found[0]["trusted"], line), (&json!(true), Some("yes")), "{name}");
        return None;
    };
    assert_eq!(
        (&found[0]["trusted"], line),
        (&json!(false), Some(format!("no: {reason}").as_str())),
        "{name}"
    );
    Some(reason.rsplit_once('(').unwrap().1.trim_end_matches(')').to_owned())
}

#[test]
fn a_bitmap_is_trusted_for_a_reason() {
    for (name, wanted) in [
        ("valid/v3-bitmaps", None),
        ("damaged/B19-bitmap-in-use", Some("B19")),
        ("damaged/E21-bitmaps-inconsistent", Some("E21")),
        ("damaged/B17-bitmap-table-size-mismatch", Some("B17")),
        ("damaged/B14-bitmap-entry-reserved-bits", Some("B14")),
        ("damaged/B08-bitmap-type-unknown", Some("B08")),
        ("damaged/B07-bitmap-flags-reserved", Some("B07")),
        ("damaged/B06-bitmap-granularity-invalid-too-coarse", Some("B06")),
        ("damaged/B04-bitmap-table-offset-invalid-zero", Some("B04")),
        ("damaged/B03-bitmap-extra-data", Some("B03")),
    ] {
        assert_eq!(verdict(name, "weekly").as_deref(), wanted, "{name}");
    }
    for (name, wanted) in [
        ("damaged/B15-bitmap-entry-flag-with-offset", "B15"),
        ("damaged/B16-bitmap-data-offset-invalid-beyond-file", "B16"),
    ] {
        assert_eq!(verdict(name, "daily").as_deref(), Some(wanted), "{name}");
    }
    // A broken one beside it takes nothing from the other.
    assert_eq!(verdict("damaged/B19-bitmap-in-use", "daily"), None);
}

#[test]
fn bits_behind_the_end_are_told_and_left_out() {
    let (clean, dirty) = (corpus("valid/v3-bitmap-tail"), corpus("damaged/B18-bitmap-tail-bits"));
    let (clean, dirty) = (bitmaps(&clean, &[]), bitmaps(&dirty, &[]));
    assert_eq!((&clean[0]["tail_bits"], &dirty[0]["tail_bits"]), (&json!(false), &json!(true)));
    assert_eq!((&dirty[0]["trusted"], &dirty[0]["dirty"]), (&json!(true), &clean[0]["dirty"]));
    assert_eq!(dirty[0]["dirty_bytes"], clean[0]["dirty_bytes"]);
    let text = run(&["bitmap", corpus("damaged/B18-bitmap-tail-bits").to_str().unwrap()]).report();
    assert!(text.contains("\nbits behind the end of the disk are set, and left out here (B18)\n"), "{text}");
}

#[test]
fn a_name_that_no_bitmap_has_is_told() {
    let path = corpus("valid/v3-bitmaps");
    let path = path.to_str().unwrap();
    for options in [&["--name", "none"][..], &["--name", "daily", "--minus", "none"]] {
        let ran = run(&[&["bitmap", path], options].concat());
        assert_eq!(ran.code, Some(1));
        assert_eq!(ran.stderr, format!("qcow2-inspect: {path}: there is no bitmap of that name\n"));
    }
    for options in [&["--minus", "daily"][..], &["--name", "daily", "--minus", "weekly", "--and", "weekly"]] {
        let ran = run(&[&["bitmap", path], options].concat());
        assert_eq!((ran.code, ran.stdout.len()), (Some(1), 0), "{}", ran.stderr);
    }
}

#[test]
fn two_bitmaps_are_compared() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.qcow2");
    let mut bytes = image("valid/v3-bitmaps");
    fs::write(&path, &bytes).unwrap();
    let ranges = |options: &[&str]| {
        let found = bitmaps(&path, &[&["--name", "daily"], options].concat());
        (found[0]["dirty"].clone(), found[0]["dirty_bytes"].clone(), found[0]["trusted"].clone())
    };
    let span = |start: u64, length: u64| json!({"start": start, "length": length});
    let daily = json!([span(0x10_0000, 0xc00), span(0x30_0000, 0x400)]);
    let (all, none) = ((daily.clone(), json!(0x1000), json!(true)), (json!([]), json!(0), json!(true)));
    // Nothing is dirty in the other.
    assert_eq!(ranges(&["--minus", "weekly"]), all);
    assert_eq!(ranges(&["--and", "weekly"]), none);
    assert_eq!(ranges(&["--minus", "daily"]), none);
    assert_eq!(ranges(&["--and", "daily"]), all);
    // Everything is dirty in the other: one entry of its table says so.
    let weekly = run(&["dump", "--only", "bitmaps", "--format=json", path.to_str().unwrap()]).json();
    let table = find(&weekly, "bitmap_table_offset", 1);
    bytes[usize::try_from(table + 7).unwrap()] = 1;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(ranges(&["--and", "weekly"]), all);
    assert_eq!(ranges(&["--minus", "weekly"]), none);
    // What either of them cannot be trusted for, neither can the difference.
    let flags = usize::try_from(find_place(&weekly, "flags", 1) + 3).unwrap();
    bytes[flags] |= 1;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(ranges(&["--and", "weekly"]).2, json!(false));
}

/// The fields of this name in a dump, in order.
fn fields<'v>(value: &'v Value, name: &str, found: &mut Vec<&'v Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| fields(item, name, found)),
        Value::Object(object) => {
            if object.get("name").is_some_and(|is| is == name) {
                found.push(value);
            }
            object.values().for_each(|item| fields(item, name, found));
        }
        _ => {}
    }
}

fn field<'v>(dump: &'v Value, name: &str, place: usize) -> &'v Value {
    let mut found = Vec::new();
    fields(dump, name, &mut found);
    found[place]
}

fn find(dump: &Value, name: &str, place: usize) -> u64 {
    field(dump, name, place)["value"].as_u64().unwrap()
}

fn find_place(dump: &Value, name: &str, place: usize) -> u64 {
    field(dump, name, place)["offset"].as_u64().unwrap()
}

#[cfg(unix)]
#[test]
fn names_that_are_no_text_name_all_the_same() {
    use std::ffi::OsStr;
    use std::os::unix::ffi::OsStrExt;

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.qcow2");
    let wild = OsStr::from_bytes(b"we\xffkly");
    let mut bytes = image("valid/v3-bitmaps");
    // The last, which is the directory's; an older one lies about.
    let at = bytes.windows(6).rposition(|name| name == b"weekly").unwrap();
    bytes[at..at + 6].copy_from_slice(wild.as_bytes());
    fs::write(&path, bytes).unwrap();
    let options = ["bitmap".as_ref(), "--name".as_ref(), wild, "--minus".as_ref(), wild];
    let text = run(&[&options[..], &[path.as_os_str()]].concat()).report();
    assert!(text.contains(r"we\xffkly"), "{text}");
    let ran = run(&["map".as_ref(), "--snapshot".as_ref(), wild, path.as_os_str()]);
    assert!(ran.stderr.ends_with(": there is no snapshot we\\xffkly\n"), "{}", ran.stderr);
}
