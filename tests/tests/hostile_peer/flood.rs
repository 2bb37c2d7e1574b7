//! What is no offence, because late or lagging honest nodes send it too, in masses.

use crate::messages::{boast, notarize};
use crate::siege::{HONEST, HOSTILE, HOSTILE_ID, Leader, PATIENCE, Siege};
use consensus::message::{CertReq, Proposal, SyncReq};
use consensus::{Block, Message};
use ledger::codec::List;
use ledger::hash::{Hash, ItemId};
use ledger::id::{Epoch, Height, View};
use ledger::key::RawSignature;
use ledger::vote::{Statement, VoteKind};
use node::gossip;
use node::network::Lane;
use node::network::raw::RawPeer;
use std::time::{Duration, Instant};
use tokio::time::timeout;

impl Siege {
    pub(crate) fn proposal(&self, view: View, parent_view: View, block: Block) -> Message {
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

/// Messages of the greatest length, as fast as the node reads them.
const LARGE: usize = 40;

#[tokio::test(flavor = "multi_thread")]
async fn a_flood_of_the_longest_messages_takes_no_more_memory_than_is_set_aside_for_it() {
    let siege = Siege::begin();
    siege.running.becomes_provable(0);
    let mut peer = siege.connect(0).await;
    let mut large = siege.real_blocks(&mut peer).await;
    let mut block = large.blocks.first().unwrap().clone();
    block.body = vec![0; 3 << 20].try_into().unwrap();
    large.blocks = vec![block.clone(), block].try_into().unwrap();
    let bytes = Message::SyncResp(large).encode();
    assert!(bytes.len() > 6 << 20);
    let before = siege.running.peak_kib(0);
    let mut sent = 0;
    for _ in 0..LARGE {
        let sending = peer.send(Lane::Bulk, &bytes);
        if timeout(PATIENCE, sending)
            .await
            .is_ok_and(|done| done.is_ok())
        {
            sent += 1;
        }
    }
    let after = siege.running.peak_kib(0);
    println!("{sent} of {LARGE}, {before} KiB, then {after} KiB");
    // 64 MiB may wait (docs/protocol.md, section 12), and half as much is under way or fragments.
    assert!(
        after < before + 96 * 1_024,
        "{before} KiB, then {after} KiB"
    );
    assert!(sent > LARGE / 2, "only {sent} were taken");
    siege.goes_on(0);
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
        let from = siege.running.log(at).len();
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
        // No offence, but its name is known.
        let authority = format!("authority={HOSTILE_ID}");
        let much = "sends much that is dropped";
        siege.is_logged(at, from, &[much, &authority]);
        for why in ["view outside the window", "over the sender's rate"] {
            let named =
                format!("nachweis_peer_dropped_total{{authority=\"{HOSTILE_ID}\",why=\"{why}\"}}");
            assert!(siege.running.metric(at, &named) > 0, "{named}");
        }
        siege.goes_on(at);
    }
}
