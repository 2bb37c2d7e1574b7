//! How long it took after each fault until the network answered again and the node had caught up.

use super::plan::{Kind, tolerated};
use super::watch::Seen;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// A fault that has ended; times since the run's start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Past {
    /// What.
    pub kind: Kind,
    /// Whom.
    pub node: usize,
    /// When it began.
    pub began: Duration,
    /// When it ended.
    pub ended: Duration,
}

/// How many nodes were faulty besides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Extent {
    /// At most f at every moment of the fault.
    Tolerated,
    /// More than f at some moment of it.
    Beyond,
}

/// Times of faults of one kind and extent, in no order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Faults.
    pub faults: usize,
    /// From the fault's end until the next record was acknowledged as provable. Beyond f it counts for the one fault
    /// whose end brought the quorum back.
    pub answers: Vec<Duration>,
    /// From the fault's end, or if later from when a quorum was back, until the node had caught up.
    pub caught_up: Vec<Duration>,
}

/// What a run, or several, came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Recovery {
    /// By extent and kind.
    pub times: BTreeMap<(Extent, Kind), Times>,
    /// Longest time without an acknowledgement while at most f nodes were faulty.
    pub longest_silence: Duration,
    /// The fault after which a node took longest to catch up, and how long: where to look first.
    pub slowest: Option<(Duration, Past)>,
}

impl Recovery {
    /// Measures a run of so many nodes.
    pub fn measure(nodes: usize, faults: &[Past], seen: &Seen) -> Self {
        let story = Story {
            nodes,
            faults,
            seen,
        };
        let mut recovery = Self {
            longest_silence: story.longest_silence(),
            ..Self::default()
        };
        for fault in faults {
            let extent = story.extent(fault);
            let times = recovery.times.entry((extent, fault.kind)).or_default();
            times.faults += 1;
            times.answers.extend(story.answers(fault, extent));
            let caught_up = story.caught_up(fault);
            times.caught_up.extend(caught_up);
            let slow = caught_up.map(|took| (took, *fault));
            recovery.slowest = slower(recovery.slowest, slow);
        }
        recovery
    }

    /// Adds another run.
    pub fn add(&mut self, other: Self) {
        for (of, more) in other.times {
            let times = self.times.entry(of).or_default();
            times.faults += more.faults;
            times.answers.extend(more.answers);
            times.caught_up.extend(more.caught_up);
        }
        self.longest_silence = self.longest_silence.max(other.longest_silence);
        self.slowest = slower(self.slowest, other.slowest);
    }
}

fn slower(
    one: Option<(Duration, Past)>,
    other: Option<(Duration, Past)>,
) -> Option<(Duration, Past)> {
    one.into_iter().chain(other).max_by_key(|(took, _)| *took)
}

struct Story<'a> {
    nodes: usize,
    faults: &'a [Past],
    seen: &'a Seen,
}

impl Story<'_> {
    /// Nodes that are faulty just after a moment.
    fn faulty(&self, at: Duration) -> usize {
        let active = |fault: &&Past| fault.began <= at && at < fault.ended;
        self.faults.iter().filter(active).count()
    }

    fn over(&self, at: Duration) -> bool {
        self.faulty(at) > tolerated(self.nodes)
    }

    /// Whether more than f were faulty at some moment from `from` to `to`. It begins to be so only when a fault does.
    fn over_between(&self, from: Duration, to: Duration) -> bool {
        let mut begins = self.faults.iter().map(|fault| fault.began);
        self.over(from) || begins.any(|at| from < at && at < to && self.over(at))
    }

    fn extent(&self, fault: &Past) -> Extent {
        if self.over_between(fault.began, fault.ended) {
            Extent::Beyond
        } else {
            Extent::Tolerated
        }
    }

    /// The first moment from `at` on when at most f are faulty.
    fn quorum_from(&self, at: Duration) -> Duration {
        let ends = self.faults.iter().map(|fault| fault.ended);
        let moments = ends.filter(|end| *end > at).chain([at]);
        moments
            .filter(|moment| !self.over(*moment))
            .min()
            .unwrap_or(at)
    }

    fn answers(&self, fault: &Past, extent: Extent) -> Option<Duration> {
        if self.over(fault.ended) {
            return None;
        }
        let before = fault.ended.saturating_sub(Duration::from_nanos(1));
        if extent == Extent::Beyond && !self.over(before) {
            return None;
        }
        let answered = self.seen.provable.iter().find(|at| **at >= fault.ended)?;
        let clear = !self.over_between(fault.ended, *answered);
        clear.then(|| *answered - fault.ended)
    }

    /// Nothing is measured if the node is hit, or the quorum lost, before it has caught up, nor if it had not caught up
    /// from its fault before: that one's time would be counted for this one.
    fn caught_up(&self, fault: &Past) -> Option<Duration> {
        let from = self.quorum_from(fault.ended);
        let at = self.caught_up_at(fault)?;
        let same = || self.faults.iter().filter(|other| other.node == fault.node);
        let hit = same().any(|other| other.began >= fault.ended && other.began < at);
        let before = same().filter(|other| other.ended <= fault.began);
        let before = before.max_by_key(|other| other.ended);
        let fresh = before.is_none_or(|other| {
            let caught_up = self.caught_up_at(other);
            caught_up.is_some_and(|at| at <= fault.began)
        });
        (fresh && !hit && !self.over_between(from, at)).then(|| at - from)
    }

    /// When the node had all that anybody had at the fault's end, or when a quorum was back.
    fn caught_up_at(&self, fault: &Past) -> Option<Duration> {
        let from = self.quorum_from(fault.ended);
        let known = self.seen.sizes.iter().flatten();
        let known = known.filter(|(at, _)| *at <= from);
        let target = known.map(|(_, size)| *size).max()?;
        let mut own = self.seen.sizes.get(fault.node)?.iter();
        let (at, _) = own.find(|(at, size)| *at >= from && *size >= target)?;
        Some(*at)
    }

    fn longest_silence(&self) -> Duration {
        let pairs = self.seen.provable.windows(2);
        let silences = pairs.filter_map(|pair| {
            let [from, to] = pair else { return None };
            (!self.over_between(*from, *to)).then(|| *to - *from)
        });
        silences.max().unwrap_or_default()
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut said = None;
        for ((extent, kind), times) in &self.times {
            if said != Some(*extent) {
                said = Some(*extent);
                writeln!(f, "{}", heading(*extent))?;
            }
            let (answers, caught_up) = (Quantiles(&times.answers), Quantiles(&times.caught_up));
            writeln!(
                f,
                "| {kind:<12} | {:>6} | {answers} | {caught_up} |",
                times.faults
            )?;
        }
        let longest = Shown(self.longest_silence);
        write!(
            f,
            "\nlongest time without an acknowledgement with at most f nodes faulty: {longest}"
        )
    }
}

fn heading(extent: Extent) -> String {
    let (title, from) = match extent {
        Extent::Tolerated => ("at most f nodes faulty", "the fault's end"),
        Extent::Beyond => ("more than f at once", "when a quorum is back"),
    };
    format!(
        "\n{title}; times from {from}: median / 90 % / worst (of)\n\n| {:<12} | faults | {:<32} | {:<32} |\n| --- | --: | --: | --: |",
        "fault", "next provable record", "node has caught up",
    )
}

/// Median, nine tenths, worst, and of how many.
struct Quantiles<'a>(&'a [Duration]);

impl fmt::Display for Quantiles<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut sorted = self.0.to_vec();
        sorted.sort_unstable();
        let Some(worst) = sorted.last() else {
            return f.pad(&format!("{:<32}", "-"));
        };
        let at = |percent: usize| Shown(sorted[(sorted.len() - 1) * percent / 100]);
        let count = sorted.len();
        let text = format!("{} / {} / {} ({count})", at(50), at(90), Shown(*worst));
        write!(f, "{text:<32}")
    }
}

/// A time for people: milliseconds below a second.
pub(super) struct Shown(pub(super) Duration);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < Duration::from_secs(1) {
            write!(f, "{} ms", self.0.as_millis())
        } else {
            write!(f, "{:.1} s", self.0.as_secs_f64())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    const fn past(kind: Kind, node: usize, began: u64, ended: u64) -> Past {
        Past {
            kind,
            node,
            began: ms(began),
            ended: ms(ended),
        }
    }

    #[test]
    fn one_fault_counts_from_its_end_and_two_of_four_from_when_a_quorum_is_back() {
        let faults = [
            past(Kind::Pause, 0, 1_000, 2_000),
            past(Kind::Kill, 1, 5_000, 6_000),
            past(Kind::Cut, 2, 5_500, 8_000),
        ];
        let seen = Seen {
            provable: [900, 1_700, 2_100, 4_900, 6_400, 8_050].map(ms).to_vec(),
            sizes: vec![
                vec![(ms(900), 3), (ms(1_900), 3), (ms(2_100), 3), (ms(2_300), 5)],
                vec![
                    (ms(1_800), 4),
                    (ms(4_900), 7),
                    (ms(6_200), 6),
                    (ms(6_900), 7),
                ],
                vec![(ms(6_500), 7), (ms(8_100), 9)],
                vec![(ms(7_900), 9)],
            ],
            ..Seen::default()
        };
        let recovery = Recovery::measure(4, &faults, &seen);
        let of = |extent, kind| &recovery.times[&(extent, kind)];
        let pause = of(Extent::Tolerated, Kind::Pause);
        assert_eq!(
            (pause.answers.as_slice(), pause.caught_up.as_slice()),
            (&[ms(100)][..], &[ms(300)][..])
        );
        // From 5.5 to 6 s two were out: the restart brought the quorum back.
        let kill = of(Extent::Beyond, Kind::Kill);
        assert_eq!(
            (kill.answers.as_slice(), kill.caught_up.as_slice()),
            (&[ms(400)][..], &[ms(900)][..])
        );
        let cut = of(Extent::Beyond, Kind::Cut);
        assert_eq!(
            (cut.answers.len(), cut.caught_up.as_slice()),
            (0, &[ms(100)][..])
        );
        assert_eq!(recovery.longest_silence, ms(2_800), "from 2.1 to 4.9 s");
    }

    #[test]
    fn a_node_hit_again_before_it_has_caught_up_is_measured_for_neither_fault() {
        let faults = [
            past(Kind::Kill, 0, 0, 1_000),
            past(Kind::Pause, 0, 1_500, 2_000),
            past(Kind::Cut, 0, 3_000, 4_000),
        ];
        let seen = Seen {
            provable: vec![ms(1_100), ms(2_300)],
            sizes: vec![
                vec![(ms(2_100), 9), (ms(4_050), 9)],
                vec![(ms(900), 5)],
                vec![],
                vec![],
            ],
            ..Seen::default()
        };
        let recovery = Recovery::measure(4, &faults, &seen);
        let of = |kind| &recovery.times[&(Extent::Tolerated, kind)];
        assert!(of(Kind::Kill).caught_up.is_empty());
        assert!(of(Kind::Pause).caught_up.is_empty());
        assert_eq!(of(Kind::Pause).answers, [ms(300)]);
        assert_eq!(of(Kind::Cut).caught_up, [ms(50)]);
        assert_eq!(recovery.slowest, Some((ms(50), faults[2])));
    }
}
