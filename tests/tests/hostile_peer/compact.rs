//! Compact proposals and what belongs to them (messages 26 to 28), from a hostile leader and a hostile asker.
//!
//! An offence is what no honest node sends: other bytes than a message's, a false signature, a contradiction. Ids that
//! nobody has, items that are others, questions that fit nothing are none of that (docs/protocol.md, 8): they are
//! counted by their sender's name, and cost at most one view.

use crate::forged::{CERTIFICATE, MALFORMED, VOTE};
use crate::messages::{boast, certificate_fields, framed, notarize, now};
use crate::siege::{HONEST, HOSTILE, Leader, Offence, Siege, index, receive};
use consensus::items::{Item, MAX_ITEMS, Positions, id_of};
use consensus::message::{BodyItems, BodyReq, CompactProposal};
use consensus::{Block, Message};
use ledger::body::{Body, ItemBytes};
use ledger::codec::{self, List};
use ledger::hash::{BlockHash, Hash, ItemId, SetHash, sha256};
use ledger::header::{BlockRef, Flags, HEADER_VERSION, Header};
use ledger::id::{Epoch, Height, TreeSize, View};
use ledger::key::RawSignature;
use ledger::vote::{Statement, VoteKind};
use node::network::Lane;
use node::network::raw::RawPeer;
use std::time::{Duration, Instant};
use tests::load::{self, Maker};
use tests::running::wait_for;
use tests::{http, replay};
use tokio::time::timeout;

const DROPPED: &str = "nachweis_dropped_messages_total";
const LACKED: &str = "nachweis_lacked_items_total";
const OFFENCES: &str = "nachweis_offences_total";
/// Records of a submission whose block is over 64 KiB.
const MANY: u64 = 1_000;

/// Ids of items that nobody has.
fn nobodys(count: usize) -> Vec<ItemId> {
    let ids = (0..count).map(|at| ItemId(sha256(&[b"nobody", &at.to_le_bytes()])));
    ids.collect()
}

impl Siege {
    /// A header of the hostile validator's, in this view, on any parent.
    fn header_on(&self, parent: BlockRef, view: View) -> Header {
        Header {
            version: HEADER_VERSION,
            chain: self.epoch.chain(),
            epoch: Epoch(0),
            view,
            height: parent.height.next().unwrap(),
            parent: parent.hash,
            proposer: index(HOSTILE),
            time_ms: now(),
            body_len: 100,
            body_root: Hash([1; 32]),
            log_size: TreeSize(1),
            log_root: Hash([2; 32]),
            status_root: Hash([3; 32]),
            flags: Flags::NONE,
            validator_set: self.epoch.set_hash(),
            next_set: SetHash(Hash::ZERO),
        }
    }

    /// The hostile validator proposes a block by these ids in a view.
    fn by_ids(&self, view: View, header: Header, ids: Vec<ItemId>) -> CompactProposal {
        let statement = Statement {
            kind: VoteKind::Notarize,
            view,
            block: header.block_ref(),
        };
        CompactProposal {
            view,
            parent_view: View(view.0 - 1),
            header,
            ids: ids.try_into().unwrap(),
            justification: List::new(),
            vote: self.vote_of(HOSTILE, statement),
        }
    }

    /// One on no block that there is, for the hostile validator's next turn.
    fn baseless(&self, at: usize) -> CompactProposal {
        let view = self.led(Leader::Hostile, self.view(at));
        let nowhere = BlockRef {
            height: Height(1_000),
            hash: BlockHash(Hash([7; 32])),
        };
        self.by_ids(view, self.header_on(nowhere, view), nobodys(3))
    }

    /// Bytes that are no message, or no frame, of the three kinds.
    fn bad_compact_bytes(&self, at: usize) -> Vec<Offence> {
        let proposal = Message::CompactProposal(self.baseless(at)).encode();
        let block = BlockRef::default();
        let missing = Positions::new(10, [0, 9]);
        let question = Message::BodyReq(BodyReq { block, missing }).encode();
        let items = vec![Item::from(vec![1; 8])].try_into().unwrap();
        let answer = Message::BodyItems(BodyItems { block, items }).encode();
        // One id more than a list may have, in a frame that is long enough for it.
        let fields = 1 + 16 + Header::LEN;
        let many = [
            &proposal[..fields],
            &u32::try_from(MAX_ITEMS + 1).unwrap().to_le_bytes(),
            &vec![0; 32 * (MAX_ITEMS + 1)],
        ];
        let promise = |bytes: &[u8], fields: usize| {
            [&bytes[..fields], &u32::MAX.to_le_bytes(), &[0; 8]].concat()
        };
        let longer = |bytes: &[u8]| [bytes, &[0]].concat();
        let malformed = |lane, bytes: &[u8]| Offence {
            lane,
            bytes: framed(bytes),
            why: MALFORMED,
            detail: "",
        };
        let frame = |lane, length: usize, kind: u8, why| Offence {
            lane,
            bytes: [&u32::try_from(length).unwrap().to_le_bytes()[..], &[kind]].concat(),
            why,
            detail: "",
        };
        let limit = |kind| Message::limit(kind).unwrap();
        let (over, unknown) = ("frame over its limit", "frame of unknown kind");
        let reference = 1 + 8 + 32;
        vec![
            malformed(Lane::Bulk, &many.concat()),
            malformed(Lane::Bulk, &promise(&proposal, fields)),
            malformed(Lane::Bulk, &longer(&proposal)),
            frame(Lane::Bulk, limit(26) + 1, 26, over),
            frame(Lane::Consensus, proposal.len(), 26, unknown),
            malformed(Lane::Consensus, &promise(&question, reference)),
            malformed(Lane::Consensus, &longer(&question)),
            frame(Lane::Consensus, limit(27) + 1, 27, over),
            // An item of four billion bytes, and as many items.
            malformed(Lane::Bulk, &promise(&answer, reference + 4)),
            malformed(Lane::Bulk, &promise(&answer, reference)),
            malformed(Lane::Bulk, &longer(&answer)),
            frame(Lane::Bulk, limit(28) + 1, 28, over),
        ]
    }

    /// Compact proposals of its own turn that prove its dishonesty.
    fn bad_compact_proposals(&self, at: usize) -> Vec<Offence> {
        let offence = |bytes: &[u8], why, detail| Offence {
            lane: Lane::Bulk,
            bytes: framed(bytes),
            why,
            detail,
        };
        let mut unsigned = self.baseless(at);
        unsigned.vote.signature = RawSignature([3; 64]);
        // Justified by a notarization of one validator instead of three.
        let statement = notarize(View(1_000));
        let alone = [self.vote_of(HOSTILE, statement).signature];
        let notarization = certificate_fields(Epoch(0), statement, 0b1000, &alone);
        let bare = self.baseless(at);
        let vote = codec::encode(&bare.vote);
        let whole = Message::CompactProposal(bare).encode();
        let before = &whole[..whole.len() - vote.len() - 4];
        let forged = [before, &1_u32.to_le_bytes(), &notarization, &vote].concat();
        let mut itself = self.baseless(at);
        itself.parent_view = itself.view;
        let mut large = self.baseless(at);
        large.header.body_len = u32::MAX;
        let large = self.by_ids(large.view, large.header, nobodys(3));
        let contradiction = "sent a proposal that contradicts itself";
        let encoded = |proposal| Message::CompactProposal(proposal).encode();
        vec![
            offence(&encoded(unsigned), VOTE, VOTE),
            offence(&forged, CERTIFICATE, CERTIFICATE),
            offence(&encoded(itself), contradiction, contradiction),
            offence(&encoded(large), contradiction, contradiction),
        ]
    }

    /// A block of over 64 KiB that all have, and its items.
    async fn large_block(&self, peer: &mut RawPeer) -> (Block, usize) {
        let maker = Maker::new(&self.running.network, 0).unwrap();
        let submission = maker.registrations(MANY).unwrap();
        let path = "/v1/submissions?wait=final";
        let body = load::body([&submission]);
        let kind = "application/octet-stream";
        let answer = http::post(self.running.api(0), path, kind, &body).unwrap();
        assert_eq!(answer.status, 200, "{}", answer.text());
        let blocks = self.real_blocks(peer).await.blocks.into_vec();
        let large = blocks.into_iter().max_by_key(|block| block.body.len());
        let block = large.unwrap();
        let items = Body::cut(&block.body).unwrap().len();
        assert!(block.body.len() > 64 << 10);
        (block, items)
    }

    /// A node's final block of now.
    async fn newest(&self, peer: &mut RawPeer) -> Header {
        self.real_blocks(peer)
            .await
            .blocks
            .last()
            .unwrap()
            .header
            .clone()
    }

    /// Brings the chain to where the hostile validator's turn is so near that its bodies are kept.
    fn near_turn(&self) -> View {
        for _ in 0..40 {
            let view = self.view(0);
            let turn = self.led(Leader::Hostile, View(view.0 + 1));
            if turn.0 <= view.0 + 2 {
                return turn;
            }
            self.running.becomes_provable(0);
        }
        panic!("its turn does not come");
    }

    /// Lets the chain go on until the hostile validator's turn has come, and is heard: a silent leader is skipped.
    async fn reach_turn(&self, peers: &mut [RawPeer]) -> View {
        for _ in 0..40 {
            for peer in &mut *peers {
                send(peer, &boast(0, View(0))).await;
            }
            let view = self.view(0);
            if self.epoch.leader(view) == index(HOSTILE) {
                return view;
            }
            self.running.becomes_provable(0);
        }
        panic!("its turn does not come");
    }

    fn dropped_why(&self, at: usize, why: &str) -> u64 {
        let label = format!("why=\"{why}\"");
        self.counted(at, "peer_dropped", &label).unwrap_or_default()
    }
}

/// The next question for items of this block.
async fn question(peer: &mut RawPeer, block: BlockRef) -> BodyReq {
    let asked = receive(peer, Lane::Consensus, |message| match message {
        Message::BodyReq(request) if request.block == block => Some(request),
        _ => None,
    });
    asked.await
}

async fn send(peer: &mut RawPeer, message: &Message) {
    let bytes = message.encode();
    peer.send(Lane::of(&bytes), &bytes).await.unwrap();
}

/// All that comes on a lane until the node has been silent there for a while.
async fn all(peer: &mut RawPeer, lane: Lane) -> Vec<Message> {
    let mut all = Vec::new();
    while let Ok(Ok(bytes)) = timeout(Duration::from_millis(500), peer.recv(lane)).await {
        all.extend(Message::decode(&bytes));
    }
    all
}

async fn answers(peer: &mut RawPeer) -> u64 {
    let all = all(peer, Lane::Bulk).await.into_iter();
    let answers = all.filter(|message| matches!(message, Message::BodyItems(_)));
    u64::try_from(answers.count()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn compact_messages_that_are_none_end_the_connection() {
    let mut siege = Siege::begin();
    siege.stands(12, Siege::bad_compact_bytes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn forged_and_contradictory_compact_proposals_end_the_connection() {
    let mut siege = Siege::begin();
    siege.stands(4, Siege::bad_compact_proposals).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn items_and_ids_that_nobody_asked_for_are_dropped_and_their_sender_is_counted() {
    let siege = Siege::begin();
    siege.running.becomes_provable(0);
    for at in HONEST {
        let mut peer = siege.connect(at).await;
        let real = siege.newest(&mut peer).await;
        let view = siege.view(at);
        // In another's turn, and in an own one that is far away.
        let mut foreign = siege.baseless(at);
        foreign.view = siege.led(Leader::Honest, View(view.0 + 1));
        let far = siege.led(Leader::Hostile, View(view.0 + 1_000));
        let far = siege.by_ids(
            far,
            siege.header_on(real.block_ref(), far),
            nobodys(MAX_ITEMS),
        );
        let items: Vec<Item> = (0..16).map(|_| Item::from(vec![7; 64 << 10])).collect();
        let unasked = Message::BodyItems(BodyItems {
            block: real.block_ref(),
            items: items.try_into().unwrap(),
        });
        let before = siege.running.metric(at, DROPPED);
        for _ in 0..10 {
            send(&mut peer, &Message::CompactProposal(foreign.clone())).await;
            send(&mut peer, &Message::CompactProposal(far.clone())).await;
            send(&mut peer, &unasked).await;
        }
        let whys = [
            "not from the view's leader",
            "view outside the window",
            "not asked for",
        ];
        wait_for("all are dropped", || {
            let all = whys.iter().all(|why| siege.dropped_why(at, why) >= 10);
            all.then_some(())
        });
        assert!(siege.running.metric(at, DROPPED) - before >= 30);
        assert_eq!(siege.running.metric(at, OFFENCES), 0);
        assert_eq!(siege.running.metric(at, LACKED), 0, "no pool was asked");
        siege.goes_on(at);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn questions_for_items_are_answered_within_bounds_and_only_if_they_fit() {
    let siege = Siege::begin();
    siege.running.becomes_provable(0);
    let mut peer = siege.connect(0).await;
    let (block, items) = siege.large_block(&mut peer).await;
    let known = block.block_ref();
    let ask = |block, missing| Message::BodyReq(BodyReq { block, missing });

    // The items themselves, to see that such questions are answered at all.
    let all = || Positions::new(items, 0..items);
    send(&mut peer, &ask(known, all())).await;
    let answer = receive(&mut peer, Lane::Bulk, |message| match message {
        Message::BodyItems(answer) => Some(answer),
        _ => None,
    });
    let answer = answer.await;
    assert_eq!(answer.block, known);
    let ids: Vec<ItemId> = answer.items.iter().map(Item::id).collect();
    let real = Body::cut(&block.body).unwrap().into_iter().map(id_of);
    assert_eq!(ids, real.collect::<Vec<_>>());

    // None, one too many, as many as can be named, of another block, of a height that never comes.
    let other = |height| BlockRef {
        height,
        hash: BlockHash(Hash([8; 32])),
    };
    let outside = [
        ask(known, Positions::new(items, [])),
        ask(known, Positions::new(items + 1, [items])),
        ask(known, Positions::new(MAX_ITEMS, 0..MAX_ITEMS)),
        ask(other(known.height), all()),
        ask(other(Height(u64::MAX)), all()),
    ];
    for message in outside.iter().cycle().take(30) {
        send(&mut peer, message).await;
    }
    assert_eq!(answers(&mut peer).await, 0);

    let started = Instant::now();
    for _ in 0..1_000 {
        send(&mut peer, &ask(known, all())).await;
    }
    let answers = answers(&mut peer).await;
    let seconds = started.elapsed().as_secs() + 1;
    let bytes = answers * u64::try_from(block.body.len()).unwrap();
    assert!(answers > 0, "some are answered");
    // 16 MiB at once and 8 MiB/s; asked for were over 64 MiB.
    let most = (16 + 8 * seconds) << 20;
    assert!(
        bytes <= most,
        "{answers} answers, {bytes} bytes in {seconds} s"
    );
    assert!(siege.dropped_why(0, "over the sender's rate") > 0);
    let label = "kind=\"items of a body\"";
    assert!(siege.counted(0, "peer_messages", label) >= Some(1_000));
    assert_eq!(siege.running.metric(0, OFFENCES), 0);
    siege.goes_on(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn ids_that_are_not_those_of_the_block_make_no_block() {
    let siege = Siege::begin();
    siege.running.becomes_provable(0);
    for at in HONEST {
        let view = siege.near_turn();
        let mut peer = siege.connect(at).await;
        let from = siege.running.log(at).len();
        // Items that are real ones, under a header that speaks of others.
        let parent = siege.newest(&mut peer).await.block_ref();
        let maker = Maker::new(&siege.running.network, HOSTILE).unwrap();
        let submission = maker.registrations(2).unwrap();
        let item = ItemBytes::submission(&submission);
        let mut header = siege.header_on(parent, view);
        header.body_len = u32::try_from(item.as_bytes().len()).unwrap();
        let block = header.block_ref();
        let proposal = siege.by_ids(view, header, vec![item.id()]);
        send(&mut peer, &Message::CompactProposal(proposal.clone())).await;
        let asked = question(&mut peer, block).await;
        assert_eq!(asked.missing.among(1), Some(vec![0]));
        let items = vec![Item::from(item.as_bytes())].try_into().unwrap();
        send(&mut peer, &Message::BodyItems(BodyItems { block, items })).await;
        siege.is_logged(
            at,
            from,
            &["bad delivery of a block", &block.hash.to_string()],
        );
        // Once more, and nobody is asked again.
        send(&mut peer, &Message::CompactProposal(proposal)).await;
        wait_for("the repetition is dropped", || {
            (siege.dropped_why(at, "held already") > 0).then_some(())
        });
        let asked = all(&mut peer, Lane::Consensus).await.into_iter();
        let asked = asked.filter(|message| matches!(message, Message::BodyReq(_)));
        assert_eq!(asked.count(), 0);
        assert_eq!(siege.running.metric(at, OFFENCES), 0);
        siege.goes_on(at);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_names_items_and_does_not_serve_them_costs_no_more_than_its_turns() {
    let mut siege = Siege::begin();
    siege.running.becomes_provable(0);
    let mut peers = Vec::new();
    for at in HONEST {
        peers.push(siege.connect(at).await);
    }
    let twice = [nobodys(2), nobodys(2)].concat();
    let mut named = 0;
    for (round, ids) in [nobodys(3), nobodys(MAX_ITEMS), twice, Vec::new()]
        .into_iter()
        .enumerate()
    {
        let view = siege.reach_turn(&mut peers).await;
        let parent = siege.newest(&mut peers[0]).await.block_ref();
        let mut header = siege.header_on(parent, view);
        header.body_len = 1 << 20;
        let block = header.block_ref();
        let proposal = Message::CompactProposal(siege.by_ids(view, header, ids.clone()));
        for peer in &mut peers {
            send(peer, &proposal).await;
        }
        // Nothing is asked for by a list with an id twice, or with none.
        let asked = if round < 2 { ids.len() } else { 0 };
        named += u64::try_from(asked).unwrap();
        if asked > 0 {
            for peer in &mut peers {
                let question = question(peer, block).await;
                assert_eq!(question.missing.among(ids.len()).unwrap().len(), asked);
                if round == 0 {
                    // Others than those that were asked for.
                    let items = vec![Item::from(vec![7; 1 << 20])].try_into().unwrap();
                    send(peer, &Message::BodyItems(BodyItems { block, items })).await;
                }
            }
        }
        siege.goes_on(0);
        let mut fetches = 0;
        for peer in &mut peers {
            for message in all(peer, Lane::Consensus).await {
                let again =
                    matches!(message, Message::BodyReq(BodyReq { block: it, .. }) if it == block);
                assert!(!again, "items are asked for once");
                fetches += usize::from(message == Message::Fetch(block));
            }
        }
        assert!(fetches > 0, "what comes to nothing is asked for as a whole");
    }
    for at in HONEST {
        let lacked = siege.running.metric(at, LACKED);
        assert!(lacked >= named, "node {at} lacked {lacked}");
        let count = siege.counted(at, "peer_messages", "kind=\"compact proposal\"");
        assert!(count >= Some(4), "node {at} counted {count:?}");
        assert_eq!(siege.running.metric(at, OFFENCES), 0);
    }
    siege.running.network.stop_all().unwrap();
    for at in HONEST {
        replay::archive(siege.running.dir(at)).unwrap();
    }
}
