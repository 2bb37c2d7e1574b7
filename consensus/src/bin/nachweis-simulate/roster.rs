//! The validators of a run: keys, sets, epochs. Drawn from the seed, so that every seed has other leaders.
//!
//! A *validator* is a set of keys, a *node* is a computer with a process. Most nodes are the validator of the same
//! number; the last ones may be second computers with somebody's keys (clones and twins).

use crate::crypto::Crypto;
use crate::plan::Plan;
use crate::random::{Random, Stream};
use consensus::{EpochInfo, EpochSpec, Peer, Signer, Tip};
use ledger::hash::{BlockHash, ChainId, Hash};
use ledger::header::{BlockRef, Flags};
use ledger::id::{AuthorityId, AuthorityIndex, Epoch, Height, TimeMs, ValidatorIndex};
use ledger::key::Key;
use ledger::validator_set::{Member, ValidatorSet};
use std::sync::Arc;

/// Wall-clock time at which every run begins.
pub(crate) const BIRTH: TimeMs = TimeMs(1_800_000_000_000);

/// What everybody knows of everybody: public keys, and how the first epoch is made up.
pub(crate) struct Registry {
    pub(crate) crypto: Crypto,
    pub(crate) chain: ChainId,
    /// All validators that ever are, also those of later epochs only.
    members: Vec<Member>,
    /// Number of members of epoch 0: the first ones.
    founders: usize,
    /// An epoch ends after so many blocks; 0 = never.
    pub(crate) epoch_length: u64,
}

impl Registry {
    /// The set that these validators make up; `None` if they make up none, two with one authority for example.
    pub(crate) fn set(&self, validators: &[usize]) -> Option<ValidatorSet> {
        let mut members: Vec<_> = validators
            .iter()
            .map(|validator| self.members.get(*validator).cloned())
            .collect::<Option<_>>()?;
        members.sort_by_key(|member| member.authority);
        ValidatorSet::new(members).ok()
    }

    pub(crate) fn authority(&self, validator: usize) -> AuthorityIndex {
        self.members[validator].authority
    }

    /// The validator with that vote key.
    pub(crate) fn by_vote_key(&self, key: &Key) -> Option<usize> {
        self.members.iter().position(|member| member.vote == *key)
    }

    /// Epoch 0.
    pub(crate) fn first_epoch(&self) -> EpochSpec {
        let founders: Vec<_> = (0..self.founders).collect();
        EpochSpec {
            chain: self.chain,
            epoch: Epoch(0),
            set: self.set(&founders).expect("distinct keys in order"),
            anchor: Tip {
                block: BlockRef {
                    height: Height(0),
                    hash: BlockHash(self.chain.0),
                },
                time_ms: BIRTH,
                flags: Flags::NONE,
            },
            restart: Hash::ZERO,
        }
    }

    /// The validators of epoch 0.
    pub(crate) fn founders(&self) -> Vec<usize> {
        (0..self.founders).collect()
    }
}

/// Everybody's keys, who sits at which computer, and the epochs that the chain has opened.
pub(crate) struct Roster {
    pub(crate) registry: Arc<Registry>,
    /// The peer that each node is to the others.
    pub(crate) peers: Vec<Peer>,
    seeds: Vec<[u8; 32]>,
    /// Whose keys each node has.
    owners: Vec<usize>,
    epochs: Vec<EpochInfo>,
}

impl Roster {
    pub(crate) fn new(plan: &Plan) -> Self {
        let mut random = Random::new(plan.seed, Stream::Keys);
        let authorities: Vec<_> = (0..u16::try_from(plan.n).unwrap_or(u16::MAX))
            .chain(plan.joiners.iter().copied())
            .collect();
        let seeds: Vec<_> = authorities.iter().map(|_| bytes(&mut random)).collect();
        let members: Vec<_> = authorities
            .iter()
            .zip(&seeds)
            .map(|(index, seed)| Member {
                authority: AuthorityIndex(*index),
                id: AuthorityId::new(&format!("authority-{index}")).expect("a proper id"),
                vote: plan.crypto.signer(seed).key(),
                cosigner: Key::from_bytes(bytes(&mut random)),
                log: Key::from_bytes(bytes(&mut random)),
                network: Key::from_bytes(bytes(&mut random)),
            })
            .collect();
        let owners: Vec<_> = (0..members.len())
            .chain(plan.doubles.iter().map(|double| double.owner()))
            .collect();
        let peers = owners
            .iter()
            .map(|owner| Peer(members[*owner].network))
            .collect();
        let registry = Registry {
            crypto: plan.crypto,
            chain: ChainId(Hash(bytes(&mut random))),
            members,
            founders: plan.n,
            epoch_length: plan.epoch_length,
        };
        Self {
            epochs: vec![EpochInfo::new(registry.first_epoch())],
            registry: Arc::new(registry),
            peers,
            seeds,
            owners,
        }
    }

    /// Number of nodes.
    pub(crate) fn nodes(&self) -> usize {
        self.owners.len()
    }

    pub(crate) fn crypto(&self) -> Crypto {
        self.registry.crypto
    }

    /// Whose keys a node has.
    pub(crate) fn owner(&self, node: usize) -> usize {
        self.owners[node]
    }

    pub(crate) fn signer(&self, node: usize) -> Box<dyn Signer> {
        self.registry.crypto.signer(&self.seeds[self.owner(node)])
    }

    /// The nodes behind a peer: one, or all that have its keys.
    pub(crate) fn nodes_of(&self, peer: &Peer) -> impl Iterator<Item = usize> + use<'_> {
        let peer = *peer;
        (0..self.nodes()).filter(move |node| self.peers[*node] == peer)
    }

    /// An epoch that the chain has opened.
    pub(crate) fn epoch(&self, epoch: Epoch) -> Option<&EpochInfo> {
        self.epochs.get(usize::try_from(epoch.0).ok()?)
    }

    pub(crate) fn first(&self) -> &EpochInfo {
        &self.epochs[0]
    }

    /// The newest epoch that the chain has opened.
    pub(crate) fn newest(&self) -> &EpochInfo {
        self.epochs.last().unwrap_or(&self.epochs[0])
    }

    /// The chain has opened another epoch.
    pub(crate) fn open(&mut self, spec: EpochSpec) {
        self.epochs.push(EpochInfo::new(spec));
    }

    /// A node's position in an epoch's set.
    pub(crate) fn index_in(&self, info: &EpochInfo, node: usize) -> Option<ValidatorIndex> {
        info.index_of(&self.peers[node])
    }

    /// The validator behind a position in an epoch's set.
    pub(crate) fn validator_at(&self, epoch: Epoch, index: ValidatorIndex) -> Option<usize> {
        let member = self.epoch(epoch)?.set().get(index)?;
        self.registry.by_vote_key(&member.vote)
    }
}

fn bytes(random: &mut Random) -> [u8; 32] {
    let mut bytes = [0; 32];
    random.fill(&mut bytes);
    bytes
}
