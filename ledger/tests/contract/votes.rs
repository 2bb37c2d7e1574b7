//! Votes count for their statement, epoch and signer; certificates are put together from a quorum of them.

use crate::samples::{block_ref, statement};
use crate::world::{certify, founding, later_epoch, leader, vote_key};
use ledger::certificate::{Certificate, CertificateError, VerifiedCertificate};
use ledger::codec::encode;
use ledger::hash::{BlockHash, Hash, SetHash};
use ledger::header::BlockRef;
use ledger::id::{Epoch, Height, ValidatorIndex, View};
use ledger::tip::EpochInfo;
use ledger::vote::{ContextInputs, Statement, Vote, VoteError, VoteKind};

fn sign(epoch: &EpochInfo, statement: Statement, signer: u16) -> Vote {
    let signer = ValidatorIndex(signer);
    Vote::sign(
        statement,
        epoch.epoch,
        signer,
        &epoch.context,
        &vote_key(signer),
    )
}

#[test]
fn a_vote_verifies_for_what_it_says_alone() {
    let epoch = founding().epoch();
    let vote = sign(&epoch, statement(), 1);
    let check = |vote: &Vote, epoch: &EpochInfo| vote.verify(&epoch.set, &epoch.context);
    assert_eq!(check(&vote, &epoch), Ok(()));
    let block = |height, fill| BlockRef {
        height: Height(height),
        hash: BlockHash(Hash([fill; 32])),
    };
    let others = [
        Vote {
            view: View(3),
            ..vote
        },
        Vote {
            kind: VoteKind::Finalize,
            ..vote
        },
        Vote {
            block: block(8, 0x77),
            ..vote
        },
        Vote {
            block: block(7, 0x78),
            ..vote
        },
        Vote {
            signer: ValidatorIndex(2),
            ..vote
        },
    ];
    for other in others {
        assert!(
            matches!(check(&other, &epoch), Err(VoteError::Signature(_))),
            "{other:?}"
        );
    }
    let stranger = Vote {
        signer: ValidatorIndex(4),
        ..vote
    };
    assert_eq!(
        check(&stranger, &epoch),
        Err(VoteError::NotAMember(ValidatorIndex(4)))
    );
    let later = later_epoch(&founding(), &epoch);
    assert!(check(&vote, &later).is_err(), "the context is another");
}

/// Chain, epoch, set, anchor and restart: each is in the context (consensus.md, 3.2).
#[test]
fn a_context_depends_on_each_of_its_inputs() {
    let founding = founding();
    let right = ContextInputs {
        chain: founding.chain(),
        epoch: Epoch(0),
        set: founding.set().hash(),
        anchor: BlockHash(founding.chain().0),
        restart: Hash::ZERO,
    };
    assert_eq!(right.context(), founding.epoch().context);
    let other = Hash([1; 32]);
    let changed = [
        ContextInputs {
            chain: ledger::hash::ChainId(other),
            ..right
        },
        ContextInputs {
            epoch: Epoch(1),
            ..right
        },
        ContextInputs {
            set: SetHash(other),
            ..right
        },
        ContextInputs {
            anchor: BlockHash(other),
            ..right
        },
        ContextInputs {
            restart: other,
            ..right
        },
    ];
    for inputs in changed {
        assert_ne!(inputs.context(), right.context());
    }
}

#[test]
fn a_certificate_takes_a_quorum_of_distinct_members() {
    let epoch = founding().epoch();
    let assemble = |votes: &[Vote]| {
        let made = VerifiedCertificate::assemble(statement(), epoch.epoch, &epoch.set, votes);
        made.map(VerifiedCertificate::into_inner)
    };
    let votes: Vec<Vote> = (0..4)
        .map(|signer| sign(&epoch, statement(), signer))
        .collect();
    let signers = |certificate: &Certificate| -> Vec<u16> {
        certificate.signers().map(|(signer, _)| signer.0).collect()
    };
    let made = assemble(&votes).unwrap();
    assert_eq!(signers(&made), [0, 1, 2], "as many as needed");
    let made = assemble(&[votes[3], votes[1], votes[0]]).unwrap();
    assert_eq!(signers(&made), [0, 1, 3], "in signer order");
    let verified = made
        .clone()
        .verify(epoch.epoch, &epoch.set, &epoch.context)
        .unwrap();
    assert_eq!(verified.encode(), encode(&made));
    assert_eq!(assemble(&votes[..2]), None);
    assert_eq!(
        assemble(&[votes[0], votes[1], votes[1]]),
        None,
        "one vote each"
    );
    let finalize = Statement {
        kind: VoteKind::Finalize,
        ..statement()
    };
    let other = sign(&epoch, finalize, 2);
    assert_eq!(
        assemble(&[votes[0], votes[1], other]),
        None,
        "one statement"
    );
    let earlier = Vote {
        epoch: Epoch(1),
        ..votes[2]
    };
    assert_eq!(assemble(&[votes[0], votes[1], earlier]), None, "one epoch");
    let stranger = Vote {
        signer: ValidatorIndex(4),
        ..votes[2]
    };
    assert_eq!(
        assemble(&[votes[0], votes[1], stranger]),
        None,
        "members only"
    );
    // One bad signature among them is found.
    let bad = Vote {
        signature: votes[0].signature,
        ..votes[2]
    };
    let made = assemble(&[votes[0], votes[1], bad]).unwrap();
    let refused = made
        .verify(epoch.epoch, &epoch.set, &epoch.context)
        .unwrap_err();
    assert!(matches!(
        refused,
        CertificateError::Signature {
            signer: ValidatorIndex(2),
            ..
        }
    ));
}

#[test]
fn a_certificate_is_of_one_epoch() {
    let founding = founding();
    let epoch = founding.epoch();
    let later = later_epoch(&founding, &epoch);
    let certificate = certify(&epoch, statement());
    assert_eq!(certificate.block(), block_ref());
    let refused = certificate
        .clone()
        .verify(later.epoch, &later.set, &later.context);
    let wrong = CertificateError::Epoch {
        found: Epoch(0),
        expected: Epoch(1),
    };
    assert_eq!(refused, Err(wrong));
    let refused = certificate.verify(epoch.epoch, &later.set, &later.context);
    assert!(matches!(refused, Err(CertificateError::Signature { .. })));
}

/// The schedule of the replay, the one of these tests and the engine's are written apart; this one stands.
#[test]
fn every_validator_leads_once_in_n_views() {
    let epoch = founding().epoch();
    let order: Vec<u16> = (1..=8).map(|view| leader(&epoch, View(view)).0).collect();
    assert_eq!(order[..4], order[4..]);
    let mut sorted = order[..4].to_vec();
    sorted.sort_unstable();
    assert_eq!(sorted, [0, 1, 2, 3]);
}
