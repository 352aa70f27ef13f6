//! Where reports go.

use std::io::{self, BufWriter, IsTerminal, Write};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use qcow2_inspect::report::{self, Limited, Report, TextOptions};
use qcow2_inspect::text::escape;

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
    /// Text with or without colours.
    pub(super) fn text(self) -> TextOptions {
        TextOptions { color: self.wanted(), ..TextOptions::default() }
    }

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
    /// One JSON object a line: first the schema and the file, last a summary.
    Jsonl,
    /// The findings as SARIF 2.1.0.
    Sarif,
}

impl Format {
    /// The format of a report.
    pub(super) fn of(self, text: TextOptions) -> report::Format {
        match self {
            Self::Text => report::Format::Text(text),
            Self::Json => report::Format::Json,
            Self::Jsonl => report::Format::JsonLines,
            Self::Sarif => report::Format::Sarif,
        }
    }

    /// A report of this format that has to do with no image.
    pub(super) fn report(self) -> Report<impl Write> {
        Report::new(stdout(), self.of(TextOptions::default()), u64::MAX)
    }
}

/// The formats of a command that is not about findings.
pub(super) fn without_sarif() -> impl TypedValueParser<Value = Format> {
    let others = Format::value_variants().iter().filter(|format| **format != Format::Sarif);
    PossibleValuesParser::new(others.filter_map(Format::to_possible_value))
        .map(|name| Format::from_str(&name, false).unwrap_or(Format::Text))
}

/// Standard output, in few writes.
pub(super) fn stdout() -> impl Write {
    BufWriter::with_capacity(64 << 10, io::stdout().lock())
}

/// The same, for so many bytes and no more.
pub(super) fn within(limit: u64) -> impl Write {
    BufWriter::with_capacity(64 << 10, Limited::new(io::stdout().lock(), limit))
}

/// The same, for a report that comes with a verdict: where nobody reads any more, the rest of it is dropped, so that the
/// verdict is still reached and the exit code says it.
pub(super) fn for_verdict() -> impl Write {
    BufWriter::with_capacity(64 << 10, Deaf { out: io::stdout().lock(), is_closed: false })
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

/// The present in seconds since 1970.
pub(super) fn now() -> Option<i64> {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).ok()?;
    i64::try_from(since.as_secs()).ok()
}

/// Says why there is no report: as JSON on standard output where the user wants JSON, and as a line in any case.
pub(super) fn refuse(path: &[u8], reason: &str, format: Format) -> Failure {
    let written = report::write_error(stdout(), format.of(TextOptions::default()), path, reason);
    match written {
        // Whoever closed the pipe has not seen that there is no report.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => return Failure::Output(error),
        _ => {}
    }
    Failure::Refused(format!("{}: {reason}", escape(path)))
}
