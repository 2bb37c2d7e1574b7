//! Damage around a restart, where no certificate leads to the last blocks before it, and damage that nobody can repair.

use super::*;
use crate::driver::serve;
use crate::storage::archive::Archive;
use crate::storage::restarts::Restarts;
use crate::testkit::blocks::Blocks;
use consensus::EpochInfo;
use ledger::frame::{HEADER_LEN, segment_name};
use std::path::Path;

/// The block that the chain was restarted on; it and the one below have no certificate.
const ANCHOR: u64 = 5;

/// A chain of nine blocks across a restart.
fn chain() -> (Blocks, Restarts) {
    let mut chain = Blocks::new();
    chain.grow_final(3);
    chain.grow();
    chain.grow();
    let file = chain.restart_by(&[0, 1, 2]);
    let restart = chain.checked(&file);
    let mut restarts = Restarts::default();
    restarts.add(file.clone(), restart);
    chain.go_on_by(&file);
    chain.grow_final(4);
    (chain, restarts)
}

/// An archive of it, three blocks or so in each segment.
fn archived(chain: &Blocks, dir: &Path) -> Archive {
    let mut archive = Archive::open_with(dir, chain.founding.chain(), 2_000).unwrap();
    for (block, finalization) in &chain.frames {
        let payload = archivist::payload(block, finalization.clone()).unwrap();
        archive.append_group(&[payload]).unwrap();
    }
    archive
}

/// A peer that answers as a validator does, from its own archive.
#[derive(Debug)]
struct Server {
    archive: Reader,
    desk: Desk,
    disconnected: Arc<Mutex<Vec<Peer>>>,
    /// What it changes in the blocks that it gives.
    manner: Manner,
}

#[derive(Clone, Copy, Debug)]
enum Manner {
    Honest,
    OtherBlock,
}

impl Server {
    fn frames(&self, from: Height) -> impl Iterator<Item = (Block, Option<Certificate>)> {
        let payloads = self.archive.iter(from).map_while(Result::ok);
        payloads.map(|(_, payload)| serve::decode(payload).unwrap())
    }
}

impl Mesh for Server {
    fn send(&self, to: &Peer, bytes: Arc<[u8]>) {
        if gossip::Message::is_gossip(bytes[0]) {
            let Ok(gossip::Message::RangeReq(request)) = gossip::Message::decode(&bytes) else {
                panic!("a repair only asks for blocks");
            };
            let Some(mut range) = Range::collect(request.count, self.frames(request.from)) else {
                return;
            };
            if let Manner::OtherBlock = self.manner {
                let mut blocks = range.blocks.into_vec();
                blocks[0].header.time_ms.0 += 1;
                range.blocks = blocks.try_into().unwrap();
            }
            assert!(self.desk.take_range(to, range).is_none());
        } else {
            let Ok(Message::SyncReq(request)) = Message::decode(&bytes) else {
                panic!("a repair only asks for blocks");
            };
            if let Some(answer) = SyncResp::collect(&request, self.frames(request.from)) {
                assert!(self.desk.take(to, answer).is_none());
            }
        }
    }

    fn broadcast(&self, _bytes: Arc<[u8]>) {}

    fn inform(&self, _bytes: Arc<[u8]>) {}

    fn disconnect(&self, peer: &Peer, _why: &'static str) {
        self.disconnected.lock().unwrap().push(*peer);
    }
}

fn repair(own: &Archive, chain: &Blocks, restarts: Restarts, server: Server) -> Repair {
    let desk = server.desk.clone();
    let peer = Peer(crate::testkit::key(1, ledger::genesis::Purpose::Network).key());
    Repair {
        archive: own.reader(),
        repairer: own.repairer(),
        calendar: Calendar {
            founding: chain.founding.clone(),
            restarts: Arc::new(restarts),
            known: Arc::new([EpochInfo::new(crate::epochs::spec(
                &chain.founding,
                &chain.founding.epoch(),
                consensus::Tip {
                    block: chain.founding.tip().block_ref(),
                    time_ms: chain.founding.tip().time_ms,
                    flags: ledger::header::Flags::NONE,
                },
            ))]),
        },
        mesh: Arc::new(server),
        question: Question::Sync,
        connected: Arc::new(move || vec![peer]),
        desk,
    }
}

fn server(archive: &Archive, manner: Manner) -> Server {
    Server {
        archive: archive.reader(),
        desk: Desk::default(),
        disconnected: Arc::default(),
        manner,
    }
}

fn damaged(reader: &Reader) -> Vec<u64> {
    let holes = reader.holes();
    let heights = holes.iter().flat_map(|hole| hole.first.0..=hole.last.0);
    heights.collect()
}

fn bytes(reader: &Reader) -> Vec<Option<Vec<u8>>> {
    let payloads = (1..10).map(|height| reader.read(Height(height)).ok().flatten());
    payloads
        .map(|payload| Some(payload?.block.into_vec()))
        .collect()
}

#[tokio::test]
async fn the_blocks_before_a_restart_are_repaired_without_a_certificate() {
    let (chain, restarts) = chain();
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (own, whole) = (
        archived(&chain, dirs[0].path()),
        archived(&chain, dirs[1].path()),
    );
    let right = bytes(&whole.reader());
    // The anchor alone, the one below alone, both, and with what is behind them.
    for heights in [&[5][..], &[4], &[4, 5], &[3, 4, 5, 6], &[5, 6, 7]] {
        for height in heights {
            own.reader().condemn(Height(*height)).unwrap();
        }
        let repair = repair(
            &own,
            &chain,
            restarts.clone(),
            server(&whole, Manner::Honest),
        );
        tokio::time::timeout(Duration::from_secs(20), repair.finish())
            .await
            .unwrap_or_else(|_| panic!("{heights:?} were not repaired"));
        assert_eq!(bytes(&own.reader()), right, "{heights:?}");
        assert_eq!(repair.desk.liars(), 0);
    }
    drop(own);
    let own = Archive::open_with(dirs[0].path(), chain.founding.chain(), 2_000).unwrap();
    assert_eq!(bytes(&own.reader()), right);
}

#[tokio::test]
async fn a_false_end_before_a_restart_is_not_believed() {
    let (chain, restarts) = chain();
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (own, whole) = (
        archived(&chain, dirs[0].path()),
        archived(&chain, dirs[1].path()),
    );
    own.reader().condemn(Height(ANCHOR)).unwrap();
    let lying = repair(
        &own,
        &chain,
        restarts.clone(),
        server(&whole, Manner::OtherBlock),
    );
    assert_eq!(lying.pass(None).await, Pass::Nothing);
    assert_eq!(damaged(&own.reader()), [ANCHOR]);
    // Without the file only the own block above says what the anchor was; without that, nothing does.
    own.reader().condemn(Height(ANCHOR + 1)).unwrap();
    let answer = || {
        let frames = server(&whole, Manner::Honest);
        Answer::from(Range::collect(1, frames.frames(Height(ANCHOR))).unwrap())
    };
    let wanted = |above| Wanted {
        first: Height(ANCHOR),
        last: Height(ANCHOR),
        below: None,
        above,
    };
    let hash = chain.frames[5].0.header.parent;
    let none = Restarts::default();
    let blocks = |above, restarts: &Restarts| {
        check::blocks(answer(), &wanted(above), &[], restarts).map(|blocks| blocks.len())
    };
    assert!(matches!(blocks(None, &none), Err(Bad::Uncertified)));
    assert_eq!(blocks(Some(hash), &none).unwrap(), 1);
    assert_eq!(blocks(None, &restarts).unwrap(), 1);
}

#[tokio::test]
async fn what_nobody_has_keeps_nothing_else_from_being_repaired() {
    let (chain, restarts) = chain();
    let dirs = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let (own, other) = (
        archived(&chain, dirs[0].path()),
        archived(&chain, dirs[1].path()),
    );
    let right = bytes(&other.reader());
    // Really damaged: of the first segment the first block, which the other has lost too, and the second.
    let path = dirs[0].path().join(segment_name(1));
    let second = own.reader().read_encoded(Height(1)).unwrap().unwrap().len() + HEADER_LEN + 44;
    for at in [HEADER_LEN + 60, second + 60] {
        let byte = std::fs::read(&path).unwrap()[at] ^ 4;
        crate::storage::files::overwrite(&path, &[byte], at as u64).unwrap();
    }
    other.reader().condemn(Height(1)).unwrap();
    own.reader().condemn_all();
    assert_eq!(damaged(&own.reader()), [1, 2]);
    let repair = repair(&own, &chain, restarts, server(&other, Manner::Honest));
    let all = tokio::time::timeout(Duration::from_secs(20), repair.bring(Height(2)));
    all.await.unwrap();
    assert_eq!(damaged(&own.reader()), [1]);
    assert_eq!(repair.desk.repaired(), 1);
    drop((repair, own));
    // The damaged bytes stand where they stood, and the next start finds the same.
    let own = Archive::open_with(dirs[0].path(), chain.founding.chain(), 2_000).unwrap();
    own.reader().condemn_all();
    assert_eq!(damaged(&own.reader()), [1]);
    assert_eq!(bytes(&own.reader())[1..], right[1..]);
}
