//! `bitmap`: dirty bitmaps and the guest ranges that they say were written.

use std::ffi::{OsStr, OsString};

use qcow2_inspect::guest::Combine;
use qcow2_inspect::report::{self, BitmapOptions, TextOptions};

use super::input::{Input, check_unchanged, tell_writer};
use super::output::{self, Format};
use super::{Failure, Outcome};

/// Show the persistent dirty bitmaps: which guest ranges were written, and whether an incremental backup can rest on
/// that. The whole image is checked for it.
///
/// Exit code: 0 when complete, whether trusted or not; 1 where the file is not qcow2 or could not be read, no bitmap
/// has that name, or a limit cut the work.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    input: Input,
    /// Only the bitmap with this name, whose bytes need not be text.
    #[arg(long, value_name = "NAME")]
    name: Option<OsString>,
    /// Leave out what is dirty in this bitmap too.
    #[arg(long, value_name = "NAME", requires = "name", conflicts_with = "and")]
    minus: Option<OsString>,
    /// Only what is dirty in this bitmap too.
    #[arg(long, value_name = "NAME", requires = "name")]
    and: Option<OsString>,
    /// Leave out the ranges.
    #[arg(long)]
    list: bool,
    /// How to write the report.
    #[arg(long, value_parser = output::without_sarif(), default_value = "text")]
    format: Format,
}

impl Args {
    /// Runs the command.
    pub(super) fn run(&self) -> Result<Outcome, Failure> {
        let path = self.input.shown_path();
        let image = self.input.open(self.format)?;
        let bytes = OsStr::as_encoded_bytes;
        let minus = self.minus.as_deref().map(|name| (Combine::Minus, bytes(name)));
        let and = self.and.as_deref().map(|name| (Combine::And, bytes(name)));
        let options = BitmapOptions {
            name: self.name.as_deref().map(bytes),
            with: minus.or(and),
            only_list: self.list,
        };
        let subject = self.input.subject(&image);
        let mut sink = self.input.report(self.format, TextOptions::default());
        let told = report::write_bitmaps(&image, &options, &subject, &mut sink)?;
        tell_writer(&image, &path);
        check_unchanged(&image, &path)?;
        match told.cut {
            Some(error) => Err(Failure::Refused(format!("{path}: {error}"))),
            None if told.missing => Err(Failure::Refused(format!("{path}: there is no bitmap of that name"))),
            None if told.unknown => Ok(Outcome::Incomplete),
            None => Ok(Outcome::Complete),
        }
    }
}
