//! Routes: what they match, where they lead, which policies they apply.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{ByteSize, KeyPart, OneOrMany, Span};

/// A route.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Route {
    /// Unique name in kebab-case: `^[a-z0-9-]+$`.
    #[schemars(regex(pattern = r"^[a-z0-9-]+$"))]
    pub name: String,
    /// Which requests it takes.
    pub r#match: Match,
    /// Decides last, between routes that are equally specific; the higher wins.
    #[serde(default)]
    pub priority: i32,
    /// Where its requests go.
    pub upstream: Upstream,
    /// What is applied on the way.
    #[serde(default)]
    pub policies: Policies,
    /// Which requests are refused for their shape.
    #[serde(default)]
    pub request_policy: RequestPolicy,
}

/// Which requests a route takes. All conditions must hold. At most one of `path`, `pathPrefix`
/// and `pathRegex` is given; with none, every path matches.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Match {
    /// `api.example.com`, or `*.example.com` for every name below it. Without it, any host.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub host: Option<String>,
    /// The whole path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// The first segments of the path: `/v1/admin` takes `/v1/admin/x`, not `/v1/administrator`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_prefix: Option<String>,
    /// A regular expression over the whole path.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path_regex: Option<String>,
    /// Methods; without it, any.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub methods: Vec<Method>,
    /// Conditions on request headers.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub headers: Vec<FieldMatch>,
    /// Conditions on query parameters.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub query: Vec<FieldMatch>,
}

/// An HTTP method, in capitals.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq, Hash)]
#[serde(transparent)]
pub struct Method(pub String);

/// A condition on a header or a query parameter. Exactly one of `exact`, `contains`, `present`
/// and `regex` is given.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct FieldMatch {
    /// Name of the header or parameter.
    pub name: String,
    /// The whole value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exact: Option<String>,
    /// One whole item of a comma-separated list.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contains: Option<String>,
    /// `true`: it is there, whatever its value; `false`: it is not there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub present: Option<bool>,
    /// A regular expression over the whole value.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub regex: Option<String>,
}

/// Where a route's requests go.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Upstream {
    /// Name of a service in `services`.
    pub service: String,
    /// Port of those endpoints that do not name their own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub port: Option<u16>,
    /// Shares of traffic by version of the service, out of 10000.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub splits: Vec<Split>,
    /// What keeps a caller on one version: the first of these that the request has. Without it
    /// `userId`, then `requestId`. `random` spreads every request anew.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub split_key: Vec<KeyPart>,
}

/// A version's share of traffic.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Split {
    /// Name of a version of the service.
    pub version: String,
    /// Its share out of 10000.
    pub weight: u32,
}

/// What a route applies. A key that a route leaves out takes the value of the root `policies`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Policies {
    /// Whether callers must prove who they are: `required`, `none`, or details. Every route has
    /// a value, its own or that of the root `policies`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub auth: Option<Auth>,
    /// What a caller must be allowed to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authorization: Option<Authorization>,
    /// Names of limits in `rateLimits`; all of them apply together.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rate_limit: Option<OneOrMany<String>>,
    /// Time for the whole exchange with the service, over all attempts; at most 30000.
    #[schemars(range(max = 30_000))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<u64>,
    /// Further attempts after the first; at most 2.
    #[schemars(range(max = 2))]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retries: Option<u32>,
    /// What is retried. Without it `connect-failure`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_on: Option<Vec<RetryOn>>,
    /// Whether and how answers are kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
    /// Whether `Authorization`, `Cookie` and `x-api-key` reach the service. Not by default on
    /// routes that authenticate; always on routes that do not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward_credentials: Option<bool>,
}

/// Whether callers must prove who they are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Auth {
    /// `none`: everybody is served; credentials are not looked at.
    None,
    /// `required`: any configured provider or API key will do.
    Required,
    /// Credentials of chosen kinds or providers are required.
    Settings(AuthSettings),
}

/// Which credentials are accepted.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthSettings {
    /// Identity providers whose tokens are accepted; without it, all.
    #[serde(default)]
    pub providers: Vec<String>,
    /// Kinds of credentials; without it, all that are configured.
    #[serde(default)]
    pub methods: Vec<AuthMethod>,
}

/// A kind of credentials.
#[derive(Clone, Copy, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub enum AuthMethod {
    /// A JSON Web Token in `Authorization: Bearer`.
    Jwt,
    /// An API key in `x-api-key`.
    ApiKey,
}

/// What a caller must be allowed to do.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Authorization {
    /// Scopes, all of which the caller must have.
    pub required_scopes: Vec<String>,
    /// Statuses of the caller's tenant that are let through.
    pub tenant_status: Vec<String>,
}

/// A condition under which an attempt is repeated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RetryOn {
    /// `connect-failure`: the connection could not be made; nothing was sent.
    ConnectFailure,
    /// `reset`: the connection broke before an answer came.
    Reset,
    /// `503`, with or without quotes: the service answered 503.
    Status503,
}

/// Whether and how answers are kept.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct Cache {
    /// How long an answer is fresh when the service does not say.
    pub ttl: Span,
    /// What makes two requests different, beyond method, scheme, host and path.
    pub key: CacheKey,
    /// On a route that authenticates: `true` lets all callers share entries.
    pub shared: bool,
    /// Largest body kept.
    pub max_body_bytes: ByteSize,
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            ttl: Span::from_secs(300),
            key: CacheKey::default(),
            shared: false,
            max_body_bytes: ByteSize::new(1024 * 1024),
        }
    }
}

/// What makes two requests different.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct CacheKey {
    /// `all` parameters (sorted), `none`, or a list of names. Without it, `all`.
    pub query: CacheQuery,
    /// The caller's tenant.
    pub tenant: bool,
    /// The caller.
    pub user: bool,
    /// Languages to tell apart: the first of these that `Accept-Language` prefers, else the
    /// first of the list.
    pub language: Vec<String>,
    /// Request headers whose values are told apart.
    pub headers: Vec<String>,
}

/// Which query parameters count.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum CacheQuery {
    /// Every parameter.
    #[default]
    All,
    /// No parameter.
    None,
    /// These parameters.
    Names(Vec<String>),
}

/// Which requests are refused for their shape.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct RequestPolicy {
    /// Largest request body; more gives 413. Without it 10 MiB.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_body_bytes: Option<ByteSize>,
    /// Content types that a body may have; others give 415. Without it, any.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub allowed_content_types: Option<Vec<String>>,
    /// Headers that must be there; their absence gives 400. `x-request-id` is always there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub require_headers: Option<Vec<String>>,
}
