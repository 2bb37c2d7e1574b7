//! What can happen, and to whom it is handed.

use super::World;
use super::deliver::Votes;
use crate::crypto::fold;
use crate::items::{Change, Item};
use crate::network::Generation;
use crate::plan::Fault;
use crate::violation::Checked;
use consensus::{Event, VerifiedMessage};
use std::sync::Arc;

/// What is going to happen.
pub(super) enum Happening {
    Start {
        node: usize,
    },
    Fault(Fault),
    Heal,
    Gst,
    Connect {
        a: usize,
        b: usize,
    },
    Disconnect {
        a: usize,
        b: usize,
        generation: Generation,
    },
    Deliver(Frame),
    /// A byzantine node sends what it held back.
    Late {
        from: usize,
        to: usize,
        bytes: Arc<[u8]>,
    },
    /// Inside one process: nothing if that process is dead by then.
    Inside {
        node: usize,
        incarnation: u32,
        what: Inside,
    },
    Mischief {
        node: usize,
    },
    Submit {
        node: usize,
    },
    /// A change of the set is decided.
    Decide {
        change: Change,
    },
    Gossip {
        node: usize,
        item: Item,
    },
}

/// What happens inside one process.
pub(super) enum Inside {
    Verified {
        from: usize,
        /// The votes in it.
        votes: Votes,
        /// The connection that it came by, if it must not outlive it.
        connection: Option<Generation>,
        message: Box<VerifiedMessage>,
    },
    Synced,
    Archived,
    Timer(u64),
    Answer(Box<Event>),
    Work,
    Prune,
    /// Evidence that waits goes to all again.
    Push,
}

/// Bytes on their way through one connection.
pub(super) struct Frame {
    pub(super) from: usize,
    pub(super) to: usize,
    pub(super) generation: Generation,
    pub(super) bytes: Arc<[u8]>,
    /// Of the bytes, for the trace.
    pub(super) hash: u64,
}

impl World {
    pub(super) fn happen(&mut self, happening: Happening) -> Checked {
        match happening {
            Happening::Start { node } => self.start(node),
            Happening::Fault(fault) => self.fault(fault),
            Happening::Heal => {
                self.network.partition(None);
                Ok(())
            }
            Happening::Gst => self.gst(),
            Happening::Connect { a, b } => self.connect(a, b),
            Happening::Disconnect { a, b, generation } => self.disconnect(a, b, generation),
            Happening::Deliver(frame) => self.deliver(&frame),
            Happening::Late { from, to, bytes } => {
                self.transmit(from, to, &bytes, fold(0, &bytes));
                Ok(())
            }
            Happening::Inside {
                node,
                incarnation,
                what,
            } => {
                let process = self.nodes[node].process.as_ref();
                if process.is_some_and(|process| process.incarnation == incarnation) {
                    self.inside(node, what)
                } else {
                    Ok(())
                }
            }
            Happening::Mischief { node } => self.mischief(node),
            Happening::Submit { node } => {
                self.loaded += 1;
                self.submit(node);
                Ok(())
            }
            Happening::Decide { change } => {
                self.loaded += 1;
                let node = self.chance.index(self.plan.n);
                self.push(node, Item::Change(change));
                Ok(())
            }
            Happening::Gossip { node, item } => self.gossip(node, &item),
        }
    }

    fn inside(&mut self, node: usize, what: Inside) -> Checked {
        self.figures.syncs += u64::from(matches!(what, Inside::Synced | Inside::Archived));
        match what {
            Inside::Synced | Inside::Archived if self.write_fails() => {
                self.fail_write(node);
                Ok(())
            }
            Inside::Verified {
                from,
                votes,
                connection,
                message,
            } => {
                let incarnation = self.nodes[node].incarnations;
                let standing = self.network.connection(node, incarnation, from);
                if connection.is_some() && connection != standing {
                    return Ok(());
                }
                self.take_in(node, from, votes, *message)
            }
            Inside::Synced => match self.nodes[node].synced() {
                Some((seq, records)) => {
                    self.oracle.durable(node, &records)?;
                    self.feed(node, 2, Event::Persisted { seq })
                }
                None => self.carry(node, Vec::new()),
            },
            Inside::Archived => {
                let before = self.nodes[node].disk.archive.len();
                self.nodes[node].archived();
                let frames = &self.nodes[node].disk.archive[before..];
                self.oracle.archived(node, frames);
                self.begin_archive(node);
                Ok(())
            }
            Inside::Timer(timer) => {
                let current = self.nodes[node].process.as_ref().map(|p| p.timer);
                if current == Some(timer) {
                    self.feed(node, 3, Event::Tick)
                } else {
                    Ok(())
                }
            }
            Inside::Answer(event) => self.feed(node, 4, *event),
            Inside::Work => self.work(node),
            Inside::Push => {
                self.push_evidence(node);
                Ok(())
            }
            Inside::Prune => self.prune(node),
        }
    }

    /// Plans something inside a node's present process.
    pub(super) fn plan_inside(&mut self, node: usize, after: u64, what: Inside) {
        let incarnation = self.nodes[node].incarnations;
        let happening = Happening::Inside {
            node,
            incarnation,
            what,
        };
        self.queue.plan(self.now + after, happening);
    }
}
