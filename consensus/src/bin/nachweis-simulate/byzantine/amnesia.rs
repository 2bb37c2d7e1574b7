//! Amnesia: its messages are honest, but every now and then its process starts again from an older journal, or from
//! none, and does not know what it signed; or a second computer starts from a copy of its disk. `world::faults` does that
//! to it.

use super::Behaviour;

pub(super) struct Amnesia;

impl Behaviour for Amnesia {}
