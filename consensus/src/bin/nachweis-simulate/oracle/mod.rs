//! Judges a run from outside: it sees what leaves the nodes, what they write and what they commit, and trusts none
//! of them. Only honest validators can break a promise.

mod bounds;
mod certificates;
mod chain;
mod durability;
mod evidence;
mod journal;
mod times;
mod votes;

use crate::plan::Plan;
use crate::roster::Roster;
use crate::violation::{Checked, Invariant, Violation, broken, check};
pub(crate) use bounds::Bounds;
use certificates::Certificates;
pub(crate) use chain::Chain;
use consensus::{Alarm, Block, Commit, EngineStatus, Message, Record, Rules};
use durability::Durable;
use evidence::{Heard, Misdeeds};
use journal::Written;
use ledger::certificate::Certificate;
use ledger::hash::BlockHash;
use ledger::vote::Vote;
use std::collections::BTreeSet;
use times::Times;
pub(crate) use times::Watch;
use votes::Votes;

/// Everything that was seen, by invariant.
pub(crate) struct Oracle {
    /// By validator.
    honest: Vec<bool>,
    /// Whose keys each node has.
    owners: Vec<usize>,
    pub(crate) chain: Chain,
    votes: Votes,
    times: Times,
    rules: Rules,
    certificates: Certificates,
    durable: Vec<Durable>,
    written_by: Vec<Written>,
    heard: Vec<Heard>,
    misdeeds: Misdeeds,
    /// Messages of honest validators that are no heartbeats: an idle network has none.
    pub(crate) traffic: u64,
    /// Records that honest validators wrote.
    pub(crate) written: u64,
    /// Evidence that honest validators handed out.
    pub(crate) evidence: u64,
    /// Proposals by ids that honest validators sent.
    pub(crate) compact: u64,
    /// Answers that honest validators gave to keys that rejoin.
    pub(crate) rejoins: u64,
    /// Nodes whose journal was lost.
    forgetful: BTreeSet<usize>,
    anchor_view: bool,
}

impl Oracle {
    pub(crate) fn new(plan: &Plan, roster: &Roster) -> Self {
        let nodes = roster.nodes();
        Self {
            honest: (0..plan.validators()).map(|v| plan.is_honest(v)).collect(),
            owners: (0..nodes).map(|node| roster.owner(node)).collect(),
            chain: Chain::new(*roster.first().anchor()),
            votes: Votes::default(),
            times: Times::default(),
            rules: plan.rules,
            certificates: Certificates::default(),
            durable: (0..nodes).map(|_| Durable::default()).collect(),
            written_by: (0..nodes).map(|_| Written::default()).collect(),
            heard: (0..nodes).map(|_| Heard::default()).collect(),
            misdeeds: Misdeeds::default(),
            traffic: 0,
            written: 0,
            evidence: 0,
            compact: 0,
            rejoins: 0,
            forgetful: BTreeSet::new(),
            anchor_view: plan.rules.anchor_interval_ms > 0,
        }
    }

    pub(crate) fn is_honest(&self, node: usize) -> bool {
        self.honest[self.owners[node]]
    }

    /// A process starts from these records and blocks.
    pub(crate) fn started<'a>(
        &mut self,
        node: usize,
        roster: &Roster,
        records: &[Record],
        archive: impl Iterator<Item = &'a (Block, Option<Certificate>)>,
    ) -> Checked {
        if !self.is_honest(node) {
            return Ok(());
        }
        self.durable[node] = Durable::default();
        self.durable(node, records)?;
        self.written_by[node].replace(records);
        self.heard[node] = Heard::default();
        self.heard[node].recorded(self.chain.accused().iter().copied());
        let mut height = 0;
        for (block, finalization) in archive {
            self.durable[node].archived(block, finalization.as_ref());
            height = block.header.height.0;
        }
        self.chain.restarted(node, height)?;
        for record in records {
            self.heard[node].writes(record);
            self.written_record(node, roster, record)?;
        }
        Ok(())
    }

    /// A message leaves a node, to one peer or to all.
    pub(crate) fn sent(&mut self, node: usize, roster: &Roster, message: &Message) -> Checked {
        if !self.is_honest(node) {
            return Ok(());
        }
        let durable = &self.durable[node];
        if !matches!(message, Message::Status(_)) {
            self.traffic += 1;
        }
        if let Some(proposal) = message.outline() {
            self.compact += u64::from(proposal.ids.is_some());
            durable.allows_vote(node, proposal.vote)?;
            self.votes.sent(node, roster, proposal.vote)?;
            for certificate in proposal.justification {
                durable.allows_certificate(node, certificate)?;
                self.certificates.seen(roster, certificate)?;
            }
        }
        match message {
            Message::Vote(vote) => {
                durable.allows_vote(node, vote)?;
                self.votes.sent(node, roster, vote)?;
            }
            Message::Certificate(certificate) => {
                durable.allows_certificate(node, certificate)?;
                self.certificates.seen(roster, certificate)?;
            }
            Message::CertResp(list) => {
                for certificate in &**list {
                    durable.allows_certificate(node, certificate)?;
                    self.certificates.seen(roster, certificate)?;
                }
            }
            Message::SyncResp(response) => {
                self.certificates.seen(roster, &response.certificate)?;
            }
            Message::RejoinResp(answer) => {
                self.rejoins += 1;
                if let Some(certificate) = &answer.entry {
                    durable.allows_certificate(node, certificate)?;
                    self.certificates.seen(roster, certificate)?;
                }
            }
            Message::Proposal(_)
            | Message::CompactProposal(_)
            | Message::Hello(_)
            | Message::Seen(_)
            | Message::Status(_)
            | Message::Fetch(_)
            | Message::Block(_)
            | Message::CertReq(_)
            | Message::SyncReq(_)
            | Message::RejoinReq(_)
            | Message::BodyReq(_)
            | Message::BodyItems(_) => {}
        }
        Ok(())
    }

    /// A node writes records; they are not durable yet.
    pub(crate) fn writes(
        &mut self,
        node: usize,
        roster: &Roster,
        watch: &Watch,
        records: &[Record],
    ) -> Checked {
        if !self.is_honest(node) {
            return Ok(());
        }
        self.written += records.len() as u64;
        for record in records {
            self.written_by[node].append(node, record)?;
            self.heard[node].writes(record);
            self.times.writes(record);
            self.written_record(node, roster, record)?;
        }
        let committed = |hash: &BlockHash| self.chain.time_of(hash);
        self.times
            .judge(node, watch, &self.rules, records, committed)
    }

    /// A node's journal is replaced by a new segment.
    pub(crate) fn prunes(
        &mut self,
        node: usize,
        status: &EngineStatus,
        records: &[Record],
    ) -> Checked {
        if !self.is_honest(node) {
            return Ok(());
        }
        self.written_by[node].leaves_out(node, status, records)?;
        self.written_by[node].replace(records);
        journal::pruned(node, self.misdeeds.count(), status, records)
    }

    /// A node's engine took in a vote that was verified.
    pub(crate) fn took_in(
        &mut self,
        node: usize,
        roster: &Roster,
        after: &EngineStatus,
        vote: &Vote,
    ) -> Checked {
        let signer = roster.validator_at(vote.epoch, vote.signer);
        if !self.is_honest(node) || signer.is_some_and(|signer| self.honest[signer]) {
            return Ok(());
        }
        self.heard[node].took_in(node, after, vote)
    }

    /// Records became durable, and the node is told.
    pub(crate) fn durable(&mut self, node: usize, records: &[Record]) -> Checked {
        if !self.is_honest(node) {
            return Ok(());
        }
        self.durable[node].add(records);
        records.iter().try_for_each(|record| match record {
            Record::Certificate(certificate) => self.certificates.stands(certificate),
            _ => Ok(()),
        })
    }

    /// Blocks of the archive became durable.
    pub(crate) fn archived(&mut self, node: usize, frames: &[(Block, Option<Certificate>)]) {
        for (block, finalization) in frames {
            self.durable[node].archived(block, finalization.as_ref());
        }
    }

    /// A node commits. The blocks that nobody had before are the first of their height.
    pub(crate) fn commits(
        &mut self,
        node: usize,
        roster: &Roster,
        commit: &Commit,
    ) -> Result<(), Violation> {
        if !self.is_honest(node) {
            return Ok(());
        }
        check(
            !commit.blocks.is_empty(),
            Invariant::Contract,
            || "an empty commit",
        )?;
        self.durable[node].allows_commit(node, &commit.blocks)?;
        for block in &commit.blocks {
            if self.chain.committed(node, block)? {
                evidence::committed(roster, &self.honest, block)?;
            }
        }
        if let (Some(finalization), Some(last)) = (&commit.finalization, commit.blocks.last()) {
            self.certificates.seen(roster, finalization)?;
            let fits = finalization.block() == last.block_ref()
                && finalization.kind() == ledger::vote::VoteKind::Finalize;
            check(
                fits,
                Invariant::Contract,
                || "a commit's finalization is of another block",
            )?;
        }
        Ok(())
    }

    /// A node shows that a validator voted twice.
    pub(crate) fn evidence(&mut self, node: usize, roster: &Roster, a: &Vote, b: &Vote) -> Checked {
        if !self.is_honest(node) {
            return Ok(());
        }
        self.evidence += 1;
        self.misdeeds.shown(node, roster, &self.honest, (a, b))
    }

    /// How much evidence honest nodes handed out, counted once for each epoch and validator.
    pub(crate) fn misdeeds(&self) -> usize {
        self.misdeeds.count()
    }

    /// How much evidence is not on the chain yet although an honest node that is left handed it out.
    pub(crate) fn unrecorded(&self, is_left: impl Fn(usize) -> bool) -> usize {
        self.misdeeds
            .missing(self.chain.accused(), self.chain.epoch(), is_left)
    }

    /// A node's journal is lost: it will say so, and rejoin.
    pub(crate) fn expect_quarantine(&mut self, node: usize) {
        self.forgetful.insert(node);
        self.misdeeds.forgets(node);
    }

    /// A node raises an alarm.
    pub(crate) fn alarm(&self, node: usize, alarm: Alarm) -> Checked {
        match alarm {
            Alarm::Clock(_) => Ok(()),
            Alarm::Contract(_) if self.is_honest(node) => {
                broken(Invariant::Contract, format!("#{node}: {alarm}"))
            }
            Alarm::Quarantine if self.forgetful.contains(&node) => Ok(()),
            Alarm::Divergence(_)
            | Alarm::Quarantine
            | Alarm::OtherInstance(_)
            | Alarm::Contract(_) => check(!self.is_honest(node), Invariant::Alarm, || {
                format!("#{node}: {alarm}")
            }),
        }
    }

    /// Whether this run writes anchors, so that it is never idle.
    pub(crate) const fn has_anchors(&self) -> bool {
        self.anchor_view
    }

    fn written_record(&mut self, node: usize, roster: &Roster, record: &Record) -> Checked {
        match record {
            Record::Certificate(certificate) => self.certificates.accepted(roster, certificate),
            Record::EpochStart {
                epoch,
                set,
                anchor,
                restart,
            } => self.chain.entered(node, *epoch, (*set, *anchor, *restart)),
            Record::Quarantine { .. }
            | Record::Floor { .. }
            | Record::Stopped { .. }
            | Record::Block(_)
            | Record::OwnVote { .. }
            | Record::FinTip { .. }
            | Record::Evidence { .. } => Ok(()),
        }
    }
}
