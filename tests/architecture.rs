//! Holds the direction of the rooms in src/, their size, and what the top level of the repository may hold.
//!
//! Each room may import what stands below it, never what stands above. Every violation is listed, with file and line.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "a test may stop at what it does not expect"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// The rooms from the ground up. Those on one floor do not import one another, except on the ground floor.
const FLOORS: [&[&str]; 13] = [
    &["units", "limits", "error", "text"],
    &["format"],
    &["parse", "source", "finding"],
    &["image"],
    &["rules"],
    &["guest"],
    &["check"],
    &["audit"],
    &["report"],
    &["testkit"],
    &["sandbox"],
    &["cli"],
    &["main"],
];

/// A file with more lines than this before its unit tests is two rooms in one.
const MAX_LINES: usize = 400;

/// Types of the libraries that read for us: whoever uses the crate must not depend on which these are.
const OUR_OWN_AFFAIR: [&str; 5] = ["BinRead", "BinWrite", "ReadEndian", "WriteEndian", "IResult"];

const TOP_LEVEL: [&str; 19] = [
    ".cargo",
    ".ci",
    ".gitattributes",
    ".gitignore",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "LICENSE-APACHE",
    "LICENSE-MIT",
    "Makefile",
    "README.md",
    "benches",
    "clippy.toml",
    "corpus",
    "deny.toml",
    "fuzz",
    "rustfmt.toml",
    "src",
    "tests",
];

#[test]
fn rooms_import_only_what_is_below_them() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    rust_files(&src, &mut files);
    files.sort();
    assert!(files.len() > 10, "only {} files found under {}", files.len(), src.display());

    let roots = reexports(&fs::read_to_string(src.join("lib.rs")).unwrap());
    let mut violations = Vec::new();
    for file in &files {
        let name = file.strip_prefix(&src).unwrap().to_str().unwrap().replace('\\', "/");
        violations.extend(judge(&name, &fs::read_to_string(file).unwrap(), &roots));
    }
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

#[test]
fn the_top_level_holds_only_what_was_agreed() {
    let listing = Command::new("git")
        .args(["ls-files", "--cached", "--others", "--exclude-standard"])
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .output();
    // Outside a checkout, as in a packaged crate, there is nothing to hold.
    let Some(listing) = listing.ok().filter(|listing| listing.status.success()) else { return };
    let listing = String::from_utf8(listing.stdout).unwrap();
    let stray = strays(&listing);
    assert!(stray.is_empty(), "not agreed on the top level: {}", stray.join(", "));
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn strays(listing: &str) -> Vec<&str> {
    let mut entries: Vec<_> = listing.lines().filter_map(|path| path.split('/').next()).collect();
    entries.sort_unstable();
    entries.dedup();
    entries.retain(|entry| !TOP_LEVEL.contains(entry));
    entries
}

/// Everything that is wrong with one file of src/, as `src/file.rs:line: what`.
fn judge(name: &str, text: &str, roots: &BTreeMap<String, String>) -> Vec<String> {
    let code = blank(text);
    let tests_at = tests_at(name, &code);
    let mut found: Vec<(usize, String)> = Vec::new();

    for at in words(&code, "unsafe") {
        found.push((at, "`unsafe`".into()));
    }
    // The parsers are nobody else's: lib.rs does not make them public.
    for (at, signature) in signatures(&code[..tests_at]).filter(|_| !name.starts_with("parse/")) {
        let told = OUR_OWN_AFFAIR.iter().filter(|word| words(signature, word).next().is_some());
        found.extend(told.map(|word| (at, format!("`{word}` in what is public"))));
    }
    let lines = code[..tests_at].lines().count();
    if lines > MAX_LINES {
        found.push((0, format!("{lines} lines before the unit tests, over {MAX_LINES}: two rooms in one?")));
    }

    let room = name.split('/').next().unwrap().trim_end_matches(".rs");
    if room != "lib" {
        if floor(room).is_none() {
            found.push((0, format!("the room `{room}` has no floor; give it one in tests/architecture.rs")));
        }
        for (at, path) in imports(name, &code) {
            let to = roots.get(path).map_or(path, String::as_str);
            if let Some(wrong) = wrong_way(room, to, at >= tests_at) {
                found.push((at, wrong));
            }
        }
    }

    found.sort();
    let line = |at: usize| code[..at].matches('\n').count() + 1;
    found.into_iter().map(|(at, what)| format!("src/{name}:{}: {what}", line(at))).collect()
}

/// Why the room `from` may not import `to`, if so.
fn wrong_way(from: &str, to: &str, in_tests: bool) -> Option<String> {
    let Some(above) = floor(to) else {
        return Some(format!("`{to}` is neither a room nor re-exported by lib.rs from one"));
    };
    let below = floor(from)?;
    if from == to || above == 0 && below == 0 {
        None
    } else if to == "testkit" {
        (!in_tests).then(|| format!("`{from}` imports `testkit`, which only testkit and tests may"))
    } else if above == below {
        Some(format!("`{from}` imports `{to}`, which stands beside it"))
    } else {
        (above > below).then(|| format!("`{from}` imports `{to}`, which stands above it"))
    }
}

fn floor(room: &str) -> Option<usize> {
    FLOORS.iter().position(|rooms| rooms.contains(&room))
}

/// The names that lib.rs makes available as `crate::Name`, and the rooms they come from.
fn reexports(lib: &str) -> BTreeMap<String, String> {
    let code = blank(lib);
    let mut roots = BTreeMap::new();
    for statement in code.split("pub use ").skip(1).filter_map(|rest| rest.split(';').next()) {
        let Some((room, names)) = statement.split_once("::") else { continue };
        for name in names.split(|c: char| !is_word(c)).filter(|name| !name.is_empty()) {
            roots.insert(name.to_owned(), room.to_owned());
        }
    }
    roots
}

/// The first names behind every `crate::` (in main.rs, behind `qcow2_inspect::`), with their places; and behind
/// every chain of `super::` that climbs to the root.
fn imports<'a>(name: &str, code: &'a str) -> Vec<(usize, &'a str)> {
    let mut found = Vec::new();
    for root in ["crate", "qcow2_inspect"] {
        for at in words(code, root) {
            if let Some(rest) = code[at + root.len()..].strip_prefix("::") {
                found.extend(first_names(rest).into_iter().map(|path| (at, path)));
            }
        }
    }
    // src/units.rs and src/parse/mod.rs are one step below the root, src/parse/kit.rs is two.
    let depth = name.trim_end_matches("/mod.rs").split('/').count();
    for at in words(code, "super") {
        if code[..at].ends_with("super::") {
            continue;
        }
        let mut rest = &code[at..];
        let mut steps = 0;
        while let Some(up) = rest.strip_prefix("super::") {
            rest = up;
            steps += 1;
        }
        if steps >= depth + inline_modules_around(code, at) {
            found.extend(first_names(rest).into_iter().map(|path| (at, path)));
        }
    }
    found
}

/// How many `mod … { … }` of the file itself the place lies in.
fn inline_modules_around(code: &str, place: usize) -> usize {
    let encloses = |at: &usize| {
        let Some(open) = code[*at..].find(['{', ';']).map(|open| at + open) else { return false };
        if code[open..].starts_with(';') || place < open {
            return false;
        }
        let mut depth = 0;
        for c in code[open..place].chars() {
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return false;
            }
        }
        true
    };
    words(code, "mod").filter(encloses).count()
}

/// `a` of `a::b`; `a` and `c` of `{a::{b}, c}`.
fn first_names(path: &str) -> Vec<&str> {
    let Some(group) = path.strip_prefix('{') else { return vec![first_word(path)] };
    let mut names = Vec::new();
    let (mut depth, mut start) = (0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' | ',' if depth == 0 => {
                names.push(first_word(group[start..at].trim_start()));
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            '}' => depth -= 1,
            _ => {}
        }
    }
    names.retain(|name| !name.is_empty() && *name != "self");
    names
}

fn first_word(text: &str) -> &str {
    match text.find(|c| !is_word(c)) {
        Some(0) if text.starts_with('*') => "*",
        Some(end) => &text[..end],
        None => text,
    }
}

/// Where `word` stands in `code` as a whole word.
fn words<'a>(code: &'a str, word: &'a str) -> impl Iterator<Item = usize> + 'a {
    code.match_indices(word)
        .map(|(at, _)| at)
        .filter(move |&at| !code[..at].ends_with(is_word) && !code[at + word.len()..].starts_with(is_word))
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// What is public, each up to its body, with its place.
fn signatures(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let items = ["const", "enum", "fn", "static", "struct", "trait", "type", "use"];
    let is_item = move |at: &usize| items.contains(&first_word(code[at + 3..].trim_start()));
    words(code, "pub").filter(is_item).map(|at| {
        let end = code[at..].find(['{', ';']).map_or(code.len(), |end| at + end);
        (at, &code[at..end])
    })
}

/// Where the unit tests begin: at `#[cfg(test)] mod … {` at the left margin, or at once in a file of tests alone.
fn tests_at(name: &str, code: &str) -> usize {
    let file = name.rsplit('/').next().unwrap_or_default();
    if file == "tests.rs" || file.starts_with("testing_") {
        return 0;
    }
    let begins = |at: &usize| {
        let mut lines = code[at + 1..].lines();
        let is_for_tests = lines.next().is_some_and(|line| words(line, "test").next().is_some());
        let module = lines.find(|line| !line.starts_with("#["));
        is_for_tests && module.is_some_and(|line| line.starts_with("mod ") && line.ends_with('{'))
    };
    code.match_indices("\n#[cfg(").map(|(at, _)| at).find(begins).map_or(code.len(), |at| at + 1)
}

/// The text with its comments and literals blanked out. Lines and offsets stay.
fn blank(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let len = literal_or_comment(rest, out.ends_with(is_word));
        if len == 0 {
            out.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            out.extend(rest[..len].bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
            rest = &rest[len..];
        }
    }
    out
}

/// The length of the literal or comment that `rest` begins with, 0 if it begins with neither.
fn literal_or_comment(rest: &str, in_word: bool) -> usize {
    let until =
        |from: usize, end: &str| rest[from..].find(end).map_or(rest.len(), |at| from + at + end.len());
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        let mut depth = 0;
        for at in 0..rest.len() {
            match rest.as_bytes()[at..] {
                [b'/', b'*', ..] => depth += 1,
                [b'*', b'/', ..] => depth -= 1,
                _ => {}
            }
            if depth == 0 {
                return at + 2;
            }
        }
        return rest.len();
    }
    if !in_word {
        let raw = rest.trim_start_matches('b').strip_prefix('r').unwrap_or_default();
        let hashes = raw.len() - raw.trim_start_matches('#').len();
        if raw[hashes..].starts_with('"') {
            let open = rest.len() - raw.len() + hashes + 1;
            return until(open, &format!("\"{}", "#".repeat(hashes)));
        }
    }
    if rest.starts_with('"') {
        return closing(rest, '"');
    }
    // A lifetime is no literal: 'a' is, 'a is not.
    if rest.starts_with("'\\") || rest.starts_with('\'') && rest.chars().nth(2) == Some('\'') {
        return closing(rest, '\'');
    }
    0
}

/// The length of the quoted literal that `rest` begins with.
fn closing(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            _ if c == quote => return at + 1,
            _ => {}
        }
    }
    rest.len()
}

// The judge itself is judged: each planted fault is seen, and what only looks like one is not.

#[test]
fn planted_faults_are_seen() {
    let roots = reexports("pub use error::Error;\npub use image::{Image, Walk};\n");
    let faults = [
        (
            "format/header.rs",
            "use crate::image::Image;",
            "src/format/header.rs:1: `format` imports `image`, which stands above it",
        ),
        (
            "parse/kit.rs",
            "\nuse crate::{units::Span, finding::{Rule}};",
            "src/parse/kit.rs:2: `parse` imports `finding`, which stands beside it",
        ),
        (
            "parse/kit.rs",
            "fn f(image: crate::Image) {}",
            "src/parse/kit.rs:1: `parse` imports `image`, which stands above it",
        ),
        (
            "units.rs",
            "use super::format::Entry;",
            "src/units.rs:1: `units` imports `format`, which stands above it",
        ),
        (
            "source/metered.rs",
            "use super::super::cli;",
            "src/source/metered.rs:1: `source` imports `cli`, which stands above it",
        ),
        (
            "report/json.rs",
            "use crate::sandbox;",
            "src/report/json.rs:1: `report` imports `sandbox`, which stands above it",
        ),
        (
            "cli/dump.rs",
            "use crate::testkit;",
            "src/cli/dump.rs:1: `cli` imports `testkit`, which only testkit and tests may",
        ),
        (
            "testkit/mod.rs",
            "use crate::cli;",
            "src/testkit/mod.rs:1: `testkit` imports `cli`, which stands above it",
        ),
        (
            "check/mod.rs",
            "use crate::*;",
            "src/check/mod.rs:1: `*` is neither a room nor re-exported by lib.rs from one",
        ),
        (
            "main.rs",
            "use qcow2_inspect::testkit;",
            "src/main.rs:1: `main` imports `testkit`, which only testkit and tests may",
        ),
        (
            "attic/mod.rs",
            "",
            "src/attic/mod.rs:1: the room `attic` has no floor; give it one in tests/architecture.rs",
        ),
        ("image/mod.rs", "let a = '\"';\nunsafe {}", "src/image/mod.rs:2: `unsafe`"),
        (
            "format/mod.rs",
            "pub trait Layout: Sized\n    + BinRead\n{}",
            "src/format/mod.rs:1: `BinRead` in what is public",
        ),
    ];
    for (name, text, wanted) in faults {
        assert_eq!(judge(name, text, &roots), [wanted], "{name}: {text}");
    }
    assert_eq!(judge("units.rs", &"\n".repeat(MAX_LINES + 1), &roots).len(), 1);
    assert_eq!(strays("src/lib.rs\nnotes.txt\ntests/a.rs\ndocs/a.md\ndocs/b.md\n"), ["docs", "notes.txt"]);
}

#[test]
fn sound_code_is_left_alone() {
    let roots = reexports("pub use error::Error;\n");
    let sound = [
        (
            "image/mod.rs",
            "use crate::{Error, parse::kit, finding::Rule, source::{Metered, ReadAt}, units::*};",
        ),
        (
            "parse/kit.rs",
            "//! See [`crate::cli`]\n/* crate::cli /* nested */ */ let a = \"crate::cli\\\" unsafe\";",
        ),
        (
            "parse/kit.rs",
            "const A: &str = r#\"crate::cli \" unsafe\"#; fn f<'a>(a: &'a str) {} use super::list;",
        ),
        (
            "parse/kit.rs",
            "pub(crate) fn unsafe_looking() {}\n#[cfg(test)]\nmod tests {\n    use super::*;\n    use crate::testkit::Draft;\n}\n",
        ),
        ("rules/tests.rs", "use super::*;\nuse crate::testkit;"),
        ("units.rs", "use crate::limits::Limits;"),
        ("cli/dump.rs", "use crate::{report, sandbox};"),
        ("rules/mod.rs", "mod header;\npub mod codes {\n    pub use super::header::*;\n}\n"),
        ("main.rs", "use qcow2_inspect::cli;"),
        ("format/mod.rs", "#[derive(BinRead)]\npub struct A {}\npub(crate) fn f() -> IResult<A> {}"),
        ("lib.rs", "pub mod testkit;"),
    ];
    for (name, text) in sound {
        assert_eq!(judge(name, text, &roots), [""; 0], "{name}: {text}");
    }
    let tests = format!("\n#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(MAX_LINES));
    assert_eq!(judge("units.rs", &tests, &roots), [""; 0]);
}
