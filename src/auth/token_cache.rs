//! Verified tokens, so that a signature is checked once.
//!
//! Set-associative like a processor's cache: a token's hash chooses a set of eight slots, and
//! within it second chance decides who leaves. That bounds the cache exactly, keeps reading and
//! writing free of locks (each slot is swapped whole), and a burst of new tokens can displace
//! only its neighbours. A hit compares the whole token: the hash finds, it never decides.
//!
//! Refused tokens are not kept. They would let anybody fill the cache for nothing, and refusing
//! them again costs no more than the first time.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;
use prometheus::IntCounter;

use super::ProviderIndex;
use super::provider::Fingerprint;
use crate::clock::Moment;
use crate::edge::Identity;
use crate::telemetry::Metrics;

/// Slots of a set.
const WAYS: usize = 8;

/// Bytes at the end of a token that are hashed: the end of its signature, which no two valid
/// tokens share by chance and nobody can choose.
const HASHED_BYTES: usize = 43;

/// The tag of an empty slot; hashes of this value are moved to its neighbour.
const EMPTY: u64 = 0;

/// What a proof rests on; it counts only while all of it is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Binding {
    pub(super) provider: ProviderIndex,
    pub(super) fingerprint: Fingerprint,
    /// Generation of the key set with which the signature was checked.
    pub(super) generation: u64,
}

/// A bounded cache of verified tokens.
#[derive(Debug)]
pub struct TokenCache {
    slots: Box<[Slot]>,
    ways: usize,
    hasher: RandomState,
    hits: IntCounter,
    misses: IntCounter,
    refused: IntCounter,
}

#[derive(Debug, Default)]
struct Slot {
    /// Hash of the token, so that most slots are passed over with one load.
    tag: AtomicU64,
    entry: ArcSwapOption<Entry>,
    /// Whether the slot was hit since the last one was displaced from its set.
    was_used: AtomicBool,
}

struct Entry {
    token: Box<str>,
    binding: Binding,
    /// Last second, in Unix time, in which the token is good.
    good_until: u64,
    identity: Arc<Identity>,
}

/// Leaves the token out: it is a credential.
impl std::fmt::Debug for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Entry({:?})", self.binding)
    }
}

impl TokenCache {
    /// A cache of at most `entries` tokens; with none of them it finds nothing.
    #[must_use]
    pub fn new(entries: usize, metrics: &Metrics) -> Self {
        let ways = entries.min(WAYS);
        let slots = entries.checked_div(ways).unwrap_or_default() * ways;
        Self {
            slots: (0..slots).map(|_| Slot::default()).collect(),
            ways,
            hasher: RandomState::new(),
            hits: metrics.token_cache.with_label_values(&["hit"]),
            misses: metrics.token_cache.with_label_values(&["miss"]),
            refused: metrics.token_cache.with_label_values(&["refused"]),
        }
    }

    /// The identity that a token proved earlier, if it is still good and what it rests on is
    /// in force. Allocates nothing.
    pub(super) fn get(
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
            let entry = slot.entry.load();
            let Some(entry) = entry.as_deref().filter(|entry| *entry.token == *token) else {
                continue;
            };
            if entry.good_until < now.unix_seconds() {
                slot.clear();
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

    /// Keeps a verified token until the end of the second `good_until`, in Unix time.
    pub(super) fn put(
        &self,
        token: &str,
        binding: Binding,
        good_until: u64,
        identity: &Arc<Identity>,
    ) {
        let tag = self.tag(token);
        let set = self.set(tag);
        let same = set.iter().find(|slot| {
            slot.tag.load(Ordering::Acquire) == tag
                && slot.entry.load().as_deref().is_some_and(|entry| *entry.token == *token)
        });
        let Some(slot) = same.or_else(|| victim(set)) else { return };
        let identity = Arc::clone(identity);
        let entry = Entry { token: token.into(), binding, good_until, identity };
        slot.entry.store(Some(Arc::new(entry)));
        slot.tag.store(tag, Ordering::Release);
        slot.was_used.store(false, Ordering::Relaxed);
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

impl Slot {
    fn clear(&self) {
        self.tag.store(EMPTY, Ordering::Release);
        self.entry.store(None);
    }
}

/// The slot to give up: an empty one, else one without a hit since the last displacement, else
/// any; then everybody has to be hit again to be safe.
fn victim(set: &[Slot]) -> Option<&Slot> {
    let empty = set.iter().find(|slot| slot.tag.load(Ordering::Relaxed) == EMPTY);
    if empty.is_some() {
        return empty;
    }
    let unused = set.iter().find(|slot| !slot.was_used.load(Ordering::Relaxed));
    if unused.is_some() {
        return unused;
    }
    for slot in set {
        slot.was_used.store(false, Ordering::Relaxed);
    }
    set.get(fastrand::usize(..set.len().max(1)))
}

#[cfg(test)]
mod tests;
