//! The command line: one subcommand a file, each with its arguments and `run`.

mod audit;
mod bitmap;
mod check;
mod dump;
mod explain;
mod guest;
mod info;
mod input;
mod limits;
mod locate;
mod map;
mod new_file;
mod number;
mod output;
mod policy;
mod read;
mod rules;
#[cfg(unix)]
mod scan;
mod schema;
mod sparse;
mod threads;

use std::env;
use std::error::Error;
use std::io::{self, Write};
use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand};
use qcow2_inspect::text;

/// Inspects QCOW2 disk images that nobody can trust. It opens the one file that it is given, read-only, and
/// nothing else.
#[derive(Debug, Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    /// When to colour text.
    #[arg(long, global = true, value_enum, default_value_t = output::Color::Auto)]
    color: output::Color,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Check(check::Args),
    Audit(audit::Args),
    Policy(policy::Args),
    #[cfg(unix)]
    Scan(scan::Args),
    #[cfg(unix)]
    #[command(hide = true)]
    ScanOne(scan::one::Args),
    Dump(dump::Args),
    Info(info::Args),
    Map(map::Args),
    Read(read::Args),
    Bitmap(bitmap::Args),
    Locate(locate::Args),
    Rules(rules::Args),
    Explain(explain::Args),
    Schema(schema::Args),
}

impl Command {
    /// Whether its exit code says what it thinks of the image.
    fn judges(&self) -> bool {
        match self {
            Self::Check(_) | Self::Audit(_) => true,
            #[cfg(unix)]
            Self::Scan(_) | Self::ScanOne(_) => true,
            _ => false,
        }
    }
}

/// What ends a command before its report does.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// One line that says why not: the image, another file or what was asked for is no good.
    #[error("{0}")]
    Refused(String),
    /// The report cannot be written.
    #[error("cannot write the report: {0}")]
    Output(#[from] io::Error),
}

/// What a command that went through has to say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Everything was looked at.
    Complete,
    /// Something could not be told: a budget or an I/O error cut the work, or broken tables lead nowhere.
    Incomplete,
    /// The exit code that the command's own help lists.
    Exit(u8),
}

/// Prints the help, the version, or what is wrong with the command line. That quotes arguments, which may be names
/// of files that nobody can trust.
fn explain(error: &clap::Error) {
    if env::args_os().all(|argument| text::is_clean(argument.as_encoded_bytes())) {
        let _ = error.print();
        return;
    }
    for line in error.to_string().lines() {
        let _ = writeln!(io::stderr(), "{}", text::escape(line.as_bytes()));
    }
}

/// Runs the command. Exit codes: 0 when complete, whatever the findings; 1 otherwise, usage errors included. Where a
/// command has others, its own help lists them.
pub(crate) fn run() -> ExitCode {
    let arguments = match Arguments::command()
        .try_get_matches()
        .and_then(|matches| Arguments::from_arg_matches(&matches))
    {
        Ok(arguments) => arguments,
        Err(error) if wants_limits(&error) => return exit_code(list_limits(), false),
        Err(error) => {
            explain(&error);
            return ExitCode::from(u8::from(error.use_stderr()));
        }
    };
    let outcome = match &arguments.command {
        Command::Check(args) => args.run(arguments.color),
        Command::Audit(args) => args.run(arguments.color),
        Command::Policy(args) => args.run(),
        #[cfg(unix)]
        Command::Scan(args) => args.run(),
        #[cfg(unix)]
        Command::ScanOne(args) => args.run(),
        Command::Dump(args) => args.run(arguments.color),
        Command::Info(args) => args.run(arguments.color),
        Command::Map(args) => args.run(),
        Command::Read(args) => args.run(),
        Command::Bitmap(args) => args.run(),
        Command::Locate(args) => args.run(),
        Command::Rules(args) => args.run(arguments.color),
        Command::Explain(args) => args.run(),
        Command::Schema(args) => args.run(),
    };
    exit_code(outcome, arguments.command.judges())
}

/// Whether the command line asks for the list of limits. It is not said to be wrong for that.
fn wants_limits(error: &clap::Error) -> bool {
    let reason = error.source().and_then(|source| source.downcast_ref());
    matches!(reason, Some(limits::NoChange::HelpWanted))
}

fn list_limits() -> Result<Outcome, Failure> {
    let mut out = output::stdout();
    out.write_all(limits::list().as_bytes())?;
    out.flush()?;
    Ok(Outcome::Complete)
}

/// What the command ends with, once it has said on standard error what went wrong. `judges`: its exit code is a verdict.
fn exit_code(outcome: Result<Outcome, Failure>, judges: bool) -> ExitCode {
    match outcome {
        Ok(Outcome::Complete) => ExitCode::SUCCESS,
        Ok(Outcome::Incomplete) => ExitCode::FAILURE,
        Ok(Outcome::Exit(code)) => ExitCode::from(code),
        // Whoever reads has seen enough. Where 0 is a verdict, this is none.
        Err(Failure::Output(error)) if error.kind() == io::ErrorKind::BrokenPipe && !judges => {
            ExitCode::SUCCESS
        }
        Err(failure) => {
            let _ = writeln!(io::stderr(), "qcow2-inspect: {failure}");
            ExitCode::FAILURE
        }
    }
}
