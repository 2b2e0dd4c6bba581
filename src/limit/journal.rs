//! What was admitted without Redis while it did not answer, to be charged to it afterwards.
//!
//! Without it a caller would have two budgets: this node's share during the outage, and the
//! whole limit of a Redis that was not told, or came back empty. How both are kept from adding up:
//!
//! 1. While calls fail, each request that a rule of mode `local` admits is noted by its key.
//! 2. As soon as a heartbeat is answered, whatever the breaker of the requests says, the upkeep
//!    charges each key with what this node admitted and time has not given back, at most the
//!    node's share of the limit. The counter has no less than nothing afterwards: all nodes
//!    together charge one limit at most.
//! 3. Requests stay local for [`QUIET`] from that heartbeat on, and until the journal is empty:
//!    by then every node that can reach Redis has found it and charged, too. Only then do they
//!    see the shared counters again.
//!
//! The local counter is *not* forgotten when its key has been charged. A Redis that fails every
//! few seconds would else give a fresh share each time.
//!
//! A charge whose answer is lost is made again, so a caller may be charged twice and never too
//! little. Not noted is what limits with mode `open` let pass: nobody counted it. Nor is a
//! key noted once too many are; that is counted. Tests: below, `tests/e2e/outages.rs`.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntCounter;

use super::local::share;
use super::math::{Counter, State};
use super::settle::Due;
use super::{CounterKey, Take};
use crate::clock::{Moment, Tick};

/// How long decisions stay local once Redis is back: a heartbeat, its time limit, and that of a
/// connection that was being made when Redis came.
pub(super) const QUIET: Duration = Duration::from_secs(4);

/// How long they stay local at most once calls of requests are answered, whatever became of
/// the charges.
const QUIET_MAX: Duration = Duration::from_secs(15);

/// Keys that are noted, in all shards together; at some 150 bytes each.
const KEYS_MAX: usize = 65_536;

/// Shards, so that requests rarely meet at a lock. It is taken only while Redis is away.
const SHARDS: usize = 16;

/// Time between two looks for keys that need no charge any more, in a shard that is full.
const SWEEP: Duration = Duration::from_secs(1);

/// [`Journal::local_until`] while Redis has not been heard of yet.
const OUTAGE: u64 = u64::MAX;

/// What is to be charged, and whether decisions stay local.
#[derive(Debug)]
pub(super) struct Journal {
    /// Whether there is an upkeep that will charge.
    kept: AtomicBool,
    hasher: RandomState,
    shards: [Mutex<Shard>; SHARDS],
    keys: AtomicUsize,
    /// Until which tick decisions stay local after an outage, in nanoseconds; 0 if there was
    /// none.
    local_until: AtomicU64,
    dropped: IntCounter,
}

#[derive(Debug, Default)]
struct Shard {
    entries: HashMap<CounterKey, Entry>,
    swept: Tick,
}

/// A key that was admitted here.
#[derive(Debug)]
struct Entry {
    take: Take,
    /// The number of nodes that the share is computed for.
    nodes: u32,
    /// What this node admitted and has not charged yet, as a counter of its own: time gives
    /// back of it what it gives back of the node's share.
    state: Option<State>,
    /// What is being charged.
    charging: u64,
}

impl Entry {
    fn open(&self, now: Moment) -> Counter {
        Counter::open(share(&self.take, self.nodes, now), self.state.clone(), micros(now.tick))
    }

    fn used(&self, now: Moment) -> u64 {
        if self.state.is_none() {
            return 0;
        }
        share(&self.take, self.nodes, now).limit.saturating_sub(self.open(now).left())
    }

    fn add(&mut self, amount: u64, now: Moment) {
        let mut counter = self.open(now);
        let amount = amount.min(counter.left());
        if amount > 0 {
            counter.take(amount);
            self.state = Some(counter.state());
        }
    }
}

impl Journal {
    /// An empty journal; keys for which there is no room are counted in `dropped`.
    pub(super) fn new(dropped: IntCounter) -> Self {
        Self {
            kept: AtomicBool::new(false),
            hasher: RandomState::new(),
            shards: std::array::from_fn(|_| Mutex::default()),
            keys: AtomicUsize::new(0),
            local_until: AtomicU64::new(0),
            dropped,
        }
    }

    /// From here on somebody charges what is noted.
    pub(super) fn keep(&self) {
        self.kept.store(true, Ordering::Relaxed);
    }

    /// Notes that calls to Redis fail.
    pub(super) fn begin_outage(&self) {
        if self.kept.load(Ordering::Relaxed) {
            self.local_until.store(OUTAGE, Ordering::Release);
        }
    }

    /// Notes that calls of requests are answered again.
    pub(super) fn note_answer(&self, now: Tick) {
        let _ = self.local_until.compare_exchange(
            OUTAGE,
            end(now, QUIET_MAX),
            Ordering::AcqRel,
            Ordering::Relaxed,
        );
    }

    /// Notes that a heartbeat sent at `sent` was answered, and everything noted is charged.
    pub(super) fn note_charged(&self, sent: Tick) {
        // An answered request may have come first, and has then set a later end. Without an
        // outage it is 0 and stays so.
        self.local_until.fetch_min(end(sent, QUIET), Ordering::AcqRel);
    }

    /// Whether what is counted locally stays so, although Redis may answer.
    pub(super) fn stays_local(&self, now: Tick) -> bool {
        let until = self.local_until.load(Ordering::Acquire);
        until != 0 && now.nanos() < until
    }

    /// Whether nothing waits to be charged.
    pub(super) fn is_empty(&self) -> bool {
        self.keys.load(Ordering::Relaxed) == 0
    }

    /// Notes that this node admitted what `take` costs, as one of `nodes`. `now` is the time of
    /// local counters.
    pub(super) fn note(&self, take: &Take, nodes: u32, now: Moment) {
        // Places are held, not used up.
        let owed = take.tier().algorithm().waits_are_known();
        if !owed || !self.kept.load(Ordering::Relaxed) {
            return;
        }
        let mut shard = self.shard(&take.key).lock();
        if !shard.entries.contains_key(&take.key) {
            if !self.has_room(&mut shard, now) {
                self.dropped.inc();
                return;
            }
            let entry = Entry { take: take.clone(), nodes, state: None, charging: 0 };
            shard.entries.insert(take.key, entry);
            self.keys.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(entry) = shard.entries.get_mut(&take.key) {
            entry.add(take.cost, now);
        }
    }

    /// Up to `most` charges to make now. Whoever makes them says what became of them with
    /// [`Self::finish`]; only one may be at it.
    pub(super) fn begin(&self, most: usize, now: Moment) -> Vec<Due> {
        let mut due = Vec::new();
        for shard in &self.shards {
            let mut shard = shard.lock();
            self.sweep(&mut shard, now);
            for entry in shard.entries.values_mut().take(most - due.len()) {
                let amount = entry.used(now);
                entry.charging = amount;
                entry.state = None;
                due.push(Due::Charge { take: entry.take.clone(), amount });
            }
            if due.len() >= most {
                break;
            }
        }
        due
    }

    /// Takes out what was charged, or keeps it for another time. Returns what was admitted in
    /// the meantime: to be charged at once.
    pub(super) fn finish(&self, due: &[Due], charged: bool, now: Moment) -> Vec<Due> {
        let mut rest = Vec::new();
        for due in due {
            let Due::Charge { take, .. } = due else { continue };
            let mut shard = self.shard(&take.key).lock();
            if charged {
                let Some(entry) = shard.entries.remove(&take.key) else { continue };
                self.keys.fetch_sub(1, Ordering::Relaxed);
                let amount = entry.used(now);
                if amount > 0 {
                    rest.push(Due::Charge { take: entry.take, amount });
                }
            } else if let Some(entry) = shard.entries.get_mut(&take.key) {
                let amount = std::mem::take(&mut entry.charging);
                entry.add(amount, now);
            }
        }
        rest
    }

    /// Forgets what was admitted of a counter that was started afresh; but for what is being
    /// charged, which it may get.
    pub(super) fn forget(&self, key: &CounterKey) {
        if let Some(entry) = self.shard(key).lock().entries.get_mut(key) {
            entry.state = None;
        }
    }

    fn shard(&self, key: &CounterKey) -> &Mutex<Shard> {
        let index = usize::try_from(self.hasher.hash_one(key) % SHARDS as u64).unwrap_or(0);
        let [first, ..] = &self.shards;
        self.shards.get(index).unwrap_or(first)
    }

    fn has_room(&self, shard: &mut Shard, now: Moment) -> bool {
        if shard.entries.len() < KEYS_MAX / SHARDS {
            return true;
        }
        if now.tick < shard.swept.plus(SWEEP) {
            return false;
        }
        self.sweep(shard, now);
        shard.entries.len() < KEYS_MAX / SHARDS
    }

    /// Drops keys of which time has given everything back.
    fn sweep(&self, shard: &mut Shard, now: Moment) {
        let before = shard.entries.len();
        let owes = |entry: &Entry| entry.charging > 0 || entry.used(now) > 0;
        shard.entries.retain(|_, entry| owes(entry));
        shard.swept = now.tick;
        self.keys.fetch_sub(before - shard.entries.len(), Ordering::Relaxed);
    }
}

/// [`Journal::local_until`] for an end so long after that.
fn end(tick: Tick, later: Duration) -> u64 {
    tick.plus(later).nanos().min(OUTAGE - 1)
}

const fn micros(now: Tick) -> u64 {
    now.nanos() / 1_000
}

#[cfg(test)]
mod tests;
