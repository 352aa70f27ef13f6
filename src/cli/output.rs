//! Where reports go.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use qcow2_inspect::report::write_error_json;
use qcow2_inspect::text::escape;
use serde::Serialize;

use super::Failure;

/// When to colour text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Color {
    /// On a terminal that can, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

impl Color {
    pub(super) fn wanted(self) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                io::stdout().is_terminal()
                    && anstream::AutoStream::choice(&io::stdout()) != anstream::ColorChoice::Never
            }
        }
    }
}

/// How a report is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Format {
    /// For people.
    Text,
    /// One JSON document.
    Json,
    /// One JSON object a line.
    Jsonl,
}

/// Standard output, in few writes.
pub(super) fn stdout() -> impl Write {
    BufWriter::with_capacity(64 << 10, io::stdout().lock())
}

/// The same, for so many bytes and no more.
pub(super) fn within(limit: u64) -> impl Write {
    BufWriter::with_capacity(64 << 10, Limited { out: io::stdout().lock(), left: limit, limit })
}

/// The same, for a report that comes with a verdict: where nobody reads any more, the rest of it is dropped, so that the
/// verdict is still reached and the exit code says it.
pub(super) fn for_verdict(limit: u64) -> impl Write {
    let out = Deaf { out: io::stdout().lock(), is_closed: false };
    BufWriter::with_capacity(64 << 10, Limited { out, left: limit, limit })
}

/// A writer that takes no notice of a closed pipe.
struct Deaf<W> {
    out: W,
    is_closed: bool,
}

impl<W: Write> Deaf<W> {
    fn attempt<T>(&mut self, otherwise: T, act: impl FnOnce(&mut W) -> io::Result<T>) -> io::Result<T> {
        if self.is_closed {
            return Ok(otherwise);
        }
        match act(&mut self.out) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.is_closed = true;
                Ok(otherwise)
            }
            done => done,
        }
    }
}

impl<W: Write> Write for Deaf<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.attempt(bytes.len(), |out| out.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        self.attempt((), W::flush)
    }
}

/// A writer that takes so many bytes and no more.
struct Limited<W> {
    out: W,
    left: u64,
    limit: u64,
}

impl<W: Write> Write for Limited<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let len = bytes.len().min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if len == 0 && !bytes.is_empty() {
            return Err(spent(self.limit));
        }
        let written = self.out.write(bytes.get(..len).unwrap_or_default())?;
        self.left = self.left.saturating_sub(u64::try_from(written).unwrap_or(u64::MAX));
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// What is said where more would be written than the limit `output_bytes` has it.
pub(super) fn spent(limit: u64) -> io::Error {
    io::Error::other(format!("the limit output_bytes of {limit} is spent"))
}

/// The present in seconds since 1970.
pub(super) fn now() -> Option<i64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// Says why there is no report: as JSON on standard output where the user wants JSON, and as a line in any case.
pub(super) fn refuse(path: &[u8], reason: &str, format: Format) -> Failure {
    if format != Format::Text {
        match write_error_json(stdout(), path, reason) {
            // Whoever closed the pipe has not seen that there is no report.
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Failure::Output(error),
            _ => {}
        }
    }
    Failure::Refused(format!("{}: {reason}", escape(path)))
}

/// One JSON value on a line of its own.
pub(super) fn json(out: &mut impl Write, value: &(impl Serialize + ?Sized)) -> io::Result<()> {
    serde_json::to_writer(&mut *out, value).map_err(io::Error::from)?;
    writeln!(out)
}
