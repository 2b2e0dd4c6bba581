//! Finding what is stored, and getting rid of it.

use std::sync::Arc;

use pingora_cache::key::{CacheHashKey, HashBinary};
use pingora_cache::storage::HitHandler;
use pingora_cache::{CacheKey, CacheMeta};

use super::hit::Hit;
use super::meters::Reason;
use super::shard::Found;
use super::{MemoryStore, whole};

impl MemoryStore {
    /// The same as a look-up of Pingora's, for whoever is no request: it counts as no use.
    pub(crate) fn peek(&self, key: &CacheKey) -> Option<(CacheMeta, HitHandler)> {
        self.find(key, false)
    }

    pub(super) fn find(&self, key: &CacheKey, is_use: bool) -> Option<(CacheMeta, HitHandler)> {
        let slot = key.combined_bin();
        let found = self.shard(&slot).read().find(&slot, key, &whole(key))?;
        let (record, head, hit) = match &found {
            Found::Entry(entry) => (&entry.record, &entry.head, Hit::of_entry(Arc::clone(entry))),
            Found::Fill(fill) => match fill.follow(false) {
                Some(reader) => (&fill.record, &fill.head, Hit::of_fill(reader)),
                // It has just turned out to be too large.
                None => return None,
            },
        };
        if is_use {
            record.note_use();
        }
        Some((head.meta(record), Box::new(hit)))
    }

    /// How many answers are kept under a key, variants counted singly. Looks at every entry: for
    /// people, not for requests.
    #[must_use]
    pub fn variants(&self, key: &CacheKey) -> usize {
        let key = whole(key);
        let of_key = |shard: &super::Lock| {
            shard.read().entries.values().filter(|other| other.record.key == key).count()
        };
        self.shards.iter().map(of_key).sum()
    }

    /// Removes the entry filed under the first half of its key's hash, and what is on its way
    /// there; says whether there was something. Variants other than the first stay in memory, but
    /// are not found any more.
    pub fn remove(&self, half: &HashBinary) -> bool {
        let mut shard = self.shard(half).write();
        let hidden = shard.hide_fills(half);
        let removed = shard.remove(half, |_| true);
        drop(shard);
        self.removed(removed.as_deref(), Reason::Purged);
        hidden || removed.is_some()
    }
}
