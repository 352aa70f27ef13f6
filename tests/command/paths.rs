//! The path of the image in JSON: as text that is safe to show, and as its bytes where that is something else.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use serde_json::Value;

use crate::process::{corpus, run};

/// Each command whose JSON names the file.
const COMMANDS: &[&[&str]] = &[
    &["info", "--format=json"],
    &["dump", "--format=json"],
    &["dump", "--format=jsonl"],
    &["check", "--format=json"],
    &["check", "--format=jsonl"],
    &["audit", "--format=json"],
    &["map", "--format=jsonl"],
    &["bitmap", "--format=json"],
    &["locate", "--guest=0", "--format=json"],
    &["scan"],
];

#[test]
fn a_path_that_is_no_clean_text_has_its_bytes_too() {
    let folder = tempfile::tempdir().unwrap();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    for (name, shown, is_clean) in [
        (&b"a\x1b[2J\xff"[..], r"a\x1b[2J\xff", false),
        (br"a\x1b", r"a\x1b", true),
        ("ä".as_bytes(), "ä", true),
    ] {
        let path = folder.path().join(OsStr::from_bytes(name));
        // One that is reported on, and one that cannot be.
        for is_there in [false, true] {
            if is_there {
                fs::copy(corpus("valid/v3-basic"), &path).unwrap();
            }
            for command in COMMANDS {
                let mut call: Vec<_> = command.iter().map(OsStr::new).collect();
                call.push(path.as_os_str());
                let ran = run(&call);
                let first = serde_json::Deserializer::from_slice(&ran.stdout).into_iter::<Value>().next();
                let document = first.unwrap().unwrap();
                let is_error = document["schema"] == "qcow2-inspect/error/1" || document["error"].is_string();
                assert_eq!(is_error, !is_there, "{command:?}: {document}");
                let file = &document["file"];
                assert!(file["path"].as_str().unwrap().ends_with(shown), "{command:?}: {file}");
                let wanted = (!is_clean).then(|| hex(path.as_os_str().as_bytes()));
                assert_eq!(file.get("path_hex").and_then(Value::as_str), wanted.as_deref(), "{command:?}");
            }
        }
    }
}
