//! One encoding for every value (formats.md, 1.1): round trips, and everything else refused.

use crate::samples::{
    application, auth_state, block, body, certificate, doc_state, filled, founded, header,
    key_state, leaves, records, submission, vote,
};
use crate::world::{A, TestRng, double_vote, founding, key_of, salt};
use borsh::io::{Error, ErrorKind, Read, Result as IoResult};
use borsh::{BorshDeserialize, BorshSerialize};
use ledger::block::Block;
use ledger::body::{Body, BodyError, ItemBytes};
use ledger::certificate::Certificate;
use ledger::codec::{Bytes, DecodeError, List, OverBound, Text, decode, decode_prefix, encode};
use ledger::document::{Commitment, DocumentId, Nonce};
use ledger::evidence::Evidence;
use ledger::frame::{MAX_PAYLOAD_LEN, Payload};
use ledger::genesis::{Application, Genesis, MAX_GENESIS};
use ledger::hash::Hash;
use ledger::header::{Flags, Header};
use ledger::id::{
    AuthorityId, AuthorityIndex, Domain, LeafIndex, TimeMs, TreeSize, ValidatorIndex, View,
};
use ledger::key::{Key, RawSignature};
use ledger::leaf::{LogLeaf, MAX_LEAF};
use ledger::log::Path;
use ledger::record::{MAX_PROPOSE, Parents, Record, Role};
use ledger::restart::{MAX_REPORT_LEN, MAX_RESTART_LEN};
use ledger::state::{
    AuthState, DocState, Handover, HoldEntry, KeyState, Lane, Lifecycle, MAX_DISPUTES, MAX_ENTRIES,
    MAX_HANDOVERS, MAX_STATE, OpenDispute, Sorted,
};
use ledger::submission::{
    Draft, MAX_RECORDS, MAX_SUBMISSION, Submission, SubmissionBody, SubmissionError,
};
use ledger::validator_set::ValidatorSet;
use ledger::vote::{Vote, VoteKind};
use proptest::prelude::*;
use std::fmt::Debug;

/// A value has these bytes and no others, and they are nothing else's.
fn assert_strict<T>(name: &str, value: &T, limit: usize)
where
    T: BorshSerialize + BorshDeserialize + PartialEq + Debug,
{
    let bytes = encode(value);
    let length = bytes.len();
    assert_eq!(decode::<T>(&bytes, limit).as_ref(), Ok(value), "{name}");
    assert_eq!(decode::<T>(&bytes, length).as_ref(), Ok(value), "{name}");
    let limit = length - 1;
    assert_eq!(
        decode::<T>(&bytes, limit),
        Err(DecodeError::TooLong { length, limit }),
        "{name}"
    );
    for cut in 0..length {
        let short = decode::<T>(&bytes[..cut], length);
        assert!(
            matches!(short, Err(DecodeError::Malformed { .. })),
            "{name} cut at {cut}"
        );
    }
    let longer = [bytes.as_slice(), &[0]].concat();
    let trailing = Err(DecodeError::Trailing { at: length });
    assert_eq!(decode::<T>(&longer, usize::MAX), trailing, "{name}");
    for at in 0..length {
        for flip in [0x01, 0x80, 0xff] {
            let mut other = bytes.clone();
            other[at] ^= flip;
            assert_canonical::<T>(name, &other, value);
        }
    }
}

/// Whatever is accepted is exactly what its value encodes to, and another value than `not`.
fn assert_canonical<T>(name: &str, bytes: &[u8], not: &T)
where
    T: BorshSerialize + BorshDeserialize + PartialEq + Debug,
{
    if let Ok(read) = decode::<T>(bytes, bytes.len()) {
        assert_eq!(encode(&read), bytes, "{name} has two encodings");
        assert_ne!(&read, not, "{name} has two encodings");
    }
}

#[test]
fn every_record_has_one_encoding() {
    let all = records(&founded());
    let codes: Vec<u8> = all.iter().map(Record::code).collect();
    assert_eq!(codes, (1..=26).collect::<Vec<u8>>());
    for record in &all {
        assert_eq!(record.encode()[0], record.code());
        assert_strict(record.name(), record, MAX_PROPOSE);
    }
    for code in (0..=255).filter(|code| !(1..=26).contains(code)) {
        let bytes = [[code].as_slice(), &[1; 200]].concat();
        assert_eq!(
            decode::<Record>(&bytes, 300),
            Err(DecodeError::Malformed { at: 1 }),
            "code {code}"
        );
    }
}

#[test]
fn every_other_format_has_one_encoding() {
    let founding = founded();
    assert_strict("header", &header(&founding), Header::LEN);
    assert_strict("vote", &vote(&founding), Vote::LEN);
    assert_strict("certificate", &certificate(&founding), Certificate::MAX_LEN);
    let evidence = double_vote(&founding.epoch(), ValidatorIndex(2));
    assert_strict("evidence", &evidence, Evidence::LEN);
    assert_strict("validator set", founding.set(), 65_536);
    assert_strict("genesis", founding.genesis(), MAX_GENESIS);
    assert_strict("application", &application(&founding), 65_536);
    assert_strict(
        "submission body",
        submission(&founding).body(),
        SubmissionBody::LEN,
    );
    for leaf in leaves(&founding) {
        assert_strict("leaf", &leaf, MAX_LEAF);
    }
    assert_strict("doc state", &doc_state(&founding), MAX_STATE);
    assert_strict("key state", &key_state(), MAX_STATE);
    assert_strict("auth state", &auth_state(), MAX_STATE);
    assert_strict("body", &body(&founding), 100_000);
    assert_strict("block", &block(&founding), Block::MAX_LEN);
    let payload = Payload {
        block: block(&founding).encode().try_into().unwrap(),
        finalization: Some(certificate(&founding)),
    };
    assert_strict("frame payload", &payload, MAX_PAYLOAD_LEN);
    let path = Path::new(vec![filled(1), filled(2)]).unwrap();
    assert_strict("path", &path, 65);
    let file = crate::restarts::sample(&founding);
    assert_strict("restart report", &file.reports()[0], MAX_REPORT_LEN);
    assert_strict("restart file", &file, MAX_RESTART_LEN);
    assert_strict("salt", &salt("salt"), 64);
}

#[test]
fn lengths_are_the_formats() {
    let founding = founded();
    assert_eq!(encode(&header(&founding)).len(), Header::LEN);
    assert_eq!(encode(&vote(&founding)).len(), Vote::LEN);
    assert_eq!((Vote::LEN, SubmissionBody::LEN), (123, 119));
    assert_eq!(encode(submission(&founding).body()).len(), 119);
}

/// Gives out what it has and then fails the test: nothing may be read behind a count that is over its bound.
struct Watched<'a>(&'a [u8]);

impl Read for Watched<'_> {
    fn read(&mut self, out: &mut [u8]) -> IoResult<usize> {
        assert!(!self.0.is_empty(), "read on behind a count over its bound");
        let count = self.0.len().min(out.len());
        let (front, rest) = self.0.split_at(count);
        out[..count].copy_from_slice(front);
        self.0 = rest;
        Ok(count)
    }
}

fn refuses_count<T: BorshDeserialize + Debug>(before: &[u8], bound: u32) {
    for count in [bound + 1, u32::MAX] {
        let bytes = [before, &count.to_le_bytes()].concat();
        let read: Result<T, Error> = T::deserialize_reader(&mut Watched(&bytes));
        assert_eq!(read.unwrap_err().kind(), ErrorKind::InvalidData);
    }
    // One that is allowed but not there ends as a short input, whatever it announces.
    let bytes = [before, &bound.to_le_bytes()].concat();
    assert!(T::try_from_slice(&bytes).is_err());
}

#[test]
fn a_length_is_checked_before_anything_is_read_or_made_for_it() {
    refuses_count::<List<u64, 9>>(&[], 9);
    refuses_count::<Bytes<9>>(&[], 9);
    refuses_count::<Text<9>>(&[], 9);
    refuses_count::<AuthorityId>(&[], 32);
    refuses_count::<Domain>(&[], 253);
    refuses_count::<ValidatorSet>(&[], 64);
    refuses_count::<Parents>(&[], 16);
    refuses_count::<Body>(&[], 65_536);
    refuses_count::<ItemBytes>(&[], u32::try_from(MAX_SUBMISSION).unwrap() + 1);
    refuses_count::<Record>(&[23], u32::try_from(MAX_PROPOSE).unwrap());
    let state = encode(&doc_state(&founded()));
    // id, registration, issuer, responsible; then lifecycle with a successor, retired, suspended.
    let disputes = 16 + 8 + 2 + 2 + 1 + 16 + 2 + 2;
    refuses_count::<DocState>(&state[..disputes], u32::try_from(MAX_DISPUTES).unwrap());
    let genesis = encode(founding().genesis());
    let authorities = 2 + 4 + 14 + 8 + 2 + 2 + 4 + 4 + 5 * 8;
    assert_eq!(genesis[authorities..authorities + 4], 5_u32.to_le_bytes());
    refuses_count::<Genesis>(&genesis[..authorities], 512);
    let certificate = encode(&certificate(&founded()));
    let bitmap = 1 + 8 + 8 + 40;
    refuses_count::<Certificate>(&certificate[..bitmap], 8);
    refuses_count::<Certificate>(&certificate[..bitmap + 5], 64);
    refuses_count::<Payload>(&[], u32::try_from(ledger::frame::MAX_BLOCK_LEN).unwrap());
    // A path counts in one byte.
    for count in 65..=255 {
        assert!(Path::deserialize_reader(&mut Watched(&[count])).is_err());
    }
}

#[test]
fn a_list_takes_no_more_than_its_bound() {
    let over = Err(OverBound {
        length: 4,
        limit: 3,
    });
    assert_eq!(List::<u8, 3>::try_from(vec![1; 4]), over);
    let mut list = List::<u8, 3>::try_from(vec![1; 3]).unwrap();
    assert_eq!(
        list.push(1),
        Err(OverBound {
            length: 4,
            limit: 3
        })
    );
    assert_eq!(
        list.insert(0, 1),
        Err(OverBound {
            length: 4,
            limit: 3
        })
    );
    assert_eq!(list.len(), 3);
    assert_eq!(
        Bytes::<3>::try_from(vec![1; 4]),
        Err(OverBound {
            length: 4,
            limit: 3
        })
    );
    assert_eq!(
        Text::<3>::try_from(String::from("äö")),
        Err(OverBound {
            length: 4,
            limit: 3
        })
    );
    assert!(
        decode::<Text<9>>(b"\x02\0\0\0\xc3\x28", 9).is_err(),
        "not UTF-8"
    );
    let mut set = Sorted::<AuthorityIndex, 2>::new();
    for authority in [5, 3, 5] {
        set.set(AuthorityIndex(authority)).unwrap();
    }
    assert_eq!(set.to_vec(), [AuthorityIndex(3), AuthorityIndex(5)]);
    assert!(set.set(AuthorityIndex(4)).is_err());
    set.remove(AuthorityIndex(3));
    assert_eq!(set.to_vec(), [AuthorityIndex(5)]);
}

/// Lists that stand for sets are strictly ascending by their first field.
#[test]
fn sets_out_of_order_are_refused() {
    let bytes = |items: &[u16]| encode(&items.to_vec());
    type Set = Sorted<AuthorityIndex, 8>;
    assert!(decode::<Set>(&bytes(&[1, 2, 9]), 99).is_ok());
    assert!(decode::<Set>(&bytes(&[]), 99).is_ok());
    for wrong in [[2, 1], [1, 1]] {
        assert!(decode::<Set>(&bytes(&wrong), 99).is_err());
    }
    let id = |fill: u8| DocumentId([fill; 16]);
    assert_eq!(Parents::new(vec![]), None);
    assert_eq!(Parents::new(vec![id(1), id(1)]), None);
    assert_eq!(Parents::new(vec![id(2), id(1)]), None);
    assert_eq!(Parents::new((0..17).map(id).collect()), None);
    assert!(Parents::new((0..16).map(id).collect()).is_some());
    assert!(decode::<Parents>(&encode(&vec![id(2), id(1)]), 99).is_err());
    assert!(decode::<Parents>(&encode(&Vec::<DocumentId>::new()), 99).is_err());
    let members = founding().set().members().to_vec();
    let swapped: Vec<_> = members.iter().rev().cloned().collect();
    assert!(decode::<ValidatorSet>(&encode(&swapped), 9999).is_err());
    let twice = vec![members[0].clone(), members[0].clone()];
    assert!(decode::<ValidatorSet>(&encode(&twice), 9999).is_err());
    let mut same_key = members;
    same_key[1].log = same_key[0].vote;
    assert!(decode::<ValidatorSet>(&encode(&same_key), 9999).is_err());
}

#[test]
fn spare_bits_and_meaningless_values_are_refused() {
    for bits in 0..=255_u8 {
        let role = decode::<Role>(&[bits], 1);
        assert_eq!(role.is_ok(), (1..=15).contains(&bits), "role {bits}");
        assert_eq!(
            decode::<Flags>(&[bits], 1).is_ok(),
            bits <= 3,
            "flags {bits}"
        );
        assert_eq!(
            decode::<VoteKind>(&[bits], 1).is_ok(),
            (1..=3).contains(&bits)
        );
        let option = [bits, 7, 0, 0, 0, 0, 0, 0, 0];
        let length = if bits == 0 { 1 } else { 9 };
        let read = decode::<Option<LeafIndex>>(&option[..length], 9);
        assert_eq!(read.is_ok(), bits < 2, "option {bits}");
    }
    for text in ["", "a", "A", "Ab", "a_b", "ä", "a b", &"x".repeat(33)] {
        assert!(AuthorityId::new(text).is_err());
        assert!(
            decode::<AuthorityId>(&encode(&text.to_owned()), 99).is_err(),
            "{text}"
        );
    }
    for text in ["", "Ledger", "a/b", "a_b", &"x".repeat(254)] {
        assert!(
            decode::<Domain>(&encode(&text.to_owned()), 999).is_err(),
            "{text}"
        );
    }
    for version in [0_u16, 2, 256] {
        let mut genesis = encode(founding().genesis());
        genesis[..2].copy_from_slice(&version.to_le_bytes());
        assert!(Genesis::decode(&genesis).is_err());
    }
}

/// A Nullify names no block, every other vote one; evidence is two votes that conflict, in order.
#[test]
fn votes_and_evidence_that_mean_nothing_are_refused() {
    let founding = founded();
    let good = vote(&founding);
    let mut nullify = encode(&good);
    nullify[16] = VoteKind::Nullify.code();
    assert!(decode::<Vote>(&nullify, 123).is_err());
    let mut nothing = encode(&good);
    nothing[17..57].fill(0);
    assert!(decode::<Vote>(&nothing, 123).is_err());
    nothing[16] = VoteKind::Nullify.code();
    assert!(decode::<Vote>(&nothing, 123).is_ok());

    let evidence = double_vote(&founding.epoch(), ValidatorIndex(1));
    let (first, second) = evidence.votes();
    assert_eq!(
        Evidence::new(*second, *first),
        Some(evidence),
        "in either order"
    );
    assert_eq!(Evidence::new(*first, *first), None);
    let pair = |a: &Vote, b: &Vote| [encode(a), encode(b)].concat();
    assert!(decode::<Evidence>(&pair(first, second), 246).is_ok());
    assert!(decode::<Evidence>(&pair(second, first), 246).is_err());
    assert!(decode::<Evidence>(&pair(first, first), 246).is_err());
    let finalize = Vote {
        kind: VoteKind::Finalize,
        ..*first
    };
    let nullify = Vote {
        kind: VoteKind::Nullify,
        block: Default::default(),
        ..*first
    };
    assert!(Evidence::new(finalize, nullify).is_some());
    assert_eq!(
        Evidence::new(*first, nullify),
        None,
        "a notarize and a nullify are both honest"
    );
    assert_eq!(Evidence::new(*first, finalize), None);
    let elsewhere = Vote {
        view: View(8),
        ..*second
    };
    assert_eq!(Evidence::new(*first, elsewhere), None);
    let another = Vote {
        signer: ValidatorIndex(2),
        ..*second
    };
    assert_eq!(Evidence::new(*first, another), None);
}

/// A submission's own rules: count, window, record lengths, root, and its exact bytes.
#[test]
fn a_submission_has_one_encoding() {
    let founding = founded();
    let right = submission(&founding);
    let bytes = right.encoded();
    assert_eq!(Submission::decode(bytes).as_ref(), Ok(&*right));
    for cut in 0..bytes.len() {
        assert!(Submission::decode(&bytes[..cut]).is_err(), "cut at {cut}");
    }
    let longer = [bytes, &[0]].concat();
    assert!(Submission::decode(&longer).is_err());
    let signature = bytes.len() - 64;
    for at in 0..bytes.len() {
        let mut other = bytes.to_vec();
        other[at] ^= 1;
        // Only what the records root does not cover can still be read: header fields and signature.
        if let Ok(read) = Submission::decode(&other) {
            assert_eq!(read.encoded(), other);
            let covered = (SubmissionBody::LEN..signature).contains(&at);
            assert!(!covered, "byte {at} is covered by the root");
            assert!(read.verify().is_err(), "byte {at} is signed");
        }
    }
    let mut none = bytes.to_vec();
    none[83..87].fill(0);
    assert_eq!(Submission::decode(&none), Err(SubmissionError::Count(0)));
    none[83..87].copy_from_slice(&10_001_u32.to_le_bytes());
    assert_eq!(
        Submission::decode(&none),
        Err(SubmissionError::Count(10_001))
    );
    let huge = vec![0; MAX_SUBMISSION + 1];
    assert!(matches!(
        Submission::decode(&huge),
        Err(SubmissionError::Decode(DecodeError::TooLong { .. }))
    ));
}

#[test]
fn a_submission_holds_ten_thousand_records_and_no_more() {
    let founding = founded();
    let draft = |count: usize| Draft {
        chain: founding.chain(),
        authority: A,
        not_before_ms: TimeMs(1),
        not_after_ms: TimeMs(2),
        records: vec![Record::Approve { of: LeafIndex(1) }; count],
    };
    let key = key_of(A, "admin");
    let most = Submission::sign(draft(MAX_RECORDS), &key).unwrap();
    assert_eq!(
        Submission::decode(most.encoded()).unwrap().records().len(),
        MAX_RECORDS
    );
    let over = Submission::sign(draft(MAX_RECORDS + 1), &key);
    assert_eq!(over, Err(SubmissionError::Count(10_001)));
    assert_eq!(
        Submission::sign(draft(0), &key),
        Err(SubmissionError::Count(0))
    );
    let propose = |length: usize| {
        let change = vec![0; length].try_into().unwrap();
        let records = vec![Record::Propose { change }];
        Submission::sign(
            Draft {
                records,
                ..draft(0)
            },
            &key,
        )
    };
    assert!(propose(MAX_PROPOSE - 5).is_ok());
    let limit = MAX_PROPOSE;
    let refused = SubmissionError::RecordLength {
        at: 0,
        length: limit + 1,
        limit,
    };
    assert_eq!(propose(MAX_PROPOSE - 4), Err(refused));
}

#[test]
fn an_encoded_body_is_cut_into_its_items_and_joined_again() {
    let body = body(&founding());
    let bytes = body.encode();
    let items = Body::cut(&bytes).unwrap();
    let whole: Vec<&[u8]> = body.items().iter().map(|item| item.as_bytes()).collect();
    assert_eq!(items, whole);
    assert!(items.len() > 1);
    assert_eq!(Body::join(&items), bytes);
    assert_eq!(Body::cut(&Body::default().encode()), Some(Vec::new()));
    // What is no container for the decoder is none here.
    for length in 0..bytes.len() {
        assert_eq!(Body::cut(&bytes[..length]), None, "cut at {length}");
    }
    assert_eq!(Body::cut(&[&bytes[..], &[0]].concat()), None);
    let mut more = bytes.clone();
    more[..4].copy_from_slice(&u32::MAX.to_le_bytes());
    assert_eq!(Body::cut(&more), None, "a count that is not there");
}

#[test]
fn a_body_holds_submissions_then_evidence() {
    let founding = founded();
    let good = body(&founding);
    assert_eq!(Body::decode(&good.encode()), Ok(good.clone()));
    assert_eq!(good.parse().map(|items| items.len()), Ok(2));
    let [submission, evidence] = [good.items()[0].clone(), good.items()[1].clone()];
    let swapped = Body::new(vec![evidence.clone(), submission]).unwrap();
    assert_eq!(swapped.parse(), Err(BodyError::Order));
    let item = |bytes: &[u8]| decode::<ItemBytes>(&encode(&bytes.to_vec()), 999).unwrap();
    for kind in (0..=255).filter(|kind| ![1, 2].contains(kind)) {
        let bytes = [&[kind], &evidence.as_bytes()[1..]].concat();
        assert_eq!(item(&bytes).parse(), Err(BodyError::Kind));
    }
    assert_eq!(item(&[]).parse(), Err(BodyError::Kind));
    assert!(matches!(
        item(&[1, 0]).parse(),
        Err(BodyError::Submission(_))
    ));
    assert!(matches!(item(&[2, 0]).parse(), Err(BodyError::Decode(_))));
    let longer = [evidence.as_bytes(), &[0]].concat();
    assert!(matches!(item(&longer).parse(), Err(BodyError::Decode(_))));
    assert!(Body::new(vec![item(&[]); 65_537]).is_none());
}

#[test]
fn a_leaf_says_one_version_and_one_kind() {
    let founding = founded();
    for leaf in leaves(&founding) {
        let bytes = leaf.encode();
        assert_eq!(LogLeaf::decode(&bytes).as_ref(), Ok(&leaf));
        for (at, value) in [(0, 0), (0, 2), (1, 0), (1, 4), (1, 255)] {
            let mut other = bytes.clone();
            other[at] = value;
            assert!(LogLeaf::decode(&other).is_err());
        }
    }
    // A trailer's next set is zero exactly when it does not seal.
    let trailer = leaves(&founding)[1].encode();
    let mut other = trailer.clone();
    other[10] ^= Flags::SEAL.bits();
    assert!(LogLeaf::decode(&trailer).is_ok());
    assert!(LogLeaf::decode(&other).is_err());
}

/// Reads values out of random bytes, so that a seed gives a value.
struct Source(TestRng);

impl Source {
    fn number(&mut self) -> u64 {
        // Small and large numbers alike.
        let shift = self.0.next_u32() % 64;
        self.0.next_u64() >> shift
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.0.next_u64() % bound as u64).unwrap()
    }

    fn bytes<const N: usize>(&mut self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.fill_bytes(&mut bytes);
        bytes
    }

    fn option<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        self.0.next_u32().is_multiple_of(2).then(|| make(self))
    }

    fn authority(&mut self) -> AuthorityIndex {
        AuthorityIndex(self.0.next_u32().to_le_bytes()[0].into())
    }

    fn index(&mut self) -> LeafIndex {
        LeafIndex(self.number())
    }

    fn id(&mut self) -> DocumentId {
        DocumentId(self.bytes())
    }

    fn doc_state(&mut self) -> DocState {
        let mut state = doc_state(&founded());
        (state.id, state.registration) = (self.id(), self.index());
        (state.issuer, state.responsible) = (self.authority(), self.authority());
        state.lifecycle = match self.below(3) {
            0 => Lifecycle::InForce,
            1 => Lifecycle::Superseded { by: self.id() },
            _ => Lifecycle::Revoked {
                code: self.bytes::<1>()[0],
            },
        };
        state.suspended = self.option(|source| source.bytes::<1>()[0]);
        for _ in 0..self.below(20) {
            let (index, by, from) = (self.index(), self.authority(), self.authority());
            let (to, code) = (self.authority(), self.bytes::<1>()[0]);
            state.disputes.set(OpenDispute { index, by, code }).unwrap();
            state.holds.set(HoldEntry { by, code }).unwrap();
            let mode = code;
            state
                .handovers
                .set(Handover {
                    index,
                    from,
                    to,
                    mode,
                })
                .unwrap();
            state.holders.set(to).unwrap();
            state
                .lanes
                .set(Lane {
                    authority: by,
                    head: index,
                })
                .unwrap();
        }
        state
    }

    fn record(&mut self) -> Record {
        let (document, prev, of) = (self.id(), self.index(), self.index());
        match self.below(6) {
            0 => Record::Register {
                document,
                nonce: Nonce(self.bytes()),
                internal: Commitment(Hash(self.bytes())),
                citizen: self.option(|source| Commitment(Hash(source.bytes()))),
                detail: self.option(|source| Hash(source.bytes())),
                retention: ledger::record::Retention::ALL[self.below(6)],
            },
            1 => {
                let mut parents: Vec<_> = (0..=self.below(15)).map(|_| self.id()).collect();
                parents.sort();
                Record::Derive {
                    document,
                    nonce: Nonce(self.bytes()),
                    internal: Commitment(Hash(self.bytes())),
                    citizen: None,
                    detail: None,
                    retention: ledger::record::Retention::Permanent,
                    parents: Parents::new(parents).unwrap(),
                    relation: ledger::record::Relation::ALL[self.below(6)],
                }
            }
            2 => Record::Accept {
                document,
                prev,
                of,
                received: self.option(|source| Commitment(Hash(source.bytes()))),
            },
            3 => Record::RetireKey {
                key: Key::from_bytes(self.bytes()),
                compromised_since: self.option(Self::index),
            },
            4 => {
                let mut change = vec![0; self.below(MAX_PROPOSE)];
                self.0.fill_bytes(&mut change);
                Record::Propose {
                    change: change.try_into().unwrap(),
                }
            }
            _ => Record::Ready {
                of,
                block: crate::samples::block_ref(),
                signature: RawSignature(self.bytes()),
            },
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn random_states_and_records_come_back(seed: u64) {
        let mut source = Source(TestRng::new(&seed.to_string()));
        let state = source.doc_state();
        prop_assert_eq!(DocState::decode(&encode(&state)), Ok(state));
        let key = KeyState {
            authority: source.authority(),
            role: Role::from_bits(source.bytes::<1>()[0] % 15 + 1).unwrap(),
            enrolled: source.index(),
            not_after_ms: TimeMs(source.number()),
            retired: source.option(Source::index),
            compromised_since: source.option(Source::index),
        };
        prop_assert_eq!(KeyState::decode(&encode(&key)), Ok(key));
        let auth = AuthState {
            joined: source.index(),
            succeeded_by: source.option(Source::authority),
            ..auth_state()
        };
        prop_assert_eq!(AuthState::decode(&encode(&auth)), Ok(auth));
        let record = source.record();
        prop_assert_eq!(decode::<Record>(&record.encode(), MAX_PROPOSE + 5), Ok(record));
    }

    /// Bytes put together of pieces of right ones: whatever is read is canonical.
    #[test]
    fn spliced_bytes_are_refused_or_canonical(
        which in any::<prop::sample::Index>(),
        cut in any::<prop::sample::Index>(),
        put in prop::collection::vec(any::<u8>(), 0..9),
        skip in 0_usize..9,
    ) {
        let founding = founded();
        let all = records(&founding);
        let record = &all[which.index(all.len())];
        let splice = |bytes: &[u8]| {
            let at = cut.index(bytes.len());
            let behind = bytes.get(at + skip..).unwrap_or_default();
            [&bytes[..at], put.as_slice(), behind].concat()
        };
        let bytes = splice(&record.encode());
        if let Ok(read) = decode::<Record>(&bytes, bytes.len()) {
            prop_assert_eq!(read.encode(), bytes);
        }
        let bytes = splice(&encode(&doc_state(&founding)));
        if let Ok(read) = DocState::decode(&bytes) {
            prop_assert_eq!(encode(&read), bytes);
        }
        let bytes = splice(&block(&founding).encode());
        if let Ok(read) = Block::decode(&bytes) {
            prop_assert_eq!(read.encode(), bytes);
            let _parsed = read.leaves().is_ok();
        }
        let bytes = splice(submission(&founding).encoded());
        if let Ok(read) = Submission::decode(&bytes) {
            prop_assert_eq!(read.encoded(), bytes);
        }
    }

    /// Nothing that comes in stops the program.
    #[test]
    fn random_bytes_are_read_without_harm(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let limit = 300;
        let read = [
            decode::<Record>(&bytes, limit).is_ok(),
            decode::<Genesis>(&bytes, limit).is_ok(),
            decode::<Application>(&bytes, limit).is_ok(),
            decode::<ValidatorSet>(&bytes, limit).is_ok(),
            decode::<Certificate>(&bytes, limit).is_ok(),
            Block::decode(&bytes).is_ok(),
            Submission::decode(&bytes).is_ok(),
            Payload::decode(&bytes).is_ok(),
            LogLeaf::decode(&bytes).is_ok(),
            DocState::decode(&bytes).is_ok(),
            ledger::note::Note::parse(&bytes).is_ok(),
            ledger::frame::SegmentHeader::decode(&bytes).is_ok(),
            ledger::journal::SegmentHeader::decode(&bytes).is_ok(),
        ];
        prop_assert!(read.iter().filter(|ok| **ok).count() <= 1);
    }

    #[test]
    fn a_prefix_is_read_and_the_rest_left(number: u64, rest in prop::collection::vec(any::<u8>(), 0..9)) {
        let bytes = [number.to_le_bytes().as_slice(), &rest].concat();
        let mut input = bytes.as_slice();
        prop_assert_eq!(decode_prefix::<TreeSize>(&mut input, 99), Ok(TreeSize(number)));
        prop_assert_eq!(input, rest.as_slice());
    }
}

/// A full state stays below its bound (formats.md, section 5).
#[test]
fn the_fullest_state_fits() {
    let mut state = doc_state(&founded());
    let number = |at: usize| LeafIndex(1 << 40 | at as u64);
    let authority = |at: usize| AuthorityIndex(u16::try_from(at).unwrap());
    for at in 0..MAX_ENTRIES {
        let (authority, head) = (authority(at), number(at));
        state.holders.set(authority).unwrap();
        state.lanes.set(Lane { authority, head }).unwrap();
        state
            .holds
            .set(HoldEntry {
                by: authority,
                code: 1,
            })
            .unwrap();
    }
    for at in 100..100 + MAX_DISPUTES - state.disputes.len() {
        let (index, by, code) = (number(at), authority(at), 1);
        state.disputes.set(OpenDispute { index, by, code }).unwrap();
    }
    for at in 100..100 + MAX_HANDOVERS - state.handovers.len() {
        let (index, from, to) = (number(at), authority(at), authority(at));
        state
            .handovers
            .set(Handover {
                index,
                from,
                to,
                mode: 1,
            })
            .unwrap();
    }
    let later = state.commitments[0];
    for at in 100..100 + ledger::state::MAX_COMMITMENTS - 1 {
        let index = number(at);
        state
            .commitments
            .set(ledger::state::LaterCommitment { index, ..later })
            .unwrap();
    }
    let bytes = encode(&state);
    assert!(bytes.len() <= MAX_STATE, "{} bytes", bytes.len());
    assert_eq!(DocState::decode(&bytes), Ok(state));
}
