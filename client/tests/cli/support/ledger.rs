//! A ledger in memory, just right enough that its receipts verify: one block a submission.

use super::key;
use ledger::checkpoint::Checkpoint;
use ledger::codec::{List, Text};
use ledger::cosignature;
use ledger::document::DocumentId;
use ledger::genesis::{Authority, Genesis, Params, Registrar, Validator};
use ledger::hash::{BlockHash, Hash, SetHash, SubmissionHash};
use ledger::header::Flags;
use ledger::id::{
    AuthorityId, AuthorityIndex, Domain, Epoch, Height, LeafIndex, TimeMs, TreeSize, ValidatorIndex,
};
use ledger::key::Key;
use ledger::leaf::{LogLeaf, RecordLeaf, Trailer};
use ledger::log::{self, Frontier};
use ledger::note::{self, Note, VerifierKey};
use ledger::receipt::{AuthorityPart, Parts, Receipt, SignedRecord, inclusion_path, issue};
use ledger::record::{Record, Role};
use ledger::state::{
    AuthState, DocState, KeyState, Lane, Lifecycle, Registration, RegistrationKind,
};
use ledger::submission::Submission;
use ledger::trie::{Trie, TrieKey, TrieValue};
use std::collections::BTreeMap;

pub(crate) const IDS: [&str; 4] = ["bamf", "lds-sachsen", "stadt-leipzig", "vg-leipzig"];

/// Four authorities, each with a validator and a registrar key.
pub(crate) fn genesis(domain: &str) -> Genesis {
    let authority = |(at, id): (usize, &&str)| {
        let of = |purpose: &str| key(&format!("{purpose}-{at}")).key();
        let address = format!("/ip4/127.0.0.1/tcp/{}", 4000 + at);
        let address = Text::try_from(address).unwrap();
        let registrar = Registrar {
            key: of("registrar"),
            role: Role::ISSUE.with(Role::EXCHANGE),
        };
        Authority {
            id: AuthorityId::new(id).unwrap(),
            name: Text::try_from(format!("Behörde {id}")).unwrap(),
            admin: of("admin"),
            registrars: List::try_from(vec![registrar]).unwrap(),
            validator: Some(Validator {
                vote: of("vote"),
                cosigner: of("cosigner"),
                log: of("log"),
                network: of("network"),
                addresses: List::try_from(vec![address]).unwrap(),
            }),
        }
    };
    Genesis {
        version: 1,
        domain: Domain::new(domain).unwrap(),
        created_ms: TimeMs(1_789_000_000_000),
        params: Params::default(),
        authorities: IDS.iter().enumerate().map(authority).collect(),
    }
}

/// What becomes of a submission.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Taken {
    /// It is in the log.
    Included,
    /// It is not, by this code.
    Refused(&'static str),
}

/// The log and what stands in it.
pub(crate) struct Ledger {
    genesis: Genesis,
    leaves: Vec<Vec<u8>>,
    documents: BTreeMap<DocumentId, (LeafIndex, RecordLeaf, SignedRecord)>,
    states: BTreeMap<DocumentId, DocState>,
    keys: BTreeMap<Key, KeyState>,
    included: BTreeMap<SubmissionHash, Height>,
    history: Vec<(LeafIndex, RecordLeaf)>,
    height: Height,
    trailer: Vec<u8>,
    trie: Trie,
    /// Positions of the validators that cosign.
    pub(crate) cosigners: Vec<usize>,
    /// How much earlier than now they sign, in seconds.
    pub(crate) age_s: u64,
    /// Time of the next blocks, if it is not to be now.
    pub(crate) time: Option<TimeMs>,
}

fn now() -> TimeMs {
    client::when::now().unwrap()
}

impl Ledger {
    pub(crate) fn new(domain: &str) -> Self {
        let genesis = genesis(domain);
        let mut keys = BTreeMap::new();
        for (authority, founder) in genesis.indexed() {
            for registrar in &founder.registrars {
                keys.insert(
                    registrar.key,
                    enrolled(authority, registrar.role, LeafIndex(0)),
                );
            }
        }
        Self {
            genesis,
            leaves: Vec::new(),
            documents: BTreeMap::new(),
            states: BTreeMap::new(),
            keys,
            included: BTreeMap::new(),
            history: Vec::new(),
            height: Height(0),
            trailer: Vec::new(),
            trie: Trie::new(),
            cosigners: vec![0, 1, 3],
            age_s: 0,
            time: None,
        }
    }

    /// Number of registrations.
    pub(crate) fn registrations(&self) -> usize {
        self.documents.len()
    }

    pub(crate) fn height(&self) -> Height {
        self.height
    }

    pub(crate) fn chain(&self) -> ledger::hash::ChainId {
        self.genesis.chain()
    }

    pub(crate) fn knows(&self, id: &DocumentId) -> Option<LeafIndex> {
        self.documents.get(id).map(|(index, _, _)| *index)
    }

    pub(crate) fn key(&self, key: &Key) -> Option<KeyState> {
        self.keys.get(key).copied()
    }

    pub(crate) fn history(&self, id: &DocumentId) -> Vec<(LeafIndex, RecordLeaf)> {
        let all = self.history.iter();
        let of = all.filter(|(_, leaf)| leaf.record.document() == Some(id));
        of.cloned().collect()
    }

    /// Takes a submission as a block of its own, or refuses it by the name of the rule.
    pub(crate) fn submit(&mut self, bytes: &[u8]) -> Taken {
        let Ok(submission) = Submission::decode(bytes) else {
            return Taken::Refused("malformed");
        };
        let Ok(submission) = submission.verify() else {
            return Taken::Refused("bad-signature");
        };
        let (hash, body) = (submission.hash(), submission.body().clone());
        if self.included.contains_key(&hash) {
            return Taken::Included;
        }
        if body.chain != self.chain() {
            return Taken::Refused("wrong-chain");
        }
        let time_ms = self.time.unwrap_or_else(now);
        if time_ms > body.not_after_ms {
            return Taken::Refused("window-over");
        }
        let admin = self.genesis.authority(body.authority).map(|a| a.admin) == Some(body.key);
        let alive = self
            .keys
            .get(&body.key)
            .is_some_and(|key| key.retired.is_none());
        if !(admin || alive) {
            return Taken::Refused("unknown-key");
        }
        let known = |record: &Record| {
            let id = record.document().filter(|_| record.is_registration());
            id.is_some_and(|id| self.documents.contains_key(id))
        };
        if submission.records().iter().any(known) {
            return Taken::Refused("document-known");
        }
        self.height = self.height.next().unwrap();
        self.included.insert(hash, self.height);
        for (at, record) in submission.records().iter().enumerate() {
            let leaf = RecordLeaf {
                height: self.height,
                time_ms,
                authority: body.authority,
                key: body.key,
                submission: hash,
                record: record.clone(),
            };
            let signed = SignedRecord::of(&submission, u32::try_from(at).unwrap()).unwrap();
            self.log(leaf, signed);
        }
        self.close(time_ms);
        Taken::Included
    }

    /// Forgets which submissions it took.
    pub(crate) fn forget_submissions(&mut self) {
        self.included.clear();
    }

    fn log(&mut self, leaf: RecordLeaf, signed: SignedRecord) {
        let index = LeafIndex(self.leaves.len() as u64);
        self.leaves.push(LogLeaf::Record(leaf.clone()).encode());
        self.history.push((index, leaf.clone()));
        match &leaf.record {
            Record::Register { document, .. } => {
                self.documents.insert(*document, (index, leaf, signed));
            }
            Record::Supersede {
                document,
                successor,
                ..
            } => self.end(*document, index, Lifecycle::Superseded { by: *successor }),
            Record::Revoke { document, code, .. } => {
                let code = code.code();
                self.end(*document, index, Lifecycle::Revoked { code });
            }
            Record::Enrol { key, role, .. } => {
                self.keys
                    .insert(*key, enrolled(leaf.authority, *role, index));
            }
            Record::RetireKey { key, .. } => {
                self.keys.get_mut(key).unwrap().retired = Some(index);
            }
            other => panic!("this ledger does not take {}", other.name()),
        }
    }

    fn end(&mut self, document: DocumentId, head: LeafIndex, lifecycle: Lifecycle) {
        let (index, leaf, _) = &self.documents[&document];
        let registration = Registration {
            index: *index,
            height: leaf.height,
            time_ms: leaf.time_ms,
            authority: leaf.authority,
            kind: RegistrationKind::Register,
        };
        let state = self
            .states
            .entry(document)
            .or_insert_with(|| DocState::registered(document, &registration));
        state.lifecycle = lifecycle;
        let authority = leaf.authority;
        state.lanes.set(Lane { authority, head }).unwrap();
    }

    fn close(&mut self, time_ms: TimeMs) {
        let docs = self.states.iter();
        let docs = docs.map(|(id, state)| (DocState::trie_key(id), state.trie_value()));
        let keys = self.keys.iter();
        let keys = keys.map(|(key, state)| (KeyState::trie_key(key), state.trie_value()));
        let entries: BTreeMap<TrieKey, TrieValue> = docs.chain(keys).collect();
        self.trie = Trie::new();
        self.trie.extend(&entries);
        let trailer = Trailer {
            epoch: Epoch(0),
            flags: Flags::NONE,
            height: self.height,
            parent: BlockHash(Hash([7; 32])),
            time_ms,
            proposer: ValidatorIndex(1),
            validator_set: self.genesis.validator_set().unwrap().hash(),
            next_set: SetHash::default(),
            status_root: self.trie.root(),
        };
        self.trailer = LogLeaf::Trailer(trailer).encode();
        self.leaves.push(self.trailer.clone());
    }

    fn hashes(&self) -> Vec<Hash> {
        self.leaves
            .iter()
            .map(|leaf| log::leaf_hash(leaf))
            .collect()
    }

    /// The newest checkpoint, signed as this ledger is told to.
    pub(crate) fn note(&self) -> Note {
        let mut tree = Frontier::new();
        self.hashes().into_iter().for_each(|hash| tree.push(hash));
        let origin = self.genesis.origin();
        let (size, root) = (TreeSize(self.leaves.len() as u64), tree.root());
        let text = Checkpoint {
            origin: origin.clone(),
            size,
            root,
        }
        .text();
        let log_key = key("log-0");
        let log = VerifierKey::log(&origin, log_key.key());
        let mut lines = vec![note::sign_log(&log, &log_key, &text)];
        for at in &self.cosigners {
            let cosigner = key(&format!("cosigner-{at}"));
            let id = AuthorityId::new(IDS[*at]).unwrap();
            let by = VerifierKey::cosigner(&origin, &id, cosigner.key());
            let time_s = now().0 / 1000 - self.age_s;
            lines.push(cosignature::cosign(&by, &cosigner, time_s, &text));
        }
        Note::new(text, lines)
    }

    /// The public receipt of a document against the newest checkpoint.
    pub(crate) fn receipt(&self, id: &DocumentId) -> Option<Receipt> {
        let (index, leaf, signed) = self.documents.get(id)?;
        let hashes = self.hashes();
        let last = hashes.len() as u64 - 1;
        let authority = AuthorityPart {
            index: leaf.authority,
            state: None,
            proof: self.trie.prove(&AuthState::trie_key(leaf.authority)),
        };
        let parts = Parts {
            note: self.note(),
            index: *index,
            path: inclusion_path(&hashes, index.0)?,
            leaf: LogLeaf::Record(leaf.clone()).encode(),
            signed: signed.clone(),
            trailer: self.trailer.clone(),
            trailer_path: inclusion_path(&hashes, last)?,
            doc: self.states.get(id).cloned(),
            doc_proof: self.trie.prove(&DocState::trie_key(id)),
            key: self.keys[&leaf.key],
            key_proof: self.trie.prove(&KeyState::trie_key(&leaf.key)),
            authorities: vec![authority],
            related: Vec::new(),
            handovers: Vec::new(),
            consistency: None,
        };
        Some(issue(parts).unwrap())
    }
}

fn enrolled(authority: AuthorityIndex, role: Role, enrolled: LeafIndex) -> KeyState {
    KeyState {
        authority,
        role,
        enrolled,
        not_after_ms: TimeMs(0),
        retired: None,
        compromised_since: None,
    }
}
