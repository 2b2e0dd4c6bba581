//! The verification keys in force, immutable.
//!
//! A ring holds the key sets that were fetched; keys that stand in the configuration live with
//! their provider. Each set has a generation that no other set of the process ever has, so that
//! whatever was proved with a set can be bound to exactly that set.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use jsonwebtoken::Algorithm;

use crate::auth::jwt::key::Key;
use crate::auth::jwt::proof::KeyDigest;
use crate::auth::jwt::signature::SignatureVerifier;
use crate::clock::Moment;

/// The generation of sets that stand in the configuration: they change only together with the
/// fingerprint of their provider.
const STATIC_GENERATION: u64 = 0;

/// Which fetched set: the provider's name and where the set is from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(in crate::auth) struct SetId {
    pub(in crate::auth) provider: Arc<str>,
    /// The URL of the set, or of the document that names it.
    pub(in crate::auth) url: Arc<str>,
    /// The issuer that the discovery document at `url` must speak for; none where `url` is that
    /// of the set itself.
    pub(in crate::auth) discovers: Option<Arc<str>>,
}

impl SetId {
    /// The set at a URL.
    pub(in crate::auth) fn at(provider: &str, url: &str) -> Self {
        Self { provider: provider.into(), url: url.into(), discovers: None }
    }

    /// The set that the discovery document at a URL names.
    pub(in crate::auth) fn discovered(provider: &str, url: &str, issuer: &str) -> Self {
        Self { discovers: Some(issuer.into()), ..Self::at(provider, url) }
    }

    /// Whether another provider's set is from the same place.
    fn is_of(&self, other: &Self) -> bool {
        self.url == other.url && self.discovers == other.discovers
    }
}

/// A token named a key that the provider's set does not hold. Hand it to
/// [`KeySource::refetch`](crate::auth::KeySource::refetch).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnknownKey {
    pub(in crate::auth) set: SetId,
    /// The key's id.
    pub(in crate::auth) kid: Arc<str>,
}

/// Keys of one provider.
#[derive(Clone, Debug)]
pub(in crate::auth) struct KeySet {
    keys: Vec<Key>,
    generation: u64,
    /// Whether the set is one key without an id, which then serves whatever `kid` a token has.
    is_single: bool,
    fetched_at: Option<Moment>,
    /// How old the set was at `fetched_at` already: it was fetched before this process began.
    age_then: Duration,
    /// Digest of the document, to see whether a later one says anything new.
    digest: Option<[u8; 32]>,
}

/// Why no key was found in a set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::auth) enum NoKey {
    /// No key has the id.
    Unknown,
    /// The key with the id cannot be used with the algorithm.
    Unfit,
    /// The token names no key, and more or less than one would do.
    Unnamed,
}

impl KeySet {
    /// The one key of a PEM text or secret.
    pub(in crate::auth) fn single(key: Key) -> Self {
        Self { is_single: true, ..Self::fixed(vec![key]) }
    }

    /// The keys of a set that stands in a file.
    pub(in crate::auth) const fn fixed(keys: Vec<Key>) -> Self {
        Self {
            keys,
            generation: STATIC_GENERATION,
            is_single: false,
            fetched_at: None,
            age_then: Duration::ZERO,
            digest: None,
        }
    }

    /// Keys that were fetched just now; gives them a generation of their own.
    pub(in crate::auth) fn fetched(keys: Vec<Key>, digest: [u8; 32], now: Moment) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(STATIC_GENERATION + 1);
        Self {
            generation: NEXT.fetch_add(1, Ordering::Relaxed),
            fetched_at: Some(now),
            digest: Some(digest),
            ..Self::fixed(keys)
        }
    }

    /// The same set, fetched this long before.
    pub(in crate::auth) fn aged(self, age: Duration) -> Self {
        Self { age_then: age, ..self }
    }

    /// The same set, confirmed by a fetch that brought nothing new.
    pub(in crate::auth) fn confirmed(&self, now: Moment) -> Self {
        Self { fetched_at: Some(now), age_then: Duration::ZERO, ..self.clone() }
    }

    /// Time since the issuer last confirmed the set; none for one of the configuration.
    pub(in crate::auth) fn age(&self, now: Moment) -> Option<Duration> {
        self.fetched_at.map(|at| self.age_then.saturating_add(now.tick.since(at.tick)))
    }

    /// Number of keys.
    pub(in crate::auth) const fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether a key has the id.
    pub(in crate::auth) fn holds(&self, kid: &str) -> bool {
        self.keys.iter().any(|key| key.kid.as_deref() == Some(kid))
    }

    pub(in crate::auth) const fn generation(&self) -> u64 {
        self.generation
    }

    pub(in crate::auth) fn has_digest(&self, digest: &[u8; 32]) -> bool {
        self.digest.as_ref() == Some(digest)
    }

    /// Whether any key can be used with an algorithm.
    pub(in crate::auth) fn serves(&self, algorithm: Algorithm) -> bool {
        self.keys.iter().any(|key| key.verifier(algorithm).is_some())
    }

    /// The ids of its keys, `-` for keys without; nothing where one key serves any id. For
    /// explanations.
    pub(in crate::auth) fn names(&self) -> impl Iterator<Item = &str> {
        let named = if self.is_single { &[] } else { self.keys.as_slice() };
        named.iter().map(|key| key.kid.as_deref().unwrap_or("-"))
    }

    /// Whether a key that checked a signature earlier, perhaps out of an older set, is still
    /// here: same name, same material, same algorithm.
    pub(in crate::auth) fn still_holds(&self, key: &KeyDigest) -> bool {
        self.keys.iter().any(|known| known.has(key))
    }

    /// The verifier that a token's header asks for. Keys are never tried in turn: either the
    /// token names its key, or there is only one that it can mean.
    ///
    /// # Errors
    /// Returns why there is none.
    pub(in crate::auth) fn select(
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
    pub(in crate::auth) fn get(&self, id: &SetId) -> Option<&Arc<KeySet>> {
        self.sets.iter().find(|(known, _)| known == id).map(|(_, set)| set)
    }

    /// The set last had from the same place, whichever provider asked for it.
    pub(in crate::auth) fn known_at(&self, id: &SetId) -> Option<&Arc<KeySet>> {
        self.sets.iter().find(|(known, _)| known.is_of(id)).map(|(_, set)| set)
    }

    /// This ring with one set put in the place of its older self.
    pub(in crate::auth) fn with(&self, id: &SetId, set: &Arc<KeySet>) -> Self {
        let mut sets = self.sets.clone();
        match sets.iter_mut().find(|(known, _)| known == id) {
            Some((_, old)) => *old = Arc::clone(set),
            None => sets.push((id.clone(), Arc::clone(set))),
        }
        Self { sets }
    }

    /// This ring with only the sets that are wanted.
    pub(in crate::auth) fn retain(&self, wanted: impl Fn(&SetId) -> bool) -> Self {
        Self { sets: self.sets.iter().filter(|(id, _)| wanted(id)).cloned().collect() }
    }
}
