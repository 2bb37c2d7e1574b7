//! TCP, Noise, Yamux, with the limits that those crates leave open.
//!
//! Yamux lets a stream's window grow up to 1 GiB per connection for whoever makes round trips look long, and its limit
//! on streams is the only setting that libp2p passes on. So the streams are set such that windows can grow by
//! [`WINDOW_GROWTH`] in all, and [`Capped`] ends a connection whose peer opens more than [`MAX_INBOUND_STREAMS`] in
//! its life. A connection thus buffers at most 16 times 256 KiB and 8 MiB.

use consensus::Peer;
use libp2p::core::muxing::{StreamMuxer, StreamMuxerBox, StreamMuxerEvent};
use libp2p::core::transport::Boxed;
use libp2p::core::upgrade::Version;
use libp2p::identity::{Keypair, PublicKey, ed25519};
use libp2p::{PeerId, Transport, dns, noise, tcp, yamux};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

/// How long TCP, Noise and Yamux may take together.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Streams that a peer may open on one connection, over its whole life: two lanes, one ping, and some after faults.
const MAX_INBOUND_STREAMS: usize = 16;
/// The window that Yamux grants each stream at first.
const WINDOW: usize = 256 << 10;
/// The sum of windows that Yamux allows a connection.
const WINDOWS: usize = 1 << 30;
/// By how much all windows of a connection may grow together.
const WINDOW_GROWTH: usize = 8 << 20;

/// Whether host names can be dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    Resolved,
    Unsupported,
}

/// The key as libp2p holds it.
pub(super) fn keypair(seed: &[u8; 32]) -> Option<Keypair> {
    let mut copy = zeroize::Zeroizing::new(*seed);
    let secret = ed25519::SecretKey::try_from_bytes(copy.as_mut_slice()).ok()?;
    Some(Keypair::from(ed25519::Keypair::from(secret)))
}

/// The libp2p id of a network key; `None` if it is no Ed25519 key.
pub(super) fn peer_id(peer: &Peer) -> Option<PeerId> {
    let key = ed25519::PublicKey::try_from_bytes(peer.0.as_bytes()).ok()?;
    Some(PublicKey::from(key).to_peer_id())
}

/// Builds the transport.
///
/// # Errors
/// Without the system's resolver configuration where names are to be resolved.
pub(super) fn build(keypair: &Keypair, names: Names) -> io::Result<Boxed<Connection>> {
    let tcp = tcp::tokio::Transport::new(tcp::Config::default().nodelay(true));
    match names {
        Names::Resolved => secure(dns::tokio::Transport::system(tcp)?, keypair),
        Names::Unsupported => secure(tcp, keypair),
    }
}

/// A connection after its handshake.
pub(super) type Connection = (PeerId, StreamMuxerBox);

fn secure<T>(transport: T, keypair: &Keypair) -> io::Result<Boxed<Connection>>
where
    T: Transport + Send + Unpin + 'static,
    T::Output: futures::AsyncRead + futures::AsyncWrite + Send + Unpin + 'static,
    T::Error: Send + Sync + 'static,
    T::Dial: Send + 'static,
    T::ListenerUpgrade: Send + 'static,
{
    let noise = noise::Config::new(keypair).map_err(io::Error::other)?;
    let mut yamux = yamux::Config::default();
    yamux.set_max_num_streams((WINDOWS - WINDOW_GROWTH) / WINDOW);
    Ok(transport
        .upgrade(Version::V1Lazy)
        .authenticate(noise)
        .multiplex(yamux)
        .timeout(HANDSHAKE)
        .map(|(peer, muxer), _endpoint| (peer, StreamMuxerBox::new(Capped::new(muxer))))
        .boxed())
}

/// A connection that ends when its peer opens too many streams.
struct Capped<M> {
    muxer: M,
    opened: usize,
}

/// A peer opened more streams than it ever needs.
#[derive(Debug, thiserror::Error)]
enum CappedError<E> {
    #[error("more than {MAX_INBOUND_STREAMS} streams were opened by the peer")]
    TooMany,
    #[error(transparent)]
    Muxer(E),
}

impl<M> Capped<M> {
    const fn new(muxer: M) -> Self {
        Self { muxer, opened: 0 }
    }
}

impl<M: StreamMuxer + Unpin> Capped<M> {
    fn inner(self: Pin<&mut Self>) -> Pin<&mut M> {
        Pin::new(&mut self.get_mut().muxer)
    }
}

impl<M: StreamMuxer + Unpin> StreamMuxer for Capped<M>
where
    M::Error: 'static,
{
    type Substream = M::Substream;
    type Error = CappedError<M::Error>;

    fn poll_inbound(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        let polled = self.as_mut().inner().poll_inbound(cx);
        if let Poll::Ready(Ok(_)) = polled {
            self.opened = self.opened.saturating_add(1);
            if self.opened > MAX_INBOUND_STREAMS {
                return Poll::Ready(Err(CappedError::TooMany));
            }
        }
        polled.map_err(CappedError::Muxer)
    }

    fn poll_outbound(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<Self::Substream, Self::Error>> {
        self.inner().poll_outbound(cx).map_err(CappedError::Muxer)
    }

    fn poll_close(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner().poll_close(cx).map_err(CappedError::Muxer)
    }

    fn poll(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<StreamMuxerEvent, Self::Error>> {
        self.inner().poll(cx).map_err(CappedError::Muxer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures::io::Cursor;
    use futures::task::noop_waker;

    /// A peer that never stops to open streams.
    struct Endless;

    impl StreamMuxer for Endless {
        type Substream = Cursor<Vec<u8>>;
        type Error = io::Error;

        fn poll_inbound(
            self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
        ) -> Poll<io::Result<Self::Substream>> {
            Poll::Ready(Ok(Cursor::default()))
        }

        fn poll_outbound(
            self: Pin<&mut Self>,
            _cx: &mut Context<'_>,
        ) -> Poll<io::Result<Self::Substream>> {
            Poll::Pending
        }

        fn poll_close(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn poll(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<StreamMuxerEvent>> {
            Poll::Pending
        }
    }

    #[test]
    fn a_connection_ends_at_its_peers_seventeenth_stream() {
        let waker = noop_waker();
        let mut cx = Context::from_waker(&waker);
        let mut capped = Capped::new(Endless);
        for _ in 0..MAX_INBOUND_STREAMS {
            let polled = Pin::new(&mut capped).poll_inbound(&mut cx);
            assert!(matches!(polled, Poll::Ready(Ok(_))));
        }
        let polled = Pin::new(&mut capped).poll_inbound(&mut cx);
        assert!(matches!(polled, Poll::Ready(Err(CappedError::TooMany))));
    }
}
