//! Repair before the node can start: a block that it needs is damaged, as when the index or the log's hashes must be made
//! again. Other damage is repaired as well while it comes at once; what nobody gives is left to the running node.
//!
//! The network runs, and nothing else: what peers send is dropped but for the blocks that were asked for. Connections
//! that stand when the repair is done are told to the node that starts then ([`Early::up`]).

use super::calendar::Calendar;
use super::{Connected, Desk, Question, Repair, check};
use crate::config::Config;
use crate::gossip;
use crate::network::{Handle, Inbound, Receivers};
use crate::recovery::{self, RecoveryError};
use crate::storage::restarts::Restarts;
use consensus::{Message, Peer};
use ledger::id::Height;
use ledger::tip::Founding;
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

/// A network that runs before its node.
#[derive(Debug)]
pub struct Early {
    /// To send.
    pub mesh: Handle,
    /// What comes in.
    pub receivers: Receivers,
    up: Arc<Mutex<BTreeSet<Peer>>>,
}

impl Early {
    /// A network that was just started.
    pub fn new((mesh, receivers): (Handle, Receivers)) -> Self {
        Self {
            mesh,
            receivers,
            up: Arc::default(),
        }
    }

    /// The peers whose connections stand.
    pub fn up(&self) -> BTreeSet<Peer> {
        self.up
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Repairs a stopped node's archive until this block can be read. Ends early, without effect, if the future is dropped.
    /// Gives how many blocks were put back.
    ///
    /// # Errors
    /// [`RecoveryError`] if the archive cannot be opened.
    pub async fn repair(
        &mut self,
        config: &Config,
        founding: &Founding,
        (needed, question): (Height, Question),
    ) -> Result<u64, RecoveryError> {
        let (data, archive) = recovery::open_damaged(config, founding)?;
        let desk = Desk::default();
        let up = Arc::clone(&self.up);
        let connected: Connected = Arc::new(move || {
            let up = up.lock().unwrap_or_else(PoisonError::into_inner);
            up.iter().copied().collect()
        });
        let repair = Repair {
            archive: archive.reader(),
            repairer: archive.repairer(),
            calendar: Calendar {
                founding: founding.clone(),
                restarts: Arc::new(Restarts::load(&data.archive(), founding)?),
                known: Arc::new([check::first_epoch(founding)]),
            },
            mesh: Arc::new(self.mesh.clone()),
            question,
            connected,
            desk: desk.clone(),
        };
        let scrubbed = archive.reader();
        let work = async {
            // Whatever is damaged besides is found now, not one block per start.
            let read = move || scrubbed.condemn_all();
            tokio::task::spawn_blocking(read).await.ok();
            repair.bring(needed).await;
        };
        tokio::pin!(work);
        loop {
            tokio::select! {
                biased;
                () = &mut work => break,
                inbound = self.receivers.consensus.recv() => match inbound {
                    Some(inbound) => self.hear(inbound, &desk),
                    None => break,
                },
                inbound = self.receivers.bulk.recv() => match inbound {
                    Some(inbound) => self.hear(inbound, &desk),
                    None => break,
                },
            }
        }
        drop(data);
        Ok(desk.repaired())
    }

    fn hear(&self, inbound: Inbound, desk: &Desk) {
        match inbound {
            Inbound::Up(peer) => self.note(peer, BTreeSet::insert),
            Inbound::Down(peer) => self.note(peer, |up, peer| up.remove(&peer)),
            Inbound::Frame { from, bytes, .. } => answered(desk, &from, &bytes),
            Inbound::RoundTrip { .. } | Inbound::Observer(_) => {}
        }
    }

    fn note(&self, peer: Peer, change: impl FnOnce(&mut BTreeSet<Peer>, Peer) -> bool) {
        let mut up = self.up.lock().unwrap_or_else(PoisonError::into_inner);
        change(&mut up, peer);
    }
}

/// Only what may be an answer is decoded; what nobody asked for is dropped.
fn answered(desk: &Desk, from: &Peer, bytes: &[u8]) {
    if bytes
        .first()
        .copied()
        .is_some_and(gossip::Message::is_gossip)
    {
        if let Ok(gossip::Message::Range(range)) = gossip::Message::decode(bytes) {
            drop(desk.take_range(from, range));
        }
    } else if let Ok(Message::SyncResp(response)) = Message::decode(bytes) {
        drop(desk.take(from, response));
    }
}
