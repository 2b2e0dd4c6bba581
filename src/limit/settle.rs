//! What is settled with the shared counters after a request was decided.
//!
//! No request waits for it: it goes through a bounded queue to the upkeep of the limiter. What
//! finds the queue full, or Redis away, is dropped and counted: the error is one of a few tokens.

use crossbeam_queue::ArrayQueue;
use prometheus::IntCounter;
use tokio::sync::Notify;

use super::Take;
use crate::clock::Tick;

/// What may wait to be settled.
const QUEUE: usize = 16_384;

/// Something to settle with a counter.
#[derive(Debug)]
pub(super) enum Due {
    /// The request cost so much more than was taken.
    Charge {
        /// The counter.
        take: Take,
        /// How much more.
        amount: u64,
    },
    /// So much was taken and is not needed.
    GiveBack {
        /// The counter.
        take: Take,
        /// How much.
        amount: u64,
        /// The window that it was taken in, as the reply told.
        epoch_ms: u64,
        /// By which name of this node's the Redis knows it that this was taken from in advance
        /// (`Fleet::id`): another one has nothing to give back. None for what a request took.
        fleet: Option<u64>,
        /// From then on it must not be given back any more, nor be tried twice: what is counted
        /// as given back twice, or after a bucket got it back by itself, is admitted twice.
        until: Tick,
    },
    /// A request that held a place is over.
    Release {
        /// The counter.
        take: Take,
        /// What names the request there.
        member: u64,
    },
}

impl Due {
    /// Whether it may still be settled, with the Redis that knows this node by that name.
    pub(super) fn may_be_settled(&self, with: u64, now: Tick) -> bool {
        match self {
            Self::GiveBack { fleet, until, .. } => {
                now < *until && fleet.is_none_or(|fleet| fleet == with)
            }
            Self::Charge { .. } | Self::Release { .. } => true,
        }
    }
}

/// The queue.
#[derive(Debug)]
pub(super) struct Settle {
    queue: ArrayQueue<Due>,
    wake: Notify,
    /// Held by who settles something: who waits for it knows that nothing is on its way.
    pub(super) turn: tokio::sync::Mutex<()>,
    dropped: IntCounter,
}

impl Settle {
    /// An empty queue; what never gets through is counted in `dropped`.
    pub(super) fn new(dropped: IntCounter) -> Self {
        Self {
            queue: ArrayQueue::new(QUEUE),
            wake: Notify::new(),
            turn: tokio::sync::Mutex::new(()),
            dropped,
        }
    }

    /// Leaves something to be settled; false where the queue is full and it was dropped.
    pub(super) fn put(&self, due: Due) -> bool {
        let put = self.queue.push(due).is_ok();
        if !put {
            self.note_dropped(1);
        }
        self.wake.notify_one();
        put
    }

    /// Counts what will not be settled.
    pub(super) fn note_dropped(&self, count: usize) {
        self.dropped.inc_by(u64::try_from(count).unwrap_or(u64::MAX));
    }

    /// Takes out what waits, at most so many.
    pub(super) fn next(&self, most: usize) -> Vec<Due> {
        std::iter::from_fn(|| self.queue.pop()).take(most).collect()
    }

    /// Waits until something may have been put since it was found empty.
    pub(super) async fn filled(&self) {
        self.wake.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{rule, take};
    use super::*;

    #[test]
    fn what_finds_the_queue_full_is_dropped_and_counted() {
        let dropped = IntCounter::new("dropped", "dropped").unwrap();
        let settle = Settle::new(dropped.clone());
        let take = take(&rule("r", "{limit: 9, window: 1m, key: [clientIp]}"), "a");
        let charge = || Due::Charge { take: take.clone(), amount: 1 };
        assert!((0..QUEUE).all(|_| settle.put(charge())));
        assert_eq!(dropped.get(), 0);
        assert!(!settle.put(charge()));
        assert_eq!(dropped.get(), 1);
        assert_eq!(settle.next(7).len(), 7);
        assert!(settle.put(charge()));
    }
}
