//! A model of persistence alone: whatever crashes when, the honest validators can leave every view.
//!
//! Three honest validators (of four) write, sync, send, crash and recover; the fourth helps at chosen moments to make
//! a certificate that only one validator sees, and then falls silent for ever. Certificates and votes that are durable
//! are sent again and again (R8), so delivery is a matter of time and not modelled. One block a view; its validity and
//! the network are left out. What is checked is liveness in its safe form: *no state is stuck* – wherever the honest
//! can do nothing more among themselves, all of them are past the last view (consensus.md 5.3 a).
//!
//! It shows why a certificate is durable before the Finalize that rests on it, and why own votes are counted again
//! after a restart: without either the model finds a dead end.

use stateright::{Checker as _, Model, Property};

/// Honest validators; q = 3 of n = 4.
const HONEST: usize = 3;
const QUORUM: usize = 3;
/// Views of the largest run.
const MAX_VIEWS: usize = 2;

/// Where something that a validator made is: what is queued is lost in a crash, what is durable is also sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kept {
    #[default]
    Nowhere,
    Queued,
    Durable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Notarize,
    Nullify,
    Finalize,
}

const KINDS: [Kind; 3] = [Kind::Notarize, Kind::Nullify, Kind::Finalize];

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct InView {
    votes: [Kept; 3],
    certificates: [Kept; 3],
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Node {
    views: [InView; MAX_VIEWS],
    /// It crashed before, and (the planted bug) does not count what it signed in its former life.
    forgets_own: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct State {
    nodes: [Node; HONEST],
    crashes_left: u8,
    helps_left: u8,
}

/// A rule that is left out on purpose.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    /// The notarization is not written with the Finalize that rests on it.
    CertificateNotPersisted,
    /// After a restart the own votes are sent again but not counted in the own tally.
    OwnVotesNotCounted,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Vote { by: usize, view: usize, kind: Kind },
    Sync { by: usize },
    Assemble { by: usize, view: usize, kind: Kind },
    Receive { by: usize, view: usize, kind: Kind },
    Help { to: usize, view: usize, kind: Kind },
    Crash { who: usize },
}

#[derive(Clone, Copy, Debug)]
struct CrashRecovery {
    views: usize,
    crashes: u8,
    helps: u8,
    bug: Bug,
}

impl State {
    fn vote(&self, by: usize, view: usize, kind: Kind) -> Kept {
        self.nodes[by].views[view].votes[kind as usize]
    }

    fn holds(&self, who: usize, view: usize, kind: Kind) -> bool {
        self.nodes[who].views[view].certificates[kind as usize] != Kept::Nowhere
    }

    /// Current view: one past the highest with a certificate.
    fn view(&self, who: usize) -> usize {
        let left = |view: &usize| KINDS.iter().any(|kind| self.holds(who, *view, *kind));
        (0..MAX_VIEWS).rev().find(left).map_or(0, |view| view + 1)
    }

    /// Votes that a validator has seen: those that others sent, and its own.
    fn tally(&self, who: usize, view: usize, kind: Kind) -> usize {
        let seen = |by: &usize| match self.vote(*by, view, kind) {
            Kept::Nowhere => false,
            Kept::Queued => *by == who,
            Kept::Durable => *by != who || !self.nodes[who].forgets_own,
        };
        (0..HONEST).filter(seen).count()
    }
}

impl CrashRecovery {
    fn may_vote(&self, state: &State, by: usize, view: usize, kind: Kind) -> bool {
        let voted = |kind| state.vote(by, view, kind) != Kept::Nowhere;
        let current = state.view(by) == view;
        !voted(kind)
            && match kind {
                Kind::Notarize => current,
                Kind::Nullify => current && !voted(Kind::Finalize),
                Kind::Finalize => {
                    state.holds(by, view, Kind::Notarize)
                        && !voted(Kind::Nullify)
                        && !state.holds(by, view, Kind::Nullify)
                }
            }
    }

    /// What the honest can do among themselves.
    fn honest_actions(&self, state: &State) -> Vec<Action> {
        let mut actions = Vec::new();
        for by in 0..HONEST {
            let queued = |at: &InView| at.votes.contains(&Kept::Queued);
            let fresh = |at: &InView| at.certificates.contains(&Kept::Queued);
            let node = &state.nodes[by];
            if node.views.iter().any(|at| queued(at) || fresh(at)) {
                actions.push(Action::Sync { by });
            }
            for view in 0..self.views {
                for kind in KINDS {
                    if self.may_vote(state, by, view, kind) {
                        actions.push(Action::Vote { by, view, kind });
                    }
                    if state.holds(by, view, kind) {
                        continue;
                    }
                    if state.tally(by, view, kind) >= QUORUM {
                        actions.push(Action::Assemble { by, view, kind });
                    }
                    let durable = |other: &Node| {
                        other.views[view].certificates[kind as usize] == Kept::Durable
                    };
                    if state.nodes.iter().any(durable) {
                        actions.push(Action::Receive { by, view, kind });
                    }
                }
            }
        }
        actions
    }

    fn sync(&self, node: &mut Node) {
        for at in &mut node.views {
            for vote in &mut at.votes {
                if *vote == Kept::Queued {
                    *vote = Kept::Durable;
                }
            }
            if self.bug != Bug::CertificateNotPersisted {
                for certificate in &mut at.certificates {
                    if *certificate == Kept::Queued {
                        *certificate = Kept::Durable;
                    }
                }
            }
        }
    }

    fn crash(&self, node: &mut Node) {
        for at in &mut node.views {
            for kept in at.votes.iter_mut().chain(&mut at.certificates) {
                if *kept == Kept::Queued {
                    *kept = Kept::Nowhere;
                }
            }
        }
        node.forgets_own = self.bug == Bug::OwnVotesNotCounted;
    }
}

impl Model for CrashRecovery {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            nodes: [Node::default(); HONEST],
            crashes_left: self.crashes,
            helps_left: self.helps,
        }]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        actions.extend(self.honest_actions(state));
        for who in 0..HONEST {
            if state.crashes_left > 0 {
                actions.push(Action::Crash { who });
            }
            for view in 0..self.views {
                for kind in KINDS {
                    let enough = state.tally(who, view, kind) + 1 >= QUORUM;
                    if state.helps_left > 0 && enough && !state.holds(who, view, kind) {
                        actions.push(Action::Help {
                            to: who,
                            view,
                            kind,
                        });
                    }
                }
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = *state;
        match action {
            Action::Vote { by, view, kind } => {
                next.nodes[by].views[view].votes[kind as usize] = Kept::Queued;
            }
            Action::Sync { by } => self.sync(&mut next.nodes[by]),
            Action::Assemble { by, view, kind } | Action::Receive { by, view, kind } => {
                next.nodes[by].views[view].certificates[kind as usize] = Kept::Queued;
            }
            Action::Help { to, view, kind } => {
                next.helps_left -= 1;
                next.nodes[to].views[view].certificates[kind as usize] = Kept::Queued;
            }
            Action::Crash { who } => {
                next.crashes_left -= 1;
                self.crash(&mut next.nodes[who]);
            }
        }
        next.nodes.sort_unstable();
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("no state is stuck", |model: &Self, state: &State| {
                let effective = |action| model.next_state(state, action).is_some();
                model.honest_actions(state).into_iter().any(effective)
                    || (0..HONEST).all(|who| state.view(who) >= model.views)
            }),
            Property::sometimes(
                "all are past the last view",
                |model: &Self, state: &State| (0..HONEST).all(|who| state.view(who) >= model.views),
            ),
        ]
    }
}

fn exhaust(model: CrashRecovery) -> usize {
    let checker = model.checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    checker.unique_state_count()
}

/// A model that lost moves would get stuck nowhere, too: it must have about as many states as it once had.
fn has_all_moves(states: usize, floor: usize) {
    assert!(
        states >= floor,
        "only {states} states: the model lost moves"
    );
}

fn dead_end(bug: Bug) -> usize {
    let model = CrashRecovery {
        views: 1,
        crashes: 3,
        helps: 1,
        bug,
    };
    let finished = stateright::HasDiscoveries::AnyOf(["no state is stuck"].into_iter().collect());
    let checker = model.checker().finish_when(finished).spawn_bfs().join();
    let path = checker.discovery("no state is stuck");
    path.unwrap_or_else(|| panic!("{bug:?} was not found"))
        .into_actions()
        .len()
}

#[test]
fn no_crash_leaves_the_honest_stuck() {
    let states = exhaust(CrashRecovery {
        views: 1,
        crashes: 3,
        helps: 2,
        bug: Bug::None,
    });
    println!("1 view, 3 crashes, 2 helps: {states} states, exhaustive");
    has_all_moves(states, 45_400);
}

#[test]
fn a_certificate_is_durable_before_the_finalize_that_rests_on_it() {
    println!(
        "dead end in {} steps",
        dead_end(Bug::CertificateNotPersisted)
    );
}

#[test]
fn own_votes_count_again_after_a_restart() {
    println!("dead end in {} steps", dead_end(Bug::OwnVotesNotCounted));
}

#[test]
fn no_crash_leaves_the_honest_stuck_in_two_views_slow() {
    let states = exhaust(CrashRecovery {
        views: 2,
        crashes: 2,
        helps: 1,
        bug: Bug::None,
    });
    println!("2 views, 2 crashes, 1 help: {states} states, exhaustive");
    has_all_moves(states, 7_600_000);
}
