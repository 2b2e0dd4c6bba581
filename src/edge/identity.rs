//! Who the caller has proved to be.
//!
//! The type lives here because every policy reads it; only `auth` makes one
//! (`tests/tidy.rs` holds that), so that having an [`Identity`] is the proof.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http::{HeaderName, HeaderValue};

use super::Claims;

/// What [`IdentityFacts::provider`] says for parties that sign their requests; no identity
/// provider may be called so.
pub const SIGNERS: &str = "signers";

/// Facts about a caller, each proved by a verified token or key.
#[derive(Debug, Default)]
pub struct IdentityFacts {
    /// Name of the identity provider, or `apiKeys`.
    pub provider: Arc<str>,
    /// Who the caller is.
    pub subject: Arc<str>,
    /// The tenant; none rather than an empty string.
    pub tenant_id: Option<Arc<str>>,
    /// The tenant's status, from the configuration or the token.
    pub tenant_status: Option<Arc<str>>,
    /// What the caller may do.
    pub scopes: Vec<Arc<str>>,
    /// The caller's roles.
    pub roles: Vec<Arc<str>>,
    /// The caller's e-mail address.
    pub email: Option<Arc<str>>,
    /// The caller's plan.
    pub plan: Option<Arc<str>>,
    /// The client that acts for the caller.
    pub client_id: Option<Arc<str>>,
    /// The id of the API key, when one was the proof.
    pub api_key: Option<Arc<str>>,
    /// The products that the caller may use.
    pub products: Vec<Arc<str>>,
    /// The id of the token (`jti`), when one was the proof.
    pub token_id: Option<Arc<str>>,
    /// When the token was issued (`iat`), Unix seconds.
    pub issued_at: Option<u64>,
    /// SHA-256, in lower-case hexadecimal, of the client certificate that the token is bound to
    /// (RFC 8705, 3.1); on connections without it, it proves nothing.
    pub bound_certificate: Option<Box<str>>,
    /// All claims of the token; empty for API keys.
    pub claims: Claims,
    /// What the upstream is told, ready to be sent.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// A caller's proved identity. Read-only outside `auth`.
#[derive(Debug)]
pub struct Identity {
    facts: IdentityFacts,
    /// State of the list of revocations in which the caller was last looked for in vain.
    cleared: AtomicU64,
}

impl Identity {
    /// Declares facts proved. Only `auth` may call this, after verification.
    pub(crate) const fn prove(facts: IdentityFacts) -> Self {
        Self { facts, cleared: AtomicU64::new(0) }
    }

    /// The state of the list of revocations in which the caller was last found not to be on it;
    /// 0 is the empty list that every process starts with. An unchanged list then costs a
    /// request one comparison (R099).
    pub(crate) fn cleared(&self) -> u64 {
        self.cleared.load(Ordering::Relaxed)
    }

    /// Notes that the caller is not on the list in this state.
    pub(crate) fn clear(&self, epoch: u64) {
        self.cleared.store(epoch, Ordering::Relaxed);
    }

    /// Whether the proof was a signature on the request, so that its body counts only if it is
    /// the one that was signed.
    #[must_use]
    pub fn is_by_signature(&self) -> bool {
        *self.facts.provider == *SIGNERS
    }
}

impl std::ops::Deref for Identity {
    type Target = IdentityFacts;
    fn deref(&self) -> &IdentityFacts {
        &self.facts
    }
}
