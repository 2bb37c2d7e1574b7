//! Observers and joining with real processes: who may follow, that it follows, and that it never votes.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use consensus::{Message, Peer};
use genesis::container::Founding;
use genesis::keyfile::KeyFile;
use genesis::observer;
use ledger::genesis::Purpose;
use ledger::hash::{BlockHash, Hash};
use ledger::header::BlockRef;
use ledger::id::{AuthorityId, AuthorityIndex, Epoch, Height, TimeMs, ValidatorIndex, View};
use ledger::key::{RawSignature, SigningKey};
use ledger::observer::{Certificate, Permission};
use ledger::vote::{Vote, VoteKind};
use node::gossip;
use node::network::Lane;
use node::network::raw::{RawError, RawPeer};
use node::range::RangeReq;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tests::binaries::command;
use tests::http;
use tests::load::{self, Maker};
use tests::observer::Observer;
use tests::recorder::Recorder;
use tests::running::{Running, wait_for};
use tests::synthetic;
use tokio::time::timeout;

/// So long may anything take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.unwrap().as_millis()).unwrap()
}

/// Senders of registrations to a node, until it is stopped.
struct Load {
    stop: Arc<AtomicBool>,
    sender: std::thread::JoinHandle<u64>,
}

impl Load {
    fn start(running: &Running, to: std::net::SocketAddr, each: u64) -> Self {
        let maker = Maker::new(&running.network, 0).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let sender = std::thread::spawn(move || {
            let mut sent = 0;
            while !stopped.load(Ordering::Relaxed) {
                let submission = maker.registrations(each).unwrap();
                let path = "/v1/submissions?wait=final&timeout_ms=30000";
                let body = load::body([&submission]);
                let answer = http::post(to, path, "application/octet-stream", &body);
                sent += u64::from(answer.is_ok_and(|it| it.text().contains("\"final\"")));
            }
            sent
        });
        Self { stop, sender }
    }

    /// Submissions that the node reported as final.
    fn stop(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        self.sender.join().unwrap()
    }
}

fn height(running: &Running, at: usize) -> u64 {
    running.status(at)["height"].as_u64().unwrap()
}

/// Waits until the observer is as far as a node, and proves it.
fn catches_up(running: &Running, observer: &Observer, at: usize) {
    wait_for("the observer is as far as the validators", || {
        let own = observer.number("log_size")?;
        let provable = observer.number("provable_size")?;
        let theirs = running.status(at)["log_size"].as_u64()?;
        (own == theirs && provable == own).then_some(())
    });
}

/// Lets the chain grow by so many blocks, each of one submission.
fn grow(running: &Running, at: usize, blocks: u64) {
    let from = height(running, at);
    let load = Load::start(running, running.api(at), 1);
    wait_for("the chain grows", || {
        (height(running, at) >= from + blocks).then_some(())
    });
    load.stop();
}

fn code(command: &mut Command) -> (Option<i32>, String) {
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// What an observer may send: names of submissions, submissions, questions for restart files and blocks.
const OF_OBSERVERS: [u8; 4] = [14, 16, 18, 24];
/// Documents of a folder that is registered while others send load.
const DOCUMENTS: usize = 5;
/// In whose place is listened; the other three are a quorum.
const SEAT: usize = 3;

/// A desk that registers at the observer, which pushes to all validators and gives the receipts.
struct Desk {
    config: PathBuf,
    folders: PathBuf,
    receipts: usize,
}

impl Desk {
    fn new(running: &Running, observer: &Observer) -> Self {
        let state = running.folder().join("state");
        let config = observer.client(&running.network, 0, &state).unwrap();
        let folders = running.folder().join("documents");
        Self {
            config,
            folders,
            receipts: 0,
        }
    }

    fn nachweis(&self, arguments: &[&str], of: &Path) -> String {
        let mut nachweis = command("nachweis").unwrap();
        nachweis.arg("--config").arg(&self.config).args(arguments);
        let (ended, said) = code(nachweis.arg(of));
        assert_eq!(ended, Some(0), "{said}");
        said
    }

    /// Registers a new folder; its receipts verify without any node.
    fn register(&mut self) {
        let folder = self.folders.join(format!("{}", self.receipts));
        fs::create_dir_all(&folder).unwrap();
        for document in 0..DOCUMENTS {
            let number = self.receipts + document;
            let path = folder.join(format!("notice-{number}.txt"));
            fs::write(path, format!("notice {number}\n")).unwrap();
        }
        self.nachweis(&["register"], &folder);
        let said = self.nachweis(&["verify", "--offline"], &folder);
        assert_eq!(said.matches("CURRENT").count(), DOCUMENTS, "{said}");
        self.receipts += DOCUMENTS;
    }
}

/// Load for some time, of validators and of the observer itself; a listener in the fourth validator's place hears all
/// that the observer sends. Returns how many receipts of the observer were verified offline, and what was heard.
fn follows(lasts: Duration) -> (usize, String) {
    let mut running = Running::founded();
    let recorder = Recorder::sit(&running.network, SEAT).unwrap();
    running.start(&[0, 1, 2]);
    grow(&running, 0, 20);
    let mut observer = Observer::make(&running.network, 0, "observer").unwrap();
    let key = observer.dir.join("keys/network.key");
    let own = Peer(KeyFile::load(&key, Purpose::Network).unwrap().key());
    observer.start().unwrap();
    catches_up(&running, &observer, 0);
    wait_for("the observer is connected to the listener", || {
        recorder
            .with(|heard| heard.observers().contains(&own))
            .then_some(())
    });
    let loads = [
        Load::start(&running, running.api(1), 5),
        Load::start(&running, observer.api, 3),
    ];
    let mut desk = Desk::new(&running, &observer);
    let begun = Instant::now();
    while begun.elapsed() < lasts {
        desk.register();
    }
    let sent = loads.map(Load::stop);
    assert!(sent.iter().all(|sent| *sent > 0), "{sent:?}");
    catches_up(&running, &observer, 2);
    for at in 0..SEAT {
        // A vote from an observer is an offence, and so is anything else that it may not send.
        assert_eq!(running.metric(at, "nachweis_offences_total"), 0);
        let log = running.log(at);
        assert!(!log.contains("misbehaved"), "{log}");
    }
    let heard = recorder.with(|heard| {
        assert_eq!(heard.twice(), []);
        assert!(heard.votes() > 0, "the listener heard no vote at all");
        let messages = heard.messages(own);
        // It pushed what it accepted: it was heard, and said nothing else.
        assert!(messages.contains_key(&18), "{messages:?}");
        let stray = messages.keys().find(|kind| !OF_OBSERVERS.contains(kind));
        assert_eq!(stray, None, "{messages:?}");
        let all: u64 = messages.values().sum();
        let votes = heard.votes();
        format!("{all} messages and 0 votes of the observer, {votes} votes of validators")
    });
    // It has nothing to vote with.
    for name in ["journal", "guard"] {
        assert!(!observer.dir.join("data").join(name).exists());
    }
    let keys: Vec<_> = fs::read_dir(observer.dir.join("keys")).unwrap().collect();
    assert_eq!(keys.len(), 2, "{keys:?}");
    running.network.stop_all().unwrap();
    observer.kill();
    let said = desk.nachweis(&["verify", "--offline"], &desk.folders);
    assert_eq!(said.matches("CURRENT").count(), desk.receipts);
    // Its archive is a validator's.
    let own = tests::replay::archive(&observer.dir).unwrap();
    let theirs = tests::replay::archive(running.dir(0)).unwrap();
    assert_eq!(
        (own.log_size, own.log_root),
        (theirs.log_size, theirs.log_root)
    );
    let blocks = own.height;
    (
        desk.receipts,
        format!("{heard}; {blocks} blocks, {sent:?} submissions of load"),
    )
}

#[test]
fn an_observer_follows_load_serves_receipts_that_verify_offline_and_never_votes() {
    let (receipts, heard) = follows(Duration::from_secs(10));
    println!("{receipts} receipts verified; {heard}");
}

#[test]
fn an_observer_follows_ten_minutes_of_load_and_is_heard_to_vote_never_slow() {
    let (receipts, heard) = follows(Duration::from_secs(600));
    println!("{receipts} receipts verified; {heard}");
}

/// All that a raw observer needs.
struct Raw {
    founding: Founding,
    address: String,
    key: KeyFile,
}

impl Raw {
    fn new(running: &Running) -> Self {
        let genesis = running.network.dir().join("genesis.nachweis");
        let id = AuthorityId::new("bamf").unwrap();
        Self {
            founding: Founding::load(&genesis).unwrap(),
            address: running.network.manifest().nodes[0].peer.clone(),
            key: KeyFile::generate(Purpose::Network, id).unwrap(),
        }
    }

    fn permission(&self) -> Permission {
        Permission {
            chain: self.founding.chain(),
            authority: AuthorityIndex(0),
            network: self.key.key(),
            not_after_ms: TimeMs(now() + 3_600_000),
        }
    }

    fn admin(running: &Running, id: &str) -> SigningKey {
        let path = running.network.dir().join("keys").join(id);
        let key = KeyFile::load(&path.join("admin.key"), Purpose::Admin);
        key.unwrap().signing_key()
    }

    async fn connect(&self, certificate: Vec<u8>) -> Result<RawPeer, RawError> {
        let member = self.founding.validators().get(ValidatorIndex(0)).unwrap();
        let to = Peer(member.network);
        RawPeer::connect_observer(&self.key, certificate, &to, &self.address).await
    }

    async fn refusal(&self, certificate: Vec<u8>) -> String {
        match self.connect(certificate).await {
            Err(RawError::Refused(why)) => why,
            other => panic!("not refused: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_that_votes_is_disconnected_and_one_without_a_good_certificate_never_heard() {
    let running = Running::with_nodes(&[0, 1, 2]);
    running.becomes_provable(0);
    let raw = Raw::new(&running);
    let own = Raw::admin(&running, "bamf");
    let good = raw.permission();
    let expired = Permission {
        not_after_ms: TimeMs(now() - 1_000),
        ..good
    };
    let foreign = Raw::admin(&running, "lds-sachsen");
    let why = raw.refusal(expired.sign(&own).encode()).await;
    assert_eq!(why, "observer certificate expired");
    let why = raw.refusal(good.sign(&foreign).encode()).await;
    assert!(
        why.contains("not signed by the authority's admin key"),
        "{why}"
    );
    wait_for("the refusal is logged by name", || {
        let log = running.log(0);
        log.contains("refusal=observer certificate expired")
            .then_some(())
    });
    // One that is none, and none at all.
    let why = raw.refusal(vec![0; Certificate::LEN]).await;
    assert_eq!(why, "observer certificate malformed");
    let member = raw.founding.validators().get(ValidatorIndex(0)).unwrap();
    let stranger = RawPeer::connect(&raw.key, &Peer(member.network), &raw.address).await;
    assert!(
        matches!(stranger, Err(RawError::Refused(_))),
        "{stranger:?}"
    );
    // It asks for blocks and gets them.
    let certificate = good.sign(&own).encode();
    let mut peer = raw.connect(certificate.clone()).await.unwrap();
    let request = gossip::Message::RangeReq(RangeReq {
        from: Height(1),
        count: 1,
    });
    peer.send(Lane::Consensus, &request.encode()).await.unwrap();
    let answered = async {
        loop {
            let frame = peer.recv(Lane::Bulk).await.unwrap();
            if let Ok(gossip::Message::Range(range)) = gossip::Message::decode(&frame) {
                return range.blocks.len();
            }
        }
    };
    assert_eq!(timeout(PATIENCE, answered).await.unwrap(), 1);
    let vote = Vote {
        epoch: Epoch(0),
        view: View(1_000),
        kind: VoteKind::Notarize,
        block: BlockRef {
            height: Height(1_000),
            hash: BlockHash(Hash([7; 32])),
        },
        signer: ValidatorIndex(0),
        signature: RawSignature([7; 64]),
    };
    let vote = Message::Vote(vote).encode();
    peer.send(Lane::Consensus, &vote).await.unwrap();
    timeout(PATIENCE, peer.closed()).await.unwrap();
    wait_for("the node says why", || {
        let log = running.log(0);
        log.contains("an observer takes part in consensus")
            .then_some(())
    });
    let again = raw.connect(certificate).await;
    assert!(matches!(again, Err(RawError::Refused(_))), "{again:?}");
    running.becomes_provable(1);
}

/// Runs the observer until it ends by itself: its code and what it said.
fn refused(observer: &Observer) -> (Option<i32>, String) {
    let mut run = command("nachweis-node").unwrap();
    run.args(["run", "--observer", "--dir"]).arg(&observer.dir);
    code(run.stdin(Stdio::null()))
}

#[test]
fn an_observer_does_not_start_without_a_good_certificate() {
    let running = Running::founded();
    let made = Observer::make(&running.network, 0, "observer").unwrap();
    let path = made.dir.join("keys").join(observer::FILE);
    let whole = observer::load(&path).unwrap();
    let admin = Raw::admin(&running, "bamf");
    let replace = |permission: Permission, admin: &SigningKey| {
        fs::remove_file(&path).ok();
        observer::create(&permission.sign(admin), &path).unwrap();
    };
    fs::remove_file(&path).unwrap();
    let (code, said) = refused(&made);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("observer.cert"), "{said}");
    let expired = Permission {
        not_after_ms: TimeMs(now() - 1_000),
        ..whole.permission
    };
    replace(expired, &admin);
    let (code, said) = refused(&made);
    assert_eq!(code, Some(4), "{said}");
    assert!(
        said.contains("expired") && said.contains("nachweis-genesis observer"),
        "{said}"
    );
    replace(whole.permission, &Raw::admin(&running, "stadt-leipzig"));
    let (code, said) = refused(&made);
    assert_eq!(code, Some(4), "{said}");
    assert!(said.contains("not signed by the admin key"), "{said}");
    // A validator's directory is no observer's, and the reverse.
    let mut run = command("nachweis-node").unwrap();
    run.args(["run", "--dir"]).arg(&made.dir);
    let (code, said) = self::code(run.stdin(Stdio::null()));
    assert_eq!(code, Some(4), "{said}");
}

#[test]
fn an_empty_directory_becomes_a_whole_node_from_peers_alone_also_after_a_kill() {
    let mut running = Running::with_nodes(&[0, 1, 2, 3]);
    grow(&running, 0, 300);
    let mut observer = Observer::make(&running.network, 1, "joiner").unwrap();
    // Small ranges, so that the kill comes in between.
    let config = observer.dir.join("node.toml");
    let text = fs::read_to_string(&config).unwrap();
    let text = text.replace("range_blocks = 512", "range_blocks = 4");
    fs::write(&config, text.replace("ranges = 12", "ranges = 2")).unwrap();
    observer.start().unwrap();
    wait_for("some blocks are there", || {
        (observer.number("height")? >= 40).then_some(())
    });
    observer.kill();
    let before = observer.log().len();
    observer.start().unwrap();
    catches_up(&running, &observer, 0);
    let height = recovered(&observer.log()[before..]);
    assert!(height >= 40, "what was archived stays: {height}");
    running.network.stop_all().unwrap();
    observer.kill();
    let own = tests::replay::archive(&observer.dir).unwrap();
    let theirs = tests::replay::archive(running.dir(3)).unwrap();
    assert_eq!(
        (own.log_size, own.log_root),
        (theirs.log_size, theirs.log_root)
    );
}

#[test]
fn a_follower_killed_under_load_joins_although_its_checkpoint_is_old() {
    // Written a second after the last one of a load, so that one killed before has many blocks above it.
    const OLD: u64 = 100;
    let running = Running::with_nodes(&[0, 1, 2, 3]);
    running.becomes_provable(0);
    let mut observer = Observer::make(&running.network, 0, "observer").unwrap();
    observer.start().unwrap();
    catches_up(&running, &observer, 0);
    let checkpoint = observer.dir.join("data/checkpoint");
    let old = wait_for("its checkpoint is kept", || fs::read(&checkpoint).ok());
    grow(&running, 0, OLD);
    catches_up(&running, &observer, 0);
    observer.kill();
    fs::write(&checkpoint, old).unwrap();
    // More than it would follow block by block.
    grow(&running, 0, OLD);
    let before = observer.log().len();
    observer.start().unwrap();
    catches_up(&running, &observer, 0);
    let log = observer.log();
    let begins = recovered(&log[before..]);
    assert!(begins + 64 < height(&running, 0), "{begins} is not behind");
}

/// The height that a node says it recovered to.
fn recovered(log: &str) -> u64 {
    let mut lines = log.lines();
    let line = lines.find(|line| line.contains("recovered height="));
    let height = line.and_then(|line| line.split_once("height=")?.1.split(' ').next());
    height.unwrap().parse().unwrap()
}

/// Gives all nodes, which never ran, one archive of so many blocks, each of one record.
fn has_blocks(running: &Running, blocks: u64) {
    let archive = |at| running.dir(at).join("data/archive");
    synthetic::fill_in_blocks_of(&running.network, 0, (blocks, 1), |_| ()).unwrap();
    for at in 1..4 {
        fs::create_dir_all(archive(at)).unwrap();
        for entry in fs::read_dir(archive(0)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), archive(at).join(entry.file_name())).unwrap();
        }
    }
}

#[test]
fn a_validator_far_behind_joins_and_votes_again() {
    // An answer to the engine has 1,024 blocks at most, and each is executed before more are asked for: long before it
    // would be there by itself, two others have said how far they are.
    const BLOCKS: u64 = 4_000;
    let mut running = Running::founded();
    has_blocks(&running, BLOCKS);
    running.start(&[0, 1, 2, 3]);
    running.becomes_provable(3);
    running.network.kill(3).unwrap();
    // Its blocks are gone; journal and guard are not.
    for name in ["archive", "index", "log"] {
        fs::remove_dir_all(running.dir(3).join("data").join(name)).unwrap();
    }
    let before = running.log(3).len();
    running.network.start(3).unwrap();
    let says = |words: &str| running.log(3)[before..].contains(words).then_some(());
    wait_for("it takes part", || says("running"));
    wait_for("it joins", || says("the others are far ahead"));
    wait_for("it follows", || says("following"));
    running.network.wait_ready(3).unwrap();
    // With one of the others away its vote is needed.
    running.network.kill(2).unwrap();
    running.becomes_provable(0);
    running.becomes_provable(3);
    assert!(height(&running, 3) > BLOCKS);
    same_archive(&mut running, 3);
}

fn same_archive(running: &mut Running, at: usize) {
    running.network.stop_all().unwrap();
    let summary = |dir: &Path| tests::replay::archive(dir).unwrap();
    let (own, theirs) = (summary(running.dir(at)), summary(running.dir(0)));
    assert_eq!(
        (own.log_size, own.log_root),
        (theirs.log_size, theirs.log_root)
    );
}
