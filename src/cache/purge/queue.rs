//! Purges of this node that the others are to be told.

use std::collections::{HashSet, VecDeque};

use super::order::Order;
use super::tag::Target;

/// Purges of this node that wait for Redis. Of more, others are told to purge everything.
const WAITING_MAX: usize = 4_096;

/// Purges that others are to be told, in order.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: VecDeque<Order>,
    /// Those that are in no message yet, so that one more of the same need not wait beside it.
    unsent: HashSet<Order>,
    /// The place of the first.
    first: u64,
}

impl Queue {
    /// Adds a purge, unless the same waits already; says whether there was no room, so that it
    /// became a purge of everything.
    pub(super) fn push(&mut self, order: Order) -> bool {
        if !self.unsent.insert(order.clone()) {
            return false;
        }
        let is_full = self.waiting.len() >= WAITING_MAX;
        if is_full {
            self.first += self.waiting.len() as u64;
            self.clear();
            let tags = std::iter::once(Target::Everything.tag(None)).collect();
            self.waiting.push_back(Order { tags, soft: false });
        } else {
            self.waiting.push_back(order);
        }
        is_full
    }

    pub(super) fn clear(&mut self) {
        self.waiting.clear();
        self.unsent.clear();
    }

    /// The place behind the last.
    pub(super) fn end(&self) -> u64 {
        self.first + self.waiting.len() as u64
    }

    pub(super) fn orders(&self) -> impl Iterator<Item = &Order> {
        self.waiting.iter()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.len()
    }

    /// The first few as messages, and the place behind them. They stay until they are
    /// [`told`](Self::told); until then the same purge has the same name.
    pub(super) fn messages(&mut self, node: u64, most: usize) -> (Vec<String>, u64) {
        let count = most.min(self.waiting.len());
        let place = |n: usize| self.first + n as u64;
        let message = |(n, order): (usize, &Order)| order.message(node, place(n));
        let messages: Vec<String> =
            self.waiting.iter().take(count).enumerate().map(message).collect();
        let upto = place(count);
        for order in self.waiting.iter().take(count) {
            self.unsent.remove(order);
        }
        (messages, upto)
    }

    /// What stands before this place has been told.
    pub(super) fn told(&mut self, upto: u64) {
        while self.first < upto && self.waiting.pop_front().is_some() {
            self.first += 1;
        }
    }
}
