//! What an operator asks: status, health, readiness, metrics, and a page that names the routes.

use super::App;
use super::error::ApiError;
use super::types::{ArchiveInfo, DiskInfo, PeerInfo, Status};
use crate::chain::{NodeStatus, Progress};
use crate::metrics::{self, Counted, Labelled, Snapshot};
use crate::network::{Counters, Handle};
use crate::storage::archive::{Away, Hole};
use crate::storage::files;
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse as _, Response};
use ledger::id::AuthorityId;

/// Blocks that a ready node may be behind: its peers' heights are heard of later than its own is known.
const BEHIND: u64 = 8;

const PAGE: &str = "\
nachweis-node: a validator of a Nachweis network

POST /v1/submissions?wait=accepted|final|provable&timeout_ms=N   hand in signed submissions
GET  /v1/documents/{id}            a document's state
GET  /v1/documents/{id}/history    its records
GET  /v1/documents/{id}/receipt    its receipt, public parts
POST /v1/receipts                  receipts of up to 1,000 documents
GET  /v1/keys/{key}                a registrar's key
GET  /v1/authorities               the members
GET  /v1/blocks/{height}[?raw]     a block, in numbers or as archived
GET  /v1/restarts/{epoch}          the restart file that opened an epoch
GET  /v1/status                    this node, for people and programs
GET  /log/checkpoint               newest checkpoint with its cosignatures (C2SP tlog-checkpoint)
GET  /log/tile/...                 tiles and entry bundles (C2SP tlog-tiles)
GET  /healthz  /readyz  /metrics   for operators

What is served here is public and proves itself: believe receipts and checkpoints, not this node.
";

pub(super) async fn page() -> Response {
    ([(CONTENT_TYPE, "text/plain; charset=utf-8")], PAGE).into_response()
}

pub(super) async fn status(State(app): State<App>) -> Json<Status> {
    let head = app.chain.head();
    let node = app.chain.status();
    let progress = *app.chain.progress().borrow();
    let standing = standing(&app, &node);
    let peers = node.peers.iter().map(|peer| PeerInfo {
        authority: peer.authority.to_string(),
        connected: peer.connected,
        height: peer.height.map(|height| height.0),
    });
    Json(Status {
        chain: app.chain.founding().chain().to_string(),
        authority: app.authority.to_string(),
        height: head.tip.height.0,
        time_ms: head.tip.time_ms.0,
        log_size: head.tip.log_size().0,
        provable_size: progress.provable_size.0,
        alarm: node.alarm,
        unguarded: node.unguarded,
        missing_cosigners: node
            .missing_cosigners
            .iter()
            .map(ToString::to_string)
            .collect(),
        view: node.view.0,
        epoch: node.epoch.0,
        standing,
        disk: DiskInfo {
            free_bytes: free_bytes(&app),
            min_free_bytes: app.disk.min_free_bytes,
        },
        peers: peers.collect(),
        pool: number(node.pool),
        archive: archive(&app),
        version: env!("CARGO_PKG_VERSION").to_owned(),
    })
}

fn standing(app: &App, node: &NodeStatus) -> String {
    if app.making.is_some() {
        "makes its index again, and does not vote meanwhile".to_owned()
    } else if node.standing.is_empty() {
        "starts".to_owned()
    } else {
        node.standing.clone()
    }
}

fn free_bytes(app: &App) -> Option<u64> {
    files::free_bytes(&app.disk.data).ok()
}

fn archive(app: &App) -> ArchiveInfo {
    let (archive, scrub) = (app.chain.archive(), app.chain.scrub());
    ArchiveInfo {
        damaged: archive.holes().iter().map(Hole::to_string).collect(),
        away: archive.away().iter().map(Away::to_string).collect(),
        repaired_blocks: app.chain.repairs().repaired(),
        scrub_height: scrub.height(),
        scrub_passes: scrub.passes(),
        scrub_findings: scrub.findings(),
    }
}

/// The process answers.
pub(super) async fn health() -> &'static str {
    "ok\n"
}

/// It answers for the network: connected to a quorum, and as far as the others.
pub(super) async fn ready(State(app): State<App>) -> Result<&'static str, ApiError> {
    super::limits::needs_index(&app)?;
    let progress = *app.chain.progress().borrow();
    let quorum = app.chain.founding().set().quorum();
    match readiness(&app.chain.status(), &progress, quorum) {
        Ok(()) => Ok("ready\n"),
        Err(why) => Err(ApiError::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "not-ready",
            why,
        )),
    }
}

fn readiness(node: &NodeStatus, progress: &Progress, quorum: usize) -> Result<(), String> {
    let connected = node.peers.iter().filter(|peer| peer.connected).count();
    // The node itself counts.
    let with_it = connected.saturating_add(1);
    if with_it < quorum {
        return Err(format!(
            "connected to {connected} validators, a quorum is {quorum} with this one"
        ));
    }
    let own = progress.final_height;
    let mut heights: Vec<_> = node.peers.iter().filter_map(|peer| peer.height).collect();
    heights.sort_unstable();
    // One liar must not make everybody unready: what several peers reached is believed.
    let several = heights.len().checked_sub(2).and_then(|at| heights.get(at));
    match several {
        Some(height) if own.saturating_add(BEHIND) < *height => {
            Err(format!("at block {own}, others are at {height}"))
        }
        Some(_) | None => Ok(()),
    }
}

pub(super) async fn metrics(State(app): State<App>) -> Response {
    let node = app.chain.status();
    let progress = *app.chain.progress().borrow();
    app.metrics.observe(&Snapshot {
        height: progress.final_height.0,
        log_size: progress.final_size.0,
        provable_height: progress.provable_height.0,
        provable_size: progress.provable_size.0,
        view: node.view.0,
        epoch: node.epoch.0,
        pool: number(node.pool),
        pool_bytes: number(node.pool_bytes),
        peers: number(node.peers.iter().filter(|peer| peer.connected).count()),
        alarm: u64::from(node.alarm.is_some()),
        voting: u64::from(node.voting),
        free_bytes: free_bytes(&app).unwrap_or(0),
        damaged_blocks: app.chain.archive().holes().iter().map(Hole::blocks).sum(),
        segments_away: app.chain.archive().away().iter().map(Away::segments).sum(),
        scrub_height: app.chain.scrub().height(),
        target: node.target.0,
        unguarded: u64::from(node.unguarded.is_some()),
        missing_cosigners: number(node.missing_cosigners.len()),
        index_behind: app.making.as_ref().map_or(0, |making| {
            let (at, of) = making.progress();
            of.0.saturating_sub(at.0)
        }),
    });
    let mesh = app.network.as_ref().map(Handle::counters);
    let mesh = mesh.unwrap_or_default();
    let mut counted = app.chain.counters().all();
    counted.extend(of_mesh(&mesh));
    let (repairs, scrub) = (app.chain.repairs(), app.chain.scrub());
    counted.extend([
        (
            "repaired_blocks",
            "Blocks of the archive repaired from peers.",
            repairs.repaired(),
        ),
        (
            "repair_liars",
            "Peers that sent wrong blocks for a repair.",
            repairs.liars(),
        ),
        ("scrub_passes", "Whole passes of the scrub.", scrub.passes()),
        (
            "scrub_bytes",
            "Bytes of the archive read by the scrub.",
            scrub.bytes(),
        ),
        (
            "scrub_findings",
            "Damaged blocks and hashes found by the scrub.",
            scrub.findings(),
        ),
        (
            "log_hashes_mended",
            "Runs of log hashes written again.",
            scrub.mended(),
        ),
        (
            "journal_damaged",
            "Times that the scrub found the journal damaged, which is then written anew.",
            scrub.journal_findings(),
        ),
    ]);
    let text = app.metrics.encode(&counted, &of_peers(&app, &mesh));
    ([(CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response()
}

/// Who was turned away.
const fn of_mesh(mesh: &Counters) -> [Counted; 3] {
    [
        (
            "refused_strangers",
            "Connections refused whose key is no member's, or is kept out.",
            mesh.refused_strangers,
        ),
        (
            "refused_pending",
            "Connections refused because too many handshakes were unfinished.",
            mesh.refused_pending,
        ),
        (
            "failed_handshakes",
            "Handshakes that failed or took too long.",
            mesh.failed_handshakes,
        ),
    ]
}

/// What each member's node did, by the id of its authority.
fn of_peers(app: &App, mesh: &Counters) -> Vec<Labelled> {
    let peers = || mesh.peers.values();
    let offences = peers().flat_map(|peer| {
        let of_peer = peer.offences.iter();
        of_peer.map(|(why, count)| (vec![peer.authority.to_string(), (*why).to_owned()], *count))
    });
    let labelled = |all: Vec<(AuthorityId, &str, u64)>| {
        let all = all.into_iter();
        all.map(|(authority, word, count)| (vec![authority.to_string(), word.to_owned()], count))
            .collect()
    };
    let conduct = app.chain.conduct();
    let bytes = peers().flat_map(|peer| {
        let lanes = [("consensus", peer.consensus), ("bulk", peer.bulk)];
        lanes.into_iter().flat_map(|(lane, counters)| {
            let ways = [("in", counters.bytes_in), ("out", counters.bytes_out)];
            let labels = |way: &str| vec![peer.authority.to_string(), lane.to_owned(), way.into()];
            ways.map(|(way, bytes)| (labels(way), bytes))
        })
    });
    let connections = peers().map(|peer| (vec![peer.authority.to_string()], peer.ups));
    let family = |name, help, labels, series| Labelled {
        name,
        help,
        labels,
        series,
    };
    vec![
        family(
            "peer_offences",
            "Times that a member was disconnected and kept out for what no honest node does.",
            &["authority", "why"],
            offences.collect(),
        ),
        family(
            "peer_dropped",
            "Messages of a member that were dropped.",
            &["authority", "why"],
            labelled(conduct.all_dropped()),
        ),
        family(
            "peer_messages",
            "Messages of a member, votes by their kind.",
            &["authority", "kind"],
            labelled(conduct.all_received()),
        ),
        family(
            "peer_bytes",
            "Bytes from and to a member.",
            &["authority", "lane", "way"],
            bytes.collect(),
        ),
        family(
            "peer_connections",
            "Times that a connection to a member became usable.",
            &["authority"],
            connections.collect(),
        ),
    ]
}

fn number(count: usize) -> u64 {
    u64::try_from(count).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::PeerStatus;
    use ledger::id::{Height, ValidatorIndex};

    fn node(peers: &[(bool, u64)]) -> NodeStatus {
        let peer = |(connected, height): &(bool, u64)| PeerStatus {
            validator: ValidatorIndex(0),
            authority: AuthorityId::new("amt").unwrap(),
            connected: *connected,
            height: Some(Height(*height)),
            epoch: None,
        };
        NodeStatus {
            peers: peers.iter().map(peer).collect(),
            ..NodeStatus::default()
        }
    }

    #[test]
    fn ready_is_connected_to_a_quorum_and_caught_up() {
        let at = |height| Progress {
            final_height: Height(height),
            ..Progress::default()
        };
        let all = node(&[(true, 100), (true, 100), (true, 99)]);
        assert_eq!(readiness(&all, &at(100), 3), Ok(()));
        readiness(&all, &at(50), 3).unwrap_err();
        let few = node(&[(true, 100), (false, 100), (false, 99)]);
        readiness(&few, &at(100), 3).unwrap_err();
        let liar = node(&[(true, u64::MAX), (true, 100), (true, 99)]);
        assert_eq!(readiness(&liar, &at(100), 3), Ok(()));
    }
}
