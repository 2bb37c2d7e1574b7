//! The ledger's values as the API's words: authority ids, and what a record says.

use ledger::id::{AuthorityIndex, LeafIndex};
use ledger::record::Record;
use ledger::tip::Founding;
use ledger::view::{StateUnavailable, StateView};
use serde_json::{Map, Value, json};

/// Names authorities as they are called now.
#[derive(Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) founding: &'a Founding,
    pub(super) view: &'a dyn StateView,
}

impl Names<'_> {
    /// Short id of an authority; `#index` for one that there is not.
    pub(super) fn of(&self, index: AuthorityIndex) -> Result<String, StateUnavailable> {
        if let Some(state) = self.view.auth_state(index)? {
            return Ok(state.id.to_string());
        }
        let founder = self.founding.genesis().authority(index);
        Ok(founder.map_or_else(|| format!("#{index}"), |founder| founder.id.to_string()))
    }
}

/// Codes and references of a record, without document, nonce and commitments.
pub(super) fn detail(record: &Record, names: &Names<'_>) -> Result<Value, StateUnavailable> {
    let mut fields = Map::new();
    let mut put = |name: &str, value: Value| {
        fields.insert(name.to_owned(), value);
    };
    if let Some(prev) = prev(record) {
        put("prev", json!(prev.0));
    }
    if let Some(of) = of(record) {
        put("of", json!(of.0));
    }
    if let Some((name, code)) = code(record) {
        put(name, json!(code));
    }
    match record {
        Record::Derive {
            parents, retention, ..
        } => {
            let parents: Vec<_> = parents.ids().iter().map(ToString::to_string).collect();
            put("parents", json!(parents));
            put("retention", json!(retention.code()));
        }
        Record::Supersede { successor, .. } => put("successor", json!(successor.to_string())),
        Record::Transfer { to, due_days, .. } => {
            put("to", json!(names.of(*to)?));
            put("due_days", json!(due_days));
        }
        Record::AccessRoot { period, count, .. } => {
            put("period", json!(period));
            put("count", json!(count));
        }
        Record::Enrol {
            key, not_after_ms, ..
        } => {
            put("key", json!(key.to_string()));
            put("not_after_ms", json!(not_after_ms.0));
        }
        Record::RetireKey {
            key,
            compromised_since,
        } => {
            put("key", json!(key.to_string()));
            put("compromised_since", json!(compromised_since.map(|at| at.0)));
        }
        Record::Ready { block, .. } => put("block", json!(block.height.0)),
        // All that others say are the codes and references above.
        _ => {}
    }
    Ok(Value::Object(fields))
}

/// A record's one code, by the name that it has in the format.
const fn code(record: &Record) -> Option<(&'static str, u8)> {
    Some(match record {
        Record::Register { retention, .. } | Record::Publish { retention, .. } => {
            ("retention", retention.code())
        }
        Record::Derive { relation, .. } => ("relation", relation.code()),
        Record::Transfer { mode, .. } => ("mode", mode.code()),
        Record::Reject { reason, .. } => ("reason", reason.code()),
        Record::Endorse { kind, .. } => ("kind", kind.code()),
        Record::Dispute { code, .. } => ("code", code.code()),
        Record::Answer { code, .. } => ("code", code.code()),
        Record::Correct { code, .. } => ("code", *code),
        Record::Suspend { code, .. } => ("code", code.code()),
        Record::Reinstate { code, .. } => ("code", code.code()),
        Record::Revoke { code, .. } => ("code", code.code()),
        Record::Hold { code, .. } | Record::Release { code, .. } => ("code", code.code()),
        Record::Retire { outcome, .. } => ("outcome", outcome.code()),
        Record::Enrol { role, .. } => ("role", role.bits()),
        _ => return None,
    })
}

/// The earlier record that a record answers.
const fn of(record: &Record) -> Option<LeafIndex> {
    match record {
        Record::Withdraw { of, .. }
        | Record::Accept { of, .. }
        | Record::Reject { of, .. }
        | Record::Dispute { of, .. }
        | Record::Answer { of, .. }
        | Record::Correct { of, .. }
        | Record::Approve { of }
        | Record::Ready { of, .. } => Some(*of),
        _ => None,
    }
}

/// The author's record before, in its lane.
const fn prev(record: &Record) -> Option<LeafIndex> {
    match record {
        Record::Supersede { prev, .. }
        | Record::Transfer { prev, .. }
        | Record::Withdraw { prev, .. }
        | Record::Accept { prev, .. }
        | Record::Reject { prev, .. }
        | Record::Endorse { prev, .. }
        | Record::Dispute { prev, .. }
        | Record::Answer { prev, .. }
        | Record::Correct { prev, .. }
        | Record::Suspend { prev, .. }
        | Record::Reinstate { prev, .. }
        | Record::Revoke { prev, .. }
        | Record::Hold { prev, .. }
        | Record::Release { prev, .. }
        | Record::Retire { prev, .. }
        | Record::ErasureAck { prev, .. }
        | Record::Renew { prev, .. } => Some(*prev),
        _ => None,
    }
}
