//! The judge itself is judged: each planted fault is seen, and what only looks like one is not.

use super::{MAX_LINES, circles, judge, source, strays};

const LIB: (&str, &str) = ("lib.rs", "pub use error::Error;\npub use image::{Image, Walk};\n");

fn judged(files: &[(&str, &str)]) -> Vec<String> {
    let sources = source::read(&[files, &[LIB]].concat());
    [judge::violations(&sources), circles::violations(&sources)].concat()
}

#[test]
fn planted_faults_are_seen() {
    let faults = [
        (
            "format/header.rs",
            "use crate::image::Image;",
            "1: `format` imports `image`, which stands above it",
        ),
        (
            "parse/kit.rs",
            "\nuse crate::{units::Span, source::{ReadAt}};",
            "2: `parse` imports `source`, which stands beside it",
        ),
        (
            "parse/kit.rs",
            "fn f(image: Vec<crate::Image>) {}",
            "1: `parse` imports `image`, which stands above it",
        ),
        ("units.rs", "use super::format::Entry;", "1: `units` imports `format`, which stands above it"),
        ("source/metered.rs", "use super::super::cli;", "1: `source` imports `cli`, which stands above it"),
        (
            "source/mod.rs",
            "mod codes {\n    pub use super::super::cli::*;\n}",
            "2: `source` imports `cli`, which stands above it",
        ),
        ("report/json.rs", "use crate::sandbox;", "1: `report` imports `sandbox`, which stands above it"),
        ("check/mod.rs", "use crate::*;", "1: `*` is neither a room nor re-exported by lib.rs from one"),
        (
            "check/mod.rs",
            "f! { use crate::*; }",
            "1: `*` is neither a room nor re-exported by lib.rs from one",
        ),
        ("attic/mod.rs", "", "1: the room `attic` has no floor; give it one in tests/architecture/main.rs"),
        ("image/mod.rs", "const A: char = '\"';\nfn f() { unsafe {} }", "2: `unsafe`"),
        ("format/mod.rs", "pub trait Layout: Sized\n    + BinRead\n{}", "2: `BinRead` in what is public"),
        (
            "format/mod.rs",
            "pub trait Layout {\n    fn parse(&self) -> IResult<A> { BinRead::read() }\n}",
            "2: `IResult` in what is public",
        ),
        (
            "format/mod.rs",
            "macro_rules! layout { () => { pub fn endian() -> ReadEndian { f() } } }",
            "1: `ReadEndian` in what is public",
        ),
    ];
    for (name, text, wanted) in faults {
        assert_eq!(judged(&[(name, text)]), [format!("src/{name}:{wanted}")], "{text}");
    }
    let lines = judged(&[("units.rs", &"\n".repeat(MAX_LINES + 1))]);
    assert_eq!(lines, ["src/units.rs:1: 401 lines before the unit tests, over 400: two rooms in one?"]);

    let kit = source::read(&[("oracle/mod.rs", "use qcow2_inspect::cli;\nfn f() { unsafe {} }")]);
    assert_eq!(
        judge::violations_of_files("tests/kit/src", &kit),
        ["tests/kit/src/oracle/mod.rs:2: `unsafe`"]
    );

    let tracked = ["docs/a.md", "docs/b.md", "notes.txt", "src/lib.rs", "tests/a.rs"].map(str::to_owned);
    assert_eq!(strays(&tracked), ["docs", "notes.txt"]);
}

#[test]
fn imports_in_macros_are_seen() {
    let wanted = ["src/format/mod.rs:1: `format` imports `cli`, which stands above it"];
    for text in [
        "macro_rules! layout { ($name:ident) => { impl $crate::cli::Layout for $name {} } }",
        "macro_rules! layout { ($name:ident) => { $crate::cli::Severity::$name } }",
        "macro_rules! layout { () => { use $crate::{units::Span, cli::{self, Layout}}; } }",
        "macro_rules! layout { () => { use super::cli::*; } }",
        "macro_rules! layout { ($name:ident) => { pub mod $name { use super::super::cli::*; } } }",
        "layout! { mod name { use crate::cli::Args; } }",
        "layout! { name: crate::cli::Args, 5 }",
        "fn f() { println!(\"{}\", super::cli::f::<crate::units::Span>()) }",
        "#[br(parse_with = crate::cli::parse)]\nstruct A;",
    ] {
        assert_eq!(judged(&[("format/mod.rs", text)]), wanted, "{text}");
    }
}

#[test]
fn circles_are_seen() {
    let ab =
        |first, second| [format!("src/check: a → b → a: a circle of imports\n    {first}\n    {second}")];
    let plain = ab("src/check/a.rs:1: imports `b`", "src/check/b.rs:1: imports `a`");
    for (name, parent, a, b) in [
        ("sisters", "", "use super::b::B;", "use super::a::A;"),
        ("the root named", "", "use crate::check::b::B;", "fn f() { super::a::f() }"),
        ("a parent that passes on", "pub use b::B;", "use super::B;", "use super::{a, Other};"),
        (
            "one that passes on what it imports for itself",
            "use b::{B as C};",
            "use super::C;",
            "use super::a::A;",
        ),
        ("a chain", "use b::inner::{self};", "use super::inner::C;", "pub use super::a::A;"),
        (
            "more than the tests",
            "",
            "#[cfg(any(test, unix))] use super::b::B;",
            "#[cfg(not(test))] mod real { use super::super::a::A; }",
        ),
        ("macros", "", "f!(super::b::B);", "macro_rules! f { () => { $crate::check::a::A } }"),
    ] {
        let files = [("check/mod.rs", parent), ("check/a.rs", a), ("check/b.rs", b)];
        assert_eq!(judged(&files), plain, "{name}");
    }
    let folder = [
        ("check/a.rs", "use super::b::B;"),
        ("check/b/mod.rs", ""),
        ("check/b/c.rs", "\nuse super::super::a::A;"),
    ];
    assert_eq!(judged(&folder), ab("src/check/a.rs:1: imports `b`", "src/check/b/c.rs:2: imports `a`"));
    let three =
        [("check/a.rs", "use super::c;"), ("check/b.rs", "use super::a;"), ("check/c.rs", "use super::b;")];
    assert_eq!(
        judged(&three),
        ["src/check: a → c → b → a: a circle of imports\n    src/check/a.rs:1: imports `c`\n    \
          src/check/c.rs:1: imports `b`\n    src/check/b.rs:1: imports `a`"]
    );
}

#[test]
fn sound_code_is_left_alone() {
    let sound: [&[(&str, &str)]; _] = [
        &[("image/mod.rs", "use crate::{Error, parse::kit, source::{Metered, ReadAt}, units::*};")],
        &[(
            "parse/kit.rs",
            "//! See [`crate::cli`]\n/* crate::cli /* nested */ */ const A: &str = \"crate::cli\\\" unsafe\";",
        )],
        &[(
            "parse/kit.rs",
            "const A: &str = r#\"crate::cli \" unsafe\"#; fn f<'a>(a: &'a str) {} use super::list;",
        )],
        &[(
            "parse/kit.rs",
            "pub(crate) fn unsafe_looking() {}\n#[cfg(test)]\nmod tests {\n    use super::*;\n    use crate::units::Span;\n}\n",
        )],
        &[
            ("rules/mod.rs", "#[cfg(all(test, unix))]\nmod tests;"),
            ("rules/tests.rs", "use super::*;\nuse crate::units;\npub fn f() -> IResult<A> {}"),
        ],
        &[("units.rs", "use crate::limits::Limits;"), ("limits.rs", "use crate::units::Span;")],
        &[("cli/dump.rs", "use crate::{report, sandbox};")],
        &[("rules/mod.rs", "mod header;\npub mod codes {\n    pub use super::header::*;\n}\n")],
        &[(
            "rules/mod.rs",
            "macro_rules! f { () => { $crate::rules::Rule, name::crate_of, super::units::Span } }",
        )],
        &[("format/mod.rs", "macro_rules! f { ($name:ident) => { pub mod $name { use super::*; } } }")],
        &[("main.rs", "mod cli;\nuse qcow2_inspect::cli;")],
        &[("format/mod.rs", "#[derive(BinRead)]\npub struct A {}\npub(crate) fn f() -> IResult<A> {}")],
        &[(
            "format/mod.rs",
            "pub enum A {}\nstruct C {\n    a: IResult<B>,\n}\npub use a::B;\nfn f() -> IResult<A> {}",
        )],
        &[("parse/mod.rs", "pub fn f() -> IResult<A> {}")],
        // A module and what lies in it are one thing, and so is what the two of them need from one another.
        &[
            ("check/mod.rs", "mod a;\nmod b;\npub use a::A;\npub struct B;\nuse zstd;"),
            ("check/a.rs", "use super::{B, b, zstd};\nuse self::own::C;"),
            (
                "check/b.rs",
                "use super::B;\nuse crate::check::unknown::A;\n#[cfg(test)]\nmod tests {\n    use super::super::a::A;\n}",
            ),
        ],
        // Rooms of one name are not modules of one room.
        &[("check/a.rs", "use crate::guest::a::A;"), ("guest/a.rs", "use crate::image::a;")],
    ];
    for files in sound {
        assert_eq!(judged(files), [""; 0], "{files:?}");
    }
    let tests = format!("\n#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(MAX_LINES));
    assert_eq!(judged(&[("units.rs", &tests)]), [""; 0]);
}
