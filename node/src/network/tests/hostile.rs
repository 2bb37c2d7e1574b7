//! What no honest member sends, who connects too often, and who does not read: named, bounded, kept out.

use super::*;

/// What a hostile member writes, and what it is disconnected for (nothing: it only closed).
async fn hostile(lane: Lane, bytes: &[u8], offence: &'static str) {
    let plan = Plan::new(3);
    let mut nodes = plan.start_all_but(1).await;
    let mut raw = plan.raw(2, 0).await.unwrap();
    let [first, second] = &mut nodes[..] else {
        unreachable!()
    };
    let hostile = plan.members[2].peer;
    assert_eq!(first.notice().await, Inbound::Up(hostile));
    raw.send(lane, &numbered(5, 100)).await.unwrap();
    let received = match lane {
        Lane::Consensus => frame(first.notice().await),
        Lane::Bulk => first.bulk().await,
    };
    assert_eq!(received, (hostile, numbered(5, 100).to_vec()));
    raw.write(lane, bytes).await.unwrap();
    timeout(SOON, raw.closed()).await.unwrap();
    assert_eq!(first.notice().await, Inbound::Down(hostile));
    let counters = first.counters(&hostile);
    assert_eq!(counters.offences, [(offence, 1)].into());
    assert_eq!(counters.consensus.frames_in + counters.bulk.frames_in, 1);
    // Kept out for now; the others go on.
    let again = plan.raw(2, 0).await;
    assert!(matches!(again, Err(RawError::Refused(_))), "{again:?}");
    passes(second, first).await;
    passes(first, second).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_length_over_the_limit_is_an_offence() {
    let length = (8_u32 << 20) + 1;
    let bytes = [&length.to_le_bytes()[..], &[7]].concat();
    hostile(Lane::Bulk, &bytes, "frame over its limit").await;
    let bytes = [&u32::MAX.to_le_bytes()[..], &[7]].concat();
    hostile(Lane::Consensus, &bytes, "frame over its limit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_frame_is_an_offence() {
    hostile(Lane::Consensus, &[0; 4], "empty frame").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_is_an_offence() {
    let mut garbage = vec![0; 100_000];
    getrandom::fill(&mut garbage).unwrap();
    garbage[3] |= 0x80;
    hostile(Lane::Bulk, &garbage, "frame over its limit").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_that_the_lane_does_not_carry_is_an_offence() {
    let plan = Plan::new(2);
    let (handle, mut receivers) = start(plan.settings(0), FrameLimits::PROTOCOL)
        .await
        .unwrap();
    let mut raw = plan.raw(1, 0).await.unwrap();
    let up = timeout(SOON, receivers.consensus.recv()).await.unwrap();
    assert_eq!(up, Some(Inbound::Up(plan.members[1].peer)));
    // A proposal where votes travel.
    raw.send(Lane::Consensus, &[3; 100]).await.unwrap();
    timeout(SOON, raw.closed()).await.unwrap();
    let peers = handle.counters().peers;
    let offences = &peers[&plan.members[1].peer].offences;
    assert_eq!(*offences, [("frame of unknown kind", 1)].into());
    assert_eq!(
        handle.send(&plan.members[1].peer, Lane::Consensus, [3; 100].into()),
        Sent::Refused
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_opened_twice_is_an_offence() {
    let plan = Plan::new(3);
    let mut nodes = plan.start_all_but(1).await;
    let lanes = [Lane::Consensus, Lane::Bulk, Lane::Bulk];
    let MemberAddress { peer: to, .. } = plan.members[0];
    let raw = RawPeer::connect_with(&plan.keys[2], &to, plan.address(0), &lanes).await;
    if let Ok(raw) = raw {
        timeout(SOON, raw.closed()).await.unwrap();
    }
    let [first, second] = &mut nodes[..] else {
        unreachable!()
    };
    let offences = first.counters(&plan.members[2].peer).offences;
    assert_eq!(offences, [("lane opened twice", 1)].into());
    second.handle.send(&to, Lane::Consensus, numbered(4, 200));
    let received = loop {
        match first.notice().await {
            // It may have been up for a moment.
            Inbound::Up(it) | Inbound::Down(it) => assert_eq!(it, plan.members[2].peer),
            inbound => break frame(inbound),
        }
    };
    assert_eq!(received, (second.peer, numbered(4, 200).to_vec()));
}

#[tokio::test(flavor = "multi_thread")]
async fn connecting_all_the_time_is_an_offence() {
    let plan = Plan::new(2);
    let mut node = plan.start(0).await;
    let mut connected = 0;
    while let Ok(raw) = plan.raw(1, 0).await {
        drop(raw);
        connected += 1;
        assert!(connected <= 60);
    }
    let counters = node.counters(&plan.members[1].peer);
    assert_eq!(counters.offences, [("connects too often", 1)].into());
    // Each `Up` had its `Down` before the next.
    let mut is_up = false;
    while let Some(inbound) = node.receivers.consensus.try_recv() {
        match inbound {
            Inbound::Up(_) => assert!(!std::mem::replace(&mut is_up, true)),
            Inbound::Down(_) => assert!(std::mem::replace(&mut is_up, false)),
            Inbound::RoundTrip { .. } => {}
            Inbound::Frame { .. } | Inbound::Observer(_) => panic!("nothing was sent"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_instead_of_a_handshake_is_refused() {
    let plan = Plan::new(3);
    let mut nodes = plan.start_all_but(1).await;
    let host = plan.address(0).split('/').nth(2).unwrap();
    let mut socket = TcpStream::connect(format!("{host}:7447")).await.unwrap();
    socket.write_all(&[0xa5; 4_096]).await.unwrap();
    let mut rest = Vec::new();
    let end = timeout(SOON, socket.read_to_end(&mut rest))
        .await
        .expect("soon");
    drop(end);
    let [first, second] = &mut nodes[..] else {
        unreachable!()
    };
    passes(second, first).await;
    member_connects(&plan, first).await;
    first.once(|counters| counters.failed_handshakes == 1).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_is_cut_off_never_arrives() {
    let plan = Plan::new(2);
    let mut node = plan.start(0).await;
    let mut raw = plan.raw(1, 0).await.unwrap();
    let up = Inbound::Up(plan.members[1].peer);
    assert_eq!(node.notice().await, up);
    raw.write(Lane::Consensus, &[100, 0, 0, 0, 7, 7, 7])
        .await
        .unwrap();
    drop(raw);
    assert_eq!(node.notice().await, Inbound::Down(plan.members[1].peer));
    assert!(node.counters(&plan.members[1].peer).offences.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn who_does_not_read_is_bounded_and_holds_nobody_up() {
    const MIB: usize = 1 << 20;
    let plan = Plan::new(4);
    let mut nodes = plan.start_all_but(0).await;
    let [sender, reader, lazy, _] = &mut nodes[..] else {
        unreachable!()
    };
    for i in 0..100 {
        sender.handle.broadcast(Lane::Bulk, numbered(i, MIB));
        let (from, bytes) = reader.bulk().await;
        assert_eq!((from, number(&bytes)), (sender.peer, i));
    }
    // Its votes still come.
    passes(sender, lazy).await;
    let dropped = sender.counters(&lazy.peer).bulk.dropped;
    // A part of 8 MiB, the windows of 9 MiB, the outbox of 16 MiB, one batch on its way.
    assert!(dropped >= 60, "{dropped}");
    assert!(lazy.receivers.bulk.len() <= 8);
    assert!(lazy.counters(&sender.peer).bulk.frames_in <= 8);
    let mut last = None;
    for _ in 0..(100 - dropped) {
        let (_, bytes) = lazy.bulk().await;
        assert!(last.is_none_or(|last| last < number(&bytes)));
        last = Some(number(&bytes));
    }
    assert_eq!(sender.counters(&lazy.peer).ups, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn many_tiny_frames_are_bounded_too() {
    let plan = Plan::new(2);
    let mut node = plan.start(0).await;
    let mut raw = plan.raw(1, 0).await.unwrap();
    assert!(matches!(node.notice().await, Inbound::Up(_)));
    let flood: Vec<u8> = [1, 0, 0, 0, 7].repeat(1_000);
    raw.write(Lane::Consensus, &flood).await.unwrap();
    for taken in 0..1_000_u64 {
        assert!(matches!(node.notice().await, Inbound::Frame { .. }));
        let waiting = node.counters(&plan.members[1].peer).consensus.frames_in - taken;
        assert!(waiting <= 258, "{waiting}");
    }
}
