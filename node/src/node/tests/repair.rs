//! Damaged archives: what peers send is believed only if it is the finalized chain.

use super::*;
use crate::driver::serve;
use crate::repair::calendar::Calendar;
use crate::repair::{Desk, Question, Repair, check};
use crate::storage::archive::{ReadError, Reader};
use crate::storage::restarts::Restarts;
use consensus::Message;
use consensus::message::{SyncReq, SyncResp};
use ledger::frame::{HEADER_LEN, segment_name};
use std::path::PathBuf;

/// What a peer does with a request for blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Manner {
    Honest,
    OtherBody,
    OtherHeights,
    ForgedCertificate,
    Unlinked,
}

/// Peers that answer at once.
#[derive(Debug)]
struct Peers {
    archive: Reader,
    manners: Vec<(Peer, Manner)>,
    desk: Desk,
    disconnected: Arc<Mutex<Vec<Peer>>>,
}

impl Peers {
    fn answer(&self, manner: Manner, request: &SyncReq) -> SyncResp {
        let from = request.from.0;
        let frames = (from..from + 100)
            .map_while(|height| serve::decode(self.archive.read(Height(height)).unwrap()?).ok());
        let mut answer = SyncResp::collect(request, frames).unwrap();
        let mut blocks = answer.blocks.clone().into_vec();
        match manner {
            Manner::Honest => {}
            Manner::OtherBody => {
                let mut body = blocks[0].body.to_vec();
                *body.last_mut().unwrap() ^= 1;
                blocks[0].body = body.into();
            }
            Manner::OtherHeights => blocks[0].header.height = request.from.saturating_add(1),
            Manner::Unlinked => blocks[0].header.time_ms.0 += 1,
            Manner::ForgedCertificate => {
                let mut bytes = ledger::codec::encode(&answer.certificate);
                *bytes.last_mut().unwrap() ^= 1;
                answer.certificate = ledger::codec::decode(&bytes, bytes.len()).unwrap();
            }
        }
        answer.blocks = blocks.try_into().unwrap();
        answer
    }
}

impl Mesh for Peers {
    fn send(&self, to: &Peer, bytes: Arc<[u8]>) {
        let Ok(Message::SyncReq(request)) = Message::decode(&bytes) else {
            panic!("a repair only asks for blocks");
        };
        let (_, manner) = self.manners.iter().find(|(peer, _)| peer == to).unwrap();
        let answer = self.answer(*manner, &request);
        let taken = self.desk.take(to, answer);
        // A wrong height is not even an answer to what was asked.
        assert_eq!(taken.is_some(), *manner == Manner::OtherHeights);
    }

    fn broadcast(&self, _bytes: Arc<[u8]>) {}

    fn inform(&self, _bytes: Arc<[u8]>) {}

    fn disconnect(&self, peer: &Peer, _why: &'static str) {
        self.disconnected.lock().unwrap().push(*peer);
    }
}

/// Flips a bit in its place: the file may be in use.
fn flip(path: &Path, at: usize) {
    let bytes = std::fs::read(path).unwrap();
    crate::storage::files::overwrite(path, &[bytes[at] ^ 8], at as u64).unwrap();
}

impl Network {
    fn segment(&self, at: u16, number: u64) -> PathBuf {
        let archive = self.dirs[usize::from(at)].path().join("data/archive");
        archive.join(segment_name(number))
    }

    async fn with_blocks(count: u32) -> Self {
        let network = Self::start().await;
        let mut last = Height(0);
        for number in 0..count {
            last = network
                .submit(0, network.register(0, (2 * number, 2)))
                .await
                .height;
        }
        network.provable(last).await;
        network
    }
}

fn blocks(reader: &Reader) -> Vec<Vec<u8>> {
    let payloads = reader.iter(Height(1)).map(|block| block.unwrap().1);
    payloads.map(|payload| payload.block.into_vec()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn liars_are_passed_over_and_every_kind_of_damage_is_repaired() {
    let mut network = Network::with_blocks(12).await;
    for at in 0..NODES {
        network.stop(at).await;
    }
    let config = |at: u16| config(network.dirs[usize::from(at)].path());
    let (data, whole) = recovery::open_damaged(&config(1), &network.founding).unwrap();
    let last = whole.reader().parts().last().unwrap().number;
    assert!(last > 6, "{last} segments are too few");
    // A payload, a frame's header, a segment's header, a whole segment, and the last one.
    flip(&network.segment(0, 1), HEADER_LEN + 200);
    flip(&network.segment(0, 2), HEADER_LEN + 20);
    flip(&network.segment(0, 3), 60);
    std::fs::write(network.segment(0, 4), [7; 700]).unwrap();
    flip(&network.segment(0, last), 50);
    let damaged = std::fs::read(network.segment(0, 2)).unwrap();
    let (locked, archive) = recovery::open_damaged(&config(0), &network.founding).unwrap();
    let reader = archive.reader();
    reader.condemn_all();
    let found: Vec<u64> = reader.holes().iter().map(|hole| hole.segment).collect();
    assert_eq!(found, [1, 2, 3, 4, last]);
    assert!(matches!(
        reader.read(Height(1)),
        Err(ReadError::Damaged(damaged)) if damaged.segment == 1 && damaged.height == Height(1)
    ));

    let peer = |byte: u8| Peer(ledger::key::Key::from_bytes([byte; 32]));
    let manners = [
        Manner::OtherBody,
        Manner::ForgedCertificate,
        Manner::Unlinked,
        Manner::OtherHeights,
        Manner::Honest,
    ];
    let manners: Vec<_> = (1..).map(peer).zip(manners).collect();
    let all: Vec<Peer> = manners.iter().map(|(peer, _)| *peer).collect();
    let disconnected = Arc::new(Mutex::new(Vec::new()));
    let desk = Desk::default();
    let repair = Repair {
        archive: reader.clone(),
        repairer: archive.repairer(),
        calendar: Calendar {
            founding: network.founding.clone(),
            restarts: Arc::new(Restarts::default()),
            known: Arc::new([check::first_epoch(&network.founding)]),
        },
        mesh: Arc::new(Peers {
            archive: whole.reader(),
            manners,
            desk: desk.clone(),
            disconnected: Arc::clone(&disconnected),
        }),
        question: Question::Sync,
        connected: Arc::new(move || all.clone()),
        desk: desk.clone(),
    };
    patiently(repair.finish()).await;
    assert_eq!(reader.holes(), []);
    assert_eq!(blocks(&reader), blocks(&whole.reader()));
    assert_eq!(*disconnected.lock().unwrap(), [peer(1), peer(2), peer(3)]);
    assert_eq!(desk.liars(), 3);
    let kept = format!("{}.damaged-1", network.segment(0, 2).display());
    assert_eq!(std::fs::read(kept).unwrap(), damaged);
    drop((repair, archive, reader, whole, locked, data));

    for at in 0..NODES {
        network.run(at).await;
    }
    let next = network.submit(0, network.register(2, (0, 1))).await.height;
    network.provable(next).await;
    network.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_scrub_of_a_running_node_finds_and_repairs_damage_unasked() {
    let network = Network::with_blocks(8).await;
    let chain = network.chain(3);
    let right = blocks(&network.chain(0).archive());
    let last = chain.archive().parts().last().unwrap().number;
    // In a sealed segment, and in the one that is being written.
    flip(&network.segment(3, 2), HEADER_LEN + 150);
    flip(&network.segment(3, last), HEADER_LEN + 150);
    let level = network.dirs[3].path().join("data/log/level-0");
    flip(&level, 40);
    let whole = async {
        while chain.repairs().repaired() < 2 || chain.scrub().mended() < 1 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    patiently(whole).await;
    assert_eq!(chain.archive().holes(), []);
    assert_eq!(blocks(&chain.archive()), right);
    let hashes = |at| network.chain(at).log().hashes(0, 0, 8).unwrap();
    assert_eq!(hashes(3), hashes(0));
    // It goes on in the segment that was replaced.
    let next = network.submit(3, network.register(3, (0, 1))).await.height;
    network.provable(next).await;
    assert!(chain.archive().read(next).unwrap().is_some());
    network.end().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_end_that_was_archived_is_kept_aside_and_fetched_again() {
    let mut network = Network::with_blocks(6).await;
    let right = blocks(&network.chain(0).archive());
    network.stop(3).await;
    let archive = network.dirs[3].path().join("data/archive");
    let last = crate::storage::files::list(&archive)
        .unwrap()
        .pop()
        .unwrap();
    let path = archive.join(&last);
    let length = std::fs::metadata(&path).unwrap().len();
    flip(&path, usize::try_from(length).unwrap() - 30);
    network.run(3).await;
    let alarm = network.chain(3).status().alarm.unwrap_or_default();
    assert!(alarm.starts_with("damage: archive segment "), "{alarm}");
    network
        .provable(Height(u64::try_from(right.len()).unwrap()))
        .await;
    assert_eq!(blocks(&network.chain(3).archive()), right);
    let names = crate::storage::files::list(&archive).unwrap();
    let aside = |name: &String| name.starts_with(&last) && name.ends_with(".damaged-1");
    assert!(names.iter().any(aside), "{names:?}");
    network.end().await;
}
