//! One epoch on paper: its set, its vote context, its anchor, and who leads which view (consensus.md, 3.2 and 3.5).

use crate::block::Tip;
use alloc::vec::Vec;
use ledger::certificate::Certificate;
use ledger::hash::{ChainId, EpochContext, Hash, SetHash, Tag, sha256};
use ledger::id::{Epoch, ValidatorIndex, View};
use ledger::key::Key;
use ledger::validator_set::ValidatorSet;
use ledger::vote::ContextInputs;

/// What defines an epoch.
#[derive(Clone, Debug)]
pub struct EpochSpec {
    /// The chain.
    pub chain: ChainId,
    /// Its number.
    pub epoch: Epoch,
    /// Its validators.
    pub set: ValidatorSet,
    /// The block it starts on: final, and notarized at view 0. Epoch 0: height 0, hash = chain, genesis time.
    pub anchor: Tip,
    /// Hash of the restart file that opened it; zero if none did.
    pub restart: Hash,
}

/// The end of an epoch, as it can be proven to whoever is still in it.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// The epoch.
    pub spec: EpochSpec,
    /// The finalization of its SEAL block.
    pub finalization: Certificate,
}

/// A peer, by its network key. Stable across epochs, unlike a `ValidatorIndex`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Peer(pub Key);

/// An [`EpochSpec`] with all that is computed from it once.
#[derive(Clone, Debug)]
pub struct EpochInfo {
    spec: EpochSpec,
    context: EpochContext,
    set_hash: SetHash,
    leaders: Vec<ValidatorIndex>,
}

impl EpochInfo {
    /// Computes context and leader schedule.
    pub fn new(spec: EpochSpec) -> Self {
        let set_hash = spec.set.hash();
        let context = ContextInputs {
            chain: spec.chain,
            epoch: spec.epoch,
            set: set_hash,
            anchor: spec.anchor.block.hash,
            restart: spec.restart,
        }
        .context();
        let leaders = permutation(&context, &spec.set);
        Self {
            spec,
            context,
            set_hash,
            leaders,
        }
    }

    /// The chain.
    pub const fn chain(&self) -> ChainId {
        self.spec.chain
    }

    /// The epoch's number.
    pub const fn epoch(&self) -> Epoch {
        self.spec.epoch
    }

    /// Its validators.
    pub const fn set(&self) -> &ValidatorSet {
        &self.spec.set
    }

    /// Hash of its validator set.
    pub const fn set_hash(&self) -> SetHash {
        self.set_hash
    }

    /// The context that its votes sign.
    pub const fn context(&self) -> &EpochContext {
        &self.context
    }

    /// The block it starts on.
    pub const fn anchor(&self) -> &Tip {
        &self.spec.anchor
    }

    /// Whether this is a SEAL block that ends this epoch, not the one that the epoch starts on.
    pub fn ends_with(&self, tip: &Tip) -> bool {
        tip.flags.is_seal() && tip.block != self.spec.anchor.block
    }

    /// Hash of the restart file that opened it; zero if none did.
    pub const fn restart(&self) -> Hash {
        self.spec.restart
    }

    /// Leader of a view: perm[(v−1) mod n]. View 0 is the anchor's and has none; its first leader is returned.
    #[expect(
        clippy::arithmetic_side_effects,
        reason = "a set has at least one member"
    )]
    pub fn leader(&self, view: View) -> ValidatorIndex {
        let n = u64::try_from(self.leaders.len()).unwrap_or(u64::MAX);
        let at = usize::try_from(view.0.saturating_sub(1) % n).unwrap_or(0);
        self.leaders.get(at).copied().unwrap_or_default()
    }

    /// The validator behind a peer, if it is one of this epoch.
    pub fn index_of(&self, peer: &Peer) -> Option<ValidatorIndex> {
        self.spec.set.position(|member| member.network == peer.0)
    }

    /// The peer of a validator.
    pub fn peer_of(&self, index: ValidatorIndex) -> Option<Peer> {
        self.spec.set.get(index).map(|member| Peer(member.network))
    }
}

/// Fisher–Yates over the positions, drawn from the epoch's context alone.
#[expect(
    clippy::arithmetic_side_effects,
    reason = "i + 1 is at most 64 and not zero"
)]
fn permutation(context: &EpochContext, set: &ValidatorSet) -> Vec<ValidatorIndex> {
    let seed = Tag::Leaders.hash(&[context.as_bytes()]);
    let mut order: Vec<_> = set.indices().collect();
    for i in (1..order.len()).rev() {
        let number = u32::try_from(i).unwrap_or(u32::MAX).to_le_bytes();
        let Hash(drawn) = sha256(&[seed.as_bytes(), &number]);
        let mut first = [0; 8];
        first
            .iter_mut()
            .zip(drawn)
            .for_each(|(to, from)| *to = from);
        let span = u64::try_from(i).unwrap_or(u64::MAX) + 1;
        let j = usize::try_from(u64::from_le_bytes(first) % span).unwrap_or(0);
        order.swap(i, j);
    }
    order
}
