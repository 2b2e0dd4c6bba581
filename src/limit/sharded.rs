//! A map of bounded size from counter keys to small values.
//!
//! Split into shards, each under a lock that is held for the few nanoseconds of a look-up and
//! never across an `await`: several keys of one request must change together, which atomics
//! cannot do, and two requests rarely meet in one of 64 shards.
//!
//! A full shard drops values that have become idle (those that say no more than a missing one),
//! and remembers when the next will: a flood of new keys costs one sweep, not one each.

use std::collections::HashMap;
use std::hash::BuildHasher;

use parking_lot::{Mutex, MutexGuard};

use super::CounterKey;
use super::mix::Mix;

/// Shards of a map.
pub(super) const SHARDS: usize = 64;

/// Keys in all shards together. At about 150 bytes each this bounds a map to 10 MiB.
pub(super) const KEYS_MAX: usize = 65_536;

/// A value that stops to matter at some time.
pub(super) trait Idle {
    /// When the value says no more than a missing one; any unit, the same for a whole map.
    fn idle_at(&self) -> u64;
}

/// The map.
#[derive(Debug)]
pub(super) struct Sharded<V> {
    hasher: Mix,
    shards: Box<[Mutex<Shard<V>>]>,
}

/// A part of the map.
#[derive(Debug)]
pub(super) struct Shard<V> {
    values: HashMap<CounterKey, V, Mix>,
    capacity: usize,
    /// Before this time a sweep would find nothing to drop.
    full_until: u64,
}

impl<V: Idle> Sharded<V> {
    /// A map for `keys` keys at most (rounded up to a multiple of the number of shards).
    pub(super) fn new(keys: usize) -> Self {
        let capacity = keys.div_ceil(SHARDS);
        let hasher = Mix::new();
        let shard = || {
            let values = HashMap::with_hasher(hasher);
            Mutex::new(Shard { values, capacity, full_until: 0 })
        };
        Self { hasher, shards: std::iter::repeat_with(shard).take(SHARDS).collect() }
    }

    /// Which shard holds a key.
    pub(super) fn index(&self, key: &CounterKey) -> usize {
        shard_of(self.hasher.hash_one(key))
    }

    /// The shard of that index. Whoever locks several does so in rising order.
    pub(super) fn lock(&self, index: usize) -> Option<MutexGuard<'_, Shard<V>>> {
        self.shards.get(index).map(Mutex::lock)
    }
}

/// The shard of a hash: by bits that a table of fewer than 2^32 buckets looks at neither to
/// choose a bucket (the low ones) nor within it (the seven highest).
pub(super) const fn shard_of(hash: u64) -> usize {
    ((hash >> 32) % SHARDS as u64) as usize
}

impl<V: Idle> Shard<V> {
    /// The value of a key.
    pub(super) fn get(&self, key: &CounterKey) -> Option<&V> {
        self.values.get(key)
    }

    /// Whether one more key may be put, after dropping what is idle at `now`.
    pub(super) fn has_room(&mut self, now: u64) -> bool {
        if self.values.len() < self.capacity {
            return true;
        }
        if now < self.full_until {
            return false;
        }
        self.values.retain(|_, value| value.idle_at() > now);
        self.full_until = self.values.values().map(Idle::idle_at).min().unwrap_or(0);
        self.values.len() < self.capacity
    }

    /// Puts a value. The caller has asked for room where the key is new; keys of one request
    /// that asked together may exceed the bound by their number.
    pub(super) fn put(&mut self, key: CounterKey, value: V) {
        self.values.insert(key, value);
    }

    /// Drops a key.
    pub(super) fn remove(&mut self, key: &CounterKey) {
        self.values.remove(key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug)]
    struct Until(u64);
    impl Idle for Until {
        fn idle_at(&self) -> u64 {
            self.0
        }
    }

    #[test]
    fn a_full_shard_makes_room_only_from_idle_values() {
        let [a, b] = [1, 2].map(CounterKey::numbered);
        let map = Sharded::new(2 * SHARDS);
        let mut shard = map.lock(0).unwrap();
        shard.put(a, Until(10));
        assert!(shard.has_room(0));
        shard.put(b, Until(20));
        assert!(!shard.has_room(9));
        assert!(shard.get(&a).is_some());
        assert!(shard.has_room(10), "a is idle from 10 on");
        assert!(shard.get(&a).is_none() && shard.get(&b).is_some());
        shard.put(b, Until(30));
        assert_eq!(shard.values.len(), 1, "a known key takes no room");
    }

    #[test]
    fn a_key_stays_in_its_shard() {
        let map: Sharded<Until> = Sharded::new(1);
        let key = CounterKey::numbered(7);
        assert_eq!(map.index(&key), map.index(&key));
        let used: std::collections::HashSet<_> =
            (0..1_000).map(|n| map.index(&CounterKey::numbered(n))).collect();
        assert_eq!(used.len(), SHARDS);
        assert!(map.lock(SHARDS).is_none());
    }
}
