//! May this request go on? Read it top to bottom.

use std::sync::Arc;

use pingora::http::RequestHeader;
use pingora::{Error, Result};
use pingora_proxy::Session;

use super::deadline::Deadline;
use super::{RequestCtx, client, strict, upgrade};
use crate::action::Answer;
use crate::auth::{self, Proof};
use crate::clock::{self, Tick};
use crate::decide::{self, Attempt, Choice, Outbound};
use crate::edge::{Facts, Identity, RequestId, RequestView, TraceContext};
use crate::fault::{Fault, Reject};
use crate::limit::Owed;
use crate::live::Live;
use crate::routing::Caller;
use crate::snapshot::{Route, Snapshot};
use crate::telemetry::Phase;
use crate::wire::Watched;

/// Sets the connection's deadlines, and gives the request its id and its trace.
pub(super) fn receive(live: &Live, session: &mut Session, ctx: &mut RequestCtx) {
    ctx.watched = Watched::of(session.digest()).map(Arc::clone);
    let local = ctx.connection().map(|connection| connection.local);
    let listener = ctx.snapshot.listeners.accepting(local);
    let last = live.is_draining() || ctx.violation().is_some();
    ctx.keepalive_s = client::set_deadlines(session, &listener.rules, last);
    ctx.multiplexed = session.as_downstream().is_http2();
    if let Some(watched) = &ctx.watched {
        client::note_extent(session, watched);
    }
    let headers = &session.req_header().headers;
    ctx.end_to_end = client::is_end_to_end(headers);
    ctx.request_id = Some(RequestId::accept_or_mint(headers, fastrand::u128(..)));
    let entropy = (fastrand::u128(..), fastrand::u64(..));
    ctx.trace = Some(TraceContext::continue_or_start(headers, entropy));
    client::take_out_unproved(session, ctx);
}

/// Everything that must hold before a request is served, in the order of cost. Returns the answer
/// where the route has one of its own.
pub(super) async fn admit(
    live: &Live,
    session: &Session,
    ctx: &mut RequestCtx,
) -> Result<Option<Answer>, Reject> {
    let watched = ctx.watched.clone().ok_or(Fault::Internal)?;
    let connection = &watched.connection;
    let header = session.req_header();
    strict::check(header, watched.violation())?; // 400
    let snapshot = Arc::clone(&ctx.snapshot);
    let listener = snapshot.listeners.accepting(Some(connection.local));
    let (method, uri, headers) = (&header.method, &header.uri, &header.headers);
    let limits = &listener.limits;
    let view = RequestView::read(method, uri, headers, connection, limits)?; // 400 414 431
    ctx.client = Some(view.client);
    if header.uri.path() != view.path {
        ctx.path = Some(view.path.as_ref().into());
    }
    let mut proof = Proof::default();
    let (route, proved) = find(live, ctx, &snapshot, &view, &mut proof).await?; // 403 404 405 503
    ctx.route = Some(Arc::clone(route));
    auth::admit_address(&route.auth, view.client)?; // 403
    ctx.deadline = Deadline::of(route, headers, ctx.began.tick);
    route.shape.check(&view)?; // 400 413 415
    let providers = &snapshot.providers;
    let (auth, began) = (&route.auth, ctx.began);
    ctx.identity = match proved {
        Some(identity) => Some(identity),
        None => live.auth.identify(auth, providers, &view, &mut proof, began).await?, // 401 503
    };
    let identity = ctx.identity.as_deref();
    live.auth.authorize(&route.auth, providers, identity, &view, ctx.began).await?; // 403 503
    let query = decide::query(route, view.query);
    let view = RequestView { query: query.as_deref(), ..view };
    let request_id = ctx.request_id.clone();
    let facts = Facts {
        view: &view,
        identity: ctx.identity.as_deref(),
        request_id: request_id.as_ref().map_or("", RequestId::as_str),
        route: &route.name,
        service: route.service(),
    };
    let takes = decide::takes(route, &facts)?; // 403
    let answer = route.local().map(|local| local.answer(&view)).transpose()?;
    if !takes.is_empty() {
        let now = clock::now();
        ctx.ledger.enter(Phase::Limits, now.tick);
        let outcome = live.limiter.take(&takes, now).await;
        ctx.ledger.enter(Phase::Admit, clock::now().tick);
        let refused = outcome.reject();
        ctx.owed = Owed::of(&takes, &outcome).map(Box::new);
        ctx.limited = Some(outcome);
        if let Some(reject) = refused {
            return Err(reject); // 429 503
        }
    }
    // From here on only for requests that are within their limits: refusing one is cheap.
    let plan = decide::way(route, &facts, fastrand::u64(..));
    ctx.cache = plan.cache;
    ctx.bucket = plan.bucket;
    ctx.hash = plan.hash;
    if answer.is_none() {
        ctx.outbound = Some(Outbound::of(&view, &header.uri, connection, route)?);
        if let Some(overload) = &snapshot.overload {
            let now = clock::now().tick;
            ctx.ledger.enter(Phase::Queue, now);
            let left = ctx.deadline.left(now);
            ctx.place = Some(live.overload.enter(overload, &facts, left).await?); // 503
            ctx.ledger.enter(Phase::Admit, clock::now().tick);
        }
    }
    upgrade::note(ctx, header);
    Ok(answer)
}

/// The route, and its caller where that was needed to find it. Most routes do not care who
/// calls, and then nobody is asked.
async fn find<'a>(
    live: &Live,
    ctx: &mut RequestCtx,
    snapshot: &'a Snapshot,
    view: &RequestView<'_>,
    proof: &mut Proof,
) -> Result<(&'a Arc<Route>, Option<Arc<Identity>>), Reject> {
    let mut caller = Caller::default();
    loop {
        match decide::find(snapshot, view, &caller)? {
            Choice::Take(route) => return Ok((route, decide::proved(&caller, snapshot, route))),
            Choice::Ask(route) => {
                if let Err(reject) = auth::admit_address(&route.auth, view.client) {
                    ctx.route = Some(Arc::clone(route));
                    return Err(reject);
                }
                let providers = &snapshot.providers;
                let (auth, began) = (&route.auth, ctx.began);
                let outcome = live.auth.identify(auth, providers, view, proof, began).await;
                decide::learn(&mut caller, snapshot, route, outcome)?;
            }
            Choice::Refuse(route, reject) => {
                ctx.route = Some(Arc::clone(route));
                return Err(reject);
            }
        }
    }
}

/// Builds the header that the service gets.
pub(super) fn prepare(upstream: &mut RequestHeader, ctx: &RequestCtx) -> Result<()> {
    let (Some(outbound), Some(route), Some(id), Some(trace)) =
        (&ctx.outbound, &ctx.route, &ctx.request_id, &ctx.trace)
    else {
        return Err(Error::new_str("a request reached the upstream phase without a route"));
    };
    let attempt = Attempt {
        endpoint: ctx.current_endpoint(),
        unix_seconds: route.signer.as_ref().map_or(0, |_| clock::now().unix_seconds()),
    };
    outbound.prepare(upstream, route, ctx.identity.as_ref(), id, trace, attempt);
    if let Some(header) = &route.deadline.header {
        upstream.insert_header(
            header.name().clone(),
            header.write(ctx.deadline.left(clock::now().tick)),
        )?;
    }
    upgrade::ask(ctx, upstream)
}

/// Counts body bytes; beyond the route's limit the request is refused, and so is a body that
/// still comes when the route's time is over. What comes through an upgraded connection is no
/// body.
pub(super) fn count_body(
    bytes: usize,
    upgraded: bool,
    ctx: &mut RequestCtx,
    now: Tick,
) -> Result<()> {
    ctx.body_bytes += bytes as u64;
    if upgraded {
        return Ok(());
    }
    let refused = match &ctx.route {
        Some(route) if ctx.body_bytes > route.shape.body_bytes_max => route.shape.too_large(),
        Some(_) if bytes > 0 && ctx.deadline.left(now).is_zero() => Fault::RequestTimeout.into(),
        _ => return Ok(()),
    };
    let mut error = ctx.refuse(refused);
    error.as_down();
    Err(error)
}
