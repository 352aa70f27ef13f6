//! What each option changes, and that it changes nothing else.

use std::fs;

use crate::process::{command, corpus, image, refuses, run, skipped};

const SECTIONS: [&str; 8] = ["header", "extensions", "luks", "refcounts", "snapshots", "l1", "l2", "bitmaps"];

/// Bytes of the offset column, of the column of marks, and of both.
const OFFSET: usize = 18;
const MARK: usize = 2;

fn dump(name: &str, options: &[&str]) -> String {
    let path = corpus(name);
    run(&[&["dump", path.to_str().unwrap()], options].concat()).report()
}

/// The sections of a dump by the lines that begin them.
fn sections(dump: &str) -> Vec<&str> {
    let names = dump.lines().filter_map(|line| line.split(':').next());
    names.filter(|name| SECTIONS.contains(name)).collect()
}

#[test]
fn only_and_hide_choose_sections() {
    let image = "valid/v3-bitmaps";
    assert_eq!(sections(&dump(image, &[])), SECTIONS);
    for section in SECTIONS {
        let others: Vec<_> = SECTIONS.into_iter().filter(|other| *other != section).collect();
        let only = dump(image, &["--only", section]);
        let hide = dump(image, &["--hide", section]);
        assert_eq!((sections(&only), sections(&hide)), (vec![section], others.clone()));
        assert_eq!(dump(image, &["--only", &others.join(",")]), hide);
        assert_eq!(dump(image, &["--hide", &others.join(",")]), only);
        // What is left out is left out of JSON as well, and what is shown is shown the same.
        let path = corpus(image);
        let json = run(&["dump", "--format=json", "--only", section, path.to_str().unwrap()]).json();
        let keys: Vec<_> = json.as_object().unwrap().keys().map(String::as_str).collect();
        let mut wanted = vec!["schema", "file", section, "complete", "findings"];
        wanted.sort_unstable();
        assert_eq!(keys, wanted);
    }
    let twice = dump(image, &["--only", "l1", "--only", "header"]);
    assert_eq!(sections(&twice), ["header", "l1"]);
}

#[test]
fn columns_are_left_out_one_by_one() {
    let all = dump("damaged/B12-bitmap-name-malformed-nul", &[]);
    let without = |cut: fn(&str) -> String| -> Vec<String> {
        let is_row = |line: &str| line.get(16..OFFSET) == Some(": ");
        all.lines().map(|line| if is_row(line) { cut(line) } else { line.to_owned() }).collect()
    };
    let lines = |options: &[&str]| -> Vec<String> {
        dump("damaged/B12-bitmap-name-malformed-nul", options).lines().map(str::to_owned).collect()
    };
    assert_eq!(lines(&["--no-offset"]), without(|line| line[OFFSET..].to_owned()));
    assert_eq!(lines(&["--no-valid"]), without(|line| line[..OFFSET].to_owned() + &line[OFFSET + MARK..]));
    assert_eq!(lines(&["--no-valid", "--no-offset"]), without(|line| line[OFFSET + MARK..].to_owned()));
}

#[test]
fn hex_adds_bytes_and_takes_nothing_away() {
    let image = "valid/v3-snapshots";
    let (plain, hex) = (dump(image, &[]), dump(image, &["--hex"]));
    let is_hex = |line: &&str| line.get(16..19) == Some(": |") || *line == "*";
    let rest: Vec<_> = hex.lines().filter(|line| !is_hex(line)).collect();
    assert_eq!(rest, plain.lines().collect::<Vec<_>>());
    assert!(hex.lines().any(|line| line.starts_with("0000000000000000: |514649fb 00000003 ")), "{hex}");
    assert!(hex.lines().filter(is_hex).count() > 20);
}

#[test]
fn an_image_inside_another_file_is_shown_as_by_itself() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("disk.qcow2");
    let path = path.to_str().unwrap();
    let bytes = image("valid/v3-snapshots");
    for start in [1_usize, 4096, 70_001] {
        fs::write(path, [vec![0x51; start], bytes.clone()].concat()).unwrap();
        for offset in [start.to_string(), format!("{start:#x}"), format!("0X{start:X}")] {
            let inside = run(&["dump", "--offset", &offset, path]).report();
            let alone = dump("valid/v3-snapshots", &[]);
            assert_eq!(inside.split_once('\n').unwrap().1, alone.split_once('\n').unwrap().1);
        }
        let info = run(&["info", "--format=json", "--offset", &start.to_string(), path]).json();
        assert_eq!(info["file"]["len"], bytes.len());
    }
    fs::write(path, &bytes).unwrap();
    let len = bytes.len();
    for offset in [len.to_string(), (len + 1).to_string(), u64::MAX.to_string()] {
        let ran = run(&["info", "--offset", &offset, path]);
        let wanted =
            format!("qcow2-inspect: {path}: ends at {len} bytes, so that nothing is at --offset {offset}\n");
        assert_eq!((ran.code, ran.stderr, ran.stdout), (Some(1), wanted, Vec::new()));
    }
    let ran = run(&["info", "--offset", "512", path]);
    assert_eq!(ran.stderr.lines().count(), 1);
    assert!(ran.stderr.contains("not a qcow2 image"), "{}", ran.stderr);
    fs::write(path, b"").unwrap();
    refuses(path, path, "not a qcow2 image: it looks like an empty file");
}

/// The text without what colours it.
fn colourless(text: &str) -> String {
    let mut parts = text.split("\u{1b}[");
    let first = parts.next().unwrap_or_default().to_owned();
    parts.fold(first, |text, part| text + part.split_once('m').unwrap().1)
}

#[test]
fn colours_are_for_terminals_and_who_asks() {
    for name in ["valid/v3-basic", "damaged/B12-bitmap-name-malformed-nul"] {
        let path = corpus(name);
        let path = path.to_str().unwrap();
        for command in ["dump", "info"] {
            let plain = run(&[command, path]).report();
            assert!(!plain.contains('\u{1b}'));
            assert_eq!(run(&[command, "--color=never", path]).report(), plain);
            let always = run(&[command, "--color=always", path]).report();
            assert_eq!(colourless(&always), plain);
            assert_eq!(always.contains('\u{1b}'), command == "dump" || !plain.contains("findings: none"));
            let json = run(&[command, "--color=always", "--format=json", path]).report();
            assert!(!json.contains('\u{1b}'));
        }
    }
}

/// `script` is what gives a process a terminal without any code of ours.
#[cfg(target_os = "linux")]
#[test]
fn a_terminal_has_colours_unless_no_color_is_set() {
    let program = command::<&str>(&[]).get_program().to_str().unwrap().to_owned();
    let path = corpus("valid/v3-basic");
    let line = format!("'{program}' dump '{}'", path.to_str().unwrap());
    let on_a_terminal = |no_color: Option<&str>| {
        let mut script = std::process::Command::new("script");
        script.args(["-q", "-e", "-c", &line, "/dev/null"]).env("TERM", "xterm").env_remove("NO_COLOR");
        script.env_remove("CLICOLOR").stdin(std::process::Stdio::null());
        no_color.map(|value| script.env("NO_COLOR", value));
        script.output().ok().filter(|output| output.status.success())
    };
    let Some(coloured) = on_a_terminal(None) else {
        return skipped("colours on a terminal", "there is no script(1)");
    };
    assert!(coloured.stdout.contains(&0x1b));
    assert!(!on_a_terminal(Some("1")).unwrap().stdout.contains(&0x1b));
    assert!(on_a_terminal(Some("")).unwrap().stdout.contains(&0x1b));
}

#[test]
fn every_number_is_written_the_same_way() {
    let image = corpus("valid/v3-basic");
    let image = image.to_str().unwrap();
    let options: &[(&str, &str)] = &[
        ("info", "--offset="),
        ("info", "--limit=reads="),
        ("map", "--start-offset="),
        ("read", "--max-length="),
        ("locate", "--guest="),
        ("locate", "--host="),
    ];
    let of_unix: &[(&str, &str)] =
        if cfg!(unix) { &[("scan", "--jobs="), ("scan", "--timeout=")] } else { &[] };
    for (command, option) in options.iter().chain(of_unix) {
        let call = |number: &str| run(&[command, format!("{option}{number}").as_str(), image]).stderr;
        for good in ["1", "0x1", "0X1", "1k", "1K"] {
            let stderr = call(good);
            assert!(!stderr.contains("invalid value"), "{command} {option}{good}: {stderr}");
        }
        for bad in ["+1", "0x+1", "-1", "1.5K", "0x1K", "16E", "1KiB", ""] {
            let stderr = call(bad);
            assert!(
                stderr.contains("invalid value") || stderr.contains("a value is required"),
                "{command} {option}{bad}: {stderr}"
            );
        }
    }
}
