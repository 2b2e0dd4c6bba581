//! Counters that Redis has said are used up, and until when.
//!
//! Only time gives back what both algorithms took, so until the wait that Redis named has passed
//! its answer is known, and a client that hammers costs no round trip. The wait is counted from
//! when the request arrived, before Redis was asked: never longer than the truth.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::Take;
use super::sharded::{Idle, KEYS_MAX, Sharded};
use crate::clock::Tick;

/// How long an answer is trusted at most, so that an operator who empties Redis, or a failover
/// that lost writes, shows soon.
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

    /// Notes that Redis refused `key` for `wait` from `now` on. A full map forgets it: Redis is
    /// asked again.
    pub(super) fn note(&self, key: &str, wait: Duration, now: Tick) {
        let refused =
            Refused { opens: now.plus(wait), trusted_until: now.plus(wait.min(TRUSTED_MAX)) };
        if let Some(mut shard) = self.refused.lock(self.refused.index(key))
            && (shard.get(key).is_some() || shard.has_room(now.nanos()))
        {
            shard.put(key, refused);
            self.any.store(true, Ordering::Relaxed);
        }
    }

    /// How long each of `takes` is known to stay refused; nothing unless one is.
    pub(super) fn waits(&self, takes: &[Take], now: Tick) -> Option<Vec<Option<Duration>>> {
        if !self.any.load(Ordering::Relaxed) {
            return None;
        }
        let first = takes.iter().position(|take| self.wait(&take.key, now).is_some())?;
        let waits = takes.iter().enumerate();
        Some(waits.map(|(n, take)| (n >= first).then(|| self.wait(&take.key, now))?).collect())
    }

    fn wait(&self, key: &str, now: Tick) -> Option<Duration> {
        let mut shard = self.refused.lock(self.refused.index(key))?;
        let refused = *shard.get(key)?;
        if refused.trusted_until > now {
            return Some(refused.opens.since(now));
        }
        shard.remove(key);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{rule, take};
    use super::*;

    fn at(ms: u64) -> Tick {
        Tick::from_nanos(ms * 1_000_000)
    }

    #[test]
    fn a_refusal_is_known_until_its_wait_has_passed() {
        let known = Known::new();
        let rule = rule("r", "{limit: 1, window: 1s, key: [clientIp]}");
        let takes = [take(&rule, "free"), take(&rule, "spent")];
        assert_eq!(known.waits(&takes, at(0)), None);
        known.note(&takes[1].key, Duration::from_millis(700), at(100));
        assert_eq!(known.waits(&takes[..1], at(100)), None);
        let wait = |ms| Some(vec![None, Some(Duration::from_millis(ms))]);
        assert_eq!(known.waits(&takes, at(100)), wait(700));
        assert_eq!(known.waits(&takes, at(799)), wait(1));
        assert_eq!(known.waits(&takes, at(800)), None);
    }

    #[test]
    fn a_long_wait_is_checked_with_redis_from_time_to_time() {
        let known = Known::new();
        let rule = rule("r", "{limit: 1, window: 1d, key: [clientIp]}");
        let takes = [take(&rule, "spent")];
        known.note(&takes[0].key, Duration::from_hours(24), at(0));
        let wait = known.waits(&takes, at(9_999)).unwrap()[0].unwrap();
        assert_eq!(wait, Duration::from_millis(86_400_000 - 9_999));
        assert_eq!(known.waits(&takes, at(10_000)), None);
    }
}
