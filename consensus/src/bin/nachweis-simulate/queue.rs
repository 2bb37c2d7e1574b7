//! The order of events: by time, then in the order in which they were planned.

use crate::clock::Time;
use std::cmp::Reverse;
use std::collections::BinaryHeap;

struct Entry<T> {
    key: Reverse<(Time, u64)>,
    item: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

/// What is going to happen.
pub(crate) struct Queue<T> {
    heap: BinaryHeap<Entry<T>>,
    planned: u64,
}

impl<T> Queue<T> {
    pub(crate) const fn new() -> Self {
        Self {
            heap: BinaryHeap::new(),
            planned: 0,
        }
    }

    pub(crate) fn plan(&mut self, at: Time, item: T) {
        self.planned += 1;
        self.heap.push(Entry {
            key: Reverse((at, self.planned)),
            item,
        });
    }

    /// The next event, if it happens by `until`.
    pub(crate) fn next(&mut self, until: Time) -> Option<(Time, T)> {
        let Reverse((at, _)) = self.heap.peek()?.key;
        if at > until {
            return None;
        }
        self.heap.pop().map(|entry| (at, entry.item))
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
