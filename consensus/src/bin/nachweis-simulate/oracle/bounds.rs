//! I12: what an engine holds stays within consensus.md, 3.18, whoever sends what. The numbers are written out here anew.

use crate::violation::{Checked, Invariant, check};
use consensus::message::{MAX_SYNC_BLOCKS, MAX_SYNC_HEADERS};
use consensus::{EngineStatus, Held};

/// Views below the current one whose votes may still count.
const BEHIND: u64 = 16;
/// Blocks, without those that one answer may bring at once.
const BLOCKS: usize = 64;
/// Bytes of bodies, without those.
const BODY_BYTES: usize = 64 << 20;
/// What one answer brings at most: 4 MiB, or one longer block.
const ANSWER_BYTES: usize = 6 << 20;
/// Blocks asked for at the same time.
const WANTS: usize = 32;
/// Sets that SEAL blocks may bring.
const SETS: usize = 64;
/// Nodes that are no validators.
const OTHERS: usize = 64;

/// What bounds an engine's memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bounds {
    /// Nodes that may ever be validators.
    pub(crate) nodes: usize,
    /// Views ahead of which votes are taken.
    pub(crate) window: u64,
}

impl Bounds {
    pub(crate) fn check(&self, held: &Held, status: &EngineStatus) -> Checked {
        let ahead = count(self.window);
        let views = count(BEHIND) + 1 + ahead;
        let answered = BLOCKS + MAX_SYNC_BLOCKS;
        let open = status.view.0.saturating_sub(status.finalized_view.0);
        let all = [
            ("views with votes", held.voted_views, views),
            ("votes", held.votes, views * 3 * self.nodes),
            ("proposals", held.proposals, 2 + ahead),
            // One that notarizes and one that nullifies, above what is final and up to the view before this.
            ("certificates", held.certificates, 2 * count(open)),
            ("blocks", held.blocks, answered),
            (
                "bytes of bodies",
                held.body_bytes,
                BODY_BYTES + ANSWER_BYTES,
            ),
            (
                "final hashes",
                held.final_hashes,
                answered + MAX_SYNC_HEADERS,
            ),
            // One for each proposal whose body is kept, and one for each that came to nothing.
            ("assemblies", held.assemblies, 2 + ahead),
            ("blocks asked for", held.wants, WANTS),
            ("wrong bodies", held.shunned, answered * self.nodes),
            ("next sets", held.next_sets, SETS),
            ("peers", held.peers, self.nodes + OTHERS),
        ];
        for (what, found, most) in all {
            check(found <= most, Invariant::Bounds, || {
                format!(
                    "an engine in view {} holds {found} {what}, at most {most}",
                    status.view
                )
            })?;
        }
        Ok(())
    }
}

fn count(views: u64) -> usize {
    usize::try_from(views).unwrap_or(usize::MAX)
}
