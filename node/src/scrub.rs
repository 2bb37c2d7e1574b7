//! The scrub: reads all that is archived again and again, slowly, so that damage is found while peers can still repair it.
//!
//! Every segment's header, every frame's checksum, every body against its header, every header's hash against the next block's parent, every
//! leaf's hash against the log's hashes, and every tile of those against the level above; and the journal's batches. A bad
//! block is entered into the archive's holes, from where [`crate::repair`] takes it; a bad hash of the log is written again
//! from the blocks; a bad journal is begun anew by the driver, with what the engine holds in memory. It holds no lock while it reads, and drops the pages that it is about to read from the cache, so that the disk is asked.

use crate::chain::Chain;
use crate::exit;
use crate::storage::Fatal;
use crate::storage::archive::{Part, ReadError, Stand};
use crate::storage::journal::Durable;
use ledger::block::{Block, check_delivery};
use ledger::frame::{FRAME_HEADER_LEN, FRAME_TRAILER_LEN, Payload};
use ledger::hash::{BlockHash, Hash};
use ledger::id::Height;
use ledger::log::leaf_hash;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio_util::sync::CancellationToken;

/// Longest that it sleeps before it looks whether the node stops.
const NAP: Duration = Duration::from_millis(200);

/// How far it is. Shown in metrics and status.
#[derive(Debug, Default)]
pub struct Progress {
    height: AtomicU64,
    passes: AtomicU64,
    bytes: AtomicU64,
    findings: AtomicU64,
    mended: AtomicU64,
    journal_findings: AtomicU64,
}

macro_rules! read {
    ($(#[doc = $help:literal] $name:ident),+) => {
        impl Progress { $(
            #[doc = $help]
            pub fn $name(&self) -> u64 { self.$name.load(Ordering::Relaxed) }
        )+ }
    };
}

read! {
    /// Block that was read last.
    height,
    /// Whole passes since the start.
    passes,
    /// Bytes read since the start.
    bytes,
    /// Damaged blocks and hashes found since the start.
    findings,
    /// Hashes of the log that were written again.
    mended,
    /// Times that the journal was found to be damaged since the start.
    journal_findings
}

/// The scrub; lives on a thread of its own.
#[derive(Debug)]
pub struct Scrub {
    /// What is read.
    pub chain: Chain,
    /// What of the journal is durable; a node that follows has none.
    pub journal: Option<Durable>,
    /// Bytes per second; 0 = off.
    pub pace: u64,
    /// Pause between two passes.
    pub pause: Duration,
    /// Ends it.
    pub stop: CancellationToken,
}

/// The node stops.
struct Stopped;

impl Scrub {
    /// Works until the node stops. Blocks its thread.
    pub fn run(self) {
        while self.pace > 0 && self.pass().is_ok() {
            self.chain.scrub().passes.fetch_add(1, Ordering::Relaxed);
            if self.sleep(self.pause.max(NAP)).is_err() {
                return;
            }
        }
    }

    fn pass(&self) -> Result<(), Stopped> {
        self.journal()?;
        let mut parent: Option<(Height, BlockHash)> = None;
        let archive = self.chain.archive();
        for part in archive.parts() {
            match archive.check_header(&part) {
                Ok(Stand::Whole) => {}
                Ok(Stand::Damaged) => {
                    let findings = &self.chain.scrub().findings;
                    findings.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) => {
                    let error = exit::Chain(&error);
                    tracing::error!(segment = part.number, %error, "the scrub cannot read a segment's header");
                }
            }
            self.part(&part, &mut parent)?;
        }
        self.tiles()
    }

    /// The journal is short, and read at once.
    fn journal(&self) -> Result<(), Stopped> {
        let begin = Instant::now();
        let Some(journal) = &self.journal else {
            return Ok(());
        };
        match journal.check() {
            Ok(bytes) => self.rest(bytes, begin),
            Err(damage) => {
                let findings = &self.chain.scrub().journal_findings;
                findings.fetch_add(1, Ordering::Relaxed);
                let error = exit::Chain(&damage);
                tracing::error!(%error, "the journal on disk is damaged: it is written anew from memory");
                Ok(())
            }
        }
    }

    fn part(&self, part: &Part, parent: &mut Option<(Height, BlockHash)>) -> Result<(), Stopped> {
        let (archive, progress) = (self.chain.archive(), self.chain.scrub());
        let (mut next, end) = part.blocks;
        while let Some(height) = archive.readable_from(next).filter(|height| *height < end) {
            let begin = Instant::now();
            let read = archive.read_encoded(height);
            let length = match read {
                Ok(Some(bytes)) => {
                    let length = bytes.len();
                    if let Some(block) = self.block(height, &bytes, parent) {
                        *parent = Some((height, block.header.hash()));
                        self.leaves(&block);
                    }
                    length
                }
                Ok(None) | Err(ReadError::Away { .. }) => 0,
                Err(ReadError::Damaged(_)) => {
                    progress.findings.fetch_add(1, Ordering::Relaxed);
                    0
                }
                Err(ReadError::File(error)) => {
                    let error = exit::Chain(&error);
                    tracing::error!(%height, %error, "the scrub cannot read a block");
                    0
                }
            };
            let length = length
                .saturating_add(FRAME_HEADER_LEN)
                .saturating_add(FRAME_TRAILER_LEN);
            let length = u64::try_from(length).unwrap_or(u64::MAX);
            progress.height.store(height.0, Ordering::Relaxed);
            progress.bytes.fetch_add(length, Ordering::Relaxed);
            self.rest(length, begin)?;
            next = height.saturating_add(1);
        }
        Ok(())
    }

    /// A block that is what its neighbours and its header say; or the damage is entered.
    fn block(
        &self,
        height: Height,
        bytes: &[u8],
        parent: &Option<(Height, BlockHash)>,
    ) -> Option<Block> {
        let payload = Payload::decode(bytes).ok();
        let block = payload.and_then(|payload| Block::decode(&payload.block).ok());
        let block = block.filter(|block| {
            block.header.height == height && check_delivery(&block.header, &block.body).is_ok()
        });
        let below = parent.filter(|(below, _)| below.next() == Some(height));
        match (block, below) {
            (Some(block), Some((below, hash))) if block.header.parent != hash => {
                // One of the two was changed together with its checksum.
                self.condemn(below);
                self.condemn(height);
                None
            }
            (Some(block), _) => Some(block),
            (None, _) => {
                self.condemn(height);
                None
            }
        }
    }

    fn condemn(&self, height: Height) {
        self.chain.scrub().findings.fetch_add(1, Ordering::Relaxed);
        self.chain.archive().condemn(height);
    }

    /// Compares a block's leaves with the lowest level of the log's hashes.
    fn leaves(&self, block: &Block) {
        let log = self.chain.log();
        let (Ok(leaves), size) = (block.leaves(), block.header.log_size) else {
            return self.condemn(block.header.height);
        };
        if size > log.size() {
            // Archived a moment ago: its hashes come next.
            return;
        }
        let hashes: Vec<Hash> = leaves.iter().map(|leaf| leaf_hash(leaf)).collect();
        let count = u64::try_from(hashes.len()).unwrap_or(u64::MAX);
        let first = size.0.saturating_sub(count);
        if log.hashes(0, first, hashes.len()).ok().as_ref() != Some(&hashes) {
            self.mend(0, first, &hashes);
        }
    }

    /// Compares every full tile with its hash in the level above, from below: each level rests on one that was compared.
    fn tiles(&self) -> Result<(), Stopped> {
        let log = self.chain.log();
        let mut bad = None;
        loop {
            // A hash that was written again is looked at again, once.
            let found = log.unsound_tile(|length| self.rest(length, Instant::now()).is_ok());
            let (level, tile, root) = match found {
                Ok(Some(found)) => found,
                Ok(None) => break,
                Err(error) => {
                    let error = exit::Chain(&error);
                    tracing::error!(%error, "the scrub cannot read the log's hashes");
                    break;
                }
            };
            if bad == Some((level, tile)) {
                break;
            }
            bad = Some((level, tile));
            self.mend(level.saturating_add(1), tile, &[root]);
        }
        if self.stop.is_cancelled() {
            return Err(Stopped);
        }
        Ok(())
    }

    fn mend(&self, level: u8, start: u64, hashes: &[Hash]) {
        let progress = self.chain.scrub();
        progress.findings.fetch_add(1, Ordering::Relaxed);
        tracing::error!(
            level,
            start,
            "hashes of the log are damaged: they are written again"
        );
        match self.chain.log().mend(level, start, hashes) {
            Ok(()) => progress.mended.fetch_add(1, Ordering::Relaxed),
            Err(error) => exit::abort(&Fatal::from(error)),
        };
    }

    /// Sleeps so long that so many bytes do not go over the pace.
    fn rest(&self, bytes: u64, begin: Instant) -> Result<(), Stopped> {
        let micros = bytes.saturating_mul(1_000_000) / self.pace.max(1);
        let due = Duration::from_micros(micros);
        self.sleep(due.saturating_sub(begin.elapsed()))
    }

    fn sleep(&self, time: Duration) -> Result<(), Stopped> {
        let end = Instant::now() + time;
        loop {
            if self.stop.is_cancelled() {
                return Err(Stopped);
            }
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(());
            }
            std::thread::sleep(left.min(NAP));
        }
    }
}
