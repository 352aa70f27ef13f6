//! `rules`: the catalogue.

use qcow2_inspect::report;
use qcow2_inspect::rules::catalogue;

use super::output::{self, Color, Format};
use super::{Failure, Outcome};

/// List every rule: code, severity, name, and what must hold.
///
/// Exit code: 0.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Only the rules whose codes start so, such as `L` or `H0`.
    #[arg(value_name = "PREFIX", default_value = "")]
    prefix: String,
    /// How to write the list.
    #[arg(long, value_parser = output::without_sarif(), default_value = "text")]
    format: Format,
}

impl Args {
    /// Runs the command.
    pub(super) fn run(&self, _: Color) -> Result<Outcome, Failure> {
        let prefix = self.prefix.to_ascii_uppercase();
        let rules: Vec<_> = catalogue().filter(|rule| rule.code.starts_with(&prefix)).collect();
        report::write_rules(&rules, &mut self.format.report())?;
        Ok(Outcome::Complete)
    }
}
