//! A part of the store: an index of entries, and the ring that eviction goes round.
//!
//! Eviction is CLOCK (second chance): a hand goes round the ring, takes entries that are over or
//! were not used since it last came by, and takes the mark of use off the others. It was chosen
//! because a hit then only sets a mark under a read lock, where an order by recency wants a write
//! lock for every hit. New entries carry no mark, so answers asked for only once go first.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::SystemTime;

use pingora_cache::key::HashBinary;

use super::entry::Entry;

/// A part of the store.
#[derive(Debug, Default)]
pub(super) struct Shard {
    index: HashMap<HashBinary, usize>,
    ring: Vec<Option<Slot>>,
    /// Places of the ring that are empty.
    free: Vec<usize>,
    hand: usize,
}

#[derive(Debug)]
struct Slot {
    key: HashBinary,
    entry: Arc<Entry>,
}

impl Shard {
    pub(super) fn get(&self, key: &HashBinary) -> Option<&Arc<Entry>> {
        let place = *self.index.get(key)?;
        self.ring.get(place)?.as_ref().map(|slot| &slot.entry)
    }

    /// Puts an entry in, and gives back the one that it replaces.
    pub(super) fn insert(&mut self, key: HashBinary, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let replaced = self.remove(&key);
        let place = self.free.pop().unwrap_or_else(|| {
            self.ring.push(None);
            self.ring.len() - 1
        });
        if let Some(slot) = self.ring.get_mut(place) {
            *slot = Some(Slot { key, entry });
            self.index.insert(key, place);
        }
        replaced
    }

    pub(super) fn remove(&mut self, key: &HashBinary) -> Option<Arc<Entry>> {
        let place = self.index.remove(key)?;
        self.free.push(place);
        self.ring.get_mut(place)?.take().map(|slot| slot.entry)
    }

    /// Goes round the ring once, removes the first entry that may go and stops there. None where
    /// there is no entry, or where all have been used: they keep their second chance until the
    /// hand comes by again. `now` says which entries are over.
    pub(super) fn evict(&mut self, now: SystemTime) -> Option<Arc<Entry>> {
        for _ in 0..self.ring.len() {
            self.hand = (self.hand + 1).checked_rem(self.ring.len())?;
            let Some(slot) = self.ring.get(self.hand).and_then(Option::as_ref) else { continue };
            let was_used = slot.entry.take_used();
            if !was_used || slot.entry.is_over(now) {
                let key = slot.key;
                return self.remove(&key);
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::{Duration, SystemTime, UNIX_EPOCH};

    use bytes::Bytes;
    use pingora::http::ResponseHeader;
    use pingora_cache::{CacheKey, CacheMeta};

    use super::super::entry::{Entry, Head};
    use super::Shard;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    /// An entry that is fresh until `fresh_until`, and may be served stale for a minute more.
    fn entry(fresh_until: u64) -> Arc<Entry> {
        let header = ResponseHeader::build(200, None).unwrap();
        let meta = CacheMeta::new(at(fresh_until), at(0), 0, 60, header);
        let head = Head::of(&CacheKey::new("any", ""), &meta).unwrap();
        Arc::new(Entry::new(head, Bytes::new()))
    }

    fn shard(fresh_until: &[u64]) -> Shard {
        let mut shard = Shard::default();
        for (number, fresh_until) in (0..).zip(fresh_until) {
            assert!(shard.insert([number; 16], entry(*fresh_until)).is_none());
        }
        shard
    }

    /// Which of the first sixteen entries are there.
    fn there(shard: &Shard) -> Vec<u8> {
        (0..16).filter(|number| shard.get(&[*number; 16]).is_some()).collect()
    }

    fn use_entry(shard: &Shard, number: u8) {
        let _ = shard.get(&[number; 16]).unwrap().hit();
    }

    #[test]
    fn used_entries_get_a_second_chance_and_not_a_third() {
        let mut shard = shard(&[100, 100, 100]);
        use_entry(&shard, 0);
        use_entry(&shard, 2);
        assert!(shard.evict(at(0)).is_some());
        assert_eq!(there(&shard), [0, 2]);
        assert!(shard.evict(at(0)).is_none(), "this round takes the marks");
        assert!(shard.evict(at(0)).is_some());
        assert!(shard.evict(at(0)).is_some());
        assert_eq!(there(&shard), [0_u8; 0]);
    }

    #[test]
    fn where_all_were_used_nobody_goes_at_first() {
        let mut shard = shard(&[100]);
        use_entry(&shard, 0);
        assert!(shard.evict(at(0)).is_none());
        use_entry(&shard, 0);
        assert!(shard.evict(at(0)).is_none());
        assert!(shard.evict(at(0)).is_some());
    }

    #[test]
    fn what_is_over_goes_even_if_it_was_used() {
        for (now, left) in [(160, vec![0, 1]), (161, vec![1])] {
            let mut shard = shard(&[100, 1_000]);
            use_entry(&shard, 0);
            use_entry(&shard, 1);
            assert_eq!(shard.evict(at(now)).is_some(), now == 161);
            assert_eq!(there(&shard), left, "at {now}");
        }
    }

    #[test]
    fn places_are_used_again() {
        let mut shard = shard(&[100; 8]);
        for round in 0..100 {
            assert!(shard.remove(&[round % 8; 16]).is_some());
            assert!(shard.insert([round % 8; 16], entry(100)).is_none());
        }
        assert!(shard.insert([3; 16], entry(100)).is_some(), "the one that was replaced");
        assert_eq!(shard.ring.len(), 8);
        assert_eq!(there(&shard), [0, 1, 2, 3, 4, 5, 6, 7]);
    }
}
