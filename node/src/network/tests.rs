//! Meshes over real sockets on loopback.

use super::raw::{RawError, RawPeer};
use super::*;
use crate::clock;
use crate::testkit;
use ledger::genesis::Purpose;
use ledger::id::{AuthorityIndex, TimeMs};
use ledger::observer::Permission;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;

/// How long anything may take that is waited for.
const SOON: Duration = Duration::from_secs(20);
/// Any kind, with the lanes' own limits.
const ANY: FrameLimits = FrameLimits(|lane, _kind| match lane {
    Lane::Consensus => Some(CONSENSUS_MAX),
    Lane::Bulk => Some(8 << 20),
});

/// An address of this process and this call alone, so that no port must be looked for.
fn address() -> String {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, Ordering::Relaxed).to_be_bytes();
    let process = std::process::id() % (250 * 250);
    let (a, b) = (1 + process / 250, process % 250);
    format!("/ip4/127.{a}.{b}.{}/tcp/{}", low, 7_447 + u16::from(high))
}

fn key(name: &str) -> KeyFile {
    KeyFile::generate(Purpose::Network, AuthorityId::new(name).unwrap()).unwrap()
}

fn peer(key: &KeyFile) -> Peer {
    Peer(key.key())
}

fn listen_of(settings: &Settings) -> Option<&str> {
    match &settings.role {
        Role::Member { listen, .. } => Some(listen),
        Role::Observer(_) => None,
    }
}

fn listen_at(settings: &mut Settings, address: &str) {
    if let Role::Member { listen, .. } = &mut settings.role {
        address.clone_into(listen);
    }
}

fn member(key: &KeyFile, address: &str) -> MemberAddress {
    MemberAddress {
        peer: peer(key),
        authority: key.authority().clone(),
        addresses: vec![address.into()],
    }
}

/// Keys and addresses of a mesh to be.
struct Plan {
    keys: Vec<KeyFile>,
    members: Vec<MemberAddress>,
}

/// A running node.
struct Node {
    peer: Peer,
    handle: Handle,
    receivers: Receivers,
}

impl Plan {
    fn new(n: usize) -> Self {
        let mut keys: Vec<_> = (0..n).map(|i| key(&format!("node-{i}"))).collect();
        keys.sort_by_key(|key| transport::peer_id(&peer(key)));
        let members = keys.iter().map(|key| member(key, &address())).collect();
        Self { keys, members }
    }

    fn address(&self, i: usize) -> &str {
        &self.members[i].addresses[0]
    }

    fn settings(&self, i: usize) -> Settings {
        Settings {
            role: Role::Member {
                listen: self.address(i).into(),
                observers: None,
            },
            members: self.members.clone(),
            key: self.keys[i].clone(),
        }
    }

    async fn start(&self, i: usize) -> Node {
        let (handle, receivers) = start(self.settings(i), ANY).await.unwrap();
        Node {
            peer: peer(&self.keys[i]),
            handle,
            receivers,
        }
    }

    /// All but the last `absent` nodes, each connected to all others.
    async fn start_all_but(&self, absent: usize) -> Vec<Node> {
        let mut nodes = Vec::new();
        let present = self.keys.len() - absent;
        for i in 0..present {
            nodes.push(self.start(i).await);
        }
        for node in &mut nodes {
            for _ in 1..present {
                assert!(matches!(node.notice().await, Inbound::Up(_)));
            }
        }
        nodes
    }

    async fn raw(&self, i: usize, to: usize) -> Result<RawPeer, RawError> {
        RawPeer::connect(&self.keys[i], &self.members[to].peer, self.address(to)).await
    }
}

impl Node {
    /// Drops the node without a word; returns when its task has ended.
    async fn kill(self) {
        drop(self.handle);
        let mut receiver = self.receivers.consensus;
        while timeout(SOON, receiver.recv())
            .await
            .expect("soon")
            .is_some()
        {}
    }

    /// The next on the consensus lane but round trips.
    async fn notice(&mut self) -> Inbound {
        loop {
            let next = timeout(SOON, self.receivers.consensus.recv()).await;
            match next.expect("soon").expect("the mesh runs") {
                Inbound::RoundTrip { .. } => {}
                inbound => return inbound,
            }
        }
    }

    async fn bulk(&mut self) -> (Peer, Vec<u8>) {
        let next = timeout(SOON, self.receivers.bulk.recv()).await;
        frame(next.expect("soon").expect("the mesh runs"))
    }

    /// The counters once they are so: a connection is closed a moment before that is counted.
    async fn once(&self, so: impl Fn(&Counters) -> bool) -> Counters {
        let look = async {
            loop {
                let counters = self.handle.counters();
                if so(&counters) {
                    break counters;
                }
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(SOON, look).await.expect("it is counted soon")
    }

    fn counters(&self, of: &Peer) -> PeerCounters {
        self.handle.counters().peers[of].clone()
    }
}

fn frame(inbound: Inbound) -> (Peer, Vec<u8>) {
    match inbound {
        Inbound::Frame { from, bytes, .. } => (from, bytes),
        other => panic!("no frame: {other:?}"),
    }
}

fn numbered(i: u32, len: usize) -> Arc<[u8]> {
    let mut bytes = vec![7; len];
    bytes[1..5].copy_from_slice(&i.to_le_bytes());
    bytes.into()
}

fn number(bytes: &[u8]) -> u32 {
    u32::from_le_bytes(bytes[1..5].try_into().unwrap())
}

/// Sends a frame and waits until it is there.
async fn passes(from: &Node, to: &mut Node) {
    assert_eq!(
        from.handle
            .send(&to.peer, Lane::Consensus, numbered(9, 200)),
        Sent::Queued
    );
    let got = frame(to.notice().await);
    assert_eq!((got.0, number(&got.1)), (from.peer, 9));
}

/// Lets the last member connect to the first node: what happened there before was counted then.
async fn member_connects(plan: &Plan, first: &mut Node) {
    let last = plan.members.len() - 1;
    let raw = plan.raw(last, 0).await.unwrap();
    let it = plan.members[last].peer;
    assert_eq!(first.notice().await, Inbound::Up(it));
    drop(raw);
    assert_eq!(first.notice().await, Inbound::Down(it));
}

#[tokio::test(flavor = "multi_thread")]
async fn four_nodes_exchange_frames_on_both_lanes_in_order() {
    let plan = Plan::new(4);
    let mut nodes = plan.start_all_but(0).await;
    for node in &nodes {
        assert_eq!(node.handle.connected().len(), 3);
        for i in 0..200 {
            assert_eq!(node.handle.broadcast(Lane::Consensus, numbered(i, 200)), 3);
            let sent = node.handle.broadcast(Lane::Bulk, numbered(i, 40_000));
            assert_eq!(sent, 3, "frame {i}");
        }
    }
    for node in &mut nodes {
        let mut small = std::collections::BTreeMap::<Peer, u32>::new();
        let mut large = small.clone();
        for _ in 0..600 {
            let (from, bytes) = frame(node.notice().await);
            let next = small.entry(from).or_default();
            assert_eq!((number(&bytes), bytes.len()), (*next, 200));
            *next += 1;
            let (from, bytes) = node.bulk().await;
            let next = large.entry(from).or_default();
            assert_eq!((number(&bytes), bytes.len()), (*next, 40_000));
            *next += 1;
        }
        assert!(small.len() == 3 && small.values().all(|n| *n == 200));
        assert!(large.len() == 3 && large.values().all(|n| *n == 200));
    }
    let counters = nodes[0].counters(&nodes[1].peer);
    assert_eq!(
        (counters.consensus.frames_out, counters.bulk.frames_in),
        (200, 200)
    );
    assert_eq!((counters.ups, counters.bulk.dropped), (1, 0));
}

/// Restarts node `i` of a mesh and returns how long it took until all were connected again.
async fn restart(i: usize) -> Duration {
    let plan = Plan::new(4);
    let mut nodes = plan.start_all_but(0).await;
    nodes.remove(i).kill().await;
    for node in &mut nodes {
        assert_eq!(node.notice().await, Inbound::Down(plan.members[i].peer));
        assert_eq!(node.handle.connected().len(), 2);
        let sent = node
            .handle
            .send(&plan.members[i].peer, Lane::Bulk, numbered(0, 9));
        assert_eq!(sent, Sent::NotConnected);
    }
    let since = Instant::now();
    let mut back = plan.start(i).await;
    for node in &mut nodes {
        assert_eq!(node.notice().await, Inbound::Up(back.peer));
        assert!(matches!(back.notice().await, Inbound::Up(_)));
    }
    let took = since.elapsed();
    for node in &mut nodes {
        passes(&back, node).await;
        passes(node, &mut back).await;
    }
    took
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_node_that_dials_is_back_soon() {
    let took = restart(0).await;
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_node_that_is_dialled_is_back_soon() {
    let took = restart(3).await;
    assert!(took < Duration::from_secs(3), "{took:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_is_refused_and_nothing_of_it_arrives() {
    let plan = Plan::new(3);
    let mut nodes = plan.start_all_but(1).await;
    let stranger = RawPeer::connect(&key("stranger"), &nodes[0].peer, plan.address(0)).await;
    assert!(
        matches!(stranger, Err(RawError::Refused(_))),
        "{stranger:?}"
    );
    let [first, second] = &mut nodes[..] else {
        unreachable!()
    };
    assert_eq!(first.handle.connected(), [second.peer]);
    member_connects(&plan, first).await;
    first.once(|counters| counters.refused_strangers == 1).await;
    passes(second, first).await;
    assert!(first.receivers.bulk.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn sockets_that_never_shake_hands_keep_nobody_out() {
    let plan = Plan::new(4);
    let mut nodes = plan.start_all_but(2).await;
    let target = plan.address(0).split('/').nth(2).unwrap().to_owned();
    let mut silent = Vec::new();
    for _ in 0..200 {
        // From another address than the members use.
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.77.77.77:0".parse().unwrap()).unwrap();
        let to = format!("{target}:7447").parse().unwrap();
        silent.push(socket.connect(to).await.unwrap());
    }
    let [first, second] = &mut nodes[..] else {
        unreachable!()
    };
    passes(second, first).await;
    let mut third = plan.start(2).await;
    for _ in 0..2 {
        assert!(matches!(third.notice().await, Inbound::Up(_)));
    }
    assert_eq!(first.notice().await, Inbound::Up(third.peer));
    passes(&third, first).await;
    // Those over the limit were closed at once, the others when their time was over.
    for socket in &mut silent {
        let end = timeout(SOON, socket.read(&mut [0; 64]))
            .await
            .expect("soon");
        drop(end);
    }
    member_connects(&plan, first).await;
    let all = |counters: &Counters| counters.refused_pending + counters.failed_handshakes == 200;
    let counters = first.once(all).await;
    assert!(counters.refused_pending >= 100, "{counters:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn both_sides_may_dial_at_once() {
    let plan = Plan::new(2);
    let mut nodes = Vec::new();
    let mut prepared = Vec::new();
    for i in 0..2 {
        let settings = plan.settings(i);
        let (running, mut mesh, receivers) = prepare(&settings, ANY).unwrap();
        mesh.dial_all();
        prepared.push((running, mesh, receivers, settings));
    }
    for (running, mesh, receivers, settings) in prepared {
        nodes.push(Node {
            peer: peer(&settings.key),
            handle: running.run(mesh, listen_of(&settings)).await.unwrap(),
            receivers,
        });
    }
    let [first, second] = &mut nodes[..] else {
        unreachable!()
    };
    assert_eq!(first.notice().await, Inbound::Up(second.peer));
    assert_eq!(second.notice().await, Inbound::Up(first.peer));
    for _ in 0..100 {
        passes(first, second).await;
        passes(second, first).await;
    }
    assert!(first.counters(&second.peer).ups <= 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_connection_replaces_a_dead_one() {
    let plan = Plan::new(2);
    let mut node = plan.start(0).await;
    let it = plan.members[1].peer;
    let old = plan.raw(1, 0).await.unwrap();
    assert_eq!(node.notice().await, Inbound::Up(it));
    let mut new = plan.raw(1, 0).await.unwrap();
    timeout(SOON, old.closed()).await.unwrap();
    new.send(Lane::Consensus, &[7; 50]).await.unwrap();
    // The old one may go down before the new one is up; its frames come last in any case.
    let mut notices = Vec::new();
    let received = loop {
        match node.notice().await {
            Inbound::Frame { from, bytes, .. } => break (from, bytes),
            notice => notices.push(notice),
        }
    };
    assert_eq!(received, (it, vec![7; 50]));
    assert!(notices.is_empty() || notices == [Inbound::Down(it), Inbound::Up(it)]);
    assert_eq!(
        node.handle.send(&it, Lane::Bulk, numbered(3, 60)),
        Sent::Queued
    );
    assert_eq!(new.recv(Lane::Bulk).await.unwrap(), *numbered(3, 60));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_is_disconnected_is_kept_out_for_a_time() {
    let plan = Plan::new(2);
    let mut nodes = plan.start_all_but(0).await;
    let [first, second] = &mut nodes[..] else {
        unreachable!()
    };
    let since = Instant::now();
    first.handle.disconnect(&second.peer, "invalid signature");
    assert_eq!(first.notice().await, Inbound::Down(second.peer));
    assert_eq!(second.notice().await, Inbound::Down(first.peer));
    assert_eq!(first.notice().await, Inbound::Up(second.peer));
    assert!(since.elapsed() >= Duration::from_secs(5));
    assert_eq!(second.notice().await, Inbound::Up(first.peer));
    let offences = first.counters(&second.peer).offences;
    assert_eq!(offences, [("invalid signature", 1)].into());
    passes(first, second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_ends_everything() {
    let plan = Plan::new(2);
    let mut nodes = plan.start_all_but(0).await;
    let mut second = nodes.pop().unwrap();
    let mut first = nodes.pop().unwrap();
    let clone = first.handle.clone();
    timeout(SOON, first.handle.shutdown()).await.unwrap();
    assert_eq!(second.notice().await, Inbound::Down(first.peer));
    assert!(clone.connected().is_empty());
    assert_eq!(
        clone.send(&second.peer, Lane::Bulk, numbered(1, 9)),
        Sent::NotConnected
    );
    while timeout(SOON, first.receivers.consensus.recv())
        .await
        .unwrap()
        .is_some()
    {}
    assert_eq!(
        timeout(SOON, first.receivers.bulk.recv()).await.unwrap(),
        None
    );
    // The address is free again.
    let again = plan.start(0).await;
    assert_eq!(second.notice().await, Inbound::Up(again.peer));
}

#[tokio::test]
async fn bad_settings_are_refused_with_a_hint() {
    let plan = Plan::new(2);
    let first = plan.start(0).await;
    let mut settings = plan.settings(1);
    listen_at(&mut settings, plan.address(0));
    let error = start(settings, ANY).await.err().unwrap();
    assert!(matches!(error, NetworkError::InUse(_)), "{error:?}");
    assert_eq!(
        error.to_string(),
        format!("address {} is in use", plan.address(0))
    );
    assert!(error.hint().unwrap().contains("network.listen"));
    drop(first);
    for bad in [
        "",
        "127.0.0.1:7447",
        "/ip4/127.0.0.1",
        "/ip4/127.0.0.1/udp/1",
        "/dns4/a/tcp/1",
    ] {
        let mut settings = plan.settings(1);
        listen_at(&mut settings, bad);
        let error = start(settings, ANY).await.err().unwrap();
        assert!(matches!(error, NetworkError::Listen(_)), "{bad}: {error:?}");
    }
    let mut settings = plan.settings(1);
    listen_at(&mut settings, "/ip4/192.0.2.1/tcp/7447");
    let error = start(settings, ANY).await.err().unwrap();
    assert!(matches!(error, NetworkError::Refused { .. }), "{error:?}");
    let mut settings = plan.settings(1);
    settings.members[0].addresses = vec!["nowhere".into()];
    let error = start(settings, ANY).await.err().unwrap();
    let whose = &plan.members[0].authority;
    assert_eq!(
        error.to_string(),
        format!("\"nowhere\" of {whose} is no address")
    );
    let mut settings = plan.settings(1);
    settings.key = KeyFile::generate(Purpose::Vote, AuthorityId::new("node-1").unwrap()).unwrap();
    let error = start(settings, ANY).await.err().unwrap();
    assert!(matches!(error, NetworkError::Purpose(_)), "{error:?}");
}

#[test]
fn the_mesh_of_a_genesis_is_its_validators() {
    let founding = testkit::founding(4);
    let members = MemberAddress::all(founding.genesis());
    assert_eq!(members.len(), 4);
    let network = testkit::key(2, Purpose::Network).key();
    assert_eq!(members[2].peer, Peer(network));
    assert_eq!(members[2].authority.as_str(), "authority-02");
    assert_eq!(members[2].addresses, ["/ip4/127.0.0.1/tcp/1"]);
}

#[test]
fn each_kind_has_one_lane_on_which_it_fits() {
    let consensus = [1, 2, 4, 5, 6, 8, 10, 12, 14, 19, 20, 21, 22, 24, 27];
    let bulk = [3, 9, 11, 13, 15, 16, 17, 18, 23, 25, 26, 28];
    for kind in 0..=u8::MAX {
        let limit = FrameLimits::PROTOCOL.of(Lane::Bulk, kind);
        let lane = Lane::of(&[kind]);
        assert_eq!(
            limit.is_some(),
            consensus.contains(&kind) || bulk.contains(&kind)
        );
        assert_eq!(lane == Lane::Consensus, consensus.contains(&kind), "{kind}");
        assert_eq!(FrameLimits::PROTOCOL.of(lane, kind), limit);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_vote_goes_out_at_once() {
    const ROUNDS: usize = 1_000;
    let plan = Plan::new(2);
    let mut nodes = plan.start_all_but(0).await;
    let [first, second] = &mut nodes[..] else {
        unreachable!()
    };
    for (name, pause) in [("back to back", 1), ("one per millisecond", 1_000)] {
        let mut pace = tokio::time::interval(Duration::from_micros(pause));
        let mut times = Vec::with_capacity(ROUNDS);
        for _ in 0..ROUNDS {
            pace.tick().await;
            let since = Instant::now();
            passes(first, second).await;
            times.push(since.elapsed());
        }
        times.sort();
        let (p50, p99) = (times[ROUNDS / 2], times[ROUNDS * 99 / 100]);
        println!("200 bytes, one way, {name}: p50 {p50:?}, p99 {p99:?}");
    }
}

mod hostile;
mod observers;
