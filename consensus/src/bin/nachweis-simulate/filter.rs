//! What a directed scenario does to messages: stop some, hold some back, by kind, sender and receiver.

use crate::clock::Time;
use consensus::Message;
use ledger::vote::VoteKind;
use std::collections::BTreeSet;
use std::str::FromStr;

/// Kinds of traffic, as a scenario names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Hello,
    Seen,
    Proposal,
    Notarize,
    Nullify,
    Finalize,
    Certificate,
    Status,
    Fetch,
    Block,
    CertReq,
    CertResp,
    SyncReq,
    SyncResp,
    RejoinReq,
    RejoinResp,
    BodyReq,
    BodyItems,
    /// Pushes of submitted records, which are not the engine's.
    Records,
}

/// All of them with their names.
const NAMES: [(&str, Kind); 19] = [
    ("hello", Kind::Hello),
    ("seen", Kind::Seen),
    ("proposal", Kind::Proposal),
    ("notarize", Kind::Notarize),
    ("nullify", Kind::Nullify),
    ("finalize", Kind::Finalize),
    ("certificate", Kind::Certificate),
    ("status", Kind::Status),
    ("fetch", Kind::Fetch),
    ("block", Kind::Block),
    ("certreq", Kind::CertReq),
    ("certresp", Kind::CertResp),
    ("syncreq", Kind::SyncReq),
    ("syncresp", Kind::SyncResp),
    ("rejoinreq", Kind::RejoinReq),
    ("rejoinresp", Kind::RejoinResp),
    ("bodyreq", Kind::BodyReq),
    ("bodyitems", Kind::BodyItems),
    ("records", Kind::Records),
];

/// A word that names no kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnknownKind;

impl FromStr for Kind {
    type Err = UnknownKind;
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let named = NAMES.iter().find(|(name, _)| *name == text);
        named.map(|(_, kind)| *kind).ok_or(UnknownKind)
    }
}

impl Kind {
    pub(crate) const fn of(message: &Message) -> Self {
        match message {
            Message::Hello(_) => Self::Hello,
            Message::Seen(_) => Self::Seen,
            Message::Proposal(_) | Message::CompactProposal(_) => Self::Proposal,
            Message::Vote(vote) => match vote.kind {
                VoteKind::Notarize => Self::Notarize,
                VoteKind::Nullify => Self::Nullify,
                VoteKind::Finalize => Self::Finalize,
            },
            Message::Certificate(_) => Self::Certificate,
            Message::Status(_) => Self::Status,
            Message::Fetch(_) => Self::Fetch,
            Message::Block(_) => Self::Block,
            Message::CertReq(_) => Self::CertReq,
            Message::CertResp(_) => Self::CertResp,
            Message::SyncReq(_) => Self::SyncReq,
            Message::SyncResp(_) => Self::SyncResp,
            Message::RejoinReq(_) => Self::RejoinReq,
            Message::RejoinResp(_) => Self::RejoinResp,
            Message::BodyReq(_) => Self::BodyReq,
            Message::BodyItems(_) => Self::BodyItems,
        }
    }

    pub(crate) fn all() -> BTreeSet<Self> {
        NAMES.iter().map(|(_, kind)| *kind).collect()
    }
}

/// What becomes of the messages that a rule is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fate {
    Lost,
    Late(Time),
}

/// One rule.
#[derive(Clone, Debug)]
pub(crate) struct Rule {
    pub(crate) kinds: BTreeSet<Kind>,
    pub(crate) from: BTreeSet<usize>,
    pub(crate) to: BTreeSet<usize>,
    pub(crate) fate: Fate,
}

/// The rules in force; the first that fits decides.
#[derive(Debug, Default)]
pub(crate) struct Filter(Vec<Rule>);

impl Filter {
    pub(crate) fn add(&mut self, rule: Rule) {
        self.0.push(rule);
    }

    pub(crate) fn clear(&mut self) {
        self.0.clear();
    }

    pub(crate) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether no submitted record reaches this node.
    pub(crate) fn stops_records_to(&self, to: usize) -> bool {
        let stops = |rule: &Rule| rule.kinds.contains(&Kind::Records) && rule.to.contains(&to);
        self.0.iter().any(stops)
    }

    /// What becomes of a message; `None`: nothing special.
    pub(crate) fn fate(&self, from: usize, to: usize, kind: Kind) -> Option<Fate> {
        let fits = |rule: &&Rule| {
            rule.kinds.contains(&kind) && rule.from.contains(&from) && rule.to.contains(&to)
        };
        self.0.iter().find(fits).map(|rule| rule.fate)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_fits_decides() {
        let mut filter = Filter::default();
        let rule = |kinds: &[Kind], fate| Rule {
            kinds: kinds.iter().copied().collect(),
            from: BTreeSet::from([0, 1]),
            to: BTreeSet::from([2]),
            fate,
        };
        filter.add(rule(&[Kind::Status], Fate::Late(50)));
        filter.add(rule(&[Kind::Status, Kind::Hello], Fate::Lost));
        assert_eq!(filter.fate(0, 2, Kind::Status), Some(Fate::Late(50)));
        assert_eq!(filter.fate(1, 2, Kind::Hello), Some(Fate::Lost));
        assert_eq!(filter.fate(2, 0, Kind::Hello), None);
        filter.clear();
        assert!(filter.is_empty() && filter.fate(0, 2, Kind::Status).is_none());
    }

    #[test]
    fn kinds_are_read_by_their_names() {
        assert_eq!(Kind::all().len(), NAMES.len());
        for (name, kind) in NAMES {
            assert_eq!(name.parse(), Ok(kind));
        }
        assert_eq!("vote".parse::<Kind>(), Err(UnknownKind));
    }
}
