//! The verification keys in force, immutable.
//!
//! A ring holds the key sets that were fetched; keys that stand in the configuration live with
//! their provider. Each set has a generation that no other set of the process ever has, so that
//! whatever was proved with a set can be bound to exactly that set.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use jsonwebtoken::Algorithm;

use super::key::Key;
use super::signature::SignatureVerifier;
use crate::clock::Moment;

/// The generation of sets that stand in the configuration: they change only together with the
/// fingerprint of their provider.
const STATIC_GENERATION: u64 = 0;

/// Which fetched set: the provider's name and the URL.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct SetId {
    pub(super) provider: Arc<str>,
    pub(super) url: Arc<str>,
}

/// A token named a key that the provider's set does not hold. Hand it to
/// [`KeySource::refetch`](super::KeySource::refetch).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKey {
    pub(super) set: SetId,
    /// The generation in which the key was looked for.
    pub(super) generation: u64,
}

/// Keys of one provider.
#[derive(Clone, Debug)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    generation: u64,
    /// Whether the set is one key without an id, which then serves whatever `kid` a token has.
    is_single: bool,
    fetched_at: Option<Moment>,
    /// Digest of the document, to see whether a later one says anything new.
    digest: Option<[u8; 32]>,
}

/// Why no key was found in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum NoKey {
    /// No key has the id.
    Unknown,
    /// The key with the id cannot be used with the algorithm.
    Unfit,
    /// The token names no key, and more or less than one would do.
    Unnamed,
}

impl KeySet {
    /// The one key of a PEM text or secret.
    pub(super) fn single(key: Key) -> Self {
        Self { is_single: true, ..Self::fixed(vec![key]) }
    }

    /// The keys of a set that stands in a file.
    pub(super) const fn fixed(keys: Vec<Key>) -> Self {
        Self {
            keys,
            generation: STATIC_GENERATION,
            is_single: false,
            fetched_at: None,
            digest: None,
        }
    }

    /// Keys that were fetched just now; gives them a generation of their own.
    pub(super) fn fetched(keys: Vec<Key>, digest: [u8; 32], now: Moment) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(STATIC_GENERATION + 1);
        Self {
            generation: NEXT.fetch_add(1, Ordering::Relaxed),
            fetched_at: Some(now),
            digest: Some(digest),
            ..Self::fixed(keys)
        }
    }

    /// The same set, confirmed by a fetch that brought nothing new.
    pub(super) fn confirmed(&self, now: Moment) -> Self {
        Self { fetched_at: Some(now), ..self.clone() }
    }

    pub(super) const fn generation(&self) -> u64 {
        self.generation
    }

    pub(super) const fn fetched_at(&self) -> Option<Moment> {
        self.fetched_at
    }

    pub(super) fn has_digest(&self, digest: &[u8; 32]) -> bool {
        self.digest.as_ref() == Some(digest)
    }

    /// Whether any key can be used with an algorithm.
    pub(super) fn serves(&self, algorithm: Algorithm) -> bool {
        self.keys.iter().any(|key| key.verifier(algorithm).is_some())
    }

    /// The verifier that a token's header asks for. Keys are never tried in turn: either the
    /// token names its key, or there is only one that it can mean.
    ///
    /// # Errors
    /// Returns why there is none.
    pub(super) fn select(
        &self,
        kid: Option<&str>,
        algorithm: Algorithm,
    ) -> Result<&SignatureVerifier, NoKey> {
        let Some(kid) = kid.filter(|_| !self.is_single) else {
            let mut fitting = self.keys.iter().filter_map(|key| key.verifier(algorithm));
            return match (fitting.next(), fitting.next()) {
                (Some(only), None) => Ok(only),
                _ => Err(NoKey::Unnamed),
            };
        };
        let mut named = self.keys.iter().filter(|key| key.kid.as_deref() == Some(kid)).peekable();
        if named.peek().is_none() {
            return Err(NoKey::Unknown);
        }
        named.find_map(|key| key.verifier(algorithm)).ok_or(NoKey::Unfit)
    }
}

/// Key sets by provider. A new ring replaces the old one whole.
#[derive(Clone, Debug, Default)]
pub struct KeyRing {
    sets: Vec<(SetId, Arc<KeySet>)>,
}

impl KeyRing {
    /// The set of a provider; none if it was never had. A scan: rings hold a handful of sets,
    /// and names differ early.
    pub(super) fn get(&self, id: &SetId) -> Option<&Arc<KeySet>> {
        self.sets.iter().find(|(known, _)| known == id).map(|(_, set)| set)
    }

    /// The set last had from a URL, whichever provider asked for it.
    pub(super) fn known_at(&self, url: &str) -> Option<&Arc<KeySet>> {
        self.sets.iter().find(|(known, _)| *known.url == *url).map(|(_, set)| set)
    }

    /// This ring with one set put in the place of its older self.
    pub(super) fn with(&self, id: &SetId, set: &Arc<KeySet>) -> Self {
        let mut sets = self.sets.clone();
        match sets.iter_mut().find(|(known, _)| known == id) {
            Some((_, old)) => *old = Arc::clone(set),
            None => sets.push((id.clone(), Arc::clone(set))),
        }
        Self { sets }
    }

    /// This ring with only the sets that are wanted.
    pub(super) fn retain(&self, wanted: impl Fn(&SetId) -> bool) -> Self {
        Self { sets: self.sets.iter().filter(|(id, _)| wanted(id)).cloned().collect() }
    }
}
