//! What an entry knows of itself beside the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use pingora_cache::CacheMeta;
use sha2::{Digest, Sha256};
use smallvec::SmallVec;

use super::purge::Tag;
use crate::edge::Identity;

/// The SHA-256 of a key's factors (R145): entries are filed under half of it and compared by all.
pub type KeyHash = [u8; 32];

/// What an entry knows of itself beside the answer: by what it can be purged, and whose it was.
///
/// It is made when an answer's header arrives, travels to the store in the extensions of Pingora's
/// [`CacheMeta`], and stays with the entry in every tier.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Note {
    /// The whole key of the entry, the same for all variants.
    pub key: KeyHash,
    /// By what it can be purged: what the configuration and the service said, and what goes
    /// without saying (everything, its route, tenant, URL, prefixes of its path).
    pub tags: SmallVec<[Tag; 8]>,
    /// The number of the last purge that this node knew of when it sent the request for the answer:
    /// any later one that names a tag of the entry is against it.
    pub seen: u64,
    /// For whom it was fetched, as a hash of provider and subject; 0 for nobody. The leak guard
    /// compares answers to different callers only.
    pub caller: u64,
    /// Up to which purge this node has found nothing against the entry. A new note begins with
    /// the default.
    pub judged: Judged,
}

/// The number of the last purge that an entry was judged by. All hits share it, it is of this
/// process only, and two notes that differ in it alone are equal.
#[derive(Debug, Default)]
pub struct Judged(AtomicU64);

impl Judged {
    /// The number; 0 where nothing was judged yet.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// Notes that nothing up to this number is against the entry. Never goes back: of two that
    /// judge at once, the later may have been told the earlier number.
    pub(super) fn set(&self, number: u64) {
        self.0.fetch_max(number, Ordering::Relaxed);
    }
}

impl Clone for Judged {
    fn clone(&self) -> Self {
        Self(AtomicU64::new(self.get()))
    }
}

impl PartialEq for Judged {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Judged {}

impl Note {
    /// Puts the note where a store finds it.
    pub fn attach(self, meta: &mut CacheMeta) {
        meta.extensions_mut().insert(Arc::new(self));
    }

    /// The hash of a caller; 0 for nobody.
    #[must_use]
    pub fn caller(identity: Option<&Identity>) -> u64 {
        let Some(identity) = identity.filter(|identity| !identity.subject.is_empty()) else {
            return 0;
        };
        let mut hash = Sha256::new();
        for text in [&*identity.provider, &*identity.subject] {
            hash.update((text.len() as u64).to_be_bytes());
            hash.update(text.as_bytes());
        }
        // Nobody is the only caller that is 0.
        hash.finalize().first_chunk().map_or(1, |first| u64::from_be_bytes(*first).max(1))
    }

    /// The note that came with an answer; none where none was attached.
    #[must_use]
    pub fn of(meta: &CacheMeta) -> Option<&Arc<Self>> {
        meta.extensions().get::<Arc<Self>>()
    }
}
