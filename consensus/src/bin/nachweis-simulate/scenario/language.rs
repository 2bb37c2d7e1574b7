//! The language of scenarios: one command a line, words apart by blanks, `#` before what is said to people.
//!
//! `docs/simulation.md` lists the commands. Nothing here knows a world; [`super::stage`] carries the commands out.

use crate::byzantine::{ALL, Mischief, OF_COMPACT};
use crate::clock::Time;
use crate::filter::Kind;
use std::collections::BTreeSet;

/// Which validators a command is about; resolved when its turn comes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Nodes {
    All,
    /// The leader of the highest view that a running node is in.
    Leader,
    /// Everybody but that leader.
    Others,
    Listed(BTreeSet<usize>),
}

/// A number, or the number of the present run of the scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Number {
    Of(u64),
    Run,
}

/// One command.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Command {
    // Before the world begins.
    Nodes(usize),
    Runs(u64),
    Delta(Time, Time),
    Anchors(Time),
    /// Bodies of more bytes are proposed by ids.
    Compact(usize),
    /// An epoch ends after so many blocks.
    Epochs(u64),
    /// One validator more, of later epochs, by its authority.
    Joiner(u64),
    /// Planted bugs that this scenario is there to find.
    Kills(Vec<u64>),
    Byzantine(usize, Vec<Mischief>),
    Absent(Nodes),
    Clock(Nodes, i64),
    // What the world is like; also later.
    Latency(Time, Time),
    Sync(Time, Nodes),
    Answer(Time, Nodes),
    Loss(u64),
    Calm,
    // What happens.
    Load {
        count: usize,
        every: Time,
    },
    Run(Time),
    Submit {
        node: Nodes,
        count: u64,
    },
    /// Something comes in that no block may include yet.
    Park(Nodes),
    /// A byzantine validator shows two votes that exclude each other to one node.
    Contradict {
        node: usize,
        to: usize,
    },
    /// A change of the set, by its number.
    Change {
        number: u64,
        leaves: BTreeSet<usize>,
        joins: BTreeSet<usize>,
    },
    Crash(Nodes),
    Start(Nodes),
    Kill(Nodes),
    LoseJournal(Nodes),
    /// Journal and archive.
    LoseDisk(Nodes),
    /// Nodes at rest replace their journals by what is still needed.
    Prune(Nodes),
    Stop(Nodes, Time),
    Tear(Nodes, Number),
    Jump(Nodes, i64),
    Split(BTreeSet<usize>, BTreeSet<usize>),
    Filter {
        kinds: BTreeSet<Kind>,
        from: Nodes,
        to: Nodes,
        late: Option<Time>,
    },
    Pass,
    // Waits.
    UntilView(u64, Time),
    UntilLeader(usize, Time),
    UntilEpoch(u64, Time),
    UntilVoting(Nodes),
    UntilWriting(usize, Time),
    // What must hold.
    Final(Time),
    Waits(Time),
    Silent(Time),
    Wake(Time),
    EpochIs(u64),
    ViewAtLeast(u64),
    ViewAtMost(u64),
    Nullified(Nodes),
    SomeEvidence,
    SomeCompact,
}

/// A command where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Line {
    pub(crate) number: usize,
    pub(crate) text: String,
    pub(crate) command: Command,
}

/// A line that says nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {number}: `{text}` is no command: {reason}")]
pub(crate) struct ParseError {
    pub(crate) number: usize,
    pub(crate) text: String,
    pub(crate) reason: String,
}

/// All commands of a file.
pub(crate) fn parse(file: &str) -> Result<Vec<Line>, ParseError> {
    let mut lines = Vec::new();
    for (at, text) in file.lines().enumerate() {
        let said = text.split('#').next().unwrap_or_default();
        let words: Vec<&str> = said.split_whitespace().collect();
        let Some((name, rest)) = words.split_first() else {
            continue;
        };
        let wrong = |reason| ParseError {
            number: at + 1,
            text: text.trim().to_owned(),
            reason,
        };
        if *name == "repeat" {
            repeat(&mut lines, &mut Words(rest)).map_err(wrong)?;
            continue;
        }
        let command = command(name, &mut Words(rest)).map_err(wrong)?;
        lines.push(Line {
            number: at + 1,
            text: text.trim().to_owned(),
            command,
        });
    }
    Ok(lines)
}

type Parsed<T> = Result<T, String>;

/// Most commands of a scenario, repetitions included.
const MAX_LINES: usize = 10_000;

/// `repeat TIMES COUNT`: the last so many commands come so many times in all.
fn repeat(lines: &mut Vec<Line>, words: &mut Words<'_>) -> Parsed<()> {
    let (times, count) = (words.count()?, words.count()?);
    let from = lines
        .len()
        .checked_sub(count)
        .ok_or("there are not so many commands")?;
    let again = lines.get(from..).unwrap_or_default().to_vec();
    if times.saturating_mul(count) > MAX_LINES {
        return Err(format!("over {MAX_LINES} commands"));
    }
    for _ in 1..times {
        lines.extend_from_slice(&again);
    }
    Ok(())
}

/// The words of a line that were not read yet.
struct Words<'a>(&'a [&'a str]);

impl<'a> Words<'a> {
    fn peek(&self) -> Option<&'a str> {
        self.0.first().copied()
    }

    fn next(&mut self, what: &str) -> Parsed<&'a str> {
        let (first, rest) = self
            .0
            .split_first()
            .ok_or_else(|| format!("it lacks {what}"))?;
        self.0 = rest;
        Ok(first)
    }

    /// Reads this word if it is the next.
    fn takes(&mut self, word: &str) -> bool {
        let is = self.peek() == Some(word);
        if is {
            self.0 = self.0.get(1..).unwrap_or_default();
        }
        is
    }

    fn number(&mut self) -> Parsed<u64> {
        let word = self.next("a number")?;
        word.parse().map_err(|_bad| format!("{word} is no number"))
    }

    fn count(&mut self) -> Parsed<usize> {
        let number = self.number()?;
        usize::try_from(number).map_err(|_bad| format!("{number} is too many"))
    }

    fn time(&mut self) -> Parsed<Time> {
        let word = self.next("a time")?;
        let ms = span(word)?;
        Time::try_from(ms).map_err(|_bad| format!("{word} lies in the past"))
    }

    /// A time, or this one.
    fn time_or(&mut self, usual: Time) -> Parsed<Time> {
        if self.0.is_empty() {
            Ok(usual)
        } else {
            self.time()
        }
    }

    fn span(&mut self) -> Parsed<i64> {
        span(self.next("a span of time")?)
    }

    /// Numbers up to the next other word.
    fn list(&mut self) -> BTreeSet<usize> {
        let mut listed = BTreeSet::new();
        while let Some(node) = self.peek().and_then(|word| word.parse().ok()) {
            listed.insert(node);
            self.0 = self.0.get(1..).unwrap_or_default();
        }
        listed
    }

    fn nodes(&mut self) -> Parsed<Nodes> {
        if self.takes("all") {
            return Ok(Nodes::All);
        }
        if self.takes("leader") {
            return Ok(Nodes::Leader);
        }
        if self.takes("others") {
            return Ok(Nodes::Others);
        }
        let listed = self.list();
        if listed.is_empty() {
            return Err("it names no validators".to_owned());
        }
        Ok(Nodes::Listed(listed))
    }

    /// The validators named, or all if the line ends here.
    fn nodes_or_all(&mut self) -> Parsed<Nodes> {
        if self.0.is_empty() {
            Ok(Nodes::All)
        } else {
            self.nodes()
        }
    }

    /// `all`, `all but KIND...`, or `KIND...`.
    fn kinds(&mut self) -> Parsed<BTreeSet<Kind>> {
        let all = self.takes("all");
        let but = all && self.takes("but");
        let mut named = BTreeSet::new();
        while let Some(word) = self.peek().filter(|word| !matches!(*word, "from" | "to")) {
            if word == "votes" {
                named.extend([Kind::Notarize, Kind::Nullify, Kind::Finalize]);
            } else {
                let kind = word.parse::<Kind>();
                named.insert(kind.map_err(|_bad| format!("{word} is no kind of message"))?);
            }
            self.0 = self.0.get(1..).unwrap_or_default();
        }
        Ok(match (all, but) {
            (true, true) => Kind::all().difference(&named).copied().collect(),
            (true, false) => Kind::all(),
            (false, _) if named.is_empty() => return Err("it names no kind".to_owned()),
            (false, _) => named,
        })
    }

    fn filter(&mut self, late: Option<Time>) -> Parsed<Command> {
        let kinds = self.kinds()?;
        let (mut from, mut to) = (Nodes::All, Nodes::All);
        if self.takes("from") {
            from = self.nodes()?;
        }
        if self.takes("to") {
            to = self.nodes()?;
        }
        Ok(Command::Filter {
            kinds,
            from,
            to,
            late,
        })
    }
}

fn command(name: &str, words: &mut Words<'_>) -> Parsed<Command> {
    let read = match name {
        "epochs" | "joiner" | "kills" | "nodes" | "runs" | "delta" | "anchors" | "compact"
        | "byzantine" | "absent" | "clock" | "latency" | "sync" | "answer" | "loss" | "calm" => {
            setting(name, words)
        }
        "until" | "final" | "waits" | "silent" | "wake" | "expect" => demand(name, words),
        _ => happening(name, words),
    }?;
    match words.peek() {
        Some(word) => Err(format!("{word} is too much")),
        None => Ok(read),
    }
}

fn setting(name: &str, words: &mut Words<'_>) -> Parsed<Command> {
    Ok(match name {
        "nodes" => Command::Nodes(words.count()?),
        "runs" => Command::Runs(words.number()?),
        "delta" => Command::Delta(words.time()?, words.time()?),
        "epochs" => Command::Epochs(words.number()?),
        "joiner" => Command::Joiner(words.number()?),
        "kills" => {
            let bugs = words.list().into_iter().map(|bug| bug as u64);
            Command::Kills(bugs.collect())
        }
        "anchors" => Command::Anchors(words.time()?),
        "compact" => Command::Compact(words.count()?),
        "byzantine" => {
            let node = words.count()?;
            let mut mischief = Vec::new();
            while let Some(word) = words.peek() {
                let mut all = ALL.iter().chain(&OF_COMPACT);
                let named = all.find(|kind| spelled(**kind) == word);
                mischief.push(*named.ok_or_else(|| format!("{word} is no misbehaviour"))?);
                words.next("a misbehaviour")?;
            }
            Command::Byzantine(node, mischief)
        }
        "absent" => Command::Absent(words.nodes()?),
        "clock" => Command::Clock(words.nodes()?, words.span()?),
        "latency" => Command::Latency(words.time()?, words.time()?),
        "sync" => Command::Sync(words.time()?, words.nodes_or_all()?),
        "answer" => Command::Answer(words.time()?, words.nodes_or_all()?),
        "loss" => Command::Loss(words.number()?),
        _ => Command::Calm,
    })
}

fn happening(name: &str, words: &mut Words<'_>) -> Parsed<Command> {
    Ok(match name {
        "load" => {
            let count = words.count()?;
            words.takes("every");
            let every = words.time()?;
            Command::Load { count, every }
        }
        "run" => Command::Run(words.time()?),
        "submit" => {
            let node = words.nodes()?;
            let many = words.takes("times");
            let count = if many { words.number()? } else { 1 };
            Command::Submit { node, count }
        }
        "park" => Command::Park(words.nodes()?),
        "contradict" => {
            let node = words.count()?;
            words.takes("to");
            let to = words.count()?;
            Command::Contradict { node, to }
        }
        "change" => change(words)?,
        "crash" => Command::Crash(words.nodes()?),
        "start" => Command::Start(words.nodes()?),
        "lose-journal" => Command::LoseJournal(words.nodes()?),
        "lose-disk" => Command::LoseDisk(words.nodes()?),
        "prune" => Command::Prune(words.nodes()?),
        "kill" => Command::Kill(words.nodes()?),
        "stop" => {
            let nodes = words.nodes()?;
            words.takes("for");
            Command::Stop(nodes, words.time()?)
        }
        "tear" => {
            let nodes = words.nodes()?;
            let run = words.takes("run");
            let mask = if run {
                Number::Run
            } else {
                Number::Of(words.number()?)
            };
            Command::Tear(nodes, mask)
        }
        "jump" => Command::Jump(words.nodes()?, words.span()?),
        "split" => {
            let one = words.list();
            words.takes("/");
            Command::Split(one, words.list())
        }
        "drop" => words.filter(None)?,
        "delay" => {
            let late = words.time()?;
            words.filter(Some(late))?
        }
        "pass" => Command::Pass,
        other => return Err(format!("there is no command {other}")),
    })
}

fn change(words: &mut Words<'_>) -> Parsed<Command> {
    let number = words.number()?;
    let (mut leaves, mut joins) = (BTreeSet::new(), BTreeSet::new());
    if words.takes("leaves") {
        leaves = words.list();
    }
    if words.takes("joins") {
        joins = words.list();
    }
    Ok(Command::Change {
        number,
        leaves,
        joins,
    })
}

/// A wait gives up after so long.
pub(super) const PATIENCE: Time = 60_000;

fn demand(name: &str, words: &mut Words<'_>) -> Parsed<Command> {
    Ok(match name {
        "until" if words.takes("view") => {
            Command::UntilView(words.number()?, words.time_or(PATIENCE)?)
        }
        "until" if words.takes("voting") => Command::UntilVoting(words.nodes()?),
        "until" if words.takes("epoch") => {
            Command::UntilEpoch(words.number()?, words.time_or(PATIENCE)?)
        }
        "until" if words.takes("leader") => {
            Command::UntilLeader(words.count()?, words.time_or(PATIENCE)?)
        }
        "until" if words.takes("writing") => {
            Command::UntilWriting(words.count()?, words.time_or(PATIENCE)?)
        }
        "final" => Command::Final(words.time()?),
        "waits" => Command::Waits(words.time()?),
        "silent" => Command::Silent(words.time()?),
        "wake" => Command::Wake(words.time()?),
        "expect" if words.takes("view") => {
            let above = words.takes("above");
            let below = words.takes("below");
            match (above, below) {
                (true, false) => Command::ViewAtLeast(words.number()?.saturating_add(1)),
                (false, true) => Command::ViewAtMost(words.number()?.saturating_sub(1)),
                _ => return Err("a view is above or below a number".to_owned()),
            }
        }
        "expect" if words.takes("epoch") => Command::EpochIs(words.number()?),
        "expect" if words.takes("nullified") => Command::Nullified(words.nodes()?),
        "expect" if words.takes("evidence") => Command::SomeEvidence,
        "expect" if words.takes("compact") => Command::SomeCompact,
        _ => return Err("it demands nothing that can be checked".to_owned()),
    })
}

/// A misbehaviour as a scenario spells it: `StaleParent` is `stale-parent`.
fn spelled(mischief: Mischief) -> String {
    let mut spelled = String::new();
    for letter in format!("{mischief:?}").chars() {
        if letter.is_uppercase() && !spelled.is_empty() {
            spelled.push('-');
        }
        spelled.extend(letter.to_lowercase());
    }
    spelled
}

/// `300`, `300ms`, `5s`, `10min`, `-1h`; in ms.
fn span(word: &str) -> Parsed<i64> {
    let units = [("ms", 1), ("min", 60_000), ("s", 1_000), ("h", 3_600_000)];
    let unit = units.iter().find_map(|(unit, ms)| {
        let number = word.strip_suffix(unit)?;
        Some((number, *ms))
    });
    let (number, ms) = unit.unwrap_or((word, 1));
    let number: i64 = number
        .parse()
        .map_err(|_bad| format!("{word} is no time"))?;
    number
        .checked_mul(ms)
        .ok_or_else(|| format!("{word} is too long"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(line: &str) -> Result<Command, String> {
        let mut lines = parse(line).map_err(|error| error.reason)?;
        Ok(lines.remove(0).command)
    }

    #[test]
    fn lines_are_read() {
        assert_eq!(one("run 10min # long"), Ok(Command::Run(600_000)));
        assert_eq!(
            one("jump all -1h"),
            Ok(Command::Jump(Nodes::All, -3_600_000))
        );
        let listed = |nodes: &[usize]| nodes.iter().copied().collect();
        assert_eq!(
            one("split 0 1 / 2 3"),
            Ok(Command::Split(listed(&[0, 1]), listed(&[2, 3])))
        );
        assert_eq!(
            one("delay 100ms proposal from leader to 2"),
            Ok(Command::Filter {
                kinds: BTreeSet::from([Kind::Proposal]),
                from: Nodes::Leader,
                to: Nodes::Listed(listed(&[2])),
                late: Some(100),
            })
        );
        let Ok(Command::Filter { kinds, .. }) = one("drop all but hello votes") else {
            panic!("a rule");
        };
        assert_eq!(kinds.len(), Kind::all().len() - 4);
        assert_eq!(
            one("byzantine 1 stale-parent late"),
            Ok(Command::Byzantine(
                1,
                vec![Mischief::StaleParent, Mischief::Late]
            ))
        );
        assert_eq!(one("until view 3"), Ok(Command::UntilView(3, PATIENCE)));
    }

    #[test]
    fn a_line_that_says_nothing_is_named_with_its_number() {
        let error = parse("nodes 4\n\n# only words\nrun fast\n").expect_err("no time");
        assert_eq!(
            (error.number, error.reason.as_str()),
            (4, "fast is no time")
        );
        for bad in [
            "run 5s 6s",
            "drop",
            "crash",
            "submit x",
            "byzantine 1 lazy",
            "dance",
            "expect",
        ] {
            assert!(one(bad).is_err(), "{bad}");
        }
    }
}
