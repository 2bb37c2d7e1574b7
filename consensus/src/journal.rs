//! What the journal holds (consensus.md, 3.11). Record contents only: files, batches and their framing are the
//! caller's, for whom a record is opaque bytes.
//!
//! Recovery is a *maximum over all records*, never "the last one": order and repetition do not matter. So a snapshot
//! is nothing but the records that are still needed ([`crate::Engine::snapshot`]), written to a new segment.

use crate::block::Block;
use crate::config::MAX_BODY;
use alloc::vec::Vec;
use borsh::{BorshDeserialize, BorshSerialize};
use ledger::certificate::Certificate;
use ledger::codec::{self, DecodeError};
use ledger::hash::{BlockHash, Hash, SetHash};
use ledger::header::{BlockRef, Header};
use ledger::id::{Epoch, View};
use ledger::vote::Vote;

/// One record of the journal.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
#[borsh(use_discriminant = true)]
#[repr(u8)]
pub enum Record {
    /// This epoch was entered.
    EpochStart {
        /// Its number.
        epoch: Epoch,
        /// Hash of its set.
        set: SetHash,
        /// Hash of its anchor.
        anchor: BlockHash,
        /// Hash of the restart file that opened it; zero if none did.
        restart: Hash,
    } = 1,
    /// The key's journal was missing, old or corrupt: nothing is signed until the `Floor` of the same number.
    Quarantine {
        /// 1 for the first of this journal, then ascending: an old floor does not end a new quarantine.
        number: u32,
    } = 2,
    /// A rejoin completed: no epoch before `epoch`, and no view below `view` in it, is voted in.
    Floor {
        /// The quarantine that it ends, and all before it.
        number: u32,
        /// Epoch of the floor.
        epoch: Epoch,
        /// Lowest view that is free.
        view: View,
    } = 3,
    /// Stopped for a restart: nothing is signed, and no certificate accepted, until a later epoch is entered by a
    /// restart file.
    Stopped {
        /// Epoch it was stopped in.
        epoch: Epoch,
    } = 4,
    /// A block under vote.
    Block(Block) = 5,
    /// A certificate that was accepted.
    Certificate(Certificate) = 6,
    /// An own vote, written before it is sent.
    OwnVote {
        /// The vote.
        vote: Vote,
        /// A leader's Notarize: the parent view of its proposal, so that it can be sent again.
        parent_view: Option<View>,
    } = 7,
    /// Finality reached at least this far.
    FinTip {
        /// Epoch of the finalization.
        epoch: Epoch,
        /// View of the finalization.
        view: View,
        /// The block.
        block: BlockRef,
    } = 8,
    /// Two votes of one validator that exclude each other.
    Evidence {
        /// The smaller vote.
        a: Vote,
        /// The larger vote.
        b: Vote,
    } = 9,
}

impl Record {
    /// Most bytes of an encoded record.
    pub const MAX_LEN: usize = 1 + Header::LEN + 4 + MAX_BODY;

    /// The record's bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// Reads a record back, strictly.
    ///
    /// # Errors
    /// [`DecodeError`]: the journal is corrupt, or of another version.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes, Self::MAX_LEN)
    }
}

/// What the node found where this key's journal should be (consensus.md, 3.12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum JournalState {
    /// Made together with the key and never written: votes, whatever others report.
    Fresh,
    /// Replayed without a gap.
    Intact,
    /// Missing, not this key's, or corrupt: the key does not vote until it has rejoined.
    Lost,
}
