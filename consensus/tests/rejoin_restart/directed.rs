//! Directed runs: attacks step by step, each with the rule that stops it and with the draft that does not.

use crate::promises::Broken;
use crate::rules::{Bug, Rules};
use crate::step::Action;
use crate::world::{Kind, Members, Statement, World};

/// A run under way. Every step must be possible.
#[derive(Debug)]
struct Script {
    rules: Rules,
    world: World,
}

impl Script {
    fn new(rules: Rules) -> Self {
        let world = rules.start(3);
        Self { rules, world }
    }

    fn can(&self, action: Action) -> bool {
        let mut actions = Vec::new();
        self.rules.all_actions(&self.world, &mut actions);
        actions.contains(&action)
    }

    fn go(&mut self, action: Action) {
        assert!(self.can(action), "{action:?} is not possible");
        self.rules.apply(&mut self.world, action);
    }

    fn propose(&mut self, who: usize, parent: usize) -> usize {
        let seal = false;
        self.go(Action::Propose { who, parent, seal });
        self.world.blocks.len() - 1
    }

    fn propose_seal(&mut self, who: usize) -> usize {
        let (parent, seal) = (0, true);
        self.go(Action::Propose { who, parent, seal });
        self.world.blocks.len() - 1
    }

    fn notarize(&mut self, by: &[usize], block: usize) {
        for &who in by {
            self.go(Action::Notarize { who, block });
        }
    }

    fn finalize(&mut self, by: &[usize], view: usize, block: usize) {
        for &who in by {
            self.go(Action::Finalize { who, view, block });
        }
    }

    fn learn(&mut self, by: &[usize], kind: Kind, (epoch, view, block): (usize, usize, usize)) {
        let statement = Statement {
            kind,
            epoch,
            view,
            block,
        };
        for &who in by {
            self.go(Action::Learn { who, statement });
        }
    }

    /// These give up their view, and these enter the next one.
    fn skip(&mut self, by: &[usize], (epoch, view): (usize, usize), learn: &[usize]) {
        for &who in by {
            self.go(Action::Nullify { who });
        }
        self.learn(learn, Kind::Nullify, (epoch, view, 0));
    }

    fn notarized(&mut self, by: &[usize], at: (usize, usize, usize)) {
        self.learn(by, Kind::Notarize, at);
    }

    fn answers(&mut self, from: &[usize], to: usize) {
        for &from in from {
            self.go(Action::Answer { from, to });
        }
    }

    fn stop(&mut self, by: &[usize]) {
        for &who in by {
            self.go(Action::Stop { who });
        }
    }

    const fn file_of(reporters: Members) -> Action {
        let (shown, epoch) = (None, 0);
        Action::Assemble {
            reporters,
            shown,
            epoch,
        }
    }

    fn install(&mut self, by: &[usize], file: usize) {
        for &who in by {
            self.go(Action::Install { who, file });
        }
    }

    fn broken(&self) -> Option<Broken> {
        self.rules.broken(&self.world)
    }
}

/// Four validators, the last one byzantine.
const FOUR: Rules = Rules {
    n: 4,
    byzantine: 0b1000,
    leaver: None,
    seals: false,
    views: 5,
    restarts: 0,
    bug: Bug::None,
};

/// Four honest validators.
const FOUR_HONEST: Rules = Rules {
    byzantine: 0,
    ..FOUR
};

/// Validator 0 enters view 2 alone, votes there, forgets it, and comes back with the help of those in view 1.
fn forgets_a_vote_of_the_next_view(bug: Bug) -> (Script, usize) {
    let mut script = Script::new(Rules { bug, ..FOUR });
    script.skip(&[0, 1], (0, 1), &[0]);
    let x = script.propose(0, 0);
    script.go(Action::Forget { who: 0 });
    script.answers(&[1, 2, 3], 0);
    script.go(Action::Rejoin { who: 0 });
    script.learn(&[0, 1, 2], Kind::Nullify, (0, 1, 0));
    (script, x)
}

#[test]
fn a_rejoined_validator_leaves_out_the_view_after_the_proven_one() {
    let (script, _) = forgets_a_vote_of_the_next_view(Bug::None);
    let (who, parent, seal) = (0, 0, false);
    assert!(!script.can(Action::Propose { who, parent, seal }));
}

#[test]
fn a_floor_one_view_lower_forks() {
    let (mut script, x) = forgets_a_vote_of_the_next_view(Bug::FloorOneLess);
    let y = script.propose(0, 0);
    assert_eq!(script.broken(), Some(Broken::DoubleVote));
    // Both are notarized; x becomes final, and 0 forgets again that it holds x.
    script.notarize(&[1], x);
    script.notarize(&[2], y);
    script.notarized(&[0, 1], (0, 2, x));
    script.finalize(&[0, 1], 2, x);
    script.notarized(&[2], (0, 2, y));
    script.go(Action::Forget { who: 0 });
    script.answers(&[1, 2, 3], 0);
    script.go(Action::Rejoin { who: 0 });
    script.skip(&[1, 2], (0, 3), &[0, 2]);
    script.notarized(&[0], (0, 2, y));
    let z = script.propose(0, y);
    script.notarize(&[2], z);
    script.notarized(&[0, 2], (0, 4, z));
    script.finalize(&[0, 2], 4, z);
    assert_eq!(script.broken(), Some(Broken::Fork));
}

/// The SEAL is final, but only validator 1 knows: it votes in the next epoch, and forgets it.
fn forgets_a_vote_of_the_next_epoch(bug: Bug) -> (Script, usize, usize) {
    let seals = true;
    let mut script = Script::new(Rules { seals, bug, ..FOUR });
    let seal = script.propose_seal(0);
    script.notarize(&[1, 2], seal);
    script.notarized(&[0, 1, 2], (0, 1, seal));
    script.finalize(&[0, 1], 1, seal);
    script.learn(&[1], Kind::Finalize, (0, 1, seal));
    let x = script.propose(1, seal);
    script.go(Action::Forget { who: 1 });
    (script, seal, x)
}

#[test]
fn nobody_answers_a_rejoin_while_its_seal_may_be_final() {
    let (script, ..) = forgets_a_vote_of_the_next_epoch(Bug::None);
    assert!(!script.can(Action::Answer { from: 0, to: 1 }));
    assert!(!script.can(Action::Answer { from: 2, to: 1 }));
}

#[test]
fn without_the_answer_guard_a_vote_of_the_next_epoch_is_given_twice() {
    let (mut script, seal, _) = forgets_a_vote_of_the_next_epoch(Bug::NoSealGuard);
    script.answers(&[0, 2, 3], 1);
    script.go(Action::Rejoin { who: 1 });
    script.learn(&[1], Kind::Finalize, (0, 1, seal));
    script.propose(1, seal);
    assert_eq!(script.broken(), Some(Broken::DoubleVote));
}

#[test]
fn two_amnesias_in_a_row_around_a_seal_defeat_the_draft_of_view_two() {
    let (mut script, seal, x) = forgets_a_vote_of_the_next_epoch(Bug::NextEpochFromTwo);
    script.answers(&[0, 2, 3], 1);
    script.go(Action::Rejoin { who: 1 });
    // Validator 1 gets past its floor in the old epoch, and 0 into view 2 of the new one with 1's forgotten vote.
    script.skip(&[0, 2], (0, 2), &[0, 2]);
    script.skip(&[0, 2], (0, 3), &[1, 2]);
    script.learn(&[0], Kind::Finalize, (0, 1, seal));
    script.notarize(&[0], x);
    script.notarized(&[0], (1, 1, x));
    script.propose(0, x);
    // Now 0 forgets, and none of those who answer was ever in the new epoch as far as it remembers.
    script.go(Action::Forget { who: 0 });
    script.answers(&[1, 2, 3], 0);
    script.go(Action::Rejoin { who: 0 });
    script.learn(&[0], Kind::Finalize, (0, 1, seal));
    script.notarized(&[0], (1, 1, x));
    script.propose(0, x);
    assert_eq!(script.broken(), Some(Broken::DoubleVote));
}

/// Two validators lose their journals one after the other and come back; then the epoch ends.
fn two_rejoins_and_a_seal(bug: Bug) -> Option<bool> {
    let seals = true;
    let mut script = Script::new(Rules {
        seals,
        bug,
        ..FOUR_HONEST
    });
    script.propose(0, 0);
    script.go(Action::Forget { who: 0 });
    script.answers(&[1, 2, 3], 0);
    script.go(Action::Rejoin { who: 0 });
    script.skip(&[1, 2, 3], (0, 1), &[0, 1, 2, 3]);
    script.skip(&[1, 2, 3], (0, 2), &[0, 1, 2, 3]);
    script.go(Action::Forget { who: 1 });
    script.answers(&[0, 2, 3], 1);
    script.go(Action::Rejoin { who: 1 });
    for view in 1..=2 {
        script.learn(&[1], Kind::Nullify, (0, view, 0));
    }
    for view in 3..=4 {
        script.skip(&[0, 2, 3], (0, view), &[0, 1, 2, 3]);
    }
    let seal = script.propose_seal(0);
    script.notarize(&[1, 2, 3], seal);
    script.notarized(&[0, 1, 2, 3], (0, 5, seal));
    script.finalize(&[0, 1, 2, 3], 5, seal);
    script.learn(&[0, 1, 2, 3], Kind::Finalize, (0, 5, seal));
    assert_eq!(script.broken(), None);
    script.rules.go_on_alone(&script.world)
}

#[test]
fn after_two_rejoins_the_next_epoch_starts() {
    assert_eq!(two_rejoins_and_a_seal(Bug::None), Some(true));
}

#[test]
fn the_draft_of_view_two_halts_the_next_epoch_for_ever() {
    assert_eq!(two_rejoins_and_a_seal(Bug::NextEpochFromTwo), Some(false));
}

/// A SEAL swaps validator 3 for 4 and is final at 2 and 4 only, who finalize a block of the next epoch; 1 is byzantine.
fn a_restart_around_a_swap(bug: Bug) -> (Script, usize) {
    let mut script = Script::new(Rules {
        byzantine: 0b0010,
        leaver: Some(3),
        seals: true,
        restarts: 1,
        bug,
        ..FOUR
    });
    let seal = script.propose_seal(0);
    script.notarize(&[2, 3], seal);
    script.notarized(&[0, 2, 3], (0, 1, seal));
    script.finalize(&[0, 2], 1, seal);
    script.learn(&[2, 4], Kind::Finalize, (0, 1, seal));
    let x = script.propose(2, seal);
    script.notarize(&[4], x);
    script.notarized(&[2, 4], (1, 1, x));
    script.finalize(&[2, 4], 1, x);
    script.learn(&[4], Kind::Finalize, (1, 1, x));
    script.stop(&[0, 3]);
    (script, x)
}

#[test]
fn a_restart_on_a_seal_hears_the_set_that_it_defines() {
    let (mut script, x) = a_restart_around_a_swap(Bug::None);
    assert!(!script.can(Script::file_of(0b1011)));
    script.stop(&[2]);
    script.go(Script::file_of(0b0111));
    assert_eq!(script.world.files[0].map(|file| file.anchor), Some(x));
    script.install(&[0, 2, 3, 4], 0);
    assert_eq!(script.broken(), None);
}

#[test]
fn reports_of_the_old_set_alone_leave_out_what_is_final() {
    let (mut script, _) = a_restart_around_a_swap(Bug::NoReportsOfNextSet);
    script.go(Script::file_of(0b1011));
    script.install(&[4], 0);
    assert_eq!(script.broken(), Some(Broken::Halt));
}

#[test]
fn after_two_lost_journals_a_restart_goes_on_with_all_that_was_final() {
    let restarts = 1;
    let mut script = Script::new(Rules {
        restarts,
        ..FOUR_HONEST
    });
    let a = script.propose(0, 0);
    script.notarize(&[1, 2, 3], a);
    script.notarized(&[0, 1, 2, 3], (0, 1, a));
    script.finalize(&[0, 2, 3], 1, a);
    let b = script.propose(2, a);
    script.notarize(&[0, 3], b);
    script.notarized(&[0], (0, 2, b));
    for who in [2, 3] {
        script.go(Action::Forget { who });
        script.answers(&[0, 1], who);
        assert!(!script.can(Action::Rejoin { who }));
    }
    assert_eq!(script.rules.go_on_alone(&script.world), None);
    script.stop(&[0, 1, 2, 3]);
    // Two of these reporters know nothing: more than f.
    assert!(!script.can(Script::file_of(0b1111)));
    script.go(Script::file_of(0b0111));
    assert_eq!(script.world.files[0].map(|file| file.anchor), Some(b));
    script.install(&[0, 1, 2, 3], 0);
    assert!(script.world.nodes[2].quarantine.is_none());
    assert!(script.world.nodes[3].quarantine.is_some());
    assert_eq!(script.rules.go_on_alone(&script.world), Some(true));
}

/// All have reported that they hold nothing; what then becomes final among them is lost to the restart.
fn votes_after_the_reports(bug: Bug) -> Script {
    let restarts = 1;
    let mut script = Script::new(Rules {
        restarts,
        bug,
        ..FOUR
    });
    script.stop(&[0, 1, 2]);
    script.go(Script::file_of(0b0111));
    script
}

#[test]
fn a_stopped_validator_signs_nothing_and_takes_no_certificate() {
    let mut script = votes_after_the_reports(Bug::None);
    let mut actions = Vec::new();
    script.rules.all_actions(&script.world, &mut actions);
    let only = |action: &Action| matches!(action, Action::Forget { .. } | Action::Install { .. });
    assert!(actions.iter().all(only), "{actions:?}");
    script.install(&[0, 1, 2], 0);
    assert_eq!(script.rules.go_on_alone(&script.world), Some(true));
}

#[test]
fn a_validator_that_goes_on_after_its_report_is_left_out() {
    let mut script = votes_after_the_reports(Bug::StopIsForgotten);
    let x = script.propose(0, 0);
    script.notarize(&[1], x);
    script.notarized(&[0, 1], (0, 1, x));
    script.finalize(&[0, 1], 1, x);
    script.learn(&[0], Kind::Finalize, (0, 1, x));
    script.install(&[0], 0);
    assert_eq!(script.broken(), Some(Broken::Halt));
}

/// Validator 2 alone holds the notarization of a block. Two files are made, one without its report.
fn two_files(bug: Bug) -> (Script, usize) {
    let restarts = 2;
    let mut script = Script::new(Rules {
        restarts,
        bug,
        ..FOUR
    });
    let a = script.propose(0, 0);
    script.notarize(&[1], a);
    script.notarized(&[2], (0, 1, a));
    script.stop(&[0, 1, 2]);
    script.go(Script::file_of(0b1011));
    script.go(Script::file_of(0b1101));
    script.install(&[0, 1], 0);
    let y = script.propose(0, 0);
    script.notarize(&[1], y);
    script.notarized(&[0, 1], (2, 1, y));
    script.finalize(&[0, 1], 1, y);
    (script, a)
}

#[test]
fn a_validator_installs_one_file() {
    let (script, _) = two_files(Bug::None);
    assert!(!script.can(Action::Install { who: 0, file: 1 }));
}

#[test]
fn a_validator_that_installs_two_files_forks() {
    let (mut script, a) = two_files(Bug::InstallsTwoFiles);
    script.install(&[0, 2], 1);
    let z = script.propose(0, a);
    script.notarize(&[2], z);
    script.notarized(&[0, 2], (3, 1, z));
    script.finalize(&[0, 2], 1, z);
    assert_eq!(script.broken(), Some(Broken::Fork));
}

/// The limit of what a node can check by itself: operators compare the file's fingerprint before they install it.
#[test]
fn two_files_of_different_sets_fork_whatever_a_single_node_checks() {
    let mut script = Script::new(Rules {
        byzantine: 0b0100,
        leaver: Some(3),
        seals: true,
        restarts: 2,
        ..FOUR
    });
    let seal = script.propose_seal(0);
    script.notarize(&[1], seal);
    script.notarized(&[1], (0, 1, seal));
    script.stop(&[0, 1, 3, 4]);
    script.go(Script::file_of(0b0000_1101));
    script.go(Script::file_of(0b0001_0111));
    script.install(&[0, 3], 0);
    script.install(&[1, 4], 1);
    for (members, slot, parent) in [([0, 3], 2, 0), ([1, 4], 3, seal)] {
        let block = script.propose(members[0], parent);
        script.notarize(&members[1..], block);
        script.notarized(&members, (slot, 1, block));
        script.finalize(&members, 1, block);
    }
    assert_eq!(script.broken(), Some(Broken::Fork));
}
