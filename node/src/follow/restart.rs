//! The follower's side of a restart that it does not know: which blocks wait for a file, whom it asks, what it does with
//! what comes. What is believed, [`super::quest`] says.

use super::Follower;
use super::quest::{self, Claim, Files, Front, Quest, Step};
use crate::chain::Chain;
use crate::gossip::Message;
use crate::range::{Range, RangeFault};
use crate::storage::restarts::Restarts;
use consensus::Peer;
use ledger::header::BlockRef;
use ledger::id::{Epoch, Height};
use ledger::restart::{RestartError, RestartFile};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long blocks wait for what makes them final: a finalization did not come with them, so a restart file must.
const TAIL: Duration = Duration::from_secs(10);
/// How long a validator stays where it is while others are in a later epoch.
const LEFT_BEHIND: Duration = Duration::from_secs(10);

/// What was found out about restart files.
#[derive(Debug)]
pub(super) enum Found {
    /// A file, checked by itself.
    File(Peer, Box<Result<Claim, RestartError>>),
    /// A range of the epoch that files open: whether its quorum has installed them.
    Range(Peer, Range, Result<Vec<Claim>, RangeFault>),
}

impl Follower {
    /// Blocks that lead to no finalization are final only if a restart went on from their end.
    pub(super) fn set_tails_aside(&mut self) {
        let (epoch, restarts) = (&self.epoch, &self.restarts);
        let is_tail = |range: &Range| {
            let own = range.blocks.first();
            own.is_some_and(|block| block.header.epoch == epoch.epoch)
                && !range.is_led_to_its_end()
                && !range.end().is_some_and(|end| restarts.ended(epoch, end))
        };
        let until = Instant::now() + TAIL;
        for (from, (peer, range)) in self.raw.extract_if(.., |_, (_, range)| is_tail(range)) {
            self.tails.insert(from, (peer, range, until));
        }
    }

    /// No file came that makes them final. Nobody can say that who sent them lied.
    pub(super) fn drop_old_tails(&mut self) {
        let now = Instant::now();
        for (from, (peer, _, _)) in self.tails.extract_if(.., |_, (_, _, until)| *until <= now) {
            tracing::debug!(peer = %peer.0, block = %from, "blocks came that nothing makes final");
            self.plan.again(from);
            self.plan.pass_over(&peer, now);
        }
    }

    /// The range that follows what is known, if its epoch begins there with something that is not.
    fn front(&self) -> Option<Front> {
        let head = self.parts.chain.head();
        if quest::goes_on(&self.restarts, &head.tip) {
            return None;
        }
        let mut next = head.tip.height.saturating_add(1);
        while let Some((_, range, _)) = self.tails.get(&next) {
            next = next.saturating_add(u64::try_from(range.blocks.len()).unwrap_or(u64::MAX));
        }
        let (peer, range) = self.raw.get(&next)?;
        let header = &range.blocks.first()?.header;
        let anchor = BlockRef {
            height: next.prev()?,
            hash: header.parent,
        };
        (header.epoch > head.tip.epoch.epoch).then_some(Front {
            from: next,
            peer: *peer,
            epoch: header.epoch,
            anchor,
        })
    }

    /// Looks for the files of restarts that are not known here.
    pub(super) fn seek(&mut self) {
        if self.quest.as_ref().is_some_and(Quest::is_busy) {
            return;
        }
        let front = self.front();
        if self.quest.as_ref().map(|quest| quest.front) != front {
            self.quest = front.map(Quest::new);
            if front.is_some() && self.parts.files == Files::FromOperator {
                tracing::warn!(
                    "the chain was restarted: this validator was stopped for that, and waits until its operator installs the file"
                );
            }
        }
        let Some(quest) = self.quest.as_mut() else {
            return;
        };
        if self.parts.files == Files::FromOperator {
            return;
        }
        let Front { from, peer, .. } = quest.front;
        match quest.step(self.epoch.epoch, Instant::now()) {
            Step::Wait => {}
            Step::Ask(epoch) => {
                let bytes = Message::EpochReq(epoch).encode();
                self.parts.mesh.send(&peer, bytes.into());
            }
            Step::Prove => self.prove(),
            Step::GiveUp => {
                tracing::debug!(peer = %peer.0, block = %from, "no restart file came for these blocks");
                self.give_up(from, &peer);
            }
        }
    }

    /// The range is asked of somebody else.
    fn give_up(&mut self, from: Height, peer: &Peer) {
        self.quest = None;
        self.raw.remove(&from);
        self.plan.again(from);
        self.plan.pass_over(peer, Instant::now());
    }

    pub(super) fn restart_came(&mut self, peer: Peer, file: RestartFile) {
        let asked = self
            .quest
            .as_mut()
            .is_some_and(|quest| quest.answered(&peer));
        if !asked {
            self.parts.chain.counters().dropped_messages.increment();
            return;
        }
        let founding = self.parts.chain.founding().clone();
        let results = self.found.0.clone();
        tokio::task::spawn_blocking(move || {
            let claim = Box::new(Claim::check(file, &founding));
            // Only one is checked at a time.
            results.blocking_send(Found::File(peer, claim)).ok();
        });
    }

    fn prove(&mut self) {
        let Some(quest) = &self.quest else {
            return;
        };
        let (Front { from, .. }, claims) = (quest.front, quest.claims());
        let Some((peer, range)) = self.raw.remove(&from) else {
            return;
        };
        let data = Arc::clone(&self.parts.data);
        let results = self.found.0.clone();
        tokio::task::spawn_blocking(move || {
            let proved = quest::prove(&claims, &range, from, &data).map(|()| claims);
            // Only one is checked at a time.
            results
                .blocking_send(Found::Range(peer, range, proved))
                .ok();
        });
    }

    pub(super) fn found(&mut self, found: Found) {
        let Some(quest) = self.quest.as_mut() else {
            return;
        };
        let from = quest.front.from;
        match found {
            Found::File(peer, claim) => match *claim {
                Ok(claim) => {
                    let head = self.parts.chain.head();
                    if let Err(why) = quest.take(claim, &head.tip) {
                        tracing::warn!(peer = %peer.0, block = %from, "a restart file does not fit: {why}");
                        self.give_up(from, &peer);
                    }
                }
                Err(fault) => {
                    tracing::warn!(peer = %peer.0, fault = %crate::exit::Chain(&fault), "a restart file is refused");
                    self.give_up(from, &peer);
                    self.offence(&peer, "sent a restart file that does not count");
                }
            },
            Found::Range(peer, range, Ok(claims)) => {
                let mut restarts = Restarts::clone(&self.restarts);
                for claim in claims {
                    restarts.add(claim.file, claim.restart);
                }
                self.restarts = Arc::new(restarts);
                self.quest = None;
                self.raw.insert(from, (peer, range));
                let tails = std::mem::take(&mut self.tails).into_iter();
                self.raw
                    .extend(tails.map(|(from, (peer, range, _))| (from, (peer, range))));
            }
            Found::Range(peer, _, Err(fault)) => {
                // Both came from this peer.
                tracing::warn!(peer = %peer.0, fault = %crate::exit::Chain(&fault), "a restart file is not the one that the blocks behind it were decided by");
                self.give_up(from, &peer);
                self.offence(&peer, "sent blocks that no quorum finalized");
            }
        }
    }
}

/// Returns once at least one honest validator has long been in a later epoch, and this node came no further meanwhile: no
/// SEAL block leads there.
pub async fn left_behind(chain: &Chain) {
    let mut tick = tokio::time::interval(LEFT_BEHIND / 10);
    let mut since = (chain.head().tip.height, Instant::now());
    loop {
        tick.tick().await;
        let head = chain.head();
        let status = chain.status();
        let peers = status.peers.iter().filter(|peer| peer.connected);
        let mut epochs: Vec<Epoch> = peers.filter_map(|peer| peer.epoch).collect();
        epochs.sort_unstable_by(|a, b| b.cmp(a));
        let epoch = epochs.get(head.tip.epoch.set.f()).copied();
        let height = head.tip.height;
        if epoch <= Some(head.tip.epoch.epoch) || since.0 != height {
            since = (height, Instant::now());
        } else if since.1.elapsed() >= LEFT_BEHIND {
            return;
        }
    }
}
