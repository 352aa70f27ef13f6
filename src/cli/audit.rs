//! `audit`: whether an image may go further.

use qcow2_inspect::audit::{AuditOptions, Policy, audit};
use qcow2_inspect::report;

use super::input::Input;
use super::output::{self, Color, Format};
use super::threads::threads;
use super::{Failure, Outcome, policy};

/// Decide by a policy whether an image may go further: accept or reject, with the reasons.
///
/// It runs the whole check, looks for other formats that the file could be taken for, and holds what the image claims
/// against the policy's limits. What could not be judged is never accepted. Compressed clusters are decompressed only with
/// --deep, or where the policy says so.
///
/// `upload` rejects bytes beyond what an image needs where they can be many: unknown fields and extensions, behind the
/// extensions, behind the last cluster in use, beyond the disk. It does not look at what tables and the areas of LUKS leave
/// free, nor at clusters that are not in use, in the middle of the file. QEMU itself leaves some of these when it frees
/// clusters; `qemu-img convert` makes a copy without any.
///
/// Exit code: 0 accepted, 2 rejected, 1 where a limit or an I/O error kept a part from being judged and nothing else
/// is against the image, or where the file is not qcow2 at all. Only 0 means that the image may go further.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    input: Input,
    /// The policy: `upload` (no other file, one reading, a closed image, no bytes beyond what it needs in the places
    /// named above), `import` (plain backing and data files are fine) or `forensic` (rejects nothing that could be
    /// judged), or else a file as `policy show` prints it.
    #[arg(long, value_name = "NAME|FILE", default_value = "upload", value_parser = policy::load)]
    policy: Policy,
    /// Decompress every compressed cluster too, whatever the policy says: a line `deep = true` in it asks for the same.
    ///
    /// What QEMU would fail to read is a corruption. It takes some seconds for each GiB; without it the report says that
    /// it was not done.
    #[arg(long)]
    deep: bool,
    /// How to write the report.
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Args {
    /// Runs the command.
    pub(super) fn run(&self, color: Color) -> Result<Outcome, Failure> {
        let threads = threads();
        let image = self.input.open(self.format)?;
        let path = self.input.absolute_path();
        let options = AuditOptions { now: output::now(), path, threads: Some(threads) };
        let mut policy = self.policy.clone();
        policy.deep |= self.deep;
        let audit = audit(&image, &policy, &options);
        let subject = self.input.subject(&image);
        let mut sink = self.input.report_with_verdict(self.format, color.text());
        report::write_audit(&audit, &subject, &mut sink)?;
        Ok(Outcome::Exit(audit.exit_code()))
    }
}
