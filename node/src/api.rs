//! The HTTP API: one file per resource; its JSON types are in [`genesis::api`], for clients too.
//!
//! It reads the chain through its handle and hands submissions in; it decides nothing. Every request is
//! bounded: its head and body, its time, the number of requests at once and of connections. Whatever is
//! not an answer is an [`error::ApiError`]. What reads much or computes runs on blocking threads, as many
//! at once as there are processors.

mod blocks;
mod documents;
pub mod error;
mod limits;
mod listener;
mod log;
mod members;
pub mod probe;
mod receipts;
mod restarts;
mod status;
mod submissions;
mod words;

pub(crate) use genesis::api as types;

use crate::chain::Chain;
use crate::config;
use crate::metrics::Metrics;
use crate::network;
use crate::recovery::Making;
use axum::Router;
use axum::routing::{get, post};
use error::ApiError;
use ledger::id::AuthorityId;
use std::future::IntoFuture as _;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// How long a stopping node lets connections end by themselves.
const GRACE: Duration = Duration::from_secs(3);

/// What the API serves.
#[derive(Debug)]
pub struct Service {
    /// The chain.
    pub chain: Chain,
    /// The authority that runs this node.
    pub authority: AuthorityId,
    /// Limits.
    pub config: config::Api,
    /// What is counted here, and shown at `/metrics`.
    pub metrics: Metrics,
    /// The network, for what it counts; none where there is none.
    pub network: Option<network::Handle>,
    /// The disk of its data.
    pub disk: Disk,
    /// How far the index is that is being made again; none once it stands. Until then only what needs no index is served.
    pub making: Option<Arc<Making>>,
}

/// A disk, and what a node wants to be free on it.
#[derive(Clone, Debug)]
pub struct Disk {
    /// A folder on it.
    pub data: PathBuf,
    /// Bytes from which on submissions are taken.
    pub min_free_bytes: u64,
}

/// A [`Service`] at work. Cheap to clone.
#[derive(Clone, Debug)]
struct App(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    service: Service,
    shutdown: CancellationToken,
    /// Requests that may be answered at the same time.
    requests: Arc<Semaphore>,
    /// Blocking pieces of work that may run at the same time.
    workers: Arc<Semaphore>,
    /// The leaves of the block that an entry bundle was last made from.
    leaves: log::LastBlock,
}

impl std::ops::Deref for App {
    type Target = Service;
    fn deref(&self) -> &Service {
        &self.0.service
    }
}

/// Serves until `shutdown`; then waits no longer for submissions, and ends when every answer under way is out,
/// or after three seconds: a client that is slow on purpose does not keep a node from stopping.
///
/// # Errors
/// If the listener's address cannot be asked.
pub async fn serve(
    listener: TcpListener,
    service: Service,
    shutdown: CancellationToken,
) -> io::Result<()> {
    let address = listener.local_addr()?;
    tracing::info!(%address, "the API listens");
    let connections = service.config.max_requests.saturating_mul(2);
    let head = service.config.request_timeout();
    let app = App::new(service, shutdown.clone());
    let listener = listener::Bounded::new(listener, connections, head);
    let service = router(app).into_make_service_with_connect_info::<listener::Answering>();
    let serving =
        axum::serve(listener, service).with_graceful_shutdown(shutdown.clone().cancelled_owned());
    let patience = async {
        shutdown.cancelled().await;
        tokio::time::sleep(GRACE).await;
    };
    tokio::select! {
        served = serving.into_future() => served,
        () = patience => {
            tracing::warn!("connections that did not end are cut off");
            Ok(())
        }
    }
}

fn router(app: App) -> Router {
    // What is answered from the index, or is known only once it is there.
    let of_the_index = Router::new()
        .route("/v1/submissions", post(submissions::submit))
        .route("/v1/documents/{id}", get(documents::document))
        .route("/v1/documents/{id}/history", get(documents::history))
        .route("/v1/documents/{id}/receipt", get(receipts::one))
        .route("/v1/receipts", post(receipts::many))
        .route("/v1/keys/{key}", get(members::key))
        .route("/v1/authorities", get(members::authorities))
        .route("/v1/restarts/{epoch}", get(restarts::restart))
        .route_layer(axum::middleware::from_fn_with_state(
            app.clone(),
            limits::index,
        ));
    let limited = of_the_index
        .route("/v1/blocks/{height}", get(blocks::block))
        .route("/log/checkpoint", get(log::checkpoint))
        .route("/log/{*path}", get(log::tile))
        .route_layer(axum::middleware::from_fn_with_state(
            app.clone(),
            limits::concurrency,
        ));
    // What an operator and a load balancer ask is answered even when the node is busy.
    Router::new()
        .route("/", get(status::page))
        .route("/v1/status", get(status::status))
        .route("/healthz", get(status::health))
        .route("/readyz", get(status::ready))
        .route("/metrics", get(status::metrics))
        .merge(limited)
        .fallback(limits::no_route)
        .method_not_allowed_fallback(limits::no_method)
        .layer(axum::middleware::from_fn_with_state(
            app.clone(),
            limits::every_request,
        ))
        .with_state(app)
}

impl App {
    fn new(service: Service, shutdown: CancellationToken) -> Self {
        let processors = std::thread::available_parallelism().map_or(1, usize::from);
        Self(Arc::new(Shared {
            requests: Arc::new(Semaphore::new(service.config.max_requests)),
            workers: Arc::new(Semaphore::new(processors)),
            leaves: log::LastBlock::default(),
            shutdown,
            service,
        }))
    }

    /// Runs what reads much or computes on a blocking thread.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Self) -> Result<T, ApiError> + Send + 'static,
    ) -> Result<T, ApiError> {
        let workers = Arc::clone(&self.0.workers);
        // Neither the semaphore nor the runtime goes away while a request is answered.
        let permit = workers
            .acquire_owned()
            .await
            .map_err(|e| ApiError::internal(&e))?;
        let app = self.clone();
        let task = tokio::task::spawn_blocking(move || {
            let done = work(&app);
            drop(permit);
            done
        });
        task.await.map_err(|error| ApiError::internal(&error))?
    }
}

#[cfg(test)]
mod tests;
