//! What the mesh knows of one member: its connections, when to dial it next, and how long it is kept out.

use super::MemberAddress;
use super::inbox::Budget;
use super::session::Presence;
use consensus::Peer;
use ledger::id::{AuthorityId, AuthorityIndex, TimeMs};
use libp2p::Multiaddr;
use libp2p::swarm::ConnectionId;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// First pause between dials; it doubles up to [`LAST_BACK_OFF`], and half of it is random.
const FIRST_BACK_OFF: Duration = Duration::from_millis(100);
/// Longest pause between dials.
const LAST_BACK_OFF: Duration = Duration::from_secs(2);
/// How long the side that does not dial waits for the one that does, before it tries itself.
const FALLBACK: Duration = Duration::from_secs(3);
/// How long a peer is kept out after its first offence; it doubles with each further one.
const FIRST_KEPT_OUT: Duration = Duration::from_secs(5);
/// Longest time that a peer is kept out.
const LAST_KEPT_OUT: Duration = Duration::from_secs(300);
/// How long a connection that another one seems to replace is kept beside it: if both are alive, two processes have
/// the peer's key, and both must be heard for that to be noticed.
const REPLACED_AFTER: Duration = Duration::from_secs(5);
/// Good conduct after which offences are forgotten.
const FORGIVEN: Duration = Duration::from_secs(3_600);
/// Most connections of a peer that are accepted per [`ARRIVALS_IN`]; dialling back-off stays below.
const MAX_ARRIVALS: u32 = 60;
/// Over which time they are counted.
const ARRIVALS_IN: Duration = Duration::from_secs(60);

/// Which side dials, or dialled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialler {
    Local,
    Remote,
}

impl From<bool> for Dialler {
    fn from(local: bool) -> Self {
        if local { Self::Local } else { Self::Remote }
    }
}

/// What a peer may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// One of the mesh.
    Member,
    /// Let in by a certificate.
    Observer {
        /// Whose.
        authority: AuthorityIndex,
        /// The certificate's last moment.
        not_after: TimeMs,
    },
}

/// One connection.
#[derive(Debug)]
pub(super) struct Link {
    dialler: Dialler,
    stop: CancellationToken,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) peer: Peer,
    pub(super) authority: AuthorityId,
    pub(super) standing: Standing,
    pub(super) addresses: Vec<Multiaddr>,
    pub(super) budget: Budget,
    pub(super) presence: Arc<Presence>,
    /// Who dials this member's connections as a rule.
    dialler: Dialler,
    links: BTreeMap<ConnectionId, Link>,
    /// One that was replaced, and when it is closed.
    replaced: Option<(ConnectionId, Instant)>,
    dialling: bool,
    next_dial: Instant,
    /// Dials since the last usable connection.
    failures: u32,
    /// Connections accepted since `counted_from`.
    arrivals: u32,
    counted_from: Instant,
    offences: u32,
    last_offence: Option<Instant>,
    kept_out_until: Option<Instant>,
}

impl Link {
    pub(super) const fn new(dialler: Dialler, stop: CancellationToken) -> Self {
        Self { dialler, stop }
    }

    pub(super) const fn dialler(&self) -> Dialler {
        self.dialler
    }
}

impl Member {
    pub(super) fn new(
        member: &MemberAddress,
        addresses: Vec<Multiaddr>,
        budget: Budget,
        dialler: Dialler,
        now: Instant,
    ) -> Self {
        let mut new = Self {
            peer: member.peer,
            authority: member.authority.clone(),
            standing: Standing::Member,
            addresses,
            budget,
            presence: Arc::default(),
            dialler,
            links: BTreeMap::new(),
            replaced: None,
            dialling: false,
            next_dial: now,
            failures: 0,
            arrivals: 0,
            counted_from: now,
            offences: 0,
            last_offence: None,
            kept_out_until: None,
        };
        if dialler == Dialler::Remote {
            new.next_dial = now + FALLBACK;
        }
        new
    }

    /// An observer that was just let in.
    pub(super) fn observer(
        peer: Peer,
        authority: AuthorityId,
        standing: Standing,
        budget: Budget,
        now: Instant,
    ) -> Self {
        let at = MemberAddress {
            peer,
            authority,
            addresses: Vec::new(),
        };
        let mut new = Self::new(&at, Vec::new(), budget, Dialler::Remote, now);
        new.standing = standing;
        new
    }

    /// Whether nothing of it is left that must be remembered.
    pub(super) fn is_gone(&self) -> bool {
        self.standing != Standing::Member && self.links.is_empty() && self.kept_out_until.is_none()
    }

    pub(super) fn named(&self) -> (Peer, AuthorityId) {
        (self.peer, self.authority.clone())
    }

    /// When there is something to do next, if nothing happens before.
    pub(super) fn due(&self) -> Option<Instant> {
        let dial = || self.wants_dial().then_some(self.next_dial);
        let next = self.kept_out_until.or_else(dial);
        let replaced = self.replaced.map(|(_, at)| at);
        next.into_iter().chain(replaced).min()
    }

    /// A connection that was replaced some time ago and is to be closed now.
    pub(super) fn long_replaced(&mut self, now: Instant) -> Option<ConnectionId> {
        let (id, at) = self.replaced?;
        (at <= now).then(|| {
            self.replaced = None;
            self.end(id);
            id
        })
    }

    fn end(&self, id: ConnectionId) {
        if let Some(link) = self.links.get(&id) {
            link.stop.cancel();
        }
    }

    fn wants_dial(&self) -> bool {
        self.links.is_empty() && !self.dialling && !self.addresses.is_empty()
    }

    #[cfg(test)]
    pub(super) fn dial_now(&mut self) {
        self.dialler = Dialler::Local;
        self.next_dial = Instant::now();
    }

    /// Whether it is to be dialled now; it counts as being dialled then.
    pub(super) fn start_dial(&mut self, now: Instant) -> bool {
        let start = self.kept_out_until.is_none() && self.wants_dial() && self.next_dial <= now;
        self.dialling |= start;
        start
    }

    pub(super) const fn is_first_failure(&self) -> bool {
        self.failures == 0
    }

    pub(super) fn dial_failed(&mut self, now: Instant) {
        self.dialling = false;
        self.next_dial = now + back_off(self.failures);
        self.failures = self.failures.saturating_add(1);
    }

    /// Whether the peer connected again more often than any honest one.
    pub(super) fn arrives_too_often(&mut self, now: Instant) -> bool {
        if now.duration_since(self.counted_from) >= ARRIVALS_IN {
            self.counted_from = now;
            self.arrivals = 0;
        }
        self.arrivals = self.arrivals.saturating_add(1);
        self.arrivals > MAX_ARRIVALS
    }

    /// Takes note of a connection and returns one that is to be closed now.
    ///
    /// A side dials only when it has no connection. So an older one that it dialled is dead, even if this node has not
    /// noticed yet; or it is another process' with the same key. It is closed after [`REPLACED_AFTER`], or by the next
    /// replacement. One that the other side dialled may live: both dialled at once.
    pub(super) fn established(
        &mut self,
        id: ConnectionId,
        link: Link,
        now: Instant,
    ) -> Option<ConnectionId> {
        if link.dialler == Dialler::Local {
            self.dialling = false;
        }
        let before = self.replaced.map(|(old, _)| old);
        let mut same = self
            .links
            .iter()
            .filter(|(old, it)| it.dialler == link.dialler && Some(**old) != before);
        let replaced = same.next_back().map(|(old, _)| *old);
        self.links.insert(id, link);
        let replaced = replaced?;
        self.replaced = Some((replaced, now + REPLACED_AFTER));
        before.inspect(|old| self.end(*old))
    }

    /// A connection has its lanes: what stops its session, if it is still there.
    pub(super) fn usable(&mut self, id: ConnectionId) -> Option<CancellationToken> {
        let link = self.links.get(&id)?;
        self.failures = 0;
        Some(link.stop.clone())
    }

    pub(super) fn closed(&mut self, id: ConnectionId, now: Instant) {
        let Some(link) = self.links.remove(&id) else {
            return;
        };
        link.stop.cancel();
        self.replaced = self.replaced.filter(|(old, _)| *old != id);
        if !self.links.is_empty() {
            return;
        }
        self.next_dial = match self.dialler {
            Dialler::Local => now + back_off(self.failures),
            Dialler::Remote => now + FALLBACK,
        };
        // Back to 0 as soon as a connection becomes usable.
        self.failures = self.failures.saturating_add(1);
    }

    /// The last moment of an observer's certificate, unless it is kept out already.
    pub(super) fn certified_until(&self) -> Option<TimeMs> {
        match self.standing {
            Standing::Observer { not_after, .. } if self.kept_out_until.is_none() => {
                Some(not_after)
            }
            Standing::Observer { .. } | Standing::Member => None,
        }
    }

    /// Ends its connections and keeps it out; returns for how long, or nothing if it is kept out already.
    pub(super) fn keep_out(&mut self, now: Instant) -> Option<Duration> {
        if self.kept_out_until.is_some() {
            return None;
        }
        let since = self.last_offence.map(|then| now.duration_since(then));
        if since.is_some_and(|since| since >= FORGIVEN) {
            self.offences = 0;
        }
        let time = doubled(FIRST_KEPT_OUT, self.offences, LAST_KEPT_OUT);
        self.offences = self.offences.saturating_add(1);
        self.last_offence = Some(now);
        self.kept_out_until = Some(now + time);
        for link in self.links.values() {
            link.stop.cancel();
        }
        Some(time)
    }

    /// Whether its time out is over; it counts as let in then.
    pub(super) fn let_in_again(&mut self, now: Instant) -> bool {
        let over = self.kept_out_until.is_some_and(|until| until <= now);
        if over {
            self.kept_out_until = None;
        }
        over
    }
}

fn doubled(first: Duration, times: u32, last: Duration) -> Duration {
    let factor = 2_u32.saturating_pow(times);
    first.saturating_mul(factor).min(last)
}

/// A pause of which half is random, so that nodes that failed together do not return together.
fn back_off(failures: u32) -> Duration {
    let half = doubled(FIRST_BACK_OFF, failures, LAST_BACK_OFF) / 2;
    // Without random numbers the pause is still one.
    let random = getrandom::u32().unwrap_or(0);
    half + half.mul_f64(f64::from(random) / f64::from(u32::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_their_limits() {
        for failures in 0..40 {
            let pause = back_off(failures);
            assert!(
                pause >= FIRST_BACK_OFF / 2 && pause <= LAST_BACK_OFF,
                "{pause:?}"
            );
        }
        assert!(back_off(30) >= LAST_BACK_OFF / 2);
        assert_eq!(
            doubled(FIRST_KEPT_OUT, 2, LAST_KEPT_OUT),
            FIRST_KEPT_OUT * 4
        );
        assert_eq!(
            doubled(FIRST_KEPT_OUT, u32::MAX, LAST_KEPT_OUT),
            LAST_KEPT_OUT
        );
    }
}
