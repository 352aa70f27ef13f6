//! `map`: where the guest's bytes come from.

use std::io::{self, Write};

use qcow2_inspect::report::{self, TextOptions};

use super::guest::{Range, View, table_limits};
use super::input::{Input, check_unchanged};
use super::output::{self, Format};
use super::{Failure, Outcome};

/// Show where the bytes of the guest's disk come from: data, zeros, compressed clusters, or the backing file.
///
/// `--format json` is what `qemu-img map --output=json` prints of the image without its backing file; a range that comes
/// from nowhere has a key `error` there, and is zero only where QEMU reads zeros. No backing file and no data file is
/// ever opened.
///
/// Exit code: 0 when complete; 1 where the file is not qcow2 or could not be read, where tables are broken so that a
/// range comes from nowhere, or a limit cut the work.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    view: View,
    #[command(flatten)]
    range: Range,
    /// How to write the map.
    #[arg(long, value_parser = output::without_sarif(), default_value = "text")]
    format: Format,
}

impl Args {
    /// Runs the command.
    pub(super) fn run(&self) -> Result<Outcome, Failure> {
        let path = self.input.shown_path();
        let image = self.input.open_within(table_limits, self.format)?;
        let refuse = |reason: String| self.input.refuse(&reason, self.format);
        let disk = self.view.disk(&image).map_err(refuse)?;
        let range = self.range.within(disk.len());
        let subject = self.input.subject(&image);
        let walked = match self.format {
            Format::Json => {
                report::write_map_json(output::stdout(), self.input.output_bytes(), &disk, range)?
            }
            format => {
                let mut sink = self.input.report(format, TextOptions::default());
                report::write_map(&disk, range, &subject, &mut sink)?
            }
        };
        if walked.bytes.broken != 0 {
            let broken = walked.bytes.broken;
            let _ = writeln!(io::stderr(), "qcow2-inspect: {path}: {broken} guest bytes have broken tables");
        }
        check_unchanged(&image, &path)?;
        match walked.cut {
            Some(error) => Err(Failure::Refused(format!("{path}: {error}"))),
            None if walked.bytes.broken != 0 => Ok(Outcome::Incomplete),
            None => Ok(Outcome::Complete),
        }
    }
}
