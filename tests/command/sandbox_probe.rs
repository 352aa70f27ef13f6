//! What comes of trying from inside what the sandbox forbids. Only a command that is built with the feature tries.

use std::collections::BTreeMap;
use std::fs;

use crate::process::command;
use crate::sandbox::{COMMANDS, image, is_there};

const EPERM: &str = "1";
const EACCES: &str = "13";

/// What the attempts of a call came to, by thread and attempt: an error's number, or `done`.
fn attempts(arguments: &[&str]) -> BTreeMap<String, String> {
    let mut call = command(arguments);
    let ran = call.env("QCOW2_INSPECT_PROBE_SANDBOX", "1").output().unwrap();
    let stderr = String::from_utf8(ran.stderr).unwrap();
    let lines = stderr.lines().filter_map(|line| line.strip_prefix("probe "));
    lines.map(|line| line.rsplit_once(' ').unwrap()).map(|(what, went)| (what.into(), went.into())).collect()
}

#[test]
fn nothing_can_be_opened_connected_executed_or_written() {
    if !is_there("nothing_can_be_opened_connected_executed_or_written") {
        return;
    }
    for arguments in COMMANDS {
        let image = image("valid/v3-snapshots");
        let attempts = attempts(&[*arguments, &[image.as_str()]].concat());
        assert_eq!(attempts.len(), 22, "{arguments:?}: {attempts:?}");
        for (what, went) in attempts {
            assert_eq!(went, EPERM, "{arguments:?}: {what}");
        }
    }
}

/// Files can be renamed and removed then, but not outside the output's folder.
#[test]
fn an_output_opens_no_other_folder() {
    if !is_there("an_output_opens_no_other_folder") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out.raw");
    let image = image("valid/v3-snapshots");
    // A new file, and one that takes the place of another.
    for options in [&[][..], &["--force"]] {
        let arguments = ["read", "--sandbox", "require", &image, "-o", out.to_str().unwrap()];
        let attempts = attempts(&[&arguments, options].concat());
        assert_eq!(attempts.len(), 22, "{attempts:?}");
        for (what, went) in attempts {
            let wanted = if what.ends_with("rename") || what.ends_with("remove") { EACCES } else { EPERM };
            // A file that is not there is told from one that may not be touched, where the folder can be seen.
            assert!(went == wanted || (wanted == EACCES && went == "2"), "{what}: {went}");
        }
        let left: Vec<_> = fs::read_dir(&folder).unwrap().map(|file| file.unwrap().path()).collect();
        assert_eq!(left.as_slice(), std::slice::from_ref(&out));
    }
}
