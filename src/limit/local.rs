//! This node's own counters: exact, in bounded memory.
//!
//! As many keys as `server.limitKeys` are counted exactly, at about 140 bytes each. Beyond, a
//! key that comes pushes out one that matters less: `table` says which, [`Overflow`] remembers
//! what it had used, if that was a quarter of its limit or more. So a flood of keys pushes out
//! itself: who is used up stays so, and who has used much does not get it back by making others
//! forget it.
//!
//! The tables are under locks that are held for the look-ups of one request and never across an
//! `await`: several keys of one request must change together, which atomics cannot do, and two
//! requests rarely meet in one of 64 tables. A request with one rule or two allocates nothing.

use std::borrow::Borrow;
use std::hash::BuildHasher;
use std::sync::Arc;

use parking_lot::{Mutex, MutexGuard};
use prometheus::{IntCounter, IntGauge};
use smallvec::SmallVec;

use super::held::{PLACE_WAIT_MS, Places, is_place};
use super::math::{Counter, Numbers, Reply};
use super::mix::Mix;
use super::overflow::{self, Overflow, Spilled};
use super::sharded::{SHARDS, shard_of};
use super::unix::Unix;
use super::{CounterKey, Take};
use crate::clock::Moment;
use crate::telemetry::Metrics;

mod afterwards;
mod operate;
mod table;

use table::{Coarse, Kept, ROW_BYTES, Row, Table};

/// The share of its limit that a key must have used to be remembered when it makes room, of
/// 65,536: a quarter. Less is forgotten, or a flood of single requests would fill the memory.
const WARM: u64 = 65_536 / 4;

/// Counters of this process.
#[derive(Debug)]
pub(super) struct Local {
    mix: Mix,
    tables: Box<[Mutex<Table>]>,
    overflow: Overflow,
    unix: Unix,
    pub(super) places: Arc<Places>,
    keys: IntGauge,
    evicted: Evicted,
}

/// Rows of `tidegate_limit_local_evicted_total`.
#[derive(Debug)]
struct Evicted {
    cold: IntCounter,
    limited: IntCounter,
    lost: IntCounter,
}

/// A counter of a request, opened.
enum Opened {
    Counter(Counter),
    Places { held: u64, limit: u64 },
}

impl Opened {
    fn has_enough(&self, cost: u64) -> bool {
        match self {
            Self::Counter(counter) => counter.has_enough(cost),
            Self::Places { held, limit } => held + cost <= *limit,
        }
    }

    fn refuse(&self, cost: u64) -> Reply {
        let allowed = self.has_enough(cost);
        match self {
            Self::Counter(counter) => counter.reply(allowed, 0, cost),
            Self::Places { held, limit } => places(allowed, 0, *held, *limit),
        }
    }
}

type Guards<'a> = SmallVec<[(usize, MutexGuard<'a, Table>); 2]>;

/// The answers of the counters of one request.
pub(super) type Replies = SmallVec<[Reply; 2]>;

impl Local {
    /// Empty counters for so many keys.
    pub(super) fn new(keys: usize, metrics: &Metrics) -> Self {
        let evicted = |state| metrics.limit_local_evicted.with_label_values(&[state]);
        let mix = Mix::new();
        let capacity = keys.div_ceil(SHARDS);
        let table = || Mutex::new(Table::new(capacity, mix));
        Self {
            mix,
            tables: std::iter::repeat_with(table).take(SHARDS).collect(),
            overflow: Overflow::default(),
            unix: Unix::default(),
            places: Arc::new(Places::new(metrics.limit_places_held.clone())),
            keys: metrics.limit_local_keys.clone(),
            evicted: Evicted {
                cold: evicted("cold"),
                limited: evicted("limited"),
                lost: evicted("lost"),
            },
        }
    }

    /// Takes everything, or nothing where a counter has not enough; answers in the order of
    /// `takes`. Each rule is enforced with one node's share of `nodes`.
    pub(super) fn take<T: Borrow<Take>>(&self, takes: &[T], nodes: u32, now: Moment) -> Replies {
        let now_us = self.unix.us(now);
        let mut tables = self.lock(takes);
        // After the tables, always: who waits for these holds no others that come later.
        let borrowed = takes.iter().map(Borrow::borrow);
        let mut held =
            self.places.lock(borrowed.filter(|take| is_place(take)).map(|take| take.key));
        let before: usize = tables.iter().map(|(_, table)| table.len()).sum();

        let mut opened: SmallVec<[Opened; 2]> = SmallVec::new();
        for take in takes {
            let take: &Take = take.borrow();
            opened.push(if is_place(take) {
                Opened::Places { held: held.held(&take.key), limit: share(take, nodes, now).limit }
            } else {
                self.open(&mut tables, take, share(take, nodes, now), nodes, now_us)
            });
        }
        let enough = |(opened, take): (&Opened, &T)| {
            take.borrow().rule.shadow || opened.has_enough(take.borrow().cost)
        };
        let passes = opened.iter().zip(takes).all(enough);

        let mut replies = Replies::new();
        for (take, mut opened) in takes.iter().zip(opened) {
            let take: &Take = take.borrow();
            let reply = settle(&mut opened, take.cost, passes);
            match opened {
                Opened::Places { .. } => held.add(take.key, reply.taken),
                Opened::Counter(counter) => {
                    let row = row(counter, take, &reply, (nodes, share(take, nodes, now)), now_us);
                    if let Some(table) = find(&mut tables, self.index(&take.key)) {
                        self.put(table, take.key, row, now_us);
                    }
                }
            }
            replies.push(reply);
        }
        self.note_size(before, tables.iter().map(|(_, table)| table.len()).sum());
        replies
    }

    /// The time that these counters take for now.
    pub(super) fn unix(&self, now: Moment) -> Moment {
        self.unix.note(now);
        Moment { tick: self.unix.at(now.tick), ..now }
    }

    fn index(&self, key: &CounterKey) -> usize {
        shard_of(self.mix.hash_one(key))
    }

    /// Locks each table once, in rising order, so that two requests cannot wait for each other.
    fn lock<T: Borrow<Take>>(&self, takes: &[T]) -> Guards<'_> {
        let mut order: SmallVec<[usize; 4]> = takes
            .iter()
            .map(Borrow::borrow)
            .filter(|take| !is_place(take))
            .map(|take| self.index(&take.key))
            .collect();
        order.sort_unstable();
        order.dedup();
        let lock = |index: usize| Some((index, self.tables.get(index)?.lock()));
        order.into_iter().filter_map(lock).collect()
    }

    /// The counter of a key as it stands now: known exactly, else as it is remembered.
    fn open(
        &self,
        tables: &mut Guards<'_>,
        take: &Take,
        numbers: Numbers,
        nodes: u32,
        now_us: u64,
    ) -> Opened {
        let row = find(tables, self.index(&take.key)).and_then(|table| table.get_mut(&take.key));
        let Some(row) = row else {
            return Opened::Counter(self.overflow.recall(take.key, numbers, now_us));
        };
        match std::mem::replace(&mut row.kept, Kept::Taken) {
            Kept::State(state) if row.nodes == few(nodes) => {
                Opened::Counter(Counter::open(numbers, Some(state), now_us))
            }
            // The units of another share are not comparable; tokens are.
            Kept::State(_) | Kept::Taken => {
                let used = row.used().at(now_us);
                let fresh = Counter::open(numbers, None, now_us);
                Opened::Counter(overflow::with_used(fresh, used))
            }
        }
    }

    /// Keeps what is known of a key, or that nothing is.
    fn put(&self, table: &mut Table, key: CounterKey, row: Option<Row>, now_us: u64) {
        let Some(row) = row else {
            table.remove(&key);
            return;
        };
        table.put(key, row, Coarse::down(now_us), |key, row| self.spill(key, row, now_us));
    }

    /// Counts a key that made room, and remembers what it had used.
    fn spill(&self, key: CounterKey, row: &Row, now_us: u64) {
        let now = Coarse::down(now_us);
        let limited = row.limited_until > now;
        let warm = row.heat(now) >= WARM && row.used > 1;
        let kept = (limited || warm) && {
            let Kept::State(state) = &row.kept else { return };
            let used = row.used();
            let window_ms = u64::from(row.window_ms);
            let spilled = Spilled { key, class: row.class, state, window_ms, used, limited };
            self.overflow.keep(&spilled, now_us)
        };
        match (limited, kept) {
            (false, _) => self.evicted.cold.inc(),
            (true, true) => self.evicted.limited.inc(),
            (true, false) => self.evicted.lost.inc(),
        }
    }

    fn note_size(&self, before: usize, after: usize) {
        if before != after {
            let count = |keys: usize| i64::try_from(keys).unwrap_or(i64::MAX);
            self.keys.add(count(after) - count(before));
        }
    }
}

/// Takes from a counter, if the request passes and it has enough.
fn settle(opened: &mut Opened, cost: u64, passes: bool) -> Reply {
    if !passes || !opened.has_enough(cost) {
        return opened.refuse(cost);
    }
    match opened {
        Opened::Counter(counter) => {
            counter.take(cost);
            counter.reply(true, cost, cost)
        }
        Opened::Places { held, limit } => {
            *held += cost;
            places(true, cost, *held, *limit)
        }
    }
}

/// What is kept of a counter; none where nothing is known that matters.
fn row(
    counter: Counter,
    take: &Take,
    reply: &Reply,
    (nodes, numbers): (u32, Numbers),
    now_us: u64,
) -> Option<Row> {
    let nodes = few(nodes);
    let (left, limit) = (counter.left(), numbers.limit);
    let used = limit.saturating_sub(left);
    if used == 0 && reply.allowed {
        return None;
    }
    let limited_until = if left < take.cost {
        let wait_ms = counter.reply(false, 0, take.cost).reset_ms;
        Coarse::up(now_us.saturating_add(wait_ms * 1000))
    } else {
        Coarse::PAST
    };
    Some(Row {
        touched: Coarse::down(now_us),
        idle_at: Coarse::up(now_us.saturating_add(counter.idle_in_ms().saturating_mul(1000))),
        limited_until,
        used: u32::try_from(used).unwrap_or(u32::MAX),
        heat: heat(used, limit),
        nodes,
        weight: weight(&counter),
        class: overflow::class(&numbers),
        window_ms: overflow::window_ms(&numbers),
        kept: Kept::State(counter.into_state()),
    })
}

/// Rows that a counter counts for: one, and what its list weighs.
fn weight(counter: &Counter) -> u16 {
    u16::try_from(1 + counter.list_bytes() / ROW_BYTES).unwrap_or(u16::MAX)
}

/// `used` of `limit`, as a share of 65,535.
fn heat(used: u64, limit: u64) -> u16 {
    let share = u128::from(used) * u128::from(u16::MAX) / u128::from(limit.max(1));
    u16::try_from(share).unwrap_or(u16::MAX)
}

/// What is told of places.
fn places(allowed: bool, taken: u64, held: u64, limit: u64) -> Reply {
    let reset_ms = if held == 0 { 0 } else { PLACE_WAIT_MS };
    let remaining = if allowed { limit.saturating_sub(held) } else { 0 };
    Reply { allowed, taken, remaining, reset_ms, epoch_ms: 0 }
}

/// One node's share of what a rule allows; never less than one request.
pub(super) fn share(take: &Take, nodes: u32, now: Moment) -> Numbers {
    let share = take.numbers(now).share(nodes);
    Numbers { limit: share.limit.max(take.cost), ..share }
}

/// Nobody has more nodes, and a row has no more room.
fn few(nodes: u32) -> u16 {
    u16::try_from(nodes).unwrap_or(u16::MAX)
}

fn find<'a, 'b>(tables: &'a mut Guards<'b>, index: usize) -> Option<&'a mut MutexGuard<'b, Table>> {
    tables.iter_mut().find(|(table, _)| *table == index).map(|(_, guard)| guard)
}

#[cfg(test)]
mod tests;
