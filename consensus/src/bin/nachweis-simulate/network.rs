//! The network: connections that come and go, and what happens to a message on its way.
//!
//! Harsher than TCP in one respect, to find more: messages of one connection may overtake each other. As with TCP,
//! none outlives its connection.

use crate::clock::Time;
use crate::plan::Weather;
use crate::random::Random;

/// After GST every message arrives within this range of ms.
pub(crate) const GOOD: (u64, u64) = (4, 54);
/// A message in the slow tail takes up to this long, in ms.
const TAIL: u64 = 2_500;
/// Thousandths of the messages between groups of a partition that get lost.
const ACROSS: u64 = 970;

/// Numbers the connections between two nodes; a message belongs to one of them.
pub(crate) type Generation = u32;

#[derive(Clone, Copy, Default)]
struct Link {
    generation: Generation,
    up: bool,
    /// Which processes it connects: those of the lower and of the higher node.
    ends: (u32, u32),
}

/// What became of a new connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Connected {
    /// These processes are connected already.
    Already,
    /// There was none, or one with an older process that nobody had missed yet.
    New,
}

/// State of all links.
pub(crate) struct Network {
    n: usize,
    links: Vec<Link>,
    weather: Weather,
    groups: Option<Vec<u8>>,
    good: bool,
    /// How long a message takes when the network is good.
    pace: (u64, u64),
    random: Random,
}

impl Network {
    pub(crate) fn new(n: usize, weather: Weather, random: Random) -> Self {
        Self {
            n,
            links: vec![Link::default(); n * n],
            weather,
            groups: None,
            good: false,
            pace: GOOD,
            random,
        }
    }

    /// GST: no loss, no partition, short delays from now on.
    pub(crate) fn calm(&mut self) {
        self.good = true;
        self.groups = None;
    }

    /// A directed scenario: messages take this long from now on when the network is good.
    pub(crate) const fn pace(&mut self, low: u64, high: u64) {
        self.pace = (low, high);
    }

    /// How long a message takes when the network is good.
    pub(crate) const fn usual_delay(&self) -> (u64, u64) {
        self.pace
    }

    /// A directed scenario: the network is bad again.
    pub(crate) const fn storm(&mut self, weather: Weather) {
        self.good = false;
        self.weather = weather;
    }

    pub(crate) fn partition(&mut self, groups: Option<Vec<u8>>) {
        if !self.good {
            self.groups = groups;
        }
    }

    /// The connection that this process of a node has to a peer, if it has one.
    pub(crate) fn connection(
        &self,
        node: usize,
        incarnation: u32,
        peer: usize,
    ) -> Option<Generation> {
        let link = self.links[self.slot(node, peer)];
        let end = if node < peer {
            link.ends.0
        } else {
            link.ends.1
        };
        (link.up && end == incarnation).then_some(link.generation)
    }

    /// A connection between two processes, each given as node and incarnation.
    pub(crate) fn connect(&mut self, a: (usize, u32), b: (usize, u32)) -> Connected {
        let slot = self.slot(a.0, b.0);
        let ends = if a.0 < b.0 { (a.1, b.1) } else { (b.1, a.1) };
        let link = &mut self.links[slot];
        if link.up && link.ends == ends {
            return Connected::Already;
        }
        *link = Link {
            generation: link.generation + 1,
            up: true,
            ends,
        };
        Connected::New
    }

    /// The number of the connection that stands, whatever processes it connects.
    pub(crate) fn standing(&self, a: usize, b: usize) -> Option<Generation> {
        let link = self.links[self.slot(a, b)];
        link.up.then_some(link.generation)
    }

    /// The connection breaks. False if it is not this one that stands.
    pub(crate) fn disconnect(&mut self, a: usize, b: usize, generation: Generation) -> bool {
        let slot = self.slot(a, b);
        let link = &mut self.links[slot];
        let stood = link.up && link.generation == generation;
        if stood {
            link.up = false;
        }
        stood
    }

    /// When a message sent now arrives: never, once, or twice.
    pub(crate) fn route(&mut self, now: Time, from: usize, to: usize) -> [Option<Time>; 2] {
        if self.good {
            return [
                Some(now + self.random.between(self.pace.0, self.pace.1)),
                None,
            ];
        }
        let apart = self
            .groups
            .as_ref()
            .is_some_and(|groups| groups[from % groups.len()] != groups[to % groups.len()]);
        let lost = if apart { ACROSS } else { self.weather.loss };
        if self.random.chance(lost) {
            return [None, None];
        }
        let first = now + self.delay();
        let second = self
            .random
            .chance(self.weather.duplicates)
            .then(|| now + self.delay());
        [Some(first), second]
    }

    fn delay(&mut self) -> u64 {
        let Weather { delay, tail, .. } = self.weather;
        if self.random.chance(tail) {
            self.random.between(delay.1, TAIL)
        } else {
            self.random.between(delay.0, delay.1)
        }
    }

    const fn slot(&self, a: usize, b: usize) -> usize {
        if a < b {
            a * self.n + b
        } else {
            b * self.n + a
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Stream;

    #[test]
    fn a_message_belongs_to_one_connection() {
        let mut network = Network::new(4, Weather::default(), Random::new(1, Stream::Network));
        assert_eq!(network.connection(1, 1, 2), None);
        assert_eq!(network.connect((2, 1), (1, 1)), Connected::New);
        assert_eq!(network.connect((1, 1), (2, 1)), Connected::Already);
        let first = network.connection(1, 1, 2).expect("stands");
        assert_eq!(network.connect((1, 1), (2, 2)), Connected::New);
        assert!(
            !network.disconnect(1, 2, first),
            "the first is gone already"
        );
        assert_eq!(network.connection(2, 1, 1), None, "of the older process");
        assert_ne!(network.connection(2, 2, 1), Some(first));
    }

    #[test]
    fn after_gst_everything_arrives_once_and_soon() {
        let weather = Weather {
            delay: (3, 120),
            tail: 80,
            loss: 500,
            duplicates: 500,
        };
        let mut network = Network::new(4, weather, Random::new(1, Stream::Network));
        network.partition(Some(vec![0, 1, 0, 1]));
        network.calm();
        for _ in 0..100 {
            let [first, second] = network.route(1_000, 0, 1);
            assert!(matches!(first, Some(1_004..=1_054)) && second.is_none());
        }
    }
}
