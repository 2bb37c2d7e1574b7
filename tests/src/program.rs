//! How the programs behind `scripts/` end: what went wrong as one line on stderr, and exit code 1.

use std::fmt::Display;
use std::io::{self, Write as _};
use std::process::ExitCode;

/// The exit code of a program's outcome, once its error was said.
pub fn end(outcome: Result<(), impl Display>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Without a stderr the exit code must do.
            writeln!(io::stderr(), "error: {error}").ok();
            ExitCode::FAILURE
        }
    }
}
