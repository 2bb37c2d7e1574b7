//! Wires of some length between the nodes of a network: what is sent over them comes out so much later, in order.
//!
//! For a network founded with [`Reach::Between`](crate::ceremony::Reach): a proxy stands at each address that the genesis
//! names. It delays both ways alike and limits nothing else, so that what was sent together comes out together.

use crate::network::Network;
use std::io::{self, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

/// Pieces under way in one direction: with [`PIECE`], as much as a fast line of that length holds.
const PIECES: usize = 1_024;
const PIECE: usize = 16 * 1024;

/// The wires of a network; they stay as long as the process.
#[derive(Debug)]
pub struct Wires {
    micros: Arc<AtomicU64>,
}

impl Wires {
    /// Lays a wire without length to each node. The nodes need not run.
    ///
    /// # Errors
    /// If an address is taken or none of this machine's.
    pub fn lay(network: &Network) -> io::Result<Self> {
        let micros = Arc::new(AtomicU64::new(0));
        for node in &network.manifest().nodes {
            let listener = TcpListener::bind(crate::cables::socket(&node.peer)?)?;
            let (to, micros) = (crate::cables::socket(&node.listen)?, Arc::clone(&micros));
            thread::spawn(move || accept(&listener, to, &micros));
        }
        Ok(Self { micros })
    }

    /// From now on everything takes so long, each way.
    pub fn stretch(&self, delay: Duration) {
        let micros = u64::try_from(delay.as_micros()).unwrap_or(u64::MAX);
        self.micros.store(micros, Ordering::Relaxed);
    }
}

fn accept(listener: &TcpListener, to: SocketAddr, micros: &Arc<AtomicU64>) {
    for near in listener.incoming() {
        // A node that does not run refuses, and so does its wire.
        let Ok(near) = near else { continue };
        let Ok(far) = TcpStream::connect(to) else {
            continue;
        };
        if let Err(error) = join(near, far, micros) {
            // Whoever dialled sees a closed connection.
            drop(error);
        }
    }
}

fn join(near: TcpStream, far: TcpStream, micros: &Arc<AtomicU64>) -> io::Result<()> {
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    for (from, to) in [(near.try_clone()?, far.try_clone()?), (far, near)] {
        let micros = Arc::clone(micros);
        let (pieces, outlet) = sync_channel(PIECES);
        thread::spawn(move || put_out(&outlet, to));
        thread::spawn(move || {
            let mut from = from;
            let mut piece = vec![0; PIECE];
            while let Ok(length @ 1..) = from.read(&mut piece) {
                let delay = Duration::from_micros(micros.load(Ordering::Relaxed));
                if pieces
                    .send((Instant::now() + delay, piece[..length].to_vec()))
                    .is_err()
                {
                    break;
                }
            }
            from.shutdown(Shutdown::Read).ok();
        });
    }
    Ok(())
}

fn put_out(pieces: &Receiver<(Instant, Vec<u8>)>, mut to: TcpStream) {
    for (due, piece) in pieces {
        thread::sleep(due.saturating_duration_since(Instant::now()));
        if to.write_all(&piece).is_err() {
            break;
        }
    }
    to.shutdown(Shutdown::Both).ok();
}
