//! The scripts: in each view every honest validator is on the side of one twin, of both or of none.
//!
//! What matters of a view is its *class*: whether a twin leads it, where its honest leader stands, and how many of the
//! other honest validators stand where. Which of two like validators is which, and which twin is which, is not part of
//! a class; it is drawn from the script's number, anew in every view.

use crate::random::mix;
use std::fmt;

/// The side of the first twin.
pub(super) const A: u8 = 1;
/// The side of the second.
pub(super) const B: u8 = 2;
/// Honest validators.
const HONEST: usize = 3;
const VALIDATORS: usize = HONEST + 1;

/// Where the honest validators stand, in the order of their turns to lead.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sides([u8; HONEST]);

impl Sides {
    pub(super) fn of(&self, turn: usize) -> u8 {
        self.0.get(turn).copied().unwrap_or(0)
    }

    /// With the twins' sides exchanged.
    fn swapped(self) -> Self {
        Self(self.0.map(|side| (side & A) << 1 | side >> 1))
    }

    /// The representative of its class: the first `like` validators may change places, and so may the twins.
    fn canonical(self, like: usize) -> Self {
        let sorted = |Self(mut sides): Self| {
            sides[..like].sort_unstable();
            Self(sides)
        };
        sorted(self).min(sorted(self.swapped()))
    }
}

impl fmt::Display for Sides {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.0.map(|side| match side {
            A => "A",
            B => "B",
            0 => "-",
            _ => "AB",
        });
        f.write_str(&text.join(" "))
    }
}

/// All classes of a view with so many like validators: three if a twin leads, two beside an honest leader, who is last.
fn classes(like: usize) -> Vec<Sides> {
    let all = (0..4_u8.pow(3)).map(|code| Sides([code & 3, code >> 2 & 3, code >> 4]));
    all.filter(|sides| sides.canonical(like) == *sides)
        .collect()
}

/// All scripts of so many views.
pub(super) struct Views {
    views: usize,
    twin_leads: Vec<Sides>,
    honest_leads: Vec<Sides>,
}

impl Views {
    pub(super) fn new(views: u32) -> Self {
        Self {
            views: usize::try_from(views).unwrap_or(0),
            twin_leads: classes(HONEST),
            honest_leads: classes(HONEST - 1),
        }
    }

    /// The classes of a view, if the twin's turn is that one.
    fn of(&self, view: usize, turn: usize) -> &[Sides] {
        if view % VALIDATORS == turn {
            &self.twin_leads
        } else {
            &self.honest_leads
        }
    }

    fn cases_of(&self, turn: usize) -> u64 {
        let classes = (0..self.views).map(|view| self.of(view, turn).len() as u64);
        classes.product()
    }

    pub(super) fn cases(&self) -> u64 {
        (0..VALIDATORS).map(|turn| self.cases_of(turn)).sum()
    }

    /// The script behind a number: the twin's turn, and where everybody stands in each view.
    pub(super) fn case(&self, number: u64) -> (usize, Vec<Sides>) {
        let mut left = number % self.cases();
        let mut turn = 0;
        while left >= self.cases_of(turn) {
            left -= self.cases_of(turn);
            turn += 1;
        }
        let views = (0..self.views).map(|view| {
            let classes = self.of(view, turn);
            let count = classes.len() as u64;
            let class = classes[usize::try_from(left % count).unwrap_or(0)];
            left /= count;
            let chance = mix(number ^ (view as u64) << 56 ^ 0x7717);
            concrete(class, view, turn, chance)
        });
        (turn, views.collect())
    }
}

/// One member of a class.
fn concrete(class: Sides, view: usize, twin: usize, chance: u64) -> Sides {
    let leader = view % VALIDATORS;
    let mut sides = class.0;
    if leader == twin {
        sides.rotate_left(usize::try_from(chance % 3).unwrap_or(0));
    } else {
        // The leader was last; its place is its turn among the honest ones.
        let turn = leader - usize::from(leader > twin);
        if chance & 2 == 2 {
            sides.swap(0, 1);
        }
        sides[turn..].rotate_right(1);
    }
    if chance >> 2 & 1 == 1 {
        Sides(sides).swapped()
    } else {
        Sides(sides)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn there_are_13_classes_under_a_twin_and_24_under_an_honest_leader() {
        assert_eq!(classes(3).len(), 13);
        assert_eq!(classes(2).len(), 24);
        assert_eq!(Views::new(4).cases(), 4 * 13 * 24 * 24 * 24);
    }

    #[test]
    fn all_scripts_of_one_view_are_all_classes_and_a_number_always_is_the_same() {
        let views = Views::new(1);
        let mut found = BTreeSet::new();
        for number in 0..views.cases() {
            let (turn, sides) = views.case(number);
            assert_eq!(views.case(number), (turn, sides.clone()));
            let mut sides = sides[0];
            if turn != 0 {
                // The leader, whose turn is the first, goes last again.
                sides.0.rotate_left(1);
            }
            let like = if turn == 0 { 3 } else { 2 };
            found.insert((turn, sides.canonical(like)));
        }
        assert_eq!(found.len() as u64, views.cases());
    }
}
