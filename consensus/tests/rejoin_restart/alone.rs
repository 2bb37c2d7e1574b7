//! The honest alone: the byzantine fall silent, what the honest hold and signed reaches everybody, leaders are honest.
//!
//! Votes of former lives are forgotten with the journals, and so are certificates that only a lost journal held.

use crate::rules::Rules;
use crate::step::Action;
use crate::world::{Block, EPOCHS, NODES, RESTARTED, Statement, VIEWS, World, has};

impl Rules {
    /// Whether this validator counts among the able: it votes wherever it is, and can show why.
    pub(crate) fn is_able(&self, world: &World, who: usize) -> bool {
        let node = &world.nodes[who];
        node.quarantine.is_none()
            && (node.floor.epoch < node.epoch || !(node.is_below_floor() || node.has_gap()))
    }

    fn are_enough_able(&self, world: &World, without: Option<usize>) -> bool {
        let newest = self.honest().map(|who| world.nodes[who].epoch).max();
        let newest = newest.unwrap_or(0);
        let last = newest + usize::from(newest == 0 && self.seals);
        (newest..=last).all(|epoch| {
            let able = self.honest().filter(|who| {
                Some(*who) != without
                    && self.is_member(world, epoch, *who)
                    && self.is_able(world, *who)
            });
            able.count() >= self.quorum()
        })
    }

    /// Whether progress is still promised if this validator loses its journal now: it counts among the f faulty.
    pub(crate) fn may_forget_gently(&self, world: &World, who: usize) -> bool {
        self.are_enough_able(world, Some(who))
    }

    /// Whether the honest finalize a new block of the newest epoch, and all vote again. `None`: it is not promised.
    pub(crate) fn go_on_alone(&self, world: &World) -> Option<bool> {
        let rules = Self {
            views: VIEWS - 1,
            ..*self
        };
        let mut world = world.clone();
        rules.share(&mut world);
        let stopped = self.honest().any(|who| world.nodes[who].stopped);
        let files = world.files.iter().flatten().count();
        if stopped || files > 1 || !rules.are_enough_able(&world, None) {
            return None;
        }
        loop {
            rules.recover(&mut world);
            if rules.is_well(&world) {
                return Some(true);
            }
            if !rules.view_alone(&mut world) {
                return Some(false);
            }
            rules.share(&mut world);
        }
    }

    /// Whether every honest validator votes, and every member of the newest epoch has finalized something in it.
    fn is_well(&self, world: &World) -> bool {
        let newest = self.honest().map(|who| world.nodes[who].epoch).max();
        self.honest().all(|who| {
            let node = &world.nodes[who];
            node.quarantine.is_none()
                && !node.is_below_floor()
                && Some(node.epoch) == newest
                && (node.held[node.epoch].final_view() > 0)
        })
    }

    /// Every certificate that an honest validator holds, or that the votes in the journals make, reaches all.
    fn share(&self, world: &mut World) {
        let mut again = true;
        while again {
            again = false;
            for who in self.honest() {
                if world.files[0].is_some() && world.nodes[who].epoch < RESTARTED {
                    self.apply(world, Action::Install { who, file: 0 });
                    again = true;
                }
            }
            for epoch in 0..EPOCHS {
                let known: Vec<_> = self
                    .all_statements(world, epoch)
                    .filter(|statement| self.is_known(world, statement))
                    .collect();
                for statement in known {
                    for who in self.honest() {
                        if self.takes(world, who, &statement) {
                            self.apply(world, Action::Learn { who, statement });
                            again = true;
                        }
                    }
                }
            }
        }
    }

    fn is_known(&self, world: &World, statement: &Statement) -> bool {
        let signed = self.honest().filter(|who| {
            self.is_member(world, statement.epoch, *who) && statement.is_in(&world.nodes[*who].mine)
        });
        let mut holders = self.honest();
        signed.count() >= self.quorum()
            || holders.any(|who| statement.is_in(&world.nodes[who].held))
    }

    /// Answers are asked for again until enough have come.
    fn recover(&self, world: &mut World) {
        for to in self.honest() {
            if world.nodes[to].quarantine.is_none() {
                continue;
            }
            world.nodes[to].quarantine = Some([None; NODES]);
            for from in self.honest() {
                if from != to && self.may_answer(world, from) {
                    self.answer(world, from, to);
                }
            }
            if self.floor(world, to).is_some() {
                self.apply(world, Action::Rejoin { who: to });
            }
        }
    }

    /// One view with an honest leader, then time-outs. `false`: nobody had anything to sign.
    fn view_alone(&self, world: &mut World) -> bool {
        let before = world.nodes;
        let leader = self
            .honest()
            .filter(|who| self.may_notarize(world, *who))
            .max_by_key(|who| world.nodes[*who].position());
        if let Some(block) = leader.and_then(|leader| self.propose_alone(world, leader)) {
            let at = world.blocks[block];
            for who in self.honest() {
                let node = &world.nodes[who];
                let new = at.view == node.view()
                    && at.epoch == node.epoch
                    && has(self.parents(world, who), at.parent);
                let fits = new || has(self.repeatable(world, who), block);
                if fits && self.may_notarize(world, who) {
                    self.apply(world, Action::Notarize { who, block });
                }
            }
        }
        self.share(world);
        for who in self.honest() {
            for view in 1..VIEWS {
                let blocks = self.may_finalize(world, who, view);
                if blocks != 0 {
                    let block = blocks.trailing_zeros() as usize;
                    self.apply(world, Action::Finalize { who, view, block });
                }
            }
        }
        self.share(world);
        for who in self.honest() {
            let waited = world.nodes[who].position() == before[who].position();
            if waited && self.may_nullify(world, who) {
                self.apply(world, Action::Nullify { who });
            }
        }
        world.nodes != before
    }

    /// R1: on the highest certified block behind which all views are nullified; the same again if it is a SEAL.
    fn propose_alone(&self, world: &mut World, leader: usize) -> Option<usize> {
        let node = &world.nodes[leader];
        let held = node.held[node.epoch];
        let certified = |view| self.certified(world, leader, view);
        let parent_view = (0..node.view())
            .rev()
            .find(|view| certified(*view) != 0 || !held.nullified(*view))?;
        let parent = certified(parent_view);
        if parent == 0 {
            return None;
        }
        let parent = parent.trailing_zeros() as usize;
        if world.blocks[parent].seal && self.anchor(world, node.epoch) != Some(parent) {
            return Some(parent);
        }
        let (epoch, view, seal) = (node.epoch, node.view(), false);
        world.blocks.push(Block {
            epoch,
            view,
            parent,
            seal,
        });
        Some(world.blocks.len() - 1)
    }
}
