//! How much an engine holds, for whoever checks that it stays within its bounds (consensus.md, 3.18).

use super::Engine;

/// Numbers of things held in memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// Votes that count or may yet …
    pub votes: usize,
    /// … and the views that they are of.
    pub voted_views: usize,
    /// Proposals, without their bodies.
    pub proposals: usize,
    /// Notarizations and nullifications.
    pub certificates: usize,
    /// Blocks above the committed tip, and the few right below it.
    pub blocks: usize,
    /// Bytes of their bodies.
    pub body_bytes: usize,
    /// Final blocks that are known by their hash and not committed.
    pub final_hashes: usize,
    /// Bodies that are being put together.
    pub assemblies: usize,
    /// Blocks that are asked for.
    pub wants: usize,
    /// Wrong bodies, by block and sender.
    pub shunned: usize,
    /// Validator sets that SEAL blocks may bring.
    pub next_sets: usize,
    /// Other nodes.
    pub peers: usize,
}

impl Engine {
    /// What is held now.
    pub fn held(&self) -> Held {
        let run = &self.run;
        Held {
            votes: run.tally.len(),
            voted_views: run.tally.views(),
            proposals: run.slots.iter().count(),
            certificates: run.certificates.len(),
            blocks: self.blocks.len(),
            body_bytes: self.blocks.bytes(),
            final_hashes: run.final_chain.hashes().count(),
            assemblies: run.assemblies.len(),
            wants: run.fetches.len(),
            shunned: run.fetches.shunned_len(),
            next_sets: run.next_sets.len(),
            peers: self.peers.iter().count(),
        }
    }
}
