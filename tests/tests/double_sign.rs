//! One key on two hosts: whichever comes second does not vote, and says why.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tests::binaries::command;
use tests::ceremony;
use tests::http;
use tests::running::{Running, wait_for};

/// Another process with a validator's keys; killed at the end.
struct Twin {
    dir: PathBuf,
    api: std::net::SocketAddr,
    process: Option<Child>,
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let (from, to) = (entry.path(), to.join(entry.file_name()));
        if from.is_dir() {
            copy(&from, &to);
        } else {
            fs::copy(from, to).unwrap();
        }
    }
}

impl Twin {
    /// A copy of a stopped node's directory that listens elsewhere, as on another host.
    fn of(running: &Running, at: usize) -> Self {
        let dir = running.folder().join("twin");
        copy(running.dir(at), &dir);
        fs::remove_file(dir.join("log")).ok();
        let api = ceremony::free_address().unwrap();
        let twin = Self {
            dir,
            api,
            process: None,
        };
        twin.listens_elsewhere(running, at);
        twin
    }

    fn listens_elsewhere(&self, running: &Running, at: usize) {
        let node = &running.network.manifest().nodes[at];
        let config = self.dir.join("node.toml");
        let peer = ceremony::free_address().unwrap();
        let peer = format!("/ip4/127.0.0.1/tcp/{}", peer.port());
        let text = fs::read_to_string(&config).unwrap();
        let text = text.replace(&node.peer, &peer);
        let text = text.replace(&node.api.to_string(), &self.api.to_string());
        fs::write(&config, text).unwrap();
    }

    fn command(&self) -> Command {
        let mut run = command("nachweis-node").unwrap();
        run.args(["run", "--dir"]).arg(&self.dir);
        run.stdin(Stdio::null());
        run
    }

    fn start(&mut self) {
        let log = fs::File::create(self.dir.join("log")).unwrap();
        let mut run = self.command();
        run.stdout(log.try_clone().unwrap()).stderr(log);
        self.process = Some(run.spawn().unwrap());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    fn height(&self) -> Option<u64> {
        let answer = http::get(self.api, "/v1/status").ok()?;
        let status: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
        status["height"].as_u64()
    }
}

impl Drop for Twin {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            process.kill().ok();
            process.wait().ok();
        }
    }
}

/// No validator has seen two votes of one key that exclude each other.
fn nobody_signed_twice(running: &Running, nodes: &[usize]) {
    for at in nodes {
        let log = running.log(*at);
        assert!(!log.contains("exclude each other"), "{log}");
    }
}

#[test]
fn a_running_validators_key_on_another_host_does_not_vote_and_says_so() {
    let mut running = Running::with_nodes(&[0, 1, 2, 3]);
    running.becomes_provable(0);
    // Who dials whom follows from the keys. Where the twin dials, its connections seem to replace the first one's.
    for at in 0..4 {
        second_of(&mut running, at);
    }
}

fn second_of(running: &mut Running, at: usize) {
    running.network.stop(at).unwrap();
    let mut twin = Twin::of(running, at);
    running.start(&[at]);
    running.becomes_provable(at);
    twin.start();
    wait_for("the twin says that its key runs elsewhere", || {
        twin.log()
            .contains("another running process with this key; not voting")
            .then_some(())
    });
    let other = (at + 1) % 4;
    for _ in 0..5 {
        running.becomes_provable(other);
        std::thread::sleep(Duration::from_millis(500));
    }
    let votes = |line: &str| line.contains("standing=votes");
    assert!(!twin.log().lines().any(votes), "{}", twin.log());
    drop(twin);
    fs::remove_dir_all(running.folder().join("twin")).unwrap();
    nobody_signed_twice(running, &[0, 1, 2, 3]);
}

#[test]
fn an_old_copy_of_a_validators_disk_is_found_out_by_the_others_and_does_not_vote() {
    let mut running = Running::with_nodes(&[0, 1, 2, 3]);
    running.becomes_provable(0);
    running.network.stop(3).unwrap();
    let mut twin = Twin::of(&running, 3);
    // The original votes on, and is lost: only the old copy of its disk is left.
    running.start(&[3]);
    for _ in 0..5 {
        running.becomes_provable(3);
    }
    running.network.kill(3).unwrap();
    twin.start();
    wait_for("the copy is found out", || {
        twin.log().contains("quarantine").then_some(())
    });
    running.becomes_provable(0);
    let height = running.status(0)["height"].as_u64();
    wait_for("it follows", || (twin.height() >= height).then_some(()));
    nobody_signed_twice(&running, &[0, 1, 2]);
}

#[test]
fn a_second_process_on_the_same_data_is_refused() {
    let mut running = Running::with_nodes(&[0, 1, 2, 3]);
    running.network.stop(3).unwrap();
    let twin = Twin::of(&running, 3);
    running.start(&[3]);
    // Another configuration, other ports, the same data.
    let config = twin.dir.join("node.toml");
    let text = fs::read_to_string(&config).unwrap();
    let data = format!("data = {:?}", running.dir(3).join("data"));
    fs::write(&config, text.replace("data = \"data\"", &data)).unwrap();
    let output = twin.command().output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(4), "{said}");
    assert!(said.contains("does this node run already?"), "{said}");
    running.becomes_provable(3);
}
