//! What comes out of the engine.

use crate::block::{Block, Tip};
use crate::epoch::Peer;
use crate::journal::Record;
use crate::message::{Message, SyncReq};
use crate::outbox::Seq;
use crate::time::Mono;
use alloc::vec::Vec;
use ledger::certificate::Certificate;
use ledger::hash::{BlockHash, ChainId, ItemId, SetHash};
use ledger::header::{BlockRef, Flags};
use ledger::id::{Epoch, Height, TimeMs, ValidatorIndex, View};
use ledger::vote::Vote;

/// Something to be done, in this order; from [`crate::Engine::poll_output`].
#[derive(Clone, Debug)]
pub enum Output {
    /// Append these records to the journal. One fdatasync may cover several; then [`crate::Event::Persisted`].
    Persist {
        /// Ascending, without gaps.
        seq: Seq,
        /// What to append, in order.
        records: Vec<Record>,
    },
    /// Send to every connected peer, of the set or not. Already released: what it depends on is durable.
    Broadcast(Message),
    /// Send to one peer; drop it if that peer is not connected. Already released.
    Send {
        /// To whom.
        to: Peer,
        /// What.
        message: Message,
    },
    /// Feed [`crate::Event::Tick`] at this time; replaces the timer set before.
    SetTimer {
        /// When.
        at: Mono,
    },
    /// The block that a next proposal would extend; answer with [`crate::Event::WorkChanged`].
    Head(BlockRef),
    /// Build a block; answer with `ProposalReady` or `BuildEmpty`. Only the newest request counts.
    Build(BuildRequest),
    /// Check a body against the post-state of its parent, which was answered `Valid` or committed before.
    Validate {
        /// Hash of the block, for the answer.
        hash: BlockHash,
        /// The block. Its header was checked against its parent's already.
        block: Block,
    },
    /// A compact proposal names these items; answer with [`crate::Event::Gathered`] what the pool holds of them.
    Gather {
        /// Hash of the block, for the answer.
        block: BlockHash,
        /// Different ids, in the order of its body.
        ids: Vec<ItemId>,
        /// The items have so many bytes in all: more need not be answered.
        bytes: u32,
    },
    /// These blocks are final: archive them, apply them, then tell clients.
    Commit(Commit),
    /// This block can never become final: its post-state and body may be dropped.
    Forget(BlockHash),
    /// Answer a peer from the archive, if it has what is asked; else do nothing.
    Serve {
        /// Whom.
        to: Peer,
        /// What it asks.
        request: ServeRequest,
    },
    /// Two votes of one validator that exclude each other; `a < b`. Also in the journal, and out again after a restart:
    /// a pool that holds it does not survive the process.
    Evidence {
        /// The smaller.
        a: Vote,
        /// The larger.
        b: Vote,
    },
    /// Something a person must look at.
    Alarm(Alarm),
    /// Disconnect this peer, and report it: no honest node does that.
    Ban {
        /// Whom.
        peer: Peer,
        /// Why.
        offence: crate::verify::Offence,
    },
    /// This node's own SEAL block came to nothing, because too few of the set that it brings are there. Leave what
    /// activates the change out of blocks for a minute (it is no work meanwhile), and answer
    /// [`crate::Event::WorkChanged`]. Only after a [`crate::Event::NextSet`].
    Park(BlockHash),
    /// This SEAL block was committed: the epoch is over, and nothing is voted in it any more. Answer with
    /// [`crate::Event::EpochOpened`].
    Sealed(Tip),
}

/// Finalized blocks, in height order without gap, following the blocks committed before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// At least one block, each answered `Valid`.
    pub blocks: Vec<Block>,
    /// The finalization of the last of them; `None` during catch-up, when a later block's stands for them.
    pub finalization: Option<Certificate>,
}

/// What a new block's header must say; the caller fills in body, roots and SEAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BuildRequest {
    /// The chain.
    pub chain: ChainId,
    /// The epoch.
    pub epoch: Epoch,
    /// The view, for the answer and the header.
    pub view: View,
    /// The block to extend.
    pub parent: Tip,
    /// Height of the new block.
    pub height: Height,
    /// Who proposes: this node.
    pub proposer: ValidatorIndex,
    /// Its time.
    pub time_ms: TimeMs,
    /// ANCHOR if one is due (then the block may be empty); the caller adds SEAL.
    pub flags: Flags,
    /// Hash of the epoch's set.
    pub validator_set: SetHash,
}

/// What a peer asks of the archive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServeRequest {
    /// One block: answer `Message::Block` if the archive's block of that height has that hash.
    Block(BlockRef),
    /// Finalized blocks: answer `Message::SyncResp` made by [`crate::message::SyncResp::collect`].
    Sync(SyncReq),
}

/// What a person must look at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Alarm {
    /// A certified block is invalid here, or two blocks are final at one height. This node votes no more.
    #[error("divergence at height {}: {} is certified but cannot be here", .0.height, .0.hash)]
    Divergence(BlockRef),
    /// The journal of this key is missing, old or corrupt: it does not vote until it has rejoined.
    #[error("quarantine: this key's journal is not complete; it votes again once it has rejoined")]
    Quarantine,
    /// Another process runs with this key.
    #[error("{0} peers report another running process with this key; not voting")]
    OtherInstance(usize),
    /// This computer's clock is off, as far as its peers tell.
    #[error("clock differs from the peers' by {0} ms")]
    Clock(i64),
    /// The driver broke the contract; the event was ignored.
    #[error("event ignored, it breaks the contract: {0}")]
    Contract(&'static str),
}
