//! `check`: its exit codes, its options, its formats, and its end when it is interrupted.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use qcow2_inspect::format::header::field;
use qcow2_testkit::{Draft, damages};
use serde_json::Value;

use crate::process::{Ran, check_refusal, command, corpus, image, is_ignored, run, skipped};

/// Runs `check` with these options.
fn check(options: &[&str], path: &Path) -> Ran {
    run(&[&["check"], options, &[path.to_str().unwrap()]].concat())
}

/// The report as JSON, whatever the verdict.
fn json(options: &[&str], path: &Path) -> Value {
    let ran = check(&[options, &["--format=json"]].concat(), path);
    assert_eq!(ran.stderr, "");
    let report: Value = serde_json::from_slice(&ran.stdout).unwrap();
    assert_eq!(report["schema"], "qcow2-inspect/check/1");
    report
}

/// Writes the image that a damage of the test kit makes.
fn damaged(folder: &Path, code: &str, variant: &str) -> PathBuf {
    let damage = damages().find(|damage| damage.rule.code == code && damage.variant == variant).unwrap();
    let mut draft = Draft::new(image(damage.base));
    (damage.breaks)(&mut draft);
    let path = folder.join(format!("{code}-{variant}.qcow2"));
    fs::write(&path, draft.bytes).unwrap();
    path
}

fn findings<'r>(report: &'r Value, code: &str) -> Vec<&'r Value> {
    let findings = report["findings"].as_array().unwrap().iter();
    findings.filter(|finding| finding["rule"] == code).collect()
}

#[test]
fn the_exit_code_is_the_verdict() {
    let folder = tempfile::tempdir().unwrap();
    let leaks = damaged(folder.path(), "R06", "");
    for (path, verdict, code) in [
        (corpus("valid/v3-basic"), "clean", 0),
        (corpus("valid/v3-aes"), "clean", 0),
        (corpus("damaged/O02-data-over-metadata"), "corrupt", 2),
        (corpus("damaged/H03-unsupported-version-zero"), "unusable", 2),
        (leaks, "leaks", 3),
    ] {
        let name = path.display();
        for format in ["text", "json", "jsonl"] {
            let ran = check(&["--format", format], &path);
            assert_eq!((ran.code, ran.stderr.as_str()), (Some(code), ""), "{name} {format}");
        }
        assert_eq!(json(&[], &path)["verdict"], verdict, "{name}");
        let text = String::from_utf8(check(&[], &path).stdout).unwrap();
        assert_eq!(text.lines().nth(1), Some(format!("verdict: {verdict}").as_str()), "{name}");
    }
}

#[test]
fn what_cannot_be_checked_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().join("notes.txt");
    fs::write(&text, "nothing of the kind").unwrap();
    for format in ["text", "json", "jsonl"] {
        let refused = |path: &Path, reason: &str| {
            let ran = check(&["--format", format], path);
            check_refusal(ran, path.to_str().unwrap(), reason, format != "text");
        };
        refused(Path::new("missing.qcow2"), "No such file or directory");
        refused(&text, "not a qcow2 image: it looks like text");
    }
}

#[test]
fn fail_on_makes_less_severe_findings_fail() {
    let folder = tempfile::tempdir().unwrap();
    let leaks = damaged(folder.path(), "R06", "");
    let with_warning = corpus("valid/v3-aes");
    let with_note = corpus("valid/v3-lazy-refcounts");
    let clean = corpus("valid/v3-basic");
    for (path, warning, note) in [(&with_warning, 2, 2), (&with_note, 0, 2), (&clean, 0, 0), (&leaks, 3, 3)] {
        let codes = ["warning", "note"].map(|least| check(&["--fail-on", least], path).code);
        assert_eq!(codes, [Some(warning), Some(note)], "{}", path.display());
    }
    let wrong = check(&["--fail-on", "leak"], &clean);
    assert_eq!((wrong.code, wrong.stdout.len()), (Some(1), 0));
}

#[test]
fn a_check_that_is_cut_is_incomplete() {
    let path = corpus("valid/v3-zlib");
    for limit in ["decoded_bytes=2048", "decoded_cluster_len=512", "compressed_clusters=2"] {
        let report = json(&["--deep", "--limit", limit], &path);
        assert_eq!((&report["verdict"], &report["complete"]), (&"incomplete".into(), &false.into()));
        let [finding] = findings(&report, "T01")[..] else { panic!("{report}") };
        assert_eq!(finding["evidence"]["found"], format!("{} spent", limit.replace('=', " ")));
        assert_eq!(check(&["--deep", "--limit", limit], &path).code, Some(1));
    }
}

/// A table that is overwritten is one finding, and with `--all` as many as it has entries.
#[test]
fn all_lists_each_breach() {
    let folder = tempfile::tempdir().unwrap();
    let mut draft = Draft::new(image("valid/v3-basic"));
    let count = 120_u64;
    (0..count).for_each(|n| draft.put_u64(draft.l2_entry(n), 1 << 61));
    let path = folder.path().join("overwritten.qcow2");
    fs::write(&path, draft.bytes).unwrap();
    let (some, all) = (json(&[], &path), json(&["--all"], &path));
    let [one] = findings(&some, "L05")[..] else { panic!("{some}") };
    assert_eq!(one["consequences"], count);
    assert_eq!(findings(&all, "L05").len(), usize::try_from(count).unwrap());
    assert_eq!(some["rules"], all["rules"]);
    assert_eq!(some["losses"], all["losses"]);

    let few = ["--all", "--limit", "findings_per_rule=1"];
    let report = json(&few, &path);
    let [first, further] = findings(&report, "L05")[..] else { panic!("{report}") };
    assert_eq!(
        (first["consequences"].as_u64(), further["consequences"].as_u64()),
        (Some(1), Some(count - 1))
    );
    assert_eq!(further["evidence"]["found"], "119 more, not listed one by one");
    let lines = check(&[&few[..], &["--format", "jsonl"]].concat(), &path).stdout;
    let lines = String::from_utf8(lines).unwrap();
    let listed = lines.lines().filter(|line| line.contains("\"L05\"") && line.contains("\"finding\""));
    assert_eq!(listed.count(), usize::try_from(count).unwrap());
}

#[test]
fn as_qemu_adds_what_qemu_img_would_answer() {
    let path = corpus("damaged/O02-data-over-metadata");
    assert_eq!(json(&[], &path).get("qemu"), None);
    let answer = &json(&["--as-qemu"], &path)["qemu"];
    assert_eq!((&answer["exit_code"], &answer["corruptions"]), (&0.into(), &0.into()));
    let text = String::from_utf8(check(&["--as-qemu"], &path).stdout).unwrap();
    assert!(
        text.ends_with("qemu-img check would exit with 0: 0 corruptions, 0 leaks, 0 check errors\n"),
        "{text}"
    );
    let without = String::from_utf8(check(&[], &path).stdout).unwrap();
    assert!(!without.contains("qemu-img"), "{without}");
}

/// An L2 table of which the end of the file cuts off the second half.
#[test]
fn only_what_a_cut_table_has_lost_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let mut draft = Draft::new(image("valid/v3-512"));
    let table = draft.get(draft.l1_entry(1), 8) & 0x00ff_ffff_ffff_fe00;
    let moved = draft.add_clusters(1);
    (0..512).step_by(8).for_each(|n| draft.put_u64(moved + n, draft.get(table + n, 8)));
    draft.put_u64(draft.l1_entry(1), moved | 1 << 63);
    draft.bytes.truncate(draft.bytes.len() - 256);
    let path = folder.path().join("cut.qcow2");
    fs::write(&path, draft.bytes).unwrap();
    let report = json(&[], &path);
    let [finding] = findings(&report, "L03")[..] else { panic!("{report}") };
    let (lost, hit) = (&report["losses"][0]["lost"], &finding["guest"][0]);
    assert_eq!(*hit, serde_json::json!({"tree": "active", "start": 64 * 512 + 32 * 512, "length": 32 * 512}));
    assert_eq!(*lost, serde_json::json!([{"start": hit["start"], "length": hit["length"]}]), "{report}");
}

/// Two guest clusters in one host cluster, whose refcount knows of one: a write to either changes both.
#[test]
fn shared_data_that_no_refcount_covers_is_doubtful() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shared.qcow2");
    let mut draft = Draft::new(image("valid/v3-512"));
    let table = draft.get(draft.l1_entry(0), 8) & 0x00ff_ffff_ffff_fe00;
    let doubtful = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        json(&[], &path)["losses"][0]["doubtful"].clone()
    };
    (0..512).step_by(8).for_each(|n| draft.put_u64(table + n, 0));
    let host = draft.add_clusters(1);
    let block = draft.get(draft.header(field::REFCOUNT_TABLE_OFFSET), 8);
    draft.put(block + host / 512 * 2, &[0, 2]);
    [3, 7].iter().for_each(|n| draft.put_u64(table + n * 8, host));
    assert_eq!(doubtful(&draft.bytes), Value::Null, "a refcount of 2 makes QEMU copy first");
    draft.put(block + host / 512 * 2, &[0, 1]);
    let (third, seventh) = ((3 * 512, 512), (7 * 512, 512));
    let wanted =
        [third, seventh].map(|(start, length)| serde_json::json!({"start": start, "length": length}));
    assert_eq!(doubtful(&draft.bytes), Value::from(wanted.to_vec()));
}

#[test]
fn what_is_excused_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("dirty.qcow2");
    let mut draft = Draft::new(image("valid/v3-512"));
    let block = draft.get(draft.header(field::REFCOUNT_TABLE_OFFSET), 8);
    draft.put(block, &[0; 4]);
    fs::write(&path, &draft.bytes).unwrap();
    assert_eq!(
        (json(&[], &path)["verdict"].as_str(), json(&[], &path).get("excused")),
        (Some("corrupt"), None)
    );
    draft.set_header(field::INCOMPATIBLE_FEATURES, draft.header(field::INCOMPATIBLE_FEATURES) | 1);
    fs::write(&path, &draft.bytes).unwrap();
    let report = json(&[], &path);
    let excused = report["excused"].as_u64().unwrap();
    assert!(excused >= 2 && report["corruptions"] == 0, "{report}");
    assert_eq!(report["verdict"], "not-closed");
    let line = format!("\nnot closed: {excused} refcount faults are notes for that (H19, R11)");
    let ran = check(&[], &path);
    let text = String::from_utf8(ran.stdout).unwrap();
    assert!(
        ran.code == Some(3) && text.contains(&line) && text.contains("\nverdict: not-closed\n"),
        "{text}"
    );

    // QEMU opens no image for writing that calls itself corrupt, and so mends nothing there.
    draft.set_header(field::INCOMPATIBLE_FEATURES, draft.header(field::INCOMPATIBLE_FEATURES) | 2);
    fs::write(&path, &draft.bytes).unwrap();
    let report = json(&[], &path);
    assert_eq!((report["verdict"].as_str(), report.get("excused")), (Some("corrupt"), None));

    // The bit alone is no fault.
    let mut closed = Draft::new(image("valid/v3-512"));
    closed.set_header(field::INCOMPATIBLE_FEATURES, closed.header(field::INCOMPATIBLE_FEATURES) | 1);
    fs::write(&path, &closed.bytes).unwrap();
    let report = json(&[], &path);
    assert_eq!((report["verdict"].as_str(), findings(&report, "H19").len()), (Some("clean"), 1));
}

/// A check that was cut does not know what QEMU's would find.
#[test]
fn nothing_is_said_for_qemu_where_something_was_not_looked_at() {
    let path = corpus("damaged/L27-data-cluster-shared-in-tree");
    let report = json(&["--as-qemu", "--limit=l2_tables=0"], &path);
    assert_eq!((&report["complete"], &report["qemu"]), (&false.into(), &Value::Null));
    assert_eq!(json(&["--as-qemu"], &path)["qemu"]["exit_code"], 0);
    let text = check(&["--as-qemu", "--limit=l2_tables=0"], &path).stdout;
    assert!(String::from_utf8(text).unwrap().contains("\nwhat qemu-img check would say is unknown"));
}

#[test]
fn deep_finds_streams_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    for variant in ["zlib-short", "zlib-damaged", "zstd-long", "zstd-cut"] {
        let path = damaged(folder.path(), "L15", variant);
        assert_eq!((check(&[], &path).code, check(&["--deep"], &path).code), (Some(0), Some(2)), "{variant}");
        let (without, report) = (json(&["--as-qemu"], &path), json(&["--as-qemu", "--deep"], &path));
        assert_eq!(without.get("decompressed_clusters"), None);
        assert_eq!((&report["decompressed_clusters"], &report["complete"]), (&12.into(), &true.into()));
        let [finding] = findings(&report, "L15")[..] else { panic!("{report}") };
        assert_eq!((&finding["severity"], &finding["structure"]), (&"corruption".into(), &"l2-table".into()));
        assert_eq!(finding["guest"][0]["length"], 1024);
        assert_eq!(report["losses"][0]["lost_bytes"], 1024);
        // QEMU's own check decompresses nothing.
        assert_eq!(report["qemu"], without["qemu"]);
        assert_eq!(report["qemu"]["exit_code"], 0);
    }
    let sound = check(&["--deep"], &corpus("valid/v3-zstd")).report();
    assert!(sound.contains("\ndecompressed: 12 compressed clusters of all trees\n"), "{sound}");
    let empty = json(&["--deep"], &corpus("valid/v3-basic"));
    assert_eq!(empty["decompressed_clusters"], 0);
}

#[test]
fn json_lines_stream_what_json_says() {
    for (name, options) in
        [("damaged/L28-l2-table-over-metadata", ["--as-qemu"]), ("valid/v3-zlib", ["--deep"])]
    {
        let path = corpus(name);
        let whole = json(&options, &path);
        let lines = check(&[&options[..], &["--format=jsonl"]].concat(), &path).stdout;
        let mut lines: Vec<Value> =
            serde_json::Deserializer::from_slice(&lines).into_iter().map(Result::unwrap).collect();
        let (first, mut last) = (lines.remove(0), lines.pop().unwrap());
        assert_eq!((&first["type"], &first["schema"]), (&"file".into(), &whole["schema"]));
        assert_eq!(first["file"], whole["file"]);
        let found: Vec<_> = lines
            .into_iter()
            .map(|mut line| {
                assert_eq!(line.as_object_mut().unwrap().remove("type"), Some("finding".into()));
                line
            })
            .collect();
        let wanted: Vec<_> = whole["findings"].as_array().unwrap().clone();
        assert_eq!(found.len(), wanted.len());
        assert!(wanted.iter().all(|finding| found.contains(finding)), "{name}");
        assert_eq!(last.as_object_mut().unwrap().remove("type"), Some("summary".into()));
        for (key, value) in last.as_object().unwrap() {
            assert_eq!(&whole[key], value, "{name} {key}");
        }
    }
}

#[test]
fn progress_is_told_on_stderr_alone() {
    let path = corpus("valid/v3-zlib");
    let plain = check(&["--deep"], &path);
    let told = check(&["--deep", "--progress=json"], &path);
    assert_eq!((told.code, &told.stdout), (plain.code, &plain.stdout));
    assert_eq!(plain.stderr, "");
    assert!(!told.stderr.is_empty());
    for line in told.stderr.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        assert_eq!(line["type"], "progress");
        assert!(line["stage"].is_string() && line["done"].as_u64() <= line["of"].as_u64(), "{line}");
    }
    assert_eq!(check(&["--progress=none"], &path).stderr, "");
}

/// Makes an image whose check reads 256 GiB of holes.
fn write_endless(path: &Path) {
    let mut bytes = image("valid/v3-size-0");
    let (cluster_bits, tables) = (21, 131_072_u64);
    bytes[20..24].copy_from_slice(&u32::to_be_bytes(cluster_bits));
    bytes[24..32].copy_from_slice(&(1_u64 << 50).to_be_bytes());
    bytes[36..40].copy_from_slice(&u32::try_from(tables).unwrap().to_be_bytes());
    bytes[40..48].copy_from_slice(&(1_u64 << cluster_bits).to_be_bytes());
    bytes[48..56].copy_from_slice(&(2_u64 << cluster_bits).to_be_bytes());
    bytes.resize(1 << cluster_bits, 0);
    bytes.extend((0..tables).flat_map(|n| ((4 + n) << cluster_bits | 1 << 63).to_be_bytes()));
    fs::write(path, bytes).unwrap();
    File::options().write(true).open(path).unwrap().set_len((4 + tables) << cluster_bits).unwrap();
}

#[cfg(unix)]
#[test]
fn an_interrupt_ends_it_at_once() {
    use std::os::unix::process::ExitStatusExt;
    if is_ignored(2) {
        return skipped("an_interrupt_ends_it_at_once", "SIGINT is ignored here");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("endless.qcow2");
    write_endless(&path);
    let before = fs::metadata(&path).unwrap().modified().unwrap();
    let arguments = ["check", "--deep", "--progress=json", "--format=jsonl", path.to_str().unwrap()];
    let mut child = command(&arguments)
        .current_dir(folder.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // It is at work.
    let mut line = String::new();
    BufReader::new(child.stderr.take().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("\"stage\":\"L2 tables\""), "{line}");
    let sent = command_of_shell(&format!("kill -INT {}", child.id()));
    assert!(sent.success());
    let start = Instant::now();
    let status = child.wait().unwrap();
    assert_eq!(status.signal(), Some(2), "{status}");
    // What is left of the work takes minutes.
    assert!(start.elapsed() < Duration::from_secs(30), "{:?}", start.elapsed());
    let left: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(left, ["endless.qcow2"]);
    assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), before);
}

#[cfg(unix)]
fn command_of_shell(line: &str) -> std::process::ExitStatus {
    std::process::Command::new("sh").args(["-c", line]).status().unwrap()
}
