//! A JSON object that is written as it goes.

use std::io::{self, Write};

use serde::Serialize;

/// An open JSON object, perhaps with an open array as its last value.
#[derive(Debug)]
pub(super) struct Document<W> {
    out: W,
    empty: bool,
    array_empty: bool,
}

impl<W: Write> Document<W> {
    pub(super) fn new(out: W) -> Self {
        Self { out, empty: true, array_empty: true }
    }

    fn key(&mut self, key: &str) -> io::Result<()> {
        self.out.write_all(if self.empty { b"{" } else { b",\n" })?;
        self.empty = false;
        serde_json::to_writer(&mut self.out, key)?;
        self.out.write_all(b":")
    }

    /// A key with its value.
    pub(super) fn field<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> io::Result<()> {
        self.key(key)?;
        Ok(serde_json::to_writer(&mut self.out, value)?)
    }

    /// A key with an array, whose items follow.
    pub(super) fn begin_array(&mut self, key: &str) -> io::Result<()> {
        self.key(key)?;
        self.array_empty = true;
        self.out.write_all(b"[")
    }

    pub(super) fn item(&mut self, item: &impl Serialize) -> io::Result<()> {
        self.out.write_all(if self.array_empty { b"\n" } else { b",\n" })?;
        self.array_empty = false;
        Ok(serde_json::to_writer(&mut self.out, item)?)
    }

    /// Text that is JSON where it stands, for arrays within items.
    pub(super) fn raw(&mut self, parts: &[&str]) -> io::Result<()> {
        parts.iter().try_for_each(|part| self.out.write_all(part.as_bytes()))
    }

    pub(super) fn end_array(&mut self) -> io::Result<()> {
        self.out.write_all(b"]")
    }

    /// Closes the object.
    pub(super) fn finish(&mut self) -> io::Result<()> {
        self.out.write_all(b"}\n")?;
        self.out.flush()
    }
}
