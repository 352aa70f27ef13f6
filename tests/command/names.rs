//! Text of the image: never raw on a terminal, always whole in JSON.

use std::fs;

use qcow2_inspect::format::extension::{self, BACKING_FORMAT, DATA_FILE, ExtensionHead, FEATURE_TABLE};
use qcow2_inspect::format::{Layout, header, luks};
use qcow2_inspect::units::HostOffset;
use qcow2_testkit::Draft;
use serde_json::Value;

use crate::process::{image, run};

/// Names of at most eight bytes, for which every place has room, and whether they can be shown as they are.
const NAMES: &[(&[u8], bool)] = &[
    (b"plain", true),
    ("größe".as_bytes(), true),
    (br#"a\b"c'"#, true),
    (b"\x1b]0;x\x07", false),
    (b"\x1b[2J", false),
    ("a\u{202e}b".as_bytes(), false),
    ("\u{2066}a".as_bytes(), false),
    ("\u{9b}31m".as_bytes(), false),
    ("\u{2028}".as_bytes(), false),
    ("\u{feff}".as_bytes(), false),
    (b"a\r\nb", false),
    (b"a\tb\x7f", false),
    (br"\", true),
    (b"\\\xff", false),
    (b"\xff\xfe\x80", false),
    (b"\xed\xa0\x80", false),
    (b"a\0b", false),
];

/// Puts a name into an image, and says in which reports it stands.
type Place = (&'static str, &'static str, fn(&mut Draft, &[u8]));

const PLACES: &[Place] = &[
    ("snapshot name", "valid/v3-snapshots", |draft, name| {
        draft.edit_snapshots(|list| list[0].name = name.to_vec());
    }),
    ("snapshot id", "valid/v3-snapshots", |draft, name| {
        draft.edit_snapshots(|list| list[1].id = name.to_vec());
    }),
    ("bitmap name", "valid/v3-bitmaps", |draft, name| {
        draft.edit_bitmaps(|list| list[0].name = name.to_vec());
    }),
    ("backing file", "valid/v3-backing", |draft, name| {
        let at = draft.header(header::field::BACKING_FILE_OFFSET);
        draft.put(at, &[0; 8]);
        draft.put(at, name);
        draft.set_header(header::field::BACKING_FILE_SIZE, u64::try_from(name.len()).unwrap());
    }),
    ("backing format", "valid/v3-backing", |draft, name| {
        let at = draft.extension(BACKING_FORMAT);
        put_extension(draft, at, name);
    }),
    ("data file", "valid/v3-data-file", |draft, name| {
        let at = draft.extension(DATA_FILE);
        put_extension(draft, at, name);
    }),
    ("feature name", "valid/v3-basic", |draft, name| {
        let mut row = vec![0, 7];
        row.extend(name);
        row.resize(48, 0);
        draft.add_extension(FEATURE_TABLE, &row);
    }),
    ("cipher name", "damaged/E13-luks-header-cut", |draft, name| {
        let at = draft.bytes.windows(6).position(|bytes| bytes == b"LUKS\xba\xbe").unwrap();
        let at = u64::try_from(at).unwrap() + luks::field::CIPHER_NAME.offset;
        draft.put(at, &[0; 32]);
        draft.put(at, name);
    }),
];

/// Writes over the data of the extension at `at`.
fn put_extension(draft: &mut Draft, at: u64, name: &[u8]) {
    let head = HostOffset(at);
    draft.set_field(head, extension::field::LENGTH, u64::try_from(name.len()).unwrap());
    let data = at + ExtensionHead::LEN;
    draft.put(data, &[0; 8]);
    draft.put(data, name);
}

/// Whether a terminal would show it all as it stands. Written down a second time, apart from the library's.
fn is_harmless(character: char) -> bool {
    !character.is_control()
        && !matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[test]
fn no_name_reaches_the_output_raw() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.qcow2");
    let path = path.to_str().unwrap();
    for (place, base, put) in PLACES {
        for (name, is_clean) in NAMES {
            if name.contains(&0) && matches!(*place, "feature name" | "cipher name") {
                // It ends there.
                continue;
            }
            let context = format!("{place}: {}", name.escape_ascii());
            let mut draft = Draft::new(image(base));
            put(&mut draft, name);
            fs::write(path, &draft.bytes).unwrap();
            for command in ["dump", "info"] {
                let text = run(&[command, path]).report();
                assert!(text.lines().all(|line| line.chars().all(is_harmless)), "{context}\n{text}");
                let shown = text.contains(str::from_utf8(name).unwrap_or("\u{0}"));
                // `info` does not tell of the feature name table.
                if (command, *place) != ("info", "feature name") {
                    assert_eq!(shown, *is_clean, "{context}\n{text}");
                    let document = run(&[command, "--format=json", path]).report();
                    assert!(document.lines().all(|line| line.chars().all(is_harmless)), "{context}");
                    check_twins(&serde_json::from_str(&document).unwrap(), name, *is_clean, &context);
                }
                run(&[command, "--format=jsonl", path]).documents();
            }
            for format in ["text", "json"] {
                // Accepted or not; what it finds quotes names.
                let out = run(&["audit", "--format", format, path]).stdout;
                let out = String::from_utf8(out).unwrap();
                assert!(
                    !out.is_empty() && out.lines().all(|line| line.chars().all(is_harmless)),
                    "{context}"
                );
            }
        }
    }
}

/// `info` stays one screen, and JSON has it all.
#[test]
fn long_names_do_not_flood_the_screen() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.qcow2");
    let path = path.to_str().unwrap();
    let mut draft = Draft::new(image("valid/v3-snapshots"));
    draft.edit_snapshots(|list| list[0].name = vec![b'n'; 60_000]);
    fs::write(path, &draft.bytes).unwrap();
    let info = run(&["info", path]).report();
    assert!(info.lines().all(|line| line.chars().count() < 300), "{info}");
    for name in ["dump", "info"] {
        let json = run(&[name, "--format=json", path]).report();
        assert!(json.contains(&"n".repeat(60_000)), "{name}");
    }
}

/// The keys of hex twins in all of a document, with the text beside them and the bytes in them.
fn twins(value: &Value, found: &mut Vec<(String, Option<String>, Vec<u8>)>) {
    match value {
        Value::Array(items) => items.iter().for_each(|item| twins(item, found)),
        Value::Object(fields) => {
            for (key, value) in fields {
                if let Some(plain) = key.strip_suffix("_hex") {
                    let text = fields.get(plain).and_then(Value::as_str).map(str::to_owned);
                    found.push((key.clone(), text, bytes_of(value.as_str().unwrap())));
                }
                twins(value, found);
            }
        }
        _ => {}
    }
}

fn bytes_of(hex: &str) -> Vec<u8> {
    assert_eq!(hex.len() % 2, 0);
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

fn check_twins(document: &Value, name: &[u8], is_clean: bool, context: &str) {
    let mut found = Vec::new();
    twins(document, &mut found);
    if is_clean {
        assert!(found.is_empty(), "{context}: {found:?}");
        return;
    }
    assert!(!found.is_empty(), "{context}: no twin");
    for (key, text, bytes) in found {
        // A row of a fixed width has the padding too.
        let bytes = bytes.strip_suffix(&[0; 8]).map_or(bytes.as_slice(), |_| &bytes[..name.len()]);
        assert_eq!(bytes.escape_ascii().to_string(), name.escape_ascii().to_string(), "{context}: {key}");
        assert!(text.unwrap().contains(r"\x"), "{context}: {key}");
    }
}
