//! Three running validators, and the fourth's keys in hostile hands.

use consensus::message::{SyncReq, SyncResp};
use consensus::{EpochInfo, EpochSpec, Message, Peer, Tip};
use genesis::container::Founding;
use genesis::keyfile::KeyFile;
use ledger::genesis::Purpose;
use ledger::hash::{BlockHash, Hash};
use ledger::header::{BlockRef, Flags};
use ledger::id::{AuthorityId, Epoch, Height, ValidatorIndex, View};
use ledger::key::SigningKey;
use ledger::vote::{Statement, Vote};
use node::network::Lane;
use node::network::raw::{RawError, RawPeer};
use std::time::Duration;
use tests::running::{Running, wait_for};
use tokio::time::timeout;

/// The validators that run; the fourth's keys are in hostile hands.
pub(crate) const HONEST: [usize; 3] = [0, 1, 2];
/// The fourth, and its id.
pub(crate) const HOSTILE: usize = 3;
pub(crate) const HOSTILE_ID: &str = "vg-leipzig";
/// Most memory of a node, in KiB, whatever is done to it.
pub(crate) const MAX_PEAK_KIB: u64 = 300 * 1024;
/// So long may anything take on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Three running validators, and all that the fourth knows.
pub(crate) struct Siege {
    pub(crate) running: Running,
    pub(crate) epoch: EpochInfo,
    pub(crate) votes: Vec<SigningKey>,
    pub(crate) network: KeyFile,
}

/// Something that ends the connection: raw bytes on a lane, the reason that the node counts, and what it logs.
pub(crate) struct Offence {
    pub(crate) lane: Lane,
    pub(crate) bytes: Vec<u8>,
    pub(crate) why: &'static str,
    pub(crate) detail: &'static str,
}

impl Siege {
    pub(crate) fn begin() -> Self {
        let mut siege = Self::founded();
        siege.running.start(&HONEST);
        siege
    }

    /// Before any node runs.
    pub(crate) fn founded() -> Self {
        let running = Running::founded();
        let dir = running.network.dir();
        let founding = Founding::load(&dir.join("genesis.nachweis")).unwrap();
        let keys = |id: &AuthorityId, purpose: Purpose| {
            let folder = dir.join("keys").join(id.as_str());
            KeyFile::load(&folder.join(node::identity::file_name(purpose)), purpose).unwrap()
        };
        let set = founding.validators().clone();
        let members = set.indices().map(|index| set.get(index).unwrap());
        let votes = members.map(|member| keys(&member.id, Purpose::Vote).signing_key());
        let votes = votes.collect();
        let hostile = set.get(index(HOSTILE)).unwrap();
        assert_eq!(hostile.id.as_str(), HOSTILE_ID);
        let network = keys(&hostile.id, Purpose::Network);
        let chain = founding.chain();
        let anchor = Tip {
            block: BlockRef {
                height: Height(0),
                hash: BlockHash(chain.0),
            },
            time_ms: founding.genesis().created_ms,
            flags: Flags::NONE,
        };
        let epoch = EpochInfo::new(EpochSpec {
            chain,
            epoch: Epoch(0),
            set,
            anchor,
            restart: Hash::ZERO,
        });
        Self {
            running,
            epoch,
            votes,
            network,
        }
    }

    pub(crate) fn peer(&self, at: usize) -> Peer {
        Peer(self.epoch.set().get(index(at)).unwrap().network)
    }

    pub(crate) async fn connect_as(&self, key: &KeyFile, at: usize) -> Result<RawPeer, RawError> {
        let address = &self.running.network.manifest().nodes[at].peer;
        RawPeer::connect(key, &self.peer(at), address).await
    }

    pub(crate) async fn connect(&self, at: usize) -> RawPeer {
        let peer = self.connect_as(&self.network, at).await.unwrap();
        // The lanes stand here before the node's engine knows of them: it drops what nobody is there to have sent.
        wait_for("the node sees the peer", || {
            let status = self.running.status(at);
            let mut peers = status["peers"].as_array()?.iter();
            let peer = peers.find(|peer| peer["authority"] == HOSTILE_ID)?;
            peer["connected"].as_bool()?.then_some(())
        });
        peer
    }

    pub(crate) fn view(&self, at: usize) -> View {
        View(self.running.status(at)["view"].as_u64().unwrap())
    }

    /// A vote by any validator: what a quorum of hostile ones could make.
    pub(crate) fn vote_of(&self, signer: usize, statement: Statement) -> Vote {
        let key = &self.votes[signer];
        Vote::sign(
            statement,
            Epoch(0),
            index(signer),
            self.epoch.context(),
            key,
        )
    }

    /// The nearest view at or after this one that the hostile validator leads, or another one does.
    pub(crate) fn led(&self, by_hostile: Leader, from: View) -> View {
        let leads = |view: &View| self.epoch.leader(*view) == index(HOSTILE);
        let mut views = (from.0..).map(View);
        let fits = |view: &View| leads(view) == matches!(by_hostile, Leader::Hostile);
        views.find(fits).unwrap()
    }

    /// All three are up and small, and a record still becomes final and provable.
    pub(crate) fn goes_on(&self, through: usize) {
        for at in HONEST {
            assert!(self.running.network.is_running(at), "node {at} is down");
        }
        self.running.becomes_provable(through);
        for at in HONEST {
            let peak = self.running.peak_kib(at);
            assert!(peak < MAX_PEAK_KIB, "node {at} held {peak} KiB");
        }
    }

    /// Waits until a node has logged a line with these words, after `from` bytes.
    pub(crate) fn is_logged(&self, at: usize, from: usize, words: &[&str]) {
        let found = || {
            let log = self.running.log(at);
            let mut lines = log.get(from..)?.lines();
            lines
                .any(|line| words.iter().all(|word| line.contains(word)))
                .then_some(())
        };
        wait_for(&format!("node {at} logs {words:?}"), found);
    }

    /// Commits an offence: the connection is closed and the node says who did what.
    pub(crate) async fn commit(&self, at: usize, offence: &Offence) {
        let from = self.running.log(at).len();
        let mut peer = self.connect(at).await;
        // The node may close while it is still being written to.
        peer.write(offence.lane, &offence.bytes).await.ok();
        self.is_kept_out(at, from, &peer, offence.why, offence.detail)
            .await;
    }

    pub(crate) async fn is_kept_out(
        &self,
        at: usize,
        from: usize,
        peer: &RawPeer,
        why: &str,
        detail: &str,
    ) {
        let closed = timeout(PATIENCE, peer.closed()).await;
        assert!(closed.is_ok(), "not disconnected: {why} {detail}");
        let authority = format!("authority={HOSTILE_ID}");
        self.is_logged(at, from, &["misbehaved", &authority, why]);
        self.is_logged(at, from, &[detail]);
        let named =
            format!("nachweis_peer_offences_total{{authority=\"{HOSTILE_ID}\",why=\"{why}\"}}");
        assert!(self.running.metric(at, &named) >= 1, "{named}");
        let again = self.connect_as(&self.network, at).await;
        assert!(matches!(again, Err(RawError::Refused(_))), "{again:?}");
    }

    pub(crate) async fn real_blocks(&self, peer: &mut RawPeer) -> SyncResp {
        let request = SyncReq {
            from: Height(1),
            max_bytes: 1 << 20,
        };
        let request = Message::SyncReq(request).encode();
        peer.send(Lane::Consensus, &request).await.unwrap();
        let answer = receive(peer, Lane::Bulk, |message| match message {
            Message::SyncResp(blocks) => Some(blocks),
            _ => None,
        });
        answer.await
    }
}

/// Who leads a view.
#[derive(Clone, Copy)]
pub(crate) enum Leader {
    Hostile,
    Honest,
}

pub(crate) fn index(at: usize) -> ValidatorIndex {
    ValidatorIndex(u16::try_from(at).unwrap())
}

/// The next consensus message of a kind; others are passed over.
pub(crate) async fn receive<T>(
    peer: &mut RawPeer,
    lane: Lane,
    wanted: impl Fn(Message) -> Option<T>,
) -> T {
    let wait = async {
        loop {
            let bytes = peer.recv(lane).await.unwrap();
            if let Some(found) = Message::decode(&bytes).ok().and_then(&wanted) {
                return found;
            }
        }
    };
    timeout(PATIENCE, wait).await.unwrap()
}
