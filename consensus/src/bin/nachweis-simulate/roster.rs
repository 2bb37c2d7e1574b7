//! The validators of a run: keys, set, epoch. Drawn from the seed, so that every seed has other leaders.

use crate::crypto::Crypto;
use crate::random::{Random, Stream};
use consensus::{EpochInfo, EpochSpec, Peer, Signer, Tip};
use ledger::hash::{BlockHash, ChainId, Hash};
use ledger::header::{BlockRef, Flags};
use ledger::id::{AuthorityId, AuthorityIndex, Epoch, Height, TimeMs, ValidatorIndex};
use ledger::key::Key;
use ledger::validator_set::{Member, ValidatorSet};

/// Wall-clock time at which every run begins.
pub(crate) const BIRTH: TimeMs = TimeMs(1_800_000_000_000);

/// Everybody's keys, and the epoch that they make up.
pub(crate) struct Roster {
    pub(crate) crypto: Crypto,
    pub(crate) info: EpochInfo,
    pub(crate) spec: EpochSpec,
    pub(crate) peers: Vec<Peer>,
    seeds: Vec<[u8; 32]>,
}

impl Roster {
    pub(crate) fn new(seed: u64, n: usize, crypto: Crypto) -> Self {
        let mut random = Random::new(seed, Stream::Keys);
        let seeds: Vec<_> = (0..n).map(|_| bytes(&mut random)).collect();
        let members: Vec<_> = (0_u16..)
            .zip(&seeds)
            .map(|(index, seed)| Member {
                authority: AuthorityIndex(index),
                id: AuthorityId::new(&format!("authority-{index}")).expect("a proper id"),
                vote: crypto.signer(seed).key(),
                cosigner: Key::from_bytes(bytes(&mut random)),
                log: Key::from_bytes(bytes(&mut random)),
                network: Key::from_bytes(bytes(&mut random)),
            })
            .collect();
        let peers = members.iter().map(|member| Peer(member.network)).collect();
        let chain = ChainId(Hash(bytes(&mut random)));
        let spec = EpochSpec {
            chain,
            epoch: Epoch(0),
            set: ValidatorSet::new(members).expect("distinct keys in order"),
            anchor: Tip {
                block: BlockRef {
                    height: Height(0),
                    hash: BlockHash(chain.0),
                },
                time_ms: BIRTH,
                flags: Flags::NONE,
            },
            restart: Hash::ZERO,
        };
        Self {
            crypto,
            info: EpochInfo::new(spec.clone()),
            spec,
            peers,
            seeds,
        }
    }

    pub(crate) fn n(&self) -> usize {
        self.peers.len()
    }

    pub(crate) fn signer(&self, node: usize) -> Box<dyn Signer> {
        self.crypto.signer(&self.seeds[node])
    }

    /// The node behind a peer.
    pub(crate) fn node_of(&self, peer: &Peer) -> usize {
        let index = self.info.index_of(peer).expect("peers are members");
        usize::from(index.0)
    }
}

/// A node's position in the set; nodes are numbered in its order.
pub(crate) fn index(node: usize) -> ValidatorIndex {
    ValidatorIndex(u16::try_from(node).expect("at most 64 nodes"))
}

fn bytes(random: &mut Random) -> [u8; 32] {
    let mut bytes = [0; 32];
    random.fill(&mut bytes);
    bytes
}
