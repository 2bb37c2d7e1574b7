//! `nachweis-genesis restart`.

use crate::failure::Failure;
use clap::Parser;
use genesis::container::Founding;
use genesis::restart::{ReportFile, RestartBundle};
use ledger::genesis::Genesis;
use ledger::id::AuthorityIndex;
use ledger::restart::Restart;
use std::io::{self, BufRead as _, Write};
use std::path::PathBuf;

/// Open a new epoch of a network that can no longer decide.
///
/// When several validators have lost their journals at once, too few can ever vote again. Each validator is then
/// stopped with `nachweis-node stop-for-restart`; this command puts their reports together, checks them, and says
/// what will be final. Every node installs the same file, with `nachweis-node install-restart`: compare the printed
/// fingerprint with the other operators before you do.
#[derive(Debug, Parser)]
#[command(after_help = EXAMPLE)]
pub(crate) struct Args {
    /// Reports of stopped validators
    #[arg(required = true, value_name = "REPORT")]
    reports: Vec<PathBuf>,
    /// The network's signed genesis
    #[arg(long, value_name = "FILE")]
    genesis: PathBuf,
    /// File to create
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Do not ask
    #[arg(long)]
    yes: bool,
}

const EXAMPLE: &str =
    "Example: nachweis-genesis restart *.report --genesis genesis.nachweis --out chain.restart";

pub(crate) fn run(args: &Args, out: &mut dyn Write) -> Result<(), Failure> {
    let founding = Founding::load(&args.genesis)?;
    let genesis = founding.genesis();
    let reports = args.reports.iter().map(|path| ReportFile::load(path));
    let reports: Vec<_> = reports.collect::<Result<_, _>>()?;
    let (bundle, restart) = RestartBundle::assemble(genesis, reports)?;
    explain(genesis, &bundle, &restart, out)?;
    if !args.yes && !confirmed(out)? {
        return Err(Failure::NotConfirmed);
    }
    bundle.create(&args.out)?;
    writeln!(
        out,
        "{} is written. Next, at every node:",
        args.out.display()
    )?;
    writeln!(
        out,
        "  nachweis-node install-restart --dir DIR {}",
        args.out.display()
    )?;
    Ok(())
}

/// What will happen, and what the operators answer for.
fn explain(
    genesis: &Genesis,
    bundle: &RestartBundle,
    restart: &Restart,
    out: &mut dyn Write,
) -> io::Result<()> {
    let name = |authority: AuthorityIndex| {
        let known = genesis.authority(authority);
        known.map_or_else(|| authority.to_string(), |known| known.id.to_string())
    };
    let epoch = restart.epoch();
    let anchor = restart.anchor();
    writeln!(
        out,
        "These {} reports open epoch {}:",
        bundle.file.reports().len(),
        epoch.epoch
    )?;
    for report in bundle.file.reports() {
        let said = &report.statement;
        let holds = said.top.as_ref().map_or_else(
            || "holds no certificate of a block".to_owned(),
            |top| {
                let certificate = top.certificate();
                format!(
                    "holds a certificate of block {} (epoch {}, view {})",
                    certificate.block().height,
                    certificate.epoch(),
                    certificate.view()
                )
            },
        );
        let memory = if restart.lost().contains(&said.authority) {
            "; ITS JOURNAL WAS LOST"
        } else {
            ""
        };
        writeln!(
            out,
            "  {}: final up to block {}, {holds}{memory}",
            name(said.authority),
            said.fin.height
        )?;
    }
    writeln!(
        out,
        "Block {} ({}) becomes final and the chain goes on from it. Whatever any validator voted for above it is void.",
        anchor.height, anchor.hash
    )?;
    let (n, f) = (epoch.set.n(), epoch.set.f());
    writeln!(
        out,
        "Of the {n} validators of the new epoch, {} must install the file and run.",
        epoch.set.quorum()
    )?;
    writeln!(
        out,
        "The risk: among the reporters, those that are dishonest and those that have forgotten what they signed must \
         be at most {f}, together. Reports say of {} that they have forgotten; that nobody else has, and nobody lies, \
         no program can check. If it is wrong, what was final may be lost.",
        restart.lost().len()
    )?;
    writeln!(out, "fingerprint of the restart file:")?;
    bundle
        .fingerprint()
        .to_string()
        .lines()
        .try_for_each(|line| writeln!(out, "  {line}"))
}

fn confirmed(out: &mut dyn Write) -> io::Result<bool> {
    write!(out, "Write the file? Type yes: ")?;
    out.flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(answer.trim() == "yes")
}
