//! What happened: always a hash, and words when somebody reads them.

use crate::clock::Time;
use crate::crypto::fold;
use consensus::{Message, Output};
use ledger::certificate::Certificate;
use ledger::header::BlockRef;
use ledger::vote::{Vote, VoteKind};
use std::collections::VecDeque;

/// How many events a failure shows.
pub(crate) const SHOWN: usize = 50;

/// Where the words go.
pub(crate) enum Words {
    /// Nowhere: only the hash is kept.
    None,
    /// The last [`SHOWN`] events.
    Last(VecDeque<String>),
    /// Standard output, at once.
    Print,
}

/// The trace of one run.
pub(crate) struct Trace {
    hash: u64,
    words: Words,
}

impl Trace {
    pub(crate) const fn new(words: Words) -> Self {
        Self { hash: 0, words }
    }

    /// Something happened to a node. `what` is its number in the hash.
    pub(crate) fn event(
        &mut self,
        now: Time,
        node: usize,
        what: u64,
        text: impl FnOnce() -> String,
    ) {
        self.hash = fold(
            self.hash ^ now,
            &(what ^ ((node as u64) << 56)).to_le_bytes(),
        );
        if !matches!(self.words, Words::None) {
            let line = format!("{:>7}.{:03} #{node} {}", now / 1_000, now % 1_000, text());
            self.say(line);
        }
    }

    /// What came of it.
    pub(crate) fn outcome(&mut self, what: u64, text: impl FnOnce() -> String) {
        self.hash = fold(self.hash, &what.to_le_bytes());
        match &mut self.words {
            Words::None => {}
            Words::Last(lines) => {
                if let Some(last) = lines.back_mut() {
                    last.push_str("\n                  ");
                    last.push_str(&text());
                }
            }
            Words::Print => self.say(format!("                  {}", text())),
        }
    }

    pub(crate) const fn hash(&self) -> u64 {
        self.hash
    }

    /// The last events, oldest first.
    pub(crate) fn last(self) -> Vec<String> {
        match self.words {
            Words::Last(lines) => lines.into(),
            Words::None | Words::Print => Vec::new(),
        }
    }

    fn say(&mut self, line: String) {
        match &mut self.words {
            Words::None => {}
            Words::Last(lines) => {
                if lines.len() == SHOWN {
                    lines.pop_front();
                }
                lines.push_back(line);
            }
            Words::Print => {
                use std::io::Write as _;
                // A reader that has gone away ends nothing but the reading.
                writeln!(std::io::stdout(), "{line}").ok();
            }
        }
    }
}

/// A message in a few words.
pub(crate) fn message(message: &Message) -> String {
    match message {
        Message::Hello(hello) => format!("Hello nonce {}", hello.nonce),
        Message::Seen(seen) => format!(
            "Seen nonce {} with {} votes, finalized {}",
            seen.nonce,
            seen.votes.len(),
            block(&seen.finalized)
        ),
        Message::Proposal(proposal) => format!(
            "Proposal view {} on view {}: {} of view {}, justified by [{}]",
            proposal.view,
            proposal.parent_view,
            block(&proposal.block.block_ref()),
            proposal.block.header.view,
            certificates(&proposal.justification)
        ),
        Message::CompactProposal(proposal) => format!(
            "CompactProposal view {} on view {}: {} of view {} with {} items, justified by [{}]",
            proposal.view,
            proposal.parent_view,
            block(&proposal.header.block_ref()),
            proposal.header.view,
            proposal.ids.len(),
            certificates(&proposal.justification)
        ),
        Message::BodyReq(request) => format!("BodyReq {}", block(&request.block)),
        Message::BodyItems(answer) => {
            format!(
                "BodyItems {} with {}",
                block(&answer.block),
                answer.items.len()
            )
        }
        Message::Vote(v) => vote(v),
        Message::Certificate(c) => certificate(c),
        Message::Status(status) => format!(
            "Status view {} finalized {} in view {}",
            status.view,
            block(&status.finalized),
            status.finalized_view
        ),
        Message::Fetch(wanted) => format!("Fetch {}", block(wanted)),
        Message::Block(b) => format!("Block {}", block(&b.block_ref())),
        Message::CertReq(request) => format!("CertReq views {} to {}", request.from, request.to),
        Message::CertResp(list) => format!("CertResp with {} certificates", list.len()),
        Message::SyncReq(request) => format!("SyncReq from height {}", request.from),
        Message::RejoinReq(request) => format!("RejoinReq nonce {}", request.nonce),
        Message::RejoinResp(answer) => format!(
            "RejoinResp nonce {} proven by {}",
            answer.nonce,
            answer
                .entry
                .as_ref()
                .map_or_else(|| "the anchor".to_owned(), certificate)
        ),
        Message::SyncResp(response) => format!(
            "SyncResp {} blocks, {} headers, {}",
            response.blocks.len(),
            response.headers.len(),
            certificate(&response.certificate)
        ),
    }
}

/// An output in a few words.
pub(crate) fn output(output: &Output) -> String {
    match output {
        Output::Persist { seq, records } => {
            let records: Vec<_> = records.iter().map(record).collect();
            format!("-> Persist {} [{}]", seq.0, records.join(", "))
        }
        Output::Broadcast(m) => format!("-> all: {}", message(m)),
        Output::Send { message: m, .. } => format!("-> one: {}", message(m)),
        Output::SetTimer { at } => format!("-> SetTimer {}", at.0),
        Output::Head(head) => format!("-> Head {}", block(head)),
        Output::Build(request) => format!(
            "-> Build view {} height {} flags {}",
            request.view,
            request.height,
            request.flags.bits()
        ),
        Output::Gather { ids, .. } => format!("-> Gather {} items", ids.len()),
        Output::Validate { hash: _, block: b } => format!("-> Validate {}", block(&b.block_ref())),
        Output::Commit(commit) => {
            let blocks: Vec<_> = commit
                .blocks
                .iter()
                .map(|b| block(&b.block_ref()))
                .collect();
            format!("-> Commit [{}]", blocks.join(", "))
        }
        Output::Forget(hash) => format!("-> Forget {:.8}", hash.to_string()),
        Output::Serve { request, .. } => format!("-> Serve {request:?}"),
        Output::Evidence { a, b } => format!("-> Evidence {} against {}", vote(a), vote(b)),
        Output::Alarm(alarm) => format!("-> Alarm {alarm}"),
        Output::Ban { offence, .. } => format!("-> Ban: {offence}"),
        Output::Park(hash) => format!("-> Park {hash}"),
        Output::Sealed(sealed) => format!("-> Sealed {}", block(&sealed.block)),
    }
}

fn record(record: &consensus::Record) -> String {
    use consensus::Record;
    match record {
        Record::EpochStart { .. } => "EpochStart".into(),
        Record::Quarantine { .. } => "Quarantine".into(),
        Record::Floor { .. } => "Floor".into(),
        Record::Stopped { .. } => "Stopped".into(),
        Record::Block(b) => format!("Block {}", block(&b.block_ref())),
        Record::Certificate(c) => certificate(c),
        Record::OwnVote { vote: v, .. } => vote(v),
        Record::FinTip { view, block: b, .. } => format!("FinTip {} in view {view}", block(b)),
        Record::Evidence { .. } => "Evidence".into(),
    }
}

/// Height and the first digits of the hash.
pub(crate) fn block(block: &BlockRef) -> String {
    format!("{}/{:.8}", block.height, block.hash.to_string())
}

/// A vote in a few words.
pub(crate) fn vote(vote: &Vote) -> String {
    match vote.kind {
        VoteKind::Nullify => format!("Nullify({}) of #{}", vote.view, vote.signer),
        VoteKind::Notarize | VoteKind::Finalize => format!(
            "{:?}({}, {}) of #{}",
            vote.kind,
            vote.view,
            block(&vote.block),
            vote.signer
        ),
    }
}

fn certificates(list: &[Certificate]) -> String {
    let words: Vec<_> = list.iter().map(certificate).collect();
    words.join(", ")
}

/// A certificate in a few words.
pub(crate) fn certificate(certificate: &Certificate) -> String {
    match certificate.kind() {
        VoteKind::Nullify => format!("nullification({})", certificate.view()),
        VoteKind::Notarize => format!(
            "notarization({}, {})",
            certificate.view(),
            block(&certificate.block())
        ),
        VoteKind::Finalize => format!(
            "finalization({}, {})",
            certificate.view(),
            block(&certificate.block())
        ),
    }
}
