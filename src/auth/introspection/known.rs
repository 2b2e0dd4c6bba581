//! What issuers said lately, so that each token is asked about seldom.
//!
//! Good answers and bad ones are kept apart: a flood of bad tokens cannot displace good ones. A
//! good answer is found by the whole token, never by its hash alone, and counts no longer than
//! `cacheTtl` and the token's `exp` (R100); it is kept until `exp`, or ten times `cacheTtl`
//! where the issuer names none, for routes with `failureMode: stale`. A bad answer ends a good
//! one at once: what an issuer has revoked does not come back when the issuer is away.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use prometheus::IntCounter;
use ring::digest::{SHA256, digest};

use super::Endpoint;
use super::ways::Ways;
use crate::auth::ProviderIndex;
use crate::auth::challenge::TokenError;
use crate::auth::jwt::provider::{Fingerprint, digest_bytes};
use crate::clock::{Moment, Tick};
use crate::edge::Identity;
use crate::telemetry::Metrics;

/// Good answers kept at most.
const GOOD_MAX: usize = 16_384;
/// Bytes of good answers kept at most, by what was read; in memory they take a few times that.
const GOOD_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Bad answers kept at most.
const BAD_MAX: usize = 8_192;
/// How many times `cacheTtl` a good answer without `exp` may count while the issuer is away.
const STALE_FACTOR: u32 = 10;

/// What an answer rests on; it counts only while all of it is in force.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(in crate::auth) struct Asked {
    pub(in crate::auth) provider: ProviderIndex,
    pub(in crate::auth) fingerprint: Fingerprint,
}

/// What is known of a token.
#[derive(Debug)]
pub(in crate::auth) enum Known {
    /// Its issuer lately called it good.
    Good(Arc<Identity>),
    /// Its issuer lately called it bad, or what it said was.
    Bad(TokenError),
}

/// What issuers said lately.
#[derive(Debug)]
pub(in crate::auth) struct KnownTokens {
    good: Ways<Good>,
    bad: Ways<Bad>,
    bytes: AtomicUsize,
    hasher: RandomState,
    hits: IntCounter,
    refused: IntCounter,
    misses: IntCounter,
    stale: IntCounter,
}

struct Good {
    token: Box<str>,
    asked: Asked,
    identity: Arc<Identity>,
    /// Bytes that this was made of.
    bytes: usize,
    fresh_until: Tick,
    /// The token's `exp`, Unix seconds.
    expires: Option<u64>,
    /// End of keeping where there is no `exp`.
    kept_until: Tick,
}

#[derive(Debug)]
struct Bad {
    /// SHA-256 of the token.
    digest: [u8; 32],
    asked: Asked,
    error: TokenError,
    until: Tick,
}

/// Leaves the token out: it is a credential.
impl std::fmt::Debug for Good {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Good({:?})", self.asked)
    }
}

impl Good {
    /// Whether the token itself is still good (RFC 7519, 4.1.4: not on or after `exp`).
    fn is_alive(&self, now: Moment) -> bool {
        self.expires.map_or(now.tick < self.kept_until, |expires| now.unix_seconds() < expires)
    }

    fn is_fresh(&self, now: Moment) -> bool {
        now.tick < self.fresh_until && self.expires.is_none_or(|at| now.unix_seconds() < at)
    }
}

impl KnownTokens {
    /// Knows nothing yet.
    #[must_use]
    pub(in crate::auth) fn new(metrics: &Metrics) -> Self {
        let lookups = |outcome| metrics.introspection_cache.with_label_values(&[outcome]);
        Self {
            good: Ways::new(GOOD_MAX),
            bad: Ways::new(BAD_MAX),
            bytes: AtomicUsize::new(0),
            hasher: RandomState::new(),
            hits: lookups("hit"),
            refused: lookups("refused"),
            misses: lookups("miss"),
            stale: lookups("stale"),
        }
    }

    /// What is known of a token, counted. Allocates nothing.
    pub(super) fn get(
        &self,
        token: &str,
        now: Moment,
        is_in_force: impl Fn(&Asked) -> bool,
    ) -> Option<Known> {
        let found = self.find(token, now, is_in_force);
        match found {
            Some(Known::Good(_)) => self.hits.inc(),
            Some(Known::Bad(_)) => self.refused.inc(),
            None => self.misses.inc(),
        }
        found
    }

    /// What is known of a token, not counted.
    pub(super) fn find(
        &self,
        token: &str,
        now: Moment,
        is_in_force: impl Fn(&Asked) -> bool,
    ) -> Option<Known> {
        let hash = self.hasher.hash_one(token);
        let is_it =
            |good: &Good| *good.token == *token && good.is_fresh(now) && is_in_force(&good.asked);
        let good = self.good.find(hash, is_it, |good| Known::Good(Arc::clone(&good.identity)));
        if good.is_some() {
            return good;
        }
        let digest = digest_of(token);
        let is_it =
            |bad: &Bad| bad.digest == digest && now.tick < bad.until && is_in_force(&bad.asked);
        self.bad.find(hash, is_it, |bad| Known::Bad(bad.error))
    }

    /// Whom a token proved its bearer to be when its issuer could last be asked, if it can not
    /// have expired since.
    pub(super) fn last_good(
        &self,
        token: &str,
        now: Moment,
        is_in_force: impl Fn(&Asked) -> bool,
    ) -> Option<Arc<Identity>> {
        let hash = self.hasher.hash_one(token);
        let is_it =
            |good: &Good| *good.token == *token && good.is_alive(now) && is_in_force(&good.asked);
        let identity = self.good.find(hash, is_it, |good| Arc::clone(&good.identity))?;
        self.stale.inc();
        Some(identity)
    }

    /// Keeps a good answer of so many bytes about a token that expires then.
    pub(super) fn put_good(
        &self,
        token: &str,
        asked: Asked,
        (identity, bytes, expires): (&Arc<Identity>, usize, Option<u64>),
        endpoint: &Endpoint,
        now: Moment,
    ) {
        let entry = Good {
            token: token.into(),
            asked,
            identity: Arc::clone(identity),
            bytes: bytes.saturating_add(token.len()),
            fresh_until: now.tick.plus(endpoint.cache_ttl),
            expires,
            kept_until: now.tick.plus(endpoint.cache_ttl.saturating_mul(STALE_FACTOR)),
        };
        let hash = self.hasher.hash_one(token);
        if !entry.is_alive(now) {
            return self.forget_good(hash, token);
        }
        let gone = |good: &Good| self.release(good);
        // Counted before it is there, so that the sum never wraps.
        let total = self.bytes.fetch_add(entry.bytes, Ordering::Relaxed) + entry.bytes;
        if total > GOOD_BYTES_MAX {
            self.good.evict(hash, gone);
            if self.bytes.load(Ordering::Relaxed) > GOOD_BYTES_MAX {
                return gone(&entry);
            }
        }
        let is_same = |held: &Good| *held.token == *token;
        self.good.put(hash, entry, is_same, |held| !held.is_alive(now), gone);
        let digest = digest_of(token);
        self.bad.remove(hash, |held| held.digest == digest, |_| ());
    }

    /// Keeps a bad answer, which ends a good one.
    pub(super) fn put_bad(
        &self,
        token: &str,
        asked: Asked,
        error: TokenError,
        endpoint: &Endpoint,
        now: Moment,
    ) {
        let hash = self.hasher.hash_one(token);
        self.forget_good(hash, token);
        let digest = digest_of(token);
        let bad = Bad { digest, asked, error, until: now.tick.plus(endpoint.negative_ttl) };
        let is_dead = |held: &Bad| held.until <= now.tick;
        self.bad.put(hash, bad, |held| held.digest == digest, is_dead, |_| ());
    }

    fn release(&self, good: &Good) {
        self.bytes.fetch_sub(good.bytes, Ordering::Relaxed);
    }

    fn forget_good(&self, hash: u64, token: &str) {
        let gone = |good: &Good| self.release(good);
        self.good.remove(hash, |held| *held.token == *token, gone);
    }
}

fn digest_of(token: &str) -> [u8; 32] {
    digest_bytes(digest(&SHA256, token.as_bytes()).as_ref())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::super::testing::{asking, judged};
    use super::*;
    use crate::auth::Providers;
    use crate::auth::testing::{NOW, after, now};

    const TTL: u64 = 60;

    struct Scene {
        providers: Providers,
        known: KnownTokens,
        asked: Asked,
        identity: Arc<Identity>,
    }

    impl Scene {
        fn new() -> Self {
            let providers = asking("");
            let (index, provider) = providers.iter().next().unwrap();
            let asked = Asked { provider: index, fingerprint: provider.fingerprint };
            let identity = judged(&providers, &json!({})).unwrap().verdict.unwrap();
            let known = KnownTokens::new(&Metrics::new().unwrap());
            Self { providers, known, asked, identity }
        }

        fn endpoint(&self) -> &Endpoint {
            self.providers.iter().next().unwrap().1.introspection.as_ref().unwrap()
        }

        fn put(&self, token: &str, bytes: usize, expires: Option<u64>, at: Moment) {
            let what = (&self.identity, bytes, expires);
            self.known.put_good(token, self.asked, what, self.endpoint(), at);
        }

        fn get(&self, token: &str, at: Moment) -> Option<bool> {
            let found = self.known.get(token, at, |asked| *asked == self.asked)?;
            Some(matches!(found, Known::Good(_)))
        }

        fn stale(&self, token: &str, at: Moment) -> bool {
            self.known.last_good(token, at, |asked| *asked == self.asked).is_some()
        }
    }

    fn at(seconds: u64) -> u64 {
        NOW.unsigned_abs() + seconds
    }

    #[test]
    fn a_good_answer_counts_no_longer_than_the_ttl_and_exp() {
        let scene = Scene::new();
        scene.put("long", 10, Some(at(1000)), now());
        scene.put("short", 10, Some(at(20)), now());
        scene.put("endless", 10, None, now());
        for token in ["long", "endless"] {
            assert_eq!(scene.get(token, after(TTL - 1)), Some(true), "{token}");
            assert_eq!(scene.get(token, after(TTL)), None, "{token}");
        }
        assert_eq!(scene.get("short", after(19)), Some(true));
        assert_eq!(scene.get("short", after(20)), None);
        assert_eq!(scene.get("other", now()), None);
        let by_another = |_: &Asked| false;
        assert!(scene.known.get("long", now(), by_another).is_none(), "other settings");
    }

    #[test]
    fn the_last_good_answer_is_kept_until_exp_or_ten_ttls() {
        let scene = Scene::new();
        scene.put("long", 10, Some(at(1000)), now());
        scene.put("short", 10, Some(at(20)), now());
        scene.put("endless", 10, None, now());
        assert!(scene.stale("long", after(999)) && !scene.stale("long", after(1000)));
        assert!(scene.stale("short", after(19)) && !scene.stale("short", after(20)));
        assert!(scene.stale("endless", after(TTL * 10 - 1)));
        assert!(!scene.stale("endless", after(TTL * 10)));
        assert!(scene.known.last_good("long", now(), |_| false).is_none());
    }

    #[test]
    fn a_bad_answer_ends_a_good_one_and_counts_for_its_own_time() {
        let scene = Scene::new();
        scene.put("token", 10, Some(at(1000)), now());
        let bad = |at| {
            let (asked, error) = (scene.asked, TokenError::Inactive);
            scene.known.put_bad("token", asked, error, scene.endpoint(), at);
        };
        bad(now());
        assert_eq!(scene.get("token", after(9)), Some(false));
        assert_eq!(scene.get("token", after(10)), None);
        assert!(!scene.stale("token", after(1)), "what was revoked stays so");
        assert_eq!(scene.known.bytes.load(Ordering::Relaxed), 0);
        scene.put("token", 10, None, after(1));
        assert_eq!(scene.get("token", after(1)), Some(true), "a good answer ends a bad one");
    }

    #[test]
    fn what_has_expired_is_not_kept_at_all() {
        let scene = Scene::new();
        scene.put("token", 10, Some(at(0)), now());
        assert_eq!(scene.get("token", now()), None);
        assert_eq!(scene.known.bytes.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn the_bytes_are_bounded_and_a_flood_of_bad_tokens_displaces_no_good_one() {
        let scene = Scene::new();
        for n in 0..2_000 {
            scene.put(&format!("token-{n}"), 64 * 1024, None, now());
        }
        let bytes = scene.known.bytes.load(Ordering::Relaxed);
        assert!(bytes <= GOOD_BYTES_MAX && bytes > GOOD_BYTES_MAX / 2, "{bytes}");
        let held = |at| (0..2_000).filter(|n| scene.stale(&format!("token-{n}"), at)).count();
        let before = held(now());
        assert!(before >= 500, "{before}");
        for n in 0..20_000 {
            let (asked, error) = (scene.asked, TokenError::Inactive);
            let token = format!("bad-{n}");
            scene.known.put_bad(&token, asked, error, scene.endpoint(), now());
        }
        assert_eq!(held(now()), before);
        assert_eq!(scene.endpoint().cache_ttl, Duration::from_secs(TTL));
    }
}
