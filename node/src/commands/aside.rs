//! What a node serves while its index is made again: blocks, tiles and the newest checkpoint, at the address of its API; for
//! everything else it says how far it is. It votes on nothing meanwhile, for it cannot tell whether a block is valid.

use crate::api;
use crate::chain::{Chain, Parts};
use crate::config;
use crate::metrics::Metrics;
use crate::recovery::Making;
use ledger::id::AuthorityId;
use std::net::TcpListener;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// A service that may be needed.
#[derive(Debug)]
pub struct Aside {
    /// Where it listens.
    pub listener: TcpListener,
    /// Whose node it is.
    pub authority: AuthorityId,
    /// Limits.
    pub config: config::Api,
    /// What is counted.
    pub metrics: Metrics,
    /// The disk of its data.
    pub disk: api::Disk,
}

/// The same while a disk is recovered.
#[derive(Debug)]
pub struct Standing {
    aside: Aside,
    end: CancellationToken,
    stop: CancellationToken,
    signals: JoinHandle<()>,
    serving: Option<JoinHandle<()>>,
}

impl Aside {
    /// Stands by, and listens for the signals that end a node: whoever recovers blocks its thread.
    ///
    /// # Errors
    /// If the system refuses a signal handler.
    pub fn stand_by(self) -> std::io::Result<Standing> {
        let stop = CancellationToken::new();
        let told = stop.clone();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let signals = tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            told.cancel();
        });
        Ok(Standing {
            aside: self,
            end: CancellationToken::new(),
            stop,
            signals,
            serving: None,
        })
    }
}

impl Standing {
    /// Cancelled when the node is told to stop.
    pub fn stop(&self) -> CancellationToken {
        self.stop.clone()
    }

    /// Serves what can be read without an index.
    pub fn serve(&mut self, parts: Parts, making: Arc<Making>) {
        let (chain, _nothing_is_taken) = Chain::new(parts);
        let listener = self.aside.listener.try_clone();
        let listener = listener.and_then(tokio::net::TcpListener::from_std);
        let listener = match listener {
            Ok(listener) => listener,
            Err(error) => {
                tracing::warn!(%error, "nothing is served while the index is made again");
                return;
            }
        };
        tracing::info!(
            "the index is made again: until then the API serves blocks, tiles and the checkpoint, and the node does not vote"
        );
        let service = api::Service {
            chain,
            authority: self.aside.authority.clone(),
            config: self.aside.config.clone(),
            metrics: self.aside.metrics.clone(),
            network: None,
            disk: self.aside.disk.clone(),
            making: Some(making),
        };
        let end = self.end.clone();
        self.serving = Some(tokio::spawn(async move {
            if let Err(error) = api::serve(listener, service, end).await {
                tracing::error!(%error, "the API ended with an error");
            }
        }));
    }

    /// Ends what is served, with every answer under way; it may be served again.
    pub async fn rest(&mut self) {
        std::mem::take(&mut self.end).cancel();
        if let Some(serving) = self.serving.take() {
            serving.await.ok();
        }
    }
}

impl Drop for Standing {
    fn drop(&mut self) {
        self.end.cancel();
        self.signals.abort();
    }
}
