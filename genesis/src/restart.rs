//! Files of a restart: the report of one stopped validator, and what operators make of enough of them.
//!
//! What counts, and is checked here and by every node, are the signed parts (`ledger::restart`). Beside them travel
//! the newest blocks, so that whoever lacks some of them can go on too: hashes link them to the anchor.

use crate::files::{self, Access};
use crate::words::Fingerprint;
use ledger::block::{Block, check_delivery};
use ledger::codec::{self, DecodeError, List};
use ledger::frame::Payload;
use ledger::genesis::Genesis;
use ledger::hash::ChainId;
use ledger::header::{BlockRef, Header};
use ledger::id::{AuthorityIndex, Height};
use ledger::restart::{Base, Report, Restart, RestartError, RestartFile};
use ledger::tip::EpochInfo;
use ledger::validator_set::ValidatorSet;
use ledger::vote::VoteKind;
use std::io;
use std::path::{Path, PathBuf};

/// Most blocks that travel with a report.
pub const MAX_BLOCKS: usize = 64;
/// Most bytes of these blocks.
pub const MAX_BLOCK_BYTES: usize = 64 << 20;
/// Longest file, in bytes: the blocks and what is signed.
const MAX_FILE: usize = MAX_BLOCK_BYTES + (8 << 20);

/// What a stopped validator gives to the operators.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReportFile {
    /// The epoch that it stopped in.
    pub base: Base,
    /// The set that its highest certified block defines, if that ends the epoch with another set.
    pub next: Option<ValidatorSet>,
    /// What it says, signed.
    pub report: Report,
    /// Its newest blocks, ascending, up to the highest certified one.
    pub blocks: List<Payload, MAX_BLOCKS>,
}

/// What every node of the network installs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RestartBundle {
    /// The restart file.
    pub file: RestartFile,
    /// The newest blocks, ascending, up to the anchor.
    pub blocks: List<Payload, MAX_BLOCKS>,
}

/// A file of a restart cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RestartFileError {
    /// The file system refuses.
    #[error("{} cannot be read", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// It cannot be written.
    #[error("{} cannot be written", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The bytes are none.
    #[error("{} is no file of this kind", path.display())]
    Malformed {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: DecodeError,
    },
    /// There is nothing to make a restart of.
    #[error("no report is given")]
    None,
    /// Two reporters describe the epoch differently.
    #[error("authority #{0} describes the epoch otherwise than the others")]
    OtherBase(AuthorityIndex),
    /// A block that travels with the file is not one of the chain that ends in the anchor.
    #[error(
        "block {height} that comes with the restart file is damaged, or belongs to another chain"
    )]
    Block {
        /// Its height, counted from the anchor.
        height: Height,
    },
    /// The reports do not open an epoch.
    #[error("these reports open no epoch")]
    Restart(#[from] RestartError),
}

impl RestartFileError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::Write { source, .. } if source.kind() == io::ErrorKind::AlreadyExists => {
                Some("nothing is overwritten: name another file".into())
            }
            Self::Malformed { .. } => Some(
                "reports are made by `nachweis-node stop-for-restart`, restart files by `nachweis-genesis restart`"
                    .into(),
            ),
            Self::Block { .. } => Some(
                "nothing was installed: get the file from another operator, or make it again of the reports".into(),
            ),
            Self::Restart(RestartError::Quorum { .. }) => {
                Some("more validators must be stopped and report".into())
            }
            Self::Restart(RestartError::Lost { .. }) => Some(
                "leave reports of validators without memory out, and add those of others".into(),
            ),
            Self::Write { source, .. } if source.kind() == io::ErrorKind::NotFound => {
                Some("make the folder first".into())
            }
            Self::OtherBase(_)
            | Self::Restart(RestartError::Final { .. } | RestartError::Conflict { .. }) => Some(
                "leave the report out if it is wrong; if not, find out first which one is".into(),
            ),
            Self::Read { .. } | Self::Write { .. } | Self::None | Self::Restart(_) => None,
        }
    }
}

fn read(path: &Path) -> Result<Vec<u8>, RestartFileError> {
    files::read_bounded(path, MAX_FILE).map_err(|source| RestartFileError::Read {
        path: path.into(),
        source,
    })
}

fn create(bytes: &[u8], path: &Path) -> Result<(), RestartFileError> {
    files::create(path, bytes, Access::Public).map_err(|source| RestartFileError::Write {
        path: path.into(),
        source,
    })
}

fn malformed(path: &Path) -> impl Fn(DecodeError) -> RestartFileError {
    move |source| RestartFileError::Malformed {
        path: path.into(),
        source,
    }
}

impl ReportFile {
    /// Reads a report.
    ///
    /// # Errors
    /// If the file cannot be read or is none.
    pub fn load(path: &Path) -> Result<Self, RestartFileError> {
        let (base, next, report, blocks) =
            codec::decode(&read(path)?, MAX_FILE).map_err(malformed(path))?;
        Ok(Self {
            base,
            next,
            report,
            blocks,
        })
    }

    /// Whether a report could be written there, as far as that shows before: nobody is stopped for a file that cannot be.
    ///
    /// # Errors
    /// If the file exists, or its folder does not.
    pub fn check_place(path: &Path) -> Result<(), RestartFileError> {
        let refused = |kind: io::ErrorKind| RestartFileError::Write {
            path: path.into(),
            source: kind.into(),
        };
        if path.symlink_metadata().is_ok() {
            return Err(refused(io::ErrorKind::AlreadyExists));
        }
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        if folder.unwrap_or_else(|| Path::new(".")).is_dir() {
            Ok(())
        } else {
            Err(refused(io::ErrorKind::NotFound))
        }
    }

    /// Writes it to a new file.
    ///
    /// # Errors
    /// If the file exists or cannot be written.
    pub fn create(&self, path: &Path) -> Result<(), RestartFileError> {
        let Self {
            base,
            next,
            report,
            blocks,
        } = self;
        create(&codec::encode(&(base, next, report, blocks)), path)
    }
}

impl RestartBundle {
    /// Reads a restart file with its blocks.
    ///
    /// # Errors
    /// If the file cannot be read or is none.
    pub fn load(path: &Path) -> Result<Self, RestartFileError> {
        let (file, blocks) = codec::decode(&read(path)?, MAX_FILE).map_err(malformed(path))?;
        Ok(Self { file, blocks })
    }

    /// Writes it to a new file.
    ///
    /// # Errors
    /// If the file exists or cannot be written.
    pub fn create(&self, path: &Path) -> Result<(), RestartFileError> {
        create(&codec::encode(&(&self.file, &self.blocks)), path)
    }

    /// What operators read to each other before they install it. It is of the reports, not of the blocks that travel along,
    /// so files that look different byte for byte can have the same.
    pub fn fingerprint(&self) -> Fingerprint {
        Fingerprint::of(ChainId(self.file.hash()))
    }

    /// Makes a restart of reports, in any order, and checks it as every node will.
    ///
    /// # Errors
    /// [`RestartFileError`] names the first fault.
    pub fn assemble(
        genesis: &Genesis,
        reports: Vec<ReportFile>,
    ) -> Result<(Self, Restart), RestartFileError> {
        let highest = reports.iter().max_by_key(|file| file.base.epoch);
        let base = highest.ok_or(RestartFileError::None)?.base.clone();
        let about = || reports.iter().filter(|file| file.base.epoch == base.epoch);
        if let Some(other) = about().find(|file| file.base != base) {
            let authority = other.report.statement.authority;
            return Err(RestartFileError::OtherBase(authority));
        }
        let top = about()
            .filter_map(|file| Some((file, file.report.statement.top.as_ref()?)))
            .filter(|(_, top)| top.certificate().epoch() == base.epoch)
            .max_by_key(|(_, top)| top.certificate().view());
        let next = top.and_then(|(file, _)| file.next.clone());
        let signed = reports.iter().map(|file| file.report.clone()).collect();
        let file = RestartFile::new(base.clone(), next, signed)?;
        let restart = file.check(genesis.chain(), |authority| {
            Some(genesis.authority(authority)?.admin)
        })?;
        let blocks = longest_to(&restart, &reports);
        Ok((Self { file, blocks }, restart))
    }

    /// The blocks that travel with the file, ascending up to the anchor: whatever else than what the reports sign was
    /// sent along is found out here. A finalization of the epoch that is reported on verifies; an older one is not looked at.
    ///
    /// # Errors
    /// [`RestartFileError::Block`] names the newest block that is wrong.
    pub fn blocks_to(
        &self,
        restart: &Restart,
    ) -> Result<Vec<(Header, &Payload)>, RestartFileError> {
        run_to(restart.anchor(), restart.base(), &self.blocks)
    }
}

/// The headers of blocks that end in the anchor, each the parent of the next, with its own body.
fn run_to<'a>(
    anchor: BlockRef,
    base: &EpochInfo,
    blocks: &'a [Payload],
) -> Result<Vec<(Header, &'a Payload)>, RestartFileError> {
    let mut run = Vec::with_capacity(blocks.len());
    let mut expected = anchor;
    for payload in blocks.iter().rev() {
        let height = expected.height;
        let damaged = RestartFileError::Block { height };
        let Ok(Block { header, body }) = Block::decode(&payload.block) else {
            return Err(damaged);
        };
        let fits = header.block_ref() == expected
            && check_delivery(&header, &body).is_ok()
            && may_be_final(&header, base, payload);
        let below = height.0.checked_sub(1);
        let (true, Some(below)) = (fits, below) else {
            return Err(damaged);
        };
        expected = BlockRef {
            height: Height(below),
            hash: header.parent,
        };
        run.push((header, payload));
    }
    run.reverse();
    Ok(run)
}

/// Whether the finalization that comes with a block, if any, is one of it. Those of epochs before are for who has them.
fn may_be_final(header: &Header, base: &EpochInfo, payload: &Payload) -> bool {
    let Some(certificate) = &payload.finalization else {
        return true;
    };
    certificate.kind() == VoteKind::Finalize
        && certificate.block() == header.block_ref()
        && (header.epoch < base.epoch
            || certificate
                .clone()
                .verify(base.epoch, &base.set, &base.context)
                .is_ok())
}

/// The longest run of blocks among the reports that ends in the anchor.
fn longest_to(restart: &Restart, reports: &[ReportFile]) -> List<Payload, MAX_BLOCKS> {
    let anchor = restart.anchor();
    let runs = reports.iter().filter_map(|file| {
        let is_anchor = |payload: &Payload| {
            Block::decode(&payload.block).is_ok_and(|block| block.header.block_ref() == anchor)
        };
        let end = file.blocks.iter().position(is_anchor)?;
        let run = file.blocks.get(..=end)?;
        run_to(anchor, restart.base(), run).ok().map(|_| run)
    });
    let longest = runs.max_by_key(|run| run.len()).unwrap_or_default();
    longest.to_vec().try_into().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ledger::block::Body;
    use ledger::certificate::VerifiedCertificate;
    use ledger::hash::{BlockHash, Hash, SetHash};
    use ledger::header::{Flags, HEADER_VERSION};
    use ledger::id::{AuthorityId, Epoch, TimeMs, TreeSize, ValidatorIndex, View};
    use ledger::key::SigningKey;
    use ledger::validator_set::Member;
    use ledger::vote::{Statement, Vote};
    use std::sync::Arc;

    const CHAIN: ChainId = ChainId(Hash([7; 32]));

    fn base() -> (EpochInfo, SigningKey) {
        let vote = SigningKey::from_seed(&[1; 32]);
        let key = |seed: u8| SigningKey::from_seed(&[seed; 32]).key();
        let member = Member {
            authority: AuthorityIndex(0),
            id: AuthorityId::new("bamf").expect("an id"),
            vote: vote.key(),
            cosigner: key(2),
            log: key(3),
            network: key(4),
        };
        let set = Arc::new(ValidatorSet::new(vec![member]).expect("one member"));
        let anchor = BlockRef {
            height: Height(0),
            hash: BlockHash(CHAIN.0),
        };
        (EpochInfo::new(CHAIN, Epoch(0), set, anchor), vote)
    }

    /// Blocks of one item, each with its finalization but the newest, and the newest one's place.
    fn chain(base: &EpochInfo, vote: &SigningKey) -> (Vec<Payload>, BlockRef) {
        let mut at = base.anchor;
        let mut blocks = Vec::new();
        for number in 1..=4 {
            let item = [u8::try_from(number).expect("small"); 9];
            let body = Body::decode(&Body::join(&[&item])).expect("one item");
            let header = Header {
                version: HEADER_VERSION,
                chain: CHAIN,
                epoch: base.epoch,
                view: View(number),
                height: Height(number),
                parent: at.hash,
                proposer: ValidatorIndex(0),
                time_ms: TimeMs(number),
                body_len: u32::try_from(body.len()).expect("small"),
                body_root: body.root(),
                log_size: TreeSize(number),
                log_root: Hash::ZERO,
                status_root: Hash::ZERO,
                flags: Flags::NONE,
                validator_set: base.set_hash,
                next_set: SetHash(Hash::ZERO),
            };
            at = header.block_ref();
            let statement = Statement {
                kind: VoteKind::Finalize,
                view: View(number),
                block: at,
            };
            let signed = Vote::sign(
                statement,
                base.epoch,
                ValidatorIndex(0),
                &base.context,
                vote,
            );
            let certificate =
                VerifiedCertificate::assemble(statement, base.epoch, &base.set, &[signed])
                    .map(VerifiedCertificate::into_inner);
            let block = Block { header, body }.encode();
            blocks.push(Payload {
                block: block.try_into().expect("small"),
                finalization: certificate.filter(|_| number < 4),
            });
        }
        (blocks, at)
    }

    #[test]
    fn blocks_that_travel_with_a_restart_file_are_taken_only_as_they_were_decided() {
        let (base, vote) = base();
        let (blocks, anchor) = chain(&base, &vote);
        let run = run_to(anchor, &base, &blocks).expect("is the chain");
        let heights: Vec<_> = run.iter().map(|(header, _)| header.height.0).collect();
        assert_eq!(heights, [1, 2, 3, 4]);
        for at in 0..blocks.len() {
            let bytes = blocks[at].encode();
            for place in 0..bytes.len() {
                let mut flipped = bytes.clone();
                flipped[place] ^= 1 << (place % 8);
                let Ok(payload) = Payload::decode(&flipped) else {
                    continue;
                };
                let mut wrong = blocks.clone();
                wrong[at] = payload;
                let refused = run_to(anchor, &base, &wrong);
                assert!(
                    matches!(refused, Err(RestartFileError::Block { .. })),
                    "block {at}, byte {place}"
                );
            }
        }
        // One is missing, they stand in another order, they end elsewhere.
        let gap = [&blocks[..1], &blocks[2..]].concat();
        let turned: Vec<_> = blocks.iter().rev().cloned().collect();
        for wrong in [&gap[..], &turned, &blocks[..3]] {
            run_to(anchor, &base, wrong).unwrap_err();
        }
        assert!(run_to(anchor, &base, &[]).expect("nothing").is_empty());
    }
}
