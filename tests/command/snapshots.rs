//! What a report says of a snapshot can be given to `--snapshot`: its id and its name, in text and beside each `tree`.

use std::fs;

use qcow2_inspect::format::{header, snapshot};
use qcow2_testkit::Draft;
use serde_json::{Value, json};

use crate::process::{image, run};

/// Bits of an L1 or L2 entry with an offset.
const OFFSET: u64 = 0x00ff_ffff_ffff_fe00;
/// Far behind the end of each file here.
const FAR: u64 = 1 << 30;

/// The first data cluster of the first snapshot, as its L2 entry has it.
fn l2_entry(draft: &Draft) -> u64 {
    draft.get(draft.snapshot(0).head.l1_table_offset.0, 8) & OFFSET
}

/// Objects with a `tree` that is a snapshot's, or with a structure that is one, wherever they are.
fn named<'v>(value: &'v Value, found: &mut Vec<&'v Value>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| named(item, found)),
        Value::Object(object) => {
            let tree = object.get("tree").and_then(Value::as_str).unwrap_or_default();
            if tree.starts_with("snapshot:") || object.get("structure") == Some(&"snapshot".into()) {
                found.push(value);
            }
            object.values().for_each(|value| named(value, found));
        }
        _ => {}
    }
}

/// Runs a command on the image in each format: its text, and what its documents say of snapshots.
fn told(draft: &Draft, arguments: &[&str]) -> (String, Vec<Value>) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.qcow2");
    fs::write(&path, &draft.bytes).unwrap();
    let path = path.to_str().unwrap();
    let stdout = |format: &str| {
        let format = format!("--format={format}");
        String::from_utf8(run(&[arguments, &[&format, path]].concat()).stdout).unwrap()
    };
    let mut all = Vec::new();
    for format in ["json", "jsonl"] {
        for line in serde_json::Deserializer::from_str(&stdout(format)).into_iter::<Value>() {
            let line = line.unwrap();
            let mut found = Vec::new();
            named(&line, &mut found);
            all.extend(found.into_iter().cloned());
        }
    }
    (stdout("text"), all)
}

fn has_name(item: &Value) -> bool {
    item["snapshot"] == json!({ "id": "1", "name": "before-update" })
}

#[test]
fn whatever_is_said_of_a_snapshot_names_it() {
    let mut lost = Draft::new(image("valid/v3-snapshots"));
    let entry = l2_entry(&lost);
    lost.put_u64(entry, FAR);
    let mut shared = Draft::new(image("valid/v3-snapshots"));
    let (own, other) = (l2_entry(&shared), shared.l1_entry(0));
    shared.put_u64(own, shared.get(other, 8) & OFFSET);
    let mut bad_entry = Draft::new(image("valid/v3-snapshots"));
    bad_entry.set_snapshot(0, snapshot::field::L1_TABLE_OFFSET, FAR + 8);
    let host = format!("--host={entry}");
    let cases: [(&str, &Draft, &[&str]); 8] = [
        ("losses and findings", &lost, &["check"]),
        ("owners", &shared, &["check"]),
        ("S05", &bad_entry, &["check"]),
        ("findings of a dump", &lost, &["dump"]),
        ("findings of info", &bad_entry, &["info"]),
        ("findings of an audit", &bad_entry, &["audit"]),
        ("locate --guest", &lost, &["locate", "--guest=0", "--snapshot=1"]),
        ("locate --host", &lost, &["locate", &host]),
    ];
    for (what, draft, arguments) in cases {
        let (text, mut found) = told(draft, arguments);
        // Rows of a dump have the index: the section on snapshots says what it stands for.
        found.retain(|item| item.get("valid").is_none() && item["tree"] != "snapshot:1");
        assert!(!found.is_empty(), "{what}: {text}");
        assert!(found.iter().all(has_name), "{what}: {found:#?}");
        assert!(!text.contains("snapshot:"), "{what}: {text}");
        assert!(arguments == ["audit"] || text.contains(r#"snapshot 1 "before-update""#), "{what}: {text}");
    }
}

#[test]
fn a_map_says_whose_it_is() {
    let draft = Draft::new(image("valid/v3-snapshots"));
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.qcow2");
    fs::write(&path, &draft.bytes).unwrap();
    let path = path.to_str().unwrap();
    let text = run(&["map", "--snapshot=before-update", path]).report();
    assert_eq!(text.lines().nth(1), Some(r#"disk of snapshot 1 "before-update": 64 KiB (65536 bytes)"#));
    let lines = run(&["map", "--snapshot=1", "--format=jsonl", path]).report();
    assert!(has_name(&serde_json::from_str(lines.lines().next().unwrap()).unwrap()), "{lines}");
}

#[test]
fn a_snapshot_whose_entry_cannot_be_read_keeps_its_index() {
    let mut draft = Draft::new(image("valid/v3-snapshots"));
    let entry = l2_entry(&draft);
    draft.put_u64(entry, FAR);
    // Of two claimed entries the second is cut, and the first still has its name.
    let at = usize::try_from(draft.snapshot(1).at.0).unwrap();
    draft.bytes.truncate(at + 8);
    let (text, found) = told(&draft, &["check"]);
    assert!(found.iter().any(has_name) && text.contains("snapshot 1"), "{text}");
    draft.set_header(header::field::SNAPSHOTS_OFFSET, FAR);
    assert!(!told(&draft, &["check"]).0.contains("before-update"));
}

#[test]
fn a_name_that_is_no_text_has_its_bytes_beside_it() {
    let mut draft = Draft::new(image("valid/v3-snapshots"));
    let entry = l2_entry(&draft);
    draft.put_u64(entry, FAR);
    draft.edit_snapshots(|list| list[0].name = b"a\x1b[2J".to_vec());
    let (text, found) = told(&draft, &["check"]);
    assert!(text.contains(r#"snapshot 1 "a\x1b[2J""#), "{text}");
    let name = json!({ "id": "1", "name": r"a\x1b[2J", "name_hex": "611b5b324a" });
    assert!(found.iter().any(|item| item["snapshot"] == name), "{found:#?}");
}
