//! Verified tokens, so that a signature is checked once.
//!
//! Set-associative like a processor's cache: a token's hash chooses a set of eight slots, and
//! within it second chance decides who leaves. That bounds the cache exactly, keeps reading and
//! writing free of locks (each slot is swapped whole), and a burst of new tokens can displace
//! only its neighbours. A hit compares the whole token: the hash finds, it never decides. Where a
//! good token would have to leave, the new one has to come twice (`newcomers`): what is used once
//! displaces nobody.
//!
//! What it weighs is bounded too: a token has at most 8 KiB, but what is parsed from it can take
//! many times as much. Beyond [`BYTES_MAX`] a new token takes the place of others, and where that
//! does not suffice it is not kept.
//!
//! Refused tokens are never here: see `refusals`.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use prometheus::{IntCounter, IntGauge};

use super::newcomers::Newcomers;
pub(in crate::auth) use super::proof::Binding;
use crate::clock::Moment;
use crate::edge::Identity;
use crate::telemetry::Metrics;

/// Slots of a set.
const WAYS: usize = 8;

/// What all entries together may weigh, in bytes.
const BYTES_MAX: usize = 256 * 1024 * 1024;

/// Entries that may have to leave for one new one, at most.
const EVICTED_MAX: usize = 8;

/// Bytes at the end of a token that are hashed: the end of its signature, which no two valid
/// tokens share by chance and nobody can choose.
const HASHED_BYTES: usize = 43;

/// The tag of an empty slot; hashes of this value are moved to its neighbour.
const EMPTY: u64 = 0;

/// A bounded cache of verified tokens.
#[derive(Debug)]
pub struct TokenCache {
    slots: Box<[Slot]>,
    ways: usize,
    newcomers: Newcomers,
    hasher: RandomState,
    bytes: AtomicUsize,
    bytes_max: usize,
    hits: IntCounter,
    misses: IntCounter,
    refused: IntCounter,
    evicted: IntCounter,
    turned_away: IntCounter,
    entries_shown: IntGauge,
    bytes_shown: IntGauge,
}

#[derive(Debug, Default)]
struct Slot {
    /// Hash of the token, so that most slots are passed over with one load.
    tag: AtomicU64,
    entry: ArcSwapOption<Entry>,
    /// That of the entry.
    good_until: AtomicU64,
    /// Whether the slot was hit since the last one was displaced from its set.
    was_used: AtomicBool,
}

impl Slot {
    /// By its tag; one that another thread fills or empties at this moment may say either.
    fn holds_something(&self) -> bool {
        self.tag.load(Ordering::Acquire) != EMPTY
    }

    /// Whether its token, if any, has expired. Looks at no entry: in a full cache nearly all of
    /// them are far from the processor.
    fn is_expired(&self, now: Moment) -> bool {
        self.good_until.load(Ordering::Relaxed) < now.unix_seconds()
    }
}

struct Entry {
    token: Box<str>,
    binding: Binding,
    /// Last second, in Unix time, in which the token is good.
    good_until: u64,
    identity: Arc<Identity>,
    /// What it takes in memory, in bytes.
    weight: usize,
}

/// Leaves the token out: it is a credential.
impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Entry({:?})", self.binding)
    }
}

impl Entry {
    const fn is_good(&self, now: Moment) -> bool {
        self.good_until >= now.unix_seconds()
    }
}

impl TokenCache {
    /// A cache of at most `entries` tokens; with none of them it finds nothing.
    #[must_use]
    pub fn new(entries: usize, metrics: &Metrics) -> Self {
        Self::within(entries, BYTES_MAX, metrics)
    }

    fn within(entries: usize, bytes_max: usize, metrics: &Metrics) -> Self {
        let ways = entries.min(WAYS);
        let slots = entries.checked_div(ways).unwrap_or_default() * ways;
        Self {
            slots: (0..slots).map(|_| Slot::default()).collect(),
            ways,
            newcomers: Newcomers::new(slots),
            hasher: RandomState::new(),
            bytes: AtomicUsize::new(0),
            bytes_max,
            hits: metrics.token_cache.with_label_values(&["hit"]),
            misses: metrics.token_cache.with_label_values(&["miss"]),
            refused: metrics.token_cache.with_label_values(&["refused"]),
            evicted: metrics.token_cache_evicted.clone(),
            turned_away: metrics.token_cache_turned_away.clone(),
            entries_shown: metrics.token_cache_entries.clone(),
            bytes_shown: metrics.token_cache_bytes.clone(),
        }
    }

    /// The identity that a token proved earlier, if it is still good and what it rests on is
    /// in force. Allocates nothing.
    pub(in crate::auth) fn get(
        &self,
        token: &str,
        now: Moment,
        is_in_force: impl FnOnce(&Binding) -> bool,
    ) -> Option<Arc<Identity>> {
        let tag = self.tag(token);
        for slot in self.set(tag) {
            if slot.tag.load(Ordering::Acquire) != tag {
                continue;
            }
            let held = slot.entry.load();
            let Some(entry) = held.as_ref().filter(|entry| *entry.token == *token) else {
                continue;
            };
            if !entry.is_good(now) {
                self.discard(slot, entry);
                break;
            }
            if !is_in_force(&entry.binding) {
                self.refused.inc();
                return None;
            }
            // Written only when it changes, so that a hot slot's line stays shared.
            if !slot.was_used.load(Ordering::Relaxed) {
                slot.was_used.store(true, Ordering::Relaxed);
            }
            self.hits.inc();
            return Some(Arc::clone(&entry.identity));
        }
        self.misses.inc();
        None
    }

    /// Keeps a verified token until the end of the second `good_until`, in Unix time; not one that
    /// comes for the first time where a good one would have to leave for it.
    pub(in crate::auth) fn put(
        &self,
        token: &str,
        binding: Binding,
        good_until: u64,
        identity: &Arc<Identity>,
        now: Moment,
    ) {
        let weight = weight(token, identity);
        let tag = self.tag(token);
        let set = self.set(tag);
        let same = set.iter().find(|slot| {
            slot.tag.load(Ordering::Acquire) == tag
                && slot.entry.load().as_deref().is_some_and(|entry| *entry.token == *token)
        });
        let free = || set.iter().find(|slot| !slot.holds_something() || slot.is_expired(now));
        let own = same.or_else(free);
        let is_tight = self.bytes.load(Ordering::Relaxed) + weight > self.bytes_max;
        let displaces = same.is_none() && (own.is_none() || is_tight);
        if displaces && !self.newcomers.came_before(tag) {
            self.turned_away.inc();
            return;
        }
        let Some(slot) = own.or_else(|| least_wanted(set, now)) else { return };
        if let Some(held) = &*slot.entry.load() {
            if same.is_none() && held.is_good(now) {
                self.evicted.inc();
            }
            self.discard(slot, held);
        }
        if !self.make_room(weight, set, now) {
            return;
        }
        let identity = Arc::clone(identity);
        let entry = Entry { token: token.into(), binding, good_until, identity, weight };
        let before = slot.entry.swap(Some(Arc::new(entry)));
        slot.good_until.store(good_until, Ordering::Relaxed);
        slot.was_used.store(false, Ordering::Relaxed);
        slot.tag.store(tag, Ordering::Release);
        self.entries_shown.inc();
        if let Some(other) = before {
            // Somebody else put one there at the same time.
            self.gone(&other);
        }
    }

    /// Counts `weight` in; where that is too much, others leave: neighbours first, because they
    /// compete for the same slots, then whoever chance finds. Returns whether it fits now.
    fn make_room(&self, weight: usize, set: &[Slot], now: Moment) -> bool {
        let mut total = self.bytes.fetch_add(weight, Ordering::Relaxed) + weight;
        for turn in 0..EVICTED_MAX {
            if total <= self.bytes_max {
                break;
            }
            let set = if turn == 0 { set } else { self.set(fastrand::u64(..)) };
            let held = least_wanted(set, now).map(|slot| (slot, slot.entry.load_full()));
            if let Some((slot, Some(entry))) = held {
                self.evicted.inc();
                self.discard(slot, &entry);
            }
            total = self.bytes.load(Ordering::Relaxed);
        }
        let fits = total <= self.bytes_max;
        if !fits {
            self.bytes.fetch_sub(weight, Ordering::Relaxed);
        }
        self.show_bytes();
        fits
    }

    /// Empties a slot, if it still holds this entry.
    fn discard(&self, slot: &Slot, entry: &Arc<Entry>) {
        let before = slot.entry.compare_and_swap(entry, None);
        if before.as_ref().is_some_and(|before| Arc::ptr_eq(before, entry)) {
            slot.tag.store(EMPTY, Ordering::Release);
            self.gone(entry);
        }
    }

    fn gone(&self, entry: &Entry) {
        self.bytes.fetch_sub(entry.weight, Ordering::Relaxed);
        self.entries_shown.dec();
        self.show_bytes();
    }

    fn show_bytes(&self) {
        let bytes = self.bytes.load(Ordering::Relaxed);
        self.bytes_shown.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }

    fn tag(&self, token: &str) -> u64 {
        let bytes = token.as_bytes();
        let tail = bytes.get(bytes.len().saturating_sub(HASHED_BYTES)..).unwrap_or_default();
        self.hasher.hash_one(tail).max(EMPTY + 1)
    }

    fn set(&self, tag: u64) -> &[Slot] {
        let sets = self.slots.len().checked_div(self.ways).unwrap_or_default() as u64;
        let index = tag.checked_rem(sets).and_then(|index| usize::try_from(index).ok());
        let start = index.unwrap_or_default() * self.ways;
        self.slots.get(start..start + self.ways).unwrap_or_default()
    }
}

/// Among slots that hold something: one whose token has expired, else one without a hit since
/// the last displacement, else any; then everybody has to be hit again to be safe.
fn least_wanted(set: &[Slot], now: Moment) -> Option<&Slot> {
    let held = || set.iter().filter(|slot| slot.holds_something());
    let is_expired = |slot: &&Slot| slot.is_expired(now);
    let is_unused = |slot: &&Slot| !slot.was_used.load(Ordering::Relaxed);
    if let Some(unwanted) = held().find(is_expired).or_else(|| held().find(is_unused)) {
        return Some(unwanted);
    }
    for slot in set {
        slot.was_used.store(false, Ordering::Relaxed);
    }
    held().nth(fastrand::usize(..held().count().max(1)))
}

/// What an entry takes in memory, estimated: the token, the facts, and all the claims.
fn weight(token: &str, identity: &Identity) -> usize {
    /// A text of its own: pointer, counts, allocator.
    const TEXT: usize = 32;
    let texts = identity.scopes.iter().chain(&identity.roles).chain(&identity.products);
    let headers = identity.headers.iter();
    size_of::<Entry>()
        + size_of::<Identity>()
        + token.len()
        + identity.claims.weight()
        + texts.map(|text| TEXT + text.len()).sum::<usize>()
        + headers.map(|(name, value)| 4 * TEXT + name.as_str().len() + value.len()).sum::<usize>()
}

#[cfg(test)]
mod tests;
