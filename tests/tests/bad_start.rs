//! A node that cannot start says what is wrong and what to do, and leaves what it found as it was.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use genesis::container::MAX_CONTAINER;
use ledger::codec::{self, List};
use ledger::genesis::{Genesis, MAX_AUTHORITIES};
use ledger::id::AuthorityIndex;
use ledger::key::Signature;
use std::collections::BTreeMap;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tests::binaries::command;
use tests::http;
use tests::running::{Running, wait_for};

/// Usage or configuration is wrong.
const USAGE: i32 = 2;
/// Refused: the surroundings are not as they must be.
const REFUSED: i32 = 4;

/// How long a start may take that leads nowhere.
const PATIENCE: Duration = Duration::from_secs(60);

/// How a start ended.
struct Attempt {
    code: Option<i32>,
    said: String,
}

/// Runs `nachweis-node` with these arguments until it ends by itself.
fn attempt(arguments: &[&str], dir: Option<&Path>) -> Attempt {
    let mut command = command("nachweis-node").unwrap();
    command.args(arguments).args(dir).stdin(Stdio::null());
    let mut child = command
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let deadline = Instant::now() + PATIENCE;
    let ended = loop {
        let ended = child.try_wait().unwrap();
        if ended.is_some() || Instant::now() > deadline {
            break ended;
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    // Where it should have ended but runs, it must not outlive the test.
    child.kill().ok();
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(ended.is_some(), "it runs: {said}");
    Attempt {
        code: output.status.code(),
        said,
    }
}

fn run(dir: &Path) -> Attempt {
    attempt(&["run", "--dir"], Some(dir))
}

impl Attempt {
    /// The code, and two sentences: what is wrong, with these words, and what to do, with that.
    #[track_caller]
    fn is_refused(&self, code: i32, error: &[&str], hint: &str) {
        assert_eq!(self.code, Some(code), "{}", self.said);
        let whole = || panic!("not an error and a hint: {}", self.said);
        let (_, rest) = self.said.split_once("error: ").unwrap_or_else(whole);
        let (wrong, remedy) = rest.split_once("\nhint: ").unwrap_or_else(whole);
        for word in error {
            assert!(wrong.contains(word), "{word} is not in {}", self.said);
        }
        assert!(remedy.contains(hint), "{hint} is not in {}", self.said);
    }
}

/// Every file below a folder.
fn files(dir: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.append(&mut files(&path));
        } else {
            found.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    found
}

/// A node's directory, to be spoilt and mended.
struct Desk<'a> {
    dir: &'a Path,
}

impl Desk<'_> {
    /// Replaces a file, tries to start, looks that nothing else changed, and puts the file back.
    #[track_caller]
    fn spoilt(&self, name: &str, bytes: &[u8], code: i32, error: &[&str], hint: &str) {
        let path = self.dir.join(name);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, bytes).unwrap();
        self.refuses(code, error, hint);
        fs::write(&path, whole).unwrap();
    }

    #[track_caller]
    fn refuses(&self, code: i32, error: &[&str], hint: &str) {
        let before = files(self.dir);
        run(self.dir).is_refused(code, error, hint);
        assert!(
            before == files(self.dir),
            "a start that was refused changed files"
        );
    }

    fn toml(&self) -> String {
        fs::read_to_string(self.dir.join("node.toml")).unwrap()
    }
}

/// The genesis without its last signature.
fn without_a_signature(genesis: &[u8]) -> Vec<u8> {
    type Container = (Genesis, List<(AuthorityIndex, Signature), MAX_AUTHORITIES>);
    let (genesis, signatures): Container = codec::decode(genesis, MAX_CONTAINER).unwrap();
    let mut signatures = signatures.into_vec();
    signatures.pop().unwrap();
    codec::encode(&(genesis, signatures))
}

impl Desk<'_> {
    fn bad_configurations(&self) {
        let toml = self.toml();
        let spoilt = |bytes: &[u8], error: &[&str]| {
            self.spoilt("node.toml", bytes, USAGE, error, "nachweis-node init");
        };
        // The comment at its head names the section, too.
        let half = &toml[..toml.find("\n[storage]").unwrap()];
        spoilt(half.as_bytes(), &["node.toml", "storage"]);
        spoilt(b"\xff\xfe\x00garbage", &["node.toml"]);
        spoilt(b"", &["node.toml", "api"]);
        let long = "#".repeat(64 * 1024 + 1);
        spoilt(long.as_bytes(), &["65537", "65536"]);
        let huge = toml.replace("max_body_bytes = 4194304", "max_body_bytes = 4194305");
        let rule = ["api.max_body_bytes", "4194304", "4194305"];
        let hint = "change it in node.toml";
        self.spoilt("node.toml", huge.as_bytes(), USAGE, &rule, hint);

        let most = i64::MAX.to_string();
        let full = format!("min_free_bytes = {most}");
        let full = toml.replace("min_free_bytes = 268435456", &full);
        let (error, hint) = (["free", &most], "storage.min_free_bytes");
        self.spoilt("node.toml", full.as_bytes(), REFUSED, &error, hint);
    }

    fn bad_genesis(&self) {
        let name = "genesis.nachweis";
        let genesis = fs::read(self.dir.join(name)).unwrap();
        let unsigned = without_a_signature(&genesis);
        let (who, hint) = (["not signed by vg-leipzig"], "nachweis-genesis sign");
        self.spoilt(name, &unsigned, REFUSED, &who, hint);
        let (what, hint) = (["no genesis file"], "nachweis-genesis assemble");
        self.spoilt(name, &genesis[..100], REFUSED, &what, hint);
    }

    fn open_keys(&self) {
        for name in ["vote.key", "cosigner.key", "log.key", "network.key"] {
            let path = self.dir.join("keys").join(name);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            self.refuses(REFUSED, &[name], "chmod 600");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        }
    }
}

impl Desk<'_> {
    /// Without a file, which is put back.
    #[track_caller]
    fn without(&self, name: &str, hint: &str) {
        let path = self.dir.join(name);
        let aside = path.with_extension("aside");
        fs::rename(&path, &aside).unwrap();
        self.refuses(REFUSED, &[name], hint);
        fs::rename(&aside, &path).unwrap();
    }

    /// Files that are lost, or another authority's.
    fn lost_and_foreign_files(&self, other: &Path) {
        self.without("genesis.nachweis", "put the signed genesis back");
        self.without("keys/log.key", "put the key back");
        let foreign = fs::read(other.join("keys/vote.key")).unwrap();
        let names = ["vote.key", "vg-leipzig"];
        self.spoilt(
            "keys/vote.key",
            &foreign,
            REFUSED,
            &names,
            "right authority",
        );
        // An observer's directory, and --observer forgotten.
        let certificate = self.dir.join("keys/observer.cert");
        fs::write(&certificate, "").unwrap();
        self.without("keys/vote.key", "run --observer");
        fs::remove_file(certificate).unwrap();
    }
}

#[test]
fn a_node_that_cannot_start_says_why_and_starts_once_that_is_mended() {
    let mut running = Running::founded();
    let node = running.network.manifest().nodes[0].clone();
    let desk = Desk { dir: &node.dir };
    desk.bad_configurations();
    desk.bad_genesis();
    desk.open_keys();
    let nodes = &running.network.manifest().nodes;
    let leipzig = nodes.iter().find(|it| it.authority == "vg-leipzig");
    desk.lost_and_foreign_files(&leipzig.unwrap().dir);

    let taken = TcpListener::bind(node.api).unwrap();
    desk.refuses(REFUSED, &[&node.api.to_string()], "api.listen");
    drop(taken);
    let port: u16 = node.peer.rsplit('/').next().unwrap().parse().unwrap();
    let taken = TcpListener::bind(("127.0.0.1", port)).unwrap();
    desk.refuses(REFUSED, &[&node.peer, "in use"], "network.listen");
    drop(taken);

    running.start(&[0, 1, 2]);
    running.becomes_provable(0);
}

#[test]
fn data_of_a_running_node_or_of_another_network_is_not_touched() {
    let mut running = Running::founded();
    let other = Running::founded();
    let node = running.network.manifest().nodes[0].clone();
    running.network.start(0).unwrap();
    wait_for("the node listens", || {
        http::get(node.api, "/healthz").ok().map(|_answer| ())
    });

    // Started twice by mistake.
    let hint = "does this node run already?";
    run(&node.dir).is_refused(REFUSED, &[&node.api.to_string()], hint);
    // The same data with other ports.
    let twin = running.folder().join("twin");
    fs::create_dir(&twin).unwrap();
    let free = other.network.manifest().nodes[0].clone();
    let toml = fs::read_to_string(node.dir.join("node.toml")).unwrap();
    let here = |name: &str| format!("= \"{name}\"");
    let there = |name: &str| format!("= \"{}\"", node.dir.join(name).display());
    let mut toml = toml
        .replace(&node.api.to_string(), &free.api.to_string())
        .replace(&node.peer, &free.peer);
    for name in ["data", "keys", "genesis.nachweis"] {
        toml = toml.replace(&here(name), &there(name));
    }
    fs::write(twin.join("node.toml"), toml).unwrap();
    let data = node.dir.join("data");
    let name = data.display().to_string();
    run(&twin).is_refused(REFUSED, &[&name], "does this node run already?");
    assert_eq!(http::get(node.api, "/healthz").unwrap().status, 200);
    running.network.stop(0).unwrap();

    // A node of the other network, pointed at this one's data.
    let toml = fs::read_to_string(free.dir.join("node.toml")).unwrap();
    let toml = toml.replace(&here("data"), &there("data"));
    fs::write(free.dir.join("node.toml"), toml).unwrap();
    let before = files(&node.dir);
    let chain = fs::read_to_string(data.join("chain")).unwrap();
    run(&free.dir).is_refused(REFUSED, &[&name, chain.trim()], "storage.data");
    assert!(before == files(&node.dir), "another network's data changed");

    // A file that says nothing is no other network's.
    let desk = Desk { dir: &node.dir };
    let names = [&*format!("{name}/chain"), "damaged"];
    desk.spoilt(
        "data/chain",
        b"623x1c",
        REFUSED,
        &names,
        "delete that one file",
    );
}

#[test]
fn wrong_usage_is_told_from_other_faults() {
    for arguments in [
        &[][..],
        &["run"],
        &["run", "--dir"],
        &["run", "--dir", "/tmp", "--port", "1"],
        &["walk"],
        &["status"],
        &["init", "--api", "nowhere"],
    ] {
        let attempt = attempt(arguments, None);
        assert_eq!(attempt.code, Some(USAGE), "{arguments:?}: {}", attempt.said);
        // Without any arguments the whole help is printed.
        let shown = ["--help", "Usage: "].map(|word| attempt.said.contains(word));
        assert!(shown.contains(&true), "{}", attempt.said);
    }
    let help = command("nachweis-node").unwrap().arg("--help").output();
    let help = String::from_utf8(help.unwrap().stdout).unwrap();
    for code in ["0 ", "1 ", "2 ", "3 ", "4 ", "70 ", "74 ", "75 "] {
        assert!(
            help.contains(&format!("; {code}"))
                || help.contains(&format!("\n{code}"))
                || help.contains(&format!(": {code}")),
            "{code}: {help}"
        );
    }
    let nowhere = tempfile::tempdir().unwrap().path().join("nowhere");
    run(&nowhere).is_refused(USAGE, &["nowhere"], "nachweis-node init");
    assert!(!nowhere.exists());
}
