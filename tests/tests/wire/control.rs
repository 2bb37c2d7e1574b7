//! Whoever listens does find what it listens for: the same ears, and votes that exclude each other on real connections.

use consensus::{Message, Peer};
use genesis::container;
use genesis::keyfile::KeyFile;
use ledger::certificate::VerifiedCertificate;
use ledger::genesis::Purpose;
use ledger::hash::{BlockHash, Hash};
use ledger::header::BlockRef;
use ledger::id::{AuthorityId, AuthorityIndex, Height, TimeMs, ValidatorIndex, View};
use ledger::observer::Permission;
use ledger::tip::Founding;
use ledger::vote::{Statement, Vote, VoteKind};
use node::network::Lane;
use node::network::raw::RawPeer;
use std::path::PathBuf;
use tests::load;
use tests::recorder::{Heard, Recorder};
use tests::running::{Running, wait_for};

/// In whose place is listened.
const SEAT: usize = 3;

/// Founded, and nobody runs: whatever is heard was sent from here.
struct Stage {
    running: Running,
    founding: Founding,
    recorder: Recorder,
}

impl Stage {
    fn new() -> Self {
        let running = Running::founded();
        let genesis = running.network.dir().join("genesis.nachweis");
        let founding = container::Founding::load(&genesis).unwrap();
        let founding = Founding::new(founding.into_genesis()).unwrap();
        let recorder = Recorder::sit(&running.network, SEAT).unwrap();
        Self {
            running,
            founding,
            recorder,
        }
    }

    fn id(&self, at: usize) -> &str {
        &self.running.network.manifest().nodes[at].authority
    }

    fn key(&self, at: usize, purpose: Purpose) -> KeyFile {
        let keys: PathBuf = self.running.network.dir().join("keys").join(self.id(at));
        KeyFile::load(&keys.join(node::identity::file_name(purpose)), purpose).unwrap()
    }

    fn index(&self, at: usize) -> ValidatorIndex {
        self.recorder.validator(self.id(at)).unwrap()
    }

    fn vote(&self, at: usize, kind: VoteKind, view: u64, block: u8) -> Vote {
        let block = match kind {
            VoteKind::Nullify => BlockRef::default(),
            VoteKind::Notarize | VoteKind::Finalize => BlockRef {
                height: Height(9),
                hash: BlockHash(Hash([block; 32])),
            },
        };
        let statement = Statement {
            kind,
            view: View(view),
            block,
        };
        let epoch = self.founding.epoch();
        let key = self.key(at, Purpose::Vote).signing_key();
        Vote::sign(statement, epoch.epoch, self.index(at), &epoch.context, &key)
    }

    /// The listener as others find it.
    fn listener(&self) -> (Peer, &str) {
        let peer = self.recorder.peer(self.index(SEAT)).unwrap();
        (peer, &self.running.network.manifest().nodes[SEAT].peer)
    }

    async fn connect(&self, at: usize) -> RawPeer {
        let (peer, address) = self.listener();
        let key = self.key(at, Purpose::Network);
        RawPeer::connect(&key, &peer, address).await.unwrap()
    }

    fn hears(&self, what: &str, heard: impl Fn(&Heard) -> bool) {
        wait_for(what, || self.recorder.with(&heard).then_some(()));
    }
}

async fn say(peer: &mut RawPeer, vote: Vote) {
    let bytes = Message::Vote(vote).encode();
    peer.send(Lane::Consensus, &bytes).await.unwrap();
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Runtime::new().unwrap()
}

#[test]
fn whoever_listens_hears_a_key_that_signs_twice_and_nothing_else() {
    let stage = Stage::new();
    runtime().block_on(async {
        let mut peer = stage.connect(0).await;
        // Honest: said again, every kind of vote that goes with another, other views, and by another key.
        for vote in [
            stage.vote(0, VoteKind::Notarize, 1, 1),
            stage.vote(0, VoteKind::Notarize, 1, 1),
            stage.vote(0, VoteKind::Finalize, 1, 1),
            stage.vote(0, VoteKind::Notarize, 2, 2),
            stage.vote(0, VoteKind::Nullify, 2, 0),
            stage.vote(1, VoteKind::Notarize, 1, 3),
        ] {
            say(&mut peer, vote).await;
        }
        let strange = Vote {
            view: View(5),
            ..stage.vote(0, VoteKind::Notarize, 4, 1)
        };
        say(&mut peer, strange).await;
        stage.hears("all votes", |heard| {
            heard.votes() == 5 && heard.forged() == 1
        });
        assert_eq!(stage.recorder.with(|heard| heard.twice().len()), 0);
        // What one of them brings is not what its signer said.
        let said = |at| {
            stage
                .recorder
                .with(|heard| heard.said_by(stage.index(at)).count())
        };
        assert_eq!((said(0), said(1)), (5, 0));
        // Another block.
        say(&mut peer, stage.vote(0, VoteKind::Notarize, 1, 2)).await;
        stage.hears("two blocks in one view", |heard| heard.twice().len() == 1);
        // Given up, and final.
        say(&mut peer, stage.vote(0, VoteKind::Finalize, 2, 2)).await;
        stage.hears("given up and final", |heard| heard.twice().len() == 2);
        // One that only a certificate shows.
        let other = stage.vote(1, VoteKind::Notarize, 1, 4).statement();
        let votes = [0, 1, 2].map(|at| stage.vote(at, VoteKind::Notarize, 1, 4));
        let epoch = stage.founding.epoch();
        let whole = VerifiedCertificate::assemble(other, epoch.epoch, &epoch.set, &votes);
        let whole = Message::Certificate(whole.unwrap().into_inner()).encode();
        peer.send(Lane::Consensus, &whole).await.unwrap();
        stage.hears("a certificate's signer", |heard| {
            let by = |at| {
                heard
                    .twice()
                    .iter()
                    .any(|it| it.second.signer == stage.index(at))
            };
            by(0) && by(1) && !by(2)
        });
    });
}

#[test]
fn whoever_listens_hears_an_observer_that_votes() {
    let stage = Stage::new();
    let own = KeyFile::generate(Purpose::Network, AuthorityId::new("bamf").unwrap()).unwrap();
    let permission = Permission {
        chain: stage.founding.chain(),
        authority: AuthorityIndex(0),
        network: own.key(),
        not_after_ms: TimeMs(load::now_ms().unwrap() + 3_600_000),
    };
    let admin = stage.running.network.dir().join("keys/bamf/admin.key");
    let admin = KeyFile::load(&admin, Purpose::Admin).unwrap();
    let certificate = permission.sign(&admin.signing_key()).encode();
    runtime().block_on(async {
        let (peer, address) = stage.listener();
        let connected = RawPeer::connect_observer(&own, certificate, &peer, address).await;
        let vote = stage.vote(0, VoteKind::Notarize, 1, 1);
        let mut connected = connected.unwrap();
        say(&mut connected, vote).await;
        let observer = Peer(own.key());
        stage.hears("the observer's vote", |heard| {
            heard.observers().contains(&observer) && heard.messages(observer).get(&4) == Some(&1)
        });
    });
}
