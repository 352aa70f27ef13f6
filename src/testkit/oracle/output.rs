//! What may be written: text without a raw byte of the image, and JSON that is JSON.

use serde::Deserialize;
use serde::de::IgnoredAny;

/// # Panics
/// Where text holds anything but printable characters and line ends.
pub fn check_text(out: &[u8]) {
    let text = str::from_utf8(out).unwrap_or_else(|error| panic!("text is not UTF-8: {error}"));
    for line in text.split('\n') {
        assert!(crate::text::is_clean(line.as_bytes()), "a raw byte in the text: {line:?}");
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
}

/// # Panics
/// Where a line is not a JSON object with a type, or the last is no summary.
pub fn check_json_lines(out: &[u8]) {
    let lines = out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty());
    let last = lines.fold(None, |_, line| Some(parse::<Line<'_>>(line).r#type));
    assert_eq!(last, Some("summary"), "the last line is no summary");
}

fn parse<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> T {
    serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("not JSON: {error}"))
}
