//! What an explanation holds; the names are those of its JSON form.

use std::sync::Arc;

use serde::Serialize;

use crate::auth::TokenReport;
use crate::cache::Factor;
use crate::model::LimitMode;

/// What would happen, and why.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Version of the configuration that decided.
    pub config_version: u64,
    /// `forward`, `redirect`, `respond`, or `refuse`.
    pub decision: &'static str,
    /// Why it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refusal: Option<Refusal>,
    /// The request as every policy sees it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request: Option<Seen>,
    /// The route that takes it.
    pub route: Option<Arc<str>>,
    /// How every route fared, the chosen one first.
    pub candidates: Vec<Fared>,
    /// What the route applies.
    pub policies: Vec<(String, String)>,
    /// What each check says of the request's token.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<TokenReport>,
    /// The caller, header by header as the service is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub caller: Option<Caller>,
    /// What is taken from which limit.
    pub limits: Vec<Taken>,
    /// How the cache is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cache: Option<Kept>,
    /// Where it goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub upstream: Option<Goes>,
    /// What the service is sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sent: Option<Sent>,
    /// What the client is answered without a service.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answered: Option<Answered>,
}

/// What the client is answered without a service.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Answered {
    /// The HTTP status.
    pub status: u16,
    /// The route's own headers.
    pub headers: Vec<(String, String)>,
    /// Length of the body, in bytes.
    pub body_bytes: usize,
}

/// Why a request is refused.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Refusal {
    /// The HTTP status.
    pub status: u16,
    /// The fault's code.
    pub code: &'static str,
    /// The fault in a sentence.
    pub title: &'static str,
    /// What is particular.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// Headers that belong to the refusal.
    pub headers: Vec<(String, String)>,
}

/// The request as every policy sees it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Seen {
    /// The method.
    pub method: String,
    /// The scheme.
    pub scheme: &'static str,
    /// The host in normal form.
    pub host: String,
    /// The path in normal form.
    pub path: String,
    /// The query.
    pub query: Option<String>,
    /// The client's address.
    pub client: String,
}

/// How a route fared.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Fared {
    /// Its name.
    pub route: Arc<str>,
    /// `chosen`, `outranked` or `failed`.
    pub verdict: &'static str,
    /// Why.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// The caller.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Caller {
    /// Who vouched.
    pub provider: String,
    /// The subject.
    pub subject: String,
    /// The tenant.
    pub tenant_id: Option<String>,
    /// The scopes.
    pub scopes: Vec<String>,
}

/// What is taken from a limit.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Taken {
    /// Name of the limit.
    pub name: Arc<str>,
    /// Its numbers, in words.
    pub rule: String,
    /// The plan whose numbers count; none where those of the limit itself do.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// The advertised limit: capacity, or requests per window.
    pub limit: u64,
    /// What is enforced of it.
    pub enforced: u64,
    /// The advertised window in seconds: for a token bucket the time in which it fills.
    pub window_seconds: u64,
    /// What the request costs.
    pub cost: u64,
    /// How it is counted: `exact` asks Redis for every request.
    pub mode: LimitMode,
    /// By how much all nodes together may pass the limit: what they hold in advance.
    pub lease: u64,
    /// Whether it only counts.
    pub shadow: bool,
    /// The counter's key, without the deployment's prefix.
    pub key: String,
    /// What the key is made of.
    pub parts: Vec<(String, String)>,
}

/// How the cache is used.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Kept {
    /// The key's digest; none when this request does not use the cache.
    pub key: Option<String>,
    /// Why this request does not use the cache.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bypass: Option<&'static str>,
    /// What the key is made of, in order.
    pub factors: Vec<Factor>,
}

/// Where a request goes.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Goes {
    /// The service.
    pub service: Arc<str>,
    /// Its version.
    pub version: Arc<str>,
    /// The bucket of 10000, where there is a split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub bucket: Option<u32>,
    /// What was the key, where there is a split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split_key: Option<String>,
    /// How one of the endpoints is chosen.
    pub algorithm: &'static str,
    /// Endpoints of the version.
    pub endpoints: Vec<Arc<str>>,
    /// Where further endpoints are looked up while the gateway runs; they are not asked here.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub looked_up: Vec<Arc<str>>,
    /// How each does as far as this process knows: `up`, or why it would get no request.
    pub states: Vec<&'static str>,
    /// How the service's circuit stands, where it has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub circuit: Option<&'static str>,
}

/// What the service is sent.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Sent {
    /// The target.
    pub target: String,
    /// Headers that are added or replaced. Ids are examples, they differ for each request.
    pub added: Vec<(String, String)>,
    /// Names of headers that are removed.
    pub removed: Vec<String>,
}
