//! An archive of any length, written without a network: what ten million records over real consensus would take hours for.
//!
//! Its blocks are valid to the last signature: records signed by a registrar, executed by `ledger::execute`, finalized
//! by a quorum of the network's own vote keys, written by the node's own archive. `nachweis audit` finds it sound.

use crate::load::Maker;
use crate::network::Network;
use consensus::{EpochSpec, Tip as Anchor};
use genesis::container;
use genesis::keyfile::KeyFile;
use ledger::admission::{CheckedItem, CheckedSubmission};
use ledger::block::{Block, CheckedBody};
use ledger::certificate::VerifiedCertificate;
use ledger::execute::{self, Slot};
use ledger::frame::Payload;
use ledger::genesis::Purpose;
use ledger::hash::Hash;
use ledger::header::{Flags, Header};
use ledger::id::{TimeMs, ValidatorIndex, View};
use ledger::journal::JournalId;
use ledger::key::SigningKey;
use ledger::restart::{self, Base, Memory, RESTART_VERSION, RestartFile, Top};
use ledger::tip::{Founding, Tip};
use ledger::view::MemoryState;
use ledger::vote::{Statement, Vote, VoteKind};
use node::storage::archive::Archive;
use std::io::{Error, Result};

/// Records of one submission.
pub const BATCH: u64 = 100;
/// Submissions of one block.
pub const SUBMISSIONS: u64 = 10;
/// Length of a segment that a few blocks fill.
const SHORT_SEGMENT: u64 = 3 << 10;
/// Blocks that one sync covers there.
const SHORT_GROUP: usize = 4;
/// Blocks that one sync covers.
const GROUP: usize = 16;

/// Fills the archive of a node that never ran with registrations of its network's first authority.
///
/// # Errors
/// If a key cannot be read, or the disk refuses.
pub fn fill(network: &Network, at: usize, records: u64, progress: impl FnMut(u64)) -> Result<()> {
    fill_in_blocks_of(network, at, (records, BATCH * SUBMISSIONS), progress)
}

/// The same with so many records in all, and so many in each block.
///
/// # Errors
/// As [`fill`].
pub fn fill_in_blocks_of(
    network: &Network,
    at: usize,
    (records, each): (u64, u64),
    mut progress: impl FnMut(u64),
) -> Result<()> {
    let mut writer = Writer::new(network)?;
    let dir = network.manifest().nodes[at].dir.join("data/archive");
    let mut archive = Archive::open(&dir, writer.founding.chain()).map_err(Error::other)?;
    let (mut done, mut group) = (0, Vec::new());
    while done < records {
        let most = (records - done).min(each);
        group.push(writer.block(most)?.encode());
        done += most;
        if group.len() == GROUP || done == records {
            archive.append_group(&group).map_err(Error::other)?;
            group.clear();
            progress(done);
        }
    }
    Ok(())
}

/// Fills the archive of a node that never ran with so many blocks with their own finalization and then so many without,
/// as a node leaves it that is stopped while it follows. Its segments are short. Gives a restart file that goes on from the
/// last block, as a quorum of the operators would make it, without putting it anywhere.
///
/// # Errors
/// As [`fill`].
pub fn fill_blocks(
    network: &Network,
    at: usize,
    certified: u64,
    without: u64,
) -> Result<RestartFile> {
    let mut writer = Writer::new(network)?;
    let dir = network.manifest().nodes[at].dir.join("data/archive");
    let archive = Archive::open_with(&dir, writer.founding.chain(), SHORT_SEGMENT);
    let mut archive = archive.map_err(Error::other)?;
    let (mut newest, mut group) = (None, Vec::new());
    let count = certified + without;
    for number in 0..count {
        let mut payload = writer.block(1)?;
        if number >= certified {
            payload.finalization = None;
        }
        group.push(payload.encode());
        if group.len() == SHORT_GROUP || number + 1 == count {
            archive.append_group(&group).map_err(Error::other)?;
            group.clear();
        }
        newest = Some(Block::decode(&payload.block).map_err(Error::other)?.header);
    }
    let newest = newest.ok_or_else(|| Error::other("no block to go on from"))?;
    writer.restart_on(network, newest)
}

struct Writer {
    founding: Founding,
    maker: Maker,
    votes: Vec<SigningKey>,
    epoch: consensus::EpochInfo,
    /// Knows the registrars only: every document is a new one, so that none need be remembered.
    state: MemoryState,
    tip: Tip,
}

impl Writer {
    fn new(network: &Network) -> Result<Self> {
        let path = network.dir().join("genesis.nachweis");
        let founding = container::Founding::load(&path).map_err(Error::other)?;
        let founding = Founding::new(founding.into_genesis()).map_err(Error::other)?;
        let tip = founding.tip();
        let mut state = MemoryState::new();
        state.apply(founding.effects(), tip.time_ms);
        // Validators sit in the order of their authorities, and every authority of a local network has one.
        let ids = founding
            .genesis()
            .indexed()
            .map(|(_, authority)| authority.id.to_string());
        let votes = ids.map(|id| {
            let path = network.dir().join("keys").join(id).join("vote.key");
            Ok(KeyFile::load(&path, Purpose::Vote)
                .map_err(Error::other)?
                .signing_key())
        });
        let anchor = Anchor {
            block: tip.block_ref(),
            time_ms: tip.time_ms,
            flags: Flags::default(),
        };
        let epoch = consensus::EpochInfo::new(EpochSpec {
            chain: founding.chain(),
            epoch: tip.epoch.epoch,
            set: founding.set().clone(),
            anchor,
            restart: Hash::ZERO,
        });
        Ok(Self {
            maker: Maker::new(network, 0)?,
            votes: votes.collect::<Result<_>>()?,
            epoch,
            state,
            tip,
            founding,
        })
    }

    /// The next block, with so many records and its finalization.
    fn block(&mut self, records: u64) -> Result<Payload> {
        let body = self.body(records)?;
        let view = View(self.tip.height.0 + 1);
        let slot = Slot {
            view,
            proposer: self.epoch.leader(view),
            time_ms: self.time()?,
        };
        let executed = execute::execute(&self.founding, &self.state, &self.tip, slot, &body);
        let executed = executed.map_err(Error::other)?;
        let statement = Statement {
            kind: VoteKind::Finalize,
            view,
            block: executed.tip.block_ref(),
        };
        let block = Block {
            header: executed.header,
            body: body.to_body(),
        };
        let block = block.encode().try_into().map_err(Error::other)?;
        self.tip = executed.tip;
        Ok(Payload {
            block,
            finalization: Some(self.certify(statement)?.into_inner()),
        })
    }

    fn restart_on(&self, network: &Network, newest: Header) -> Result<RestartFile> {
        let statement = Statement {
            kind: VoteKind::Notarize,
            view: newest.view,
            block: newest.block_ref(),
        };
        let top = Top::new(newest, self.certify(statement)?.into_inner());
        let epoch = &self.tip.epoch;
        let mut reports = Vec::new();
        let indexed = self.founding.genesis().indexed();
        for (authority, founder) in indexed.take(epoch.set.quorum()) {
            let id = founder.id.to_string();
            let path = network.dir().join("keys").join(id).join("admin.key");
            let admin = KeyFile::load(&path, Purpose::Admin).map_err(Error::other)?;
            let said = restart::Statement {
                version: RESTART_VERSION,
                chain: self.founding.chain(),
                epoch: epoch.epoch,
                context: epoch.context,
                authority,
                journal: JournalId([1; 16]),
                memory: Memory::Whole,
                fin: epoch.anchor,
                top: top.clone(),
            };
            reports.push(said.sign(&admin.signing_key()));
        }
        RestartFile::new(Base::of(epoch), None, reports).map_err(Error::other)
    }

    fn body(&self, records: u64) -> Result<CheckedBody> {
        let mut items = Vec::new();
        let mut left = records;
        while left > 0 {
            let count = left.min(BATCH);
            let submission = self.maker.registrations(count)?;
            let checked = CheckedSubmission::new(&self.founding, submission);
            items.push(CheckedItem::from(checked.map_err(Error::other)?));
            left -= count;
        }
        CheckedBody::assemble(items).ok_or_else(|| Error::other("too many items for a block"))
    }

    /// Now, or one millisecond after the parent.
    fn time(&self) -> Result<TimeMs> {
        let now = crate::load::now_ms()?;
        Ok(TimeMs(now.max(self.tip.time_ms.0 + 1)))
    }

    fn certify(&self, statement: Statement) -> Result<VerifiedCertificate> {
        let (number, context) = (self.tip.epoch.epoch, &self.tip.epoch.context);
        let signers = (0..).map(ValidatorIndex).zip(&self.votes);
        let votes = signers
            .take(self.founding.set().quorum())
            .map(|(signer, key)| Vote::sign(statement, number, signer, context, key));
        let votes: Vec<_> = votes.collect();
        let certificate =
            VerifiedCertificate::assemble(statement, number, self.founding.set(), &votes);
        certificate.ok_or_else(|| Error::other("the votes are no quorum"))
    }
}
