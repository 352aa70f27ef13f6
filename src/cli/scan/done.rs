//! The list of the images that are done, so that a scan can go on where another was stopped.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, absolute};

use qcow2_inspect::text;
use qcow2_inspect::units::to_u64;

use crate::cli::Failure;
use crate::cli::input::{reason, shown};

/// What stands behind a line that was cut when a scan was stopped: with it, the line is of no image, as no mark ends so.
/// Half a name may be the name of another file.
const CUT: &[u8] = b"\t\n";

/// Bytes of a line at most: no system opens a path so long that its mark does not fit.
const LONGEST_LINE: usize = 32 << 10;

/// The images that are done, each with the exit code of its audit.
pub(super) struct Done {
    /// By their marks.
    known: HashMap<Vec<u8>, u8>,
    file: Option<File>,
    /// How the images are judged.
    manner: String,
}

/// What one image is known by as long as it is what it was, and judged as it was: the manner, its length, when it last
/// changed, and its path from the root, with tabs between.
pub(super) struct Mark(String);

impl Done {
    /// The list in this file. `manner` is all that a judgement depends on, beside the image.
    pub(super) fn open(path: Option<&Path>, manner: &[&str]) -> Result<Self, Failure> {
        let manner = digest(manner);
        let Some(path) = path else { return Ok(Self { known: HashMap::new(), file: None, manner }) };
        Self::read(path, manner)
            .map_err(|error| Failure::Refused(format!("{}: {}", shown(path), reason(&error))))
    }

    fn read(path: &Path, manner: String) -> io::Result<Self> {
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
            let (code, mark) = parts.ok_or_else(|| {
                io::Error::other(format!(
                    "is no list of what a scan has done: line {number} is none of its lines"
                ))
            })?;
            if let Some(mark) = mark.filter(|_| !is_cut) {
                known.insert(mark.to_vec(), code);
            }
        }
        if is_cut {
            file.write_all(CUT)?;
        }
        Ok(Self { known, file: Some(file), manner })
    }

    /// The mark of a file as it is now; `None` without a list, and for what can change without a trace, as a block
    /// device can.
    pub(super) fn mark(&self, path: &Path) -> Option<Mark> {
        self.file.as_ref()?;
        let there = fs::metadata(path).ok().filter(Metadata::is_file)?;
        let path = key(&absolute(path).ok()?);
        // The time of the last change is the system's: whoever writes a file can set the other one to what it was.
        let (len, seconds, nanoseconds) = (there.len(), there.ctime(), there.ctime_nsec());
        Some(Mark(format!("{}\t{len}\t{seconds}.{nanoseconds:09}\t{path}", self.manner)))
    }

    /// The exit code of the audit of this image, where that is done.
    pub(super) fn code(&self, path: &Path) -> Option<u8> {
        // Without a line nothing has to be made to look it up.
        (!self.known.is_empty()).then(|| self.known.get(self.mark(path)?.0.as_bytes()).copied()).flatten()
    }

    /// Notes what came of an image, by its mark from before. One that could not be judged is not done: the next time may
    /// have more time for it.
    pub(super) fn add(&mut self, mark: Option<Mark>, code: u8) -> io::Result<()> {
        let Some(file) = self.file.as_mut().filter(|_| matches!(code, 0 | 2)) else { return Ok(()) };
        let Some(Mark(mark)) = mark else { return Ok(()) };
        let line = format!("{code}\t{mark}\n");
        // One that could not be read again is looked at again.
        if line.len() >= LONGEST_LINE { Ok(()) } else { file.write_all(line.as_bytes()) }
    }
}

fn check_regular(there: &Metadata) -> io::Result<()> {
    there.is_file().then_some(()).ok_or_else(|| io::Error::other("is no regular file"))
}

/// The exit code and the mark of a line without its end, which has no mark where it was cut. `None` where a scan does not
/// write such a line.
fn parts(line: &[u8]) -> Option<(u8, Option<&[u8]>)> {
    let (code, rest) = match line {
        [b'0', rest @ ..] => (0, rest),
        [b'2', rest @ ..] => (2, rest),
        _ => return None,
    };
    let mark = match rest {
        [] => None,
        [b'\t', mark @ ..] => Some(mark),
        _ => return None,
    };
    Some((code, mark.filter(|mark| !mark.is_empty() && !mark.ends_with(b"\t"))))
}

/// A few letters that stand for these texts, by the FNV-1a hash of 64 bits. It is to tell apart what one user changes,
/// not to withstand who looks for two that are alike.
fn digest(texts: &[&str]) -> String {
    let bytes = texts.iter().flat_map(|text| text.bytes().chain([0]));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

/// A path as text without control characters, from which no two paths give the same. What is shown of a path does not:
/// only where something has to be escaped are its backslashes doubled.
fn key(path: &Path) -> String {
    match text::escape(path.as_os_str().as_encoded_bytes()) {
        Cow::Borrowed(clean) => clean.replace('\\', r"\\"),
        Cow::Owned(escaped) => escaped,
    }
}
