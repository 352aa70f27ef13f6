//! The command: parses its arguments, calls, sets the exit code.

mod cli;
mod sandbox;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::run()
}
