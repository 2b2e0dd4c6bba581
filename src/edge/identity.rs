//! Who the caller has proved to be.
//!
//! The type lives here because every policy reads it; only `auth` makes one
//! (`tests/tidy.rs` holds that), so that having an [`Identity`] is the proof.

use std::sync::Arc;

use http::{HeaderName, HeaderValue};
use serde_json::{Map, Value};

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
    /// All claims of the token; empty for API keys.
    pub claims: Map<String, Value>,
    /// What the upstream is told, ready to be sent.
    pub headers: Vec<(HeaderName, HeaderValue)>,
}

/// A caller's proved identity. Read-only outside `auth`.
#[derive(Debug)]
pub struct Identity(IdentityFacts);

impl Identity {
    /// Declares facts proved. Only `auth` may call this, after verification.
    pub(crate) const fn prove(facts: IdentityFacts) -> Self {
        Self(facts)
    }
}

impl std::ops::Deref for Identity {
    type Target = IdentityFacts;
    fn deref(&self) -> &IdentityFacts {
        &self.0
    }
}
