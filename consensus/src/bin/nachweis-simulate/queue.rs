//! The order of events: by time, then in the order in which they were planned.

use crate::clock::Time;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// What is going to happen. Items stay where they are put: only their keys move within the heap.
pub(crate) struct Queue<T> {
    heap: BinaryHeap<Reverse<(Time, u64, usize)>>,
    items: Vec<Option<T>>,
    free: Vec<usize>,
    planned: u64,
}

impl<T> Queue<T> {
    pub(crate) const fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            items: Vec::new(),
            free: Vec::new(),
            planned: 0,
        }
    }

    pub(crate) fn plan(&mut self, at: Time, item: T) {
        self.planned += 1;
        let place = self.free.pop().unwrap_or(self.items.len());
        if place == self.items.len() {
            self.items.push(Some(item));
        } else {
            self.items[place] = Some(item);
        }
        self.heap.push(Reverse((at, self.planned, place)));
    }

    /// The next event, if it happens by `until`.
    pub(crate) fn next(&mut self, until: Time) -> Option<(Time, T)> {
        let Reverse((at, _, place)) = *self.heap.peek()?;
        if at > until {
            return None;
        }
        self.heap.pop();
        self.free.push(place);
        self.items[place].take().map(|item| (at, item))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_then_in_the_order_of_planning() {
        let mut queue = Queue::new();
        queue.plan(5, 'b');
        queue.plan(3, 'a');
        queue.plan(5, 'c');
        queue.plan(9, 'd');
        let order: String = std::iter::from_fn(|| queue.next(8))
            .map(|(_, c)| c)
            .collect();
        assert_eq!(order, "abc");
    }
}
