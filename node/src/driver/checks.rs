//! Admitted messages that wait for their signature check: a queue for each peer, served in turn (consensus.md, 3.18).
//!
//! A signature costs what a thousand comparisons cost, so whoever sends much waits for himself alone, and of what a peer
//! sends twice, one copy at a time is checked: once the engine has that one, it drops the others for nothing.

use crate::network::Room;
use consensus::message::Lane;
use consensus::{Message, Peer};
use ledger::id::ValidatorIndex;
use ledger::vote::Statement;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Messages of one peer that may wait in a lane. Of the smallest, its room in the network holds no more.
const WAITING: usize = 256;

/// What goes with a message from the second door to the engine.
#[derive(Debug)]
pub struct Passage {
    /// Who sent it.
    pub from: Peer,
    /// The peer's connection that it came on; `None` where lanes are not in order with connections.
    pub connection: Option<u64>,
    /// What it must not be checked beside.
    pub same: Option<Same>,
    /// The bytes that it takes of what may come in.
    pub room: Room,
}

/// What an honest peer sends once, or again only after a while, and what costs signatures to check.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Same {
    /// A vote.
    Vote(Statement, ValidatorIndex),
    /// A certificate.
    Certificate(Statement),
    /// A proposal with its body, by its leader's vote.
    Proposal(Statement),
    /// One with the ids of its items.
    Compact(Statement),
    /// An answer with certificates; one is asked for at a time.
    Certificates,
    /// An answer with blocks; the same.
    Blocks,
}

/// Why a message is not checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refused {
    /// Another copy of it is.
    UnderWay,
    /// Its sender has so many waiting.
    Full,
}

/// The queues of both lanes; clones share them.
#[derive(Debug)]
pub struct Checks<T>(Arc<Shared<T>>);

#[derive(Debug)]
struct Shared<T> {
    state: Mutex<State<T>>,
    /// One for each lane.
    filled: [Notify; 2],
}

#[derive(Debug)]
struct State<T> {
    lanes: [Turns<T>; 2],
    /// From the second door until the engine has them: few more than what waits.
    under_way: BTreeSet<(Peer, Option<u64>, Same)>,
}

/// The queues of one lane.
#[derive(Debug)]
struct Turns<T> {
    /// Of peers of whom something waits.
    queues: BTreeMap<Peer, VecDeque<(Passage, T)>>,
    /// The same peers, whose turn comes first at the front.
    order: VecDeque<Peer>,
}

impl Same {
    /// `None`: a message without signatures, or one that the engine asked for by a number of its own.
    pub const fn of(message: &Message) -> Option<Self> {
        Some(match message {
            Message::Vote(vote) => Self::Vote(vote.statement(), vote.signer),
            Message::Certificate(certificate) => Self::Certificate(certificate.statement()),
            Message::Proposal(proposal) => Self::Proposal(proposal.vote.statement()),
            Message::CompactProposal(proposal) => Self::Compact(proposal.vote.statement()),
            Message::CertResp(_) => Self::Certificates,
            Message::SyncResp(_) => Self::Blocks,
            _ => return None,
        })
    }
}

impl Passage {
    fn mark(&self) -> Option<(Peer, Option<u64>, Same)> {
        Some((self.from, self.connection, self.same?))
    }
}

impl<T> Default for Checks<T> {
    fn default() -> Self {
        let turns = || Turns {
            queues: BTreeMap::new(),
            order: VecDeque::new(),
        };
        Self(Arc::new(Shared {
            state: Mutex::new(State {
                lanes: [turns(), turns()],
                under_way: BTreeSet::new(),
            }),
            filled: [Notify::new(), Notify::new()],
        }))
    }
}

impl<T> Clone for Checks<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

fn of_lane<L>([votes, bodies]: [L; 2], lane: Lane) -> L {
    match lane {
        Lane::Votes => votes,
        Lane::Bodies => bodies,
    }
}

impl<T> Checks<T> {
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a message in; never waits.
    ///
    /// # Errors
    /// [`Refused`]: it is dropped.
    pub fn offer(&self, lane: Lane, passage: Passage, message: T) -> Result<(), Refused> {
        let mut state = self.lock();
        let mark = passage.mark();
        if mark.is_some_and(|mark| state.under_way.contains(&mark)) {
            return Err(Refused::UnderWay);
        }
        of_lane(state.lanes.each_mut(), lane).push(passage, message)?;
        state.under_way.extend(mark);
        drop(state);
        of_lane(self.0.filled.each_ref(), lane).notify_one();
        Ok(())
    }

    /// The next of a lane, once there is one; for one worker.
    pub async fn next(&self, lane: Lane) -> (Passage, T) {
        loop {
            let next = of_lane(self.lock().lanes.each_mut(), lane).pop();
            match next {
                Some(next) => return next,
                None => of_lane(self.0.filled.each_ref(), lane).notified().await,
            }
        }
    }

    /// The engine has the message, or it is dropped: another copy may come.
    pub fn done(&self, passage: &Passage) {
        if let Some(mark) = passage.mark() {
            self.lock().under_way.remove(&mark);
        }
    }
}

impl<T> Turns<T> {
    fn push(&mut self, passage: Passage, message: T) -> Result<(), Refused> {
        let from = passage.from;
        let queue = self.queues.entry(from).or_default();
        if queue.len() >= WAITING {
            return Err(Refused::Full);
        }
        if queue.is_empty() {
            self.order.push_back(from);
        }
        queue.push_back((passage, message));
        Ok(())
    }

    /// One of whoever's turn it is, who then is the last.
    fn pop(&mut self) -> Option<(Passage, T)> {
        let from = self.order.pop_front()?;
        let queue = self.queues.get_mut(&from)?;
        let next = queue.pop_front();
        if queue.is_empty() {
            self.queues.remove(&from);
        } else {
            self.order.push_back(from);
        }
        next
    }
}

#[cfg(test)]
mod tests;
