//! What may wait between the network and an engine that is busy.

use super::*;
use crate::chain::Parts;
use crate::network::{self, Inbound};
use crate::testkit;
use consensus::Block;
use ledger::genesis::Purpose;
use std::time::Duration;

#[derive(Debug)]
struct Nobody;

impl Mesh for Nobody {
    fn send(&self, _to: &Peer, _bytes: Arc<[u8]>) {}
    fn broadcast(&self, _bytes: Arc<[u8]>) {}
    fn inform(&self, _bytes: Arc<[u8]>) {}
    fn disconnect(&self, _peer: &Peer, why: &'static str) {
        panic!("{why}");
    }
}

fn ingress(dir: &std::path::Path, tasks: &mut JoinSet<()>) -> (Ingress, Port) {
    let founding = testkit::founding(4);
    let (_, recovered) = testkit::recovered(&founding, dir);
    let (chain, _submissions) = Chain::new(Parts {
        founding,
        states: recovered.states,
        head: recovered.head,
        provable: None,
        archive: recovered.archive.reader(),
        log: recovered.log.reader(),
        restarts: recovered.restarts,
    });
    let (gossip, _) = mpsc::channel(1);
    let (cosigner, _) = mpsc::channel(1);
    open(chain, Arc::new(Nobody), gossip, cosigner, tasks)
}

/// A message of 4 MiB that decodes.
fn large() -> Vec<u8> {
    let mut blocks = testkit::blocks::Blocks::new();
    blocks.grow();
    let header = blocks.header();
    let body = vec![0; 4 << 20].into();
    Message::Block(Block { header, body }).encode()
}

#[tokio::test]
async fn room_is_given_back_when_the_engine_has_the_message_and_not_before() {
    const SOON: Duration = Duration::from_secs(10);
    const NEVER: Duration = Duration::from_millis(200);
    let dir = tempfile::tempdir().unwrap();
    let mut tasks = JoinSet::new();
    let (ingress, mut port) = ingress(dir.path(), &mut tasks);
    let (inbox, receivers) = network::channels();
    read(&ingress, receivers, &mut tasks);
    let budgets: Vec<_> = network::budgets(3).collect();
    let [flooder, honest] = [1, 2].map(|at| Peer(testkit::key(at, Purpose::Network).key()));
    let bytes = large();
    let put = async |at: usize, from, lane: network::Lane, bytes: Vec<u8>, patience| {
        let reserved = budgets[at].reserve(lane, bytes.len());
        let Ok(reserved) = tokio::time::timeout(patience, reserved).await else {
            return false;
        };
        let inbound = Inbound::Frame { from, lane, bytes };
        inbox.frame(lane, inbound, reserved.unwrap()).await.unwrap();
        true
    };
    let bulk = network::Lane::Bulk;
    // A third of 32 MiB holds two. Both are decoded, and wait for an engine that does nothing.
    assert!(put(0, flooder, bulk, bytes.clone(), SOON).await);
    assert!(put(0, flooder, bulk, bytes.clone(), SOON).await);
    let mut taken = Vec::new();
    while taken.len() < 2 {
        let next = tokio::time::timeout(SOON, port.inputs.recv()).await;
        taken.push(next.unwrap().unwrap());
    }
    assert!(matches!(&taken[0], Input::Decoded(from, ..) if *from == flooder));
    assert!(!put(0, flooder, bulk, bytes.clone(), NEVER).await);
    // Neither the other lane nor another peer waits for that.
    let hello = Message::Fetch(testkit::blocks::Blocks::new().anchor()).encode();
    assert!(put(0, flooder, network::Lane::Consensus, hello, SOON).await);
    assert!(put(1, honest, bulk, bytes.clone(), SOON).await);
    taken.pop();
    assert!(put(0, flooder, bulk, bytes, SOON).await);
}
