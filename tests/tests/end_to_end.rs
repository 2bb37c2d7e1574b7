//! The whole way of a record through real processes: registered, proved offline, through faults.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use rustix::process::Signal;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};
use tests::http;
use tests::network::Network;

/// A network that is ended when the test ends, however it ends.
struct Running {
    network: Network,
    folder: tempfile::TempDir,
}

impl Running {
    fn up() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let mut network = Network::found(&folder.path().join("network"), 4).unwrap();
        network.start_all().unwrap();
        Self { network, folder }
    }

    /// Makes `count` small distinct documents.
    fn documents(&self, name: &str, count: usize) -> PathBuf {
        let dir = self.folder.path().join(name);
        fs::create_dir_all(&dir).unwrap();
        for at in 0..count {
            fs::write(
                dir.join(format!("{name}-{at:04}.txt")),
                format!("{name} {at}\n"),
            )
            .unwrap();
        }
        dir
    }

    fn nachweis(&self, arguments: &[&str], paths: &[&Path]) -> Output {
        let mut command = self.network.nachweis(0).unwrap();
        command.args(arguments).args(paths).output().unwrap()
    }

    fn api(&self, at: usize) -> SocketAddr {
        self.network.manifest().nodes[at].api
    }

    fn status(&self, at: usize) -> serde_json::Value {
        let answer = http::get(self.api(at), "/v1/status").unwrap();
        serde_json::from_slice(&answer.body).unwrap()
    }

    /// Size and root of the node's newest quorum-cosigned checkpoint; none while a restarted node asks for it.
    fn checkpoint(&self, at: usize) -> Option<(u64, String)> {
        let note = http::get(self.api(at), "/log/checkpoint").unwrap().text();
        let mut lines = note.lines().skip(1);
        let size = lines.next()?.parse().unwrap();
        Some((size, lines.next()?.to_owned()))
    }

    /// Waits until all nodes serve the same newest checkpoint, and returns its size.
    fn agree(&self) -> u64 {
        wait_for("all nodes serve the same checkpoint", || {
            let first = self.checkpoint(0)?;
            let height = |at: usize| self.status(at)["height"].as_u64();
            let same = (1..4)
                .all(|at| self.checkpoint(at).as_ref() == Some(&first) && height(at) == height(0));
            same.then_some(first.0)
        })
    }

    /// Replays every node's archive and compares what comes out; returns the number of registrations.
    fn replay_all(&mut self) -> u64 {
        self.network.stop_all().unwrap();
        let nodes = self.network.manifest().nodes.clone();
        let summaries: Vec<_> = nodes
            .iter()
            .map(|node| tests::replay::archive(&node.dir))
            .collect();
        let summaries: Vec<_> = summaries.into_iter().map(Result::unwrap).collect();
        assert!(
            summaries.windows(2).all(|pair| pair[0] == pair[1]),
            "archives differ: {summaries:?}"
        );
        summaries[0].registrations
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        for at in 0..self.network.manifest().nodes.len() {
            self.network.signal(at, Signal::KILL);
        }
    }
}

fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(Instant::now() < deadline, "not within 30 s: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn text(output: &Output) -> String {
    let (out, err) = (&output.stdout, &output.stderr);
    format!(
        "{}{}",
        String::from_utf8_lossy(out),
        String::from_utf8_lossy(err)
    )
}

#[track_caller]
fn assert_code(output: &Output, code: i32) {
    assert_eq!(output.status.code(), Some(code), "{}", text(output));
}

fn receipts(dir: &Path) -> usize {
    let entries = fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries
        .filter(|path| path.extension().is_some_and(|e| e == "tlog-proof"))
        .count()
}

/// Registers in the background with small submissions, so that faults can hit in between.
fn register_slowly(running: &Running, dir: &Path) -> std::process::Child {
    let mut command = running.network.nachweis(0).unwrap();
    command.args(["register", "--batch", "2"]).arg(dir);
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

#[test]
fn a_folder_is_registered_and_proved_with_every_node_stopped() {
    let mut running = Running::up();
    let dir = running.documents("akte", 25);
    assert_code(&running.nachweis(&["register"], &[&dir]), 0);
    assert_eq!(receipts(&dir), 25);
    running.network.stop_all().unwrap();

    let verified = running.nachweis(&["verify", "--offline"], &[&dir]);
    assert_code(&verified, 0);
    assert_eq!(
        text(&verified).matches("CURRENT").count(),
        25,
        "{}",
        text(&verified)
    );
    // With the node down, verify without --offline still answers from the receipt.
    let one = dir.join("akte-0003.txt");
    assert_code(&running.nachweis(&["verify"], &[&one]), 0);

    fs::write(&one, "akte 4\n").unwrap();
    let modified = running.nachweis(&["verify", "--offline"], &[&one]);
    assert_code(&modified, 1);
    assert!(text(&modified).contains("MODIFIED"), "{}", text(&modified));
}

#[test]
fn a_superseded_document_names_its_successor_and_a_revoked_one_its_reason() {
    let running = Running::up();
    let dir = running.documents("akte", 4);
    assert_code(&running.nachweis(&["register"], &[&dir]), 0);
    let file = |at: usize| dir.join(format!("akte-{at:04}.txt"));
    assert_code(&running.nachweis(&["supersede"], &[&file(0), &file(1)]), 0);
    assert_code(
        &running.nachweis(&["revoke", "--reason", "court-order"], &[&file(2)]),
        0,
    );

    let old = running.nachweis(&["verify"], &[&file(0)]);
    assert_code(&old, 1);
    let successor = text(&running.nachweis(&["show"], &[&file(1)]));
    let id = successor
        .split_whitespace()
        .find(|word| word.starts_with("NW-"))
        .unwrap()
        .to_owned();
    assert!(
        text(&old).contains("SUPERSEDED") && text(&old).contains(&id),
        "{}",
        text(&old)
    );

    let revoked = running.nachweis(&["verify"], &[&file(2)]);
    assert_code(&revoked, 1);
    assert!(text(&revoked).contains("REVOKED"), "{}", text(&revoked));
    assert_code(&running.nachweis(&["verify"], &[&file(3)]), 0);

    let history = running.nachweis(&["history"], &[&file(0)]);
    assert_code(&history, 0);
    assert!(text(&history).contains("supersede"), "{}", text(&history));
}

#[test]
fn a_killed_validator_catches_up_to_the_same_root() {
    let mut running = Running::up();
    let dir = running.documents("akte", 200);
    let client = register_slowly(&running, &dir);
    wait_for("some submissions are final", || {
        (running.status(1)["height"].as_u64()? >= 4).then_some(())
    });
    running.network.kill(3).unwrap();
    let done = client.wait_with_output().unwrap();
    assert_code(&done, 0);
    running.network.start(3).unwrap();
    running.network.wait_ready(3).unwrap();
    running.agree();
    assert_eq!(running.replay_all(), 200);
    assert_code(&running.nachweis(&["verify", "--offline"], &[&dir]), 0);
}

#[test]
fn a_killed_client_started_again_registers_everything_once() {
    let mut running = Running::up();
    let dir = running.documents("akte", 200);
    for kill_at in [2, 6] {
        let mut client = register_slowly(&running, &dir);
        wait_for("some submissions are final", || {
            (running.status(1)["height"].as_u64()? >= kill_at).then_some(())
        });
        client.kill().unwrap();
        client.wait().unwrap();
    }
    assert_code(
        &running.nachweis(&["register", "--batch", "10"], &[&dir]),
        0,
    );
    assert_eq!(receipts(&dir), 200);
    running.agree();
    assert_eq!(running.replay_all(), 200, "registrations");
    assert_code(&running.nachweis(&["verify", "--offline"], &[&dir]), 0);
}

#[test]
fn with_two_of_four_dead_registration_waits_and_ends_by_itself() {
    let mut running = Running::up();
    let dir = running.documents("akte", 3);
    running.network.kill(2).unwrap();
    running.network.kill(3).unwrap();
    let mut command = running.network.nachweis(0).unwrap();
    command
        .arg("register")
        .arg(&dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut client = command.spawn().unwrap();
    std::thread::sleep(Duration::from_secs(3));
    assert!(
        client.try_wait().unwrap().is_none(),
        "it waits for a quorum"
    );
    running.network.start(3).unwrap();
    let back = Instant::now();
    let done = client.wait_with_output().unwrap();
    assert_code(&done, 0);
    assert!(
        back.elapsed() < Duration::from_secs(10),
        "took {:?}",
        back.elapsed()
    );
    assert!(
        text(&done).contains("waiting"),
        "it says that it waits: {}",
        text(&done)
    );
}

#[test]
fn all_validators_killed_at_once_lose_nothing() {
    let mut running = Running::up();
    let dir = running.documents("akte", 60);
    let client = register_slowly(&running, &dir);
    wait_for("some submissions are final", || {
        (running.status(0)["height"].as_u64()? >= 3).then_some(())
    });
    (0..4).for_each(|at| running.network.signal(at, Signal::KILL));
    (0..4).for_each(|at| running.network.kill(at).unwrap());
    running.network.start_all().unwrap();
    client.wait_with_output().unwrap();
    assert_code(
        &running.nachweis(&["register", "--batch", "10"], &[&dir]),
        0,
    );
    running.agree();
    assert_eq!(running.replay_all(), 60);
    assert_code(&running.nachweis(&["verify", "--offline"], &[&dir]), 0);
}

#[test]
fn two_clients_that_register_the_same_file_get_two_ids_that_both_verify() {
    let running = Running::up();
    let dirs = [
        running.documents("akte", 1),
        running.folder.path().join("again"),
    ];
    fs::create_dir(&dirs[1]).unwrap();
    fs::copy(dirs[0].join("akte-0000.txt"), dirs[1].join("akte-0000.txt")).unwrap();
    let clients: Vec<_> = (0..2)
        .map(|at| {
            let mut command: Command = running.network.nachweis(at).unwrap();
            command
                .arg("register")
                .arg(&dirs[at])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    for client in clients {
        assert_code(&client.wait_with_output().unwrap(), 0);
    }
    let ids: Vec<_> = (0..2)
        .map(|at| {
            assert_code(&running.nachweis(&["verify", "--offline"], &[&dirs[at]]), 0);
            let shown = text(&running.nachweis(&["show"], &[&dirs[at].join("akte-0000.txt")]));
            shown
                .split_whitespace()
                .find(|word| word.starts_with("NW-"))
                .unwrap()
                .to_owned()
        })
        .collect();
    assert_ne!(ids[0], ids[1]);
}

#[test]
fn a_verifier_that_we_did_not_write_accepts_checkpoint_tiles_and_receipts() {
    let running = Running::up();
    let dir = running.documents("akte", 40);
    assert_code(&running.nachweis(&["register", "--batch", "8"], &[&dir]), 0);
    let venv = std::env::var("NACHWEIS_VENV").expect("scripts/test sets NACHWEIS_VENV");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("independent/aics_check.py");
    let output = Command::new(Path::new(&venv).join("bin/python"))
        .arg(script)
        .arg("--log-url")
        .arg(format!("{}/log", running.network.manifest().nodes[1].url))
        .arg("--policy")
        .arg(&running.network.manifest().policy)
        .args((0..40).map(|at| dir.join(format!("akte-{at:04}.txt.tlog-proof"))))
        .output()
        .unwrap();
    assert_code(&output, 0);
}
