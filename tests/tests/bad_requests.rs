//! Requests that no client of ours sends, to a running node: each is refused by name, none costs the node anything.
//!
//! Which code each fault has is tested with the API itself, without processes; here is what needs a whole node.

#![expect(
    clippy::unwrap_used,
    reason = "a test ends at the first thing that is not as it should be"
)]

use genesis::container::Founding;
use genesis::keyfile::KeyFile;
use ledger::document::{CommitmentContext, CommitmentRole, DocumentId, Nonce, Salt};
use ledger::genesis::Purpose;
use ledger::hash::{ChainId, Hash};
use ledger::id::{AuthorityId, AuthorityIndex, TimeMs};
use ledger::key::SigningKey;
use ledger::record::{Record, Retention};
use ledger::submission::{Draft, MAX_RECORDS, MAX_SUBMISSION, Submission, SubmissionBody};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};
use tests::http::{self, Answer};
use tests::running::{Running, wait_for};

/// Most memory of a node, in KiB, whatever is asked of it.
const MAX_PEAK_KIB: u64 = 300 * 1024;
/// So long may anything take on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
const HOUR_MS: u64 = 3_600_000;

const NODES: [usize; 3] = [0, 1, 2];

/// A registrar of the first authority.
struct Registrar {
    chain: ChainId,
    key: SigningKey,
}

fn now_ms() -> u64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    u64::try_from(now.unwrap().as_millis()).unwrap()
}

impl Registrar {
    fn of(running: &Running) -> Self {
        let dir = running.network.dir();
        let founding = Founding::load(&dir.join("genesis.nachweis")).unwrap();
        let path = dir.join("keys/bamf/registrar.key");
        let key = KeyFile::load(&path, Purpose::Registrar).unwrap();
        Self {
            chain: founding.chain(),
            key: key.signing_key(),
        }
    }

    fn record(&self, number: u8) -> Record {
        let nonce = Nonce([number; 32]);
        let document = DocumentId::derive(&self.chain, AuthorityIndex(0), &nonce);
        let context = CommitmentContext {
            chain: &self.chain,
            document: &document,
            role: CommitmentRole::Internal,
        };
        let salt = Salt::new([number; 64]).unwrap();
        Record::Register {
            document,
            nonce,
            internal: context.commit(&salt, &[number; 32]),
            citizen: None,
            detail: None,
            retention: Retention::Unspecified,
        }
    }

    fn draft(&self, numbers: &[u8]) -> Draft {
        Draft {
            chain: self.chain,
            authority: AuthorityIndex(0),
            not_before_ms: TimeMs(now_ms() - 60_000),
            not_after_ms: TimeMs(now_ms() + HOUR_MS),
            records: numbers.iter().map(|number| self.record(*number)).collect(),
        }
    }

    fn signed(&self, draft: Draft) -> Vec<u8> {
        signed(draft, &self.key)
    }
}

fn signed(draft: Draft, key: &SigningKey) -> Vec<u8> {
    Submission::sign(draft, key).unwrap().encoded().to_vec()
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap();
    [&length.to_le_bytes()[..], bytes].concat()
}

fn submit(to: SocketAddr, body: &[u8]) -> Answer {
    http::post(to, "/v1/submissions", "application/octet-stream", body).unwrap()
}

/// Sends bytes as they are and reads what comes until the node closes.
fn exchange(to: SocketAddr, parts: &[&[u8]]) -> String {
    let mut stream = TcpStream::connect(to).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    for part in parts {
        // The node may answer and close before it has read all.
        if stream.write_all(part).is_err() {
            break;
        }
    }
    let mut answer = Vec::new();
    let mut buffer = [0; 4_096];
    while let Ok(read) = stream.read(&mut buffer) {
        if read == 0 {
            break;
        }
        answer.extend_from_slice(&buffer[..read]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// Every node is up and small, and a record becomes provable.
fn goes_on(running: &Running) {
    for at in NODES {
        assert!(running.network.is_running(at), "node {at} is down");
        let peak = running.peak_kib(at);
        assert!(peak < MAX_PEAK_KIB, "node {at} held {peak} KiB");
    }
    running.becomes_provable(0);
}

/// One submission for each fault, and a word of the answer that names it.
fn bad_submissions(registrar: &Registrar) -> Vec<(&'static str, Vec<u8>, u16, &'static str)> {
    let good = registrar.signed(registrar.draft(&[1, 2]));
    let mut forged = good.clone();
    *forged.last_mut().unwrap() ^= 1;
    let nobody = AuthorityId::new("bamf").unwrap();
    let nobody = KeyFile::generate(Purpose::Registrar, nobody).unwrap();
    let mut late = registrar.draft(&[1]);
    (late.not_before_ms, late.not_after_ms) = (TimeMs(1), TimeMs(2));
    let mut early = registrar.draft(&[1]);
    early.not_before_ms = TimeMs(now_ms() + 20 * HOUR_MS);
    early.not_after_ms = TimeMs(now_ms() + 21 * HOUR_MS);
    let mut elsewhere = registrar.draft(&[1]);
    elsewhere.chain = ChainId(Hash([9; 32]));
    // Both records of the good one, the second first.
    let start = SubmissionBody::LEN;
    let record = registrar.record(1).encode().len();
    let mut swapped = good.clone();
    swapped[start..start + 2 * record].rotate_left(record);
    // The count is the last field but the root.
    let mut many = good.clone();
    let count = u32::try_from(MAX_RECORDS + 1).unwrap();
    many[start - 36..start - 32].copy_from_slice(&count.to_le_bytes());
    let trailing = [&good[..], &[0]].concat();
    let stranger = signed(registrar.draft(&[1]), &nobody.signing_key());
    vec![
        ("bad signature", forged, 422, "signature"),
        ("unknown registrar", stranger, 403, "unknown-key"),
        ("expired", registrar.signed(late), 422, "window-over"),
        (
            "far ahead",
            registrar.signed(early),
            422,
            "window-too-early",
        ),
        (
            "wrong chain",
            registrar.signed(elsewhere),
            400,
            "wrong-chain",
        ),
        ("swapped records", swapped, 400, "wrong-records-root"),
        ("10,001 records", many, 400, "10000 records, not 10001"),
        ("trailing byte", trailing, 400, "not-canonical"),
        ("wrong content", b"%PDF-1.7".to_vec(), 400, "not-canonical"),
    ]
}

#[test]
fn bad_submissions_are_refused_by_name_and_nothing_of_them_is_kept() {
    let running = Running::with_nodes(&NODES);
    let node = running.api(0);
    let registrar = Registrar::of(&running);
    running.becomes_provable(0);
    let size = running.status(0)["log_size"].as_u64();
    let bad = bad_submissions(&registrar);
    for (what, bytes, status, word) in &bad {
        let answer = submit(node, &framed(bytes));
        assert_eq!(answer.status, *status, "{what}: {}", answer.text());
        assert!(answer.text().contains(word), "{what}: {}", answer.text());
    }
    let prefix = [&9_u32.to_le_bytes()[..], &[1, 2, 3]].concat();
    for (what, body) in [
        ("no body", &[][..]),
        ("half a prefix", &[1, 0]),
        ("wrong prefix", &prefix),
    ] {
        let answer = submit(node, body);
        assert_eq!(answer.status, 400, "{what}: {}", answer.text());
        assert!(answer.text().contains("hint"), "{what}: {}", answer.text());
    }
    assert_eq!(running.status(0)["log_size"].as_u64(), size);
    assert_eq!(running.status(0)["pool"].as_u64(), Some(0));

    // All bad ones around a good one, which is not held up.
    let good = framed(&registrar.signed(registrar.draft(&[1, 2])));
    let mut all: Vec<u8> = bad
        .iter()
        .flat_map(|(_, bytes, ..)| framed(bytes))
        .collect();
    all.extend_from_slice(&good);
    let answer = submit(node, &all);
    assert_eq!(answer.status, 422, "{}", answer.text());
    assert_eq!(answer.text().matches("\"provable\"").count(), 1);
    assert_eq!(answer.text().matches("\"refused\"").count(), bad.len());
    assert_eq!(submit(node, &good).status, 200);
    goes_on(&running);
}

#[test]
fn bodies_over_the_limit_are_refused_before_they_are_there() {
    let running = Running::with_nodes(&NODES);
    let node = running.api(0);
    let limit = MAX_SUBMISSION.to_string();
    let head = "POST /v1/submissions HTTP/1.1\r\nHost: n\r\nConnection: close\r\n";
    let announced = format!("{head}Content-Length: {}\r\n\r\n", 100 << 20);
    let begun = Instant::now();
    // A hundredth of what was announced, and no more: only an answer at once is an answer at all.
    let answer = exchange(node, &[announced.as_bytes(), &[0; 1 << 20]]);
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    assert!(answer.contains(&limit), "{answer}");
    assert!(begun.elapsed() < PATIENCE / 4, "took {:?}", begun.elapsed());

    // Without an end, from several clients at once.
    let endless = format!("{head}Transfer-Encoding: chunked\r\n\r\n");
    let chunk = [&b"100000\r\n"[..], &[7; 1 << 20], b"\r\n"].concat();
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let (endless, chunk) = (endless.clone(), chunk.clone());
            std::thread::spawn(move || {
                let mut parts = vec![endless.as_bytes()];
                parts.extend([&chunk[..]; 16]);
                exchange(node, &parts)
            })
        })
        .collect();
    for client in clients {
        let answer = client.join().unwrap();
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
        assert!(answer.contains(&limit), "{answer}");
    }
    goes_on(&running);
}

#[test]
fn absurd_paths_and_methods_are_refused_in_json() {
    let running = Running::with_nodes(&NODES);
    let node = running.api(0);
    running.becomes_provable(0);
    let long = format!("/v1/documents/{}", "Z".repeat(7_000));
    for path in [
        "/log/tile/64/000",
        "/log/tile/256/000",
        "/log/tile/-1/000",
        "/log/tile/0/999",
        "/log/tile/0/1",
        "/log/tile/0/x000",
        "/log/tile/0/x000/000",
        "/log/tile/0/000.p/0",
        "/log/tile/0/000.p/256",
        "/log/tile/0/000.p/99999999999999999999",
        "/log/tile/63/x999/x999/x999/x999/x999/x999/999",
        "/log/tile/entries/x999/x999/x999/x999/x999/x999/x999/999",
        "/log/tile/entries/18446744073709551616",
        "/log/tile/entries/../../../node.toml",
        "/log/%2e%2e/%2e%2e/keys/vote.key",
        "/log/checkpoint/x",
        "/v1/blocks/18446744073709551615",
        "/v1/blocks/18446744073709551616",
        "/v1/blocks/-1",
        "/v1/blocks/0x1",
        "/v1/documents/NW-0000-0000-0000-0000-0000-0000-0000",
        "/v1/documents/%00%ff",
        "/v1/documents/..%2f..%2fkeys",
        "/v1/keys/g",
        "/v1",
        "//",
        "/../etc/passwd",
        &long,
    ] {
        let answer = http::get(node, path).unwrap();
        let short: String = path.chars().take(80).collect();
        assert!(
            [400, 404].contains(&answer.status),
            "{short}: {} {}",
            answer.status,
            answer.text()
        );
        let json: serde_json::Value = serde_json::from_str(&answer.text())
            .unwrap_or_else(|_| panic!("{short}: {}", answer.text()));
        assert!(json["error"]["code"].is_string(), "{short}: {json}");
    }
    for (method, path) in [
        ("DELETE", "/v1/submissions"),
        ("GET", "/v1/submissions"),
        ("PUT", "/log/checkpoint"),
        ("POST", "/v1/status"),
        ("BREW", "/metrics"),
    ] {
        let request = format!("{method} {path} HTTP/1.0\r\nHost: n\r\n\r\n");
        let answer = exchange(node, &[request.as_bytes()]);
        assert!(answer.contains(" 405 "), "{method} {path}: {answer}");
        assert!(answer.contains("no-method"), "{method} {path}: {answer}");
    }
    goes_on(&running);
}

#[test]
fn slow_clients_take_no_place_from_others() {
    let mut running = Running::founded();
    let path = running.dir(0).join("node.toml");
    let toml = fs::read_to_string(&path).unwrap();
    let quick = toml.replace("request_timeout_ms = 10000", "request_timeout_ms = 3000");
    assert_ne!(quick, toml);
    fs::write(&path, quick).unwrap();
    running.start(&NODES);
    let node = running.api(0);
    let slow = |bytes: &str| {
        let mut stream = TcpStream::connect(node).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.write_all(bytes.as_bytes()).unwrap();
        stream
    };
    let heads: Vec<_> = (0..200)
        .map(|_| slow("POST /v1/submissions HTTP/1.1\r\nHost: n\r\nContent-Le"))
        .collect();
    let half = "POST /v1/submissions HTTP/1.1\r\nHost: n\r\nConnection: close\r\nContent-Length: 1000\r\n\r\nhalf";
    let bodies: Vec<_> = (0..100).map(|_| slow(half)).collect();
    goes_on(&running);
    let begun = Instant::now();
    assert_eq!(http::get(node, "/v1/authorities").unwrap().status, 200);
    assert!(begun.elapsed() < PATIENCE / 4, "took {:?}", begun.elapsed());
    // Who never sends the rest of a body is told so, in the time that the configuration says.
    for mut body in bodies {
        let mut answer = String::new();
        body.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 504"), "{answer}");
        assert!(answer.contains("3000 ms"), "{answer}");
    }
    // Who never ends a head is cut off in the same time, though a byte comes again and again.
    let mut heads = heads;
    wait_for("heads that never end are cut off", || {
        heads.retain_mut(|stream| stream.write_all(b"n").is_ok());
        heads.is_empty().then_some(())
    });
    // And when the slow ones are gone, so are their connections.
    let process = running.network.manifest().nodes[0].process.unwrap();
    let descriptors = || fs::read_dir(format!("/proc/{}/fd", process.pid)).unwrap();
    wait_for("the connections are closed", || {
        (descriptors().count() < 150).then_some(())
    });
    goes_on(&running);
}
