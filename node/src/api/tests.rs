//! Every route over a real socket: what is right, what is refused and how, what is bounded.

mod world;

use super::types::{Document, History, ReceiptResult, ReceiptsAnswer, Standing, SubmissionResults};
use crate::chain::NotTaken;
use crate::mempool::PoolError;
use crate::testkit;
use ledger::codec;
use ledger::document::DocumentId;
use ledger::genesis::Purpose;
use ledger::hash::{ChainId, Hash};
use ledger::id::{AuthorityIndex, LeafIndex, TimeMs};
use ledger::log::leaf_hash;
use ledger::receipt::{MaxAge, Online, Trust, verify_status};
use ledger::record::{Record, RevokeReason};
use ledger::submission::{Draft, Submission, SubmissionBody};
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt as _;
use world::{Answer, Behind, MAX_BODY, World, exchange, framed, send, window};

fn id(world: &World, authority: u16, number: u32) -> DocumentId {
    testkit::document(&world.founding, authority, number)
}

/// A draft of one registration, to be spoiled.
fn draft(world: &World, number: u32) -> Draft {
    let window = window();
    let one = testkit::register_in(&world.founding, 1, (number, 1), window);
    Draft {
        chain: world.founding.chain(),
        authority: AuthorityIndex(1),
        not_before_ms: window.0,
        not_after_ms: window.1,
        records: one.submission.records().to_vec(),
    }
}

fn signed(draft: Draft, by: (u16, Purpose)) -> Vec<u8> {
    let submission = Submission::sign(draft, &testkit::key(by.0, by.1)).unwrap();
    submission.encoded().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_submission_is_waited_for_and_then_shown_everywhere() {
    let world = World::new(Behind::Provable).await;
    let submission = world.registrations(1, (0, 3));
    let answer = world.submit(std::slice::from_ref(&submission)).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    let first: SubmissionResults = answer.json();
    let one = &first.results[0];
    assert_eq!(one.state, Standing::Provable);
    assert_eq!(
        (one.height, one.first_index, one.count, one.size),
        (Some(1), Some(0), Some(3), Some(4))
    );
    // Handed in again, it is the same one.
    let again: SubmissionResults = world.submit(&[submission]).await.json();
    assert_eq!(again, first);

    let document: Document = world
        .get(&format!("/v1/documents/{}", id(&world, 1, 2)))
        .await
        .json();
    assert_eq!(
        (document.registration, document.lifecycle.as_str()),
        (2, "in-force")
    );
    assert_eq!(document.issuer, "authority-01");
    assert_eq!(document.checkpoint.size, 4);

    let status: super::types::Status = world.get("/v1/status").await.json();
    assert_eq!(
        (status.height, status.log_size, status.provable_size),
        (1, 4, 4)
    );
    // Nobody has said yet whether this node votes.
    assert_eq!(status.standing, "starts");
    assert_eq!(status.disk.min_free_bytes, 7);
    assert!(status.disk.free_bytes > Some(0));
    let standing = "in quarantine, asks to rejoin: 1 others have answered";
    world
        .chain
        .update_status(|status| status.standing = standing.to_owned());
    let status: super::types::Status = world.get("/v1/status").await.json();
    assert_eq!(status.standing, standing);
    let block: super::types::BlockSummary = world.get("/v1/blocks/1").await.json();
    assert_eq!(block.submissions, std::slice::from_ref(&one.submission));
    let raw = world.get("/v1/blocks/1?raw").await;
    let payload = ledger::frame::Payload::decode(&raw.body).unwrap();
    let header = ledger::block::Block::decode(&payload.block).unwrap().header;
    assert_eq!(header.hash().to_string(), block.hash);
    let key = testkit::key(1, Purpose::Registrar).key();
    let info: super::types::KeyInfo = world.get(&format!("/v1/keys/{key}")).await.json();
    assert_eq!(
        (info.authority.as_str(), info.retired),
        ("authority-01", None)
    );
    let all: Vec<super::types::AuthorityInfo> = world.get("/v1/authorities").await.json();
    assert_eq!(all.len(), usize::from(world::AUTHORITIES));
    assert!(world.get("/").await.text().contains("/v1/submissions"));
    assert_eq!(world.get("/healthz").await.status, 200);
    assert_eq!(world.get("/readyz").await.status, 503);
    let metrics = world.get("/metrics").await.text();
    assert!(metrics.contains("nachweis_height 1"), "{metrics}");
    assert!(metrics.contains("nachweis_voting 0"), "{metrics}");
    assert!(metrics.contains("nachweis_disk_free_bytes "), "{metrics}");
    assert!(!metrics.contains("nachweis_disk_free_bytes 0"), "{metrics}");
    assert!(
        metrics.contains("nachweis_final_seconds_count 1"),
        "{metrics}"
    );
}

/// What is wrong, the bytes, and the status and code that they get.
type Case = (&'static str, Vec<u8>, u16, &'static str);

const REGISTRAR: (u16, Purpose) = (1, Purpose::Registrar);

/// Submissions whose bytes are not right.
fn spoiled_bytes(world: &World) -> Vec<Case> {
    let good = signed(draft(world, 1), REGISTRAR);
    let other = signed(draft(world, 2), REGISTRAR);
    let mut forged = good.clone();
    let at = forged.len() - 64;
    forged[at..].copy_from_slice(&other[other.len() - 64..]);
    let mut spare = good.clone();
    // The algorithm byte of the key.
    spare[34] = 9;
    let mut body: SubmissionBody = codec::decode(&good[..SubmissionBody::LEN], 1_000).unwrap();
    body.count = 10_001;
    let many = [&codec::encode(&body)[..], &good[SubmissionBody::LEN..]].concat();
    let trailing = [&good[..], &[0]].concat();
    vec![
        ("bad signature", forged, 422, "bad-signature"),
        ("10,001 records", many, 400, "record-count"),
        ("trailing byte", trailing, 400, "not-canonical"),
        ("unknown algorithm", spare, 400, "not-canonical"),
        ("nothing", Vec::new(), 400, "not-canonical"),
        ("cut short", good[..100].to_vec(), 400, "not-canonical"),
    ]
}

/// Well-formed submissions that say what they may not.
fn spoiled_claims(world: &World) -> Vec<Case> {
    let stranger = signed(draft(world, 1), (1, Purpose::Network));
    let foreign = signed(draft(world, 1), (2, Purpose::Registrar));
    let mut elsewhere = draft(world, 1);
    elsewhere.chain = ChainId(Hash([9; 32]));
    let elsewhere = signed(elsewhere, REGISTRAR);
    let mut late = draft(world, 1);
    (late.not_before_ms, late.not_after_ms) = (TimeMs(1), TimeMs(2));
    let late = signed(late, REGISTRAR);
    let mut early = draft(world, 1);
    early.not_before_ms = window().1;
    early.not_after_ms = early.not_before_ms;
    let early = signed(early, REGISTRAR);
    let mut unknown = draft(world, 1);
    unknown.records = vec![Record::Revoke {
        document: DocumentId([7; 16]),
        prev: LeafIndex(0),
        code: RevokeReason::CourtOrder,
    }];
    let unknown = signed(unknown, REGISTRAR);
    vec![
        ("unknown registrar", stranger, 403, "unknown-key"),
        ("another authority's registrar", foreign, 403, "foreign-key"),
        ("wrong chain", elsewhere, 400, "wrong-chain"),
        ("expired window", late, 422, "window-over"),
        ("window far off", early, 422, "window-too-early"),
        ("unknown document", unknown, 422, "unknown-document"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_of_bad_submission_has_its_status_and_code() {
    let world = World::new(Behind::Provable).await;
    let cases = [spoiled_bytes(&world), spoiled_claims(&world)].concat();
    for (what, bytes, status, code) in cases {
        let answer = world.submit(&[bytes]).await;
        let found = (answer.status, answer.code());
        assert_eq!(found, (status, code.to_owned()), "{what}: {answer:?}");
    }
    let metrics = world.get("/metrics").await.text();
    let counted = "nachweis_refusals_total{code=\"bad-signature\"} 1";
    assert!(metrics.contains(counted), "{metrics}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_neighbour_harms_nobody_and_the_largest_status_tells() {
    let world = World::new(Behind::Provable).await;
    let good = world.registrations(1, (0, 1));
    let answer = world.submit(&[good, vec![1, 2, 3]]).await;
    assert_eq!(answer.status, 400);
    let results: SubmissionResults = answer.json();
    assert_eq!(results.results[0].state, Standing::Provable);
    assert_eq!(results.results[1].state, Standing::Refused);
    assert_eq!(results.results[1].submission, "");
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_no_row_of_submissions_are_refused_as_a_whole() {
    let world = World::new(Behind::Provable).await;
    let good = framed(&[world.registrations(1, (0, 1))]);
    let mut long = good.clone();
    long[0] = long[0].wrapping_add(1);
    let mut short = good.clone();
    short[0] = short[0].wrapping_sub(1);
    let huge = [&u32::MAX.to_le_bytes()[..], &good[4..]].concat();
    for body in [vec![], vec![1, 0], long, short, huge] {
        let answer = world.post("/v1/submissions", &body).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (400, "malformed"),
            "{answer:?}"
        );
    }
    let answer = world.post("/v1/submissions?wait=for-ever", &good).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "malformed"));
    let answer = world.post("/v1/submissions?timeout_ms=60001", &good).await;
    assert_eq!((answer.status, answer.code().as_str()), (400, "malformed"));
    assert_eq!(world.chain.head().tip.height.0, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_over_the_limit_are_refused_unread() {
    let world = World::new(Behind::Provable).await;
    let hundred = 100 << 20;
    let head = format!(
        "POST /v1/submissions HTTP/1.1\r\nhost: n\r\nconnection: close\r\ncontent-length: {hundred}\r\n\r\n"
    );
    // Only the head is sent: the answer comes without the body.
    let started = Instant::now();
    let answer = exchange(world.address, head.as_bytes()).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "too-large"));
    assert!(answer.text().contains(&MAX_BODY.to_string()), "{answer:?}");
    assert!(started.elapsed() < Duration::from_secs(10));
    // Who sends it all the same still reads the answer.
    let whole = [head.as_bytes(), &vec![0; hundred][..]].concat();
    assert_eq!(exchange(world.address, &whole).await.status, 413);
    // Without an announced length it is refused when the limit is met.
    let chunk = format!("{:x}\r\n{}\r\n", MAX_BODY + 1, "0".repeat(MAX_BODY + 1));
    let chunked = format!(
        "POST /v1/submissions HTTP/1.1\r\nhost: n\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n{chunk}0\r\n\r\n"
    );
    let answer = exchange(world.address, chunked.as_bytes()).await;
    assert_eq!((answer.status, answer.code().as_str()), (413, "too-large"));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_pool_does_not_take_has_its_status() {
    let limit = 7;
    for (why, status, code) in [
        (NotTaken::Pool(PoolError::Full { limit }), 503, "pool-full"),
        (
            NotTaken::Pool(PoolError::AuthorityQuota {
                authority: AuthorityIndex(1),
                limit,
            }),
            429,
            "quota",
        ),
        (NotTaken::LowSpace { free: 1, needed: 2 }, 507, "disk-low"),
        (NotTaken::Stopping, 503, "stopping"),
    ] {
        let world = World::new(Behind::Refuses(why)).await;
        let answer = world.submit(&[world.registrations(1, (0, 1))]).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{answer:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn waiting_ends_where_it_was_asked_to() {
    let world = World::new(Behind::Silent).await;
    let body = framed(&[world.registrations(1, (0, 1))]);
    let state = async |path: &str, body: &[u8]| {
        let answer = world.post(path, body).await;
        let results: SubmissionResults = answer.json();
        (
            answer.status,
            results.results[0].state,
            results.results[0].height,
        )
    };
    let accepted = state("/v1/submissions?wait=accepted", &body).await;
    assert_eq!(accepted, (200, Standing::Accepted, None));
    let timeout = state("/v1/submissions?timeout_ms=50", &body).await;
    assert_eq!(timeout, (202, Standing::Timeout, None));
    // A stopping node sends away those who wait.
    let path = "/v1/submissions";
    let line = format!("POST {path}");
    let waits = send(world.address, &line, &body);
    // The two before left one notice.
    world.handed_in.notified().await;
    let stops = async {
        world.handed_in.notified().await;
        world.shutdown.cancel();
    };
    let (answer, ()) = tokio::join!(waits, stops);
    assert_eq!(answer.status, 202);
    world.served.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_never_ends_its_request_does_not_keep_a_node_from_stopping() {
    let world = World::new(Behind::Provable).await;
    let mut half = tokio::net::TcpStream::connect(world.address).await.unwrap();
    half.write_all(b"GET /v1/status HTTP/1.1\r\nhost:")
        .await
        .unwrap();
    assert_eq!(world.get("/healthz").await.status, 200);
    world.shutdown.cancel();
    let served = tokio::time::timeout(Duration::from_secs(30), world.served);
    served.await.unwrap().unwrap().unwrap();
    drop(half);
}

#[tokio::test(flavor = "multi_thread")]
async fn final_and_provable_are_two_things() {
    let world = World::new(Behind::Final).await;
    let body = framed(&[world.registrations(1, (0, 1))]);
    let answer = world.post("/v1/submissions?wait=final", &body).await;
    let results: SubmissionResults = answer.json();
    assert_eq!(
        (answer.status, results.results[0].state),
        (200, Standing::Final)
    );
    let answer = world.post("/v1/submissions?timeout_ms=50", &body).await;
    let results: SubmissionResults = answer.json();
    assert_eq!(
        (answer.status, results.results[0].state),
        (202, Standing::Timeout)
    );
    assert_eq!(results.results[0].height, Some(1));
    assert_eq!(world.get("/log/checkpoint").await.code(), "no-checkpoint");
    assert_eq!(world.get("/log/tile/0/000.p/1").await.status, 404);
    // Its state is shown, but not proved.
    let document = id(&world, 1, 0);
    assert_eq!(
        world.get(&format!("/v1/documents/{document}")).await.status,
        200
    );
    let history: History = world
        .get(&format!("/v1/documents/{document}/history"))
        .await
        .json();
    assert_eq!(history.records.len(), 1);
    let receipt = world
        .get(&format!("/v1/documents/{document}/receipt"))
        .await;
    assert_eq!(
        (receipt.status, receipt.code().as_str()),
        (503, "not-provable")
    );
}

/// Registers 300 documents of authority 1 and 5 of authority 2, supersedes the first by the second, and
/// revokes the third.
async fn registered(world: &World) -> Vec<DocumentId> {
    let ends = vec![
        Record::Supersede {
            document: id(world, 1, 0),
            prev: LeafIndex(0),
            successor: id(world, 1, 1),
        },
        Record::Revoke {
            document: id(world, 1, 2),
            prev: LeafIndex(2),
            code: RevokeReason::CourtOrder,
        },
    ];
    for submission in [
        world.registrations(1, (0, 300)),
        world.registrations(2, (0, 5)),
        world.submission(1, ends),
    ] {
        let answer = world.submit(&[submission]).await;
        assert_eq!(answer.status, 200, "{answer:?}");
    }
    let first = (0..300).map(|number| id(world, 1, number));
    first
        .chain((0..5).map(|number| id(world, 2, number)))
        .collect()
}

async fn receipts(world: &World, documents: &[String]) -> Answer {
    let body = serde_json::json!({ "documents": documents });
    world
        .post("/v1/receipts", body.to_string().as_bytes())
        .await
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_verify_for_every_document_and_name_what_became_of_it() {
    let world = World::new(Behind::Provable).await;
    let documents = registered(&world).await;
    let names: Vec<_> = documents.iter().map(ToString::to_string).collect();
    let answer: ReceiptsAnswer = receipts(&world, &names).await.json();
    assert_eq!(answer.receipts.len(), documents.len());
    let trust = Trust::new(world.founding.genesis().clone(), None, MaxAge::default());
    let trust = trust.unwrap().with_online(Online::Online);
    for (id, result) in documents.iter().zip(&answer.receipts) {
        let receipt = result
            .receipt
            .as_ref()
            .unwrap_or_else(|| panic!("{result:?}"));
        let verdict = verify_status(*id, receipt.as_bytes(), &trust, crate::clock::wall());
        let word = match () {
            () if *id == documents[0] => "SUPERSEDED",
            () if *id == documents[2] => "REVOKED",
            () => "LOCATOR KNOWN, BYTES NOT CHECKED",
        };
        assert_eq!(verdict.word(), word, "{id}: {verdict:?}");
    }
    // One alone is the same one.
    let one = world
        .get(&format!("/v1/documents/{}/receipt", documents[0]))
        .await;
    assert_eq!(Some(one.text()), answer.receipts[0].receipt);
}

#[tokio::test(flavor = "multi_thread")]
async fn history_and_state_tell_what_became_of_a_document() {
    let world = World::new(Behind::Provable).await;
    let documents = registered(&world).await;
    let path = format!("/v1/documents/{}/history", documents[0]);
    let history: History = world.get(&path).await.json();
    let records = history.records.iter().map(|entry| entry.record.as_str());
    assert_eq!(records.collect::<Vec<_>>(), ["register", "supersede"]);
    let successor = &history.records[1].detail["successor"];
    assert_eq!(*successor, documents[1].to_string());
    let path = format!("/v1/documents/{}", documents[2]);
    let document: Document = world.get(&path).await.json();
    assert_eq!(
        (document.lifecycle.as_str(), document.reason),
        ("revoked", Some(4))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn receipts_that_cannot_be_given_say_why() {
    let world = World::new(Behind::Provable).await;
    registered(&world).await;
    let asked = [DocumentId([3; 16]).to_string(), "NW-?".to_owned()];
    let answer: ReceiptsAnswer = receipts(&world, &asked).await.json();
    let code = |one: &ReceiptResult| one.error.as_ref().unwrap().code.clone();
    let codes: Vec<_> = answer.receipts.iter().map(code).collect();
    assert_eq!(codes, ["unknown-document", "malformed"]);
    let many = vec!["NW-".to_owned(); 1_001];
    assert_eq!(receipts(&world, &many).await.status, 400);
    assert_eq!(world.post("/v1/receipts", b"{}").await.status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn tiles_and_bundles_are_those_of_the_checkpoint() {
    let world = World::new(Behind::Provable).await;
    for (at, count) in [(0, 200), (200, 1), (201, 400)] {
        let taken = world.submit(&[world.registrations(1, (at, count))]).await;
        assert_eq!(taken.status, 200, "{taken:?}");
    }
    let note = world.get("/log/checkpoint").await;
    assert!(note.head.contains("text/plain; charset=utf-8"), "{note:?}");
    let size: u64 = note.text().lines().nth(1).unwrap().parse().unwrap();
    assert_eq!(size, 604);
    for (tile, width) in [("000", 256), ("001", 256), ("002.p/92", 92), ("000.p/7", 7)] {
        let hashes = world.get(&format!("/log/tile/0/{tile}")).await;
        assert!(hashes.head.contains("immutable"), "{hashes:?}");
        let bundle = world.get(&format!("/log/tile/entries/{tile}")).await;
        assert_eq!((hashes.status, bundle.status), (200, 200), "{bundle:?}");
        let mut rest = &bundle.body[..];
        let mut found = Vec::new();
        while let Some((length, behind)) = rest.split_first_chunk::<2>() {
            let (leaf, behind) = behind.split_at(usize::from(u16::from_be_bytes(*length)));
            found.extend(leaf_hash(leaf).0);
            rest = behind;
        }
        assert_eq!(found.len(), width * 32);
        assert_eq!(found, hashes.body);
    }
    assert_eq!(world.get("/log/tile/1/000.p/2").await.body.len(), 64);
    for path in [
        "0/002",
        "0/002.p/93",
        "0/003.p/1",
        "1/000.p/3",
        "8/000.p/1",
        "63/000.p/1",
    ] {
        assert_eq!(
            world.get(&format!("/log/tile/{path}")).await.code(),
            "no-tile",
            "{path}"
        );
    }
    for path in [
        "0/0",
        "0/000.p/0",
        "0/000.p/256",
        "64/000",
        "00/000",
        "x/000",
        "entries/x1",
    ] {
        assert_eq!(
            world.get(&format!("/log/tile/{path}")).await.code(),
            "malformed",
            "{path}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_said_in_json() {
    let world = World::new(Behind::Provable).await;
    let unknown = DocumentId([3; 16]);
    for (path, status, code) in [
        (format!("/v1/documents/{unknown}"), 404, "unknown-document"),
        (
            format!("/v1/documents/{unknown}/history"),
            404,
            "unknown-document",
        ),
        ("/v1/documents/NW-1".to_owned(), 400, "malformed"),
        (format!("/v1/keys/{}", "0".repeat(64)), 404, "unknown-key"),
        ("/v1/keys/xyz".to_owned(), 400, "malformed"),
        ("/v1/keys/%ff".to_owned(), 400, "malformed"),
        ("/v1/blocks/1".to_owned(), 404, "unknown-block"),
        ("/v1/restarts/1".to_owned(), 404, "unknown-restart"),
        ("/v1/restarts/x".to_owned(), 400, "malformed"),
        ("/v1/blocks/-1".to_owned(), 400, "malformed"),
        (
            "/v1/blocks/99999999999999999999".to_owned(),
            400,
            "malformed",
        ),
        ("/v1/nothing".to_owned(), 404, "no-route"),
        ("/v1/submissions".to_owned(), 405, "no-method"),
    ] {
        let answer = world.get(&path).await;
        assert_eq!(
            (answer.status, answer.code().as_str()),
            (status, code),
            "{path}"
        );
    }
    let garbage = exchange(world.address, b"\x16\x03\x01 no http\r\n\r\n").await;
    assert_eq!(garbage.status, 400);
    let long = format!("GET /{} HTTP/1.1\r\nhost: n\r\n\r\n", "a".repeat(1 << 20));
    let refused = exchange(world.address, long.as_bytes()).await;
    assert!([414, 431].contains(&refused.status), "{}", refused.status);
}

#[tokio::test(flavor = "multi_thread")]
async fn more_requests_than_allowed_are_told_to_come_back_and_a_client_that_leaves_frees_its_place()
{
    let world = World::with_requests(Behind::Silent, 1).await;
    let body = framed(&[world.registrations(1, (0, 1))]);
    let line = "POST /v1/submissions";
    let mut waiting = Box::pin(send(world.address, line, &body));
    tokio::select! {
        () = world.handed_in.notified() => {}
        answer = &mut waiting => panic!("{answer:?}"),
    }
    let busy = world.get("/v1/authorities").await;
    assert_eq!(busy.status, 503);
    assert_eq!(busy.code(), "busy");
    assert!(busy.head.to_lowercase().contains("retry-after"), "{busy:?}");
    assert_eq!(world.get("/v1/status").await.status, 200);
    drop(waiting);
    let free = async { while world.get("/v1/authorities").await.status != 200 {} };
    tokio::time::timeout(Duration::from_secs(30), free)
        .await
        .unwrap();
}
