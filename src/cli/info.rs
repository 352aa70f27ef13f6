//! `info`: one screen on an image.

use qcow2_inspect::report::{self, InfoReport};

use crate::sandbox;

use super::input::Input;
use super::output::{self, Color, Format};
use super::{Failure, Outcome};

/// Show on one screen what an image is, what it holds and what is wrong with that.
///
/// The tables of clusters are not read, so `info` never says that an image is clean.
///
/// Exit code: 0 when complete, whatever the findings; 1 where the file is not qcow2 or could not be read, or a
/// limit cut the work.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    input: Input,
    /// How to write the report.
    #[arg(long, value_parser = output::without_sarif(), default_value = "text")]
    format: Format,
}

impl Args {
    /// Runs the command.
    pub(super) fn run(&self, color: Color) -> Result<Outcome, Failure> {
        let image = self.input.open(self.format)?;
        let mut sink = self.input.report(self.format, color.text());
        let report = InfoReport {
            subject: self.input.subject(&image),
            offset: self.input.offset(),
            now: output::now(),
            sandbox: sandbox::in_force(),
        };
        let complete = report::write_info(&image, &report, &mut sink)?;
        Ok(if complete { Outcome::Complete } else { Outcome::Incomplete })
    }
}
