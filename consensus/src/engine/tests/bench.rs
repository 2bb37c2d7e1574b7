//! One engine driven by hand: the test plays the driver and the three other validators.

use super::fixture::{self, EPOCH_MS, Toy, ToyCheck};
use crate::block::{Block, Tip};
use crate::config::Config;
use crate::engine::{Archived, Engine, Identity, RecoverError, Setup};
use crate::epoch::{EpochInfo, EpochSpec, Peer, Sealed};
use crate::event::{Event, Verdict};
use crate::journal::{JournalState, Record};
use crate::message::{Message, Proposal, Seen, Status};
use crate::output::{Alarm, BuildRequest, Output};
use crate::time::{Mono, Now};
use crate::verify::Dropped;
use alloc::boxed::Box;
use alloc::vec::Vec;
use ledger::certificate::Certificate;
use ledger::codec::List;
use ledger::header::BlockRef;
use ledger::id::{TimeMs, View};
use ledger::vote::{PROTOCOL, Vote, VoteKind};

pub(super) const NO_BLOCK: BlockRef = BlockRef {
    height: ledger::id::Height(0),
    hash: ledger::hash::BlockHash(ledger::hash::Hash::ZERO),
};

pub(super) struct Bench {
    pub(super) engine: Engine,
    pub(super) epoch: EpochInfo,
    pub(super) me: u16,
    pub(super) now: Now,
    /// What `WorkChanged` answers to a new head.
    pub(super) includable: u32,
    /// What `Validate` is answered; `None`: not yet.
    pub(super) verdict: Option<Verdict>,
    /// Whether a sync is done at once.
    pub(super) synced: bool,
    pub(super) records: Vec<Record>,
    pub(super) sent: Vec<Message>,
    pub(super) outputs: Vec<Output>,
    pub(super) builds: Vec<BuildRequest>,
    newest: crate::outbox::Seq,
}

/// What a bench is made from.
pub(super) struct Make {
    pub(super) config: Config,
    pub(super) me: u16,
    pub(super) journal: JournalState,
    pub(super) records: Vec<Record>,
    pub(super) archived: Option<Archived>,
    pub(super) spec: EpochSpec,
    pub(super) previous: Option<Sealed>,
}

pub(super) fn epoch() -> EpochInfo {
    EpochInfo::new(fixture::spec(4))
}

impl Make {
    /// The leader of this view, fresh.
    pub(super) fn leader_of(view: u64) -> Self {
        Self {
            config: fixture::config(),
            me: epoch().leader(View(view)).0,
            journal: JournalState::Fresh,
            records: Vec::new(),
            archived: None,
            spec: fixture::spec(4),
            previous: None,
        }
    }

    pub(super) fn recover(self) -> Result<Bench, RecoverError> {
        let epoch = EpochInfo::new(self.spec.clone());
        let tip = *epoch.anchor();
        let setup = Setup {
            config: self.config,
            layout: fixture::LAYOUT,
            epoch: self.spec,
            previous: self.previous,
            identity: Identity {
                signer: Some(Box::new(Toy(fixture::vote_key(self.me)))),
                instance: 77,
            },
            journal: self.journal,
            records: self.records,
            archived: self.archived.unwrap_or(Archived {
                tip,
                finalization: None,
            }),
        };
        Ok(Bench {
            engine: Engine::recover(setup, &ToyCheck)?,
            epoch,
            me: self.me,
            now: Now {
                mono: Mono(0),
                wall: TimeMs(EPOCH_MS),
            },
            includable: 0,
            verdict: Some(Verdict::Valid),
            synced: true,
            records: Vec::new(),
            sent: Vec::new(),
            outputs: Vec::new(),
            builds: Vec::new(),
            newest: crate::outbox::Seq(0),
        })
    }

    /// Started, connected, and through the start check.
    pub(super) fn run(self) -> Bench {
        let mut bench = self.recover().unwrap();
        bench.begin();
        for other in &bench.others()[..2] {
            bench.seen(*other, &[], false).unwrap();
        }
        assert!(bench.engine.status().is_voting());
        bench.forget();
        bench
    }
}

impl Bench {
    /// Validator that leads view 4, so that views 1 to 3 are led by others.
    pub(super) fn follower() -> Self {
        Make::leader_of(4).run()
    }

    pub(super) fn leader() -> Self {
        Make::leader_of(1).run()
    }

    /// Start, and connections to all.
    pub(super) fn begin(&mut self) {
        self.give(Event::Start);
        for other in self.others() {
            self.give(Event::PeerUp { peer: peer(other) });
        }
    }

    pub(super) fn others(&self) -> Vec<u16> {
        (0..4).filter(|index| *index != self.me).collect()
    }

    pub(super) fn leads(&self, view: u64) -> u16 {
        self.epoch.leader(View(view)).0
    }

    pub(super) fn anchor(&self) -> Tip {
        *self.epoch.anchor()
    }

    /// Forgets what was sent and put out so far.
    pub(super) fn forget(&mut self) {
        self.sent.clear();
        self.outputs.clear();
        self.builds.clear();
    }

    pub(super) fn give(&mut self, event: Event) {
        self.engine.handle(self.now, event);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some(output) = self.engine.poll_output() {
            self.outputs.push(output.clone());
            match output {
                Output::Persist { seq, records } => {
                    self.records.extend(records);
                    self.newest = seq;
                    if self.synced {
                        self.give(Event::Persisted { seq });
                    }
                }
                Output::Broadcast(message) | Output::Send { message, .. } => {
                    self.sent.push(message);
                }
                Output::Head(head) => {
                    let includable = self.includable;
                    let head = head.hash;
                    self.give(Event::WorkChanged { head, includable });
                }
                Output::Validate { hash: block, .. } => {
                    if let Some(verdict) = self.verdict {
                        self.give(Event::BlockValidated { block, verdict });
                    }
                }
                Output::Build(request) => self.builds.push(request),
                Output::SetTimer { .. }
                | Output::Gather { .. }
                | Output::Commit(_)
                | Output::Forget(_)
                | Output::Serve { .. }
                | Output::Evidence { .. }
                | Output::Alarm(_)
                | Output::Ban { .. }
                | Output::Park(_)
                | Output::Sealed(_) => {}
            }
        }
    }

    /// Everything written so far is durable.
    pub(super) fn sync(&mut self) {
        let seq = self.newest;
        self.give(Event::Persisted { seq });
    }

    pub(super) fn work(&mut self, includable: u32) {
        self.includable = includable;
        let head = self.engine.run.work.head.unwrap().hash;
        self.give(Event::WorkChanged { head, includable });
    }

    /// Time passes, and the timer fires.
    pub(super) fn wait(&mut self, ms: u64) {
        self.pass(ms);
        self.give(Event::Tick);
    }

    /// Time passes unnoticed.
    pub(super) fn pass(&mut self, ms: u64) {
        self.now.mono = self.now.mono.plus(ms);
        self.now.wall = self.now.wall.saturating_add(ms);
    }

    pub(super) fn deliver(&mut self, from: u16, message: Message) -> Result<(), Dropped> {
        let message = Message::decode(&message.encode()).unwrap();
        let admitted = self.engine.admit(self.now, peer(from), message);
        self.drain();
        let message = admitted?.verify(&ToyCheck).unwrap();
        let from = peer(from);
        self.give(Event::Message { from, message });
        Ok(())
    }

    pub(super) fn vote(
        &mut self,
        signer: u16,
        kind: VoteKind,
        view: u64,
        block: BlockRef,
    ) -> Result<(), Dropped> {
        let vote = fixture::vote(&self.epoch, signer, kind, view, block);
        self.deliver(signer, Message::Vote(vote))
    }

    /// A certificate of the three others.
    pub(super) fn make(&self, kind: VoteKind, view: u64, block: BlockRef) -> Certificate {
        fixture::certificate(&self.epoch, &self.others(), kind, view, block).into_inner()
    }

    pub(super) fn certificate(&mut self, kind: VoteKind, view: u64, block: BlockRef) {
        let certificate = self.make(kind, view, block);
        let from = self.others()[0];
        self.deliver(from, Message::Certificate(certificate))
            .unwrap();
    }

    pub(super) fn nullified(&mut self, view: u64) {
        self.certificate(VoteKind::Nullify, view, NO_BLOCK);
    }

    pub(super) fn block(&self, parent: &Tip, view: u64) -> Block {
        self.block_of(parent, view, &[view])
    }

    pub(super) fn block_of(&self, parent: &Tip, view: u64, items: &[u64]) -> Block {
        let time = parent.time_ms.0.max(self.now.wall.0 - 1) + 1;
        fixture::block(&self.epoch, parent, view, time, items)
    }

    pub(super) fn proposal(
        &self,
        view: u64,
        parent_view: u64,
        block: &Block,
        justification: Vec<Certificate>,
    ) -> Message {
        let leader = self.leads(view);
        let vote = fixture::vote(
            &self.epoch,
            leader,
            VoteKind::Notarize,
            view,
            block.block_ref(),
        );
        Message::Proposal(Proposal {
            view: View(view),
            parent_view: View(parent_view),
            block: block.clone(),
            justification: justification.try_into().unwrap(),
            vote,
        })
    }

    /// The leader of `view` proposes a block.
    pub(super) fn propose(
        &mut self,
        view: u64,
        parent_view: u64,
        block: &Block,
        justification: Vec<Certificate>,
    ) -> Result<(), Dropped> {
        let message = self.proposal(view, parent_view, block, justification);
        self.deliver(self.leads(view), message)
    }

    /// A block is proposed in `view` on `parent` and notarized.
    pub(super) fn notarized(&mut self, view: u64, parent_view: u64, parent: &Tip) -> Block {
        let block = self.block(parent, view);
        self.propose(view, parent_view, &block, Vec::new()).unwrap();
        self.certificate(VoteKind::Notarize, view, block.block_ref());
        block
    }

    pub(super) fn seen(&mut self, from: u16, votes: &[Vote], other: bool) -> Result<(), Dropped> {
        let seen = Seen {
            nonce: self.engine.run.start_check.nonce(),
            epoch: self.epoch.epoch(),
            finalized: NO_BLOCK,
            votes: List::try_from(votes.to_vec()).unwrap(),
            other_instance: other,
        };
        self.deliver(from, Message::Seen(seen))
    }

    pub(super) fn status_of(&self, from: u16) -> Status {
        Status {
            protocol: PROTOCOL,
            instance: u64::from(from),
            epoch: self.engine.status().epoch,
            view: self.engine.status().view,
            finalized: self.engine.status().committed,
            finalized_view: self.engine.status().finalized_view,
            notarized_view: View(0),
            pending: 0,
            wall: self.now.wall,
        }
    }

    /// A heartbeat of a peer in the same state.
    pub(super) fn beat(&mut self, from: u16) {
        let status = self.status_of(from);
        self.deliver(from, Message::Status(status)).unwrap();
    }

    pub(super) fn view(&self) -> u64 {
        self.engine.status().view.0
    }

    /// Own votes that were sent, in proposals too: kind, view, block.
    pub(super) fn votes(&self) -> Vec<(VoteKind, u64, BlockRef)> {
        let votes = self.sent.iter().filter_map(|message| match message {
            Message::Vote(vote) => Some(vote),
            other => other.outline().map(|proposal| proposal.vote),
        });
        votes
            .map(|vote| (vote.kind, vote.view.0, vote.block))
            .collect()
    }

    pub(super) fn proposals(&self) -> Vec<&Proposal> {
        let proposals = self.sent.iter().filter_map(|message| match message {
            Message::Proposal(proposal) => Some(proposal),
            _ => None,
        });
        proposals.collect()
    }

    pub(super) fn commits(&self) -> Vec<BlockRef> {
        let commits = self.outputs.iter().filter_map(|output| match output {
            Output::Commit(commit) => Some(&commit.blocks),
            _ => None,
        });
        commits.flatten().map(Block::block_ref).collect()
    }

    pub(super) fn alarms(&self) -> Vec<Alarm> {
        let alarms = self.outputs.iter().filter_map(|output| match output {
            Output::Alarm(alarm) => Some(*alarm),
            _ => None,
        });
        alarms.collect()
    }
}

pub(super) fn peer(index: u16) -> Peer {
    Peer(fixture::network_key(index))
}

pub(super) fn tip(block: &Block) -> Tip {
    Tip::from(&block.header)
}
