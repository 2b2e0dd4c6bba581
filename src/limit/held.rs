//! Places of `concurrency` limits, and the requests that hold them.
//!
//! A request that is admitted holds its places until nothing of it is left: [`Held`] lies in
//! what the limiter said, which lies in the request's context, so it ends with the request
//! however that ends. Places are counted on the node in any case: that is what counts where
//! there is no Redis, or while it is away. Those that Redis gave are renewed there while they
//! are held ([`Places::renewals`]) and released through [`Settle`]; those of a node that died
//! run out after [`HOLD_MS`].

use std::collections::HashMap;
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::{Mutex, MutexGuard};
use prometheus::IntGauge;
use smallvec::SmallVec;

use super::math::Algorithm;
use super::mix::Mix;
use super::settle::{Due, Settle};
use super::sharded::{SHARDS, shard_of};
use super::{CounterKey, Take};

/// How long Redis keeps a place that nobody renews, in milliseconds.
pub const HOLD_MS: u64 = 30_000;

/// How often places are renewed: twice may fail before one runs out.
pub const RENEWED_EVERY: Duration = Duration::from_secs(10);

/// What a client is told to wait for a place: nobody knows when a request ends.
pub const PLACE_WAIT_MS: u64 = 1_000;

/// Names of calls that may hold places. Calls that cannot are numbered from 0 by whoever makes
/// them, so that no two have one name.
const FIRST_CALL: u64 = 1 << 63;

/// Whether a counter counts requests at once.
pub(super) fn is_place(take: &Take) -> bool {
    matches!(take.tier().algorithm(), Algorithm::Concurrency { .. })
}

/// Places held on this node.
#[derive(Debug)]
pub(super) struct Places {
    mix: Mix,
    /// By counter, how many. Only while there are any: bounded by the requests in flight.
    counts: Box<[Mutex<Counts>]>,
    /// By call, what Redis gave.
    given: Box<[Mutex<Given>]>,
    calls: AtomicU64,
    held: IntGauge,
}

type Counts = HashMap<CounterKey, u64, Mix>;
type Given = HashMap<u64, SmallVec<[Take; 1]>, Mix>;

/// The counts that one request looks at, each part once.
pub(super) struct Locked<'a> {
    mix: Mix,
    parts: SmallVec<[(usize, MutexGuard<'a, Counts>); 1]>,
    gauge: &'a IntGauge,
}

impl Places {
    /// No places; `held` is told how many there are.
    pub(super) fn new(held: IntGauge) -> Self {
        let mix = Mix::new();
        let counts = || Mutex::new(Counts::with_hasher(mix));
        let given = || Mutex::new(Given::with_hasher(mix));
        Self {
            mix,
            counts: std::iter::repeat_with(counts).take(SHARDS).collect(),
            given: std::iter::repeat_with(given).take(SHARDS).collect(),
            calls: AtomicU64::new(FIRST_CALL),
            held,
        }
    }

    /// The name of a call that may hold places; no other of this process has it.
    pub(super) fn next_call(&self) -> u64 {
        self.calls.fetch_add(1, Ordering::Relaxed)
    }

    /// Locks the counts of these keys, in rising order, so that two requests cannot wait for
    /// each other. Without keys it locks nothing.
    pub(super) fn lock(&self, keys: impl Iterator<Item = CounterKey>) -> Locked<'_> {
        let mut order: SmallVec<[usize; 2]> =
            keys.map(|key| shard_of(self.mix.hash_one(key))).collect();
        order.sort_unstable();
        order.dedup();
        let lock = |index: usize| Some((index, self.counts.get(index)?.lock()));
        let parts = order.into_iter().filter_map(lock).collect();
        Locked { mix: self.mix, parts, gauge: &self.held }
    }

    /// What Redis gave and is still held: each counter with the call that took from it. To be
    /// renewed every [`RENEWED_EVERY`].
    pub(super) fn renewals(&self) -> Vec<(Take, u64)> {
        let mut renewals = Vec::new();
        for part in &self.given {
            for (call, takes) in part.lock().iter() {
                renewals.extend(takes.iter().map(|take| (take.clone(), *call)));
            }
        }
        renewals
    }

    fn given(&self, call: u64) -> Option<MutexGuard<'_, Given>> {
        self.given.get(shard_of(self.mix.hash_one(call))).map(Mutex::lock)
    }
}

impl Locked<'_> {
    /// Places held of a counter.
    pub(super) fn held(&mut self, key: &CounterKey) -> u64 {
        self.part(key).and_then(|part| part.get(key).copied()).unwrap_or(0)
    }

    /// Takes places of a counter.
    pub(super) fn add(&mut self, key: CounterKey, places: u64) {
        if let Some(part) = self.part(&key) {
            *part.entry(key).or_insert(0) += places;
            self.gauge.add(i64::try_from(places).unwrap_or(0));
        }
    }

    fn remove(&mut self, key: &CounterKey, places: u64) {
        let Some(part) = self.part(key) else { return };
        let Some(held) = part.get_mut(key) else { return };
        *held = held.saturating_sub(places);
        if *held == 0 {
            part.remove(key);
        }
        self.gauge.sub(i64::try_from(places).unwrap_or(0));
    }

    fn part(&mut self, key: &CounterKey) -> Option<&mut Counts> {
        let index = shard_of(self.mix.hash_one(key));
        let part = self.parts.iter_mut().find(|(part, _)| *part == index)?;
        Some(&mut *part.1)
    }
}

/// A place that a counter gave.
#[derive(Clone, Debug)]
struct Granted {
    take: Take,
    by_redis: bool,
}

/// The places that a request holds; they end with the last copy of this.
#[derive(Clone, Debug, Default)]
pub struct Held {
    granted: Vec<Granted>,
    guard: Option<Arc<Guard>>,
}

impl PartialEq for Held {
    /// Two requests hold the same only where they are one.
    fn eq(&self, other: &Self) -> bool {
        match (&self.guard, &other.guard) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

impl Held {
    /// Nothing.
    #[must_use]
    pub const fn nothing() -> Self {
        Self { granted: Vec::new(), guard: None }
    }

    /// Notes that an admitted request has taken from a counter; only places matter.
    pub(super) fn note(&mut self, take: &Take, by_redis: bool) {
        if is_place(take) {
            self.granted.push(Granted { take: take.clone(), by_redis });
        }
    }

    /// From here on what was noted is held, and nothing else of the call. Places of this node
    /// have been counted by whoever took them; those that Redis gave are counted now.
    pub(super) fn begin(&mut self, asked: Asked<'_>) {
        let granted = std::mem::take(&mut self.granted);
        self.guard = asked.into_guard(granted).map(Arc::new);
    }
}

/// A call to Redis that may take places. Where nobody learns of its answer, because it came too
/// late or the request is gone, they are released.
pub(super) struct Asked<'a> {
    call: u64,
    takes: &'a [Take],
    places: &'a Arc<Places>,
    settle: &'a Arc<Settle>,
    /// Whether Redis may have given what nobody knows of.
    open: bool,
}

impl<'a> Asked<'a> {
    /// A call for these counters; none where they give no places.
    pub(super) fn new(
        takes: &'a [Take],
        places: &'a Arc<Places>,
        settle: &'a Arc<Settle>,
    ) -> Option<Self> {
        let call = takes.iter().any(is_place).then(|| places.next_call())?;
        Some(Self { call, takes, places, settle, open: false })
    }

    /// The call goes out now, under this name.
    pub(super) fn send(&mut self) -> u64 {
        self.open = true;
        self.call
    }

    /// Its answer is here.
    pub(super) fn answered(&mut self) {
        self.open = false;
    }

    fn into_guard(self, granted: Vec<Granted>) -> Option<Guard> {
        if granted.is_empty() {
            return None;
        }
        let redis = || granted.iter().filter(|granted| granted.by_redis);
        if redis().next().is_some() {
            let mut counts = self.places.lock(redis().map(|granted| granted.take.key));
            for granted in redis() {
                counts.add(granted.take.key, granted.take.cost);
            }
            drop(counts);
            let takes = redis().map(|granted| granted.take.clone()).collect();
            if let Some(mut given) = self.places.given(self.call) {
                given.insert(self.call, takes);
            }
        }
        Some(Guard {
            call: self.call,
            granted,
            places: Arc::clone(self.places),
            settle: Arc::clone(self.settle),
        })
    }
}

impl Drop for Asked<'_> {
    fn drop(&mut self) {
        if self.open {
            for take in self.takes.iter().filter(|take| is_place(take)) {
                self.settle.put(Due::Release { take: take.clone(), member: self.call });
            }
        }
    }
}

#[derive(Debug)]
struct Guard {
    call: u64,
    granted: Vec<Granted>,
    places: Arc<Places>,
    settle: Arc<Settle>,
}

impl Drop for Guard {
    fn drop(&mut self) {
        if self.granted.iter().any(|granted| granted.by_redis)
            && let Some(mut given) = self.places.given(self.call)
        {
            // First, so that nothing is renewed after it was released.
            given.remove(&self.call);
        }
        let mut counts = self.places.lock(self.granted.iter().map(|granted| granted.take.key));
        for granted in &self.granted {
            counts.remove(&granted.take.key, granted.take.cost);
        }
        drop(counts);
        for Granted { take, .. } in self.granted.drain(..).filter(|granted| granted.by_redis) {
            self.settle.put(Due::Release { take, member: self.call });
        }
    }
}

#[cfg(test)]
mod tests;
