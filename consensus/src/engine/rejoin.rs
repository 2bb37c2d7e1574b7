//! A key whose journal was lost comes back, and the others help it to (consensus.md, 3.12).
//!
//! Whoever is in quarantine asks all other members in which view they are. Once q of them have proven theirs, no vote
//! of its former life can lie above the highest of these views plus one: from the view after that on, the *floor*, it
//! may vote. `docs/protocol.md` says why, and why later epochs are free.
//!
//! An answered question is work for a while, so that an idle chain moves on to the floor. Until it is there the key goes
//! on asking, in efforts that end: a chain that lacks a quorum cannot get there, and falls silent between them.
//!
//! Answers count in their epoch alone. So the highest epoch that an answer proves is always the one that they are of:
//! whoever is further makes the asker catch up, which asks anew there.

use super::Engine;
use super::guard::Bar;
use crate::epoch::Peer;
use crate::journal::Record;
use crate::message::{Message, RejoinReq, RejoinResp};
use crate::time::{Mono, Now};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use ledger::certificate::VerifiedCertificate;
use ledger::id::View;
use ledger::planted;

/// The floor lies so many views above the highest one that was proven.
const FLOOR_ABOVE: u64 = 2;
/// So many view time-outs after an answer it is no work any more: whoever was asked alone cannot move the chain. So many
/// an effort lasts, too.
const ESCORT_TIMEOUTS: u64 = 8;
/// Between two efforts to reach the floor, in ms.
const EFFORT_PAUSE_MS: u64 = 600_000;

/// The question that is out, and what was promised to others.
#[derive(Debug, Default)]
pub(super) struct Rejoin {
    /// Rounds that were begun in this epoch.
    round: u64,
    next_at: Mono,
    /// Who proved which view.
    answers: BTreeMap<Peer, View>,
    /// Below the floor it is asked until then, and again from then on.
    effort: (Mono, Mono),
    /// Until the view is this one, but not after this time, there is work: somebody's floor lies there.
    escort: (View, Mono),
    /// Until then, missing certificates keep this node from answering, and are asked for.
    gap_until: Mono,
}

impl Rejoin {
    pub(super) fn answers(&self) -> usize {
        self.answers.len()
    }

    /// 3.12: an idle chain moves on until whoever was answered may vote.
    pub(super) fn escorts(&self, view: View, now: Mono) -> bool {
        let (until, last) = self.escort;
        view < until && now < last
    }

    pub(super) fn wants_certificates(&self, now: Mono) -> bool {
        now < self.gap_until
    }
}

/// Asking.
impl Engine {
    pub(super) fn is_rejoining(&self) -> bool {
        let open = !self.guard.is_barred(Bar::Sealed) && !self.guard.is_barred(Bar::Stopped);
        self.guard.is_barred(Bar::Quarantine) && self.guard.me().is_some() && open
    }

    /// It has rejoined, and may not vote yet.
    fn is_below_floor(&self) -> bool {
        let free = self.guard.me().is_some() && self.guard.is_free() && !self.guard.is_behind();
        free && self.guard.is_below_floor(self.run.current.view)
    }

    /// Whether answers to questions of this key are of use.
    pub(super) fn asks_to_rejoin(&self) -> bool {
        self.is_rejoining() || self.is_below_floor()
    }

    /// Since when, or from when on, the others are to be asked again.
    pub(super) fn rejoin_deadline(&self) -> Option<Mono> {
        let Rejoin {
            next_at,
            effort: (until, again),
            ..
        } = self.run.rejoin;
        if self.is_rejoining() {
            Some(next_at)
        } else if self.is_below_floor() {
            Some(if next_at < until { next_at } else { again })
        } else {
            None
        }
    }

    /// A member came. Below the floor, an effort that was in vain without it may not be with it.
    pub(super) fn rejoin_with(&mut self, now: Now, peer: &Peer) {
        if self.run.epoch.index_of(peer).is_none() {
            return;
        }
        self.run.rejoin.effort = (now.mono, now.mono);
        if self.is_rejoining() {
            self.ask_one_to_rejoin(peer);
        }
    }

    fn ask_one_to_rejoin(&mut self, peer: &Peer) {
        let request = RejoinReq {
            nonce: self.rejoin_nonce(),
            epoch: self.run.epoch.epoch(),
        };
        self.ask(peer, Message::RejoinReq(request));
    }

    /// Unique for this process, epoch and round.
    pub(super) fn rejoin_nonce(&self) -> u64 {
        let epoch = self.run.epoch.epoch().0.wrapping_shl(32);
        let round = self.run.rejoin.round.wrapping_shl(16);
        self.instance.wrapping_add(epoch).wrapping_add(round)
    }

    /// Asks those again that have not answered; below the floor, all.
    pub(super) fn ask_to_rejoin(&mut self, now: Now) {
        if self.rejoin_deadline().is_none_or(|at| at > now.mono) {
            return;
        }
        if !self.is_rejoining() && self.run.rejoin.effort.0 <= now.mono {
            let effort = self.view_timeout().saturating_mul(ESCORT_TIMEOUTS);
            let until = now.mono.plus(effort);
            self.run.rejoin.effort = (until, until.plus(EFFORT_PAUSE_MS));
        }
        self.run.rejoin.next_at = now.mono.plus(self.config.retry_ms());
        let silent: Vec<Peer> = self
            .peers
            .members()
            .map(|(peer, _)| peer)
            .filter(|peer| !self.run.rejoin.answers.contains_key(peer))
            .collect();
        for peer in silent {
            self.ask_one_to_rejoin(&peer);
        }
    }

    /// A member proves its view by the certificate that it entered it by; without one, view 1.
    pub(super) fn rejoin_answered(
        &mut self,
        now: Now,
        from: Peer,
        nonce: u64,
        entry: Option<VerifiedCertificate>,
    ) {
        if !self.asks_to_rejoin() || nonce != self.rejoin_nonce() {
            return;
        }
        let view = entry
            .as_ref()
            .map_or(View(1), |c| c.view().saturating_add(1));
        if let Some(entry) = entry {
            self.accept(now, entry);
        }
        if !self.is_rejoining() {
            return;
        }
        let proven = self.run.rejoin.answers.entry(from).or_default();
        *proven = view.max(*proven);
        if self.run.rejoin.answers() >= self.run.epoch.set().quorum() {
            self.end_quarantine();
        }
    }

    fn end_quarantine(&mut self) {
        let answers = core::mem::take(&mut self.run.rejoin.answers);
        self.run.rejoin.round = self.run.rejoin.round.saturating_add(1);
        let proven = answers.into_values().max().unwrap_or_default();
        let (number, epoch) = (self.quarantines, self.run.epoch.epoch());
        let view = proven.saturating_add(FLOOR_ABOVE);
        self.outbox.persist(Record::Floor {
            number,
            epoch,
            view,
        });
        self.guard.raise_floor((epoch, view));
        self.guard.lift(Bar::Quarantine);
    }
}

/// Answering.
impl Engine {
    /// A member asks. The answer says what is durable here, and is only given if it cannot mislead.
    pub(super) fn rejoin_asked(&mut self, now: Now, peer: &Peer, request: RejoinReq) {
        if !self.may_vouch(now) {
            return;
        }
        let view = self.run.current.view;
        let entry = self.entry_certificate();
        if entry.is_none() && view > View(1) {
            return;
        }
        let answer = RejoinResp {
            nonce: request.nonce,
            epoch: self.run.epoch.epoch(),
            entry,
        };
        self.send(peer, Message::RejoinResp(answer));
        if self.run.rejoin.escorts(view, now.mono) {
            // Whoever needs more goes on asking.
            return;
        }
        let state = self.peers.get_mut(peer);
        if state.is_some_and(|state| state.may_be_escorted(now.mono)) {
            let patience = self.view_timeout().saturating_mul(ESCORT_TIMEOUTS);
            let (until, _) = self.run.rejoin.escort;
            // One that ran out goes on to where it led: it moves the chain no further.
            let until = if view < until {
                until
            } else {
                view.saturating_add(FLOOR_ABOVE)
            };
            self.run.rejoin.escort = (until, now.mono.plus(patience));
        }
    }

    /// The answer guard: (i) who has no past here itself does not vouch for it; (ii) nor does anybody while the epoch
    /// may have ended without its knowing.
    fn may_vouch(&mut self, now: Now) -> bool {
        let view = self.run.current.view;
        let barred = !self.guard.is_free() || self.guard.is_behind();
        if barred || self.guard.is_below_floor(view) {
            return false;
        }
        if planted!(RejoinUnguarded) {
            return true;
        }
        if self.first_uncertified().is_some() {
            self.run.rejoin.gap_until = now.mono.plus(self.config.retry_ms());
            return false;
        }
        let open = self.run.certificates.notarizations();
        let open = open.filter(|(at, _)| *at < view && !self.run.certificates.is_nullified(*at));
        let open = open.map(|(_, notarization)| notarization.certificate.block().hash);
        let finalized = self.run.certificates.finalized().hash;
        // A block that is not here might be a SEAL block.
        open.chain([finalized]).all(|hash| {
            let tip = self.blocks.tip(&hash);
            tip.is_some_and(|tip| !self.run.epoch.ends_with(&tip))
        })
    }

    /// The highest view below the current one of which no certificate is held.
    pub(super) fn first_uncertified(&self) -> Option<View> {
        let certificates = &self.run.certificates;
        let finalized = certificates.finalized_view();
        let mut at = self.run.current.view.prev()?;
        while at > finalized {
            if !certificates.is_nullified(at) && certificates.notarization(at).is_none() {
                return Some(at);
            }
            at = at.prev()?;
        }
        None
    }
}
