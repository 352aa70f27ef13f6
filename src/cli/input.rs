//! Opening the image: one file, read-only, and nothing that could block or answer differently each time.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use clap::Args;
use qcow2_inspect::report::{Report, Subject, TextOptions};
use qcow2_inspect::rules::named::FILE_CHANGED;
use qcow2_inspect::source::ReadAt;
use qcow2_inspect::text;
use qcow2_inspect::{Image, Limits};

use super::Failure;
use super::limits::Changes;
use super::number::number;
use super::output::{self, Format};
use crate::sandbox;

/// The image to inspect.
#[derive(Debug, Args)]
pub(super) struct Input {
    /// The image: a file or a block device.
    #[arg(value_name = "IMAGE")]
    path: PathBuf,
    /// Where the image starts in the file, in bytes. Offsets in the report count from there. Numbers are decimal, or hex
    /// with 0x; K, M, G, T, P or E behind a decimal one is a power of 1024.
    #[arg(long, value_name = "BYTES", default_value = "0", value_parser = number)]
    offset: u64,
    #[command(flatten)]
    limits: Changes,
    /// Whether the process gives up its rights before it reads the image: to open files, to reach the network, to run
    /// programs.
    #[arg(long, value_name = "WHEN", value_enum, default_value_t = sandbox::Mode::Auto)]
    sandbox: sandbox::Mode,
}

/// A file from an offset on.
#[derive(Debug)]
pub(super) struct FilePart {
    file: File,
    start: u64,
}

impl ReadAt for FilePart {
    fn len(&self) -> io::Result<u64> {
        Ok(self.file.len()?.saturating_sub(self.start))
    }

    fn read_at(&self, offset: u64, buf: &mut [u8]) -> io::Result<usize> {
        match self.start.checked_add(offset) {
            Some(offset) => self.file.read_at(offset, buf),
            None => Ok(0),
        }
    }

    fn next_data(&self, offset: u64) -> Option<u64> {
        let next = self.file.next_data(self.start.checked_add(offset)?)?;
        Some(next.saturating_sub(self.start))
    }

    fn next_hole(&self, offset: u64) -> u64 {
        self.file.next_hole(self.start.saturating_add(offset)).saturating_sub(self.start)
    }

    fn stored_len(&self) -> Option<u64> {
        self.file.stored_len()
    }

    fn changed(&self) -> Option<SystemTime> {
        self.file.changed()
    }

    /// Of the file as a whole, which is what QEMU locks wherever in it the image starts.
    fn is_locked(&self, byte: u64) -> bool {
        self.file.is_locked(byte)
    }
}

impl FilePart {
    /// The image in it, with limits that go by its length, and by how much of that is stored; else says why there is
    /// none.
    pub(super) fn image(self, limits: impl Fn(u64, u64) -> Limits) -> Result<Image<Self>, String> {
        let len = self.len().map_err(|error| reason(&error))?;
        let limits = limits(len, self.stored_len().unwrap_or(len));
        Image::open(self, limits).map_err(|error| error.to_string())
    }
}

impl Input {
    /// The path as text, with nothing in it that a terminal must not see.
    pub(super) fn shown_path(&self) -> String {
        shown(&self.path)
    }

    /// What a report on the image says of its file.
    pub(super) fn subject(&self, image: &Image<FilePart>) -> Subject<'_> {
        Subject { path: self.path.as_os_str().as_encoded_bytes(), len: image.file_len() }
    }

    /// Where the image starts in the file.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Says in this format why there is no report.
    pub(super) fn refuse(&self, reason: &str, format: Format) -> Failure {
        output::refuse(self.path.as_os_str().as_encoded_bytes(), reason, format)
    }

    /// The path from the root, as its bytes. No link is followed.
    pub(super) fn absolute_path(&self) -> Option<Vec<u8>> {
        let path = std::path::absolute(&self.path).ok()?;
        Some(path.into_os_string().into_encoded_bytes())
    }

    /// Opens the file, enters the sandbox, and opens the image in the file; else says why not, in this format.
    pub(super) fn open(&self, format: Format) -> Result<Image<FilePart>, Failure> {
        self.open_within(|_, _| Limits::default(), format)
    }

    /// The same, with limits that go by the length of the image, and by how much of that is stored.
    pub(super) fn open_within(
        &self,
        limits: impl Fn(u64, u64) -> Limits,
        format: Format,
    ) -> Result<Image<FilePart>, Failure> {
        let part = self.open_part().and_then(|part| {
            self.confine(None)?;
            part.image(|len, stored| self.limits(limits(len, stored)))
        });
        part.map_err(|reason| self.refuse(&reason, format))
    }

    /// The limits, with those changed that the user named.
    pub(super) fn limits(&self, limits: Limits) -> Limits {
        self.limits.applied_to(limits)
    }

    /// Standard output, in few writes and within the limits.
    pub(super) fn stdout(&self) -> impl Write + use<> {
        output::within(self.output_bytes())
    }

    /// How many bytes may be written.
    pub(super) fn output_bytes(&self) -> u64 {
        self.limits(Limits::DEFAULT).output_bytes
    }

    /// A report in this format, on standard output and within the limits.
    pub(super) fn report(&self, format: Format, text: TextOptions) -> Report<impl Write + use<>> {
        Report::new(output::stdout(), format.of(text), self.output_bytes())
    }

    /// The same, for a report that comes with a verdict.
    pub(super) fn report_with_verdict(
        &self,
        format: Format,
        text: TextOptions,
    ) -> Report<impl Write + use<>> {
        Report::new(output::for_verdict(), format.of(text), self.output_bytes())
    }

    /// Gives up what is not needed from here on. Whatever else has to be opened is open by now; in the folder `output`
    /// a file can still be put in its place.
    pub(super) fn confine(&self, output: Option<&Path>) -> Result<(), String> {
        sandbox::enter(self.sandbox, output)
    }

    /// Opens the file alone. Nothing of it is read.
    pub(super) fn open_part(&self) -> Result<FilePart, String> {
        let file = open_file(&self.path)?;
        let len = file.len().map_err(|error| reason(&error))?;
        if self.offset > 0 && self.offset >= len {
            return Err(format!("ends at {len} bytes, so that nothing is at --offset {}", self.offset));
        }
        Ok(FilePart { file, start: self.offset })
    }

    /// Whether a file is the image's own.
    pub(super) fn is(&self, other: &Path) -> bool {
        is_same(&self.path, other)
    }
}

/// A path as text, with nothing in it that a terminal must not see.
pub(super) fn shown(path: &Path) -> String {
    text::escape(path.as_os_str().as_encoded_bytes()).into_owned()
}

/// Whether both names lead to the same file.
pub(super) fn is_same(one: &Path, other: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    real(one).is_some_and(|one| real(other) == Some(one))
}

impl FilePart {
    /// The whole of a file that is open.
    pub(super) fn whole(file: File) -> Result<Self, String> {
        unusable(file.metadata().map_err(|error| reason(&error))?.file_type())?;
        Ok(Self { file, start: 0 })
    }
}

/// Says where another process has the image open for writing: for the commands that have no findings.
pub(super) fn tell_writer(image: &Image<impl ReadAt>, path: &str) {
    if image.writer().is_some() {
        let what = "T06: another process has it open for writing: what was read may be of several moments";
        let _ = writeln!(io::stderr(), "qcow2-inspect: {path}: {what}");
    }
}

/// Fails where the file is no longer what it was when it was opened: for the commands that have no findings.
pub(super) fn check_unchanged(image: &Image<impl ReadAt>, path: &str) -> Result<(), Failure> {
    let fail = |reason: &str| Failure::Refused(format!("{path}: {reason}"));
    match image.has_changed() {
        Ok(false) => Ok(()),
        Ok(true) => {
            Err(fail(&format!("{}: the file or its attributes changed while it was read", FILE_CHANGED.code)))
        }
        Err(error) => Err(fail(&error.to_string())),
    }
}

/// Opens a file whose bytes can be read at any offset; else says why not.
pub(super) fn open_file(path: &Path) -> Result<File, String> {
    if path == Path::new("-") {
        return Err("a qcow2 file needs random access, which standard input does not give".to_owned());
    }
    // Looked at before it is opened: opening a device can be an act of its own.
    let kind = fs::metadata(path).map_err(|error| reason(&error))?.file_type();
    unusable(kind)?;
    let mut options = OpenOptions::new();
    options.read(true);
    no_blocking(&mut options);
    let file = options.open(path).map_err(|error| reason(&error))?;
    // And once more: it may be another one by now.
    unusable(file.metadata().map_err(|error| reason(&error))?.file_type())?;
    Ok(file)
}

/// Keeps a FIFO without a writer, or a terminal, from holding up the open itself.
#[cfg(unix)]
fn no_blocking(options: &mut OpenOptions) {
    use std::os::unix::fs::OpenOptionsExt;
    options.custom_flags(rustix::fs::OFlags::NONBLOCK.union(rustix::fs::OFlags::NOCTTY).bits().cast_signed());
}

#[cfg(not(unix))]
fn no_blocking(_: &mut OpenOptions) {}

/// Refuses what is neither a file nor a block device.
fn unusable(kind: fs::FileType) -> Result<(), String> {
    let what = if kind.is_dir() { Some("a directory") } else { special(kind) };
    what.map_or(Ok(()), |what| Err(format!("is {what}, not a file or a block device")))
}

#[cfg(unix)]
fn special(kind: fs::FileType) -> Option<&'static str> {
    use std::os::unix::fs::FileTypeExt;
    match () {
        () if kind.is_file() || kind.is_block_device() => None,
        () if kind.is_fifo() => Some("a FIFO"),
        () if kind.is_char_device() => Some("a character device"),
        () if kind.is_socket() => Some("a socket"),
        () => Some("something else"),
    }
}

#[cfg(not(unix))]
fn special(_: fs::FileType) -> Option<&'static str> {
    None
}

/// The operating system's reason without its number.
pub(super) fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_owned()
}
