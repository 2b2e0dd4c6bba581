//! A part of the store's index.

use std::collections::HashMap;
use std::sync::Arc;

use pingora_cache::CacheKey;
use pingora_cache::key::HashBinary;
use smallvec::SmallVec;

use super::super::KeyHash;
use super::entry::Entry;
use super::filling::Filling;

/// A part of the index: entries, and fills under way.
#[derive(Debug, Default)]
pub(super) struct Shard {
    pub(super) entries: HashMap<HashBinary, Arc<Entry>>,
    /// The newest of a key last. Only that one can be found.
    fills: HashMap<HashBinary, SmallVec<[Arc<Filling>; 1]>>,
}

/// What a look-up finds.
pub(super) enum Found {
    Entry(Arc<Entry>),
    Fill(Arc<Filling>),
}

impl Shard {
    /// What is under `key`. A fill under way comes before the entry that it will replace: it was
    /// begun because that one would not do.
    pub(super) fn find(&self, slot: &HashBinary, key: &CacheKey, whole: &KeyHash) -> Option<Found> {
        if !self.fills.is_empty()
            && let Some(fills) = self.fills.get(slot)
            && let Some(fill) = fills.last().filter(|fill| fill.answers(key, whole))
        {
            return Some(Found::Fill(Arc::clone(fill)));
        }
        let entry = self.entries.get(slot).filter(|entry| entry.answers(key, whole))?;
        Some(Found::Entry(Arc::clone(entry)))
    }

    /// The fill under `slot` of that number.
    pub(super) fn fill(&self, slot: &HashBinary, number: u64) -> Option<&Arc<Filling>> {
        self.fills.get(slot)?.iter().find(|fill| fill.record.number == number)
    }

    /// Takes a fill in; if it may be found, no other of its key may be any more.
    pub(super) fn begin(&mut self, slot: HashBinary, fill: Arc<Filling>) {
        let fills = self.fills.entry(slot).or_default();
        if fill.is_listed() {
            for older in fills.iter() {
                older.unlist();
            }
            fills.push(fill);
        } else {
            fills.insert(0, fill);
        }
    }

    /// Forgets a fill.
    pub(super) fn end(&mut self, slot: &HashBinary, fill: &Arc<Filling>) {
        if let Some(fills) = self.fills.get_mut(slot) {
            fills.retain(|other| !Arc::ptr_eq(other, fill));
            if fills.is_empty() {
                self.fills.remove(slot);
            }
        }
    }

    /// Puts an entry in, and gives back the one that it replaces.
    pub(super) fn insert(&mut self, slot: HashBinary, entry: Arc<Entry>) -> Option<Arc<Entry>> {
        let replaced = self.entries.insert(slot, entry);
        if let Some(replaced) = &replaced {
            replaced.record.leave();
        }
        replaced
    }

    /// Takes an entry out if `wanted` says so.
    pub(super) fn remove(
        &mut self,
        slot: &HashBinary,
        wanted: impl FnOnce(&Entry) -> bool,
    ) -> Option<Arc<Entry>> {
        if !self.entries.get(slot).is_some_and(|entry| wanted(entry)) {
            return None;
        }
        let entry = self.entries.remove(slot)?;
        entry.record.leave();
        Some(entry)
    }

    /// Takes fills of a key out of sight: they are not found, and not kept when they end. Says
    /// whether there was one.
    pub(super) fn hide_fills(&self, slot: &HashBinary) -> bool {
        let fills = self.fills.get(slot).map_or(&[][..], SmallVec::as_slice);
        // Every one of them, not only up to the first that was in sight.
        fills.iter().filter(|fill| fill.unlist()).count() > 0
    }

    /// Whether nothing is there, and nothing on its way.
    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty() && self.fills.is_empty()
    }
}
