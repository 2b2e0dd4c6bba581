//! The list of revocations of this node, and the index that requests read.

use std::collections::HashMap;

use super::index::Index;
use super::record::Record;

/// All revocations that are known here, and those that were taken back and must not come again.
#[derive(Debug, Default)]
pub(super) struct List {
    records: HashMap<String, Record>,
    /// Changes made on this node so far.
    changes: u64,
    /// Ids of records that the others have not been told of.
    unshared: Vec<String>,
    /// Whether something is not on disk.
    is_unsaved: bool,
}

/// The list holds as many revocations as it may.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Full;

/// A change made on this node: the record as it is now, and the change's number.
#[derive(Clone, Debug)]
pub(super) struct Changed {
    pub(super) record: Record,
    pub(super) number: u64,
}

/// What is to be told and kept.
#[derive(Debug, Default)]
pub(super) struct Batch {
    /// Number of the last change that is among it.
    pub(super) upto: u64,
    pub(super) unshared: Vec<Record>,
    /// Everything, where something is not on disk yet.
    pub(super) unsaved: Option<Vec<Record>>,
}

/// What came of records from elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Merged {
    /// Records that were new or newer.
    pub(super) changed: usize,
    /// Records that had no place.
    pub(super) no_place: usize,
}

impl List {
    /// Puts a revocation in force.
    ///
    /// # Errors
    /// When it is a further one and the list is full.
    pub(super) fn revoke(
        &mut self,
        record: Record,
        entries_max: usize,
        index: &Index,
        now_seconds: u64,
    ) -> Result<Changed, Full> {
        if !self.records.contains_key(&record.id) && self.records.len() >= entries_max {
            return Err(Full);
        }
        Ok(self.change(record, index, now_seconds))
    }

    /// Takes a revocation back; none if there is no such one in force.
    pub(super) fn take_back(&mut self, id: &str, index: &Index, now_ms: u64) -> Option<Changed> {
        let record = self.records.get(id).filter(|record| !record.taken_back)?;
        let record = Record { taken_back: true, changed_ms: now_ms, ..record.clone() };
        Some(self.change(record, index, now_ms / 1000))
    }

    fn change(&mut self, mut record: Record, index: &Index, now_seconds: u64) -> Changed {
        if let Some(old) = self.records.get(&record.id) {
            // Later than what it changes, whatever the clock of the node that made that says.
            record.changed_ms = record.changed_ms.max(old.changed_ms.saturating_add(1));
        }
        index.apply([&record], now_seconds);
        self.unshared.push(record.id.clone());
        self.records.insert(record.id.clone(), record.clone());
        self.is_unsaved = true;
        self.changes += 1;
        Changed { record, number: self.changes }
    }

    /// Takes over records from elsewhere, where they are newer than what is known.
    pub(super) fn merge(
        &mut self,
        records: impl IntoIterator<Item = Record>,
        entries_max: usize,
        index: &Index,
        now_seconds: u64,
    ) -> Merged {
        let mut merged = Merged::default();
        let mut ids = Vec::new();
        for record in records {
            match self.records.get(&record.id) {
                _ if record.is_over(now_seconds) => continue,
                Some(known) if !record.supersedes(known) => continue,
                None if self.records.len() >= entries_max => {
                    merged.no_place += 1;
                    continue;
                }
                _ => {}
            }
            ids.push(record.id.clone());
            self.records.insert(record.id.clone(), record);
        }
        merged.changed = ids.len();
        self.is_unsaved |= !ids.is_empty();
        index.apply(ids.iter().filter_map(|id| self.records.get(id)), now_seconds);
        merged
    }

    /// Drops what is over.
    pub(super) fn purge(&mut self, index: &Index, now_seconds: u64) {
        let over: Vec<Record> = self
            .records
            .extract_if(|_, record| record.is_over(now_seconds))
            .map(|(_, r)| r)
            .collect();
        if !over.is_empty() {
            index.apply(&over, now_seconds);
            self.is_unsaved = true;
        }
    }

    /// What is to be told and kept now; the next batch holds only what comes after.
    pub(super) fn batch(&mut self, saves: bool) -> Batch {
        let ids = std::mem::take(&mut self.unshared);
        let unsaved = (saves && std::mem::take(&mut self.is_unsaved)).then(|| self.all());
        Batch {
            upto: self.changes,
            unshared: ids.iter().filter_map(|id| self.records.get(id).cloned()).collect(),
            unsaved,
        }
    }

    /// What was to be kept could not be.
    pub(super) const fn not_saved(&mut self) {
        self.is_unsaved = true;
    }

    /// Records that are missing among these, by id, or older there.
    pub(super) fn missing(&self, elsewhere: &HashMap<String, Record>) -> Vec<Record> {
        let is_missing = |record: &&Record| {
            elsewhere.get(&record.id).is_none_or(|other| record.supersedes(other))
        };
        self.records.values().filter(is_missing).cloned().collect()
    }

    /// Revocations in force, the latest change first.
    pub(super) fn in_force(&self) -> Vec<Record> {
        let mut records: Vec<Record> =
            self.records.values().filter(|record| !record.taken_back).cloned().collect();
        records.sort_by(|a, b| (b.changed_ms, &a.id).cmp(&(a.changed_ms, &b.id)));
        records
    }

    /// Number of revocations in force.
    pub(super) fn count(&self) -> usize {
        self.records.values().filter(|record| !record.taken_back).count()
    }

    fn all(&self) -> Vec<Record> {
        self.records.values().cloned().collect()
    }
}

#[cfg(test)]
mod tests;
