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
use ledger::observer::Permission;
use ledger::vote::{Vote, VoteKind};
use node::gossip;
use node::network::Lane;
use node::network::raw::{RawError, RawPeer};
use node::range::RangeReq;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tests::binaries::command;
use tests::http;
use tests::load::{self, Maker};
use tests::observer::Observer;
use tests::running::{Running, wait_for};
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

#[test]
fn an_observer_follows_load_serves_receipts_that_verify_offline_and_never_votes() {
    let mut running = Running::with_nodes(&[0, 1, 2, 3]);
    grow(&running, 0, 20);
    let mut observer = Observer::make(&running.network, 0, "observer").unwrap();
    observer.start().unwrap();
    catches_up(&running, &observer, 0);
    // Under load, of validators and of the observer itself.
    let loads = [
        Load::start(&running, running.api(1), 5),
        Load::start(&running, observer.api, 3),
    ];
    std::thread::sleep(Duration::from_secs(10));
    for load in loads {
        assert!(load.stop() > 0);
    }
    catches_up(&running, &observer, 2);
    // A document is registered at the observer, which pushes it to all validators and gives the receipt.
    let folder = running.folder().join("documents");
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("notice.txt"), "a notice\n").unwrap();
    let state = running.folder().join("state");
    let config = observer.client(&running.network, 0, &state).unwrap();
    let nachweis = || {
        let mut nachweis = command("nachweis").unwrap();
        nachweis.arg("--config").arg(&config);
        nachweis
    };
    let (registered, said) = code(nachweis().arg("register").arg(&folder));
    assert_eq!(registered, Some(0), "{said}");
    for at in 0..4 {
        // A vote from an observer is an offence, and so is anything else that it may not send.
        assert_eq!(running.metric(at, "nachweis_offences_total"), 0);
        assert!(
            !running.log(at).contains("misbehaved"),
            "{}",
            running.log(at)
        );
    }
    // It has nothing to vote with.
    for name in ["journal", "guard"] {
        assert!(!observer.dir.join("data").join(name).exists());
    }
    let keys: Vec<_> = fs::read_dir(observer.dir.join("keys")).unwrap().collect();
    assert_eq!(keys.len(), 2, "{keys:?}");
    running.network.stop_all().unwrap();
    observer.kill();
    let (verified, said) = code(nachweis().args(["verify", "--offline"]).arg(&folder));
    assert_eq!(verified, Some(0), "{said}");
    assert!(said.contains("CURRENT"), "{said}");
    // Its archive is a validator's.
    let own = tests::replay::archive(&observer.dir).unwrap();
    let theirs = tests::replay::archive(running.dir(0)).unwrap();
    assert_eq!(
        (own.log_size, own.log_root),
        (theirs.log_size, theirs.log_root)
    );
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
    let log = observer.log();
    let recovered = log[before..]
        .lines()
        .find(|line| line.contains("recovered"));
    let height = recovered.and_then(|line| line.split_once("height=")?.1.split(' ').next());
    let height: u64 = height.unwrap().parse().unwrap();
    assert!(height >= 40, "what was archived stays: {recovered:?}");
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
fn a_validator_far_behind_joins_and_votes_again() {
    let mut running = Running::with_nodes(&[0, 1, 2, 3]);
    running.becomes_provable(0);
    running.network.kill(3).unwrap();
    grow(&running, 0, 200);
    // Its blocks are gone too; journal and guard are not.
    for name in ["archive", "index", "log"] {
        fs::remove_dir_all(running.dir(3).join("data").join(name)).unwrap();
    }
    running.start(&[3]);
    // Said soon after the start, unless the others' blocks came quicker than their heights.
    let joined = || running.log(3).contains("the others are far ahead");
    for _ in 0..50 {
        if joined() {
            break;
        }
        std::thread::sleep(Duration::from_millis(100));
    }
    // With one of the others away its vote is needed.
    wait_for("it votes", || {
        running.log(3).contains("running").then_some(())
    });
    running.network.kill(2).unwrap();
    running.becomes_provable(0);
    running.becomes_provable(3);
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
