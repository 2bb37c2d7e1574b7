//! Several epochs over real processes: SEAL blocks at their heights, a validator killed around them, every archive the
//! same, every epoch's receipts good.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use ledger::genesis::Params;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use tests::running::{Running, wait_for};
use tests::{campaign, http, replay};

/// Blocks of an epoch.
const LENGTH: u64 = 5;
/// Epochs that are to end.
const EPOCHS: u64 = 6;
/// Who is killed.
const VICTIM: usize = 3;

fn height(running: &Running, at: usize) -> u64 {
    running.status(at)["height"].as_u64().unwrap()
}

/// Registers one document from a folder of its own, through the first authority's desk.
fn register(running: &Running, number: u64) -> PathBuf {
    let folder = running.folder().join(format!("document-{number}"));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("document.txt"), format!("number {number}\n")).unwrap();
    let output = nachweis(running, &["register", folder.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    folder
}

fn nachweis(running: &Running, arguments: &[&str]) -> Output {
    let mut nachweis = running.network.nachweis(0).unwrap();
    nachweis.args(arguments).output().unwrap()
}

fn block(running: &Running, at: usize, height: u64) -> Value {
    let path = format!("/v1/blocks/{height}");
    let answer = http::get(running.api(at), &path).unwrap();
    serde_json::from_slice(&answer.body).unwrap()
}

/// Registers documents, one after the other, until node 0 is as high as wanted.
///
/// Nothing else makes a block but an epoch's beginning, so no height below is passed over.
fn grow(running: &Running, folders: &mut Vec<PathBuf>, wanted: u64) {
    loop {
        let height = height(running, 0);
        assert!(
            height <= wanted,
            "block {height} came before {wanted} was seen"
        );
        if height == wanted {
            return;
        }
        // An epoch's first block comes by itself.
        if height.is_multiple_of(LENGTH) && height > 0 {
            wait_for("the first block of an epoch", || {
                (self::height(running, 0) > height).then_some(())
            });
        } else {
            folders.push(register(running, u64::try_from(folders.len()).unwrap()));
        }
    }
}

/// Kills one validator at the block that all hold, itself included.
fn kill(running: &mut Running, at_height: u64) {
    wait_for("the victim holds that block", || {
        (height(running, VICTIM) == at_height).then_some(())
    });
    running.network.kill(VICTIM).unwrap();
}

/// Registers documents until so many epochs have ended. One validator is killed before a SEAL block, twice, and once
/// when an epoch has just begun; it starts again when the next epoch goes on without it.
fn load(running: &mut Running) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    for (epoch, place) in [(1, LENGTH - 1), (2, LENGTH - 1), (4, 1)] {
        let killed_at = epoch * LENGTH + place;
        grow(running, &mut folders, killed_at);
        kill(running, killed_at);
        let sealed = killed_at.next_multiple_of(LENGTH);
        grow(running, &mut folders, sealed + 2);
        running.start(&[VICTIM]);
    }
    grow(running, &mut folders, EPOCHS * LENGTH + 1);
    campaign::agree(&running.network).unwrap();
    folders
}

/// After a clean stop the index is kept: the epoch that it stands in is told from the archive alone.
fn stop_and_start(running: &mut Running) {
    const AT: usize = 1;
    running.network.stop(AT).unwrap();
    let before = running.log(AT).len();
    running.start(&[AT]);
    running.becomes_provable(AT);
    let log = running.log(AT);
    assert!(!log[before..].contains("does not fit"), "{log}");
}

/// Another verifier than ours reads the log through all epochs, and the receipts.
fn is_independently_verified(running: &Running, folders: &[PathBuf]) {
    let venv = std::env::var("NACHWEIS_VENV").expect("scripts/test sets NACHWEIS_VENV");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("independent/aics_check.py");
    let manifest = running.network.manifest();
    let output = Command::new(Path::new(&venv).join("bin/python"))
        .arg(script)
        .arg("--log-url")
        .arg(format!("{}/log", manifest.nodes[1].url))
        .arg("--policy")
        .arg(&manifest.policy)
        .args(
            folders
                .iter()
                .map(|folder| folder.join("document.txt.tlog-proof")),
        )
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// A node that has lost its blocks gets all epochs from the others.
fn lose_all_blocks(running: &mut Running) {
    running.network.stop(VICTIM).unwrap();
    for part in ["archive", "index", "log"] {
        fs::remove_dir_all(running.dir(VICTIM).join("data").join(part)).unwrap();
    }
    running.network.start(VICTIM).unwrap();
    wait_for("an empty archive is filled through all epochs", || {
        let answer = http::get(running.api(VICTIM), "/readyz").ok()?;
        (answer.status == 200).then_some(())
    });
    running.becomes_provable(VICTIM);
}

#[test]
fn epochs_end_at_their_length_and_a_kill_around_a_seal_loses_nothing() {
    let params = Params {
        epoch_length: LENGTH,
        ..Params::default()
    };
    let mut running = Running::founded_with(&params);
    running.start(&[0, 1, 2, VICTIM]);
    let folders = load(&mut running);
    for at in [0, VICTIM] {
        let epoch = running.status(at)["epoch"].as_u64().unwrap();
        assert!(epoch >= EPOCHS, "node {at} is in epoch {epoch}");
        assert_eq!(running.metric(at, "nachweis_epoch"), epoch);
        for height in 1..=EPOCHS * LENGTH {
            let of = (height - 1) / LENGTH;
            assert_eq!(block(&running, at, height)["epoch"], of, "block {height}");
        }
    }
    stop_and_start(&mut running);
    lose_all_blocks(&mut running);
    // Receipts of every epoch, and newer ones for the oldest documents, with no node to ask.
    let trust = running.network.manifest().trust.clone();
    let oldest = folders[0].join("document.txt");
    let receipt = folders[0].join("document.txt.tlog-proof");
    let first = fs::read(&receipt).unwrap();
    let output = nachweis(&running, &["receipt", oldest.to_str().unwrap()]);
    assert!(output.status.success(), "{output:?}");
    assert_ne!(fs::read(&receipt).unwrap(), first);
    campaign::agree(&running.network).unwrap();
    is_independently_verified(&running, &folders);
    running.network.stop_all().unwrap();
    for folder in &folders {
        let folder = folder.to_str().unwrap();
        let output = nachweis(&running, &["verify", "--offline", folder]);
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(
            output.status.success() && said.contains("CURRENT"),
            "{said}"
        );
    }
    let nodes = &running.network.manifest().nodes;
    let all: Vec<_> = nodes
        .iter()
        .map(|node| replay::archive(&node.dir).unwrap())
        .collect();
    assert!(all.windows(2).all(|two| two[0] == two[1]), "{all:?}");
    assert!(all[0].epoch >= EPOCHS);
    let mut audit = tests::binaries::command("nachweis").unwrap();
    let audit = audit.arg("audit").arg("--trust").arg(trust);
    let output = audit.arg(running.dir(VICTIM)).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.contains("SOUND"), "{said}");
}
