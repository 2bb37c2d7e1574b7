//! I4, I5, I6 and I11: certificates that honest validators hold, checked again by a verifier of its own.

use crate::crypto::fold;
use crate::roster::Roster;
use crate::trace;
use crate::violation::{Checked, Invariant, check};
use ledger::certificate::Certificate;
use ledger::codec;
use ledger::header::BlockRef;
use ledger::id::{Epoch, ValidatorIndex, View};
use ledger::vote::VoteKind;
use std::collections::{BTreeMap, BTreeSet};

/// Quorum by number of validators, from 1 to 64: written out, so that a wrong formula shows.
const QUORUM: [usize; 64] = [
    1, 2, 3, 3, 4, 5, 5, 6, 7, 7, 8, 9, 9, 10, 11, 11, 12, 13, 13, 14, 15, 15, 16, 17, 17, 18, 19,
    19, 20, 21, 21, 22, 23, 23, 24, 25, 25, 26, 27, 27, 28, 29, 29, 30, 31, 31, 32, 33, 33, 34, 35,
    35, 36, 37, 37, 38, 39, 39, 40, 41, 41, 42, 43, 43,
];

/// What was certified in each view.
#[derive(Default)]
pub(super) struct Certificates {
    checked: BTreeSet<u64>,
    notarized: BTreeMap<(Epoch, View), BlockRef>,
    finalized: BTreeMap<(Epoch, View), BlockRef>,
    nullified: BTreeSet<(Epoch, View)>,
}

impl Certificates {
    /// An honest validator shows this one.
    pub(super) fn seen(&mut self, roster: &Roster, certificate: &Certificate) -> Checked {
        self.accepted(roster, certificate)?;
        self.stands(certificate)
    }

    /// An honest validator accepted this one; a crash may undo that.
    pub(super) fn accepted(&mut self, roster: &Roster, certificate: &Certificate) -> Checked {
        let bytes = codec::encode(certificate);
        let is_new = self.checked.insert(fold(1, &bytes));
        check(
            !is_new || verifies(roster, &bytes),
            Invariant::Certificates,
            || trace::certificate(certificate),
        )
    }

    /// An honest validator holds this one for good. It may have an own vote in it that was no more durable than itself, and
    /// that is as if never given if both are lost: hence not when it is accepted.
    pub(super) fn stands(&mut self, certificate: &Certificate) -> Checked {
        let view = (certificate.epoch(), certificate.view());
        let block = certificate.block();
        match certificate.kind() {
            VoteKind::Notarize => one(&mut self.notarized, view, block)?,
            VoteKind::Finalize => one(&mut self.finalized, view, block)?,
            VoteKind::Nullify => {
                self.nullified.insert(view);
            }
        }
        let finalized = self.finalized.get(&view);
        check(
            finalized.is_none() || !self.nullified.contains(&view),
            Invariant::NullifiedAndFinalized,
            || format!("view {} of epoch {}", view.1, view.0),
        )?;
        let differ = matches!((finalized, self.notarized.get(&view)), (Some(f), Some(n)) if f != n);
        check(!differ, Invariant::FinalizedIsNotarized, || {
            format!(
                "view {} of epoch {}: {finalized:?} was not the notarized block",
                view.1, view.0
            )
        })
    }
}

fn one(
    map: &mut BTreeMap<(Epoch, View), BlockRef>,
    view: (Epoch, View),
    block: BlockRef,
) -> Checked {
    let first = *map.entry(view).or_insert(block);
    check(first == block, Invariant::OneNotarization, || {
        format!(
            "view {} of epoch {}: {first:?} and {block:?}",
            view.1, view.0
        )
    })
}

/// An independent verifier: reads the bytes itself (consensus.md, 3.1 and 3.3).
fn verifies(roster: &Roster, bytes: &[u8]) -> bool {
    let (Some(&kind), Some(statement)) = (bytes.first(), bytes.get(9..57)) else {
        return false;
    };
    let Some(epoch) = bytes.get(1..9).and_then(|bytes| bytes.try_into().ok()) else {
        return false;
    };
    let Some(info) = roster.epoch(Epoch(u64::from_le_bytes(epoch))) else {
        return false;
    };
    let n = info.set().n();
    let mut message = b"nachweis/vote/v1\0".to_vec();
    message.extend_from_slice(info.context().as_bytes());
    message.push(kind);
    message.extend_from_slice(statement);
    let width = n.div_ceil(8);
    let tail = bytes.get(57..).unwrap_or_default();
    let Some(bitmap) = tail.get(4..4 + width) else {
        return false;
    };
    let signers: Vec<u16> = (0..u16::try_from(width * 8).unwrap_or(0))
        .filter(|i| bitmap[usize::from(i / 8)] >> (i % 8) & 1 == 1)
        .collect();
    let signatures = tail.get(8 + width..).unwrap_or_default();
    tail[..4] == u32::try_from(width).unwrap_or(0).to_le_bytes()
        && signers.len() >= QUORUM[n - 1]
        && tail.get(4 + width..8 + width)
            == Some(&u32::try_from(signers.len()).unwrap_or(0).to_le_bytes()[..])
        && signatures.len() == 64 * signers.len()
        && signers
            .iter()
            .zip(signatures.chunks(64))
            .all(|(signer, bytes)| {
                let signature = bytes.try_into().map(ledger::key::RawSignature);
                match (info.set().get(ValidatorIndex(*signer)), signature) {
                    (Some(member), Ok(signature)) => roster
                        .crypto()
                        .verifier()
                        .verify(&member.vote, &message, &signature)
                        .is_ok(),
                    _ => false,
                }
            })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::crypto::Crypto;
    use crate::plan::Plan;
    use ledger::certificate::VerifiedCertificate;
    use ledger::vote::{Statement, Vote};

    /// A nullification of view 3 by everyone in `signers`, with the quorum's first signatures.
    fn nullification(roster: &Roster, signers: usize) -> Option<Vec<u8>> {
        let statement = Statement {
            kind: VoteKind::Nullify,
            view: View(3),
            block: BlockRef::default(),
        };
        let message = statement.sign_bytes(roster.first().context());
        let votes: Vec<_> = (0..u16::try_from(signers).expect("few"))
            .map(|node| Vote {
                epoch: Epoch(0),
                view: View(3),
                kind: VoteKind::Nullify,
                block: BlockRef::default(),
                signer: ValidatorIndex(node),
                signature: roster.signer(node.into()).sign(&message),
            })
            .collect();
        let set = roster.first().set();
        VerifiedCertificate::assemble(statement, Epoch(0), set, &votes)
            .map(|certificate| certificate.encode())
    }

    #[test]
    fn the_verifier_agrees_on_good_ones_and_refuses_every_changed_byte() {
        for n in [4, 5, 7, 10] {
            for crypto in [Crypto::Mock, Crypto::Real] {
                let mut plan = Plan::calm(n as u64, n);
                plan.crypto = crypto;
                let roster = Roster::new(&plan);
                let good = nullification(&roster, n).expect("a quorum");
                assert!(verifies(&roster, &good));
                for at in 0..good.len() {
                    let mut bad = good.clone();
                    bad[at] ^= 1;
                    assert!(!verifies(&roster, &bad), "byte {at} of n = {n}");
                }
            }
        }
    }

    #[test]
    fn the_table_is_n_minus_f() {
        for (n, quorum) in (1..=64).zip(QUORUM) {
            assert_eq!(quorum, n - (n - 1) / 3);
        }
    }
}
