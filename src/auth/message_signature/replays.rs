//! Nonces that were used lately on this node: exact until it is full, and then it says so.
//!
//! A nonce that is forgotten too early lets a request be repeated, so nothing is ever pushed
//! out: what does not fit is not noted, and the caller decides what that means.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashSet};

use parking_lot::Mutex;
use prometheus::IntGauge;

use crate::clock::Tick;

/// Nonces that are remembered: 1400 signed requests a second at the usual `maxAge`, in at most
/// 40 MiB.
pub(super) const NONCES: usize = 512 * 1024;

/// Parts with a lock each. Only signed requests meet one, for less than a microsecond beside the
/// tens that verifying them takes.
const SHARDS: usize = 16;

/// Half of a SHA-256: whoever finds two nonces with the same one has only spent both.
type Id = [u64; 2];

/// What is known of a nonce.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// It is new, and noted.
    New,
    /// It was used before.
    Before,
    /// It was not noted, and it is not known whether it was used before the table was full.
    Full,
}

/// Nonces that were used lately.
#[derive(Debug)]
pub(super) struct Replays {
    shards: [Mutex<Shard>; SHARDS],
    shard_size: usize,
    held: IntGauge,
}

#[derive(Debug, Default)]
struct Shard {
    seen: HashSet<Id>,
    /// When each may be forgotten, the earliest first.
    ends: BinaryHeap<Reverse<(Tick, Id)>>,
}

impl Replays {
    /// An empty table for about so many nonces.
    pub(super) fn new(nonces: usize, held: IntGauge) -> Self {
        let shards = std::array::from_fn(|_| Mutex::default());
        Self { shards, shard_size: nonces.div_ceil(SHARDS), held }
    }

    /// Notes a nonce until `end`, unless it was noted before.
    pub(super) fn note(&self, hash: &[u8; 32], end: Tick, now: Tick) -> Seen {
        let (halves, _) = hash.as_chunks::<8>();
        let half = |at: usize| halves.get(at).copied().map_or(0, u64::from_be_bytes);
        let id = [half(0), half(1)];
        // The rest of the hash spreads nonces evenly and independently of `id`.
        let index = usize::from(hash.last().copied().unwrap_or(0)) % SHARDS;
        let Some(shard) = self.shards.get(index) else { return Seen::Full };
        let mut shard = shard.lock();
        let forgotten = shard.forget(now);
        let seen = shard.note(id, end, self.shard_size);
        drop(shard);
        self.held.sub(forgotten);
        if seen == Seen::New {
            self.held.inc();
        }
        seen
    }
}

impl Shard {
    /// Forgets what can count no more; returns how many.
    fn forget(&mut self, now: Tick) -> i64 {
        let mut forgotten = 0;
        while self.ends.peek().is_some_and(|Reverse((end, _))| *end <= now) {
            if let Some(Reverse((_, id))) = self.ends.pop() {
                self.seen.remove(&id);
                forgotten += 1;
            }
        }
        forgotten
    }

    fn note(&mut self, id: Id, end: Tick, most: usize) -> Seen {
        if self.seen.contains(&id) {
            return Seen::Before;
        }
        if self.seen.len() >= most {
            return Seen::Full;
        }
        self.seen.insert(id);
        self.ends.push(Reverse((end, id)));
        Seen::New
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use ring::digest::{SHA256, digest};

    use super::*;

    fn hash(number: u64) -> [u8; 32] {
        digest(&SHA256, &number.to_be_bytes()).as_ref().try_into().unwrap()
    }

    fn at(ms: u64) -> Tick {
        Tick::from_nanos(0).plus(Duration::from_millis(ms))
    }

    #[test]
    fn a_nonce_counts_once_until_it_may_be_forgotten() {
        let held = IntGauge::new("held", "held").unwrap();
        let replays = Replays::new(1600, held.clone());
        assert_eq!(replays.note(&hash(1), at(100), at(0)), Seen::New);
        assert_eq!(replays.note(&hash(1), at(100), at(0)), Seen::Before);
        assert_eq!(replays.note(&hash(2), at(900), at(0)), Seen::New);
        assert_eq!(replays.note(&hash(1), at(100), at(99)), Seen::Before);
        assert_eq!(held.get(), 2);
        assert_eq!(replays.note(&hash(1), at(1000), at(100)), Seen::New, "forgotten at its end");
        assert_eq!(replays.note(&hash(2), at(900), at(899)), Seen::Before);
        assert_eq!(held.get(), 2);
    }

    #[test]
    fn a_full_table_forgets_nothing_and_takes_no_more() {
        let held = IntGauge::new("held", "held").unwrap();
        let replays = Replays::new(160, held.clone());
        let first: Vec<Seen> = (0..1000).map(|n| replays.note(&hash(n), at(50), at(0))).collect();
        let new = first.iter().filter(|seen| **seen == Seen::New).count();
        assert_eq!(new, 160, "every part is full");
        assert_eq!(held.get(), 160);
        for (number, seen) in (0..1000).zip(&first) {
            let expected = if *seen == Seen::New { Seen::Before } else { Seen::Full };
            assert_eq!(replays.note(&hash(number), at(50), at(49)), expected, "{number}");
        }
        let fresh = (2000..2010).all(|n| replays.note(&hash(n), at(99), at(50)) == Seen::New);
        assert!(fresh, "there is room again");
    }
}
