//! The verification: the numbered steps of `docs/receipt.md` in their order, and the verdict they lead to.

use super::bytes::{self, Authentic, Compared};
use super::content::{Ground, Registered};
use super::failure::{Failure, Fault, Step};
use super::signers::{self, Vouched};
use super::text::Receipt;
use super::trust::{Online, Trust};
use super::verdict::{
    AsOf, AuthorityName, Facts, Finding, Freshness, Passed, RelatedFact, Stale, Verdict,
};
use crate::cosignature::CosignedAt;
use crate::document::{CommitmentRole, DocumentDigest, DocumentId};
use crate::id::{AuthorityId, AuthorityIndex, TimeMs};
use crate::record::{Outcome, Record};
use crate::state::Lifecycle;
use alloc::collections::BTreeMap;
use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

/// How far in the future a cosignature may be and still count, in seconds.
const FUTURE_S: u64 = 300;
/// By how much a block's time may be behind at most: the network's `past_ms`, doubled six times (consensus.md, 3.16).
const PAST_DOUBLINGS: u64 = 64;

/// Verifies a receipt for a document of which the bytes were hashed: the only way to a verdict on a document.
///
/// `now` is this computer's clock; `located` is the id that the document itself names, if it was found in it.
pub fn verify(
    digest: &DocumentDigest,
    receipt: &[u8],
    trust: &Trust,
    now: TimeMs,
    located: Option<DocumentId>,
) -> Verdict {
    run(Some(digest), receipt, trust, now, located)
}

/// Verifies what a receipt says about a document of which no bytes are at hand: never CURRENT.
pub fn verify_status(id: DocumentId, receipt: &[u8], trust: &Trust, now: TimeMs) -> Verdict {
    run(None, receipt, trust, now, Some(id))
}

fn run(
    digest: Option<&DocumentDigest>,
    receipt: &[u8],
    trust: &Trust,
    now: TimeMs,
    located: Option<DocumentId>,
) -> Verdict {
    let mut steps = Vec::new();
    let mut document = None;
    let parsed = Receipt::parse(receipt).map_err(|error| Step::Form.fails(error));
    let outcome = parsed.and_then(|receipt| {
        document = Some(receipt.document());
        let checked = check(&receipt, trust, &mut steps)?;
        Ok(conclude(digest, trust, now, located, checked, &mut steps))
    });
    match outcome {
        Ok(verdict) => Verdict { steps, ..verdict },
        Err(failure) => Verdict {
            finding: Finding::ProofInvalid(failure),
            also: Vec::new(),
            document,
            as_of: None,
            freshness: None,
            facts: None,
            steps,
            bytes_checked: false,
        },
    }
}

/// A receipt of which every part was checked.
struct Checked {
    vouched: Vouched,
    receipt_size: crate::id::TreeSize,
    block_time_ms: TimeMs,
    document: DocumentId,
    record: crate::leaf::RecordLeaf,
    openings: Vec<Authentic>,
    facts: Facts,
}

/// Notes a step that was passed.
fn pass(steps: &mut Vec<Passed>, step: Step, what: String) {
    steps.push(Passed { step, what });
}

/// Steps 1 to 13.
fn check(receipt: &Receipt, trust: &Trust, steps: &mut Vec<Passed>) -> Result<Checked, Failure> {
    let (extra, checkpoint) = (receipt.extra(), receipt.checkpoint());
    let document = receipt.document();
    pass(steps, Step::Form, format!("receipt of document {document}"));
    if checkpoint.origin != trust.origin() {
        return Err(Step::Origin.fails(Fault::Origin(checkpoint.origin.clone())));
    }
    pass(steps, Step::Origin, format!("log {}", checkpoint.origin));
    let ground = Ground::new(trust, receipt)?;
    let (size, trailer) = (checkpoint.size, ground.trailer);
    let what = format!(
        "leaf {} closes block {}",
        size.0.saturating_sub(1),
        trailer.height
    );
    pass(steps, Step::Trailer, what);
    let parts = (&*extra.handovers, extra.consistency.as_ref());
    let vouched = signers::vouch(trust, receipt.note(), checkpoint, trailer, parts)?;
    pass(steps, Step::Signers, vouched_for(&vouched));
    let of = ground.document(receipt)?;
    pass_document(steps, &of);
    ground.submission(receipt, of.leaf)?;
    let authority = of.leaf.authority;
    let what = format!("signed by authority #{authority} with key {}", of.leaf.key);
    pass(steps, Step::Submission, what);
    ground.key(receipt, &of)?;
    let roles = extra.key.role.bits();
    let what = format!(
        "key was in use at leaf {}, role mask {roles}",
        receipt.index()
    );
    pass(steps, Step::Key, what);
    let what = if extra.doc.is_some() {
        "state is proved"
    } else {
        "no record since the registration"
    };
    pass(steps, Step::Status, what.into());
    let names = ground.authorities(&extra.authorities, authority)?;
    pass(steps, Step::Authorities, format!("{} names", names.len()));
    let related = ground.related(&extra.related, &of)?;
    let proved = related.iter().filter(|fact| fact.proved.is_some()).count();
    let what = format!("{proved} of {} are proved", related.len());
    pass(steps, Step::Related, what);
    let openings = bytes::openings(&ground, receipt, &of)?;
    pass(
        steps,
        Step::Openings,
        format!("{} openings", openings.len()),
    );
    let details = bytes::details(&ground, receipt, &of)?;
    pass(steps, Step::Details, format!("{} fields", details.len()));
    Ok(Checked {
        receipt_size: size,
        block_time_ms: trailer.time_ms,
        document,
        record: of.leaf.clone(),
        openings,
        facts: Facts {
            details,
            ..facts(receipt, of, names, related, &vouched)
        },
        vouched,
    })
}

fn vouched_for(vouched: &Vouched) -> String {
    match vouched {
        Vouched::Quorum { tally, quorum } => {
            let found = tally.cosigners.len();
            format!("{found} validators cosigned, {quorum} are needed; signed by a log")
        }
        Vouched::Pin => "the pinned checkpoint vouches for it".into(),
        Vouched::Nothing => {
            "older than the pinned checkpoint, which it is not shown to lead to".into()
        }
    }
}

fn pass_document(steps: &mut Vec<Passed>, of: &Registered<'_>) {
    let index = of.registration.index;
    let what = format!("leaf {index} is in the log, of block {}", of.leaf.height);
    pass(steps, Step::Registration, what);
    let what = format!("{} by {}", of.document, of.leaf.record.name());
    pass(steps, Step::Document, what);
}

fn facts(
    receipt: &Receipt,
    of: Registered<'_>,
    names: BTreeMap<AuthorityIndex, AuthorityName>,
    related: Vec<RelatedFact>,
    vouched: &Vouched,
) -> Facts {
    let relation = if let Record::Derive { relation, .. } = &of.leaf.record {
        Some(*relation)
    } else {
        None
    };
    Facts {
        registration: of.registration,
        relation,
        key: of.leaf.key,
        state: of.state,
        compromised_since: receipt.extra().key.compromised_since,
        related,
        details: Vec::new(),
        received: Vec::new(),
        renewed: Vec::new(),
        cosigners: cosigners(vouched).map(|(id, _)| id.clone()).collect(),
        names,
    }
}

fn cosigners(vouched: &Vouched) -> impl Iterator<Item = &(AuthorityId, CosignedAt)> {
    match vouched {
        Vouched::Quorum { tally, .. } => tally.cosigners.iter(),
        Vouched::Pin | Vouched::Nothing => [].iter(),
    }
}

/// Steps 14 and 15, and the table.
fn conclude(
    digest: Option<&DocumentDigest>,
    trust: &Trust,
    now: TimeMs,
    located: Option<DocumentId>,
    checked: Checked,
    steps: &mut Vec<Passed>,
) -> Verdict {
    let Checked {
        vouched,
        receipt_size,
        block_time_ms,
        document,
        record,
        openings,
        mut facts,
    } = checked;
    let compared = bytes::compare(digest, &record, &openings);
    if let Some(digest) = digest {
        facts.received = bytes::later(CommitmentRole::Received, digest, &openings);
        if compared == Compared::Checked {
            facts.renewed = bytes::later(CommitmentRole::Renewed, digest, &openings);
        }
    }
    pass(steps, Step::Bytes, compared_how(compared).into());
    let age = age(trust, now, receipt_size, &vouched);
    if let Some((freshness, _)) = &age {
        pass(
            steps,
            Step::Freshness,
            match freshness {
                Freshness::Fresh => "fresh".into(),
                Freshness::Stale(why) => format!("stale: {why}"),
            },
        );
    }
    let mut rows = Vec::new();
    if let Some(named) = located.filter(|named| *named != document) {
        rows.push(Finding::WrongReceipt {
            receipt: document,
            document: named,
        });
    }
    if compared == Compared::Modified {
        rows.push(Finding::Modified);
    }
    match age {
        Some((freshness, _)) => status_rows(&mut rows, &facts, compared, freshness),
        None => rows.push(Finding::OlderThanPin {
            size: receipt_size,
            pin: trust.start().0,
        }),
    }
    let params = trust.founding.params();
    let as_of = age.map(|(_, cosigned_at)| AsOf {
        size: receipt_size,
        block_time_ms,
        early_ms: params.past_ms.saturating_mul(PAST_DOUBLINGS),
        late_ms: params.drift_ms,
        cosigned_at,
    });
    let mut rows = rows.into_iter();
    let finding = rows.next().unwrap_or(Finding::LocatorKnown);
    Verdict {
        finding,
        also: rows.collect(),
        document: Some(document),
        as_of,
        freshness: age.map(|(freshness, _)| freshness),
        facts: age.map(|_vouched| facts),
        steps: Vec::new(),
        bytes_checked: compared == Compared::Checked,
    }
}

const fn compared_how(compared: Compared) -> &'static str {
    match compared {
        Compared::Checked => "the bytes are the registered ones",
        Compared::Modified => "the bytes are not the registered ones",
        Compared::Received(_) => "the bytes are ones that were received",
        Compared::NotChecked => "the bytes were not compared",
    }
}

/// The rows of the table from REVOKED on.
fn status_rows(rows: &mut Vec<Finding>, facts: &Facts, compared: Compared, freshness: Freshness) {
    let state = &facts.state;
    match state.lifecycle {
        Lifecycle::Revoked { code } => rows.push(Finding::Revoked { code }),
        Lifecycle::Superseded { by } => rows.push(Finding::Superseded { by }),
        Lifecycle::InForce => {}
    }
    if state.retired == Some(Outcome::Archived) {
        rows.push(Finding::Retired);
    }
    if let Some(code) = state.suspended {
        rows.push(Finding::Suspended { code });
    }
    if state.retired == Some(Outcome::Erased) && state.lifecycle == Lifecycle::InForce {
        rows.push(Finding::EvidenceErased);
    }
    match compared {
        Compared::Received(by) => rows.push(Finding::ReceivedBy(facts.authority(by))),
        Compared::NotChecked => rows.push(Finding::LocatorKnown),
        Compared::Checked if state.is_in_force() => in_force_rows(rows, facts, freshness),
        Compared::Checked | Compared::Modified => {}
    }
}

fn in_force_rows(rows: &mut Vec<Finding>, facts: &Facts, freshness: Freshness) {
    let revoked = facts.related.iter().filter(|fact| fact.is_revoked());
    let revoked_parents: Vec<DocumentId> = revoked.map(|fact| fact.document).collect();
    let open = facts.state.disputes.len();
    if open > 0 || !revoked_parents.is_empty() {
        rows.push(Finding::Disputed {
            open,
            revoked_parents,
        });
    }
    match freshness {
        Freshness::Stale(why) => rows.push(Finding::InForceAsOf(why)),
        Freshness::Fresh if rows.is_empty() => rows.push(Finding::Current),
        Freshness::Fresh => {}
    }
}

/// Freshness and t_q; none where nothing vouches for the checkpoint.
fn age(
    trust: &Trust,
    now: TimeMs,
    size: crate::id::TreeSize,
    vouched: &Vouched,
) -> Option<(Freshness, Option<CosignedAt>)> {
    let stale = |why, at| Some((Freshness::Stale(why), at));
    let quorum = match vouched {
        Vouched::Nothing => return None,
        Vouched::Pin => return stale(Stale::PinAlone, None),
        Vouched::Quorum { quorum, .. } => *quorum,
    };
    let now = u128::from(now.0);
    let millis = |at: &CosignedAt| u128::from(at.0).saturating_mul(1000);
    let latest = now.saturating_add(u128::from(FUTURE_S).saturating_mul(1000));
    let times = cosigners(vouched).map(|(_, at)| *at);
    let mut times: Vec<CosignedAt> = times.filter(|at| millis(at) <= latest).collect();
    times.sort_unstable_by(|a, b| b.cmp(a));
    let Some(at) = times.get(quorum.saturating_sub(1)).copied() else {
        return stale(Stale::SlowClock, None);
    };
    let limit_s = match trust.online {
        Online::Online => trust.max_age.online_s,
        Online::Offline => trust.max_age.offline_s,
    };
    let age = now.saturating_sub(millis(&at));
    if age > u128::from(limit_s).saturating_mul(1000) {
        let age_ms = u64::try_from(age).unwrap_or(u64::MAX);
        return stale(Stale::Age { age_ms, limit_s }, Some(at));
    }
    if size < trust.seen_size {
        let seen = trust.seen_size;
        return stale(Stale::NewerSeen { seen }, Some(at));
    }
    Some((Freshness::Fresh, Some(at)))
}
