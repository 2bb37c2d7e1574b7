//! What no honest node sends, each ending its connection: malformed, forged, contradictory.

use crate::messages::{boast, certificate, framed, notarize, now};
use crate::siege::{HONEST, HOSTILE, Leader, Offence, Siege, index, receive};
use consensus::Message;
use consensus::message::{Hello, Seen};
use genesis::keyfile::KeyFile;
use ledger::codec::List;
use ledger::genesis::Purpose;
use ledger::hash::Hash;
use ledger::header::BlockRef;
use ledger::id::{AuthorityId, Epoch, TreeSize, View};
use ledger::key::RawSignature;
use ledger::vote::{Statement, VoteKind};
use node::gossip::{self, Cosig};
use node::network::Lane;
use node::network::raw::RawError;
use tests::load::Maker;

/// What the node says of a peer that breaks the protocol's rules.
pub(crate) const VOTE: &str = "sent a vote that does not verify";
pub(crate) const CERTIFICATE: &str = "sent a certificate that does not verify";
pub(crate) const MALFORMED: &str = "sent a malformed consensus message";

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
        let dishonest = |vote| Offence {
            lane: Lane::Consensus,
            bytes: framed(&Message::Vote(vote).encode()),
            why: VOTE,
            detail: VOTE,
        };
        let mut unsigned = self.vote_of(HOSTILE, notarize(next));
        unsigned.signature = RawSignature([3; 64]);
        let mut forged = self.vote_of(HOSTILE, notarize(next));
        forged.signer = index(other);
        vec![dishonest(unsigned), dishonest(forged)]
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
            why: CERTIFICATE,
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
        let nobody = "sent an item that no honest node takes in";
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
    pub(crate) async fn stands(
        &mut self,
        count: usize,
        offences: impl Fn(&Self, usize) -> Vec<Offence>,
    ) {
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
        let words = ["connection refused", "12D3KooW", "refusal="];
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
        .is_kept_out(0, from, &peer, contradiction, contradiction)
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
    siege.is_kept_out(1, from, &peer, what, what).await;
    siege.goes_on(2);
}
