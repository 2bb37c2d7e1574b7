//! A late leader: proposes when all the others have given the view up already, always as late as the first time.
//!
//! If anything but a finalization reset the back-off, it would keep time-outs short for ever (consensus.md, 3.9).

use super::{Behaviour, Hand};
use consensus::Message;

/// Latest proposal after its time, in ms: twelve times the usual delta.
const LATEST: u64 = 12 * 150;

#[derive(Default)]
pub(super) struct Late {
    by: Option<u64>,
}

impl Behaviour for Late {
    fn outgoing(&mut self, hand: &mut Hand<'_>, to: usize, message: Message) -> Option<Message> {
        if message.outline().is_none() {
            return Some(message);
        }
        let by = *self.by.get_or_insert_with(|| hand.random.below(LATEST));
        hand.send_later(by, to, message.encode());
        None
    }
}
