//! Observers at the gate: who is let in, and who is told no.

use super::*;

/// A mesh of one member that lets observers in, and what certificates are made from.
struct Host {
    plan: Plan,
    node: Node,
    founding: ledger::tip::Founding,
}

impl Host {
    async fn start() -> Self {
        let plan = Plan::new(2);
        let founding = testkit::founding(4);
        let mut settings = plan.settings(0);
        if let Role::Member { observers, .. } = &mut settings.role {
            *observers = Some(founding.clone());
        }
        let (handle, receivers) = start(settings, ANY).await.unwrap();
        let node = Node {
            peer: peer(&plan.keys[0]),
            handle,
            receivers,
        };
        Self {
            plan,
            node,
            founding,
        }
    }

    fn permission(&self, key: &KeyFile) -> Permission {
        Permission {
            chain: self.founding.chain(),
            authority: AuthorityIndex(1),
            network: key.key(),
            not_after_ms: clock::wall().saturating_add(60_000),
        }
    }

    /// Signed by the authority's admin key, or another's.
    fn certificate(&self, permission: Permission, admin: u16) -> Vec<u8> {
        permission
            .sign(&testkit::key(admin, Purpose::Admin))
            .encode()
    }

    async fn connect(&self, key: &KeyFile, certificate: Vec<u8>) -> Result<RawPeer, RawError> {
        let (to, address) = (&self.node.peer, self.plan.address(0));
        RawPeer::connect_observer(key, certificate, to, address).await
    }

    async fn refusal(&self, key: &KeyFile, certificate: Vec<u8>) -> String {
        match self.connect(key, certificate).await {
            Err(RawError::Refused(why)) => why,
            other => panic!("not refused: {other:?}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_comes_in_by_its_certificate_and_is_told_apart_from_the_members() {
    let mut host = Host::start().await;
    let key = key("observer");
    let good = host.certificate(host.permission(&key), 1);
    let mut raw = host.connect(&key, good).await.unwrap();
    let up = Inbound::Observer(FromObserver::Up(peer(&key)));
    assert_eq!(host.node.notice().await, up);
    assert_eq!(host.node.handle.observers(), [peer(&key)]);
    assert_eq!(host.node.handle.connected(), []);
    // What goes to the members does not reach it.
    let handle = &host.node.handle;
    assert_eq!(handle.broadcast(Lane::Consensus, numbered(1, 200)), 0);
    assert_eq!(handle.inform(Lane::Consensus, numbered(2, 200)), 1);
    let got = timeout(SOON, raw.recv(Lane::Consensus)).await.unwrap();
    assert_eq!(number(&got.unwrap()), 2);
    raw.send(Lane::Consensus, &numbered(3, 200)).await.unwrap();
    match host.node.notice().await {
        Inbound::Observer(FromObserver::Frame { from, bytes }) => {
            assert_eq!((from, number(&bytes)), (peer(&key), 3));
        }
        other => panic!("{other:?}"),
    }
    drop(raw);
    let down = Inbound::Observer(FromObserver::Down(peer(&key)));
    assert_eq!(host.node.notice().await, down);
    // A whole mesh in the part of an observer.
    let role = Role::Observer(Box::new(
        host.permission(&key).sign(&testkit::key(1, Purpose::Admin)),
    ));
    let settings = Settings {
        role,
        members: host.plan.members.clone(),
        key,
    };
    let (_observer, mut receivers) = start(settings, ANY).await.unwrap();
    assert_eq!(host.node.notice().await, up);
    let up = timeout(SOON, receivers.consensus.recv()).await.unwrap();
    assert_eq!(up, Some(Inbound::Up(host.node.peer)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_is_refused_by_the_name_of_the_rule_that_it_breaks() {
    let host = Host::start().await;
    let (key, other) = (key("observer"), key("other"));
    let good = host.permission(&key);
    let expired = Permission {
        not_after_ms: TimeMs(clock::wall().0 - 1),
        ..good
    };
    let for_ever = Permission {
        not_after_ms: TimeMs(u64::MAX),
        ..good
    };
    let other_chain = Permission {
        chain: testkit::founding(5).chain(),
        ..good
    };
    let unknown = Permission {
        authority: AuthorityIndex(9),
        ..good
    };
    let stolen = host.certificate(host.permission(&other), 1);
    let cases = [
        (host.certificate(expired, 1), Reason::Expired),
        (host.certificate(for_ever, 1), Reason::TooLong),
        (host.certificate(other_chain, 1), Reason::OtherChain),
        (host.certificate(unknown, 1), Reason::UnknownAuthority),
        (host.certificate(good, 2), Reason::NotSigned),
        (stolen, Reason::OtherKey),
        (vec![0xff; 140], Reason::Malformed),
    ];
    for (certificate, reason) in cases {
        let why = host.refusal(&key, certificate).await;
        assert_eq!(why, reason.name());
        let counted = |counters: &Counters| counters.refused_observers[reason.name()] == 1;
        host.node
            .once(|it| !it.refused_observers.is_empty() && counted(it))
            .await;
    }
    // Without any certificate no lane is opened.
    let (to, address) = (&host.node.peer, host.plan.address(0));
    let bare = RawPeer::connect(&key, to, address).await;
    assert!(matches!(bare, Err(RawError::Refused(_))), "{bare:?}");
    let none = Reason::NoCertificate.name();
    host.node
        .once(|it| it.refused_observers.get(none) == Some(&1))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fifth_observer_of_an_authority_waits_until_one_has_left() {
    let mut host = Host::start().await;
    let keys: Vec<KeyFile> = (0..5).map(|i| key(&format!("observer-{i}"))).collect();
    let certificates: Vec<_> = keys
        .iter()
        .map(|key| host.certificate(host.permission(key), 1))
        .collect();
    let mut inside = Vec::new();
    for (key, certificate) in keys.iter().zip(&certificates).take(4) {
        inside.push(host.connect(key, certificate.clone()).await.unwrap());
        assert!(matches!(host.node.notice().await, Inbound::Observer(_)));
    }
    let why = host.refusal(&keys[4], certificates[4].clone()).await;
    assert_eq!(why, Reason::TooManyOfAuthority.name());
    // Another authority has its own four.
    let other = key("other");
    let permission = Permission {
        authority: AuthorityIndex(2),
        ..host.permission(&other)
    };
    host.connect(&other, host.certificate(permission, 2))
        .await
        .unwrap();
    drop(inside.pop());
    host.node
        .once(|_| host.node.handle.observers().len() <= 4)
        .await;
    let enters = async {
        while host
            .connect(&keys[4], certificates[4].clone())
            .await
            .is_err()
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(SOON, enters).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_observer_is_disconnected_when_its_certificate_expires() {
    let mut host = Host::start().await;
    let key = key("observer");
    let permission = Permission {
        not_after_ms: clock::wall().saturating_add(1_500),
        ..host.permission(&key)
    };
    let certificate = host.certificate(permission, 1);
    let raw = host.connect(&key, certificate.clone()).await.unwrap();
    assert!(matches!(host.node.notice().await, Inbound::Observer(_)));
    timeout(SOON, raw.closed()).await.unwrap();
    assert!(clock::wall() > permission.not_after_ms);
    let down = Inbound::Observer(FromObserver::Down(peer(&key)));
    assert_eq!(host.node.notice().await, down);
    assert_eq!(
        host.refusal(&key, certificate).await,
        Reason::Expired.name()
    );
    // With a new one it comes in again.
    let renewed = host.certificate(host.permission(&key), 1);
    host.connect(&key, renewed).await.unwrap();
}
