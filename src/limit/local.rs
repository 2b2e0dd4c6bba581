//! This node's own counters: exact for as many keys as fit, a sketch for the rest.

use std::borrow::Borrow;

use parking_lot::MutexGuard;
use prometheus::IntGauge;

use super::Take;
use super::math::{Counter, Numbers, Reply, State};
use super::overflow::{Estimate, Overflow};
use super::sharded::{Idle, KEYS_MAX, Shard, Sharded};
use crate::clock::Tick;

/// Counters of this process.
#[derive(Debug)]
pub(super) struct Local {
    exact: Sharded<Entry>,
    overflow: Overflow,
    keys: IntGauge,
}

/// The stored counter of a key.
#[derive(Clone, Copy, Debug)]
struct Entry {
    state: State,
    /// The number of nodes that the share was computed for: units of another share are not
    /// comparable, so a changed number starts the key afresh.
    nodes: u32,
    idle_at_us: u64,
}

impl Idle for Entry {
    fn idle_at(&self) -> u64 {
        self.idle_at_us
    }
}

/// A counter of a request, opened.
enum Opened {
    Exact(Counter),
    Estimated(Estimate),
}

impl Opened {
    fn has_enough(&self) -> bool {
        match self {
            Self::Exact(counter) => counter.has_enough(),
            Self::Estimated(estimate) => estimate.has_enough(),
        }
    }

    fn refuse(&self) -> Reply {
        match self {
            Self::Exact(counter) => counter.refuse(),
            Self::Estimated(estimate) => estimate.refuse(),
        }
    }
}

type Guard<'a> = MutexGuard<'a, Shard<Entry>>;

impl Local {
    /// Empty counters; `keys` is told how many are counted exactly.
    pub(super) fn new(keys: IntGauge) -> Self {
        Self::with_capacity(KEYS_MAX, keys)
    }

    fn with_capacity(capacity: usize, keys: IntGauge) -> Self {
        Self { exact: Sharded::new(capacity), overflow: Overflow::default(), keys }
    }

    /// Takes everything, or nothing where a counter has not enough; answers in the order of
    /// `takes`. Each rule is enforced with one node's share of `nodes`.
    pub(super) fn take<T: Borrow<Take>>(&self, takes: &[T], nodes: u32, now: Tick) -> Vec<Reply> {
        let now_us = now.nanos() / 1000;
        let indexes: Vec<usize> =
            takes.iter().map(|take| self.exact.index(&take.borrow().key)).collect();
        let mut shards = self.lock(&indexes);
        let before: usize = shards.iter().map(|(_, shard)| shard.len()).sum();

        let mut opened = Vec::with_capacity(takes.len());
        for (take, index) in takes.iter().zip(&indexes) {
            let take: &Take = take.borrow();
            let numbers = take.rule.numbers.share(nodes);
            let shard = find(&mut shards, *index);
            opened.push(self.open(shard, &take.key, numbers, nodes, now_us));
        }
        if !opened.iter().all(Opened::has_enough) {
            return opened.iter().map(Opened::refuse).collect();
        }

        let mut replies = Vec::with_capacity(takes.len());
        for ((take, index), opened) in takes.iter().zip(&indexes).zip(&mut opened) {
            let key = &take.borrow().key;
            replies.push(match opened {
                Opened::Estimated(estimate) => self.overflow.accept(key, estimate),
                Opened::Exact(counter) => {
                    let reply = counter.accept();
                    let idle_at_us = now_us.saturating_add(counter.idle_in_ms() * 1000);
                    if let Some(shard) = find(&mut shards, *index) {
                        shard.put(key, Entry { state: counter.state(), nodes, idle_at_us });
                    }
                    reply
                }
            });
        }
        self.note_size(before, shards.iter().map(|(_, shard)| shard.len()).sum());
        replies
    }

    /// Locks each shard once, in rising order, so that two requests cannot wait for each other.
    fn lock(&self, indexes: &[usize]) -> Vec<(usize, Guard<'_>)> {
        let mut order = indexes.to_vec();
        order.sort_unstable();
        order.dedup();
        order.into_iter().filter_map(|index| Some((index, self.exact.lock(index)?))).collect()
    }

    fn open(
        &self,
        shard: Option<&mut Guard<'_>>,
        key: &str,
        numbers: Numbers,
        nodes: u32,
        now_us: u64,
    ) -> Opened {
        let Some(shard) = shard else {
            return Opened::Estimated(self.overflow.open(key, numbers, now_us));
        };
        let stored = shard.get(key).copied();
        if stored.is_none() {
            let before = shard.len();
            let room = shard.has_room(now_us);
            self.note_size(before, shard.len());
            if !room {
                return Opened::Estimated(self.overflow.open(key, numbers, now_us));
            }
        }
        let state = stored.filter(|entry| entry.nodes == nodes).map(|entry| entry.state);
        Opened::Exact(Counter::open(numbers, state, now_us))
    }

    fn note_size(&self, before: usize, after: usize) {
        if before != after {
            let count = |keys: usize| i64::try_from(keys).unwrap_or(i64::MAX);
            self.keys.add(count(after) - count(before));
        }
    }
}

fn find<'a, 'b>(shards: &'a mut [(usize, Guard<'b>)], index: usize) -> Option<&'a mut Guard<'b>> {
    shards.iter_mut().find(|(shard, _)| *shard == index).map(|(_, guard)| guard)
}

#[cfg(test)]
mod tests;
