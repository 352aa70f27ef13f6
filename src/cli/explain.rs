//! `explain`: one rule.

use std::io::Write;

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
    /// How to write it; `jsonl` is the same as `json`.
    #[arg(long, value_enum, default_value_t = Format::Text)]
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
        let mut out = output::stdout();
        match self.format {
            Format::Text => report::write_rule(&mut out, rule)?,
            Format::Json | Format::Jsonl => output::json(&mut out, &report::rule_document(rule))?,
        }
        out.flush()?;
        Ok(Outcome::Complete)
    }
}
