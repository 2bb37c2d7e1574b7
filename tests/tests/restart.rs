//! Several journals and guards lost at once, and the procedure with which operators go on: real processes, real files.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use consensus::Record;
use genesis::keyfile::KeyFile;
use ledger::frame::Payload;
use ledger::genesis::Purpose;
use ledger::hash::SubmissionHash;
use ledger::header::Header;
use ledger::id::Epoch;
use node::storage::journal::Journal;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};
use tests::binaries::command;
use tests::load::{self, Maker};
use tests::observer::Observer;
use tests::running::{Running, wait_for};
use tests::spoil::spoil;
use tests::{http, liar, replay};

/// Documents of one submission.
const DOCUMENTS: u64 = 5;

/// Hands submissions in at a node until told to stop; gives those that were acknowledged as final.
fn register_until(running: &Running, at: usize, stop: &AtomicBool) -> BTreeSet<SubmissionHash> {
    let maker = Maker::new(&running.network, at).unwrap();
    let mut acknowledged = BTreeSet::new();
    while !stop.load(Ordering::Relaxed) {
        acknowledged.extend(register(running, &maker, at, 2_000));
    }
    acknowledged
}

fn register(running: &Running, maker: &Maker, at: usize, wait_ms: u32) -> Option<SubmissionHash> {
    let submission = maker.registrations(DOCUMENTS).unwrap();
    let route = format!("/v1/submissions?wait=final&timeout_ms={wait_ms}");
    let kind = "application/octet-stream";
    let answer = http::post(running.api(at), &route, kind, &load::body([&submission])).ok()?;
    let is_final = answer.status == 200 && !answer.text().contains("refused");
    is_final.then(|| submission.hash())
}

fn run(program: &str, arguments: &[&str]) -> Output {
    let mut run = command(program).unwrap();
    run.args(arguments).stdin(Stdio::null()).output().unwrap()
}

#[track_caller]
fn done(program: &str, arguments: &[&str]) -> String {
    let output = run(program, arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{arguments:?}: {said}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
fn fails(program: &str, arguments: &[&str], code: i32) -> String {
    let output = run(program, arguments);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

/// The files and folders of the network under test.
struct Desk {
    folder: PathBuf,
    authorities: Vec<String>,
}

impl Desk {
    fn of(running: &Running) -> Self {
        let nodes = &running.network.manifest().nodes;
        Self {
            folder: running.network.dir().to_owned(),
            authorities: nodes.iter().map(|node| node.authority.clone()).collect(),
        }
    }

    fn path(&self, name: &str) -> String {
        text(&self.folder.join(name)).to_owned()
    }

    fn stop_for_restart(&self, at: usize, admin: usize, report: &str) -> Output {
        let dir = self.path(&format!("node/{}", self.authorities[at]));
        let key = self.path(&format!("keys/{}/admin.key", self.authorities[admin]));
        let arguments = ["stop-for-restart", "--dir", &dir, "--admin-key", &key];
        run(
            "nachweis-node",
            &[&arguments[..], &[&self.path(report)]].concat(),
        )
    }

    /// With the admin key of its own authority.
    fn stop_with(&self, options: &[&str], at: usize, report: &str) -> Output {
        let dir = self.path(&format!("node/{}", self.authorities[at]));
        let key = self.path(&format!("keys/{}/admin.key", self.authorities[at]));
        let report = self.path(report);
        let arguments = ["stop-for-restart", "--dir", &dir, "--admin-key", &key];
        let arguments = [&arguments[..], options, &[&report]].concat();
        run("nachweis-node", &arguments)
    }

    fn assemble(&self, reports: &[&str], out: &str, yes: &[&str]) -> Output {
        let genesis = self.path("genesis.nachweis");
        let reports: Vec<_> = reports.iter().map(|name| self.path(name)).collect();
        let mut arguments = vec!["restart"];
        arguments.extend(reports.iter().map(String::as_str));
        let out = self.path(out);
        arguments.extend(["--genesis", &genesis, "--out", &out]);
        run("nachweis-genesis", &[&arguments[..], yes].concat())
    }
}

/// Validators 2 and 3 lose their journals and guards under load, as with their disks: too few are left that may ever vote.
fn two_journals_lost(running: &mut Running) -> BTreeSet<SubmissionHash> {
    let stop = AtomicBool::new(false);
    let acknowledged = std::thread::scope(|scope| {
        let one = scope.spawn(|| register_until(running, 0, &stop));
        let other = scope.spawn(|| register_until(running, 1, &stop));
        wait_for("the chain grows", || {
            (running.status(0)["height"].as_u64()? >= 10).then_some(())
        });
        for at in [2, 3] {
            running.network.signal(at, rustix::process::Signal::KILL);
        }
        std::thread::sleep(Duration::from_millis(500));
        stop.store(true, Ordering::Relaxed);
        let (mut one, other) = (one.join().unwrap(), other.join().unwrap());
        one.extend(other);
        one
    });
    for at in [2, 3] {
        running.network.kill(at).unwrap();
        fs::remove_dir_all(running.dir(at).join("data/journal")).unwrap();
        fs::remove_file(running.dir(at).join("data/guard")).unwrap();
    }
    acknowledged
}

#[test]
fn after_two_lost_journals_operators_restart_the_chain_with_all_that_was_acknowledged() {
    let mut running = Running::with_nodes(&[0, 1, 2, 3]);
    let mut acknowledged = two_journals_lost(&mut running);
    assert!(acknowledged.len() >= 5, "{acknowledged:?}");
    // All four run again, and two of them may not vote: the chain stands.
    running.start(&[2, 3]);
    let maker = Maker::new(&running.network, 2).unwrap();
    assert_eq!(register(&running, &maker, 0, 4_000), None);

    let desk = Desk::of(&running);
    stop_and_report(&mut running, &desk);
    make_the_file(&desk);
    // A stopped node that is run all the same signs nothing.
    running.start(&[0, 1, 2]);
    assert_eq!(register(&running, &maker, 1, 2_000), None);
    running.network.stop_all().unwrap();
    for at in [0, 1, 2] {
        install(&running, &desk, at);
    }

    running.start(&[0, 1, 2]);
    running.network.start(3).unwrap();
    for at in [0, 1, 2] {
        wait_for("the chain goes on", || {
            let done = register(&running, &maker, at, 5_000);
            acknowledged.extend(done);
            done
        });
    }
    assert_eq!(running.status(1)["epoch"], 1);
    // Two of these three have lost nothing; the third lost its guard, and asks nobody.
    for at in [0, 1, 2] {
        running.becomes_provable(at);
    }
    acknowledged.extend(waits_for_its_operator(&running, &maker, 3));
    running.network.stop(3).unwrap();
    install(&running, &desk, 3);
    running.start(&[3]);
    wait_for("the one whose report is not in the file rejoins", || {
        acknowledged.extend(register(&running, &maker, 0, 5_000));
        votes_in_epoch(1, &running.log(3)).then_some(())
    });
    running.becomes_provable(0);
    running.becomes_provable(3);
    agree(&running);
    the_anchor_is_repaired(&mut running);
    running.network.stop_all().unwrap();
    // Above the anchor as well a start goes on with the index that a clean stop left behind.
    running.start(&[0, 1, 2, 3]);
    running.becomes_provable(1);
    agree(&running);
    no_false_file_is_believed(&running);
    running.network.stop_all().unwrap();
    for at in [0, 1, 2] {
        let log = running.log(at);
        let (_, newest) = log.rsplit_once(" starting ").unwrap();
        assert!(!newest.contains("made again"), "{newest}");
    }
    audit(&running, &acknowledged);
    backup_and_restore(&running);
    a_lost_or_damaged_file_is_put_back(&mut running, &desk);
}

#[test]
fn a_validator_that_rejoined_and_caught_up_no_longer_counts_as_one_that_forgot() {
    let mut running = Running::with_nodes(&[0, 1, 2, 3]);
    running.becomes_provable(0);
    running.network.kill(3).unwrap();
    fs::remove_dir_all(running.dir(3).join("data/journal")).unwrap();
    running.start(&[3]);
    wait_for("the one without its journal votes again", || {
        running.becomes_provable(0);
        votes_in_epoch(0, &running.log(3)).then_some(())
    });
    // Its floor is two views above what the others proved: these blocks are above it.
    for _ in 0..4 {
        running.becomes_provable(3);
    }
    tests::campaign::agree(&running.network).unwrap();
    running.network.stop_all().unwrap();
    let desk = Desk::of(&running);
    for at in 1..4 {
        let told = desk.stop_for_restart(at, at, &format!("{at}.report"));
        assert_code(&told, 0);
        let told = String::from_utf8(told.stdout).unwrap();
        assert!(!told.contains("its journal was lost"), "{at}: {told}");
    }
    let told = desk.assemble(
        &["1.report", "2.report", "3.report"],
        "chain.restart",
        &["--yes"],
    );
    assert_code(&told, 0);
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("Reports say of 0"), "{told}");
}

/// The archive is gone, and the journal holds no block any more, as after it was pruned.
fn lose_blocks(dir: &Path) {
    let key = KeyFile::load(&dir.join("keys/vote.key"), Purpose::Vote).unwrap();
    let opened = Journal::open(&dir.join("data/journal"), key.journal().unwrap()).unwrap();
    let (mut journal, mut records) = (opened.journal, opened.records);
    records.retain(|bytes| !matches!(Record::decode(bytes).unwrap(), Record::Block(_)));
    journal.prune(records).unwrap();
    fs::remove_dir_all(dir.join("data/archive")).unwrap();
}

#[test]
fn a_report_hides_nothing_that_its_journal_knows_and_one_file_alone_is_installed() {
    let mut running = Running::with_nodes(&[0, 1, 2, 3]);
    for _ in 0..3 {
        running.becomes_provable(0);
    }
    running.network.stop_all().unwrap();
    let desk = Desk::of(&running);
    // The journal knows all that matters: a report of the blocks that are left would say that it forgot nothing.
    lose_blocks(running.dir(0));
    let refused = desk.stop_for_restart(0, 0, "0.report");
    assert_code(&refused, 4);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(
        told.contains("the block is not here") && told.contains("let it run until"),
        "{told}"
    );
    // It was not stopped, and its peers have the blocks.
    running.start(&[0, 1, 2, 3]);
    running.becomes_provable(0);
    running.network.stop_all().unwrap();
    lose_blocks(running.dir(3));
    for at in 0..3 {
        let told = desk.stop_for_restart(at, at, &format!("{at}.report"));
        assert_code(&told, 0);
        let told = String::from_utf8(told.stdout).unwrap();
        assert!(!told.contains("lost"), "{told}");
    }
    let told = desk.stop_with(&["--archive-lost"], 3, "3.report");
    assert_code(&told, 0);
    assert!(
        String::from_utf8(told.stdout)
            .unwrap()
            .contains("it knew to be final, were lost")
    );

    let files = [("first", "2.report"), ("second", "3.report")];
    for (file, third) in files {
        let told = desk.assemble(&["0.report", "1.report", third], file, &["--yes"]);
        assert_code(&told, 0);
    }
    let install = |at: usize, file: &str| {
        run(
            "nachweis-node",
            &[
                "install-restart",
                "--dir",
                text(running.dir(at)),
                &desk.path(file),
            ],
        )
    };
    assert_code(&install(0, "first"), 0);
    let before = fs::read(kept(running.dir(0))).unwrap();
    let refused = install(0, "second");
    assert_code(&refused, 4);
    let told = String::from_utf8(refused.stderr).unwrap();
    assert!(
        told.contains("another restart file that opens epoch 1"),
        "{told}"
    );
    assert_eq!(fs::read(kept(running.dir(0))).unwrap(), before);
    // Once more is no second one.
    assert_code(&install(0, "first"), 0);

    // Its key has entered the new epoch: without its blocks it stops there, not where what is left of them ends.
    lose_blocks(running.dir(0));
    assert_code(&desk.stop_with(&["--archive-lost"], 0, "again.report"), 0);
    assert_eq!(stopped_in(running.dir(0)), Some(Epoch(1)));
}

/// The last epoch in which a validator's journal says that it signs nothing more.
fn stopped_in(dir: &Path) -> Option<Epoch> {
    let key = KeyFile::load(&dir.join("keys/vote.key"), Purpose::Vote).unwrap();
    let opened = Journal::open(&dir.join("data/journal"), key.journal().unwrap()).unwrap();
    let records = opened.records.iter();
    let stopped = records.filter_map(|bytes| match Record::decode(bytes).unwrap() {
        Record::Stopped { epoch } => Some(epoch),
        _ => None,
    });
    stopped.max()
}

/// More blocks than a stopped node waits with, and fewer than any other would.
const MISSED: u64 = 30;

#[test]
fn a_stopped_validator_catches_up_beside_others_that_are_stopped() {
    let mut running = Running::with_nodes(&[0, 1, 2, 3]);
    running.becomes_provable(0);
    running.network.kill(3).unwrap();
    for _ in 0..MISSED {
        running.becomes_provable(0);
    }
    let height = |running: &Running, at: usize| running.status(at)["height"].as_u64().unwrap();
    let head = height(&running, 0);
    running.network.stop_all().unwrap();
    let desk = Desk::of(&running);
    for at in [0, 1, 3] {
        let told = desk.stop_for_restart(at, at, &format!("{at}.report"));
        assert_code(&told, 0);
    }
    running.start(&[0, 1, 3]);
    wait_for("the one that was behind has the blocks", || {
        (height(&running, 3) + 8 >= head).then_some(())
    });
    wait_for("it follows no more", || {
        let standing = running.status(3)["standing"].to_string();
        standing.contains("stopped for a restart").then_some(())
    });
    // None of them has signed anything for it.
    let maker = Maker::new(&running.network, 0).unwrap();
    assert_eq!(register(&running, &maker, 0, 2_000), None);
}

#[track_caller]
fn assert_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{output:?}");
}

fn stop_and_report(running: &mut Running, desk: &Desk) {
    assert_code(&desk.stop_for_restart(0, 0, "0.report"), 4);
    running.network.stop_all().unwrap();
    // Not with another authority's key.
    assert_code(&desk.stop_for_restart(0, 1, "0.report"), 4);
    for at in 0..4 {
        let told = desk.stop_for_restart(at, at, &format!("{at}.report"));
        assert_code(&told, 0);
        let told = String::from_utf8(told.stdout).unwrap();
        assert_eq!(told.contains("its journal was lost"), at >= 2, "{told}");
    }
}

/// Not of too few reports, nor of more that have forgotten than are tolerated, nor without a yes.
fn make_the_file(desk: &Desk) {
    let two = desk.assemble(&["0.report", "1.report"], "x", &["--yes"]);
    assert_code(&two, 1);
    let all = ["3.report", "0.report", "2.report", "1.report"];
    let all = desk.assemble(&all, "x", &["--yes"]);
    assert_code(&all, 1);
    assert!(String::from_utf8_lossy(&all.stderr).contains("lost their journals"));
    let three = ["2.report", "0.report", "1.report"];
    assert_code(&desk.assemble(&three, "chain.restart", &[]), 4);
    let told = desk.assemble(&three, "chain.restart", &["--yes"]);
    assert_code(&told, 0);
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.contains("open epoch 1"), "{told}");
    assert!(told.contains("must be at most 1"), "{told}");
}

fn install(running: &Running, desk: &Desk, at: usize) {
    let file = desk.path("chain.restart");
    let install = ["install-restart", "--dir", text(running.dir(at)), &file];
    let told = done("nachweis-node", &install);
    assert!(told.contains("goes on in epoch 1"), "{told}");
    assert_eq!(told.contains("once it has rejoined"), at == 3, "{told}");
    // What operators compare is shown by whoever has the file, not only by who made it.
    let shown = done("nachweis-genesis", &["show", &file]);
    let (_, fingerprint) = shown.split_once("fingerprint:\n").unwrap();
    assert!(
        fingerprint.lines().count() == 2 && told.contains(fingerprint),
        "{told}{shown}"
    );
    // Once more changes nothing.
    done("nachweis-node", &install);
    let report = desk.path("2.report");
    let wrong = ["install-restart", "--dir", text(running.dir(at)), &report];
    assert!(fails("nachweis-node", &wrong, 4).contains("no file of this kind"));
}

/// Where a node keeps the file that opened epoch 1.
fn kept(dir: &Path) -> PathBuf {
    dir.join("data/archive/restart-00000000000000000001")
}

/// A validator that was stopped takes no file from its peers, however far they are: longer than others wait.
fn waits_for_its_operator(running: &Running, maker: &Maker, at: usize) -> BTreeSet<SubmissionHash> {
    let begun = Instant::now();
    let mut acknowledged = BTreeSet::new();
    while begun.elapsed() < Duration::from_secs(15) {
        acknowledged.extend(register(running, maker, 0, 5_000));
    }
    assert_eq!(running.status(at)["epoch"], 0);
    assert!(!kept(running.dir(at)).exists());
    acknowledged
}

#[test]
fn who_missed_a_restart_gets_its_file_from_peers() {
    let mut running = Running::with_nodes(&[0, 1, 2, 3]);
    running.becomes_provable(0);
    running.network.kill(3).unwrap();
    running.becomes_provable(0);
    running.network.stop_all().unwrap();
    let desk = Desk::of(&running);
    let reports = ["0.report", "1.report", "2.report"];
    for (at, report) in reports.into_iter().enumerate() {
        assert_code(&desk.stop_for_restart(at, at, report), 0);
    }
    assert_code(&desk.assemble(&reports, "chain.restart", &["--yes"]), 0);
    let other = other_file(&running, &desk);
    for at in [0, 1, 2] {
        install(&running, &desk, at);
    }
    running.start(&[0, 1, 2]);
    running.becomes_provable(0);

    // A validator that was never stopped: it has its journal, and its vote is needed.
    running.network.start(3).unwrap();
    wait_for("the validator is in the new epoch", || {
        votes_in_epoch(1, &running.log(3)).then_some(())
    });
    running.network.kill(0).unwrap();
    running.becomes_provable(3);
    let file = fs::read(kept(running.dir(1))).unwrap();
    assert_eq!(fs::read(kept(running.dir(3))).unwrap(), file);

    // An empty directory.
    let mut observer = Observer::make(&running.network, 0, "observer").unwrap();
    observer.start().unwrap();
    wait_for("the observer is as far as the validators", || {
        let there = running.status(1)["log_size"].as_u64()?;
        (observer.number("provable_size") == Some(there)).then_some(())
    });
    assert_eq!(observer.number("epoch"), Some(1));
    // An audit over the API follows the chain through the restart as well, of whoever serves it.
    let trust = text(&running.network.manifest().trust).to_owned();
    for api in [running.api(3), observer.api] {
        let url = format!("http://{api}");
        let told = done("nachweis", &["audit", "--trust", &trust, "--node", &url]);
        assert!(told.contains("SOUND"), "{told}");
    }
    observer.kill();
    running.network.stop_all().unwrap();
    assert_eq!(fs::read(kept(&observer.dir)).unwrap(), file);
    for dir in [&observer.dir, running.dir(3)] {
        replay::archive(dir).unwrap();
    }
    an_observer_needs_the_right_file(&mut running, &mut observer, &other);
}

/// Without its restart file an observer would take every block behind it for a lie: it does not start, and says why.
fn an_observer_needs_the_right_file(running: &mut Running, observer: &mut Observer, other: &[u8]) {
    let place = kept(&observer.dir);
    let file = fs::read(&place).unwrap();
    let run = ["run", "--observer", "--dir", text(&observer.dir)];
    fs::remove_file(&place).unwrap();
    let told = fails("nachweis-node", &run, 4);
    assert!(
        told.contains("the file of the restart that opened it is missing")
            && told.contains("epoch 1")
            && told.contains("copy it from there"),
        "{told}"
    );
    fs::write(&place, other).unwrap();
    let told = fails("nachweis-node", &run, 4);
    assert!(
        told.contains("is not one of epoch 1 as this directory knows it"),
        "{told}"
    );
    fs::write(&place, file).unwrap();
    running.start(&[0, 1, 2, 3]);
    observer.start().unwrap();
    running.becomes_provable(0);
    wait_for("the observer follows again", || {
        let there = running.status(1)["log_size"].as_u64()?;
        (observer.number("provable_size") == Some(there)).then_some(())
    });
}

/// Another file that opens epoch 1 on the same block, as a node keeps it: put together from other reports.
fn other_file(running: &Running, desk: &Desk) -> Vec<u8> {
    let copy = desk.path("copy");
    let copied = std::process::Command::new("cp")
        .args(["-r", text(running.dir(3)), &copy])
        .status();
    assert!(copied.unwrap().success());
    let key = desk.path(&format!("keys/{}/admin.key", desk.authorities[3]));
    let report = desk.path("3.report");
    let stop = ["stop-for-restart", "--dir", &copy, "--admin-key", &key];
    done("nachweis-node", &[&stop[..], &[&report]].concat());
    let reports = ["0.report", "1.report", "3.report"];
    assert_code(&desk.assemble(&reports, "other.restart", &["--yes"]), 0);
    let file = desk.path("other.restart");
    done("nachweis-node", &["install-restart", "--dir", &copy, &file]);
    fs::read(kept(Path::new(&copy))).unwrap()
}

/// As a node serves a block; `None` while it is damaged.
fn raw(running: &Running, at: usize, height: u64) -> Option<Payload> {
    let route = format!("/v1/blocks/{height}?raw");
    let answer = http::get(running.api(at), &route).ok()?;
    (answer.status == 200).then(|| Payload::decode(&answer.body).unwrap())
}

/// Damage of the block that the chain was restarted on: as a rule no certificate covers it.
fn the_anchor_is_repaired(running: &mut Running) {
    let height = running.status(0)["height"].as_u64().unwrap();
    let header = |payload: &Payload| -> Header {
        ledger::codec::decode(&payload.block[..Header::LEN], Header::LEN).unwrap()
    };
    let blocks = (1..=height).rev().map(|at| raw(running, 1, at).unwrap());
    let mut old = blocks.filter(|block| header(block).epoch == Epoch(0));
    let anchor = old.next().unwrap();
    let at = header(&anchor).height.0;
    let archive = running.dir(0).join("data/archive");
    let repaired = |running: &Running| {
        wait_for("the anchor is repaired", || {
            let block = raw(running, 0, at)?;
            assert_eq!(block.block, anchor.block);
            (running.metric(0, "nachweis_archive_damaged_blocks") == 0).then_some(())
        });
        assert!(running.metric(0, "nachweis_repaired_blocks_total") >= 1);
    };
    spoil(&archive, &[at, 2]);
    assert!(raw(running, 0, at).is_none() && raw(running, 0, 2).is_none());
    repaired(running);
    // A start needs it, and the other one not.
    running.network.stop(0).unwrap();
    spoil(&archive, &[at, 2]);
    running.start(&[0]);
    repaired(running);
}

/// Waits until all nodes stand on the same height.
fn agree(running: &Running) {
    wait_for("all nodes agree", || {
        let height = running.status(0)["height"].clone();
        let same = |at| running.status(at)["height"] == height;
        (1..4).all(same).then_some(())
    });
}

/// Whether the newest word of a log on its validator is that it votes in this epoch.
fn votes_in_epoch(epoch: u64, log: &str) -> bool {
    let epoch = format!("epoch={epoch}");
    let newest = log
        .lines()
        .rev()
        .find(|line| line.contains("this validator"));
    newest.is_some_and(|line| line.contains(&epoch) && line.contains("standing=votes"))
}

/// Every archive is one and the same chain, right from genesis on, with all that was acknowledged.
fn audit(running: &Running, acknowledged: &BTreeSet<SubmissionHash>) {
    let trust = text(&running.network.manifest().trust).to_owned();
    let mut roots = BTreeSet::new();
    for at in 0..4 {
        let report = done(
            "nachweis",
            &["audit", "--json", "--trust", &trust, text(running.dir(at))],
        );
        let report: serde_json::Value = serde_json::from_str(&report).unwrap();
        roots.insert(report["log_root"].to_string());
        let summary = replay::archive(running.dir(at)).unwrap();
        assert!(acknowledged.is_subset(&summary.submissions));
    }
    assert_eq!(roots.len(), 1, "{roots:?}");
    // Without the restart file the chain ends at its anchor.
    fs::remove_file(kept(running.dir(3))).unwrap();
    fails(
        "nachweis",
        &["audit", "--trust", &trust, text(running.dir(3))],
        1,
    );
}

/// What a node serves as the restart file decides nothing by itself: an audit that is given another one never says SOUND.
fn no_false_file_is_believed(running: &Running) {
    let trust = text(&running.network.manifest().trust).to_owned();
    let right = http::get(running.api(1), "/v1/restarts/1").unwrap().body;
    let audit = |served: &dyn Fn(u64) -> Option<Vec<u8>>| {
        let answers: Vec<_> = (0..4).map(served).collect();
        let lie = move |path: &str, answer: &mut http::Answer| {
            if let Some(epoch) = path.strip_prefix("/v1/restarts/") {
                // Beyond the fourth as the fourth.
                let epoch: usize = epoch.parse().unwrap();
                let served = answers[epoch.min(3)].clone();
                answer.status = if served.is_some() { 200 } else { 404 };
                answer.body = served.unwrap_or_default();
            }
        };
        let url = liar::serve(running.api(1), lie).unwrap();
        let out = run("nachweis", &["audit", "--trust", &trust, "--node", &url]);
        let said = [&out.stdout[..], &out.stderr[..]].concat();
        (out.status.code().unwrap(), String::from_utf8(said).unwrap())
    };
    let (code, said) = audit(&|epoch| (epoch < 2).then(|| right.clone()));
    assert!(code == 0 && said.contains("SOUND"), "{said}");
    // That there was no restart; and the same one for ever.
    let (code, said) = audit(&|_| None);
    assert!(code == 1 && !said.contains("SOUND"), "{said}");
    let (code, said) = audit(&|_| Some(right.clone()));
    let expected = "asked for the restart that opened epoch 3 or a later one, the node gives one about epoch 0";
    assert!(code != 0 && said.contains(expected), "{code}: {said}");
    // One bit of it, from its version to its last signature.
    for part in 0..=8 {
        let mut flipped = right.clone();
        let at = (flipped.len() - 1) * part / 8;
        flipped[at] ^= 1;
        let (code, said) = audit(&|epoch| (epoch < 2).then(|| flipped.clone()));
        assert!(code != 0 && !said.contains("SOUND"), "{at}: {said}");
    }
}

/// The node says which file it needs and how it gets it, and goes on with it.
fn a_lost_or_damaged_file_is_put_back(running: &mut Running, desk: &Desk) {
    let dir = running.dir(3).to_owned();
    let (place, file) = (kept(&dir), desk.path("chain.restart"));
    let good = fs::read(kept(running.dir(0))).unwrap();
    let mut flipped = good.clone();
    flipped[good.len() / 2] ^= 1;
    for damaged in [Some(flipped), None] {
        match &damaged {
            Some(bytes) => fs::write(&place, bytes).unwrap(),
            None => fs::remove_file(&place).unwrap(),
        }
        let said = fails("nachweis-node", &["run", "--dir", text(&dir)], 4);
        assert!(said.contains("install-restart"), "{said}");
        done(
            "nachweis-node",
            &["install-restart", "--dir", text(&dir), &file],
        );
        assert_eq!(fs::read(&place).unwrap(), good);
    }
    running.start(&[0, 1, 2, 3]);
    running.becomes_provable(3);
    agree(running);
    running.network.stop_all().unwrap();
}

/// The restart file goes where the blocks go.
fn backup_and_restore(running: &Running) {
    let (backup, restored) = (
        running.folder().join("b"),
        running.folder().join("restored"),
    );
    let dir = text(running.dir(0));
    done("nachweis-node", &["backup", "--dir", dir, text(&backup)]);
    let from = ["restore", "--from", text(&backup), "--dir", text(&restored)];
    let told = done("nachweis-node", &from);
    assert!(told.contains("restored and verified"), "{told}");
    assert!(kept(&restored).exists());
}
