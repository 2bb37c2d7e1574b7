//! The engine's event stream out of bytes: each event is one that a driver may give, its contents are anybody's.
//!
//! Every signature counts as good, so that the bytes reach what lies behind the checks: all four validators may be as
//! hostile as they like, and the engine may find that out, but it may not panic.

use consensus::items::Positions;
use consensus::message::{BodyItems, BodyReq, CertReq, CompactProposal, Proposal, Status, SyncReq};
use consensus::{
    Archived, Block, Body, BuildRequest, Compaction, Config, Engine, EpochSpec, Event, Identity,
    Item, JournalState, Layout, Message, Mono, Now, Output, Peer, Rules, Seq, Setup, Signer,
    Timing, Tip, Verdict, Verifier,
};
use ledger::codec::{self, List};
use ledger::hash::{BlockHash, ChainId, Hash, ItemId, SetHash};
use ledger::header::{BlockRef, Flags, HEADER_VERSION, Header};
use ledger::id::{
    AuthorityId, AuthorityIndex, Epoch, Height, TimeMs, TreeSize, ValidatorIndex, View,
};
use ledger::key::{BadSignature, Key, RawSignature};
use ledger::validator_set::{Member, ValidatorSet};
use ledger::vote::{PROTOCOL, Vote, VoteKind};
use std::collections::VecDeque;

/// Validators; the engine is the first.
const VALIDATORS: u16 = 4;
/// Most outputs that one event may lead to: certificates of a window of views, votes, requests.
const MAX_OUTPUTS: usize = 10_000;
/// Blocks that votes and certificates may name.
const MAX_KNOWN: usize = 64;

/// Feeds the engine with the events that the bytes spell.
///
/// # Panics
/// If the engine does, or answers one event with more than a bounded number of outputs.
pub fn engine(bytes: &[u8]) {
    let mut world = World::new();
    world.give(Event::Start);
    for peer in 1..VALIDATORS {
        let peer = Peer(key(peer, 4));
        world.give(Event::PeerUp { peer });
    }
    let mut bytes = Bytes(bytes);
    while let Some(kind) = bytes.next() {
        world.step(kind, &mut bytes);
    }
}

/// Bytes that are read from the front; numbers behind the end are 0.
struct Bytes<'a>(&'a [u8]);

impl Bytes<'_> {
    fn next(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn byte(&mut self) -> u8 {
        self.next().unwrap_or_default()
    }

    fn take(&mut self, length: usize) -> Vec<u8> {
        let (taken, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        taken.to_vec()
    }

    /// Near `base`, or at the end of the range.
    fn near(&mut self, base: u64) -> u64 {
        match self.byte() {
            254 => u64::MAX - 1,
            255 => u64::MAX,
            delta => base.saturating_add(u64::from(delta)).saturating_sub(64),
        }
    }
}

/// Bodies are items of one byte.
const LAYOUT: Layout = Layout {
    cut: |body| Some(body.chunks(1).collect()),
    join: |items| {
        let bytes = items.iter().flat_map(|item| item.iter().copied());
        Body::from(bytes.collect::<Vec<u8>>())
    },
};

struct AllGood;

impl Verifier for AllGood {
    fn verify(&self, _: &Key, _: &[u8], _: &RawSignature) -> Result<(), BadSignature> {
        Ok(())
    }
}

impl Signer for AllGood {
    fn key(&self) -> Key {
        key(0, 1)
    }

    fn sign(&self, _: &[u8]) -> RawSignature {
        RawSignature([1; 64])
    }
}

fn key(index: u16, duty: u8) -> Key {
    let mut bytes = [duty; 32];
    bytes[..2].copy_from_slice(&index.to_le_bytes());
    Key::from_bytes(bytes)
}

fn set() -> ValidatorSet {
    let member = |index| Member {
        authority: AuthorityIndex(index),
        id: AuthorityId::new(&format!("authority-{index}")).expect("a short id"),
        vote: key(index, 1),
        cosigner: key(index, 2),
        log: key(index, 3),
        network: key(index, 4),
    };
    ValidatorSet::new((0..VALIDATORS).map(member).collect()).expect("distinct keys")
}

fn spec(epoch: u64, anchor: Tip) -> EpochSpec {
    EpochSpec {
        chain: ChainId(Hash([7; 32])),
        epoch: Epoch(epoch),
        set: set(),
        anchor,
        restart: Hash::ZERO,
    }
}

/// The engine, and what it waits for.
struct World {
    engine: Engine,
    now: Now,
    persisted: Seq,
    validate: VecDeque<BlockHash>,
    /// Blocks whose items are looked for, and how many items.
    gather: VecDeque<(BlockHash, usize)>,
    build: Option<BuildRequest>,
    sealed: Option<Tip>,
    /// Tips that blocks may be built on, and blocks that may be named.
    tips: Vec<Tip>,
}

impl World {
    fn new() -> Self {
        let anchor = Tip {
            block: BlockRef {
                height: Height(0),
                hash: BlockHash(Hash([7; 32])),
            },
            time_ms: TimeMs(1_000_000),
            flags: Flags::NONE,
        };
        let config = Config::new(Rules::default(), Timing::default()).expect("the defaults");
        let setup = Setup {
            config: config.with_compaction(Compaction {
                above_members: 10,
                above_bytes: 0,
            }),
            layout: LAYOUT,
            epoch: spec(0, anchor),
            previous: None,
            identity: Identity {
                signer: Some(Box::new(AllGood)),
                instance: 1,
            },
            journal: JournalState::Fresh,
            records: Vec::new(),
            archived: Archived {
                tip: anchor,
                finalization: None,
            },
        };
        let engine = Engine::recover(setup, &AllGood).expect("nothing is on the disk");
        let now = Now {
            mono: Mono(0),
            wall: TimeMs(2_000_000),
        };
        Self {
            engine,
            now,
            persisted: Seq::default(),
            validate: VecDeque::new(),
            gather: VecDeque::new(),
            build: None,
            sealed: None,
            tips: vec![anchor],
        }
    }

    fn give(&mut self, event: Event) {
        self.engine.handle(self.now, event);
        self.drain();
    }

    fn drain(&mut self) {
        let mut count = 0;
        while let Some(output) = self.engine.poll_output() {
            count += 1;
            assert!(count < MAX_OUTPUTS, "one event, {count} outputs");
            match output {
                Output::Persist { seq, .. } => self.persisted = seq,
                Output::Validate { hash, .. } => self.validate.push_back(hash),
                Output::Gather { block, ids, .. } => self.gather.push_back((block, ids.len())),
                Output::Build(request) => self.build = Some(request),
                Output::Sealed(tip) => self.sealed = Some(tip),
                _ => {}
            }
        }
    }

    fn step(&mut self, kind: u8, bytes: &mut Bytes<'_>) {
        match kind % 16 {
            0 => {
                let ms = u64::from(bytes.byte()) * 40;
                self.now.mono = self.now.mono.plus(ms);
                self.now.wall = self.now.wall.saturating_add(ms);
                self.give(Event::Tick);
            }
            1 => self.give(Event::Persisted {
                seq: self.persisted,
            }),
            7 => {
                let verdict = match bytes.byte() % 4 {
                    0 => Verdict::Invalid,
                    1 => Verdict::BadDelivery,
                    _ => Verdict::Valid,
                };
                if let Some(block) = self.validate.pop_front() {
                    self.give(Event::BlockValidated { block, verdict });
                }
            }
            4 => self.of_items(bytes),
            8 => self.answer_build(bytes),
            9 => {
                let head = self.tip(bytes).block.hash;
                let includable = u32::from(bytes.byte());
                self.give(Event::WorkChanged { head, includable });
            }
            10 => {
                let peer = Peer(key(u16::from(bytes.byte()) % 6, 4));
                self.give(match bytes.byte() % 3 {
                    0 => Event::PeerUp { peer },
                    1 => Event::PeerDown { peer },
                    _ => Event::RoundTrip {
                        peer,
                        rtt_ms: u64::from(bytes.byte()),
                    },
                });
            }
            14 => {
                if let Some(tip) = self.sealed.take() {
                    let epoch = self.engine.status().epoch.0.saturating_add(1);
                    self.give(Event::EpochOpened(Box::new(spec(epoch, tip))));
                }
            }
            15 => drop(self.engine.snapshot()),
            kind => {
                if let Some(message) = self.message(kind, bytes) {
                    let from = bytes.byte();
                    self.receive(from, message);
                }
            }
        }
    }

    fn message(&mut self, kind: u8, bytes: &mut Bytes<'_>) -> Option<Message> {
        match kind {
            2 => {
                let length = usize::from(bytes.byte());
                Message::decode(&bytes.take(length)).ok()
            }
            5 => self.certificate(bytes),
            6 => Some(self.proposal(bytes)),
            11 => Some(self.status(bytes)),
            12 => Some(self.request(bytes)),
            13 => Some(Message::Block(self.block(bytes))),
            _ => Some(Message::Vote(self.vote(bytes))),
        }
    }

    fn receive(&mut self, from: u8, message: Message) {
        let from = Peer(key(u16::from(from) % 6, 4));
        let admitted = self.engine.admit(self.now, from, message);
        self.drain();
        if let Some(message) = admitted.ok().and_then(|one| one.verify(&AllGood).ok()) {
            self.give(Event::Message { from, message });
        }
    }

    fn tip(&self, bytes: &mut Bytes<'_>) -> Tip {
        let at = usize::from(bytes.byte()) % self.tips.len();
        self.tips[at]
    }

    fn view(&self, bytes: &mut Bytes<'_>) -> View {
        View(bytes.near(self.engine.status().view.0))
    }

    fn vote(&self, bytes: &mut Bytes<'_>) -> Vote {
        let kind = kind(bytes.byte());
        let block = match kind {
            VoteKind::Nullify => BlockRef::default(),
            VoteKind::Notarize | VoteKind::Finalize => self.tip(bytes).block,
        };
        Vote {
            epoch: self.engine.status().epoch,
            view: self.view(bytes),
            kind,
            block,
            signer: ValidatorIndex(u16::from(bytes.byte()) % (VALIDATORS + 1)),
            signature: RawSignature([1; 64]),
        }
    }

    /// By hand: its type refuses to be made wrong.
    fn certificate(&self, bytes: &mut Bytes<'_>) -> Option<Message> {
        let vote = self.vote(bytes);
        let bitmap = bytes.byte() % 16;
        let signatures = vec![vote.signature; usize::try_from(bitmap.count_ones()).ok()?];
        let Vote {
            epoch,
            view,
            kind,
            block,
            ..
        } = vote;
        let fields = (kind, epoch, view, block, vec![bitmap], signatures);
        Message::decode(&[&[5][..], &codec::encode(&fields)].concat()).ok()
    }

    /// A child of a block that is known.
    fn block(&mut self, bytes: &mut Bytes<'_>) -> Block {
        let parent = self.tip(bytes);
        let flags = match bytes.byte() % 4 {
            0 => Flags::SEAL,
            1 => Flags::ANCHOR,
            _ => Flags::NONE,
        };
        let body = vec![bytes.byte()];
        let header = Header {
            version: HEADER_VERSION,
            chain: ChainId(Hash([7; 32])),
            epoch: self.engine.status().epoch,
            view: self.view(bytes),
            height: Height(parent.block.height.0.saturating_add(1)),
            parent: parent.block.hash,
            proposer: ValidatorIndex(u16::from(bytes.byte()) % VALIDATORS),
            time_ms: TimeMs(parent.time_ms.0.saturating_add(u64::from(bytes.byte()))),
            body_len: 1,
            body_root: Hash([body[0]; 32]),
            log_size: TreeSize(1),
            log_root: Hash::ZERO,
            status_root: Hash::ZERO,
            flags,
            validator_set: set().hash(),
            next_set: if flags.is_seal() {
                set().hash()
            } else {
                SetHash::default()
            },
        };
        if self.tips.len() < MAX_KNOWN {
            self.tips.push(Tip::from(&header));
        }
        Block {
            header,
            body: Body::from(body),
        }
    }

    fn proposal(&mut self, bytes: &mut Bytes<'_>) -> Message {
        let block = self.block(bytes);
        let (view, parent_view) = (block.header.view, self.view(bytes));
        let vote = Vote {
            epoch: block.header.epoch,
            view,
            kind: VoteKind::Notarize,
            block: block.block_ref(),
            signer: block.header.proposer,
            signature: RawSignature([1; 64]),
        };
        Message::Proposal(Proposal {
            view,
            parent_view,
            block,
            justification: List::new(),
            vote,
        })
    }

    /// Compact proposals, and what is asked and said of their items.
    fn of_items(&mut self, bytes: &mut Bytes<'_>) {
        let items = |bytes: &mut Bytes<'_>| -> Vec<Item> {
            let count = bytes.byte() % 4;
            (0..count)
                .map(|_| Item::from(vec![bytes.byte() % 4]))
                .collect()
        };
        let message = match bytes.byte() % 5 {
            0 => {
                let Some((block, count)) = self.gather.pop_front() else {
                    return;
                };
                let count = count.saturating_add(usize::from(bytes.byte() == 255));
                let held = |_| {
                    let byte = bytes.byte();
                    (byte < 128).then(|| Item::from(vec![byte % 4]))
                };
                let items = (0..count).map(held).collect();
                return self.give(Event::Gathered { block, items });
            }
            1 => Message::BodyReq(BodyReq {
                block: self.tip(bytes).block,
                missing: Positions::new(usize::from(bytes.byte()), [usize::from(bytes.byte())]),
            }),
            2 => Message::BodyItems(BodyItems {
                block: self.tip(bytes).block,
                items: items(bytes).try_into().unwrap_or_default(),
            }),
            _ => {
                let Message::Proposal(proposal) = self.proposal(bytes) else {
                    return;
                };
                let ids: Vec<ItemId> = items(bytes).iter().map(Item::id).collect();
                Message::CompactProposal(CompactProposal {
                    view: proposal.view,
                    parent_view: proposal.parent_view,
                    header: proposal.block.header,
                    ids: ids.try_into().unwrap_or_default(),
                    justification: proposal.justification,
                    vote: proposal.vote,
                })
            }
        };
        let from = bytes.byte();
        self.receive(from, message);
    }

    fn answer_build(&mut self, bytes: &mut Bytes<'_>) {
        let Some(request) = self.build.take() else {
            return;
        };
        let view = request.view;
        if bytes.byte().is_multiple_of(3) {
            return self.give(Event::BuildEmpty { view });
        }
        let mut block = self.block(bytes);
        let header = &mut block.header;
        header.view = view;
        header.height = request.height;
        header.parent = request.parent.block.hash;
        header.proposer = request.proposer;
        header.time_ms = request.time_ms;
        header.flags = request.flags;
        header.next_set = SetHash::default();
        self.give(Event::ProposalReady { view, block });
    }

    fn status(&self, bytes: &mut Bytes<'_>) -> Message {
        let own = self.engine.status();
        Message::Status(Status {
            protocol: PROTOCOL,
            instance: u64::from(bytes.byte()),
            epoch: Epoch(bytes.near(own.epoch.0)),
            view: self.view(bytes),
            finalized: BlockRef {
                height: Height(bytes.near(own.committed.height.0)),
                ..self.tip(bytes).block
            },
            finalized_view: self.view(bytes),
            notarized_view: self.view(bytes),
            pending: u32::from(bytes.byte()),
            wall: TimeMs(bytes.near(self.now.wall.0)),
        })
    }

    fn request(&self, bytes: &mut Bytes<'_>) -> Message {
        match bytes.byte() % 3 {
            0 => Message::Fetch(self.tip(bytes).block),
            1 => Message::CertReq(CertReq {
                epoch: self.engine.status().epoch,
                from: self.view(bytes),
                to: self.view(bytes),
            }),
            _ => Message::SyncReq(SyncReq {
                from: Height(bytes.near(0)),
                max_bytes: u32::from(bytes.byte()) << 20,
            }),
        }
    }
}

const fn kind(byte: u8) -> VoteKind {
    match byte % 3 {
        0 => VoteKind::Notarize,
        1 => VoteKind::Nullify,
        _ => VoteKind::Finalize,
    }
}
