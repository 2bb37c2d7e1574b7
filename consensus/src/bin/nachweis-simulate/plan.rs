//! What a seed stands for: which validators are there, what is wrong with them, and when.
//!
//! Swarm style: each seed draws which classes of faults it has at all, so that some runs see one fault alone and
//! others see everything at once.

use crate::byzantine::{ALL, Mischief, OF_COMPACT};
use crate::clock::{Clock, Time};
use crate::crypto::Crypto;
use crate::items::Change;
use crate::random::{Random, Stream};
use crate::world::NEVER;
use consensus::{Compaction, Rules, Timing};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// Nothing is compact.
pub(crate) const WHOLE: Compaction = Compaction {
    above_members: usize::MAX,
    above_bytes: usize::MAX,
};

/// Something that goes wrong at one moment.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// A process dies and is started again after so long.
    Crash { node: usize, down: Time },
    /// A process is told to stop, stops, and is started again after so long.
    Stop { node: usize, down: Time },
    /// A process dies and is started again with an older journal, or an empty one.
    Forget { node: usize, down: Time },
    /// A process dies and its journal is lost, for all to see: it is started again in quarantine.
    Lose { node: usize, down: Time },
    /// A second computer starts with a copy of all that a node has.
    Clone { from: usize, to: usize },
    /// A process dies and is never started again.
    Die { node: usize },
    /// Nodes hear only those of their own group, for so long.
    Partition { groups: Vec<u8>, lasts: Time },
    /// A connection breaks for so long.
    Disconnect { a: usize, b: usize, lasts: Time },
    /// A wall clock jumps.
    Jump { node: usize, by: i64 },
}

/// A second computer with a validator's keys.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Double {
    /// Indistinguishable from the first, from the beginning on.
    Twin(usize),
    /// Started from a copy of the first one's disk, some time.
    Clone(usize, Time),
}

impl Double {
    /// Whose keys it has.
    pub(crate) const fn owner(self) -> usize {
        match self {
            Self::Twin(owner) | Self::Clone(owner, _) => owner,
        }
    }
}

/// How the network treats messages before GST; all in thousandths or ms.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Weather {
    pub(crate) delay: (u64, u64),
    pub(crate) tail: u64,
    pub(crate) loss: u64,
    pub(crate) duplicates: u64,
}

/// How the disk and the application behave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slowness {
    /// Longest sync, in ms.
    pub(crate) sync: u64,
    /// Longest answer of the application, in ms.
    pub(crate) answer: u64,
    /// Longest wait of a message between the doors `admit` and `handle`, in ms.
    pub(crate) workers: u64,
    /// The journal is pruned about this often, in ms; 0 = never.
    pub(crate) prune: u64,
}

/// One run, decided beforehand.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) seed: u64,
    pub(crate) n: usize,
    pub(crate) crypto: Crypto,
    /// Journals are kept in real files below this folder, too.
    pub(crate) files: Option<PathBuf>,
    pub(crate) timing: Timing,
    pub(crate) rules: Rules,
    /// When honest leaders propose by ids.
    pub(crate) compaction: Compaction,
    /// Validators of later epochs, each by its authority.
    pub(crate) joiners: Vec<u16>,
    /// Computers with the keys of a validator that has one already.
    pub(crate) doubles: Vec<Double>,
    /// An epoch ends after so many blocks; 0 = never.
    pub(crate) epoch_length: u64,
    pub(crate) byzantine: BTreeMap<usize, Vec<Mischief>>,
    pub(crate) dead: BTreeSet<usize>,
    pub(crate) clocks: Vec<Clock>,
    pub(crate) starts: Vec<Time>,
    pub(crate) weather: Weather,
    pub(crate) slowness: Slowness,
    /// Nodes that are slower, or faster, than the others.
    pub(crate) slow: BTreeMap<usize, Slowness>,
    pub(crate) faults: Vec<(Time, Fault)>,
    /// When a record is submitted, and to whom.
    pub(crate) load: Vec<(Time, usize)>,
    /// When a change of the set is decided.
    pub(crate) changes: Vec<(Time, Change)>,
    /// Whether so few are faulty that everything must become final.
    pub(crate) is_live: bool,
    /// So many of a thousand processes die soon after their epoch has ended.
    pub(crate) dies_at_switch: u64,
    /// So many of a thousand writes to a journal or archive fail, until GST.
    pub(crate) failing_writes: u64,
    /// From here on the network is good, every process is up, and nothing more goes wrong.
    pub(crate) gst: Time,
}

impl Plan {
    /// A run in which nothing goes wrong: the ground of directed scenarios.
    pub(crate) fn calm(seed: u64, n: usize) -> Self {
        Self {
            seed,
            n,
            crypto: Crypto::Mock,
            files: None,
            timing: Timing::default(),
            rules: Rules::default(),
            compaction: Compaction::USUAL,
            joiners: Vec::new(),
            doubles: Vec::new(),
            epoch_length: 0,
            byzantine: BTreeMap::new(),
            dead: BTreeSet::new(),
            clocks: vec![Clock::default(); n],
            starts: vec![0; n],
            weather: Weather::default(),
            slowness: Slowness {
                sync: 3,
                answer: 2,
                workers: 0,
                prune: 0,
            },
            slow: BTreeMap::new(),
            faults: Vec::new(),
            load: Vec::new(),
            changes: Vec::new(),
            is_live: true,
            dies_at_switch: 0,
            failing_writes: 0,
            gst: 0,
        }
    }

    /// The run that a seed stands for, with `n` validators or as many as the seed draws. With up to ten, bodies are
    /// compact above so many bytes, or never: their seeds are older than compact proposals.
    pub(crate) fn draw(
        seed: u64,
        n: Option<usize>,
        crypto: Crypto,
        compact_above: Option<usize>,
    ) -> Self {
        let mut random = Random::new(seed, Stream::Plan);
        let drawn = match random.below(20) {
            0..8 => 4,
            8..12 => 5,
            12..17 => 7,
            _ => 10,
        };
        let mut plan = Self::calm(seed, n.unwrap_or(drawn));
        plan.crypto = crypto;
        if let Some(above_bytes) = compact_above {
            plan.compaction.above_bytes = above_bytes;
        } else if plan.n <= plan.compaction.above_members {
            plan.compaction = WHOLE;
        }
        plan.gst = random.between(4_000, 20_000);
        if random.chance(300) {
            plan.timing.delta_ms = 30;
            plan.timing.delta_max_ms = 480;
        }
        if random.chance(80) {
            plan.rules.anchor_interval_ms = 4_000;
        }
        plan.draw_weather(&mut random);
        plan.draw_faulty(&mut random);
        plan.draw_clocks(&mut random);
        plan.draw_crashes(&mut random);
        plan.draw_load(&mut random);
        if random.chance(200) {
            plan.draw_losses(&mut random);
        }
        if random.chance(500) {
            plan.draw_epochs(&mut random);
        }
        plan.place_doubles();
        // From a stream of its own: seeds without failing writes are the same as before there were any.
        let mut writes = Random::new(seed, Stream::Writes);
        if writes.chance(150) {
            plan.failing_writes = *pick(&mut writes, &[2, 10, 40]);
        }
        plan
    }

    /// Number of validators over all epochs.
    pub(crate) const fn validators(&self) -> usize {
        self.n + self.joiners.len()
    }

    /// Number of computers.
    pub(crate) const fn nodes(&self) -> usize {
        self.validators() + self.doubles.len()
    }

    /// Whether a validator is not byzantine.
    pub(crate) fn is_honest(&self, validator: usize) -> bool {
        !self.byzantine.contains_key(&validator)
    }

    pub(crate) fn slowness_of(&self, node: usize) -> Slowness {
        self.slow.get(&node).copied().unwrap_or(self.slowness)
    }

    const fn f(&self) -> usize {
        (self.n - 1) / 3
    }

    fn draw_weather(&mut self, random: &mut Random) {
        self.weather = Weather {
            delay: if random.chance(700) {
                (3, 120)
            } else {
                (1, 15)
            },
            tail: if random.chance(500) { 80 } else { 0 },
            loss: if random.chance(600) { 120 } else { 0 },
            duplicates: if random.chance(400) { 40 } else { 0 },
        };
        self.slowness = Slowness {
            sync: *pick(random, &[1, 15, 15, 60]),
            answer: *pick(random, &[0, 5, 20, 150]),
            workers: *pick(random, &[0, 0, 3, 12]),
            prune: *pick(random, &[0, 1_500, 4_000]),
        };
        if random.chance(500) {
            let mut at = random.between(500, 3_000);
            while at < self.gst {
                let groups = (0..self.n)
                    .map(|_| u8::try_from(random.below(3)).unwrap_or(0))
                    .collect();
                let lasts = random.between(300, 2_800);
                self.faults.push((at, Fault::Partition { groups, lasts }));
                at += lasts + random.between(100, 3_000);
            }
        }
        if random.chance(300) {
            for _ in 0..random.between(1, 12) {
                let (a, b) = (random.index(self.n), random.index(self.n));
                let lasts = random.between(20, 2_000);
                if a != b {
                    let at = random.below(self.gst);
                    self.faults.push((at, Fault::Disconnect { a, b, lasts }));
                }
            }
        }
    }

    /// Up to f validators are byzantine or die.
    fn draw_faulty(&mut self, random: &mut Random) {
        let mut order: Vec<_> = (0..self.n).collect();
        random.shuffle(&mut order);
        let faulty = random.index(self.f() + 1);
        let faulty = if random.chance(300) { self.f() } else { faulty };
        for &node in order.iter().take(faulty) {
            if random.chance(250) {
                self.dead.insert(node);
                let at = random.below(self.gst);
                self.faults.push((at, Fault::Die { node }));
                continue;
            }
            let mut mischief: Vec<_> = ALL.to_vec();
            if self.compaction != WHOLE {
                mischief.extend(OF_COMPACT);
            }
            random.shuffle(&mut mischief);
            mischief.truncate(random.index(4) + 1);
            if mischief.contains(&Mischief::Twins) {
                self.doubles.push(Double::Twin(node));
            }
            if mischief.contains(&Mischief::Amnesia) && random.chance(300) {
                let at = random.below(self.gst);
                self.doubles.push(Double::Clone(node, at));
            } else if mischief.contains(&Mischief::Amnesia) {
                for _ in 0..random.between(1, 3) {
                    let at = random.below(self.gst);
                    let down = random.between(50, 2_550);
                    self.faults.push((at, Fault::Forget { node, down }));
                }
            }
            self.byzantine.insert(node, mischief);
        }
    }

    fn draw_clocks(&mut self, random: &mut Random) {
        let offsets = random.chance(500);
        let furthest = *pick(random, &[400, 400, 2_000]);
        let drifts = random.chance(400);
        for clock in &mut self.clocks {
            if offsets {
                clock.offset = signed(random, furthest);
            }
            if drifts {
                clock.drift = signed(random, 200);
            }
        }
        if random.chance(150) {
            let by = signed(random, 3_600_000);
            let at = random.below(self.gst);
            for node in 0..self.n {
                self.faults.push((at, Fault::Jump { node, by }));
            }
        } else if random.chance(150) {
            // A wrong clock makes its validator useless for new blocks, so it counts among the f faulty.
            let faulty = self.byzantine.len() + self.dead.len();
            if faulty < self.f() {
                let node = random.index(self.n);
                let by = signed(random, 3_600_000);
                let at = random.below(self.gst);
                self.faults.push((at, Fault::Jump { node, by }));
            }
        }
    }

    fn draw_crashes(&mut self, random: &mut Random) {
        let late = random.chance(200);
        for start in &mut self.starts {
            *start = random.below(300);
            if late && random.chance(300) {
                *start = random.below(self.gst);
            }
        }
        let down = |random: &mut Random| random.between(50, 2_550);
        if random.chance(500) {
            for _ in 0..random.between(1, 10) {
                let node = random.index(self.n);
                let down = down(random);
                let at = random.below(self.gst);
                let fault = if random.chance(200) {
                    Fault::Stop { node, down }
                } else {
                    Fault::Crash { node, down }
                };
                self.faults.push((at, fault));
            }
        }
        if random.chance(250) {
            for _ in 0..random.between(1, 3) {
                let at = random.below(self.gst);
                for node in 0..self.n {
                    let down = down(random);
                    self.faults.push((at, Fault::Crash { node, down }));
                }
            }
        }
        if random.chance(200) {
            let node = random.index(self.n);
            let mut at = random.below(self.gst);
            for _ in 0..random.between(2, 12) {
                let down = random.between(1, 60);
                self.faults.push((at, Fault::Crash { node, down }));
                at += down + random.between(1, 400);
            }
            self.faults.retain(|(at, _)| *at < self.gst);
        }
    }

    fn draw_load(&mut self, random: &mut Random) {
        let count = random.between(3, 80);
        for _ in 0..count {
            let at = random.below(self.gst + 2_000);
            let node = random.index(self.n);
            self.load.push((at, node));
        }
        self.load.sort_unstable();
    }
}

impl Plan {
    /// The journals of some honest validators are lost, once or several times. Until its floor is reached, such a
    /// validator counts among the faulty; with f others it is still safe, but may not come back.
    fn draw_losses(&mut self, random: &mut Random) {
        let faulty = self.faulty();
        let room = self.f().saturating_sub(faulty);
        let count = if room == 0 {
            self.is_live = false;
            1
        } else {
            random.between(1, room as u64)
        };
        for _ in 0..count {
            let node = random.index(self.n);
            if self.is_faulty(node) {
                continue;
            }
            for _ in 0..random.between(1, 3) {
                let at = random.below(self.gst);
                let down = random.between(50, 2_550);
                self.faults.push((at, Fault::Lose { node, down }));
            }
        }
    }

    /// Number of validators of the first epoch that do not do their duty, or not always.
    fn faulty(&self) -> usize {
        (0..self.n).filter(|node| self.is_faulty(*node)).count()
    }

    fn is_faulty(&self, node: usize) -> bool {
        // A jump of all clocks is nobody's own fault.
        self.byzantine.contains_key(&node)
            || self.dead.contains(&node)
            || self.loses_journal(node)
            || (!self.all_clocks_jump() && self.clock_jumps(node))
    }

    /// Whether a validator's journal is lost at some time.
    pub(crate) fn loses_journal(&self, node: usize) -> bool {
        self.losses(node) > 0
    }

    /// How often a validator's journal is lost.
    pub(crate) fn losses(&self, node: usize) -> usize {
        let faults = self.faults.iter();
        faults
            .filter(|(_, fault)| matches!(fault, Fault::Lose { node: loses, .. } if *loses == node))
            .count()
    }

    /// Second computers come last.
    fn place_doubles(&mut self) {
        for (number, double) in self.doubles.iter().enumerate() {
            let node = self.validators() + number;
            self.clocks.push(self.clocks[double.owner()]);
            match *double {
                Double::Twin(_) => self.starts.push(0),
                Double::Clone(from, at) => {
                    self.starts.push(NEVER);
                    self.faults.push((at, Fault::Clone { from, to: node }));
                }
            }
        }
    }
}

/// Validators of all epochs together.
const MAX_VALIDATORS: usize = 60;

impl Plan {
    /// Epochs end by length, by changes of the set, or by both.
    fn draw_epochs(&mut self, random: &mut Random) {
        if random.chance(600) {
            self.epoch_length = random.between(2, 12);
        }
        if random.chance(400) {
            self.dies_at_switch = 300;
        }
        let count = match self.epoch_length {
            0 => random.between(1, 4),
            _ => random.below(4),
        };
        let mut members: Vec<usize> = (0..self.n).collect();
        let mut authorities: Vec<u16> = (0..u16::try_from(self.n).unwrap_or(0)).collect();
        let mut times: Vec<_> = (0..count)
            .map(|_| random.between(300, self.gst + 1_500))
            .collect();
        times.sort_unstable();
        for (number, at) in (0..).zip(times) {
            let (mut leaves, mut joins) = (0, 0);
            let mut after = members.clone();
            for _ in 0..random.between(1, (((members.len() - 1) / 3).max(1)) as u64) {
                self.draw_change(random, &mut after, &mut authorities);
            }
            for validator in 0..authorities.len() {
                let (before, after) = (members.contains(&validator), after.contains(&validator));
                leaves |= u64::from(before && !after) << validator;
                joins |= u64::from(!before && after) << validator;
            }
            if leaves | joins != 0 && self.stands(&after) {
                members = after;
                let change = Change::decide(number, leaves, joins);
                self.changes.push((at, change));
            } else {
                break;
            }
        }
        self.joiners = authorities.split_off(self.n);
        if self.all_clocks_jump() {
            let jumps = self.faults.iter().filter_map(|(at, fault)| match fault {
                Fault::Jump { node: 0, by } => Some((*at, *by)),
                _ => None,
            });
            let jumps: Vec<_> = jumps.collect();
            for node in self.n..self.validators() {
                let jumps = jumps.iter();
                let jumps = jumps.map(|(at, by)| (*at, Fault::Jump { node, by: *by }));
                self.faults.extend(jumps);
            }
        }
        for _ in 0..self.joiners.len() {
            let start = random.below(300);
            self.starts.push(start);
            self.clocks.push(Clock::default());
        }
    }

    /// One authority joins, leaves, or changes its keys and computer.
    fn draw_change(
        &self,
        random: &mut Random,
        members: &mut Vec<usize>,
        authorities: &mut Vec<u16>,
    ) {
        let founders: Vec<_> = members.iter().copied().filter(|m| *m < self.n).collect();
        let kind = random.below(4);
        if kind == 0 && members.len() > 4 && !founders.is_empty() {
            let gone = *pick(random, &founders);
            members.retain(|member| *member != gone);
        } else if authorities.len() < MAX_VALIDATORS {
            let newcomer = authorities.len();
            let own = u16::try_from(newcomer).unwrap_or(u16::MAX);
            let mut authority = own;
            if kind > 1 && !founders.is_empty() {
                let old = *pick(random, &founders);
                members.retain(|member| *member != old);
                authority = authorities[old];
            }
            authorities.push(authority);
            members.push(newcomer);
        }
    }

    fn clock_jumps(&self, node: usize) -> bool {
        let mut faults = self.faults.iter();
        faults.any(|(_, fault)| matches!(fault, Fault::Jump { node: jumps, .. } if *jumps == node))
    }

    fn all_clocks_jump(&self) -> bool {
        (0..self.n).all(|node| self.clock_jumps(node))
    }

    /// Whether at most f of these are byzantine, and, if the run is to go on, at most f faulty.
    fn stands(&self, members: &[usize]) -> bool {
        let faulty = members.iter().filter(|member| self.is_faulty(**member));
        let byzantine = members.iter().filter(|member| !self.is_honest(**member));
        let f = (members.len() - 1) / 3;
        members.len() >= 4 && byzantine.count() <= f && (!self.is_live || faulty.count() <= f)
    }
}

fn pick<'a, T>(random: &mut Random, items: &'a [T]) -> &'a T {
    &items[random.index(items.len())]
}

fn signed(random: &mut Random, most: u64) -> i64 {
    let value = i64::try_from(random.below(2 * most + 1)).unwrap_or(0);
    value - i64::try_from(most).unwrap_or(0)
}
