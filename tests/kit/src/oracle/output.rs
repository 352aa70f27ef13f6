//! What may be written: text without a raw byte of the image, and JSON that is JSON.

use serde::Deserialize;
use serde::de::IgnoredAny;

/// # Panics
/// Where text holds anything but printable characters and line ends.
pub fn check_text(out: &[u8]) {
    let text = str::from_utf8(out).unwrap_or_else(|error| panic!("text is not UTF-8: {error}"));
    for line in text.split('\n') {
        assert!(qcow2_inspect::text::is_clean(line.as_bytes()), "a raw byte in the text: {line:?}");
    }
}

/// The keys that every document has.
#[derive(Deserialize)]
struct Document {
    #[serde(rename = "schema")]
    _schema: String,
    #[serde(rename = "file")]
    _file: IgnoredAny,
    #[serde(rename = "complete")]
    _complete: bool,
    #[serde(rename = "findings")]
    _findings: Vec<IgnoredAny>,
}

/// What every line has.
#[derive(Deserialize)]
struct Line<'a> {
    r#type: &'a str,
}

/// # Panics
/// Where this is not one JSON document with the keys that every document has.
pub fn check_json(out: &[u8]) {
    let _: Document = parse(out);
    check_schema(out);
}

/// Whether it is what its JSON Schema says, where that is compiled in.
fn check_schema(out: &[u8]) {
    #[cfg(feature = "schemas")]
    crate::check_schema(out);
    #[cfg(not(feature = "schemas"))]
    let _ = out;
}

/// # Panics
/// Where this is not one JSON array, as `qemu-img map` writes it.
pub fn check_json_array(out: &[u8]) {
    let _: Vec<IgnoredAny> = parse(out);
    check_schema(out);
}

/// # Panics
/// Where a line is not a JSON object with a type, or the last is no summary.
pub fn check_json_lines(out: &[u8]) {
    let lines = out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let last = lines.fold(None, |_, line| Some(parse::<Line<'_>>(line).r#type));
    assert_eq!(last, Some("summary"), "the last line is no summary");
    check_schema(out);
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> T {
    serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("not JSON: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCUMENT: &str = r#"{"schema":"qcow2-inspect/locate/1","file":{"path":"a","len":0},"complete":true,"error":null,"findings":[]}"#;

    const LINES: &str = "{\"type\":\"file\",\"schema\":\"qcow2-inspect/locate/1\",\"file\":{\"path\":\"\\u001b\",\"len\":0}}\n\
        {\"type\":\"summary\",\"complete\":true,\"error\":null}\n";

    #[test]
    fn sound_output_passes() {
        check_text("header:\n  a name of \u{e9} and \\x1b\n".as_bytes());
        check_json(DOCUMENT.as_bytes());
        check_json_lines(LINES.as_bytes());
    }

    #[test]
    #[should_panic = "a raw byte in the text"]
    fn a_raw_escape_is_seen() {
        check_text(b"header:\n  a name of \x1b[2J\n");
    }

    /// Each of these could hide or forge a line, or change the terminal.
    #[test]
    fn other_raw_bytes_are_seen() {
        for raw in ["\r", "\t", "\0", "\u{85}", "\u{202e}", "\u{2028}", "\u{e000}"] {
            assert!(std::panic::catch_unwind(|| check_text(raw.as_bytes())).is_err(), "{raw:?}");
        }
    }

    #[test]
    #[should_panic = "not JSON"]
    fn an_array_that_does_not_end_is_seen() {
        check_json_array(b"[]\n");
        check_json_array(b"[{},\n{}");
    }

    #[test]
    #[should_panic = "text is not UTF-8"]
    fn a_byte_that_is_no_text_is_seen() {
        check_text(b"header\xff\n");
    }

    #[test]
    fn broken_json_is_seen() {
        let cut = &DOCUMENT[..DOCUMENT.len() - 1];
        let twice = [DOCUMENT, DOCUMENT].concat();
        let raw = DOCUMENT.replace(r#""a""#, "\"\x1b\"");
        let keyless = DOCUMENT.replace("findings", "finding");
        for broken in [cut, &twice, &raw, &keyless, ""] {
            let seen = std::panic::catch_unwind(|| check_json(broken.as_bytes()));
            assert!(seen.is_err(), "{broken}");
        }
    }

    #[test]
    fn broken_lines_are_seen() {
        for broken in ["", "{}\n", "{\"type\": \"row\"}\n", "{\"type\": \"row\"\n{\"type\": \"summary\"}\n"] {
            assert!(std::panic::catch_unwind(|| check_json_lines(broken.as_bytes())).is_err(), "{broken}");
        }
    }
}
