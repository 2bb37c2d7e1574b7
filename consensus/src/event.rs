//! What goes into the engine.

use crate::block::Block;
use crate::epoch::{EpochSpec, Peer};
use crate::items::Item;
use crate::outbox::Seq;
use crate::verify::VerifiedMessage;
use alloc::boxed::Box;
use alloc::vec::Vec;
use ledger::hash::BlockHash;
use ledger::id::View;
use ledger::validator_set::ValidatorSet;

/// Something that happened; given to [`crate::Engine::handle`] with its [`crate::Now`].
#[derive(Clone, Debug)]
pub enum Event {
    /// The first event, once, after recovery and before any other.
    Start,
    /// An authenticated peer sent this.
    Message {
        /// Who.
        from: Peer,
        /// What, verified.
        message: VerifiedMessage,
    },
    /// The answer to [`crate::Output::Validate`].
    BlockValidated {
        /// Which block.
        block: BlockHash,
        /// What came out.
        verdict: Verdict,
    },
    /// The answer to [`crate::Output::Gather`]: for each id the item, if it is held here.
    Gathered {
        /// Which block.
        block: BlockHash,
        /// As many as ids, in their order.
        items: Vec<Option<Item>>,
    },
    /// The answer to [`crate::Output::Build`]: a block with something in it. Its builder counts as its validator: no
    /// `Validate` follows, and its post-state is kept as if it had been answered `Valid`.
    ProposalReady {
        /// The request's view.
        view: View,
        /// The block, its header made from the request.
        block: Block,
    },
    /// The answer to [`crate::Output::Build`]: nothing can be included.
    BuildEmpty {
        /// The request's view.
        view: View,
    },
    /// The answer to [`crate::Output::Sealed`]: the next epoch, its set from the SEAL block's post-state.
    EpochOpened(Box<EpochSpec>),
    /// A SEAL block brings another set: given before the block is answered `Valid`, or handed in as built. Then this node
    /// neither proposes it nor votes for it while too few of that set are there; [`crate::Output::Park`] may follow.
    NextSet {
        /// The block.
        block: BlockHash,
        /// The set of its post-state.
        set: Box<ValidatorSet>,
    },
    /// What could be included changed, or a new [`crate::Output::Head`] was answered.
    WorkChanged {
        /// The head that the caller looked at.
        head: BlockHash,
        /// Number of items that Build would include on that head now.
        includable: u32,
    },
    /// The time of [`crate::Output::SetTimer`] has come; harmless at any other time.
    Tick,
    /// All `Persist` outputs up to this one are on stable storage.
    Persisted {
        /// The newest of them.
        seq: Seq,
    },
    /// A connection to this peer stands. When a new one replaces an old one: `PeerDown`, then `PeerUp`.
    PeerUp {
        /// Who.
        peer: Peer,
    },
    /// The last connection to this peer is gone.
    PeerDown {
        /// Who.
        peer: Peer,
    },
    /// The way to this peer and back was measured (for the clock offset, consensus.md 3.16).
    RoundTrip {
        /// Who.
        peer: Peer,
        /// Milliseconds there and back.
        rtt_ms: u64,
    },
    /// The node is about to stop: a leader gives its view up.
    Stopping,
}

/// What the caller found out about a body (consensus.md, 3.4, step 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It matches the header and every rule; its post-state is kept for children.
    Valid,
    /// It matches the header, but breaks a rule. Final, and the same on every honest node.
    Invalid,
    /// It is not the body that the header names: somebody delivered rubbish.
    BadDelivery,
}
