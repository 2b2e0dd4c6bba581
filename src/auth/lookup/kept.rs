//! Answers kept on this node: bounded exactly, read without locks.
//!
//! Set-associative, as the cache of verified tokens is and for its reasons: a key's hash chooses
//! a set of eight slots, and within it second chance decides who leaves. Holds no place at all
//! until it is given a size.

use std::borrow::Borrow;
use std::hash::{BuildHasher, Hash, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::{ArcSwap, ArcSwapOption};
use prometheus::IntGauge;

use super::Since;

/// Slots of a set.
const WAYS: usize = 8;

/// The tag of an empty slot; hashes of this value are moved to its neighbour.
const EMPTY: u64 = 0;

/// A bounded map from keys to what was found and when.
pub(super) struct Kept<K, V> {
    table: ArcSwap<Table<K, V>>,
    hasher: RandomState,
    entries: IntGauge,
}

struct Table<K, V> {
    slots: Box<[Slot<K, V>]>,
    entries: IntGauge,
}

struct Slot<K, V> {
    /// Hash of the key, so that most slots are passed over with one load.
    tag: AtomicU64,
    entry: ArcSwapOption<Entry<K, V>>,
    /// Whether the slot was hit since the last one was displaced from its set.
    was_used: AtomicBool,
}

struct Entry<K, V> {
    key: K,
    value: V,
    since: Since,
}

impl<K: Eq + Hash, V: Clone> Kept<K, V> {
    /// One without room. `entries` shows how many there are.
    pub(super) fn new(entries: IntGauge) -> Self {
        let table = ArcSwap::from_pointee(Table::new(0, entries.clone()));
        Self { table, hasher: RandomState::new(), entries }
    }

    /// Forgets everything and makes room for so many entries, rounded down to full sets.
    pub(super) fn clear(&self, entries: usize) {
        self.table.store(Arc::new(Table::new(entries, self.entries.clone())));
    }

    /// How many entries there is room for.
    pub(super) fn room(&self) -> usize {
        self.table.load().slots.len()
    }

    /// What is kept under a key, and since when it is known.
    pub(super) fn get<Q>(&self, key: &Q) -> Option<(V, Since)>
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let tag = self.tag(key);
        let table = self.table.load();
        for slot in table.set(tag) {
            if slot.tag.load(Ordering::Acquire) != tag {
                continue;
            }
            let entry = slot.entry.load();
            let Some(entry) = entry.as_deref().filter(|entry| entry.key.borrow() == key) else {
                continue;
            };
            // Written only when it changes, so that a hot slot's line stays shared.
            if !slot.was_used.load(Ordering::Relaxed) {
                slot.was_used.store(true, Ordering::Relaxed);
            }
            return Some((entry.value.clone(), entry.since));
        }
        None
    }

    /// Keeps a value, in place of what was known of its key, else of one that is used little.
    pub(super) fn put(&self, key: K, value: V, since: Since) {
        let tag = self.tag(&key);
        let table = self.table.load();
        let set = table.set(tag);
        let Some(slot) = set.iter().find(|slot| slot.holds(tag, &key)).or_else(|| victim(set))
        else {
            return;
        };
        let before = slot.entry.swap(Some(Arc::new(Entry { key, value, since })));
        slot.tag.store(tag, Ordering::Release);
        slot.was_used.store(false, Ordering::Relaxed);
        if before.is_none() {
            self.entries.inc();
        }
    }

    /// Drops what is known of a key.
    pub(super) fn forget<Q>(&self, key: &Q)
    where
        K: Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        let tag = self.tag(key);
        // Two that put one key at a time may have filled two slots.
        for slot in self.table.load().set(tag).iter().filter(|slot| slot.holds(tag, key)) {
            slot.tag.store(EMPTY, Ordering::Release);
            if slot.entry.swap(None).is_some() {
                self.entries.dec();
            }
        }
    }

    fn tag<Q: Hash + ?Sized>(&self, key: &Q) -> u64 {
        self.hasher.hash_one(key).max(EMPTY + 1)
    }
}

impl<K, V> Table<K, V> {
    fn new(entries: usize, gauge: IntGauge) -> Self {
        let slots = entries / WAYS * WAYS;
        let slot = || Slot {
            tag: AtomicU64::new(EMPTY),
            entry: ArcSwapOption::empty(),
            was_used: AtomicBool::new(false),
        };
        Self { slots: std::iter::repeat_with(slot).take(slots).collect(), entries: gauge }
    }

    fn set(&self, tag: u64) -> &[Slot<K, V>] {
        let sets = (self.slots.len() / WAYS) as u64;
        let index = tag.checked_rem(sets).and_then(|index| usize::try_from(index).ok());
        let start = index.unwrap_or_default() * WAYS;
        self.slots.get(start..start + WAYS).unwrap_or_default()
    }
}

/// Entries are counted out when the last reader has let go of a table that was replaced.
impl<K, V> Drop for Table<K, V> {
    fn drop(&mut self) {
        let filled = self.slots.iter().filter(|slot| slot.entry.load().is_some()).count();
        self.entries.sub(i64::try_from(filled).unwrap_or_default());
    }
}

impl<K, V> Slot<K, V> {
    fn holds<Q>(&self, tag: u64, key: &Q) -> bool
    where
        K: Borrow<Q>,
        Q: Eq + ?Sized,
    {
        self.tag.load(Ordering::Acquire) == tag
            && self.entry.load().as_deref().is_some_and(|entry| entry.key.borrow() == key)
    }
}

/// The slot to give up: an empty one, else one without a hit since the last displacement, else
/// any; then everybody has to be hit again to be safe.
fn victim<K, V>(set: &[Slot<K, V>]) -> Option<&Slot<K, V>> {
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
mod tests {
    use super::*;

    fn kept(entries: usize) -> Kept<String, u32> {
        let kept = Kept::new(IntGauge::new("entries", "test").unwrap());
        kept.clear(entries);
        kept
    }

    fn put(kept: &Kept<String, u32>, key: &str, value: u32) {
        kept.put(key.to_owned(), value, Since(0));
    }

    #[test]
    fn it_holds_what_was_put_last_and_counts_it() {
        let kept = kept(64);
        assert_eq!(kept.room(), 64);
        put(&kept, "a", 1);
        put(&kept, "a", 2);
        put(&kept, "b", 3);
        assert_eq!(kept.get("a"), Some((2, Since(0))));
        assert_eq!(kept.entries.get(), 2);
        kept.forget("a");
        kept.forget("a");
        assert_eq!((kept.get("a"), kept.entries.get()), (None, 1));
        kept.clear(64);
        assert_eq!((kept.get("b"), kept.entries.get()), (None, 0));
    }

    #[test]
    fn without_room_it_finds_nothing() {
        for entries in [0, WAYS - 1] {
            let kept = kept(entries);
            put(&kept, "a", 1);
            assert_eq!((kept.get("a"), kept.entries.get()), (None, 0));
        }
    }

    #[test]
    fn it_never_holds_more_than_there_is_room_for_and_spares_what_is_used() {
        let kept = kept(WAYS);
        put(&kept, "used", 1);
        for number in 0..1_000 {
            assert!(kept.get("used").is_some(), "{number}");
            put(&kept, &number.to_string(), number);
        }
        assert_eq!(kept.entries.get(), 8);
    }
}
