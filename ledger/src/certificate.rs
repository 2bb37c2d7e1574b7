//! Certificates: a quorum of equal votes (consensus.md, 3.3).
//!
//! [`Certificate`] is what travels; [`VerifiedCertificate`] is what counts, and only
//! [`Certificate::verify`] and [`VerifiedCertificate::assemble`] make one.

use crate::codec::{self, List, refuse};
use crate::hash::EpochContext;
use crate::header::BlockRef;
use crate::id::{Epoch, ValidatorIndex, View};
use crate::key::{BadSignature, RawSignature};
use crate::planted;
use crate::validator_set::{MAX_VALIDATORS, ValidatorSet};
use crate::vote::{Statement, Vote, VoteKind};
use alloc::vec::Vec;
use borsh::io::{Read, Result as IoResult};
use borsh::{BorshDeserialize, BorshSerialize};

/// A claimed quorum of votes for one statement. Nothing is checked but its form.
#[derive(Clone, Debug, PartialEq, Eq, BorshSerialize)]
pub struct Certificate {
    kind: VoteKind,
    epoch: Epoch,
    view: View,
    block: BlockRef,
    bitmap: List<u8, { MAX_VALIDATORS / 8 }>,
    signatures: List<RawSignature, MAX_VALIDATORS>,
}

/// A certificate whose signatures were all checked against its epoch's set.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerifiedCertificate(Certificate);

/// Why a certificate does not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// It belongs to another epoch.
    #[error("certificate of epoch {found}, expected {expected}")]
    Epoch {
        /// Epoch that it names.
        found: Epoch,
        /// Epoch of the set.
        expected: Epoch,
    },
    /// The bitmap's length is not ⌈n/8⌉, or a bit behind the last validator is set.
    #[error("signer bitmap does not fit a set of {n} validators")]
    Bitmap {
        /// Size of the set.
        n: usize,
    },
    /// As many signatures as bits are needed.
    #[error("certificate lists {signers} signers and {signatures} signatures")]
    Count {
        /// Bits set.
        signers: usize,
        /// Signatures given.
        signatures: usize,
    },
    /// Fewer signers than the quorum.
    #[error("certificate signed by {signers} validators, needs {quorum}")]
    Quorum {
        /// Bits set.
        signers: usize,
        /// n − f.
        quorum: usize,
    },
    /// A signature does not verify.
    #[error("signature of validator #{signer} does not verify")]
    Signature {
        /// Whose.
        signer: ValidatorIndex,
        /// Which key.
        #[source]
        source: BadSignature,
    },
}

impl Certificate {
    /// Most bytes of an encoded certificate.
    pub const MAX_LEN: usize = 1 + 8 + 8 + 40 + 4 + MAX_VALIDATORS / 8 + 4 + 64 * MAX_VALIDATORS;

    /// Kind of the votes.
    pub const fn kind(&self) -> VoteKind {
        self.kind
    }

    /// Epoch of the votes.
    pub const fn epoch(&self) -> Epoch {
        self.epoch
    }

    /// View of the votes.
    pub const fn view(&self) -> View {
        self.view
    }

    /// Block of the votes; zero for a nullification.
    pub const fn block(&self) -> BlockRef {
        self.block
    }

    /// What every signer signed.
    pub const fn statement(&self) -> Statement {
        Statement {
            kind: self.kind,
            view: self.view,
            block: self.block,
        }
    }

    /// Signers with their signatures, in order, as far as the bitmap and the list go.
    pub fn signers(&self) -> impl Iterator<Item = (ValidatorIndex, &RawSignature)> {
        let bitmap = &self.bitmap;
        let set = (0..u16::try_from(MAX_VALIDATORS).unwrap_or(u16::MAX)).filter(move |index| {
            let byte = bitmap.get(usize::from(*index / 8)).copied().unwrap_or(0);
            byte >> (*index % 8) & 1 == 1
        });
        set.map(ValidatorIndex).zip(self.signatures.iter())
    }

    /// Checks everything of consensus.md 3.3 with real signatures.
    ///
    /// # Errors
    /// [`CertificateError`] names the first fault.
    pub fn verify(
        self,
        epoch: Epoch,
        set: &ValidatorSet,
        context: &EpochContext,
    ) -> Result<VerifiedCertificate, CertificateError> {
        let message = self.statement().sign_bytes(context);
        self.verify_with(epoch, set, |signer, signature| {
            set.get(signer).map_or(Ok(()), |member| {
                member.vote.verify_strict(&message, signature)
            })
        })
    }

    /// As [`Certificate::verify`], with another check of one signature (the simulator's).
    ///
    /// # Errors
    /// [`CertificateError`] names the first fault.
    pub fn verify_with(
        self,
        epoch: Epoch,
        set: &ValidatorSet,
        mut check: impl FnMut(ValidatorIndex, &RawSignature) -> Result<(), BadSignature>,
    ) -> Result<VerifiedCertificate, CertificateError> {
        if self.epoch != epoch && !planted!(EpochNotBound) {
            return Err(CertificateError::Epoch {
                found: self.epoch,
                expected: epoch,
            });
        }
        let n = set.n();
        let last_fits = self.bitmap.last().is_some_and(|last| {
            let used = n % 8;
            used == 0 || last >> used == 0
        });
        if self.bitmap.len() != n.div_ceil(8) || !last_fits {
            return Err(CertificateError::Bitmap { n });
        }
        let signers = self
            .bitmap
            .iter()
            .map(|byte| byte.count_ones() as usize)
            .sum::<usize>();
        let signers = if planted!(SignersTwice) {
            signers.max(self.signatures.len())
        } else {
            signers
        };
        if signers != self.signatures.len() {
            return Err(CertificateError::Count {
                signers,
                signatures: self.signatures.len(),
            });
        }
        if signers < set.quorum() {
            return Err(CertificateError::Quorum {
                signers,
                quorum: set.quorum(),
            });
        }
        for (signer, signature) in self.signers() {
            check(signer, signature)
                .map_err(|source| CertificateError::Signature { signer, source })?;
        }
        Ok(VerifiedCertificate(self))
    }
}

impl BorshDeserialize for Certificate {
    fn deserialize_reader<R: Read>(reader: &mut R) -> IoResult<Self> {
        let certificate = Self {
            kind: VoteKind::deserialize_reader(reader)?,
            epoch: Epoch::deserialize_reader(reader)?,
            view: View::deserialize_reader(reader)?,
            block: BlockRef::deserialize_reader(reader)?,
            bitmap: List::deserialize_reader(reader)?,
            signatures: List::deserialize_reader(reader)?,
        };
        if certificate.statement().is_well_formed() {
            Ok(certificate)
        } else {
            Err(refuse(
                "a nullification names a block, or another certificate names none",
            ))
        }
    }
}

impl VerifiedCertificate {
    /// Puts together votes that the caller has verified, all for one statement of one epoch.
    ///
    /// Takes the first `quorum` of them, as given, and stores them in signer order. `None` if fewer
    /// distinct members of the set signed that very statement.
    pub fn assemble(
        statement: Statement,
        epoch: Epoch,
        set: &ValidatorSet,
        votes: &[Vote],
    ) -> Option<Self> {
        let mut chosen: Vec<&Vote> = Vec::with_capacity(set.quorum());
        for vote in votes {
            let fits = vote.statement() == statement
                && vote.epoch == epoch
                && set.get(vote.signer).is_some()
                && !chosen.iter().any(|other| other.signer == vote.signer);
            if fits && chosen.len() < set.quorum() {
                chosen.push(vote);
            }
        }
        if chosen.len() < set.quorum() {
            return None;
        }
        chosen.sort_by_key(|vote| vote.signer);
        let mut bitmap = alloc::vec![0_u8; set.n().div_ceil(8)];
        for vote in &chosen {
            if let Some(byte) = bitmap.get_mut(usize::from(vote.signer.0 / 8)) {
                *byte |= 1 << (vote.signer.0 % 8);
            }
        }
        let Statement { kind, view, block } = statement;
        let signatures: Vec<_> = chosen.iter().map(|vote| vote.signature).collect();
        Some(Self(Certificate {
            kind,
            epoch,
            view,
            block,
            bitmap: bitmap.try_into().ok()?,
            signatures: signatures.try_into().ok()?,
        }))
    }

    /// The certificate.
    pub const fn get(&self) -> &Certificate {
        &self.0
    }

    /// The certificate, to send or store.
    pub fn into_inner(self) -> Certificate {
        self.0
    }

    /// Its canonical bytes.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(&self.0)
    }
}

impl core::ops::Deref for VerifiedCertificate {
    type Target = Certificate;
    fn deref(&self) -> &Certificate {
        &self.0
    }
}
