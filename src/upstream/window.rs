//! A count over the last while, without a lock.
//!
//! The time that is looked back on is cut into ten slots which are used in turn. A slot carries
//! the number of its turn beside its count, in one word: whoever comes first in a new turn
//! begins at nothing again. Two threads that meet there may lose or keep one count, no more.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::clock::Moment;

/// Slots of a window: it forgets in steps of a tenth of its length.
const SLOTS: usize = 10;

/// A count over a window. The window's length is given with each call, because it is a setting
/// while the count outlives settings; after a change of length old counts are forgotten.
#[derive(Debug, Default)]
pub(super) struct Window {
    /// The turn in the upper half, the count in the lower.
    slots: [AtomicU64; SLOTS],
}

impl Window {
    /// Counts one.
    pub(super) fn add(&self, now: Moment, length: Duration) {
        let turn = turn(now, length);
        let Some(slot) = self.slot(turn) else { return };
        let mut held = slot.load(Ordering::Relaxed);
        while held >> 32 != turn {
            let fresh = turn << 32 | 1;
            match slot.compare_exchange(held, fresh, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return,
                Err(other) => held = other,
            }
        }
        slot.fetch_add(1, Ordering::Relaxed);
    }

    /// Takes one back that was counted just before.
    pub(super) fn take_back(&self, now: Moment, length: Duration) {
        let turn = turn(now, length);
        let Some(slot) = self.slot(turn) else { return };
        let back =
            |held: u64| (held >> 32 == turn && held & COUNT > 0).then(|| held.saturating_sub(1));
        let _ = slot.fetch_update(Ordering::Relaxed, Ordering::Relaxed, back);
    }

    /// What was counted in the last `length`, give or take a tenth.
    pub(super) fn sum(&self, now: Moment, length: Duration) -> u64 {
        let turn = turn(now, length);
        self.slots
            .iter()
            .map(|slot| slot.load(Ordering::Relaxed))
            .filter(|held| turn.saturating_sub(held >> 32) < SLOTS as u64)
            .map(|held| held & COUNT)
            .sum()
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        for slot in &self.slots {
            slot.store(0, Ordering::Relaxed);
        }
    }

    fn slot(&self, turn: u64) -> Option<&AtomicU64> {
        self.slots.get(usize::try_from(turn % SLOTS as u64).unwrap_or(0))
    }
}

/// The lower half of a slot.
const COUNT: u64 = 0xffff_ffff;

/// The number of the slot that a moment falls into; the first is 1, so that an unused slot is of
/// no turn at all. Half a word is enough: with slots of a millisecond for 49 days, after which
/// one window is counted from nothing.
fn turn(now: Moment, length: Duration) -> u64 {
    let nanos = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
    let slot = (nanos / SLOTS as u64).max(1_000_000);
    (now.tick.nanos() / slot + SLOTS as u64) & COUNT
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::Window;
    use crate::upstream::fixtures::at;

    const TEN: Duration = Duration::from_secs(10);

    #[test]
    fn what_is_older_than_the_window_is_forgotten() {
        let window = Window::default();
        assert_eq!(window.sum(at(0), TEN), 0);
        window.add(at(0), TEN);
        window.add(at(4), TEN);
        window.add(at(4), TEN);
        assert_eq!(window.sum(at(4), TEN), 3);
        assert_eq!(window.sum(at(9), TEN), 3, "the first is nine seconds old");
        assert_eq!(window.sum(at(10), TEN), 2);
        assert_eq!(window.sum(at(14), TEN), 0);
        window.add(at(1000), TEN);
        assert_eq!(window.sum(at(1000), TEN), 1, "slots are used again");
    }

    #[test]
    fn what_was_taken_back_does_not_count() {
        let window = Window::default();
        window.take_back(at(3), TEN);
        assert_eq!(window.sum(at(3), TEN), 0, "never below nothing");
        window.add(at(3), TEN);
        window.add(at(3), TEN);
        window.take_back(at(3), TEN);
        assert_eq!(window.sum(at(3), TEN), 1);
        window.clear();
        assert_eq!(window.sum(at(3), TEN), 0);
    }

    #[test]
    fn threads_lose_nothing_within_a_slot() {
        let window = Window::default();
        window.add(at(5), TEN);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| (0..10_000).for_each(|_| window.add(at(5), TEN)));
            }
        });
        assert_eq!(window.sum(at(5), TEN), 40_001);
    }
}
