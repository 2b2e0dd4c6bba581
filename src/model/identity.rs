//! Who may prove what: identity providers, API keys, tenants.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{OneOrMany, Secret, Span};

/// An issuer whose tokens are accepted. Exactly one source of keys is given, or none beside
/// `introspection`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct IdentityProvider {
    /// The `iss` claim that its tokens carry; a token is matched to a provider by it.
    pub issuer: String,
    /// Accepted values of the `aud` claim; a token must carry one of them. So must what its
    /// issuer says about it where it is asked: an answer without `aud` is refused.
    pub audience: OneOrMany<String>,
    /// Signature algorithms accepted from this issuer. May be empty only where there is no
    /// source of keys.
    #[serde(default)]
    pub algorithms: Vec<Algorithm>,
    /// URL of the issuer's OpenID discovery document, which names the key set. Its `issuer` must
    /// be the one above, its `jwks_uri` an https URL; it is read anew with each refresh.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub discovery_url: Option<String>,
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
    /// Shared secret for HS256, HS384 and HS512, at least as long as the digest: 32, 48 and 64
    /// bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret: Option<Secret>,
    /// File with an Ed25519 private key in PEM (PKCS #8) with which `tidegate token` signs
    /// tokens of this provider. For development: refused where a listener can be reached from
    /// other machines.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub development_key_file: Option<String>,
    /// How the key set at `jwksUrl`, or the one that `discoveryUrl` leads to, is kept.
    #[serde(default)]
    pub jwks: JwksSettings,
    /// Asks the issuer about tokens that cannot be verified here (RFC 7662): opaque ones, and
    /// all of a provider that has no keys. A route may accept one such provider only: an opaque
    /// token does not say whose it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub introspection: Option<Introspection>,
    /// Clock difference forgiven on `exp`, `nbf` and `iat`, in seconds.
    #[serde(default = "default_tolerance")]
    pub clock_tolerance_seconds: u64,
    /// Names of the claims that carry each fact about the caller.
    #[serde(default)]
    pub claims: ClaimNames,
}

impl IdentityProvider {
    /// Whether there is no source of keys, but an issuer that is asked about every token.
    #[must_use]
    pub const fn is_only_asked(&self) -> bool {
        self.introspection.is_some()
            && self.discovery_url.is_none()
            && self.jwks_url.is_none()
            && self.jwks_file.is_none()
            && self.public_key_pem.is_none()
            && self.public_key_file.is_none()
            && self.secret.is_none()
            && self.development_key_file.is_none()
    }
}

const fn default_tolerance() -> u64 {
    30
}

/// How a key set is fetched and kept. Times between refreshes vary by a tenth, so that many
/// gateways do not ask an issuer together.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct JwksSettings {
    /// Time between background refreshes where the issuer does not say how long its set is
    /// fresh.
    pub refresh: Span,
    /// Shortest time between refreshes, whatever the issuer says.
    pub min_refresh: Span,
    /// Longest time between refreshes, whatever the issuer says.
    pub max_refresh: Span,
    /// Fetches caused by unknown key ids, at most, per minute.
    pub fetches_per_minute: u32,
    /// Time limit of one fetch.
    pub timeout: Span,
    /// Most keys that a set may hold; a larger one is refused.
    pub max_keys: usize,
    /// File with the certificates that vouch for the issuer's TLS, instead of the system's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
}

impl Default for JwksSettings {
    fn default() -> Self {
        Self {
            refresh: Span::from_secs(600),
            min_refresh: Span::from_secs(60),
            max_refresh: Span::from_secs(3600),
            fetches_per_minute: 10,
            timeout: Span::from_secs(5),
            max_keys: 64,
            ca_file: None,
        }
    }
}

/// How an issuer is asked about a token (RFC 7662).
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Introspection {
    /// URL of the introspection endpoint.
    pub url: String,
    /// The gateway's own name at the issuer.
    pub client_id: String,
    /// The gateway's own secret at the issuer.
    pub client_secret: Secret,
    /// File with the certificates that vouch for the issuer's TLS, instead of the system's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Time limit of one question.
    #[serde(default = "two_seconds")]
    pub timeout: Span,
    /// How long a good answer counts, at most; never beyond the token's `exp`.
    #[serde(default = "one_minute")]
    pub cache_ttl: Span,
    /// How long a bad answer counts.
    #[serde(default = "ten_seconds")]
    pub negative_ttl: Span,
}

const fn two_seconds() -> Span {
    Span::from_secs(2)
}
const fn ten_seconds() -> Span {
    Span::from_secs(10)
}
const fn one_minute() -> Span {
    Span::from_secs(60)
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
    /// The products that the caller may use: a list, or one string.
    pub products: String,
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
            products: "products".to_owned(),
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
    /// Roles of the holder.
    #[serde(default)]
    pub roles: Vec<String>,
    /// Products that the holder may use.
    #[serde(default)]
    pub products: Vec<String>,
    /// A key that is not active is refused.
    #[serde(default = "yes")]
    pub active: bool,
}

/// Where requests carry API keys. Both are removed before a request is sent on, unless the route
/// has `forwardCredentials`. A request that carries more than one key is refused.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ApiKeyCarriers {
    /// Name of the request header.
    pub header: String,
    /// Name of the query parameter; empty means that the query carries none. Where there are
    /// API keys at all, routes that authenticate take it out of the query.
    pub query: String,
}

impl Default for ApiKeyCarriers {
    fn default() -> Self {
        Self { header: "x-api-key".to_owned(), query: "api_key".to_owned() }
    }
}

/// The database of API keys and tenants, which `tidegate keys` and `tidegate tenants` write.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Database {
    /// `sqlite:/var/lib/tidegate/tidegate.db`, or `postgres://user:password@host/name` for
    /// nodes that share one.
    pub url: Secret,
    /// Secret under which API keys are hashed, at least 32 bytes, the same on all nodes: the
    /// database and Redis hold nothing else of a key.
    pub hash_key: Secret,
    /// File with certificates that vouch for the database's TLS, besides the system's. With it
    /// `sslmode=verify-full` is what the address says where it says nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ca_file: Option<String>,
    /// Most connections at once, between 1 and 100.
    #[serde(default = "four")]
    pub max_connections: u32,
    /// Time limit of one look-up, between 10ms and 5s.
    #[serde(default = "one_second")]
    pub timeout: Span,
    /// How long what was found counts, on this node and in Redis together, 1s to 1h.
    #[serde(default = "five_minutes")]
    pub cache_ttl: Span,
    /// How long it counts that nothing was found.
    #[serde(default = "ten_seconds")]
    pub negative_ttl: Span,
    /// How long what was found counts where the database cannot be asked and the route has
    /// `failureMode: stale`; at least `cacheTtl`. Redis keeps answers as long.
    #[serde(default = "one_hour")]
    pub stale_ttl: Span,
    /// Most answers kept on this node.
    #[serde(default = "many_entries")]
    pub cache_entries: usize,
}

const fn four() -> u32 {
    4
}
const fn one_second() -> Span {
    Span::from_secs(1)
}
const fn five_minutes() -> Span {
    Span::from_secs(300)
}
const fn one_hour() -> Span {
    Span::from_secs(3600)
}
const fn many_entries() -> usize {
    65_536
}

/// How tokens are revoked before they expire.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Revocation {
    /// Time between readings of the shared list in Redis, beside the news that come at once.
    pub interval: Span,
    /// Most revocations; a further one is refused.
    pub max_entries: usize,
    /// How long a revocation is kept that names no end: as long as the longest token lives.
    pub max_token_lifetime: Span,
}

impl Default for Revocation {
    fn default() -> Self {
        Self {
            interval: Span::from_secs(3),
            max_entries: 100_000,
            max_token_lifetime: Span::from_secs(86_400),
        }
    }
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
