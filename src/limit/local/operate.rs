//! What operators see of this node's counters, and how they reset one.

use std::hash::BuildHasher;

use super::table::Kept;
use super::{CounterKey, Local, Take, few, shard_of, share};
use crate::clock::Moment;
use crate::limit::desk::Stand;
use crate::limit::held::is_place;
use crate::limit::math::Counter;

impl Local {
    /// How a counter stands that is counted exactly here with a node's share of `nodes`.
    pub(in crate::limit) fn look(&self, take: &Take, nodes: u32, now: Moment) -> Option<Stand> {
        let numbers = share(take, nodes, now);
        if is_place(take) {
            let used = self.places.lock(std::iter::once(take.key)).held(&take.key);
            let remaining = numbers.limit.saturating_sub(used);
            return (used > 0).then_some(Stand { used, remaining, reset_ms: 0 });
        }
        let now_us = self.unix.us(now);
        let mut table = self.tables.get(shard_of(self.mix.hash_one(take.key)))?.lock();
        let row = table.get_mut(&take.key).filter(|row| row.nodes == few(nodes))?;
        let Kept::State(state) = &row.kept else { return None };
        Some(Counter::open(numbers, Some(state.clone()), now_us).standing().into())
    }

    /// Starts a counter afresh. What is only remembered of one stays as it is: it shares its
    /// place with others. So do places: who holds them gives them back.
    pub(in crate::limit) fn forget(&self, key: &CounterKey) {
        let Some(table) = self.tables.get(shard_of(self.mix.hash_one(key))) else { return };
        let mut table = table.lock();
        let before = table.len();
        table.remove(key);
        self.note_size(before, table.len());
    }
}
