//! What must hold in every state.

use crate::rules::{Rules, finalization};
use crate::world::{EPOCHS, VIEWS, World, has};

/// A broken promise.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Broken {
    /// Two blocks are final and neither extends the other.
    Fork,
    /// An honest validator, in all its lives, signed what excludes each other.
    DoubleVote,
    /// An honest validator finalized what a restart leaves out.
    Halt,
    /// The honest alone cannot go on.
    Stuck,
}

impl Rules {
    pub(crate) fn broken(&self, world: &World) -> Option<Broken> {
        if self.forks(world) {
            Some(Broken::Fork)
        } else if world.halted {
            Some(Broken::Halt)
        } else if self.double_vote(world) {
            Some(Broken::DoubleVote)
        } else {
            None
        }
    }

    pub(crate) fn forks(&self, world: &World) -> bool {
        let mut last: Option<usize> = None;
        for epoch in 0..EPOCHS {
            for view in 1..VIEWS {
                // Most views have no Finalize at all: look only at what an honest validator signed.
                let signed = self.honest().fold(0, |all, who| {
                    all | world.nodes[who].sent[epoch].finalize[view]
                });
                for block in (1..world.blocks.len()).filter(|block| has(signed, *block)) {
                    if !self.formable(world, &finalization(epoch, view, block)) {
                        continue;
                    }
                    match last {
                        Some(other) if world.extends(other, block) => {}
                        Some(other) if !world.extends(block, other) => return true,
                        _ => last = Some(block),
                    }
                }
            }
        }
        false
    }

    fn double_vote(&self, world: &World) -> bool {
        self.honest().any(|who| {
            world.nodes[who].sent.iter().any(|sent| {
                (1..VIEWS).any(|view| {
                    sent.notarize[view].count_ones() > 1
                        || sent.finalize[view].count_ones() > 1
                        || (sent.finalize[view] != 0 && sent.nullified(view))
                })
            })
        })
    }
}
