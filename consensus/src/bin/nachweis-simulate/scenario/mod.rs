//! Directed scenarios (consensus.md, 5.5): text files of what random seeds do not find, or not often enough.
//!
//! The oracle watches all the way and looks again after each line, and every scenario ends by proving liveness from
//! its last state: whatever stands in the way of messages goes, who is down starts, and one more record becomes final.

mod language;
mod stage;

use crate::trace::{Trace, Words};
use crate::violation::Failure;
use crate::world::World;
use language::{Command, Line};
use stage::Stage;
use std::collections::VecDeque;
use std::fmt;
use std::path::Path;

/// A scenario as its file says it.
pub(crate) struct Script {
    pub(crate) name: String,
    lines: Vec<Line>,
    /// How often it is played, each time with other chance.
    runs: u64,
    /// Planted bugs that it is there to find.
    #[cfg_attr(
        not(planted_bugs),
        expect(dead_code, reason = "there are no planted bugs")
    )]
    kills: Vec<u64>,
}

/// Where a scenario broke a promise.
pub(crate) struct Fall {
    pub(crate) failure: Failure,
    place: String,
    run: u64,
    last: Vec<String>,
}

impl fmt::Display for Fall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for line in &self.last {
            writeln!(f, "{line}")?;
        }
        write!(f, "run {}, {}\n{}", self.run, self.place, self.failure)
    }
}

impl Script {
    /// Reads a file.
    pub(crate) fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(|error| format!("{}: {error}", path.display()))?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Self::parse(&name, &text).map_err(|error| format!("{}: {error}", path.display()))
    }

    fn parse(name: &str, text: &str) -> Result<Self, language::ParseError> {
        let mut lines = language::parse(text)?;
        let (mut runs, mut kills) = (1, Vec::new());
        lines.retain(|line| match &line.command {
            Command::Runs(number) => {
                runs = *number;
                false
            }
            Command::Kills(bugs) => {
                kills.clone_from(bugs);
                false
            }
            _ => true,
        });
        Ok(Self {
            name: name.to_owned(),
            lines,
            runs,
            kills,
        })
    }

    /// Whether it is there to find this planted bug.
    #[cfg(planted_bugs)]
    pub(crate) fn is_for(&self, bug: u8) -> bool {
        self.kills.contains(&u64::from(bug))
    }

    /// All scenarios of a folder, by name.
    #[cfg(test)]
    fn folder(path: &Path) -> Result<Vec<Self>, String> {
        let unread = |error| format!("{}: {error}", path.display());
        let mut files = Vec::new();
        for entry in std::fs::read_dir(path).map_err(unread)? {
            files.push(entry.map_err(unread)?.path());
        }
        files.retain(|file| file.extension().is_some_and(|extension| extension == "txt"));
        files.sort();
        files.iter().map(|file| Self::read(file)).collect()
    }
}

/// Plays a scenario as often as it says.
pub(crate) fn play(script: &Script) -> Result<(), Box<Fall>> {
    for run in 0..script.runs {
        play_once(script, run)?;
    }
    Ok(())
}

fn play_once(script: &Script, run: u64) -> Result<(), Box<Fall>> {
    let mut stage = Stage::new(run);
    for line in &script.lines {
        if let Err(failure) = stage.carry_out(&line.command) {
            return Err(fall(
                stage,
                run,
                failure,
                format!("line {}: {}", line.number, line.text),
            ));
        }
    }
    match stage.prove_liveness() {
        Ok(()) => Ok(()),
        Err(failure) => Err(fall(
            stage,
            run,
            failure,
            "liveness from the last state".to_owned(),
        )),
    }
}

fn fall(stage: Stage, run: u64, failure: Failure, place: String) -> Box<Fall> {
    let last = stage
        .into_world()
        .map_or_else(Vec::new, |world| world.trace.last());
    Box::new(Fall {
        failure,
        place,
        run,
        last,
    })
}

/// A world whose last events are kept.
fn begin(plan: crate::plan::Plan) -> World {
    World::new(plan, Trace::new(Words::Last(VecDeque::new())))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every file of `tests/scenarios`, each with its result.
    #[test]
    fn every_scenario_keeps_all_promises() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/scenarios");
        let scripts = Script::folder(&folder).expect("scenarios can be read");
        assert!(scripts.len() >= 30, "{} scenarios", scripts.len());
        let next = std::sync::atomic::AtomicUsize::new(0);
        let falls = std::sync::Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| {
                    loop {
                        let at = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                        let Some(script) = scripts.get(at) else {
                            return;
                        };
                        match play(script) {
                            Ok(()) => println!("ok      {} ({} runs)", script.name, script.runs),
                            Err(fall) => {
                                println!("FAILED  {}\n{fall}", script.name);
                                falls.lock().expect("no panic").push(script.name.clone());
                            }
                        }
                    }
                });
            }
        });
        let falls = falls.into_inner().expect("no panic");
        assert!(falls.is_empty(), "scenarios that fail: {falls:?}");
    }

    #[test]
    fn a_broken_promise_is_told_with_its_line() {
        let text = "nodes 4\nkill 0 1 # no quorum is left\nsubmit 2\nfinal 5s # too much to ask\n";
        let script = Script::parse("asks-too-much.txt", text).expect("commands");
        let fall = play(&script).expect_err("two of four are no quorum");
        let told = fall.to_string();
        assert!(
            told.contains("line 4: final 5s # too much to ask"),
            "{told}"
        );
    }

    #[test]
    fn the_end_of_a_scenario_proves_liveness() {
        let script =
            Script::parse("dead-end.txt", "nodes 4\nrun 1s\nkill 0 1\n").expect("commands");
        let fall = play(&script).expect_err("two of four are no quorum");
        assert!(fall.to_string().contains("liveness from the last state"));
    }
}
