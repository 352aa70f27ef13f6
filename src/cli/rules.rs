//! `rules`: the catalogue.

use std::io::Write;

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
    #[arg(long, value_enum, default_value_t = Format::Text)]
    format: Format,
}

impl Args {
    /// Runs the command.
    pub(super) fn run(&self, _: Color) -> Result<Outcome, Failure> {
        let prefix = self.prefix.to_ascii_uppercase();
        let rules: Vec<_> = catalogue().filter(|rule| rule.code.starts_with(&prefix)).collect();
        let mut out = output::stdout();
        match self.format {
            Format::Text => {
                for rule in rules {
                    let severity = rule.severity.as_str();
                    writeln!(out, "{} {severity:<10} {:<32} {}", rule.code, rule.slug, rule.title)?;
                }
            }
            Format::Json => {
                let document = serde_json::json!({ "schema": "qcow2-inspect/rules/1", "rules": rules });
                output::json(&mut out, &document)?;
            }
            Format::Jsonl => {
                for rule in rules {
                    output::json(&mut out, rule)?;
                }
            }
        }
        out.flush()?;
        Ok(Outcome::Complete)
    }
}
