//! `explain`: one rule.

use qcow2_inspect::report;
use qcow2_inspect::rules::find;
use qcow2_inspect::text;

use super::output::{self, Format};
use super::{Failure, Outcome};

/// Explain one rule: what must hold, why it matters, what QEMU does, and what one can do.
///
/// Exit code: 0; 1 where there is no such rule.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The rule's code, such as L26.
    #[arg(value_name = "RULE")]
    rule: String,
    /// How to write it.
    #[arg(long, value_parser = output::without_sarif(), default_value = "text")]
    format: Format,
}

impl Args {
    /// Runs the command.
    pub(super) fn run(&self) -> Result<Outcome, Failure> {
        let Some(rule) = find(&self.rule) else {
            let rule = text::escape(self.rule.as_bytes());
            return Err(output::refuse(
                rule.as_bytes(),
                "there is no such rule; `rules` lists them",
                self.format,
            ));
        };
        report::write_rule(rule, &mut self.format.report())?;
        Ok(Outcome::Complete)
    }
}
