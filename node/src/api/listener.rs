//! Connections: at most so many, none silent for ever, none that takes for ever to say what it wants, none cut off
//! while the client still sends.

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// Silence after which a connection is closed; longer than any answer may take.
const IDLE: Duration = Duration::from_secs(90);
/// How long what a client still sends is read and dropped after the last answer. Closing a socket with
/// unread bytes would reset it, and the client might never see the answer that refused them.
const LINGER: Duration = Duration::from_secs(2);

/// A listener that accepts only so many connections at a time; more wait in the kernel's queue.
#[derive(Debug)]
pub(super) struct Bounded {
    inner: TcpListener,
    connections: Arc<Semaphore>,
    head: Duration,
}

impl Bounded {
    /// The head of a request may take so long from its first byte on, however often another byte comes; the first of a
    /// connection from its beginning on. Bodies have a time of their own.
    pub(super) fn new(inner: TcpListener, connections: usize, head: Duration) -> Self {
        Self {
            inner,
            connections: Arc::new(Semaphore::new(connections)),
            head,
        }
    }
}

impl Listener for Bounded {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let permit = Arc::clone(&self.connections).acquire_owned().await.ok();
        let (stream, from) = Listener::accept(&mut self.inner).await;
        // An answer is written at once, whatever its length; only latency is lost without it.
        stream.set_nodelay(true).ok();
        (Connection::new(stream, permit, self.head), from)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Listener::local_addr(&self.inner)
    }
}

/// Whether a request of a connection is being answered: then what is read is its body, else the head of the next.
#[derive(Clone, Debug, Default)]
pub(super) struct Answering(Arc<AtomicBool>);

impl Answering {
    /// A head was read.
    pub(super) fn begin(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Its answer is made.
    pub(super) fn end(&self) {
        self.0.store(false, Ordering::Relaxed);
    }

    fn is_under_way(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

impl Connected<IncomingStream<'_, Bounded>> for Answering {
    fn connect_info(stream: IncomingStream<'_, Bounded>) -> Self {
        stream.io().answering.clone()
    }
}

/// One connection with its timer.
#[derive(Debug)]
pub(super) struct Connection {
    stream: TcpStream,
    timer: Pin<Box<Sleep>>,
    /// Whether the timer counts from the first byte of a head, and not from the last byte of anything.
    in_head: bool,
    head: Duration,
    answering: Answering,
    lingers: bool,
    _permit: Option<OwnedSemaphorePermit>,
}

impl Connection {
    fn new(stream: TcpStream, permit: Option<OwnedSemaphorePermit>, head: Duration) -> Self {
        Self {
            stream,
            timer: Box::pin(sleep(head)),
            in_head: true,
            head,
            answering: Answering::default(),
            lingers: false,
            _permit: permit,
        }
    }

    /// Passes on what happened; if nothing did, for too long, that is an error.
    fn timed<T>(&mut self, cx: &mut Context<'_>, done: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if done.is_ready() {
            self.in_head = false;
            self.timer.as_mut().reset(Instant::now() + IDLE);
            return done;
        }
        ready!(self.timer.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let done = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if self.answering.is_under_way() {
            if self.in_head {
                self.in_head = false;
                self.timer.as_mut().reset(Instant::now() + IDLE);
            }
            return self.timed(cx, done);
        }
        if done.is_pending() {
            return self.timed(cx, done);
        }
        if !self.in_head {
            self.in_head = true;
            let end = Instant::now() + self.head;
            self.timer.as_mut().reset(end);
        }
        if Instant::now() >= self.timer.deadline() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        done
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.timed(cx, done)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.timed(cx, done)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.lingers {
            ready!(Pin::new(&mut self.stream).poll_shutdown(cx))?;
            self.lingers = true;
            self.timer.as_mut().reset(Instant::now() + LINGER);
        }
        let mut dropped = [0; 16 * 1024];
        loop {
            let mut buffer = ReadBuf::new(&mut dropped);
            match Pin::new(&mut self.stream).poll_read(cx, &mut buffer) {
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                    // A client that never stops sending is not waited for.
                    if self.timer.is_elapsed() {
                        return Poll::Ready(Ok(()));
                    }
                }
                Poll::Ready(_) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    ready!(self.timer.as_mut().poll(cx));
                    return Poll::Ready(Ok(()));
                }
            }
        }
    }
}
