//! The mutation check (consensus.md, 5.7; `scripts/mutants`): one planted bug after the other, until a seed or a
//! directed scenario finds it. It exists only in the build that has the bugs.

use crate::campaign::Terms;
use crate::crypto::Crypto;
use crate::scenario::{self, Script};
use crate::trace::Words;
use ledger::planted::{Bug, plant};
use std::io::{self, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::thread;

const HELP: &str = "\
Plant the protocol bugs of consensus.md 5.7 one at a time and see whether the simulation finds them.

Usage: scripts/mutants [--only NAME] [--seeds N] [--threads T] [SCENARIO...]

  --only NAME   one bug, by its number or name
  --seeds N     so many random seeds for each bug before the scenarios (default 120)
  --threads T   seeds or scenarios at a time (default 2)

Without a bug everything must pass; with one, some seed or scenario must fail. Exit codes: 0 every bug was killed;
1 a bug survived, or a run without a bug failed; 2 wrong usage.
";

/// What the command line says.
struct Args {
    only: Option<Bug>,
    seeds: u64,
    threads: usize,
    scripts: Vec<Script>,
}

/// What found a bug, and as what.
struct Kill {
    by: String,
    caught: String,
}

pub(crate) fn main(args: impl Iterator<Item = String>) -> io::Result<ExitCode> {
    let mut out = io::stdout();
    let mut args = match read(args) {
        Ok(Some(args)) => args,
        Ok(None) => {
            write!(out, "{HELP}")?;
            return Ok(ExitCode::SUCCESS);
        }
        Err(error) => {
            writeln!(
                io::stderr(),
                "error: {error}\nhint: --help lists the options"
            )?;
            return Ok(ExitCode::from(2));
        }
    };
    // A panic is one more way to be caught; its words would only hide the table.
    std::panic::set_hook(Box::new(|_| {}));
    plant(None);
    if let Some(kill) = args.hunt() {
        writeln!(out, "without a bug {} fails: {}", kill.by, kill.caught)?;
        return Ok(ExitCode::FAILURE);
    }
    let scenarios = args.scripts.len();
    writeln!(
        out,
        "without a bug {} seeds and {scenarios} scenarios pass\n",
        args.seeds
    )?;
    writeln!(
        out,
        "| # | planted bug | killed by | caught as |\n| --- | --- | --- | --- |"
    )?;
    let mut survivors = 0_usize;
    for bug in Bug::ALL {
        if args.only.is_some_and(|only| only != *bug) {
            continue;
        }
        // Scenarios that are there for this bug come first.
        args.scripts
            .sort_by_key(|script| (!script.is_for(bug.number()), script.name.clone()));
        plant(Some(*bug));
        let kill = args.hunt();
        plant(None);
        survivors += usize::from(kill.is_none());
        let kill = kill.unwrap_or_else(|| Kill {
            by: "nothing".to_owned(),
            caught: "SURVIVES".to_owned(),
        });
        let (number, what) = (bug.number(), bug.what());
        writeln!(out, "| {number} | {what} | {} | {} |", kill.by, kill.caught)?;
    }
    writeln!(out, "\n{survivors} survivors")?;
    Ok(if survivors == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn read(mut args: impl Iterator<Item = String>) -> Result<Option<Args>, String> {
    let mut read = Args {
        only: None,
        seeds: 120,
        threads: 2,
        scripts: Vec::new(),
    };
    while let Some(arg) = args.next() {
        let mut value = || args.next().ok_or_else(|| format!("{arg} lacks its value"));
        match arg.as_str() {
            "-h" | "--help" => return Ok(None),
            "--only" => {
                let name = value()?;
                let named = |bug: &&Bug| {
                    format!("{bug:?}").eq_ignore_ascii_case(&name)
                        || bug.number().to_string() == name
                };
                let bug = Bug::ALL.iter().find(named);
                read.only = Some(*bug.ok_or_else(|| format!("no bug is called {name}"))?);
            }
            "--seeds" => {
                let number = value()?;
                read.seeds = number
                    .parse()
                    .map_err(|_bad| format!("{number} is no number"))?;
            }
            "--threads" => {
                let number = value()?;
                read.threads = number
                    .parse()
                    .map_err(|_bad| format!("{number} is no number"))?;
            }
            option if option.starts_with('-') => return Err(format!("unknown option {option}")),
            file => read.scripts.push(Script::read(file.as_ref())?),
        }
    }
    Ok(Some(read))
}

impl Args {
    /// The first seed or scenario that fails with what is planted now.
    fn hunt(&self) -> Option<Kill> {
        self.first_seed().or_else(|| self.first_scenario())
    }

    /// The lowest failing seed.
    fn first_seed(&self) -> Option<Kill> {
        let terms = Terms {
            nodes: None,
            crypto: Crypto::Mock,
            files: None,
            compact_above: None,
            twins: None,
        };
        let next = AtomicU64::new(0);
        let found: Mutex<Option<(u64, String)>> = Mutex::new(None);
        thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| {
                    loop {
                        let seed = next.fetch_add(1, Ordering::Relaxed);
                        let enough = found.lock().is_ok_and(|found| {
                            found.as_ref().is_some_and(|(lowest, _)| *lowest < seed)
                        });
                        if seed >= self.seeds || enough {
                            return;
                        }
                        let run = || terms.run(seed, Words::None).result;
                        let caught = match catch_unwind(AssertUnwindSafe(run)) {
                            Ok(Ok(())) => continue,
                            Ok(Err(failure)) => failure.violation.invariant.to_string(),
                            Err(_) => "I18 no panic".to_owned(),
                        };
                        if let Ok(mut found) = found.lock()
                            && found.as_ref().is_none_or(|(lowest, _)| seed < *lowest)
                        {
                            *found = Some((seed, caught));
                        }
                    }
                });
            }
        });
        let (seed, caught) = found.into_inner().ok()??;
        let by = format!("seed {seed}");
        Some(Kill { by, caught })
    }

    /// The first failing scenario, in the order of their names.
    fn first_scenario(&self) -> Option<Kill> {
        let next = AtomicUsize::new(0);
        let found: Mutex<Option<(usize, String)>> = Mutex::new(None);
        thread::scope(|scope| {
            for _ in 0..self.threads.max(1) {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        let enough = found.lock().is_ok_and(|found| {
                            found.as_ref().is_some_and(|(lowest, _)| *lowest < at)
                        });
                        let Some(script) = self.scripts.get(at).filter(|_| !enough) else {
                            return;
                        };
                        let run = || scenario::play(script);
                        let caught = match catch_unwind(AssertUnwindSafe(run)) {
                            Ok(Ok(())) => continue,
                            Ok(Err(fall)) => fall.failure.violation.invariant.to_string(),
                            Err(_) => "I18 no panic".to_owned(),
                        };
                        if let Ok(mut found) = found.lock()
                            && found.as_ref().is_none_or(|(lowest, _)| at < *lowest)
                        {
                            *found = Some((at, caught));
                        }
                    }
                });
            }
        });
        let (at, caught) = found.into_inner().ok()??;
        let by = format!("`{}`", self.scripts.get(at)?.name);
        Some(Kill { by, caught })
    }
}
