//! What is remembered about callers between requests. Every part is bounded, and reading it never
//! waits.

use std::sync::Arc;

use super::api_key::KnownKeys;
use super::introspection::KnownTokens;
use super::jwt::cache::TokenCache;
use super::jwt::refusals::Refusals;
use super::message_signature::Nonces;
use super::news::News;
use super::revocation::Revocations;
use super::tenants::KnownTenants;
use crate::telemetry::Metrics;

/// Verified tokens that are remembered.
const TOKENS: usize = 65_536;

/// What is remembered about callers.
#[derive(Debug)]
pub struct Memory {
    /// Verified tokens.
    pub(in crate::auth) tokens: TokenCache,
    /// Tokens that were refused a moment ago.
    pub(in crate::auth) refusals: Refusals,
    /// Revoked tokens and subjects.
    pub(in crate::auth) revoked: Revocations,
    /// API keys of the database.
    pub(in crate::auth) api_keys: KnownKeys,
    /// Tokens that their issuer was asked about.
    pub(in crate::auth) introspected: Arc<KnownTokens>,
    /// Nonces of signed requests.
    pub(in crate::auth) nonces: Nonces,
    /// Tenants of the database.
    pub(in crate::auth) tenants: KnownTenants,
}

impl Memory {
    /// An empty memory.
    #[must_use]
    pub fn new(metrics: &Metrics) -> Self {
        Self::with_tokens(TOKENS, metrics)
    }

    /// An empty memory for at most so many verified tokens.
    #[must_use]
    pub fn with_tokens(tokens: usize, metrics: &Metrics) -> Self {
        Self {
            tokens: TokenCache::new(tokens, metrics),
            refusals: Refusals::new(metrics),
            revoked: Revocations::new(metrics),
            api_keys: KnownKeys::new(metrics),
            introspected: Arc::new(KnownTokens::new(metrics)),
            nonces: Nonces::new(metrics),
            tenants: KnownTenants::new(metrics),
        }
    }

    /// Forgets an API key or a tenant that another process has changed; other news are for
    /// others.
    pub(in crate::auth) fn purge(&self, news: &News) {
        match news {
            News::PurgeApiKey(hash) => self.api_keys.forget(hash),
            News::PurgeTenant(id) => self.tenants.forget(id),
            _ => {}
        }
    }
}
