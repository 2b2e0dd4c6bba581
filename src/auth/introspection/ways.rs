//! A bounded table that is read without locks: sets of eight slots, each swapped whole.
//!
//! A hash chooses the set; within it a dead entry leaves first, then one that was not used
//! since the last displacement. So the table is bounded exactly, and a burst of new entries
//! displaces only its neighbours.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwapOption;

/// Slots of a set.
const WAYS: usize = 8;
/// The tag of an empty slot.
const EMPTY: u64 = 0;

/// The table.
#[derive(Debug)]
pub(super) struct Ways<E>(Box<[Slot<E>]>);

#[derive(Debug)]
struct Slot<E> {
    /// Hash of the entry, so that most slots are passed over with one load.
    tag: AtomicU64,
    entry: ArcSwapOption<E>,
    /// Whether the slot was hit since the last one was displaced from its set.
    was_used: AtomicBool,
}

impl<E> Ways<E> {
    /// A table of at most so many entries, rounded down to whole sets.
    pub(super) fn new(entries: usize) -> Self {
        let slot = |_| Slot {
            tag: AtomicU64::new(EMPTY),
            entry: ArcSwapOption::empty(),
            was_used: AtomicBool::new(false),
        };
        Self((0..entries / WAYS * WAYS).map(slot).collect())
    }

    /// What `read` finds in the first entry under this hash that `is_it`.
    pub(super) fn find<T>(
        &self,
        hash: u64,
        is_it: impl Fn(&E) -> bool,
        read: impl FnOnce(&E) -> T,
    ) -> Option<T> {
        let hash = hash.max(EMPTY + 1);
        for slot in self.set(hash) {
            if slot.tag.load(Ordering::Acquire) != hash {
                continue;
            }
            let entry = slot.entry.load();
            let Some(entry) = entry.as_deref().filter(|entry| is_it(entry)) else { continue };
            // Written only when it changes, so that a hot slot's line stays shared.
            if !slot.was_used.load(Ordering::Relaxed) {
                slot.was_used.store(true, Ordering::Relaxed);
            }
            return Some(read(entry));
        }
        None
    }

    /// Puts an entry in the place of the same one, else of one that is dead, else of another.
    /// `gone` hears of every entry that leaves, this one included if there is no room.
    pub(super) fn put(
        &self,
        hash: u64,
        entry: E,
        is_same: impl Fn(&E) -> bool,
        is_dead: impl Fn(&E) -> bool,
        mut gone: impl FnMut(&E),
    ) {
        let hash = hash.max(EMPTY + 1);
        let set = self.set(hash);
        let mut place = None;
        for slot in set {
            let held = slot.entry.load();
            match held.as_deref() {
                Some(held) if slot.tag.load(Ordering::Acquire) == hash && is_same(held) => {
                    place = Some(slot);
                    break;
                }
                Some(held) if is_dead(held) => slot.clear(&mut gone),
                _ => {}
            }
        }
        let Some(slot) = place.or_else(|| victim(set)) else { return gone(&entry) };
        let before = slot.entry.swap(Some(Arc::new(entry)));
        slot.tag.store(hash, Ordering::Release);
        slot.was_used.store(false, Ordering::Relaxed);
        if let Some(before) = before {
            gone(&before);
        }
    }

    /// Removes the entries under this hash that `is_it`.
    pub(super) fn remove(&self, hash: u64, is_it: impl Fn(&E) -> bool, mut gone: impl FnMut(&E)) {
        let hash = hash.max(EMPTY + 1);
        for slot in self.set(hash) {
            let is_here = slot.tag.load(Ordering::Acquire) == hash
                && slot.entry.load().as_deref().is_some_and(&is_it);
            if is_here {
                slot.clear(&mut gone);
            }
        }
    }

    /// Empties one place of the set that this hash chooses.
    pub(super) fn evict(&self, hash: u64, mut gone: impl FnMut(&E)) {
        let set = self.set(hash.max(EMPTY + 1));
        let held: Vec<&Slot<E>> =
            set.iter().filter(|slot| slot.tag.load(Ordering::Relaxed) != EMPTY).collect();
        let unused = held.iter().find(|slot| !slot.was_used.load(Ordering::Relaxed));
        if let Some(slot) = unused.or_else(|| held.first()) {
            slot.clear(&mut gone);
        }
    }

    fn set(&self, hash: u64) -> &[Slot<E>] {
        let sets = (self.0.len() / WAYS) as u64;
        let index = hash.checked_rem(sets).and_then(|index| usize::try_from(index).ok());
        let start = index.unwrap_or_default() * WAYS;
        self.0.get(start..start + WAYS).unwrap_or_default()
    }
}

impl<E> Slot<E> {
    fn clear(&self, gone: &mut impl FnMut(&E)) {
        self.tag.store(EMPTY, Ordering::Release);
        if let Some(before) = self.entry.swap(None) {
            gone(&before);
        }
    }
}

/// The slot to give up: an empty one, else one without a hit since the last displacement, else
/// any; then everybody has to be hit again to be safe.
fn victim<E>(set: &[Slot<E>]) -> Option<&Slot<E>> {
    let empty = set.iter().find(|slot| slot.tag.load(Ordering::Relaxed) == EMPTY);
    let unused = || set.iter().find(|slot| !slot.was_used.load(Ordering::Relaxed));
    if let Some(slot) = empty.or_else(unused) {
        return Some(slot);
    }
    for slot in set {
        slot.was_used.store(false, Ordering::Relaxed);
    }
    set.get(fastrand::usize(..set.len().max(1)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(ways: &Ways<u64>, hash: u64, entry: u64) -> Vec<u64> {
        let mut gone = Vec::new();
        ways.put(hash, entry, |held| *held == entry, |held| *held == 0, |held| gone.push(*held));
        gone
    }

    fn holds(ways: &Ways<u64>, hash: u64, entry: u64) -> bool {
        ways.find(hash, |held| *held == entry, |held| *held).is_some()
    }

    #[test]
    fn the_hash_finds_and_the_entry_decides() {
        let ways = Ways::new(16);
        assert_eq!(put(&ways, 5, 50), [0; 0]);
        assert!(holds(&ways, 5, 50) && !holds(&ways, 5, 51) && !holds(&ways, 7, 50));
        assert_eq!(put(&ways, 5, 50), [50], "the same takes its own place");
        ways.remove(5, |held| *held == 50, |_| ());
        assert!(!holds(&ways, 5, 50));
        assert_eq!(put(&ways, 0, 60), [0; 0], "a hash that looks like an empty slot");
        assert!(holds(&ways, 0, 60));
    }

    #[test]
    fn it_never_holds_more_than_it_may_and_the_dead_leave_first() {
        let ways = Ways::new(8);
        assert_eq!((1..=8).flat_map(|n| put(&ways, n, n)).count(), 0);
        for n in 1..=7 {
            assert!(holds(&ways, n, n));
        }
        assert_eq!(put(&ways, 9, 9), [8], "the one that nobody used");
        let dead = Ways::new(8);
        (1..=7).for_each(|n| drop(put(&dead, n, n)));
        put(&dead, 8, 0);
        assert_eq!(put(&dead, 9, 9), [0]);
        let mut gone = Vec::new();
        dead.evict(9, |held| gone.push(*held));
        assert_eq!(gone.len(), 1);
        let none = Ways::new(0);
        assert_eq!(put(&none, 1, 1), [1], "no room at all");
    }
}
