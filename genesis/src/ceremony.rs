//! From applications to a genesis, the same one wherever and in whatever order they are put together.
//!
//! Everything in a genesis comes from the applications: its time is the latest of theirs, its authorities stand
//! in the order of their ids, its parameters are the defaults of this version. So two people who hold the same
//! applications need to compare nothing but the fingerprint.

use crate::application::Applicant;
use crate::container::{Container, ContainerError};
use crate::keyfile::KeyFile;
use ledger::codec;
use ledger::genesis::{Authority, Genesis, GenesisError, Params};
use ledger::id::{AuthorityId, AuthorityIndex, Domain, TimeMs};
use std::collections::BTreeMap;

/// Applications make no genesis, or an authority should not sign one.
#[derive(Debug, thiserror::Error)]
pub enum CeremonyError {
    /// There is none.
    #[error("no application was given")]
    None,
    /// They are for different networks.
    #[error("authority {authority} applies for domain {found}, the others for {domain}")]
    Domain {
        /// Whose.
        authority: AuthorityId,
        /// Its domain.
        found: Domain,
        /// That of the first by id.
        domain: Domain,
    },
    /// An authority applies twice.
    #[error("two different applications of authority {0}")]
    Twice(AuthorityId),
    /// They break a rule together.
    #[error("the applications cannot found a network")]
    Rule(#[from] GenesisError),
    /// The genesis has no such authority.
    #[error("the genesis has no authority {0}")]
    Stranger(AuthorityId),
    /// The genesis says something else about the signer than the signer's own application.
    #[error("the genesis describes authority {0} differently from its application")]
    Changed(AuthorityId),
    /// Key and application are of two authorities.
    #[error("the key is of authority {key}, the application of {application}")]
    OtherAuthority {
        /// The key file's.
        key: AuthorityId,
        /// The application's.
        application: AuthorityId,
    },
    /// The application is for another network.
    #[error("the application is for domain {application}, the genesis for {genesis}")]
    OtherDomain {
        /// The application's.
        application: Domain,
        /// The genesis's.
        genesis: Domain,
    },
    /// The signature cannot be added.
    #[error(transparent)]
    Container(#[from] ContainerError),
}

impl CeremonyError {
    /// What a person can do about it.
    pub fn hint(&self) -> Option<String> {
        match self {
            Self::None => Some("name the application.json of every authority".into()),
            Self::Domain { .. } | Self::OtherDomain { .. } => {
                Some("all must apply with the same --domain".into())
            }
            Self::Twice(id) => Some(format!("ask {id} which one counts and leave out the other")),
            Self::Rule(rule) => rule_hint(rule),
            Self::Stranger(_) => Some("is this the right genesis file?".into()),
            Self::Changed(_) => Some(
                "do not sign: assemble the genesis yourself from the applications and compare"
                    .into(),
            ),
            Self::OtherAuthority { .. } => Some("name the application with --application".into()),
            Self::Container(error) => error.hint(),
        }
    }
}

/// What a person can do about a genesis that breaks a rule.
pub(crate) fn rule_hint(rule: &GenesisError) -> Option<String> {
    match rule {
        GenesisError::Validators { .. } => {
            Some("four validators tolerate one that fails; fewer tolerate none".into())
        }
        GenesisError::Repeated { authority, .. } => Some(format!(
            "every key has one use and one owner: {authority} should apply again with new keys"
        )),
        GenesisError::Key { authority, .. } => {
            Some(format!("{authority} should apply again with new keys"))
        }
        GenesisError::Order(_)
        | GenesisError::Registrars(_)
        | GenesisError::Authorities { .. }
        | GenesisError::Parameter(_)
        | GenesisError::Set(_) => None,
    }
}

/// Makes the genesis of these applications. The order in which they are given has no influence, and the same
/// application given twice counts once.
///
/// # Errors
/// If they are for different domains, of one authority twice, or break a rule together.
pub fn assemble(applicants: Vec<Applicant>) -> Result<Genesis, CeremonyError> {
    let mut by_id: BTreeMap<AuthorityId, Applicant> = BTreeMap::new();
    for applicant in applicants {
        let id = applicant.authority().id.clone();
        match by_id.get(&id) {
            Some(same) if *same == applicant => {}
            Some(_) => return Err(CeremonyError::Twice(id)),
            None => drop(by_id.insert(id, applicant)),
        }
    }
    let first = by_id.values().next().ok_or(CeremonyError::None)?;
    let domain = first.application().domain.clone();
    let mut created_ms = TimeMs(0);
    let mut authorities: Vec<Authority> = Vec::new();
    for applicant in by_id.values() {
        let application = applicant.application();
        if application.domain != domain {
            return Err(CeremonyError::Domain {
                authority: application.authority.id.clone(),
                found: application.domain.clone(),
                domain,
            });
        }
        created_ms = created_ms.max(application.created_ms);
        authorities.push(application.authority.clone());
    }
    let genesis = Genesis {
        version: 1,
        domain,
        created_ms,
        params: Params::default(),
        authorities,
    };
    genesis.check()?;
    Ok(genesis)
}

/// Adds an authority's signature, after comparing the genesis with the application that this authority made:
/// whoever assembled it could otherwise have put other keys in its place.
///
/// # Errors
/// If the genesis breaks a rule or describes the signer differently.
pub fn sign(
    container: &mut Container,
    admin: &KeyFile,
    application: &Applicant,
) -> Result<AuthorityIndex, CeremonyError> {
    let own = application.authority();
    if own.id != *admin.authority() {
        return Err(CeremonyError::OtherAuthority {
            key: admin.authority().clone(),
            application: own.id.clone(),
        });
    }
    let genesis = container.genesis();
    container.check_rules()?;
    if genesis.domain != application.application().domain {
        return Err(CeremonyError::OtherDomain {
            application: application.application().domain.clone(),
            genesis: genesis.domain.clone(),
        });
    }
    let index = genesis
        .index_of(&own.id)
        .ok_or_else(|| CeremonyError::Stranger(own.id.clone()))?;
    let described = genesis.authority(index).map(codec::encode);
    if described != Some(codec::encode(own)) {
        return Err(CeremonyError::Changed(own.id.clone()));
    }
    let signature = admin.signing_key().sign(&genesis.sign_bytes());
    container.add(index, signature)?;
    Ok(index)
}
