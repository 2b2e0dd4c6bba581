//! Tokens that were refused a moment ago, so that one bad token sent again and again costs no
//! further signature check.
//!
//! Only refusals that took checking a signature are kept, and of those only what nothing mends
//! by itself ([`TokenError::is_lasting`]): telling that a token is not well formed, or of an
//! unknown issuer, costs no more than looking here. An unknown key, missing keys and a token that
//! is not valid yet may be good the next moment and are never kept.
//!
//! They have a place of their own, small and bounded, so that a flood of different bad tokens can
//! displace other bad tokens only, never a good one. What such a flood costs is the checks, some
//! 20 µs of one core each, and nothing else grows. There is deliberately no limit on failed
//! checks: it could only refuse tokens unchecked, good new ones among them, and whoever sends
//! enough bad ones would decide when nobody new gets in. Limits on requests by client address and
//! on connections bound the flood where it can be told whose it is.
//!
//! A token is found by two hashes of 64 bits under two secret keys of this process. Nobody can
//! aim at them; if two tokens met by chance, one of them would be refused for some seconds.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use prometheus::IntCounter;

use super::proof::Binding;
use crate::auth::challenge::TokenError;
use crate::clock::{Moment, Tick};
use crate::telemetry::Metrics;

/// How long a refusal is remembered.
const KEPT: Duration = Duration::from_secs(5);

/// Refusals that are remembered, at most.
const ENTRIES: usize = 4096;

/// Slots of a set; the oldest of them is given up.
const WAYS: usize = 4;

/// A bounded memory of refused tokens.
#[derive(Debug)]
pub(in crate::auth) struct Refusals {
    slots: Box<[ArcSwapOption<Refusal>]>,
    hashers: [RandomState; 2],
    /// [`Tick`] from which on none of them counts.
    over_at: AtomicU64,
    recalled: IntCounter,
    checked: IntCounter,
}

#[derive(Debug)]
struct Refusal {
    token: [u64; 2],
    binding: Binding,
    error: TokenError,
    until: Tick,
}

impl Refusals {
    /// An empty memory.
    pub(in crate::auth) fn new(metrics: &Metrics) -> Self {
        Self {
            slots: (0..ENTRIES).map(|_| ArcSwapOption::empty()).collect(),
            hashers: [RandomState::new(), RandomState::new()],
            over_at: AtomicU64::new(0),
            recalled: metrics.token_refusals.with_label_values(&["recalled"]),
            checked: metrics.token_refusals.with_label_values(&["checked"]),
        }
    }

    /// Why a token was refused a moment ago, if what that rests on is still so.
    pub(in crate::auth) fn recall(
        &self,
        token: &str,
        now: Moment,
        is_in_force: impl FnOnce(&Binding) -> bool,
    ) -> Option<TokenError> {
        // Mostly nobody was refused lately, and the token need not be read for it.
        if self.over_at.load(Ordering::Relaxed) <= now.tick.nanos() {
            return None;
        }
        let hashes = self.hashes(token);
        let set = self.set(hashes);
        let found = set.iter().find_map(|slot| {
            let refusal = slot.load_full()?;
            (refusal.token == hashes).then_some(refusal)
        })?;
        if found.until <= now.tick || !is_in_force(&found.binding) {
            return None;
        }
        self.recalled.inc();
        Some(found.error)
    }

    /// Notes that checking a token's signature led to a refusal; keeps it if it lasts.
    pub(in crate::auth) fn note(
        &self,
        token: &str,
        binding: Binding,
        error: TokenError,
        now: Moment,
    ) {
        self.checked.inc();
        if !error.is_lasting() {
            return;
        }
        let hashes = self.hashes(token);
        let until = now.tick.plus(KEPT);
        self.over_at.fetch_max(until.nanos(), Ordering::Relaxed);
        let refusal = Refusal { token: hashes, binding, error, until };
        let age = |slot: &&ArcSwapOption<Refusal>| {
            let held = slot.load();
            // Its own older self first, then an empty one, then the oldest.
            held.as_deref().map(|held| (held.token != hashes, held.until))
        };
        let set = self.set(hashes);
        let own = |slot: &&ArcSwapOption<Refusal>| age(slot).is_some_and(|(other, _)| !other);
        let Some(slot) = set.iter().find(own).or_else(|| set.iter().min_by_key(age)) else {
            return;
        };
        slot.store(Some(Arc::new(refusal)));
    }

    fn hashes(&self, token: &str) -> [u64; 2] {
        self.hashers.each_ref().map(|hasher| hasher.hash_one(token))
    }

    fn set(&self, [first, _]: [u64; 2]) -> &[ArcSwapOption<Refusal>] {
        let sets = (ENTRIES / WAYS) as u64;
        let start = usize::try_from(first % sets).unwrap_or_default() * WAYS;
        self.slots.get(start..start + WAYS).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests;
