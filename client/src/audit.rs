//! The whole chain verified again: every frame, certificate, signature, rule, leaf and root, from genesis to the head.
//!
//! What is right is decided by [`ledger::replay`] alone; here are the places that blocks come from, and what they
//! come to. Memory holds one segment and the state of the ledger, never the archive.

pub mod segments;

use crate::api::{Api, ApiError};
use getrandom::SysRng;
use getrandom::rand_core::UnwrapErr;
use ledger::checkpoint::Checkpoint;
use ledger::codec::DecodeError;
use ledger::frame::{FrameError, Payload};
use ledger::genesis::GenesisError;
use ledger::hash::{ChainId, Hash};
use ledger::id::{Epoch, Height, TimeMs};
use ledger::note::{Note, NoteError};
use ledger::receipt::{Failure, Trust};
use ledger::replay::{FaultKind, Recorded, Replay};
use ledger::restart::RestartFile;
use ledger::state::Lifecycle;
use segments::{Archive, ManifestFault, Next, OpenError, SegmentFault, Torn};
use std::collections::{BTreeSet, VecDeque};
use tokio::task::JoinHandle;

/// Most bytes of blocks that wait for the finalization of a descendant: what one sync of a node covers.
const MAX_HELD: usize = 64 << 20;
/// Most newest blocks without a finalization that a node's archive may end with: a range of blocks that it fetches, and
/// what leads on from there to a certified one. A crash or a stop in the midst of it leaves them.
const MAX_UNCERTIFIED: usize = 1_024 + 64;
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
    /// What the node serves as its checkpoint is none.
    #[error("the node's checkpoint is none")]
    Note(#[from] NoteError),
    /// What the node serves as its checkpoint is not cosigned by those whom the trust file names.
    #[error("the node's checkpoint is not cosigned by the validators of the trust file")]
    Checkpoint(#[from] Failure),
    /// What the node serves as a restart file is none.
    #[error("the node's restart file is none")]
    Restart(#[source] DecodeError),
    /// The node gave an older restart file for a newer epoch, which would go on for ever.
    #[error(
        "asked for the restart that opened epoch {asked} or a later one, the node gives one about epoch {about}"
    )]
    OldRestart {
        /// The epoch that was asked for.
        asked: Epoch,
        /// The epoch that the file ends.
        about: Epoch,
    },
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
    /// The files are not those of the manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestFault),
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
    /// Newest blocks without a finalization, as a node leaves them that is stopped while it follows. They are right, and
    /// count for nothing.
    pub unfinished: usize,
    /// The trees that are known from elsewhere, by whom, with their sizes: the chain had to reach and to hold them.
    pub compared: Vec<(&'static str, u64)>,
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
    /// The epochs of the restart files that the replay knows.
    restarts: BTreeSet<Epoch>,
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
            restarts: BTreeSet::new(),
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
            self.expect("the checkpoint that the node kept", &checkpoint);
        }
    }

    fn expect(&mut self, whose: &'static str, checkpoint: &Checkpoint) {
        self.known.push(Known {
            whose,
            size: checkpoint.size.0,
            root: checkpoint.root,
            met: false,
        });
    }

    /// Tells the replay of the restart files that are there now. A node has such a file before it has a block that
    /// needs it: those that are there after a segment was read suffice for the segment.
    fn learn(&mut self, files: &Archive) -> Result<Result<(), Fault>, OpenError> {
        for (epoch, file) in files.restarts(&self.restarts)? {
            self.restarts.insert(epoch);
            if let Err(fault) = self.follow(&file) {
                return Ok(Err(fault));
            }
        }
        Ok(Ok(()))
    }

    /// The same with those that a node serves; one of an older version serves none.
    async fn follow_served(&mut self, api: &Api) -> Result<Result<(), Fault>, AuditError> {
        let mut newest: Option<RestartFile> = None;
        let mut next = Epoch(0).next();
        while let Some(epoch) = next {
            let bytes = match api.restart(epoch).await {
                Ok(bytes) => bytes,
                Err(ApiError::NotFound { .. }) => break,
                Err(error) => return Err(error.into()),
            };
            let file = RestartFile::decode(&bytes).map_err(AuditError::Restart)?;
            // It opens an epoch one or two above the one that it is about: it may be the answer to two questions.
            let about = file.base().epoch;
            if about.saturating_add(2) < epoch {
                let asked = epoch;
                return Err(AuditError::OldRestart { asked, about });
            }
            next = about.max(epoch).next();
            if newest.as_ref() == Some(&file) {
                continue;
            }
            if let Err(fault) = self.follow(&file) {
                return Ok(Err(fault));
            }
            newest = Some(file);
        }
        Ok(Ok(()))
    }

    fn follow(&mut self, file: &RestartFile) -> Result<(), Fault> {
        self.replay.go_on_by(file).map_err(|fault| Fault {
            height: fault.height,
            segment: None,
            wrong: fault.kind.into(),
        })
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

    /// The next block. It is verified once it, or a block above it, brings a finalization or is final by a restart.
    fn push(&mut self, segment: Option<u64>, payload: Payload, bytes: usize) -> Result<(), Fault> {
        let finalized = payload.finalization.is_some() || self.replay.awaits(self.next());
        self.held.push((segment, self.next(), payload));
        self.held_bytes += bytes;
        self.bytes += bytes as u64;
        if finalized || self.held_bytes > MAX_HELD {
            self.verify_held(self.held.len())?;
        }
        (self.watch)(bytes as u64);
        Ok(())
    }

    /// Verifies the first of the blocks that wait.
    fn verify_held(&mut self, count: usize) -> Result<(), Fault> {
        let rest = self.held.split_off(count.min(self.held.len()));
        let first = std::mem::replace(&mut self.held, rest);
        if self.held.is_empty() {
            self.held_bytes = 0;
        }
        for (segment, height, payload) in first {
            self.verify(&payload).map_err(|wrong| Fault {
                height,
                segment,
                wrong,
            })?;
        }
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

    /// No block comes any more.
    fn end(mut self, torn: Option<Torn>, fault: Option<Fault>, ending: &Ending) -> Report {
        let fault = fault.or_else(|| self.reach_restart().err());
        let mut report = self.report(torn);
        report.fault = fault.or_else(|| self.fault_at_end(ending));
        report
    }

    /// A file may have come after the block that it makes final.
    fn reach_restart(&mut self) -> Result<(), Fault> {
        let named = |(_, height, _): &(_, Height, _)| self.replay.awaits(*height);
        match self.held.iter().rposition(named) {
            Some(at) => self.verify_held(at + 1),
            None => Ok(()),
        }
    }

    /// What the blocks that are final come to.
    fn report(&self, torn: Option<Torn>) -> Report {
        let (tip, state) = (self.replay.tip(), self.replay.state());
        let ended = |wanted: fn(&Lifecycle) -> bool| {
            let states = state.documents().values();
            states.filter(|state| wanted(&state.lifecycle)).count()
        };
        let known = self.known.iter();
        Report {
            chain: self.chain,
            height: tip.height,
            records: self.replay.records(),
            registrations: state.registrations().len(),
            revoked: ended(|lifecycle| matches!(lifecycle, Lifecycle::Revoked { .. })),
            superseded: ended(|lifecycle| matches!(lifecycle, Lifecycle::Superseded { .. })),
            log_size: tip.log_size().0,
            log_root: tip.log.root(),
            status_root: tip.trie.root(),
            first_ms: self.first_ms,
            newest_ms: tip.time_ms,
            evidence: self.replay.evidence().to_vec(),
            bytes: self.bytes,
            torn,
            unfinished: self.held.len(),
            compared: known.map(|known| (known.whose, known.size)).collect(),
            fault: None,
        }
    }

    /// What shows only when no block comes any more.
    fn fault_at_end(&mut self, ending: &Ending) -> Option<Fault> {
        let (height, segment) = (self.replay.tip().height, ending.segment);
        let fault = |wrong| Fault {
            height,
            segment,
            wrong,
        };
        if let Some(found) = self.replay.fault_at_end() {
            return Some(fault(found.kind.into()));
        }
        let not_final = self.held.first().map(|(_, height, _)| *height);
        let count = self.held.len();
        if let Err(fault) = self.verify_held(count) {
            return Some(fault);
        }
        if let Some(height) = not_final.filter(|_| count > ending.uncertified) {
            return Some(Fault {
                height,
                segment,
                wrong: FaultKind::NotFinal.into(),
            });
        }
        if let Some(known) = self.known.iter().find(|known| !known.met) {
            return Some(fault(Wrong::Short {
                whose: known.whose,
                size: known.size,
                found: self.replay.tip().log_size().0,
            }));
        }
        let listed = ending.listed.filter(|listed| *listed != height)?;
        let found = height;
        Some(fault(ManifestFault::Height { listed, found }.into()))
    }
}

/// Where the blocks end, and how they may.
#[derive(Default)]
struct Ending {
    segment: Option<u64>,
    /// So many of the newest may be without a finalization.
    uncertified: usize,
    /// Newest block by the manifest.
    listed: Option<Height>,
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
    let mut ending = Ending {
        segment: None,
        // What an export lists is complete.
        uncertified: if files.height().is_some() {
            0
        } else {
            MAX_UNCERTIFIED
        },
        listed: files.height(),
    };
    if let Err(wrong) = files.check_manifest(audit.chain)? {
        let fault = Fault {
            height: audit.next(),
            segment: None,
            wrong: wrong.into(),
        };
        return Ok(audit.end(None, Some(fault), &ending));
    }
    let mut torn = None;
    for number in 1..=files.last() {
        ending.segment = Some(number);
        let fault = |height, wrong: SegmentFault| Fault {
            height,
            segment: Some(number),
            wrong: wrong.into(),
        };
        let mut segment = match files.read(number, audit.chain, audit.next())? {
            Ok(segment) => segment,
            Err(wrong) => {
                let fault = fault(audit.next(), wrong);
                return Ok(audit.end(None, Some(fault), &ending));
            }
        };
        if let Err(fault) = audit.learn(files)? {
            return Ok(audit.end(None, Some(fault), &ending));
        }
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
                return Ok(audit.end(None, Some(fault), &ending));
            }
        }
    }
    Ok(audit.end(torn, None, &ending))
}

/// The newest checkpoint that a node serves, cosigned by a quorum of those whom the trust file names. None if nothing
/// was cosigned yet, as the node says.
///
/// # Errors
/// [`AuditError`] if the node does not answer, or serves something else.
pub async fn checkpoint(trust: &Trust, api: &Api) -> Result<Option<Checkpoint>, AuditError> {
    let note = match api.checkpoint().await {
        Ok(note) => note,
        Err(ApiError::NotFound { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    Ok(Some(trust.cosigned(&Note::parse(&note)?)?))
}

/// Audits what a node serves, up to its newest block as it says. It must reach the [`checkpoint`] that was fetched
/// before. `watch` is told of each block.
///
/// # Errors
/// As [`archive`]; also if the node stops answering.
pub async fn node(
    trust: &Trust,
    api: &Api,
    (head, served): (Height, Option<&Checkpoint>),
    watch: &mut dyn FnMut(u64),
) -> Result<Report, AuditError> {
    let mut audit = Audit::new(trust, watch)?;
    if let Some(checkpoint) = served {
        audit.expect("the cosigned checkpoint that the node serves", checkpoint);
    }
    let ending = Ending {
        uncertified: MAX_UNCERTIFIED,
        ..Ending::default()
    };
    if let Err(fault) = audit.follow_served(api).await? {
        return Ok(audit.end(None, Some(fault), &ending));
    }
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
            return Ok(audit.end(None, Some(fault), &ending));
        }
    }
    Ok(audit.end(None, None, &ending))
}
