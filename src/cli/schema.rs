//! `schema`: what the JSON of a command looks like.

use std::io::Write;

use clap::ValueEnum;
use clap::builder::{PossibleValuesParser, TypedValueParser};
use qcow2_inspect::report::{SHAPES, Shape};

use super::{Failure, Outcome, output};

/// Print the JSON Schema of what a command writes as JSON, or of each line that it writes as JSON Lines.
///
/// Where a command has no report to give, it writes an `error` instead.
///
/// Exit code: 0.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The command.
    #[arg(value_name = "COMMAND", value_parser = shape())]
    shape: &'static Shape,
    /// Which of the two; `scan` writes lines alone.
    #[arg(long, value_enum, default_value_t = Of::Json)]
    format: Of,
}

/// What a schema is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Of {
    /// The document.
    Json,
    /// A line.
    Jsonl,
}

/// The shape that has this name.
fn shape() -> impl TypedValueParser<Value = &'static Shape> {
    let names = PossibleValuesParser::new(SHAPES.map(Shape::name));
    names.try_map(|name| SHAPES.into_iter().find(|shape| shape.name() == name).ok_or("no such command"))
}

impl Args {
    /// Runs the command.
    pub(super) fn run(&self) -> Result<Outcome, Failure> {
        let mut out = output::stdout();
        let schema = match self.format {
            Of::Json => self.shape.document_schema(),
            Of::Jsonl => self.shape.line_schema(),
        };
        writeln!(out, "{schema}")?;
        out.flush()?;
        Ok(Outcome::Complete)
    }
}
