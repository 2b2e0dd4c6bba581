//! The root of the document.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    AccessLog, Admin, ApiKey, ApiKeyCarriers, CacheStore, ClientCertificates, Database, Geo,
    IdentityHeader, IdentityProvider, IdentitySignature, Listener, MessageSignatures, Overload,
    Policies, RateLimit, Redis, RequestPolicy, Revocation, Route, Server, ServerTiming, Service,
    Signer, Tenant,
};

/// A Tidegate configuration.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Config {
    /// Version number of this configuration, shown in logs, metrics and
    /// `/admin/config-version`. Without it each accepted change counts one up from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config_version: Option<u64>,

    /// The process: threads, files, limits. Changes here need a restart or an upgrade.
    #[serde(default)]
    pub server: Server,

    /// Addresses that clients connect to. Changes here need a restart or an upgrade.
    #[serde(default)]
    pub listeners: Vec<Listener>,

    /// The operator's own listener: health, metrics, configuration version.
    #[serde(default)]
    pub admin: Admin,

    /// Where access log lines go.
    #[serde(default)]
    pub access_log: AccessLog,

    /// Who is told where the time of a request went.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub server_timing: Option<ServerTiming>,

    /// Where clients are, for `match.region`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub geo: Option<Geo>,

    /// Redis for limits that several nodes share. Without it every limit counts on this node.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redis: Option<Redis>,

    /// The store of answers that routes keep (`policies.cache`).
    #[serde(default)]
    pub cache: CacheStore,

    /// Issuers whose tokens are accepted, by name.
    #[serde(default)]
    pub identity_providers: BTreeMap<String, IdentityProvider>,

    /// Which request header tells the service which fact about the caller; see `tidegate
    /// headers`. Headers of these names that a client sends are removed before anything reads
    /// them, on every route, and so are those that have `_` for `-`.
    #[serde(default = "default_identity_headers")]
    pub identity_headers: BTreeMap<String, IdentityHeader>,

    /// The gateway's signature over those headers; without it they are not signed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub identity_signature: Option<IdentitySignature>,

    /// API keys, each with what it proves about its holder. Those that come and go are in
    /// `database`.
    #[serde(default)]
    pub api_keys: Vec<ApiKey>,

    /// Where requests carry API keys.
    #[serde(default)]
    pub api_key_carriers: ApiKeyCarriers,

    /// The database of API keys and tenants that change without a change of configuration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub database: Option<Database>,

    /// How tokens are revoked before they expire.
    #[serde(default)]
    pub revocation: Revocation,

    /// Parties that sign their requests, by name; the name becomes the subject.
    #[serde(default)]
    pub signers: BTreeMap<String, Signer>,

    /// What signatures on requests must be like.
    #[serde(default)]
    pub message_signatures: MessageSignatures,

    /// What client certificates prove about their holders.
    #[serde(default)]
    pub client_certificates: ClientCertificates,

    /// Tenants and their status, for `policies.authorization.tenantStatus`. They come before
    /// those of `database`.
    #[serde(default)]
    pub tenants: BTreeMap<String, Tenant>,

    /// Rate limits, by the name that routes refer to.
    #[serde(default)]
    pub rate_limits: BTreeMap<String, RateLimit>,

    /// What happens when more requests come than this node can serve. Without it all are served
    /// at once.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overload: Option<Overload>,

    /// Upstream services, by the name that routes refer to.
    #[serde(default)]
    pub services: BTreeMap<String, Service>,

    /// Defaults for `routes[].policies`; a key that a route sets replaces the default whole.
    #[serde(default)]
    pub policies: Policies,

    /// Defaults for `routes[].requestPolicy`; a key that a route sets replaces the default.
    #[serde(default)]
    pub request_policy: RequestPolicy,

    /// What is served, and how.
    #[serde(default)]
    pub routes: Vec<Route>,
}

/// The identity contract of the seeds (R106): header name to fact.
fn default_identity_headers() -> BTreeMap<String, IdentityHeader> {
    [
        ("x-user-id", "subject"),
        ("x-tenant-id", "tenantId"),
        ("x-user-roles", "roles"),
        ("x-auth-scopes", "scopes"),
        ("x-user-email", "email"),
        ("x-client-id", "clientId"),
        ("x-client-plan", "plan"),
    ]
    .into_iter()
    .map(|(header, fact)| (header.to_owned(), fact.into()))
    .collect()
}
