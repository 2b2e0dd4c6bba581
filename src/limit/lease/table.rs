//! The leases of a process: a map of bounded size.
//!
//! Split into shards, each under a lock that is held for a look-up and never across an `await`.
//! A key is hashed once, for its shard and its place in it. When a shard is full, new keys get
//! no lease and are exact; [`Leases::sweep`] makes room from keys that nobody asks for.

use std::collections::HashMap;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use prometheus::{IntCounter, IntGauge};
use smallvec::SmallVec;

use super::RETURN;
use super::state::{Fetched, Lease};
use crate::clock::Tick;
use crate::limit::math::Reply;
use crate::limit::settle::Due;
use crate::limit::{CounterKey, Take};
use crate::telemetry::Metrics;

/// Shards of the map, at most.
const SHARDS: usize = 64;

/// Keys of a shard, at least.
const SHARD_KEYS: usize = 16;

/// Keys in all shards together. At about 300 bytes each this bounds the map to 20 MiB.
const KEYS_MAX: usize = 65_536;

/// How long a call takes until one was measured.
const ROUND_TRIP: Duration = Duration::from_millis(1);

/// More is called for when what is held lasts for this many round trips, and a little: a slow
/// call is several times as slow as most.
const LEAD_TRIPS: u64 = 4;
const LEAD_MIN_US: u64 = 2_000;

/// The leases.
#[derive(Debug)]
pub(in crate::limit) struct Leases {
    hasher: RandomState,
    /// The name by which the Redis of these leases knows this node.
    fleet: u64,
    shards: Box<[Mutex<Shard>]>,
    capacity: usize,
    /// Nothing more is taken in advance, nor spent: this node leaves those that share it.
    closed: AtomicBool,
    /// Microseconds of a call to Redis, averaged.
    round_trip_us: AtomicU64,
    meters: Meters,
}

#[derive(Debug)]
struct Meters {
    keys: IntGauge,
    tokens: IntGauge,
    granted: IntCounter,
    partial: IntCounter,
    refused: IntCounter,
    failed: IntCounter,
    given_back: IntCounter,
    expired: IntCounter,
}

type Shard = HashMap<Place, Slot, BuildHasherDefault<Passing>>;

/// A lease and whose it is.
#[derive(Debug)]
struct Slot {
    lease: Lease,
    /// Says under which name in Redis, and by which numbers, what is left is given back.
    take: Take,
}

/// What the leases hold for a request.
#[derive(Debug)]
pub(in crate::limit) struct Spent {
    /// For each take the answer, if its lease has paid for it.
    pub(in crate::limit) replies: SmallVec<[Option<Reply>; 2]>,
    /// A take of whose counter more should be called for.
    pub(in crate::limit) low: Option<usize>,
}

impl Leases {
    /// No leases yet.
    pub(in crate::limit) fn new(fleet: u64, metrics: &Metrics) -> Self {
        Self::with_capacity(KEYS_MAX, fleet, metrics)
    }

    pub(super) fn with_capacity(keys: usize, fleet: u64, metrics: &Metrics) -> Self {
        let shards = (keys / SHARD_KEYS).clamp(1, SHARDS);
        let calls = |outcome| metrics.limit_lease_calls.with_label_values(&[outcome]);
        Self {
            hasher: RandomState::new(),
            fleet,
            shards: std::iter::repeat_with(Mutex::default).take(shards).collect(),
            capacity: keys.div_ceil(shards),
            closed: AtomicBool::new(false),
            round_trip_us: AtomicU64::new(micros(ROUND_TRIP)),
            meters: Meters {
                keys: metrics.limit_leases.clone(),
                tokens: metrics.limit_lease_tokens.clone(),
                granted: calls("granted"),
                partial: calls("partial"),
                refused: calls("refused"),
                failed: calls("failed"),
                given_back: metrics.limit_lease_given_back.clone(),
                expired: metrics.limit_lease_expired.clone(),
            },
        }
    }

    /// Spends what is held for a request. Where every counter was paid for the request is
    /// decided; else [`keep`](Self::keep) or [`put_back`](Self::put_back) follows for those that
    /// were. One look-up a take, and one more for each but the last of several.
    pub(in crate::limit) fn spend(&self, takes: &[Take], now: Tick) -> Spent {
        let mut spent = Spent { replies: SmallVec::new(), low: None };
        let lead = Duration::from_micros(self.lead_us());
        // An answer that comes late may still bring tokens, which the others do not reckon with.
        let closed = self.closed.load(Ordering::Relaxed);
        let (mut all, last) = (true, takes.len().saturating_sub(1));
        for (n, take) in takes.iter().enumerate() {
            let firm = all && n == last;
            let reply = (take.tier().lease > 0 && !closed)
                .then(|| {
                    self.with(take, |lease| {
                        let reply = lease.spend(take.cost, now, firm)?;
                        Some((reply, lease.is_low(lead)))
                    })
                })
                .flatten()
                .flatten();
            all &= reply.is_some();
            if reply.is_some_and(|(_, low)| low) {
                spent.low = Some(n);
            }
            spent.replies.push(reply.map(|(reply, _)| reply));
        }
        if all {
            takes.iter().take(last).for_each(|take| self.keep(take));
        }
        spent
    }

    /// A request that was paid for has passed.
    pub(in crate::limit) fn keep(&self, take: &Take) {
        self.with(take, |lease| lease.keep(take.cost));
    }

    /// A request that was paid for has not passed.
    pub(in crate::limit) fn put_back(&self, take: &Take) {
        self.with(take, |lease| lease.put_back(take.cost));
    }

    /// What to ask for beyond `cost` (0 where no request waits), for a node that may hold `most`
    /// of the counter; and what has expired and is to be given back. Whoever is told more than 0
    /// says how it ended: [`granted`](Self::granted) or [`failed`](Self::failed).
    pub(in crate::limit) fn ask(
        &self,
        take: &Take,
        cost: u64,
        now: Tick,
        most: u64,
    ) -> (u64, Option<Due>) {
        let (hash, mut shard) = self.shard(&take.key);
        let place = Place { hash, key: take.key };
        if !shard.contains_key(&place) && shard.len() >= self.capacity {
            return (0, None);
        }
        let new = || Slot { lease: Lease::new(now), take: take.clone() };
        let slot = shard.entry(place).or_insert_with(new);
        let due = self.expire(slot, now, false);
        // Looked at under the lock, so that nothing is taken after the last sweep began.
        let most = if self.closed.load(Ordering::Relaxed) { 0 } else { most };
        (slot.lease.ask(cost, take.cost, now, most), due)
    }

    /// What Redis answered, with what is held added to what is left. `brought` says whether the
    /// call asked for more: [`granted`](Self::granted) comes first then.
    pub(in crate::limit) fn told(
        &self,
        take: &Take,
        reply: Reply,
        asked_at: Tick,
        brought: bool,
    ) -> Reply {
        self.with(take, |lease| lease.told(reply, asked_at, brought)).unwrap_or(reply)
    }

    /// A call that asked for more than `cost` was answered.
    pub(in crate::limit) fn granted(&self, take: &Take, cost: u64, reply: &Reply) {
        match self.with(take, |lease| lease.granted(cost, reply)) {
            Some(Fetched::All) => self.meters.granted.inc(),
            Some(Fetched::Part) => self.meters.partial.inc(),
            Some(Fetched::Nothing) => self.meters.refused.inc(),
            None => {}
        }
    }

    /// A call that asked for more was not answered.
    pub(in crate::limit) fn failed(&self, take: &Take) {
        self.with(take, Lease::failed);
        self.meters.failed.inc();
    }

    /// Notes how long a call to Redis has taken.
    pub(in crate::limit) fn note_round_trip(&self, took: Duration) {
        let average = self.round_trip_us.load(Ordering::Relaxed);
        let next = (average.saturating_mul(7).saturating_add(micros(took))) / 8;
        self.round_trip_us.store(next, Ordering::Relaxed);
    }

    /// Nothing is taken in advance from now on, and nothing that is held is spent.
    pub(in crate::limit) fn close(&self) {
        self.closed.store(true, Ordering::Relaxed);
    }

    /// Gives back what has expired, or everything, and forgets keys that nobody asks for.
    /// To be called about twice a second: later than [`LATE`](super::LATE) nothing is given
    /// back. Looks at every key, a shard at a time.
    pub(in crate::limit) fn sweep(&self, now: Tick, everything: bool, mut due: impl FnMut(Due)) {
        let (mut keys, mut tokens) = (0, 0);
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.retain(|_, slot| {
                if let Some(back) = self.expire(slot, now, everything) {
                    due(back);
                }
                let (held, _) = slot.lease.held();
                tokens += held;
                keys += i64::from(held > 0);
                !slot.lease.is_idle(now)
            });
            if shard.is_empty() {
                // A flood of keys must not stay in memory after it is over.
                shard.shrink_to_fit();
            }
        }
        self.meters.keys.set(keys);
        self.meters.tokens.set(i64::try_from(tokens).unwrap_or(i64::MAX));
    }

    fn expire(&self, slot: &mut Slot, now: Tick, everything: bool) -> Option<Due> {
        let surplus = slot.lease.expire(now, everything)?;
        self.meters.expired.inc_by(surplus.burnt);
        self.meters.given_back.inc_by(surplus.back);
        (surplus.back > 0).then(|| Due::GiveBack {
            take: slot.take.clone(),
            amount: surplus.back,
            epoch_ms: surplus.epoch_ms,
            fleet: Some(self.fleet),
            until: now.plus(RETURN),
        })
    }

    /// Forgets what is held of a counter that was started afresh.
    pub(in crate::limit) fn forget(&self, key: &CounterKey) {
        let (hash, mut shard) = self.shard(key);
        if let Some(slot) = shard.get_mut(&Place { hash, key: *key }) {
            self.meters.expired.inc_by(slot.lease.forget());
        }
    }

    /// Tokens held of a counter, and until when they may be spent.
    pub(in crate::limit) fn held(&self, key: &CounterKey) -> (u64, Tick) {
        let (hash, shard) = self.shard(key);
        let held = shard.get(&Place { hash, key: *key }).map(|slot| slot.lease.held());
        held.unwrap_or_default()
    }

    fn with<T>(&self, take: &Take, act: impl FnOnce(&mut Lease) -> T) -> Option<T> {
        let (hash, mut shard) = self.shard(&take.key);
        shard.get_mut(&Place { hash, key: take.key }).map(|slot| act(&mut slot.lease))
    }

    #[expect(clippy::indexing_slicing, reason = "a remainder by the number of shards")]
    fn shard(&self, key: &CounterKey) -> (u64, MutexGuard<'_, Shard>) {
        let hash = self.hasher.hash_one(key);
        // The map places keys by the lowest bits and tells them apart by the highest seven.
        let index = usize::try_from((hash >> 40) & 0xffff).unwrap_or(0) % self.shards.len();
        (hash, self.shards[index].lock())
    }

    fn lead_us(&self) -> u64 {
        self.round_trip_us
            .load(Ordering::Relaxed)
            .saturating_mul(LEAD_TRIPS)
            .saturating_add(LEAD_MIN_US)
    }

    /// Whether a call for more of a counter is under way.
    #[cfg(test)]
    pub(in crate::limit) fn is_called_for(&self, take: &Take) -> bool {
        self.with(take, |lease| lease.is_called_for()).unwrap_or(false)
    }

    #[cfg(test)]
    pub(super) fn keys(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}

fn micros(span: Duration) -> u64 {
    u64::try_from(span.as_micros()).unwrap_or(u64::MAX)
}

/// A key with its hash, which is not computed again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    hash: u64,
    key: CounterKey,
}

impl Hash for Place {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

/// Passes on a hash that was computed with a secret of the process.
#[derive(Clone, Copy, Debug, Default)]
struct Passing(u64);

impl Hasher for Passing {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Only whole hashes come; anything else would still be a hash.
        self.0 = bytes.iter().fold(self.0, |hash, byte| hash.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

#[cfg(test)]
mod tests;
