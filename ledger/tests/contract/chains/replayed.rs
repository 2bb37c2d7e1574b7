//! The replay: it agrees with a chain that grew block by block, and names the first fault of any other.

use super::{CHANGES, batch, pending, signed};
use crate::logs::{hashes, mth};
use crate::world::{
    ALL, Chain, Finality, IDS, STEP, TestRng, certify, document, enrol, evidence, finalize,
    genesis, genesis_with, leader, publish, register, signing_key,
};
use ledger::admission::CheckedItem;
use ledger::block::Block;
use ledger::body::Body;
use ledger::certificate::{Certificate, CertificateError};
use ledger::codec::{decode, encode};
use ledger::execute::Fault;
use ledger::frame::Payload;
use ledger::genesis::{GenesisError, Params};
use ledger::header::{BlockRef, Header};
use ledger::id::{AuthorityIndex, Epoch, Height, LeafIndex, TreeSize, ValidatorIndex, View};
use ledger::record::{EndorseKind, Record, RevokeReason};
use ledger::replay::{FaultKind, Replay, ReplayFault, Replayed, replay};
use ledger::vote::{Statement, VoteKind};
use proptest::prelude::*;

fn rng() -> TestRng {
    TestRng::new("replay")
}

fn replayed(chain: &Chain) -> Replayed {
    let genesis = chain.founding.genesis().clone();
    replay(genesis, chain.frames.iter().cloned(), &mut rng()).unwrap()
}

/// A replay that stands at the tip of the chain.
fn at_tip(chain: &Chain) -> Replay {
    let mut replay = Replay::new(chain.founding.genesis().clone()).unwrap();
    for frame in &chain.frames {
        replay.push(frame, &mut rng()).unwrap();
    }
    replay
}

/// Draws what happens next on a chain.
struct Script {
    rng: TestRng,
    /// Registered documents, by authority and label.
    documents: Vec<(AuthorityIndex, String)>,
    count: usize,
}

impl Script {
    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.rng.next_u64() % bound as u64).unwrap()
    }

    fn any_authority(&mut self) -> AuthorityIndex {
        AuthorityIndex(u16::try_from(self.below(IDS.len())).unwrap())
    }

    fn label(&mut self) -> String {
        self.count += 1;
        format!("doc {}", self.count)
    }

    fn registration(&mut self, chain: &Chain, authority: AuthorityIndex) -> Record {
        let label = self.label();
        let record = if self.below(3) == 0 {
            publish(&chain.founding, authority, &label)
        } else {
            register(&chain.founding, authority, &label)
        };
        self.documents.push((authority, label));
        record
    }

    /// A record about a document that is there, right or wrong: refused ones are simply not included.
    fn about_known(&mut self, chain: &Chain) -> Option<(AuthorityIndex, Vec<Record>)> {
        if self.documents.is_empty() {
            return None;
        }
        let at = self.below(self.documents.len());
        let (authority, label) = self.documents[at].clone();
        let document = document(&chain.founding, authority, &label);
        let prev = chain.state.history(&document).last().unwrap_or_default();
        let records = match self.below(4) {
            0 => vec![Record::Revoke {
                document,
                prev,
                code: RevokeReason::CourtOrder,
            }],
            1 => {
                let next = self.registration(chain, authority);
                let successor = *next.document()?;
                vec![
                    next,
                    Record::Supersede {
                        document,
                        prev,
                        successor,
                    },
                ]
            }
            _ => vec![Record::Endorse {
                document,
                prev,
                kind: EndorseKind::Checked,
            }],
        };
        Some((authority, records))
    }

    fn key_change(&mut self, chain: &Chain, authority: AuthorityIndex) -> Record {
        let id = IDS[usize::from(authority.0)];
        match self.below(2) {
            0 => {
                let new = signing_key(&format!("{id}/{}", self.label()));
                let end = if self.below(2) == 0 {
                    0
                } else {
                    chain.next_time().0 + 5 * STEP
                };
                enrol(&chain.founding, authority, &new, ALL, end)
            }
            _ => Record::RetireKey {
                key: signing_key(&format!("{id}/exchange")).key(),
                compromised_since: (self.below(2) == 0).then_some(LeafIndex(0)),
            },
        }
    }

    fn item(&mut self, chain: &mut Chain) -> CheckedItem {
        let authority = self.any_authority();
        let (who, records) = match self.below(8) {
            0 => {
                let signer = ValidatorIndex(u16::try_from(self.below(4)).unwrap());
                return evidence(&chain.tip.epoch, signer);
            }
            1 => (
                (authority, "admin"),
                vec![self.key_change(chain, authority)],
            ),
            2 | 3 => {
                let count = 1 + self.below(4);
                let records = (0..count).map(|_| self.registration(chain, authority));
                ((authority, "all"), records.collect())
            }
            _ => match self.about_known(chain) {
                Some((owner, records)) => ((owner, "all"), records),
                None => (
                    (authority, "all"),
                    vec![self.registration(chain, authority)],
                ),
            },
        };
        chain.submit(who, records).unwrap()
    }
}

/// A chain of so many blocks, drawn from a seed.
fn grown(seed: u64, blocks: usize) -> Chain {
    let mut script = Script {
        rng: TestRng::new(&seed.to_string()),
        documents: Vec::new(),
        count: 0,
    };
    let params = Params {
        epoch_length: [0, 3, 4][script.below(3)],
        anchor_interval_ms: [0, 4 * STEP][script.below(2)],
        ..Params::default()
    };
    let mut chain = Chain::founded(genesis_with(params));
    for at in 1..=blocks {
        let count = 1 + script.below(4);
        let offered: Vec<CheckedItem> = (0..count).map(|_| script.item(&mut chain)).collect();
        let refused = chain.try_build(&offered).refused;
        let included = offered.into_iter();
        let included = included.filter(|item| refused.iter().all(|(id, _)| *id != item.id()));
        let mut included: Vec<CheckedItem> = included.collect();
        if included.is_empty() {
            included.push(batch(&mut chain, &format!("filler {at}"), 1));
        }
        let skipped = script.below(3) as u64;
        chain.view = chain.view.saturating_add(skipped);
        let pause = script.below(5000) as u64;
        let time = chain.next_time().saturating_add(pause);
        let length = params.epoch_length;
        let seals = length > 0 && (chain.tip.height.0 + 1).is_multiple_of(length);
        let own = seals || at == blocks || script.below(3) > 0;
        let finality = if own {
            Finality::Certified
        } else {
            Finality::ByDescendant
        };
        chain.block_at(time, &included, finality);
    }
    chain
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// State, roots and log of the incremental way, from bytes alone.
    #[test]
    fn a_replay_agrees_with_the_chain_as_it_grew(seed: u64, blocks in 1_usize..12) {
        let chain = grown(seed, blocks);
        let again = replayed(&chain);
        prop_assert_eq!(&again.fault, &None);
        prop_assert_eq!(&again.tip, &chain.tip);
        prop_assert_eq!(&again.state, &chain.state);
        prop_assert_eq!(again.log_root(), mth(&hashes(&chain.leaves)));
        prop_assert_eq!(again.log_size(), TreeSize(chain.leaves.len() as u64));
        prop_assert_eq!(again.status_root(), chain.tip.trie.root());
        prop_assert_eq!(again.certified, chain.tip.height);
        let records = chain.leaves.iter().filter(|leaf| leaf[1] == 1).count() as u64;
        prop_assert_eq!(again.records, records);
        // The leaves once more, from the stored blocks.
        let stored = chain.frames.iter().map(|frame| Block::decode(&frame.block).unwrap());
        let leaves: Vec<Vec<u8>> = stored.flat_map(|block| block.leaves().unwrap()).collect();
        prop_assert_eq!(&leaves, &chain.leaves);
        prop_assert_eq!(grown(seed, blocks).tip, chain.tip, "a seed is one chain");
    }

    /// Any bits of any frame of a longer chain.
    #[test]
    fn a_mutated_frame_of_a_random_chain_is_a_fault_at_its_height(
        seed in 0_u64..4, which in any::<prop::sample::Index>(),
        at in any::<prop::sample::Index>(), mask in 1_u8..,
    ) {
        let mut chain = grown(seed, 6);
        let which = which.index(chain.frames.len());
        let mut bytes = chain.frames[which].encode();
        let place = at.index(bytes.len());
        bytes[place] ^= mask;
        let Ok(frame) = Payload::decode(&bytes) else { return Ok(()); };
        let own = chain.frames[which].finalization.is_some();
        chain.frames[which] = frame;
        let fault = replayed(&chain).fault.expect("a fault");
        let height = Height(which as u64 + 1);
        if own {
            prop_assert_eq!(fault.height, height);
        } else {
            // What no rule fixes, the next certified block's parent hash does.
            prop_assert!(fault.height >= height, "{}", fault);
        }
    }
}

/// Every byte of every frame: the container, the header, the body, the certificate.
#[test]
fn every_mutated_byte_is_a_fault_that_names_its_height() {
    let mut chain = Chain::new();
    let mut before = Vec::new();
    for at in 0..3 {
        before.push(at_tip(&chain));
        let items = [batch(&mut chain, &at.to_string(), 1 + at)];
        chain.block(&items);
    }
    let mut undecodable = 0;
    for (at, frame) in chain.frames.iter().enumerate() {
        let height = Height(at as u64 + 1);
        let bytes = frame.encode();
        for place in 0..bytes.len() {
            let mut other = bytes.clone();
            other[place] ^= [0x01, 0x40, 0xff][place % 3];
            let Ok(other) = Payload::decode(&other) else {
                undecodable += 1;
                continue;
            };
            let mut replay = before[at].clone();
            let tip = replay.tip().clone();
            let fault = replay.push(&other, &mut rng()).expect_err("a fault");
            assert_eq!(
                fault.height, height,
                "byte {place} of block {height}: {fault}"
            );
            assert!(fault.to_string().starts_with(&format!("block {height}: ")));
            assert_eq!(replay.tip(), &tip, "after a fault nothing has changed");
        }
    }
    assert!(
        undecodable < 100,
        "only lengths, tags and form fail to decode: {undecodable}"
    );
}

fn fault(chain: &Chain, frame: &Payload) -> FaultKind {
    let ReplayFault { height, kind } = at_tip(chain).push(frame, &mut rng()).unwrap_err();
    assert_eq!(height, chain.tip.height.next().unwrap());
    kind
}

fn block_of(frame: &Payload) -> Block {
    Block::decode(&frame.block).unwrap()
}

#[test]
fn bytes_that_are_no_block_are_a_fault() {
    let (chain, header, body) = pending();
    let good = signed(&chain, &header, &body);
    assert_eq!(at_tip(&chain).push(&good, &mut rng()), Ok(()));
    let mut bytes = good.block.to_vec();
    bytes.pop();
    let short = Payload {
        block: bytes.try_into().unwrap(),
        ..good.clone()
    };
    assert!(matches!(fault(&chain, &short), FaultKind::Decode(_)));
    let bytes = [&good.block, [0].as_slice()].concat();
    let long = Payload {
        block: bytes.try_into().unwrap(),
        ..good
    };
    assert!(matches!(fault(&chain, &long), FaultKind::Decode(_)));
}

/// Even a majority that signs it does not make a wrong header right.
#[test]
fn a_wrong_header_is_a_fault_whoever_signed_it() {
    let (chain, header, body) = pending();
    for (name, change) in CHANGES {
        let mut wrong = header.clone();
        change(&mut wrong);
        let kind = fault(&chain, &signed(&chain, &wrong, &body));
        match name {
            "height" => assert_eq!(kind, FaultKind::Height(Height(9))),
            "proposer" => assert!(matches!(kind, FaultKind::Leader { .. }), "{kind}"),
            "body_len" | "body_root" => assert!(matches!(kind, FaultKind::Body(_)), "{kind}"),
            _ => assert_eq!(kind, FaultKind::Invalid(Fault::Header(name))),
        }
    }
}

#[test]
fn an_item_that_breaks_a_rule_is_a_fault() {
    let (chain, header, body) = pending();
    let twice = Body::new(vec![body.items()[0].clone(), body.items()[0].clone()]).unwrap();
    let header = Header {
        body_len: u32::try_from(twice.len()).unwrap(),
        body_root: twice.root(),
        ..header
    };
    let kind = fault(&chain, &signed(&chain, &header, &twice));
    assert!(
        matches!(kind, FaultKind::Invalid(Fault::Item { at: 1, .. })),
        "{kind}"
    );
    let empty = Body::new(vec![]).unwrap();
    let header = Header {
        body_len: 0,
        body_root: empty.root(),
        ..header
    };
    let kind = fault(&chain, &signed(&chain, &header, &empty));
    assert_eq!(kind, FaultKind::Invalid(Fault::Empty));
}

#[test]
fn views_rise_and_their_leaders_propose() {
    let (chain, header, body) = pending();
    let parent = chain.view;
    for view in [View(0), parent] {
        let wrong = Header {
            view,
            ..header.clone()
        };
        let kind = fault(&chain, &signed(&chain, &wrong, &body));
        assert_eq!(kind, FaultKind::View { view, parent });
    }
    let epoch = &chain.tip.epoch;
    let right = leader(epoch, header.view);
    for found in epoch.set.indices().filter(|found| *found != right) {
        let wrong = Header {
            proposer: found,
            ..header.clone()
        };
        let kind = fault(&chain, &signed(&chain, &wrong, &body));
        let view = header.view;
        assert_eq!(
            kind,
            FaultKind::Leader {
                found,
                view,
                leader: right
            }
        );
    }
    // Each of four views in a row has another leader.
    let four: std::collections::BTreeSet<_> =
        (1..=4).map(|view| leader(epoch, View(view))).collect();
    assert_eq!(four.len(), 4);
}

#[test]
fn only_its_own_finalization_certifies_a_block() {
    let (chain, header, body) = pending();
    let (epoch, good) = (&chain.tip.epoch, signed(&chain, &header, &body));
    let (view, block) = (header.view, header.block_ref());
    let with = |finalization: Certificate| Payload {
        finalization: Some(finalization),
        ..good.clone()
    };
    let elsewhere = BlockRef {
        hash: chain.tip.hash,
        ..block
    };
    let higher = BlockRef {
        height: Height(3),
        ..block
    };
    let of_kind = |kind| certify(epoch, Statement { kind, view, block });
    for other in [
        of_kind(VoteKind::Notarize),
        certify(
            epoch,
            Statement {
                kind: VoteKind::Nullify,
                view,
                block: BlockRef::default(),
            },
        ),
        finalize(epoch, view, elsewhere),
        finalize(epoch, view, higher),
        finalize(epoch, view.prev().unwrap(), block),
    ] {
        assert_eq!(fault(&chain, &with(other)), FaultKind::NotItsFinalization);
    }
    // In a later view it is final as well.
    let later = finalize(epoch, view.saturating_add(3), block);
    assert_eq!(at_tip(&chain).push(&with(later), &mut rng()), Ok(()));
}

/// Bytes of a certificate: kind, epoch, view, block, bitmap of one byte, signatures.
#[test]
fn a_certificate_must_hold() {
    let (chain, header, body) = pending();
    let good = signed(&chain, &header, &body);
    let bytes = encode(good.finalization.as_ref().unwrap());
    let bitmap = 1 + 8 + 8 + 40 + 4;
    assert_eq!(bytes[bitmap].count_ones(), 3);
    let with = |bytes: &[u8]| {
        let finalization = Some(decode::<Certificate>(bytes, Certificate::MAX_LEN).unwrap());
        let kind = fault(
            &chain,
            &Payload {
                finalization,
                ..good.clone()
            },
        );
        let FaultKind::Certificate(error) = kind else {
            panic!("{kind}");
        };
        error
    };
    let changed = |at: usize, byte: u8| {
        let mut bytes = bytes.clone();
        bytes[at] = byte;
        with(&bytes)
    };
    assert!(matches!(
        changed(1, 1),
        CertificateError::Epoch {
            found: Epoch(1),
            ..
        }
    ));
    assert_eq!(changed(bitmap, 0xf0), CertificateError::Bitmap { n: 4 });
    assert!(matches!(
        changed(bitmap, 0b1111),
        CertificateError::Count { signers: 4, .. }
    ));
    assert!(matches!(
        changed(bitmap, 0b0011),
        CertificateError::Count { signers: 2, .. }
    ));
    let signature = bitmap + 1 + 4 + 70;
    assert!(matches!(
        changed(signature, bytes[signature] ^ 1),
        CertificateError::Signature { .. }
    ));
    // Two of four.
    let mut two = bytes[..bitmap].to_vec();
    two.push(0b0011);
    two.extend(2_u32.to_le_bytes());
    two.extend(&bytes[bitmap + 5..bitmap + 5 + 128]);
    assert_eq!(
        with(&two),
        CertificateError::Quorum {
            signers: 2,
            quorum: 3
        }
    );
    // The same three for another three: a signature counts for its place.
    let moved = changed(bitmap, bytes[bitmap] << 1);
    assert!(
        matches!(moved, CertificateError::Signature { .. }),
        "{moved}"
    );
}

#[test]
fn the_end_of_a_chain_must_be_final() {
    let mut chain = Chain::new();
    for at in 0..4 {
        let items = [batch(&mut chain, &at.to_string(), 1)];
        let time = chain.next_time();
        let finality = if at < 2 {
            Finality::Certified
        } else {
            Finality::ByDescendant
        };
        chain.block_at(time, &items, finality);
    }
    let end = replayed(&chain);
    let not_final = ReplayFault {
        height: Height(4),
        kind: FaultKind::NotFinal,
    };
    assert_eq!(end.fault, Some(not_final));
    assert_eq!(end.certified, Height(2));
    // One certified descendant makes both final.
    let items = [batch(&mut chain, "last", 1)];
    chain.block(&items);
    let end = replayed(&chain);
    assert_eq!((end.fault, end.certified), (None, Height(5)));
    // A chain of nothing is as final as its genesis.
    let empty = replay(genesis(), [], &mut rng()).unwrap();
    assert_eq!(
        (empty.fault, empty.certified, empty.records),
        (None, Height(0), 0)
    );
    assert_eq!(empty.tip, chain.founding.tip());
}

/// The next epoch's votes hang on the SEAL block itself.
#[test]
fn a_seal_needs_its_own_finalization() {
    let params = Params {
        epoch_length: 2,
        ..Params::default()
    };
    let mut chain = Chain::founded(genesis_with(params));
    let items = [batch(&mut chain, "a", 1)];
    chain.block(&items);
    let items = [batch(&mut chain, "b", 1)];
    chain.clone().block(&items);
    let time = chain.next_time();
    let mut unsealed = chain.clone();
    unsealed.block_at(time, &items, Finality::ByDescendant);
    let fault = replayed(&unsealed).fault.unwrap();
    assert_eq!(
        fault,
        ReplayFault {
            height: Height(2),
            kind: FaultKind::NotFinal
        }
    );
    // A certificate made for the old epoch does not count in the new one.
    chain.block(&items);
    let items = [batch(&mut chain, "c", 1)];
    let mut next = chain.clone();
    let executed = next.block(&items);
    let old = chain.founding.epoch();
    let frame = Payload {
        finalization: Some(finalize(&old, View(1), executed.header.block_ref())),
        ..next.frames[2].clone()
    };
    let kind = self::fault(&chain, &frame);
    assert!(
        matches!(kind, FaultKind::Certificate(CertificateError::Epoch { .. })),
        "{kind}"
    );
}

#[test]
fn blocks_left_out_doubled_or_of_another_chain_are_faults() {
    let mut chain = Chain::new();
    for at in 0..3 {
        let items = [batch(&mut chain, &at.to_string(), 1)];
        chain.block(&items);
    }
    let frames = chain.frames.clone();
    let run = |order: &[usize]| {
        let frames = order.iter().map(|at| frames[*at].clone());
        replay(genesis(), frames, &mut rng())
            .unwrap()
            .fault
            .map(|fault| (fault.height, fault.kind))
    };
    assert_eq!(run(&[0, 1, 2]), None);
    assert_eq!(
        run(&[0, 2]),
        Some((Height(2), FaultKind::Height(Height(3))))
    );
    assert_eq!(
        run(&[0, 0]),
        Some((Height(2), FaultKind::Height(Height(1))))
    );
    assert_eq!(run(&[1]), Some((Height(1), FaultKind::Height(Height(2)))));
    let params = Params {
        evidence_age: 9,
        ..Params::default()
    };
    let other = replay(genesis_with(params), frames.iter().cloned(), &mut rng()).unwrap();
    assert_eq!(
        other.fault.unwrap().height,
        Height(1),
        "another genesis is another chain"
    );
    let mut none = genesis();
    none.authorities.truncate(3);
    let refused = replay(none, [], &mut rng()).map(|_| ());
    assert_eq!(refused, Err(GenesisError::Validators { found: 3, max: 64 }));
}

/// A fork with the same height: the parent hash tells.
#[test]
fn a_block_on_another_parent_is_a_fault() {
    let mut chain = Chain::new();
    let mut fork = chain.clone();
    let items = [batch(&mut chain, "a", 1)];
    chain.block(&items);
    let items = [batch(&mut fork, "b", 1)];
    fork.block(&items);
    let items = [batch(&mut fork, "c", 1)];
    fork.block(&items);
    assert_ne!(block_of(&fork.frames[1]).header.parent, chain.tip.hash);
    let kind = fault(&chain, &fork.frames[1]);
    assert_eq!(kind, FaultKind::Invalid(Fault::Header("parent")));
}
