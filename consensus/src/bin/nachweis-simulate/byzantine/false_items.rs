//! Proposes by ids, and lies about them: ids that nobody has, in the wrong order, twice, too many; items that are others
//! than asked for; no answer at all. Answers what nobody asked, and asks for what is not there.

use super::{Behaviour, Hand};
use crate::items::cut;
use consensus::Message;
use consensus::items::{Item, Positions, id_of};
use consensus::message::{BodyItems, BodyReq, CompactProposal, Proposal};
use ledger::hash::{Hash, ItemId};
use ledger::id::View;

/// What it does with one of its proposals.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Trick {
    /// True ids, true answers.
    None,
    /// One id is of nothing.
    Nobodys,
    /// All are.
    AllNobodys,
    Reversed,
    Twice,
    /// One is left out: what is put together is too short.
    TooFew,
    /// True ids, other items.
    OtherItems,
    /// True ids, no answer, and no block for whoever fetches it.
    Silent,
}

const TRICKS: [Trick; 8] = [
    Trick::None,
    Trick::Nobodys,
    Trick::AllNobodys,
    Trick::Reversed,
    Trick::Twice,
    Trick::TooFew,
    Trick::OtherItems,
    Trick::Silent,
];

#[derive(Default)]
pub(super) struct FalseItems {
    current: Option<(View, Trick)>,
}

impl FalseItems {
    fn trick(&self) -> Trick {
        self.current.map_or(Trick::None, |(_, trick)| trick)
    }
}

impl Behaviour for FalseItems {
    fn outgoing(&mut self, hand: &mut Hand<'_>, _to: usize, message: Message) -> Option<Message> {
        match message {
            Message::Proposal(proposal) => {
                if self.current.is_none_or(|(view, _)| view != proposal.view) {
                    let trick = TRICKS[hand.random.index(TRICKS.len())];
                    self.current = Some((proposal.view, trick));
                }
                let compact = compact(&proposal, self.trick());
                Some(compact.unwrap_or(Message::Proposal(proposal)))
            }
            Message::BodyItems(answer) if self.trick() == Trick::OtherItems => {
                let items: Vec<Item> = answer.items.iter().map(spoilt).collect();
                let items = items.try_into().unwrap_or_default();
                let block = answer.block;
                Some(Message::BodyItems(BodyItems { block, items }))
            }
            Message::BodyItems(_) | Message::Block(_) if self.trick() == Trick::Silent => None,
            other => Some(other),
        }
    }

    fn tick(&mut self, hand: &mut Hand<'_>) {
        let to = hand.somebody();
        let Some(block) = hand.lore.blocks.keys().next_back().copied() else {
            return;
        };
        let count = hand.random.index(60);
        let message = if hand.random.chance(500) {
            let missing = Positions::new(count, 0..count);
            Message::BodyReq(BodyReq { block, missing })
        } else {
            let items = vec![Item::from(vec![7; count])].try_into();
            let items = items.unwrap_or_default();
            Message::BodyItems(BodyItems { block, items })
        };
        hand.send(to, &message);
    }
}

fn spoilt(item: &Item) -> Item {
    let mut bytes = item.to_vec();
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    Item::from(bytes)
}

/// The proposal by ids; none if its body has no items.
fn compact(proposal: &Proposal, trick: Trick) -> Option<Message> {
    let items = cut(&proposal.block.body)?;
    let mut ids: Vec<ItemId> = items.into_iter().map(id_of).collect();
    let nobodys = ItemId(Hash([0xee; 32]));
    match trick {
        Trick::None | Trick::OtherItems | Trick::Silent => {}
        Trick::Nobodys => *ids.last_mut()? = nobodys,
        Trick::AllNobodys => {
            let all = (0..ids.len()).map(|at| id_of(&at.to_le_bytes()));
            ids = all.collect();
        }
        Trick::Reversed => ids.reverse(),
        Trick::Twice => ids.push(*ids.first()?),
        Trick::TooFew => {
            ids.pop()?;
        }
    }
    Some(Message::CompactProposal(CompactProposal {
        view: proposal.view,
        parent_view: proposal.parent_view,
        header: proposal.block.header.clone(),
        ids: ids.try_into().ok()?,
        justification: proposal.justification.clone(),
        vote: proposal.vote,
    }))
}
