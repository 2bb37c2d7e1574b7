//! What the parts of a node that speak need of the network. Two implementations: libp2p's, and one in memory for tests.

use consensus::Peer;
use std::fmt;
use std::sync::Arc;

/// Sends encoded messages; never waits. What cannot be sent is dropped: all protocols here send again.
pub trait Mesh: fmt::Debug + Send + Sync + 'static {
    /// To one peer, if it is connected.
    fn send(&self, to: &Peer, bytes: Arc<[u8]>);
    /// To every connected validator.
    fn broadcast(&self, bytes: Arc<[u8]>);
    /// To every connected observer.
    fn inform(&self, bytes: Arc<[u8]>);
    /// Disconnects a peer that did what no honest node does.
    fn disconnect(&self, peer: &Peer, why: &'static str);
}

impl Mesh for crate::network::Handle {
    fn send(&self, to: &Peer, bytes: Arc<[u8]>) {
        let lane = crate::network::Lane::of(&bytes);
        // The mesh counts what it drops.
        Self::send(self, to, lane, bytes);
    }

    fn broadcast(&self, bytes: Arc<[u8]>) {
        let lane = crate::network::Lane::of(&bytes);
        Self::broadcast(self, lane, bytes);
    }

    fn inform(&self, bytes: Arc<[u8]>) {
        let lane = crate::network::Lane::of(&bytes);
        Self::inform(self, lane, bytes);
    }

    fn disconnect(&self, peer: &Peer, why: &'static str) {
        Self::disconnect(self, peer, why);
    }
}
