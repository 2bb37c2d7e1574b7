//! Receipts of a chain that was built and executed by the rules, as a node issues them.

use super::world::{
    COSIGNED, FILE, NOW, REGISTERED, Validators, digest, genesis, key, opening, seed,
};
use crate::admission::{CheckedItem, CheckedSubmission};
use crate::block::CheckedBody;
use crate::checkpoint::Checkpoint;
use crate::document::{CommitmentContext, CommitmentRole, DocumentId, Nonce};
use crate::execute::{Executed, Slot, build, check_block};
use crate::hash::{Hash, sha256};
use crate::id::{AuthorityIndex, LeafIndex, TimeMs, TreeSize, ValidatorIndex, View};
use crate::leaf::LogLeaf;
use crate::note::Note;
use crate::receipt::{
    AuthorityPart, Finding, Framed, MaxAge, Parts, Receipt, Related, SignedRecord, Trust, Verdict,
    inclusion_path, issue, verify,
};
use crate::record::{EndorseKind, Record, Retention, RevokeReason, Role, enrol_possession};
use crate::state::{AuthState, DocState, KeyState};
use crate::submission::{Draft, Submission};
use crate::tip::{Founding, Tip};
use crate::view::{MemoryState, StateView as _};
use alloc::string::ToString as _;
use alloc::vec;
use alloc::vec::Vec;

/// A chain with everything that a node keeps of it.
struct Chain {
    founding: Founding,
    state: MemoryState,
    tip: Tip,
    leaves: Vec<Vec<u8>>,
    /// Submission and position of each record, by log index.
    sources: Vec<Option<(Submission, u32)>>,
}

impl Chain {
    fn new() -> Self {
        let founding = Founding::new(genesis("nachweis.test")).unwrap();
        let mut state = MemoryState::new();
        state.apply(founding.effects(), founding.genesis().created_ms);
        Self {
            tip: founding.tip(),
            founding,
            state,
            leaves: Vec::new(),
            sources: Vec::new(),
        }
    }

    /// Adds a block with one submission; returns the log index of its first record.
    fn block(&mut self, authority: u16, signer: &str, records: Vec<Record>) -> LeafIndex {
        let height = self.tip.height.0 + 1;
        let time_ms = REGISTERED.saturating_add(height * 1000);
        let draft = Draft {
            chain: self.founding.chain(),
            authority: AuthorityIndex(authority),
            not_before_ms: REGISTERED,
            not_after_ms: REGISTERED.saturating_add(3_600_000),
            records,
        };
        let verified = Submission::sign(draft, &key(signer)).unwrap();
        let submission = verified.clone().into_inner();
        let checked = CheckedSubmission::new(&self.founding, verified).unwrap();
        let slot = Slot {
            view: View(height),
            proposer: ValidatorIndex(0),
            time_ms,
        };
        let pending = [CheckedItem::from(checked)];
        let built = build(&self.founding, &self.state, &self.tip, slot, &pending).unwrap();
        assert!(built.refused.is_empty(), "{:?}", built.refused);
        let (executed, _) = built.block.unwrap();
        self.check(&executed, &pending);
        let first = self.tip.log_size();
        for at in 0..submission.records().len() {
            let at = u32::try_from(at).unwrap();
            self.sources.push(Some((submission.clone(), at)));
        }
        self.sources.push(None);
        self.leaves
            .extend(executed.leaves.into_iter().map(|leaf| leaf.bytes));
        self.state.apply(executed.effects, time_ms);
        self.tip = executed.tip;
        LeafIndex(first.0)
    }

    /// What every validator does with a proposed block.
    fn check(&self, executed: &Executed, items: &[CheckedItem]) {
        let body = CheckedBody::assemble(items.to_vec()).unwrap();
        let header = &executed.header;
        let checked = check_block(&self.founding, &self.state, &self.tip, header, &body);
        assert_eq!(checked.as_ref(), Ok(executed));
    }

    fn register(&self, authority: u16, label: &str) -> Record {
        let chain = self.founding.chain();
        let nonce = Nonce(seed(&alloc::format!("chain-nonce-{label}")));
        let document = DocumentId::derive(&chain, AuthorityIndex(authority), &nonce);
        let context = CommitmentContext {
            chain: &chain,
            document: &document,
            role: CommitmentRole::Internal,
        };
        let opened = opening(CommitmentRole::Internal, FILE);
        Record::Register {
            document,
            nonce,
            internal: context.commit(&opened.salt, &opened.file),
            citizen: None,
            detail: None,
            retention: Retention::Years10,
        }
    }

    fn hashes(&self) -> Vec<Hash> {
        let leaves = self.leaves.iter();
        leaves.map(|leaf| crate::log::leaf_hash(leaf)).collect()
    }

    /// The receipt that a node issues at the tip.
    fn receipt(&self, id: &DocumentId, related: &[&DocumentId]) -> Receipt {
        let registration = self.state.registration(id).unwrap().unwrap();
        let index = registration.index;
        let at = usize::try_from(index.0).unwrap();
        let (submission, record_index) = self.sources[at].clone().unwrap();
        let signer = submission.body().key;
        let hashes = self.hashes();
        let path = |index: LeafIndex| inclusion_path(&hashes, index.0).unwrap();
        let last = LeafIndex(hashes.len() as u64 - 1);
        let proof = |key| self.tip.trie.prove(&key);
        let relative = |id: &&DocumentId| {
            let index = self.state.registration(id).unwrap().unwrap().index;
            let state = self.state.doc_state(id).unwrap();
            Related {
                index,
                leaf: Framed::decode(&self.leaves[usize::try_from(index.0).unwrap()]).unwrap(),
                path: path(index),
                doc: state.map(|state| Framed::new(state).unwrap()),
                proof: proof(DocState::trie_key(id)),
            }
        };
        let author = registration.authority;
        let parts = Parts {
            note: self.note(),
            index,
            path: path(index),
            leaf: self.leaves[at].clone(),
            signed: SignedRecord::of(&submission, record_index).unwrap(),
            trailer: self.leaves.last().unwrap().clone(),
            trailer_path: path(last),
            doc: self.state.doc_state(id).unwrap(),
            doc_proof: proof(DocState::trie_key(id)),
            key: self.state.key_state(&signer).unwrap().unwrap(),
            key_proof: proof(KeyState::trie_key(&signer)),
            authorities: vec![AuthorityPart {
                index: author,
                state: self.state.auth_state(author).unwrap(),
                proof: proof(AuthState::trie_key(author)),
            }],
            related: related.iter().map(relative).collect(),
            handovers: Vec::new(),
            consistency: None,
        };
        issue(parts).unwrap()
    }

    fn note(&self) -> Note {
        let origin = self.founding.genesis().origin();
        let checkpoint = Checkpoint {
            origin: origin.clone(),
            size: self.tip.log_size(),
            root: self.tip.log.root(),
        };
        let text = checkpoint.text();
        let validators = Validators::new("founder", &[0, 1, 2, 3]);
        let mut lines = vec![validators.log_line(&origin, 1, &text)];
        let cosigners =
            [1, 2, 3].map(|at| validators.cosigner_line(&origin, (at, COSIGNED), &text));
        lines.extend(cosigners);
        Note::new(text, lines)
    }

    /// The verdict on FILE; what is not public is opened.
    fn verdict(&self, receipt: Receipt) -> Verdict {
        let public = matches!(
            &*receipt.extra().leaf,
            LogLeaf::Record(leaf) if matches!(leaf.record, Record::Publish { .. })
        );
        let opened = match public {
            true => receipt,
            false => receipt
                .with_openings(vec![opening(CommitmentRole::Internal, FILE)])
                .unwrap(),
        };
        let trust = Trust::new(genesis("nachweis.test"), None, MaxAge::default()).unwrap();
        verify(&digest(FILE), opened.encode().as_bytes(), &trust, NOW, None)
    }
}

fn id(record: &Record) -> DocumentId {
    *record.document().unwrap()
}

#[test]
fn a_document_goes_from_current_to_superseded_to_nothing_else() {
    let mut chain = Chain::new();
    let [before, old, behind] = ["before", "old", "behind"].map(|label| chain.register(0, label));
    let first = chain.block(0, "registrar-0", vec![before, old.clone(), behind]);
    let (old_id, index) = (id(&old), first.saturating_add(1));
    let verdict = chain.verdict(chain.receipt(&old_id, &[]));
    assert_eq!(*verdict.finding(), Finding::Current, "{verdict:?}");
    let facts = verdict.facts().unwrap();
    assert_eq!(facts.issuer().to_string(), "Behörde bamf");
    assert_eq!(facts.registration.index, index);
    // Other documents do not matter.
    let other = chain.register(1, "other");
    chain.block(1, "registrar-1", vec![other]);
    assert_eq!(
        *chain.verdict(chain.receipt(&old_id, &[])).finding(),
        Finding::Current
    );
    // An endorsement creates a state, in force.
    let endorse = Record::Endorse {
        document: old_id,
        prev: index,
        kind: EndorseKind::Checked,
    };
    let endorsed = chain.block(0, "registrar-0", vec![endorse]);
    let receipt = chain.receipt(&old_id, &[]);
    assert!(receipt.extra().doc.is_some());
    assert_eq!(*chain.verdict(receipt).finding(), Finding::Current);
    // A successor in one submission with the end of the old one.
    let new = chain.register(0, "new");
    let supersede = Record::Supersede {
        document: old_id,
        prev: endorsed,
        successor: id(&new),
    };
    chain.block(0, "registrar-0", vec![new.clone(), supersede]);
    let verdict = chain.verdict(chain.receipt(&old_id, &[&id(&new)]));
    assert_eq!(*verdict.finding(), Finding::Superseded { by: id(&new) });
    let facts = verdict.facts().unwrap();
    assert!(facts.related[0].proved.is_some());
    assert_eq!(
        *chain.verdict(chain.receipt(&id(&new), &[])).finding(),
        Finding::Current
    );
}

#[test]
fn a_revoked_document_says_why() {
    let mut chain = Chain::new();
    let record = chain.register(2, "decision");
    let index = chain.block(2, "registrar-2", vec![record.clone()]);
    let before = chain.receipt(&id(&record), &[]);
    let revoke = Record::Revoke {
        document: id(&record),
        prev: index,
        code: RevokeReason::Deception,
    };
    chain.block(2, "registrar-2", vec![revoke]);
    let after = chain.receipt(&id(&record), &[]);
    assert_eq!(
        *chain.verdict(after).finding(),
        Finding::Revoked { code: 3 }
    );
    // The older receipt is as good as it was: it says as of when.
    let verdict = chain.verdict(before);
    assert_eq!(*verdict.finding(), Finding::Current);
    assert_eq!(verdict.as_of().unwrap().size, TreeSize(2));
}

#[test]
fn a_published_document_is_current_by_its_hash() {
    let mut chain = Chain::new();
    let nonce = Nonce(seed("chain-nonce-published"));
    let document = DocumentId::derive(&chain.founding.chain(), AuthorityIndex(3), &nonce);
    let publish = Record::Publish {
        document,
        nonce,
        sha256: sha256(&[FILE]),
        retention: Retention::Permanent,
    };
    chain.block(3, "publisher-3", vec![publish]);
    assert_eq!(
        *chain.verdict(chain.receipt(&document, &[])).finding(),
        Finding::Current
    );
}

#[test]
fn an_enrolled_key_signs_and_its_retirement_leaves_its_registrations_good() {
    let mut chain = Chain::new();
    let chain_id = chain.founding.chain();
    let (new, author, end) = (key("registrar-new"), AuthorityIndex(1), TimeMs(0));
    let possession = enrol_possession(&chain_id, author, Role::ISSUE, &new.key(), end);
    let enrol = Record::Enrol {
        key: new.key(),
        role: Role::ISSUE,
        not_after_ms: end,
        possession: new.sign(&possession),
    };
    chain.block(1, "admin-1", vec![enrol]);
    let record = chain.register(1, "by the new key");
    chain.block(1, "registrar-new", vec![record.clone()]);
    assert_eq!(
        *chain.verdict(chain.receipt(&id(&record), &[])).finding(),
        Finding::Current
    );
    let retire = Record::RetireKey {
        key: new.key(),
        compromised_since: Some(LeafIndex(1)),
    };
    chain.block(1, "admin-1", vec![retire]);
    let verdict = chain.verdict(chain.receipt(&id(&record), &[]));
    assert_eq!(*verdict.finding(), Finding::Current);
    let facts = verdict.facts().unwrap();
    assert_eq!(facts.compromised_since, Some(LeafIndex(1)));
}

#[test]
fn the_last_of_many_records_has_a_short_path() {
    let mut chain = Chain::new();
    let labels = (0..600).map(|at| alloc::format!("many-{at}"));
    let records: Vec<Record> = labels.map(|label| chain.register(0, &label)).collect();
    let last = records.last().cloned().unwrap();
    chain.block(0, "registrar-0", records);
    let receipt = chain.receipt(&id(&last), &[]);
    assert_eq!(receipt.extra().record_index, 599);
    assert!(receipt.extra().record_path.hashes().len() <= 10);
    assert_eq!(*chain.verdict(receipt).finding(), Finding::Current);
}
