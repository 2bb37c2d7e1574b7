//! One epoch's run of the protocol: all that is forgotten when the next epoch begins (consensus.md, 3.6 and 3.15).
//!
//! It is replaced as a whole at the switch, so that nothing of an epoch can leak into the next one. What outlives an
//! epoch is in [`super::Engine`] beside it: the key's guard, the blocks, the peers, the outbox.

use super::assembly::Assemblies;
use super::catch_up::CatchUp;
use super::certificates::Certificates;
use super::commit::FinalChain;
use super::fetch::Fetches;
use super::propose::Building;
use super::readiness::NextSets;
use super::rejoin::Rejoin;
use super::slots::Slots;
use super::start_check::StartCheck;
use super::tally::Tally;
use super::work::{Current, Work};
use crate::epoch::EpochInfo;
use alloc::sync::Arc;
use ledger::id::View;

/// What there is of one epoch.
#[derive(Debug)]
pub(super) struct Run {
    pub(super) epoch: Arc<EpochInfo>,
    pub(super) tally: Tally,
    pub(super) certificates: Certificates,
    pub(super) slots: Slots,
    pub(super) final_chain: FinalChain,
    pub(super) current: Current,
    pub(super) work: Work,
    pub(super) build: Option<Building>,
    pub(super) assemblies: Assemblies,
    pub(super) fetches: Fetches,
    pub(super) catch_up: CatchUp,
    pub(super) start_check: StartCheck,
    pub(super) rejoin: Rejoin,
    pub(super) next_sets: NextSets,
    /// The SEAL block is committed: the epoch is over.
    pub(super) sealed: bool,
}

impl Run {
    /// A run that stands in `view`.
    pub(super) fn new(epoch: Arc<EpochInfo>, mut certificates: Certificates, view: View) -> Self {
        certificates.refresh_run(view);
        Self {
            epoch,
            tally: Tally::default(),
            certificates,
            slots: Slots::default(),
            final_chain: FinalChain::default(),
            current: Current::new(view),
            work: Work::default(),
            build: None,
            assemblies: Assemblies::default(),
            fetches: Fetches::default(),
            catch_up: CatchUp::default(),
            start_check: StartCheck::default(),
            rejoin: Rejoin::default(),
            next_sets: NextSets::default(),
            sealed: false,
        }
    }
}
