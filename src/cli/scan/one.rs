//! `scan-one`: what `scan` starts for each image, with the image as standard input.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use qcow2_inspect::Limits;
use qcow2_inspect::audit::{AuditOptions, Policy, audit};
use qcow2_inspect::report::{self, Limited, Subject};
use qcow2_inspect::source::ReadAt;

use crate::cli::input::{FilePart, reason};
use crate::cli::limits::Changes;
use crate::cli::{Failure, Outcome, output, policy};
use crate::sandbox;

/// The exit code where an image is rejected for what may be over the next time.
pub(super) const REJECTED_FOR_NOW: u8 = 3;

/// Audit the image that is standard input, and write one line of JSON.
#[derive(Debug, clap::Args)]
pub(in crate::cli) struct Args {
    /// The name of the image in the report, as the system has it.
    #[arg(long)]
    name: OsString,
    /// Its path from the root, so that a name that leads back to it is seen. Nothing is opened there.
    #[arg(long)]
    path: Option<OsString>,
    /// The policy's text.
    #[arg(long, value_parser = policy::parse)]
    policy: Policy,
    /// Seconds that it may take, beside the limits.
    #[arg(long)]
    seconds: u64,
    /// The process that started it, without which it ends.
    #[arg(long)]
    parent: u32,
    #[command(flatten)]
    limits: Changes,
    /// Whether rights are given up.
    #[arg(long, value_enum, default_value_t = sandbox::Mode::Auto)]
    sandbox: sandbox::Mode,
}

impl Args {
    /// Runs the command; its exit code is that of `audit`, or [`REJECTED_FOR_NOW`].
    pub(in crate::cli) fn run(&self) -> Result<Outcome, Failure> {
        let start = Instant::now();
        end_with(self.parent)?;
        let mut limits = self.limits.applied_to(Limits::DEFAULT);
        limits.seconds = limits.seconds.min(self.seconds);
        let part = open();
        // That of a file which is no image too.
        let len = part.as_ref().ok().and_then(|part| part.len().ok()).unwrap_or(0);
        let image = part.and_then(|part| {
            sandbox::enter(self.sandbox, None)?;
            part.image(|_, _| limits)
        });
        let options = AuditOptions {
            now: output::now(),
            path: self.path.clone().map(OsString::into_encoded_bytes),
            threads: None,
        };
        let audit = image.map(|image| audit(&image, &self.policy, &options));
        let subject = Subject { path: self.name.as_encoded_bytes(), len };
        let out = Limited::new(output::for_verdict(), limits.output_bytes);
        let answer = audit.as_ref().map_err(String::as_str);
        report::write_scan_line(out, answer, &self.policy.name, &subject, start.elapsed())?;
        Ok(Outcome::Exit(match audit {
            Ok(audit) if audit.is_of_the_moment() => REJECTED_FOR_NOW,
            Ok(audit) => audit.exit_code(),
            Err(_) => 1,
        }))
    }
}

/// Sees to it that this process ends when its parent does, whatever ends that.
#[cfg(target_os = "linux")]
fn end_with(parent: u32) -> Result<(), Failure> {
    use rustix::process::{Pid, Signal, getppid, set_parent_process_death_signal};
    set_parent_process_death_signal(Some(Signal::KILL)).map_err(io::Error::from)?;
    // It may have ended before: then there is no signal any more.
    let is_there = getppid().map(Pid::as_raw_nonzero).is_some_and(|id| u32::try_from(id.get()) == Ok(parent));
    is_there.then_some(()).ok_or_else(|| Failure::Refused("nobody waits for the answer".to_owned()))
}

#[cfg(not(target_os = "linux"))]
fn end_with(_: u32) -> Result<(), Failure> {
    Ok(())
}

fn open() -> Result<FilePart, String> {
    let file = io::stdin().as_fd().try_clone_to_owned().map_err(|error| reason(&error))?;
    FilePart::whole(File::from(file))
}
