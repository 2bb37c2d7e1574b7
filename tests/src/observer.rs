//! An observer of a local network as a real process: certified, made, run, killed.

use crate::binaries::{command, run};
use crate::ceremony;
use crate::http;
use crate::network::Network;
use std::fs::{self, File};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

/// A node that follows without voting; killed when it is dropped.
#[derive(Debug)]
pub struct Observer {
    /// Its directory.
    pub dir: PathBuf,
    /// Address of its API.
    pub api: SocketAddr,
    process: Option<Child>,
}

impl Observer {
    /// Certifies an observer of the network's `at`-th authority with the real commands and makes its directory.
    ///
    /// # Errors
    /// What a command refused.
    pub fn make(network: &Network, at: usize, name: &str) -> io::Result<Self> {
        let root = network.dir();
        let authority = &network.manifest().nodes[at].authority;
        let keys = root.join(format!("{name}-keys"));
        let genesis = root.join("genesis.nachweis");
        let admin = root.join("keys").join(authority).join("admin.key");
        let mut certify = command("nachweis-genesis")?;
        certify.arg("observer").arg("--genesis").arg(&genesis);
        run(certify.arg("--key").arg(admin).arg("--out").arg(&keys))?;
        let dir = root.join("node").join(name);
        let api = ceremony::free_address()?;
        let mut init = command("nachweis-node")?;
        init.args(["init", "--observer", "--api", &api.to_string()]);
        init.arg("--keys").arg(&keys).arg("--genesis").arg(&genesis);
        run(init.arg("--dir").arg(&dir))?;
        Ok(Self {
            dir,
            api,
            process: None,
        })
    }

    /// Sets keys of its `node.toml` while it is stopped.
    ///
    /// # Errors
    /// If the file cannot be changed or lacks a key.
    pub fn configure(&self, keys: &[(&str, &str)]) -> io::Result<()> {
        crate::network::configure(&self.dir, keys)
    }

    /// Starts it; its output goes to `log` in its directory.
    ///
    /// # Errors
    /// If the process cannot be started.
    pub fn start(&mut self) -> io::Result<()> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.dir.join("log"))?;
        let mut run = command("nachweis-node")?;
        run.args(["run", "--observer", "--dir"]).arg(&self.dir);
        run.stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        self.process = Some(run.spawn()?);
        Ok(())
    }

    /// `kill -9`, and waits until it is gone.
    pub fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // It may have ended by itself.
            process.kill().ok();
            process.wait().ok();
        }
    }

    /// A number of its `/v1/status`; none while it does not answer.
    pub fn number(&self, name: &str) -> Option<u64> {
        let answer = http::get(self.api, "/v1/status").ok()?;
        let status: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
        status.get(name)?.as_u64()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    /// Its process number.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// Configuration for `nachweis --config` at a desk of this authority that asks the observer.
    ///
    /// # Errors
    /// If the desk's own configuration cannot be read or the new one not written.
    pub fn client(&self, network: &Network, at: usize, state: &Path) -> io::Result<PathBuf> {
        let node = &network.manifest().nodes[at];
        let text = fs::read_to_string(&node.client)?;
        let own = format!("node = \"{}\"", node.url);
        let text = text.replace(&own, &format!("node = \"http://{}\"", self.api));
        let lines = text.lines().map(|line| {
            if line.starts_with("state = ") {
                format!("state = {:?}\n", state.display().to_string())
            } else {
                format!("{line}\n")
            }
        });
        let path = self.dir.join("client.toml");
        fs::write(&path, lines.collect::<String>())?;
        Ok(path)
    }
}

impl Drop for Observer {
    fn drop(&mut self) {
        self.kill();
    }
}
