//! The store, and what Pingora wants beside it.

use std::time::{Duration, UNIX_EPOCH};

use pingora_cache::lock::{CacheKeyLockImpl, CacheLock};
use pingora_cache::predictor::{CacheablePredictor, Predictor};
use pingora_cache::storage::Storage;

use super::super::{Purges, Tiered, rules};
use super::{MemoryStore, SHARDS};
use crate::clock::Moment;
use crate::link;
use crate::model::CacheStore;
use crate::telemetry::Metrics;

/// The store and its lock, as Pingora wants them: for the whole process.
#[derive(Clone, Copy)]
pub struct CacheBackend {
    /// Where entries live. It evicts by itself; Pingora needs no eviction manager.
    pub memory: &'static MemoryStore,
    /// The same with Redis behind it, where the configuration says so.
    pub tiered: &'static Tiered,
    /// What entries are purged by.
    pub purges: &'static Purges,
    /// Collapses concurrent misses of one key into one upstream request.
    pub lock: &'static CacheKeyLockImpl,
    /// Remembers keys whose answers may not be kept, so that requests for them neither look nor
    /// wait for one another.
    pub predictor: &'static (dyn CacheablePredictor + Sync),
}

impl CacheBackend {
    /// Creates the process's store; `bytes` bounds what all entries together weigh. What it holds
    /// and does is shown in the metrics.
    #[must_use]
    pub fn leak(bytes: u64, metrics: &Metrics) -> Self {
        let memory: &'static MemoryStore = Box::leak(Box::new(MemoryStore::new(bytes, metrics)));
        let purges: &'static Purges = Box::leak(Box::new(Purges::new(metrics)));
        let predictor = Predictor::<SHARDS>::new(UNCACHEABLE_KEYS, Some(passes));
        Self {
            memory,
            tiered: Box::leak(Box::new(Tiered::new(memory, purges, metrics))),
            purges,
            lock: Box::leak(CacheLock::new_boxed(LOCK_AGE)),
            predictor: Box::leak(Box::new(predictor)),
        }
    }

    /// Has a configuration's settings counted: how much memory, which Redis.
    pub fn configure(&self, redis: Option<&link::Settings>, store: &CacheStore, now: Moment) {
        let instant = UNIX_EPOCH + Duration::from_millis(now.unix_ms);
        self.memory.set_capacity(store.memory_bytes.get(), instant);
        self.purges.configure(redis);
        self.tiered.configure(redis, store.shared.as_ref());
    }

    /// Where answers are kept: memory with Redis behind it where `cache.shared` is set, memory
    /// alone where it is not, and for routes that are `local`.
    #[must_use]
    pub fn storage(&self, local: bool) -> &'static (dyn Storage + Sync) {
        if !local && self.tiered.is_on() { self.tiered } else { self.memory }
    }
}

/// Whether a reason not to keep an answer says nothing about the next one: it lay with the request,
/// or with a failure.
fn passes(reason: &'static str) -> bool {
    !rules::storable::LASTING.contains(&reason)
}

/// Keys remembered as uncacheable, per shard.
const UNCACHEABLE_KEYS: usize = 256;

/// How long others wait for the request that fills an entry, before they ask the service too.
const LOCK_AGE: Duration = Duration::from_secs(5);
