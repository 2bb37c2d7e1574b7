//! The whole chain verified again: every frame, certificate, signature, rule, leaf and root, from genesis to the head.
//!
//! What is right is decided by [`ledger::replay`] alone; here are the places that blocks come from, and what they
//! come to. Memory holds one segment and the state of the ledger, never the archive.

pub mod segments;

use crate::api::{Api, ApiError};
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use ledger::checkpoint::Checkpoint;
use ledger::frame::{FrameError, Payload};
use ledger::genesis::GenesisError;
use ledger::hash::{ChainId, Hash};
use ledger::id::{Height, TimeMs};
use ledger::note::Note;
use ledger::receipt::Trust;
use ledger::replay::{FaultKind, Recorded, Replay, Replayed};
use ledger::state::Lifecycle;
use segments::{Archive, Next, OpenError, SegmentFault, Torn};
use std::collections::VecDeque;
use tokio::task::JoinHandle;

/// Most bytes of blocks that wait for the finalization of a descendant: what one sync of a node covers.
const MAX_HELD: usize = 64 << 20;
/// Blocks that are fetched from a node ahead of their verification.
const AHEAD: u64 = 16;

/// Nothing could be audited.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The files cannot be read.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The node does not give its blocks.
    #[error(transparent)]
    Api(#[from] ApiError),
    /// The pinned genesis founds no network.
    #[error("the pinned genesis cannot found a network")]
    Genesis(#[from] GenesisError),
    /// A task of this program ended early.
    #[error("a download of this program ended early")]
    Task,
}

/// The first thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}block {height}: {wrong}", of_segment(*segment))]
pub struct Fault {
    /// Height of the block at which it shows.
    pub height: Height,
    /// Number of the segment that the block is in; none if it came from a node.
    pub segment: Option<u64>,
    /// What is wrong.
    #[source]
    pub wrong: Wrong,
}

/// What can be wrong.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// The segment's bytes.
    #[error(transparent)]
    Segment(#[from] SegmentFault),
    /// What a node sent for a block.
    #[error("the node's answer is no block: {0}")]
    Answer(#[from] FrameError),
    /// The block.
    #[error(transparent)]
    Block(#[from] FaultKind),
    /// A tree that is known already is not this log's.
    #[error("at {size} entries the log has not the root of {whose}: {root}")]
    OtherRoot {
        /// Who knows it.
        whose: &'static str,
        /// Its size.
        size: u64,
        /// Its root.
        root: Hash,
    },
    /// The chain ends before a tree that is known already.
    #[error("the chain ends at {found} log entries, {whose} has {size}")]
    Short {
        /// Who knows it.
        whose: &'static str,
        /// Its size.
        size: u64,
        /// Size of this log.
        found: u64,
    },
}

fn of_segment(segment: Option<u64>) -> String {
    segment.map_or_else(String::new, |number| format!("segment {number}, "))
}

/// What an audit found. Numbers are of the blocks that were found right.
#[derive(Clone, Debug)]
pub struct Report {
    /// The chain.
    pub chain: ChainId,
    /// Newest right block.
    pub height: Height,
    /// Records in all blocks.
    pub records: u64,
    /// Registered documents.
    pub registrations: usize,
    /// Revoked documents.
    pub revoked: usize,
    /// Superseded documents.
    pub superseded: usize,
    /// Validators' contradictions on the chain, in order.
    pub evidence: Vec<Recorded>,
    /// Leaves of the log.
    pub log_size: u64,
    /// Root of the log.
    pub log_root: Hash,
    /// Root of the status map.
    pub status_root: Hash,
    /// Time of the first block.
    pub first_ms: Option<TimeMs>,
    /// Time of the newest block.
    pub newest_ms: TimeMs,
    /// Bytes of the blocks as they were read.
    pub bytes: u64,
    /// A tail of the last segment that is no whole frame, as a crash or a running node leaves it.
    pub torn: Option<Torn>,
    /// Newest blocks without a finalization, of a group that a crash tore. They count for nothing.
    pub unfinished: usize,
    /// The first thing that is wrong.
    pub fault: Option<Fault>,
}

/// A tree that is known from elsewhere.
struct Known {
    whose: &'static str,
    size: u64,
    root: Hash,
    met: bool,
}

struct Audit<'a> {
    chain: ChainId,
    replay: Replay,
    known: Vec<Known>,
    held: Vec<(Option<u64>, Height, Payload)>,
    held_bytes: usize,
    first_ms: Option<TimeMs>,
    bytes: u64,
    watch: &'a mut dyn FnMut(u64),
}

impl<'a> Audit<'a> {
    fn new(trust: &Trust, watch: &'a mut dyn FnMut(u64)) -> Result<Self, GenesisError> {
        let pin = trust.pin().map(|pin| Known {
            whose: "the pinned checkpoint",
            size: pin.size.0,
            root: pin.root,
            met: false,
        });
        Ok(Self {
            chain: trust.chain(),
            replay: Replay::new(trust.genesis().clone())?,
            known: pin.into_iter().collect(),
            held: Vec::new(),
            held_bytes: 0,
            first_ms: None,
            bytes: 0,
            watch,
        })
    }

    /// Expects the tree of a kept checkpoint; text that is none says nothing.
    fn expect_note(&mut self, text: &str) {
        let note = Note::parse(text.as_bytes()).ok();
        if let Some(checkpoint) = note.and_then(|note| Checkpoint::parse(note.text()).ok())
            && checkpoint.size.0 > 0
        {
            self.known.push(Known {
                whose: "the checkpoint that the node kept",
                size: checkpoint.size.0,
                root: checkpoint.root,
                met: false,
            });
        }
    }

    /// Height of the next block.
    fn next(&self) -> Height {
        let held = u64::try_from(self.held.len()).unwrap_or(u64::MAX);
        self.replay
            .tip()
            .height
            .saturating_add(held)
            .saturating_add(1)
    }

    /// The next block. It is verified once it, or a block above it, brings a finalization.
    fn push(&mut self, segment: Option<u64>, payload: Payload, bytes: usize) -> Result<(), Fault> {
        let finalized = payload.finalization.is_some();
        self.held.push((segment, self.next(), payload));
        self.held_bytes += bytes;
        self.bytes += bytes as u64;
        if finalized || self.held_bytes > MAX_HELD {
            self.held_bytes = 0;
            for (segment, height, payload) in std::mem::take(&mut self.held) {
                self.verify(&payload).map_err(|wrong| Fault {
                    height,
                    segment,
                    wrong,
                })?;
            }
        }
        (self.watch)(bytes as u64);
        Ok(())
    }

    fn verify(&mut self, payload: &Payload) -> Result<(), Wrong> {
        self.replay
            .push(payload, &mut UnwrapErr(SysRng))
            .map_err(|fault| fault.kind)?;
        let tip = self.replay.tip();
        self.first_ms.get_or_insert(tip.time_ms);
        let size = tip.log_size().0;
        for known in self.known.iter_mut().filter(|known| !known.met) {
            if known.size <= size {
                known.met = true;
                if known.size < size || known.root != tip.log.root() {
                    return Err(known.differs());
                }
            }
        }
        Ok(())
    }

    fn end(self, torn: Option<Torn>, fault: Option<Fault>, segment: Option<u64>) -> Report {
        let Self {
            replay,
            known,
            held,
            first_ms,
            bytes,
            ..
        } = self;
        let end = replay.finish();
        let fault = fault.or_else(|| at_end(&end, &known, segment));
        let ended = |wanted: fn(&Lifecycle) -> bool| {
            let states = end.state.documents().values();
            states.filter(|state| wanted(&state.lifecycle)).count()
        };
        Report {
            chain: self.chain,
            height: end.tip.height,
            records: end.records,
            registrations: end.state.registrations().len(),
            revoked: ended(|lifecycle| matches!(lifecycle, Lifecycle::Revoked { .. })),
            superseded: ended(|lifecycle| matches!(lifecycle, Lifecycle::Superseded { .. })),
            log_size: end.log_size().0,
            log_root: end.log_root(),
            status_root: end.status_root(),
            first_ms,
            newest_ms: end.tip.time_ms,
            evidence: end.evidence,
            bytes,
            torn,
            unfinished: held.len(),
            fault,
        }
    }
}

impl Known {
    const fn differs(&self) -> Wrong {
        Wrong::OtherRoot {
            whose: self.whose,
            size: self.size,
            root: self.root,
        }
    }
}

/// What shows only when no block comes any more.
fn at_end(end: &Replayed, known: &[Known], segment: Option<u64>) -> Option<Fault> {
    let found = end.log_size().0;
    let unmet = known.iter().find(|known| !known.met);
    let short = unmet.map(|known| Wrong::Short {
        whose: known.whose,
        size: known.size,
        found,
    });
    let of_replay = end.fault.clone().map(|fault| Wrong::Block(fault.kind));
    let wrong = of_replay.or(short)?;
    Some(Fault {
        height: end.tip.height,
        segment,
        wrong,
    })
}

/// Audits an archive's files. `watch` is told the bytes of each block.
///
/// # Errors
/// [`AuditError`] if nothing can be said; what is wrong with the chain is in the report.
pub fn archive(
    trust: &Trust,
    files: &Archive,
    watch: &mut dyn FnMut(u64),
) -> Result<Report, AuditError> {
    let mut audit = Audit::new(trust, watch)?;
    if let Some(note) = &files.note {
        audit.expect_note(note);
    }
    let mut torn = None;
    for restart in &files.restarts {
        if let Err(fault) = audit.replay.go_on_by(restart) {
            let fault = Fault {
                height: fault.height,
                segment: None,
                wrong: fault.kind.into(),
            };
            return Ok(audit.end(None, Some(fault), None));
        }
    }
    for number in 1..=files.last() {
        let fault = |height, wrong: SegmentFault| Fault {
            height,
            segment: Some(number),
            wrong: wrong.into(),
        };
        let mut segment = match files.read(number, audit.chain, audit.next())? {
            Ok(segment) => segment,
            Err(wrong) => {
                let fault = fault(audit.next(), wrong);
                return Ok(audit.end(None, Some(fault), Some(number)));
            }
        };
        loop {
            let pushed = match segment.next(audit.next()) {
                Ok(Next::Frame(payload, _, bytes)) => audit.push(Some(number), *payload, bytes),
                Ok(Next::End) => break,
                Ok(Next::Torn(tail)) => {
                    torn = Some(tail);
                    break;
                }
                Err(wrong) => Err(fault(audit.next(), wrong)),
            };
            if let Err(fault) = pushed {
                return Ok(audit.end(None, Some(fault), Some(number)));
            }
        }
    }
    Ok(audit.end(torn, None, Some(files.last())))
}

/// Audits what a node serves, up to its newest block at the beginning. `watch` is told of each block.
///
/// # Errors
/// As [`archive`]; also if the node stops answering.
pub async fn node(
    trust: &Trust,
    api: &Api,
    head: Height,
    watch: &mut dyn FnMut(u64),
) -> Result<Report, AuditError> {
    let mut audit = Audit::new(trust, watch)?;
    let mut coming: VecDeque<JoinHandle<Result<Vec<u8>, ApiError>>> = VecDeque::new();
    let mut asked = 0;
    while audit.next() <= head {
        while asked < head.0 && asked < audit.next().0.saturating_add(AHEAD) {
            asked += 1;
            let (api, height) = (api.clone(), Height(asked));
            coming.push_back(tokio::spawn(async move { api.block(height).await }));
        }
        let Some(download) = coming.pop_front() else {
            return Err(AuditError::Task);
        };
        let bytes = download.await.map_err(|_ended| AuditError::Task)??;
        let height = audit.next();
        let fault = |wrong| Fault {
            height,
            segment: None,
            wrong,
        };
        let pushed = match Payload::decode(&bytes) {
            Ok(payload) => audit.push(None, payload, bytes.len()),
            Err(error) => Err(fault(error.into())),
        };
        if let Err(fault) = pushed {
            return Ok(audit.end(None, Some(fault), None));
        }
    }
    Ok(audit.end(None, None, None))
}
