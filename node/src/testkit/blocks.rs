//! A chain as four validators decide it, also across a restart, without any node.

use super::{CREATED, founding, key, register};
use consensus::Block;
use ledger::admission::CheckedItem;
use ledger::certificate::{Certificate, VerifiedCertificate};
use ledger::execute::{self, Slot};
use ledger::genesis::Purpose;
use ledger::header::{BlockRef, Header};
use ledger::id::{AuthorityIndex, ValidatorIndex, View};
use ledger::journal::JournalId;
use ledger::restart::{
    Base, Memory, RESTART_VERSION, Report, Restart, RestartFile, Statement as Said, Top,
};
use ledger::tip::{EpochInfo, Founding, Tip};
use ledger::view::MemoryState;
use ledger::vote::{Statement, Vote, VoteKind};
use std::sync::Arc;

/// The blocks, and where they lead.
pub(crate) struct Blocks {
    pub(crate) founding: Founding,
    pub(crate) tip: Tip,
    pub(crate) frames: Vec<(Block, Option<Certificate>)>,
    state: MemoryState,
    /// The epoch of the newest block.
    deciding: Arc<EpochInfo>,
}

/// A certificate by the first three.
pub(crate) fn certificate(epoch: &EpochInfo, statement: Statement) -> Certificate {
    let vote = |at| {
        let key = key(at, Purpose::Vote);
        let signer = ValidatorIndex(at);
        Vote::sign(statement, epoch.epoch, signer, &epoch.context, &key)
    };
    let votes: Vec<Vote> = (0..3).map(vote).collect();
    let made = VerifiedCertificate::assemble(statement, epoch.epoch, &epoch.set, &votes);
    made.unwrap().into_inner()
}

impl Blocks {
    pub(crate) fn new() -> Self {
        let founding = founding(4);
        let tip = founding.tip();
        let mut state = MemoryState::new();
        state.apply(founding.effects(), tip.time_ms);
        Self {
            deciding: Arc::clone(&tip.epoch),
            founding,
            tip,
            frames: Vec::new(),
            state,
        }
    }

    /// One more block of one submission, without its own finalization.
    pub(crate) fn grow(&mut self) {
        let number = u32::try_from(self.frames.len()).unwrap() + 1;
        let pending = register(&self.founding, 0, number);
        let slot = Slot {
            view: View(number.into()),
            proposer: ValidatorIndex(0),
            time_ms: CREATED.saturating_add(number.into()),
        };
        let items = [CheckedItem::Submission(pending.submission)];
        let built = execute::build(&self.founding, &self.state, &self.tip, slot, &items);
        let (executed, body) = built.unwrap().block.unwrap();
        let header = executed.header;
        self.state.apply(executed.effects, header.time_ms);
        self.deciding = Arc::clone(&self.tip.epoch);
        self.tip = executed.tip;
        let body = body.encode().into();
        self.frames.push((Block { header, body }, None));
    }

    /// The newest block is finalized by itself.
    pub(crate) fn finalize(&mut self) {
        let certificate = self.certified(VoteKind::Finalize);
        self.frames.last_mut().unwrap().1 = Some(certificate);
    }

    /// So many blocks, each finalized by itself.
    pub(crate) fn grow_final(&mut self, blocks: usize) {
        for _ in 0..blocks {
            self.grow();
            self.finalize();
        }
    }

    /// The newest block.
    pub(crate) fn header(&self) -> Header {
        self.frames.last().unwrap().0.header.clone()
    }

    pub(crate) fn anchor(&self) -> BlockRef {
        self.tip.block_ref()
    }

    fn certified(&self, kind: VoteKind) -> Certificate {
        let header = self.header();
        let statement = Statement {
            kind,
            view: header.view,
            block: header.block_ref(),
        };
        certificate(&self.deciding, statement)
    }

    /// A restart file that goes on from the newest block, by the reports of these.
    pub(crate) fn restart_by(&self, reporters: &[u16]) -> RestartFile {
        let top = Top::new(self.header(), self.certified(VoteKind::Notarize)).unwrap();
        let reports = reporters
            .iter()
            .map(|at| report(&self.founding, &self.deciding, *at, Some(&top)));
        RestartFile::new(Base::of(&self.deciding), None, reports.collect()).unwrap()
    }

    /// What a file says, once it is checked.
    pub(crate) fn checked(&self, file: &RestartFile) -> Restart {
        let admin = |authority| self.founding.admin(authority);
        file.check(self.founding.chain(), admin).unwrap()
    }

    /// The validators go on by this file.
    pub(crate) fn go_on_by(&mut self, file: &RestartFile) {
        let opened = Arc::clone(self.checked(file).epoch());
        self.tip = self.tip.clone().restarted(opened);
    }
}

/// What a stopped validator reports.
pub(crate) fn report(founding: &Founding, epoch: &EpochInfo, at: u16, top: Option<&Top>) -> Report {
    let said = Said {
        version: RESTART_VERSION,
        chain: founding.chain(),
        epoch: epoch.epoch,
        context: epoch.context,
        authority: AuthorityIndex(at),
        journal: JournalId([u8::try_from(at).unwrap(); 16]),
        memory: Memory::Whole,
        fin: epoch.anchor,
        top: top.cloned(),
    };
    said.sign(&key(at, Purpose::Admin))
}
