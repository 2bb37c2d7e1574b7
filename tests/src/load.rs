//! Signed submissions of random registrations: what `scripts/load` and the fault campaigns send.

use crate::network::Network;
use genesis::container::Founding;
use genesis::keyfile::KeyFile;
use ledger::document::{CommitmentContext, CommitmentRole, DocumentId, Nonce, Salt};
use ledger::genesis::Purpose;
use ledger::hash::ChainId;
use ledger::id::{AuthorityIndex, TimeMs};
use ledger::key::SigningKey;
use ledger::record::{Record, Retention};
use ledger::submission::{Draft, Submission, VerifiedSubmission};
use std::io::{Error, Result};
use std::time::{SystemTime, UNIX_EPOCH};

/// How long a made submission may be included, in milliseconds from its making.
const VALID_MS: u64 = 3_600_000;
/// How far before its making its window begins, so that clocks may differ.
const EARLY_MS: u64 = 60_000;

/// Makes submissions of one authority of a local network.
#[derive(Debug)]
pub struct Maker {
    chain: ChainId,
    authority: AuthorityIndex,
    key: SigningKey,
}

impl Maker {
    /// Takes chain and registrar key of the network's `at`-th authority.
    ///
    /// # Errors
    /// If genesis or key cannot be read.
    pub fn new(network: &Network, at: usize) -> Result<Self> {
        let founding = Founding::load(&network.dir().join("genesis.nachweis"));
        let genesis = founding.map_err(Error::other)?.into_genesis();
        let node = network.manifest().nodes.get(at);
        let id = &node.ok_or_else(|| Error::other("no such node"))?.authority;
        let path = network.dir().join("keys").join(id).join("registrar.key");
        let key = KeyFile::load(&path, Purpose::Registrar).map_err(Error::other)?;
        // The genesis has its authorities in the order of their ids, a network in that of their founding.
        let mut authorities = genesis.indexed();
        let found = authorities.find(|(_, founder)| founder.id.to_string() == *id);
        let (authority, _) = found.ok_or_else(|| Error::other("no such authority"))?;
        Ok(Self {
            chain: genesis.chain(),
            authority,
            key: key.signing_key(),
        })
    }

    /// A submission that registers `count` documents nobody has seen.
    ///
    /// # Errors
    /// If the system gives no random bytes.
    pub fn registrations(&self, count: u64) -> Result<VerifiedSubmission> {
        let now = now_ms()?;
        let records: Result<Vec<_>> = (0..count).map(|_| self.registration()).collect();
        let draft = Draft {
            chain: self.chain,
            authority: self.authority,
            not_before_ms: TimeMs(now.saturating_sub(EARLY_MS)),
            not_after_ms: TimeMs(now.saturating_add(VALID_MS)),
            records: records?,
        };
        Submission::sign(draft, &self.key).map_err(Error::other)
    }

    fn registration(&self) -> Result<Record> {
        let nonce = Nonce(random()?);
        let document = DocumentId::derive(&self.chain, self.authority, &nonce);
        let context = CommitmentContext {
            chain: &self.chain,
            document: &document,
            role: CommitmentRole::Internal,
        };
        let salt = Salt::new(random()?).ok_or_else(|| Error::other("a random salt is zero"))?;
        Ok(Record::Register {
            document,
            nonce,
            internal: context.commit(&salt, &random()?),
            citizen: None,
            detail: None,
            retention: Retention::Unspecified,
        })
    }
}

/// Milliseconds since 1970.
///
/// # Errors
/// If the clock says otherwise.
pub fn now_ms() -> Result<u64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    u64::try_from(now.map_err(Error::other)?.as_millis()).map_err(Error::other)
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).map_err(Error::other)?;
    Ok(bytes)
}

/// The body of a POST that carries these submissions.
pub fn body<'a>(submissions: impl IntoIterator<Item = &'a VerifiedSubmission>) -> Vec<u8> {
    let mut body = Vec::new();
    for submission in submissions {
        let bytes = submission.encoded();
        let length = u32::try_from(bytes.len()).expect("a submission is below 4 MiB");
        body.extend_from_slice(&length.to_le_bytes());
        body.extend_from_slice(bytes);
    }
    body
}
