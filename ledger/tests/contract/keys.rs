//! The two acceptance sets of Ed25519 (formats.md, 1.4), on points and signatures made to tell them apart.

use crate::world::{A, Chain, TestRng, founding, key, key_of, register, seed_of, signing_key};
use curve25519_dalek::constants::{ED25519_BASEPOINT_TABLE, EIGHT_TORSION};
use curve25519_dalek::edwards::{CompressedEdwardsY, EdwardsPoint};
use curve25519_dalek::scalar::{Scalar, clamp_integer};
use ledger::certificate::CertificateError;
use ledger::codec::{decode, encode};
use ledger::hash::Hash;
use ledger::id::{AuthorityId, AuthorityIndex, Epoch, ValidatorIndex};
use ledger::key::{BadKey, Key, RawSignature, Signature, SigningKey, Zip215Batch};
use ledger::note::{SignatureLine, VerifierKey, verify_log};
use ledger::submission::Submission;
use ledger::validator_set::{Member, ValidatorSet};
use ledger::vote::Vote;
use proptest::prelude::*;
use sha2::{Digest as _, Sha512};

/// The 14 small-order encodings of formats.md, as they stand there.
fn small_order() -> [[u8; 32]; 14] {
    let repeated = |first: u8, middle: u8, last: u8| {
        let mut bytes = [middle; 32];
        bytes[0] = first;
        bytes[31] = last;
        bytes
    };
    let eight = |text: &str, last: u8| {
        let mut bytes: [u8; 32] = hex::decode(text).unwrap().try_into().unwrap();
        bytes[31] = last;
        bytes
    };
    let low = "26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05";
    let high = "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a";
    [
        repeated(0, 0, 0),
        repeated(0, 0, 0x80),
        repeated(1, 0, 0),
        repeated(1, 0, 0x80),
        repeated(0xec, 0xff, 0x7f),
        repeated(0xec, 0xff, 0xff),
        repeated(0xed, 0xff, 0x7f),
        repeated(0xed, 0xff, 0xff),
        repeated(0xee, 0xff, 0x7f),
        repeated(0xee, 0xff, 0xff),
        eight(low, 0x05),
        eight(low, 0x85),
        eight(high, 0x7a),
        eight(high, 0xfa),
    ]
}

const IDENTITY: [u8; 32] = {
    let mut bytes = [0; 32];
    bytes[0] = 1;
    bytes
};

fn challenge(r: &[u8; 32], key: &[u8; 32], message: &[u8]) -> Scalar {
    let hash = Sha512::new()
        .chain_update(r)
        .chain_update(key)
        .chain_update(message);
    Scalar::from_bytes_mod_order_wide(&hash.finalize().into())
}

/// The secret scalar behind a seed.
fn secret(label: &str) -> Scalar {
    let hash: [u8; 64] = Sha512::digest(seed_of(label).as_bytes()).into();
    Scalar::from_bytes_mod_order(clamp_integer(hash[..32].try_into().unwrap()))
}

/// R of small order with the S that the holder of the key can make for it.
fn with_small_r(label: &str, r: [u8; 32], message: &[u8]) -> RawSignature {
    let s = challenge(&r, key(label).as_bytes(), message) * secret(label);
    RawSignature([r, s.to_bytes()].concat().try_into().unwrap())
}

/// For the identity as key anyone signs anything: R = \[r\]B, S = r.
fn for_identity_key(message: &[u8]) -> RawSignature {
    let hash: [u8; 64] = Sha512::digest(message).into();
    let r = Scalar::from_bytes_mod_order_wide(&hash);
    let point: EdwardsPoint = ED25519_BASEPOINT_TABLE * &r;
    RawSignature(
        [point.compress().0, r.to_bytes()]
            .concat()
            .try_into()
            .unwrap(),
    )
}

fn zip215(key: &Key, message: &[u8], signature: &RawSignature) -> Accepts {
    let signature = Signature::from_bytes(signature.0);
    let single = key.verify_zip215(message, &signature).is_ok();
    let mut batch = Zip215Batch::new();
    batch.queue(key, message, &signature);
    let together = batch.verify(TestRng::new("batch")).is_ok();
    assert_eq!(single, together, "single and batch disagree");
    if single { Accepts::Yes } else { Accepts::No }
}

fn strict(key: &Key, message: &[u8], signature: &RawSignature) -> Accepts {
    match key.verify_strict(message, signature) {
        Ok(()) => Accepts::Yes,
        Err(_) => Accepts::No,
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Accepts {
    Yes,
    No,
}

#[test]
fn the_fourteen_encodings_are_all_that_decode_to_small_order() {
    for bytes in small_order() {
        let point = CompressedEdwardsY(bytes).decompress().expect("a point");
        assert!(point.is_small_order());
    }
    for point in EIGHT_TORSION {
        assert!(small_order().contains(&point.compress().0));
    }
}

#[test]
fn no_weak_key_enters() {
    for bytes in small_order() {
        let refused = Key::from_bytes(bytes).admit().unwrap_err();
        assert!(matches!(
            refused,
            BadKey::SmallOrder(_) | BadKey::NotCanonical(_)
        ));
    }
    let good = CompressedEdwardsY(*key("good").as_bytes())
        .decompress()
        .unwrap();
    for torsion in EIGHT_TORSION.iter().skip(1) {
        let mixed = Key::from_bytes((good + torsion).compress().0);
        assert_eq!(mixed.admit(), Err(BadKey::Torsion(mixed)));
    }
    let mut two = [0; 32];
    two[0] = 2;
    let off_the_curve = Key::from_bytes(two);
    assert_eq!(
        off_the_curve.admit(),
        Err(BadKey::NotCanonical(off_the_curve))
    );
    assert_eq!(key("good").admit(), Ok(()));
    // y = p + 3 is on the curve, and written with 3 in its place.
    let mut above = [0xff; 32];
    (above[0], above[31]) = (0xf0, 0x7f);
    let above = Key::from_bytes(above);
    assert_eq!(above.admit(), Err(BadKey::NotCanonical(above)));
}

/// ZIP-215's own vectors: every pair of small-order encodings with S = 0 is valid, for any message.
#[test]
fn zip215_accepts_what_it_must_and_the_strict_rule_none_of_it() {
    let message = b"Zcash";
    let mut together = Zip215Batch::new();
    for key in small_order().map(Key::from_bytes) {
        for r in small_order() {
            let signature = RawSignature([r, [0; 32]].concat().try_into().unwrap());
            assert_eq!(zip215(&key, message, &signature), Accepts::Yes);
            assert_eq!(strict(&key, message, &signature), Accepts::No);
            together.queue(&key, message, &Signature::from_bytes(signature.0));
        }
    }
    assert_eq!(together.verify(TestRng::new("all")), Ok(()));
}

/// Cases of "Taming the Many EdDSAs" (Chalkias, Garillot, Nikolaenko): message, key, signature.
const TAMING: [(&str, &str, &str, Accepts, Accepts); 6] = [
    // Small R, mixed-order key.
    (
        "aebf3f2601a0c8c5d39cc7d8911642f740b78168218da8471772b35f9d35b9ab",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac03fa\
         8c4bd45aecaca5b24fb97bc10ac27ac8751a7dfe1baff8b953ec9f5833ca260e",
        Accepts::Yes,
        Accepts::No,
    ),
    // Mixed order on both sides, valid without the cofactor.
    (
        "9bd9f44f4dcc75bd531b56b2cd280b0bb38fc1cd6d1230e14861d861de092e79",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "9046a64750444938de19f227bb80485e92b83fdb4b6506c160484c016cc1852f\
         87909e14428a7a1d62e9f22f3d3ad7802db02eb2e688b6c52fcd6648a98bd009",
        Accepts::Yes,
        Accepts::Yes,
    ),
    // The same, valid with the cofactor only.
    (
        "e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec4011eaccd55b53f56c",
        "cdb267ce40c5cd45306fa5d2f29731459387dbf9eb933b7bd5aed9a765b88d4d",
        "160a1cb0dc9c0258cd0a7d23e94d8fa878bcb1925f2c64246b2dee1796bed512\
         5ec6bc982a269b723e0668e540911a9a6a58921d6925e434ab10aa7940551a09",
        Accepts::Yes,
        Accepts::No,
    ),
    // S above the group's order.
    (
        "85e241a07d148b41e47d62c63f830dc7a6851a0b1f33ae4bb2f507fb6cffec40",
        "442aad9f089ad9e14647b1ef9099a1ff4798d78589e66f28eca69c11f582a623",
        "e96f66be976d82e60150baecff9906684aebb1ef181f67a7189ac78ea23b6c0e\
         547f7690a0e2ddcd04d87dbc3490dc19b3b3052f7ff0538cb68afb369ba3a514",
        Accepts::No,
        Accepts::No,
    ),
    // R in a non-canonical encoding, hashed as if reduced.
    (
        "fdaebc429f4a735932a160da1301080c13280eea8bc280d1b392c6b9e6ba3a5a",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f\
         454d370c8d9fc323a41450f8d513eafeb5b0697390c1e505a0d4ddc71f566607",
        Accepts::No,
        Accepts::No,
    ),
    // The same, hashed as it stands.
    (
        "84b698d39be126ff55fe45079e6c8bf64a0d7db6994560b4e96b7021eb39c1a1",
        "f7badec5b8abeaf699583992219b7b223f1df3fbbea919844e3f7c554a43dd43",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f\
         084d5b99c2a9463d9c8bd5026916996984eeec87ddf1d3be329006ace1b37b09",
        Accepts::Yes,
        Accepts::No,
    ),
];

#[test]
fn published_edge_cases_fall_where_the_two_rules_say() {
    for (at, (message, key, signature, by_zip215, by_strict)) in TAMING.iter().enumerate() {
        let message = hex::decode(message).unwrap();
        let key: Key = key.parse().unwrap();
        let signature = RawSignature(hex::decode(signature).unwrap().try_into().unwrap());
        assert_eq!(zip215(&key, &message, &signature), *by_zip215, "case {at}");
        assert_eq!(strict(&key, &message, &signature), *by_strict, "case {at}");
    }
}

/// A small-order R with a valid S, and the identity as key: others accept them, the strict rule does not.
#[test]
fn identity_points_are_refused_by_the_strict_rule_alone() {
    let message = b"message";
    for r in small_order() {
        let signature = with_small_r("signer", r, message);
        assert_eq!(zip215(&key("signer"), message, &signature), Accepts::Yes);
        assert_eq!(strict(&key("signer"), message, &signature), Accepts::No);
    }
    let identity = Key::from_bytes(IDENTITY);
    let signature = for_identity_key(message);
    assert_eq!(zip215(&identity, message, &signature), Accepts::Yes);
    assert_eq!(strict(&identity, message, &signature), Accepts::No);
}

/// As bytes, for other implementations: key, message, signature.
pub(crate) fn golden_vectors() -> [(&'static str, Vec<u8>); 4] {
    let message = b"golden";
    [
        (
            "ed25519 refused: key of R = identity",
            key("signer").as_bytes().to_vec(),
        ),
        ("ed25519 refused: message", message.to_vec()),
        (
            "ed25519 refused: signature with R = identity",
            with_small_r("signer", IDENTITY, message).0.to_vec(),
        ),
        (
            "ed25519 refused: signature for the key identity",
            for_identity_key(message).0.to_vec(),
        ),
    ]
}

/// A set of four whose first vote key is this one.
fn set_with(vote: Key) -> ValidatorSet {
    let member = |at: u16| {
        let key = |purpose: &str| key(&format!("{at}/{purpose}"));
        Member {
            authority: AuthorityIndex(at),
            id: AuthorityId::new(&format!("v{at}")).unwrap(),
            vote: if at == 0 { vote } else { key("vote") },
            cosigner: key("cosigner"),
            log: key("log"),
            network: key("network"),
        }
    };
    ValidatorSet::new((0..4).map(member).collect()).unwrap()
}

#[test]
fn votes_and_certificates_are_checked_by_the_strict_rule() {
    let context = founding().epoch().context;
    let statement = crate::samples::statement();
    let message = statement.sign_bytes(&context);
    let cases = [
        (Key::from_bytes(IDENTITY), for_identity_key(&message)),
        (key("signer"), with_small_r("signer", IDENTITY, &message)),
    ];
    for (vote_key, signature) in cases {
        let set = set_with(vote_key);
        let vote = |signer: u16, key: &SigningKey| {
            let signer = ValidatorIndex(signer);
            Vote::sign(statement, Epoch(0), signer, &context, key)
        };
        let mut votes: Vec<Vote> = (1..4)
            .map(|signer| vote(signer, &signing_key(&format!("{signer}/vote"))))
            .collect();
        let forged = Vote {
            signer: ValidatorIndex(0),
            signature,
            ..votes[0]
        };
        assert!(forged.verify(&set, &context).is_err());
        assert!(votes[0].verify(&set, &context).is_ok());
        votes.insert(0, forged);
        let assemble = ledger::certificate::VerifiedCertificate::assemble;
        let certificate = assemble(statement, Epoch(0), &set, &votes)
            .unwrap()
            .into_inner();
        let refused = certificate.verify(Epoch(0), &set, &context).unwrap_err();
        let CertificateError::Signature { signer, .. } = refused else {
            panic!("{refused}");
        };
        assert_eq!(signer, ValidatorIndex(0));
    }
}

#[test]
fn notes_are_checked_by_the_strict_rule() {
    let text = "origin\n1\n47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=\n";
    let cosigned = format!("cosignature/v1\ntime 5\n{text}");
    let id = AuthorityId::new("aa").unwrap();
    let cases = [
        (
            Key::from_bytes(IDENTITY),
            for_identity_key(text.as_bytes()),
            for_identity_key(cosigned.as_bytes()),
        ),
        (
            key("signer"),
            with_small_r("signer", IDENTITY, text.as_bytes()),
            with_small_r("signer", IDENTITY, cosigned.as_bytes()),
        ),
    ];
    for (key, log, cosignature) in cases {
        let by = VerifierKey::log("origin", key);
        assert!(!verify_log(
            &by,
            &SignatureLine::new(&by, log.0.to_vec()),
            text
        ));
        let by = VerifierKey::cosigner("origin", &id, key);
        let blob = [5_u64.to_be_bytes().as_slice(), &cosignature.0].concat();
        let line = SignatureLine::new(&by, blob);
        assert_eq!(ledger::cosignature::verify(&by, &line, text), None);
    }
    let by = VerifierKey::log("origin", key("signer"));
    let line = ledger::note::sign_log(&by, &signing_key("signer"), text);
    assert!(verify_log(&by, &line, text));
}

/// The possession of an enrolled key is of the strict kind; the submission around it is not.
#[test]
fn a_possession_is_strict_and_a_submission_is_zip215() {
    let mut chain = Chain::new();
    let role = ledger::record::Role::ISSUE;
    let end = ledger::id::TimeMs(0);
    let new = key("aa/new");
    let message = ledger::record::enrol_possession(&chain.founding.chain(), A, role, &new, end);
    let record = ledger::record::Record::Enrol {
        key: new,
        role,
        not_after_ms: end,
        possession: Signature::from_bytes(with_small_r("aa/new", IDENTITY, &message).0),
    };
    let refused = chain.refusal((A, "admin"), vec![record]);
    assert_eq!(refused.refusal.code(), "possession-not-proved");

    let record = register(&chain.founding, A, "doc");
    let submission = chain.sign((A, "issue"), vec![record]);
    let message = submission.body().sign_bytes();
    for r in small_order() {
        let mut bytes = submission.encoded().to_vec();
        let at = bytes.len() - 64;
        bytes[at..].copy_from_slice(&with_small_r("aa/issue", r, &message).0);
        let other = Submission::decode(&bytes).unwrap();
        assert!(other.clone().verify().is_ok());
        let both = vec![submission.clone().into_inner(), other];
        assert_eq!(
            Submission::verify_all(both, TestRng::new("both")).map(|all| all.len()),
            Ok(2)
        );
    }
}

#[test]
fn only_algorithm_one_is_read() {
    let key_bytes = encode(&key_of(A, "issue").key());
    let signature = encode(&key_of(A, "issue").sign(b""));
    for algorithm in (0..=255).filter(|algorithm| *algorithm != 1) {
        let with = |bytes: &[u8]| [&[algorithm], &bytes[1..]].concat();
        assert!(decode::<Key>(&with(&key_bytes), 33).is_err());
        assert!(decode::<Signature>(&with(&signature), 65).is_err());
    }
    assert_eq!((key_bytes.len(), signature.len()), (33, 65));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// A batch says yes exactly if each alone does, and names the first that does not.
    #[test]
    fn batch_and_single_agree(kinds in prop::collection::vec(0_usize..5, 1..12), seed: u64) {
        let mut chain = Chain::new();
        let all: Vec<Submission> = kinds
            .iter()
            .enumerate()
            .map(|(at, kind)| {
                let record = register(&chain.founding, A, &at.to_string());
                let submission = chain.sign((A, "issue"), vec![record]);
                let message = submission.body().sign_bytes();
                let mut bytes = submission.encoded().to_vec();
                let last = bytes.len() - 64;
                match kind {
                    0 | 1 => {}
                    2 => {
                        let r = small_order()[at % 14];
                        bytes[last..].copy_from_slice(&with_small_r("aa/issue", r, &message).0);
                    }
                    3 => bytes[last + 5] ^= 4,
                    _ => bytes[last + 63] |= 0x80,
                }
                Submission::decode(&bytes).unwrap()
            })
            .collect();
        let first_bad = all.iter().position(|one| one.clone().verify().is_err());
        prop_assert_eq!(first_bad, kinds.iter().position(|kind| *kind > 2));
        let together = Submission::verify_all(all, TestRng::new(&seed.to_string()));
        prop_assert_eq!(together.err().map(|(at, _)| at), first_bad);
    }

    /// What is signed verifies by both rules, and nothing else does.
    #[test]
    fn both_rules_bind_key_message_and_signature(seed: [u8; 32], message: Vec<u8>, bit in 0_usize..512) {
        let signer = SigningKey::from_seed(&seed);
        let signature = signer.sign_raw(&message);
        let good = signer.key();
        prop_assert_eq!(zip215(&good, &message, &signature), Accepts::Yes);
        prop_assert_eq!(strict(&good, &message, &signature), Accepts::Yes);
        let mut other = signature;
        other.0[bit / 8] ^= 1 << (bit % 8);
        prop_assert_eq!(zip215(&good, &message, &other), Accepts::No);
        prop_assert_eq!(strict(&good, &message, &other), Accepts::No);
        let longer = [message.as_slice(), &[0]].concat();
        prop_assert_eq!(strict(&good, &longer, &signature), Accepts::No);
        let hash: Hash = seed_of("another");
        prop_assert_eq!(strict(&SigningKey::from_seed(&hash.0).key(), &message, &signature), Accepts::No);
    }
}
