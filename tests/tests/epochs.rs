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

/// Registers documents until so many epochs have ended, and kills one validator around SEAL blocks on the way.
fn load(running: &mut Running) -> Vec<PathBuf> {
    let mut folders = Vec::new();
    let mut kills = 0;
    while height(running, 0) < EPOCHS * LENGTH {
        // Down before the next block seals, back when the next epoch has begun; and once when it has just begun.
        let place = height(running, 0) % LENGTH;
        let is_up = running.network.is_running(VICTIM);
        if is_up && (place == LENGTH - 1 && kills < 2 || place == 1 && kills == 2) {
            running.network.kill(VICTIM).unwrap();
            kills += 1;
        } else if !is_up && place == 2 {
            running.start(&[VICTIM]);
        }
        folders.push(register(running, u64::try_from(folders.len()).unwrap()));
    }
    // A quick network may pass a place between two looks.
    assert!(kills > 0);
    running.start(&[VICTIM]);
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
