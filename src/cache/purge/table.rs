//! Which purges are known: tag by tag the number of the last one.
//!
//! Purging touches no entry. A purge gets a number, and its tags are noted under it; an entry that
//! is about to be used compares those of its own tags with the number that the node had reached
//! when it asked the service for the answer ([`Note::seen`]). So a purge costs the same whether
//! no entry or a hundred thousand carry the tag, and an answer that was already on its way when
//! the purge came is against it just as one that was kept before.
//!
//! **Numbers.** A number is one of the fleet, in microseconds, in the upper bits, and counts what
//! this node purged since in the lower [`LOCAL_BITS`]. On one node they only grow, in the order in
//! which purges become known: so for entries that the node fetched itself nothing depends on any
//! clock. Between nodes the upper bits are compared; Redis gives them out.
//!
//! A purge of this node is noted as soon as it is made, and a second time when the fleet has
//! numbered it. The second note is for entries that others have shared; for those fetched here
//! the first says all, and what was fetched since then stays.
//!
//! **Order of writes.** A purge is noted under its tags first, and counted as known afterwards.
//! Who judges reads in the other order. So who sees the number sees what it stands for, and who
//! does not see it judges again.
//!
//! **Bound.** Of more purges than fit, and of old ones, the oldest are folded into one number:
//! entries from before it must be confirmed by their service, since nobody knows any more which
//! of them were purged.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::super::Note;
use super::order::Order;
use super::tag::Tag;

/// What the purges say of an entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing: it may be used by its own terms.
    Keep,
    /// It was purged softly at this moment, in milliseconds since the epoch: it is stale since.
    /// Where several soft purges name it, the last of them.
    Stale(u64),
    /// It must be confirmed by the service before it is used again.
    Confirm,
    /// It was purged.
    Gone,
}

/// Every purge that entries may still have to obey.
#[derive(Debug)]
pub(super) struct Table {
    /// The number of the last purge that is known.
    seen: AtomicU64,
    /// Entries from before this number must be confirmed.
    floor: AtomicU64,
    /// What stands for the number of answers that were asked for before the node had ever heard
    /// from the fleet.
    base: AtomicU64,
    /// The same towards other nodes, in microseconds: only what is certain; 0 where nothing is.
    base_shared_us: AtomicU64,
    shards: [RwLock<HashMap<Tag, Record, BuildHasherDefault<Prehashed>>>; SHARDS],
    /// One purge at a time.
    turn: Mutex<()>,
    /// Most records of a shard.
    room: usize,
}

/// The last purges of a tag.
#[derive(Clone, Copy, Debug, Default)]
struct Record {
    /// Number of the last one after which entries are gone; 0 for none.
    hard: u64,
    /// Number of the last one after which they are stale; 0 for none.
    soft: u64,
    /// The same two by the fleet's numbers, for purges of this node: against entries that were
    /// not fetched here.
    echo: u64,
    soft_echo: u64,
    /// When the last soft one was, in milliseconds since the epoch.
    soft_ms: u64,
    /// When the last of both was, in milliseconds since the epoch.
    at_ms: u64,
}

impl Record {
    fn last(&self) -> u64 {
        self.hard.max(self.soft).max(self.echo).max(self.soft_echo)
    }

    /// Numbers of the last hard and of the last soft purge that an entry has to obey.
    fn against(&self, is_ours: bool) -> (u64, u64) {
        if is_ours {
            return (self.hard, self.soft);
        }
        (self.hard.max(self.echo), self.soft.max(self.soft_echo))
    }
}

/// How a purge is numbered.
#[derive(Clone, Copy, Debug)]
pub(super) enum Numbered {
    /// The next number on this node: the fleet's comes later.
    Next,
    /// By the fleet, in microseconds.
    Fleet(u64),
    /// By the fleet, in microseconds, after it was noted here under a number of this node.
    Echo(u64),
}

impl Table {
    /// A table with room for so many records in all, more or less.
    pub(super) fn new(room: usize) -> Self {
        Self {
            seen: AtomicU64::new(0),
            floor: AtomicU64::new(0),
            base: AtomicU64::new(0),
            base_shared_us: AtomicU64::new(0),
            shards: std::array::from_fn(|_| RwLock::default()),
            turn: Mutex::new(()),
            room: (room / SHARDS).max(1),
        }
    }

    /// The number of the last purge that is known.
    pub(super) fn seen(&self) -> u64 {
        self.seen.load(Ordering::Acquire)
    }

    /// What the purges say of an entry; see [`Purges::judge`](super::Purges::judge).
    pub(super) fn judge(&self, note: &Note) -> Verdict {
        let seen = self.seen();
        let since = self.since(note);
        if since >= seen {
            return Verdict::Keep;
        }
        // What was fetched after a purge of this node and before the fleet's next says so in its
        // number; what others have shared never does.
        let is_ours = note.seen & LOCAL_MAX != 0;
        let (mut hard, mut soft, mut soft_ms) = (0, 0, 0);
        for tag in &note.tags {
            if let Some(record) = self.shard(*tag).read().get(tag) {
                let (gone, stale) = record.against(is_ours);
                hard = hard.max(gone);
                if stale > soft {
                    (soft, soft_ms) = (stale, record.soft_ms);
                }
            }
        }
        if hard > since {
            return Verdict::Gone;
        }
        // After the records: whoever folds one raises this before it takes the record away.
        if self.floor.load(Ordering::Acquire) > since {
            return Verdict::Confirm;
        }
        if soft > since {
            return Verdict::Stale(soft_ms);
        }
        note.judged.set(seen);
        Verdict::Keep
    }

    /// Up to which number nothing is against an entry.
    fn since(&self, note: &Note) -> u64 {
        let seen =
            if note.seen > LOCAL_MAX { note.seen } else { note.seen.max(self.base.load(LOAD)) };
        seen.max(note.judged.get())
    }

    /// See [`Purges::export`](super::Purges::export).
    pub(super) fn export(&self, seen: u64) -> Option<u64> {
        let us = if seen > LOCAL_MAX { fleet_us(seen) } else { self.base_shared_us.load(LOAD) };
        (us > 0).then_some(us)
    }

    /// Before this moment by the fleet's clock the process certainly asked for nothing.
    pub(super) fn vouch(&self, us: u64) {
        self.base_shared_us.fetch_max(us, Ordering::Release);
    }

    /// Notes a purge; returns its number and how many records were folded for it.
    pub(super) fn apply(&self, order: &Order, by: Numbered, at_ms: u64) -> (u64, usize) {
        let _turn = self.turn.lock();
        let next = self.seen().saturating_add(1);
        let (number, is_echo) = match by {
            Numbered::Next => (next, false),
            Numbered::Fleet(us) => (fleet(us).max(next), false),
            Numbered::Echo(us) => (fleet(us), true),
        };
        let folded = self.note(order, number, is_echo, at_ms);
        self.seen.fetch_max(number, Ordering::Release);
        (number, folded)
    }

    /// Notes a purge of the fleet that was made before this process began to ask services for
    /// anything: only entries that others have shared can be from before it.
    pub(super) fn recall(&self, order: &Order, us: u64, at_ms: u64) -> usize {
        let _turn = self.turn.lock();
        let number = fleet(us);
        let folded = self.note(order, number, false, at_ms);
        self.seen.fetch_max(number, Ordering::Release);
        folded
    }

    fn note(&self, order: &Order, number: u64, is_echo: bool, at_ms: u64) -> usize {
        let mut folded = 0;
        for tag in &order.tags {
            let mut shard = self.shard(*tag).write();
            let record = shard.entry(*tag).or_default();
            record.at_ms = record.at_ms.max(at_ms);
            let place = match (order.soft, is_echo) {
                (false, false) => &mut record.hard,
                (false, true) => &mut record.echo,
                (true, false) => &mut record.soft,
                (true, true) => &mut record.soft_echo,
            };
            *place = number.max(*place);
            if order.soft && !is_echo {
                record.soft_ms = record.soft_ms.max(at_ms);
            }
            if shard.len() > self.room {
                let mut numbers: Vec<u64> = shard.values().map(Record::last).collect();
                let (_, oldest, _) = numbers.select_nth_unstable(self.room / FOLDED_PART);
                let bound = *oldest;
                self.floor.fetch_max(bound, Ordering::Release);
                let before = shard.len();
                shard.retain(|_, record| record.last() > bound);
                folded += before - shard.len();
            }
        }
        folded
    }

    /// Purges may have been missed: what was asked for until now must be confirmed. Returns the
    /// number from which on entries need not be.
    pub(super) fn lose(&self, us: u64) -> u64 {
        let _turn = self.turn.lock();
        let number = fleet(us).max(self.seen().saturating_add(1));
        self.floor.fetch_max(number, Ordering::Release);
        self.seen.store(number, Ordering::Release);
        number
    }

    /// The node hears from a fleet for the first time. `base` is a moment by the fleet's clock
    /// before which this process asked for nothing, `floor` the number up to which the fleet
    /// itself has forgotten its purges. `waiting` are those of this node that the fleet does not
    /// know yet.
    pub(super) fn begin<'a>(
        &self,
        base: u64,
        floor: u64,
        waiting: impl Iterator<Item = &'a Order>,
        at_ms: u64,
    ) {
        let _turn = self.turn.lock();
        let base = fleet(base);
        let mut number = self.seen().max(base);
        for order in waiting {
            number += 1;
            self.note(order, number, false, at_ms);
        }
        self.seen.store(number, Ordering::Release);
        self.floor.fetch_max(fleet(floor), Ordering::Release);
        // Last: what was purged before there was a number for it stands under one above by now.
        self.base.fetch_max(base, Ordering::Release);
    }

    /// Everything up to a number of the fleet is known.
    pub(super) fn reach(&self, us: u64) {
        let _turn = self.turn.lock();
        self.seen.fetch_max(fleet(us), Ordering::Release);
    }

    /// Folds records from before a moment, in milliseconds since the epoch; returns how many.
    pub(super) fn expire(&self, before_ms: u64) -> usize {
        let mut folded = 0;
        for shard in &self.shards {
            let is_old = |record: &Record| record.at_ms < before_ms;
            if !shard.read().values().any(is_old) {
                continue;
            }
            let mut shard = shard.write();
            let bound = shard.values().filter(|record| is_old(record)).map(Record::last).max();
            let Some(bound) = bound else { continue };
            self.floor.fetch_max(bound, Ordering::Release);
            let count = shard.len();
            shard.retain(|_, record| record.last() > bound);
            folded += count - shard.len();
        }
        folded
    }

    /// How many tags have a record.
    pub(super) fn records(&self) -> usize {
        self.shards.iter().map(|shard| shard.read().len()).sum()
    }

    #[expect(clippy::indexing_slicing, reason = "the remainder is below the number of shards")]
    #[expect(clippy::cast_possible_truncation, reason = "only the lowest bits count")]
    fn shard(&self, tag: Tag) -> &RwLock<HashMap<Tag, Record, BuildHasherDefault<Prehashed>>> {
        &self.shards[tag.0 as usize % SHARDS]
    }
}

/// The first number of a moment of the fleet, in microseconds since the epoch.
pub(super) const fn fleet(us: u64) -> u64 {
    if us >= 1 << (u64::BITS - LOCAL_BITS) { u64::MAX - LOCAL_MAX } else { us << LOCAL_BITS }
}

/// The moment of the fleet in a number.
pub(super) const fn fleet_us(number: u64) -> u64 {
    number >> LOCAL_BITS
}

/// A tag is a hash already.
#[derive(Debug, Default)]
struct Prehashed(u64);

impl Hasher for Prehashed {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }

    fn finish(&self) -> u64 {
        // The lowest bits chose the shard, and are the same for all of it.
        self.0.rotate_right(SHARDS.trailing_zeros())
    }
}

/// Bits of a number that count what a node purged since the fleet's last purge: 51 of the others
/// hold microseconds until the year 2112.
const LOCAL_BITS: u32 = 12;
/// The largest number without a moment of the fleet in it.
pub(super) const LOCAL_MAX: u64 = (1 << LOCAL_BITS) - 1;

const LOAD: Ordering = Ordering::Acquire;

/// Parts of the table, so that threads seldom wait for each other.
const SHARDS: usize = 64;

/// Of a full part, one in this many records is folded at once.
const FOLDED_PART: usize = 8;

#[cfg(test)]
mod tests;
