//! The bounded in-memory store.
//!
//! Two bounds, both hard: what all entries weigh together never exceeds the capacity, and what
//! unfinished fills hold never exceeds a further quarter of it. Room is made before an entry goes
//! in, not after. Entries are spread over shards by their key, but the bound is one for all, so
//! that no shard evicts while another has room, and one large entry fits wherever it falls.
//!
//! Pingora's own eviction managers are not used: they learn of an entry after it is stored, and
//! evict in the background.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, SystemTime};

use async_trait::async_trait;
use parking_lot::RwLock;
use pingora::Result;
use pingora_cache::key::{CacheHashKey, HashBinary};
use pingora_cache::lock::{CacheKeyLockImpl, CacheLock};
use pingora_cache::predictor::{CacheablePredictor, Predictor};
use pingora_cache::storage::{HitHandler, MissHandler, PurgeOutcome, PurgeTarget, Storage};
use pingora_cache::trace::SpanHandle;
use pingora_cache::{CacheEntryKey, CacheKey, CacheMeta, PurgeType};
use prometheus::IntGauge;

use super::entry::{Entry, Head};
use super::fill::Fill;
use super::shard::Shard;
use crate::telemetry::Metrics;

/// Largest body that is stored, in bytes, whatever a route allows.
pub const MAX_OBJECT_BYTES: u64 = 8 << 20;

/// The store and its lock, as Pingora wants them: for the whole process.
#[derive(Clone, Copy)]
pub struct CacheBackend {
    /// Where entries live. It evicts by itself; Pingora needs no eviction manager.
    pub storage: &'static (dyn Storage + Sync),
    /// Collapses concurrent misses of one key into one upstream request.
    pub lock: &'static CacheKeyLockImpl,
    /// Remembers keys whose answers may not be kept, so that requests for them neither look nor
    /// wait for one another.
    pub predictor: &'static (dyn CacheablePredictor + Sync),
}

impl CacheBackend {
    /// Creates the process's store; `bytes` bounds what all entries together weigh. Weight and
    /// number of entries are shown in the gauges `cache_bytes` and `cache_entries`.
    #[must_use]
    pub fn leak(bytes: u64, metrics: &Metrics) -> Self {
        let gauges = (metrics.cache_bytes.clone(), metrics.cache_entries.clone());
        Self {
            storage: Box::leak(Box::new(MemoryStore::new(bytes, gauges.0, gauges.1))),
            lock: Box::leak(CacheLock::new_boxed(LOCK_AGE)),
            predictor: Box::leak(Box::new(Predictor::<SHARDS>::new(UNCACHEABLE_KEYS, None))),
        }
    }
}

/// Keys remembered as uncacheable, per shard.
const UNCACHEABLE_KEYS: usize = 256;

/// How long others wait for the request that fills an entry, before they ask the service too.
const LOCK_AGE: Duration = Duration::from_secs(5);

/// A store bounded by bytes.
#[derive(Debug)]
pub struct MemoryStore {
    shards: [RwLock<Shard>; SHARDS],
    capacity: u64,
    /// What all entries weigh, and those about to go in.
    weight: AtomicU64,
    /// What unfinished fills hold.
    filling: AtomicU64,
    /// The shard that eviction looks into next.
    hand: AtomicUsize,
    bytes_gauge: IntGauge,
    entries_gauge: IntGauge,
}

impl MemoryStore {
    /// An empty store for entries that weigh up to `capacity` bytes together; the gauges follow
    /// their weight and number.
    #[must_use]
    pub fn new(capacity: u64, bytes: IntGauge, entries: IntGauge) -> Self {
        Self {
            shards: std::array::from_fn(|_| RwLock::default()),
            capacity,
            weight: AtomicU64::new(0),
            filling: AtomicU64::new(0),
            hand: AtomicUsize::new(0),
            bytes_gauge: bytes,
            entries_gauge: entries,
        }
    }

    /// What all entries weigh, in bytes.
    #[must_use]
    pub fn weight(&self) -> u64 {
        self.weight.load(Ordering::Relaxed)
    }

    /// Largest body stored: in a small store an eighth of it, so that one answer does not push
    /// out everything else.
    pub(super) fn object_bytes_max(&self) -> u64 {
        MAX_OBJECT_BYTES.min(self.capacity / 8)
    }

    /// Puts a finished entry in, making room first; says whether it is in.
    pub(super) fn insert(&self, key: HashBinary, entry: Entry) -> bool {
        let entry = Arc::new(entry);
        if !self.make_room(entry.weight(), entry.updated()) {
            return false;
        }
        self.count(&entry);
        let replaced = self.shard(&key).write().insert(key, entry);
        self.discount(replaced.as_deref());
        true
    }

    /// Sets memory aside for an unfinished fill.
    pub(super) fn reserve_fill(&self, bytes: u64) -> bool {
        let bound = self.capacity / FILL_SHARE;
        let add = |held: u64| held.checked_add(bytes).filter(|held| *held <= bound);
        self.filling.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_ok()
    }

    pub(super) fn release_fill(&self, bytes: u64) {
        self.filling.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Takes `weight` out of the capacity, evicting entries until it fits.
    fn make_room(&self, weight: u64, now: SystemTime) -> bool {
        if weight > self.capacity {
            return false;
        }
        let add = |all: u64| all.checked_add(weight).filter(|all| *all <= self.capacity);
        let mut in_vain = 0;
        while self.weight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_err() {
            in_vain = if self.evict_one(now) { 0 } else { in_vain + 1 };
            // The first round may only take marks of use. After the second everything is out, or
            // in use without pause, and what is missing belongs to others on their way in.
            if in_vain > 2 * SHARDS {
                return false;
            }
        }
        true
    }

    /// Evicts an entry of the next shard in turn; says whether there was one.
    fn evict_one(&self, now: SystemTime) -> bool {
        let turn = self.hand.fetch_add(1, Ordering::Relaxed);
        let victim = self.shard_at(turn).write().evict(now);
        self.discount(victim.as_deref());
        victim.is_some()
    }

    fn count(&self, entry: &Entry) {
        self.bytes_gauge.add(i64::try_from(entry.weight()).unwrap_or(i64::MAX));
        self.entries_gauge.inc();
    }

    fn discount(&self, entry: Option<&Entry>) {
        let Some(entry) = entry else { return };
        self.weight.fetch_sub(entry.weight(), Ordering::Relaxed);
        self.bytes_gauge.sub(i64::try_from(entry.weight()).unwrap_or(i64::MAX));
        self.entries_gauge.dec();
    }

    fn shard(&self, key: &HashBinary) -> &RwLock<Shard> {
        let [first, ..] = *key;
        self.shard_at(usize::from(first))
    }

    #[expect(clippy::indexing_slicing, reason = "the remainder is below the number of shards")]
    const fn shard_at(&self, turn: usize) -> &RwLock<Shard> {
        &self.shards[turn % SHARDS]
    }
}

#[async_trait]
impl Storage for MemoryStore {
    /// Entries that are no longer fresh are found too: Pingora revalidates them with the service
    /// (RFC 9111 section 4.3). They leave when they are replaced or when room is needed.
    async fn lookup(
        &'static self,
        key: &CacheKey,
        _: &SpanHandle,
    ) -> Result<Option<(CacheMeta, HitHandler)>> {
        let key = key.combined_bin();
        let entry = self.shard(&key).read().get(&key).map(Arc::clone);
        Ok(entry.map(|entry| {
            let (meta, hit) = entry.hit();
            (meta, Box::new(hit) as HitHandler)
        }))
    }

    async fn get_miss_handler(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        _: &SpanHandle,
    ) -> Result<MissHandler> {
        Ok(Box::new(Fill::new(self, key.combined_bin(), Head::of(key, meta)?)))
    }

    async fn purge(
        &'static self,
        target: PurgeTarget<'_>,
        _: PurgeType,
        _: &SpanHandle,
    ) -> Result<PurgeOutcome> {
        // Entries have no identity beyond their key, so none can be the identified one.
        if matches!(target, PurgeTarget::Exact(CacheEntryKey::Identified { .. })) {
            return Ok(PurgeOutcome::NotFound);
        }
        let key = target.key().combined_bin();
        let removed = self.shard(&key).write().remove(&key);
        self.discount(removed.as_deref());
        Ok(removed.map_or(PurgeOutcome::NotFound, |_| PurgeOutcome::Purged(None)))
    }

    /// Replaces header and freshness and keeps the body; says whether the entry was still there.
    /// An entry that was purged or replaced meanwhile stays as it is.
    async fn update_meta(
        &'static self,
        key: &CacheKey,
        meta: &CacheMeta,
        _: &SpanHandle,
    ) -> Result<bool> {
        let head = Head::of(key, meta)?;
        let key = key.combined_bin();
        let Some(old) = self.shard(&key).read().get(&key).map(Arc::clone) else {
            return Ok(false);
        };
        let new = Arc::new(Entry::new(head, old.body()));
        if !self.make_room(new.weight(), new.updated()) {
            return Ok(false);
        }
        self.count(&new);
        let mut shard = self.shard(&key).write();
        let is_same = shard.get(&key).is_some_and(|current| Arc::ptr_eq(current, &old));
        let gone = if is_same { shard.insert(key, new) } else { Some(new) };
        drop(shard);
        self.discount(gone.as_deref());
        Ok(is_same)
    }

    fn as_any(&self) -> &(dyn Any + Send + Sync + 'static) {
        self
    }
}

/// Parts that the store is split into, so that threads seldom wait for each other.
const SHARDS: usize = 64;

/// Unfinished fills may hold one part in this many of the capacity, on top of it.
const FILL_SHARE: u64 = 4;

#[cfg(test)]
mod tests;
