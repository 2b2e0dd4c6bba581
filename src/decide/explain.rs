//! What would happen to a request, and why.
//!
//! Calls the functions that the data plane calls, in the same order, and writes down what each
//! said. Nothing is decided here.

use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, Method, Uri};
use pingora::http::RequestHeader;
use serde::Serialize;

use super::{Outbound, Plan, find, outbound::listed, plan};
use crate::auth::{self, KeyRing, TokenCache};
use crate::cache::Factor;
use crate::clock::Moment;
use crate::edge::{Facts, Identity, RequestId, RequestView, TraceContext};
use crate::fault::{Fault, Reject};
use crate::limit::Take;
use crate::routing::Verdict;
use crate::snapshot::{Route, Snapshot};

/// A request that is explained rather than served.
pub struct Assumed {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// All headers, `host` included.
    pub headers: HeaderMap,
    /// The address that the connection would come from.
    pub peer: SocketAddr,
    /// A caller taken for granted, instead of credentials in the headers.
    pub identity: Option<Arc<Identity>>,
}

/// What would happen, and why.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Explanation {
    /// Version of the configuration that decided.
    pub config_version: u64,
    /// `forward`, or `refuse`.
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
    /// Endpoints of the version, taken in turn.
    pub endpoints: Vec<Arc<str>>,
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

/// Explains a request.
#[must_use]
pub fn explain(
    snapshot: &Snapshot,
    assumed: &Assumed,
    keys: &KeyRing,
    tokens: &TokenCache,
    now: Moment,
) -> Explanation {
    let mut told = Explanation {
        config_version: snapshot.version,
        decision: "forward",
        ..Explanation::default()
    };
    if let Err(reject) = walk(snapshot, assumed, keys, tokens, now, &mut told) {
        told.decision = "refuse";
        told.refusal = Some(refusal(&reject));
    }
    told
}

/// The same walk as `proxy::admit`, with a note at every step.
fn walk(
    snapshot: &Snapshot,
    assumed: &Assumed,
    keys: &KeyRing,
    tokens: &TokenCache,
    now: Moment,
    told: &mut Explanation,
) -> Result<(), Reject> {
    let listener = snapshot.listeners.all().next().ok_or(Fault::Internal)?;
    let Assumed { method, uri, headers, peer, .. } = assumed;
    let view = RequestView::read(method, uri, headers, *peer, false, &listener.limits)?;
    told.request = Some(seen(&view));
    told.candidates = candidates(snapshot, &view);
    let route = find(snapshot, &view)?;
    told.route = Some(Arc::clone(&route.name));
    told.policies = policies(route);
    route.shape.check(&view)?;
    let identity = match &assumed.identity {
        Some(identity) => Some(Arc::clone(identity)),
        None => auth::authenticate(&route.auth, &snapshot.providers, &view, keys, tokens, now)
            .map_err(Reject::from)?,
    };
    told.caller = identity.as_deref().map(caller);
    auth::authorize(&route.auth, identity.as_deref())?;
    let id = RequestId::accept_or_mint(headers, 0);
    let facts = Facts {
        view: &view,
        identity: identity.as_deref(),
        request_id: id.as_str(),
        route: &route.name,
    };
    let plan = plan(route, &facts, 0);
    told.limits = route
        .limits
        .iter()
        .zip(&plan.takes)
        .map(|(rule, take)| Taken {
            name: Arc::clone(&rule.name),
            rule: rule.describe(),
            key: take.key.clone(),
            parts: Take::describe(rule, &facts),
        })
        .collect();
    told.cache = kept(route, &plan, &facts);
    told.upstream = goes(route, &plan);
    told.sent = Some(sent(assumed, route, &view, identity.as_ref(), &id)?);
    Ok(())
}

fn refusal(reject: &Reject) -> Refusal {
    Refusal {
        status: reject.fault.status(),
        code: reject.fault.code(),
        title: reject.fault.title(),
        detail: reject.hint.as_ref().map(|hint| hint.as_str().to_owned()),
        headers: listed(&reject.headers.iter().cloned().collect()),
    }
}

fn seen(view: &RequestView<'_>) -> Seen {
    Seen {
        method: view.method.to_string(),
        scheme: view.scheme.as_str(),
        host: view.host.to_string(),
        path: view.path.to_string(),
        query: view.query.map(ToOwned::to_owned),
        client: view.client.to_string(),
    }
}

fn candidates(snapshot: &Snapshot, view: &RequestView<'_>) -> Vec<Fared> {
    let trace = snapshot.table.trace(view);
    trace
        .into_iter()
        .map(|candidate| {
            let (verdict, reason) = match candidate.verdict {
                Verdict::Chosen => ("chosen", None),
                Verdict::Outranked(why) => ("outranked", Some(why)),
                Verdict::Failed(why) => ("failed", Some(why)),
            };
            Fared { route: candidate.name, verdict, reason }
        })
        .collect()
}

fn policies(route: &Route) -> Vec<(String, String)> {
    let mut words = vec![("auth".to_owned(), route.auth.to_string())];
    let mut say = |key: &str, value: String| words.push((key.to_owned(), value));
    say("timeoutMs", route.timeout.as_millis().to_string());
    say("retries", route.retry.retries.to_string());
    say("retryOn", route.retry.to_string());
    say("maxBodyBytes", route.shape.body_bytes_max.to_string());
    say("forwardCredentials", route.forward_credentials.to_string());
    words
}

fn caller(identity: &Identity) -> Caller {
    Caller {
        provider: identity.provider.to_string(),
        subject: identity.subject.to_string(),
        tenant_id: identity.tenant_id.as_deref().map(ToOwned::to_owned),
        scopes: identity.scopes.iter().map(ToString::to_string).collect(),
    }
}

fn kept(route: &Route, plan: &Plan, facts: &Facts<'_>) -> Option<Kept> {
    let policy = route.cache.as_ref()?;
    Some(Kept {
        key: plan.cache.as_ref().map(crate::cache::CachePlan::digest),
        factors: policy.factors(facts),
    })
}

fn goes(route: &Route, plan: &Plan) -> Option<Goes> {
    let version = route.upstream.versions.get(plan.bucket.version)?;
    Some(Goes {
        service: Arc::clone(&route.upstream.service),
        version: Arc::clone(&version.name),
        bucket: plan.bucket.bucket,
        split_key: plan.bucket.part.as_deref().map(ToOwned::to_owned),
        endpoints: version.endpoints.iter().map(|endpoint| Arc::clone(&endpoint.name)).collect(),
    })
}

fn sent(
    assumed: &Assumed,
    route: &Route,
    view: &RequestView<'_>,
    identity: Option<&Arc<Identity>>,
    id: &RequestId,
) -> Result<Sent, Reject> {
    let internal = |_| Reject::new(Fault::Internal);
    let mut header = RequestHeader::build(assumed.method.clone(), b"/", None).map_err(internal)?;
    header.set_uri(assumed.uri.clone());
    for (name, value) in &assumed.headers {
        header.append_header(name.clone(), value.clone()).map_err(internal)?;
    }
    let trace = TraceContext::continue_or_start(&assumed.headers, (1, 1));
    let outbound = Outbound::of(view, &assumed.uri, assumed.peer.ip(), route)?;
    outbound.prepare(&mut header, route, identity, id, &trace);
    let before = listed(&assumed.headers);
    let added = listed(&header.headers).into_iter().filter(|pair| !before.contains(pair)).collect();
    let removed = assumed
        .headers
        .keys()
        .filter(|name| !header.headers.contains_key(*name))
        .map(ToString::to_string)
        .collect();
    Ok(Sent { target: header.uri.to_string(), added, removed })
}
