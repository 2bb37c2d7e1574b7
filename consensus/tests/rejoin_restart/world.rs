//! The state of the model: who signed what in all lives, who remembers what, who holds which certificates.
//!
//! As in `vote_rules.rs` everything is left out that only helps the honest: every leader is byzantine, any certificate
//! that the votes ever sent allow may be shown to anyone, and nobody is shown anything.

/// Validators of the largest network and one that joins.
pub(crate) const NODES: usize = 8;
/// Epochs that have votes: e, e+1, and one for each restart file.
pub(crate) const EPOCHS: usize = 4;
/// The slot of the epoch that the first restart file begins.
pub(crate) const RESTARTED: usize = 2;
/// Restart files that operators may make of one disaster.
pub(crate) const FILES: usize = EPOCHS - RESTARTED;
/// Views of an epoch; index 0 is the anchor's.
pub(crate) const VIEWS: usize = 13;
/// Blocks in one random run; there is room for as many again when the honest are left alone.
pub(crate) const MAX_BLOCKS: usize = 32;

/// A set of blocks, by index.
pub(crate) type Blocks = u64;
/// A set of validators, by index.
pub(crate) type Members = u8;

pub(crate) const fn has(set: u64, index: usize) -> bool {
    set & (1 << index) != 0
}

/// What a leader may propose. Index 0 is the anchor of epoch e.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Block {
    pub(crate) epoch: usize,
    pub(crate) view: usize,
    pub(crate) parent: usize,
    pub(crate) seal: bool,
}

/// Statements of one epoch: votes that somebody signed, or certificates that somebody holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub(crate) struct Statements {
    pub(crate) notarize: [Blocks; VIEWS],
    pub(crate) finalize: [Blocks; VIEWS],
    pub(crate) nullify: u16,
}

impl Statements {
    pub(crate) const fn nullified(&self, view: usize) -> bool {
        self.nullify & (1 << view) != 0
    }

    /// Highest view with a statement.
    pub(crate) fn top_view(&self) -> usize {
        let any = |view: &usize| {
            self.nullified(*view) || self.notarize[*view] != 0 || self.finalize[*view] != 0
        };
        (1..VIEWS).rev().find(any).unwrap_or(0)
    }

    /// Highest view with a finalization.
    pub(crate) fn final_view(&self) -> usize {
        let last = (1..VIEWS).rev().find(|view| self.finalize[*view] != 0);
        last.unwrap_or(0)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    Notarize,
    Nullify,
    Finalize,
}

/// One thing that votes or certificates say. A nullification names no block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Statement {
    pub(crate) kind: Kind,
    pub(crate) epoch: usize,
    pub(crate) view: usize,
    pub(crate) block: usize,
}

impl Statement {
    pub(crate) fn is_in(&self, ballots: &[Statements; EPOCHS]) -> bool {
        let at = &ballots[self.epoch];
        match self.kind {
            Kind::Notarize => has(at.notarize[self.view], self.block),
            Kind::Finalize => has(at.finalize[self.view], self.block),
            Kind::Nullify => at.nullified(self.view),
        }
    }

    pub(crate) fn put_in(&self, ballots: &mut [Statements; EPOCHS]) {
        let at = &mut ballots[self.epoch];
        match self.kind {
            Kind::Notarize => at.notarize[self.view] |= 1 << self.block,
            Kind::Finalize => at.finalize[self.view] |= 1 << self.block,
            Kind::Nullify => at.nullify |= 1 << self.view,
        }
    }
}

/// A place in the order of all views of all epochs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Position {
    pub(crate) epoch: usize,
    pub(crate) view: usize,
}

/// One honest validator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Node {
    pub(crate) epoch: usize,
    /// All that it ever sent, in all its lives.
    pub(crate) sent: [Statements; EPOCHS],
    /// What its journal knows of that.
    pub(crate) mine: [Statements; EPOCHS],
    /// Certificates that it holds, durable.
    pub(crate) held: [Statements; EPOCHS],
    /// Its journal is gone: what each other member has answered it since.
    pub(crate) quarantine: Option<[Option<Position>; NODES]>,
    /// It wrote `Stopped`, and reported.
    pub(crate) stopped: bool,
    /// First place where a rejoined validator votes again in the floor's epoch.
    pub(crate) floor: Position,
    /// Number of its journal.
    pub(crate) life: u8,
}

impl Node {
    pub(crate) const fn new() -> Self {
        const NOTHING: Statements = Statements {
            notarize: [0; VIEWS],
            finalize: [0; VIEWS],
            nullify: 0,
        };
        Self {
            epoch: 0,
            sent: [NOTHING; EPOCHS],
            mine: [NOTHING; EPOCHS],
            held: [NOTHING; EPOCHS],
            quarantine: None,
            stopped: false,
            floor: Position { epoch: 0, view: 0 },
            life: 0,
        }
    }

    /// The view that it is in.
    pub(crate) fn view(&self) -> usize {
        self.held[self.epoch].top_view() + 1
    }

    pub(crate) fn position(&self) -> Position {
        Position {
            epoch: self.epoch,
            view: self.view(),
        }
    }

    pub(crate) fn is_below_floor(&self) -> bool {
        self.epoch < self.floor.epoch
            || (self.epoch == self.floor.epoch && self.view() < self.floor.view)
    }

    /// Whether for some view between the finalized one and the own no certificate is held.
    pub(crate) fn has_gap(&self) -> bool {
        let held = &self.held[self.epoch];
        (held.final_view() + 1..self.view()).any(|view| {
            !held.nullified(view) && held.notarize[view] == 0 && held.finalize[view] == 0
        })
    }
}

/// A restart file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct File {
    pub(crate) anchor: usize,
    /// The anchor defines a set of its own.
    pub(crate) next_set: bool,
    /// The journals whose reports are in it.
    pub(crate) journals: [Option<u8>; NODES],
}

/// Everything.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct World {
    pub(crate) blocks: Vec<Block>,
    pub(crate) nodes: [Node; NODES],
    pub(crate) files: [Option<File>; FILES],
    pub(crate) amnesias_left: u8,
    /// Somebody finalized a block that the anchor of the restart does not extend.
    pub(crate) halted: bool,
}

impl World {
    pub(crate) fn extends(&self, block: usize, ancestor: usize) -> bool {
        let mut at = block;
        while at != ancestor {
            if at == 0 {
                return false;
            }
            at = self.blocks[at].parent;
        }
        true
    }
}
