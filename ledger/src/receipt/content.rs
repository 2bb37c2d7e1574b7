//! What a receipt says about its document, checked against the checkpoint: leaf, submission, key, states.

use super::extra::{AuthorityProof, FramedDocState, Related};
use super::failure::{Failure, Fault, Step};
use super::text::{Receipt, registered};
use super::trust::Trust;
use super::verdict::{AuthorityName, Kinship, RelatedFact};
use crate::checkpoint::Checkpoint;
use crate::document::DocumentId;
use crate::id::{AuthorityIndex, LeafIndex, TreeSize};
use crate::leaf::{LogLeaf, RecordLeaf, Trailer};
use crate::log::{self, Path};
use crate::record::{Record, Role};
use crate::state::{AuthState, DocState, KeyState, Lifecycle, Registration, RegistrationKind};
use crate::submission::record_leaf;
use crate::trie::TrieProof;
use alloc::collections::BTreeMap;
use alloc::string::ToString as _;
use alloc::vec::Vec;

/// A checkpoint's tree with the trailer that closes it: what every other part is checked against.
#[derive(Debug)]
pub(super) struct Ground<'a> {
    pub(super) trust: &'a Trust,
    pub(super) checkpoint: &'a Checkpoint,
    pub(super) trailer: &'a Trailer,
}

/// A registration that is in the log, with the document's state at the checkpoint.
#[derive(Debug)]
pub(super) struct Registered<'a> {
    pub(super) leaf: &'a RecordLeaf,
    pub(super) document: DocumentId,
    pub(super) registration: Registration,
    pub(super) state: DocState,
}

/// What is claimed about a document's registration and state.
#[derive(Debug)]
struct Claim<'a> {
    index: LeafIndex,
    leaf: &'a LogLeaf,
    path: &'a Path,
    doc: Option<&'a FramedDocState>,
    proof: &'a TrieProof,
}

/// The steps at which the parts of a claim fail.
#[derive(Clone, Copy, Debug)]
struct Steps {
    log: Step,
    later: Step,
    document: Step,
    status: Step,
}

impl<'a> Ground<'a> {
    /// The trailer is the last leaf of the checkpoint's tree.
    pub(super) fn new(trust: &'a Trust, receipt: &'a Receipt) -> Result<Self, Failure> {
        let extra = receipt.extra();
        let LogLeaf::Trailer(trailer) = &*extra.trailer else {
            return Err(Step::Trailer.fails(Fault::LeafKind));
        };
        let checkpoint = receipt.checkpoint();
        super::signers::last_leaf(&extra.trailer, &extra.trailer_path, checkpoint)
            .map_err(|error| Step::Trailer.fails(error))?;
        Ok(Self {
            trust,
            checkpoint,
            trailer,
        })
    }

    /// The leaf is in the log.
    pub(super) fn contains(
        &self,
        leaf: &LogLeaf,
        index: LeafIndex,
        path: &Path,
    ) -> Result<(), log::ProofError> {
        let Checkpoint { size, root, .. } = self.checkpoint;
        log::verify_inclusion(&leaf.hash(), index, *size, path, root)
    }

    /// The receipt's own document.
    pub(super) fn document(&self, receipt: &'a Receipt) -> Result<Registered<'a>, Failure> {
        let extra = receipt.extra();
        let claim = Claim {
            index: receipt.index(),
            leaf: &extra.leaf,
            path: receipt.path(),
            doc: extra.doc.as_ref(),
            proof: &extra.doc_proof,
        };
        let steps = Steps {
            log: Step::Registration,
            later: Step::Trailer,
            document: Step::Document,
            status: Step::Status,
        };
        self.registered(&claim, steps)
    }

    /// A registration in the log, its document's id, and the document's state under the status root.
    fn registered(&self, claim: &Claim<'a>, steps: Steps) -> Result<Registered<'a>, Failure> {
        let wrong_kind = || steps.document.fails(Fault::LeafKind);
        let (leaf, document) = registered(claim.leaf).ok_or_else(wrong_kind)?;
        let kind = RegistrationKind::of(&leaf.record).ok_or_else(wrong_kind)?;
        let document = *document;
        self.contains(claim.leaf, claim.index, claim.path)
            .map_err(|error| steps.log.fails(error))?;
        if leaf.height > self.trailer.height || leaf.time_ms > self.trailer.time_ms {
            return Err(steps.later.fails(Fault::LaterThanCheckpoint(claim.index)));
        }
        if derived_id(self.trust, leaf) != Some(document) {
            return Err(steps.document.fails(Fault::DocumentId(document)));
        }
        let registration = Registration {
            index: claim.index,
            height: leaf.height,
            time_ms: leaf.time_ms,
            authority: leaf.authority,
            kind,
        };
        if let Some(doc) = claim.doc {
            let fits = doc.id == document
                && doc.registration == claim.index
                && doc.issuer == leaf.authority;
            if !fits {
                return Err(steps.document.fails(Fault::OtherState));
            }
        }
        let value = claim.doc.map(|doc| doc.trie_value());
        let key = DocState::trie_key(&document);
        let root = &self.trailer.status_root;
        claim
            .proof
            .verify(root, &key, value.as_ref())
            .map_err(|error| steps.status.fails(error))?;
        let as_registered = || DocState::registered(document, &registration);
        Ok(Registered {
            leaf,
            document,
            registration,
            state: claim.doc.map_or_else(as_registered, |doc| (**doc).clone()),
        })
    }

    /// A registrar of the leaf's authority signed exactly this record.
    pub(super) fn submission(&self, receipt: &Receipt, leaf: &RecordLeaf) -> Result<(), Failure> {
        let extra = receipt.extra();
        let body = &extra.body;
        let fails = |fault: Fault| Step::Submission.fails(fault);
        if body.chain != self.trust.chain() {
            return Err(fails(Fault::OtherChain));
        }
        let parts = [
            ("authority", leaf.authority == body.authority),
            ("key", leaf.key == body.key),
            ("submission hash", leaf.submission == body.hash()),
        ];
        if let Some((part, _)) = parts.iter().find(|(_, equal)| !equal) {
            return Err(fails(Fault::NotOfSubmission(part)));
        }
        log::verify_inclusion(
            &log::leaf_hash(&record_leaf(&leaf.record.encode())),
            LeafIndex(u64::from(extra.record_index)),
            TreeSize(u64::from(body.count)),
            &extra.record_path,
            &body.records_root,
        )
        .map_err(|error| fails(error.into()))?;
        if leaf.time_ms < body.not_before_ms || leaf.time_ms > body.not_after_ms {
            return Err(fails(Fault::Window));
        }
        body.key
            .verify_zip215(&body.sign_bytes(), &extra.signature)
            .map_err(|error| fails(error.into()))
    }

    /// The key was in use, belongs to the authority and had the role.
    pub(super) fn key(&self, receipt: &Receipt, of: &Registered<'_>) -> Result<(), Failure> {
        let (extra, leaf) = (receipt.extra(), of.leaf);
        let state: &KeyState = &extra.key;
        let fails = |fault: Fault| Step::Key.fails(fault);
        extra
            .key_proof
            .verify(
                &self.trailer.status_root,
                &KeyState::trie_key(&leaf.key),
                Some(&state.trie_value()),
            )
            .map_err(|error| fails(error.into()))?;
        if state.authority != leaf.authority {
            return Err(fails(Fault::ForeignKey(state.authority)));
        }
        if !state.lives_at(receipt.index()) {
            return Err(fails(Fault::KeyNotAlive(receipt.index())));
        }
        if state.is_expired(leaf.time_ms) {
            return Err(fails(Fault::KeyExpired));
        }
        if !state.role.intersects(roles_for(of.registration.kind)) {
            return Err(fails(Fault::Role(state.role)));
        }
        Ok(())
    }

    /// The names of the authorities that the receipt proves.
    pub(super) fn authorities(
        &self,
        proofs: &[AuthorityProof],
        author: AuthorityIndex,
    ) -> Result<BTreeMap<AuthorityIndex, AuthorityName>, Failure> {
        let names = proofs.iter().map(|proof| self.authority(proof));
        let names = names.collect::<Result<BTreeMap<_, _>, _>>();
        let names = names.map_err(|fault| Step::Authorities.fails(fault))?;
        if !names.contains_key(&author) {
            return Err(Step::Authorities.fails(Fault::AuthorityMissing(author)));
        }
        Ok(names)
    }

    fn authority(&self, proof: &AuthorityProof) -> Result<(AuthorityIndex, AuthorityName), Fault> {
        let index = proof.index;
        let value = proof.state.as_ref().map(|state| state.trie_value());
        let key = AuthState::trie_key(index);
        let root = &self.trailer.status_root;
        proof.proof.verify(root, &key, value.as_ref())?;
        let (id, name, succeeded_by) = match &proof.state {
            Some(state) => (&state.id, &state.name, state.succeeded_by),
            None => {
                let founder = self.trust.genesis().authority(index);
                let founder = founder.ok_or(Fault::AuthorityUnknown(index))?;
                (&founder.id, &founder.name, None)
            }
        };
        let name = AuthorityName::Proved {
            index,
            id: id.clone(),
            name: name.to_string(),
            succeeded_by,
        };
        Ok((index, name))
    }

    /// Parents and successor: those that are proved with registration and state, the others by id alone.
    pub(super) fn related(
        &self,
        related: &'a [Related],
        of: &Registered<'_>,
    ) -> Result<Vec<RelatedFact>, Failure> {
        let steps = Steps {
            log: Step::Related,
            later: Step::Related,
            document: Step::Related,
            status: Step::Related,
        };
        let mut facts = kin(of);
        for part in related {
            let claim = Claim {
                index: part.index,
                leaf: &part.leaf,
                path: &part.path,
                doc: part.doc.as_ref(),
                proof: &part.proof,
            };
            let proved = self.registered(&claim, steps)?;
            let document = proved.document;
            let mut found = false;
            for fact in facts.iter_mut().filter(|fact| fact.document == document) {
                found = true;
                if fact.proved.is_some() {
                    return Err(Step::Related.fails(Fault::RelatedTwice(document)));
                }
                fact.proved = Some((proved.registration, proved.state.clone()));
            }
            if !found {
                return Err(Step::Related.fails(Fault::NotRelated(document)));
            }
        }
        Ok(facts)
    }
}

/// The parents that the registration names and the successor that the state names, nothing proved yet.
fn kin(of: &Registered<'_>) -> Vec<RelatedFact> {
    let fact = |document, kinship| RelatedFact {
        document,
        kinship,
        proved: None,
    };
    let mut facts = Vec::new();
    if let Record::Derive { parents, .. } = &of.leaf.record {
        facts.extend(parents.ids().iter().map(|id| fact(*id, Kinship::Parent)));
    }
    if let Lifecycle::Superseded { by } = of.state.lifecycle {
        facts.push(fact(by, Kinship::Successor));
    }
    facts
}

/// The id that follows from a registration's author and nonce.
fn derived_id(trust: &Trust, leaf: &RecordLeaf) -> Option<DocumentId> {
    let (Record::Register { nonce, .. }
    | Record::Derive { nonce, .. }
    | Record::Publish { nonce, .. }) = &leaf.record
    else {
        return None;
    };
    Some(DocumentId::derive(&trust.chain(), leaf.authority, nonce))
}

/// The roles of which a registrar needs one to register in this way (formats.md, section 3.2).
const fn roles_for(kind: RegistrationKind) -> Role {
    match kind {
        RegistrationKind::Register => Role::ISSUE,
        RegistrationKind::Derive => Role::ISSUE.with(Role::EXCHANGE),
        RegistrationKind::Publish => Role::PUBLIC,
    }
}
