//! Damaged, missing and full disks under real processes: what is named, what is repaired unasked, what goes on.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use ledger::block::Block;
use ledger::body::Item;
use ledger::document::DocumentId;
use ledger::frame::{HEADER_LEN, Payload, SegmentHeader, segment_name};
use ledger::genesis::Params;

use ledger::record::Record;
use ledger::submission::Submission;
use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tests::binaries::command;
use tests::campaign;
use tests::failing_disk::{self, Breadth, Fault};
use tests::http;
use tests::load::{self, Maker};
use tests::low_disk::LowDisk;
use tests::observer::Observer;
use tests::replay;
use tests::running::{Running, wait_for};
use tests::spoil::{flip, spoil};

const ALL: [usize; 4] = [0, 1, 2, 3];

/// Four running nodes with short segments and a busy scrub, and a chain of some twenty blocks.
fn network() -> Running {
    let mut running = Running::founded();
    for at in ALL {
        let keys = [("segment_bytes", "4096"), ("scrub_pause_s", "0")];
        running.network.configure(at, &keys).unwrap();
    }
    running.start(&ALL);
    for _ in 0..20 {
        running.becomes_provable(0);
    }
    campaign::agree(&running.network).unwrap();
    running
}

fn archive(running: &Running, at: usize) -> PathBuf {
    running.dir(at).join("data/archive")
}

/// Whether nothing of a node's archive is damaged, and at least so many blocks were repaired.
fn is_whole(api: SocketAddr, repaired: u64) -> Option<()> {
    let answer = http::get(api, "/v1/status").ok()?;
    let status: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
    let archive = &status["archive"];
    let whole = archive["damaged"] == serde_json::json!([]);
    (whole && archive["repaired_blocks"].as_u64()? >= repaired).then_some(())
}

fn get(api: SocketAddr, path: &str) -> http::Answer {
    http::get(api, path).unwrap()
}

/// A block as a node serves it, without its certificate: any quorum's will do.
fn block(api: SocketAddr, height: usize) -> Vec<u8> {
    let raw = get(api, &format!("/v1/blocks/{height}?raw"));
    assert_eq!(raw.status, 200, "{}", raw.text());
    Payload::decode(&raw.body).unwrap().block.into_vec()
}

#[test]
fn the_scrub_finds_a_planted_flip_and_repairs_it_unasked() {
    let mut running = network();
    let path = archive(&running, 1).join(segment_name(2));
    let before = fs::read(&path).unwrap();
    flip(&path, HEADER_LEN + 300);
    wait_for("the flip is found and repaired", || {
        let status = running.status(1);
        let archive = &status["archive"];
        let done = archive["repaired_blocks"] == 1 && archive["scrub_findings"].as_u64()? >= 1;
        done.then_some(())
    });
    assert_eq!(
        running.status(1)["archive"]["damaged"],
        serde_json::json!([])
    );
    assert_eq!(running.metric(1, "nachweis_archive_damaged_blocks"), 0);
    assert_eq!(running.metric(1, "nachweis_repaired_blocks_total"), 1);
    assert!(
        running.log(1).contains("archive segment 2 is damaged")
            || running.log(1).contains("segment=2")
    );
    let kept = format!("{}.damaged-1", path.display());
    assert_ne!(fs::read(kept).unwrap(), before);
    running.network.stop_all().unwrap();
    let chains = ALL.map(|at| replay::archive(running.dir(at)).unwrap());
    assert!(chains.windows(2).all(|pair| pair[0] == pair[1]));
}

/// Without the scrub, the next start would find a journal that forgot, or none that it may rely on.
#[test]
fn a_flip_in_the_journal_is_found_while_running_and_the_next_start_votes_as_ever() {
    let mut running = network();
    let folder = running.dir(1).join("data/journal");
    let segment = || {
        let mut names = fs::read_dir(&folder).unwrap();
        names.next().unwrap().unwrap().path()
    };
    let before = segment();
    // In the last batch: by its bytes alone nobody could tell it from a torn one.
    let length = fs::metadata(&before).unwrap().len();
    flip(&before, usize::try_from(length).unwrap() - 40);
    wait_for("the flip is found", || {
        (running.metric(1, "nachweis_journal_damaged_total") == 1).then_some(())
    });
    wait_for("the journal is begun anew", || {
        (!before.exists()).then_some(())
    });
    assert!(running.log(1).contains("the journal on disk is damaged"));
    running.network.kill(1).unwrap();
    fs::write(running.dir(1).join("log"), []).unwrap();
    running.start(&[1]);
    for lost in ["its journal is lost", "torn end was cut off"] {
        assert!(!running.log(1).contains(lost), "{}", running.log(1));
    }
    // It votes: without it there is no quorum.
    running.network.kill(3).unwrap();
    running.becomes_provable(1);
}

#[test]
fn damage_in_what_a_start_needs_is_repaired_before_it_serves() {
    let mut running = network();
    let right: Vec<Vec<u8>> = (1..=20)
        .map(|height| block(running.api(0), height))
        .collect();
    running.network.kill(1).unwrap();
    // A sealed segment, a whole one, and the one that was being written; and no index, so that all are needed.
    let folder = archive(&running, 1);
    let last = fs::read_dir(&folder).unwrap().count();
    flip(&folder.join(segment_name(1)), HEADER_LEN + 200);
    fs::write(folder.join(segment_name(2)), [1; 5_000]).unwrap();
    flip(
        &folder.join(segment_name(u64::try_from(last).unwrap())),
        HEADER_LEN + 40,
    );
    fs::remove_dir_all(running.dir(1).join("data/index")).unwrap();
    fs::remove_dir_all(running.dir(1).join("data/log")).unwrap();
    running.start(&[1]);
    assert!(running.metric(1, "nachweis_repaired_blocks_total") > 2);
    for (height, right) in (1..).zip(&right) {
        assert_eq!(&block(running.api(1), height), right);
    }
    // It votes: without it there is no quorum.
    running.network.kill(3).unwrap();
    running.becomes_provable(1);
}

/// The document that a submission registers.
fn document(submission: &Submission) -> DocumentId {
    let [Record::Register { document, .. }] = submission.records() else {
        panic!("one registration");
    };
    *document
}

/// The document that the chain's first block registers, and its newest.
fn first_document(api: SocketAddr) -> DocumentId {
    document_of(api, 1)
}

fn newest_document(api: SocketAddr) -> DocumentId {
    let status = get(api, "/v1/status").body;
    let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
    document_of(
        api,
        usize::try_from(status["height"].as_u64().unwrap()).unwrap(),
    )
}

fn document_of(api: SocketAddr, height: usize) -> DocumentId {
    let block = Block::decode(&block(api, height)).unwrap();
    let items = block.body.parse().unwrap();
    let of = |item: &Item| match item {
        Item::Submission(submission) => Some(document(submission)),
        Item::Evidence(_) => None,
    };
    items.iter().find_map(of).unwrap()
}

/// Asked for together with another.
fn it_alone_has_no_receipt(api: SocketAddr, old: DocumentId) {
    let asked = format!(
        "{{\"documents\": [\"{old}\", \"{}\"]}}",
        newest_document(api)
    );
    let both = http::post(api, "/v1/receipts", "application/json", asked.as_bytes()).unwrap();
    let both: serde_json::Value = serde_json::from_slice(&both.body).unwrap();
    let (first, second) = (&both["receipts"][0], &both["receipts"][1]);
    assert_eq!(first["error"]["code"], "segment-missing", "{both}");
    assert!(second["receipt"].is_string(), "{both}");
}

/// Remade from its blocks, which are not here: refused, and what is here stays.
fn reindex_is_refused(node: &Path) {
    let mut reindex = command("nachweis-node").unwrap();
    let refused = reindex.args(["reindex", "--dir"]).arg(node);
    let refused = refused.output().unwrap();
    assert!(!refused.status.success());
    let text = String::from_utf8_lossy(&refused.stderr);
    assert!(text.contains("archive segment 1"), "{text}");
    assert!(node.join("data/index").exists() && node.join("data/log").exists());
}

#[test]
fn with_old_segments_moved_away_proofs_are_served_and_a_body_names_its_segment() {
    let mut running = network();
    let old = first_document(running.api(1));
    let cold = running.folder().join("cold");
    fs::create_dir(&cold).unwrap();
    running.network.stop(1).unwrap();
    for number in [1, 2] {
        let name = segment_name(number);
        fs::rename(archive(&running, 1).join(&name), cold.join(&name)).unwrap();
    }
    let said = [("segments_away", "2")];
    running.network.configure(1, &said).unwrap();
    running.start(&[1]);
    let (here, whole) = (running.api(1), running.api(0));
    let size = running.status(1)["provable_size"].as_u64().unwrap();
    let tile = format!("/log/tile/0/000.p/{size}");
    assert_eq!(get(here, &tile).body, get(whole, &tile).body);
    let missing = get(here, "/v1/blocks/1?raw");
    assert_eq!(missing.status, 503);
    let text = missing.text();
    assert!(
        text.contains("segment-missing") && text.contains("archive segment 1"),
        "{text}"
    );
    // What became of a document in it is known all the same; what was recorded of it stands in the segment.
    let state = format!("/v1/documents/{old}");
    assert_eq!(get(here, &state).status, 200);
    for what in ["history", "receipt"] {
        let known = get(here, &format!("{state}/{what}"));
        let text = known.text();
        println!("{what}: {text}");
        assert!(
            known.status == 503 && text.contains("archive segment 1"),
            "{text}"
        );
    }
    it_alone_has_no_receipt(here, old);
    let away = running.status(1)["archive"]["away"][0].to_string();
    assert!(
        away.starts_with("\"archive segments 1 to 2, blocks 1 to "),
        "{away}"
    );
    assert_eq!(running.metric(1, "nachweis_archive_segments_away"), 2);
    // New documents get their receipts here, and the node votes.
    running.network.kill(3).unwrap();
    let maker = Maker::new(&running.network, 1).unwrap();
    let submission = maker.registrations(1).unwrap();
    let route = "/v1/submissions?wait=provable";
    let answer = http::post(
        here,
        route,
        "application/octet-stream",
        &load::body([&submission]),
    );
    assert!(answer.unwrap().text().contains("\"provable\""));
    let receipt = get(
        here,
        &format!("/v1/documents/{}/receipt", document(&submission)),
    );
    assert_eq!(receipt.status, 200, "{}", receipt.text());
    // An index cannot be made again without the bodies: the one that is here is not thrown away for that.
    running.network.stop(1).unwrap();
    reindex_is_refused(running.dir(1));
    // Put back, everything is served again.
    for number in [1, 2] {
        let name = segment_name(number);
        fs::rename(cold.join(&name), archive(&running, 1).join(&name)).unwrap();
    }
    running.start(&[1]);
    assert_eq!(block(here, 1), block(whole, 1));
}

#[test]
fn lost_segments_that_nobody_moved_away_are_fetched_again() {
    let mut running = network();
    let right: Vec<Vec<u8>> = (1..=20)
        .map(|height| block(running.api(0), height))
        .collect();
    let all_there = |running: &Running| {
        for (height, right) in (1..).zip(&right) {
            assert_eq!(&block(running.api(1), height), right);
        }
    };
    let path = {
        let folder = archive(&running, 1);
        move |number| folder.join(segment_name(number))
    };
    // While it runs: the scrub misses it.
    fs::remove_file(path(3)).unwrap();
    wait_for("the segment is written again", || {
        path(3)
            .exists()
            .then(|| is_whole(running.api(1), 1))
            .flatten()
    });
    all_there(&running);

    // At rest all but the last, and the start needs them, for there is no index.
    running.network.kill(1).unwrap();
    let last = (1..).find(|number| !path(number + 1).exists()).unwrap();
    assert!(last >= 4, "{last} segments are too few");
    for number in 1..last {
        fs::remove_file(path(number)).unwrap();
    }
    fs::remove_dir_all(running.dir(1).join("data/index")).unwrap();
    running.start(&[1]);
    assert_eq!(running.metric(1, "nachweis_archive_segments_away"), 0);
    wait_for("all is repaired", || is_whole(running.api(1), 3));
    assert!((1..last).all(|number| path(number).exists()));
    all_there(&running);
    // It votes: without it there is no quorum.
    running.network.kill(3).unwrap();
    running.becomes_provable(1);
    running.network.stop_all().unwrap();
    replay::archive(running.dir(1)).unwrap();
}

/// One segment, several epochs: what begins and ends an epoch tells whose certificates count for the blocks behind it.
#[test]
fn damage_of_earlier_epochs_and_of_the_blocks_that_end_them_is_repaired() {
    const LENGTH: u64 = 5;
    let params = Params {
        epoch_length: LENGTH,
        ..Params::default()
    };
    let mut running = Running::founded_with(&params);
    running
        .network
        .configure(1, &[("scrub_pause_s", "0")])
        .unwrap();
    running.start(&ALL);
    while running.status(0)["epoch"].as_u64().unwrap() < 4 {
        running.becomes_provable(0);
    }
    campaign::agree(&running.network).unwrap();
    let height = running.status(0)["height"].as_u64().unwrap();
    let right = |running: &Running| {
        for height in 1..=usize::try_from(height).unwrap() {
            let own = block(running.api(1), height);
            assert_eq!(own, block(running.api(0), height), "block {height}");
        }
    };
    // While it runs: a block of the second epoch, the one that ended it, and the first of the third.
    spoil(&archive(&running, 1), &[8, 10, 11]);
    wait_for("three blocks are repaired", || is_whole(running.api(1), 3));
    right(&running);

    // At rest: the newest that ended an epoch, which a start needs, and others that begin and end one.
    running.network.stop(1).unwrap();
    let seal = height / LENGTH * LENGTH;
    spoil(&archive(&running, 1), &[5, 6, 10, seal - 1, seal]);
    running.start(&[1]);
    assert!(running.metric(1, "nachweis_repaired_blocks_total") >= 5);
    wait_for("all is repaired", || is_whole(running.api(1), 5));
    right(&running);
    for height in (LENGTH..=seal).step_by(5) {
        let raw = get(running.api(1), &format!("/v1/blocks/{height}?raw"));
        let payload = Payload::decode(&raw.body).unwrap();
        assert!(payload.finalization.is_some(), "block {height}");
    }
    // It votes: without it there is no quorum.
    running.network.kill(3).unwrap();
    running.becomes_provable(1);
}

#[test]
fn a_damaged_segment_header_is_written_again_or_refused_by_its_place() {
    let mut running = network();
    let path = {
        let folder = archive(&running, 1);
        move |number| folder.join(segment_name(number))
    };
    let header = |number| fs::read(path(number)).unwrap()[..HEADER_LEN].to_vec();
    let (first, second) = (header(1), header(2));
    flip(&path(2), 60);
    wait_for("the header is written again", || {
        (header(2) == second).then_some(())
    });
    assert!(running.status(1)["archive"]["scrub_findings"].as_u64() >= Some(1));

    // The first frame tells what stood there; without it, the neighbours tell which blocks did.
    running.network.stop(1).unwrap();
    flip(&path(1), 20);
    flip(&path(3), 60);
    flip(&path(3), HEADER_LEN + 3);
    running.start(&[1]);
    wait_for("all is repaired", || is_whole(running.api(1), 1));
    assert_eq!(header(1), first);
    SegmentHeader::decode(&header(3)).unwrap();
    for height in 1..=20 {
        assert_eq!(block(running.api(1), height), block(running.api(0), height));
    }

    // Of two in a row nothing tells where one ends and the other begins.
    running.network.stop(1).unwrap();
    for number in [2, 3] {
        flip(&path(number), 60);
        flip(&path(number), HEADER_LEN + 3);
    }
    let mut run = command("nachweis-node").unwrap();
    run.args(["run", "--dir"]).arg(running.dir(1));
    let refused = run.stdin(Stdio::null()).output().unwrap();
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(4), "{said}");
    assert!(
        said.contains("archive segment 2 is damaged at byte 0"),
        "{said}"
    );
}

#[test]
fn a_disk_that_fills_up_refuses_submissions_then_stops_cleanly() {
    let mut running = Running::founded();
    let mut disk = LowDisk::of(&running.network, 0).unwrap();
    println!("{disk:?}");
    running.start(&ALL);
    running.becomes_provable(0);

    // Below the first mark: no submissions here, but votes: with another one gone its vote is needed.
    disk.fill().unwrap();
    let maker = Maker::new(&running.network, 0).unwrap();
    let refused = wait_for("submissions are refused", || {
        // A new one each time: what is included already is answered from the chain.
        let submission = load::body([&maker.registrations(1).unwrap()]);
        let route = "/v1/submissions?wait=accepted";
        let answer = http::post(
            running.api(0),
            route,
            "application/octet-stream",
            &submission,
        );
        answer
            .ok()
            .filter(|answer| answer.status == 507 && answer.text().contains("disk-low"))
    });
    println!("{}", refused.text());
    running.network.kill(3).unwrap();
    running.becomes_provable(1);
    let height = running.status(1)["height"].as_u64().unwrap();
    wait_for("the full node follows", || {
        (running.status(0)["height"].as_u64()? >= height).then_some(())
    });

    // Below the second: it stops by itself, and says so.
    disk.fill().unwrap();
    wait_for("the node stops", || {
        (!running.network.is_running(0)).then_some(())
    });
    let code = wait_for("its exit code", || running.network.exit_code(0));
    assert_eq!(code, 75, "{}", running.log(0));
    assert!(running.log(0).contains("the data disk is nearly full"));
    assert!(running.log(0).contains("stopped"));

    // With room again it goes on.
    disk.make_room().unwrap();
    running.start(&[0]);
    running.becomes_provable(0);
    running.network.stop_all().unwrap();
}

#[test]
fn a_desk_whose_node_has_no_room_says_so_at_once_and_at_the_end() {
    let mut running = Running::founded();
    let mut disk = LowDisk::of(&running.network, 0).unwrap();
    println!("{disk:?}");
    running.start(&ALL);
    let folder = running.folder().join("akte");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("bescheid.txt"), "a notice").unwrap();
    disk.fill().unwrap();
    let register = |wait: &str| {
        let mut nachweis = running.network.nachweis(0).unwrap();
        nachweis.args(["register", "--wait", wait]).arg(&folder);
        nachweis.stdin(Stdio::null()).stdout(Stdio::piped());
        nachweis.stderr(Stdio::piped()).spawn().unwrap()
    };
    let mut client = register("5");
    let mut lines = BufReader::new(client.stderr.take().unwrap()).lines();
    let mut line = || lines.next().unwrap().unwrap();
    assert_eq!(line(), "hashing 1 file");
    assert_eq!(line(), "registering 1 document");
    let begun = Instant::now();
    let said = line();
    let full = "waiting: the node takes no submissions: ";
    assert!(
        said.starts_with(full) && said.contains("bytes are free on the data disk"),
        "{said}"
    );
    // Before it would have looked around for what it waits for.
    assert!(begun.elapsed() < Duration::from_secs(2));
    let end = line();
    assert!(
        end.starts_with("error: the node took no submission in 5 s: "),
        "{end}"
    );
    assert!(end.contains("bytes are free on the data disk"), "{end}");
    let hint = line();
    assert!(
        hint.contains("make room") && hint.contains("run the same command again"),
        "{hint}"
    );
    assert_eq!(client.wait().unwrap().code(), Some(3));

    // Once there is room, one that waits ends by itself.
    let client = register("60");
    std::thread::sleep(Duration::from_secs(1));
    disk.make_room().unwrap();
    let output = client.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.contains(full), "{said}");
}

#[test]
fn a_write_of_a_commit_may_fail_and_the_restart_is_clean() {
    let mut running = Running::with_nodes(&ALL);
    let cases = failing_disk::enumerate(&mut running.network, Breadth::Slice, |_, _| ());
    let cases = cases.unwrap();
    println!("{cases:?}");
    assert!(cases.iter().any(|case| case.exit == 74));
}

#[test]
fn every_write_of_a_commit_may_fail_and_the_restart_is_clean_slow() {
    let mut running = Running::with_nodes(&ALL);
    let cases = failing_disk::enumerate(&mut running.network, Breadth::Whole, |_, _| ());
    let cases = cases.unwrap();
    for file in ["journal", "archive", "guard"] {
        let mut of_file = cases.iter().filter(|case| case.point.file == file);
        let ended = of_file.all(|case| case.exit == 74 || case.fault == Fault::Short);
        assert!(ended, "a node went on after a failed call on {file}");
        assert!(cases.iter().any(|case| case.point.file == file), "{file}");
    }
}

#[test]
fn an_observers_archive_is_scrubbed_and_repaired_as_a_validators_is() {
    let running = network();
    let mut observer = Observer::make(&running.network, 0, "observer").unwrap();
    let keys = [("segment_bytes", "4096"), ("scrub_pause_s", "0")];
    observer.configure(&keys).unwrap();
    observer.start().unwrap();
    let height = running.status(0)["height"].as_u64().unwrap();
    wait_for("the observer has all blocks", || {
        (observer.number("height")? >= height).then_some(())
    });
    let folder = observer.dir.join("data/archive");
    spoil(&folder, &[7]);
    wait_for("the flip is found and repaired", || {
        is_whole(observer.api, 1)
    });
    let metrics = get(observer.api, "/metrics").text();
    for line in [
        "nachweis_repaired_blocks_total 1",
        "nachweis_archive_damaged_blocks 0",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{metrics}");
    }
    assert!(!metrics.contains("nachweis_scrub_findings_total 0"));

    // What a start needs is fetched before it serves.
    observer.kill();
    spoil(&folder, &[1, 2]);
    fs::remove_dir_all(observer.dir.join("data/index")).unwrap();
    fs::remove_dir_all(observer.dir.join("data/log")).unwrap();
    observer.start().unwrap();
    wait_for("all is repaired", || is_whole(observer.api, 2));
    wait_for("the observer has all blocks again", || {
        (observer.number("height")? >= height).then_some(())
    });
    for height in 1..=20 {
        assert_eq!(block(observer.api, height), block(running.api(0), height));
    }
    // It asked for nothing that an observer may not ask for, and follows.
    assert_eq!(running.metric(0, "nachweis_offences_total"), 0);
    running.becomes_provable(0);
    let size = running.status(0)["provable_size"].as_u64();
    wait_for("the observer follows", || {
        (observer.number("provable_size") >= size).then_some(())
    });
}
