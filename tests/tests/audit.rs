//! Audit, export, backup, restore and reindex over a real network: what `nachweis` and `nachweis-node` say and do.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use serde_json::Value;
use std::fs;
use std::io::{BufRead as _, BufReader, Error, Result, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tests::binaries::command;
use tests::load::{self, Maker};
use tests::network::Network;
use tests::{campaign, http, liar, replay};

/// Submissions that a network gets.
const SUBMISSIONS: u64 = 12;

/// A network of four that registered some documents and agrees; stopped when dropped.
struct Loaded {
    network: Network,
    _dir: tempfile::TempDir,
}

impl Drop for Loaded {
    fn drop(&mut self) {
        self.network.stop_all().ok();
    }
}

fn register(network: &Network, through: usize, count: u64) -> Result<()> {
    let maker = Maker::new(network, 0)?;
    for _ in 0..count {
        let body = load::body([&maker.registrations(5)?]);
        let api = network.manifest().nodes[through].api;
        let route = "/v1/submissions?wait=final&timeout_ms=20000";
        let answer = http::post(api, route, "application/octet-stream", &body)?;
        if answer.status != 200 {
            return Err(Error::other(answer.text()));
        }
    }
    Ok(())
}

fn loaded() -> Loaded {
    let dir = tempfile::tempdir().unwrap();
    let network = Network::found(dir.path(), 4).unwrap();
    let mut loaded = Loaded { network, _dir: dir };
    loaded.network.start_all().unwrap();
    register(&loaded.network, 0, SUBMISSIONS).unwrap();
    campaign::agree(&loaded.network).unwrap();
    loaded
}

fn audit(network: &Network, arguments: &[&str]) -> (i32, Value, String) {
    let mut audit = command("nachweis").unwrap();
    audit.args(["audit", "--json", "--trust"]);
    audit.arg(&network.manifest().trust).args(arguments);
    let output = audit.output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (output.status.code().unwrap(), report, said)
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

fn node(arguments: &[&str]) -> Output {
    command("nachweis-node")
        .unwrap()
        .args(arguments)
        .output()
        .unwrap()
}

/// Standard output of a command that succeeds and says nothing on standard error.
fn done(arguments: &[&str]) -> String {
    let output = node(arguments);
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!((output.status.code(), said.as_str()), (Some(0), ""));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(arguments: &[&str]) -> String {
    let output = node(arguments);
    assert_eq!(output.status.code(), Some(4), "{arguments:?}");
    assert!(output.stdout.is_empty());
    String::from_utf8(output.stderr).unwrap()
}

/// The same chain without what differs between places and runs.
fn chain_of(report: &Value) -> Vec<Value> {
    let names = [
        "blocks",
        "records",
        "registrations",
        "log_size",
        "log_root",
        "status_root",
    ];
    names.iter().map(|name| report[*name].clone()).collect()
}

fn flip(path: &Path, at: usize) {
    let mut bytes = fs::read(path).unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
}

fn first_segment(node: &Path) -> PathBuf {
    node.join("data/archive")
        .join(ledger::frame::segment_name(1))
}

#[test]
fn every_place_of_the_chain_audits_to_the_same_and_a_flipped_bit_is_named() {
    let mut loaded = loaded();
    let network = &mut loaded.network;
    // A running node's directory, its API, and one after kill -9.
    let (code, running, said) = audit(network, &[text(&network.manifest().nodes[1].dir)]);
    assert_eq!((code, said.as_str()), (0, ""), "{running}");
    let url = network.manifest().nodes[2].url.clone();
    let (code, served, said) = audit(network, &["--node", &url]);
    assert_eq!((code, said.as_str()), (0, ""), "{served}");
    assert_eq!(served["registrations"], 5 * SUBMISSIONS);
    // The same node, if it said that it has no block: its own cosigned checkpoint says more.
    let lie = understating(network.manifest().nodes[2].api);
    let (code, lied, said) = audit(network, &["--node", &lie]);
    let problem = lied["fault"]["problem"].as_str();
    let problem = problem.unwrap_or_else(|| panic!("{code}: {lied}{said}"));
    let expected = "the chain ends at 0 log entries, the cosigned checkpoint that the node serves";
    assert!(code == 1 && problem.starts_with(expected), "{lied}");
    let out = network.dir().join("export");
    let of = text(&network.manifest().nodes[1].dir).to_owned();
    let told = done(&["export-archive", "--dir", &of, text(&out)]);
    assert!(told.starts_with("1 segments, up to block "), "{told}");
    let told = refused(&["export-archive", "--dir", &of, text(&out)]);
    assert!(told.contains("exists already"), "{told}");
    network.kill(3).unwrap();
    network.stop_all().unwrap();
    let oracle = replay::archive(&network.manifest().nodes[0].dir).unwrap();
    for entry in &network.manifest().nodes {
        let (code, report, _) = audit(network, &[text(&entry.dir)]);
        assert_eq!(code, 0, "{report}");
        assert_eq!(report["blocks"], oracle.height);
        assert_eq!(report["log_root"], oracle.log_root.to_string());
        assert_eq!(report["status_root"], oracle.status_root.to_string());
        assert_eq!(report["registrations"], oracle.registrations);
    }
    let (code, exported, _) = audit(network, &[text(&out)]);
    assert_eq!(code, 0, "{exported}");
    assert_eq!(chain_of(&exported)[1..3], chain_of(&served)[1..3]);

    // A flip in the export, and in a stopped node's archive.
    let exported = out.join(ledger::frame::segment_name(1));
    let length = fs::metadata(&exported).unwrap().len();
    flip(&exported, usize::try_from(length).unwrap() - 1);
    let (code, report, _) = audit(network, &[text(&out)]);
    assert_eq!(
        (code, &report["fault"]["segment"]),
        (1, &Value::from(1)),
        "{report}"
    );
    let victim = network.manifest().nodes[0].dir.clone();
    flip(&first_segment(&victim), 400);
    let (code, report, _) = audit(network, &[text(&victim)]);
    assert_eq!(
        (code, &report["fault"]["segment"]),
        (1, &Value::from(1)),
        "{report}"
    );
    assert_eq!(report["fault"]["height"], 1);
    let told = told_of_damage(&victim);
    assert!(
        told.contains("archive segment 1 is damaged at byte 96, block 1"),
        "{told}"
    );
}

/// Serves what a node serves, but for its height, which it says is 0.
fn understating(api: SocketAddr) -> String {
    let lie = |path: &str, answer: &mut http::Answer| {
        if path == "/v1/status" {
            let mut told: Value = serde_json::from_slice(&answer.body).unwrap();
            told["height"] = 0.into();
            answer.body = told.to_string().into_bytes();
        }
    };
    liar::serve(api, lie).unwrap()
}

/// What a node says that needs a damaged block to start, while no peer is there to give it.
fn told_of_damage(dir: &Path) -> String {
    let mut node = command("nachweis-node").unwrap();
    node.args(["run", "--dir", text(dir)]);
    let mut node = node.stderr(Stdio::piped()).spawn().unwrap();
    let log = BufReader::new(node.stderr.take().unwrap());
    let mut lines = log.lines().map_while(Result::ok);
    let told = lines.find(|line| line.contains("is damaged"));
    node.kill().unwrap();
    node.wait().unwrap();
    told.unwrap_or_default()
}

/// A backup through a pipe, as `backup DIR - | ssh … restore --from -` would.
fn piped(from: &Path, to: &Path) -> Output {
    let stream = node(&["backup", "--dir", text(from), "-"]);
    let mut restore = command("nachweis-node").unwrap();
    restore.args(["restore", "--from", "-", "--dir", text(to)]);
    feed(&mut restore, &stream.stdout)
}

fn feed(command: &mut Command, bytes: &[u8]) -> Output {
    command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    // A program that refuses early does not read on.
    child.stdin.take().unwrap().write_all(bytes).ok();
    child.wait_with_output().unwrap()
}

#[test]
fn a_restored_node_follows_and_votes_again_once_it_has_rejoined() {
    let mut loaded = loaded();
    let network = &mut loaded.network;
    let dir = network.manifest().nodes[3].dir.clone();
    let file = network.dir().join("node.backup");
    let told = done(&["backup", "--dir", text(&dir), text(&file)]);
    assert!(told.starts_with("3 files, up to block "), "{told}");
    assert!(refused(&["backup", "--dir", text(&dir), text(&file)]).contains("exists already"));
    assert!(
        refused(&["restore", "--from", text(&file), "--dir", text(&dir)])
            .contains("exists already")
    );
    let bytes = fs::read(&file).unwrap();
    for name in ["vote", "cosigner", "log", "network"] {
        let key = fs::read(dir.join("keys").join(format!("{name}.key"))).unwrap();
        let longest = key
            .split(|byte| byte.is_ascii_whitespace())
            .max_by_key(|part| part.len());
        let secret = longest.unwrap();
        assert!(secret.len() > 20 && !bytes.windows(secret.len()).any(|window| window == secret));
    }
    // Damaged anywhere: refused, and nothing made.
    let new = network.dir().join("restored");
    for at in [0, 12, bytes.len() / 2, bytes.len() - 1] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        let broken = network.dir().join("broken.backup");
        fs::write(&broken, damaged).unwrap();
        refused(&["restore", "--from", text(&broken), "--dir", text(&new)]);
        assert!(!new.exists());
    }
    let shorter = network.dir().join("short.backup");
    fs::write(&shorter, &bytes[..bytes.len() - 400]).unwrap();
    assert!(
        refused(&["restore", "--from", text(&shorter), "--dir", text(&new)]).contains("damaged")
    );

    // The site is lost, and comes back from a backup of the running node and the keys.
    let keys = network.dir().join("kept-keys");
    fs::rename(dir.join("keys"), &keys).unwrap();
    let restored = piped(&dir, &new);
    assert!(
        restored.status.success(),
        "{}",
        String::from_utf8_lossy(&restored.stderr)
    );
    network.kill(3).unwrap();
    fs::remove_dir_all(&dir).unwrap();
    fs::remove_dir(new.join("keys")).unwrap();
    fs::rename(&keys, new.join("keys")).unwrap();
    fs::rename(&new, &dir).unwrap();
    network.start(3).unwrap();
    let from = height(network, 0).unwrap();
    register(network, 0, SUBMISSIONS).unwrap();
    let to = height(network, 0).unwrap();
    follow(network, to).unwrap();
    let log = fs::read_to_string(dir.join("log")).unwrap();
    assert!(log.contains("this node does not vote"), "{log}");
    assert!(log.contains("guard is lost"), "{log}");
    let deadline = Instant::now() + Duration::from_secs(60);
    while signed_by_last(network, from + 1..=height(network, 3).unwrap()) == 0 {
        assert!(Instant::now() < deadline, "it does not vote again");
        register(network, 0, SUBMISSIONS).unwrap();
    }
}

/// What of blocks and votes for them is the last validator's.
fn signed_by_last(network: &Network, heights: std::ops::RangeInclusive<u64>) -> usize {
    let mut mine = 0;
    for height in heights {
        let raw = http::get(
            network.manifest().nodes[3].api,
            &format!("/v1/blocks/{height}?raw"),
        );
        let payload = ledger::frame::Payload::decode(&raw.unwrap().body).unwrap();
        let block = ledger::block::Block::decode(&payload.block).unwrap();
        mine += usize::from(block.header.proposer.0 == 3);
        if let Some(certificate) = payload.finalization {
            mine += certificate
                .signers()
                .filter(|(signer, _)| signer.0 == 3)
                .count();
        }
    }
    mine
}

fn height(network: &Network, at: usize) -> Result<u64> {
    let status = http::get(network.manifest().nodes[at].api, "/v1/status")?;
    let status: Value = serde_json::from_slice(&status.body)?;
    status["height"]
        .as_u64()
        .ok_or_else(|| Error::other("no height"))
}

fn follow(network: &Network, to: u64) -> Result<()> {
    let deadline = Instant::now() + Duration::from_secs(60);
    while height(network, 3).unwrap_or(0) < to {
        if Instant::now() > deadline {
            return Err(Error::other("the restored node does not follow"));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

#[test]
fn a_link_in_the_archive_brings_no_key_into_a_backup_or_an_export() {
    let folder = tempfile::tempdir().unwrap();
    let network = Network::found(&folder.path().join("network"), 4).unwrap();
    let dir = network.manifest().nodes[0].dir.clone();
    let archive = dir.join("data/archive");
    fs::create_dir_all(&archive).unwrap();
    let names = [
        "restart-00000000000000000001".to_owned(),
        ledger::frame::segment_name(1),
    ];
    for name in names {
        let link = archive.join(&name);
        std::os::unix::fs::symlink("../../keys/vote.key", &link).unwrap();
        let (backup, export) = (folder.path().join("b"), folder.path().join("e"));
        for arguments in [["backup", text(&backup)], ["export-archive", text(&export)]] {
            let [command, out] = arguments;
            let output = node(&[command, "--dir", text(&dir), out]);
            let said = String::from_utf8(output.stderr).unwrap();
            assert_ne!(output.status.code(), Some(0), "{command} {name}: {said}");
            assert!(said.contains(&name) && said.contains("link"), "{said}");
            assert!(!Path::new(out).exists());
        }
        // Nor does a file of that name which is none.
        fs::remove_file(&link).unwrap();
        fs::copy(dir.join("keys/vote.key"), &link).unwrap();
        let stream = node(&["backup", "--dir", text(&dir), "-"]);
        let key = fs::read(&link).unwrap();
        let leaked = stream.stdout.windows(key.len()).any(|part| part == key);
        assert!(!leaked, "{name}");
        fs::remove_file(&link).unwrap();
    }
}

#[test]
fn an_index_is_made_again_only_while_the_node_stands() {
    let mut loaded = loaded();
    let network = &mut loaded.network;
    let dir = network.manifest().nodes[0].dir.clone();
    let told = refused(&["reindex", "--dir", text(&dir)]);
    assert!(told.contains("in use by another process"), "{told}");
    network.stop(0).unwrap();
    // Wrong bytes in index and log hashes do not survive.
    for folder in ["data/index", "data/log"] {
        for entry in fs::read_dir(dir.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            if path.is_file() {
                fs::write(path, b"garbage").unwrap();
            }
        }
    }
    let output = node(&["reindex", "--dir", text(&dir)]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let told = String::from_utf8(output.stdout).unwrap();
    assert!(
        told.starts_with("index and log hashes are made again: block "),
        "{told}"
    );
    network.start(0).unwrap();
    network.wait_ready(0).unwrap();
    register(network, 0, 1).unwrap();
    campaign::agree(network).unwrap();
}
