//! One flipped bit anywhere in a stopped node's data: harmless, refused with its place, or named; never served.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};
use tests::binaries::command;
use tests::campaign::{self, Draw};
use tests::http;
use tests::load::{self, Maker};
use tests::network::Network;

/// Flips in the test command; `BITROT_FLIPS` and `BITROT_SEED` name others.
const FLIPS: u64 = 20;
/// What is flipped, below a node's data.
const PARTS: [&str; 5] = ["archive", "journal", "log", "index", "guard"];
/// How long a node may take to serve or to refuse.
const WITHIN: Duration = Duration::from_secs(60);

/// What became of a flip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Fate {
    /// Everything that is served is as it was.
    Harmless,
    /// The node does not start, and says why.
    Refused,
    /// The node serves what it has, and says what it lost.
    Named,
}

fn setting(name: &str, usual: u64) -> u64 {
    std::env::var(name).map_or(usual, |text| text.parse().unwrap())
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn files_below(path: &Path, found: &mut Vec<PathBuf>) {
    if path.is_dir() {
        for entry in fs::read_dir(path).unwrap() {
            files_below(&entry.unwrap().path(), found);
        }
    } else if fs::metadata(path).unwrap().len() > 0 {
        found.push(path.into());
    }
}

/// Everything that a node serves about its chain; a failed answer is left out.
fn served(network: &Network, paths: &[String]) -> BTreeMap<String, Vec<u8>> {
    let api = network.manifest().nodes[0].api;
    let answers = paths.iter().filter_map(|path| {
        let answer = http::get(api, path).ok()?;
        (answer.status == 200).then(|| (path.clone(), lasting(path, answer.body)))
    });
    answers.collect()
}

/// A document's state without the block that it is told for: a node whose last blocks were cut off tells an older one.
fn lasting(path: &str, body: Vec<u8>) -> Vec<u8> {
    if !path.starts_with("/v1/documents/") {
        return body;
    }
    let mut state: serde_json::Value = serde_json::from_slice(&body).unwrap();
    state.as_object_mut().unwrap().remove("checkpoint").unwrap();
    state.to_string().into_bytes()
}

/// Starts the first node alone; whether it serves.
fn serves(network: &mut Network) -> bool {
    network.start(0).unwrap();
    let deadline = Instant::now() + WITHIN;
    while network.is_running(0) {
        let api = network.manifest().nodes[0].api;
        if http::get(api, "/v1/status").is_ok_and(|answer| answer.status == 200) {
            return true;
        }
        assert!(
            Instant::now() < deadline,
            "the node neither serves nor ends"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
    false
}

fn audit(network: &Network, node: &Path) -> (Option<i32>, String) {
    let mut audit = command("nachweis").unwrap();
    audit
        .args(["audit", "--trust"])
        .arg(&network.manifest().trust);
    let output = audit.arg(node).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.code(), text)
}

/// Paths of everything that is compared: blocks, tiles, and the documents' states.
fn paths(network: &Network, documents: &[String]) -> Vec<String> {
    let api = network.manifest().nodes[0].api;
    let status = http::get(api, "/v1/status").unwrap();
    let status: serde_json::Value = serde_json::from_slice(&status.body).unwrap();
    let height = status["height"].as_u64().unwrap();
    let size = status["log_size"].as_u64().unwrap();
    let blocks = (1..=height).map(|height| format!("/v1/blocks/{height}?raw"));
    let tiles = ["/log/tile/0", "/log/tile/entries"].map(|tile| format!("{tile}/000.p/{size}"));
    let states = documents.iter().map(|id| format!("/v1/documents/{id}"));
    blocks.chain(tiles).chain(states).collect()
}

fn fill(network: &mut Network) -> Vec<String> {
    network.start_all().unwrap();
    let maker = Maker::new(network, 0).unwrap();
    let mut documents = Vec::new();
    for _ in 0..8 {
        let submission = maker.registrations(3).unwrap();
        for record in submission.records() {
            if let ledger::record::Record::Register { document, .. } = record {
                documents.push(document.to_string());
            }
        }
        let body = load::body([&submission]);
        let api = network.manifest().nodes[0].api;
        let route = "/v1/submissions?wait=provable&timeout_ms=20000";
        let answer = http::post(api, route, "application/octet-stream", &body).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    campaign::agree(network).unwrap();
    network.stop_all().unwrap();
    documents
}

#[test]
fn a_flipped_bit_is_harmless_or_told_and_never_served() {
    let dir = tempfile::tempdir().unwrap();
    let mut network = Network::found(dir.path(), 4).unwrap();
    let documents = fill(&mut network);
    let node = network.manifest().nodes[0].dir.clone();
    let (data, kept) = (node.join("data"), dir.path().join("kept"));
    copy(&data, &kept);
    assert!(serves(&mut network));
    let paths = paths(&network, &documents);
    let right = served(&network, &paths);
    assert_eq!(right.len(), paths.len(), "{paths:?} {:?}", right.keys());
    network.stop(0).unwrap();
    let seed = setting("BITROT_SEED", 1);
    let mut draw = Draw::new(seed);
    let mut fates: BTreeMap<(&str, Fate), u32> = BTreeMap::new();
    for flip in 0..setting("BITROT_FLIPS", FLIPS) {
        fs::remove_dir_all(&data).unwrap();
        copy(&kept, &data);
        let part = PARTS[usize::try_from(flip).unwrap() % PARTS.len()];
        let mut files = Vec::new();
        files_below(&data.join(part), &mut files);
        files.sort();
        let file = &files[draw.below(files.len())];
        let mut bytes = fs::read(file).unwrap();
        let (at, bit) = (draw.below(bytes.len()), draw.below(8));
        bytes[at] ^= 1 << bit;
        fs::write(file, bytes).unwrap();
        let place = format!("seed {seed}, {}: byte {at}, bit {bit}", file.display());
        if part == "archive" {
            let (code, report) = audit(&network, &node);
            let named = report.contains("FAULT          segment 1, block ");
            assert!(code == Some(1) && named, "{place}: {report}");
        }
        fs::remove_file(node.join("log")).unwrap();
        let up = serves(&mut network);
        let found = served(&network, &paths);
        network.kill(0).unwrap();
        let log = fs::read_to_string(node.join("log")).unwrap();
        let wrong = found
            .iter()
            .find(|(path, body)| right.get(*path) != Some(body));
        assert!(wrong.is_none(), "{place}: served wrong: {wrong:?}\n{log}");
        let told = log.contains("ERROR") || log.contains("WARN");
        let fate = match (up, found.len() == right.len()) {
            (false, _) => Fate::Refused,
            (true, true) if !told => Fate::Harmless,
            (true, _) => Fate::Named,
        };
        assert!(
            fate != Fate::Refused || log.contains("error:"),
            "{place}: {log}"
        );
        *fates.entry((part, fate)).or_default() += 1;
    }
    println!("{fates:?}");
}
