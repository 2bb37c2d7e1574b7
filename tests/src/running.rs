//! A network that ends with its test, however that ends, and what tests ask of its nodes.
//!
//! Everything here panics where a test has nothing more to say.

use crate::http;
use crate::load::{self, Maker};
use crate::measure;
use crate::network::Network;
use ledger::genesis::Params;
use rustix::process::Signal;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

/// So long may anything take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
/// Waiting for a condition: how often it is looked at.
const LOOK: Duration = Duration::from_millis(20);

/// A network in a folder of its own; its processes are killed and its folder is removed at the end.
#[derive(Debug)]
pub struct Running {
    /// The network.
    pub network: Network,
    folder: tempfile::TempDir,
}

impl Running {
    /// Four authorities with their nodes' directories; nothing runs.
    ///
    /// # Panics
    /// If the ceremony fails.
    pub fn founded() -> Self {
        Self::founded_with(&Params::default())
    }

    /// The same with other consensus parameters.
    ///
    /// # Panics
    /// If the ceremony fails.
    pub fn founded_with(params: &Params) -> Self {
        Self::founded_by(4, params)
    }

    /// The same by another number of authorities.
    ///
    /// # Panics
    /// If the ceremony fails.
    pub fn founded_by(authorities: usize, params: &Params) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path().join("network");
        let network = Network::found_with_params(&dir, authorities, params).expect("a network");
        Self { network, folder }
    }

    /// The same with these nodes started and ready.
    ///
    /// # Panics
    /// If one does not get ready.
    pub fn with_nodes(nodes: &[usize]) -> Self {
        let mut running = Self::founded();
        running.start(nodes);
        running
    }

    /// Starts these nodes and waits until they are ready.
    ///
    /// # Panics
    /// If one does not get ready.
    pub fn start(&mut self, nodes: &[usize]) {
        for at in nodes {
            self.network.start(*at).expect("a node starts");
        }
        for at in nodes {
            self.network.wait_ready(*at).expect("a node is ready");
        }
    }

    /// The folder that goes away with the test; the network is in `network`.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Where a node's API listens.
    pub fn api(&self, at: usize) -> SocketAddr {
        self.network.manifest().nodes[at].api
    }

    /// A node's directory.
    pub fn dir(&self, at: usize) -> &Path {
        &self.network.manifest().nodes[at].dir
    }

    /// What a node has logged.
    pub fn log(&self, at: usize) -> String {
        fs::read_to_string(self.dir(at).join("log")).unwrap_or_default()
    }

    /// A node's `/v1/status`.
    ///
    /// # Panics
    /// If it does not answer.
    pub fn status(&self, at: usize) -> serde_json::Value {
        let answer = http::get(self.api(at), "/v1/status").expect("an answer");
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    /// A value of a node's `/metrics` by its whole name.
    ///
    /// # Panics
    /// If there is none of that name.
    pub fn metric(&self, at: usize, name: &str) -> u64 {
        let text = http::get(self.api(at), "/metrics")
            .expect("an answer")
            .text();
        let mut lines = text.lines();
        let found = lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok());
        found.unwrap_or_else(|| panic!("{name} is not in\n{text}"))
    }

    /// Most memory that a node's process ever held, in KiB: what an attack took and gave back counts.
    ///
    /// # Panics
    /// If it does not run.
    pub fn peak_kib(&self, at: usize) -> u64 {
        let process = self.network.manifest().nodes[at].process;
        let pid = process.expect("the node was started").pid;
        measure::used(pid).expect("it runs").peak_kib
    }

    /// Hands one registration of an authority to its own node and waits until it can be proved.
    ///
    /// # Panics
    /// If it does not become provable within the minute that a node waits.
    pub fn becomes_provable(&self, at: usize) {
        let maker = Maker::new(&self.network, at).expect("keys");
        let submission = maker.registrations(1).expect("a submission");
        let path = "/v1/submissions?wait=provable";
        let kind = "application/octet-stream";
        let answer = http::post(self.api(at), path, kind, &load::body([&submission]));
        let answer = answer.expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert!(answer.text().contains("\"provable\""), "{}", answer.text());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for at in 0..self.network.manifest().nodes.len() {
            self.network.signal(at, Signal::KILL);
        }
    }
}

/// Waits until there is a value, and returns it.
///
/// # Panics
/// If there is none within a minute.
pub fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
        std::thread::sleep(LOOK);
    }
}
