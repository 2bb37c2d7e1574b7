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
use crate::recovery::{self, Owner, RecoveryError};
use crate::storage::DataDirError;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::EnvFilter;

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
    let recovered = recovery::recover(config, &Owner::new(identity)?)?;
    let signing = Signing::from(identity);
    let prepared = Prepared::new(recovered, config, &signing)?;
    let head = prepared.chain().head();
    tracing::info!(height = %head.tip.height, log_size = %head.tip.log_size(), "recovered");
    let settings = network::Settings::new(identity, &config.network.listen);
    let (mesh, receivers) = network::start(settings, FrameLimits::PROTOCOL).await?;
    let mut node = prepared.start(config, signing, Arc::new(mesh.clone()))?;
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
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tracing::info!("stopping");
    // First those who wait get their answers; only then does what they ask about go away.
    end.cancel();
    if let Ok(Err(error)) = api.await {
        tracing::error!(%error, "the API ended with an error");
    }
    node.stop(mesh.shutdown()).await;
    tracing::info!("stopped");
    Ok(())
}
