//! What is being done for an entry in the background, so that it is done once.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use pingora_cache::key::HashBinary;

/// The entries for which something is under way: a bounded set of the keys that they are filed
/// under.
#[derive(Debug)]
pub struct Underway {
    shards: [Mutex<HashSet<HashBinary>>; SHARDS],
    count: AtomicUsize,
    most: usize,
}

/// Something that is under way for an entry; it is over when this is dropped.
#[derive(Debug)]
pub struct Turn {
    of: Arc<Underway>,
    key: HashBinary,
}

/// Why nothing is begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoTurn {
    /// The same is under way for this entry.
    Taken,
    /// As much is under way as may be.
    Full,
}

impl Underway {
    /// An empty set of at most `most` entries.
    #[must_use]
    pub fn new(most: usize) -> Arc<Self> {
        let shards = std::array::from_fn(|_| Mutex::default());
        Arc::new(Self { shards, count: AtomicUsize::new(0), most })
    }

    /// Begins something for the entry that is filed under `key`.
    ///
    /// # Errors
    /// When it must not begin.
    pub fn begin(self: &Arc<Self>, key: HashBinary) -> Result<Turn, NoTurn> {
        let mut shard = self.shard(key).lock();
        if shard.contains(&key) {
            return Err(NoTurn::Taken);
        }
        let add = |count: usize| (count < self.most).then_some(count + 1);
        if self.count.fetch_update(Ordering::Relaxed, Ordering::Relaxed, add).is_err() {
            return Err(NoTurn::Full);
        }
        shard.insert(key);
        Ok(Turn { of: Arc::clone(self), key })
    }

    #[expect(clippy::indexing_slicing, reason = "the remainder is below the number of shards")]
    fn shard(&self, [first, ..]: HashBinary) -> &Mutex<HashSet<HashBinary>> {
        &self.shards[usize::from(first) % SHARDS]
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.of.shard(self.key).lock().remove(&self.key);
        self.of.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Parts that the set is split into, so that threads seldom wait for each other.
const SHARDS: usize = 16;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_has_one_turn_at_a_time() {
        let set = Underway::new(8);
        let turn = set.begin([1; 16]).unwrap();
        assert_eq!(set.begin([1; 16]).unwrap_err(), NoTurn::Taken);
        let other = set.begin([17; 16]).unwrap();
        drop(turn);
        let again = set.begin([1; 16]).unwrap();
        assert_eq!(set.begin([17; 16]).unwrap_err(), NoTurn::Taken);
        drop((other, again));
        assert!(set.shards.iter().all(|shard| shard.lock().is_empty()));
    }

    #[test]
    fn there_are_never_more_turns_than_the_bound() {
        let set = Underway::new(2);
        let first = set.begin([1; 16]).unwrap();
        let _second = set.begin([2; 16]).unwrap();
        assert_eq!(set.begin([3; 16]).unwrap_err(), NoTurn::Full);
        assert_eq!(set.begin([1; 16]).unwrap_err(), NoTurn::Taken, "and not Full");
        drop(first);
        let _third = set.begin([3; 16]).unwrap();
        assert_eq!(set.begin([1; 16]).unwrap_err(), NoTurn::Full);
    }

    #[test]
    fn threads_that_compete_for_an_entry_have_one_winner() {
        let set = Underway::new(64);
        for round in 0..64_u8 {
            let winners: Vec<_> = std::thread::scope(|scope| {
                let tries: Vec<_> =
                    (0..4).map(|_| scope.spawn(|| set.begin([round; 16]).ok())).collect();
                tries.into_iter().filter_map(|one| one.join().unwrap()).collect()
            });
            assert_eq!(winners.len(), 1);
        }
        assert_eq!(set.count.load(Ordering::Relaxed), 0);
    }
}
