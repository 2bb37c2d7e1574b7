//! A small network whose log, states and signatures are made by hand: anything in it can be made wrong.

use crate::codec::{self, List, Text};
use crate::cosignature;
use crate::document::{
    Commitment, CommitmentContext, CommitmentRole, DocumentDigest, DocumentHasher, DocumentId,
    Nonce, Salt, detail_leaf,
};
use crate::genesis::{Authority, Genesis, Params, Registrar, Validator};
use crate::hash::{BlockHash, ChainId, Hash, SetHash, sha256};
use crate::header::Flags;
use crate::id::{
    AuthorityId, AuthorityIndex, Domain, Epoch, Height, LeafIndex, TimeMs, TreeSize, ValidatorIndex,
};
use crate::key::{Key, SigningKey};
use crate::leaf::{LogLeaf, RecordLeaf, Trailer};
use crate::log::{self, Frontier, Path};
use crate::note::{self, Note, VerifierKey};
use crate::receipt::issue::AllLeaves;
use crate::receipt::{
    AuthorityPart, Consistency, DetailReveal, Extra, Framed, Handover, LaterLeaf, MaxAge, Only,
    Opening, Parts, Pin, Receipt, Related, SignedRecord, Trust, Verdict, inclusion_path, issue,
    verify,
};
use crate::record::{Record, Retention, Role};
use crate::state::{AuthState, DocState, KeyState, Registration, RegistrationKind};
use crate::submission::{SubmissionBody, record_leaf};
use crate::trie::{Trie, TrieKey, TrieValue};
use crate::validator_set::{Member, ValidatorSet};
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use core::convert::Infallible;

pub(super) const IDS: [&str; 4] = ["bamf", "lds-sachsen", "stadt-leipzig", "vg-leipzig"];
/// Time of the registrations' block.
pub(super) const REGISTERED: TimeMs = TimeMs(1_790_000_000_000);
/// Time of the checkpoint's block.
pub(super) const CLOSED: TimeMs = TimeMs(1_790_000_100_000);
/// The verifier's clock.
pub(super) const NOW: TimeMs = TimeMs(1_790_000_160_000);
/// When the cosigners signed, in seconds.
pub(super) const COSIGNED: u64 = 1_790_000_101;

/// The internal file of the standard document.
pub(super) const FILE: &[u8] = b"the decision, as kept by its issuer";
/// Its citizen's copy.
pub(super) const COPY: &[u8] = b"the decision, as handed to the citizen";

pub(super) fn seed(label: &str) -> [u8; 32] {
    sha256(&[b"test-only:", label.as_bytes()]).0
}

pub(super) fn key(label: &str) -> SigningKey {
    SigningKey::from_seed(&seed(label))
}

pub(super) fn digest(bytes: &[u8]) -> DocumentDigest {
    let mut hasher = DocumentHasher::new();
    hasher.update(bytes);
    hasher.finish()
}

pub(super) fn salt(label: &str) -> Salt {
    let halves = [seed(label), seed(&format!("{label}/2"))];
    Salt::new(halves.concat().try_into().unwrap()).unwrap()
}

/// A validator set with its private keys.
#[derive(Clone, Debug)]
pub(super) struct Validators {
    pub(super) set: ValidatorSet,
    cosigners: Vec<SigningKey>,
    logs: Vec<SigningKey>,
}

impl Validators {
    /// Validators of these authorities, with keys of this name.
    pub(super) fn new(label: &str, authorities: &[u16]) -> Self {
        let of = |purpose: &str, at: u16| key(&format!("{label}-{purpose}-{at}"));
        let member = |at: &u16| Member {
            authority: AuthorityIndex(*at),
            id: IDS.get(usize::from(*at)).map_or_else(
                || AuthorityId::new(&format!("authority-{at}")).unwrap(),
                |id| AuthorityId::new(id).unwrap(),
            ),
            vote: of("vote", *at).key(),
            cosigner: of("cosigner", *at).key(),
            log: of("log", *at).key(),
            network: of("network", *at).key(),
        };
        Self {
            set: ValidatorSet::new(authorities.iter().map(member).collect()).unwrap(),
            cosigners: authorities.iter().map(|at| of("cosigner", *at)).collect(),
            logs: authorities.iter().map(|at| of("log", *at)).collect(),
        }
    }

    pub(super) fn log_key(&self, origin: &str, at: usize) -> VerifierKey {
        VerifierKey::log(origin, self.set.members()[at].log)
    }

    pub(super) fn cosigner_key(&self, origin: &str, at: usize) -> VerifierKey {
        let member = &self.set.members()[at];
        VerifierKey::cosigner(origin, &member.id, member.cosigner)
    }

    pub(super) fn log_line(&self, origin: &str, at: usize, text: &str) -> note::SignatureLine {
        note::sign_log(&self.log_key(origin, at), &self.logs[at], text)
    }

    pub(super) fn cosigner_line(
        &self,
        origin: &str,
        (at, time_s): (usize, u64),
        text: &str,
    ) -> note::SignatureLine {
        cosignature::cosign(
            &self.cosigner_key(origin, at),
            &self.cosigners[at],
            time_s,
            text,
        )
    }
}

/// The genesis of four authorities, each with a validator and two registrar keys.
pub(super) fn genesis(domain: &str) -> Genesis {
    let validators = Validators::new("founder", &[0, 1, 2, 3]);
    let authority = |(at, member): (usize, &Member)| {
        let registrar = |label: &str, role| Registrar {
            key: key(&format!("{label}-{at}")).key(),
            role,
        };
        let mut registrars = vec![
            registrar("registrar", Role::ISSUE.with(Role::EXCHANGE)),
            registrar("publisher", Role::PUBLIC),
        ];
        registrars.sort();
        Authority {
            id: member.id.clone(),
            name: Text::try_from(format!("Behörde {}", IDS[at])).unwrap(),
            admin: key(&format!("admin-{at}")).key(),
            registrars: List::try_from(registrars).unwrap(),
            validator: Some(Validator {
                vote: member.vote,
                cosigner: member.cosigner,
                log: member.log,
                network: member.network,
                addresses: List::new(),
            }),
        }
    };
    let members = validators.set.members().iter().enumerate();
    Genesis {
        version: 1,
        domain: Domain::new(domain).unwrap(),
        created_ms: TimeMs(1_789_000_000_000),
        params: Params::default(),
        authorities: members.map(authority).collect(),
    }
}

/// Everything that stands behind a checkpoint.
#[derive(Clone, Debug)]
pub(super) struct World {
    pub(super) genesis: Genesis,
    pub(super) chain: ChainId,
    pub(super) origin: String,
    /// The leaves before the trailer.
    pub(super) leaves: Vec<Vec<u8>>,
    pub(super) docs: BTreeMap<DocumentId, DocState>,
    pub(super) keys: BTreeMap<Key, KeyState>,
    pub(super) auths: BTreeMap<AuthorityIndex, AuthState>,
    /// The set of the period.
    pub(super) validators: Validators,
    /// The trailer; its set and status root are filled in when the world is closed.
    pub(super) trailer: Trailer,
    /// The trailer's set, if it is not to be that of the validators.
    pub(super) trailer_set: Option<SetHash>,
    /// Positions of the log lines.
    pub(super) logs: Vec<usize>,
    /// Positions and times of the cosignatures.
    pub(super) cosigners: Vec<(usize, u64)>,
    /// Authorities whose names the receipt proves.
    pub(super) named: Vec<u16>,
    pub(super) handovers: Vec<Handover>,
    pub(super) related: Vec<Related>,
    pub(super) consistency: Option<Consistency>,
}

/// A registration as it was made.
#[derive(Clone, Debug)]
pub(super) struct Doc {
    pub(super) id: DocumentId,
    pub(super) index: LeafIndex,
    pub(super) leaf: RecordLeaf,
    pub(super) signed: SignedRecord,
    pub(super) details: Vec<DetailReveal>,
}

/// What is made wrong about a registration before it is signed and logged.
#[derive(Clone, Copy)]
pub(super) struct Edits {
    pub(super) record: fn(&mut Record),
    pub(super) body: fn(&mut SubmissionBody),
    pub(super) leaf: fn(&mut RecordLeaf),
    /// Whose key signs the submission's body.
    pub(super) signer: &'static str,
}

impl Default for Edits {
    fn default() -> Self {
        Self {
            record: |_| {},
            body: |_| {},
            leaf: |_| {},
            signer: "registrar-0",
        }
    }
}

/// A closed world: tree, trie, checkpoint.
#[derive(Clone, Debug)]
pub(super) struct Closed {
    pub(super) hashes: Vec<Hash>,
    pub(super) trie: Trie,
    pub(super) trailer: LogLeaf,
    pub(super) size: TreeSize,
    pub(super) root: Hash,
    pub(super) note: Note,
}

impl Closed {
    pub(super) fn path(&self, index: LeafIndex) -> Path {
        inclusion_path(&self.hashes, index.0).unwrap()
    }

    /// The path that shows that a larger tree extends this one.
    pub(super) fn consistency(&self, larger: &Self) -> Consistency {
        let reader = AllLeaves(&larger.hashes);
        let Ok::<_, Infallible>(path) = log::prove_consistency(&reader, self.size, larger.size);
        Consistency {
            size: larger.size,
            path: path.unwrap(),
        }
    }

    pub(super) fn pin(&self, set: &Validators) -> Pin {
        Pin {
            size: self.size,
            root: self.root,
            set: set.set.clone(),
        }
    }
}

pub(super) fn root(hashes: &[Hash]) -> Hash {
    let mut tree = Frontier::new();
    hashes.iter().for_each(|hash| tree.push(*hash));
    tree.root()
}

impl World {
    /// A world with its genesis keys and nothing in its log.
    pub(super) fn new() -> Self {
        let genesis = genesis("nachweis.test");
        let mut keys = BTreeMap::new();
        for (authority, founder) in genesis.indexed() {
            for registrar in &founder.registrars {
                let state = KeyState {
                    authority,
                    role: registrar.role,
                    enrolled: LeafIndex(0),
                    not_after_ms: TimeMs(0),
                    retired: None,
                    compromised_since: None,
                };
                keys.insert(registrar.key, state);
            }
        }
        Self {
            chain: genesis.chain(),
            origin: genesis.origin(),
            genesis,
            leaves: Vec::new(),
            docs: BTreeMap::new(),
            keys,
            auths: BTreeMap::new(),
            validators: Validators::new("founder", &[0, 1, 2, 3]),
            trailer: Trailer {
                epoch: Epoch(0),
                flags: Flags::NONE,
                height: Height(9),
                parent: BlockHash(Hash([7; 32])),
                time_ms: CLOSED,
                proposer: ValidatorIndex(1),
                validator_set: SetHash::default(),
                next_set: SetHash::default(),
                status_root: Hash::ZERO,
            },
            trailer_set: None,
            logs: vec![0],
            cosigners: vec![(0, COSIGNED), (1, COSIGNED + 1), (3, COSIGNED + 2)],
            named: vec![0],
            handovers: Vec::new(),
            related: Vec::new(),
            consistency: None,
        }
    }

    /// A world with the standard document between others.
    pub(super) fn standard() -> (Self, Doc) {
        Self::with(Edits::default())
    }

    /// The standard document, with something wrong about it.
    pub(super) fn with(edits: Edits) -> (Self, Doc) {
        let mut world = Self::new();
        world.register(
            1,
            "before",
            Edits {
                signer: "registrar-1",
                ..Edits::default()
            },
        );
        let doc = world.register(0, "decision", edits);
        world.register(
            2,
            "behind",
            Edits {
                signer: "registrar-2",
                ..Edits::default()
            },
        );
        (world, doc)
    }

    /// A register record with both commitments and details.
    pub(super) fn record(&self, authority: u16, label: &str) -> (Record, Vec<DetailReveal>) {
        let nonce = Nonce(seed(&format!("nonce-{label}")));
        let document = DocumentId::derive(&self.chain, AuthorityIndex(authority), &nonce);
        let (detail, reveals) = self.details(&document);
        let record = Record::Register {
            document,
            nonce,
            internal: self.commit(&document, CommitmentRole::Internal, FILE),
            citizen: Some(self.commit(&document, CommitmentRole::Citizen, COPY)),
            detail: Some(detail),
            retention: Retention::Years10,
        };
        (record, reveals)
    }

    /// A publish record of FILE.
    pub(super) fn publish_record(&self, authority: u16) -> Record {
        let nonce = Nonce(seed("nonce-published"));
        let document = DocumentId::derive(&self.chain, AuthorityIndex(authority), &nonce);
        Record::Publish {
            document,
            nonce,
            sha256: sha256(&[FILE]),
            retention: Retention::Permanent,
        }
    }

    pub(super) fn commit(
        &self,
        document: &DocumentId,
        role: CommitmentRole,
        file: &[u8],
    ) -> Commitment {
        let context = CommitmentContext {
            chain: &self.chain,
            document,
            role,
        };
        let salt = salt(&format!("salt-{}", role.code()));
        context.commit(&salt, &sha256(&[file]).0)
    }

    fn details(&self, document: &DocumentId) -> (Hash, Vec<DetailReveal>) {
        let value = |k: u8| match k {
            1 => "43.2-17/2026",
            2 => "Aufenthaltserlaubnis",
            9 => "reserved for later",
            _ => "",
        };
        let salt = |k: u8| seed(&format!("detail-salt-{k}"));
        let leaf = |k| log::leaf_hash(&detail_leaf(&self.chain, document, k, &salt(k), value(k)));
        let hashes: Vec<Hash> = (0..16).map(leaf).collect();
        let reveal = |k: u8| DetailReveal {
            k,
            salt: salt(k),
            value: Text::try_from(String::from(value(k))).unwrap(),
            path: inclusion_path(&hashes, u64::from(k)).unwrap(),
        };
        (root(&hashes), (0..16).map(reveal).collect())
    }

    /// Registers a document in the middle of a submission of three.
    pub(super) fn register(&mut self, authority: u16, label: &str, edits: Edits) -> Doc {
        let (record, details) = self.record(authority, label);
        Doc {
            details,
            ..self.log_record(authority, record, edits)
        }
    }

    /// Logs a record in the middle of a submission of three; the neighbours stay outside the log.
    pub(super) fn log_record(&mut self, authority: u16, mut record: Record, edits: Edits) -> Doc {
        (edits.record)(&mut record);
        let neighbour = self.record(authority, "neighbour").0;
        let records = [neighbour.clone(), record.clone(), neighbour];
        let hash = |record: &Record| log::leaf_hash(&record_leaf(&record.encode()));
        let hashes: Vec<Hash> = records.iter().map(hash).collect();
        let signer = key(edits.signer);
        let mut body = SubmissionBody {
            chain: self.chain,
            authority: AuthorityIndex(authority),
            key: signer.key(),
            not_before_ms: REGISTERED.saturating_sub(10_000),
            not_after_ms: REGISTERED.saturating_add(10_000),
            count: 3,
            records_root: root(&hashes),
        };
        (edits.body)(&mut body);
        let mut leaf = RecordLeaf {
            height: Height(5),
            time_ms: REGISTERED,
            authority: AuthorityIndex(authority),
            key: body.key,
            submission: body.hash(),
            record,
        };
        (edits.leaf)(&mut leaf);
        let index = self.push(&LogLeaf::Record(leaf.clone()));
        Doc {
            id: leaf.record.document().copied().unwrap_or_default(),
            index,
            signed: SignedRecord {
                signature: signer.sign(&body.sign_bytes()),
                body,
                record_index: 1,
                record_path: inclusion_path(&hashes, 1).unwrap(),
            },
            leaf,
            details: Vec::new(),
        }
    }

    pub(super) fn push(&mut self, leaf: &LogLeaf) -> LeafIndex {
        self.leaves.push(leaf.encode());
        LeafIndex(self.leaves.len() as u64 - 1)
    }

    /// The document's state, to be changed; put into the status map by this.
    pub(super) fn state(&mut self, doc: &Doc) -> &mut DocState {
        let registration = Registration {
            index: doc.index,
            height: doc.leaf.height,
            time_ms: doc.leaf.time_ms,
            authority: doc.leaf.authority,
            kind: RegistrationKind::of(&doc.leaf.record).unwrap(),
        };
        self.docs
            .entry(doc.id)
            .or_insert_with(|| DocState::registered(doc.id, &registration))
    }

    pub(super) fn key_state(&mut self, label: &str) -> &mut KeyState {
        self.keys.get_mut(&key(label).key()).unwrap()
    }

    fn trie(&self) -> Trie {
        let docs = self.docs.iter();
        let docs = docs.map(|(id, state)| (DocState::trie_key(id), state.trie_value()));
        let keys = self.keys.iter();
        let keys = keys.map(|(key, state)| (KeyState::trie_key(key), state.trie_value()));
        let auths = self.auths.iter();
        let auths = auths.map(|(at, state)| (AuthState::trie_key(*at), state.trie_value()));
        let entries: BTreeMap<TrieKey, TrieValue> = docs.chain(keys).chain(auths).collect();
        let mut trie = Trie::new();
        trie.extend(&entries);
        trie
    }

    /// The text of a checkpoint, signed as the world says.
    pub(super) fn note(&self, size: TreeSize, root: Hash) -> Note {
        let origin = self.origin.clone();
        let text = crate::checkpoint::Checkpoint { origin, size, root }.text();
        let logs = self.logs.iter();
        let logs = logs.map(|at| self.validators.log_line(&self.origin, *at, &text));
        let cosigners = self.cosigners.iter();
        let cosigners = cosigners.map(|at| self.validators.cosigner_line(&self.origin, *at, &text));
        let lines = logs.chain(cosigners).collect();
        Note::new(text, lines)
    }

    /// Adds the trailer and signs the checkpoint.
    pub(super) fn close(&self) -> Closed {
        let trie = self.trie();
        let set = self.validators.set.hash();
        let trailer = LogLeaf::Trailer(Trailer {
            validator_set: self.trailer_set.unwrap_or(set),
            status_root: trie.root(),
            ..self.trailer
        });
        self.close_by(trie, trailer)
    }

    /// Closes with any leaf at the trailer's place.
    pub(super) fn close_by(&self, trie: Trie, trailer: LogLeaf) -> Closed {
        let leaves = self.leaves.iter().map(|leaf| log::leaf_hash(leaf));
        let hashes: Vec<Hash> = leaves.chain([trailer.hash()]).collect();
        let (size, root) = (TreeSize(hashes.len() as u64), root(&hashes));
        Closed {
            note: self.note(size, root),
            hashes,
            trie,
            trailer,
            size,
            root,
        }
    }

    /// What a node would hand to [`issue`].
    pub(super) fn parts(&self, doc: &Doc, closed: &Closed) -> Parts {
        let last = LeafIndex(closed.size.0 - 1);
        let signer = &doc.leaf.key;
        let absent = KeyState {
            authority: doc.leaf.authority,
            role: Role::ISSUE,
            enrolled: LeafIndex(0),
            not_after_ms: TimeMs(0),
            retired: None,
            compromised_since: None,
        };
        Parts {
            note: closed.note.clone(),
            index: doc.index,
            path: closed.path(doc.index),
            leaf: LogLeaf::Record(doc.leaf.clone()).encode(),
            signed: doc.signed.clone(),
            trailer: closed.trailer.encode(),
            trailer_path: closed.path(last),
            doc: self.docs.get(&doc.id).cloned(),
            doc_proof: closed.trie.prove(&DocState::trie_key(&doc.id)),
            key: self.keys.get(signer).copied().unwrap_or(absent),
            key_proof: closed.trie.prove(&KeyState::trie_key(signer)),
            authorities: self.named.iter().map(|at| self.name(*at, closed)).collect(),
            related: self.related.clone(),
            handovers: self.handovers.clone(),
            consistency: self.consistency.clone(),
        }
    }

    fn name(&self, at: u16, closed: &Closed) -> AuthorityPart {
        let index = AuthorityIndex(at);
        AuthorityPart {
            index,
            state: self.auths.get(&index).cloned(),
            proof: closed.trie.prove(&AuthState::trie_key(index)),
        }
    }

    /// A parent or successor, as a receipt carries it.
    pub(super) fn relative(&self, doc: &Doc, closed: &Closed) -> Related {
        let state = self.docs.get(&doc.id).cloned();
        Related {
            index: doc.index,
            leaf: Framed::new(LogLeaf::Record(doc.leaf.clone())).unwrap(),
            path: closed.path(doc.index),
            doc: state.map(|state| Framed::new(state).unwrap()),
            proof: closed.trie.prove(&DocState::trie_key(&doc.id)),
        }
    }

    /// A receipt of the closed world with the opening of the internal file.
    pub(super) fn raw(&self, doc: &Doc) -> Raw {
        self.raw_of(doc, &self.close())
    }

    pub(super) fn raw_of(&self, doc: &Doc, closed: &Closed) -> Raw {
        let receipt = issue(self.parts(doc, closed)).unwrap();
        let openings = if matches!(doc.leaf.record, Record::Publish { .. }) {
            Vec::new()
        } else {
            vec![opening(CommitmentRole::Internal, FILE)]
        };
        Raw::of(&receipt.with_openings(openings).unwrap())
    }

    pub(super) fn trust(&self) -> Trust {
        Trust::new(genesis("nachweis.test"), None, MaxAge::default()).unwrap()
    }

    pub(super) fn pinned(&self, pin: Pin) -> Trust {
        self.trust().with_pin(pin).unwrap()
    }

    /// The verdict on FILE of a receipt of this world.
    pub(super) fn verdict(&self, doc: &Doc) -> Verdict {
        self.judge(&self.raw(doc))
    }

    /// The verdict on FILE.
    pub(super) fn judge(&self, raw: &Raw) -> Verdict {
        verify(
            &digest(FILE),
            raw.text().as_bytes(),
            &self.trust(),
            NOW,
            None,
        )
    }
}

/// What opens one of the registration's commitments.
pub(super) fn opening(role: CommitmentRole, file: &[u8]) -> Opening {
    Opening {
        role,
        alg: Only,
        salt: salt(&format!("salt-{}", role.code())),
        file: sha256(&[file]).0,
        at: None,
    }
}

/// The opening of a later commitment, in the leaf at this index.
pub(super) fn later(
    role: CommitmentRole,
    file: &[u8],
    (index, leaf): (LeafIndex, &RecordLeaf),
    closed: &Closed,
) -> Opening {
    Opening {
        at: Some(LaterLeaf {
            index,
            leaf: Framed::new(LogLeaf::Record(leaf.clone())).unwrap(),
            path: closed.path(index),
        }),
        ..opening(role, file)
    }
}

/// The parts of a receipt's text, put together by other code than [`Receipt::encode`].
#[derive(Clone, Debug)]
pub(super) struct Raw {
    pub(super) extra: Extra,
    pub(super) index: u64,
    pub(super) path: Vec<Hash>,
    pub(super) note: String,
}

impl Raw {
    pub(super) fn of(receipt: &Receipt) -> Self {
        Self {
            extra: receipt.extra().clone(),
            index: receipt.index().0,
            path: receipt.path().hashes().to_vec(),
            note: receipt.note().encode(),
        }
    }

    pub(super) fn text(&self) -> String {
        let mut text = String::from("c2sp.org/tlog-proof@v1\nextra ");
        text += &STANDARD.encode(codec::encode(&self.extra));
        text += &format!("\nindex {}\n", self.index);
        for hash in &self.path {
            text += &STANDARD.encode(hash.0);
            text += "\n";
        }
        text += "\n";
        text + &self.note
    }

    /// Changes the note's lines, each without its LF.
    pub(super) fn edit_lines(&mut self, edit: impl FnOnce(&mut Vec<String>)) {
        let (text, lines) = self.note.split_once("\n\n").unwrap();
        let mut lines: Vec<String> = lines.lines().map(String::from).collect();
        edit(&mut lines);
        self.note = format!("{text}\n\n{}\n", lines.join("\n"));
    }
}
