//! Fetches damaged blocks of the archive from peers, one run of blocks after the other, and puts them back.
//!
//! It asks with the engine's own `SyncReq`, or with the `RangeReq` of nodes that follow ([`Question`]): below a restart's
//! anchor only that one has an answer. It asks one peer at a time, and believes none: what comes must be the heights that
//! were asked for, hashed to its headers, linked to each other and to the own blocks around it, and finalized by a
//! certificate of the epoch's validators or by a restart file ([`check`]). Who sends anything else is disconnected and not
//! asked again in that pass. What came is put back, also if something else of the segment did not come. It knows no engine:
//! it works beside a running one, or none, and before one can start ([`early`]).

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
use check::{Answer, Bad, Wanted};
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
/// Bytes that are fetched before they are put back; a segment seldom has as many.
const MOST_BYTES: usize = 80 << 20;
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
    reply: oneshot::Sender<Answer>,
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
                asked.reply.send(Answer::Certified(response)).ok();
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
        asked.reply.send(range.into()).ok();
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
    fn bytes(&self) -> usize {
        self.blocks.values().map(Vec::len).sum()
    }

    fn header(&self, height: Option<Height>) -> Option<Header> {
        let payload = Payload::decode(self.blocks.get(&height?)?).ok()?;
        Some(crate::driver::serve::decode(payload).ok()?.0.header)
    }
}

/// What came of a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pass {
    /// All that was damaged is repaired.
    Whole,
    /// Some of it.
    Some,
    /// None of it.
    Nothing,
}

/// A run of blocks was not fetched.
#[derive(Debug, thiserror::Error)]
enum NotFetched {
    #[error("no connected peer gave it")]
    Nobody,
    #[error("the rest comes in the next pass")]
    Later,
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
        self.until(None).await;
    }

    /// Works until this block can be read, and then as long as everything else that is damaged comes at once.
    pub async fn bring(&self, needed: Height) {
        self.until(Some(needed)).await;
    }

    async fn until(&self, needed: Option<Height>) {
        let (mut pause, longest) = AGAIN;
        loop {
            let pass = self.pass(needed).await;
            let enough = match needed {
                Some(height) => self.header(Some(height)).await.is_some(),
                None => pass == Pass::Whole,
            };
            if enough {
                return;
            }
            if pass != Pass::Nothing {
                (pause, _) = AGAIN;
            }
            tokio::time::sleep(pause).await;
            pause = pause.saturating_mul(2).min(longest);
        }
    }

    /// Goes once over all that is damaged. Ends early if something does not come while what is needed is there.
    async fn pass(&self, needed: Option<Height>) -> Pass {
        let mut segments: BTreeMap<u64, Vec<Hole>> = BTreeMap::new();
        for hole in self.archive.holes() {
            segments.entry(hole.segment).or_default().push(hole);
        }
        let (mut whole, mut some) = (true, false);
        let mut haul = Haul::default();
        for (number, holes) in segments {
            let mut fetched = false;
            for hole in &holes {
                match self.fetch(hole, &mut haul).await {
                    Ok(()) => fetched = true,
                    Err(why) => {
                        tracing::error!("{hole}: not repaired yet: {why}");
                        whole = false;
                    }
                }
            }
            let blocks = std::mem::take(&mut haul.blocks);
            if fetched || !blocks.is_empty() {
                let done = self.put_back(number, blocks).await;
                whole &= done;
                some |= done;
            }
            if !whole && needed.is_some() && self.header(needed).await.is_some() {
                break;
            }
        }
        if whole && self.archive.holes().is_empty() {
            Pass::Whole
        } else if some {
            Pass::Some
        } else {
            Pass::Nothing
        }
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
                match aside {
                    Some(aside) => tracing::warn!(
                        segment = number, blocks = count, old = %aside.display(),
                        "the archive was repaired from peers; the damaged file is kept"
                    ),
                    None => tracing::warn!(
                        segment = number,
                        blocks = count,
                        "a missing segment of the archive was written again from peers"
                    ),
                }
                true
            }
            Err(RepairError::Fatal(fatal)) => exit::abort(&fatal),
            Err(
                error @ (RepairError::Copy { .. }
                | RepairError::Nothing(_)
                | RepairError::NoRoom(_)),
            ) => {
                let error = exit::Chain(&error);
                tracing::error!(segment = number, %error, "the segment is not repaired yet");
                false
            }
        }
    }

    /// Fetches all blocks of a hole. If some do not come, those before them are in the haul all the same.
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
            if haul.bytes() >= MOST_BYTES {
                return Err(NotFetched::Later);
            }
            let epochs = self.epochs_after(below.clone(), haul.turns.clone()).await;
            let found = self.ask_all(wanted, &epochs, &mut haul.liars).await?;
            for (block, finalization) in found {
                let header = block.header.clone();
                let payload = archivist::payload(&block, finalization.clone());
                let payload = payload.map_err(|_too_long| NotFetched::Nobody)?;
                haul.blocks.insert(header.height, payload);
                if self.turns(below.as_ref(), &header) {
                    let turn = (header.clone(), finalization);
                    haul.turns.insert(header.height, turn);
                }
                wanted.first = header.height.saturating_add(1);
                wanted.below = Some(header.hash());
                below = Some(header);
            }
        }
        match (wanted.above, wanted.below) {
            (Some(above), Some(last)) if above != last && hole.first <= hole.last => {
                let inside = |height: &Height| hole.first <= *height && *height <= hole.last;
                haul.blocks.retain(|height, _| !inside(height));
                haul.turns.retain(|height, _| !inside(height));
                Err(NotFetched::OtherChain)
            }
            _ => Ok(()),
        }
    }

    /// Whether an epoch begins or ends with this block.
    fn turns(&self, below: Option<&Header>, header: &Header) -> bool {
        let begins = below.is_none_or(|below| below.epoch != header.epoch || below.flags.is_seal());
        let restarts = &self.calendar.restarts;
        begins || header.flags.is_seal() || restarts.made_final(header.block_ref())
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
        let question = self.question_for(wanted.first);
        for peer in (self.connected)() {
            for portion in portions {
                if liars.contains(&peer) {
                    break;
                }
                let request = question.bytes(wanted.first, *portion);
                let Some(answer) = self.ask(peer, wanted.first, request).await else {
                    break;
                };
                let (epochs, restarts) = (Arc::clone(epochs), Arc::clone(&self.calendar.restarts));
                let check = move || check::blocks(answer, &wanted, &epochs, &restarts);
                match tokio::task::spawn_blocking(check).await {
                    Ok(Ok(found)) if !found.is_empty() => return Ok(found),
                    // All of them together may be linked to the own block above.
                    Ok(Ok(_) | Err(Bad::Epoch | Bad::Uncertified)) => {}
                    Ok(Err(bad)) => self.lied(peer, &bad, liars),
                    Err(_stopping) => return Err(NotFetched::Nobody),
                }
            }
        }
        Err(NotFetched::Nobody)
    }

    /// Blocks up to a restart's anchor may have no certificate behind them: then only a range brings them.
    fn question_for(&self, from: Height) -> Question {
        let reach = u64::try_from(range::MAX_BLOCKS).unwrap_or(u64::MAX);
        let anchor = self.calendar.restarts.anchor_from(from);
        match anchor {
            Some(anchor) if anchor < from.saturating_add(reach) => Question::Range,
            Some(_) | None => self.question,
        }
    }

    fn lied(&self, peer: Peer, bad: &Bad, liars: &mut BTreeSet<Peer>) {
        let bad = exit::Chain(bad);
        tracing::warn!(peer = %peer.0, %bad, "a peer sent wrong blocks for a repair");
        self.desk.0.liars.fetch_add(1, Ordering::Relaxed);
        liars.insert(peer);
        self.mesh
            .disconnect(&peer, "sent wrong blocks for a repair");
    }

    async fn ask(&self, peer: Peer, from: Height, request: Vec<u8>) -> Option<Answer> {
        let (reply, answer) = oneshot::channel();
        *self.desk.asked() = Some(Asked { peer, from, reply });
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

#[cfg(test)]
mod tests;
