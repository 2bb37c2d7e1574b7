//! Where a chain stands: the epoch that decides, and the tip that the next block builds on.

use crate::genesis::{Genesis, GenesisError, Params};
use crate::hash::{BlockHash, ChainId, EpochContext, Hash, SetHash};
use crate::header::BlockRef;
use crate::id::{AuthorityIndex, Epoch, Height, LeafIndex, TimeMs, TreeSize, ValidatorIndex};
use crate::key::Key;
use crate::log::Frontier;
use crate::state::KeyState;
use crate::trie::Trie;
use crate::validator_set::ValidatorSet;
use crate::view::Effects;
use crate::vote::ContextInputs;
use alloc::collections::BTreeSet;
use alloc::sync::Arc;

/// What the genesis fixes for good, checked once and shared.
#[derive(Clone, Debug)]
pub struct Founding {
    genesis: Arc<Genesis>,
    chain: ChainId,
    set: Arc<ValidatorSet>,
    /// Every key that the genesis names, in any role.
    keys: Arc<BTreeSet<Key>>,
}

impl Founding {
    /// Checks a genesis and derives what follows from it.
    ///
    /// # Errors
    /// [`GenesisError`] names the first fault.
    pub fn new(genesis: Genesis) -> Result<Self, GenesisError> {
        let set = genesis.check()?;
        let keys = genesis.authorities.iter().flat_map(|a| a.keys());
        let keys = keys.map(|(_, key)| key).collect();
        Ok(Self {
            chain: genesis.chain(),
            genesis: Arc::new(genesis),
            set: Arc::new(set),
            keys: Arc::new(keys),
        })
    }

    /// The chain's identity.
    pub const fn chain(&self) -> ChainId {
        self.chain
    }

    /// The genesis.
    pub fn genesis(&self) -> &Genesis {
        &self.genesis
    }

    /// The consensus-critical parameters.
    pub fn params(&self) -> &Params {
        &self.genesis.params
    }

    /// The validators of epoch 0.
    pub fn set(&self) -> &ValidatorSet {
        &self.set
    }

    /// Whether the genesis names this key, in any role.
    pub fn names_key(&self, key: &Key) -> bool {
        self.keys.contains(key)
    }

    /// The admin key of an authority as in genesis.
    pub fn admin(&self, authority: AuthorityIndex) -> Option<Key> {
        Some(self.genesis.authority(authority)?.admin)
    }

    /// The effects of the genesis: its registrar keys.
    pub fn effects(&self) -> Effects {
        let mut effects = Effects::default();
        for (authority, founder) in self.genesis.indexed() {
            for registrar in &founder.registrars {
                let state = KeyState {
                    authority,
                    role: registrar.role,
                    enrolled: LeafIndex(0),
                    not_after_ms: TimeMs(0),
                    retired: None,
                    compromised_since: None,
                };
                effects.keys.insert(registrar.key, state);
            }
        }
        effects
    }

    /// Epoch 0.
    pub fn epoch(&self) -> EpochInfo {
        let anchor = BlockRef {
            height: Height(0),
            hash: BlockHash(self.chain.0),
        };
        EpochInfo::new(self.chain, Epoch(0), Arc::clone(&self.set), anchor)
    }

    /// The anchor of epoch 0, which block 1 builds on.
    pub fn tip(&self) -> Tip {
        let mut trie = Trie::new();
        trie.extend(&self.effects().trie_entries());
        Tip {
            height: Height(0),
            hash: BlockHash(self.chain.0),
            time_ms: self.genesis.created_ms,
            epoch: Arc::new(self.epoch()),
            log: Frontier::new(),
            trie,
        }
    }
}

/// One epoch: its validators and what their votes are bound to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochInfo {
    /// Its number.
    pub epoch: Epoch,
    /// Its validators.
    pub set: Arc<ValidatorSet>,
    /// Their hash.
    pub set_hash: SetHash,
    /// The block that it starts from: the SEAL block of the epoch before; the genesis for epoch 0.
    pub anchor: BlockRef,
    /// Hash of the restart file that opened it; zero if none did.
    pub restart: Hash,
    /// What every vote of it signs.
    pub context: EpochContext,
    /// The epoch before it, as long as evidence about that one may be recorded. A restart forgets it.
    before: Option<Arc<Self>>,
}

/// Most epochs that are remembered, whatever the parameters say.
const MAX_REMEMBERED: u64 = 64;

impl EpochInfo {
    /// An epoch that no restart file opened.
    pub fn new(chain: ChainId, epoch: Epoch, set: Arc<ValidatorSet>, anchor: BlockRef) -> Self {
        Self::opened(chain, epoch, set, anchor, Hash::ZERO)
    }

    /// An epoch that the restart file of this hash opened; zero if none did.
    pub fn opened(
        chain: ChainId,
        epoch: Epoch,
        set: Arc<ValidatorSet>,
        anchor: BlockRef,
        restart: Hash,
    ) -> Self {
        let set_hash = set.hash();
        let inputs = ContextInputs {
            chain,
            epoch,
            set: set_hash,
            anchor: anchor.hash,
            restart,
        };
        Self {
            epoch,
            set,
            set_hash,
            anchor,
            restart,
            context: inputs.context(),
            before: None,
        }
    }

    /// The same with the epoch before it and what that one remembers: so many epochs in all.
    #[must_use]
    pub fn following(self, before: &Arc<Self>, remembered: u64) -> Self {
        let before = before.remembered(remembered.min(MAX_REMEMBERED));
        Self { before, ..self }
    }

    fn remembered(self: &Arc<Self>, count: u64) -> Option<Arc<Self>> {
        let rest = count.checked_sub(1)?;
        let before = self.before.as_ref();
        let before = before.and_then(|before| before.remembered(rest));
        let epoch = Self::clone(self);
        Some(Arc::new(Self { before, ..epoch }))
    }

    /// This epoch or one that it remembers, by its number.
    pub fn back_to(&self, number: Epoch) -> Option<&Self> {
        let mut at = self;
        while at.epoch != number {
            at = at.before.as_deref()?;
        }
        Some(at)
    }

    /// Whether the position is a member's.
    pub fn has(&self, signer: ValidatorIndex) -> bool {
        self.set.get(signer).is_some()
    }
}

/// What the next block builds on: the chain's state in roots. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tip {
    /// Height of the block.
    pub height: Height,
    /// Hash of its header; the chain for height 0.
    pub hash: BlockHash,
    /// Its time.
    pub time_ms: TimeMs,
    /// The epoch of the *next* block.
    pub epoch: Arc<EpochInfo>,
    /// The log after it.
    pub log: Frontier,
    /// The status map after it.
    pub trie: Trie,
}

impl Tip {
    /// Height and hash.
    pub const fn block_ref(&self) -> BlockRef {
        BlockRef {
            height: self.height,
            hash: self.hash,
        }
    }

    /// Leaves of the log: also the index of the next block's first leaf.
    pub const fn log_size(&self) -> TreeSize {
        TreeSize(self.log.size())
    }

    /// The same block, with an epoch after it that a restart file opens.
    #[must_use]
    pub fn restarted(self, epoch: Arc<EpochInfo>) -> Self {
        Self { epoch, ..self }
    }

    /// Whether the block ended an epoch (or is the genesis): the next one is the first of its epoch.
    pub fn opens_epoch(&self) -> bool {
        self.epoch.anchor.hash == self.hash
    }
}
