//! A local network of real node processes: up, status, kill, restart, down.

use crate::binaries::{command, run};
use crate::ceremony::{self, Founder, Reach};
use crate::http;
use ledger::genesis::Params;
use rustix::process::{Pid, Signal, kill_process};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long a node may take until it says that it is ready: after a kill it makes its index again, on a busy machine too.
const READY_WITHIN: Duration = Duration::from_secs(120);
/// How long a node may take to end after SIGTERM: it closes its index, which may be a large one on a busy machine.
const STOP_WITHIN: Duration = Duration::from_secs(120);

/// What is written to `network.json`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Manifest {
    /// The nodes in order of their authorities.
    pub nodes: Vec<NodeEntry>,
    /// Trust file for `nachweis`.
    pub trust: PathBuf,
    /// Trust file for other tools.
    pub policy: PathBuf,
}

/// One node of a network.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeEntry {
    /// The authority.
    pub authority: String,
    /// URL of its HTTP API.
    pub url: String,
    /// Address of its HTTP API.
    pub api: SocketAddr,
    /// libp2p address in the genesis.
    pub peer: String,
    /// libp2p address that the node listens at.
    pub listen: String,
    /// Data directory.
    pub dir: PathBuf,
    /// Configuration for `nachweis --config`.
    pub client: PathBuf,
    /// The running process, if it was started.
    pub process: Option<ProcessId>,
}

/// A process, told from a later one with the same number by its start time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessId {
    /// Process number.
    pub pid: i32,
    /// Start time in clock ticks since boot.
    pub started: u64,
}

impl ProcessId {
    fn of(pid: i32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The command name, in parentheses, may hold spaces; the state and start time come after it.
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace();
        // A killed process is gone when its last thread is: until then it holds its sockets and locks.
        if fields.next()? == "Z" && fs::read_dir(format!("/proc/{pid}/task")).ok()?.count() <= 1 {
            return None;
        }
        let started = fields.nth(18)?.parse().ok()?;
        Some(Self { pid, started })
    }

    fn is_running(self) -> bool {
        Self::of(self.pid) == Some(self)
    }

    fn signal(self, signal: Signal) {
        if self.is_running()
            && let Some(pid) = Pid::from_raw(self.pid)
        {
            // A process that ended meanwhile is what was wanted.
            kill_process(pid, signal).ok();
        }
    }
}

/// A network in a folder.
#[derive(Debug)]
pub struct Network {
    dir: PathBuf,
    manifest: Manifest,
    /// How the processes that this object started ended.
    exits: Exits,
}

/// How processes ended, by process number.
type Exits = Arc<Mutex<BTreeMap<u32, End>>>;

/// How a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// By itself, with this code.
    Code(i32),
    /// By a signal.
    Signal,
}

impl Network {
    /// Founds a network in an empty or new folder; starts nothing.
    ///
    /// # Errors
    /// If the folder holds a network, or a command refuses.
    pub fn found(dir: &Path, validators: usize) -> io::Result<Self> {
        Self::found_as(dir, validators, Reach::Direct, &Params::default())
    }

    /// The same, with something else where the genesis says that the nodes are.
    ///
    /// # Errors
    /// As [`Network::found`].
    pub fn found_with(dir: &Path, validators: usize, reach: Reach) -> io::Result<Self> {
        Self::found_as(dir, validators, reach, &Params::default())
    }

    /// The same with other consensus parameters than those that every real ceremony takes.
    ///
    /// # Errors
    /// As [`Network::found`].
    pub fn found_with_params(dir: &Path, validators: usize, params: &Params) -> io::Result<Self> {
        Self::found_as(dir, validators, Reach::Direct, params)
    }

    fn found_as(dir: &Path, validators: usize, reach: Reach, params: &Params) -> io::Result<Self> {
        fs::create_dir_all(dir)?;
        let dir = &dir.canonicalize()?;
        if dir.join("network.json").exists() {
            let message = format!("{} holds a network already", dir.display());
            return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
        }
        let founders = ceremony::found(dir, validators, reach, params)?;
        let nodes = founders
            .iter()
            .map(|f| prepare(dir, f))
            .collect::<io::Result<_>>()?;
        let (trust, policy) = (dir.join("trust.json"), dir.join("trust.policy"));
        let network = Self {
            dir: dir.clone(),
            manifest: Manifest {
                nodes,
                trust,
                policy,
            },
            exits: Exits::default(),
        };
        network.save()?;
        Ok(network)
    }

    /// Opens a founded network.
    ///
    /// # Errors
    /// If the folder holds none.
    pub fn open(dir: &Path) -> io::Result<Self> {
        let dir = dir.canonicalize()?;
        let manifest = serde_json::from_slice(&fs::read(dir.join("network.json"))?)?;
        Ok(Self {
            dir,
            manifest,
            exits: Exits::default(),
        })
    }

    fn save(&self) -> io::Result<()> {
        let text = serde_json::to_string_pretty(&self.manifest)?;
        let new = self.dir.join("network.json.new");
        fs::write(&new, text + "\n")?;
        fs::rename(new, self.dir.join("network.json"))
    }

    /// What `network.json` says.
    pub const fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// The folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Starts one node; its output goes to `node/<authority>/log`.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn start(&mut self, at: usize) -> io::Result<()> {
        self.start_with(at, &[])
    }

    /// The same with further environment variables.
    ///
    /// # Errors
    /// As [`Network::start`].
    pub fn start_with(&mut self, at: usize, environment: &[(&str, String)]) -> io::Result<()> {
        let node = &mut self.manifest.nodes[at];
        if node.process.is_some_and(ProcessId::is_running) {
            return Ok(());
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(node.dir.join("log"))?;
        let mut run = command("nachweis-node")?;
        run.arg("run").arg("--dir").arg(&node.dir);
        run.envs(environment.iter().map(|(key, value)| (key, value)));
        run.stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        let child = run.spawn()?;
        node.process = i32::try_from(child.id()).ok().and_then(ProcessId::of);
        reap(child, Arc::clone(&self.exits));
        self.save()
    }

    /// Starts all nodes and waits until each is ready.
    ///
    /// # Errors
    /// If one cannot be started or is not ready within two minutes.
    pub fn start_all(&mut self) -> io::Result<()> {
        for at in 0..self.manifest.nodes.len() {
            self.start(at)?;
        }
        (0..self.manifest.nodes.len()).try_for_each(|at| self.wait_ready(at))
    }

    /// Waits until a node says that it is ready.
    ///
    /// # Errors
    /// If it ends or is not ready within two minutes: the message shows the end of its log.
    pub fn wait_ready(&self, at: usize) -> io::Result<()> {
        self.wait_ready_within(at, READY_WITHIN)
    }

    /// The same with another time: an index of millions of records takes long to make.
    ///
    /// # Errors
    /// As [`Network::wait_ready`].
    pub fn wait_ready_within(&self, at: usize, patience: Duration) -> io::Result<()> {
        let node = &self.manifest.nodes[at];
        let deadline = Instant::now() + patience;
        loop {
            if http::get(node.api, "/readyz").is_ok_and(|answer| answer.status == 200) {
                return Ok(());
            }
            if !self.is_running(at) || Instant::now() > deadline {
                let log = fs::read_to_string(node.dir.join("log")).unwrap_or_default();
                let end: Vec<_> = log.lines().rev().take(15).collect();
                let end: String = end
                    .into_iter()
                    .rev()
                    .map(|line| format!("\n  {line}"))
                    .collect();
                return Err(io::Error::other(format!(
                    "{} is not ready:{end}",
                    node.authority
                )));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Whether a node's process runs.
    pub fn is_running(&self, at: usize) -> bool {
        self.manifest.nodes[at]
            .process
            .is_some_and(ProcessId::is_running)
    }

    /// The exit code with which a node's last process ended by itself; `None` while it runs, or if a signal ended it.
    pub fn exit_code(&self, at: usize) -> Option<i32> {
        match self.ended(at)? {
            End::Code(code) => Some(code),
            End::Signal => None,
        }
    }

    /// How a node's last process ended; `None` while it runs, and for a moment after its end.
    pub fn ended(&self, at: usize) -> Option<End> {
        let pid = u32::try_from(self.manifest.nodes[at].process?.pid).ok()?;
        let exits = self.exits.lock().unwrap_or_else(PoisonError::into_inner);
        exits.get(&pid).copied()
    }

    /// Sends a signal to a node's process, if it runs.
    pub fn signal(&self, at: usize, signal: Signal) {
        if let Some(process) = self.manifest.nodes[at].process {
            process.signal(signal);
        }
    }

    /// `kill -9`, and waits until the process is gone.
    ///
    /// # Errors
    /// If it is still there after two minutes.
    pub fn kill(&mut self, at: usize) -> io::Result<()> {
        self.end(at, Signal::KILL)
    }

    /// SIGTERM, and waits until the process is gone.
    ///
    /// # Errors
    /// If it is still there after two minutes.
    pub fn stop(&mut self, at: usize) -> io::Result<()> {
        self.end(at, Signal::TERM)
    }

    fn end(&mut self, at: usize, signal: Signal) -> io::Result<()> {
        self.signal(at, signal);
        let deadline = Instant::now() + STOP_WITHIN;
        while self.is_running(at) {
            if Instant::now() > deadline {
                let id = &self.manifest.nodes[at].authority;
                return Err(io::Error::other(format!(
                    "{id} still runs after {signal:?}"
                )));
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.manifest.nodes[at].process = None;
        self.save()
    }

    /// Ends every process that this network started, and no other.
    ///
    /// # Errors
    /// If one is still there after two minutes.
    pub fn stop_all(&mut self) -> io::Result<()> {
        for at in 0..self.manifest.nodes.len() {
            self.signal(at, Signal::TERM);
        }
        (0..self.manifest.nodes.len()).try_for_each(|at| self.stop(at))
    }

    /// Sets keys of a stopped node's `node.toml`, which must be there.
    ///
    /// # Errors
    /// If the file cannot be changed or lacks a key.
    pub fn configure(&self, at: usize, keys: &[(&str, &str)]) -> io::Result<()> {
        configure(&self.manifest.nodes[at].dir, keys)
    }

    /// A `nachweis` command for an authority's desk.
    ///
    /// # Errors
    /// If the program is not built.
    pub fn nachweis(&self, at: usize) -> io::Result<std::process::Command> {
        let mut nachweis = command("nachweis")?;
        nachweis
            .arg("--config")
            .arg(&self.manifest.nodes[at].client);
        Ok(nachweis)
    }
}

/// Sets keys of the `node.toml` in a node's directory.
///
/// # Errors
/// If the file cannot be changed or lacks a key.
pub fn configure(dir: &Path, keys: &[(&str, &str)]) -> io::Result<()> {
    let path = dir.join("node.toml");
    let mut text = fs::read_to_string(&path)?;
    for (key, value) in keys {
        let begin = format!("{key} = ");
        let old = text.lines().find(|line| line.starts_with(&begin));
        let old = old.ok_or_else(|| io::Error::other(format!("node.toml has no {key}")))?;
        text = text.replace(&format!("{old}\n"), &format!("{begin}{value}\n"));
    }
    fs::write(path, text)
}

/// Waits for a child in a thread of its own, so that it does not stay as a zombie.
fn reap(mut child: std::process::Child, exits: Exits) {
    std::thread::spawn(move || {
        let code = child.wait().ok().and_then(|status| status.code());
        let mut exits = exits.lock().unwrap_or_else(PoisonError::into_inner);
        exits.insert(child.id(), code.map_or(End::Signal, End::Code));
    });
}

fn prepare(dir: &Path, founder: &Founder) -> io::Result<NodeEntry> {
    let node = dir.join("node").join(&founder.id);
    fs::create_dir_all(dir.join("node"))?;
    let mut init = command("nachweis-node")?;
    init.arg("init").arg("--keys").arg(&founder.keys);
    init.arg("--genesis")
        .arg(dir.join("genesis.nachweis"))
        .arg("--dir")
        .arg(&node);
    run(init.args([
        "--listen",
        &founder.listen,
        "--api",
        &founder.api.to_string(),
    ]))?;
    let url = format!("http://{}", founder.api);
    let client = dir.join("client").join(format!("{}.toml", founder.id));
    fs::create_dir_all(dir.join("client"))?;
    fs::write(&client, client_config(dir, founder, &url))?;
    Ok(NodeEntry {
        authority: founder.id.clone(),
        url,
        api: founder.api,
        peer: founder.peer.clone(),
        listen: founder.listen.clone(),
        dir: node,
        client,
        process: None,
    })
}

fn client_config(dir: &Path, founder: &Founder, url: &str) -> String {
    let quoted = |path: PathBuf| toml_string(&path.display().to_string());
    format!(
        "# For nachweis --config: the desk of {id}\nauthority = {id_text}\nnode = {url}\ntrust = {trust}\nkey = {key}\nadmin_key = {admin}\nstate = {state}\n",
        id = founder.id,
        id_text = toml_string(&founder.id),
        url = toml_string(url),
        trust = quoted(dir.join("trust.json")),
        key = quoted(founder.keys.join("registrar.key")),
        admin = quoted(founder.keys.join("admin.key")),
        state = quoted(dir.join("client").join(format!("{}.state", founder.id))),
    )
}

fn toml_string(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
