//! What would happen to a request, and why.
//!
//! Calls the functions that the data plane calls, in the same order, and writes down what each
//! said. Nothing is decided here.

mod hide;
mod told;

use std::sync::Arc;

use http::{HeaderMap, Method, Uri};
use pingora::http::RequestHeader;

use hide::Hide;
use told::{Answered, Caller, Fared, Goes, Kept, Refusal, Seen, Sent, Taken};

pub use told::Explanation;

use super::{Attempt, Choice, Outbound, Plan, find, learn, outbound::listed, plan, proved, query};
use crate::action::Answer;
use crate::auth::{self, Answers, Evidence, KeyRing, Memory};
use crate::cache::CachePlan;
use crate::clock::Moment;
use crate::edge::{Connection, EdgeLimits, Facts, Identity, RequestId, RequestView, TraceContext};
use crate::fault::{Fault, Reject};
use crate::limit::Take;
use crate::model::LimitMode;
use crate::routing::{self, Verdict};
use crate::snapshot::{Route, Snapshot};
use crate::upstream::CircuitState;

/// A request that is explained rather than served.
pub struct Assumed {
    /// The method.
    pub method: Method,
    /// Path and query.
    pub uri: Uri,
    /// All headers, `host` included.
    pub headers: HeaderMap,
    /// The connection that it would come on.
    pub connection: Connection,
    /// A caller taken for granted, instead of credentials in the headers.
    pub identity: Option<Arc<Identity>>,
}

/// Explains a request.
#[must_use]
pub fn explain(
    snapshot: &Snapshot,
    assumed: &Assumed,
    keys: &KeyRing,
    memory: &Memory,
    now: Moment,
) -> Explanation {
    let mut told = Explanation {
        config_version: snapshot.version,
        decision: "forward",
        ..Explanation::default()
    };
    if let Err(reject) = walk(snapshot, assumed, keys, memory, now, &mut told) {
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
    memory: &Memory,
    now: Moment,
    told: &mut Explanation,
) -> Result<(), Reject> {
    let listener = snapshot.listeners.all().next().ok_or(Fault::Internal)?;
    let Assumed { method, uri, connection, .. } = assumed;
    let headers = &proved_headers(snapshot, assumed, &listener.limits);
    let view = RequestView::read(method, uri, headers, connection, &listener.limits)?;
    let hide = Hide::of(snapshot);
    told.request = Some(seen(&view, &hide));
    let answers = Answers::default();
    let evidence =
        Evidence { providers: &snapshot.providers, keys, memory, answers: &answers, now };
    let authenticate =
        |route: &Route| auth::authenticate(&route.auth, &view, &evidence).map_err(Reject::from);
    let known = assumed.identity.clone();
    let mut known = known.map_or_else(routing::Caller::default, routing::Caller::assumed);
    let found = loop {
        match find(snapshot, &view, &known) {
            Ok(Choice::Ask(route)) => {
                auth::admit_address(&route.auth, view.client)?;
                learn(&mut known, snapshot, route, authenticate(route))?;
            }
            Ok(Choice::Take(route)) => break Ok((route, None)),
            Ok(Choice::Refuse(route, reject)) => break Ok((route, Some(reject))),
            Err(reject) => break Err(reject),
        }
    };
    told.candidates = candidates(snapshot, &view, &known);
    let (route, refused) = found?;
    told.route = Some(Arc::clone(&route.name));
    if let Some(reject) = refused {
        return Err(reject);
    }
    told.policies = policies(route);
    auth::admit_address(&route.auth, view.client)?;
    if assumed.identity.is_none() {
        told.token = auth::inspect(&route.auth, &view, &evidence);
    }
    route.shape.check(&view)?;
    let proved = assumed.identity.clone().or_else(|| proved(&known, snapshot, route));
    let identity = match proved {
        Some(identity) => Some(identity),
        None => authenticate(route)?,
    };
    told.caller = identity.as_deref().map(caller);
    auth::authorize(&route.auth, identity.as_deref(), &view, &evidence)?;
    let query = query(route, view.query);
    let view = RequestView { query: query.as_deref(), ..view };
    let id = RequestId::accept_or_mint(headers, 0);
    let facts = Facts {
        view: &view,
        identity: identity.as_deref(),
        request_id: id.as_str(),
        route: &route.name,
        service: route.service(),
    };
    let plan = plan(route, &facts, 0)?;
    told.limits = taken(&plan, &facts, &hide);
    told.cache = kept(route, &plan, &facts).map(|kept| hide.kept(kept));
    told.upstream = goes(route, &plan, now);
    if let Some(local) = route.local() {
        told.decision = local.word();
        told.answered = Some(answered(&local.answer(&view)?));
        return Ok(());
    }
    let version = plan.bucket.as_ref().and_then(|b| route.upstream()?.versions.get(b.version));
    let set = version.map(|version| version.pool.current());
    let endpoint = set.as_ref().and_then(|set| set.endpoints.first()).map(|first| &**first);
    let attempt = Attempt { endpoint, unix_seconds: now.unix_seconds() };
    let outgoing = sent(assumed, route, &view, identity.as_ref(), &id, attempt)?;
    told.sent = Some(hide.sent(outgoing));
    Ok(())
}

/// The headers without those in which a client says who it is.
fn proved_headers(snapshot: &Snapshot, assumed: &Assumed, limits: &EdgeLimits) -> HeaderMap {
    let is_trusted = || limits.trusted.contains(assumed.connection.peer.ip());
    let mut headers = assumed.headers.clone();
    for name in snapshot.unproved.found_in(&headers, is_trusted) {
        headers.remove(name);
    }
    headers
}

fn answered(answer: &Answer) -> Answered {
    Answered {
        status: answer.status.as_u16(),
        headers: listed(&answer.headers),
        body_bytes: answer.body.len(),
    }
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

fn seen(view: &RequestView<'_>, hide: &Hide<'_>) -> Seen {
    Seen {
        method: view.method.to_string(),
        scheme: view.scheme.as_str(),
        host: view.host.to_string(),
        path: view.path.to_string(),
        query: view.query.map(|query| hide.query(query)),
        client: view.client.to_string(),
    }
}

fn candidates(snapshot: &Snapshot, view: &RequestView<'_>, caller: &routing::Caller) -> Vec<Fared> {
    let trace = snapshot.table.trace(view, caller);
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

fn taken(plan: &Plan, facts: &Facts<'_>, hide: &Hide<'_>) -> Vec<Taken> {
    let taken = |take: &Take| {
        let (rule, tier) = (&take.rule, take.tier());
        Taken {
            name: Arc::clone(&rule.name),
            rule: rule.describe(tier, take.cost),
            plan: rule.plan_of(take.tier),
            limit: tier.limit,
            enforced: tier.enforced(),
            window_seconds: tier.window_s,
            cost: take.cost,
            // Without room for it nothing is taken in advance.
            mode: if tier.lease == 0 { LimitMode::Exact } else { rule.mode },
            lease: tier.lease,
            shadow: rule.shadow,
            key: take.name(),
            parts: hide.parts(Take::describe(rule, facts)),
        }
    };
    plan.takes.iter().map(taken).collect()
}

fn kept(route: &Route, plan: &Plan, facts: &Facts<'_>) -> Option<Kept> {
    let policy = route.cache.as_ref()?;
    Some(Kept {
        // Without its body, the key of a QUERY is not known.
        key: plan.cache.as_ref().filter(|plan| !plan.lacks_body).map(CachePlan::digest),
        bypass: crate::cache::bypass(policy, facts),
        factors: policy.factors(facts),
    })
}

fn goes(route: &Route, plan: &Plan, now: Moment) -> Option<Goes> {
    let (upstream, bucket) = (route.upstream()?, plan.bucket.as_ref()?);
    let version = upstream.versions.get(bucket.version)?;
    let set = version.pool.current();
    Some(Goes {
        service: Arc::clone(&upstream.service),
        version: Arc::clone(&version.name),
        bucket: bucket.bucket,
        split_key: bucket.part.as_deref().map(ToOwned::to_owned),
        algorithm: version.pool.service().balance.as_str(),
        endpoints: set.endpoints.iter().map(|endpoint| Arc::clone(&endpoint.name)).collect(),
        looked_up: version.sources.to_vec(),
        states: set.endpoints.iter().map(|endpoint| endpoint.health.state()).collect(),
        circuit: version.pool.service().circuit_state(now).map(CircuitState::as_str),
    })
}

fn sent(
    assumed: &Assumed,
    route: &Route,
    view: &RequestView<'_>,
    identity: Option<&Arc<Identity>>,
    id: &RequestId,
    attempt: Attempt<'_>,
) -> Result<Sent, Reject> {
    let internal = |_| Reject::new(Fault::Internal);
    let mut header = RequestHeader::build(assumed.method.clone(), b"/", None).map_err(internal)?;
    header.set_uri(assumed.uri.clone());
    for (name, value) in view.headers {
        header.append_header(name.clone(), value.clone()).map_err(internal)?;
    }
    let trace = TraceContext::continue_or_start(view.headers, (1, 1));
    let outbound = Outbound::of(view, &assumed.uri, &assumed.connection, route)?;
    outbound.prepare(&mut header, route, identity, id, &trace, attempt);
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
