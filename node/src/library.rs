//! What a validator does for those who follow: tells observers of new heights and checkpoints, and hands final blocks
//! and restart files out, within bounds per peer.
//!
//! It stands beside the driver and shares nothing with it but the archive: whatever an observer asks, votes do not
//! wait for it. An observer may ask for ranges and name or hand in submissions, and nothing else.

use crate::chain::Chain;
use crate::clock;
use crate::driver::serve;
use crate::gossip;
use crate::mesh::Mesh;
use crate::range::{MAX_BLOCKS, MAX_HEADERS, Range, RangeReq};
use consensus::message::Status;
use consensus::{Message, Peer};
use ledger::header::BlockRef;
use ledger::id::{Epoch, Height};
use ledger::vote::PROTOCOL;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;

/// Ranges that are read at the same time; more are left to other nodes.
const SERVING: usize = 6;
/// Bytes that one peer is served at once …
const BURST: i64 = 16 << 20;
/// … and each second in the long run.
const PER_SECOND: i64 = 8 << 20;
/// Least time between two heights that observers are told.
const TELL_EVERY: Duration = Duration::from_millis(20);

/// See the module. Clones are the same library.
#[derive(Clone, Debug)]
pub struct Library {
    chain: Chain,
    mesh: Arc<dyn Mesh>,
    serving: Arc<Semaphore>,
    accounts: Arc<Mutex<BTreeMap<Peer, Account>>>,
}

/// What a peer may still be served: it runs into debt with one answer, and waits until that is paid.
#[derive(Clone, Copy, Debug)]
struct Account {
    bytes: i64,
    at: Instant,
}

impl Account {
    const fn new(now: Instant) -> Self {
        Self {
            bytes: BURST,
            at: now,
        }
    }

    /// Whether something may be served now.
    fn may_ask(&mut self, now: Instant) -> bool {
        let millis = now.duration_since(self.at).as_millis();
        let earned = i64::try_from(millis)
            .unwrap_or(i64::MAX)
            .saturating_mul(PER_SECOND / 1_000);
        if earned > 0 {
            self.bytes = self.bytes.saturating_add(earned).min(BURST);
            self.at = now;
        }
        self.bytes > 0
    }

    fn pay(&mut self, length: usize) {
        let length = i64::try_from(length).unwrap_or(i64::MAX);
        self.bytes = self.bytes.saturating_sub(length);
    }
}

impl Library {
    /// Opens it.
    pub fn new(chain: Chain, mesh: Arc<dyn Mesh>) -> Self {
        Self {
            chain,
            mesh,
            serving: Arc::new(Semaphore::new(SERVING)),
            accounts: Arc::default(),
        }
    }

    /// Tells observers of new heights, and at every `heartbeat`; ends only by being dropped.
    pub async fn tell(self, heartbeat: Duration) {
        let mut progress = self.chain.progress();
        loop {
            let changed = tokio::time::timeout(heartbeat, progress.changed()).await;
            if matches!(changed, Ok(Err(_gone))) {
                return;
            }
            progress.borrow_and_update();
            self.mesh.inform(self.status());
            tokio::time::sleep(TELL_EVERY).await;
        }
    }

    fn status(&self) -> Arc<[u8]> {
        let head = self.chain.head();
        let node = self.chain.status();
        let status = Status {
            protocol: PROTOCOL,
            instance: 0,
            epoch: head.tip.epoch.epoch,
            view: node.view,
            finalized: BlockRef {
                height: head.tip.height,
                hash: head.tip.hash,
            },
            finalized_view: head
                .header
                .as_ref()
                .map(|header| header.view)
                .unwrap_or_default(),
            notarized_view: node.view,
            pending: u32::try_from(node.pool).unwrap_or(u32::MAX),
            wall: clock::wall(),
        };
        Message::Status(status).encode().into()
    }

    /// An observer is connected: it hears where the chain is, and gets the newest checkpoint.
    pub fn up(&self, observer: &Peer) {
        self.mesh.send(observer, self.status());
        if let Some(provable) = self.chain.provable()
            && let Some(note) = note(&provable.note)
        {
            self.mesh.send(observer, note);
        }
    }

    /// It is gone.
    pub fn down(&self, observer: &Peer) {
        let mut accounts = self.accounts();
        // What it has left stays for a while, so that coming again earns nothing.
        accounts.retain(|peer, account| {
            peer != observer || account.at.elapsed() < Duration::from_secs(60)
        });
    }

    fn accounts(&self) -> MutexGuard<'_, BTreeMap<Peer, Account>> {
        self.accounts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn may_ask(&self, peer: Peer) -> bool {
        let now = Instant::now();
        let mut accounts = self.accounts();
        let account = accounts.entry(peer).or_insert_with(|| Account::new(now));
        account.may_ask(now)
    }

    fn send(&self, to: &Peer, message: &gossip::Message) {
        let bytes = message.encode();
        if let Some(account) = self.accounts().get_mut(to) {
            account.pay(bytes.len());
        }
        self.mesh.send(to, bytes.into());
    }

    /// Hands the restart file out that opened the lowest epoch from this one on; nothing if there is none, or the peer was
    /// served enough.
    pub fn serve_restart(&self, to: Peer, from: Epoch) {
        if !self.may_ask(to) {
            self.chain.counters().dropped_frames.increment();
            return;
        }
        if let Some(file) = self.chain.restarts().first_from(from) {
            self.send(&to, &gossip::Message::EpochResp(file.clone()));
        }
    }

    /// Answers on a blocking thread, or not at all if the peer was served enough or too much is being served.
    pub fn serve(&self, to: Peer, request: RangeReq) {
        let may = self.may_ask(to);
        let permit = Arc::clone(&self.serving).try_acquire_owned();
        let (true, Ok(permit)) = (may, permit) else {
            self.chain.counters().dropped_frames.increment();
            return;
        };
        let library = self.clone();
        tokio::task::spawn_blocking(move || {
            if let Some(range) = library.read(request) {
                library.send(&to, &gossip::Message::Range(range));
            }
            drop(permit);
        });
    }

    fn read(&self, request: RangeReq) -> Option<Range> {
        let archive = self.chain.archive();
        let most = MAX_BLOCKS.saturating_add(MAX_HEADERS);
        let heights = (request.from.0..).take(most).map(Height);
        let frames = heights.map_while(|height| match archive.read(height) {
            Ok(payload) => serve::decode(payload?).ok(),
            Err(error) => {
                tracing::error!(%height, error = %crate::exit::Chain(&error), "block cannot be served");
                None
            }
        });
        Range::collect(request.count, frames)
    }
}

/// A checkpoint's note as it travels; `None` if it is over its limit.
pub fn note(text: &str) -> Option<Arc<[u8]>> {
    let bytes = text.as_bytes().to_vec().try_into().ok()?;
    Some(gossip::Message::Note(bytes).encode().into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_is_served_its_burst_and_then_its_rate() {
        let begin = Instant::now();
        let mut account = Account::new(begin);
        assert!(account.may_ask(begin));
        account.pay(15 << 20);
        assert!(account.may_ask(begin));
        account.pay(5 << 20);
        assert!(!account.may_ask(begin), "4 MiB in debt");
        assert!(!account.may_ask(begin + Duration::from_millis(400)));
        assert!(account.may_ask(begin + Duration::from_millis(600)));
        account.may_ask(begin + Duration::from_secs(3_600));
        account.pay(16 << 20);
        assert!(
            !account.may_ask(begin + Duration::from_secs(3_600)),
            "no more is saved up"
        );
    }
}
