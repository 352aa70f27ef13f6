//! `locate`: from a guest offset to the file, and back.

use qcow2_inspect::check::looks_like;
use qcow2_inspect::guest::owners;
use qcow2_inspect::image::SnapshotNames;
use qcow2_inspect::report::{self, Located, TextOptions};
use qcow2_inspect::units::{GuestOffset, HostOffset};

use super::guest::{View, table_limits};
use super::input::{Input, check_unchanged, tell_writer};
use super::number::number;
use super::output::{self, Format};
use super::{Failure, Outcome};

/// Follow a guest offset through the tables to the file, or tell what a byte of the file is and who uses it.
///
/// Exit code: 0 when complete; 1 where the guest's byte is missing, the file is not qcow2 or could not be read, or a limit
/// cut the work.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("offset-of").required(true).args(["guest", "host"]))]
pub(super) struct Args {
    #[command(flatten)]
    input: Input,
    #[command(flatten)]
    view: View,
    /// The guest offset to follow.
    #[arg(long, value_name = "OFFSET", value_parser = number)]
    guest: Option<u64>,
    /// The offset of the file to explain.
    #[arg(long, value_name = "OFFSET", value_parser = number, conflicts_with = "snapshot")]
    host: Option<u64>,
    /// How to write the answer.
    #[arg(long, value_parser = output::without_sarif(), default_value = "text")]
    format: Format,
}

impl Args {
    /// Runs the command.
    pub(super) fn run(&self) -> Result<Outcome, Failure> {
        let path = self.input.shown_path();
        let image = self.input.open_within(table_limits, self.format)?;
        let subject = self.input.subject(&image);
        let mut sink = self.input.report(self.format, TextOptions::default());
        let names = SnapshotNames::read(&image);
        let mut tell = |located: Located<'_>| report::write_located(located, &names, &subject, &mut sink);
        let (mut cut, mut is_missing) = (None, false);
        let refuse = |reason: String| self.input.refuse(&reason, self.format);
        if let Some(host) = self.host {
            let found = owners(&image, HostOffset(host)).map_err(|error| refuse(error.to_string()))?;
            let is_unused = found.owners.is_empty() && found.counted == 0;
            let holds = is_unused.then(|| looks_like(&image, found.at)).transpose();
            let holds = holds.map_err(|error| refuse(error.to_string()))?.flatten();
            tell(Located::Host(&found, holds.as_deref()))?;
            cut = found.cut();
        } else if let Some(guest) = self.guest {
            let disk = self.view.disk(&image).map_err(refuse)?;
            let trace = disk.locate(GuestOffset(guest)).map_err(|error| refuse(error.to_string()))?;
            tell(Located::Guest(disk.tree().l1.tree, &trace))?;
            is_missing = trace.lost_for.is_some();
        }
        tell_writer(&image, &path);
        check_unchanged(&image, &path)?;
        let cut = cut.or(names.stopped_by().filter(|_| self.host.is_some()));
        match cut {
            Some(error) => Err(Failure::Refused(format!("{path}: {error}"))),
            None if is_missing => Ok(Outcome::Incomplete),
            None => Ok(Outcome::Complete),
        }
    }
}
