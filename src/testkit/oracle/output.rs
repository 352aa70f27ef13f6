//! What may be written: text without a raw byte of the image, and JSON that is JSON.

use serde_json::Value;

/// # Panics
/// Where text holds anything but printable characters and line ends.
pub fn check_text(out: &[u8]) {
    let text = str::from_utf8(out).unwrap_or_else(|error| panic!("text is not UTF-8: {error}"));
    for line in text.split('\n') {
        assert!(crate::text::is_clean(line.as_bytes()), "a raw byte in the text: {line:?}");
    }
}

/// # Panics
/// Where this is not one JSON document with the keys that every document has.
pub fn check_json(out: &[u8]) {
    let document: Value = parse(out);
    for key in ["schema", "file", "complete", "findings"] {
        assert!(document.get(key).is_some(), "the document has no {key}");
    }
}

/// # Panics
/// Where a line is not a JSON object with a type, or the last is no summary.
pub fn check_json_lines(out: &[u8]) {
    let mut last = Value::Null;
    for line in out.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        last = parse(line).get("type").cloned().unwrap_or_else(|| panic!("a line without a type"));
    }
    assert_eq!(last, "summary", "the last line is no summary");
}

fn parse(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("not JSON: {error}"))
}
