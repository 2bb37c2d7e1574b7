//! `nachweis-node run`: the validator, until SIGTERM or SIGINT.

use super::Failure;
use crate::api;
use crate::config::{Config, ConfigError};
use crate::driver::ingress;
use crate::exit::Exit;
use crate::identity::{Identity, IdentityError};
use crate::metrics::Metrics;
use crate::network::{self, FrameLimits, NetworkError};
use crate::node::{Prepared, Signing, StartError};
use crate::recovery::{self, Owner, Recovered, RecoveryError};
use crate::repair::early::Early;
use crate::storage::{DataDir, DataDirError, archive};
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

/// How often the free space is looked at.
const LOOK_AT_DISK: Duration = Duration::from_millis(500);
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
    #[error("the data disk is nearly full: {free} bytes are free, the node runs from {needed} on")]
    NearlyFull {
        /// Bytes free.
        free: u64,
        /// Bytes needed.
        needed: u64,
    },
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
                    "does another program use this port? name another in node.toml, api.listen"
                        .to_owned(),
                ),
            ),
            RunError::NearlyFull { .. } => (
                Exit::DiskNearlyFull,
                Some("everything was closed cleanly; make room, then start it again".to_owned()),
            ),
            RunError::Start(StartError::Timing(_)) => (Exit::Usage, None),
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
            "the data folder belongs to another network: name another in node.toml, storage.data",
        ),
        RecoveryError::DataDir(DataDirError::LowSpace { .. }) => {
            Some("make room, or lower storage.min_free_bytes in node.toml")
        }
        RecoveryError::Block(archive::ReadError::Away { .. }) => Some(
            "put this segment back into the archive folder: what is missing must be made again from its blocks",
        ),
        RecoveryError::Archive(_) | RecoveryError::Block(_) | RecoveryError::Replay { .. } => Some(
            "the archive on this disk is damaged; put the folder aside and let the node fetch the blocks again",
        ),
        RecoveryError::DataDir(DataDirError::File(_))
        | RecoveryError::Genesis(_)
        | RecoveryError::Restarts(_)
        | RecoveryError::Log(_)
        | RecoveryError::Index(_)
        | RecoveryError::Journal(_)
        | RecoveryError::Record(_)
        | RecoveryError::NoJournalId
        | RecoveryError::Guard(_)
        | RecoveryError::Epoch(_)
        | RecoveryError::Fatal(_)
        | RecoveryError::File(_) => None,
    };
    let exit = match error {
        RecoveryError::Fatal(_) | RecoveryError::Record(_) => Exit::Fatal,
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
pub fn run(dir: &Path) -> Result<(), Failure> {
    crate::exit::on_panic();
    let config = Config::load(dir).map_err(RunError::from)?;
    let identity = Identity::load(&config).map_err(RunError::from)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(RunError::from)?;
    let done = runtime.block_on(serve(&config, &identity));
    Ok(done?)
}

async fn serve(config: &Config, identity: &Identity) -> Result<(), RunError> {
    // Registered first, so that no signal is missed.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tracing::info!(
        authority = %identity.id,
        chain = %identity.founding.chain(),
        version = env!("CARGO_PKG_VERSION"),
        "starting"
    );
    // Before the recovery, which may take long and writes: a taken port shows at once.
    let address = config.api.listen;
    let listener = TcpListener::bind(address).await;
    let listener = listener.map_err(|source| RunError::Api(address, source))?;
    network::check_free(&config.network.listen)?;
    let owner = Owner::new(identity)?;
    let started = tokio::select! {
        started = recover(config, identity, &owner) => started?,
        _ = terminate.recv() => return Ok(()),
        _ = interrupt.recv() => return Ok(()),
    };
    let Started {
        recovered,
        early,
        repaired,
    } = started;
    let data = Arc::clone(&recovered.data);
    let signing = Signing::from(identity);
    let prepared = Prepared::new(recovered, config, &signing)?;
    let head = prepared.chain().head();
    tracing::info!(height = %head.tip.height, log_size = %head.tip.log_size(), "recovered");
    let network = match early {
        Some(network) => network,
        None => Early::new(start_network(config, identity).await?),
    };
    let up = network.up();
    let Early {
        mesh, receivers, ..
    } = network;
    let mut node = prepared.start(config, signing, Arc::new(mesh.clone()))?;
    node.chain.repairs().add(repaired);
    for peer in up {
        node.ingress.up(peer).await;
    }
    ingress::read(&node.ingress, receivers, &mut node.tasks);
    let service = api::Service {
        chain: node.chain.clone(),
        authority: identity.id.clone(),
        config: config.api.clone(),
        metrics: Metrics::new(),
        network: Some(mesh.clone()),
    };
    let end = CancellationToken::new();
    let api = tokio::spawn(api::serve(listener, service, end.clone()));
    tracing::info!(network = ?mesh.listening(), "running");
    let full = tokio::select! {
        _ = terminate.recv() => None,
        _ = interrupt.recv() => None,
        full = nearly_full(&data, config.storage.stop_free_bytes) => Some(full),
    };
    if let Some(full) = &full {
        tracing::error!("{full}");
    }
    tracing::info!("stopping");
    // First those who wait get their answers; only then does what they ask about go away.
    end.cancel();
    if let Ok(Err(error)) = api.await {
        tracing::error!(%error, "the API ended with an error");
    }
    node.stop(mesh.shutdown()).await;
    tracing::info!("stopped");
    full.map_or(Ok(()), Err)
}

/// A recovered disk, and what it took.
struct Started {
    recovered: Recovered,
    /// The network, if blocks had to be repaired first.
    early: Option<Early>,
    /// How many were.
    repaired: u64,
}

/// Recovers the disk; blocks that are damaged and needed are fetched from peers first.
async fn recover(config: &Config, identity: &Identity, owner: &Owner) -> Result<Started, RunError> {
    let mut early: Option<Early> = None;
    let mut repaired = 0_u64;
    loop {
        let error = match recovery::recover(config, owner) {
            Err(error) if error.is_damage() => error,
            recovered => {
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
            None => Early::new(start_network(config, identity).await?),
        };
        let put_back = early.insert(network).repair(config, owner).await?;
        repaired = repaired.saturating_add(put_back);
    }
}

async fn start_network(
    config: &Config,
    identity: &Identity,
) -> Result<(network::Handle, network::Receivers), NetworkError> {
    let settings = network::Settings::new(identity, &config.network.listen);
    network::start(settings, FrameLimits::PROTOCOL).await
}

/// Returns when so little is free on the data disk that the next write might not find room.
async fn nearly_full(data: &DataDir, needed: u64) -> RunError {
    loop {
        tokio::time::sleep(LOOK_AT_DISK).await;
        // What cannot be asked now is asked again.
        if let Ok(free) = data.free_bytes()
            && free < needed
        {
            return RunError::NearlyFull { free, needed };
        }
    }
}
