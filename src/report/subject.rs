//! The file that a report is about.

use std::borrow::Cow;
use std::fmt;

use schemars::JsonSchema;
use serde::{Serialize, Serializer};

use super::value::{Hex, unclean};
use crate::text::escape;

/// The file that a report is about. Nothing but clean text is shown of its path: JSON has the bytes of another one under
/// `path_hex` too, so that two paths which look alike can be told from each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Subject<'a> {
    /// Its path, as the system has it.
    pub path: &'a [u8],
    /// How many bytes it has.
    pub len: u64,
}

impl fmt::Display for Subject<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({} bytes)", escape(self.path), self.len)
    }
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "File")]
pub(super) struct FileItem<'a> {
    #[serde(flatten)]
    named: Named<'a>,
    /// How many bytes it has.
    len: u64,
}

impl Serialize for Subject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { path, len } = *self;
        FileItem { named: Named::new(path), len }.serialize(serializer)
    }
}

/// A file whose length is not known, since it was not opened, or is nobody's business.
#[derive(Serialize, JsonSchema)]
pub(super) struct Named<'a> {
    path: Cow<'a, str>,
    /// The bytes of a path that is no clean text.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<Hex<'a>>,
}

impl<'a> Named<'a> {
    /// The file of this path.
    pub(super) fn new(path: &'a [u8]) -> Self {
        Self { path: escape(path), path_hex: unclean(path) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_that_is_no_clean_text_has_its_bytes_too() {
        let json = |path: &[u8]| serde_json::to_string(&Subject { path, len: 7 }).unwrap();
        assert_eq!(json("ä".as_bytes()), r#"{"path":"ä","len":7}"#);
        assert_eq!(json(br"a\x1b"), r#"{"path":"a\\x1b","len":7}"#);
        assert_eq!(json(b"a\x1b"), r#"{"path":"a\\x1b","path_hex":"611b","len":7}"#);
        assert_eq!(Subject { path: b"\xff", len: 7 }.to_string(), r"\xff (7 bytes)");
        assert_eq!(
            serde_json::to_string(&Named::new(b"a\n")).unwrap(),
            r#"{"path":"a\\x0a","path_hex":"610a"}"#
        );
    }
}
