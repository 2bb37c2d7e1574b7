//! `nachweis-genesis show`.

use crate::failure::Failure;
use crate::print_fingerprint;
use clap::Parser;
use genesis::application::Applicant;
use genesis::container::{Container, ContainerError, MAX_CONTAINER};
use genesis::files;
use genesis::keyfile::purpose_name;
use genesis::restart::RestartBundle;
use genesis::words::Fingerprint;
use ledger::genesis::{Authority, Genesis};
use ledger::restart::Memory;
use std::io::{self, Write};
use std::path::PathBuf;

/// Show what a genesis file, an application or a restart file says.
///
/// Signatures and possessions in a genesis or an application are verified; whether a genesis may found a network is for
/// `check`, and whether a restart file counts for `nachweis-node install-restart`.
#[derive(Debug, Parser)]
#[command(after_help = "Example: nachweis-genesis show genesis.nachweis")]
pub(crate) struct Args {
    /// A genesis file, an application.json or a restart file
    #[arg(value_name = "FILE")]
    file: PathBuf,
}

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    if let Ok(bundle) = RestartBundle::load(&args.file) {
        return print_restart(&bundle, out).map_err(Failure::Output);
    }
    let bytes =
        files::read_bounded(&args.file, MAX_CONTAINER).map_err(|source| ContainerError::Read {
            path: args.file.clone(),
            source,
        })?;
    // A genesis begins with its version; an application is JSON.
    if bytes.trim_ascii_start().first() == Some(&b'{') {
        let applicant = Applicant::load(&args.file)?;
        let application = applicant.application();
        writeln!(out, "application for {}", application.domain)?;
        writeln!(out, "created {} ms", application.created_ms)?;
        return print_authority(&application.authority, "", out).map_err(Failure::Output);
    }
    print_genesis(&Container::decode(&bytes)?, out).map_err(Failure::Output)
}

fn print_restart(bundle: &RestartBundle, out: &mut dyn Write) -> io::Result<()> {
    let reports = bundle.file.reports();
    let (number, epoch) = (reports.len(), bundle.file.base().epoch);
    writeln!(out, "restart file of {number} reports on epoch {epoch}:")?;
    for report in reports {
        let said = &report.statement;
        let memory = match said.memory {
            Memory::Whole => "",
            Memory::Lost => "; ITS JOURNAL WAS LOST",
        };
        writeln!(
            out,
            "  authority #{}: final up to block {}{memory}",
            said.authority, said.fin.height
        )?;
    }
    writeln!(out, "with {} blocks", bundle.blocks.len())?;
    print_fingerprint(bundle.fingerprint(), out)
}

fn print_genesis(container: &Container, out: &mut dyn Write) -> io::Result<()> {
    let genesis: &Genesis = container.genesis();
    writeln!(out, "genesis of {}", genesis.origin())?;
    writeln!(out, "created {} ms", genesis.created_ms)?;
    let p = &genesis.params;
    writeln!(out, "parameters:")?;
    for (name, value) in [
        ("max_validators", u64::from(p.max_validators)),
        ("max_authorities", u64::from(p.max_authorities)),
        ("block_target", u64::from(p.block_target)),
        ("block_hard", u64::from(p.block_hard)),
        ("drift_ms", p.drift_ms),
        ("past_ms", p.past_ms),
        ("epoch_length", p.epoch_length),
        ("evidence_age", p.evidence_age),
        ("anchor_interval_ms", p.anchor_interval_ms),
    ] {
        writeln!(out, "  {name} {value}")?;
    }
    for (index, authority) in genesis.indexed() {
        let signed = if container.signatures().contains_key(&index) {
            "signed"
        } else {
            "not signed"
        };
        print_authority(authority, &format!("#{index} {signed} "), out)?;
    }
    print_fingerprint(Fingerprint::of(genesis.chain()), out)
}

fn print_authority(authority: &Authority, mark: &str, out: &mut dyn Write) -> io::Result<()> {
    // Debug writes characters that do not show as escapes: a name cannot fake a line.
    writeln!(out, "authority {mark}{} {:?}", authority.id, authority.name)?;
    for (purpose, key) in authority.keys() {
        writeln!(out, "  {:<9} {key}", purpose_name(purpose))?;
    }
    for registrar in &authority.registrars {
        writeln!(
            out,
            "  role of {} is {:04b}",
            registrar.key,
            registrar.role.bits()
        )?;
    }
    match &authority.validator {
        Some(validator) => validator
            .addresses
            .iter()
            .try_for_each(|address| writeln!(out, "  address   {address:?}")),
        None => writeln!(out, "  no validator"),
    }
}
