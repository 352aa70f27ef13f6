//! The list of the images that are done, so that a scan can go on where another was stopped.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::Path;

use qcow2_inspect::text;
use qcow2_inspect::units::to_u64;

use crate::cli::Failure;
use crate::cli::input::{reason, shown};

/// What stands behind a line that was cut when a scan was stopped: with it, the line is of no image, as a key has no
/// control characters. Half a name may be the name of another file.
const CUT: &[u8] = b"\t\n";

/// Bytes of a line at most: no system opens a path so long that its key does not fit.
const LONGEST_LINE: usize = 32 << 10;

/// The images that are done, each with the exit code of its audit.
pub(super) struct Done {
    /// By their keys.
    known: HashMap<Vec<u8>, u8>,
    file: Option<File>,
}

impl Done {
    pub(super) fn open(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else { return Ok(Self { known: HashMap::new(), file: None }) };
        Self::read(path).map_err(|error| Failure::Refused(format!("{}: {}", shown(path), reason(&error))))
    }

    fn read(path: &Path) -> io::Result<Self> {
        // Looked at before it is opened, which can be an act of its own with a device, and once more when it is open.
        if let Ok(there) = fs::metadata(path) {
            check_regular(&there)?;
        }
        let mut file = OpenOptions::new().read(true).append(true).create(true).open(path)?;
        check_regular(&file.metadata()?)?;
        let mut known = HashMap::new();
        let mut reader = BufReader::new(&file);
        let mut line = Vec::new();
        let mut is_cut = false;
        for number in 1_u64.. {
            line.clear();
            if reader.by_ref().take(to_u64(LONGEST_LINE)).read_until(b'\n', &mut line)? == 0 {
                break;
            }
            let is_long = line.len() >= LONGEST_LINE;
            is_cut = line.pop_if(|byte| *byte == b'\n').is_none();
            // Nothing is added to a file that is something else, and was named by mistake.
            let parts = parts(&line).filter(|_| !is_long);
            let (code, key) = parts.ok_or_else(|| {
                io::Error::other(format!(
                    "is no list of what a scan has done: line {number} is none of its lines"
                ))
            })?;
            if let Some(key) = key.filter(|_| !is_cut) {
                known.insert(key.to_vec(), code);
            }
        }
        if is_cut {
            file.write_all(CUT)?;
        }
        Ok(Self { known, file: Some(file) })
    }

    /// The exit code of the audit of this image, where that is done.
    pub(super) fn code(&self, path: &Path) -> Option<u8> {
        // Without a list nothing has to be made to look it up.
        (!self.known.is_empty()).then(|| self.known.get(key(path).as_bytes()).copied()).flatten()
    }

    /// Notes what came of an image. One that could not be judged is not done: the next time may have more time for it.
    pub(super) fn add(&mut self, path: &Path, code: u8) -> io::Result<()> {
        let Some(file) = self.file.as_mut().filter(|_| matches!(code, 0 | 2)) else { return Ok(()) };
        let line = format!("{code}\t{}\n", key(path));
        // One that could not be read again is looked at again.
        if line.len() >= LONGEST_LINE { Ok(()) } else { file.write_all(line.as_bytes()) }
    }
}

fn check_regular(there: &fs::Metadata) -> io::Result<()> {
    there.is_file().then_some(()).ok_or_else(|| io::Error::other("is no regular file"))
}

/// The exit code and the key of a line without its end, which has no key where it was cut. `None` where a scan does not
/// write such a line.
fn parts(line: &[u8]) -> Option<(u8, Option<&[u8]>)> {
    let (code, rest) = match line {
        [b'0', rest @ ..] => (0, rest),
        [b'2', rest @ ..] => (2, rest),
        _ => return None,
    };
    let key = match rest {
        [] => None,
        [b'\t', key @ ..] => Some(key),
        _ => return None,
    };
    Some((code, key.filter(|key| !key.is_empty() && !key.ends_with(b"\t"))))
}

/// A path as text without control characters, from which no two paths give the same. What is shown of a path does not:
/// only where something has to be escaped are its backslashes doubled.
fn key(path: &Path) -> String {
    match text::escape(path.as_os_str().as_encoded_bytes()) {
        Cow::Borrowed(clean) => clean.replace('\\', r"\\"),
        Cow::Owned(escaped) => escaped,
    }
}
