//! The Twins campaign (consensus.md, 5.2; the idea is from Bano et al., "Twins: BFT systems made robust", OPODIS 2021).
//!
//! Four validators, one of which runs twice: two unmodified engines with one key. For some views a script says which
//! of the honest validators each twin hears and is heard by; honest validators hear each other if they share a twin.
//! Then all hear all, and three more records must become final, one after the other.

mod classes;

use crate::crypto::Crypto;
use crate::plan::{Double, Plan, Slowness};
use crate::roster::Roster;
use crate::run::{Outcome, finish};
use crate::trace::{Trace, Words};
use crate::violation::Failure;
use crate::world::World;
use classes::{Sides, Views};
use consensus::Message;
use ledger::id::View;
use std::fmt;

/// The scripted views last at most this long, in ms: some scripts let nobody leave a view.
const SCRIPTED: u64 = 5_000;
/// From then on everything is final everywhere within this time, in ms.
const FINAL: u64 = 20_000;
/// Finalizations at the end.
const AFTER: u32 = 3;
/// Every case has the same keys, so that the leaders of the views are known.
const SEED: u64 = 0;

/// All scripts of so many views.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Campaign {
    pub(crate) views: u32,
}

/// One script.
pub(crate) struct Case {
    /// The twin's turn in the order of leaders.
    turn: usize,
    views: Vec<Sides>,
}

/// Who hears whom, while the scripted views last.
pub(crate) struct Script {
    views: Vec<Sides>,
    /// What each node is in the script: one of the twins, or an honest validator by its turn.
    roles: Vec<Role>,
    /// The last view that each node was in, by its own messages.
    seen: Vec<View>,
}

#[derive(Clone, Copy, Debug)]
enum Role {
    Twin(u8),
    Honest(usize),
}

impl Campaign {
    /// Number of different scripts.
    pub(crate) fn cases(self) -> u64 {
        Views::new(self.views).cases()
    }

    /// The script behind a number; larger numbers begin again.
    pub(crate) fn case(self, number: u64) -> Case {
        let (turn, views) = Views::new(self.views).case(number);
        Case { turn, views }
    }

    /// Plays one script.
    pub(crate) fn run(self, number: u64, words: Words) -> Outcome {
        let case = self.case(number);
        let mut world = World::new(plan(&case), Trace::new(words));
        let result = case.play(&mut world);
        Outcome::of(world, result)
    }
}

/// The validator whose turn that is.
fn validator(roster: &Roster, turn: usize) -> usize {
    let view = View(1 + turn as u64);
    usize::from(roster.first().leader(view).0)
}

fn plan(case: &Case) -> Plan {
    let mut plan = Plan::calm(SEED, 4);
    let twin = validator(&Roster::new(&plan), case.turn);
    plan.timing.delta_ms = 30;
    plan.timing.delta_max_ms = 240;
    plan.slowness = Slowness {
        sync: 1,
        answer: 0,
        workers: 0,
        prune: 0,
    };
    plan.crypto = Crypto::Mock;
    plan.byzantine.insert(twin, Vec::new());
    plan.doubles.push(Double::Twin(twin));
    // The second one reads another time, so that it makes other blocks.
    plan.clocks = vec![<_>::default(); plan.nodes()];
    if let Some(clock) = plan.clocks.last_mut() {
        clock.offset = 7;
    }
    plan.starts = vec![0; plan.nodes()];
    plan.load = (0..case.views.len())
        .map(|number| (60 + 90 * number as u64, number % 4))
        .collect();
    plan
}

impl Case {
    fn play(&self, world: &mut World) -> Result<(), Failure> {
        world.latency(1, 3);
        let twin = validator(&world.roster, self.turn);
        let mut roles: Vec<_> = (0..world.roster.nodes()).map(Role::Honest).collect();
        for turn in 0..4 {
            // The honest ones by their turns, without the twin's.
            let at = turn - usize::from(turn > self.turn);
            roles[validator(&world.roster, turn)] = Role::Honest(at);
        }
        roles[twin] = Role::Twin(classes::A);
        roles[4] = Role::Twin(classes::B);
        world.script = Some(Script {
            views: self.views.clone(),
            seen: vec![View(1); roles.len()],
            roles,
        });
        let last = View(self.views.len() as u64);
        world.run_until_view(SCRIPTED, last)?;
        // All hear all.
        world.script = Some(Script {
            views: Vec::new(),
            seen: vec![View(1); 5],
            roles: Vec::new(),
        });
        finish(world, world.now + FINAL)?;
        for number in 0..AFTER {
            world.submit(usize::try_from(number).unwrap_or(0));
            finish(world, world.now + FINAL)?;
        }
        Ok(())
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the twin has turn {}", self.turn + 1)?;
        for (number, sides) in (1..).zip(&self.views) {
            write!(f, "; view {number}: {sides}")?;
        }
        Ok(())
    }
}

impl Script {
    /// Whether a message reaches a node. By the view that it is about, else by the one that its sender is in.
    pub(crate) fn passes(&mut self, from: usize, to: usize, message: &Message) -> bool {
        let (view, in_view) = match message {
            Message::Hello(_) | Message::Seen(_) => return true,
            Message::Proposal(proposal) => (Some(proposal.view), None),
            Message::CompactProposal(proposal) => (Some(proposal.view), None),
            Message::Vote(vote) => (Some(vote.view), None),
            Message::Certificate(certificate) => (Some(certificate.view()), None),
            Message::Status(status) => (None, Some(status.view)),
            _ => (None, None),
        };
        let seen = &mut self.seen[from];
        *seen = (*seen).max(in_view.or(view).unwrap_or_default());
        let view = view.unwrap_or(*seen);
        let at = usize::try_from(view.0.saturating_sub(1)).unwrap_or(usize::MAX);
        self.views
            .get(at)
            .is_none_or(|sides| self.side(sides, from) & self.side(sides, to) != 0)
    }

    fn side(&self, sides: &Sides, node: usize) -> u8 {
        match self.roles[node] {
            Role::Twin(side) => side,
            Role::Honest(turn) => sides.of(turn),
        }
    }
}
