//! `nachweis-simulate`: the consensus engine in simulated networks (`docs/simulation.md`).
//!
//! The same engine object as in production, in virtual time: one seed always gives the same run, bit for bit. Its map:
//!
//! - what a seed stands for: `plan`; its chance: `random`; one run: `run`; many: `campaign`; the command line: `args`
//! - the world: `world`, with `network`, `disk` (and `files`), `clock`, `queue`, `roster`, `crypto`
//! - a validator: `node` (engine and driver), `application`; a faulty one: `byzantine`
//! - the judge: `oracle`, `violation`; what is told: `trace`

mod application;
mod args;
mod byzantine;
mod campaign;
mod clock;
mod crypto;
mod delays;
mod disk;
mod files;
mod filter;
mod items;
#[cfg(planted_bugs)]
mod mutants;
mod network;
mod node;
mod oracle;
mod plan;
mod queue;
mod random;
mod roster;
mod run;
mod scenario;
mod trace;
mod twins;
mod violation;
mod world;

#[cfg(test)]
mod tests;

use args::Command;
use campaign::Terms;
use scenario::Script;
use std::io::{self, Write};
use std::process::ExitCode;
use std::thread;
use trace::Words;

fn main() -> ExitCode {
    #[cfg(planted_bugs)]
    if std::env::args().nth(1).as_deref() == Some("mutants") {
        return mutants::main(std::env::args().skip(2)).unwrap_or(ExitCode::SUCCESS);
    }
    let command = args::parse(std::env::args().skip(1));
    let mut out = io::stdout();
    let done = match command {
        Ok(Command::Help) => write!(out, "{}", args::HELP).map(|()| ExitCode::SUCCESS),
        Ok(Command::Replay { terms, seed }) => replay(&terms, seed, &mut out),
        Ok(Command::Delays) => delays::report(&mut out).map(|kept| {
            if kept {
                ExitCode::SUCCESS
            } else {
                ExitCode::FAILURE
            }
        }),
        Ok(Command::Scenarios(files)) => play(&files, &mut out),
        Ok(Command::Sweep {
            terms,
            from,
            count,
            threads,
        }) => {
            let threads = threads.or_else(|| thread::available_parallelism().ok().map(usize::from));
            sweep(&terms, from, count, threads.unwrap_or(1), &mut out)
        }
        Err(error) => writeln!(
            io::stderr(),
            "error: {error}\nhint: nachweis-simulate --help lists the options"
        )
        .map(|()| ExitCode::from(2)),
    };
    // A reader that has gone away is no error.
    done.unwrap_or(ExitCode::SUCCESS)
}

fn replay(terms: &Terms, seed: u64, out: &mut dyn Write) -> io::Result<ExitCode> {
    campaign::name_the_seed_of_a_panic(terms.clone());
    let outcome = terms.run(seed, Words::Print);
    match outcome.result {
        Ok(()) => {
            writeln!(out, "seed {seed} passed, trace {:016x}", outcome.hash)?;
            Ok(ExitCode::SUCCESS)
        }
        Err(failure) => {
            writeln!(
                out,
                "seed {seed} failed, trace {:016x}\n{failure}",
                outcome.hash
            )?;
            Ok(ExitCode::FAILURE)
        }
    }
}

fn play(files: &[String], out: &mut dyn Write) -> io::Result<ExitCode> {
    let mut failed = 0_usize;
    for file in files {
        let script = match Script::read(file.as_ref()) {
            Ok(script) => script,
            Err(error) => {
                writeln!(io::stderr(), "error: {error}")?;
                return Ok(ExitCode::from(2));
            }
        };
        match scenario::play(&script) {
            Ok(()) => writeln!(out, "ok      {}", script.name)?,
            Err(fall) => {
                failed += 1;
                writeln!(out, "FAILED  {}\n{fall}", script.name)?;
            }
        }
    }
    writeln!(
        out,
        "{} scenarios passed, {failed} failed",
        files.len() - failed
    )?;
    Ok(if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

#[expect(
    clippy::disallowed_types,
    reason = "the rate of the simulation is about real time; nothing in a run reads it"
)]
fn sweep(
    terms: &Terms,
    from: u64,
    count: u64,
    threads: usize,
    out: &mut dyn Write,
) -> io::Result<ExitCode> {
    campaign::name_the_seed_of_a_panic(terms.clone());
    let began = std::time::Instant::now();
    let report = terms.sweep(from, count, threads, &|line| {
        writeln!(io::stdout(), "{line}").ok();
    });
    let elapsed = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
    let run = report.passed + report.failed.len() as u64;
    writeln!(
        out,
        "{} events, {} messages, {} blocks, {} epochs ended, {} process starts, {} failed writes, {} offences refused",
        report.events,
        report.messages,
        report.blocks,
        report.epochs,
        report.starts,
        report.failed_writes,
        report.offences
    )?;
    writeln!(
        out,
        "all final after GST and the last record: half within {} ms, 99 % within {} ms, the last after {} ms",
        report.settled_by(500),
        report.settled_by(990),
        report.settled_by(1_000)
    )?;
    let late = report.late();
    if let Some(slowest) = late {
        writeln!(
            out,
            "too slow: 99 % of the seeds are final within {slowest} ms, not within {} ms",
            campaign::SETTLED
        )?;
    }
    if !report.failed.is_empty() {
        writeln!(out, "failed seeds: {:?}", report.failed)?;
    }
    writeln!(
        out,
        "{} seeds passed, {} failed, {} seeds/min",
        report.passed,
        report.failed.len(),
        run.saturating_mul(60_000) / elapsed.max(1)
    )?;
    Ok(if report.failed.is_empty() && late.is_none() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
