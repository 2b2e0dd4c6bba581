//! Asking an issuer about a token (RFC 7662; R100).
//!
//! For tokens that cannot be verified here: opaque ones, and all tokens of a provider without
//! keys. What is decided: which issuer a token goes to ([`identify`], pure), what its answer
//! proves (`answer`), how long an answer counts ([`KnownTokens`]). [`Introspector`] asks: each
//! token once at a time, within a time limit, and not at all for a moment after repeated
//! failures. An issuer that cannot be asked is never a 401: the caller gets 503, or what was
//! known last where the route has `failureMode: stale`.
//!
//! Tests: beside each file, and `tests/e2e/introspection.rs` with a real issuer.

mod answer;
mod check;
mod client;
mod desk;
mod endpoint;
mod guard;
mod introspector;
mod known;
mod ways;

use std::sync::Arc;

pub(in crate::auth) use check::{identify, may_be_jwt};
pub(in crate::auth) use endpoint::Endpoint;
pub(in crate::auth) use introspector::Introspector;
pub(in crate::auth) use known::KnownTokens;

use super::ProviderIndex;
use super::challenge::TokenError;
use super::question::Unavailable;
use crate::edge::Identity;

/// A token that only its issuer can judge.
pub struct OpaqueToken {
    /// Whom to ask.
    provider: ProviderIndex,
    token: Arc<str>,
}

/// Leaves the token out: it is a credential.
impl std::fmt::Debug for OpaqueToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "OpaqueToken({:?})", self.provider)
    }
}

/// What asking came to: whom the token proves its bearer to be, why it proves nothing, or that
/// nobody could be asked.
pub(in crate::auth) type Outcome = Result<Result<Arc<Identity>, TokenError>, Unavailable>;

#[cfg(test)]
mod testing;
