//! What can happen next, and what it does. Actions are the same for random runs, directed ones and exhaustive search.

use crate::rules::{Bug, Rules};
use crate::world::{
    Block, Kind, MAX_BLOCKS, Members, NODES, Node, Position, RESTARTED, Statement, Statements,
    World, has,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// Somebody shows a certificate to a validator.
    Learn {
        who: usize,
        statement: Statement,
    },
    /// The byzantine leader shows it a block that it has not shown before.
    Propose {
        who: usize,
        parent: usize,
        seal: bool,
    },
    /// The leader shows it a block that exists.
    Notarize {
        who: usize,
        block: usize,
    },
    Nullify {
        who: usize,
    },
    Finalize {
        who: usize,
        view: usize,
        block: usize,
    },
    /// The journal is lost.
    Forget {
        who: usize,
    },
    /// An answer to a validator in quarantine. The byzantine prove the least.
    Answer {
        from: usize,
        to: usize,
    },
    Rejoin {
        who: usize,
    },
    Stop {
        who: usize,
    },
    /// Operators make a restart file; byzantine reports show what they like.
    Assemble {
        reporters: Members,
        shown: Option<(usize, usize)>,
        epoch: usize,
    },
    Install {
        who: usize,
        file: usize,
    },
}

impl Rules {
    pub(crate) fn start(&self, amnesias: u8) -> World {
        World {
            blocks: vec![Block {
                epoch: 0,
                view: 0,
                parent: 0,
                seal: false,
            }],
            nodes: [const { Node::new() }; NODES],
            files: [None; _],
            amnesias_left: amnesias,
            halted: false,
        }
    }

    pub(crate) fn all_actions(&self, world: &World, actions: &mut Vec<Action>) {
        for who in self.honest() {
            self.votes_of(world, who, actions);
            let epoch = world.nodes[who].epoch;
            for statement in self.all_statements(world, epoch) {
                if self.takes(world, who, &statement) && self.formable(world, &statement) {
                    actions.push(Action::Learn { who, statement });
                }
            }
            self.recovery_of(world, who, actions);
        }
        if world.files[..self.restarts].contains(&None) {
            self.files_of(world, actions);
        }
    }

    fn votes_of(&self, world: &World, who: usize, actions: &mut Vec<Action>) {
        let node = &world.nodes[who];
        if self.may_notarize(world, who) && world.blocks.len() < MAX_BLOCKS {
            let parents = self.parents(world, who);
            let repeatable = self.repeatable(world, who);
            for (block, at) in world.blocks.iter().enumerate() {
                let new =
                    at.epoch == node.epoch && at.view == node.view() && has(parents, at.parent);
                if new || has(repeatable, block) {
                    actions.push(Action::Notarize { who, block });
                }
            }
            let parents = (0..world.blocks.len()).filter(|parent| has(parents, *parent));
            for parent in parents {
                for seal in [false, true] {
                    if !seal || (self.seals && node.epoch == 0) {
                        actions.push(Action::Propose { who, parent, seal });
                    }
                }
            }
        }
        if self.may_nullify(world, who) {
            actions.push(Action::Nullify { who });
        }
        for view in 1..=self.views {
            let blocks = self.may_finalize(world, who, view);
            for block in (1..world.blocks.len()).filter(|block| has(blocks, *block)) {
                actions.push(Action::Finalize { who, view, block });
            }
        }
    }

    fn recovery_of(&self, world: &World, who: usize, actions: &mut Vec<Action>) {
        let node = &world.nodes[who];
        if world.amnesias_left > 0 && (node.view() > 1 || node.sent[0] != Statements::default()) {
            actions.push(Action::Forget { who });
        }
        if let Some(answers) = &node.quarantine {
            for from in (0..NODES).filter(|from| *from != who && answers[*from].is_none()) {
                let honest = self.honest().any(|other| other == from);
                let byzantine = self.is_byzantine(from);
                if byzantine || (honest && self.may_answer(world, from)) {
                    actions.push(Action::Answer { from, to: who });
                }
            }
            if self.floor(world, who).is_some() {
                actions.push(Action::Rejoin { who });
            }
        }
        if self.restarts > 0 && !node.stopped && node.epoch < RESTARTED {
            actions.push(Action::Stop { who });
        }
        for file in 0..self.restarts {
            let again = self.bug == Bug::InstallsTwoFiles && node.epoch == RESTARTED && file == 1;
            if world.files[file].is_some() && (node.epoch < RESTARTED || again) {
                actions.push(Action::Install { who, file });
            }
        }
    }

    fn files_of(&self, world: &World, actions: &mut Vec<Action>) {
        let stopped = self.honest().filter(|who| world.nodes[*who].stopped);
        let able = stopped.fold(self.byzantine, |able, who| able | (1 << who));
        if (able.count_ones() as usize) < self.quorum() {
            return;
        }
        let proven = usize::from(self.final_seal(world).is_some());
        for reporters in (1..=able).filter(|some| some & !able == 0) {
            if (reporters.count_ones() as usize) < self.quorum() {
                continue;
            }
            for epoch in 0..=proven {
                let shown = self.all_statements(world, epoch).filter(|statement| {
                    statement.kind == Kind::Notarize && self.formable(world, statement)
                });
                let shown = shown.map(|statement| Some((statement.view, statement.block)));
                for shown in core::iter::once(None).chain(shown) {
                    if self.assemble(world, reporters, shown, epoch).is_some() {
                        actions.push(Action::Assemble {
                            reporters,
                            shown,
                            epoch,
                        });
                    }
                }
            }
        }
    }

    /// Signs something of its epoch, in this view.
    fn sign(&self, world: &mut World, who: usize, kind: Kind, (view, block): (usize, usize)) {
        let node = &mut world.nodes[who];
        let epoch = node.epoch;
        let statement = Statement {
            kind,
            epoch,
            view,
            block,
        };
        statement.put_in(&mut node.sent);
        statement.put_in(&mut node.mine);
    }

    pub(crate) fn apply(&self, world: &mut World, action: Action) {
        match action {
            Action::Learn { who, statement } => self.learn(world, who, statement),
            Action::Propose { who, parent, seal } => {
                let Position { epoch, view } = world.nodes[who].position();
                world.blocks.push(Block {
                    epoch,
                    view,
                    parent,
                    seal,
                });
                let block = world.blocks.len() - 1;
                self.sign(world, who, Kind::Notarize, (view, block));
            }
            Action::Notarize { who, block } => {
                let view = world.nodes[who].view();
                self.sign(world, who, Kind::Notarize, (view, block));
            }
            Action::Nullify { who } => {
                let view = world.nodes[who].view();
                self.sign(world, who, Kind::Nullify, (view, 0));
            }
            Action::Finalize { who, view, block } => {
                self.sign(world, who, Kind::Finalize, (view, block));
            }
            Action::Forget { who } => {
                world.amnesias_left -= 1;
                let node = &mut world.nodes[who];
                *node = Node {
                    sent: node.sent,
                    life: node.life + 1,
                    quarantine: Some([None; NODES]),
                    ..Node::new()
                };
            }
            Action::Answer { from, to } => self.answer(world, from, to),
            Action::Rejoin { who } => {
                let floor = self.floor(world, who).expect("enough have answered");
                world.nodes[who].floor = floor;
                world.nodes[who].quarantine = None;
            }
            Action::Stop { who } => world.nodes[who].stopped = true,
            Action::Assemble {
                reporters,
                shown,
                epoch,
            } => {
                let file = self.assemble(world, reporters, shown, epoch);
                let free = world.files.iter().position(Option::is_none);
                world.files[free.expect("there is a free place")] = file;
            }
            Action::Install { who, file } => self.install(world, who, file),
        }
    }

    fn learn(&self, world: &mut World, who: usize, statement: Statement) {
        statement.put_in(&mut world.nodes[who].held);
        let seal = statement.kind == Kind::Finalize && world.blocks[statement.block].seal;
        if seal && statement.epoch == 0 {
            world.nodes[who].epoch = 1;
        }
    }

    pub(crate) fn answer(&self, world: &mut World, from: usize, to: usize) {
        let position = if self.is_byzantine(from) {
            Position { epoch: 0, view: 1 }
        } else {
            world.nodes[from].position()
        };
        if let Some(answers) = &mut world.nodes[to].quarantine {
            answers[from] = Some(position);
        }
    }

    fn install(&self, world: &mut World, who: usize, file: usize) {
        let installed = world.files[file].expect("there is a file");
        let final_blocks = (0..RESTARTED).flat_map(|epoch| {
            let held = world.nodes[who].held[epoch];
            held.finalize.into_iter()
        });
        let all = final_blocks.fold(0, |all, blocks| all | blocks);
        let strays = (1..world.blocks.len())
            .any(|block| has(all, block) && !world.extends(installed.anchor, block));
        world.halted |= strays;
        let node = &mut world.nodes[who];
        node.epoch = RESTARTED + file;
        node.stopped = false;
        let own = match self.bug {
            Bug::ReportOfAnyJournal => installed.journals[who].is_some(),
            _ => installed.journals[who] == Some(node.life),
        };
        if node.quarantine.is_some() {
            node.quarantine = (!own).then_some([None; NODES]);
        }
    }
}
