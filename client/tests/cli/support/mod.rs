//! A desk in a temporary folder, and a node made for tests.

pub(crate) mod ledger;
pub(crate) mod node;

use ::ledger::hash::sha256;
use ::ledger::key::SigningKey;
use ::ledger::receipt::{MaxAge, Trust};
use node::Node;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

/// A private key that everyone knows.
pub(crate) fn key(label: &str) -> SigningKey {
    SigningKey::from_seed(&seed(label))
}

fn seed(label: &str) -> [u8; 32] {
    sha256(&[b"test-only:", label.as_bytes()]).0
}

/// A desk of the first authority: configuration, trust, keys and state in a folder of its own.
pub(crate) struct Desk {
    dir: tempfile::TempDir,
}

impl Desk {
    /// A desk that asks these nodes.
    pub(crate) fn at(urls: &[&str]) -> Self {
        let desk = Self {
            dir: tempfile::tempdir().unwrap(),
        };
        desk.trust("nachweis.test");
        for purpose in ["registrar", "admin"] {
            desk.key_file(
                &format!("{purpose}.key"),
                purpose,
                "bamf",
                &format!("{purpose}-0"),
            );
        }
        desk.configure(&format!(
            "node = {urls:?}\nstate = \"state\"\ntimeout_s = 1\n"
        ));
        desk
    }

    /// A desk at a node.
    pub(crate) fn new(node: &Node) -> Self {
        Self::at(&[&node.url])
    }

    /// Writes the configuration; authority, trust and keys are given.
    pub(crate) fn configure(&self, more: &str) {
        let given = "authority = \"bamf\"\ntrust = \"trust.json\"\nkey = \"registrar.key\"\nadmin_key = \"admin.key\"\n";
        self.write("desk.toml", format!("{given}{more}").as_bytes());
    }

    /// Pins the test network of this domain.
    pub(crate) fn trust(&self, domain: &str) {
        let trust = Trust::new(ledger::genesis(domain), None, MaxAge::default()).unwrap();
        self.write("trust.json", genesis::trust::to_text(&trust).as_bytes());
    }

    /// Writes a key file.
    pub(crate) fn key_file(&self, name: &str, purpose: &str, authority: &str, label: &str) {
        let (public, seed) = (key(label).key(), hex::encode(seed(label)));
        let text = format!(
            "nachweis-key v1\npurpose: {purpose}\nauthority: {authority}\npublic: {public}\nseed: {seed}\n"
        );
        self.write(name, text.as_bytes());
        self.mode(name, 0o600);
    }

    pub(crate) fn mode(&self, name: &str, mode: u32) {
        fs::set_permissions(self.path(name), fs::Permissions::from_mode(mode)).unwrap();
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file below the folder.
    pub(crate) fn write(&self, name: &str, bytes: &[u8]) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, bytes).unwrap();
    }

    /// Makes `count` small distinct documents in a folder.
    pub(crate) fn documents(&self, folder: &str, count: usize) {
        for at in 0..count {
            self.write(
                &format!("{folder}/{at:03}.txt"),
                format!("{folder} {at}\n").as_bytes(),
            );
        }
    }

    /// Names of the receipts in a folder.
    pub(crate) fn receipts(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.path(folder)).unwrap();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<_> = names.filter(|name| name.ends_with(".tlog-proof")).collect();
        names.sort();
        names
    }

    /// The program, in the folder, with its configuration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_nachweis"));
        command
            .current_dir(self.dir.path())
            .args(["--config", "desk.toml"])
            .args(arguments)
            .env_remove("XDG_CONFIG_HOME")
            .env("HOME", "/nowhere");
        command
    }

    pub(crate) fn output(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Starts the program without waiting for it.
    pub(crate) fn start(&self, arguments: &[&str]) -> Child {
        let mut command = self.command(arguments);
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().unwrap()
    }

    /// Runs to the end and shows everything that a person or script sees.
    pub(crate) fn run(&self, arguments: &[&str]) -> String {
        self.shown(&self.output(arguments))
    }

    pub(crate) fn shown(&self, output: &Output) -> String {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let mut shown = text(&output.stdout);
        let errors = text(&output.stderr);
        if !errors.is_empty() {
            shown.push_str("[stderr]\n");
            shown.push_str(&errors);
        }
        let code = output.status.code().unwrap();
        shown.push_str(&format!("[exit status: {code}]\n"));
        steady(&shown, self.dir.path())
    }
}

/// Replaces what differs from run to run: ids, keys, times, ports, the folder.
fn steady(text: &str, dir: &Path) -> String {
    let dir = dir.canonicalize().unwrap_or_else(|_| dir.to_path_buf());
    let text = text.replace(&format!("{}", dir.display()), "DIR");
    let words = |line: &str| {
        let line = replace_run(line, "NW-", "NW-ID", |c| {
            c.is_ascii_alphanumeric() || c == '-'
        });
        let line = replace_run(&line, "http://127.0.0.1:", "http://NODE", |c| {
            c.is_ascii_digit()
        });
        let line = replace_run(&line, "final after ", "final after T", |c| {
            c.is_ascii_digit() || c == '.'
        });
        let line = replace_run(&line, "provable after ", "provable after T", |c| {
            c.is_ascii_digit() || c == '.'
        });
        let line = match line.split_once(" s, provable") {
            Some((before, after)) if line.ends_with(" documents/s") => {
                let (time, _) = after.split_once(" s, ").unwrap();
                format!("{before} s, provable{time} s, N documents/s")
            }
            _ => line,
        };
        times(&line)
    };
    text.lines().map(|line| words(line) + "\n").collect()
}

/// Replaces `start` and the run of characters behind it.
fn replace_run(text: &str, start: &str, by: &str, of: impl Fn(char) -> bool) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(start) {
        let behind = &rest[at + start.len()..];
        let end = behind.find(|c| !of(c)).unwrap_or(behind.len());
        out.push_str(&rest[..at]);
        out.push_str(if end == 0 { start } else { by });
        rest = &behind[end..];
    }
    out + rest
}

/// Replaces `2026-11-25 18:03:12 UTC`.
fn times(text: &str) -> String {
    const LENGTH: usize = "2026-11-25 18:03:12".len();
    let mut text = text.to_owned();
    let mut from = 0;
    while let Some(at) = text[from..].find(" UTC").map(|at| at + from) {
        let start = at.saturating_sub(LENGTH);
        if text.is_char_boundary(start) && text[start..].starts_with("20") {
            text.replace_range(start..at + 4, "TIME");
            from = start + 4;
        } else {
            from = at + 4;
        }
    }
    text
}
