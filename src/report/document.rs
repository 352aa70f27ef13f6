//! A JSON document that is written as it goes.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::Formatter;

/// What stands between the entries of an object: those of the document have a line each.
const NEXT_LINE: &[u8] = b",\n";
const NEXT: &[u8] = b",";

/// An object or an array that is open.
#[derive(Debug)]
struct Open {
    is_array: bool,
    is_empty: bool,
}

/// An open JSON document: an object, and what is open in it.
#[derive(Debug)]
pub(super) struct Document<W> {
    pub(super) out: W,
    open: Vec<Open>,
}

impl<W: Write> Document<W> {
    /// Nothing written yet.
    pub(super) fn new(out: W) -> Self {
        Self { out, open: Vec::new() }
    }

    /// Begins the document, or an object that is an item of the array at hand.
    pub(super) fn begin_object(&mut self) -> io::Result<()> {
        self.next()?;
        self.open.push(Open { is_array: false, is_empty: true });
        self.out.write_all(b"{")
    }

    /// The entries of a struct or a map, in the object at hand.
    pub(super) fn entries<T: Serialize + ?Sized>(&mut self, entries: &T) -> io::Result<()> {
        let separator = if self.open.len() == 1 { NEXT_LINE } else { NEXT };
        let Some(object) = self.open.last_mut() else { return Ok(()) };
        write_entries(&mut self.out, entries, separator, &mut object.is_empty)
    }

    /// A key with an array, whose items follow.
    pub(super) fn begin_array(&mut self, key: &str) -> io::Result<()> {
        let separator = if self.open.len() == 1 { NEXT_LINE } else { NEXT };
        let is_first = self.open.last_mut().is_none_or(|object| std::mem::take(&mut object.is_empty));
        self.out.write_all(if is_first { b"" } else { separator })?;
        serde_json::to_writer(&mut self.out, key)?;
        self.open.push(Open { is_array: true, is_empty: true });
        self.out.write_all(b":[")
    }

    /// An item of the array at hand.
    pub(super) fn item(&mut self, item: &impl Serialize) -> io::Result<()> {
        self.next()?;
        Ok(serde_json::to_writer(&mut self.out, item)?)
    }

    /// Ends the object or array at hand.
    pub(super) fn end(&mut self) -> io::Result<()> {
        match self.open.pop() {
            Some(Open { is_array: true, .. }) => self.out.write_all(b"]"),
            Some(_) => self.out.write_all(b"}"),
            None => Ok(()),
        }
    }

    /// Begins the next item of the array at hand, on a line of its own.
    fn next(&mut self) -> io::Result<()> {
        let Some(array) = self.open.last_mut() else { return Ok(()) };
        self.out.write_all(if std::mem::take(&mut array.is_empty) { b"\n" } else { NEXT_LINE })
    }
}

/// Writes the entries of a struct or a map without its braces; `is_first` if none stands before them.
pub(super) fn write_entries<T: Serialize + ?Sized>(
    out: &mut impl Write,
    entries: &T,
    separator: &'static [u8],
    is_first: &mut bool,
) -> io::Result<()> {
    let entries_only = EntriesOnly { objects: 0, separator, is_first };
    Ok(entries.serialize(&mut serde_json::Serializer::with_formatter(out, entries_only))?)
}

/// Leaves out the braces around all.
struct EntriesOnly<'f> {
    objects: u32,
    separator: &'static [u8],
    is_first: &'f mut bool,
}

impl Formatter for EntriesOnly<'_> {
    fn begin_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.objects = self.objects.saturating_add(1);
        out.write_all(if self.objects == 1 { b"" } else { b"{" })
    }

    fn end_object<W: ?Sized + Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.objects = self.objects.saturating_sub(1);
        out.write_all(if self.objects == 0 { b"" } else { b"}" })
    }

    fn begin_object_key<W: ?Sized + Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        match (self.objects, first) {
            (1, _) if !std::mem::take(self.is_first) => out.write_all(self.separator),
            (1, _) | (_, true) => Ok(()),
            _ => out.write_all(NEXT),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_document_is_written_as_it_goes() {
        let mut document = Document::new(Vec::new());
        document.begin_object().unwrap();
        document.entries(&json!({ "a": 1, "b": { "c": [{}, { "d": 2, "e": 3 }] } })).unwrap();
        document.entries(&json!({})).unwrap();
        document.begin_array("list").unwrap();
        document.item(&7).unwrap();
        document.begin_object().unwrap();
        document.entries(&json!({ "name": "x" })).unwrap();
        document.begin_array("inner").unwrap();
        document.item(&1).unwrap();
        document.item(&2).unwrap();
        document.end().unwrap();
        document.entries(&json!({ "total": 3 })).unwrap();
        document.end().unwrap();
        document.end().unwrap();
        document.begin_array("none").unwrap();
        document.end().unwrap();
        document.end().unwrap();
        let wanted = "{\"a\":1,\n\"b\":{\"c\":[{},{\"d\":2,\"e\":3}]},\n\"list\":[\n7,\n\
            {\"name\":\"x\",\"inner\":[\n1,\n2],\"total\":3}],\n\"none\":[]}";
        assert_eq!(String::from_utf8(document.out).unwrap(), wanted);
    }
}
