//! `bitmap`: what can be trusted, and how two are combined.

use std::fs;
use std::path::Path;

use serde_json::{Value, json};

use crate::process::{corpus, image, run};

fn bitmaps(path: &Path, options: &[&str]) -> Value {
    run(&[&["bitmap", "--format=json", path.to_str().unwrap()], options].concat()).json()["bitmaps"].take()
}

/// The state of a bitmap of an image, and the code of the rule that decides.
fn state(path: &Path, bitmap: &str) -> String {
    let found = bitmaps(path, &["--name", bitmap, "--list"]);
    let text = run(&["bitmap", "--list", "--name", bitmap, path.to_str().unwrap()]).report();
    let mut lines =
        text.lines().filter_map(|line| line.strip_prefix("can be used for an incremental backup: "));
    let mut states = Vec::new();
    for found in found.as_array().unwrap() {
        let (state, line) = (found["state"].as_str().unwrap(), lines.next().unwrap());
        let Some(reason) = found["reason"].as_str() else {
            assert_eq!((&found["trusted"], state, line), (&json!(true), "recording", "yes"));
            states.push(state.to_owned());
            continue;
        };
        assert_eq!((&found["trusted"], line), (&json!(false), format!("no, {reason}").as_str()));
        assert!(reason.starts_with(&format!("{state}: ")), "{reason}");
        let code = reason.rsplit_once('(').map(|(_, code)| code.trim_end_matches(')'));
        states.push(code.map_or_else(|| state.to_owned(), |code| format!("{state} {code}")));
    }
    states.join(", ")
}

#[test]
fn a_bitmap_is_trusted_for_a_reason() {
    for (name, daily, weekly) in [
        ("valid/v3-bitmaps", "recording", "disabled"),
        // A bitmap that was not saved takes nothing from the other.
        ("damaged/B19-bitmap-in-use", "recording", "in-use B19"),
        ("damaged/E21-bitmaps-inconsistent", "inconsistent E21", "inconsistent E21"),
        // QEMU would not open these, so that none can be used.
        ("damaged/B02-bitmap-count-mismatch-less", "broken B02", "broken B02"),
        ("damaged/B03-bitmap-extra-data", "broken B03", "broken B03"),
        ("damaged/B04-bitmap-table-offset-invalid-zero", "broken B04", "broken B04"),
        ("damaged/B06-bitmap-granularity-invalid-too-coarse", "broken B06", "broken B06"),
        ("damaged/B07-bitmap-flags-reserved", "broken B07", "broken B07"),
        ("damaged/B08-bitmap-type-unknown", "broken B08", "broken B08"),
        ("damaged/B14-bitmap-entry-reserved-bits", "broken B14", "broken B14"),
        ("damaged/B15-bitmap-entry-flag-with-offset", "broken B15", "broken B15"),
        // QEMU reads that as zeros, and opens the image.
        ("damaged/B16-bitmap-data-offset-invalid-beyond-file", "broken B16", "disabled"),
        ("damaged/B17-bitmap-table-size-mismatch", "broken B17", "broken B17"),
    ] {
        let path = corpus(name);
        assert_eq!(
            (state(&path, "daily").as_str(), state(&path, "weekly").as_str()),
            (daily, weekly),
            "{name}"
        );
    }
    // Of two with one name neither can be had.
    assert_eq!(state(&corpus("damaged/B11-duplicate-bitmap"), "daily"), "broken B11, broken B11");
    // Something else writes over its clusters, or is about to.
    assert_eq!(state(&corpus("damaged/O03-bitmap-overlap"), "weekly"), "broken O03");
}

/// The refcount of a cluster that a bitmap has is set in a copy: the next write takes a cluster that seems free.
#[test]
fn a_bitmap_whose_cluster_seems_free_is_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.qcow2");
    let bytes = image("valid/v3-bitmaps");
    fs::write(&path, &bytes).unwrap();
    let dump = run(&["dump", "--format=json", path.to_str().unwrap()]).json();
    let table = find(&dump, "bitmap_table_offset", 0);
    let number = |name: &str| {
        dump["header"].as_array().unwrap().iter().find(|row| row["name"] == name).unwrap()["value"]
            .as_u64()
            .unwrap()
    };
    let be = |at: u64| u64::from_be_bytes(bytes[usize::try_from(at).unwrap()..][..8].try_into().unwrap());
    let (cluster_bits, block) = (number("cluster_bits"), be(number("refcount_table_offset")));
    for (at, is_trusted) in
        [(table, false), (be(table) & 0x00ff_ffff_ffff_fe00, false), (number("l1_table_offset"), true)]
    {
        for (refcount, is_fine) in [(0_u16, false), (2, true)] {
            let mut damaged = bytes.clone();
            let place = usize::try_from(block + 2 * (at >> cluster_bits)).unwrap();
            assert_eq!(damaged[place..place + 2], [0, 1], "{at:#x}");
            damaged[place..place + 2].copy_from_slice(&refcount.to_be_bytes());
            fs::write(&path, &damaged).unwrap();
            let wanted = if is_trusted || is_fine { "recording" } else { "broken R05" };
            assert_eq!(state(&path, "daily"), wanted, "{at:#x}: {refcount}");
        }
    }
}

/// QEMU would not open the image, so that its bitmaps are of no use.
#[test]
fn a_bitmap_of_an_image_that_qemu_refuses_is_not_trusted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.qcow2");
    let mut bytes = image("valid/v3-bitmaps");
    bytes[72] |= 0x40;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(state(&path, "daily"), "broken H12");
}

/// What the user of `disabled_bitmap` met: nothing is wrong with it, and a backup that rests on it loses 5 MiB.
#[test]
fn a_disabled_bitmap_says_what_it_does_not_have() {
    let text = run(&["bitmap", "--name", "weekly", corpus("valid/v3-bitmaps").to_str().unwrap()]).report();
    let wanted = "no, disabled: it has no write since it was disabled, so it is not enough alone";
    assert!(text.contains(wanted), "{text}");
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
    // The other is disabled: a write that it does not have is no reason to leave one out.
    let alone = |(dirty, bytes, _): (Value, Value, Value)| (dirty, bytes, json!(false));
    // Nothing is dirty in the other.
    assert_eq!(ranges(&["--minus", "weekly"]), all);
    assert_eq!(ranges(&["--and", "weekly"]), alone(none.clone()));
    assert_eq!(ranges(&["--minus", "daily"]), none);
    assert_eq!(ranges(&["--and", "daily"]), all);
    // Everything is dirty in the other: one entry of its table says so.
    let weekly = run(&["dump", "--only", "bitmaps", "--format=json", path.to_str().unwrap()]).json();
    let table = find(&weekly, "bitmap_table_offset", 1);
    bytes[usize::try_from(table + 7).unwrap()] = 1;
    fs::write(&path, &bytes).unwrap();
    assert_eq!(ranges(&["--and", "weekly"]), alone(all));
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
