//! The program `nachweis-node`: arguments in, a command, an exit code out.

use clap::{Parser, Subcommand};
use ledger::id::Height;
use ledger::restart::Memory;
use node::arenas;
use node::commands::restart::LostBlocks;
use node::commands::{
    Failure, backup, check_index, export, init, make_index, reindex, restart, run, status,
};
use node::exit::{Chain, Exit};
use node::identity::Duty;
use std::fs::File;
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Run a validator or an observer of a Nachweis network
///
/// Example: nachweis-node init --keys keys/bamf --genesis genesis.nachweis --dir node/bamf
#[derive(Debug, Parser)]
#[command(name = "nachweis-node", version, after_help = EXITS, verbatim_doc_comment)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

const EXITS: &str = "\
Exit codes: 0 stopped as asked, or done; 1 not done, nothing was changed; 2 wrong usage or configuration;
3 the running node could not be asked; 4 refused; 70 internal; 74 a write failed, or two histories: look at it first;
75 stopped by itself, cleanly, because the data disk is nearly full";

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a node's directory from keys and genesis
    Init {
        /// Folder with the authority's keys, journal and guard
        #[arg(long)]
        keys: PathBuf,
        /// Genesis signed by all authorities
        #[arg(long)]
        genesis: PathBuf,
        /// Directory to make
        #[arg(long)]
        dir: PathBuf,
        /// libp2p multiaddress to listen at [default: the first IP address in the genesis; needed if it names DNS names only]
        #[arg(long)]
        listen: Option<String>,
        /// Address of the HTTP API
        #[arg(long, default_value = "127.0.0.1:8080")]
        api: SocketAddr,
        /// Make an observer, from a folder of nachweis-genesis observer
        #[arg(long, conflicts_with = "listen")]
        observer: bool,
    },
    /// Run the node until SIGTERM or SIGINT
    ///
    /// With --observer it follows the chain and serves it, and never votes: it needs network.key and observer.cert
    ///
    /// NACHWEIS_LOG filters the log, for example NACHWEIS_LOG=node=debug
    #[command(verbatim_doc_comment)]
    Run {
        /// The node's directory
        #[arg(long)]
        dir: PathBuf,
        /// How the log on stderr is written
        #[arg(long, value_enum, default_value = "text")]
        log: run::LogFormat,
        /// Follow without voting
        #[arg(long)]
        observer: bool,
    },
    /// Make index and log hashes of a stopped node again
    Reindex {
        /// The node's directory
        #[arg(long)]
        dir: PathBuf,
    },
    /// Look through an index that was not closed: what run does after a crash, in a process of its own
    #[command(hide = true)]
    CheckIndex {
        /// The node's directory
        #[arg(long)]
        dir: PathBuf,
    },
    /// Make the index of a node that stands by: what run does if it is missing or far behind, in a process of its own
    #[command(hide = true)]
    MakeIndex {
        /// The node's directory
        #[arg(long)]
        dir: PathBuf,
        /// The last block that is to be in it
        #[arg(long)]
        upto: u64,
    },
    /// Copy the blocks of a node, running or stopped, to a new folder
    ///
    /// It holds the segments and manifest.json; nachweis audit takes it
    ///
    /// Example: nachweis-node export-archive --dir node/bamf export/2026-11
    #[command(verbatim_doc_comment)]
    ExportArchive {
        /// The node's directory
        #[arg(long)]
        dir: PathBuf,
        /// Folder to make
        out: PathBuf,
    },
    /// Write everything public of a node, running or stopped, to one file
    ///
    /// Keys, consensus journal and cosigner's guard are never in it
    ///
    /// Example: nachweis-node backup --dir node/bamf bamf.backup
    #[command(verbatim_doc_comment)]
    Backup {
        /// The node's directory
        #[arg(long)]
        dir: PathBuf,
        /// File to make, or - for standard output
        out: PathBuf,
    },
    /// Make a node's directory from a backup, after verifying all of it
    ///
    /// The restored node follows and serves. It votes again once it has rejoined: without its journal it could sign twice
    ///
    /// Example: nachweis-node restore --from bamf.backup --dir node/bamf
    #[command(verbatim_doc_comment)]
    Restore {
        /// Backup, or - for standard input
        #[arg(long)]
        from: PathBuf,
        /// Directory to make
        #[arg(long)]
        dir: PathBuf,
    },
    /// Stop a node for good in its epoch and report what it holds: too few validators can ever vote again
    ///
    /// The node must not be running. It signs nothing more until it installs a restart file. The report is for
    /// nachweis-genesis restart
    ///
    /// Example: nachweis-node stop-for-restart --dir node/bamf --admin-key keys/bamf/admin.key bamf.report
    #[command(verbatim_doc_comment)]
    StopForRestart(StopForRestart),
    /// Go on in the epoch that a restart file opens
    ///
    /// The node must not be running. Compare the file's fingerprint with the other operators first: all install the same
    ///
    /// Example: nachweis-node install-restart --dir node/bamf chain.restart
    #[command(verbatim_doc_comment)]
    InstallRestart {
        /// The node's directory
        #[arg(long)]
        dir: PathBuf,
        /// File made by nachweis-genesis restart
        file: PathBuf,
    },
    /// Show how the running node is
    Status {
        /// The node's directory
        #[arg(long)]
        dir: PathBuf,
        /// Print what the node answers, for machines
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Parser)]
struct StopForRestart {
    /// The node's directory
    #[arg(long)]
    dir: PathBuf,
    /// The authority's admin key, which signs the report
    #[arg(long)]
    admin_key: PathBuf,
    /// Report without the blocks that the journal knows to be final, where no node has them any more: this validator then
    /// counts as one that has forgotten
    #[arg(long)]
    archive_lost: bool,
    /// File to make
    out: PathBuf,
}

fn main() -> ExitCode {
    match dispatch(Arguments::parse().command) {
        Ok(()) => Exit::Stopped.into(),
        Err(failure) => {
            let mut err = io::stderr().lock();
            // A closed stream leaves the exit code to tell.
            writeln!(err, "error: {}", Chain(&*failure.error)).ok();
            if let Some(hint) = &failure.hint {
                writeln!(err, "hint: {hint}").ok();
            }
            failure.exit.into()
        }
    }
}

fn dispatch(command: Command) -> Result<(), Failure> {
    match command {
        Command::Init {
            keys,
            genesis,
            dir,
            listen,
            api,
            observer,
        } => {
            let options = init::Options {
                keys,
                genesis,
                dir,
                listen,
                api,
                duty: duty(observer),
            };
            set_up(&options)
        }
        Command::Run { dir, log, observer } => {
            run::start_log(log);
            run::run(&dir, duty(observer))
        }
        Command::Reindex { dir } => {
            run::start_log(run::LogFormat::Text);
            arenas::have_one();
            let made = reindex::reindex(&dir)?;
            let (height, size) = (made.height, made.log_size);
            say(&format!(
                "index and log hashes are made again: block {height}, {size} log entries"
            ));
            Ok(())
        }
        Command::CheckIndex { dir } => {
            run::start_log(run::LogFormat::Text);
            check_index::check(&dir)
        }
        Command::MakeIndex { dir, upto } => make_index::make(&dir, Height(upto)),
        Command::ExportArchive { dir, out } => {
            let made = export::export(&dir, &out)?;
            let is_segment = |name: &str| ledger::frame::segment_number(name).is_some();
            let segments = made.files.iter().filter(|listed| is_segment(&listed.file));
            let (count, height) = (segments.count(), made.height);
            say(&format!("{count} segments, up to block {height}"));
            Ok(())
        }
        Command::Backup { dir, out } => back_up(&dir, &out),
        Command::Restore { from, dir } => restore(&from, &dir),
        Command::StopForRestart(args) => {
            run::start_log(run::LogFormat::Text);
            stop_for_restart(&args)
        }
        Command::InstallRestart { dir, file } => {
            run::start_log(run::LogFormat::Text);
            install_restart(&dir, &file)
        }
        Command::Status { dir, json } => {
            let form = if json {
                status::Form::Json
            } else {
                status::Form::Text
            };
            status::status(&dir, form, &mut io::stdout().lock())
        }
    }
}

fn set_up(options: &init::Options) -> Result<(), Failure> {
    init::init(options)?;
    let dir = options.dir.display();
    let settings = node::config::FILE;
    say(&format!("{dir} is ready; settings: {dir}/{settings}"));
    let how = match options.duty {
        Duty::Observer => " --observer",
        Duty::Validator => "",
    };
    say(&format!("next: nachweis-node run{how} --dir {dir}"));
    Ok(())
}

const fn duty(observer: bool) -> Duty {
    if observer {
        Duty::Observer
    } else {
        Duty::Validator
    }
}

fn back_up(dir: &Path, out: &Path) -> Result<(), Failure> {
    if out == Path::new("-") {
        backup::backup(dir, &mut io::stdout().lock())?;
        return Ok(());
    }
    let made = backup::backup_file(dir, out)?;
    let (count, height) = (made.files.len(), made.height);
    say(&format!("{count} files, up to block {height}"));
    Ok(())
}

fn stop_for_restart(args: &StopForRestart) -> Result<(), Failure> {
    let StopForRestart { dir, out, .. } = args;
    let lost = if args.archive_lost {
        LostBlocks::CountAsForgotten
    } else {
        LostBlocks::Refuse
    };
    let stopped = restart::stop(dir, &args.admin_key, out, lost)?;
    let certified = stopped.top.map_or_else(
        || "no block with a certificate of this epoch".to_owned(),
        |height| format!("block {height} with a certificate"),
    );
    say(&format!(
        "{} is stopped in epoch {}: final up to block {}, {certified}",
        dir.display(),
        stopped.epoch,
        stopped.height
    ));
    if stopped.memory == Memory::Lost {
        say(match lost {
            LostBlocks::Refuse => "its journal was lost: it counts among the faulty reporters",
            LostBlocks::CountAsForgotten => {
                "its journal, or blocks that it knew to be final, were lost: it counts among the faulty reporters"
            }
        });
    }
    say(&format!(
        "next: give {} to whoever runs nachweis-genesis restart; install its file here before this node votes again",
        out.display()
    ));
    Ok(())
}

fn install_restart(dir: &Path, file: &Path) -> Result<(), Failure> {
    let installed = restart::install(dir, file)?;
    let shown = dir.display();
    say(&format!(
        "{shown} goes on in epoch {} from block {} ({})",
        installed.epoch, installed.anchor.height, installed.anchor.hash
    ));
    if installed.votes == restart::Votes::AfterRejoin {
        say(
            "its journal was lost and its report is not in the file: it votes once it has rejoined",
        );
    }
    say("fingerprint of the restart file, the same at every operator:");
    for line in installed.fingerprint.to_string().lines() {
        say(&format!("  {line}"));
    }
    say(&format!("next: nachweis-node run --dir {shown}"));
    Ok(())
}

fn restore(from: &Path, dir: &Path) -> Result<(), Failure> {
    let restored = if from == Path::new("-") {
        backup::restore(&mut io::stdin().lock(), dir)?
    } else {
        let file = File::open(from).map_err(|source| backup::BackupError::Stream {
            what: from.display().to_string(),
            source,
        })?;
        backup::restore(&mut io::BufReader::new(file), dir)?
    };
    let shown = dir.display();
    say(&format!(
        "{shown} is restored and verified up to block {}",
        restored.height
    ));
    for moved in &restored.moved {
        say(&moved.to_string());
    }
    say(&format!(
        "next: put vote.key, cosigner.key, log.key and network.key into {}; the node will follow, and not vote until it has rejoined",
        restored.keys.display()
    ));
    Ok(())
}

/// A line on standard output; a closed stream leaves the exit code to tell.
fn say(line: &str) {
    writeln!(io::stdout().lock(), "{line}").ok();
}
