//! One flipped bit anywhere in a stopped node's files, many times: harmless, repaired from peers, named, or refused with the
//! place; never served, never signed.
//!
//! The other validators run. After each flip the node is started, and everything that it serves from its first answer on is
//! compared with what it served before; a damaged archive must be whole again at the end. Segments are short, so that most
//! flips of the archive hit a sealed one. Not flipped: `node.toml`, which is the operator's own text.

use crate::binaries::command;
use crate::campaign::{self, Draw};
use crate::http;
use crate::load::{self, Maker};
use crate::network::Network;
use ledger::frame::Payload;
use std::collections::BTreeMap;
use std::fs;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What is flipped, below a node's directory; each kind as often as any other.
const KINDS: [&str; 9] = [
    "data/archive",
    "data/journal",
    "data/log",
    "data/index",
    "data/guard",
    "data/checkpoint",
    "data/chain",
    "genesis.nachweis",
    "keys",
];
/// The node whose files rot.
const VICTIM: usize = 0;
/// How long a node may take to serve everything again, or to refuse.
const WITHIN: Duration = Duration::from_secs(60);
/// What the others say of a validator that signed twice.
const SIGNED_TWICE: &str = "signed two votes that exclude each other";

/// What became of a flip.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// The node starts, says nothing, and serves everything as it was.
    Harmless,
    /// It says what was damaged, and serves everything as it was: fetched from peers, or made again.
    Repaired,
    /// It serves everything as it was, and says what it does no more: vote, cosign.
    Named,
    /// It does not start, and says why.
    Refused,
}

/// How often which fate befell which kind of file.
pub type Table = BTreeMap<(&'static str, Fate), u32>;

/// Flips so many bits, one at a time. `tell` is called after each.
///
/// # Errors
/// The first flip after which something wrong was served or signed, or the node neither serves nor refuses.
pub fn run(
    network: &mut Network,
    flips: u64,
    seed: u64,
    mut tell: impl FnMut(u64),
) -> Result<Table> {
    for at in 0..network.manifest().nodes.len() {
        network.configure(at, &[("segment_bytes", "4096")])?;
    }
    let documents = fill(network)?;
    let node = network.manifest().nodes[VICTIM].dir.clone();
    let paths = paths(network, &documents)?;
    let right = served(network, &paths);
    if right.len() != paths.len() {
        return Err(Error::other(
            "not everything is served before the first flip",
        ));
    }
    network.stop(VICTIM)?;
    let kept = network.dir().join("kept");
    copy(&node, &kept)?;
    let mut rot = Rot {
        network,
        node,
        kept,
        paths,
        right,
    };
    let mut draw = Draw::new(seed);
    let mut table = Table::new();
    for flip in 0..flips {
        let kind = KINDS[usize::try_from(flip).unwrap_or_default() % KINDS.len()];
        let place = rot.flip(kind, &mut draw)?;
        let wrong = |error| Error::other(format!("seed {seed}, {place}: {error}"));
        let fate = rot.fate(kind).map_err(wrong)?;
        *table.entry((kind, fate)).or_default() += 1;
        tell(flip + 1);
    }
    let others = rot.network.manifest().nodes.iter().skip(1);
    for other in others {
        let log = fs::read_to_string(other.dir.join("log"))?;
        if let Some(line) = log.lines().find(|line| line.contains(SIGNED_TWICE)) {
            return Err(Error::other(line.to_owned()));
        }
    }
    Ok(table)
}

struct Rot<'a> {
    network: &'a mut Network,
    node: PathBuf,
    kept: PathBuf,
    paths: Vec<String>,
    right: BTreeMap<String, Vec<u8>>,
}

impl Rot<'_> {
    /// Puts the node's files back as they were and flips one bit of one of them; says where.
    fn flip(&self, kind: &str, draw: &mut Draw) -> Result<String> {
        fs::remove_dir_all(&self.node)?;
        copy(&self.kept, &self.node)?;
        fs::remove_file(self.node.join("log"))?;
        let mut files = Vec::new();
        files_below(&self.node.join(kind), &mut files)?;
        files.sort();
        // A place in a long file is as likely as one in a short file.
        let total: usize = files.iter().map(|(_, length)| length).sum();
        let mut at = draw.below(total);
        let mut files = files.into_iter();
        let file = loop {
            let Some((file, length)) = files.next() else {
                return Err(Error::other(format!("{kind} has no files")));
            };
            if at < length {
                break file;
            }
            at -= length;
        };
        let bit = draw.below(8);
        let mut bytes = fs::read(&file)?;
        bytes[at] ^= 1 << bit;
        fs::write(&file, bytes)?;
        let name = file.strip_prefix(&self.node).unwrap_or(&file).display();
        Ok(format!("{name}, byte {at}, bit {bit}"))
    }

    fn fate(&mut self, kind: &str) -> Result<Fate> {
        if kind == "data/archive" {
            let (code, report) = audit(self.network, &self.node)?;
            if code != Some(1) || !report.contains("FAULT") {
                return Err(Error::other(format!(
                    "the audit does not name it: {report}"
                )));
            }
        }
        self.network.start(VICTIM)?;
        let deadline = Instant::now() + WITHIN;
        let up = loop {
            let found = served(self.network, &self.paths);
            let mut answers = found.iter();
            if let Some((path, _)) =
                answers.find(|(path, body)| self.right.get(*path) != Some(body))
            {
                return Err(Error::other(format!("{path} is served wrong")));
            }
            if found.len() == self.right.len() {
                break true;
            }
            if !self.network.is_running(VICTIM) {
                break false;
            }
            if Instant::now() > deadline {
                let missing = self.right.keys().find(|path| !found.contains_key(*path));
                let log = fs::read_to_string(self.node.join("log"))?;
                let what = format!("{missing:?} is not served within a minute\n{log}");
                return Err(Error::other(what));
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        self.network.kill(VICTIM)?;
        let log = fs::read_to_string(self.node.join("log"))?;
        if !up {
            return if log.contains("error: ") {
                Ok(Fate::Refused)
            } else {
                Err(Error::other(format!(
                    "the node ended without a word: {log}"
                )))
            };
        }
        Ok(
            if log.contains("no more") || log.contains("does not vote") {
                Fate::Named
            } else if log.contains(" ERROR ") || log.contains(" WARN ") {
                Fate::Repaired
            } else {
                Fate::Harmless
            },
        )
    }
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

fn files_below(path: &Path, found: &mut Vec<(PathBuf, usize)>) -> Result<()> {
    if path.is_dir() {
        for entry in fs::read_dir(path)? {
            files_below(&entry?.path(), found)?;
        }
        return Ok(());
    }
    let length = usize::try_from(fs::metadata(path)?.len()).map_err(Error::other)?;
    if length > 0 {
        found.push((path.into(), length));
    }
    Ok(())
}

/// Everything that the node serves about its chain; an answer that is an error is left out.
fn served(network: &Network, paths: &[String]) -> BTreeMap<String, Vec<u8>> {
    let api = network.manifest().nodes[VICTIM].api;
    let answers = paths.iter().map_while(|path| {
        // No answer at all: the node is not up, and the other paths need not be asked.
        let answer = http::get(api, path).ok()?;
        Some((answer.status == 200).then(|| (path.clone(), lasting(path, answer.body))))
    });
    answers.flatten().collect()
}

/// What must not change: of a block, not its certificate (any quorum's will do); of a document's state, not the block that it
/// is told for (a node that catches up tells an older one).
fn lasting(path: &str, body: Vec<u8>) -> Vec<u8> {
    if path.starts_with("/v1/blocks/") {
        return match Payload::decode(&body) {
            Ok(payload) => payload.block.into_vec(),
            Err(_) => body,
        };
    }
    if !path.starts_with("/v1/documents/") {
        return body;
    }
    let Ok(mut state) = serde_json::from_slice::<serde_json::Value>(&body) else {
        return body;
    };
    if let Some(fields) = state.as_object_mut() {
        fields.remove("checkpoint");
    }
    state.to_string().into_bytes()
}

fn audit(network: &Network, node: &Path) -> Result<(Option<i32>, String)> {
    let mut audit = command("nachweis")?;
    audit
        .args(["audit", "--trust"])
        .arg(&network.manifest().trust);
    let output = audit.arg(node).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    Ok((output.status.code(), text))
}

/// Paths of everything that is compared: blocks, tiles, and the documents' states.
fn paths(network: &Network, documents: &[String]) -> Result<Vec<String>> {
    let api = network.manifest().nodes[VICTIM].api;
    let status: serde_json::Value = serde_json::from_slice(&http::get(api, "/v1/status")?.body)?;
    let number = |name: &str| status.get(name).and_then(serde_json::Value::as_u64);
    let (Some(height), Some(size)) = (number("height"), number("log_size")) else {
        return Err(Error::other("no height in the status"));
    };
    let blocks = (1..=height).map(|height| format!("/v1/blocks/{height}?raw"));
    let tiles = ["/log/tile/0", "/log/tile/entries"].map(|tile| format!("{tile}/000.p/{size}"));
    let states = documents.iter().map(|id| format!("/v1/documents/{id}"));
    Ok(blocks.chain(tiles).chain(states).collect())
}

fn fill(network: &mut Network) -> Result<Vec<String>> {
    network.start_all()?;
    let maker = Maker::new(network, VICTIM)?;
    let mut documents = Vec::new();
    for _ in 0..24 {
        let submission = maker.registrations(3)?;
        for record in submission.records() {
            if let ledger::record::Record::Register { document, .. } = record {
                documents.push(document.to_string());
            }
        }
        let body = load::body([&submission]);
        let api = network.manifest().nodes[VICTIM].api;
        let route = "/v1/submissions?wait=provable&timeout_ms=20000";
        let answer = http::post(api, route, "application/octet-stream", &body)?;
        if answer.status != 200 {
            return Err(Error::other(answer.text()));
        }
    }
    campaign::agree(network)?;
    Ok(documents)
}
