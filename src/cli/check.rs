//! `check`: the whole rule catalogue.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use clap::ValueEnum;
use qcow2_inspect::check::{CheckOptions, Progress};
use qcow2_inspect::finding::Severity;
use qcow2_inspect::report::{self, CheckReport};
use qcow2_inspect::{Image, Limits};

use super::input::{FilePart, Input};
use super::output::{self, Color, Format};
use super::threads::threads;
use super::{Failure, Outcome};

/// Findings of a rule that are listed where each is wanted. JSON Lines keeps none, and lists all.
const LISTED: usize = 1 << 14;

/// Check everything: each structure by itself, every reference to every cluster, and who owns what.
///
/// Neighbouring breaches with one cause are one finding. No backing file, no data file and no key is needed.
///
/// Exit code: 0 clean, 2 corrupt or unusable, 3 leaks only or not closed (the dirty bit is set and refcounts are stale),
/// 1 incomplete or not a qcow2 file. Warnings and notes change neither verdict nor exit code, unless --fail-on makes
/// them 2.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    input: Input,
    /// List each breach by itself.
    ///
    /// Text and JSON have the first 16384 of each rule, unless --limit findings_per_rule says otherwise; JSON Lines has
    /// all.
    #[arg(long)]
    all: bool,
    /// Decompress every compressed cluster too.
    ///
    /// What QEMU would fail to read is a corruption, with the guest ranges that are lost.
    #[arg(long)]
    deep: bool,
    /// Exit with 2 for findings of this severity too.
    #[arg(long, value_enum, value_name = "SEVERITY")]
    fail_on: Option<FailOn>,
    /// Say what `qemu-img check` would answer.
    ///
    /// Refused where a lock of another process would keep it from opening the image.
    #[arg(long)]
    as_qemu: bool,
    /// How to tell the progress, on standard error.
    #[arg(long, value_enum, default_value_t = Shown::Auto)]
    progress: Shown,
    /// How to write the report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

/// The least severity that counts as a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum FailOn {
    /// Warnings, and what is worse.
    Warning,
    /// Any finding.
    Note,
}

/// How progress is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Shown {
    /// As text, where standard error is a terminal and the work is long.
    Auto,
    /// One JSON object a line.
    Json,
    /// Not at all.
    None,
}

impl Args {
    /// Runs the command.
    pub(super) fn run(&self, color: Color) -> Result<Outcome, Failure> {
        let deep = self.deep.then(threads);
        let kept = if self.all { LISTED } else { Limits::DEFAULT.findings_per_rule };
        let limits = Limits { findings_per_rule: kept, ..Limits::DEFAULT };
        let image = self.input.open_within(|_, _| limits, self.format)?;
        self.refuse_locked(&image)?;
        let report = CheckReport {
            subject: self.input.subject(&image),
            options: CheckOptions { each: self.all, deep, now: output::now() },
            as_qemu: self.as_qemu,
        };
        let mut meter = Meter::new(self.progress);
        let mut sink = self.input.report_with_verdict(self.format, color.text());
        let (checked, findings) =
            report::write_check(&image, &report, &mut sink, &mut |progress| match progress {
                Some(progress) => meter.show(progress),
                None => meter.clear(),
            })?;
        let code = checked.verdict.exit_code();
        let least = match self.fail_on {
            None => None,
            Some(FailOn::Warning) => Some(Severity::Warning),
            Some(FailOn::Note) => Some(Severity::Note),
        };
        let fails = least.is_some_and(|least| findings.worst().is_some_and(|worst| worst >= least));
        // Leaks are worse than a warning, but have a code of their own.
        Ok(Outcome::Exit(if fails && code == 0 { 2 } else { code }))
    }

    /// What `qemu-img check` would answer is not asked of an image that it would not open.
    fn refuse_locked(&self, image: &Image<FilePart>) -> Result<(), Failure> {
        let Some(lock) = image.lock_against_qemu_check().filter(|_| self.as_qemu) else { return Ok(()) };
        let (name, byte) = (lock.as_str(), lock.byte());
        let reason = format!(
            "--as-qemu: qemu-img check could not open it: another process holds QEMU's {name} lock (byte {byte})"
        );
        Err(self.input.refuse(&reason, self.format))
    }
}

/// Tells the progress, not too often.
struct Meter {
    shown: Shown,
    is_terminal: bool,
    start: Instant,
    last: Option<Instant>,
    /// Whether a line stands on the terminal.
    is_shown: bool,
}

impl Meter {
    const FIRST: Duration = Duration::from_secs(1);
    const STEP: Duration = Duration::from_millis(200);

    fn new(shown: Shown) -> Self {
        Self {
            shown,
            is_terminal: io::stderr().is_terminal(),
            start: Instant::now(),
            last: None,
            is_shown: false,
        }
    }

    fn show(&mut self, progress: Progress) {
        let now = Instant::now();
        let is_early = match self.last {
            None => self.shown == Shown::Auto && now.duration_since(self.start) < Self::FIRST,
            Some(last) => now.duration_since(last) < Self::STEP,
        };
        let is_wanted = self.shown == Shown::Json || (self.shown == Shown::Auto && self.is_terminal);
        if is_early || !is_wanted {
            return;
        }
        self.last = Some(now);
        self.is_shown = self.shown == Shown::Auto;
        let Progress { stage, done, of } = progress;
        // Nobody is hurt if progress cannot be told.
        let _ = match self.shown {
            Shown::Json => writeln!(
                io::stderr(),
                "{{\"type\":\"progress\",\"stage\":\"{stage}\",\"done\":{done},\"of\":{of}}}"
            ),
            _ => write!(io::stderr(), "\r{stage}: {done} of {of}\x1b[K"),
        };
    }

    fn clear(&mut self) {
        if std::mem::take(&mut self.is_shown) {
            let _ = write!(io::stderr(), "\r\x1b[K");
        }
    }
}
