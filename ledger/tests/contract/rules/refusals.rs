//! Every refusal by name, each reached by an item that breaks just that rule.

use super::{endorse, retire, revoke, supersede, with_document};
use crate::world::{
    A, ALL, B, Chain, E, START, document, double_vote, enrol, evidence, genesis_with, key, key_of,
    later_epoch, nonce, register, signing_key, vote_key,
};
use ledger::admission::{CheckedEvidence, CheckedItem};
use ledger::body::Item;
use ledger::document::DocumentId;
use ledger::evidence::Evidence;
use ledger::genesis::Params;
use ledger::hash::{ChainId, Hash};
use ledger::id::{AuthorityIndex, Height, LeafIndex, TimeMs, ValidatorIndex};
use ledger::key::{Key, Signature};
use ledger::record::{Record, Role};
use ledger::refusal::{Refusal, RefusalClass, Refused};
use ledger::rules::{self, Acting, Capacity, RuleError};
use ledger::state::{DocState, Lane, MAX_ENTRIES};
use ledger::submission::{Draft, Submission};
use ledger::view::{Effects, StateView as _};
use std::collections::BTreeMap;

type Scenario = fn() -> Refused;

const ISSUE: (AuthorityIndex, &str) = (A, "issue");
const ADMIN: (AuthorityIndex, &str) = (A, "admin");

/// Code, class and an item that is refused for it.
const SCENARIOS: [(&str, RefusalClass, Scenario); 33] = [
    ("wrong-chain", RefusalClass::Malformed, wrong_chain),
    ("bad-signature", RefusalClass::NotVerified, bad_signature),
    ("too-long", RefusalClass::Malformed, too_long),
    ("not-yet-enabled", RefusalClass::Rule, || {
        let (mut chain, document, prev) = with_document();
        chain.refusal(ISSUE, vec![Record::ErasureAck { document, prev }])
    }),
    (
        "wrong-document-id",
        RefusalClass::Malformed,
        wrong_document_id,
    ),
    ("bad-key", RefusalClass::Malformed, bad_key),
    (
        "possession-not-proved",
        RefusalClass::NotVerified,
        possession,
    ),
    ("unknown-authority", RefusalClass::Rights, || {
        let mut chain = Chain::new();
        let draft = Draft {
            authority: AuthorityIndex(5),
            ..chain.draft(A, vec![retire(key("aa/issue"))])
        };
        check(&chain, draft, "admin")
    }),
    ("unknown-key", RefusalClass::Rights, || {
        let mut chain = Chain::new();
        let record = register(&chain.founding, A, "doc");
        chain.refusal((A, "nobody"), vec![record])
    }),
    ("foreign-key", RefusalClass::Rights, || {
        let mut chain = Chain::new();
        let draft = Draft {
            authority: B,
            ..chain.draft(A, vec![register(&chain.founding.clone(), B, "doc")])
        };
        check(&chain, draft, "issue")
    }),
    ("key-retired", RefusalClass::Rights, || {
        let mut chain = Chain::new();
        chain.write(ADMIN, vec![retire(key("aa/issue"))]);
        let record = register(&chain.founding, A, "doc");
        chain.refusal(ISSUE, vec![record])
    }),
    ("key-expired", RefusalClass::Rights, || {
        let mut chain = Chain::new();
        let record = enrol(&chain.founding, A, &signing_key("aa/short"), ALL, START + 1);
        chain.write(ADMIN, vec![record]);
        let record = register(&chain.founding, A, "doc");
        chain.refusal((A, "short"), vec![record])
    }),
    ("wrong-role", RefusalClass::Rights, || {
        let mut chain = Chain::new();
        let record = register(&chain.founding, A, "doc");
        chain.refusal((A, "public"), vec![record])
    }),
    ("window-not-begun", RefusalClass::Early, || {
        windowed(START + 1_000_000, START + 2_000_000)
    }),
    ("window-over", RefusalClass::Rule, || {
        windowed(START - 9, START + 9)
    }),
    ("already-included", RefusalClass::Included, || {
        let mut chain = Chain::new();
        let record = register(&chain.founding, A, "doc");
        let item = chain.submit(ISSUE, vec![record]).unwrap();
        chain.block(std::slice::from_ref(&item));
        chain.ask(&item).unwrap_err()
    }),
    ("document-known", RefusalClass::Rule, || {
        let (mut chain, ..) = with_document();
        let record = register(&chain.founding, A, "doc");
        chain.refusal(ISSUE, vec![record])
    }),
    ("unknown-document", RefusalClass::Rule, || {
        let mut chain = Chain::new();
        chain.refusal(ISSUE, vec![revoke(DocumentId([1; 16]), LeafIndex(0))])
    }),
    ("not-responsible", RefusalClass::Rights, || {
        let (mut chain, id, at) = with_document();
        chain.refusal((B, "issue"), vec![revoke(id, at)])
    }),
    ("not-involved", RefusalClass::Rights, || {
        let (mut chain, id, at) = with_document();
        chain.refusal((E, "exchange"), vec![endorse(id, at)])
    }),
    ("document-ended", RefusalClass::Rule, || {
        let (mut chain, id, at) = with_document();
        let head = chain.write(ISSUE, vec![revoke(id, at)]);
        chain.refusal(ISSUE, vec![revoke(id, head)])
    }),
    ("wrong-lane-head", RefusalClass::Rule, || {
        let (mut chain, id, at) = with_document();
        chain.refusal(ISSUE, vec![revoke(id, at.saturating_add(1))])
    }),
    ("lane-taken", RefusalClass::Rule, || {
        let (mut chain, id, at) = with_document();
        chain.refusal((A, "all"), vec![endorse(id, at), revoke(id, at)])
    }),
    ("own-successor", RefusalClass::Rule, || {
        let (mut chain, id, at) = with_document();
        chain.refusal(ISSUE, vec![supersede(id, at, id)])
    }),
    ("unknown-successor", RefusalClass::Rule, || {
        let (mut chain, id, at) = with_document();
        chain.refusal(ISSUE, vec![supersede(id, at, DocumentId([1; 16]))])
    }),
    ("foreign-successor", RefusalClass::Rights, || {
        let (mut chain, id, at) = with_document();
        let other = register(&chain.founding, B, "other");
        chain.write((B, "issue"), vec![other]);
        let other = document(&chain.founding, B, "other");
        chain.refusal(ISSUE, vec![supersede(id, at, other)])
    }),
    ("successor-not-in-force", RefusalClass::Rule, || {
        let (mut chain, id, at) = with_document();
        let other = register(&chain.founding, A, "other");
        let other_at = chain.write(ISSUE, vec![other]);
        let other = document(&chain.founding, A, "other");
        chain.write(ISSUE, vec![revoke(other, other_at)]);
        chain.refusal(ISSUE, vec![supersede(id, at, other)])
    }),
    ("document-full", RefusalClass::Rule, full),
    ("key-known", RefusalClass::Rule, || {
        let mut chain = Chain::new();
        let record = enrol(&chain.founding, A, &signing_key("bb/issue"), ALL, 0);
        chain.refusal(ADMIN, vec![record])
    }),
    ("compromised-in-future", RefusalClass::Rule, || {
        let mut chain = Chain::new();
        let record = Record::RetireKey {
            key: key("aa/issue"),
            compromised_since: Some(LeafIndex(1)),
        };
        chain.refusal(ADMIN, vec![record])
    }),
    ("evidence-epoch", RefusalClass::Rule, || {
        let chain = Chain::new();
        let later = later_epoch(&chain.founding, &chain.tip.epoch);
        chain.ask(&evidence(&later, ValidatorIndex(1))).unwrap_err()
    }),
    ("evidence-not-proved", RefusalClass::NotVerified, unproved),
    ("evidence-known", RefusalClass::Included, || {
        let mut chain = Chain::new();
        let item = evidence(&chain.tip.epoch, ValidatorIndex(1));
        chain.block(std::slice::from_ref(&item));
        chain.ask(&item).unwrap_err()
    }),
];

fn check(chain: &Chain, draft: Draft, purpose: &str) -> Refused {
    let submission = Submission::sign(draft, &key_of(A, purpose)).unwrap();
    let item = Item::Submission(submission.into_inner());
    match CheckedItem::check(&chain.founding, &chain.tip.epoch, item) {
        Err(refused) => refused,
        Ok(item) => chain.ask(&item).unwrap_err(),
    }
}

fn windowed(not_before: u64, not_after: u64) -> Refused {
    let mut chain = Chain::new();
    let draft = Draft {
        not_before_ms: TimeMs(not_before),
        not_after_ms: TimeMs(not_after),
        ..chain.draft(A, vec![register(&chain.founding.clone(), A, "doc")])
    };
    check(&chain, draft, "issue")
}

fn wrong_chain() -> Refused {
    let mut chain = Chain::new();
    let draft = Draft {
        chain: ChainId(Hash([1; 32])),
        ..chain.draft(A, vec![register(&chain.founding.clone(), A, "doc")])
    };
    check(&chain, draft, "issue")
}

fn bad_signature() -> Refused {
    let mut chain = Chain::new();
    let record = register(&chain.founding, A, "doc");
    let mut bytes = chain.sign(ISSUE, vec![record]).encoded().to_vec();
    let last = bytes.len() - 40;
    bytes[last] ^= 1;
    let item = Item::Submission(Submission::decode(&bytes).unwrap());
    CheckedItem::check(&chain.founding, &chain.tip.epoch, item).unwrap_err()
}

fn too_long() -> Refused {
    let params = Params {
        block_hard: 1000,
        block_target: 1000,
        ..Params::default()
    };
    let mut chain = Chain::founded(genesis_with(params));
    let records = (0..20).map(|at| register(&chain.founding, A, &at.to_string()));
    let records = records.collect();
    chain.refusal(ISSUE, records)
}

fn wrong_document_id() -> Refused {
    let mut chain = Chain::new();
    let Record::Publish {
        sha256,
        retention,
        document,
        ..
    } = crate::world::publish(&chain.founding, A, "form")
    else {
        panic!("a Publish");
    };
    let record = Record::Publish {
        document,
        nonce: nonce("other"),
        sha256,
        retention,
    };
    chain.refusal((A, "public"), vec![record])
}

fn bad_key() -> Refused {
    let mut chain = Chain::new();
    let mut identity = [0; 32];
    identity[0] = 1;
    let record = Record::Enrol {
        key: Key::from_bytes(identity),
        role: Role::ISSUE,
        not_after_ms: TimeMs(0),
        possession: Signature::from_bytes([0; 64]),
    };
    chain.refusal(ADMIN, vec![record])
}

/// Signed for another authority: a possession does not travel.
fn possession() -> Refused {
    let mut chain = Chain::new();
    let record = enrol(&chain.founding, B, &signing_key("new"), ALL, 0);
    chain.refusal(ADMIN, vec![record])
}

/// A list at its bound needs as many authorities as there can be; here the state says so.
fn full() -> Refused {
    let (chain, id, at) = with_document();
    let registration = chain.state.registration(&id).unwrap().unwrap();
    let mut state = DocState::registered(id, &registration);
    state.lanes.remove(A);
    let last = u16::try_from(MAX_ENTRIES).unwrap();
    for authority in 1..=last {
        let authority = AuthorityIndex(authority);
        state
            .lanes
            .set(Lane {
                authority,
                head: at,
            })
            .unwrap();
    }
    let effects = Effects {
        documents: [(id, state)].into(),
        ..Effects::default()
    };
    let acting = Acting {
        authority: A,
        key: key("aa/all"),
        capacity: Capacity::Registrar(ALL),
        height: Height(2),
        time_ms: chain.next_time(),
        block_start: LeafIndex(chain.tip.log.size()),
        index: LeafIndex(chain.tip.log.size()),
    };
    let view = chain.overlaid(&effects);
    match rules::decide(&chain.founding, &view, &acting, &endorse(id, at)) {
        Err(RuleError::Refused(refusal)) => refusal.into(),
        other => panic!("{other:?}"),
    }
}

/// One vote is signed by another validator than it names.
fn unproved() -> Refused {
    let chain = Chain::new();
    let epoch = &chain.tip.epoch;
    let evidence = double_vote(epoch, ValidatorIndex(1));
    let (first, second) = evidence.votes();
    let forged = ledger::vote::Vote::sign(
        second.statement(),
        epoch.epoch,
        second.signer,
        &epoch.context,
        &vote_key(ValidatorIndex(2)),
    );
    let forged = Evidence::new(*first, forged).unwrap();
    CheckedEvidence::new(epoch, forged).unwrap_err().into()
}

/// The names of all refusals, in the order of the source.
pub(crate) fn codes() -> Vec<&'static str> {
    let source = include_str!("../../../src/refusal.rs");
    let (_, table) = source.split_once("pub const fn code(&self)").unwrap();
    let (table, _) = table.split_once("\n    }\n").unwrap();
    table.split('"').skip(1).step_by(2).collect()
}

#[test]
fn every_refusal_is_reached_and_classed() {
    let mut reached = BTreeMap::new();
    for (code, class, scenario) in SCENARIOS {
        let refused = scenario();
        assert_eq!(refused.refusal.code(), code, "{refused}");
        assert_eq!(refused.refusal.class(), class, "{refused}");
        reached.insert(code, refused);
    }
    let codes = codes();
    assert_eq!(codes.len(), reached.len());
    for code in codes {
        assert!(reached.contains_key(code), "no scenario reaches {code}");
    }
}

/// What a pool keeps, because a later block may make the same bytes right.
#[test]
fn a_refusal_that_may_heal_does() {
    let mut chain = Chain::new();
    let founding = chain.founding.clone();
    let (id, next) = (
        document(&founding, A, "doc"),
        document(&founding, A, "next"),
    );
    let waiting = [
        vec![revoke(id, LeafIndex(0))],
        vec![supersede(id, LeafIndex(0), next)],
        vec![endorse(id, LeafIndex(2))],
    ];
    let waiting = waiting.map(|records| chain.submit((A, "all"), records).unwrap());
    let stranger = chain
        .submit((A, "new"), vec![register(&founding, A, "next")])
        .unwrap();
    let refused = |chain: &Chain, item: &CheckedItem| chain.ask(item).unwrap_err().refusal;
    assert!(matches!(
        refused(&chain, &waiting[0]),
        Refusal::UnknownDocument(_)
    ));
    assert!(refused(&chain, &waiting[0]).may_heal());
    chain.write((A, "all"), vec![register(&founding, A, "doc")]);
    assert_eq!(chain.ask(&waiting[0]), Ok(()));
    assert!(matches!(
        refused(&chain, &waiting[1]),
        Refusal::UnknownSuccessor(_)
    ));
    assert!(refused(&chain, &waiting[1]).may_heal());
    assert!(matches!(refused(&chain, &waiting[2]), Refusal::Lane { .. }));
    assert!(refused(&chain, &waiting[2]).may_heal());
    assert!(refused(&chain, &stranger).may_heal());
    let enrolment = enrol(&founding, A, &signing_key("aa/new"), ALL, 0);
    let healed = [chain.submit(ADMIN, vec![enrolment]).unwrap(), stranger];
    chain.block(&healed);
    assert_eq!(chain.ask(&waiting[1]), Ok(()));
    // A head that was passed never comes again.
    let head = chain.write((A, "all"), vec![endorse(id, LeafIndex(0))]);
    assert!(!refused(&chain, &waiting[0]).may_heal());
    assert!(head > LeafIndex(2) && !refused(&chain, &waiting[2]).may_heal());
}
