//! The restart of a chain whose validators can no longer form a quorum, on paper (consensus.md, 3.12).
//!
//! When several journals are lost at once, the chain stands. Each validator is then stopped for good in the epochs so
//! far, and reports the highest certificate that it holds, signed with its authority's admin key. A [`RestartFile`] is
//! enough of these reports; it opens a new epoch on the block of the highest one. [`RestartFile::check`] is the only
//! maker of a [`Restart`], and looks at nothing but the file and the admin keys: whether the chain at hand is the one
//! that the file speaks of is the holder's to compare ([`Restart::continues`]).
//!
//! ```text
//! report signature = admin key over `restart` tag ‖ 01 ‖ borsh of the report without its signature
//! file hash        = SHA-256(`restart` tag ‖ 02 ‖ borsh of the file): what the new epoch's context holds
//! ```

use crate::certificate::{Certificate, CertificateError};
use crate::codec::{self, DecodeError, List, coded_enum, refuse};
use crate::hash::{ChainId, EpochContext, Hash, SetHash, Tag};
use crate::header::{BlockRef, Header};
use crate::id::{AuthorityIndex, Epoch, View};
use crate::journal::JournalId;
use crate::key::{BadSignature, Key, Signature, SigningKey};
use crate::tip::EpochInfo;
use crate::validator_set::{MAX_VALIDATORS, ValidatorSet};
use crate::vote::VoteKind;
use alloc::format;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use borsh::io::{Read, Result as IoResult};
use borsh::{BorshDeserialize, BorshSerialize};

/// The one version of reports and files.
pub const RESTART_VERSION: u16 = 1;
/// Most reports of one file: those of two sets.
pub const MAX_REPORTS: usize = 2 * MAX_VALIDATORS;
/// Most bytes of an encoded report: its fields, a header and a certificate.
pub const MAX_REPORT_LEN: usize = 256 + Header::LEN + Certificate::MAX_LEN;
/// Begins the name of a restart file beside an archive's segments.
const FILE_NAME: &str = "restart-";
/// Most bytes of an encoded file: two sets and the reports.
pub const MAX_RESTART_LEN: usize = 64 * 1024 + MAX_REPORTS * MAX_REPORT_LEN;

/// Name of the file that opens an epoch, beside an archive's segments.
pub fn file_name(epoch: Epoch) -> String {
    format!("{FILE_NAME}{:020}", epoch.0)
}

/// The epoch in a restart file's name; `None` for any other name, also of a file that was never finished.
pub fn epoch_in(name: &str) -> Option<Epoch> {
    let epoch = Epoch(name.strip_prefix(FILE_NAME)?.parse().ok()?);
    (file_name(epoch) == name).then_some(epoch)
}

coded_enum! {
    /// What a reporter's journal knows.
    pub enum Memory {
        /// All that the validator ever signed in its epoch.
        Whole = 1,
        /// The journal was lost, and the validator has not rejoined and caught up since: it counts as faulty.
        Lost = 2,
    }
}

/// The highest certificate of a reporter, with the header of the block that it names.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub struct Top {
    header: Header,
    certificate: Certificate,
}

/// What a stopped validator says of itself.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Statement {
    /// [`RESTART_VERSION`].
    pub version: u16,
    /// The chain.
    pub chain: ChainId,
    /// The epoch that the validator stopped in.
    pub epoch: Epoch,
    /// That epoch's context.
    pub context: EpochContext,
    /// Whose validator it is.
    pub authority: AuthorityIndex,
    /// The journal that this is a report of.
    pub journal: JournalId,
    /// Whether it is the validator's first.
    pub memory: Memory,
    /// The highest block that the validator knows to be final.
    pub fin: BlockRef,
    /// The notarization or finalization with the highest (epoch, view) that it holds.
    pub top: Option<Top>,
}

/// A statement with the signature of the authority's admin key.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Report {
    /// What is said.
    pub statement: Statement,
    signature: Signature,
}

/// The epoch that the reports are about: the highest one that any reporter stopped in.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub struct Base {
    /// Its number.
    pub epoch: Epoch,
    /// Its validators.
    pub set: ValidatorSet,
    /// The block that it started from.
    pub anchor: BlockRef,
    /// Hash of the restart file that opened it; zero if none did.
    pub restart: Hash,
}

/// Reports that open a new epoch. Nothing is checked but its form.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub struct RestartFile {
    version: u16,
    base: Base,
    next: Option<ValidatorSet>,
    reports: List<Report, MAX_REPORTS>,
}

/// A restart file that was found right in itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Restart {
    hash: Hash,
    base: EpochInfo,
    epoch: Arc<EpochInfo>,
    seal: bool,
    journals: Vec<(AuthorityIndex, JournalId)>,
    lost: Vec<AuthorityIndex>,
}

impl Top {
    /// A certificate and the header of its block. `None` if they do not belong together, or it nullifies.
    pub fn new(header: Header, certificate: Certificate) -> Option<Self> {
        let named = certificate.kind() != VoteKind::Nullify;
        let same = certificate.block() == header.block_ref();
        let turn = certificate.epoch() == header.epoch && certificate.view() >= header.view;
        (named && same && turn).then_some(Self {
            header,
            certificate,
        })
    }

    /// The header of the block.
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// The certificate.
    pub const fn certificate(&self) -> &Certificate {
        &self.certificate
    }
}

impl BorshDeserialize for Top {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let header = Header::deserialize_reader(reader)?;
        let certificate = Certificate::deserialize_reader(reader)?;
        Self::new(header, certificate).ok_or_else(|| refuse("certificate and header differ"))
    }
}

impl Statement {
    /// What the admin key signs.
    pub fn sign_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::from(Tag::Restart.bytes());
        bytes.push(1);
        codec::write_to(&mut bytes, self);
        bytes
    }

    /// Signs it with the authority's admin key.
    pub fn sign(self, admin: &SigningKey) -> Report {
        let signature = admin.sign(&self.sign_bytes());
        Report {
            statement: self,
            signature,
        }
    }
}

impl Report {
    /// Decodes strictly.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes, MAX_REPORT_LEN)
    }

    /// Checks the admin key's signature.
    ///
    /// # Errors
    /// [`BadSignature`].
    pub fn verify(&self, admin: &Key) -> Result<(), BadSignature> {
        admin.verify_strict(&self.statement.sign_bytes(), &self.signature.raw())
    }
}

impl Base {
    /// The epoch that is described.
    pub fn of(epoch: &EpochInfo) -> Self {
        Self {
            epoch: epoch.epoch,
            set: ValidatorSet::clone(&epoch.set),
            anchor: epoch.anchor,
            restart: epoch.restart,
        }
    }

    /// The epoch with what its votes are bound to.
    pub fn info(&self, chain: ChainId) -> EpochInfo {
        let set = Arc::new(self.set.clone());
        EpochInfo::opened(chain, self.epoch, set, self.anchor, self.restart)
    }
}

impl RestartFile {
    /// Puts reports together, in any order. `next` is the set that the anchor defines if it is a SEAL block with another set.
    ///
    /// # Errors
    /// [`RestartError::Form`] if there are too many, or two of one authority.
    pub fn new(
        base: Base,
        next: Option<ValidatorSet>,
        mut reports: Vec<Report>,
    ) -> Result<Self, RestartError> {
        reports.sort_by_key(|report| report.statement.authority);
        let file = Self {
            version: RESTART_VERSION,
            base,
            next,
            reports: reports.try_into().or(Err(RestartError::Form))?,
        };
        if file.is_well_formed() {
            Ok(file)
        } else {
            Err(RestartError::Form)
        }
    }

    fn is_well_formed(&self) -> bool {
        let authorities = self.reports.iter().map(|report| report.statement.authority);
        self.version == RESTART_VERSION && authorities.is_sorted_by(|one, other| one < other)
    }

    /// Decodes strictly.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        codec::decode(bytes, MAX_RESTART_LEN)
    }

    /// The canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(self)
    }

    /// What the new epoch's context holds, and what operators compare before they install it.
    pub fn hash(&self) -> Hash {
        Tag::Restart.hash(&[&[2], &self.encode()])
    }

    /// The epoch that the reports are about.
    pub const fn base(&self) -> &Base {
        &self.base
    }

    /// The reports, ascending by authority.
    pub fn reports(&self) -> &[Report] {
        &self.reports
    }

    /// Checks everything that the file alone shows (consensus.md 3.12).
    ///
    /// # Errors
    /// [`RestartError`] names the first fault.
    pub fn check(
        &self,
        chain: ChainId,
        admin: impl Fn(AuthorityIndex) -> Option<Key>,
    ) -> Result<Restart, RestartError> {
        let base = self.base.info(chain);
        for report in &*self.reports {
            check_report(report, chain, &base, &admin)?;
        }
        let anchor = self.anchor(&base)?;
        for report in &*self.reports {
            let Statement { authority, fin, .. } = report.statement;
            let same_height = fin.height == anchor.block.height;
            if fin.height > anchor.block.height || (same_height && fin != anchor.block) {
                return Err(RestartError::Final { authority, fin });
            }
        }
        let next = self.next_set(&base, &anchor)?;
        self.check_quorum(&base.set)?;
        if let Some(next) = &next {
            self.check_quorum(next)?;
        }
        // A SEAL block that is final at anybody has opened the next epoch there: that number is taken.
        let taken = if next.is_some() {
            base.epoch.next()
        } else {
            Some(base.epoch)
        };
        let number = taken.and_then(Epoch::next).ok_or(RestartError::Numbers)?;
        let set = next.unwrap_or_else(|| Arc::clone(&base.set));
        let hash = self.hash();
        let epoch = EpochInfo::opened(chain, number, set, anchor.block, hash);
        let statements = self.reports.iter().map(|report| &report.statement);
        let lost = statements
            .clone()
            .filter(|said| said.memory == Memory::Lost);
        Ok(Restart {
            hash,
            epoch: Arc::new(epoch),
            seal: anchor.seal.is_some(),
            journals: statements
                .map(|said| (said.authority, said.journal))
                .collect(),
            lost: lost.map(|said| said.authority).collect(),
            base,
        })
    }

    /// The block of the highest certificate of the base epoch; the base epoch's own anchor if there is none.
    fn anchor(&self, base: &EpochInfo) -> Result<Anchor, RestartError> {
        let mut highest = Anchor {
            view: View(0),
            block: base.anchor,
            seal: None,
        };
        for report in &*self.reports {
            let Some(top) = &report.statement.top else {
                continue;
            };
            let (view, block) = (top.certificate.view(), top.certificate.block());
            if top.certificate.epoch() != base.epoch || view < highest.view {
                continue;
            }
            if view == highest.view && block != highest.block {
                return Err(RestartError::Conflict { view });
            }
            let header = &top.header;
            let seal = header.flags.is_seal().then_some(header.next_set);
            highest = Anchor { view, block, seal };
        }
        Ok(highest)
    }

    /// The set that the anchor defines, if it is a SEAL block of the base epoch.
    fn next_set(
        &self,
        base: &EpochInfo,
        anchor: &Anchor,
    ) -> Result<Option<Arc<ValidatorSet>>, RestartError> {
        match (anchor.seal, &self.next) {
            (None, None) => Ok(None),
            (Some(expected), None) if expected == base.set_hash => Ok(Some(Arc::clone(&base.set))),
            (Some(expected), Some(set)) if expected != base.set_hash && set.hash() == expected => {
                Ok(Some(Arc::new(set.clone())))
            }
            (expected, _) => Err(RestartError::NextSet(expected)),
        }
    }

    fn check_quorum(&self, set: &ValidatorSet) -> Result<(), RestartError> {
        let members = || {
            let is_member = |report: &&Report| {
                set.position(|member| member.authority == report.statement.authority)
                    .is_some()
            };
            self.reports.iter().filter(is_member)
        };
        let reports = members().count();
        if reports < set.quorum() {
            return Err(RestartError::Quorum {
                reports,
                quorum: set.quorum(),
                set: set.hash(),
            });
        }
        let lost = members().filter(|report| report.statement.memory == Memory::Lost);
        let (lost, most) = (lost.count(), set.f());
        if lost > most {
            return Err(RestartError::Lost { lost, most });
        }
        Ok(())
    }
}

/// Where the new epoch starts.
#[derive(Clone, Copy, Debug)]
struct Anchor {
    view: View,
    block: BlockRef,
    /// Hash of the set that it defines, if it is a SEAL block of the base epoch.
    seal: Option<SetHash>,
}

fn check_report(
    report: &Report,
    expected: ChainId,
    base: &EpochInfo,
    admin: impl Fn(AuthorityIndex) -> Option<Key>,
) -> Result<(), RestartError> {
    let Statement {
        version,
        chain,
        epoch,
        context,
        authority,
        top,
        ..
    } = &report.statement;
    let authority = *authority;
    let key = admin(authority).ok_or(RestartError::Stranger(authority))?;
    if *version != RESTART_VERSION || *chain != expected {
        return Err(RestartError::Chain(authority));
    }
    report
        .verify(&key)
        .map_err(|source| RestartError::Signature { authority, source })?;
    let same = *epoch == base.epoch;
    if *epoch > base.epoch || (same && *context != base.context) {
        return Err(RestartError::Base(authority));
    }
    let Some(top) = top else { return Ok(()) };
    let certificate = &top.certificate;
    if certificate.epoch() > *epoch {
        return Err(RestartError::Base(authority));
    }
    if certificate.epoch() == base.epoch {
        let verified = certificate
            .clone()
            .verify(base.epoch, &base.set, &base.context);
        verified.map_err(|source| RestartError::Certificate { authority, source })?;
    }
    Ok(())
}

impl Restart {
    /// Hash of the file.
    pub const fn hash(&self) -> Hash {
        self.hash
    }

    /// The epoch that the reports are about.
    pub const fn base(&self) -> &EpochInfo {
        &self.base
    }

    /// The epoch that the file opens.
    pub const fn epoch(&self) -> &Arc<EpochInfo> {
        &self.epoch
    }

    /// The block that the new epoch starts from: final by this file.
    pub fn anchor(&self) -> BlockRef {
        self.epoch.anchor
    }

    /// Whether the file speaks of the epochs of the chain at hand.
    ///
    /// `deciding` is the epoch in which the anchor was decided there, `next` the one that would follow it: they are the
    /// same unless the anchor is a SEAL block. A file about an epoch that an earlier restart has replaced fits neither.
    pub fn continues(&self, deciding: &EpochInfo, next: &EpochInfo) -> bool {
        let base = if self.seal { deciding } else { next };
        base.context == self.base.context
    }

    /// Whether this journal of this authority is among the reports: its quarantine ends with the file.
    pub fn reports(&self, authority: AuthorityIndex, journal: JournalId) -> bool {
        self.journals.contains(&(authority, journal))
    }

    /// Reporters whose journal was lost.
    pub fn lost(&self) -> &[AuthorityIndex] {
        &self.lost
    }
}

impl BorshDeserialize for RestartFile {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let file = Self {
            version: u16::deserialize_reader(reader)?,
            base: Base::deserialize_reader(reader)?,
            next: Option::deserialize_reader(reader)?,
            reports: List::deserialize_reader(reader)?,
        };
        if file.is_well_formed() {
            Ok(file)
        } else {
            Err(refuse("reports are out of order, or another version"))
        }
    }
}

/// Why a restart file opens no epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RestartError {
    /// Too many reports, or two of one authority.
    #[error("a restart file has at most {MAX_REPORTS} reports, one of each authority")]
    Form,
    /// No such authority.
    #[error("report of an authority #{0} that this network does not have")]
    Stranger(AuthorityIndex),
    /// A report of another chain or version.
    #[error("the report of authority #{0} is of another network, or of another version")]
    Chain(AuthorityIndex),
    /// A report's signature does not verify.
    #[error("the report of authority #{authority} is not signed by its admin key")]
    Signature {
        /// Whose.
        authority: AuthorityIndex,
        /// Which key.
        #[source]
        source: BadSignature,
    },
    /// A report does not fit the epoch that the file is about.
    #[error("the report of authority #{0} does not fit the epoch that the file is about")]
    Base(AuthorityIndex),
    /// A report's certificate does not verify.
    #[error("the certificate in the report of authority #{authority} does not count")]
    Certificate {
        /// Whose.
        authority: AuthorityIndex,
        /// Why.
        #[source]
        source: CertificateError,
    },
    /// Two blocks are certified in one view: more than f validators are faulty.
    #[error("two reports show different blocks certified in view {view}")]
    Conflict {
        /// The view.
        view: View,
    },
    /// A reporter says that a block is final which the restart would leave out.
    #[error("authority #{authority} says that height {} is final, the restart leaves it out", fin.height)]
    Final {
        /// Whose.
        authority: AuthorityIndex,
        /// The block.
        fin: BlockRef,
    },
    /// The set that a SEAL block defines is missing, another, or not needed.
    #[error("the file needs the validator set that its anchor defines, and no other")]
    NextSet(Option<SetHash>),
    /// Too few reports.
    #[error("{reports} reports of validators of set {set}, needs {quorum}")]
    Quorum {
        /// Of members of this set.
        reports: usize,
        /// n - f.
        quorum: usize,
        /// Hash of the set.
        set: SetHash,
    },
    /// Too many reporters that have lost their journals.
    #[error("{lost} reporters have lost their journals, at most {most} may be among the reporters")]
    Lost {
        /// How many.
        lost: usize,
        /// f.
        most: usize,
    },
    /// There is no higher epoch.
    #[error("no number is left for another epoch")]
    Numbers,
}
