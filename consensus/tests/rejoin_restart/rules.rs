//! The rules: who may sign what, what is a quorum, what a rejoin and a restart need (consensus.md 3.7, 3.12, 3.15).

use crate::world::{
    Block, Blocks, EPOCHS, File, Kind, Members, NODES, Node, Position, RESTARTED, Statement, VIEWS,
    World, has,
};

/// A rule that is left out or was drafted otherwise: the model must then find a fork or a dead end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Bug {
    None,
    /// The first draft's floor: V*+1 instead of V*+2.
    FloorOneLess,
    /// Whoever is asked answers, also while the SEAL of its epoch may be open.
    NoSealGuard,
    /// Whoever is asked answers, also in quarantine or below the own floor.
    NoFloorGuard,
    /// The second draft: no guard for an open SEAL, but in the epoch after e* only views from 2 on.
    NextEpochFromTwo,
    /// A restart file whose anchor is a SEAL block needs no reports of the set that it defines.
    NoReportsOfNextSet,
    /// A validator that has reported goes on as before.
    StopIsForgotten,
    /// A validator that has reported still proves views to those that rejoin.
    StoppedAnswers,
    /// A report ends the quarantine of every later journal of its key.
    ReportOfAnyJournal,
    /// A restart file with more than f reports of the byzantine and the amnesiac.
    TooManyForgot,
    /// A validator installs every restart file that it is given.
    InstallsTwoFiles,
}

/// The network that is looked at.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// Validators of epoch e: 0 to n-1.
    pub(crate) n: usize,
    pub(crate) byzantine: Members,
    /// Who leaves at the SEAL for validator n.
    pub(crate) leaver: Option<usize>,
    pub(crate) seals: bool,
    /// Last view that anybody enters before the honest are left alone.
    pub(crate) views: usize,
    pub(crate) restarts: usize,
    pub(crate) bug: Bug,
}

impl Rules {
    pub(crate) const fn quorum(&self) -> usize {
        self.n - self.faults()
    }

    pub(crate) const fn faults(&self) -> usize {
        (self.n - 1) / 3
    }

    pub(crate) fn is_byzantine(&self, who: usize) -> bool {
        has(self.byzantine.into(), who)
    }

    fn first_set(&self) -> Members {
        Members::try_from((1_u32 << self.n) - 1).expect("at most 7 validators at first")
    }

    fn next_set(&self) -> Members {
        let first = self.first_set();
        self.leaver
            .map_or(first, |leaver| (first & !(1 << leaver)) | (1 << self.n))
    }

    pub(crate) fn set(&self, world: &World, epoch: usize) -> Members {
        let next = match epoch {
            0 => false,
            1 => true,
            restarted => world.files[restarted - RESTARTED].is_some_and(|file| file.next_set),
        };
        if next {
            self.next_set()
        } else {
            self.first_set()
        }
    }

    pub(crate) fn is_member(&self, world: &World, epoch: usize, who: usize) -> bool {
        has(self.set(world, epoch).into(), who)
    }

    pub(crate) fn honest(&self) -> impl Iterator<Item = usize> {
        let nodes = self.n + usize::from(self.leaver.is_some());
        let byzantine = self.byzantine;
        (0..nodes).filter(move |who| !has(byzantine.into(), *who))
    }

    /// The SEAL block that epoch 1 stands on: there is one unless the chain has forked.
    pub(crate) fn final_seal(&self, world: &World) -> Option<usize> {
        let sealed = |block: &usize| {
            let Block {
                epoch, view, seal, ..
            } = world.blocks[*block];
            epoch == 0
                && seal
                && (view..VIEWS).any(|view| self.formable(world, &finalization(0, view, *block)))
        };
        (1..world.blocks.len()).find(sealed)
    }

    pub(crate) fn anchor(&self, world: &World, epoch: usize) -> Option<usize> {
        match epoch {
            0 => Some(0),
            1 => self.final_seal(world),
            restarted => world.files[restarted - RESTARTED].map(|file| file.anchor),
        }
    }

    /// Whether the votes ever sent, with those of all byzantine members, make a certificate.
    pub(crate) fn formable(&self, world: &World, statement: &Statement) -> bool {
        let set = self.set(world, statement.epoch);
        let signed = |who: &usize| {
            has(set.into(), *who)
                && (self.is_byzantine(*who) || statement.is_in(&world.nodes[*who].sent))
        };
        (0..NODES).filter(signed).count() >= self.quorum()
    }

    pub(crate) fn all_statements<'a>(
        &'a self,
        world: &'a World,
        epoch: usize,
    ) -> impl Iterator<Item = Statement> + 'a {
        (1..=self.views).flat_map(move |view| {
            let blocks = 1..world.blocks.len();
            let named = blocks.filter(move |block| {
                world.blocks[*block].epoch == epoch && world.blocks[*block].view <= view
            });
            let with = move |kind| {
                move |block| Statement {
                    kind,
                    epoch,
                    view,
                    block,
                }
            };
            let nullify = with(Kind::Nullify)(0);
            core::iter::once(nullify).chain(
                named.flat_map(move |block| {
                    [with(Kind::Notarize)(block), with(Kind::Finalize)(block)]
                }),
            )
        })
    }

    /// Whether this validator may sign anything in a view of its epoch.
    pub(crate) fn may_sign(&self, world: &World, who: usize, view: usize) -> bool {
        let node = &world.nodes[who];
        let at = Position {
            epoch: node.epoch,
            view,
        };
        let stopped = node.stopped && self.bug != Bug::StopIsForgotten;
        let draft = self.bug == Bug::NextEpochFromTwo
            && node.floor.view > 0
            && node.epoch == node.floor.epoch + 1
            && node.epoch < RESTARTED
            && view < 2;
        self.is_member(world, node.epoch, who)
            && node.quarantine.is_none()
            && !stopped
            && !draft
            && view <= self.views
            && view > node.held[node.epoch].final_view()
            && (node.epoch != node.floor.epoch || at >= node.floor)
            && node.epoch >= node.floor.epoch
    }

    /// The block that this validator sees certified at a view; the anchor at view 0.
    pub(crate) fn certified(&self, world: &World, who: usize, view: usize) -> Blocks {
        let node = &world.nodes[who];
        if view == 0 {
            return self
                .anchor(world, node.epoch)
                .map_or(0, |anchor| 1 << anchor);
        }
        let held = &node.held[node.epoch];
        held.notarize[view] | held.finalize[view]
    }

    /// Whether every view between is nullified, as far as this validator has been shown.
    fn gap_is_nullified(&self, node: &Node, parent_view: usize) -> bool {
        let held = &node.held[node.epoch];
        (parent_view + 1..node.view()).all(|view| held.nullified(view))
    }

    /// Parents on which this validator accepts a new block in its view.
    pub(crate) fn parents(&self, world: &World, who: usize) -> Blocks {
        let node = &world.nodes[who];
        let anchor = self.anchor(world, node.epoch);
        let lowest = node.held[node.epoch].final_view();
        let mut parents = 0;
        for view in (lowest..node.view()).filter(|view| self.gap_is_nullified(node, *view)) {
            parents |= self.certified(world, who, view);
        }
        for (block, at) in world.blocks.iter().enumerate() {
            if at.seal && Some(block) != anchor {
                parents &= !(1 << block);
            }
        }
        parents
    }

    /// Blocks of earlier views that this validator accepts again in its view.
    pub(crate) fn repeatable(&self, world: &World, who: usize) -> Blocks {
        let node = &world.nodes[who];
        let lowest = node.held[node.epoch].final_view().max(1);
        (lowest..node.view())
            .filter(|view| self.gap_is_nullified(node, *view))
            .fold(0, |blocks, view| blocks | self.certified(world, who, view))
    }

    pub(crate) fn may_notarize(&self, world: &World, who: usize) -> bool {
        let node = &world.nodes[who];
        let view = node.view();
        self.may_sign(world, who, view) && node.mine[node.epoch].notarize[view] == 0
    }

    pub(crate) fn may_nullify(&self, world: &World, who: usize) -> bool {
        let node = &world.nodes[who];
        let view = node.view();
        let mine = &node.mine[node.epoch];
        self.may_sign(world, who, view) && mine.finalize[view] == 0 && !mine.nullified(view)
    }

    pub(crate) fn may_finalize(&self, world: &World, who: usize, view: usize) -> Blocks {
        let node = &world.nodes[who];
        let (mine, held) = (&node.mine[node.epoch], &node.held[node.epoch]);
        let free = mine.finalize[view] == 0 && !mine.nullified(view) && !held.nullified(view);
        if free && self.may_sign(world, who, view) {
            held.notarize[view]
        } else {
            0
        }
    }

    /// Whether a certificate changes anything for this validator, if it is shown.
    pub(crate) fn takes(&self, world: &World, who: usize, statement: &Statement) -> bool {
        let node = &world.nodes[who];
        statement.epoch == node.epoch
            && statement.view > node.held[node.epoch].final_view()
            && !statement.is_in(&node.held)
            && (!node.stopped || self.bug == Bug::StopIsForgotten)
    }

    /// The answer guard (3.12).
    pub(crate) fn may_answer(&self, world: &World, from: usize) -> bool {
        let node = &world.nodes[from];
        let held = &node.held[node.epoch];
        let low = node.quarantine.is_some() || node.is_below_floor();
        let open = node.has_gap()
            || (held.final_view() + 1..node.view()).any(|view| {
                let seal = (1..world.blocks.len())
                    .any(|block| world.blocks[block].seal && has(held.notarize[view], block));
                seal && !held.nullified(view)
            });
        let guarded = !matches!(self.bug, Bug::NoSealGuard | Bug::NextEpochFromTwo);
        (!low || self.bug == Bug::NoFloorGuard)
            && (!open || !guarded)
            && (!node.stopped || self.bug == Bug::StoppedAnswers)
    }

    /// Where a validator in quarantine may vote again, once enough have answered.
    pub(crate) fn floor(&self, world: &World, who: usize) -> Option<Position> {
        let answers = world.nodes[who].quarantine?;
        let highest = answers.iter().flatten().max()?;
        let counts =
            |from: &usize| answers[*from].is_some() && self.is_member(world, highest.epoch, *from);
        let above = if self.bug == Bug::FloorOneLess { 1 } else { 2 };
        let enough = (0..NODES).filter(counts).count() >= self.quorum();
        (enough && world.nodes[who].epoch == highest.epoch).then_some(Position {
            epoch: highest.epoch,
            view: highest.view + above,
        })
    }

    /// What a report shows of the epoch that the reports are about.
    fn top(&self, world: &World, who: usize, epoch: usize) -> Option<(usize, usize)> {
        let held = &world.nodes[who].held[epoch];
        (1..VIEWS).rev().find_map(|view| {
            let blocks = held.notarize[view] | held.finalize[view];
            (blocks != 0).then_some((view, blocks.trailing_zeros() as usize))
        })
    }

    /// Whether a report of this validator is worth no more than a byzantine one's.
    fn is_amnesiac(&self, world: &World, who: usize, epoch: usize) -> bool {
        let node = &world.nodes[who];
        node.quarantine.is_some()
            || (node.floor.view > 0
                && node.floor.epoch >= epoch
                && (node.is_below_floor() || node.has_gap()))
    }

    /// The restart file of these reporters; byzantine ones show what they choose.
    pub(crate) fn assemble(
        &self,
        world: &World,
        reporters: Members,
        shown: Option<(usize, usize)>,
        by_byzantine: usize,
    ) -> Option<File> {
        let reports = |who: &usize| has(reporters.into(), *who);
        let honest = || self.honest().filter(reports);
        if honest().any(|who| !world.nodes[who].stopped || world.nodes[who].epoch >= RESTARTED) {
            return None;
        }
        let epoch = honest().map(|who| world.nodes[who].epoch).max()?;
        let epoch = epoch.max(by_byzantine);
        let tops = honest().filter(|who| world.nodes[*who].epoch == epoch);
        let top = tops.filter_map(|who| self.top(world, who, epoch)).max();
        let shown = shown.filter(|_| reporters & self.byzantine != 0 && by_byzantine == epoch);
        let anchor = match top.max(shown) {
            Some((_, block)) => block,
            None => self.anchor(world, epoch)?,
        };
        let seal = world.blocks[anchor].seal;
        let sealed_here = seal && world.blocks[anchor].epoch == epoch;
        let needed = [
            Some(epoch),
            (sealed_here && self.bug != Bug::NoReportsOfNextSet).then_some(1),
        ];
        let enough = needed.into_iter().flatten().all(|epoch_of_set| {
            let set = self.set(world, epoch_of_set);
            let members = |who: &usize| has((set & reporters).into(), *who);
            let faulty =
                |who: &usize| self.is_byzantine(*who) || self.is_amnesiac(world, *who, epoch);
            let bound = self.faults() + usize::from(self.bug == Bug::TooManyForgot);
            (0..NODES).filter(members).count() >= self.quorum()
                && (0..NODES).filter(members).filter(faulty).count() <= bound
        });
        let mut journals = [None; NODES];
        for who in honest() {
            journals[who] = Some(world.nodes[who].life);
        }
        enough.then_some(File {
            anchor,
            next_set: seal || epoch == 1,
            journals,
        })
    }
}

pub(crate) const fn finalization(epoch: usize, view: usize, block: usize) -> Statement {
    Statement {
        kind: Kind::Finalize,
        epoch,
        view,
        block,
    }
}

const _: () = assert!(EPOCHS <= 4 && VIEWS <= 16);
