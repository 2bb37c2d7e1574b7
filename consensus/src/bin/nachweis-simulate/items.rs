//! What stands in the bodies of the simulation: records, evidence, and changes of the set.

use borsh::{BorshDeserialize, BorshSerialize};
use consensus::{Body, Layout};
use ledger::evidence::Evidence;

/// A record: its number, and a check word that only [`Record::submit`] makes, as a registrar's signature would be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, BorshSerialize, BorshDeserialize)]
pub(crate) struct Record(u64);

impl Record {
    /// The record of that number.
    pub(crate) const fn submit(number: u32) -> Self {
        Self(((number as u64) << 32) | Self::check_word(number))
    }

    /// A record that nobody submitted: its check word is wrong.
    pub(crate) const fn forged(number: u32) -> Self {
        Self(Self::submit(number).0 ^ 1)
    }

    pub(crate) fn number(self) -> u32 {
        u32::try_from(self.0 >> 32).unwrap_or(0)
    }

    pub(crate) fn is_genuine(self) -> bool {
        self == Self::submit(self.number())
    }

    const fn check_word(number: u32) -> u64 {
        crate::random::mix(number as u64) & 0xffff_ffff
    }
}

/// A change of the set: who leaves and who joins, as bits by validator. Takes effect with the block that holds it,
/// which is therefore a SEAL block. Changes have an order of their own, which the chain keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) struct Change {
    pub(crate) number: u32,
    pub(crate) leaves: u64,
    pub(crate) joins: u64,
    /// Made by [`Change::decide`] only, as the members' decision would be.
    check: u64,
}

impl Change {
    /// The change of that number.
    pub(crate) const fn decide(number: u32, leaves: u64, joins: u64) -> Self {
        let check = crate::random::mix(leaves ^ joins.rotate_left(32) ^ number as u64);
        Self {
            number,
            leaves,
            joins,
            check,
        }
    }

    pub(crate) fn is_genuine(&self) -> bool {
        *self == Self::decide(self.number, self.leaves, self.joins)
    }

    /// The members after it; `None` if it does not fit these.
    pub(crate) fn apply(&self, members: &[usize]) -> Option<Vec<usize>> {
        let bit = |validator: &usize| 1_u64.checked_shl(u32::try_from(*validator).ok()?);
        let have: u64 = members.iter().filter_map(bit).sum();
        if self.leaves & !have != 0 || self.joins & have != 0 {
            return None;
        }
        let after = (have & !self.leaves) | self.joins;
        Some(
            (0..64)
                .filter(|validator| after >> validator & 1 == 1)
                .collect(),
        )
    }
}

/// One item of a body.
#[expect(
    clippy::large_enum_variant,
    reason = "a run holds some hundred items at most"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq, BorshSerialize, BorshDeserialize)]
pub(crate) enum Item {
    Record(Record),
    Evidence(Evidence),
    Change(Change),
}

/// The items of a body; `None` if it is not made of items.
pub(crate) fn items(mut body: &[u8]) -> Option<Vec<Item>> {
    let mut items = Vec::new();
    while !body.is_empty() {
        items.push(Item::deserialize(&mut body).ok()?);
    }
    Some(items)
}

/// The items of a body as they travel alone; `None` if it is not made of items.
pub(crate) fn cut(body: &[u8]) -> Option<Vec<&[u8]>> {
    let mut items = Vec::new();
    let mut rest = body;
    while !rest.is_empty() {
        let from = rest;
        Item::deserialize(&mut rest).ok()?;
        items.push(from.get(..from.len() - rest.len())?);
    }
    Some(items)
}

/// How bodies are made of items.
pub(crate) const LAYOUT: Layout = Layout {
    cut,
    join: |items| {
        Body::from(
            items
                .iter()
                .flat_map(|item| item.to_vec())
                .collect::<Vec<u8>>(),
        )
    },
};

/// The body that these items make up.
pub(crate) fn body(items: &[Item]) -> Vec<u8> {
    let mut body = Vec::with_capacity(items.len() * 9);
    for item in items {
        body.extend(ledger::codec::encode(item));
    }
    body
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_are_read_back_and_rubbish_is_none() {
        let change = Change::decide(0, 1, 1 << 4);
        let all = [Item::Record(Record::submit(7)), Item::Change(change)];
        assert_eq!(items(&body(&all)).as_deref(), Some(&all[..]));
        assert_eq!(items(&[9]), None);
        assert_eq!(items(&body(&all)[1..]), None);
        assert_eq!(cut(&body(&all)[1..]), None);
        let body = body(&all);
        let parts = cut(&body).expect("items");
        assert_eq!(parts.len(), 2);
        let parts: Vec<_> = parts.into_iter().map(consensus::Item::from).collect();
        assert_eq!(*(LAYOUT.join)(&parts), *body);
    }

    #[test]
    fn a_change_fits_only_the_members_that_it_names() {
        let change = Change::decide(0, 1 << 2, 1 << 5);
        assert_eq!(change.apply(&[0, 1, 2, 3]), Some(vec![0, 1, 3, 5]));
        assert_eq!(change.apply(&[0, 1, 3]), None, "who leaves is not there");
        assert_eq!(change.apply(&[2, 5]), None, "who joins is there already");
    }
}
