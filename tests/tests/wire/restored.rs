//! A validator is destroyed under load and restored from its backup: what its key signed before and after, heard on the
//! wire and read from both journals.

use consensus::Record;
use genesis::keyfile::KeyFile;
use ledger::genesis::{Params, Purpose};
use ledger::id::ValidatorIndex;
use ledger::vote::{Vote, VoteKind};
use node::storage::journal::Journal;
use rustix::process::Signal;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use tests::binaries::{command, run};
use tests::http;
use tests::load::{self, Maker};
use tests::recorder::Recorder;
use tests::running::{Running, wait_for};

/// Seven, so that a quorum of five is left without the one that is lost and the one whose place is the listener's: load
/// goes on, and five others answer who rejoins.
const VALIDATORS: usize = 7;
/// Who is lost.
const LOST: usize = 3;
/// Who is asleep until the lost one was heard to ask: without its answer there is no quorum, and whoever has answered is not
/// asked again.
const ASLEEP: usize = 1;
/// In whose place is listened.
const SEAT: usize = 6;
/// Votes that are heard before something happens.
const SOME: usize = 20;
/// First byte of the question of who rejoins.
const REJOIN: u8 = 19;

/// Every vote in a stopped node's journal: each is durable there before it is sent.
fn votes(dir: &Path, key: &KeyFile) -> Vec<Vote> {
    let opened = Journal::open(&dir.join("data").join("journal"), key.journal().unwrap());
    let records = opened.unwrap().records;
    let records = records.iter().map(|bytes| Record::decode(bytes).unwrap());
    let votes = records.filter_map(|record| match record {
        Record::OwnVote { vote, .. } => Some(vote),
        _ => None,
    });
    votes.collect()
}

/// Registers at a node until it is stopped; ends by itself after some minutes.
fn keep_registering(running: &Running, at: usize) -> impl FnOnce() + use<> {
    let maker = Maker::new(&running.network, at).unwrap();
    let (api, (stop, stopped)) = (running.api(at), std::sync::mpsc::sync_channel::<()>(1));
    let sender = std::thread::spawn(move || {
        let path = "/v1/submissions?wait=final&timeout_ms=5000";
        for _ in 0..20_000 {
            let submission = maker.registrations(2).unwrap();
            let body = load::body([&submission]);
            http::post(api, path, "application/octet-stream", &body).ok();
            if stopped.try_recv() != Err(std::sync::mpsc::TryRecvError::Empty) {
                return;
            }
        }
    });
    move || {
        stop.send(()).ok();
        sender.join().unwrap();
    }
}

/// A backup has no key's secret in it, as bytes or as hex.
fn holds_no_key(backup: &Path, dir: &Path) {
    let keys = node::identity::Keys::load(&dir.join("keys")).unwrap();
    let secrets = keys.all().map(|key| {
        let seed = key.seed();
        [seed.to_vec(), hex::encode(seed).into_bytes()]
    });
    let bytes = fs::read(backup).unwrap();
    for secret in secrets.iter().flatten() {
        let found = bytes.windows(secret.len()).any(|part| part == secret);
        assert!(!found, "{} holds a secret", backup.display());
    }
}

/// The restored one and its listener.
struct Case {
    running: Running,
    recorder: Recorder,
    lost: ValidatorIndex,
}

impl Case {
    fn begin() -> Self {
        let mut running = Running::founded_by(VALIDATORS, &Params::default());
        let recorder = Recorder::sit(&running.network, SEAT).unwrap();
        let others: Vec<usize> = (0..VALIDATORS).filter(|at| *at != SEAT).collect();
        running.start(&others);
        wait_for("all are connected to the listener", || {
            (recorder.connected() == VALIDATORS - 1).then_some(())
        });
        let id = &running.network.manifest().nodes[LOST].authority;
        let lost = recorder.validator(id).unwrap();
        Self {
            running,
            recorder,
            lost,
        }
    }

    /// Votes that the lost one's process has sent.
    fn said(&self) -> usize {
        self.recorder.with(|heard| heard.said_by(self.lost).count())
    }

    fn hears_more(&self, than: usize) {
        wait_for("more of its votes", || {
            (self.said() >= than + SOME).then_some(())
        });
    }

    fn asked_to_rejoin(&self) -> bool {
        let peer = self.recorder.peer(self.lost).unwrap();
        self.recorder
            .with(|heard| heard.messages(peer).contains_key(&REJOIN))
    }

    /// The site is lost, but for the keys and for what is compared with later; what was backed up comes back.
    fn lose_and_restore(&mut self, backup: &Path) -> PathBuf {
        let dir = self.running.dir(LOST).to_owned();
        let former = self.running.folder().join("former");
        let restore = || {
            let mut restore = command("nachweis-node").unwrap();
            restore.args(["restore", "--from"]).arg(backup);
            restore.arg("--dir").arg(&dir);
            restore
        };
        let output = restore().output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success(), "restored over what is there");
        assert!(said.contains(&dir.display().to_string()), "{said}");
        self.running.network.kill(LOST).unwrap();
        fs::rename(&dir, &former).unwrap();
        run(&mut restore()).unwrap();
        for name in ["vote", "cosigner", "log", "network"] {
            let name = format!("{name}.key");
            let (from, to) = (former.join("keys"), dir.join("keys"));
            fs::copy(from.join(&name), to.join(&name)).unwrap();
        }
        former
    }
}

/// No view has two votes that exclude each other in one life or in both.
fn excludes_nothing(before: &[Vote], after: &[Vote]) {
    let mut signed: BTreeMap<_, Vec<Vote>> = BTreeMap::new();
    for vote in before.iter().chain(after) {
        let of = signed.entry((vote.epoch, vote.view)).or_default();
        of.push(*vote);
    }
    for ((epoch, view), votes) in signed {
        let of = |kind| votes.iter().filter(move |vote| vote.kind == kind);
        for kind in [VoteKind::Notarize, VoteKind::Finalize] {
            let first = of(kind).next().map(|vote| vote.block);
            let same = of(kind).all(|vote| Some(vote.block) == first);
            assert!(same, "two votes in view {view} of {epoch}");
        }
        let nullified = of(VoteKind::Nullify).count() > 0;
        let finalized = of(VoteKind::Finalize).count() > 0;
        assert!(!(nullified && finalized), "both in view {view} of {epoch}");
    }
}

#[test]
fn a_validator_restored_under_load_votes_again_and_never_twice_in_a_view() {
    let mut case = Case::begin();
    let stop = keep_registering(&case.running, 0);
    case.hears_more(0);
    let backup = case.running.folder().join("backup");
    let mut make = command("nachweis-node").unwrap();
    make.args(["backup", "--dir"]).arg(case.running.dir(LOST));
    run(make.arg(&backup)).unwrap();
    holds_no_key(&backup, case.running.dir(LOST));
    // It votes on: what its backup does not know of.
    case.hears_more(case.said());
    let former = case.lose_and_restore(&backup);
    assert!(!case.asked_to_rejoin());
    let said = case.said();
    case.running.network.signal(ASLEEP, Signal::STOP);
    case.running.network.start(LOST).unwrap();
    let log = |case: &Case| case.running.log(LOST);
    wait_for("it says that its journal is lost", || {
        log(&case).contains("does not vote").then_some(())
    });
    wait_for("it asks the others on the wire", || {
        case.asked_to_rejoin().then_some(())
    });
    case.running.network.signal(ASLEEP, Signal::CONT);
    case.running.network.wait_ready(LOST).unwrap();
    wait_for("it has rejoined", || {
        let log = log(&case);
        let mut lines = log.lines();
        lines
            .any(|line| line.contains("standing=votes"))
            .then_some(())
    });
    case.hears_more(said);
    stop();
    case.recorder.with(|heard| {
        assert_eq!(heard.twice(), []);
        assert_eq!((heard.forged(), heard.foreign()), (0, 0));
    });
    case.running.network.stop_all().unwrap();
    let dir = case.running.dir(LOST);
    let key = KeyFile::load(&former.join("keys").join("vote.key"), Purpose::Vote).unwrap();
    let (before, after) = (votes(&former, &key), votes(dir, &key));
    assert!(!before.is_empty() && !after.is_empty());
    excludes_nothing(&before, &after);
    let last = before.iter().map(|vote| (vote.epoch, vote.view)).max();
    let first = after.iter().map(|vote| (vote.epoch, vote.view)).min();
    assert!(last < first, "{last:?} {first:?}");
    // What was heard is what was durable: nothing was sent that no journal holds. Which life a vote is of, the journals tell:
    // what the first life sent may be heard when it is over.
    let durable = |vote: &Vote| before.contains(vote) || after.contains(vote);
    case.recorder.with(|heard| {
        let stray: Vec<_> = heard.said_by(case.lost).filter(|it| !durable(it)).collect();
        assert!(stray.is_empty(), "{stray:?}");
        let mut again = heard.said_by(case.lost).filter(|it| after.contains(it));
        assert!(again.nth(SOME / 2).is_some(), "its second life was heard");
    });
}
