//! A model of rejoin and restart: validators that lose their journals, come back, and begin again together
//! (consensus.md 3.12), over two epochs with and without a swapped member.
//!
//! As in `vote_rules.rs` the attacker is favoured: every leader is byzantine, any certificate that the votes ever sent
//! allow may be shown to anyone, at any time, or to nobody. What is kept in addition is what each validator *holds*,
//! because that is what it proves to others. The state is too large to exhaust, so runs are random (a seed is a run)
//! or directed: the attacks that random runs hardly find, written down step by step.
//!
//! Random runs end with the honest alone: if no more than f are byzantine or below their floor, then whatever happened
//! before, they finalize a new block. A rule that is left out ([`rules::Bug`]) must be found as a fork or a dead end.

mod alone;
mod directed;
mod promises;
mod random;
mod rules;
mod step;
mod world;
