//! Restart files: what opens an epoch, each fault by name, and replays that go on through one (consensus.md, 3.12).

use crate::chains::batch;
use crate::samples::{filled, founded};
use crate::world::{Chain, Finality, TestRng, certify, genesis_with, key_of, vote_key};
use ledger::certificate::{Certificate, CertificateError, VerifiedCertificate};
use ledger::genesis::Params;
use ledger::hash::{BlockHash, EpochContext, SetHash};
use ledger::header::{BlockRef, Flags, Header};
use ledger::id::{AuthorityIndex, Epoch, Height, ValidatorIndex, View};
use ledger::journal::JournalId;
use ledger::replay::{FaultKind, Replay, Replayed};
use ledger::restart::{
    Base, Memory, RESTART_VERSION, Report, Restart, RestartError, RestartFile, Statement, Top,
};
use ledger::tip::{EpochInfo, Founding};
use ledger::validator_set::ValidatorSet;
use ledger::vote::{self, Vote, VoteKind};
use proptest::prelude::*;

/// What validator `at` says that holds nothing above the genesis.
pub(crate) fn statement(founding: &Founding, epoch: &EpochInfo, at: u16) -> Statement {
    Statement {
        version: RESTART_VERSION,
        chain: founding.chain(),
        epoch: epoch.epoch,
        context: epoch.context,
        authority: AuthorityIndex(at),
        journal: JournalId([at.to_le_bytes()[0]; 16]),
        memory: Memory::Whole,
        fin: epoch.anchor,
        top: None,
    }
}

pub(crate) fn signed(statement: Statement) -> Report {
    let admin = key_of(statement.authority, "admin");
    statement.sign(&admin)
}

/// Header of a block in this view, on nothing in particular.
fn header(epoch: &EpochInfo, founding: &Founding, view: u64) -> Header {
    Header {
        epoch: epoch.epoch,
        view: View(view),
        height: Height(10 + view),
        parent: BlockHash(filled(1)),
        flags: Flags::NONE,
        next_set: SetHash::default(),
        ..crate::samples::header(founding)
    }
}

fn top(epoch: &EpochInfo, header: Header, kind: VoteKind) -> Top {
    let statement = vote::Statement {
        kind,
        view: header.view,
        block: header.block_ref(),
    };
    Top::new(header, certify(epoch, statement)).unwrap()
}

fn check(founding: &Founding, file: &RestartFile) -> Result<Restart, RestartError> {
    file.check(founding.chain(), |authority| founding.admin(authority))
}

fn file_of(epoch: &EpochInfo, statements: Vec<Statement>) -> RestartFile {
    let reports = statements.into_iter().map(signed).collect();
    RestartFile::new(Base::of(epoch), None, reports).unwrap()
}

/// One file with all that a file can hold, for golden bytes.
pub(crate) fn sample(founding: &Founding) -> RestartFile {
    let epoch = founding.epoch();
    let mut statements: Vec<_> = [2, 0, 1]
        .into_iter()
        .map(|at| statement(founding, &epoch, at))
        .collect();
    statements[0].top = Some(top(&epoch, header(&epoch, founding, 3), VoteKind::Notarize));
    statements[1].top = Some(top(&epoch, header(&epoch, founding, 2), VoteKind::Finalize));
    statements[2].memory = Memory::Lost;
    file_of(&epoch, statements)
}

#[test]
fn enough_reports_open_the_next_epoch_on_the_highest_certified_block() {
    let founding = founded();
    let file = sample(&founding);
    let restart = check(&founding, &file).unwrap();
    let base = founding.epoch();
    assert_eq!(restart.anchor(), header(&base, &founding, 3).block_ref());
    let epoch = restart.epoch();
    assert_eq!((epoch.epoch, epoch.restart), (Epoch(1), file.hash()));
    assert_eq!(epoch.set, base.set);
    let ordinary = EpochInfo::new(founding.chain(), Epoch(1), base.set, epoch.anchor);
    assert_ne!(epoch.context, ordinary.context);
    assert_eq!(restart.lost(), [AuthorityIndex(1)]);
    let reported = |at: u16, id: u8| restart.reports(AuthorityIndex(at), JournalId([id; 16]));
    assert!(reported(1, 1) && !reported(1, 2) && !reported(3, 3));
}

#[test]
fn without_a_certificate_in_the_epoch_its_own_anchor_is_the_new_one() {
    let founding = founded();
    let epoch = founding.epoch();
    let statements = (0..3).map(|at| statement(&founding, &epoch, at)).collect();
    let restart = check(&founding, &file_of(&epoch, statements)).unwrap();
    assert_eq!(restart.anchor(), epoch.anchor);
}

/// A file of validators 0 to 2 in which one thing was changed before it was signed.
fn changed(change: impl FnOnce(&Founding, &EpochInfo, &mut Vec<Statement>)) -> RestartError {
    let founding = founded();
    let epoch = founding.epoch();
    let mut statements = (0..3).map(|at| statement(&founding, &epoch, at)).collect();
    change(&founding, &epoch, &mut statements);
    check(&founding, &file_of(&epoch, statements)).unwrap_err()
}

#[test]
fn each_fault_of_a_file_is_named() {
    let two = AuthorityIndex(2);
    let error = changed(|_, _, statements| {
        statements.pop();
    });
    let expected = |error: &RestartError| {
        matches!(
            error,
            RestartError::Quorum {
                reports: 2,
                quorum: 3,
                ..
            }
        )
    };
    assert!(expected(&error), "{error}");
    // Authority 4 has no validator: its report counts for no set.
    let error = changed(|_, _, statements| statements[2].authority = AuthorityIndex(4));
    assert!(expected(&error), "{error}");
    let error = changed(|_, _, statements| {
        statements[1].memory = Memory::Lost;
        statements[2].memory = Memory::Lost;
    });
    assert_eq!(error, RestartError::Lost { lost: 2, most: 1 });
    let error = changed(|_, _, statements| statements[2].chain.0 = filled(9));
    assert_eq!(error, RestartError::Chain(two));
    let error = changed(|_, _, statements| statements[2].version = 2);
    assert_eq!(error, RestartError::Chain(two));
    let error = changed(|_, _, statements| statements[2].epoch = Epoch(1));
    assert_eq!(error, RestartError::Base(two));
    let error = changed(|_, _, statements| statements[2].context = EpochContext(filled(9)));
    assert_eq!(error, RestartError::Base(two));
    let fin = BlockRef {
        height: Height(40),
        hash: BlockHash(filled(4)),
    };
    let error = changed(|_, _, statements| statements[2].fin = fin);
    assert_eq!(
        error,
        RestartError::Final {
            authority: two,
            fin
        }
    );
}

#[test]
fn certificates_in_reports_must_hold() {
    let two = AuthorityIndex(2);
    let error = changed(|founding, epoch, statements| {
        // Signed under another context: no certificate of this epoch.
        let other = EpochInfo::opened(
            founding.chain(),
            epoch.epoch,
            epoch.set.clone(),
            epoch.anchor,
            filled(5),
        );
        statements[2].top = Some(top(&other, header(epoch, founding, 3), VoteKind::Notarize));
    });
    let named = matches!(error, RestartError::Certificate { authority, source: CertificateError::Signature { .. } } if authority == two);
    assert!(named, "{error}");
    let error = changed(|founding, epoch, statements| {
        let mut other = header(epoch, founding, 3);
        other.body_len += 1;
        statements[1].top = Some(top(epoch, header(epoch, founding, 3), VoteKind::Notarize));
        statements[2].top = Some(top(epoch, other, VoteKind::Notarize));
    });
    assert_eq!(error, RestartError::Conflict { view: View(3) });
    let error = changed(|founding, epoch, statements| {
        let later = crate::world::later_epoch(founding, epoch);
        statements[2].top = Some(top(&later, header(&later, founding, 1), VoteKind::Notarize));
    });
    assert_eq!(error, RestartError::Base(two));
}

#[test]
fn a_report_is_signed_by_its_authority_s_admin_key_and_nobody_else_s() {
    let founding = founded();
    let epoch = founding.epoch();
    let mut reports: Vec<_> = (0..3)
        .map(|at| signed(statement(&founding, &epoch, at)))
        .collect();
    let registrar = key_of(AuthorityIndex(2), "all");
    reports[2] = statement(&founding, &epoch, 2).sign(&registrar);
    let file = RestartFile::new(Base::of(&epoch), None, reports.clone()).unwrap();
    let error = check(&founding, &file).unwrap_err();
    let two = AuthorityIndex(2);
    assert!(matches!(error, RestartError::Signature { authority, .. } if authority == two));
    reports[2].statement.authority = AuthorityIndex(77);
    let file = RestartFile::new(Base::of(&epoch), None, reports.clone()).unwrap();
    let stranger = RestartError::Stranger(AuthorityIndex(77));
    assert_eq!(check(&founding, &file), Err(stranger));
    let twice = vec![reports[0].clone(), reports[0].clone()];
    assert_eq!(
        RestartFile::new(Base::of(&epoch), None, twice),
        Err(RestartError::Form)
    );
}

/// A set in which authority 3's validator gave way to one with other keys, of authority 4.
fn swapped(set: &ValidatorSet) -> ValidatorSet {
    let mut members = set.members().to_vec();
    let left = members.pop().unwrap();
    members.push(ledger::validator_set::Member {
        authority: AuthorityIndex(4),
        id: ledger::id::AuthorityId::new("ee").unwrap(),
        vote: crate::world::key("ee/vote"),
        cosigner: crate::world::key("ee/cosigner"),
        log: crate::world::key("ee/log"),
        network: crate::world::key("ee/network"),
    });
    assert_ne!(left.authority, AuthorityIndex(4));
    ValidatorSet::new(members).unwrap()
}

#[test]
fn a_seal_block_as_anchor_needs_the_reports_of_the_set_that_it_defines() {
    let founding = founded();
    let epoch = founding.epoch();
    let next = swapped(&epoch.set);
    let mut seal = header(&epoch, &founding, 3);
    seal.flags = Flags::SEAL;
    seal.next_set = next.hash();
    let of = |authorities: &[u16], next: Option<ValidatorSet>| {
        let mut statements: Vec<_> = authorities
            .iter()
            .map(|at| statement(&founding, &epoch, *at))
            .collect();
        statements[0].top = Some(top(&epoch, seal.clone(), VoteKind::Notarize));
        let reports = statements.into_iter().map(signed).collect();
        let file = RestartFile::new(Base::of(&epoch), next, reports).unwrap();
        check(&founding, &file)
    };
    // Validators 0, 1 and 3 are a quorum of the old set, and only two of the new one.
    let error = of(&[0, 1, 3], Some(next.clone())).unwrap_err();
    let too_few = RestartError::Quorum {
        reports: 2,
        quorum: 3,
        set: next.hash(),
    };
    assert_eq!(error, too_few);
    assert_eq!(
        of(&[0, 1, 3], None),
        Err(RestartError::NextSet(Some(next.hash())))
    );
    assert!(of(&[0, 1, 4], Some(next.clone())).is_err());
    let restart = of(&[0, 1, 3, 4], Some(next.clone())).unwrap();
    // Epoch 1 may have begun at somebody for whom the SEAL is final.
    assert_eq!(restart.epoch().epoch, Epoch(2));
    assert_eq!(*restart.epoch().set, next);
}

#[test]
fn a_set_that_no_seal_defines_is_refused() {
    let founding = founded();
    let epoch = founding.epoch();
    let reports = (0..3).map(|at| signed(statement(&founding, &epoch, at)));
    let file = RestartFile::new(
        Base::of(&epoch),
        Some(swapped(&epoch.set)),
        reports.collect(),
    );
    assert_eq!(
        check(&founding, &file.unwrap()),
        Err(RestartError::NextSet(None))
    );
}

/// Reports of three validators of the chain's epoch; the first shows this certificate.
fn file_on(chain: &Chain, base: &EpochInfo, shown: Option<Top>) -> RestartFile {
    let mut statements: Vec<_> = (0..3)
        .map(|at| statement(&chain.founding, base, at))
        .collect();
    statements[0].top = shown;
    file_of(base, statements)
}

fn replay(chain: &Chain, files: &[(usize, &RestartFile)]) -> Result<Replayed, FaultKind> {
    let mut replay = Replay::new(chain.founding.genesis().clone()).unwrap();
    for at in 0..=chain.frames.len() {
        for (_, file) in files.iter().filter(|(before, _)| *before == at) {
            replay.go_on_by(file).map_err(|fault| fault.kind)?;
        }
        if let Some(frame) = chain.frames.get(at) {
            replay
                .push(frame, &mut TestRng::new("replay"))
                .map_err(|fault| fault.kind)?;
        }
    }
    let replayed = replay.finish();
    replayed
        .fault
        .clone()
        .map_or(Ok(replayed), |fault| Err(fault.kind))
}

/// A chain whose second block was notarized only when it stood, and the file that goes on from it.
fn stood(params: Params) -> (Chain, RestartFile) {
    let mut chain = Chain::founded(genesis_with(params));
    let items = [batch(&mut chain, "a", 1)];
    chain.block(&items);
    let base = EpochInfo::clone(&chain.tip.epoch);
    let (items, time) = ([batch(&mut chain, "b", 1)], chain.next_time());
    let executed = chain.block_at(time, &items, Finality::ByDescendant);
    let shown = top(&base, executed.header, VoteKind::Notarize);
    let file = file_on(&chain, &base, Some(shown));
    (chain, file)
}

fn go_on_by(chain: &mut Chain, file: &RestartFile) {
    let restart = check(&chain.founding, file).unwrap();
    assert_eq!(restart.anchor(), chain.tip.block_ref());
    chain.tip.epoch = restart.epoch().clone();
    chain.view = View(0);
}

fn first_block_of(chain: &mut Chain, epoch: Epoch) {
    let items = [batch(chain, "c", 1)];
    let first = chain.block(&items);
    assert_eq!(first.header.epoch, epoch);
    assert!(first.header.flags.is_anchor());
}

/// The same after a restart that went on from it.
fn restarted(params: Params) -> (Chain, RestartFile) {
    let (mut chain, file) = stood(params);
    go_on_by(&mut chain, &file);
    let epoch = chain.tip.epoch.epoch;
    first_block_of(&mut chain, epoch);
    (chain, file)
}

#[test]
fn a_replay_goes_on_through_a_restart() {
    let (chain, file) = restarted(Params::default());
    // The file may be known early or when its anchor is the tip.
    for before in [0, 1, 2] {
        let replayed = replay(&chain, &[(before, &file)]).unwrap();
        assert_eq!(replayed.tip, chain.tip);
        assert_eq!(replayed.certified, Height(3));
    }
    assert!(replay(&chain, &[]).is_err());
}

#[test]
fn a_restart_on_a_seal_block_makes_it_final() {
    let params = Params {
        epoch_length: 2,
        ..Params::default()
    };
    let (chain, file) = restarted(params);
    let replayed = replay(&chain, &[(0, &file)]).unwrap();
    assert_eq!(replayed.tip.epoch.epoch, Epoch(2));
    assert_eq!(replay(&chain, &[]).unwrap_err(), FaultKind::NotFinal);
}

#[test]
fn a_second_restart_builds_on_the_first() {
    let (mut chain, file) = stood(Params::default());
    go_on_by(&mut chain, &file);
    let base = EpochInfo::clone(&chain.tip.epoch);
    let again = file_on(&chain, &base, None);
    go_on_by(&mut chain, &again);
    // Made from other reports of the epoch that the first restart has replaced: another history.
    let ordinary = chain.founding.epoch();
    let told = file.reports().iter().map(|report| report.statement.clone());
    let mut told: Vec<_> = told.collect();
    told[1].memory = Memory::Lost;
    let stale = file_of(&ordinary, told);
    let both = |before| replay(&chain, &[(before, &file), (before, &again)]);
    assert_eq!(both(2).unwrap().tip.epoch.epoch, Epoch(2));
    assert_eq!(both(0).unwrap().tip.epoch.epoch, Epoch(2));
    for before in [0, 2] {
        let kind = replay(&chain, &[(before, &file), (before, &stale)]).unwrap_err();
        assert!(matches!(kind, FaultKind::OtherHistory { .. }), "{kind}");
    }
    // Whoever audits knows all files before the first block.
    first_block_of(&mut chain, Epoch(2));
    for files in [[(0, &file), (0, &again)], [(0, &again), (0, &file)]] {
        assert_eq!(replay(&chain, &files).unwrap().certified, Height(3));
    }
    assert!(replay(&chain, &[(0, &file)]).is_err());
    assert!(replay(&chain, &[(0, &again)]).is_err());
}

#[test]
fn a_chain_that_ends_below_a_restart_is_not_whole() {
    let (mut chain, file) = restarted(Params::default());
    chain.frames.truncate(1);
    let kind = replay(&chain, &[(0, &file)]).unwrap_err();
    assert_eq!(kind, FaultKind::EndsBelow { anchor: Height(2) });
}

#[test]
fn a_file_of_another_history_is_a_fault() {
    let (chain, _) = restarted(Params::default());
    let base = chain.founding.epoch();
    let mut other = header(&base, &chain.founding, 2);
    other.height = Height(2);
    let elsewhere = file_on(&chain, &base, Some(top(&base, other, VoteKind::Notarize)));
    let kind = replay(&chain, &[(0, &elsewhere)]).unwrap_err();
    assert_eq!(kind, FaultKind::OtherHistory { found: Height(2) });
}

/// A certificate of exactly these signers; `None` if they are no quorum.
fn certificate_of(epoch: &EpochInfo, header: &Header, signers: &[u16]) -> Option<Certificate> {
    let statement = vote::Statement {
        kind: VoteKind::Notarize,
        view: header.view,
        block: header.block_ref(),
    };
    let votes: Vec<_> = signers
        .iter()
        .map(|at| {
            let signer = ValidatorIndex(*at);
            let key = vote_key(signer);
            Vote::sign(statement, epoch.epoch, signer, &epoch.context, &key)
        })
        .collect();
    let made = VerifiedCertificate::assemble(statement, epoch.epoch, &epoch.set, &votes);
    made.map(VerifiedCertificate::into_inner)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Whoever reports what in whatever order: n - f reports open the epoch on the highest, fewer open nothing.
    #[test]
    fn any_quorum_of_reports_opens_on_the_highest(
        views in prop::collection::vec(0_u64..6, 4),
        reporters in 0_u8..16,
        turn in 0_usize..4,
    ) {
        let founding = founded();
        let epoch = founding.epoch();
        let mut statements = Vec::new();
        for at in (0..4_u16).filter(|at| reporters & (1 << at) != 0) {
            let mut said = statement(&founding, &epoch, at);
            let view = views[usize::from(at)];
            if view > 0 {
                let header = header(&epoch, &founding, view);
                let certificate = certificate_of(&epoch, &header, &[0, 1, 3]).unwrap();
                said.top = Top::new(header, certificate);
            }
            statements.push(said);
        }
        let highest = statements.iter().filter_map(|said| said.top.as_ref());
        let highest = highest.map(|top| top.header().clone()).max_by_key(|header| header.view);
        let expected = highest.map_or(epoch.anchor, |header| header.block_ref());
        let enough = statements.len() >= 3;
        let length = statements.len().max(1);
        statements.rotate_left(turn.min(length) % length);
        let file = file_of(&epoch, statements);
        let restart = check(&founding, &file);
        prop_assert_eq!(restart.is_ok(), enough);
        if let Ok(restart) = restart {
            prop_assert_eq!(restart.anchor(), expected);
            prop_assert_eq!(RestartFile::decode(&file.encode()), Ok(file));
        }
    }

    #[test]
    fn any_bytes_are_a_file_or_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        if let Ok(file) = RestartFile::decode(&bytes) {
            prop_assert_eq!(file.encode(), bytes);
        }
    }
}
