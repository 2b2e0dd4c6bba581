//! Finding revocations without waiting.
//!
//! The index is cut into shards by what a revocation is found by; each shard is immutable and
//! swapped whole, so that a change copies a small part of a list of a hundred thousand. An epoch
//! counts additions. It is raised after the shards are in place: a reader that noted the older
//! number looks again.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;

use super::record::{Record, Rule, Subject};
use crate::edge::Identity;

/// Parts of the index.
const SHARDS: usize = 256;

/// All revocations, by what they are found by. Written by one at a time.
#[derive(Debug)]
pub(super) struct Index {
    hasher: RandomState,
    shards: Box<[ArcSwap<Shard>]>,
    epoch: AtomicU64,
}

#[derive(Clone, Debug, Default)]
struct Shard {
    tokens: Rules,
    callers: Rules,
    providers: Rules,
}

type Rules = HashMap<Arc<str>, Vec<Rule>>;

impl Default for Index {
    fn default() -> Self {
        Self {
            hasher: RandomState::new(),
            shards: (0..SHARDS).map(|_| ArcSwap::default()).collect(),
            epoch: AtomicU64::new(0),
        }
    }
}

impl Index {
    /// Number of additions so far.
    pub(super) fn epoch(&self) -> u64 {
        self.epoch.load(Ordering::Acquire)
    }

    /// Whether a revocation is about this caller.
    pub(super) fn names(&self, identity: &Identity, now_seconds: u64) -> bool {
        let is_listed = |subject: Subject<'_>| {
            self.shard(subject).is_some_and(|shard| {
                shard.load().rules(subject).is_some_and(|rules| {
                    rules.iter().any(|rule| rule.is_about(identity, now_seconds))
                })
            })
        };
        identity.token_id.as_deref().is_some_and(|id| is_listed(Subject::Token(id)))
            || is_listed(Subject::Caller(&identity.subject))
            || is_listed(Subject::Provider(&identity.provider))
    }

    /// Puts records in force, and out of force those that were taken back or are over.
    pub(super) fn apply<'a>(
        &self,
        records: impl IntoIterator<Item = &'a Record>,
        now_seconds: u64,
    ) {
        let mut by_shard: HashMap<usize, Vec<&Record>> = HashMap::new();
        for record in records {
            let (subject, _) = record.grounds.rule();
            by_shard.entry(self.place(subject)).or_default().push(record);
        }
        let mut has_new = false;
        for (place, records) in by_shard {
            let Some(shard) = self.shards.get(place) else { continue };
            let mut next = Shard::clone(&shard.load());
            for record in records {
                has_new |= next.apply(record, now_seconds);
            }
            shard.store(Arc::new(next));
        }
        if has_new {
            self.epoch.fetch_add(1, Ordering::Release);
        }
    }

    fn place(&self, subject: Subject<'_>) -> usize {
        let hash = self.hasher.hash_one(subject);
        usize::try_from(hash % SHARDS as u64).unwrap_or_default()
    }

    fn shard(&self, subject: Subject<'_>) -> Option<&ArcSwap<Shard>> {
        self.shards.get(self.place(subject))
    }
}

impl Shard {
    fn rules(&self, subject: Subject<'_>) -> Option<&Vec<Rule>> {
        match subject {
            Subject::Token(id) => self.tokens.get(id),
            Subject::Caller(name) => self.callers.get(name),
            Subject::Provider(name) => self.providers.get(name),
        }
    }

    /// Returns whether something is revoked that may not have been before.
    fn apply(&mut self, record: &Record, now_seconds: u64) -> bool {
        let (subject, rule) = record.grounds.rule();
        let rule = Rule { until: record.expires_at, ..rule };
        let map = match subject {
            Subject::Token(_) => &mut self.tokens,
            Subject::Caller(_) => &mut self.callers,
            Subject::Provider(_) => &mut self.providers,
        };
        let mut rules = map.remove(subject.text()).unwrap_or_default();
        rules.retain(|other| !other.is_same(&rule));
        let is_in_force = !record.taken_back && !record.is_over(now_seconds);
        if is_in_force {
            rules.push(rule);
        }
        if !rules.is_empty() {
            map.insert(subject.text().into(), rules);
        }
        is_in_force
    }
}

#[cfg(test)]
mod tests;
