//! Where the programs are: beside the running test or tool.

use std::io;
use std::path::PathBuf;
use std::process::{Command, Output};

/// Path of a program of the workspace, built by `cargo build --workspace --bins`.
///
/// # Errors
/// If it is not there: the message says how to build it.
pub fn path(name: &str) -> io::Result<PathBuf> {
    let here = std::env::current_exe()?;
    let found = here
        .ancestors()
        .skip(1)
        .take(2)
        .map(|dir| dir.join(name))
        .find(|p| p.is_file());
    found.ok_or_else(|| {
        let message = format!("{name} is not built: run cargo build --workspace --bins");
        io::Error::new(io::ErrorKind::NotFound, message)
    })
}

/// A command that runs a program of the workspace.
///
/// # Errors
/// If the program is not built.
pub fn command(name: &str) -> io::Result<Command> {
    Ok(Command::new(path(name)?))
}

/// Runs a command to its end and returns its output if it succeeded.
///
/// # Errors
/// If it cannot be started or exits with another code than 0: the message holds both streams.
pub fn run(command: &mut Command) -> io::Result<Output> {
    let output = command.output()?;
    if output.status.success() {
        return Ok(output);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let printed = String::from_utf8_lossy(&output.stdout);
    Err(io::Error::other(format!(
        "{command:?} ended with {}: {said}{printed}",
        output.status
    )))
}
