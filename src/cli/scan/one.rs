//! `scan-one`: what `scan` starts for each image, with the image as standard input.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::AsFd;
use std::time::Instant;

use qcow2_inspect::Limits;
use qcow2_inspect::audit::{AuditOptions, Policy, audit};
use qcow2_inspect::report;

use crate::cli::input::{Part, reason};
use crate::cli::limits::Changes;
use crate::cli::{Failure, Outcome, output, policy};
use crate::sandbox;

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
    #[command(flatten)]
    limits: Changes,
    /// Whether rights are given up.
    #[arg(long, value_enum, default_value_t = sandbox::Mode::Auto)]
    sandbox: sandbox::Mode,
}

impl Args {
    /// Runs the command; its exit code is that of `audit`.
    pub(in crate::cli) fn run(&self) -> Result<Outcome, Failure> {
        let start = Instant::now();
        let limits = self.limits.applied_to(Limits::DEFAULT);
        let image = open().and_then(|part| {
            sandbox::enter(self.sandbox, None)?;
            part.image(|_, _| limits)
        });
        let options = AuditOptions {
            now: output::now(),
            path: self.path.clone().map(OsString::into_encoded_bytes),
            threads: None,
        };
        let len = image.as_ref().map_or(0, |image| image.file_len());
        let audit = image.map(|image| audit(&image, &self.policy, &options));
        let file = (self.name.as_encoded_bytes(), len);
        let out = output::for_verdict(limits.output_bytes);
        let answer = audit.as_ref().map_err(String::as_str);
        report::write_scan_line(out, answer, &self.policy.name, file, start.elapsed())?;
        Ok(Outcome::Exit(audit.map_or(1, |audit| audit.exit_code())))
    }
}

fn open() -> Result<Part, String> {
    let file = io::stdin().as_fd().try_clone_to_owned().map_err(|error| reason(&error))?;
    Part::whole(File::from(file))
}
