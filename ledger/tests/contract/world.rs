//! A small network with known keys, and a chain that grows block by block as a leader would build it.

use ledger::admission::{CheckedEvidence, CheckedItem};
use ledger::block::CheckedBody;
use ledger::certificate::{Certificate, VerifiedCertificate};
use ledger::codec::{List, Text};
use ledger::document::{Commitment, CommitmentContext, CommitmentRole, DocumentId, Nonce, Salt};
use ledger::evidence::Evidence;
use ledger::execute::{self, Built, Executed, ItemError, Slot};
use ledger::frame::Payload;
use ledger::genesis::{Authority, Genesis, Params, Registrar, Validator};
use ledger::hash::{BlockHash, Hash, Tag, sha256};
use ledger::header::BlockRef;
use ledger::id::{
    AuthorityId, AuthorityIndex, Domain, Epoch, Height, LeafIndex, TimeMs, ValidatorIndex, View,
};
use ledger::key::{Key, SigningKey};
use ledger::record::{Record, Retention, Role, enrol_possession};
use ledger::refusal::Refused;
use ledger::submission::{Draft, Submission, VerifiedSubmission};
use ledger::tip::{EpochInfo, Founding, Tip};
use ledger::view::{Effects, MemoryState, Overlay, StateView};
use ledger::vote::{Statement, Vote, VoteKind};
use std::convert::Infallible;
use std::sync::LazyLock;

/// Time of the genesis.
pub(crate) const START: u64 = 1_790_000_000_000;
/// Milliseconds from one block to the next.
pub(crate) const STEP: u64 = 1000;
/// Every role.
pub(crate) const ALL: Role = Role::ISSUE
    .with(Role::EXCHANGE)
    .with(Role::PUBLIC)
    .with(Role::NODE);

/// Authorities of the world: four with a validator and one without.
pub(crate) const A: AuthorityIndex = AuthorityIndex(0);
pub(crate) const B: AuthorityIndex = AuthorityIndex(1);
pub(crate) const E: AuthorityIndex = AuthorityIndex(4);

/// A stream of bytes that follows from a label: unpredictable enough for a test, the same in every run.
pub(crate) struct TestRng {
    seed: Hash,
    count: u64,
}

impl TestRng {
    pub(crate) fn new(label: &str) -> Self {
        Self {
            seed: seed_of(label),
            count: 0,
        }
    }
}

impl rand_core::TryRng for TestRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        for chunk in bytes.chunks_mut(32) {
            let block = sha256(&[self.seed.as_bytes(), &self.count.to_le_bytes()]);
            self.count += 1;
            chunk.copy_from_slice(&block.as_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}

impl rand_core::TryCryptoRng for TestRng {}

/// SHA-256("test-only:" ‖ label).
pub(crate) fn seed_of(label: &str) -> Hash {
    sha256(&[b"test-only:", label.as_bytes()])
}

pub(crate) fn signing_key(label: &str) -> SigningKey {
    SigningKey::from_seed(seed_of(label).as_bytes())
}

pub(crate) fn key(label: &str) -> Key {
    signing_key(label).key()
}

pub(crate) fn nonce(label: &str) -> Nonce {
    Nonce(seed_of(label).0)
}

pub(crate) fn salt(label: &str) -> Salt {
    let half = seed_of(label);
    let bytes = [half.0, sha256(&[half.as_bytes()]).0].concat();
    Salt::new(bytes.try_into().unwrap()).unwrap()
}

/// Registrar keys of an authority: label of the role, and the role.
pub(crate) const REGISTRARS: [(&str, Role); 5] = [
    ("all", ALL),
    ("issue", Role::ISSUE),
    ("exchange", Role::EXCHANGE),
    ("public", Role::PUBLIC),
    ("node", Role::NODE),
];

fn authority(id: &str, has_validator: HasValidator) -> Authority {
    let label = |purpose: &str| format!("{id}/{purpose}");
    let mut registrars: Vec<Registrar> = REGISTRARS
        .iter()
        .map(|(name, role)| Registrar {
            key: key(&label(name)),
            role: *role,
        })
        .collect();
    registrars.sort();
    let validator = || Validator {
        vote: key(&label("vote")),
        cosigner: key(&label("cosigner")),
        log: key(&label("log")),
        network: key(&label("network")),
        addresses: List::try_from(vec![
            Text::try_from(format!("/dns4/{id}.example/tcp/7100")).unwrap(),
        ])
        .unwrap(),
    };
    Authority {
        id: AuthorityId::new(id).unwrap(),
        name: Text::try_from(format!("Behörde {id}")).unwrap(),
        admin: key(&label("admin")),
        registrars: registrars.try_into().unwrap(),
        validator: match has_validator {
            HasValidator::Yes => Some(validator()),
            HasValidator::No => None,
        },
    }
}

#[derive(Clone, Copy)]
enum HasValidator {
    Yes,
    No,
}

/// Ids of the world's authorities, in order.
pub(crate) const IDS: [&str; 5] = ["aa", "bb", "cc", "dd", "ee"];

pub(crate) fn genesis_with(params: Params) -> Genesis {
    let authorities = IDS.iter().enumerate().map(|(at, id)| {
        let has = if at < 4 {
            HasValidator::Yes
        } else {
            HasValidator::No
        };
        authority(id, has)
    });
    Genesis {
        version: 1,
        domain: Domain::new("ledger.example").unwrap(),
        created_ms: TimeMs(START),
        params,
        authorities: authorities.collect(),
    }
}

pub(crate) fn genesis() -> Genesis {
    genesis_with(Params::default())
}

/// The founding of the world; its keys are checked once.
pub(crate) fn founding() -> Founding {
    static WORLD: LazyLock<Founding> = LazyLock::new(|| Founding::new(genesis()).unwrap());
    WORLD.clone()
}

/// Signing key of an authority for one purpose.
pub(crate) fn key_of(authority: AuthorityIndex, purpose: &str) -> SigningKey {
    signing_key(&format!("{}/{purpose}", IDS[usize::from(authority.0)]))
}

pub(crate) fn document(founding: &Founding, authority: AuthorityIndex, label: &str) -> DocumentId {
    DocumentId::derive(&founding.chain(), authority, &nonce(label))
}

pub(crate) fn commitment(
    founding: &Founding,
    document: &DocumentId,
    role: CommitmentRole,
) -> Commitment {
    let context = CommitmentContext {
        chain: &founding.chain(),
        document,
        role,
    };
    context.commit(&salt("salt"), &seed_of("file").0)
}

pub(crate) fn register(founding: &Founding, authority: AuthorityIndex, label: &str) -> Record {
    let document = document(founding, authority, label);
    Record::Register {
        document,
        nonce: nonce(label),
        internal: commitment(founding, &document, CommitmentRole::Internal),
        citizen: None,
        detail: None,
        retention: Retention::Years10,
    }
}

pub(crate) fn publish(founding: &Founding, authority: AuthorityIndex, label: &str) -> Record {
    Record::Publish {
        document: document(founding, authority, label),
        nonce: nonce(label),
        sha256: seed_of("file"),
        retention: Retention::Permanent,
    }
}

pub(crate) fn enrol(
    founding: &Founding,
    authority: AuthorityIndex,
    new: &SigningKey,
    role: Role,
    not_after_ms: u64,
) -> Record {
    let not_after_ms = TimeMs(not_after_ms);
    let message = enrol_possession(&founding.chain(), authority, role, &new.key(), not_after_ms);
    Record::Enrol {
        key: new.key(),
        role,
        not_after_ms,
        possession: new.sign(&message),
    }
}

/// A chain under way, with everything that a node would keep of it.
#[derive(Clone)]
pub(crate) struct Chain {
    pub(crate) founding: Founding,
    pub(crate) tip: Tip,
    pub(crate) state: MemoryState,
    pub(crate) frames: Vec<Payload>,
    pub(crate) leaves: Vec<Vec<u8>>,
    pub(crate) view: View,
    /// Makes equal submissions differ.
    window: u64,
}

impl Chain {
    pub(crate) fn new() -> Self {
        Self::of(founding())
    }

    pub(crate) fn founded(genesis: Genesis) -> Self {
        Self::of(Founding::new(genesis).unwrap())
    }

    fn of(founding: Founding) -> Self {
        let tip = founding.tip();
        let mut state = MemoryState::new();
        state.apply(founding.effects(), tip.time_ms);
        Self {
            founding,
            tip,
            state,
            frames: Vec::new(),
            leaves: Vec::new(),
            view: View(0),
            window: 0,
        }
    }

    /// Block time of the next block.
    pub(crate) fn next_time(&self) -> TimeMs {
        self.tip.time_ms.saturating_add(STEP)
    }

    pub(crate) fn draft(&mut self, authority: AuthorityIndex, records: Vec<Record>) -> Draft {
        self.window += 1;
        Draft {
            chain: self.founding.chain(),
            authority,
            not_before_ms: TimeMs(START - self.window),
            not_after_ms: TimeMs(START + 80_000_000),
            records,
        }
    }

    /// A submission signed with the key of that purpose, unchecked but for its signature.
    pub(crate) fn sign(
        &mut self,
        (authority, purpose): (AuthorityIndex, &str),
        records: Vec<Record>,
    ) -> VerifiedSubmission {
        let draft = self.draft(authority, records);
        Submission::sign(draft, &key_of(authority, purpose)).unwrap()
    }

    /// A checked submission.
    pub(crate) fn submit(
        &mut self,
        who: (AuthorityIndex, &str),
        records: Vec<Record>,
    ) -> Result<CheckedItem, Refused> {
        let submission = self.sign(who, records).into_inner();
        let item = ledger::body::Item::Submission(submission);
        CheckedItem::check(&self.founding, &self.tip.epoch, item)
    }

    /// Why the next block would refuse the item.
    pub(crate) fn ask(&self, item: &CheckedItem) -> Result<(), Refused> {
        self.ask_in(&self.state, item)
    }

    pub(crate) fn ask_in<V: StateView>(&self, view: &V, item: &CheckedItem) -> Result<(), Refused> {
        let time = self.next_time();
        match execute::includable(&self.founding, view, &self.tip, time, item) {
            Ok(()) => Ok(()),
            Err(ItemError::Refused(refused)) => Err(refused),
            Err(ItemError::Unavailable(error)) => panic!("{error}"),
        }
    }

    /// What a leader makes of these items, without keeping it.
    pub(crate) fn try_build(&self, items: &[CheckedItem]) -> Built {
        let view = self.view.next().unwrap();
        let slot = Slot {
            view,
            proposer: leader(&self.tip.epoch, view),
            time_ms: self.next_time(),
        };
        execute::build(&self.founding, &self.state, &self.tip, slot, items).unwrap()
    }

    /// The next block of these items, all of which must be includable; written and finalized.
    pub(crate) fn block(&mut self, items: &[CheckedItem]) -> Executed {
        self.block_at(self.next_time(), items, Finality::Certified)
    }

    pub(crate) fn block_at(
        &mut self,
        time_ms: TimeMs,
        items: &[CheckedItem],
        finality: Finality,
    ) -> Executed {
        let view = self.view.next().unwrap();
        let proposer = leader(&self.tip.epoch, view);
        let slot = Slot {
            view,
            proposer,
            time_ms,
        };
        let (founding, tip) = (&self.founding, &self.tip);
        let built = execute::build(founding, &self.state, tip, slot, items).unwrap();
        assert_eq!(built.refused, []);
        let (executed, body) = built.block.expect("a block of these items");
        let rng = TestRng::new("receive");
        let header = &executed.header;
        let checked =
            CheckedBody::receive(founding, &tip.epoch, header, &body, |_| None, rng).unwrap();
        let again = execute::check_block(founding, &self.state, tip, header, &checked);
        assert_eq!(again.as_ref(), Ok(&executed), "a built block is valid");
        let block = ledger::block::Block {
            header: executed.header.clone(),
            body,
        };
        let finalization = match finality {
            Finality::Certified => Some(finalize(&tip.epoch, view, executed.header.block_ref())),
            Finality::ByDescendant => None,
        };
        self.frames.push(Payload {
            block: block.encode().try_into().unwrap(),
            finalization,
        });
        let leaves = executed.leaves.iter().map(|leaf| leaf.bytes.clone());
        self.leaves.extend(leaves);
        self.state.apply(executed.effects.clone(), time_ms);
        self.tip = executed.tip.clone();
        self.view = if self.tip.opens_epoch() {
            View(0)
        } else {
            view
        };
        executed
    }

    /// Submits and includes records in a block of their own; gives the log index of the first.
    pub(crate) fn write(&mut self, who: (AuthorityIndex, &str), records: Vec<Record>) -> LeafIndex {
        let first = LeafIndex(self.tip.log.size());
        let item = self.submit(who, records).unwrap();
        self.block(&[item]);
        first
    }

    /// Why records of this signer would be refused, checked or not.
    pub(crate) fn refusal(&mut self, who: (AuthorityIndex, &str), records: Vec<Record>) -> Refused {
        match self.submit(who, records) {
            Ok(item) => self.ask(&item).expect_err("the item is refused"),
            Err(refused) => refused,
        }
    }

    /// The state with something that no record of this version writes.
    pub(crate) fn overlaid<'a>(&'a self, effects: &'a Effects) -> Overlay<'a, MemoryState> {
        Overlay::new(&self.state).with(effects)
    }
}

/// Whether a block carries its own certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Finality {
    Certified,
    ByDescendant,
}

/// Validators sit in the order of their authorities.
pub(crate) fn vote_key(signer: ValidatorIndex) -> SigningKey {
    key_of(AuthorityIndex(signer.0), "vote")
}

pub(crate) fn certify(epoch: &EpochInfo, statement: Statement) -> Certificate {
    let votes: Vec<Vote> = epoch
        .set
        .indices()
        .map(|signer| {
            let (number, context) = (epoch.epoch, &epoch.context);
            Vote::sign(statement, number, signer, context, &vote_key(signer))
        })
        .collect();
    VerifiedCertificate::assemble(statement, epoch.epoch, &epoch.set, &votes)
        .expect("all members signed")
        .into_inner()
}

pub(crate) fn finalize(epoch: &EpochInfo, view: View, block: BlockRef) -> Certificate {
    let kind = VoteKind::Finalize;
    certify(epoch, Statement { kind, view, block })
}

/// Leader of a view, from the formula of consensus.md 3.5.
pub(crate) fn leader(epoch: &EpochInfo, view: View) -> ValidatorIndex {
    let n = u32::try_from(epoch.set.n()).unwrap();
    let seed = Tag::Leaders.hash(&[epoch.context.as_bytes()]);
    let mut order: Vec<u16> = (0..u16::try_from(n).unwrap()).collect();
    for i in (1..n).rev() {
        let drawn = sha256(&[seed.as_bytes(), &i.to_le_bytes()]);
        let number = u64::from_le_bytes(drawn.0[..8].try_into().unwrap());
        let j = usize::try_from(number % u64::from(i + 1)).unwrap();
        order.swap(usize::try_from(i).unwrap(), j);
    }
    ValidatorIndex(order[usize::try_from((view.0 - 1) % u64::from(n)).unwrap()])
}

/// Two votes of `signer` to notarize different blocks in one view.
pub(crate) fn double_vote(epoch: &EpochInfo, signer: ValidatorIndex) -> Evidence {
    let vote = |fill: u8| {
        let statement = Statement {
            kind: VoteKind::Notarize,
            view: View(7),
            block: BlockRef {
                height: Height(3),
                hash: BlockHash(Hash([fill; 32])),
            },
        };
        let (number, context) = (epoch.epoch, &epoch.context);
        Vote::sign(statement, number, signer, context, &vote_key(signer))
    };
    Evidence::new(vote(1), vote(2)).expect("the votes conflict")
}

pub(crate) fn evidence(epoch: &EpochInfo, signer: ValidatorIndex) -> CheckedItem {
    CheckedEvidence::new(epoch, double_vote(epoch, signer))
        .unwrap()
        .into()
}

/// The epoch after `epoch`, sealed by a block that does not matter.
pub(crate) fn later_epoch(founding: &Founding, epoch: &EpochInfo) -> EpochInfo {
    let anchor = BlockRef {
        height: Height(9),
        hash: BlockHash(Hash([9; 32])),
    };
    let number: Epoch = epoch.epoch.next().unwrap();
    EpochInfo::new(founding.chain(), number, epoch.set.clone(), anchor)
}
