//! `audit` and `policy`: what they answer, and by which exit code.

use std::fs;
use std::path::Path;

use serde_json::Value;

use crate::process::{Ran, check_refusal, command, corpus, finish, image, run};

fn audit(arguments: &[&str], name: &str) -> Ran {
    run(&[&["audit"], arguments, &[corpus(name).to_str().unwrap()]].concat())
}

fn json(arguments: &[&str], name: &str) -> (Option<i32>, Value) {
    let ran = audit(&[arguments, &["--format", "json"]].concat(), name);
    assert_eq!(ran.stderr, "");
    (ran.code, serde_json::from_slice(&ran.stdout).unwrap())
}

/// The reasons, by rule or by the policy's line.
fn reasons(audit: &Value) -> Vec<&str> {
    let reasons = audit["reasons"].as_array().unwrap().iter();
    reasons.map(|reason| reason["rule"].as_str().or(reason["key"].as_str()).unwrap()).collect()
}

/// A policy file with these lines, and what the audit of an image says by it.
fn by(policy: &str, name: &str) -> (Option<i32>, Value) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    fs::write(&path, policy).unwrap();
    json(&["--policy", path.to_str().unwrap()], name)
}

#[test]
fn accepted_is_exit_0_and_rejected_is_exit_2() {
    for (policy, name, code, rules) in [
        ("upload", "valid/v3-snapshots", 0, &[][..]),
        ("upload", "valid/v2-basic", 0, &[]),
        ("upload", "valid/v3-extended-l2", 0, &[]),
        ("upload", "valid/v3-backing", 2, &["H41"]),
        ("import", "valid/v3-backing", 0, &[]),
        ("import", "valid/v3-data-file", 0, &[]),
        ("import", "hostile/backing-network", 2, &["H41"]),
        ("import", "hostile/backing-itself", 2, &["H41"]),
        ("forensic", "hostile/backing-itself", 0, &[]),
        ("upload", "hostile/hidden-behind-the-end", 2, &["R12"]),
        ("upload", "damaged/H19-dirty-bit-set", 2, &["H19"]),
        ("import", "damaged/H19-dirty-bit-set", 0, &[]),
        ("upload", "damaged/H11-unknown-header-fields", 2, &["H11"]),
        ("upload", "damaged/E26-unknown-extension", 2, &["E26"]),
        ("upload", "damaged/S15-snapshot-padding-nonzero", 0, &[]),
        ("import", "hostile/hidden-behind-the-end", 0, &[]),
    ] {
        let (exit, audit) = json(&["--policy", policy], name);
        assert_eq!((exit, reasons(&audit)), (Some(code), rules.to_vec()), "{policy} {name}");
        assert_eq!(audit["decision"], if code == 0 { "accept" } else { "reject" });
        assert_eq!((&audit["schema"], &audit["policy"]), (&"qcow2-inspect/audit/1".into(), &policy.into()));
        assert_eq!(audit["complete"], true);
        let text = audit_text(policy, name);
        assert!(rules.iter().all(|rule| text.contains(&format!("\n  {rule} ("))), "{text}");
    }
}

fn audit_text(policy: &str, name: &str) -> String {
    String::from_utf8(audit(&["--policy", policy], name).stdout).unwrap()
}

#[test]
fn what_is_no_qcow2_file_is_exit_1() {
    let path = corpus("hostile/CVE-2014-0222-qcow1-l2-bits");
    for policy in ["upload", "forensic"] {
        let ran = run(&["audit", "--policy", policy, "--format", "json", path.to_str().unwrap()]);
        let reason = "not a qcow2 image: it looks like a qcow image of version 1";
        check_refusal(ran, path.to_str().unwrap(), reason, true);
    }
}

#[test]
fn a_reader_is_told_what_it_needs() {
    for (name, needs) in [
        ("valid/v2-basic", vec![]),
        ("valid/v3-zstd", vec!["version-3", "compressed-clusters", "zstd"]),
        ("valid/v3-zlib", vec!["version-3", "compressed-clusters"]),
        ("valid/v3-extended-l2", vec!["version-3", "extended-l2"]),
        ("valid/v3-data-file-raw", vec!["version-3", "external-data-file"]),
        ("valid/v3-aes", vec!["version-3", "aes"]),
        ("valid/v3-backing", vec!["version-3", "backing-file"]),
        ("damaged/E13-luks-header-cut", vec!["version-3", "luks"]),
        ("damaged/H12-unknown-incompatible-feature", vec!["version-3", "unknown-incompatible-features"]),
    ] {
        let (_, audit) = json(&["--policy", "forensic"], name);
        assert_eq!(audit["capabilities"]["needs"], Value::from(needs), "{name}");
    }
    let (_, audit) = json(&[], "valid/v3-bitmaps");
    let of = &audit["capabilities"];
    assert_eq!((&of["bitmaps"], &of["cluster_size"]), (&2.into(), &1024.into()));
    assert_eq!((&of["refcount_bits"], &of["virtual_size"]), (&16.into(), &(4 << 20).into()));
}

#[test]
fn a_policy_that_is_shown_decides_as_before() {
    for name in ["upload", "import", "forensic"] {
        let shown = run(&["policy", "show", name]).report();
        for image in ["valid/v3-backing", "hostile/backing-network", "hostile/polyglot-zip"] {
            assert_eq!(by(&shown, image), json(&["--policy", name], image), "{name}: {image}");
        }
    }
    assert_eq!(run(&["policy", "show"]).report(), run(&["policy", "show", "upload"]).report());
}

#[test]
fn a_policy_of_ones_own_decides() {
    let image = "valid/v3-snapshots";
    let (code, audit) =
        by("name = \"mine\"\nreject = { default = \"fatal\" }\nlimits.snapshots = 1\n", image);
    assert_eq!((code, reasons(&audit)), (Some(2), vec!["limits.snapshots"]));
    assert_eq!((&audit["policy"], &audit["reasons"][0]["offset"]), (&"mine".into(), &60.into()));
    let (code, _) = by("name = \"mine\"\nreject = { default = \"fatal\" }\nlimits.snapshots = 2\n", image);
    assert_eq!(code, Some(0));
    let all = "name = \"all\"\n[reject]\ndefault = \"always\"\n";
    assert_eq!(reasons(&by(all, "damaged/L10-data-cluster-cut").1), ["L10"]);
    let allowed = format!("{all}L10 = \"allow\"\n");
    assert_eq!(by(&allowed, "damaged/L10-data-cluster-cut").0, Some(0));
}

#[test]
fn a_policy_that_makes_no_sense_is_told_in_one_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.toml");
    fs::write(&path, "name = \"a\"\n[reject]\ndefault = \"sometimes\"\n").unwrap();
    let path = path.to_str().unwrap();
    for arguments in [
        vec!["policy", "show", path],
        vec!["audit", "--policy", path, "x"],
        vec!["audit", "--policy", "/nonexistent", "x"],
        vec!["audit", "--policy", "/", "x"],
    ] {
        let ran = run(&arguments);
        assert_eq!((ran.code, ran.stdout.as_slice()), (Some(1), b"".as_slice()), "{arguments:?}");
        let told = ran.stderr.lines().next().unwrap();
        assert!(told.starts_with("error: invalid value"), "{told}");
    }
    assert!(run(&["policy", "show", path]).stderr.contains("line 3: unknown variant `sometimes`"));
    fs::write(path, "name = \"a\"\nlimits = [1, 2, 3, 4, 5, 6]\n[reject]\n").unwrap();
    let told = run(&["policy", "show", path]).stderr;
    assert!(told.contains("line 2: invalid type: sequence, expected a table of limits"), "{told}");
}

/// Nothing that is no file holds it up or is read without end.
#[test]
fn a_policy_is_a_file_or_a_pipe_with_a_writer() {
    let folder = tempfile::tempdir().unwrap();
    let fifo = folder.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    for (path, reason) in [
        (fifo.to_str().unwrap(), "missing field `name`"),
        ("/dev/zero", "is neither a file nor a pipe"),
        ("/", "is neither a file nor a pipe"),
    ] {
        let ran = run(&["policy", "show", path]);
        assert_eq!((ran.code, ran.stdout.as_slice()), (Some(1), b"".as_slice()), "{path}");
        assert!(ran.stderr.lines().next().unwrap().contains(reason), "{}", ran.stderr);
    }
}

/// Whether compressed clusters were decompressed is told, whatever came of it.
#[test]
fn a_broken_stream_is_seen_by_a_deep_audit_alone() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.qcow2");
    let mut bytes = image("valid/v3-zlib");
    let number = |at: usize| u64::from_be_bytes(bytes[at..at + 8].try_into().unwrap());
    let at = |word: u64| usize::try_from(word & 0x00ff_ffff_ffff_fe00).unwrap();
    let l2 = at(number(at(number(40))));
    // Not the first cluster, which is looked at in any case.
    let entry = (1..8).map(|index| number(l2 + 8 * index)).find(|entry| entry >> 62 == 1).unwrap();
    let bits = 62 - (u32::from_be_bytes(bytes[20..24].try_into().unwrap()) - 8);
    let stream = usize::try_from(entry & ((1 << bits) - 1)).unwrap();
    bytes[stream..stream + 4].fill(0xff);
    fs::write(&path, bytes).unwrap();
    let path = path.to_str().unwrap();
    let audit = |options: &[&str]| {
        let ran = run(&[&["audit", "--format", "json", path], options].concat());
        let audit: Value = serde_json::from_slice(&ran.stdout).unwrap();
        let is_told = run(&[&["audit", path], options].concat());
        let is_told = String::from_utf8(is_told.stdout).unwrap().contains("\nnot decompressed: ");
        let reasons = reasons(&audit).into_iter().map(str::to_owned).collect::<Vec<_>>();
        (ran.code, reasons, audit["deep"].as_bool(), is_told)
    };
    assert_eq!(audit(&[]), (Some(0), vec![], Some(false), true));
    assert_eq!(audit(&["--deep"]), (Some(2), vec!["L15".to_owned()], Some(true), false));
    let policy = folder.path().join("policy.toml");
    let text = run(&["policy", "show"]).report().replace("\ndeep = false\n", "\ndeep = true\n");
    fs::write(&policy, text).unwrap();
    let by_policy = audit(&["--policy", policy.to_str().unwrap()]);
    assert_eq!(by_policy, audit(&["--deep"]));
    let spent = audit(&["--deep", "--limit", "decoded_bytes=1"]);
    assert_eq!(spent, (Some(1), vec!["T01".to_owned()], Some(true), false));
    let scan = run(&["scan", "--deep", path]);
    let line: Value = serde_json::from_slice(&scan.stdout).unwrap();
    assert_eq!((scan.code, reasons(&line), line["deep"].as_bool()), (Some(2), vec!["L15"], Some(true)));
    // Nothing is said of images without any.
    assert!(!audit_text("upload", "valid/v3-basic").contains("decompressed"));
}

/// The name is seen to lead back whatever way the image is named.
#[test]
fn an_image_on_itself_is_seen_from_any_folder() {
    let folder = tempfile::tempdir().unwrap();
    let below = folder.path().join("below");
    fs::create_dir(&below).unwrap();
    fs::write(folder.path().join("base.raw"), image("valid/v3-backing")).unwrap();
    let decides = |from: &Path, path: &str| {
        let mut command = command(&["audit", "--policy", "import", path]);
        command.current_dir(from);
        finish(command).code
    };
    assert_eq!(decides(folder.path(), "base.raw"), Some(2));
    assert_eq!(decides(folder.path(), "./below/../base.raw"), Some(2));
    assert_eq!(decides(&below, "../base.raw"), Some(2));
    fs::rename(folder.path().join("base.raw"), folder.path().join("top.qcow2")).unwrap();
    assert_eq!(decides(folder.path(), "top.qcow2"), Some(0));
}

/// What the decision, the reasons and the exit code say is one thing, for every image of the corpus.
#[test]
fn decision_reasons_and_exit_code_agree() {
    let mut count = 0;
    for folder in ["valid", "damaged", "hostile"] {
        for entry in fs::read_dir(corpus("valid").with_file_name(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.extension().is_none_or(|ending| ending != "qcow2") {
                continue;
            }
            let path = path.to_str().unwrap();
            let ran = run(&["audit", "--format", "json", path]);
            let audit: Value = serde_json::from_slice(&ran.stdout).unwrap();
            if audit["schema"] == "qcow2-inspect/error/1" {
                assert_eq!(ran.code, Some(1), "{path}");
                continue;
            }
            count += 1;
            let is_accepted = audit["decision"] == "accept";
            assert_eq!((audit["decision"] == "reject", ran.code == Some(0)), (!is_accepted, is_accepted));
            assert_eq!(is_accepted, reasons(&audit).is_empty(), "{path}");
            assert!(audit["complete"] == true || !is_accepted, "{path}");
            for reason in audit["reasons"].as_array().unwrap() {
                let mut found = audit["findings"].as_array().unwrap().iter();
                let is_found = found.any(|finding| finding["rule"] == reason["rule"]);
                assert_eq!(is_found, !reason["rule"].is_null(), "{path}: {reason}");
            }
        }
    }
    assert!(count > 150, "only {count} images");
}
