//! A follower on a real disk meets a restart that it does not know; the peers are played.

use super::quest::{Claim, Front, Quest, Step, Unfit};
use super::*;
use crate::config::Config;
use crate::network;
use crate::node::{Follow, Following};
use crate::recovery::{self, Meanwhile};
use crate::storage::restarts;
use crate::testkit::blocks::{self, Blocks};
use ledger::genesis::Purpose;
use ledger::header::{BlockRef, Flags};
use ledger::id::View;
use ledger::restart::{Base, Top};
use ledger::tip::Tip;
use ledger::vote::{Statement, VoteKind};
use std::sync::Mutex;

const PATIENCE: Duration = Duration::from_secs(60);
/// Blocks that are certified, then up to the anchor, then behind it.
const CERTIFIED: usize = 3;
const ANCHOR: usize = 5;
const ALL: usize = 8;

/// Peers that hold all blocks, and a restart file.
#[derive(Debug)]
struct Peers {
    frames: Vec<(consensus::Block, Option<ledger::certificate::Certificate>)>,
    file: RestartFile,
    to: Mutex<Option<mpsc::Sender<Input>>>,
    /// What was asked for.
    ranges: Mutex<Vec<Height>>,
    files: Mutex<Vec<Epoch>>,
    offences: Mutex<Vec<&'static str>>,
}

impl Mesh for Peers {
    fn send(&self, to: &Peer, bytes: Arc<[u8]>) {
        let answer = match Message::decode(&bytes).unwrap() {
            Message::RangeReq(request) => {
                self.ranges.lock().unwrap().push(request.from);
                let before = usize::try_from(request.from.0 - 1).unwrap();
                let frames = self.frames.iter().skip(before).cloned();
                let range = Range::collect(request.count, frames);
                range.map(|range| Input::Range(*to, Box::new(range), 1_000, Room::default()))
            }
            Message::EpochReq(from) => {
                self.files.lock().unwrap().push(from);
                Some(Input::Restart(
                    *to,
                    Box::new(self.file.clone()),
                    Room::default(),
                ))
            }
            _ => None,
        };
        if let (Some(answer), Some(inputs)) = (answer, &*self.to.lock().unwrap()) {
            inputs.try_send(answer).unwrap();
        }
    }

    fn broadcast(&self, _bytes: Arc<[u8]>) {}

    fn inform(&self, _bytes: Arc<[u8]>) {}

    fn disconnect(&self, _peer: &Peer, why: &'static str) {
        self.offences.lock().unwrap().push(why);
    }
}

/// Blocks, some above the last certified one, and more behind a restart by the reports of 0, 1 and 2; peers that answer
/// with this file.
fn played(file: impl FnOnce(&Blocks) -> RestartFile) -> (Blocks, Arc<Peers>) {
    let mut chain = Blocks::new();
    chain.grow_final(CERTIFIED);
    (CERTIFIED..ANCHOR).for_each(|_| chain.grow());
    let (installed, file) = (chain.restart_by(&[0, 1, 2]), file(&chain));
    chain.go_on_by(&installed);
    chain.grow_final(ALL - ANCHOR);
    let peers = Arc::new(Peers {
        frames: chain.frames.clone(),
        file,
        to: Mutex::default(),
        ranges: Mutex::default(),
        files: Mutex::default(),
        offences: Mutex::default(),
    });
    (chain, peers)
}

/// A directory, and who follows there.
struct Bench {
    dir: tempfile::TempDir,
    config: Config,
    chain: Blocks,
    peers: Arc<Peers>,
}

impl Bench {
    fn new((chain, peers): (Blocks, Arc<Peers>)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("data")).unwrap();
        let text = config::template("/ip4/127.0.0.1/tcp/1", "127.0.0.1:1".parse().unwrap());
        std::fs::write(dir.path().join(config::FILE), text).unwrap();
        Self {
            config: Config::load(dir.path()).unwrap(),
            dir,
            chain,
            peers,
        }
    }

    async fn start(&self, files: Files) -> Following {
        let founding = &self.chain.founding;
        let serve = &mut |_, _| ();
        let stop = CancellationToken::new();
        let meanwhile = &mut Meanwhile {
            stop,
            elsewhere: None,
            serve,
        };
        let recovered = recovery::recover_chain(&self.config, founding, meanwhile).unwrap();
        let mesh = Arc::clone(&self.peers);
        let how = (Until::CaughtUp, files);
        let node = Follow::new(recovered)
            .start(&self.config, mesh, how)
            .unwrap();
        let inputs = node.ports.inputs.clone();
        *self.peers.to.lock().unwrap() = Some(inputs.clone());
        for member in founding.set().members().iter().skip(1) {
            let peer = Peer(member.network);
            let (height, epoch) = (Height(ALL as u64), Epoch(1));
            inputs.send(Input::Up(peer)).await.unwrap();
            inputs
                .send(Input::Height(peer, height, epoch))
                .await
                .unwrap();
        }
        node
    }

    async fn ends(&self) -> (End, Height) {
        let mut node = self.start(Files::FromPeers).await;
        let end = tokio::time::timeout(PATIENCE, &mut node.follower).await;
        let end = end.unwrap().unwrap();
        let chain = node.chain.clone();
        node.stop(async {}).await;
        (end, chain.head().tip.height)
    }

    fn kept(&self) -> Option<Vec<u8>> {
        let folder = self.dir.path().join("data/archive");
        std::fs::read(folder.join(restarts::file_name(Epoch(1)))).ok()
    }

    /// It stays below the anchor.
    async fn gets_no_further(&self, files: Files, until: impl Fn(&Peers) -> bool) {
        let node = self.start(files).await;
        let (chain, inputs) = (node.chain.clone(), node.ports.inputs.clone());
        let certified = Height(CERTIFIED as u64);
        let reached = async {
            while !until(&self.peers) || chain.head().tip.height < certified {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            // One input is taken in when all that follows from the one before is done.
            for _ in 0..3 {
                let member = self.chain.founding.set().members().last().unwrap();
                inputs.send(Input::Up(Peer(member.network))).await.unwrap();
                while inputs.capacity() < INPUTS {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        };
        tokio::time::timeout(PATIENCE, reached).await.unwrap();
        node.stop(async {}).await;
        assert_eq!(chain.head().tip.height, certified);
        assert_eq!(self.kept(), None);
    }
}

#[tokio::test]
async fn restart_files_and_ranges_keep_their_room_until_the_follower_takes_them() {
    let (inputs, mut waiting) = mpsc::channel(8);
    let (gossip, _gossip) = mpsc::channel(1);
    let (notes, _notes) = mpsc::channel(1);
    let ports = Ports {
        inputs,
        gossip,
        notes,
        repairs: repair::Desk::default(),
    };
    let (inbox, receivers) = network::channels();
    let mut tasks = JoinSet::new();
    read(&ports, receivers, &mut tasks);
    let budget = network::budgets(3).next().unwrap();
    let (chain, peers) = played(|chain| chain.restart_by(&[0, 1, 2]));
    let from = Peer(chain.founding.set().members()[1].network);
    let file = Message::EpochResp(peers.file.clone()).encode();
    let frames = peers.frames.iter().cloned();
    let range = Message::Range(Range::collect(2, frames).unwrap()).encode();
    let put = async |bytes: &[u8], patience| {
        let lane = network::Lane::Bulk;
        // As much as the largest frame: a third of 32 MiB holds one.
        let reserved = tokio::time::timeout(patience, budget.reserve(lane, 8 << 20)).await;
        let Ok(reserved) = reserved else {
            return false;
        };
        let bytes = bytes.to_vec();
        let inbound = Inbound::Frame { from, lane, bytes };
        inbox.frame(lane, inbound, reserved.unwrap()).await.unwrap();
        true
    };
    for bytes in [&file, &range] {
        assert!(put(bytes, PATIENCE).await);
        let taken = tokio::time::timeout(PATIENCE, waiting.recv()).await;
        let taken = taken.unwrap().unwrap();
        assert!(matches!(taken, Input::Restart(..) | Input::Range(..)));
        assert!(!put(bytes, Duration::from_millis(200)).await);
        drop(taken);
    }
    assert!(put(&file, PATIENCE).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_that_is_not_known_comes_from_peers_and_the_next_start_goes_on_behind_it() {
    let bench = Bench::new(played(|chain| chain.restart_by(&[0, 1, 2])));
    let anchor = Height(ANCHOR as u64);
    assert_eq!(bench.ends().await, (End::Restarted, anchor));
    assert_eq!(bench.kept(), Some(bench.peers.file.encode()));
    assert_eq!(*bench.peers.files.lock().unwrap(), [Epoch(1)]);
    assert_eq!(bench.ends().await, (End::CaughtUp, Height(ALL as u64)));
    assert_eq!(*bench.peers.files.lock().unwrap(), [Epoch(1)], "asked once");
    assert!(bench.peers.offences.lock().unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_file_that_the_validators_did_not_install_is_refused() {
    let bench = Bench::new(played(|chain| chain.restart_by(&[1, 2, 3])));
    let why = "sent blocks that no quorum finalized";
    let found = |peers: &Peers| peers.offences.lock().unwrap().contains(&why);
    bench.gets_no_further(Files::FromPeers, found).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_file_that_no_admin_keys_signed_is_refused() {
    let bench = Bench::new(played(|chain| {
        let mut bytes = chain.restart_by(&[0, 1, 2]).encode();
        *bytes.last_mut().unwrap() ^= 1;
        RestartFile::decode(&bytes).unwrap()
    }));
    let why = "sent a restart file that does not count";
    let found = |peers: &Peers| peers.offences.lock().unwrap().contains(&why);
    bench.gets_no_further(Files::FromPeers, found).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_validator_asks_no_peer_for_the_file() {
    let bench = Bench::new(played(|chain| chain.restart_by(&[0, 1, 2])));
    let behind = Height(ANCHOR as u64 + 1);
    let came = |peers: &Peers| peers.ranges.lock().unwrap().contains(&behind);
    bench.gets_no_further(Files::FromOperator, came).await;
    assert!(bench.peers.files.lock().unwrap().is_empty());
}

fn front(anchor: BlockRef, epoch: u64) -> Front {
    Front {
        from: anchor.height.saturating_add(1),
        peer: Peer(crate::testkit::key(1, Purpose::Network).key()),
        epoch: Epoch(epoch),
        anchor,
    }
}

fn take(chain: &Blocks, file: RestartFile, front: Front, tip: &Tip) -> Result<(), Unfit> {
    let claim = Claim::check(file, &chain.founding).unwrap();
    Quest::new(front).take(claim, tip)
}

#[test]
fn a_file_must_lead_from_the_last_block_to_the_range_behind_it_and_keep_the_set() {
    let mut chain = Blocks::new();
    chain.grow_final(2);
    let (genesis, before, anchor) = (chain.founding.tip(), chain.tip.clone(), chain.anchor());
    let file = chain.restart_by(&[0, 1, 2]);
    let try_on = |front, tip| take(&chain, file.clone(), front, tip);
    assert_eq!(try_on(front(anchor, 1), &before), Ok(()));
    // The blocks up to the anchor wait for the file.
    assert_eq!(try_on(front(anchor, 1), &genesis), Ok(()));
    let elsewhere = BlockRef {
        height: anchor.height,
        ..BlockRef::default()
    };
    let unfit = Unfit::Anchor(anchor.height);
    assert_eq!(try_on(front(elsewhere, 1), &before), Err(unfit));
    let beyond = Unfit::Beyond {
        found: Epoch(1),
        wanted: Epoch(0),
    };
    assert_eq!(try_on(front(anchor, 0), &before), Err(beyond));
    // Whoever has gone on by another file is of another history.
    let mut gone = Blocks::new();
    gone.grow_final(2);
    let other = gone.restart_by(&[1, 2, 3]);
    gone.go_on_by(&other);
    let unfit = Unfit::History(Epoch(0));
    assert_eq!(try_on(front(anchor, 1), &gone.tip), Err(unfit));
}

#[test]
fn a_second_restart_on_the_same_block_goes_on_from_the_first() {
    let mut chain = Blocks::new();
    chain.grow_final(2);
    let (tip, anchor) = (chain.tip.clone(), chain.anchor());
    let first = chain.restart_by(&[0, 1, 2]);
    chain.go_on_by(&first);
    let opened = &chain.tip.epoch;
    let reports = (0..3).map(|at| blocks::report(&chain.founding, opened, at, None));
    let second = RestartFile::new(Base::of(opened), None, reports.collect()).unwrap();
    let mut quest = Quest::new(front(anchor, 2));
    let check = |file| Claim::check(file, &chain.founding).unwrap();
    let alone = take(&chain, second.clone(), front(anchor, 2), &tip);
    assert_eq!(alone, Err(Unfit::History(Epoch(1))));
    quest.take(check(first), &tip).unwrap();
    assert_eq!(quest.step(Epoch(0), Instant::now()), Step::Ask(Epoch(2)));
    quest.take(check(second), &tip).unwrap();
    assert_eq!(quest.step(Epoch(0), Instant::now()), Step::Prove);
    assert_eq!(quest.claims().len(), 2);
}

#[test]
fn a_file_that_changes_the_set_is_left_to_the_operator() {
    let chain = Blocks::new();
    let (tip, five) = (chain.founding.tip(), crate::testkit::founding(5));
    let mut made = Blocks::new();
    made.grow();
    let mut header = made.header();
    header.flags = Flags::SEAL;
    header.next_set = five.epoch().set_hash;
    let statement = Statement {
        kind: VoteKind::Notarize,
        view: View(1),
        block: header.block_ref(),
    };
    let certificate = blocks::certificate(&tip.epoch, statement);
    let top = Top::new(header.clone(), certificate).unwrap();
    let reports = (0..4).map(|at| blocks::report(&chain.founding, &tip.epoch, at, Some(&top)));
    let set = five.set().clone();
    let file = RestartFile::new(Base::of(&tip.epoch), Some(set), reports.collect()).unwrap();
    let taken = take(&chain, file, front(header.block_ref(), 2), &tip);
    assert_eq!(taken, Err(Unfit::OtherSet));
}

#[test]
fn a_peer_is_asked_once_and_given_up_when_it_does_not_answer() {
    let mut chain = Blocks::new();
    chain.grow_final(1);
    let front = front(chain.anchor(), 1);
    let mut quest = Quest::new(front);
    let now = Instant::now();
    assert!(!quest.answered(&front.peer), "nothing was asked");
    assert_eq!(quest.step(Epoch(0), now), Step::Ask(Epoch(1)));
    assert_eq!(quest.step(Epoch(0), now), Step::Wait);
    assert_eq!(quest.step(Epoch(0), now + PATIENCE), Step::GiveUp);
    let other = Peer(crate::testkit::key(2, Purpose::Network).key());
    assert!(!quest.answered(&other));
    assert!(quest.answered(&front.peer));
    assert!(!quest.answered(&front.peer), "one answer");
    let claim = Claim::check(chain.restart_by(&[0, 1, 2]), &chain.founding);
    quest.take(claim.unwrap(), &chain.tip).unwrap();
    assert_eq!(quest.step(Epoch(0), now), Step::Prove);
    assert!(quest.is_busy());
}
