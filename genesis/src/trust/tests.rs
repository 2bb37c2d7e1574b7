//! The trust files: strict in, whole out.

use super::*;
use crate::application::{Applicant, Plan};
use crate::birth::{Duty, Keys};
use crate::ceremony;
use ledger::id::{AuthorityId, Domain, TimeMs};
use ledger::validator_set::Member;

fn genesis() -> Genesis {
    let apply = |id: &str| {
        let keys = Keys::generate(&AuthorityId::new(id).unwrap(), Duty::Validator).unwrap();
        let plan = Plan {
            domain: Domain::new("nachweis.test").unwrap(),
            name: format!("Behörde {id}"),
            addresses: vec!["/ip4/127.0.0.1/tcp/7447".into()],
            created_ms: TimeMs(1_790_000_000_000),
        };
        Applicant::make(&keys, &plan).unwrap()
    };
    ceremony::assemble(["bamf", "lds", "leipzig", "vg"].map(apply).into()).unwrap()
}

fn trust() -> Trust {
    Trust::new(genesis(), None, MaxAge::default()).unwrap()
}

fn pinned() -> Trust {
    let genesis = genesis();
    let pin = Pin {
        size: TreeSize(7),
        root: Hash([9; 32]),
        set: genesis.validator_set().unwrap(),
    };
    Trust::new(genesis, Some(pin), MaxAge::default()).unwrap()
}

/// The text with one piece replaced; the piece must be there.
fn with(text: &str, old: &str, new: &str) -> Vec<u8> {
    assert!(text.contains(old), "{old} is not in {text}");
    text.replacen(old, new, 1).into_bytes()
}

#[test]
fn a_written_trust_reads_back_with_and_without_a_pin() {
    for trust in [trust(), pinned()] {
        let text = to_text(&trust);
        let read = parse(text.as_bytes()).unwrap();
        assert_eq!(read.chain(), trust.chain());
        assert_eq!(read.pin(), trust.pin());
        assert_eq!(read.max_age(), trust.max_age());
        assert_eq!(to_text(&read), text);
    }
    let text = to_text(&trust());
    for member in [
        "\"nachweis_trust\": 1,",
        "\"pin\": null",
        "\"max_age_s\": 86400",
        "\"max_age_online_s\": 600",
    ] {
        assert!(text.contains(member), "{text}");
    }
}

#[test]
fn unknown_missing_and_repeated_members_are_refused() {
    let text = to_text(&pinned());
    let json = |bytes: Vec<u8>| matches!(parse(&bytes), Err(TrustFileError::Json(_)));
    assert!(json(with(&text, "{", "{\"note\": 1,")));
    assert!(json(with(&text, "\"pin\": {", "\"pin\": {\"note\": 1,")));
    assert!(json(with(&text, "{", "{\"max_age_s\": 1,")));
    assert!(json(with(&text, "\"size\": 7", "\"size\": 7, \"size\": 7")));
    assert!(json(with(&text, "\"max_age_s\": 86400,", "")));
    assert!(json(with(&text, "\"size\": 7,", "")));
    let plain = to_text(&trust());
    assert!(
        json(with(&plain, "\"pin\": null,", "")),
        "absent is not null"
    );
    assert!(json([text.as_bytes(), b"{}"].concat()), "more behind it");
    assert!(json(with(&text, "86400", "86400.0")));
    assert!(json(with(&text, "86400", "-1")));
}

#[test]
fn versions_and_large_numbers_are_refused() {
    let text = to_text(&pinned());
    let version = with(&text, "\"nachweis_trust\": 1", "\"nachweis_trust\": 2");
    assert!(matches!(parse(&version), Err(TrustFileError::Version(2))));
    for (old, new) in [
        ("\"size\": 7", "\"size\": 9007199254740992"),
        ("s\": 86400", "s\": 9007199254740992"),
        ("s\": 600", "s\": 9007199254740992"),
    ] {
        let changed = with(&text, old, new);
        let largest = 1 << 53;
        assert!(matches!(parse(&changed), Err(TrustFileError::Integer(n)) if n == largest));
        let accepted = with(&text, old, &new.replace("0992", "0991"));
        parse(&accepted).unwrap();
    }
}

#[test]
fn a_pin_of_nothing_or_by_bad_keys_is_refused() {
    let trust = pinned();
    let text = to_text(&trust);
    let zero = with(&text, "\"size\": 7", "\"size\": 0");
    assert!(matches!(
        parse(&zero),
        Err(TrustFileError::Trust(TrustError::PinSize))
    ));
    let pin = trust.pin().unwrap();
    let mut members: Vec<Member> = pin.set.members().to_vec();
    // The neutral element: anyone can sign for it.
    let mut weak = [0; 32];
    weak[0] = 1;
    members[0].cosigner = ledger::key::Key::from_bytes(weak);
    let weak = STANDARD.encode(codec::encode(&ValidatorSet::new(members).unwrap()));
    let good = STANDARD.encode(codec::encode(&pin.set));
    assert!(matches!(
        parse(&with(&text, &good, &weak)),
        Err(TrustFileError::Trust(TrustError::Signers(_)))
    ));
    let short = with(&text, &STANDARD.encode([9; 32]), &STANDARD.encode([9; 31]));
    assert!(matches!(parse(&short), Err(TrustFileError::Root(31))));
    let not_canonical = with(
        &text,
        &STANDARD.encode([9; 32]),
        "CQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQkJCQl=",
    );
    assert!(matches!(
        parse(&not_canonical),
        Err(TrustFileError::Base64("root"))
    ));
}

#[test]
fn both_files_are_made_or_neither() {
    let dir = tempfile::tempdir().unwrap();
    let trust = trust();
    std::fs::write(dir.path().join(POLICY_FILE), "mine").unwrap();
    assert!(matches!(
        create(&trust, dir.path()),
        Err(TrustFileError::Write(source)) if source.kind() == io::ErrorKind::AlreadyExists
    ));
    assert!(!dir.path().join(FILE).exists());
    std::fs::remove_file(dir.path().join(POLICY_FILE)).unwrap();
    create(&trust, dir.path()).unwrap();
    assert_eq!(load(&dir.path().join(FILE)).unwrap().chain(), trust.chain());
    assert!(
        create(&trust, dir.path()).is_err(),
        "nothing is overwritten"
    );
    replace(&pinned(), &dir.path().join(FILE)).unwrap();
    assert!(load(&dir.path().join(FILE)).unwrap().pin().is_some());
}

#[test]
fn a_policy_has_a_log_and_a_witness_for_each_validator_and_a_quorum() {
    let trust = trust();
    let set = trust.genesis().validator_set().unwrap();
    let text = policy_text(trust.origin(), &set);
    let lines: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let starts = |word: &str| lines.iter().filter(|line| line.starts_with(word)).count();
    assert_eq!((starts("log "), starts("witness ")), (4, 4));
    assert_eq!(
        lines[8..],
        [
            "group quorum-of-validators 3 validator-bamf validator-lds validator-leipzig validator-vg",
            "quorum quorum-of-validators"
        ]
    );
    let first = VerifierKey::log(trust.origin(), set.members()[0].log);
    assert_eq!(lines[0], format!("log {}", first.vkey()));
}
