//! A node's HTTP API over the ledger in memory, as well or badly behaved as a test wants.

use super::ledger::{IDS, Ledger, Taken};
use client::api::types::{
    CheckpointSummary, Document, ErrorBody, ErrorDetail, History, HistoryEntry, KeyInfo, PeerInfo,
    ReceiptResult, ReceiptsAnswer, ReceiptsRequest, Standing, Status, SubmissionResults, Submitted,
};
use ledger::document::DocumentId;
use ledger::hash::Hash;
use ledger::submission::Submission;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// How the node behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// As it should.
    Good,
    /// It accepts connections and says nothing.
    Hangs,
    /// It answers everything with this status.
    Fails(u16),
    /// It takes submissions, and the network has no quorum.
    NoQuorum,
    /// It takes so many more submissions, and then breaks every connection before answering.
    DiesAfter(usize),
    /// It has no room for so many submissions, and then has.
    BusyFor(usize),
    /// It says that submissions are provable and passes them on to nobody.
    Lies,
    /// What it sends as receipts is none.
    BadReceipts,
    /// It answers with something that is not of this API.
    OtherProgram,
}

/// A running node.
pub(crate) struct Node {
    pub(crate) url: String,
    pub(crate) ledger: Arc<Mutex<Ledger>>,
    behaviour: Arc<Mutex<Behaviour>>,
    /// Every body that came to the submissions route.
    pub(crate) bodies: Arc<Mutex<Vec<Vec<u8>>>>,
}

#[derive(Clone)]
struct Shared {
    ledger: Arc<Mutex<Ledger>>,
    behaviour: Arc<Mutex<Behaviour>>,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
}

impl Node {
    pub(crate) fn start() -> Self {
        Self::of("nachweis.test")
    }

    /// A node of the test network of this domain. Its threads end with the test's process.
    pub(crate) fn of(domain: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Shared {
            ledger: Arc::new(Mutex::new(Ledger::new(domain))),
            behaviour: Arc::new(Mutex::new(Behaviour::Good)),
            bodies: Arc::default(),
        };
        let node = Self {
            url,
            ledger: Arc::clone(&shared.ledger),
            behaviour: Arc::clone(&shared.behaviour),
            bodies: Arc::clone(&shared.bodies),
        };
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let shared = shared.clone();
                // A client that goes away is its own matter.
                std::thread::spawn(move || shared.serve(stream.unwrap()));
            }
        });
        node
    }

    pub(crate) fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock().unwrap() = behaviour;
    }

    pub(crate) fn registrations(&self) -> usize {
        self.ledger.lock().unwrap().registrations()
    }
}

/// Status and body.
type Answer = (u16, Vec<u8>);

fn json(value: &impl serde::Serialize) -> Answer {
    (200, serde_json::to_vec(value).unwrap())
}

fn failure(status: u16, code: &str, message: &str) -> Answer {
    let error = ErrorDetail {
        code: code.into(),
        message: message.into(),
        hint: None,
    };
    (status, serde_json::to_vec(&ErrorBody { error }).unwrap())
}

impl Shared {
    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut reader = BufReader::new(stream.try_clone().ok()?);
        let mut first = String::new();
        reader.read_line(&mut first).ok()?;
        let mut length = 0;
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let line = line.trim_end().to_lowercase();
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().ok()?;
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        let mut words = first.split(' ');
        let (method, target) = (words.next()?, words.next()?);
        let path = target.split('?').next()?;
        let (status, answer) = self.answer(method, path, &body)?;
        let head = format!(
            "HTTP/1.1 {status} -\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            answer.len()
        );
        let mut stream = stream;
        stream.write_all(head.as_bytes()).ok()?;
        stream.write_all(&answer).ok()
    }

    /// `None` closes the connection without an answer.
    fn answer(&self, method: &str, path: &str, body: &[u8]) -> Option<Answer> {
        let behaviour = *self.behaviour.lock().unwrap();
        match behaviour {
            Behaviour::Hangs => loop {
                std::thread::park();
            },
            Behaviour::Fails(status) => return Some(failure(status, "test", "told to fail")),
            Behaviour::OtherProgram => return Some((200, b"<html>hello</html>".to_vec())),
            Behaviour::Good
            | Behaviour::NoQuorum
            | Behaviour::DiesAfter(_)
            | Behaviour::BusyFor(_)
            | Behaviour::Lies
            | Behaviour::BadReceipts => {}
        }
        let parts: Vec<_> = path.trim_start_matches('/').split('/').collect();
        match (method, parts.as_slice()) {
            ("POST", ["v1", "submissions"]) => self.submissions(body),
            ("POST", ["v1", "receipts"]) => Some(self.receipts(body)),
            ("GET", ["v1", "status"]) => Some(json(&self.status())),
            ("GET", ["v1", "documents", id]) => Some(self.document(id)),
            ("GET", ["v1", "documents", id, "history"]) => Some(self.history(id)),
            ("GET", ["v1", "keys", key]) => Some(self.key(key)),
            _ => Some(failure(404, "not-found", "there is no such page")),
        }
    }

    fn submissions(&self, body: &[u8]) -> Option<Answer> {
        let behaviour = *self.behaviour.lock().unwrap();
        self.bodies.lock().unwrap().push(body.to_vec());
        let mut rest = body;
        let mut results = Vec::new();
        while !rest.is_empty() {
            let (length, after) = rest.split_at(4);
            let length = u32::from_le_bytes(length.try_into().unwrap()) as usize;
            let (one, after) = after.split_at(length);
            rest = after;
            results.push(match behaviour {
                Behaviour::NoQuorum => result(one, Standing::Timeout, None),
                Behaviour::Lies => result(one, Standing::Provable, None),
                Behaviour::BusyFor(left @ 1..) => {
                    *self.behaviour.lock().unwrap() = Behaviour::BusyFor(left - 1);
                    result(one, Standing::Refused, Some("pool-full"))
                }
                Behaviour::DiesAfter(0) => return None,
                Behaviour::DiesAfter(left) => {
                    *self.behaviour.lock().unwrap() = Behaviour::DiesAfter(left - 1);
                    let taken = self.take(one);
                    if left == 1 {
                        // It is in, and the client never hears of it.
                        return None;
                    }
                    taken
                }
                _ => self.take(one),
            });
        }
        let status = match behaviour {
            Behaviour::BusyFor(1..) => 503,
            _ if results.iter().any(|one| one.state == Standing::Refused) => 422,
            _ => 200,
        };
        Some((status, json(&SubmissionResults { results }).1))
    }

    fn take(&self, bytes: &[u8]) -> Submitted {
        match self.ledger.lock().unwrap().submit(bytes) {
            Taken::Included => result(bytes, Standing::Provable, None),
            Taken::Refused(code) => result(bytes, Standing::Refused, Some(code)),
        }
    }

    fn receipts(&self, body: &[u8]) -> Answer {
        let asked: ReceiptsRequest = serde_json::from_slice(body).unwrap();
        let ledger = self.ledger.lock().unwrap();
        let bad = *self.behaviour.lock().unwrap() == Behaviour::BadReceipts;
        let one = |document: String| {
            let id: DocumentId = document.parse().unwrap();
            let receipt = ledger.receipt(&id).map(|receipt| receipt.encode());
            let receipt = receipt.map(|text| {
                if bad {
                    text.replace("index ", "index 1")
                } else {
                    text
                }
            });
            let error = receipt.is_none().then(|| unknown(&document));
            ReceiptResult {
                document,
                receipt,
                error,
            }
        };
        let receipts = asked.documents.into_iter().map(one).collect();
        json(&ReceiptsAnswer { receipts })
    }

    fn status(&self) -> Status {
        let quorum = *self.behaviour.lock().unwrap() != Behaviour::NoQuorum;
        let ledger = self.ledger.lock().unwrap();
        let peer = |(at, id): (usize, &&str)| PeerInfo {
            authority: (*id).into(),
            connected: quorum || at == 0,
            height: None,
        };
        Status {
            chain: ledger.chain().to_string(),
            authority: IDS[0].into(),
            height: ledger.height().0,
            time_ms: 0,
            log_size: 0,
            provable_size: 0,
            alarm: None,
            unguarded: None,
            missing_cosigners: Vec::new(),
            view: 1,
            epoch: 0,
            standing: "votes".into(),
            disk: client::api::types::DiskInfo::default(),
            peers: IDS[1..].iter().enumerate().map(peer).collect(),
            pool: 1,
            archive: client::api::types::ArchiveInfo::default(),
            version: "test".into(),
        }
    }

    fn document(&self, id: &str) -> Answer {
        let parsed: DocumentId = id.parse().unwrap();
        let Some(index) = self.ledger.lock().unwrap().knows(&parsed) else {
            return failure(
                404,
                "unknown-document",
                &format!("document {id} is not known"),
            );
        };
        json(&Document {
            id: id.into(),
            registration: index.0,
            record: "register".into(),
            authority: IDS[0].into(),
            lifecycle: "in-force".into(),
            successor: None,
            reason: None,
            retired: None,
            suspended: None,
            issuer: IDS[0].into(),
            responsible: IDS[0].into(),
            holders: vec![IDS[0].into()],
            disputes: 0,
            checkpoint: CheckpointSummary {
                size: 0,
                time_ms: 0,
                height: 0,
            },
        })
    }

    fn history(&self, id: &str) -> Answer {
        let parsed: DocumentId = id.parse().unwrap();
        let records = self.ledger.lock().unwrap().history(&parsed);
        let entry =
            |(index, leaf): (ledger::id::LeafIndex, ledger::leaf::RecordLeaf)| HistoryEntry {
                index: index.0,
                height: leaf.height.0,
                time_ms: leaf.time_ms.0,
                authority: IDS[usize::from(leaf.authority.0)].into(),
                key: leaf.key.to_string(),
                record: leaf.record.name().into(),
                detail: serde_json::json!({ "retention": 0, "prev": 3, "code": 4 }),
            };
        json(&History {
            id: id.into(),
            records: records.into_iter().map(entry).collect(),
        })
    }

    fn key(&self, key: &str) -> Answer {
        let Some(state) = self.ledger.lock().unwrap().key(&key.parse().unwrap()) else {
            return failure(404, "unknown-key", "the key is not known");
        };
        json(&KeyInfo {
            key: key.into(),
            authority: IDS[usize::from(state.authority.0)].into(),
            role: state.role.bits(),
            enrolled: state.enrolled.0,
            not_after_ms: state.not_after_ms.0,
            retired: state.retired.map(|at| at.0),
            compromised_since: None,
        })
    }
}

fn unknown(document: &str) -> ErrorDetail {
    ErrorDetail {
        code: "unknown-document".into(),
        message: format!("document {document} is not known"),
        hint: None,
    }
}

fn result(bytes: &[u8], state: Standing, code: Option<&str>) -> Submitted {
    let hash = Submission::decode(bytes).map_or(Hash::ZERO, |submission| submission.hash().0);
    Submitted {
        submission: hash.to_string(),
        state,
        height: None,
        time_ms: None,
        first_index: None,
        count: None,
        size: None,
        error: code.map(|code| ErrorDetail {
            code: code.into(),
            message: format!("the rule is {code}"),
            hint: None,
        }),
    }
}
