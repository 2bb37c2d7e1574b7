//! Well formed, signed with the right keys, and against the rules: of other chains, epochs and views, on stale parents,
//! for views given up, in answers that are no chain.

use crate::forged::{CERTIFICATE, VOTE};
use crate::messages::{boast, certificate, certificate_of, framed, notarize};
use crate::siege::{HONEST, HOSTILE, HOSTILE_ID, Offence, Siege, index, receive};
use consensus::message::SyncResp;
use consensus::{Block, EpochInfo, EpochSpec, Message};
use ledger::hash::{ChainId, Hash};
use ledger::header::BlockRef;
use ledger::id::{Epoch, Height, View};
use ledger::vote::{Statement, Vote, VoteKind};
use node::network::Lane;
use node::network::raw::RawPeer;
use tests::replay;
use tests::running::wait_for;

impl Siege {
    /// A vote of the same validators in another epoch, or of another chain.
    fn vote_elsewhere(&self, signer: usize, chain: ChainId, epoch: Epoch) -> Vote {
        let elsewhere = EpochInfo::new(EpochSpec {
            chain,
            epoch,
            set: self.epoch.set().clone(),
            anchor: *self.epoch.anchor(),
            restart: Hash::ZERO,
        });
        let statement = notarize(View(self.view(0).0 + 1));
        let key = &self.votes[signer];
        Vote::sign(statement, epoch, index(signer), elsewhere.context(), key)
    }

    fn of_elsewhere(&self) -> Vec<Offence> {
        let chain = ChainId(Hash([9; 32]));
        let votes = [0, 1, 2].map(|signer| self.vote_elsewhere(signer, chain, Epoch(0)));
        let signatures = votes.map(|vote| vote.signature);
        let statement = notarize(votes[0].view);
        let own = self.vote_elsewhere(HOSTILE, chain, Epoch(0));
        // Of this chain, and shown for the view behind the one that was signed for.
        let here = notarize(View(1_000));
        let real = [0, 1, 2].map(|signer| self.vote_of(signer, here).signature);
        let next = Statement {
            view: View(1_001),
            ..here
        };
        let offence = |bytes: Vec<u8>, why, detail| Offence {
            lane: Lane::Consensus,
            bytes: framed(&bytes),
            why,
            detail,
        };
        vec![
            offence(Message::Vote(own).encode(), VOTE, VOTE),
            offence(
                certificate(statement, 0b0111, &signatures),
                CERTIFICATE,
                "signature of validator #0",
            ),
            offence(
                certificate(next, 0b0111, &real),
                CERTIFICATE,
                "signature of validator #0",
            ),
        ]
    }

    pub(crate) fn counted(&self, at: usize, metric: &str, label: &str) -> Option<u64> {
        let name = format!("nachweis_{metric}_total{{authority=\"{HOSTILE_ID}\",{label}}}");
        let metrics = tests::http::get(self.running.api(at), "/metrics").unwrap();
        let text = metrics.text();
        let mut lines = text.lines();
        lines.find_map(|line| line.strip_prefix(&name)?.trim().parse().ok())
    }

    /// Lets the chain go on until the hostile validator's turn has come.
    fn reach_own_view(&self) -> View {
        for _ in 0..40 {
            let view = self.view(0);
            if self.epoch.leader(view) == index(HOSTILE) {
                return view;
            }
            self.running.becomes_provable(0);
        }
        panic!("its turn does not come");
    }

    /// Claims a long chain and answers the question for it with these blocks: `lie` gets the first height asked for.
    async fn lies(&self, at: usize, lie: fn(Height, &Block) -> Vec<Block>) {
        let from = self.running.log(at).len();
        let mut peer = self.connect(at).await;
        let real = self.real_blocks(&mut peer).await;
        let status = boast(1 << 63, self.view(at)).encode();
        peer.send(Lane::Consensus, &status).await.unwrap();
        let asked = receive(&mut peer, Lane::Consensus, |message| match message {
            Message::SyncReq(request) => Some(request),
            _ => None,
        });
        let blocks = lie(asked.await.from, real.blocks.first().unwrap());
        let answer = SyncResp {
            blocks: blocks.try_into().unwrap(),
            ..real
        };
        let answer = Message::SyncResp(answer).encode();
        peer.send(Lane::Bulk, &answer).await.unwrap();
        let what = "sent sync blocks that are no finalized chain";
        self.is_kept_out(at, from, &peer, what, what).await;
    }
}

fn at_height(block: &Block, height: Height) -> Block {
    let mut block = block.clone();
    block.header.height = height;
    block
}

async fn tell_all(peers: &mut [RawPeer], lane: Lane, message: &Message) {
    for peer in peers {
        peer.send(lane, &message.encode()).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_signed_for_another_chain_or_view_ends_the_connection() {
    let mut siege = Siege::begin();
    siege.stands(3, |siege, _| siege.of_elsewhere()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_of_another_epoch_is_dropped_and_its_sender_is_counted() {
    let siege = Siege::begin();
    siege.running.becomes_provable(0);
    let chain = siege.epoch.chain();
    let epoch = Epoch(7);
    let votes = [0, 1, 2].map(|signer| siege.vote_elsewhere(signer, chain, epoch));
    let signatures = votes.map(|vote| vote.signature);
    let whole = certificate_of(epoch, notarize(votes[0].view), 0b0111, &signatures);
    let own = siege.vote_elsewhere(HOSTILE, chain, epoch);
    for at in HONEST {
        let mut peer = siege.connect(at).await;
        for bytes in [whole.clone(), Message::Vote(own).encode()] {
            peer.send(Lane::Consensus, &bytes).await.unwrap();
        }
        wait_for("both are dropped", || {
            let dropped = siege.counted(at, "peer_dropped", "why=\"of another epoch\"");
            (dropped >= Some(2)).then_some(())
        });
        siege.goes_on(at);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_with_stale_parents_or_without_patience_costs_no_more_than_its_turns() {
    let mut siege = Siege::begin();
    siege.running.becomes_provable(0);
    let mut peers = Vec::new();
    for at in HONEST {
        peers.push(siege.connect(at).await);
    }
    let real = siege.real_blocks(&mut peers[0]).await;
    for round in 0..4 {
        let view = siege.reach_own_view();
        let message = if round % 2 == 0 {
            // A second block 1, on the genesis, as if nothing had been notarized since.
            let mut block = real.blocks.first().unwrap().clone();
            block.header.view = view;
            block.header.proposer = index(HOSTILE);
            siege.proposal(view, View(0), block)
        } else {
            let give_up = Statement {
                kind: VoteKind::Nullify,
                view,
                block: BlockRef::default(),
            };
            Message::Vote(siege.vote_of(HOSTILE, give_up))
        };
        let lane = Lane::of(&message.encode());
        tell_all(&mut peers, lane, &message).await;
        siege.goes_on(0);
    }
    for at in HONEST {
        for kind in ["proposal", "nullify"] {
            let label = format!("kind=\"{kind}\"");
            let count = siege.counted(at, "peer_messages", &label);
            assert!(count >= Some(2), "node {at} counted {count:?} {kind}");
        }
    }
    siege.running.network.stop_all().unwrap();
    for at in HONEST {
        replay::archive(siege.running.dir(at)).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_with_gaps_or_more_than_was_finalized_are_no_chain() {
    let siege = Siege::begin();
    siege.running.becomes_provable(0);
    siege
        .lies(0, |asked, real| {
            let behind = Height(asked.0 + 2);
            vec![at_height(real, asked), at_height(real, behind)]
        })
        .await;
    siege
        .lies(1, |asked, real| {
            let first = at_height(real, asked);
            let mut second = at_height(real, Height(asked.0 + 1));
            second.header.parent = first.hash();
            vec![first, second]
        })
        .await;
    siege.goes_on(2);
}
