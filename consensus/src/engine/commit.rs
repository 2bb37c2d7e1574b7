//! Final blocks are handed out in height order (R6; consensus.md, 3.7 and 3.14).

use super::Engine;
use super::blocks::State;
use super::guard::Bar;
use crate::block::{Block, Tip};
use crate::journal::Record;
use crate::output::{Commit, Output};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use ledger::certificate::{Certificate, VerifiedCertificate};
use ledger::hash::BlockHash;
use ledger::header::BlockRef;
use ledger::id::Height;
use ledger::planted;

/// Most blocks of one `Commit`.
const MAX_COMMIT: usize = 64;

/// What is known to be final above the committed tip.
#[derive(Debug, Default)]
pub(super) struct FinalChain {
    /// Hash by height. Bounded by the blocks held and one sync answer.
    hashes: BTreeMap<Height, BlockHash>,
    /// The finalization that the last sync answer brought.
    synced: Option<VerifiedCertificate>,
}

impl FinalChain {
    pub(super) fn get(&self, height: Height) -> Option<BlockRef> {
        let hash = *self.hashes.get(&height)?;
        Some(BlockRef { height, hash })
    }

    pub(super) fn hashes(&self) -> impl Iterator<Item = &BlockHash> {
        self.hashes.values()
    }

    /// Notes a final block. The other one of that height, if another was noted before.
    pub(super) fn note(&mut self, block: BlockRef) -> Option<BlockRef> {
        let known = self.hashes.entry(block.height).or_insert(block.hash);
        (*known != block.hash).then_some(block)
    }

    pub(super) fn note_sync(&mut self, certificate: VerifiedCertificate) {
        self.synced = Some(certificate);
    }

    fn drop_below(&mut self, height: Height) {
        self.hashes = self.hashes.split_off(&height);
    }
}

impl Engine {
    /// Walks from the highest final block down to the committed tip, as far as blocks are here.
    pub(super) fn link_final_chain(&mut self) {
        let committed = self.blocks.committed().block;
        let mut at = self.run.certificates.finalized();
        if planted!(CommitOnNotarization) {
            let newest = self.run.certificates.notarizations().next();
            at = newest.map_or(at, |(_, newest)| newest.certificate.block());
        }
        while at.height > committed.height && !self.diverged {
            if let Some(fork) = self.run.final_chain.note(at) {
                self.diverge(fork);
                return;
            }
            let Some(entry) = self.blocks.get(&at.hash) else {
                return;
            };
            let hash = entry.block.header.parent;
            at = BlockRef {
                height: at.height.saturating_sub(1),
                hash,
            };
        }
        if at.height == committed.height && at != committed {
            self.diverge(at);
        }
    }

    /// R6: commits what is final, here and valid. True if anything was.
    pub(super) fn commit(&mut self) -> bool {
        let mut blocks: Vec<Block> = Vec::new();
        let mut finalization = None;
        let mut dead = Vec::new();
        while blocks.len() < MAX_COMMIT && finalization.is_none() && !self.diverged {
            let Some(block) = self.next_committable() else {
                break;
            };
            finalization = self.finalization_of(block.block_ref());
            dead.extend(self.blocks.commit(&block.header));
            self.run
                .final_chain
                .drop_below(block.header.height.saturating_add(1));
            blocks.push(block);
        }
        let Some(last) = blocks.last() else {
            return false;
        };
        let tip = Tip::from(&last.header);
        self.outbox.after_durable(Output::Commit(Commit {
            blocks,
            finalization,
        }));
        for hash in dead {
            self.outbox.after_durable(Output::Forget(hash));
        }
        if tip.flags.is_seal() {
            // 3.15: this epoch is over.
            self.guard.bar(Bar::Sealed);
            self.run.sealed = true;
            self.outbox.after_durable(Output::Sealed(tip));
        }
        true
    }

    fn next_committable(&mut self) -> Option<Block> {
        let committed = self.blocks.committed().block;
        if self.run.sealed {
            return None;
        }
        let next = self.run.final_chain.get(committed.height.next()?)?;
        let entry = self.blocks.get(&next.hash)?;
        if entry.block.header.parent != committed.hash || entry.state == State::Invalid {
            self.diverge(next);
            return None;
        }
        if entry.state != State::Valid {
            return None;
        }
        let block = entry.block.clone();
        self.journal_block(&next.hash);
        Some(block)
    }

    fn finalization_of(&self, block: BlockRef) -> Option<Certificate> {
        let held = [
            self.run.certificates.finalization(),
            self.run.final_chain.synced.as_ref(),
        ];
        held.into_iter()
            .flatten()
            .find(|certificate| certificate.block() == block)
            .map(|certificate| certificate.get().clone())
    }

    /// Writes a block to the journal, once, before what will be signed or handed out next.
    pub(super) fn journal_block(&mut self, hash: &BlockHash) {
        if let Some(entry) = self.blocks.get(hash)
            && !entry.journalled
        {
            self.outbox.persist(Record::Block(entry.block.clone()));
            self.blocks.mark_journalled(hash);
        }
    }
}
