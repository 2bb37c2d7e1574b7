//! For unit tests: a founded network whose every key is known, and submissions that its rules accept.

pub(crate) mod blocks;

use crate::config::{self, Config};
use crate::mempool::Pending;
use crate::recovery::{self, Owner, RecoveredChain};
use crate::storage::guard::CosignerGuard;
use crate::storage::journal::Journal;
use ledger::admission::CheckedSubmission;
use ledger::document::{Commitment, DocumentId, Nonce};
use ledger::genesis::{Authority, Genesis, Params, Purpose, Registrar, Validator};
use ledger::hash::{Hash, sha256};
use ledger::id::{AuthorityId, AuthorityIndex, Domain, TimeMs};
use ledger::journal::{JournalId, Origin};
use ledger::key::SigningKey;
use ledger::record::{Record, Retention, Role};
use ledger::submission::{Draft, Submission};
use ledger::tip::Founding;
use std::path::Path;

/// When the network was founded.
pub(crate) const CREATED: TimeMs = TimeMs(1_000_000);

/// The key of an authority for a purpose.
pub(crate) fn key(authority: u16, purpose: Purpose) -> SigningKey {
    let seed = sha256(&[&authority.to_le_bytes(), &[purpose.code()]]);
    SigningKey::from_seed(seed.as_bytes())
}

/// A network of `n` authorities, each with a validator and one registrar.
pub(crate) fn founding(n: u16) -> Founding {
    let authorities = (0..n).map(authority).collect();
    let genesis = Genesis {
        version: 1,
        domain: Domain::new("test.example").unwrap(),
        created_ms: CREATED,
        params: Params::default(),
        authorities,
    };
    Founding::new(genesis).unwrap()
}

fn authority(index: u16) -> Authority {
    let public = |purpose| key(index, purpose).key();
    let registrar = Registrar {
        key: public(Purpose::Registrar),
        role: Role::ISSUE,
    };
    Authority {
        id: AuthorityId::new(&format!("authority-{index:02}")).unwrap(),
        name: format!("Authority {index}").try_into().unwrap(),
        admin: public(Purpose::Admin),
        registrars: vec![registrar].try_into().unwrap(),
        validator: Some(Validator {
            vote: public(Purpose::Vote),
            cosigner: public(Purpose::Cosigner),
            log: public(Purpose::Log),
            network: public(Purpose::Network),
            addresses: vec!["/ip4/127.0.0.1/tcp/1".to_owned().try_into().unwrap()]
                .try_into()
                .unwrap(),
        }),
    }
}

/// The new disk of the first validator in a folder, as a start finds it.
pub(crate) fn recovered(founding: &Founding, dir: &Path) -> (Config, RecoveredChain) {
    let data = dir.join("data");
    std::fs::create_dir(&data).unwrap();
    let journal = JournalId([1; 16]);
    Journal::create(&data.join("journal"), journal, Origin::Fresh).unwrap();
    let cosigner = key(0, Purpose::Cosigner).key();
    CosignerGuard::create(&data.join("guard"), cosigner).unwrap();
    let text = config::template("/ip4/127.0.0.1/tcp/1", "127.0.0.1:1".parse().unwrap());
    std::fs::write(dir.join(config::FILE), text).unwrap();
    let config = Config::load(dir).unwrap();
    let owner = Owner {
        founding: founding.clone(),
        journal: Some(journal),
        cosigner,
    };
    let recovered = recovery::recover(&config, &owner).unwrap();
    (config, recovered.chain)
}

/// The id of the document that [`register`] registers.
pub(crate) fn document(founding: &Founding, authority: u16, number: u32) -> DocumentId {
    DocumentId::derive(&founding.chain(), AuthorityIndex(authority), &nonce(number))
}

fn nonce(number: u32) -> Nonce {
    Nonce(sha256(&[&number.to_le_bytes()]).0)
}

/// A submission with these records, valid in this window.
pub(crate) fn submission(
    founding: &Founding,
    authority: u16,
    window: (TimeMs, TimeMs),
    records: Vec<Record>,
) -> Pending {
    let draft = Draft {
        chain: founding.chain(),
        authority: AuthorityIndex(authority),
        not_before_ms: window.0,
        not_after_ms: window.1,
        records,
    };
    let signed = Submission::sign(draft, &key(authority, Purpose::Registrar)).unwrap();
    Pending::new(CheckedSubmission::new(founding, signed).unwrap())
}

/// A submission that registers documents `first..first + count`, valid in this window.
pub(crate) fn register_in(
    founding: &Founding,
    authority: u16,
    (first, count): (u32, u32),
    window: (TimeMs, TimeMs),
) -> Pending {
    let record = |number| Record::Register {
        document: document(founding, authority, number),
        nonce: nonce(number),
        internal: Commitment(Hash::ZERO),
        citizen: None,
        detail: None,
        retention: Retention::Unspecified,
    };
    let records = (first..first + count).map(record).collect();
    submission(founding, authority, window, records)
}

/// The same with a window of a day from the founding on.
pub(crate) fn register(founding: &Founding, authority: u16, number: u32) -> Pending {
    let window = (CREATED, CREATED.saturating_add(86_400_000));
    register_in(founding, authority, (number, 1), window)
}
