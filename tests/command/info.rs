//! `info`: what an image claims and what of it can be read, what the file takes, and what was not looked at.

use std::fs;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;

use qcow2_inspect::format::extension::{BITMAPS, bitmaps_field};
use qcow2_inspect::format::header;
use qcow2_testkit::Draft;
use serde_json::Value;

use crate::process::{image, run};

/// What `info` says of these bytes, as text and as JSON.
fn told(draft: &Draft) -> (String, Value) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.qcow2");
    fs::write(&path, &draft.bytes).unwrap();
    let path = path.to_str().unwrap();
    (run(&["info", path]).report(), run(&["info", "--format=json", path]).json())
}

fn line<'t>(text: &'t str, name: &str) -> &'t str {
    let line = text.lines().find_map(|line| line.strip_prefix(&format!("{name}:")));
    line.unwrap_or_else(|| panic!("no {name}: {text}")).trim()
}

#[test]
fn a_snapshot_table_that_is_lost_is_not_none() {
    let mut draft = Draft::new(image("valid/v3-snapshots"));
    assert_eq!(line(&told(&draft).0, "snapshots"), "2");
    let end = u64::try_from(draft.bytes.len()).unwrap();
    draft.set_header(header::field::SNAPSHOTS_OFFSET, end);
    let (text, json) = told(&draft);
    assert_eq!(line(&text, "snapshots"), "2 claimed, 0 readable");
    assert_eq!((&json["snapshots_claimed"], json["snapshots"].as_array().unwrap().len()), (&2.into(), 0));

    draft.set_header(header::field::NB_SNAPSHOTS, 0);
    let (text, json) = told(&draft);
    assert_eq!((line(&text, "snapshots"), &json["snapshots_claimed"]), ("none", &0.into()));
}

#[test]
fn a_bitmap_directory_that_is_lost_is_not_none() {
    let mut draft = Draft::new(image("valid/v3-bitmaps"));
    let (text, json) = told(&draft);
    let count = json["bitmaps"].as_array().unwrap().len();
    assert_eq!(line(&text, "bitmaps"), count.to_string());
    assert_eq!(json["bitmaps_claimed"], count);
    let data = draft.extension_data(BITMAPS);
    let end = u64::try_from(draft.bytes.len()).unwrap();
    draft.put_u64(data + bitmaps_field::BITMAP_DIRECTORY_OFFSET.offset, end);
    let (text, json) = told(&draft);
    assert_eq!(line(&text, "bitmaps"), format!("{count} claimed, 0 readable"));
    assert_eq!((&json["bitmaps_claimed"], json["bitmaps"].as_array().unwrap().len()), (&count.into(), 0));

    let (text, json) = told(&Draft::new(image("valid/v3-basic")));
    assert_eq!((line(&text, "bitmaps"), &json["bitmaps_claimed"]), ("none", &Value::Null));
}

#[test]
fn a_file_too_short_to_claim_anything_says_so() {
    let mut draft = Draft::new(image("valid/v3-snapshots"));
    draft.bytes.truncate(62);
    let (text, json) = told(&draft);
    assert_eq!(line(&text, "snapshots"), "behind the end of the file");
    assert_eq!(json["snapshots_claimed"], Value::Null);
}

/// Bytes of the file's blocks, as the system counts them.
#[cfg(unix)]
fn blocks(path: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(path).unwrap().blocks() * 512
}

#[cfg(unix)]
#[test]
fn the_bytes_that_the_file_takes_are_shown() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.qcow2");
    let mut file = fs::File::create(&path).unwrap();
    file.write_all(&image("valid/v3-basic")).unwrap();
    file.seek(SeekFrom::Start(64 << 20)).unwrap();
    file.write_all(&[0; 4096]).unwrap();
    drop(file);
    let path_text = path.to_str().unwrap();
    let json = run(&["info", "--format=json", path_text]).json();
    assert_eq!(json["actual_size"], blocks(&path));
    assert!(blocks(&path) < 8 << 20, "this file system has no holes");
    let text = run(&["info", path_text]).report();
    assert!(line(&text, "on the host").ends_with(&format!(" ({} bytes)", blocks(&path))), "{text}");
}

#[test]
fn the_tables_that_were_not_looked_at_come_with_the_command_that_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("my disk.qcow2");
    let mut bytes = vec![0; 512];
    bytes.extend(image("valid/v3-basic"));
    fs::write(&path, &bytes).unwrap();
    let path = path.to_str().unwrap();
    let text = run(&["info", "--offset=512", path]).report();
    let wanted = format!("the tables were not looked at: qcow2-inspect check --offset 512 '{path}'");
    assert_eq!(text.lines().last(), Some(wanted.as_str()));
}
