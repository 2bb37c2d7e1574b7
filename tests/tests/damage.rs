//! Damaged, missing and full disks under real processes: what is named, what is repaired unasked, what goes on.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use ledger::frame::{HEADER_LEN, Payload, segment_name};
use std::fs;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tests::campaign;
use tests::failing_disk::{self, Breadth, Fault};
use tests::http;
use tests::load::{self, Maker};
use tests::replay;
use tests::running::{Running, wait_for};

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

/// Flips a bit in its place: the file may be in use.
fn flip(path: &Path, at: usize) {
    let byte = fs::read(path).unwrap()[at] ^ 2;
    let file = fs::File::options().write(true).open(path).unwrap();
    file.write_all_at(&[byte], at as u64).unwrap();
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

#[test]
fn with_old_segments_moved_away_proofs_are_served_and_a_body_names_its_segment() {
    let mut running = network();
    let cold = running.folder().join("cold");
    fs::create_dir(&cold).unwrap();
    running.network.stop(1).unwrap();
    for number in [1, 2] {
        let name = segment_name(number);
        fs::rename(archive(&running, 1).join(&name), cold.join(&name)).unwrap();
    }
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
    let [ledger::record::Record::Register { document, .. }] = submission.records() else {
        panic!("one registration");
    };
    let receipt = get(here, &format!("/v1/documents/{document}/receipt"));
    assert_eq!(receipt.status, 200, "{}", receipt.text());
    // Put back, everything is served again.
    running.network.stop(1).unwrap();
    for number in [1, 2] {
        let name = segment_name(number);
        fs::rename(cold.join(&name), archive(&running, 1).join(&name)).unwrap();
    }
    running.start(&[1]);
    assert_eq!(block(here, 1), block(whole, 1));
}

/// A small file system of its own, gone with the test.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// `None` where tests may not mount.
    fn mount(at: &Path, size: &str) -> Option<Self> {
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"]);
        let done = mount.arg(at).status().ok()?.success();
        done.then(|| Self(at.into()))
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        Command::new("umount").arg("-l").arg(&self.0).status().ok();
    }
}

#[test]
fn a_disk_that_fills_up_refuses_submissions_then_stops_cleanly() {
    let mut running = Running::founded();
    let data = running.dir(0).join("data");
    let aside = running.dir(0).join("aside");
    fs::rename(&data, &aside).unwrap();
    fs::create_dir(&data).unwrap();
    let Some(disk) = SmallDisk::mount(&data, "48m") else {
        println!("not run: this user may not mount a small file system");
        return;
    };
    let copied = Command::new("cp")
        .arg("-a")
        .arg(aside.join("."))
        .arg(&data)
        .status();
    assert!(copied.unwrap().success());
    let marks = [
        ("min_free_bytes", "25165824"),
        ("stop_free_bytes", "8388608"),
    ];
    running.network.configure(0, &marks).unwrap();
    running.start(&ALL);
    running.becomes_provable(0);

    // Below the first mark: no submissions here, but votes: with another one gone its vote is needed.
    let ballast = data.join("ballast");
    fs::write(&ballast, vec![1; 28 << 20]).unwrap();
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
            .filter(|answer| answer.text().contains("disk-low"))
    });
    println!("{}", refused.text());
    running.network.kill(3).unwrap();
    running.becomes_provable(1);
    let height = running.status(1)["height"].as_u64().unwrap();
    wait_for("the full node follows", || {
        (running.status(0)["height"].as_u64()? >= height).then_some(())
    });

    // Below the second: it stops by itself, and says so.
    fs::write(data.join("more"), vec![1; 12 << 20]).unwrap();
    wait_for("the node stops", || {
        (!running.network.is_running(0)).then_some(())
    });
    let code = wait_for("its exit code", || running.network.exit_code(0));
    assert_eq!(code, 75, "{}", running.log(0));
    assert!(running.log(0).contains("the data disk is nearly full"));
    assert!(running.log(0).contains("stopped"));

    // With room again it goes on.
    fs::remove_file(ballast).unwrap();
    fs::remove_file(data.join("more")).unwrap();
    running.start(&[0]);
    running.becomes_provable(0);
    running.network.stop_all().unwrap();
    drop(disk);
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
