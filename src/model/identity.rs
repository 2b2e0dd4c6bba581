//! Who may prove what: identity providers, API keys, tenants.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{OneOrMany, Secret, Span};

/// An issuer whose tokens are accepted. Exactly one source of keys is given.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdentityProvider {
    /// The `iss` claim that its tokens carry; a token is matched to a provider by it.
    pub issuer: String,
    /// Accepted values of the `aud` claim; a token must carry one of them.
    pub audience: OneOrMany<String>,
    /// Signature algorithms accepted from this issuer.
    pub algorithms: Vec<Algorithm>,
    /// URL of the issuer's JSON Web Key Set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_url: Option<String>,
    /// File with a JSON Web Key Set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub jwks_file: Option<String>,
    /// One public key in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key_pem: Option<String>,
    /// File with one public key in PEM.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub public_key_file: Option<String>,
    /// Shared secret for HS256, HS384 and HS512, at least 32 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// How the key set at `jwksUrl` is kept.
    #[serde(default)]
    pub jwks: JwksSettings,
    /// Clock difference forgiven on `exp`, `nbf` and `iat`, in seconds.
    #[serde(default = "default_tolerance")]
    pub clock_tolerance_seconds: u64,
    /// Names of the claims that carry each fact about the caller.
    #[serde(default)]
    pub claims: ClaimNames,
}

const fn default_tolerance() -> u64 {
    30
}

/// How a key set is fetched and kept.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct JwksSettings {
    /// Time between background refreshes.
    pub refresh: Span,
    /// Fetches caused by unknown key ids, at most, per minute.
    pub fetches_per_minute: u32,
    /// Time limit of one fetch.
    pub timeout: Span,
}

impl Default for JwksSettings {
    fn default() -> Self {
        Self { refresh: Span::from_secs(600), fetches_per_minute: 10, timeout: Span::from_secs(5) }
    }
}

/// Names of the claims that carry each fact about the caller.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ClaimNames {
    /// Who the caller is.
    pub subject: String,
    /// The tenant the caller belongs to.
    pub tenant_id: String,
    /// What the caller may do: one string with spaces, or a list.
    pub scopes: String,
    /// The caller's roles: a list, or one string.
    pub roles: String,
    /// The caller's e-mail address.
    pub email: String,
    /// The caller's plan.
    pub plan: String,
    /// The tenant's status, read when `tenants` does not name the tenant.
    pub tenant_status: String,
    /// The client that acts for the caller.
    pub client_id: String,
}

impl Default for ClaimNames {
    fn default() -> Self {
        Self {
            subject: "sub".to_owned(),
            tenant_id: "tenant_id".to_owned(),
            scopes: "scope".to_owned(),
            roles: "roles".to_owned(),
            email: "email".to_owned(),
            plan: "plan".to_owned(),
            tenant_status: "tenant_status".to_owned(),
            client_id: "client_id".to_owned(),
        }
    }
}

/// A JWS signature algorithm (RFC 7518, RFC 8037). `none` cannot be written.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq, Hash)]
#[expect(missing_docs, reason = "the names are those of RFC 7518")]
pub enum Algorithm {
    RS256,
    RS384,
    RS512,
    PS256,
    PS384,
    PS512,
    ES256,
    ES384,
    EdDSA,
    HS256,
    HS384,
    HS512,
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// An API key and what it proves about its holder.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ApiKey {
    /// Name of the key's holder: becomes the subject, is safe to log.
    pub id: String,
    /// The key itself, by reference; it is kept and compared as a hash only.
    pub key: Secret,
    /// The tenant the holder belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant_id: Option<String>,
    /// The holder's plan.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// Scopes that the key carries.
    #[serde(default)]
    pub scopes: Vec<String>,
    /// A key that is not active is refused.
    #[serde(default = "yes")]
    pub active: bool,
}

const fn yes() -> bool {
    true
}

/// A tenant.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Tenant {
    /// Status compared with `policies.authorization.tenantStatus`, for example `ACTIVE`.
    pub status: String,
    /// Hosts that are this tenant's, for `match.tenant` where no caller is verified.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub hosts: Vec<String>,
}
