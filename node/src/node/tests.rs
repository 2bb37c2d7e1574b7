//! Four whole validators in one process, on real disks, over a network in memory.

mod repair;

use super::*;
use crate::chain::Outcome;
use crate::clock;
use crate::config;
use crate::mempool::Pending;
use crate::network::Room;
use crate::recovery::{self, Owner};
use crate::storage::guard::CosignerGuard;
use crate::storage::journal::Journal;
use crate::testkit;
use consensus::Peer;
use ledger::genesis::Purpose;
use ledger::id::{Height, TimeMs};
use ledger::journal::{JournalId, Origin};
use ledger::tip::Founding;
use std::path::Path;
use std::sync::Mutex;

const NODES: u16 = 4;
/// So long may anything take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a node receives, in this order.
#[derive(Debug)]
enum Frame {
    Up(Peer),
    Down(Peer),
    Bytes(Peer, Arc<[u8]>),
}

/// Who is on the air.
#[derive(Debug, Default)]
struct Air(Mutex<Vec<(Peer, mpsc::Sender<Frame>)>>);

/// One node's antenna.
#[derive(Debug)]
struct Antenna {
    me: Peer,
    air: Arc<Air>,
}

impl Mesh for Antenna {
    fn send(&self, to: &Peer, bytes: Arc<[u8]>) {
        let air = self.air.0.lock().unwrap();
        for (peer, sender) in air.iter().filter(|(peer, _)| peer == to) {
            assert_ne!(*peer, self.me);
            // A full queue drops, as the network does.
            sender
                .try_send(Frame::Bytes(self.me, Arc::clone(&bytes)))
                .ok();
        }
    }

    fn broadcast(&self, bytes: Arc<[u8]>) {
        let all: Vec<Peer> = self
            .air
            .0
            .lock()
            .unwrap()
            .iter()
            .map(|(peer, _)| *peer)
            .collect();
        for peer in all.iter().filter(|peer| **peer != self.me) {
            self.send(peer, Arc::clone(&bytes));
        }
    }

    fn inform(&self, _bytes: Arc<[u8]>) {}

    fn disconnect(&self, peer: &Peer, why: &'static str) {
        panic!("an honest peer is disconnected: {peer:?} {why}");
    }
}

struct Network {
    founding: Founding,
    air: Arc<Air>,
    dirs: Vec<tempfile::TempDir>,
    nodes: Vec<Option<Node>>,
}

fn peer(founding: &Founding, at: u16) -> Peer {
    let member = founding.set().get(ValidatorIndex(at)).unwrap();
    Peer(member.network)
}

fn config(dir: &Path) -> Config {
    let text = config::template("/ip4/127.0.0.1/tcp/1", "127.0.0.1:1".parse().unwrap());
    let text = text
        .replace("delta_ms = 150", "delta_ms = 50")
        .replace("heartbeat_ms = 2000", "heartbeat_ms = 200")
        .replace("quiet_ms = 6000", "quiet_ms = 1000")
        .replace("cosign_heartbeat_ms = 60000", "cosign_heartbeat_ms = 1000")
        .replace("segment_bytes = 67108864", "segment_bytes = 1024")
        .replace("scrub_pause_s = 3600", "scrub_pause_s = 0");
    std::fs::write(dir.join(config::FILE), text).unwrap();
    Config::load(dir).unwrap()
}

impl Network {
    async fn start() -> Self {
        let founding = testkit::founding(NODES);
        let mut network = Self {
            founding,
            air: Arc::default(),
            dirs: Vec::new(),
            nodes: Vec::new(),
        };
        for at in 0..NODES {
            let dir = tempfile::tempdir().unwrap();
            let data = dir.path().join("data");
            std::fs::create_dir(&data).unwrap();
            Journal::create(&data.join("journal"), journal(at), Origin::Fresh).unwrap();
            let cosigner = testkit::key(at, Purpose::Cosigner).key();
            CosignerGuard::create(&data.join("guard"), cosigner).unwrap();
            network.dirs.push(dir);
            network.nodes.push(None);
        }
        for at in 0..NODES {
            network.run(at).await;
        }
        network
    }

    async fn run(&mut self, at: u16) {
        let dir = self.dirs[usize::from(at)].path();
        let config = config(dir);
        let owner = Owner {
            founding: self.founding.clone(),
            journal: Some(journal(at)),
            cosigner: testkit::key(at, Purpose::Cosigner).key(),
        };
        let signing = Signing {
            me: ValidatorIndex(at),
            vote: testkit::key(at, Purpose::Vote),
            cosigner: testkit::key(at, Purpose::Cosigner),
            log: testkit::key(at, Purpose::Log),
        };
        let recovered = recovery::recover(&config, &owner).unwrap();
        let prepared = Prepared::new(recovered, &config, &signing).unwrap();
        let me = peer(&self.founding, at);
        let antenna = Antenna {
            me,
            air: Arc::clone(&self.air),
        };
        let mut node = prepared.start(&config, signing, Arc::new(antenna)).unwrap();
        let (sender, mut frames) = mpsc::channel::<Frame>(4_096);
        let ingress = node.ingress.clone();
        node.tasks.spawn(async move {
            while let Some(frame) = frames.recv().await {
                match frame {
                    Frame::Up(peer) => ingress.up(peer).await,
                    Frame::Down(peer) => ingress.tell(ingress::Input::Down(peer)).await,
                    Frame::Bytes(from, bytes) => ingress.frame(from, &bytes, Room::default()).await,
                }
            }
        });
        let others = self.air.0.lock().unwrap().clone();
        self.air.0.lock().unwrap().push((me, sender.clone()));
        for (other, theirs) in others {
            sender.send(Frame::Up(other)).await.unwrap();
            theirs.send(Frame::Up(me)).await.unwrap();
        }
        self.nodes[usize::from(at)] = Some(node);
    }

    async fn stop(&mut self, at: u16) {
        let me = peer(&self.founding, at);
        let node = self.nodes[usize::from(at)].take().unwrap();
        // As on a network: a connection ends behind the last that was sent on it.
        let silence = async {
            self.air.0.lock().unwrap().retain(|(peer, _)| *peer != me);
        };
        node.stop(silence).await;
        let others = self.air.0.lock().unwrap().clone();
        for (_, theirs) in others {
            theirs.send(Frame::Down(me)).await.unwrap();
        }
    }

    /// Stops what runs: threads must not outlive their runtime.
    async fn end(mut self) {
        for at in 0..NODES {
            if self.nodes[usize::from(at)].is_some() {
                self.stop(at).await;
            }
        }
    }

    fn running(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter().flatten()
    }

    fn chain(&self, at: u16) -> &Chain {
        &self.nodes[usize::from(at)].as_ref().unwrap().chain
    }

    fn register(&self, authority: u16, numbers: (u32, u32)) -> Pending {
        let now = clock::wall();
        let window = (TimeMs(now.0 - 1_000), now.saturating_add(600_000));
        testkit::register_in(&self.founding, authority, numbers, window)
    }

    /// Hands it to one node and waits until it is final there.
    async fn submit(&self, at: u16, pending: Pending) -> ledger::state::Inclusion {
        let hash = pending.hash;
        let taken = self.chain(at).submit(vec![pending]).await;
        assert_eq!(taken, [Ok(())]);
        let outcome = patiently(self.chain(at).outcome(&hash)).await.unwrap();
        let Outcome::Final(inclusion) = outcome else {
            panic!("{outcome:?}");
        };
        inclusion
    }

    /// Waits until every running node is that far.
    async fn provable(&self, height: Height) {
        for node in self.running() {
            let mut progress = node.chain.progress();
            let reached = progress.wait_for(|progress| progress.provable_height >= height);
            patiently(reached).await.unwrap();
        }
    }
}

fn journal(at: u16) -> JournalId {
    JournalId([u8::try_from(at).unwrap(); 16])
}

async fn patiently<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future).await.unwrap()
}

/// What a node says about its newest provable checkpoint, and the trie that its index gives.
fn statement(chain: &Chain) -> (Height, ledger::hash::Hash, ledger::hash::Hash) {
    let found = chain.with_provable(|view, provable| {
        let mut entries = std::collections::BTreeMap::new();
        view.for_each_trie_entry(|key, value| {
            entries.insert(key, value);
        })
        .unwrap();
        let mut trie = ledger::trie::Trie::new();
        trie.extend(&entries);
        assert_eq!(trie.root(), provable.tip.trie.root());
        (provable.height, provable.root, trie.root())
    });
    found.unwrap().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_submission_becomes_final_and_provable_on_every_node() {
    let network = Network::start().await;
    let first = network.submit(0, network.register(0, (0, 3))).await;
    assert_eq!((first.height, first.count), (Height(1), 3));
    let second = network.submit(2, network.register(1, (0, 1))).await;
    network.provable(second.height).await;
    let expected = statement(network.chain(0));
    for at in 0..NODES {
        let chain = network.chain(at);
        assert_eq!(statement(chain), expected);
        let document = testkit::document(&network.founding, 0, 2);
        let known = chain.with_final(|state, _| state.registration(&document).unwrap());
        assert_eq!(known.unwrap().unwrap().height, Height(1));
        let signers = cosigner::Signers::new(network.founding.genesis(), network.founding.set());
        let provable = chain.provable().unwrap();
        let note = signers.read_note(&provable.note).expect("a quorum signed");
        assert_eq!(note.checkpoint.root, provable.root);
        assert!(chain.status().alarm.is_none());
    }
    // What is included already is refused by name.
    let again = network.register(0, (0, 3));
    let refused = network.chain(3).submit(vec![again]).await;
    assert!(matches!(
        refused[..],
        [Err(crate::chain::NotTaken::Refused(_))]
    ));
    network.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_index_makes_it_again_and_catches_up() {
    let mut network = Network::start().await;
    for number in 0..5 {
        network.submit(0, network.register(0, (number, 1))).await;
    }
    network.stop(3).await;
    let mut last = Height(0);
    for number in 5..10 {
        last = network
            .submit(1, network.register(0, (number, 1)))
            .await
            .height;
    }
    network.provable(last).await;
    // Without its marker an index is thrown away.
    let data = network.dirs[3].path().join("data");
    std::fs::remove_file(data.join("index/clean")).unwrap();
    std::fs::remove_dir_all(data.join("log")).unwrap();
    network.run(3).await;
    network.provable(last).await;
    assert_eq!(statement(network.chain(3)), statement(network.chain(0)));
    // It votes again: with another one gone, its vote is needed.
    network.stop(2).await;
    let more = network.submit(3, network.register(3, (0, 2))).await;
    network.provable(more.height).await;
    let archives = [0, 1, 3].map(|at| {
        let blocks = network.chain(at).archive().iter(Height(1));
        blocks
            .map(|block| block.unwrap().1.block)
            .collect::<Vec<_>>()
    });
    assert!(archives.windows(2).all(|pair| pair[0] == pair[1]));
    let genesis = network.founding.genesis().clone();
    let frames = network.chain(3).archive().iter(Height(1));
    let frames = frames.map(|frame| frame.unwrap().1);
    let replayed =
        ledger::replay::replay(genesis, frames, &mut crate::admission::system_rng()).unwrap();
    assert_eq!(replayed.fault, None);
    assert_eq!(replayed.status_root(), statement(network.chain(0)).2);
    network.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn all_stop_and_start_again_with_their_last_checkpoint() {
    let mut network = Network::start().await;
    let last = network.submit(0, network.register(0, (0, 10))).await.height;
    network.provable(last).await;
    let before = statement(network.chain(1));
    for at in 0..NODES {
        network.stop(at).await;
    }
    // Alone it still shows what it can prove.
    network.run(1).await;
    assert_eq!(statement(network.chain(1)), before);
    for at in [0, 2, 3] {
        network.run(at).await;
    }
    let next = network.submit(2, network.register(2, (0, 1))).await.height;
    network.provable(next).await;
    network.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_submissions_to_all_nodes_are_each_included_once() {
    let mut network = Network::start().await;
    let mut waiting = Vec::new();
    for number in 0..200_u32 {
        let at = u16::try_from(number % 4).unwrap();
        let pending = network.register(at, (number, 1));
        waiting.push((at, pending.hash));
        let taken = network.chain(at).submit(vec![pending]).await;
        assert_eq!(taken, [Ok(())]);
    }
    let mut last = Height(0);
    for (at, hash) in waiting {
        match patiently(network.chain(at).outcome(&hash)).await.unwrap() {
            Outcome::Final(inclusion) => last = last.max(inclusion.height),
            Outcome::Dropped(fate) => panic!("{fate}"),
        }
    }
    network.provable(last).await;
    for at in 0..NODES {
        let included = network.chain(at).counters().final_submissions.get();
        assert_eq!(included, 200);
    }
    // The journals were begun anew on the way; what is in them is enough to go on.
    for at in 0..NODES {
        network.stop(at).await;
        let journal = network.dirs[usize::from(at)].path().join("data/journal");
        let segments = crate::storage::files::list(&journal).unwrap();
        assert!(
            !segments.contains(&ledger::journal::segment_name(1)),
            "{segments:?}"
        );
    }
    for at in 0..NODES {
        network.run(at).await;
    }
    let next = network
        .submit(1, network.register(0, (1_000, 1)))
        .await
        .height;
    network.provable(next).await;
    network.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_without_its_journal_follows_and_votes_again_once_it_has_rejoined() {
    let mut network = Network::start().await;
    network.submit(0, network.register(0, (0, 1))).await;
    network.stop(3).await;
    let data = network.dirs[3].path().join("data");
    std::fs::remove_dir_all(data.join("journal")).unwrap();
    network.run(3).await;
    let last = network.submit(0, network.register(0, (1, 1))).await.height;
    network.provable(last).await;
    let alarm = network.chain(3).status().alarm.unwrap();
    assert!(alarm.contains("quarantine"), "{alarm}");
    for number in 2..500 {
        if network.chain(3).status().voting {
            break;
        }
        network.submit(0, network.register(0, (number, 1))).await;
    }
    assert!(network.chain(3).status().voting);
    network.end().await;
}
