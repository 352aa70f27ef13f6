//! `--limit`: a limit that is reached is named, and nothing is called clean or complete.

use qcow2_inspect::{Limit, Limits};

use crate::process::{corpus, run};

fn with(command: &str, limit: &str) -> (Option<i32>, String, String) {
    let image = corpus("valid/v3-snapshots");
    let ran = run(&[command, "--limit", limit, image.to_str().unwrap()]);
    (ran.code, String::from_utf8(ran.stdout).unwrap(), ran.stderr)
}

#[test]
fn a_limit_that_is_reached_is_named() {
    for (command, limit) in
        [("check", "reads=6"), ("check", "read_bytes=2000"), ("dump", "reads=6"), ("info", "snapshots=1")]
    {
        let (code, out, err) = with(command, limit);
        let (name, value) = limit.split_once('=').unwrap();
        assert_eq!((code, err.as_str()), (Some(1), ""), "{command} {limit}: {out}");
        assert!(
            out.contains("T01") && out.contains(&format!("{name} {value} spent")),
            "{command} {limit}: {out}"
        );
        assert!(!out.contains("clean"), "{out}");
    }
}

/// A limit on the whole run ends it wherever it stands, and each further table would say so again.
#[test]
fn a_limit_on_the_whole_run_is_told_once() {
    for command in ["check", "dump", "info"] {
        for reads in 5..40 {
            let (_, out, _) = with(command, &format!("reads={reads}"));
            let told = out.matches("T01 ").count();
            assert!(told <= 1, "{command}, {reads} reads: {out}");
        }
    }
}

#[test]
fn what_ends_the_list_of_snapshots_is_told_once() {
    for call in [&["check"][..], &["dump"], &["dump", "--only", "l1,l2"], &["info"]] {
        let image = corpus("valid/v3-snapshots");
        let ran = run(&[call, &["--limit", "snapshots=1", image.to_str().unwrap()]].concat());
        let out = String::from_utf8(ran.stdout).unwrap();
        assert_eq!(out.matches("T01 ").count(), 1, "{call:?}: {out}");
    }
}

#[test]
fn memory_is_shared_out_among_the_limits() {
    let (code, out, _) = with("check", "memory=1G");
    assert_eq!(code, Some(0), "{out}");
    let (code, out, _) = with("check", "memory=1M");
    assert_eq!(code, Some(1), "{out}");
    assert!(out.contains("l2_tables 0 spent") && out.contains("verdict: incomplete"), "{out}");
}

#[test]
fn bitmaps_behind_a_limit_are_not_taken_for_none() {
    let image = corpus("crashes/limit-before-the-bitmaps-extension");
    for call in [&["dump", "--only", "bitmaps"][..], &["info"], &["bitmap"]] {
        let ran = run(&[call, &["--limit", "extension_area_len=16", image.to_str().unwrap()]].concat());
        let told = [String::from_utf8(ran.stdout).unwrap(), ran.stderr].concat();
        assert_eq!(ran.code, Some(1), "{call:?}: {told}");
        assert!(told.contains("extension_area_len"), "{call:?}: {told}");
    }
}

#[test]
fn time_is_a_limit_too() {
    let (code, _, err) = with("check", "seconds=0");
    assert_eq!(code, Some(1));
    assert!(err.contains("the limit seconds of 0 is spent"), "{err}");
}

#[test]
fn output_ends_at_its_limit() {
    let (code, out, err) = with("dump", "output_bytes=1000");
    assert_eq!((code, out.len()), (Some(1), 1000));
    assert_eq!(err, "qcow2-inspect: cannot write the report: the limit output_bytes of 1000 is spent\n");
}

#[test]
fn what_is_no_limit_is_refused() {
    for (limit, why) in
        [("speed=1", "no such limit"), ("reads", "wanted NAME=NUMBER"), ("reads=many", "invalid digit")]
    {
        let (code, out, err) = with("info", limit);
        assert_eq!((code, out.as_str()), (Some(1), ""), "{limit}");
        assert!(err.contains(why), "{err}");
    }
}

/// It needs no image, and is no mistake.
#[test]
fn the_limits_are_listed() {
    for call in
        [&["info", "--limit", "help"][..], &["scan", "--limit=help"], &["check", "x", "--limit", "help"]]
    {
        let list = run(call).report();
        assert!(list.contains("  read_bytes=1099511627776: Bytes read from the file in all.\n"), "{list}");
        assert!(list.contains("  snapshots=65536: Snapshot table entries; QEMU's own limit.\n"), "{list}");
        assert!(
            list.contains(&format!("  memory={}: Bytes of memory in all", Limits::DEFAULT.memory())),
            "{list}"
        );
        let mut lines = list.lines().skip(1);
        assert_eq!(lines.clone().count(), Limit::ALL.len() + 1);
        assert!(lines.all(|line| line.ends_with('.') && !line.ends_with("..")), "{list}");
    }
}
