//! Twins: a second, unmodified process with the same keys and the same view of itself. In each view some of the others
//! hear one of the two, some the other, some both; `world::carry` sees to it.

use super::Behaviour;
use crate::random::mix;
use ledger::id::View;

pub(super) struct Twins;

impl Behaviour for Twins {}

/// Whether one of two twins and another node hear each other while it is in this view.
pub(crate) fn hears(twin: usize, is_first: bool, other: usize, view: View) -> bool {
    let sides = mix(view.0 ^ (other as u64) << 40 ^ (twin as u64) << 48) % 4;
    match sides {
        0 => is_first,
        1 => !is_first,
        _ => true,
    }
}
