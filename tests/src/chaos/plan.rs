//! What happens to whom and when: episodes of faults, drawn from a seed.

use crate::campaign::Draw;
use std::fmt;
use std::time::Duration;

/// What happens to a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `kill -9`; the fault ends when its process is started again.
    Kill,
    /// SIGSTOP until SIGCONT.
    Pause,
    /// No byte to or from some or all others, and no connection ends.
    Cut,
    /// The same for what it sends, or for what it receives.
    OneWay,
    /// Its connections end, and no new one comes about.
    Tear,
    /// Each of its syncs takes 50 to 300 ms longer.
    SlowDisk,
}

impl Kind {
    /// All, in the order of reports.
    pub const ALL: [Self; 6] = [
        Self::Kill,
        Self::Pause,
        Self::Cut,
        Self::OneWay,
        Self::Tear,
        Self::SlowDisk,
    ];
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Kill => "kill -9",
            Self::Pause => "pause",
            Self::Cut => "cut, silent",
            Self::OneWay => "cut, one way",
            Self::Tear => "cut, torn",
            Self::SlowDisk => "slow disk",
        })
    }
}

/// One fault of one node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// What.
    pub kind: Kind,
    /// Whom.
    pub node: usize,
    /// From the episode's start.
    pub begins: Duration,
    /// From the episode's start.
    pub ends: Duration,
    /// Directions that are cut, each a sender and a receiver.
    pub directions: Vec<(usize, usize)>,
}

/// Faults that belong together; each node has at most one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Episode {
    /// In no order.
    pub faults: Vec<Fault>,
    /// What is waited for afterwards.
    pub then: Then,
}

/// What comes after an episode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// The next one when every node has caught up.
    Recover,
    /// The next one after this time, whoever is still behind.
    Next(Duration),
}

/// How many of `nodes` may be faulty.
pub const fn tolerated(nodes: usize) -> usize {
    nodes.saturating_sub(1) / 3
}

/// Draws the next episode: three in four with at most f faulty nodes. `left` is the time that the run still has.
pub fn episode(draw: &mut Draw, nodes: usize, left: Duration) -> Episode {
    let f = tolerated(nodes);
    let long = left > Duration::from_secs(45) && draw.between(0, 9) == 0;
    let faults = match draw.between(0, 15) {
        0..=11 => {
            let count = 1 + draw.below(f);
            apart(draw, nodes, count, long)
        }
        12 | 13 => {
            let count = f + 1 + draw.below(nodes - f);
            apart(draw, nodes, count, long)
        }
        14 => together(draw, nodes),
        _ => halves(draw, nodes),
    };
    let then = match draw.between(0, 3) {
        0 => Then::Next(ms(draw.between(0, 1_500))),
        _ => Then::Recover,
    };
    Episode { faults, then }
}

/// So many nodes, each with a fault of its own.
fn apart(draw: &mut Draw, nodes: usize, count: usize, long: bool) -> Vec<Fault> {
    let victims = some(draw, nodes, count);
    let victims = victims.into_iter().map(|node| {
        let kind = Kind::ALL[draw.below(Kind::ALL.len())];
        let begins = ms(draw.between(0, 1_000));
        let lasts = lasts(draw, kind, long);
        let directions = directions(draw, kind, node, nodes);
        Fault {
            kind,
            node,
            begins,
            ends: begins + lasts,
            directions,
        }
    });
    victims.collect()
}

/// All nodes killed or paused within moments, and back one after the other.
fn together(draw: &mut Draw, nodes: usize) -> Vec<Fault> {
    let kind = [Kind::Kill, Kind::Pause][draw.below(2)];
    let victims = (0..nodes).map(|node| {
        let begins = ms(draw.between(0, 30));
        Fault {
            kind,
            node,
            begins,
            ends: begins + ms(draw.between(50, 2_500)),
            directions: Vec::new(),
        }
    });
    victims.collect()
}

/// The network in two parts of which neither is a quorum; the nodes of the smaller one count as faulty.
fn halves(draw: &mut Draw, nodes: usize) -> Vec<Fault> {
    let smaller = some(draw, nodes, tolerated(nodes) + 1);
    let lasts = ms(draw.between(500, 6_000));
    let kind = [Kind::Cut, Kind::Tear][draw.below(2)];
    let victims = smaller.iter().map(|node| {
        let others = (0..nodes).filter(|other| !smaller.contains(other));
        Fault {
            kind,
            node: *node,
            begins: Duration::ZERO,
            ends: lasts,
            directions: others.flat_map(|other| both(*node, other)).collect(),
        }
    });
    victims.collect()
}

/// `long` is longer than a connection lives without an answer.
fn lasts(draw: &mut Draw, kind: Kind, long: bool) -> Duration {
    ms(match kind {
        Kind::Kill if draw.between(0, 3) == 0 => 0,
        Kind::Kill => draw.between(0, 4_000),
        Kind::SlowDisk => draw.between(2_000, 6_000),
        _ if long => draw.between(16_000, 22_000),
        Kind::Pause | Kind::Cut | Kind::OneWay | Kind::Tear => draw.between(100, 6_000),
    })
}

fn directions(draw: &mut Draw, kind: Kind, node: usize, nodes: usize) -> Vec<(usize, usize)> {
    let others: Vec<_> = (0..nodes).filter(|other| *other != node).collect();
    // Sometimes a single cable is cut.
    let others = match draw.between(0, 3) {
        0 => vec![others[draw.below(others.len())]],
        _ => others,
    };
    match kind {
        Kind::Cut | Kind::Tear => others.iter().flat_map(|other| both(node, *other)).collect(),
        Kind::OneWay if draw.between(0, 1) == 0 => others.iter().map(|o| (node, *o)).collect(),
        Kind::OneWay => others.iter().map(|o| (*o, node)).collect(),
        Kind::Kill | Kind::Pause | Kind::SlowDisk => Vec::new(),
    }
}

const fn both(one: usize, other: usize) -> [(usize, usize); 2] {
    [(one, other), (other, one)]
}

/// `count` different positions below `of`.
fn some(draw: &mut Draw, of: usize, count: usize) -> Vec<usize> {
    let mut left: Vec<_> = (0..of).collect();
    (0..count.min(of))
        .map(|_| left.remove(draw.below(left.len())))
        .collect()
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn a_seed_draws_every_kind_few_and_many_at_once_and_repeats() {
        for nodes in [4, 7] {
            let run = |seed| {
                let mut draw = Draw::new(seed);
                let one = |_| episode(&mut draw, nodes, Duration::from_secs(60));
                (0..200).map(one).collect::<Vec<_>>()
            };
            let episodes = run(5);
            assert_eq!(episodes, run(5));
            assert_ne!(episodes, run(6));
            let all = || episodes.iter().flat_map(|episode| &episode.faults);
            assert_eq!(
                all().map(|fault| fault.kind).collect::<BTreeSet<_>>(),
                Kind::ALL.into()
            );
            let over = |e: &&Episode| e.faults.len() > tolerated(nodes);
            let many = episodes.iter().filter(over).count();
            assert!((20..100).contains(&many), "{many}");
            for episode in &episodes {
                let victims: BTreeSet<_> = episode.faults.iter().map(|fault| fault.node).collect();
                assert_eq!(victims.len(), episode.faults.len(), "one fault a node");
            }
            assert!(all().all(|fault| fault.directions.iter().all(|(a, b)| a != b)));
        }
    }
}
