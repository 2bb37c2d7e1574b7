//! Missing certificates and whole stretches of the chain (consensus.md, 3.13, 3.14).

use super::Engine;
use super::guard::Bar;
use super::work::Parent;
use crate::config::MAX_SYNC;
use crate::epoch::Peer;
use crate::message::{CertReq, MAX_CERTIFICATES, Message, SyncReq};
use crate::output::{Output, ServeRequest};
use crate::time::{Mono, Now};
use crate::verify::VerifiedSync;
use alloc::vec::Vec;
use ledger::certificate::Certificate;
use ledger::header::BlockRef;
use ledger::id::{Height, View};

/// Most bytes of certificates in one answer.
const MAX_CERT_BYTES: usize = 1 << 20;
/// While idle, a gap is asked about so many times per validator, then left until there is work.
const IDLE_ROUNDS: usize = 2;
/// A transfer is given a second per MiB.
const BYTES_PER_MS: u64 = (1 << 20) / 1_000;

/// A question that is out.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked<T> {
    pub(super) peer: Peer,
    pub(super) what: T,
    pub(super) until: Mono,
}

/// Requests for certificates and blocks, one of each at a time.
#[derive(Debug, Default)]
pub(super) struct CatchUp {
    certificates: Option<Asked<CertReq>>,
    /// The gap that is being asked about, and how often it was.
    gap: Option<(View, View, usize)>,
    sync: Option<Asked<Height>>,
}

impl CatchUp {
    pub(super) fn expects_certificates(&self, from: &Peer) -> bool {
        self.certificates.is_some_and(|asked| asked.peer == *from)
    }

    pub(super) fn expects_blocks(&self, from: &Peer, first: Height) -> bool {
        self.sync
            .is_some_and(|asked| asked.peer == *from && asked.what == first)
    }

    /// The peer is gone: whoever is next gets the question.
    pub(super) fn forget(&mut self, peer: &Peer) {
        self.certificates = self.certificates.filter(|asked| asked.peer != *peer);
        self.sync = self.sync.filter(|asked| asked.peer != *peer);
    }

    pub(super) fn deadlines(&self) -> impl Iterator<Item = Mono> {
        let certificates = self.certificates.map(|asked| asked.until);
        let sync = self.sync.map(|asked| asked.until);
        certificates.into_iter().chain(sync)
    }
}

impl Engine {
    /// R0: certificates that keep R1 or R2 from working are asked for, first from the leader whose proposal waits.
    pub(super) fn request_certificates(&mut self, now: Now) {
        let view = self.run.current.view;
        let gap = match self.parent() {
            Parent::Gap(at) => Some(at),
            Parent::Found { .. } | Parent::Missing(_) => {
                // A proposal may build on an older view than ours would.
                let waiting = self.run.slots.get(view).filter(|slot| !slot.refused);
                let gap = waiting.and_then(|slot| self.first_gap(slot.parent_view));
                // Whoever rejoins waits until this node knows of every view. Looking for one takes as long as there
                // are views, so nobody looks without need.
                let vouches = self.run.rejoin.wants_certificates(now.mono);
                gap.or_else(|| vouches.then(|| self.first_uncertified()).flatten())
            }
        };
        let Some(to) = gap else {
            self.run.catch_up.gap = None;
            self.run.catch_up.certificates = None;
            return;
        };
        if let Some(asked) = self.run.catch_up.certificates {
            if asked.until > now.mono && asked.what.to == to {
                return;
            }
            self.run.catch_up.certificates = None;
        }
        let asked_before = match self.run.catch_up.gap {
            Some((gap, at, times)) if gap == to && at == view => times,
            Some(_) | None => 0,
        };
        let limit = self.run.epoch.set().n().saturating_mul(IDLE_ROUNDS);
        if asked_before >= limit && self.run.current.armed_at.is_none() {
            return;
        }
        let leader = self.run.slots.get(view).map(|slot| slot.vote.signer);
        let leader = leader.and_then(|leader| self.run.epoch.peer_of(leader));
        let first = leader.filter(|_| asked_before == 0);
        let Some(peer) = self.peers.pick(now.mono, first, &[], |_| false) else {
            return;
        };
        let what = CertReq {
            epoch: self.run.epoch.epoch(),
            from: self
                .run
                .certificates
                .finalized_view()
                .saturating_add(1)
                .min(to),
            to,
        };
        let until = now.mono.plus(self.config.fetch_ms());
        self.run.catch_up.certificates = Some(Asked { peer, what, until });
        self.run.catch_up.gap = Some((to, view, asked_before.saturating_add(1)));
        self.ask(&peer, Message::CertReq(what));
    }

    /// The highest view from `parent_view` up to the current one whose certificate R2 lacks.
    fn first_gap(&self, parent_view: View) -> Option<View> {
        let finalized = self.run.certificates.finalized_view();
        let lowest = self.run.certificates.lowest_parent_view();
        if parent_view < finalized {
            None
        } else if parent_view < lowest {
            Some(lowest)
        } else {
            let unknown = self.run.certificates.notarized(parent_view).is_none();
            unknown.then_some(parent_view)
        }
    }

    /// Certificates of the views asked for, from the highest down; at the bottom, the finalization that ends it.
    pub(super) fn serve_certificates(&mut self, peer: &Peer, request: &CertReq) {
        let finalized = self.run.certificates.finalized_view();
        let mut bytes = 0_usize;
        let above = self
            .run
            .certificates
            .newest_first()
            .filter(|c| request.from <= c.view() && c.view() <= request.to);
        let bottom = self.run.certificates.finalization();
        let bottom = bottom
            .filter(|_| request.from <= finalized)
            .map(|c| c.get());
        let list: Vec<Certificate> = bottom
            .into_iter()
            .chain(above)
            .take(MAX_CERTIFICATES)
            .take_while(|certificate| {
                bytes = bytes.saturating_add(certificate_len(certificate));
                bytes <= MAX_CERT_BYTES
            })
            .cloned()
            .collect();
        if let (false, Ok(list)) = (list.is_empty(), list.try_into()) {
            self.send(peer, Message::CertResp(list));
        }
    }

    /// 3.14: while behind in height, one peer at a time is asked for blocks.
    pub(super) fn request_blocks(&mut self, now: Now) {
        if let Some(asked) = self.run.catch_up.sync {
            if asked.until > now.mono {
                return;
            }
            self.peers.failed(&asked.peer, now.mono);
            self.run.catch_up.sync = None;
        }
        let committed = self.blocks.committed().block;
        let Some(from) = committed.height.next() else {
            return;
        };
        if self.diverged || self.run.sealed {
            return;
        }
        let Some(peer) = self.next_server(now, committed) else {
            return;
        };
        let until = now
            .mono
            .plus(self.config.timing().delta_ms.saturating_mul(4))
            .plus(u64::from(MAX_SYNC).div_euclid(BYTES_PER_MS));
        self.run.catch_up.sync = Some(Asked {
            peer,
            what: from,
            until,
        });
        let max_bytes = MAX_SYNC;
        self.ask(&peer, Message::SyncReq(SyncReq { from, max_bytes }));
    }

    /// Whom to ask, if blocks are missing that only a stretch of the chain can bring.
    fn next_server(&mut self, now: Now, committed: BlockRef) -> Option<Peer> {
        let next = committed.height.next()?;
        let final_next = self.run.final_chain.get(next);
        if final_next.is_some_and(|block| self.blocks.is_here(&block.hash))
            || self.lone_final_gap(next).is_some()
        {
            // It is here and under check, or fetched by its hash.
            return None;
        }
        let known = self.run.certificates.finalized().height > committed.height;
        let delta = self.config.timing().delta_ms;
        let ahead = self.peers.pick_server(|peer| {
            let Some((status, at)) = &peer.status else {
                return false;
            };
            let distance = status.finalized.height.0.saturating_sub(committed.height.0);
            // One block ahead is everyday life, and will be over by itself.
            let lasts = now.mono.since(*at) >= delta;
            let counts = distance > 1 || (distance == 1 && (lasts || known));
            !peer.has_failed(now.mono) && counts
        });
        // Also without a heartbeat that says so, somebody has what is known to be final.
        ahead.or_else(|| {
            known
                .then(|| self.peers.pick(now.mono, None, &[], |_| false))
                .flatten()
        })
    }

    /// Finalized blocks came, already known to be one certified chain.
    pub(super) fn synced(&mut self, now: Now, from: Peer, sync: VerifiedSync) {
        let first = sync.blocks.first().map(|block| block.header.height);
        if first.is_none_or(|first| !self.run.catch_up.expects_blocks(&from, first)) {
            return;
        }
        self.run.catch_up.sync = None;
        if self.guard.is_barred(Bar::Stopped) {
            return;
        }
        let VerifiedSync {
            blocks,
            headers,
            certificate,
        } = sync;
        let committed = self.blocks.committed().block;
        let refs = blocks.iter().map(|block| &block.header).chain(&headers);
        let chain: Vec<BlockRef> = refs
            .map(ledger::header::Header::block_ref)
            .filter(|block| block.height > committed.height)
            .collect();
        if chain.is_empty() {
            self.peers.failed(&from, now.mono);
            return;
        }
        self.run.final_chain.note_sync(certificate.clone());
        self.accept(now, certificate);
        for block in chain {
            if let Some(fork) = self.run.final_chain.note(block) {
                self.diverge(fork);
                return;
            }
        }
        for block in blocks {
            self.blocks.insert(block, Some(from), now.mono);
        }
        self.status_due = true;
    }

    pub(super) fn serve_sync(&mut self, peer: &Peer, request: SyncReq) {
        if request.from <= self.blocks.committed().block.height {
            let request = ServeRequest::Sync(request);
            self.outbox
                .after_durable(Output::Serve { to: *peer, request });
        }
    }

    /// Whether a wait for a peer's claim to last is over soon.
    pub(super) fn sync_deadlines(&self) -> impl Iterator<Item = Mono> {
        let committed = self.blocks.committed().block.height;
        let delta = self.config.timing().delta_ms;
        self.peers.iter().filter_map(move |(_, peer)| {
            let (status, at) = peer.status.as_ref()?;
            (status.finalized.height > committed).then(|| at.plus(delta))
        })
    }
}

/// Encoded length of a certificate.
pub(super) fn certificate_len(certificate: &Certificate) -> usize {
    let signatures = certificate.signers().count();
    signatures.saturating_mul(64).saturating_add(73)
}
