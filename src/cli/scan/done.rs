//! The list of the images that are done, so that a scan can go on where another was stopped.

use std::borrow::Cow;
use std::collections::HashSet;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;

use qcow2_inspect::text;

use crate::cli::Failure;
use crate::cli::input::reason;

/// What stands behind a line that was cut when a scan was stopped: with it, the line is no key, as a key has no control
/// characters. Half a name may be the name of another file.
const CUT: &[u8] = b"\t\n";

/// The images that are done, by their keys.
pub(super) struct Done {
    known: HashSet<Vec<u8>>,
    file: Option<File>,
}

impl Done {
    pub(super) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self { known: HashSet::new(), file: None }) };
        Self::read(path).map_err(|error| {
            let path = text::escape(path.as_os_str().as_encoded_bytes());
            Failure::Image(format!("{path}: {}", reason(&error)))
        })
    }

    fn read(path: &Path) -> io::Result<Self> {
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        let mut known = HashSet::new();
        let mut reader = BufReader::new(&file);
        let mut line = Vec::new();
        let mut is_cut = false;
        while reader.read_until(b'\n', &mut line)? > 0 {
            is_cut = line.pop_if(|byte| *byte == b'\n').is_none();
            if !is_cut {
                known.insert(std::mem::take(&mut line));
            }
        }
        if is_cut {
            file.write_all(CUT)?;
        }
        Ok(Self { known, file: Some(file) })
    }

    pub(super) fn has(&self, path: &Path) -> bool {
        // Without a list nothing has to be made to look it up.
        !self.known.is_empty() && self.known.contains(key(path).as_bytes())
    }

    pub(super) fn add(&mut self, path: &Path) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), |file| file.write_all(format!("{}\n", key(path)).as_bytes()))
    }
}

/// A path as text without control characters, from which no two paths give the same. What is shown of a path does not:
/// only where something has to be escaped are its backslashes doubled.
fn key(path: &Path) -> String {
    match text::escape(path.as_os_str().as_encoded_bytes()) {
        Cow::Borrowed(clean) => clean.replace('\\', r"\\"),
        Cow::Owned(escaped) => escaped,
    }
}
