//! One flipped bit anywhere in a stopped node's files, many times: harmless, repaired from peers, named, or refused with the
//! place; never served, never signed.
//!
//! The other validators run. After each flip the node is started, and everything that it serves from its first answer on is
//! compared with what it served before; a damaged archive must be whole again at the end. Segments are short, so that most
//! flips of the archive hit a sealed one. No file is left out: one that belongs to no kind is an error.
//!
//! An idle node signs nothing, so what it would sign is seen under load: there the node is killed, one bit of its journal,
//! guard or configuration is flipped as they are at that moment, and it goes on voting among the others, who remember what
//! it voted for before. Evidence of two votes that exclude each other ends the campaign.

use crate::binaries::command;
use crate::campaign::{self, Draw, Load};
use crate::http;
use crate::load::{self, Maker};
use crate::network::Network;
use ledger::frame::Payload;
use ledger::genesis::Params;
use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::io::{Error, Result};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What is flipped, below a node's directory; each kind as often as any other, one kind after the other. Last come those
/// after which the node's key may go on without its journal: the kept one is then an old one, and is found out as such.
pub const KINDS: [&str; 11] = [
    "data/archive",
    "data/log",
    "data/index",
    "data/guard",
    "data/checkpoint",
    "data/chain",
    "genesis.nachweis",
    OUTPUT,
    "keys",
    CONFIGURATION,
    "data/journal",
];
/// The operator's own text: a flip in it may be another setting.
const CONFIGURATION: &str = "node.toml";
/// What the process printed: no program reads it.
const OUTPUT: &str = "log";
/// What is flipped under load: what a node would sign hangs on these.
const UNDER_LOAD: [(&str, &str); 3] = [
    ("data/journal", "data/journal, under load"),
    ("data/guard", "data/guard, under load"),
    ("data/checkpoint", "data/checkpoint, under load"),
];
/// One of so many flips is made under load.
const LOADED_EVERY: u64 = 10;
/// Most starts in a minute: the others keep out, for longer each time, who connects more than 60 times in one.
const STARTS: usize = 45;
const MINUTE: Duration = Duration::from_secs(60);
/// What a validator says once it votes.
const VOTES: &str = "standing=votes";
/// Submissions before the first flip, and documents in each: more leaves than a tile of the log has.
const SUBMISSIONS: usize = 24;
const SUBMITTED_AT_ONCE: usize = 12;
/// Leaves of a tile.
const TILE: u64 = 256;
/// Blocks of an epoch: some of those before the first flip end one.
const EPOCH_LENGTH: u64 = 10;
/// Compared by its tree.
const CHECKPOINT: &str = "/log/checkpoint";
/// The node whose files rot.
const VICTIM: usize = 0;
/// How long a node may take to serve everything again, or to refuse.
const WITHIN: Duration = Duration::from_secs(60);

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

/// What a network is founded with for this: several epochs in few blocks.
pub fn params() -> Params {
    Params {
        epoch_length: EPOCH_LENGTH,
        ..Params::default()
    }
}

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
    let loaded = flips / LOADED_EVERY;
    let node = network.manifest().nodes[VICTIM].dir.clone();
    let paths = paths(network, &documents)?;
    let right = served(network.manifest().nodes[VICTIM].api, &paths);
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
        starts: VecDeque::new(),
    };
    rot.every_file_is_of_a_kind()?;
    let mut draw = Draw::new(seed);
    let mut table = Table::new();
    let cold = flips.saturating_sub(loaded);
    for flip in 0..cold {
        let kinds = u64::try_from(KINDS.len()).unwrap_or(u64::MAX);
        let kind = KINDS[usize::try_from(flip * kinds / cold).unwrap_or_default()];
        let place = rot.flip(kind, &mut draw)?;
        let wrong = |error| Error::other(format!("seed {seed}, {place}: {error}"));
        let fate = rot.fate(kind).map_err(wrong)?;
        *table.entry((kind, fate)).or_default() += 1;
        tell(flip + 1);
    }
    rot.put_back()?;
    let load = Load::start(rot.network, seed)?;
    rot.start()?;
    rot.votes()?;
    for flip in cold..flips {
        let (kind, shown) =
            UNDER_LOAD[usize::try_from(flip).unwrap_or_default() % UNDER_LOAD.len()];
        std::thread::sleep(Duration::from_millis(draw.between(50, 500)));
        rot.network.kill(VICTIM)?;
        fs::remove_file(rot.node.join(OUTPUT))?;
        let place = rot.flip_one(kind, &mut draw)?;
        let wrong = |error| Error::other(format!("seed {seed}, under load, {place}: {error}"));
        let fate = rot.fate_under_load().map_err(wrong)?;
        *table.entry((shown, fate)).or_default() += 1;
        tell(flip + 1);
    }
    let acknowledged = load.stop()?;
    campaign::agree(rot.network)?;
    // No evidence of two votes among it.
    campaign::audit(rot.network, &acknowledged)?;
    Ok(table)
}

struct Rot<'a> {
    network: &'a mut Network,
    node: PathBuf,
    kept: PathBuf,
    paths: Vec<String>,
    right: BTreeMap<String, Vec<u8>>,
    /// When the node was started, in the last minute.
    starts: VecDeque<Instant>,
}

impl Rot<'_> {
    fn every_file_is_of_a_kind(&self) -> Result<()> {
        let mut files = Vec::new();
        files_below(&self.kept, &mut files)?;
        for (file, _) in files {
            let name = file.strip_prefix(&self.kept).unwrap_or(&file);
            if !KINDS.iter().any(|kind| name.starts_with(kind)) {
                return Err(Error::other(format!("no kind has {}", name.display())));
            }
        }
        Ok(())
    }

    /// Puts the node's files back as they were.
    fn put_back(&self) -> Result<()> {
        fs::remove_dir_all(&self.node)?;
        copy(&self.kept, &self.node)
    }

    /// Puts the node's files back and flips one bit of one of them; says where.
    fn flip(&self, kind: &str, draw: &mut Draw) -> Result<String> {
        self.put_back()?;
        let place = self.flip_one(kind, draw)?;
        if kind != OUTPUT {
            fs::remove_file(self.node.join(OUTPUT))?;
        }
        Ok(place)
    }

    /// Flips one bit of the files of a kind, as they are.
    fn flip_one(&self, kind: &str, draw: &mut Draw) -> Result<String> {
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
        // These are mostly room that was never written: half of their flips hit what was.
        let written: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] != 0).collect();
        if ["data/index", "data/guard"].contains(&kind) && draw.below(2) == 0 && !written.is_empty()
        {
            at = written[draw.below(written.len())];
        }
        bytes[at] ^= 1 << bit;
        fs::write(&file, bytes)?;
        let name = file.strip_prefix(&self.node).unwrap_or(&file).display();
        Ok(format!("{name}, byte {at}, bit {bit}"))
    }

    /// Where the node listens: a flip of its configuration may have moved it.
    fn api(&self) -> SocketAddr {
        let configured = node::config::Config::load(&self.node);
        let written = self.network.manifest().nodes[VICTIM].api;
        configured.map_or(written, |config| config.api.listen)
    }

    /// Starts the node, no sooner than the others let it.
    fn start(&mut self) -> Result<()> {
        if self.starts.len() >= STARTS
            && let Some(first) = self.starts.pop_front()
        {
            std::thread::sleep(MINUTE.saturating_sub(first.elapsed()));
        }
        self.starts.push_back(Instant::now());
        self.network.start(VICTIM)
    }

    /// Waits until the node says that it votes.
    fn votes(&self) -> Result<()> {
        let deadline = Instant::now() + WITHIN;
        loop {
            let log = fs::read(self.node.join(OUTPUT)).unwrap_or_default();
            if String::from_utf8_lossy(&log).contains(VOTES) {
                return Ok(());
            }
            if !self.network.is_running(VICTIM) || Instant::now() > deadline {
                let log = String::from_utf8_lossy(&log);
                return Err(Error::other(format!(
                    "it does not vote within a minute: {log}"
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// The node must vote again, if need be once the others have answered.
    fn fate_under_load(&mut self) -> Result<Fate> {
        self.start()?;
        self.votes()?;
        let log = fs::read(self.node.join(OUTPUT))?;
        Ok(spoken(&String::from_utf8_lossy(&log)))
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
        // What stands in the output already is of an earlier life.
        let from = fs::read(self.node.join(OUTPUT)).map_or(0, |log| log.len());
        let said = |node: &Path| -> Result<String> {
            let log = fs::read(node.join(OUTPUT))?;
            let new = log.get(from..).unwrap_or_default();
            Ok(String::from_utf8_lossy(new).into_owned())
        };
        self.start()?;
        let api = self.api();
        let deadline = Instant::now() + WITHIN;
        let up = loop {
            let found = served(api, &self.paths);
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
                let log = said(&self.node)?;
                let what = format!("{missing:?} is not served within a minute\n{log}");
                return Err(Error::other(what));
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        self.network.kill(VICTIM)?;
        let log = said(&self.node)?;
        if !up {
            return if log.contains("error: ") {
                Ok(Fate::Refused)
            } else {
                Err(Error::other(format!(
                    "the node ended without a word: {log}"
                )))
            };
        }
        Ok(spoken(&log))
    }
}

/// The fate of a node that is up, by what it said.
fn spoken(log: &str) -> Fate {
    if campaign::VOICE_LOST.iter().any(|lost| log.contains(lost)) {
        Fate::Named
    } else if log.contains(" ERROR ") || log.contains(" WARN ") {
        Fate::Repaired
    } else {
        Fate::Harmless
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
fn served(api: SocketAddr, paths: &[String]) -> BTreeMap<String, Vec<u8>> {
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
    if path == CHECKPOINT {
        // Its tree; any quorum's signatures will do.
        let text = String::from_utf8_lossy(&body).into_owned();
        let tree: Vec<_> = text.lines().take(3).collect();
        return tree.join("\n").into_bytes();
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
    let (full, rest) = (size / TILE, size % TILE);
    if full != 1 || rest == 0 {
        return Err(Error::other(format!(
            "{size} entries are not one tile and some"
        )));
    }
    let rows = ["/log/tile/0", "/log/tile/entries"].into_iter();
    let tiles = rows.flat_map(|row| [format!("{row}/000"), format!("{row}/001.p/{rest}")]);
    let above = ["/log/tile/1/000.p/1", "/v1/authorities", CHECKPOINT].map(str::to_owned);
    let states = documents.iter().map(|id| format!("/v1/documents/{id}"));
    let some = documents.iter().step_by(SUBMITTED_AT_ONCE);
    let histories = some.map(|id| format!("/v1/documents/{id}/history"));
    let paths = blocks.chain(tiles).chain(above);
    Ok(paths.chain(states).chain(histories).collect())
}

fn fill(network: &mut Network) -> Result<Vec<String>> {
    network.start_all()?;
    let maker = Maker::new(network, VICTIM)?;
    let mut documents = Vec::new();
    for _ in 0..SUBMISSIONS {
        let submission = maker.registrations(SUBMITTED_AT_ONCE as u64)?;
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
