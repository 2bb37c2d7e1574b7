//! The oracle: a stopped node's archive, read without the node's code and replayed from genesis by `ledger::replay`.
//!
//! It believes the archive's checksums only as far as they say where a frame ends. A torn tail (the end of the last
//! segment after a kill) is left out; anything else that is wrong is an error with its place.

use genesis::container::Founding;
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use ledger::block::Block;
use ledger::body::Item;
use ledger::frame::{HEADER_LEN, Payload, SegmentHeader, parse, segment_number};
use ledger::hash::{Hash, SubmissionHash};
use ledger::replay::Replay;
use ledger::restart::{RestartFile, epoch_in};
use std::collections::BTreeSet;
use std::fs;
use std::io::{Error, Result};
use std::path::{Path, PathBuf};

/// What a whole chain comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Height of the newest block.
    pub height: u64,
    /// Epoch of the next one.
    pub epoch: u64,
    /// Leaves of the log.
    pub log_size: u64,
    /// Root of the log.
    pub log_root: Hash,
    /// Root of the status map.
    pub status_root: Hash,
    /// Registered documents.
    pub registrations: u64,
    /// Hash of every submission in it.
    pub submissions: BTreeSet<SubmissionHash>,
    /// Pairs of votes that exclude each other.
    pub evidence: u64,
}

/// Replays the archive below a node's directory. The node must not run.
///
/// # Errors
/// The first thing that is wrong, with its height or file.
pub fn archive(node: &Path) -> Result<Summary> {
    let founding = Founding::load(&node.join("genesis.nachweis")).map_err(Error::other)?;
    let mut replay = Replay::new(founding.into_genesis()).map_err(Error::other)?;
    for file in restarts(&node.join("data/archive"))? {
        replay.go_on_by(&file).map_err(Error::other)?;
    }
    let (mut submissions, mut evidence) = (BTreeSet::new(), 0);
    for payload in payloads(&node.join("data/archive"))? {
        replay
            .push(&payload, &mut UnwrapErr(SysRng))
            .map_err(Error::other)?;
        let block = Block::decode(&payload.block).map_err(Error::other)?;
        for item in block.body.parse().map_err(Error::other)? {
            match item {
                Item::Submission(submission) => {
                    submissions.insert(submission.hash());
                }
                Item::Evidence(_) => evidence += 1,
            }
        }
    }
    let end = replay.finish();
    if let Some(fault) = end.fault {
        return Err(Error::other(fault));
    }
    let registrations = end.state.registrations().len();
    Ok(Summary {
        height: end.tip.height.0,
        epoch: end.tip.epoch.epoch.0,
        log_size: end.tip.log.size(),
        log_root: end.tip.log.root(),
        status_root: end.tip.trie.root(),
        registrations: u64::try_from(registrations).map_err(Error::other)?,
        submissions,
        evidence,
    })
}

/// The submissions in a stopped node's archive, final or not, as far as it can be read.
///
/// # Errors
/// If something other than its end is wrong.
pub fn held(node: &Path) -> Result<BTreeSet<SubmissionHash>> {
    let mut held = BTreeSet::new();
    for payload in payloads(&node.join("data/archive"))? {
        let block = Block::decode(&payload.block).map_err(Error::other)?;
        for item in block.body.parse().map_err(Error::other)? {
            if let Item::Submission(submission) = item {
                held.insert(submission.hash());
            }
        }
    }
    Ok(held)
}

/// The restart files of an archive folder, in the order of their names.
fn restarts(folder: &Path) -> Result<Vec<RestartFile>> {
    let mut paths = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?;
    paths.retain(|path| {
        let name = path.file_name().unwrap_or_default();
        epoch_in(&name.to_string_lossy()).is_some()
    });
    paths.sort();
    let read = |path: PathBuf| RestartFile::decode(&fs::read(path)?).map_err(Error::other);
    paths.into_iter().map(read).collect()
}

/// The frames of an archive folder in order, without a torn tail.
fn payloads(folder: &Path) -> Result<Vec<Payload>> {
    let mut segments: Vec<(u64, PathBuf)> = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<Vec<_>>>()?
        .into_iter()
        .filter_map(|path| Some((segment_number(path.file_name()?.to_str()?)?, path)))
        .collect();
    segments.sort();
    let last = segments.len().saturating_sub(1);
    let mut payloads = Vec::new();
    for (at, (_, path)) in segments.iter().enumerate() {
        let bytes = fs::read(path)?;
        let wrong = |error| Error::other(format!("{}: {error}", path.display()));
        let Ok(header) = SegmentHeader::decode(&bytes) else {
            if at == last {
                break;
            }
            return Err(wrong("no segment header".to_owned()));
        };
        let mut rest = &bytes[HEADER_LEN..];
        while !rest.is_empty() {
            match parse(rest, header.magic) {
                Ok((frame, payload)) => {
                    let payload = Payload::decode(&rest[payload]);
                    payloads.push(payload.map_err(|error| wrong(error.to_string()))?);
                    rest = &rest[frame.frame_len()..];
                }
                Err(_) if at == last => break,
                Err(error) => return Err(wrong(error.to_string())),
            }
        }
    }
    Ok(payloads)
}
