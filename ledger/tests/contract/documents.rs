//! Document ids as people type them, commitments, and detail commitments (formats.md, 3.1).

use crate::samples::{detail_leaves, detail_root};
use crate::world::{A, B, document, founding, nonce, salt, seed_of};
use ledger::codec::{decode, encode};
use ledger::document::{
    Commitment, CommitmentContext, CommitmentRole, DocumentHasher, DocumentId, IdError, Salt,
};
use ledger::hash::{ChainId, Hash, sha256};
use proptest::prelude::*;
use std::collections::BTreeSet;

const SYMBOLS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The 28 symbols of an id, without its prefix and hyphens.
fn symbols(id: DocumentId) -> Vec<u8> {
    let text = id.to_string();
    let text = text.strip_prefix("NW-").expect("every id starts with NW-");
    text.bytes().filter(|b| *b != b'-').collect()
}

fn parse(symbols: &[u8]) -> Result<DocumentId, IdError> {
    format!("NW{}", std::str::from_utf8(symbols).unwrap()).parse()
}

/// The text form once more, from the words of the format.
fn naive_text(id: DocumentId) -> String {
    let value = u128::from_be_bytes(id.0);
    let digit = |value: u128| char::from(SYMBOLS[usize::try_from(value % 32).unwrap()]);
    let mut all: Vec<char> = (0..26).rev().map(|at| digit(value >> (5 * at))).collect();
    let check = value % 1021;
    all.extend([digit(check / 32), digit(check)]);
    let groups: Vec<String> = all.chunks(4).map(|group| group.iter().collect()).collect();
    format!("NW-{}", groups.join("-"))
}

proptest! {
    #[test]
    fn an_id_is_read_as_it_is_written(bytes: [u8; 16]) {
        let id = DocumentId(bytes);
        let text = id.to_string();
        prop_assert_eq!(&text, &naive_text(id));
        prop_assert_eq!(text.len(), 2 + 7 * 5);
        prop_assert_eq!(text.parse(), Ok(id));
        // As it is typed: other case, other spaces, letters for look-alike digits.
        let typed = text.to_lowercase().replace('-', " ").replace('0', "o").replace('1', "l");
        prop_assert_eq!(typed.parse(), Ok(id));
        prop_assert_eq!(text.replace('1', "I").replace('-', "").parse(), Ok(id));
    }

    /// Every single wrong symbol and every swap of two neighbours is noticed.
    #[test]
    fn typing_errors_are_noticed(bytes: [u8; 16]) {
        let id = DocumentId(bytes);
        let right = symbols(id);
        for at in 0..right.len() {
            for symbol in SYMBOLS {
                let mut wrong = right.clone();
                wrong[at] = *symbol;
                let read = parse(&wrong);
                prop_assert_eq!(read == Ok(id), wrong == right);
                prop_assert_eq!(read.is_err(), wrong != right, "symbol {} at {}", symbol, at);
            }
            if let Some(next) = right.get(at + 1) {
                let mut wrong = right.clone();
                wrong.swap(at, at + 1);
                prop_assert_eq!(parse(&wrong).is_err(), right[at] != *next, "swap at {}", at);
            }
        }
    }
}

#[test]
fn anything_else_is_no_id() {
    let id = DocumentId([0; 16]);
    let text = id.to_string();
    assert_eq!(text, "NW-0000-0000-0000-0000-0000-0000-0000");
    assert_eq!(text[3..].parse::<DocumentId>(), Err(IdError::Prefix));
    assert_eq!("".parse::<DocumentId>(), Err(IdError::Prefix));
    assert_eq!("XW".parse::<DocumentId>(), Err(IdError::Prefix));
    assert_eq!("NW-".parse::<DocumentId>(), Err(IdError::Length(0)));
    assert_eq!(text[..36].parse::<DocumentId>(), Err(IdError::Length(27)));
    assert_eq!(
        format!("{text}0").parse::<DocumentId>(),
        Err(IdError::Length(29))
    );
    for wrong in ['U', 'ı', 'Ｏ', '_', '\n', '\u{2011}', 'ß', '🄾'] {
        let typed = text
            .replacen('0', &wrong.to_string(), 3)
            .replacen(wrong, "0", 2);
        assert_eq!(
            typed.parse::<DocumentId>(),
            Err(IdError::Symbol(wrong)),
            "{wrong}"
        );
    }
    // 26 symbols hold 130 bits: the first says at most 7.
    let over = text.replacen('0', "8", 1);
    assert_eq!(over.parse::<DocumentId>(), Err(IdError::Symbol('8')));
    let highest = DocumentId([0xff; 16]).to_string();
    assert!(highest.starts_with("NW-7ZZZ-"));
    assert_eq!(highest.parse(), Ok(DocumentId([0xff; 16])));
    let long = format!("NW-{}", "0".repeat(100_000));
    assert_eq!(long.parse::<DocumentId>(), Err(IdError::Length(100_000)));
}

#[test]
fn an_id_follows_from_chain_authority_and_nonce() {
    let founding = founding();
    let chain = founding.chain();
    let by_hand = sha256(&[
        b"nachweis/docid/v1\0",
        chain.as_bytes(),
        &A.0.to_le_bytes(),
        &nonce("doc").0,
    ]);
    assert_eq!(document(&founding, A, "doc").0, by_hand.0[..16]);
    let others = [
        DocumentId::derive(&ChainId(Hash([1; 32])), A, &nonce("doc")),
        DocumentId::derive(&chain, B, &nonce("doc")),
        DocumentId::derive(&chain, A, &nonce("other")),
        document(&founding, A, "doc"),
    ];
    assert_eq!(BTreeSet::from(others).len(), 4);
}

#[test]
fn a_commitment_binds_chain_document_role_salt_and_file() {
    let (founding, file) = (founding(), seed_of("file").0);
    let (chain, other_chain) = (founding.chain(), ChainId(Hash([1; 32])));
    let (id, other) = (
        document(&founding, A, "doc"),
        document(&founding, A, "other"),
    );
    let commit = |chain: &ChainId, document: &DocumentId, role, salt: &Salt, file: &[u8; 32]| {
        CommitmentContext {
            chain,
            document,
            role,
        }
        .commit(salt, file)
    };
    let (internal, citizen) = (CommitmentRole::Internal, CommitmentRole::Citizen);
    let all = [
        commit(&chain, &id, internal, &salt("a"), &file),
        commit(&other_chain, &id, internal, &salt("a"), &file),
        commit(&chain, &other, internal, &salt("a"), &file),
        commit(&chain, &id, citizen, &salt("a"), &file),
        commit(&chain, &id, internal, &salt("b"), &file),
        commit(
            &chain,
            &id,
            internal,
            &salt("a"),
            &seed_of("another file").0,
        ),
    ];
    assert_eq!(BTreeSet::from(all).len(), 6);
    let by_hand = sha256(&[
        b"nachweis/document/v1\0",
        &[1],
        chain.as_bytes(),
        &id.0,
        &[1],
        salt("a").expose(),
        &file,
    ]);
    assert_eq!(all[0], Commitment(by_hand));
}

#[test]
fn a_salt_is_never_zero_and_never_shown() {
    assert_eq!(Salt::new([0; 64]), None);
    assert!(decode::<Salt>(&[0; 64], 64).is_err());
    let one = salt("secret");
    assert_eq!(decode::<Salt>(&encode(&one), 64), Ok(one.clone()));
    let shown = format!("{one:?}");
    assert!(!shown.contains(&hex::encode(&one.expose()[..4])));
}

#[test]
fn an_unknown_commitment_algorithm_is_refused() {
    let bytes = encode(&Commitment(seed_of("commitment")));
    for algorithm in (0..=255).filter(|algorithm| *algorithm != 1) {
        let other = [&[algorithm], &bytes[1..]].concat();
        assert!(decode::<Commitment>(&other, 33).is_err());
    }
}

#[test]
fn details_have_sixteen_leaves_and_one_root() {
    let founding = founding();
    let id = document(&founding, A, "doc");
    let leaves = detail_leaves(&founding, &id);
    assert_eq!(leaves.len(), 16);
    assert_eq!(
        crate::logs::mth(&crate::logs::hashes(&leaves)),
        detail_root(&founding, &id)
    );
    assert!(leaves[2].starts_with(b"nachweis/detail/v1\0"));
    assert!(leaves[2].ends_with("Bescheid über die Erteilung".as_bytes()));
    assert_eq!(
        leaves[15].len(),
        19 + 32 + 16 + 1 + 32,
        "an absent field has a salt, no value"
    );
}

#[test]
fn a_document_is_hashed_in_any_pieces() {
    let bytes: Vec<u8> = (0..100_000_u32).map(|at| at.to_le_bytes()[0]).collect();
    for size in [1, 7, 64, 4096, 100_000] {
        let mut hasher = DocumentHasher::new();
        for chunk in bytes.chunks(size) {
            hasher.update(chunk);
        }
        assert_eq!(hasher.finish().as_bytes(), sha256(&[&bytes]).as_bytes());
    }
}
