//! `locate --host`: what the very byte is, and what a cluster holds that nothing refers to.

use std::fs;
use std::path::Path;

use qcow2_inspect::format::extension::BITMAPS;
use qcow2_inspect::format::{bitmap, snapshot};
use qcow2_testkit::Draft;
use serde_json::{Value, json};

use crate::process::{image, run};

/// Bits of an L1 or L2 entry with an offset.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;

/// What `locate` says of an offset of the file.
fn located(path: &Path, host: u64) -> (String, Value) {
    let (path, host) = (path.to_str().unwrap(), format!("--host={host}"));
    let json = run(&["locate", &host, "--format=json", path]).json();
    (run(&["locate", &host, path]).report(), json["host"].clone())
}

/// The first owner of a byte: its structure, its index and its field.
fn owner(path: &Path, host: u64) -> (String, Option<u64>, Option<String>) {
    let (_, json) = located(path, host);
    let owner = &json["owners"][0];
    let text = |key: &str| owner[key].as_str().map(str::to_owned);
    (text("structure").unwrap(), owner["index"].as_u64(), text("field"))
}

fn written(folder: &tempfile::TempDir, draft: &Draft) -> std::path::PathBuf {
    let path = folder.path().join("disk.qcow2");
    fs::write(&path, &draft.bytes).unwrap();
    path
}

#[test]
fn the_guest_offset_is_that_of_the_byte() {
    let folder = tempfile::tempdir().unwrap();
    let draft = Draft::new(image("valid/v3-basic"));
    let path = written(&folder, &draft);
    let (l1, cluster) = (draft.l1_entry(0), draft.cluster_size());
    let table = draft.get(l1, 8) & OFFSET;
    let is_used = |index: &u64| draft.get(table + index * 8, 8) & OFFSET != 0;
    let index = (0..cluster / 8).rev().find(is_used).unwrap();
    let host = draft.get(table + index * 8, 8) & OFFSET;
    let (text, json) = located(&path, host + 5);
    assert_eq!(json["owners"][0]["guest_offset"], index * cluster + 5);
    assert!(text.contains(&format!("this byte is guest {:#x}\n", index * cluster + 5)), "{text}");
    let (text, json) = located(&path, table + index * 8 + 3);
    assert_eq!(json["owners"][0]["guest_offset"], index * cluster);
    assert!(text.contains(&format!("this entry is for guest {:#x}\n", index * cluster)), "{text}");
    let (_, json) = located(&path, l1 + 8);
    assert_eq!(json["owners"][0]["guest_offset"], cluster / 8 * cluster);
}

#[test]
fn the_field_is_that_of_the_entry() {
    let folder = tempfile::tempdir().unwrap();
    let wanted = |structure: &str, index: u64, field: &str| {
        (structure.to_owned(), Some(index), Some(field.to_owned()))
    };

    let draft = Draft::new(image("valid/v3-snapshots"));
    let path = written(&folder, &draft);
    let second = draft.snapshot(1);
    let of = |at: u64| owner(&path, at);
    let size = snapshot::field::L1_SIZE.at(second.at).at.0;
    assert_eq!(of(size), wanted("snapshot table", 1, "l1_size"));
    assert_eq!(of(second.id_at().0), wanted("snapshot table", 1, "id_str"));
    assert_eq!(of(second.name_at().0 + 2), wanted("snapshot table", 1, "name"));
    assert_eq!(of(second.extra_at().0 + 8), wanted("snapshot table", 1, "disk_size"));
    let (text, json) = located(&path, size);
    assert!(text.contains(", l1_size, entry 1, snapshot 2 \"second\"\n"), "{text}");
    assert_eq!(json["owners"][0]["snapshot"], json!({ "id": "2", "name": "second" }));

    let draft = Draft::new(image("valid/v3-bitmaps"));
    let path = written(&folder, &draft);
    let second = draft.bitmap(1);
    let of = |at: u64| owner(&path, at);
    let flags = bitmap::field::FLAGS.at(second.at).at.0;
    assert_eq!(of(flags), wanted("bitmap directory", 1, "flags"));
    assert_eq!(of(second.name_at().0), wanted("bitmap directory", 1, "name"));
    assert_eq!(of(draft.extension(BITMAPS)), wanted("header extensions", 0, "magic"));
    assert_eq!(of(draft.extension_data(BITMAPS)), wanted("header extensions", 0, "data"));

    let draft = Draft::new(image("valid/v3-extended-l2"));
    let path = written(&folder, &draft);
    let table = draft.get(draft.l1_entry(0), 8) & OFFSET;
    assert_eq!(owner(&path, table + 16), wanted("L2 table", 1, "entry"));
    assert_eq!(owner(&path, table + 24), wanted("L2 table", 1, "bitmap"));
}

#[test]
fn a_leaked_cluster_is_told_by_what_it_holds() {
    let folder = tempfile::tempdir().unwrap();
    let mut draft = Draft::new(image("valid/v3-basic"));
    let (free, cluster) = (draft.add_clusters(1), draft.cluster_size());
    draft.put(free, "some words that people can read; ".repeat(16).as_bytes());
    let (text, json) = located(&written(&folder, &draft), free + 7);
    assert_eq!((&json["looks_like"], &json["counted"]), (&"text".into(), &0.into()));
    assert!(text.contains("\nits cluster is free, and looks like text\n"), "{text}");

    let block = draft.get(draft.refcount_table_entry(0), 8);
    draft.put_number(block + free / cluster * 2, 2, 1);
    let (text, json) = located(&written(&folder, &draft), free + 7);
    assert!(text.contains("\nits cluster is leaked, and looks like text\n"), "{text}");
    assert_eq!(json["refcount"], 1);

    let (_, json) = located(&written(&folder, &draft), draft.l1_entry(0));
    assert_eq!(json["looks_like"], Value::Null, "something refers to it");
}
