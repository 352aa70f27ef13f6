//! `dump`: every structure, field by field.

use clap::ValueEnum;
use clap::builder::PossibleValue;
use qcow2_inspect::report::{self, Options, Section, Summary, TextOptions};

use super::input::Input;
use super::output::{self, Color, Format};
use super::{Failure, Outcome};

/// Show every structure field by field, each with its offset and whether it is valid.
///
/// The column behind the offset says `+` where the field holds, `-` where a rule found it wrong, and nothing
/// where no rule judges it. Entries that map nothing are left out, and the dump says so.
///
/// Exit code: 0 when complete, whatever the findings; 1 where the file is not qcow2 or could not be read, or a
/// limit cut the work.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    input: Input,
    /// Show these sections only.
    #[arg(long, value_name = "SECTIONS", value_delimiter = ',', conflicts_with = "hide")]
    only: Vec<SectionName>,
    /// Leave these sections out.
    #[arg(long, value_name = "SECTIONS", value_delimiter = ',')]
    hide: Vec<SectionName>,
    /// Leave out the offset column.
    #[arg(long)]
    no_offset: bool,
    /// Leave out the validity column.
    #[arg(long)]
    no_valid: bool,
    /// Show the bytes of each structure too.
    #[arg(long)]
    hex: bool,
    /// How to write the report.
    #[arg(long, value_parser = output::without_sarif(), default_value = "text")]
    format: Format,
}

/// A section as a value of the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct SectionName(Section);

impl ValueEnum for SectionName {
    fn value_variants<'a>() -> &'a [Self] {
        &[
            Self(Section::Header),
            Self(Section::Extensions),
            Self(Section::Luks),
            Self(Section::Refcounts),
            Self(Section::Snapshots),
            Self(Section::L1),
            Self(Section::L2),
            Self(Section::Bitmaps),
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.0.as_str()))
    }
}

impl Args {
    /// Runs the command.
    pub(super) fn run(&self, color: Color) -> Result<Outcome, Failure> {
        let image = self.input.open(self.format)?;
        let subject = self.input.subject(&image);
        let options = Options { sections: self.sections(), hex: self.hex, now: output::now() };
        let text = TextOptions { offset: !self.no_offset, valid: !self.no_valid, color: color.wanted() };
        let mut sink = self.input.report(self.format, text);
        let Summary { complete, .. } = report::dump(&image, &subject, &options, &mut sink)?;
        Ok(if complete { Outcome::Complete } else { Outcome::Incomplete })
    }

    fn sections(&self) -> Vec<Section> {
        let is_shown = |section: &Section| match self.only.as_slice() {
            [] => !self.hide.contains(&SectionName(*section)),
            only => only.contains(&SectionName(*section)),
        };
        Section::ALL.into_iter().filter(is_shown).collect()
    }
}
