//! A part of this node's counters: a table of bounded size, and who makes room in it.
//!
//! Rows stand in two groups, those that are used up in front: who makes room is drawn from the
//! others, so a key that is used up goes only where all are. Of a few rows drawn at random one
//! goes that is idle (it says no more than a missing one), else the one of whose limit the
//! least is used: a flood of keys makes room from itself. Exact order would cost each request a
//! list; eight draws miss the emptiest eighth of a table in one case of three, and what goes
//! with some use left is remembered elsewhere.

use indexmap::IndexMap;

use super::super::CounterKey;
use super::super::math::State;
use super::super::mix::Mix;
use super::super::overflow::Used;

/// Rows drawn.
const DRAWS: usize = 8;

/// Rows of those used up that are looked at whenever one makes room.
const COOLED: usize = 2;

/// Bytes that a row weighs with its share of the index, in a table that is full. With what the
/// allocator keeps in reserve 138 were measured. A row with a list weighs more.
pub(super) const ROW_BYTES: usize = 120;

/// Time in units of 2^20 microseconds, about a second: half the bytes. Unix time fits until 2112.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Coarse(u32);

impl Coarse {
    const BITS: u32 = 20;
    pub(super) const NEVER: Self = Self(u32::MAX);
    pub(super) const PAST: Self = Self(0);

    pub(super) fn down(us: u64) -> Self {
        Self(u32::try_from(us >> Self::BITS).unwrap_or(u32::MAX))
    }

    /// Rounded up, so that nothing is forgotten too early.
    pub(super) fn up(us: u64) -> Self {
        Self::down(us.saturating_add((1 << Self::BITS) - 1))
    }

    pub(super) fn us(self) -> u64 {
        u64::from(self.0) << Self::BITS
    }
}

/// What is known of a key.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) kept: Kept,
    /// When `used` was so much.
    pub(super) touched: Coarse,
    /// When the row says no more than a missing one.
    pub(super) idle_at: Coarse,
    /// Until then the key is used up.
    pub(super) limited_until: Coarse,
    /// Tokens used.
    pub(super) used: u32,
    /// Tokens used, as a share of the limit: 0 to 65,535.
    pub(super) heat: u16,
    /// The number of nodes that the share was computed for.
    pub(super) nodes: u16,
    /// Rows that it counts for.
    pub(super) weight: u16,
    /// The rule's window in milliseconds; 0 where it has none.
    pub(super) window_ms: u32,
    /// Where it is remembered when it makes room.
    pub(super) class: u8,
}

/// What is kept in a row.
#[derive(Debug)]
pub(super) enum Kept {
    /// What is stored of a counter.
    State(State),
    /// A request is looking at the state.
    Taken,
}

impl Row {
    /// What is used of it, in a straight line from when it was touched to when it is idle.
    pub(super) fn used(&self) -> Used {
        Used {
            amount: u64::from(self.used),
            at_us: self.touched.us(),
            gone_at_us: self.idle_at.us(),
        }
    }

    /// The share of its limit that is used by now: 0 to 65,535.
    pub(super) fn heat(&self, now: Coarse) -> u64 {
        let lasts = u64::from(self.idle_at.0.saturating_sub(self.touched.0)).max(1);
        let left = u64::from(self.idle_at.0.saturating_sub(now.0)).min(lasts);
        u64::from(self.heat) * left / lasts
    }

    /// Whether it must stay: a request is about to write it.
    const fn is_pinned(&self) -> bool {
        !matches!(self.kept, Kept::State(_))
    }

    fn is_limited(&self, now: Coarse) -> bool {
        self.is_pinned() || self.limited_until > now
    }
}

/// A part of the counters.
#[derive(Debug)]
pub(super) struct Table {
    rows: IndexMap<CounterKey, Row, Mix>,
    /// So many rows in front are used up, or were when they were last looked at.
    hot: usize,
    /// Before this time none of them has got anything back.
    hot_until: Coarse,
    weight: usize,
    capacity: usize,
}

impl Table {
    /// A table for rows of this weight together.
    pub(super) fn new(capacity: usize, mix: Mix) -> Self {
        Self {
            rows: IndexMap::with_hasher(mix),
            hot: 0,
            hot_until: Coarse::NEVER,
            weight: 0,
            capacity,
        }
    }

    /// Number of rows.
    pub(super) fn len(&self) -> usize {
        self.rows.len()
    }

    /// A key's row.
    pub(super) fn get_mut(&mut self, key: &CounterKey) -> Option<&mut Row> {
        self.rows.get_mut(key)
    }

    /// Puts a row, or replaces it; makes room for it first. Every row that went is told.
    pub(super) fn put(
        &mut self,
        key: CounterKey,
        row: Row,
        now: Coarse,
        mut gone: impl FnMut(CounterKey, &Row),
    ) {
        let known = self.rows.get(&key).map_or(0, |known| usize::from(known.weight));
        let (weight, limited) = (usize::from(row.weight), row.is_limited(now));
        let until = row.limited_until;
        // The row that is replaced still is in use, so it pushes out others, not itself.
        self.make_room(weight.saturating_sub(known), now, &mut gone);
        self.weight = self.weight + weight - known;
        let (index, _) = self.rows.insert_full(key, row);
        self.sort(index, limited, until);
    }

    /// Drops a key.
    pub(super) fn remove(&mut self, key: &CounterKey) -> Option<Row> {
        let index = self.rows.get_index_of(key)?;
        self.remove_at(index).map(|(_, row)| row)
    }

    fn make_room(&mut self, weight: usize, now: Coarse, gone: &mut impl FnMut(CounterKey, &Row)) {
        while self.weight + weight > self.capacity {
            let Some((key, row)) = self.choose(now).and_then(|index| self.remove_at(index)) else {
                return;
            };
            gone(key, &row);
        }
    }

    /// Who makes room; none where every row is in use this moment.
    fn choose(&mut self, now: Coarse) -> Option<usize> {
        self.cool_some(now);
        if self.hot == self.rows.len() {
            self.cool(now);
        }
        let cold = self.hot..self.rows.len();
        // Where all are used up, whichever has the least time to go.
        let from = if cold.is_empty() { 0..self.hot } else { cold };
        let mut best: Option<(u64, Coarse, usize)> = None;
        for _ in 0..if from.is_empty() { 0 } else { DRAWS } {
            let index = fastrand::usize(from.clone());
            let Some((_, row)) = self.rows.get_index(index) else { continue };
            if row.is_pinned() {
                continue;
            }
            if row.idle_at <= now {
                return Some(index);
            }
            let rank = (row.heat(now), row.touched, index);
            best = best.map_or(Some(rank), |best| Some(best.min(rank)));
        }
        best.map(|(_, _, index)| index).or_else(|| {
            let free = |row: &Row| !row.is_pinned();
            self.rows.values().position(free)
        })
    }

    /// Moves a few rows to the others that are drawn and are used up no more.
    fn cool_some(&mut self, now: Coarse) {
        for _ in 0..COOLED.min(self.hot) {
            let index = fastrand::usize(0..self.hot);
            if self.rows.get_index(index).is_some_and(|(_, row)| !row.is_limited(now)) {
                self.hot -= 1;
                self.rows.swap_indices(index, self.hot);
            }
        }
    }

    /// Moves all of them. Looks at the rows only when at least one
    /// has got something back since the last time.
    fn cool(&mut self, now: Coarse) {
        if now < self.hot_until {
            return;
        }
        let mut index = 0;
        let mut until = Coarse::NEVER;
        while index < self.hot {
            match self.rows.get_index(index) {
                Some((_, row)) if !row.is_limited(now) => {
                    self.hot -= 1;
                    self.rows.swap_indices(index, self.hot);
                }
                Some((_, row)) => {
                    until = until.min(row.limited_until);
                    index += 1;
                }
                None => return,
            }
        }
        self.hot_until = until;
    }

    /// Sees to it that a row stands in its group.
    fn sort(&mut self, index: usize, limited: bool, until: Coarse) {
        if limited {
            self.hot_until = self.hot_until.min(until);
        }
        match (index < self.hot, limited) {
            (false, true) => {
                self.rows.swap_indices(index, self.hot);
                self.hot += 1;
            }
            (true, false) => {
                self.hot -= 1;
                self.rows.swap_indices(index, self.hot);
            }
            _ => {}
        }
    }

    fn remove_at(&mut self, index: usize) -> Option<(CounterKey, Row)> {
        let index = if index < self.hot {
            self.hot -= 1;
            self.rows.swap_indices(index, self.hot);
            self.hot
        } else {
            index
        };
        let (key, row) = self.rows.swap_remove_index(index)?;
        self.weight -= usize::from(row.weight);
        Some((key, row))
    }
}

#[cfg(test)]
mod tests;
