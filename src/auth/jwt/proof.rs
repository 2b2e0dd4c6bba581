//! What a verdict on a token rests on, so that it can be told when it no longer counts.
//!
//! A verdict is reached under a provider (its settings, its static keys, what headers and tenants
//! say: the fingerprint), with a key out of a set (a generation). A good verdict outlives its set:
//! as long as the next one still holds the same key under the same name, nothing would come out
//! differently, and a rotation does not make every caller's signature be checked at once. A bad
//! verdict does not: a new set may hold the key that makes the token good.

use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};

use super::provider::{Fingerprint, Provider};
use crate::auth::ProviderIndex;
use crate::auth::keyset::keyring::{KeyRing, KeySet};

/// Stands for one key with one algorithm under one name: equal digests mean that the same
/// signatures are good.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::auth) struct KeyDigest(Fingerprint);

/// Shows nothing: of a secret it would be a digest.
impl std::fmt::Debug for KeyDigest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("KeyDigest(..)")
    }
}

impl KeyDigest {
    /// Digests a key's material and the algorithm it is used with.
    pub(in crate::auth) fn of(algorithm: Algorithm, key: &DecodingKey) -> Self {
        let algorithm = format!("{algorithm:?}");
        Self(match key.kind() {
            DecodingKeyKind::RsaModulusExponent { n, e } => {
                Fingerprint::of(&[algorithm.as_bytes(), n, e])
            }
            DecodingKeyKind::SecretOrDer(bytes) => Fingerprint::of(&[algorithm.as_bytes(), bytes]),
        })
    }

    /// The same key under a name.
    pub(in crate::auth) fn named(self, kid: &str) -> Self {
        Self(Fingerprint::of(&[self.0.bytes(), kid.as_bytes()]))
    }
}

/// What a proof rests on; it counts only while all of it is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::auth) struct Binding {
    pub(in crate::auth) provider: ProviderIndex,
    pub(in crate::auth) fingerprint: Fingerprint,
    /// Generation of the key set with which the signature was checked.
    pub(in crate::auth) generation: u64,
    /// The key that checked it, where the token names its key. A token that does not is good
    /// only while one key can be meant, which another set must decide anew.
    pub(in crate::auth) key: Option<KeyDigest>,
}

impl Binding {
    /// Whether a proof still holds, for a route that accepts the provider: the provider is
    /// unchanged, and the key is still one of its keys.
    pub(in crate::auth) fn proves(&self, provider: &Provider, keys: &KeyRing) -> bool {
        self.is_of(provider).is_some_and(|provider| {
            provider.keys(keys).is_some_and(|set| {
                set.generation() == self.generation
                    || self.key.is_some_and(|key| set.still_holds(&key))
            })
        })
    }

    /// Whether a refusal still holds: provider and key set are unchanged.
    pub(in crate::auth) fn refuses(&self, provider: &Provider, keys: &KeyRing) -> bool {
        self.is_of(provider).is_some_and(|provider| {
            provider.keys(keys).map(KeySet::generation) == Some(self.generation)
        })
    }

    fn is_of<'a>(&self, provider: &'a Provider) -> Option<&'a Provider> {
        (provider.fingerprint == self.fingerprint).then_some(provider)
    }
}
