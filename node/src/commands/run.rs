//! `nachweis-node run`: a validator or an observer, until SIGTERM or SIGINT.
//!
//! A validator takes part. If it finds that the others are far ahead, it stops that, follows them until it has caught up
//! ([`crate::follow`]), and takes part again.

use super::aside::Aside;
use super::make_index::ByChild;
use super::room::{self, NearlyFull};
use super::{Failure, check_index, restart};
use crate::api;
use crate::chain::{Chain, PeerStatus};
use crate::config::{Config, ConfigError};
use crate::driver::ingress;
use crate::epochs::EpochError;
use crate::exit::Exit;
use crate::follow::{self, End, Files, Until};
use crate::identity::{Duty, Identity, IdentityError, Part};
use crate::metrics::Metrics;
use crate::network::{self, FrameLimits, NetworkError, Receivers};
use crate::node::{Follow, Prepared, Signing, StartError};
use crate::recovery::{self, Meanwhile, Owner, RecoveryError};
use crate::repair::Question;
use crate::repair::early::Early;
use crate::storage::{DataDirError, archive};
use consensus::RecoverError;
use ledger::tip::Founding;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// Blocks behind at which a node that starts fetches ranges of them instead of taking part; taking part catches up too,
/// one answer of one peer after the other.
const FAR_BEHIND: u64 = 128;
/// The same for a node that has taken part since.
const FAR_BEHIND_AGAIN: u64 = 4_096;
/// And for one that was stopped for a restart, which takes part in nothing: what it lacks at most must fit the restart file,
/// eight blocks of the greatest length do.
const FAR_BEHIND_STOPPED: u64 = 8;

/// Environment variable with a filter for the log, as `info` or `node=debug`.
pub const LOG_FILTER: &str = "NACHWEIS_LOG";

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object per line.
    Json,
}

/// Why the node did not run.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The configuration is refused.
    #[error("the node's configuration is refused")]
    Config(#[from] ConfigError),
    /// Keys or genesis are refused.
    #[error("the node's keys or genesis are refused")]
    Identity(#[from] IdentityError),
    /// The data cannot be used.
    #[error("the node's data cannot be used")]
    Recovery(#[from] RecoveryError),
    /// The network does not start.
    #[error("the network does not start")]
    Network(#[from] NetworkError),
    /// The API's address cannot be listened at.
    #[error("the API cannot listen at {0}")]
    Api(SocketAddr, #[source] std::io::Error),
    /// The parts do not start.
    #[error("the node does not start")]
    Start(#[from] StartError),
    /// The node ran, and stopped by itself.
    #[error(transparent)]
    NearlyFull(#[from] NearlyFull),
    /// The operating system refuses.
    #[error("the operating system refuses a runtime or a signal handler")]
    System(#[from] std::io::Error),
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        let (exit, hint) = match &error {
            RunError::Config(source) => (Exit::Usage, Some(source.hint().to_owned())),
            RunError::Identity(source) => (Exit::Refused, source.hint()),
            RunError::Recovery(source) => of_recovery(source),
            RunError::Network(source) => (Exit::Refused, source.hint().map(str::to_owned)),
            RunError::Api(..) => (
                Exit::Refused,
                Some(
                    "does this node run already? otherwise free the port, or set api.listen in node.toml"
                        .to_owned(),
                ),
            ),
            RunError::NearlyFull(_) => (
                Exit::DiskNearlyFull,
                Some("everything was closed cleanly; make room, then start it again".to_owned()),
            ),
            RunError::Start(StartError::Timing(_)) => (Exit::Usage, None),
            RunError::Start(StartError::Engine(RecoverError::Certificate { .. })) => (
                Exit::Refused,
                Some(
                    "a restart file is missing from data/archive, of this epoch or an earlier one, or another stands there: copy it \
                     from there of a node that runs, or give chain.restart to nachweis-node install-restart, the lowest first"
                        .to_owned(),
                ),
            ),
            RunError::Start(StartError::Engine(_)) => (Exit::Fatal, None),
            RunError::Start(_) | RunError::System(_) => (Exit::Failed, None),
        };
        Self::new(exit, error).hint(hint)
    }
}

fn of_recovery(error: &RecoveryError) -> (Exit, Option<String>) {
    let hint = match error {
        RecoveryError::DataDir(DataDirError::Locked(_)) => Some("does this node run already?"),
        RecoveryError::DataDir(DataDirError::OtherChain { .. }) => Some(
            "the data folder belongs to another network: name this node's own in node.toml, storage.data",
        ),
        RecoveryError::DataDir(DataDirError::Chain { .. }) => Some(
            "if this is the node's own data folder, delete that one file: it is written again; all else stays",
        ),
        RecoveryError::DataDir(DataDirError::LowSpace { .. }) => {
            Some("make room, or lower storage.min_free_bytes in node.toml")
        }
        RecoveryError::Block(archive::ReadError::Away { .. })
        | RecoveryError::Epoch(EpochError::Read(archive::ReadError::Away { .. })) => Some(
            "put this segment back into the archive folder: what is missing must be made again from its blocks",
        ),
        RecoveryError::Restarts(source) => Some(source.hint()),
        RecoveryError::Epoch(EpochError::NoRestart { .. } | EpochError::Finalization { .. }) => {
            Some(
                "a restart file is missing from data/archive, of this epoch or an earlier one, or another stands there: copy it from there of \
             a node that runs; on a validator chain.restart can be given to nachweis-node install-restart instead, the lowest first",
            )
        }
        RecoveryError::Replay { .. } | RecoveryError::Epoch(_) => Some(
            "if the chain was ever restarted, its restart file may be missing from data/archive: copy it from there of a node that \
             runs, or give chain.restart to nachweis-node install-restart; else the archive on this disk is damaged: put the folder aside and let the node fetch the \
             blocks again",
        ),
        RecoveryError::Archive(archive::OpenError::File(_))
        | RecoveryError::Block(archive::ReadError::File(_)) => Some(
            "the operating system refused this; that says nothing about the blocks: leave them where they are",
        ),
        RecoveryError::Block(archive::ReadError::Damaged(_)) => {
            Some("`nachweis-node run` fetches damaged blocks from the other validators")
        }
        RecoveryError::Archive(_) => Some(
            "the archive on this disk is damaged; put the folder aside and let the node fetch the blocks again",
        ),
        RecoveryError::DataDir(DataDirError::File(_))
        | RecoveryError::Genesis(_)
        | RecoveryError::Log(_)
        | RecoveryError::Index(_)
        | RecoveryError::Journal(_)
        | RecoveryError::Record(_)
        | RecoveryError::NoJournalId
        | RecoveryError::Guard(_)
        | RecoveryError::Fatal(_)
        | RecoveryError::NotWritten(_)
        | RecoveryError::File(_)
        | RecoveryError::Stopped => None,
    };
    let exit = match error {
        RecoveryError::Fatal(_) | RecoveryError::NotWritten(_) | RecoveryError::Record(_) => {
            Exit::Fatal
        }
        _ => Exit::Refused,
    };
    (exit, hint.map(str::to_owned))
}

/// Sends the log to stderr.
pub fn start_log(format: LogFormat) {
    let filter =
        EnvFilter::try_from_env(LOG_FILTER).unwrap_or_else(|_unset| EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    // A second call, as in a test, changes nothing.
    match format {
        LogFormat::Text => log.with_ansi(false).try_init().ok(),
        LogFormat::Json => log.json().try_init().ok(),
    };
}

/// Runs the node of a directory until it is told to stop.
///
/// # Errors
/// [`RunError`] as a [`Failure`]: the node did not start.
pub fn run(dir: &Path, duty: Duty) -> Result<(), Failure> {
    crate::exit::on_panic();
    allow_open_files();
    let config = Config::load(dir).map_err(RunError::from)?;
    let identity = Identity::load(&config, duty).map_err(RunError::from)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(RunError::from)?;
    let done = runtime.block_on(async { Process::new(dir, &config, &identity).await?.run().await });
    Ok(done?)
}

/// Lets the process open as many files and connections as the system allows at most, not only as it allows unasked.
fn allow_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, limit = ?limit.current, "the limit of open files stays as it is");
    }
}

/// What lives as long as the process, whatever the node does meanwhile.
struct Process<'a> {
    dir: &'a Path,
    config: &'a Config,
    identity: &'a Identity,
    founding: Founding,
    /// Who may install restart files, as the journal says.
    files: Files,
    /// Kept open, so that nobody takes the port while the node changes from one work to another.
    listener: std::net::TcpListener,
    metrics: Metrics,
    terminate: Signal,
    interrupt: Signal,
}

/// What a node does next.
enum Next {
    Stop,
    /// Fetch what is missing, then decide again.
    Join,
    /// Take part.
    Decide,
}

impl<'a> Process<'a> {
    async fn new(
        dir: &'a Path,
        config: &'a Config,
        identity: &'a Identity,
    ) -> Result<Self, RunError> {
        // Registered first, so that no signal is missed.
        let terminate = signal(SignalKind::terminate())?;
        let interrupt = signal(SignalKind::interrupt())?;
        tracing::info!(
            authority = %identity.id,
            chain = %identity.founding.chain(),
            version = env!("CARGO_PKG_VERSION"),
            duty = ?identity.duty(),
            "starting"
        );
        // Before the recovery, which may take long and writes: a taken port shows at once.
        let address = config.api.listen;
        let listener = TcpListener::bind(address).await;
        let listener = listener.map_err(|source| RunError::Api(address, source))?;
        let listener = listener.into_std()?;
        if identity.duty() == Duty::Validator {
            network::check_free(&config.network.listen)?;
        }
        let founding = Founding::new(identity.founding.genesis().clone());
        Ok(Self {
            dir,
            config,
            identity,
            founding: founding.map_err(RecoveryError::from)?,
            files: Files::FromPeers,
            listener,
            metrics: Metrics::new(),
            terminate,
            interrupt,
        })
    }

    async fn run(self) -> Result<(), RunError> {
        let done = self.work().await;
        if matches!(done, Ok(()) | Err(RunError::NearlyFull(_))) {
            tracing::info!("stopped");
        }
        done
    }

    async fn work(mut self) -> Result<(), RunError> {
        let (dir, config, chain) = (self.dir, self.config, self.founding.chain());
        tokio::select! {
            asked = check_index::ask(dir, config, chain) => asked?,
            () = self.told_to_stop() => return Ok(()),
        }
        match &self.identity.part {
            Part::Observer { .. } => {
                let how = (Until::Stopped, Files::FromPeers);
                while matches!(self.follow(how).await?, Next::Join) {}
            }
            Part::Validator { validator, keys } => {
                let mut join_from = FAR_BEHIND;
                let mut next = Next::Decide;
                loop {
                    next = match next {
                        Next::Stop => break,
                        Next::Join => self.follow((Until::CaughtUp, self.files)).await?,
                        Next::Decide => {
                            let signing = Signing::new(*validator, keys);
                            let owner = Owner::new(self.founding.clone(), keys);
                            let next = self.decide(signing, &owner, join_from).await?;
                            // Whoever has joined once is not sent back for the blocks of a restart.
                            join_from = FAR_BEHIND_AGAIN;
                            next
                        }
                    };
                }
            }
        }
        Ok(())
    }

    /// Takes part in consensus until the end, or until the others are found to be far ahead.
    async fn decide(
        &mut self,
        signing: Signing,
        owner: &Owner,
        far: u64,
    ) -> Result<Next, RunError> {
        let founding = self.founding.clone();
        let aside = self.aside()?;
        let (config, how) = (self.config, (aside, Question::Sync));
        let recover = recover(
            self.dir,
            config,
            self.identity,
            &founding,
            how,
            |meanwhile| recovery::recover_meanwhile(config, owner, meanwhile),
        );
        let Some(started) = self.unless_stopped(recover).await? else {
            return Ok(Next::Stop);
        };
        let Started {
            recovered,
            early,
            repaired,
        } = started;
        let data = Arc::clone(&recovered.chain.data);
        let marks = &self.config.storage;
        let is_stopped = restart::is_stopped(&recovered.records);
        self.files = if is_stopped {
            Files::FromOperator
        } else {
            Files::FromPeers
        };
        let far = if is_stopped { FAR_BEHIND_STOPPED } else { far };
        let prepared = Prepared::new(recovered, self.config, &signing)?;
        recovered_to(prepared.chain());
        let network = match early {
            Some(network) => network,
            None => Early::new(self.network().await?),
        };
        let up = network.up();
        let Early {
            mesh, receivers, ..
        } = network;
        let mut node = prepared.start(self.config, signing, Arc::new(mesh.clone()))?;
        node.chain.repairs().add(repaired);
        for peer in up {
            node.ingress.up(peer).await;
        }
        ingress::read(&node.ingress, receivers, &mut node.tasks);
        let api = self.serve(&node.chain, &mesh)?;
        tracing::info!(network = ?mesh.listening(), "running");
        let next = tokio::select! {
            () = self.told_to_stop() => Ok(Next::Stop),
            () = follow::far_behind(&node.chain, far) => Ok(Next::Join),
            () = follow::left_behind(&node.chain), if !is_stopped => Ok(Next::Join),
            full = room::nearly_full(&data, marks) => Err(full.into()),
        };
        match &next {
            Ok(Next::Join) => tracing::info!(
                "the others are far ahead: fetches what is missing, then takes part again"
            ),
            Ok(_) => {}
            Err(full) => tracing::error!("{full}"),
        }
        api.end().await;
        node.stop(mesh.shutdown()).await;
        next
    }

    /// What is recovered, unless the process is told to stop meanwhile.
    async fn unless_stopped<T>(
        &mut self,
        recovering: impl Future<Output = Result<T, RunError>>,
    ) -> Result<Option<T>, RunError> {
        tokio::select! {
            recovered = recovering => match recovered {
                Err(RunError::Recovery(RecoveryError::Stopped)) => Ok(None),
                recovered => recovered.map(Some),
            },
            () = self.told_to_stop() => Ok(None),
        }
    }

    /// Follows the others.
    async fn follow(&mut self, mode: (Until, Files)) -> Result<Next, RunError> {
        let founding = self.founding.clone();
        let (config, how) = (self.config, (self.aside()?, Question::Range));
        let recover = recover(
            self.dir,
            config,
            self.identity,
            &founding,
            how,
            |meanwhile| recovery::recover_chain(config, &founding, meanwhile),
        );
        let Some(started) = self.unless_stopped(recover).await? else {
            return Ok(Next::Stop);
        };
        let Started {
            recovered,
            early,
            repaired,
        } = started;
        let data = Arc::clone(&recovered.data);
        let marks = &self.config.storage;
        let follow = Follow::new(recovered);
        recovered_to(follow.chain());
        let network = match early {
            Some(network) => network,
            None => Early::new(self.network().await?),
        };
        let up = network.up();
        let Early {
            mesh, receivers, ..
        } = network;
        let mut node = follow.start(self.config, Arc::new(mesh.clone()), mode)?;
        node.chain.repairs().add(repaired);
        if let Part::Validator { validator, .. } = &self.identity.part {
            // It is no peer of itself.
            let is_other = |peer: &PeerStatus| peer.validator != *validator;
            node.chain
                .update_status(|status| status.peers.retain(is_other));
        }
        for peer in up {
            node.ports.up(peer).await;
        }
        follow::read(&node.ports, receivers, &mut node.tasks);
        let api = self.serve(&node.chain, &mesh)?;
        tracing::info!("following");
        let next = tokio::select! {
            () = self.told_to_stop() => Ok(Next::Stop),
            ended = &mut node.follower => match ended {
                Ok(End::Restarted) => Ok(Next::Join),
                Ok(End::CaughtUp | End::Stopped) | Err(_) => Ok(Next::Decide),
            },
            full = room::nearly_full(&data, marks) => Err(full.into()),
        };
        if let Err(full) = &next {
            tracing::error!("{full}");
        }
        api.end().await;
        node.stop(mesh.shutdown()).await;
        next
    }

    fn aside(&self) -> Result<Aside, RunError> {
        Ok(Aside {
            listener: self.listener.try_clone()?,
            authority: self.identity.id.clone(),
            config: self.config.api.clone(),
            metrics: self.metrics.clone(),
            disk: self.disk(),
        })
    }

    fn disk(&self) -> api::Disk {
        api::Disk {
            data: self.config.data(),
            min_free_bytes: self.config.storage.min_free_bytes,
        }
    }

    async fn network(&self) -> Result<(network::Handle, Receivers), RunError> {
        Ok(start_network(self.config, self.identity, &self.founding).await?)
    }

    fn serve(&self, chain: &Chain, mesh: &network::Handle) -> Result<Api, RunError> {
        let listener = TcpListener::from_std(self.listener.try_clone()?)?;
        let service = api::Service {
            chain: chain.clone(),
            authority: self.identity.id.clone(),
            config: self.config.api.clone(),
            metrics: self.metrics.clone(),
            network: Some(mesh.clone()),
            disk: self.disk(),
            making: None,
        };
        let end = CancellationToken::new();
        let task = tokio::spawn(api::serve(listener, service, end.clone()));
        Ok(Api { task, end })
    }

    async fn told_to_stop(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
        tracing::info!("stopping");
    }
}

/// The running API.
struct Api {
    task: tokio::task::JoinHandle<std::io::Result<()>>,
    end: CancellationToken,
}

impl Api {
    /// First those who wait get their answers; only then may what they ask about go away.
    async fn end(self) {
        self.end.cancel();
        if let Ok(Err(error)) = self.task.await {
            tracing::error!(%error, "the API ended with an error");
        }
    }
}

fn recovered_to(chain: &Chain) {
    let head = chain.head();
    let index = chain.states().base().height;
    tracing::info!(height = %head.tip.height, log_size = %head.tip.log_size(), %index, "recovered");
}

/// A recovered disk, and what it took.
struct Started<T> {
    recovered: T,
    /// The network, if blocks had to be repaired first.
    early: Option<Early>,
    /// How many were.
    repaired: u64,
}

/// Recovers the disk; blocks that are damaged and needed are fetched from peers first.
async fn recover<T>(
    dir: &Path,
    config: &Config,
    identity: &Identity,
    founding: &Founding,
    (aside, question): (Aside, Question),
    mut read: impl FnMut(&mut Meanwhile<'_>) -> Result<T, RecoveryError>,
) -> Result<Started<T>, RunError> {
    let mut early: Option<Early> = None;
    let mut repaired = 0_u64;
    let mut standing = aside.stand_by()?;
    loop {
        let stop = standing.stop();
        let serve = &mut |parts, making| standing.serve(parts, making);
        let elsewhere = &ByChild { dir };
        let meanwhile = &mut Meanwhile {
            stop,
            elsewhere: Some(elsewhere),
            serve,
        };
        let recovered = read(meanwhile);
        standing.rest().await;
        let damaged = recovered.as_ref().err().and_then(RecoveryError::damaged);
        let (error, needed) = match (recovered, damaged) {
            (Err(error), Some(needed)) => (error, needed),
            (recovered, _) => {
                return Ok(Started {
                    recovered: recovered?,
                    early,
                    repaired,
                });
            }
        };
        tracing::error!(
            error = %crate::exit::Chain(&error),
            "this block is needed to start: it is fetched from peers first, and nothing is served until then"
        );
        let network = match early.take() {
            Some(network) => network,
            None => Early::new(start_network(config, identity, founding).await?),
        };
        let repairing = early.insert(network);
        let put_back = repairing
            .repair(config, founding, (needed, question))
            .await?;
        repaired = repaired.saturating_add(put_back);
    }
}

async fn start_network(
    config: &Config,
    identity: &Identity,
    founding: &Founding,
) -> Result<(network::Handle, Receivers), NetworkError> {
    let settings = network::Settings::new(identity, founding, &config.network.listen);
    network::start(settings, FrameLimits::PROTOCOL).await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::files;

    #[test]
    fn a_low_limit_of_open_files_is_raised_as_far_as_the_system_allows() {
        let maximum = getrlimit(Resource::Nofile).maximum;
        let low = Rlimit {
            current: Some(100),
            maximum,
        };
        setrlimit(Resource::Nofile, low).unwrap();
        allow_open_files();
        assert_eq!(getrlimit(Resource::Nofile).current, maximum);
    }

    #[test]
    fn who_may_not_open_a_file_is_not_told_that_it_is_damaged() {
        let path = Path::new("0.archive");
        let refused = || {
            let too_many = std::io::Error::from(rustix::io::Errno::MFILE);
            files::FileError::new(files::Operation::Open, path, too_many)
        };
        let errors = [
            RecoveryError::Archive(archive::OpenError::File(refused())),
            RecoveryError::Block(archive::ReadError::File(refused())),
        ];
        for error in errors {
            let (exit, hint) = of_recovery(&error);
            assert_eq!(exit, Exit::Refused);
            assert!(!hint.unwrap_or_default().contains("damaged"));
        }
    }
}
