//! One of four validators is hostile: it speaks the real protocol over real sockets, with its own keys, and says what
//! no honest node says. The other three go on, stay small, and say who it was.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use consensus::message::{CertReq, Hello, Proposal, Seen, Status, SyncReq, SyncResp};
use consensus::{Block, EpochInfo, EpochSpec, Message, Peer, Tip};
use genesis::container::Founding;
use genesis::keyfile::KeyFile;
use ledger::codec::{self, List};
use ledger::genesis::Purpose;
use ledger::hash::{BlockHash, Hash, ItemId};
use ledger::header::{BlockRef, Flags};
use ledger::id::{AuthorityId, Epoch, Height, TimeMs, TreeSize, ValidatorIndex, View};
use ledger::key::{RawSignature, SigningKey};
use ledger::vote::{PROTOCOL, Statement, Vote, VoteKind};
use node::gossip::{self, Cosig};
use node::network::Lane;
use node::network::raw::{RawError, RawPeer};
use std::time::{Duration, Instant};
use tests::load::Maker;
use tests::running::{Running, wait_for};
use tokio::time::timeout;

/// The validators that run; the fourth's keys are in hostile hands.
const HONEST: [usize; 3] = [0, 1, 2];
/// The fourth, and its id.
const HOSTILE: usize = 3;
const HOSTILE_ID: &str = "vg-leipzig";
/// Most memory of a node, in KiB, whatever is done to it.
const MAX_RESIDENT_KIB: u64 = 300 * 1024;
/// So long may anything take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the node says of a peer that breaks the protocol's rules.
const DISHONEST: &str = "sent what no honest node sends";
const MALFORMED: &str = "sent a malformed consensus message";

/// Three running validators, and all that the fourth knows.
struct Siege {
    running: Running,
    epoch: EpochInfo,
    votes: Vec<SigningKey>,
    network: KeyFile,
}

/// Something that ends the connection: raw bytes on a lane, the reason that the node counts, and what it logs.
struct Offence {
    lane: Lane,
    bytes: Vec<u8>,
    why: &'static str,
    detail: &'static str,
}

impl Siege {
    fn begin() -> Self {
        let running = Running::with_nodes(&HONEST);
        let dir = running.network.dir();
        let founding = Founding::load(&dir.join("genesis.nachweis")).unwrap();
        let keys = |id: &AuthorityId, purpose: Purpose| {
            let folder = dir.join("keys").join(id.as_str());
            KeyFile::load(&folder.join(node::identity::file_name(purpose)), purpose).unwrap()
        };
        let set = founding.validators().clone();
        let members = set.indices().map(|index| set.get(index).unwrap());
        let votes = members.map(|member| keys(&member.id, Purpose::Vote).signing_key());
        let votes = votes.collect();
        let hostile = set.get(index(HOSTILE)).unwrap();
        assert_eq!(hostile.id.as_str(), HOSTILE_ID);
        let network = keys(&hostile.id, Purpose::Network);
        let chain = founding.chain();
        let anchor = Tip {
            block: BlockRef {
                height: Height(0),
                hash: BlockHash(chain.0),
            },
            time_ms: founding.genesis().created_ms,
            flags: Flags::NONE,
        };
        let epoch = EpochInfo::new(EpochSpec {
            chain,
            epoch: Epoch(0),
            set,
            anchor,
            restart: Hash::ZERO,
        });
        Self {
            running,
            epoch,
            votes,
            network,
        }
    }

    fn peer(&self, at: usize) -> Peer {
        Peer(self.epoch.set().get(index(at)).unwrap().network)
    }

    async fn connect_as(&self, key: &KeyFile, at: usize) -> Result<RawPeer, RawError> {
        let address = &self.running.network.manifest().nodes[at].peer;
        RawPeer::connect(key, &self.peer(at), address).await
    }

    async fn connect(&self, at: usize) -> RawPeer {
        let peer = self.connect_as(&self.network, at).await.unwrap();
        // The lanes stand here before the node's engine knows of them: it drops what nobody is there to have sent.
        wait_for("the node sees the peer", || {
            let status = self.running.status(at);
            let mut peers = status["peers"].as_array()?.iter();
            let peer = peers.find(|peer| peer["authority"] == HOSTILE_ID)?;
            peer["connected"].as_bool()?.then_some(())
        });
        peer
    }

    fn view(&self, at: usize) -> View {
        View(self.running.status(at)["view"].as_u64().unwrap())
    }

    /// A vote by any validator: what a quorum of hostile ones could make.
    fn vote_of(&self, signer: usize, statement: Statement) -> Vote {
        let key = &self.votes[signer];
        Vote::sign(
            statement,
            Epoch(0),
            index(signer),
            self.epoch.context(),
            key,
        )
    }

    /// The nearest view at or after this one that the hostile validator leads, or another one does.
    fn led(&self, by_hostile: Leader, from: View) -> View {
        let leads = |view: &View| self.epoch.leader(*view) == index(HOSTILE);
        let mut views = (from.0..).map(View);
        let fits = |view: &View| leads(view) == matches!(by_hostile, Leader::Hostile);
        views.find(fits).unwrap()
    }

    /// All three are up and small, and a record still becomes final and provable.
    fn goes_on(&self, through: usize) {
        for at in HONEST {
            assert!(self.running.network.is_running(at), "node {at} is down");
        }
        self.running.becomes_provable(through);
        for at in HONEST {
            let resident = self.running.resident_kib(at);
            assert!(
                resident < MAX_RESIDENT_KIB,
                "node {at} holds {resident} KiB"
            );
        }
    }

    /// Waits until a node has logged a line with these words, after `from` bytes.
    fn is_logged(&self, at: usize, from: usize, words: &[&str]) {
        let found = || {
            let log = self.running.log(at);
            let mut lines = log.get(from..)?.lines();
            lines
                .any(|line| words.iter().all(|word| line.contains(word)))
                .then_some(())
        };
        wait_for(&format!("node {at} logs {words:?}"), found);
    }

    /// Commits an offence: the connection is closed and the node says who did what.
    async fn commit(&self, at: usize, offence: &Offence) {
        let from = self.running.log(at).len();
        let mut peer = self.connect(at).await;
        // The node may close while it is still being written to.
        peer.write(offence.lane, &offence.bytes).await.ok();
        self.is_kept_out(at, from, &peer, offence.why, offence.detail)
            .await;
    }

    async fn is_kept_out(&self, at: usize, from: usize, peer: &RawPeer, why: &str, detail: &str) {
        let closed = timeout(PATIENCE, peer.closed()).await;
        assert!(closed.is_ok(), "not disconnected: {why} {detail}");
        let authority = format!("authority={HOSTILE_ID}");
        self.is_logged(at, from, &["misbehaved", &authority, why]);
        self.is_logged(at, from, &[detail]);
        let again = self.connect_as(&self.network, at).await;
        assert!(matches!(again, Err(RawError::Refused(_))), "{again:?}");
    }

    async fn real_blocks(&self, peer: &mut RawPeer) -> SyncResp {
        let request = SyncReq {
            from: Height(1),
            max_bytes: 1 << 20,
        };
        let request = Message::SyncReq(request).encode();
        peer.send(Lane::Consensus, &request).await.unwrap();
        let answer = receive(peer, Lane::Bulk, |message| match message {
            Message::SyncResp(blocks) => Some(blocks),
            _ => None,
        });
        answer.await
    }
}

/// Who leads a view.
#[derive(Clone, Copy)]
enum Leader {
    Hostile,
    Honest,
}

fn index(at: usize) -> ValidatorIndex {
    ValidatorIndex(u16::try_from(at).unwrap())
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_le_bytes()[..], bytes].concat()
}

/// The next consensus message of a kind; others are passed over.
async fn receive<T>(peer: &mut RawPeer, lane: Lane, wanted: impl Fn(Message) -> Option<T>) -> T {
    let wait = async {
        loop {
            let bytes = peer.recv(lane).await.unwrap();
            if let Some(found) = Message::decode(&bytes).ok().and_then(&wanted) {
                return found;
            }
        }
    };
    timeout(PATIENCE, wait).await.unwrap()
}

fn now() -> TimeMs {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    TimeMs(u64::try_from(now.unwrap().as_millis()).unwrap())
}

/// A heartbeat that claims a chain of this height.
fn boast(height: u64, view: View) -> Message {
    Message::Status(Status {
        protocol: PROTOCOL,
        instance: 7,
        epoch: Epoch(0),
        view,
        finalized: BlockRef {
            height: Height(height),
            hash: BlockHash(Hash([7; 32])),
        },
        finalized_view: view,
        notarized_view: view,
        pending: u32::MAX,
        wall: now(),
    })
}

fn notarize(view: View) -> Statement {
    let hash = BlockHash(Hash([9; 32]));
    let height = Height(1_000);
    Statement {
        kind: VoteKind::Notarize,
        view,
        block: BlockRef { height, hash },
    }
}

/// A certificate's message with any bitmap and signatures, by hand: its type refuses to be made wrong.
fn certificate(statement: Statement, bitmap: u8, signatures: &[RawSignature]) -> Vec<u8> {
    let Statement { kind, view, block } = statement;
    let fields = (
        kind,
        Epoch(0),
        view,
        block,
        vec![bitmap],
        signatures.to_vec(),
    );
    [&[5][..], &codec::encode(&fields)].concat()
}

/// Bytes that no frame may begin with, or that are over a lane's limits.
fn bad_frames() -> Vec<Offence> {
    let frame = |lane, bytes: Vec<u8>, why| Offence {
        lane,
        bytes,
        why,
        detail: "",
    };
    let bomb = |length: u32, kind: u8| [&length.to_le_bytes()[..], &[kind]].concat();
    vec![
        frame(
            Lane::Consensus,
            framed(&[0xde; 64]),
            "frame of unknown kind",
        ),
        frame(Lane::Consensus, bomb(u32::MAX, 4), "frame over its limit"),
        frame(Lane::Bulk, bomb((8 << 20) + 1, 18), "frame over its limit"),
        // A sync answer where only votes travel.
        frame(Lane::Consensus, framed(&[13; 100]), "frame of unknown kind"),
    ]
}

/// Frames within their limits whose bytes are not the one encoding of a message.
fn bad_encodings() -> Vec<Offence> {
    let hello = Hello {
        instance: 1,
        nonce: 2,
    };
    let trailing = [&Message::Hello(hello).encode()[..], &[0]].concat();
    let seen = Seen {
        nonce: 1,
        epoch: Epoch(0),
        finalized: BlockRef::default(),
        votes: List::new(),
        other_instance: true,
    };
    let mut neither = Message::Seen(seen).encode();
    *neither.last_mut().unwrap() = 2;
    // Four billion certificates in five bytes.
    let promise = [&[11][..], &u32::MAX.to_le_bytes()].concat();
    let malformed = |lane, bytes: &[u8]| Offence {
        lane,
        bytes: framed(bytes),
        why: MALFORMED,
        detail: "",
    };
    vec![
        malformed(Lane::Consensus, &trailing),
        malformed(Lane::Consensus, &neither),
        malformed(Lane::Bulk, &promise),
    ]
}

impl Siege {
    /// Votes and a proposal for the views of now.
    fn bad_votes(&self, at: usize) -> Vec<Offence> {
        let view = self.view(at);
        let next = View(view.0 + 1);
        let other = HONEST[(at + 1) % 3];
        let dishonest = |lane, message: Message, detail| Offence {
            lane,
            bytes: framed(&message.encode()),
            why: DISHONEST,
            detail,
        };
        let mut unsigned = self.vote_of(HOSTILE, notarize(next));
        unsigned.signature = RawSignature([3; 64]);
        let mut forged = self.vote_of(HOSTILE, notarize(next));
        forged.signer = index(other);
        vec![
            dishonest(
                Lane::Consensus,
                Message::Vote(unsigned),
                "sent a vote that does not verify",
            ),
            dishonest(
                Lane::Consensus,
                Message::Vote(forged),
                "sent a vote that does not verify",
            ),
        ]
    }

    /// Certificates that are none: what consensus.md 3.3 asks of one, broken one by one.
    fn bad_certificates(&self) -> Vec<Offence> {
        let statement = notarize(View(1_000));
        let sign = |signer| self.vote_of(signer, statement).signature;
        let [a, b, c, d] = [0, 1, 2, 3].map(sign);
        let finalize = Statement {
            kind: VoteKind::Finalize,
            ..statement
        };
        let forged = |statement, bitmap, signatures: &[RawSignature], detail| Offence {
            lane: Lane::Consensus,
            bytes: framed(&certificate(statement, bitmap, signatures)),
            why: DISHONEST,
            detail,
        };
        vec![
            forged(
                statement,
                0b0011,
                &[a, b],
                "signed by 2 validators, needs 3",
            ),
            forged(
                statement,
                0b0011,
                &[a, b, b],
                "lists 2 signers and 3 signatures",
            ),
            forged(
                statement,
                0b1_0111,
                &[a, b, c, d],
                "signer bitmap does not fit",
            ),
            // A quorum notarized: that finalizes nothing.
            forged(finalize, 0b0111, &[a, b, c], "signature of validator #0"),
            // One signer in three places.
            forged(statement, 0b0111, &[a, a, a], "signature of validator #1"),
        ]
    }

    /// Pool items and a cosignature.
    fn bad_gossip(&self, at: usize) -> Vec<Offence> {
        let submission = Maker::new(&self.running.network, HOSTILE).unwrap();
        let submission = submission.registrations(1).unwrap();
        let mut forged = [&[1], submission.encoded()].concat();
        *forged.last_mut().unwrap() ^= 1;
        let items = |item: &[u8]| [&[18][..], &1_u32.to_le_bytes(), &framed(item)].concat();
        let size = self.running.status(at)["log_size"].as_u64().unwrap();
        let cosig = Cosig {
            size: TreeSize(size + 1),
            root: Hash([5; 32]),
            time_s: now().0 / 1_000,
            signer: index(HOSTILE),
            signature: RawSignature([6; 64]),
        };
        let gossip = |lane, bytes: &[u8], why| Offence {
            lane,
            bytes: framed(bytes),
            why,
            detail: "",
        };
        let nobody = "sent a submission that no honest node takes in";
        vec![
            gossip(Lane::Bulk, &items(&[0xee; 1_000]), nobody),
            gossip(Lane::Bulk, &items(&forged), nobody),
            gossip(
                Lane::Consensus,
                &gossip::Message::Cosig(cosig).encode(),
                "sent a cosignature that does not verify",
            ),
        ]
    }

    /// Commits each offence at a node that has not met the hostile validator since its start, and looks after each
    /// round of three whether all goes on.
    async fn stands(&mut self, count: usize, offences: impl Fn(&Self, usize) -> Vec<Offence>) {
        for at in 0..count {
            let node = HONEST[at % HONEST.len()];
            if at > 0 && node == 0 {
                // A node forgets in its restart whom it keeps out.
                self.running.network.stop_all().unwrap();
                self.running.start(&HONEST);
            }
            let all = offences(self, node);
            assert_eq!(all.len(), count);
            self.commit(node, &all[at]).await;
            if node == 2 || at + 1 == count {
                self.goes_on(node);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_refused_and_its_key_is_logged() {
    let siege = Siege::begin();
    let id = AuthorityId::new("fremd").unwrap();
    let stranger = KeyFile::generate(Purpose::Network, id).unwrap();
    for at in HONEST {
        let refused = siege.connect_as(&stranger, at).await;
        assert!(matches!(refused, Err(RawError::Refused(_))), "{refused:?}");
        // Every Ed25519 peer id begins like that.
        let words = ["connection refused", "12D3KooW", "NotAllowed"];
        siege.is_logged(at, 0, &words);
    }
    siege.goes_on(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_and_encodings_that_are_none_end_the_connection() {
    let mut siege = Siege::begin();
    let offences = |_: &Siege, _| [bad_frames(), bad_encodings()].into_iter().flatten();
    siege
        .stands(7, |siege, at| offences(siege, at).collect())
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_votes_and_certificates_end_the_connection() {
    let mut siege = Siege::begin();
    let offences = |siege: &Siege, at| [siege.bad_votes(at), siege.bad_certificates()];
    siege
        .stands(7, |siege, at| {
            offences(siege, at).into_iter().flatten().collect()
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_for_the_pool_and_the_cosigner_ends_the_connection() {
    let mut siege = Siege::begin();
    siege.stands(3, Siege::bad_gossip).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_contradicts_itself_and_a_liar_about_the_chain_are_kept_out() {
    let siege = Siege::begin();
    siege.running.becomes_provable(0);

    // A proposal on its own view, by the leader itself.
    let from = siege.running.log(0).len();
    let mut peer = siege.connect(0).await;
    let real = siege.real_blocks(&mut peer).await;
    let block = real.blocks.first().unwrap().clone();
    let view = siege.led(Leader::Hostile, View(siege.view(0).0 + 1));
    let message = siege.proposal(view, view, block);
    peer.send(Lane::Bulk, &message.encode()).await.unwrap();
    let contradiction = "sent a proposal that contradicts itself";
    siege
        .is_kept_out(0, from, &peer, DISHONEST, contradiction)
        .await;

    // A chain of 2^63 blocks: asked for the next one, it sends an old one with a certificate that is good for others.
    let from = siege.running.log(1).len();
    let mut peer = siege.connect(1).await;
    let mut lie = siege.real_blocks(&mut peer).await;
    let height = 1 << 63;
    let status = boast(height, siege.view(1)).encode();
    peer.send(Lane::Consensus, &status).await.unwrap();
    let asked = receive(&mut peer, Lane::Consensus, |message| match message {
        Message::SyncReq(request) => Some(request),
        _ => None,
    });
    let asked = asked.await;
    let mut block = lie.blocks.first().unwrap().clone();
    block.header.height = asked.from;
    lie.blocks = vec![block].try_into().unwrap();
    let lie = Message::SyncResp(lie).encode();
    peer.send(Lane::Bulk, &lie).await.unwrap();
    let what = "sent sync blocks that are no finalized chain";
    siege.is_kept_out(1, from, &peer, DISHONEST, what).await;
    siege.goes_on(2);
}

impl Siege {
    fn proposal(&self, view: View, parent_view: View, block: Block) -> Message {
        let statement = Statement {
            kind: VoteKind::Notarize,
            view,
            block: block.block_ref(),
        };
        Message::Proposal(Proposal {
            view,
            parent_view,
            block,
            justification: List::new(),
            vote: self.vote_of(HOSTILE, statement),
        })
    }

    /// What is no offence, because late or lagging honest nodes send it too, in masses.
    async fn flood(&self, peer: &mut RawPeer, at: usize, heard: &[Vec<u8>]) {
        let real = self.real_blocks(peer).await;
        let block = real.blocks.first().unwrap().clone();
        let known = block.block_ref();
        let view = self.view(at);
        let elsewhere = self.led(Leader::Honest, View(view.0 + 1));
        let foreign = self.proposal(elsewhere, view, block.clone());
        let far = (0..4_000).map(|far| {
            let mut vote = self.vote_of(HOSTILE, notarize(View(u64::MAX - far)));
            vote.signature = RawSignature([3; 64]);
            Message::Vote(vote).encode()
        });
        let asks = [
            Message::SyncReq(SyncReq {
                from: Height(1),
                max_bytes: u32::MAX,
            }),
            Message::Fetch(known),
            Message::CertReq(CertReq {
                epoch: Epoch(0),
                from: View(0),
                to: View(u64::MAX),
            }),
            boast(1 << 63, View(u64::MAX)),
        ];
        let asks = asks.iter().map(Message::encode).cycle().take(4 * 300);
        let small = far.chain(heard.iter().cycle().take(2_000).cloned());
        for bytes in small.chain(asks) {
            peer.send(Lane::Consensus, &bytes).await.unwrap();
        }
        let ids = |number: u32| -> Vec<ItemId> {
            let id = |at: u32| {
                ItemId(Hash(
                    [number.to_le_bytes(), at.to_le_bytes()]
                        .concat()
                        .repeat(4)
                        .try_into()
                        .unwrap(),
                ))
            };
            (0..1_000).map(id).collect()
        };
        for number in 0..30 {
            let wanted = gossip::Message::ItemReq(ids(number).try_into().unwrap()).encode();
            let named = gossip::Message::PoolIds(ids(number).try_into().unwrap()).encode();
            let unasked = Message::SyncResp(real.clone()).encode();
            let unasked_block = Message::Block(block.clone()).encode();
            for bytes in [wanted, named, foreign.encode(), unasked, unasked_block] {
                peer.send(Lane::Bulk, &bytes).await.unwrap();
            }
        }
    }
}

/// What a node answered: sync answers, blocks, items.
#[derive(Debug, Default)]
struct Answers {
    syncs: u64,
    blocks: u64,
    items: u64,
}

impl Answers {
    /// Reads until the node has answered a question that was asked last.
    async fn read(peer: &mut RawPeer) -> Self {
        let mut answers = Self::default();
        while let Ok(Ok(bytes)) = timeout(Duration::from_millis(500), peer.recv(Lane::Bulk)).await {
            match bytes.first() {
                Some(13) => answers.syncs += 1,
                Some(9) => answers.blocks += 1,
                Some(18) => answers.items += 1,
                _ => {}
            }
        }
        answers
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_stale_far_and_greedy_messages_are_dropped_and_answered_within_bounds() {
    let siege = Siege::begin();
    let mut listener = siege.connect(0).await;
    siege.running.becomes_provable(0);
    // A real vote of another, to be said again: of three, each must send at least its Finalize.
    let mut heard = Vec::new();
    let listening = async {
        while heard.is_empty() {
            let bytes = listener.recv(Lane::Consensus).await.unwrap();
            if let Ok(Message::Vote(_)) = Message::decode(&bytes) {
                heard.push(bytes);
            }
        }
    };
    timeout(PATIENCE, listening).await.unwrap();
    drop(listener);

    for at in HONEST {
        let before = siege.running.metric(at, "nachweis_dropped_messages_total");
        let started = Instant::now();
        let mut peer = siege.connect(at).await;
        siege.flood(&mut peer, at, &heard).await;
        let answers = Answers::read(&mut peer).await;
        // 16 MiB at once and 8 MiB/s, where each of 300 requests asked for 4 MiB.
        let seconds = started.elapsed().as_secs() + 1;
        assert!(
            answers.syncs <= 4 + 1 + 2 * seconds,
            "{answers:?} in {seconds} s"
        );
        assert!(answers.blocks <= 300, "{answers:?}");
        assert_eq!(answers.items, 0, "{answers:?}");
        let dropped = siege.running.metric(at, "nachweis_dropped_messages_total") - before;
        assert!(dropped >= 4_000, "only {dropped} were dropped");
        assert_eq!(siege.running.metric(at, "nachweis_offences_total"), 0);
        siege.goes_on(at);
    }
}
