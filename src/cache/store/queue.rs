//! Who goes when room is needed: S3-FIFO (Yang et al., "FIFO queues are all you need for cache
//! eviction", SOSP 2023), by bytes.
//!
//! New entries wait in a small queue that holds about a tenth of the bytes. Who leaves it without
//! having been used at least twice goes, and is remembered as a ghost; who was used moves to the
//! main queue. Who comes back while its ghost is remembered goes to the main queue at once. Whoever
//! reaches the main queue's end after a use goes round again. So a scan, which asks for everything
//! once, passes through the small queue and leaves the main one alone; and a hit moves nothing, it
//! only counts.
//!
//! There is one pair of queues for all shards, behind one lock. Hits never take it, only what
//! follows a fetch does. Pairs by shard would evict in one shard what is used while another keeps
//! what is not, the more so the fewer and larger the entries are.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use pingora_cache::key::HashBinary;

use super::meters::Reason;
use super::record::{Queue, Record};

/// Both queues and the ghosts.
#[derive(Debug, Default)]
pub(super) struct Queues {
    small: VecDeque<Slot>,
    main: VecDeque<Slot>,
    small_bytes: u64,
    main_bytes: u64,
    /// Slots in the queues whose entries have left the index.
    dead: usize,
    ghosts: Ghosts,
}

/// A place in a queue.
#[derive(Debug)]
pub(super) struct Slot {
    pub(super) key: HashBinary,
    pub(super) record: Arc<Record>,
}

impl Queues {
    /// Puts an entry of that weight at the end of a queue, unless it has left the index already.
    pub(super) fn push(&mut self, key: HashBinary, record: Arc<Record>, weight: u64) {
        if record.is_gone() {
            return;
        }
        record.set_weight(weight);
        let queue = if self.ghosts.take(&key) { Queue::Main } else { Queue::Small };
        self.enter(queue, Slot { key, record });
    }

    /// Notes that an entry has left the index otherwise than through [`Queues::victim`].
    pub(super) fn forget(&mut self, record: &Record) {
        self.subtract(record);
        if record.queue() != Queue::None {
            record.set_queue(Queue::None);
            self.dead += 1;
        }
        if self.dead > DEAD_MIN && 2 * self.dead > self.small.len() + self.main.len() {
            self.small.retain(|slot| slot.record.queue() != Queue::None);
            self.main.retain(|slot| slot.record.queue() != Queue::None);
            self.dead = 0;
        }
    }

    /// Notes another weight of an entry.
    pub(super) fn weigh(&mut self, record: &Record, weight: u64) {
        self.subtract(record);
        record.set_weight(weight);
        self.add(record);
    }

    /// Takes out of the queues who goes next, in a store of `capacity` bytes at `now`, in seconds
    /// since the epoch; none when the queues are empty.
    pub(super) fn victim(&mut self, capacity: u64, now: u64) -> Option<(Slot, Reason)> {
        // Uses that go on meanwhile could otherwise keep this going for ever.
        let mut patience = 4 * (self.small.len() + self.main.len()) + 1;
        loop {
            patience = patience.saturating_sub(1);
            let is_small = self.small_bytes >= capacity / SMALL_SHARE || self.main.is_empty();
            let (queue, other) = if is_small {
                (&mut self.small, &mut self.main)
            } else {
                (&mut self.main, &mut self.small)
            };
            let Some(slot) = queue.pop_front().or_else(|| other.pop_front()) else {
                self.dead = 0;
                return None;
            };
            let from = slot.record.queue();
            if from == Queue::None {
                self.dead = self.dead.saturating_sub(1);
                continue;
            }
            self.subtract(&slot.record);
            slot.record.set_queue(Queue::None);
            let uses = slot.record.uses();
            if slot.record.is_over(now) {
                return Some((slot, Reason::Over));
            }
            match from {
                Queue::Small if uses >= USES_TO_STAY && patience > 0 => {
                    slot.record.set_uses(0);
                    self.enter(Queue::Main, slot);
                }
                Queue::Main if uses > 0 && patience > 0 => {
                    slot.record.set_uses(uses - 1);
                    self.enter(Queue::Main, slot);
                }
                _ => {
                    if from == Queue::Small {
                        let most = self.small.len() + self.main.len();
                        self.ghosts.add(&slot.key, most.max(GHOSTS_MIN));
                    }
                    return Some((slot, Reason::Room));
                }
            }
        }
    }

    /// What the entries in the queues weigh.
    #[cfg(test)]
    pub(super) const fn bytes(&self) -> u64 {
        self.small_bytes + self.main_bytes
    }

    /// Places in the queues, with those of entries that are gone.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.small.len() + self.main.len()
    }

    fn enter(&mut self, queue: Queue, slot: Slot) {
        slot.record.set_queue(queue);
        self.add(&slot.record);
        if queue == Queue::Main { self.main.push_back(slot) } else { self.small.push_back(slot) }
    }

    const fn sum(&mut self, queue: Queue) -> Option<&mut u64> {
        match queue {
            Queue::None => None,
            Queue::Small => Some(&mut self.small_bytes),
            Queue::Main => Some(&mut self.main_bytes),
        }
    }

    fn add(&mut self, record: &Record) {
        if let Some(sum) = self.sum(record.queue()) {
            *sum += record.weight();
        }
    }

    fn subtract(&mut self, record: &Record) {
        if let Some(sum) = self.sum(record.queue()) {
            *sum = sum.saturating_sub(record.weight());
        }
    }
}

/// Who left the small queue lately.
#[derive(Debug, Default)]
struct Ghosts {
    order: VecDeque<u64>,
    known: HashSet<u64>,
}

impl Ghosts {
    /// Remembers a key, and at most `most` of them.
    fn add(&mut self, key: &HashBinary, most: usize) {
        let print = fingerprint(key);
        if self.known.insert(print) {
            self.order.push_back(print);
        }
        while self.order.len() > most {
            if let Some(oldest) = self.order.pop_front() {
                self.known.remove(&oldest);
            }
        }
    }

    /// Whether a key is remembered; it is no longer then.
    fn take(&mut self, key: &HashBinary) -> bool {
        self.known.remove(&fingerprint(key))
    }
}

/// Half of a key, which is a hash: two that share it are taken for one, which only moves an entry
/// to the main queue.
fn fingerprint(key: &HashBinary) -> u64 {
    let (half, _) = key.split_first_chunk().unwrap_or((&[0; 8], &[]));
    u64::from_le_bytes(*half)
}

/// One part in this many of the capacity is for the small queue.
const SMALL_SHARE: u64 = 10;

/// Uses in the small queue that lead to the main one.
const USES_TO_STAY: u8 = 2;

/// Below this many it is not worth tidying up.
const DEAD_MIN: usize = 64;

/// So many ghosts are remembered even in a small store.
const GHOSTS_MIN: usize = 64;

#[cfg(test)]
mod tests;
