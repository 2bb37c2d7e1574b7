//! A model of the vote rules alone, checked exhaustively: three honest validators and one that signs everything.
//!
//! It keeps of the protocol only what safety rests on (consensus.md 3.21): which votes an honest validator may add,
//! given the certificates that somebody could show it. Everything else is left out, in the attacker's favour: votes
//! never get lost and any certificate that could be formed is visible to anyone; every leader is the attacker; there
//! is no order of views, no timer and no network. A property that holds here holds under every schedule.
//!
//! What it is not: the engine. That the engine keeps to these rules is the simulator's and the unit tests' matter.

use stateright::{Checker as _, Model, Property};
use std::hash::Hash;

/// Honest validators; with the attacker n = 4, f = 1.
const HONEST: usize = 3;
/// Honest votes that, with the attacker's, make a quorum of n - f.
const HONEST_QUORUM: usize = 2;
/// Views that the largest model looks at.
const MAX_VIEWS: usize = 3;

/// A set of blocks, by index in the universe.
type Blocks = u32;

/// A block that some leader may propose: its view and its parent. Index 0 is the anchor.
#[derive(Clone, Copy, Debug)]
struct Block {
    view: usize,
    parent: usize,
}

/// A rule that is left out on purpose: the model must then find a fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Bug {
    None,
    FinalizeAfterNullify,
    NullifyAfterFinalize,
    NotarizeTwice,
    NoGapCheck,
    NoGapCheckForReproposals,
    GapOffByOne,
    QuorumOneLess,
    CommitOnNotarization,
    FinalizeWithoutNotarization,
    ParentNotNotarized,
}

/// What one honest validator has signed, by view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Votes {
    notarize: [Blocks; MAX_VIEWS],
    finalize: [Blocks; MAX_VIEWS],
    nullify: [bool; MAX_VIEWS],
}

/// All honest votes. Sorted: validators differ in nothing but their votes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct State([Votes; HONEST]);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Action {
    Notarize {
        by: usize,
        view: usize,
        block: usize,
    },
    Nullify {
        by: usize,
        view: usize,
    },
    Finalize {
        by: usize,
        view: usize,
        block: usize,
    },
}

#[derive(Clone, Debug)]
struct VoteRules {
    views: usize,
    universe: Vec<Block>,
    bug: Bug,
}

impl VoteRules {
    /// `variants[v-1]` blocks of view v for each block of an earlier view and the anchor.
    fn new(variants: &[usize], bug: Bug) -> Self {
        let mut universe = vec![Block { view: 0, parent: 0 }];
        for (at, count) in variants.iter().enumerate() {
            let parents = universe.len();
            for parent in 0..parents {
                universe.extend((0..*count).map(|_| Block {
                    view: at + 1,
                    parent,
                }));
            }
        }
        assert!(universe.len() <= 32 && variants.len() <= MAX_VIEWS);
        Self {
            views: variants.len(),
            universe,
            bug,
        }
    }

    fn quorum(&self, votes: impl Iterator<Item = bool>) -> bool {
        let needed = HONEST_QUORUM - usize::from(self.bug == Bug::QuorumOneLess);
        votes.filter(|voted| *voted).count() >= needed
    }

    fn notarized(&self, state: &State, view: usize, block: usize) -> bool {
        if view == 0 {
            return block == 0;
        }
        self.quorum(
            state
                .0
                .iter()
                .map(|votes| has(votes.notarize[view - 1], block)),
        )
    }

    fn finalized(&self, state: &State, view: usize, block: usize) -> bool {
        if view == 0 {
            return block == 0;
        }
        self.quorum(
            state
                .0
                .iter()
                .map(|votes| has(votes.finalize[view - 1], block)),
        )
    }

    fn nullified(&self, state: &State, view: usize) -> bool {
        self.quorum(state.0.iter().map(|votes| votes.nullify[view - 1]))
    }

    /// Committed by somebody in some view.
    fn committed(&self, state: &State) -> Vec<usize> {
        let blocks = 1..self.universe.len();
        let committed = |block: &usize| {
            (1..=self.views).any(|view| {
                self.finalized(state, view, *block)
                    || (self.bug == Bug::CommitOnNotarization
                        && self.notarized(state, view, *block))
            })
        };
        blocks.filter(committed).collect()
    }

    fn extends(&self, block: usize, ancestor: usize) -> bool {
        let mut at = block;
        while at != ancestor {
            if at == 0 {
                return false;
            }
            at = self.universe[at].parent;
        }
        true
    }

    /// Whether every view strictly between the two is nullified (consensus.md 3.4).
    fn gap_is_nullified(&self, state: &State, parent_view: usize, view: usize, new: bool) -> bool {
        let first = parent_view + 1 + usize::from(self.bug == Bug::GapOffByOne);
        let skipped = match self.bug {
            Bug::NoGapCheck => new,
            Bug::NoGapCheckForReproposals => !new,
            _ => false,
        };
        skipped || (first..view).all(|between| self.nullified(state, between))
    }

    /// Whether an honest validator accepts this block in this view, whatever the leader shows it.
    fn acceptable(&self, state: &State, view: usize, block: usize) -> bool {
        let Block {
            view: made,
            parent: on,
        } = self.universe[block];
        (0..view).any(|parent_view| {
            let certified = |block: usize| {
                self.notarized(state, parent_view, block)
                    || self.finalized(state, parent_view, block)
                    || (self.bug == Bug::ParentNotNotarized
                        && self.universe[block].view == parent_view)
            };
            let new = made == view
                && certified(on)
                && self.gap_is_nullified(state, parent_view, view, true);
            let again = made < view
                && parent_view > 0
                && certified(block)
                && self.gap_is_nullified(state, parent_view, view, false);
            new || again
        })
    }

    fn may_notarize(&self, state: &State, by: usize, view: usize, block: usize) -> bool {
        let mine = state.0[by].notarize[view - 1];
        let most = u32::from(self.bug == Bug::NotarizeTwice) + 1;
        !has(mine, block) && mine.count_ones() < most && self.acceptable(state, view, block)
    }

    fn may_nullify(&self, state: &State, by: usize, view: usize) -> bool {
        let votes = &state.0[by];
        let free = votes.finalize[view - 1] == 0 || self.bug == Bug::NullifyAfterFinalize;
        !votes.nullify[view - 1] && free
    }

    fn may_finalize(&self, state: &State, by: usize, view: usize, block: usize) -> bool {
        let votes = &state.0[by];
        let free = !votes.nullify[view - 1] || self.bug == Bug::FinalizeAfterNullify;
        let shown = self.notarized(state, view, block)
            || (self.bug == Bug::FinalizeWithoutNotarization
                && self.acceptable(state, view, block));
        votes.finalize[view - 1] == 0 && free && shown
    }
}

fn has(blocks: Blocks, block: usize) -> bool {
    blocks & (1 << block) != 0
}

impl Model for VoteRules {
    type State = State;
    type Action = Action;

    fn init_states(&self) -> Vec<State> {
        vec![State([Votes::default(); HONEST])]
    }

    fn actions(&self, state: &State, actions: &mut Vec<Action>) {
        for by in 0..HONEST {
            // Validators with the same votes are the same.
            if by > 0 && state.0[by] == state.0[by - 1] {
                continue;
            }
            for view in 1..=self.views {
                if self.may_nullify(state, by, view) {
                    actions.push(Action::Nullify { by, view });
                }
                for block in 1..self.universe.len() {
                    if self.universe[block].view > view {
                        continue;
                    }
                    if self.may_notarize(state, by, view, block) {
                        actions.push(Action::Notarize { by, view, block });
                    }
                    if self.may_finalize(state, by, view, block) {
                        actions.push(Action::Finalize { by, view, block });
                    }
                }
            }
        }
    }

    fn next_state(&self, state: &State, action: Action) -> Option<State> {
        let mut next = *state;
        match action {
            Action::Notarize { by, view, block } => next.0[by].notarize[view - 1] |= 1 << block,
            Action::Nullify { by, view } => next.0[by].nullify[view - 1] = true,
            Action::Finalize { by, view, block } => next.0[by].finalize[view - 1] |= 1 << block,
        }
        next.0.sort_unstable();
        Some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always("agreement", |model: &Self, state: &State| {
                let committed = model.committed(state);
                committed.iter().all(|a| {
                    let on_a_chain = |b: &usize| model.extends(*a, *b) || model.extends(*b, *a);
                    committed.iter().all(on_a_chain)
                })
            }),
            Property::always("one notarization a view", |model: &Self, state: &State| {
                (1..=model.views).all(|view| {
                    let notarized = |block: &usize| model.notarized(state, view, *block);
                    (1..model.universe.len()).filter(notarized).count() <= 1
                })
            }),
            Property::always(
                "never nullified and finalized",
                |model: &Self, state: &State| {
                    (1..=model.views).all(|view| {
                        let finalized = |block| model.finalized(state, view, block);
                        !(model.nullified(state, view) && (1..model.universe.len()).any(finalized))
                    })
                },
            ),
            Property::sometimes(
                "a re-proposal becomes final",
                |model: &Self, state: &State| {
                    (2..=model.views).any(|view| {
                        let again = |block: usize| model.universe[block].view < view;
                        (1..model.universe.len())
                            .any(|block| again(block) && model.finalized(state, view, block))
                    })
                },
            ),
            Property::sometimes("a child becomes final", |model: &Self, state: &State| {
                let committed = model.committed(state);
                committed
                    .iter()
                    .any(|block| model.universe[*block].parent != 0)
            }),
        ]
    }
}

/// Number of states, after every property was seen to hold in all of them.
fn exhaust(variants: &[usize]) -> usize {
    let model = VoteRules::new(variants, Bug::None);
    let checker = model.checker().threads(2).spawn_bfs().join();
    checker.assert_properties();
    assert!(checker.is_done());
    checker.unique_state_count()
}

/// A model that lost moves would keep every promise, too: it must have about as many states as it once had.
fn has_all_moves(states: usize, floor: usize) {
    assert!(
        states >= floor,
        "only {states} states: the model lost moves"
    );
}

/// The shortest way to a fork with a rule left out.
fn fork(variants: &[usize], bug: Bug) -> Vec<Action> {
    let model = VoteRules::new(variants, bug);
    let finished = stateright::HasDiscoveries::AnyOf(["agreement"].into_iter().collect());
    let checker = model
        .checker()
        .threads(2)
        .finish_when(finished)
        .spawn_bfs()
        .join();
    let path = checker.discovery("agreement");
    path.unwrap_or_else(|| panic!("{bug:?} was not found"))
        .into_actions()
}

#[test]
fn two_views_of_every_schedule_never_fork() {
    let states = exhaust(&[2, 2]);
    println!("2 views, 2 blocks each: {states} states, exhaustive");
    has_all_moves(states, 112_900);
}

#[test]
fn each_vote_rule_is_needed() {
    let bugs = [
        Bug::FinalizeAfterNullify,
        Bug::NullifyAfterFinalize,
        Bug::NotarizeTwice,
        Bug::NoGapCheck,
        Bug::GapOffByOne,
        Bug::QuorumOneLess,
        Bug::CommitOnNotarization,
        Bug::FinalizeWithoutNotarization,
        Bug::ParentNotNotarized,
    ];
    for bug in bugs {
        let steps = fork(&[2, 2], bug).len();
        println!("{bug:?}: a fork in {steps} steps");
    }
}

#[test]
fn three_views_of_every_schedule_never_fork_slow() {
    let states = exhaust(&[2, 1, 1]);
    println!("3 views, 2 blocks, then 1 a parent: {states} states, exhaustive");
    // 29,789,614 in consensus.md, 5.3.
    has_all_moves(states, 29_700_000);
}

#[test]
fn a_reproposal_needs_its_gap_too_slow() {
    // Two views cannot show it.
    let steps = fork(&[2, 1, 1], Bug::NoGapCheckForReproposals).len();
    println!("NoGapCheckForReproposals: a fork in {steps} steps");
}
