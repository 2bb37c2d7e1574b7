//! Byzantine validators: an unchanged engine whose hands are not its own.
//!
//! A byzantine node runs the same engine and application as everybody. A [`Shell`] stands between it and the network:
//! it may change, drop or add messages, and sign anything with the node's key. Each behaviour of consensus.md 5.2 is
//! one file; a node may have several at once.

mod amnesia;
mod beyond_seal;
mod churn;
mod double_vote;
mod equivocation;
mod false_items;
mod flood;
mod forged;
mod garbage;
mod greed;
mod invalid_block;
mod late;
mod lying_sync;
mod not_leader;
mod replay;
mod selective;
mod stale_parent;
pub(crate) mod twins;
mod vote_all;
mod withholding;
mod wrong_time;

use crate::application::Application;
use crate::clock::Time;
use crate::random::Random;
use crate::roster::Roster;
use consensus::message::Proposal;
use consensus::{Block, BuildRequest, EpochInfo, Message, Signer, Tip};
use ledger::certificate::Certificate;
use ledger::header::{BlockRef, Flags};
use ledger::id::{Epoch, TimeMs, ValidatorIndex, View};
use ledger::vote::{Statement, Vote, VoteKind};
use std::collections::{BTreeMap, VecDeque};

/// Most things of one kind that a byzantine node remembers.
const MEMORY: usize = 64;

/// Kinds of misbehaviour.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mischief {
    Selective,
    Equivocation,
    DoubleVote,
    VoteAll,
    Withholding,
    InvalidBlock,
    Garbage,
    Replay,
    Forged,
    NotLeader,
    StaleParent,
    Churn,
    Flood,
    Greed,
    LyingSync,
    WrongTime,
    Late,
    BeyondSeal,
    Amnesia,
    Twins,
    FalseItems,
}

/// Those that make sense only where proposals are compact.
pub(crate) const OF_COMPACT: [Mischief; 1] = [Mischief::FalseItems];

/// All others.
pub(crate) const ALL: [Mischief; 20] = [
    Mischief::Selective,
    Mischief::Equivocation,
    Mischief::DoubleVote,
    Mischief::VoteAll,
    Mischief::Withholding,
    Mischief::InvalidBlock,
    Mischief::Garbage,
    Mischief::Replay,
    Mischief::Forged,
    Mischief::NotLeader,
    Mischief::StaleParent,
    Mischief::Churn,
    Mischief::Flood,
    Mischief::Greed,
    Mischief::LyingSync,
    Mischief::WrongTime,
    Mischief::Late,
    Mischief::BeyondSeal,
    Mischief::Amnesia,
    Mischief::Twins,
];

/// One way to misbehave.
trait Behaviour {
    /// The engine wants to send this; what is returned goes out instead.
    fn outgoing(&mut self, _hand: &mut Hand<'_>, _to: usize, message: Message) -> Option<Message> {
        Some(message)
    }

    /// A message came in, before the engine sees it.
    fn incoming(&mut self, _hand: &mut Hand<'_>, _from: usize, _message: &Message) {}

    /// Comes every now and then.
    fn tick(&mut self, _hand: &mut Hand<'_>) {}
}

fn behaviour(mischief: Mischief) -> Box<dyn Behaviour> {
    match mischief {
        Mischief::Selective => Box::new(selective::Selective::default()),
        Mischief::Equivocation => Box::new(equivocation::Equivocation::default()),
        Mischief::DoubleVote => Box::new(double_vote::DoubleVote),
        Mischief::VoteAll => Box::new(vote_all::VoteAll::default()),
        Mischief::Withholding => Box::new(withholding::Withholding),
        Mischief::InvalidBlock => Box::new(invalid_block::InvalidBlock::default()),
        Mischief::Garbage => Box::new(garbage::Garbage),
        Mischief::Replay => Box::new(replay::Replay::default()),
        Mischief::Forged => Box::new(forged::Forged),
        Mischief::NotLeader => Box::new(not_leader::NotLeader::default()),
        Mischief::StaleParent => Box::new(stale_parent::StaleParent::default()),
        Mischief::Churn => Box::new(churn::Churn),
        Mischief::Flood => Box::new(flood::Flood),
        Mischief::Greed => Box::new(greed::Greed),
        Mischief::LyingSync => Box::new(lying_sync::LyingSync),
        Mischief::WrongTime => Box::new(wrong_time::WrongTime::default()),
        Mischief::Late => Box::new(late::Late::default()),
        Mischief::BeyondSeal => Box::new(beyond_seal::BeyondSeal),
        Mischief::Twins => Box::new(twins::Twins),
        Mischief::Amnesia => Box::new(amnesia::Amnesia),
        Mischief::FalseItems => Box::new(false_items::FalseItems::default()),
    }
}

/// What a byzantine node has seen.
#[derive(Default)]
struct Lore {
    blocks: BTreeMap<BlockRef, Block>,
    certificates: VecDeque<Certificate>,
    votes: VecDeque<Vote>,
    epoch: Epoch,
    view: View,
}

impl Lore {
    fn learn(&mut self, message: &Message) {
        match message {
            Message::Proposal(proposal) => {
                let block = &proposal.block;
                self.blocks.insert(block.block_ref(), block.clone());
                if self.blocks.len() > MEMORY {
                    self.blocks.pop_first();
                }
                remember(&mut self.votes, proposal.vote);
                for certificate in &*proposal.justification {
                    self.certified(certificate);
                }
            }
            Message::CompactProposal(proposal) => {
                remember(&mut self.votes, proposal.vote);
                for certificate in &*proposal.justification {
                    self.certified(certificate);
                }
            }
            Message::Vote(vote) => remember(&mut self.votes, *vote),
            Message::Certificate(certificate) => self.certified(certificate),
            Message::Hello(_)
            | Message::Seen(_)
            | Message::Status(_)
            | Message::Fetch(_)
            | Message::Block(_)
            | Message::CertReq(_)
            | Message::CertResp(_)
            | Message::SyncReq(_)
            | Message::SyncResp(_)
            | Message::RejoinReq(_)
            | Message::RejoinResp(_)
            | Message::BodyReq(_)
            | Message::BodyItems(_) => {}
        }
    }

    /// In which view a block was certified, as far as was seen; the anchor in view 0.
    fn view_of(&self, epoch: &EpochInfo, block: &BlockRef) -> Option<View> {
        if *block == epoch.anchor().block {
            return Some(View(0));
        }
        let newest = self.certificates.iter().rev();
        let naming = newest.filter(|certificate| certificate.block() == *block);
        naming.map(Certificate::view).next()
    }

    fn certified(&mut self, certificate: &Certificate) {
        if certificate.epoch() > self.epoch {
            self.epoch = certificate.epoch();
            self.view = View(0);
        }
        self.view = self.view.max(certificate.view().saturating_add(1));
        remember(&mut self.certificates, certificate.clone());
    }
}

fn remember<T>(list: &mut VecDeque<T>, item: T) {
    if list.len() == MEMORY {
        list.pop_front();
    }
    list.push_back(item);
}

/// What a behaviour has to act with.
struct Hand<'a> {
    me: usize,
    roster: &'a Roster,
    signer: &'a dyn Signer,
    random: &'a mut Random,
    lore: &'a Lore,
    application: &'a Application,
    wall: TimeMs,
    out: &'a mut Frames,
}

impl Hand<'_> {
    /// Number of nodes.
    fn n(&self) -> usize {
        self.roster.nodes()
    }

    /// The epoch that this node is in.
    fn epoch(&self) -> &EpochInfo {
        self.application.epoch()
    }

    /// Its position there; 0 if it has none.
    fn index(&self) -> ValidatorIndex {
        let index = self.roster.index_in(self.epoch(), self.me);
        index.unwrap_or_default()
    }

    fn send(&mut self, to: usize, message: &Message) {
        self.send_bytes(to, message.encode());
    }

    fn send_bytes(&mut self, to: usize, bytes: Vec<u8>) {
        self.send_later(0, to, bytes);
    }

    fn send_later(&mut self, after: Time, to: usize, bytes: Vec<u8>) {
        if to != self.me {
            self.out.push(Outgoing { to, after, bytes });
        }
    }

    fn send_all(&mut self, message: &Message) {
        let bytes = message.encode();
        for to in 0..self.n() {
            self.send_bytes(to, bytes.clone());
        }
    }

    /// Anyone but this node.
    fn somebody(&mut self) -> usize {
        let step = 1 + self.random.index(self.n() - 1);
        (self.me + step) % self.n()
    }

    fn is_leader(&self, view: View) -> bool {
        self.epoch().leader(view) == self.index()
    }

    fn vote(&self, kind: VoteKind, view: View, block: BlockRef) -> Vote {
        let block = if kind == VoteKind::Nullify {
            BlockRef::default()
        } else {
            block
        };
        let statement = Statement { kind, view, block };
        let message = statement.sign_bytes(self.epoch().context());
        Vote {
            epoch: self.epoch().epoch(),
            view,
            kind,
            block,
            signer: self.index(),
            signature: self.signer.sign(&message),
        }
    }

    /// The same proposal with another block, signed anew.
    fn propose(&self, like: &Proposal, block: Block) -> Message {
        let vote = self.vote(VoteKind::Notarize, like.view, block.block_ref());
        Message::Proposal(Proposal {
            view: like.view,
            parent_view: like.parent_view,
            block,
            justification: like.justification.clone(),
            vote,
        })
    }

    /// What would have asked for that block.
    fn request_of(&self, block: &Block) -> BuildRequest {
        let header = &block.header;
        BuildRequest {
            chain: header.chain,
            epoch: header.epoch,
            view: header.view,
            parent: Tip {
                block: BlockRef {
                    height: header.height.saturating_sub(1),
                    hash: header.parent,
                },
                time_ms: header.time_ms.saturating_sub(1),
                flags: Flags::NONE,
            },
            height: header.height,
            proposer: header.proposer,
            time_ms: header.time_ms,
            flags: if header.flags.is_anchor() {
                Flags::ANCHOR
            } else {
                Flags::NONE
            },
            validator_set: header.validator_set,
        }
    }
}

/// Stands between a byzantine node's engine and the network.
pub(crate) struct Shell {
    me: usize,
    behaviours: Vec<Box<dyn Behaviour>>,
    signer: Box<dyn Signer>,
    lore: Lore,
    random: Random,
}

/// The surroundings of one act.
pub(crate) struct Scene<'a> {
    pub(crate) roster: &'a Roster,
    pub(crate) application: &'a Application,
    pub(crate) wall: TimeMs,
}

/// Bytes that a byzantine node sends.
pub(crate) struct Outgoing {
    pub(crate) to: usize,
    /// In so many ms.
    pub(crate) after: Time,
    pub(crate) bytes: Vec<u8>,
}

/// All that it sends in one act.
pub(crate) type Frames = Vec<Outgoing>;

impl Shell {
    pub(crate) fn new(me: usize, mischief: &[Mischief], roster: &Roster, random: Random) -> Self {
        Self {
            me,
            behaviours: mischief.iter().map(|kind| behaviour(*kind)).collect(),
            signer: roster.signer(me),
            lore: Lore::default(),
            random,
        }
    }

    /// What goes out when the engine wants to send `message` to these nodes.
    pub(crate) fn outgoing(
        &mut self,
        scene: &Scene<'_>,
        to: impl Iterator<Item = usize>,
        message: &Message,
    ) -> Frames {
        self.lore.learn(message);
        let mut out = Vec::new();
        for to in to {
            let mut kept = Some(message.clone());
            self.act(scene, &mut out, |behaviour, hand| {
                kept = kept.take().and_then(|m| behaviour.outgoing(hand, to, m));
            });
            if let Some(message) = kept {
                let bytes = message.encode();
                let after = 0;
                out.push(Outgoing { to, after, bytes });
            }
        }
        out
    }

    pub(crate) fn incoming(&mut self, scene: &Scene<'_>, from: usize, message: &Message) -> Frames {
        self.lore.learn(message);
        let mut out = Vec::new();
        self.act(scene, &mut out, |behaviour, hand| {
            behaviour.incoming(hand, from, message);
        });
        out
    }

    pub(crate) fn tick(&mut self, scene: &Scene<'_>) -> Frames {
        let mut out = Vec::new();
        self.act(scene, &mut out, |behaviour, hand| behaviour.tick(hand));
        out
    }

    /// When the next tick is due.
    pub(crate) fn pause(&mut self) -> Time {
        self.random.between(100, 900)
    }

    fn act(
        &mut self,
        scene: &Scene<'_>,
        out: &mut Frames,
        mut each: impl FnMut(&mut dyn Behaviour, &mut Hand<'_>),
    ) {
        let mut hand = Hand {
            me: self.me,
            roster: scene.roster,
            signer: &*self.signer,
            random: &mut self.random,
            lore: &self.lore,
            application: scene.application,
            wall: scene.wall,
            out,
        };
        for behaviour in &mut self.behaviours {
            each(&mut **behaviour, &mut hand);
        }
    }
}
