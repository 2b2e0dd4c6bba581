//! What a fill, the entry that it becomes, and that entry's later versions have in common.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering};

use pingora_cache::CacheMeta;

use super::super::KeyHash;

/// The identity of one body: a fill, the entry that it becomes, and that entry under the new
/// headers that revalidations bring share it; what replaces the entry has its own.
#[derive(Debug)]
pub(super) struct Record {
    /// The whole key, compared on every look-up: the index knows half of it.
    pub(super) key: KeyHash,
    /// Counts up with every fill of the store.
    pub(super) number: u64,
    /// Uses since the store last came by in search of room, at most [`USES_MAX`].
    uses: AtomicU8,
    /// It is no longer in the index.
    gone: AtomicBool,
    /// In which queue it is; changed only by whoever holds the queues.
    queue: AtomicU8,
    /// What it weighs in its queue; changed only by whoever holds the queues.
    weight: AtomicU64,
    /// From when on it is of no use, not even stale, in seconds since the epoch.
    over: AtomicU64,
}

/// Where an entry waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Queue {
    /// Not yet in a queue, or no longer.
    None,
    Small,
    Main,
}

impl Record {
    pub(super) const fn new(key: KeyHash, number: u64) -> Self {
        Self {
            key,
            number,
            uses: AtomicU8::new(0),
            gone: AtomicBool::new(false),
            queue: AtomicU8::new(0),
            weight: AtomicU64::new(0),
            over: AtomicU64::new(u64::MAX),
        }
    }

    /// Notes a use. Takes no lock, and writes nothing that eviction reads once an entry is known
    /// to be popular.
    pub(super) fn note_use(&self) {
        let uses = self.uses.load(Ordering::Relaxed);
        if uses < USES_MAX {
            // Two uses at once may count as one: it is a hint.
            self.uses.store(uses + 1, Ordering::Relaxed);
        }
    }

    pub(super) fn uses(&self) -> u8 {
        self.uses.load(Ordering::Relaxed)
    }

    pub(super) fn set_uses(&self, uses: u8) {
        self.uses.store(uses, Ordering::Relaxed);
    }

    /// Says that it left the index. For whoever took it out, under the shard's lock.
    pub(super) fn leave(&self) {
        self.gone.store(true, Ordering::Release);
    }

    pub(super) fn is_gone(&self) -> bool {
        self.gone.load(Ordering::Acquire)
    }

    pub(super) fn queue(&self) -> Queue {
        match self.queue.load(Ordering::Relaxed) {
            1 => Queue::Small,
            2 => Queue::Main,
            _ => Queue::None,
        }
    }

    pub(super) fn set_queue(&self, queue: Queue) {
        let number = match queue {
            Queue::None => 0,
            Queue::Small => 1,
            Queue::Main => 2,
        };
        self.queue.store(number, Ordering::Relaxed);
    }

    pub(super) fn weight(&self) -> u64 {
        self.weight.load(Ordering::Relaxed)
    }

    pub(super) fn set_weight(&self, weight: u64) {
        self.weight.store(weight, Ordering::Relaxed);
    }

    pub(super) fn set_over(&self, seconds: u64) {
        self.over.store(seconds, Ordering::Relaxed);
    }

    /// Whether it is of no more use at `now`, in seconds since the epoch.
    pub(super) fn is_over(&self, now: u64) -> bool {
        self.over.load(Ordering::Relaxed) < now
    }
}

/// Which body a look-up's meta data belong to. Pingora carries it along, so that a revalidation's
/// new header never ends up at another answer's body.
#[derive(Clone)]
pub(super) struct Ticket(Arc<Record>);

impl Ticket {
    pub(super) fn attach(record: &Arc<Record>, meta: &mut CacheMeta) {
        meta.extensions_mut().insert(Self(Arc::clone(record)));
    }

    /// Whether `meta` came from a look-up that found this body.
    pub(super) fn names(meta: &CacheMeta, record: &Arc<Record>) -> bool {
        meta.extensions().get::<Self>().is_some_and(|ticket| Arc::ptr_eq(&ticket.0, record))
    }
}

/// More uses than this make no difference.
const USES_MAX: u8 = 3;
