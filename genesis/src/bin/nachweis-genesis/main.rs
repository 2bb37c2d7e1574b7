//! `nachweis-genesis`: the founding ceremony on the command line.
//!
//! Parses, calls the library, prints. One file per command; its doc comment is its help.

mod apply;
mod assemble;
mod check;
mod failure;
mod observer;
mod restart;
mod show;
mod sign;
mod trust;

use clap::{Parser, Subcommand};
use failure::Failure;
use genesis::words::Fingerprint;
use std::io::{self, Write};
use std::process::ExitCode;

/// Found a network of authorities, together.
///
/// Every authority makes its keys and an application (apply). Anyone puts the applications together (assemble):
/// the same applications always make the same genesis. Every authority compares the fingerprint with the others,
/// by telephone or in one room, and signs (sign). The signed genesis is checked (check), and the trust files that
/// clients pin are made from it (trust).
#[derive(Debug, Parser)]
#[command(name = "nachweis-genesis", version, propagate_version = true, after_help = EXITS)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

const EXITS: &str = "Exit codes: 0 done; 1 checked and not good; 2 wrong usage or no such format; \
                     3 could not tell (a file cannot be read or written); 4 refused; 70 internal";

#[derive(Debug, Subcommand)]
enum Command {
    Apply(apply::Args),
    Assemble(assemble::Args),
    Sign(sign::Args),
    Check(check::Args),
    Show(show::Args),
    Trust(trust::Args),
    Restart(restart::Args),
    Observer(observer::Args),
}

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Without a terminal there is nobody to tell.
            error.print().ok();
            return ExitCode::from(u8::try_from(error.exit_code()).unwrap_or(2));
        }
    };
    let mut out = io::stdout().lock();
    let done = run(cli.command, &mut out).and_then(|()| out.flush().map_err(Failure::Output));
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            failure.report(&mut io::stderr().lock());
            ExitCode::from(failure.exit_code())
        }
    }
}

fn run(command: Command, out: &mut dyn Write) -> Result<(), Failure> {
    match command {
        Command::Apply(args) => apply::run(&args, out),
        Command::Assemble(args) => assemble::run(&args, out),
        Command::Sign(args) => sign::run(&args, out),
        Command::Check(args) => check::run(&args, out),
        Command::Show(args) => show::run(&args, out),
        Command::Trust(args) => trust::run(&args, out),
        Command::Restart(args) => restart::run(&args, out),
        Command::Observer(args) => observer::run(&args, out),
    }
}

/// Prints what people compare.
fn print_fingerprint(fingerprint: Fingerprint, out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "fingerprint:")?;
    fingerprint
        .to_string()
        .lines()
        .try_for_each(|line| writeln!(out, "  {line}"))
}
