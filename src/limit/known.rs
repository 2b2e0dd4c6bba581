//! Counters that Redis has said are used up, and until when.
//!
//! As a rule only time gives back what was taken, so until the wait that Redis named has passed
//! its answer is known, and a client that hammers costs no round trip. The wait is counted from
//! when the request arrived, before Redis was asked: never longer than the truth. What is given
//! back elsewhere, an operator who resets a key, and a failover that lost writes show within
//! [`TRUSTED_MAX`]: until then more is refused than must be, never less.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::sharded::{Idle, KEYS_MAX, Sharded};
use super::{CounterKey, Take};
use crate::clock::Tick;

/// How long an answer is trusted at most: a key that stays used up costs one call in ten
/// seconds, and whatever happened to Redis meanwhile shows as soon.
const TRUSTED_MAX: Duration = Duration::from_secs(10);

/// Keys known to be used up. Belongs to one Redis and goes with it.
#[derive(Debug)]
pub(super) struct Known {
    /// Whether anything was ever refused; most processes most of the time need no look-up.
    any: AtomicBool,
    refused: Sharded<Refused>,
}

#[derive(Clone, Copy, Debug)]
struct Refused {
    /// What the request would have cost: another cost has another wait.
    cost: u64,
    opens: Tick,
    trusted_until: Tick,
}

impl Idle for Refused {
    fn idle_at(&self) -> u64 {
        self.trusted_until.nanos()
    }
}

impl Known {
    /// Nothing known.
    pub(super) fn new() -> Self {
        Self { any: AtomicBool::new(false), refused: Sharded::new(KEYS_MAX) }
    }

    /// Notes that Redis refused `take` for so many milliseconds from `now` on. A full map
    /// forgets it: Redis is asked again.
    pub(super) fn note(&self, take: &Take, wait_ms: u64, now: Tick) {
        // A place among requests at once is free as soon as one of them ends.
        if !take.tier().algorithm().waits_are_known() {
            return;
        }
        let wait = Duration::from_millis(wait_ms);
        let (opens, trusted_until) = (now.plus(wait), now.plus(wait.min(TRUSTED_MAX)));
        let refused = Refused { cost: take.cost, opens, trusted_until };
        let key = &take.key;
        if let Some(mut shard) = self.refused.lock(self.refused.index(key))
            && (shard.get(key).is_some() || shard.has_room(now.nanos()))
        {
            shard.put(*key, refused);
            self.any.store(true, Ordering::Relaxed);
        }
    }

    /// How long `take` is known to stay refused. A request of another cost is not known: it may
    /// pass earlier, or must wait longer.
    pub(super) fn wait(&self, take: &Take, now: Tick) -> Option<Duration> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let mut shard = self.refused.lock(self.refused.index(&take.key))?;
        let refused = *shard.get(&take.key)?;
        if refused.trusted_until <= now {
            shard.remove(&take.key);
            return None;
        }
        (refused.cost == take.cost).then(|| refused.opens.since(now))
    }

    /// Forgets a key: something was given back to it.
    pub(super) fn forget(&self, key: &CounterKey) {
        if self.any.load(Ordering::Relaxed)
            && let Some(mut shard) = self.refused.lock(self.refused.index(key))
        {
            shard.remove(key);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::LimitRule;
    use super::super::testing::{rule, take};
    use super::*;

    fn at(ms: u64) -> Tick {
        Tick::from_nanos(ms * 1_000_000)
    }

    fn one_a_second() -> Arc<LimitRule> {
        rule("r", "{limit: 1, window: 1s, key: [clientIp]}")
    }

    #[test]
    fn a_refusal_is_known_until_its_wait_has_passed() {
        let (known, rule) = (Known::new(), one_a_second());
        let (free, spent) = (take(&rule, "free"), take(&rule, "spent"));
        assert_eq!(known.wait(&spent, at(0)), None);
        known.note(&spent, 700, at(100));
        assert_eq!(known.wait(&free, at(100)), None);
        let wait = |ms| Some(Duration::from_millis(ms));
        assert_eq!(known.wait(&spent, at(100)), wait(700));
        assert_eq!(known.wait(&spent, at(799)), wait(1));
        assert_eq!(known.wait(&spent, at(800)), None);
        known.note(&spent, 700, at(900));
        known.forget(&spent.key);
        assert_eq!(known.wait(&spent, at(900)), None);
    }

    #[test]
    fn a_long_wait_is_checked_with_redis_from_time_to_time() {
        let known = Known::new();
        let rule = rule("r", "{limit: 1, window: 1d, key: [clientIp]}");
        let take = take(&rule, "spent");
        known.note(&take, 86_400_000, at(0));
        assert_eq!(known.wait(&take, at(9_999)), Some(Duration::from_millis(86_400_000 - 9_999)));
        assert_eq!(known.wait(&take, at(10_000)), None);
    }

    #[test]
    fn a_refusal_says_nothing_of_another_cost() {
        let (known, rule) = (Known::new(), one_a_second());
        let dear = Take { cost: 5, ..take(&rule, "spent") };
        known.note(&dear, 700, at(0));
        assert!(known.wait(&dear, at(1)).is_some());
        for cost in [4, 6] {
            assert_eq!(known.wait(&Take { cost, ..dear.clone() }, at(1)), None);
        }
    }
}
