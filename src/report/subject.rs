//! The file that a report is about.

use std::fmt;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use super::value::unclean;
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

impl Serialize for Subject<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_file(self.path, Some(self.len), serializer)
    }
}

/// A file whose length is not known, since it was not opened, or is nobody's business.
pub(super) struct Named<'a>(pub(super) &'a [u8]);

impl Serialize for Named<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serialize_file(self.0, None, serializer)
    }
}

fn serialize_file<S: Serializer>(path: &[u8], len: Option<u64>, serializer: S) -> Result<S::Ok, S::Error> {
    let mut map = serializer.serialize_map(None)?;
    map.serialize_entry("path", &escape(path))?;
    unclean(path).map_or(Ok(()), |hex| map.serialize_entry("path_hex", &hex))?;
    len.map_or(Ok(()), |len| map.serialize_entry("len", &len))?;
    map.end()
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
        assert_eq!(serde_json::to_string(&Named(b"a\n")).unwrap(), r#"{"path":"a\\x0a","path_hex":"610a"}"#);
    }
}
