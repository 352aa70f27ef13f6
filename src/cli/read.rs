//! `read`: the guest's bytes.

use std::fs::File;
use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use qcow2_inspect::Limits;
use qcow2_inspect::check::{CheckOptions, check};
use qcow2_inspect::finding::Finding;
use qcow2_inspect::guest::{Copied, CopyError, CopyOptions, DataFile, Disk, Fault, Sink, copy};
use qcow2_inspect::report::HexdumpSink;
use qcow2_inspect::rules::named::DATA_CLUSTER_CUT;
use qcow2_inspect::rules::named::TABLE_MAY_BE_LOST;
use qcow2_inspect::source::ReadAt;
use qcow2_inspect::text;
use qcow2_inspect::units::{GuestOffset, GuestSpan};

use super::guest::{Range, View, data_limits};
use super::input::{self, Input, shown};
use super::new_file::NewFile;
use super::sparse::SparseFile;
use super::threads::threads;
use super::{Failure, Outcome};

/// Faults that are told one by one.
const TOLD: u64 = 20;
/// Between two lines of progress.
const PROGRESS: Duration = Duration::from_millis(500);

/// Show the guest's bytes as hex, or write them to a raw file.
///
/// The file is sparse, and appears under its name when it is whole. No backing file is ever opened, and a data file
/// only where it is named here.
///
/// Exit code: 0 when all bytes were there; 2 where zeros stand for bytes that could not be had, with --keep-going; 1
/// where that or something else ended it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    view: View,
    #[command(flatten)]
    range: Range,
    /// Read the VM state that lies behind the disk, instead of the disk. Offsets count from its start.
    #[arg(long)]
    vm_state: bool,
    /// Write raw bytes to this file; `-` is standard output.
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Replace the output file where there is one.
    #[arg(long, requires = "output")]
    force: bool,
    /// Put zeros where bytes cannot be had, say so, and go on.
    #[arg(long)]
    keep_going: bool,
    /// Put zeros where bytes would come from the backing file.
    #[arg(long)]
    without_backing: bool,
    /// Take the bytes of an encrypted image as they are.
    #[arg(long)]
    raw: bool,
    /// The external data file of the image.
    #[arg(long, value_name = "FILE")]
    data_file: Option<PathBuf>,
}

impl Args {
    /// Runs the command.
    pub(super) fn run(&self) -> Result<Outcome, Failure> {
        let path = self.input.shown_path();
        let fail = |reason: String| Failure::Refused(format!("{path}: {reason}"));
        // All that has to be opened, before the sandbox leaves nothing to be opened. How many processors there are is
        // asked of files, too.
        let options = self.options();
        let part = self.input.open_part().map_err(fail)?;
        let limits = |len, stored| self.input.limits(data_limits(len, stored));
        let data = self.data_file.as_deref().map(|path| open_data_file(path, limits)).transpose()?;
        let place = self.place()?;
        self.input.confine(place.folder()).map_err(fail)?;

        let image = part.image(limits).map_err(fail)?;
        let disk = self.view.disk(&image).map_err(fail)?;
        if disk.is_encrypted() && !self.raw {
            return Err(fail("the guest's data is encrypted; --raw takes it as it is".to_owned()));
        }
        if image.has_external_data() && data.is_none() {
            let named = image.data_file().map(|(_, name)| format!(" (\"{}\")", text::escape(name)));
            let reason = "the guest's data is in an external data file";
            return Err(fail(format!("{reason}{}; --data-file says which", named.unwrap_or_default())));
        }
        let range = self.wanted(&disk)?;
        let job = Job { disk, data: data.as_ref(), range, options, path: &path };
        let outcome = match place {
            Place::Hexdump => {
                let mut sink = Told::new(HexdumpSink::new(self.input.stdout()), range, &path);
                let copied = job.run(&mut sink)?;
                sink.inner.finish()?;
                job.tell(copied, sink.faults)
            }
            Place::Stdout => {
                let mut sink = Told::new(Stream(self.input.stdout()), range, &path);
                let copied = job.run(&mut sink)?;
                sink.inner.0.flush()?;
                job.tell(copied, sink.faults)
            }
            Place::File(file, place) => {
                job.tell_lost_tables();
                self.to_file(&job, file, place)?
            }
        };
        Ok(outcome)
    }

    /// Opens what the bytes go to.
    fn place(&self) -> Result<Place<'_>, Failure> {
        let Some(place) = self.output.as_deref() else { return Ok(Place::Hexdump) };
        let fail = |reason: String| Failure::Refused(format!("{}: {reason}", shown(place)));
        if place == Path::new("-") {
            if io::stdout().is_terminal() {
                return Err(Failure::Refused("raw bytes are not for a terminal".to_owned()));
            }
            return Ok(Place::Stdout);
        }
        match place.metadata() {
            Ok(_) if self.input.is(place) => return Err(fail("is the image itself".to_owned())),
            Ok(_) if self.data_file.as_deref().is_some_and(|data| input::is_same(data, place)) => {
                return Err(fail("is the data file itself".to_owned()));
            }
            Ok(there) if !there.is_file() => return Err(fail("is no regular file".to_owned())),
            Ok(_) if !self.force => return Err(fail("is there already; --force replaces it".to_owned())),
            _ => {}
        }
        let file = NewFile::create(place).map_err(|error| fail(input::reason(&error)))?;
        Ok(Place::File(file, place))
    }

    fn to_file(
        &self,
        job: &Job<'_, impl ReadAt + Sync>,
        file: NewFile,
        place: &Path,
    ) -> Result<Outcome, Failure> {
        let fail =
            |error: io::Error| Failure::Refused(format!("{}: {}", shown(place), input::reason(&error)));
        let file = SparseFile::new(file, job.range, self.input.output_bytes()).map_err(fail)?;
        let mut sink = Told::new(file, job.range, job.path);
        let copied = job.run(&mut sink).map_err(|failure| match failure {
            Failure::Output(error) => fail(error),
            other => other,
        })?;
        let Told { inner, faults, .. } = sink;
        inner.finish(self.force).map_err(fail)?;
        Ok(job.tell(copied, faults))
    }

    fn wanted<R: ReadAt>(&self, disk: &Disk<'_, R>) -> Result<GuestSpan, Failure> {
        let refused = |reason: String| Failure::Refused(format!("{}: {reason}", self.input.shown_path()));
        let what = if self.vm_state { "the VM state" } else { "the disk" };
        let (start, end) = if self.vm_state {
            let none =
                || refused("the disk goes on up to 2^64, so that there is no VM state behind it".to_owned());
            let start = disk.vm_state_at().ok_or_else(none)?;
            (start, disk.vm_state_len().unwrap_or_else(|| disk.mapped_len().saturating_sub(start.0)))
        } else {
            // Behind the disk lies VM state, for whoever says how much of it.
            let behind = if self.range.has_length() { disk.mapped_len() } else { 0 };
            (GuestOffset(0), disk.len().max(behind))
        };
        let GuestSpan { start: skipped, len } = self.range.within(end);
        if skipped.0 > end {
            let reason = format!("{what} ends at {end}, so that nothing is at --start-offset {}", skipped.0);
            return Err(refused(reason));
        }
        let span = start.checked_add(skipped.0).and_then(|start| GuestSpan::new(start, len));
        span.ok_or_else(|| refused(format!("{what} goes on past 2^64")))
    }

    fn options(&self) -> CopyOptions {
        CopyOptions {
            keep_going: self.keep_going,
            without_backing: self.without_backing,
            ciphertext: self.raw,
            threads: threads(),
        }
    }
}

/// Where the bytes go.
enum Place<'a> {
    Hexdump,
    Stdout,
    File(NewFile, &'a Path),
}

impl Place<'_> {
    /// The folder that a file is put into.
    fn folder(&self) -> Option<&Path> {
        let Self::File(_, place) = self else { return None };
        place.parent().map(|folder| if folder == Path::new("") { Path::new(".") } else { folder })
    }
}

/// Opens the external data file. Its holes are read like anything else, so its limits go by its length alone.
fn open_data_file(path: &Path, limits: impl Fn(u64, u64) -> Limits) -> Result<DataFile<File>, Failure> {
    let fail = |reason: String| Failure::Refused(format!("{}: {reason}", shown(path)));
    let file = input::open_file(path).map_err(fail)?;
    let len = file.len().map_err(|error| fail(input::reason(&error)))?;
    DataFile::new(file, limits(len, len)).map_err(|error| fail(error.to_string()))
}

/// What is to be copied.
struct Job<'i, R> {
    disk: Disk<'i, R>,
    data: Option<&'i DataFile<File>>,
    range: GuestSpan,
    options: CopyOptions,
    path: &'i str,
}

impl<R: ReadAt + Sync> Job<'_, R> {
    fn run(&self, sink: &mut Told<'_, impl Sink>) -> Result<Copied, Failure> {
        let fail = |reason: String| Failure::Refused(format!("{}: {reason}", self.path));
        let copied = copy(&self.disk, self.data, self.range, self.options, sink);
        input::tell_writer(self.disk.image(), self.path);
        sink.clear();
        let copied = copied.map_err(|error| match error {
            CopyError::Output(error) => Failure::Output(error),
            other => fail(other.to_string()),
        })?;
        input::check_unchanged(self.disk.image(), self.path)?;
        Ok(copied)
    }

    /// Says where zeros may be what is left of a table that was lost. Whoever takes the disk out looks no more at the image.
    fn tell_lost_tables(&self) {
        let (tree, mut told) = (self.disk.tree().l1.tree, 0_u64);
        check(self.disk.image(), &CheckOptions::default(), &mut |finding: Finding| {
            let guest = finding.guest.filter(|guest| guest.tree == tree);
            let Some(guest) = guest.filter(|_| *finding.rule == TABLE_MAY_BE_LOST) else { return };
            told = told.saturating_add(1);
            if told <= TOLD {
                let (code, start, len) = (finding.rule.code, guest.span.start, guest.span.len);
                let what = format!("{len} guest bytes, the first at {start}, read as zeros and may be lost");
                let _ = writeln!(io::stderr(), "qcow2-inspect: {}: {code}: {what}; see check", self.path);
            }
        });
    }

    /// Says where zeros stand for something else.
    fn tell(&self, copied: Copied, faults: u64) -> Outcome {
        let mut err = io::stderr();
        if let Some(span) = copied.behind_end {
            let (start, len) = (span.start, span.len);
            let what =
                format!("{len} guest bytes, the first at {start}, lie behind the end of the file: zeros");
            let _ = writeln!(err, "qcow2-inspect: {}: {}: {what}", self.path, DATA_CLUSTER_CUT.code);
        }
        if copied.lost == 0 {
            return Outcome::Complete;
        }
        let more = faults.saturating_sub(TOLD);
        if more > 0 {
            let ranges = if more == 1 { "range like these" } else { "ranges like these" };
            let _ = writeln!(err, "qcow2-inspect: {}: {more} more {ranges}", self.path);
        }
        let _ = writeln!(err, "qcow2-inspect: {}: zeros stand for {} guest bytes", self.path, copied.lost);
        Outcome::Exit(2)
    }
}

/// A sink that tells of faults and of progress.
struct Told<'a, S> {
    inner: S,
    range: GuestSpan,
    path: &'a str,
    faults: u64,
    last: Option<Instant>,
    /// Whether the progress stands on the terminal.
    is_shown: bool,
}

impl<'a, S: Sink> Told<'a, S> {
    fn new(inner: S, range: GuestSpan, path: &'a str) -> Self {
        let last = (io::stderr().is_terminal() && !io::stdout().is_terminal()).then(Instant::now);
        Self { inner, range, path, faults: 0, last, is_shown: false }
    }

    fn progress(&mut self, at: GuestOffset) {
        if let Some(last) = &mut self.last
            && last.elapsed() >= PROGRESS
        {
            *last = Instant::now();
            let done = u128::from(at.0.saturating_sub(self.range.start.0)).saturating_mul(100);
            let percent = done.checked_div(u128::from(self.range.len)).unwrap_or_default();
            let _ = write!(io::stderr(), "\r{percent} %\x1b[K");
            self.is_shown = true;
        }
    }

    /// Takes the progress off the terminal, for what comes next.
    fn clear(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}

impl<S: Sink> Sink for Told<'_, S> {
    fn bytes(&mut self, at: GuestOffset, bytes: &[u8]) -> io::Result<()> {
        self.progress(at);
        self.inner.bytes(at, bytes)
    }

    fn zeros(&mut self, range: GuestSpan) -> io::Result<()> {
        self.inner.zeros(range)
    }

    fn fault(&mut self, fault: &Fault) -> io::Result<()> {
        if self.faults < TOLD {
            self.clear();
            let _ = writeln!(io::stderr(), "qcow2-inspect: {}: {fault}", self.path);
        }
        self.faults = self.faults.saturating_add(1);
        self.inner.fault(fault)
    }
}

/// Raw bytes, one after the other.
struct Stream<W>(W);

impl<W: Write> Sink for Stream<W> {
    fn bytes(&mut self, _: GuestOffset, bytes: &[u8]) -> io::Result<()> {
        self.0.write_all(bytes)
    }

    fn zeros(&mut self, range: GuestSpan) -> io::Result<()> {
        io::copy(&mut io::Read::take(io::repeat(0), range.len), &mut self.0).map(drop)
    }

    fn fault(&mut self, _: &Fault) -> io::Result<()> {
        Ok(())
    }
}
