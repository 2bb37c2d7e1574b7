//! One value of every format, the same in every run: what golden bytes and strictness are shown on.

use crate::world::{
    A, B, E, START, commitment, document, double_vote, enrol, finalize, founding, key, nonce,
    publish, register, salt, seed_of, signing_key,
};
use ledger::block::Block;
use ledger::body::{Body, ItemBytes};
use ledger::codec::Text;
use ledger::document::{CommitmentRole, DETAIL_FIELDS, DocumentId, detail_leaf};
use ledger::genesis::{Application, possession_bytes};
use ledger::hash::{BlockHash, Hash, SetHash, SubmissionHash};
use ledger::header::{BlockRef, Flags, HEADER_VERSION, Header};
use ledger::id::{
    AuthorityId, AuthorityIndex, Epoch, Height, LeafIndex, TimeMs, TreeSize, ValidatorIndex, View,
};
use ledger::leaf::{EvidenceLeaf, LogLeaf, RecordLeaf, Trailer};
use ledger::log::{Frontier, leaf_hash};
use ledger::record::{
    AnswerCode, DisputeCode, EndorseKind, HoldReason, Outcome, Parents, Record, ReinstateReason,
    RejectReason, Relation, Retention, RevokeReason, Role, SuspendReason, TransferMode,
};
use ledger::state::{
    AuthState, DocState, Handover, HoldEntry, KeyState, Lane, LaterCommitment, Lifecycle,
    OpenDispute, Registration, RegistrationKind,
};
use ledger::submission::{Draft, Submission, VerifiedSubmission};
use ledger::tip::Founding;
use ledger::vote::{Statement, Vote, VoteKind};

/// Hash with 32 equal bytes, for fields whose value does not matter.
pub(crate) const fn filled(byte: u8) -> Hash {
    Hash([byte; 32])
}

pub(crate) fn block_ref() -> BlockRef {
    BlockRef {
        height: Height(7),
        hash: BlockHash(filled(0x77)),
    }
}

/// The application of the first authority; its signatures are by keys of these samples.
pub(crate) fn application(founding: &Founding) -> Application {
    let genesis = founding.genesis();
    let (authority, domain) = (&genesis.authorities[0], &genesis.domain);
    let created_ms = TimeMs(START);
    let possessions = authority.keys().into_iter().map(|(purpose, key)| {
        let message = possession_bytes(domain, created_ms, authority, purpose, &key);
        signing_key(&format!("possession {}", purpose.code())).sign(&message)
    });
    let possessions: Vec<_> = possessions.collect();
    Application {
        version: 1,
        domain: domain.clone(),
        created_ms,
        authority: authority.clone(),
        possessions: possessions.try_into().unwrap(),
    }
}

/// The 16 leaves of a detail commitment: kind, title and size given, the rest empty.
pub(crate) fn detail_leaves(founding: &Founding, document: &DocumentId) -> Vec<Vec<u8>> {
    let fields = u8::try_from(DETAIL_FIELDS).unwrap();
    let leaf = |k: u8| {
        let value = match k {
            0 => "4",
            2 => "Bescheid über die Erteilung",
            3 => "18322",
            _ => "",
        };
        let salt = seed_of(&format!("detail {k}")).0;
        detail_leaf(&founding.chain(), document, k, &salt, value)
    };
    (0..fields).map(leaf).collect()
}

pub(crate) fn detail_root(founding: &Founding, document: &DocumentId) -> Hash {
    let mut tree = Frontier::new();
    for leaf in detail_leaves(founding, document) {
        tree.push(leaf_hash(&leaf));
    }
    tree.root()
}

/// Every record kind, in the order of its code.
pub(crate) fn records(founding: &Founding) -> Vec<Record> {
    let mut all = registrations(founding);
    all.extend(exchange(founding));
    all.extend(decisions(founding));
    all.extend(governance(founding));
    all.sort_by_key(Record::code);
    all
}

fn registrations(founding: &Founding) -> Vec<Record> {
    let id = document(founding, A, "derived");
    let mut parents = vec![document(founding, A, "one"), document(founding, B, "two")];
    parents.sort();
    let Record::Register {
        document: registered,
        nonce: registered_nonce,
        internal,
        ..
    } = register(founding, A, "doc")
    else {
        unreachable!("register makes a Register");
    };
    vec![
        Record::Register {
            document: registered,
            nonce: registered_nonce,
            internal,
            citizen: Some(commitment(founding, &registered, CommitmentRole::Citizen)),
            detail: Some(detail_root(founding, &registered)),
            retention: Retention::Years10,
        },
        Record::Derive {
            document: id,
            nonce: nonce("derived"),
            internal: commitment(founding, &id, CommitmentRole::Internal),
            citizen: None,
            detail: None,
            retention: Retention::Unspecified,
            parents: Parents::new(parents).unwrap(),
            relation: Relation::Translation,
        },
        publish(founding, B, "form"),
    ]
}

fn exchange(founding: &Founding) -> Vec<Record> {
    let document = document(founding, A, "doc");
    let (prev, of) = (LeafIndex(3), LeafIndex(0x0102_0304_0506_0708));
    let received = commitment(founding, &document, CommitmentRole::Received);
    vec![
        Record::Transfer {
            document,
            prev,
            to: E,
            mode: TransferMode::HandOver,
            due_days: 30,
            detail: Some(filled(0xdd)),
        },
        Record::Withdraw { document, prev, of },
        Record::Accept {
            document,
            prev,
            of,
            received: Some(received),
        },
        Record::Reject {
            document,
            prev,
            of,
            reason: RejectReason::Incomplete,
        },
        Record::Endorse {
            document,
            prev,
            kind: EndorseKind::Countersigned,
        },
        Record::Dispute {
            document,
            prev,
            of,
            code: DisputeCode::Bytes,
        },
        Record::Answer {
            document,
            prev,
            of,
            code: AnswerCode::Referred,
        },
    ]
}

fn decisions(founding: &Founding) -> Vec<Record> {
    let (id, prev) = (document(founding, A, "doc"), LeafIndex(3));
    let document = id;
    vec![
        Record::Supersede {
            document,
            prev,
            successor: self::document(founding, A, "next"),
        },
        Record::Correct {
            document,
            prev,
            of: LeafIndex(2),
            code: 5,
        },
        Record::Suspend {
            document,
            prev,
            code: SuspendReason::Remedy,
        },
        Record::Reinstate {
            document,
            prev,
            code: ReinstateReason::ReviewPassed,
        },
        Record::Revoke {
            document,
            prev,
            code: RevokeReason::Deception,
        },
        Record::Hold {
            document,
            prev,
            code: HoldReason::Litigation,
        },
        Record::Release {
            document,
            prev,
            code: HoldReason::Inquiry,
        },
        Record::Retire {
            document,
            prev,
            outcome: Outcome::Erased,
        },
        Record::ErasureAck { document, prev },
        Record::Renew {
            document,
            prev,
            commitment: commitment(founding, &id, CommitmentRole::Renewed),
        },
    ]
}

fn governance(founding: &Founding) -> Vec<Record> {
    let ready = signing_key("ready").sign_raw(b"readiness is laid down with its feature");
    vec![
        Record::AccessRoot {
            period: 20_717,
            root: filled(0xac),
            count: 12,
        },
        enrol(
            founding,
            B,
            &signing_key("new registrar"),
            Role::ISSUE.with(Role::EXCHANGE),
            START + 5,
        ),
        Record::RetireKey {
            key: key("old registrar"),
            compromised_since: Some(LeafIndex(40)),
        },
        Record::Propose {
            change: b"opaque".to_vec().try_into().unwrap(),
        },
        Record::Approve { of: LeafIndex(41) },
        Record::Ready {
            of: LeafIndex(41),
            block: block_ref(),
            signature: ready,
        },
    ]
}

/// Two records of one authority in one submission.
pub(crate) fn submission(founding: &Founding) -> VerifiedSubmission {
    let all = records(founding);
    let draft = Draft {
        chain: founding.chain(),
        authority: A,
        not_before_ms: TimeMs(START),
        not_after_ms: TimeMs(START + 3_600_000),
        records: vec![all[0].clone(), all[2].clone()],
    };
    Submission::sign(draft, &signing_key("aa/all")).unwrap()
}

pub(crate) fn body(founding: &Founding) -> Body {
    Body::new(vec![
        ItemBytes::submission(&submission(founding)),
        ItemBytes::evidence(&double_vote(&founding.epoch(), ValidatorIndex(2))),
    ])
    .unwrap()
}

pub(crate) fn header(founding: &Founding) -> Header {
    let body = body(founding);
    Header {
        version: HEADER_VERSION,
        chain: founding.chain(),
        epoch: Epoch(1),
        view: View(2),
        height: Height(3),
        parent: BlockHash(filled(4)),
        proposer: ValidatorIndex(3),
        time_ms: TimeMs(START + 5),
        body_len: u32::try_from(body.len()).unwrap(),
        body_root: body.root(),
        log_size: TreeSize(6),
        log_root: filled(7),
        status_root: filled(8),
        flags: Flags::SEAL.with(Flags::ANCHOR),
        validator_set: founding.set().hash(),
        next_set: SetHash(filled(9)),
    }
}

pub(crate) fn block(founding: &Founding) -> Block {
    Block {
        header: header(founding),
        body: body(founding),
    }
}

pub(crate) fn statement() -> Statement {
    Statement {
        kind: VoteKind::Notarize,
        view: View(2),
        block: block_ref(),
    }
}

pub(crate) fn vote(founding: &Founding) -> Vote {
    let epoch = founding.epoch();
    let (signer, key) = (ValidatorIndex(1), signing_key("bb/vote"));
    Vote::sign(statement(), epoch.epoch, signer, &epoch.context, &key)
}

pub(crate) fn certificate(founding: &Founding) -> ledger::certificate::Certificate {
    finalize(&founding.epoch(), View(2), block_ref())
}

/// A leaf of each kind.
pub(crate) fn leaves(founding: &Founding) -> [LogLeaf; 3] {
    let submission = submission(founding);
    let record = RecordLeaf {
        height: Height(3),
        time_ms: TimeMs(START + 5),
        authority: A,
        key: key("aa/all"),
        submission: SubmissionHash(submission.hash().0),
        record: submission.records()[0].clone(),
    };
    let evidence = EvidenceLeaf {
        height: Height(3),
        time_ms: TimeMs(START + 5),
        evidence: double_vote(&founding.epoch(), ValidatorIndex(2)),
    };
    [
        LogLeaf::Record(record),
        LogLeaf::Trailer(Trailer::of(&header(founding))),
        LogLeaf::Evidence(evidence),
    ]
}

/// A document about which everything happened that a state can hold.
pub(crate) fn doc_state(founding: &Founding) -> DocState {
    let id = document(founding, A, "doc");
    let registration = Registration {
        index: LeafIndex(2),
        height: Height(1),
        time_ms: TimeMs(START + 1),
        authority: A,
        kind: RegistrationKind::Register,
    };
    let mut state = DocState::registered(id, &registration);
    state.responsible = B;
    state.lifecycle = Lifecycle::Superseded {
        by: document(founding, A, "next"),
    };
    state.retired = Some(Outcome::Archived);
    state.suspended = Some(2);
    let (index, by) = (LeafIndex(11), E);
    state
        .disputes
        .set(OpenDispute { index, by, code: 4 })
        .unwrap();
    state.holds.set(HoldEntry { by, code: 1 }).unwrap();
    let handover = Handover {
        index: LeafIndex(12),
        from: A,
        to: E,
        mode: 2,
    };
    state.handovers.set(handover).unwrap();
    state.holders.set(B).unwrap();
    state
        .lanes
        .set(Lane {
            authority: E,
            head: LeafIndex(11),
        })
        .unwrap();
    let role = CommitmentRole::Received;
    let later = LaterCommitment {
        index: LeafIndex(13),
        role,
        commitment: commitment(founding, &id, role),
    };
    state.commitments.set(later).unwrap();
    state
}

pub(crate) fn key_state() -> KeyState {
    KeyState {
        authority: B,
        role: Role::EXCHANGE,
        enrolled: LeafIndex(5),
        not_after_ms: TimeMs(START + 9),
        retired: Some(LeafIndex(8)),
        compromised_since: Some(LeafIndex(6)),
    }
}

pub(crate) fn auth_state() -> AuthState {
    AuthState {
        id: AuthorityId::new("bamf").unwrap(),
        name: Text::try_from(String::from("Bundesamt für Migration und Flüchtlinge")).unwrap(),
        admin: key("bamf/admin"),
        joined: LeafIndex(77),
        succeeded_by: Some(AuthorityIndex(3)),
    }
}

pub(crate) fn commitment_inputs(founding: &Founding) -> (DocumentId, Vec<u8>) {
    (document(founding, A, "doc"), salt("salt").expose().to_vec())
}

/// The world's founding, for tests that need nothing else of it.
pub(crate) fn founded() -> Founding {
    founding()
}
