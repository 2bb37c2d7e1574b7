//! The command line.

use crate::campaign::Terms;
use crate::crypto::Crypto;
use crate::twins::Campaign;

/// What `--help` prints.
pub(crate) const HELP: &str = "\
Run the consensus engine in simulated networks, one per seed, and check its promises after every event.

Usage: nachweis-simulate [--seeds N] [--from S] [--nodes n] [--compact B] [--real-crypto] [--files DIR]
                         [--threads T]
       nachweis-simulate --replay SEED [--nodes n] [--compact B] [--real-crypto]
       nachweis-simulate twins [--views N] [--cases N] [--from S] [--threads T] [--replay CASE]
       nachweis-simulate --scenarios FILE...
       nachweis-simulate --delays

  --seeds N       how many seeds to run (default 1000)
  --from S        the first seed (default 0)
  --nodes n       validators, 4 to 16; without it each seed draws 4, 5, 7 or 10
  --compact B     propose bodies of over B bytes by the ids of their items, with any number of validators;
                  without it only runs of over 10 validators do
  --real-crypto   Ed25519 instead of a fast keyed hash
  --files DIR     journals also in real files below DIR, one fdatasync for each batch; deleted behind each seed
  --threads T     seeds at a time (default: as many as there are processors)
  --replay SEED   run one seed and print everything that happens
  twins           scripts for two processes with one key; a case is a number below the count of all scripts
  --views N       scripted views, 1 to 7 (default 4)
  --cases N       how many scripts to play, spread over all (default: all)
  --scenarios     play directed scenarios; a broken promise is printed with the line that it fell on
  --delays        how long a record takes in message delays, with and without a dead validator, and what idles
  -h, --help      print this

The last line is `N seeds passed, F failed, R seeds/min`. A failing seed is printed with the broken promise, its
last 50 events and the command that replays it. The same seed always does the same.

Exit codes: 0 all passed; 1 a seed failed; 2 wrong usage.

Example: nachweis-simulate --seeds 10000 --nodes 4
";

/// What to do.
#[derive(Clone, Debug)]
pub(crate) enum Command {
    Help,
    Delays,
    Scenarios(Vec<String>),
    Sweep {
        terms: Terms,
        from: u64,
        count: u64,
        threads: Option<usize>,
    },
    Replay {
        terms: Terms,
        seed: u64,
    },
}

/// Why the arguments say nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum UsageError {
    #[error("unknown option {0}")]
    Unknown(String),
    #[error("{0} needs a number")]
    Number(&'static str),
    #[error("--files needs a folder")]
    Folder,
    #[error("--nodes must be 4 to 16, not {0}")]
    Nodes(u64),
    #[error("--views must be 1 to 7, not {0}")]
    Views(u64),
}

/// Reads the arguments behind the program's name.
pub(crate) fn parse(args: impl Iterator<Item = String>) -> Result<Command, UsageError> {
    let mut args = args.peekable();
    let mut terms = Terms {
        nodes: None,
        crypto: Crypto::Mock,
        files: None,
        compact_above: None,
        twins: None,
    };
    let (mut from, mut count, mut threads, mut replay) = (0, None, None, None);
    if args.next_if(|arg| arg == "twins").is_some() {
        terms.twins = Some(Campaign { views: 4 });
    }
    while let Some(arg) = args.next() {
        if arg == "--files" {
            terms.files = Some(args.next().ok_or(UsageError::Folder)?.into());
            continue;
        }
        let mut number = |name| {
            let value = args.next().and_then(|text| text.parse::<u64>().ok());
            value.ok_or(UsageError::Number(name))
        };
        match arg.as_str() {
            "--seeds" if terms.twins.is_none() => count = Some(number("--seeds")?),
            "--cases" if terms.twins.is_some() => count = Some(number("--cases")?),
            "--views" if terms.twins.is_some() => {
                let n = number("--views")?;
                let views = u32::try_from(n).ok().filter(|n| (1..=7).contains(n));
                let views = views.ok_or(UsageError::Views(n))?;
                terms.twins = Some(Campaign { views });
            }
            "--from" => from = number("--from")?,
            "--replay" => replay = Some(number("--replay")?),
            "--threads" => threads = usize::try_from(number("--threads")?).ok(),
            "--nodes" => {
                let n = number("--nodes")?;
                let fits = usize::try_from(n).ok().filter(|n| (4..=16).contains(n));
                terms.nodes = Some(fits.ok_or(UsageError::Nodes(n))?);
            }
            "--compact" => terms.compact_above = usize::try_from(number("--compact")?).ok(),
            "--delays" => return Ok(Command::Delays),
            "--scenarios" => return Ok(Command::Scenarios(args.collect())),
            "--real-crypto" => terms.crypto = Crypto::Real,
            "-h" | "--help" => return Ok(Command::Help),
            _ => return Err(UsageError::Unknown(arg)),
        }
    }
    Ok(match replay {
        Some(seed) => Command::Replay { terms, seed },
        None => Command::Sweep {
            count: count.unwrap_or_else(|| terms.usual_count()),
            terms,
            from,
            threads,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, UsageError> {
        parse(line.split_whitespace().map(str::to_owned))
    }

    #[test]
    fn the_command_line_is_read() {
        let command =
            parsed("--seeds 7 --from 3 --nodes 5 --compact 90 --real-crypto").expect("good");
        assert!(matches!(
            command,
            Command::Sweep {
                from: 3,
                count: 7,
                threads: None,
                terms: Terms {
                    nodes: Some(5),
                    crypto: Crypto::Real,
                    files: None,
                    compact_above: Some(90),
                    twins: None,
                }
            }
        ));
        assert!(matches!(
            parsed("--replay 9"),
            Ok(Command::Replay { seed: 9, .. })
        ));
        assert!(matches!(parsed("--seeds 1 --help"), Ok(Command::Help)));
    }

    #[test]
    fn wrong_usage_is_named() {
        assert_eq!(parsed("--nodes 3").err(), Some(UsageError::Nodes(3)));
        assert_eq!(
            parsed("--seeds many").err(),
            Some(UsageError::Number("--seeds"))
        );
        assert_eq!(
            parsed("--sedes").err(),
            Some(UsageError::Unknown("--sedes".into()))
        );
    }
}
