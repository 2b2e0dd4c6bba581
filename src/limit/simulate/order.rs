//! Requests in the order in which they began.
//!
//! A line is written when its request is over, so a slow request stands behind quick ones that
//! began later. Lines wait until what they could be overtaken by is older than any request that
//! a route's time limit lets be; what still comes too late is taken at the time reached by then.

use std::collections::BTreeMap;

/// How long lines wait, in milliseconds of the log: no route waits longer for its service.
const WINDOW_MS: u64 = 30_000;

/// Lines that wait, at most; then the oldest wait no longer.
const WAITING_MAX: usize = 262_144;

/// A queue that puts items in order.
#[derive(Debug)]
pub struct Order<T> {
    waiting: BTreeMap<(u64, u64), T>,
    pushed: u64,
    newest_ms: u64,
    reached_ms: u64,
    /// Items that came too late for their place.
    pub late: u64,
}

impl<T> Default for Order<T> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), pushed: 0, newest_ms: 0, reached_ms: 0, late: 0 }
    }
}

impl<T> Order<T> {
    /// Takes an item of this time.
    pub fn push(&mut self, at_ms: u64, item: T) {
        self.pushed += 1;
        self.newest_ms = self.newest_ms.max(at_ms);
        if at_ms < self.reached_ms {
            self.late += 1;
        }
        self.waiting.insert((at_ms.max(self.reached_ms), self.pushed), item);
    }

    /// The next item that nothing can overtake any more, and its time.
    pub fn due(&mut self) -> Option<(u64, T)> {
        let (oldest_ms, _) = *self.waiting.first_key_value()?.0;
        let is_due = oldest_ms.saturating_add(WINDOW_MS) <= self.newest_ms;
        if is_due || self.waiting.len() > WAITING_MAX { self.rest() } else { None }
    }

    /// The next item when there is nothing more to come, and its time.
    pub fn rest(&mut self) -> Option<(u64, T)> {
        let ((at_ms, _), item) = self.waiting.pop_first()?;
        self.reached_ms = at_ms;
        Some((at_ms, item))
    }
}
