//! What members' nodes sent, by kind, and what of it was dropped, by reason: for the metrics, and for the log if it is
//! much.
//!
//! Dropping is no verdict: honest nodes send late, early and twice. But who does it in masses should be known by name.
//! What ends a connection is counted by the mesh.

use consensus::{Dropped, Message, Peer};
use ledger::id::AuthorityId;
use ledger::validator_set::ValidatorSet;
use ledger::vote::VoteKind;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Dropped messages of one member within [`WINDOW`] that are worth a line in the log.
const MUCH: u64 = 1_000;
/// What is much is counted over so long, and said once.
const WINDOW: Duration = Duration::from_secs(10);

/// Names are literals in the code: few.
#[derive(Debug, Default)]
struct Tally {
    received: BTreeMap<&'static str, u64>,
    dropped: BTreeMap<&'static str, u64>,
    since: Option<Instant>,
    lately: u64,
}

/// Counts of all members.
#[derive(Debug)]
pub struct Conduct {
    members: BTreeMap<Peer, (AuthorityId, Mutex<Tally>)>,
}

impl Conduct {
    /// Nothing was dropped yet.
    pub fn new(set: &ValidatorSet) -> Self {
        let members = set.members().iter();
        let members = members.map(|member| {
            let entry = (member.id.clone(), Mutex::default());
            (Peer(member.network), entry)
        });
        Self {
            members: members.collect(),
        }
    }

    /// A message of a peer was decoded.
    pub fn received(&self, peer: &Peer, message: &Message) {
        if let Some((_, tally)) = self.members.get(peer) {
            let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            let count = tally.received.entry(kind(message)).or_default();
            *count = count.saturating_add(1);
        }
    }

    /// One message of a peer was dropped.
    pub fn dropped(&self, peer: &Peer, why: &'static str) {
        let Some((authority, tally)) = self.members.get(peer) else {
            return;
        };
        let mut tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
        let count = tally.dropped.entry(why).or_default();
        *count = count.saturating_add(1);
        if tally.since.is_none_or(|since| since.elapsed() >= WINDOW) {
            tally.since = Some(Instant::now());
            tally.lately = 0;
        }
        tally.lately = tally.lately.saturating_add(1);
        if tally.lately == MUCH {
            tracing::warn!(%authority, why, messages = MUCH, "peer sends much that is dropped");
        }
    }

    /// Messages with their member and kind.
    pub fn all_received(&self) -> Vec<(AuthorityId, &'static str, u64)> {
        self.all(|tally| &tally.received)
    }

    /// Dropped messages with their member and reason.
    pub fn all_dropped(&self) -> Vec<(AuthorityId, &'static str, u64)> {
        self.all(|tally| &tally.dropped)
    }

    fn all(
        &self,
        which: fn(&Tally) -> &BTreeMap<&'static str, u64>,
    ) -> Vec<(AuthorityId, &'static str, u64)> {
        let mut all = Vec::new();
        for (authority, tally) in self.members.values() {
            let tally = tally.lock().unwrap_or_else(PoisonError::into_inner);
            let counts = which(&tally).iter();
            all.extend(counts.map(|(word, count)| (authority.clone(), *word, *count)));
        }
        all
    }
}

/// What an operator tells apart: a leader that gives up its views sends many Nullify.
const fn kind(message: &Message) -> &'static str {
    if let Message::Vote(vote) = message {
        return match vote.kind {
            VoteKind::Notarize => "notarize",
            VoteKind::Nullify => "nullify",
            VoteKind::Finalize => "finalize",
        };
    }
    if matches!(message, Message::Proposal(_)) {
        "proposal"
    } else if matches!(message, Message::CompactProposal(_)) {
        "compact proposal"
    } else if matches!(message, Message::BodyReq(_) | Message::BodyItems(_)) {
        "items of a body"
    } else if matches!(message, Message::Certificate(_)) {
        "certificate"
    } else if matches!(message, Message::Status(_)) {
        "status"
    } else {
        "other"
    }
}

/// Why a message went no further, in words that are no measurement.
pub const fn reason(dropped: &Dropped) -> &'static str {
    match dropped {
        Dropped::Stranger => "not a validator of this epoch",
        Dropped::Epoch => "of another epoch",
        Dropped::Window(_) => "view outside the window",
        Dropped::Known => "held already",
        Dropped::Unasked => "not asked for",
        Dropped::Rate => "over the sender's rate",
        Dropped::NotLeader(_) => "not from the view's leader",
    }
}
