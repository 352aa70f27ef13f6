//! `audit`: whether an image may go further.

use qcow2_inspect::audit::{AuditOptions, Policy, audit};
use qcow2_inspect::report;

use super::input::Input;
use super::output::{self, Color, Format};
use super::policy;
use super::{Failure, Outcome};

/// Decide by a policy whether an image may go further: accept or reject, with the reasons.
///
/// It runs the whole check, looks for other formats that the file could be taken for, and holds what the image claims
/// against the policy's limits. What could not be judged is never accepted.
///
/// Exit code: 0 accepted, 2 rejected, 1 where a limit or an I/O error kept a part from being judged and nothing else
/// is against the image, or where the file is not qcow2 at all. Only 0 means that the image may go further.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    input: Input,
    /// The policy: `upload` (no other file, one reading, nothing hidden), `import` (plain backing and data files are
    /// fine) or `forensic` (rejects nothing that could be judged), or else a file as `policy show` prints it.
    #[arg(long, value_name = "NAME|FILE", default_value = "upload", value_parser = policy::load)]
    policy: Policy,
    /// How to write the report; `jsonl` is the same as `json`.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Args {
    /// Runs the command.
    pub(super) fn run(&self, color: Color) -> Result<Outcome, Failure> {
        let image = self.input.open(self.format)?;
        let options = AuditOptions { now: output::now(), path: self.input.absolute_path() };
        let audit = audit(&image, &self.policy, &options);
        let subject = self.input.subject(&image);
        let out = self.input.stdout_for_verdict();
        match self.format {
            Format::Text => report::write_audit_text(out, &audit, &subject, color.wanted())?,
            Format::Json | Format::Jsonl => report::write_audit_json(out, &audit, &subject)?,
        }
        Ok(Outcome::Exit(audit.exit_code()))
    }
}
