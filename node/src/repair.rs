//! Fetches damaged blocks of the archive from peers, one run of blocks after the other, and puts them back.
//!
//! It asks with the engine's own `SyncReq`, or a node that follows with the `RangeReq` of those ([`Question`]), from one
//! peer at a time, and believes none: what comes must be the heights that were asked for, hashed to its headers, linked to
//! each other and to the own blocks around it, and finalized by a certificate of the epoch's validators ([`check`]). Who
//! sends anything else is disconnected and not asked again in that pass. It knows no engine: it works beside a running one,
//! or none, and before one can start ([`early`]).

pub mod calendar;
pub mod check;
pub mod early;

use crate::archivist;
use crate::exit;
use crate::gossip;
use crate::mesh::Mesh;
use crate::range::{self, Range, RangeReq};
use crate::storage::archive::{Hole, Reader, RepairError, Repairer};
use calendar::{Calendar, Turns};
use check::{Bad, Wanted};
use consensus::message::{Message, SyncReq, SyncResp};
use consensus::{Block, EpochInfo, Peer};
use ledger::certificate::Certificate;
use ledger::frame::Payload;
use ledger::header::Header;
use ledger::id::Height;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a peer may take to answer.
#[cfg(not(test))]
const ANSWER: Duration = Duration::from_secs(5);
#[cfg(test)]
const ANSWER: Duration = Duration::from_secs(1);
/// Pause before damage that could not be repaired is looked at again: the first, and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));
/// Up to so many blocks are few.
const FEW: u64 = 64;

/// How a node asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// As a validator that takes part.
    Sync,
    /// As one that follows.
    Range,
}

/// How much is asked for at once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Portion {
    /// One block, so that it comes with the certificate that is nearest to it.
    One,
    /// A mebibyte or two.
    Many,
}

impl Question {
    fn bytes(self, from: Height, portion: Portion) -> Vec<u8> {
        match self {
            Self::Sync => {
                let max_bytes = match portion {
                    Portion::One => 1,
                    Portion::Many => 1 << 20,
                };
                Message::SyncReq(SyncReq { from, max_bytes }).encode()
            }
            Self::Range => {
                let count = match portion {
                    Portion::One => 1,
                    Portion::Many => u32::try_from(range::MAX_BLOCKS).unwrap_or(1),
                };
                gossip::Message::RangeReq(RangeReq { from, count }).encode()
            }
        }
    }
}

/// Where answers to a repair's requests are handed in, and what was repaired. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Desk(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    asked: Mutex<Option<Asked>>,
    blocks: AtomicU64,
    liars: AtomicU64,
}

#[derive(Debug)]
struct Asked {
    peer: Peer,
    from: Height,
    reply: oneshot::Sender<SyncResp>,
}

impl Desk {
    /// Takes an answer that a repair waits for; gives back what nobody here asked this peer for.
    #[must_use]
    pub fn take(&self, from: &Peer, response: SyncResp) -> Option<SyncResp> {
        let first = response.blocks.first().map(|block| block.header.height);
        let mut asked = self.asked();
        match asked.take_if(|asked| asked.peer == *from && Some(asked.from) == first) {
            Some(asked) => {
                // Who gave up waiting has asked another.
                asked.reply.send(response).ok();
                None
            }
            None => Some(response),
        }
    }

    /// The same for a range.
    #[must_use]
    pub fn take_range(&self, from: &Peer, range: Range) -> Option<Range> {
        let first = range.blocks.first().map(|block| block.header.height);
        let mut asked = self.asked();
        let found = asked.take_if(|asked| asked.peer == *from && Some(asked.from) == first);
        let Some(asked) = found else {
            return Some(range);
        };
        // Without a certificate, as where a restart went on, it is no answer: another is asked.
        if let Some(certificate) = range.certificates.into_vec().pop() {
            let response = SyncResp {
                blocks: range.blocks,
                headers: range.headers,
                certificate,
            };
            asked.reply.send(response).ok();
        }
        None
    }

    /// Blocks that were put back before the node started.
    pub fn add(&self, blocks: u64) {
        self.0.blocks.fetch_add(blocks, Ordering::Relaxed);
    }

    /// Blocks that were put back since the start.
    pub fn repaired(&self) -> u64 {
        self.0.blocks.load(Ordering::Relaxed)
    }

    /// Peers that sent something wrong.
    pub fn liars(&self) -> u64 {
        self.0.liars.load(Ordering::Relaxed)
    }

    fn asked(&self) -> MutexGuard<'_, Option<Asked>> {
        self.0.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Who is connected now.
pub type Connected = Arc<dyn Fn() -> Vec<Peer> + Send + Sync>;

/// Repairs an archive.
#[derive(Clone)]
pub struct Repair {
    /// Finds the damage, reads what is around it.
    pub archive: Reader,
    /// Puts blocks back.
    pub repairer: Repairer,
    /// Whose certificates count for which block.
    pub calendar: Calendar,
    /// To ask.
    pub mesh: Arc<dyn Mesh>,
    /// In which words.
    pub question: Question,
    /// Who can be asked.
    pub connected: Connected,
    /// Where the answers come.
    pub desk: Desk,
}

impl fmt::Debug for Repair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Repair")
            .field("desk", &self.desk)
            .finish_non_exhaustive()
    }
}

/// What one pass has so far.
#[derive(Debug, Default)]
struct Haul {
    /// Of the segment that is being worked on, encoded.
    blocks: BTreeMap<Height, Vec<u8>>,
    /// Of all segments: later blocks are of the epochs that begin there.
    turns: Turns,
    liars: BTreeSet<Peer>,
}

impl Haul {
    fn header(&self, height: Option<Height>) -> Option<Header> {
        let payload = Payload::decode(self.blocks.get(&height?)?).ok()?;
        Some(crate::driver::serve::decode(payload).ok()?.0.header)
    }
}

/// A run of blocks was not fetched.
#[derive(Debug, thiserror::Error)]
enum NotFetched {
    #[error("no connected peer gave it")]
    Nobody,
    #[error("what peers agree on is not what the own blocks around it say")]
    OtherChain,
}

impl Repair {
    /// Repairs whatever is found, for ever.
    pub async fn run(self) {
        loop {
            self.finish().await;
            self.archive.found().await;
        }
    }

    /// Works until nothing is damaged.
    pub async fn finish(&self) {
        let (mut pause, longest) = AGAIN;
        while !self.pass().await {
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(longest);
        }
    }

    /// Goes once over all that is damaged; whether all of it was repaired.
    async fn pass(&self) -> bool {
        let mut segments: BTreeMap<u64, Vec<Hole>> = BTreeMap::new();
        for hole in self.archive.holes() {
            segments.entry(hole.segment).or_default().push(hole);
        }
        let mut whole = true;
        let mut haul = Haul::default();
        for (number, holes) in segments {
            let mut fetched = true;
            for hole in &holes {
                if let Err(why) = self.fetch(hole, &mut haul).await {
                    tracing::error!("{hole}: not repaired yet: {why}");
                    fetched = false;
                    break;
                }
            }
            let blocks = std::mem::take(&mut haul.blocks);
            whole &= fetched && self.put_back(number, blocks).await;
        }
        whole
    }

    async fn put_back(&self, number: u64, blocks: BTreeMap<Height, Vec<u8>>) -> bool {
        let repairer = self.repairer.clone();
        let count = u64::try_from(blocks.len()).unwrap_or(u64::MAX);
        let work = move || repairer.put_back(number, &blocks);
        let Ok(done) = tokio::task::spawn_blocking(work).await else {
            // It panicked, which ends the process, or the node stops.
            return false;
        };
        match done {
            Ok(aside) => {
                self.desk.0.blocks.fetch_add(count, Ordering::Relaxed);
                tracing::warn!(
                    segment = number, blocks = count, old = %aside.display(),
                    "the archive was repaired from peers; the damaged file is kept"
                );
                true
            }
            Err(RepairError::Fatal(fatal)) => exit::abort(&fatal),
            Err(error @ (RepairError::Missing(_) | RepairError::NoRoom(_))) => {
                let error = exit::Chain(&error);
                tracing::error!(segment = number, %error, "the segment is not repaired yet");
                false
            }
        }
    }

    /// Fetches all blocks of a hole.
    async fn fetch(&self, hole: &Hole, haul: &mut Haul) -> Result<(), NotFetched> {
        let mut below = match haul.header(hole.first.prev()) {
            Some(header) => Some(header),
            None => self.header(hole.first.prev()).await,
        };
        let above = self.header(hole.last.next()).await;
        let mut wanted = Wanted {
            first: hole.first,
            last: hole.last,
            below: below.as_ref().map(Header::hash),
            above: above.map(|header| header.parent),
        };
        while wanted.first <= hole.last {
            let epochs = self.epochs_after(below.clone(), haul.turns.clone()).await;
            let found = self.ask_all(wanted, &epochs, &mut haul.liars).await?;
            for (block, finalization) in found {
                let header = block.header.clone();
                let begins = below.as_ref().is_none_or(|below| below.flags.is_seal());
                if begins || header.flags.is_seal() {
                    let turn = (header.clone(), finalization.clone());
                    haul.turns.insert(header.height, turn);
                }
                let payload = archivist::payload(&block, finalization);
                let payload = payload.map_err(|_too_long| NotFetched::Nobody)?;
                haul.blocks.insert(header.height, payload);
                wanted.first = header.height.saturating_add(1);
                wanted.below = Some(header.hash());
                below = Some(header);
            }
        }
        match (wanted.above, wanted.below) {
            (Some(above), Some(last)) if above != last && hole.first <= hole.last => {
                Err(NotFetched::OtherChain)
            }
            _ => Ok(()),
        }
    }

    /// Asks one peer after the other for the first wanted blocks, until one gives them; at least one.
    async fn ask_all(
        &self,
        wanted: Wanted,
        epochs: &Arc<[EpochInfo]>,
        liars: &mut BTreeSet<Peer>,
    ) -> Result<Vec<(Block, Option<Certificate>)>, NotFetched> {
        let left = wanted.last.0.saturating_sub(wanted.first.0);
        let portions: &[Portion] = if left < FEW {
            &[Portion::One, Portion::Many]
        } else {
            &[Portion::Many]
        };
        for peer in (self.connected)() {
            for portion in portions {
                if liars.contains(&peer) {
                    break;
                }
                let Some(response) = self.ask(peer, wanted.first, *portion).await else {
                    break;
                };
                let epochs = Arc::clone(epochs);
                let check = move || check::blocks(response, &wanted, &epochs);
                match tokio::task::spawn_blocking(check).await {
                    Ok(Ok(found)) if !found.is_empty() => return Ok(found),
                    // All of them together may be linked to the own block above.
                    Ok(Ok(_) | Err(Bad::Epoch)) => {}
                    Ok(Err(bad)) => self.lied(peer, &bad, liars),
                    Err(_stopping) => return Err(NotFetched::Nobody),
                }
            }
        }
        Err(NotFetched::Nobody)
    }

    fn lied(&self, peer: Peer, bad: &Bad, liars: &mut BTreeSet<Peer>) {
        let bad = exit::Chain(bad);
        tracing::warn!(peer = %peer.0, %bad, "a peer sent wrong blocks for a repair");
        self.desk.0.liars.fetch_add(1, Ordering::Relaxed);
        liars.insert(peer);
        self.mesh
            .disconnect(&peer, "sent wrong blocks for a repair");
    }

    async fn ask(&self, peer: Peer, from: Height, portion: Portion) -> Option<SyncResp> {
        let (reply, answer) = oneshot::channel();
        *self.desk.asked() = Some(Asked { peer, from, reply });
        let request = self.question.bytes(from, portion);
        self.mesh.send(&peer, request.into());
        tokio::time::timeout(ANSWER, answer).await.ok()?.ok()
    }

    /// The epochs that may have finalized the block after this one.
    async fn epochs_after(&self, below: Option<Header>, turns: Turns) -> Arc<[EpochInfo]> {
        let (calendar, archive) = (self.calendar.clone(), self.archive.clone());
        let look = move || calendar.after(&archive, &turns, below.as_ref()).into();
        let found = tokio::task::spawn_blocking(look).await;
        found.unwrap_or_else(|_stopping| Arc::clone(&self.calendar.known))
    }

    /// The header of an own block, if it can be read.
    async fn header(&self, height: Option<Height>) -> Option<Header> {
        let (archive, height) = (self.archive.clone(), height?);
        let read = move || {
            let payload = archive.read(height).ok()??;
            let (block, _) = crate::driver::serve::decode(payload).ok()?;
            Some(block.header)
        };
        tokio::task::spawn_blocking(read).await.ok()?
    }
}
