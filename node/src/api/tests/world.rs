//! A chain of made blocks behind a real API on loopback, and the smallest HTTP client.

use crate::api::{self, Service};
use crate::chain::{Chain, Head, NotTaken, Parts, Provable, Submit};
use crate::clock;
use crate::config;
use crate::metrics::Metrics;
use crate::publisher;
use crate::states::{Post, States};
use crate::storage::archive::Archive;
use crate::storage::index::{Index, Place};
use crate::storage::log_hashes::LogHashes;
use crate::testkit;
use ledger::admission::CheckedItem;
use ledger::block::Block;
use ledger::checkpoint::Checkpoint;
use ledger::cosignature::cosign;
use ledger::execute::{self, Slot};
use ledger::frame::Payload;
use ledger::genesis::Purpose;
use ledger::id::{TimeMs, ValidatorIndex, View};
use ledger::note::{Note, VerifierKey, sign_log};
use ledger::record::Record;
use ledger::tip::Founding;
use ledger::view::MemoryState;
use std::net::SocketAddr;
use std::sync::Arc;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

pub(super) const AUTHORITIES: u16 = 4;
/// Body limit of the API under test, in bytes.
pub(super) const MAX_BODY: usize = 1 << 20;

/// How what stands for executor and validators behaves.
#[derive(Clone, Debug)]
pub(super) enum Behind {
    /// Every request becomes a block that is provable at once.
    Provable,
    /// Every request becomes a block that nobody cosigns.
    Final,
    /// What is handed in stays pending.
    Silent,
    /// Nothing is taken.
    Refuses(NotTaken),
}

pub(super) struct World {
    pub(super) founding: Founding,
    pub(super) chain: Chain,
    pub(super) address: SocketAddr,
    /// Told of every request that is handed in.
    pub(super) handed_in: Arc<Notify>,
    pub(super) shutdown: CancellationToken,
    pub(super) served: tokio::task::JoinHandle<std::io::Result<()>>,
    _dir: tempfile::TempDir,
}

impl World {
    pub(super) async fn new(behind: Behind) -> Self {
        Self::with_requests(behind, 64).await
    }

    pub(super) async fn with_requests(behind: Behind, max_requests: usize) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let founding = testkit::founding(AUTHORITIES);
        let (archive, log, index) = storage(dir.path(), &founding);
        let parts = Parts {
            founding: founding.clone(),
            states: Arc::new(States::new(index, founding.tip())),
            head: Head {
                tip: founding.tip(),
                header: None,
            },
            provable: None,
            archive: archive.reader(),
            log: log.reader(),
            restarts: Arc::default(),
        };
        let (chain, inlet) = Chain::new(parts);
        let handed_in = Arc::new(Notify::new());
        let maker = Maker {
            handed_in: Arc::clone(&handed_in),
            chain: chain.clone(),
            archive,
            log,
            state: state(&founding),
        };
        std::thread::spawn(move || maker.run(inlet, &behind));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let service = Service {
            chain: chain.clone(),
            authority: founding.genesis().authorities[0].id.clone(),
            config: config::Api {
                listen: address,
                max_body_bytes: MAX_BODY,
                max_requests,
                request_timeout_ms: 30_000,
            },
            metrics: Metrics::new(),
            network: None,
            disk: api::Disk {
                data: dir.path().to_owned(),
                min_free_bytes: 7,
            },
            making: None,
        };
        let shutdown = CancellationToken::new();
        let served = tokio::spawn(api::serve(listener, service, shutdown.clone()));
        Self {
            founding,
            chain,
            address,
            handed_in,
            shutdown,
            served,
            _dir: dir,
        }
    }

    /// A right submission of registrations.
    pub(super) fn registrations(&self, authority: u16, numbers: (u32, u32)) -> Vec<u8> {
        let pending = testkit::register_in(&self.founding, authority, numbers, window());
        pending.submission.encoded().to_vec()
    }

    /// A right submission of these records.
    pub(super) fn submission(&self, authority: u16, records: Vec<Record>) -> Vec<u8> {
        let pending = testkit::submission(&self.founding, authority, window(), records);
        pending.submission.encoded().to_vec()
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        send(self.address, &format!("GET {path}"), &[]).await
    }

    pub(super) async fn post(&self, path: &str, body: &[u8]) -> Answer {
        send(self.address, &format!("POST {path}"), body).await
    }

    pub(super) async fn submit(&self, submissions: &[Vec<u8>]) -> Answer {
        self.post("/v1/submissions", &framed(submissions)).await
    }
}

pub(super) fn framed(submissions: &[Vec<u8>]) -> Vec<u8> {
    let prefixed = |one: &Vec<u8>| {
        let length = u32::try_from(one.len()).unwrap();
        [&length.to_le_bytes()[..], one].concat()
    };
    submissions.iter().flat_map(prefixed).collect()
}

pub(super) fn window() -> (TimeMs, TimeMs) {
    let now = clock::wall();
    (now.saturating_sub(60_000), now.saturating_add(600_000))
}

fn state(founding: &Founding) -> MemoryState {
    let mut state = MemoryState::new();
    state.apply(founding.effects(), founding.tip().time_ms);
    state
}

fn storage(dir: &std::path::Path, founding: &Founding) -> (Archive, LogHashes, Index) {
    let chain = founding.chain();
    let archive = Archive::open(&dir.join("archive"), chain).unwrap();
    let log = LogHashes::open(&dir.join("log")).unwrap();
    let index = Index::open(&dir.join("index"), chain, 1 << 20)
        .unwrap()
        .index;
    let genesis = Place::of(&founding.tip(), 0);
    index.apply(genesis, &founding.effects()).unwrap();
    (archive, log, index)
}

/// Stands for executor, archivist, cosigners and publisher: makes a block of every request.
struct Maker {
    handed_in: Arc<Notify>,
    chain: Chain,
    archive: Archive,
    log: LogHashes,
    state: MemoryState,
}

impl Maker {
    fn run(mut self, mut inlet: mpsc::Receiver<Submit>, behind: &Behind) {
        while let Some(Submit { submissions, reply }) = inlet.blocking_recv() {
            self.handed_in.notify_one();
            let taken = |_: &_| match behind {
                Behind::Refuses(why) => Err(why.clone()),
                Behind::Provable | Behind::Final | Behind::Silent => Ok(()),
            };
            reply.send(submissions.iter().map(taken).collect()).ok();
            let items = submissions
                .into_iter()
                .map(|pending| CheckedItem::Submission(pending.submission));
            match behind {
                Behind::Provable => {
                    self.finalize(items.collect());
                    self.prove();
                }
                Behind::Final => self.finalize(items.collect()),
                Behind::Silent | Behind::Refuses(_) => {}
            }
        }
    }

    fn finalize(&mut self, items: Vec<CheckedItem>) {
        let founding = self.chain.founding().clone();
        let tip = self.chain.head().tip.clone();
        let slot = Slot {
            view: View(tip.height.0 + 1),
            proposer: ValidatorIndex(1),
            time_ms: clock::wall().max(tip.time_ms.saturating_add(1)),
        };
        let built = execute::build(&founding, &self.state, &tip, slot, &items).unwrap();
        assert_eq!(built.refused, []);
        let (executed, body) = built.block.unwrap();
        let block = Block {
            header: executed.header.clone(),
            body,
        };
        let payload = Payload {
            block: block.encode().try_into().unwrap(),
            finalization: None,
        };
        self.archive.append_group(&[payload.encode()]).unwrap();
        let post = Post::new(executed);
        self.log.push(post.leaves()).unwrap();
        self.state.apply(post.effects().clone(), post.tip().time_ms);
        self.chain.states().finalize(std::slice::from_ref(&post));
        self.chain.publish_final(&[post]);
    }

    fn prove(&self) {
        let tip = self.chain.head().tip.clone();
        let provable = Provable {
            height: tip.height,
            time_ms: tip.time_ms,
            size: tip.log_size(),
            root: tip.log.root(),
            note: note(self.chain.founding(), &tip),
            tip,
        };
        let states = self.chain.states();
        let height = provable.height;
        let apply = || {
            for post in states.finals_up_to(height) {
                publisher::apply(states.index(), &post)?;
                states.settle(post.tip().height);
            }
            Ok::<_, crate::storage::Fatal>(())
        };
        self.chain.publish_provable(provable, apply).unwrap();
    }
}

fn note(founding: &Founding, tip: &ledger::tip::Tip) -> String {
    let origin = founding.genesis().origin();
    let text = Checkpoint {
        origin: origin.clone(),
        size: tip.log_size(),
        root: tip.log.root(),
    }
    .text();
    let log = testkit::key(0, Purpose::Log);
    let mut lines = vec![sign_log(&VerifierKey::log(&origin, log.key()), &log, &text)];
    for (at, member) in (0..AUTHORITIES).zip(founding.set().members()).take(3) {
        let key = testkit::key(at, Purpose::Cosigner);
        let by = VerifierKey::cosigner(&origin, &member.id, key.key());
        lines.push(cosign(&by, &key, clock::wall().0 / 1_000, &text));
    }
    Note::new(text, lines).encode()
}

/// An HTTP answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: Vec<u8>,
}

impl Answer {
    pub(super) fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    pub(super) fn json<T: serde::de::DeserializeOwned>(&self) -> T {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// Code of an error answer, or of the first refused submission.
    pub(super) fn code(&self) -> String {
        let value: serde_json::Value = self.json();
        let error = value
            .get("error")
            .or_else(|| value["results"][0].get("error"));
        let code = error.and_then(|error| error["code"].as_str());
        code.unwrap_or_else(|| panic!("{}", self.text())).to_owned()
    }
}

/// Sends one request and reads the whole answer.
pub(super) async fn send(to: SocketAddr, line: &str, body: &[u8]) -> Answer {
    let length = body.len();
    let head = format!(
        "{line} HTTP/1.1\r\nhost: node\r\nconnection: close\r\ncontent-length: {length}\r\n\r\n"
    );
    exchange(to, &[head.as_bytes(), body].concat()).await
}

/// Sends bytes, whatever they are, and reads until the end.
pub(super) async fn exchange(to: SocketAddr, bytes: &[u8]) -> Answer {
    let mut stream = TcpStream::connect(to).await.unwrap();
    let (mut reader, mut writer) = stream.split();
    let mut answer = Vec::new();
    let write = async {
        // The other side may answer and close before all is sent.
        writer.write_all(bytes).await.ok();
    };
    let ((), read) = tokio::join!(write, reader.read_to_end(&mut answer));
    read.unwrap();
    let end = answer.windows(4).position(|window| window == b"\r\n\r\n");
    let end = end.unwrap_or_else(|| panic!("no answer: {answer:?}"));
    let head = String::from_utf8_lossy(&answer[..end]).into_owned();
    Answer {
        status: head.split(' ').nth(1).unwrap().parse().unwrap(),
        body: answer.split_off(end + 4),
        head,
    }
}
