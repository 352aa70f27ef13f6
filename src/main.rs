//! The command: parses its arguments, calls, sets the exit code.
fn main() {}
