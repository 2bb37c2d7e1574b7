//! Openings, details, and the comparison with the bytes at hand.

use super::content::{Ground, Registered};
use super::extra::{DetailReveal, LaterLeaf, Opening};
use super::failure::{Failure, Fault, Step};
use super::text::Receipt;
use super::verdict::{DetailFact, LaterFact};
use crate::document::{
    Commitment, CommitmentContext, CommitmentRole, DETAIL_FIELDS, DocumentDigest, detail_leaf,
};
use crate::hash::Hash;
use crate::id::{AuthorityIndex, LeafIndex, TreeSize};
use crate::leaf::{LogLeaf, RecordLeaf};
use crate::log;
use crate::record::Record;
use alloc::string::ToString as _;
use alloc::vec::Vec;

/// An opening whose commitment is the document's.
#[derive(Debug)]
pub(super) struct Authentic {
    role: CommitmentRole,
    file: [u8; 32],
    /// The Accept or Renew of a later commitment.
    later: Option<LaterFact>,
}

/// How the bytes at hand compare.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Compared {
    /// They are the registered ones.
    Checked,
    /// They are not.
    Modified,
    /// They are what this authority received.
    Received(AuthorityIndex),
    /// They were not compared with the registration.
    NotChecked,
}

/// What the registration committed to.
struct Registration<'a> {
    internal: Commitment,
    citizen: Option<Commitment>,
    detail: Option<&'a Hash>,
}

fn registration(leaf: &RecordLeaf) -> Option<Registration<'_>> {
    let (Record::Register {
        internal,
        citizen,
        detail,
        ..
    }
    | Record::Derive {
        internal,
        citizen,
        detail,
        ..
    }) = &leaf.record
    else {
        return None;
    };
    Some(Registration {
        internal: *internal,
        citizen: *citizen,
        detail: detail.as_ref(),
    })
}

/// Each opening opens a commitment of this document.
pub(super) fn openings(
    ground: &Ground<'_>,
    receipt: &Receipt,
    of: &Registered<'_>,
) -> Result<Vec<Authentic>, Failure> {
    let fails = |fault: Fault| Step::Openings.fails(fault);
    let openings = receipt.openings();
    let Some(registration) = registration(of.leaf) else {
        return match openings.is_empty() {
            true => Ok(Vec::new()),
            false => Err(fails(Fault::Public)),
        };
    };
    let mut authentic = Vec::new();
    for (at, opening) in openings.iter().enumerate() {
        let (commitment, later) = match (opening.role, &opening.at) {
            (CommitmentRole::Internal, None) => (registration.internal, None),
            (CommitmentRole::Citizen, None) => {
                let citizen = registration.citizen;
                (citizen.ok_or_else(|| fails(Fault::NoCommitment(at)))?, None)
            }
            (CommitmentRole::Received | CommitmentRole::Renewed, Some(later)) => {
                let found = later_commitment(ground, of, opening, later, at);
                let (commitment, fact) = found.map_err(fails)?;
                (commitment, Some(fact))
            }
            (CommitmentRole::Internal | CommitmentRole::Citizen, Some(_))
            | (CommitmentRole::Received | CommitmentRole::Renewed, None) => {
                return Err(fails(Fault::OpeningPlace(at)));
            }
        };
        let context = CommitmentContext {
            chain: &ground.trust.chain(),
            document: &of.document,
            role: opening.role,
        };
        if context.commit(&opening.salt, &opening.file) != commitment {
            return Err(fails(Fault::NotItsOpening(at)));
        }
        authentic.push(Authentic {
            role: opening.role,
            file: opening.file,
            later,
        });
    }
    Ok(authentic)
}

/// The commitment of an Accept or Renew: in the document's state, and in a leaf of the log at that index.
fn later_commitment(
    ground: &Ground<'_>,
    of: &Registered<'_>,
    opening: &Opening,
    later: &LaterLeaf,
    at: usize,
) -> Result<(Commitment, LaterFact), Fault> {
    let entry = of.state.commitments.find(later.index);
    let entry = entry.filter(|entry| entry.role == opening.role);
    let entry = entry.ok_or(Fault::NoCommitment(at))?;
    ground.contains(&later.leaf, later.index, &later.path)?;
    let LogLeaf::Record(leaf) = &*later.leaf else {
        return Err(Fault::OpeningLeaf(at));
    };
    let held = match (&leaf.record, opening.role) {
        (
            Record::Accept {
                document,
                received: Some(commitment),
                ..
            },
            CommitmentRole::Received,
        )
        | (
            Record::Renew {
                document,
                commitment,
                ..
            },
            CommitmentRole::Renewed,
        ) => *document == of.document && *commitment == entry.commitment,
        _other => false,
    };
    if !held {
        return Err(Fault::OpeningLeaf(at));
    }
    let fact = LaterFact {
        index: later.index,
        time_ms: leaf.time_ms,
        by: leaf.authority,
    };
    Ok((entry.commitment, fact))
}

/// Each revealed field is at its place under the registered root.
pub(super) fn details(
    ground: &Ground<'_>,
    receipt: &Receipt,
    of: &Registered<'_>,
) -> Result<Vec<DetailFact>, Failure> {
    let reveals = receipt.details();
    if reveals.is_empty() {
        return Ok(Vec::new());
    }
    let fails = |fault: Fault| Step::Details.fails(fault);
    let registration = registration(of.leaf).ok_or_else(|| fails(Fault::Public))?;
    let root = registration.detail.ok_or_else(|| fails(Fault::NoDetails))?;
    let check = |reveal: &DetailReveal| {
        let DetailReveal {
            k,
            salt,
            value,
            path,
        } = reveal;
        if usize::from(*k) >= DETAIL_FIELDS {
            return Err(Fault::DetailField(*k));
        }
        let chain = ground.trust.chain();
        let leaf = detail_leaf(&chain, &of.document, *k, salt, value.as_str());
        let (index, size) = (LeafIndex(u64::from(*k)), TreeSize(DETAIL_FIELDS as u64));
        log::verify_inclusion(&log::leaf_hash(&leaf), index, size, path, root)?;
        Ok(DetailFact {
            k: *k,
            value: value.to_string(),
        })
    };
    let facts = reveals.iter().map(check).collect::<Result<_, _>>();
    facts.map_err(fails)
}

/// Compares the digest with what was opened; without a digest nothing is compared.
pub(super) fn compare(
    digest: Option<&DocumentDigest>,
    leaf: &RecordLeaf,
    openings: &[Authentic],
) -> Compared {
    let Some(digest) = digest else {
        return Compared::NotChecked;
    };
    if let Record::Publish { sha256, .. } = &leaf.record {
        return match sha256.as_bytes() == digest.as_bytes() {
            true => Compared::Checked,
            false => Compared::Modified,
        };
    }
    let of_registration = |opening: &&Authentic| opening.later.is_none();
    let mut registered = openings.iter().filter(of_registration).peekable();
    let any = registered.peek().is_some();
    if registered.any(|opening| opening.file == *digest.as_bytes()) {
        return Compared::Checked;
    }
    if any {
        return Compared::Modified;
    }
    match later(CommitmentRole::Received, digest, openings).first() {
        Some(fact) => Compared::Received(fact.by),
        None => Compared::NotChecked,
    }
}

/// Later commitments of one role that were opened to the bytes at hand.
pub(super) fn later(
    role: CommitmentRole,
    digest: &DocumentDigest,
    openings: &[Authentic],
) -> Vec<LaterFact> {
    let openings = openings.iter();
    openings
        .filter(|opening| opening.role == role && opening.file == *digest.as_bytes())
        .filter_map(|opening| opening.later.clone())
        .collect()
}
