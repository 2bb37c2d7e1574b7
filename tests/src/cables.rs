//! Cables between nodes that a test can cut: a proxy at each address that the genesis names.
//!
//! For a network founded with [`Reach::Between`](crate::ceremony::Reach). All nodes are on one loopback address, so a
//! proxy asks the kernel (`/proc/net/tcp`, `/proc/PID/fd`) which node's process dialled. A cut is silent, as that of a
//! real cable: nothing is closed or refused, what is under way is held, and it goes on when the cable is whole again.
//! It needs no rights and touches nothing outside the test. What it does not play: TCP's own back-off over a dead
//! cable, and packets lost one by one.

use crate::network::Network;
use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read as _, Write as _};
use std::net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How often a held direction looks whether it is whole again.
const LOOK: Duration = Duration::from_millis(2);
/// How often, [`LOOK`] apart, it is asked who dialled: a process just started may not be known yet.
const ASK: u32 = 500;
/// Bytes under way in one direction beyond the kernel's own buffers.
const BUFFER: usize = 64 * 1024;

/// All cables of a network. Whole until they are cut.
#[derive(Debug)]
pub struct Cables(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// Where the genesis says that the nodes are.
    peers: Vec<SocketAddr>,
    /// Where they are.
    nodes: Vec<SocketAddr>,
    /// Their processes; 0 if not known.
    processes: Vec<AtomicI32>,
    /// How many cuts hold each direction, by sender and receiver.
    cuts: Vec<AtomicU32>,
    connections: Mutex<BTreeMap<u64, Connection>>,
    next: AtomicU64,
    stop: AtomicBool,
}

#[derive(Debug)]
struct Connection {
    between: [usize; 2],
    streams: [TcpStream; 2],
}

impl Cables {
    /// Lays a cable from each node to each other one. The nodes need not run.
    ///
    /// # Errors
    /// If an address is taken or none of this machine's.
    pub fn lay(network: &Network) -> io::Result<Self> {
        let nodes = &network.manifest().nodes;
        let each = |count| (0..count).map(|_| ());
        let shared = Arc::new(Shared {
            peers: nodes
                .iter()
                .map(|n| socket(&n.peer))
                .collect::<io::Result<_>>()?,
            nodes: nodes
                .iter()
                .map(|n| socket(&n.listen))
                .collect::<io::Result<_>>()?,
            processes: each(nodes.len()).map(|()| AtomicI32::new(0)).collect(),
            cuts: each(nodes.len() * nodes.len())
                .map(|()| AtomicU32::new(0))
                .collect(),
            connections: Mutex::default(),
            next: AtomicU64::new(0),
            stop: AtomicBool::new(false),
        });
        for (to, address) in shared.peers.iter().enumerate() {
            let (listener, shared) = (TcpListener::bind(address)?, Arc::clone(&shared));
            thread::spawn(move || shared.accept(&listener, to));
        }
        let cables = Self(shared);
        cables.learn(network);
        Ok(cables)
    }

    /// Takes note of the nodes' processes; to be called whenever one was started.
    pub fn learn(&self, network: &Network) {
        for (known, node) in self.0.processes.iter().zip(&network.manifest().nodes) {
            known.store(
                node.process.map_or(0, |process| process.pid),
                Ordering::Relaxed,
            );
        }
    }

    /// Nothing that `from` sends reaches `to` any more, until it is mended as often as it was cut.
    pub fn cut(&self, from: usize, to: usize) {
        self.0.direction(from, to).fetch_add(1, Ordering::SeqCst);
    }

    /// Takes one cut back.
    pub fn mend(&self, from: usize, to: usize) {
        self.0.direction(from, to).fetch_sub(1, Ordering::SeqCst);
    }

    /// Ends all connections between two nodes; both see it.
    pub fn tear(&self, one: usize, other: usize) {
        let connections = self.0.connections.lock();
        let connections = connections.unwrap_or_else(PoisonError::into_inner);
        for connection in connections.values() {
            if connection.between == [one, other] || connection.between == [other, one] {
                connection.end();
            }
        }
    }
}

impl Drop for Cables {
    fn drop(&mut self) {
        self.0.stop.store(true, Ordering::SeqCst);
        for peer in &self.0.peers {
            // Wakes the one who waits there for connections; if nobody does, nothing is to be done.
            drop(TcpStream::connect(peer));
        }
        let connections = self.0.connections.lock();
        let connections = connections.unwrap_or_else(PoisonError::into_inner);
        connections.values().for_each(Connection::end);
    }
}

impl Connection {
    fn end(&self) {
        for stream in &self.streams {
            // One that is over already is what was wanted.
            stream.shutdown(Shutdown::Both).ok();
        }
    }
}

impl Shared {
    fn direction(&self, from: usize, to: usize) -> &AtomicU32 {
        &self.cuts[from * self.nodes.len() + to]
    }

    fn wait_whole(&self, from: usize, to: usize) {
        while self.direction(from, to).load(Ordering::SeqCst) > 0
            && !self.stop.load(Ordering::SeqCst)
        {
            thread::sleep(LOOK);
        }
    }

    fn accept(self: &Arc<Self>, listener: &TcpListener, to: usize) {
        for stream in listener.incoming() {
            if self.stop.load(Ordering::SeqCst) {
                return;
            }
            // A dial that was given up meanwhile is the dialler's matter.
            let Ok(stream) = stream else { continue };
            let shared = Arc::clone(self);
            thread::spawn(move || shared.connect(stream, to).ok());
        }
    }

    /// Carries one connection until it ends.
    fn connect(self: &Arc<Self>, near: TcpStream, to: usize) -> io::Result<()> {
        let Some(from) = self.dialler(&near)? else {
            return Ok(());
        };
        // A handshake needs both directions.
        self.wait_whole(from, to);
        self.wait_whole(to, from);
        let far = TcpStream::connect(self.nodes[to])?;
        near.set_nodelay(true)?;
        far.set_nodelay(true)?;
        let streams = [near.try_clone()?, far.try_clone()?];
        let between = [from, to];
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        self.connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, Connection { between, streams });
        let back = {
            let (near, far, shared) = (near.try_clone()?, far.try_clone()?, Arc::clone(self));
            thread::spawn(move || shared.carry(&far, &near, [to, from]))
        };
        self.carry(&near, &far, [from, to]);
        // It does not panic; if it did, that direction would be over too.
        back.join().ok();
        let mut connections = self
            .connections
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        connections.remove(&id);
        Ok(())
    }

    fn carry(&self, mut near: &TcpStream, mut far: &TcpStream, [from, to]: [usize; 2]) {
        let mut buffer = vec![0; BUFFER];
        loop {
            let read = near.read(&mut buffer).unwrap_or(0);
            self.wait_whole(from, to);
            let bytes = buffer.get(..read).unwrap_or_default();
            if bytes.is_empty() || far.write_all(bytes).is_err() {
                break;
            }
        }
        for stream in [near, far] {
            stream.shutdown(Shutdown::Both).ok();
        }
    }

    /// The node whose process holds the other end of an accepted connection.
    fn dialler(&self, accepted: &TcpStream) -> io::Result<Option<usize>> {
        let (local, remote) = (accepted.local_addr()?, accepted.peer_addr()?);
        for _ in 0..ASK {
            let Some(inode) = socket_inode(remote, local)? else {
                return Ok(None);
            };
            let link = format!("socket:[{inode}]");
            let mut processes = self.processes.iter();
            if let Some(at) = processes.position(|p| holds(p.load(Ordering::Relaxed), &link)) {
                return Ok(Some(at));
            }
            thread::sleep(LOOK);
        }
        Ok(None)
    }
}

/// `/ip4/A/tcp/PORT` as a socket address.
pub(crate) fn socket(address: &str) -> io::Result<SocketAddr> {
    let bad = || io::Error::other(format!("no IPv4 address with a port: {address}"));
    let parts: Vec<_> = address.split('/').collect();
    let ["", "ip4", ip, "tcp", port] = parts.as_slice() else {
        return Err(bad());
    };
    let ip: Ipv4Addr = ip.parse().map_err(|_error| bad())?;
    Ok((ip, port.parse().map_err(|_error| bad())?).into())
}

/// Number of the socket that is bound to `local` and connected to `remote`, if somebody still has it.
fn socket_inode(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<u64>> {
    let (SocketAddr::V4(local), SocketAddr::V4(remote)) = (local, remote) else {
        return Ok(None);
    };
    // The kernel prints the address as the number that lies in memory.
    let [local, remote] = [local, remote].map(|address| {
        let ip = u32::from_ne_bytes(address.ip().octets());
        format!("{ip:08X}:{:04X}", address.port())
    });
    let table = fs::read_to_string("/proc/net/tcp")?;
    // The table is long where many connections were closed lately: only the one line is taken apart.
    let both = format!("{local} {remote}");
    let line = table.lines().find(|line| line.contains(&both));
    let inode = line.and_then(|line| line.split_whitespace().nth(9)?.parse().ok());
    Ok(inode.filter(|inode| *inode != 0))
}

/// Whether a process has this file open; no if it is gone.
fn holds(process: i32, link: &str) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{process}/fd")) else {
        return false;
    };
    let mut links = open.filter_map(|entry| fs::read_link(entry.ok()?.path()).ok());
    links.any(|target| target.as_os_str() == link)
}
