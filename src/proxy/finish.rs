//! What is noted about a request: while it is answered, and after its last byte.

use std::time::Duration;

use pingora::Error;
use pingora_proxy::Session;

use super::RequestCtx;
use crate::cache::CacheStatus;
use crate::clock::Moment;
use crate::edge::RequestId;
use crate::fault::Fault;
use crate::limit::Decision;
use crate::live::Live;
use crate::telemetry::{AccessLine, Phase};

/// Longest body of a request whose answer tells how fast the service is: of longer ones much of
/// the time may be the client's.
const TIMED_BODY_BYTES_MAX: u64 = 64 * 1024;

/// The service has answered an attempt with this status.
pub(super) fn answered(ctx: &mut RequestCtx, status: u16, now: Moment) {
    ctx.ledger.enter(Phase::Body, now.tick);
    let took = now.tick.since(ctx.sent);
    if let Some(attempt) = &ctx.endpoint {
        attempt.answered(status, now);
        if ctx.body_bytes <= TIMED_BODY_BYTES_MAX {
            attempt.timed(status, took, now);
        }
    }
    ctx.answered_after = Some(took);
    if let Some(route) = &ctx.route {
        route.meters.upstream_answered(took);
        if route.hedge.is_some()
            && let Some(version) = ctx.version()
        {
            version.pool.service().latency.record(took);
        }
    }
}

/// The exchange is over. Where nobody waited for the service's answer, that it has taken so long
/// already is known all the same.
pub(super) fn ended(ctx: &RequestCtx, now: Moment) {
    if let Some(attempt) = &ctx.endpoint
        && ctx.fault() == Some(Fault::ClientGone)
        && ctx.body_bytes <= TIMED_BODY_BYTES_MAX
    {
        attempt.abandoned(now.tick.since(ctx.sent), now);
    }
}

/// Logs why an exchange failed. Every failure is in the access log and in a metric; only defects
/// are logged beside it.
pub(super) fn failed(ctx: &RequestCtx, e: &Error) {
    if ctx.fault() == Some(Fault::Internal) {
        tracing::error!(request_id = ?ctx.request_id, error = %e, "the gateway failed");
    } else if ctx.fault().is_some_and(|fault| !fault.is_routine()) {
        tracing::debug!(request_id = ?ctx.request_id, error = %e, "a request failed");
    }
}

/// Meters and the access log line.
pub(super) fn record(live: &Live, session: &Session, ctx: &mut RequestCtx, now: Moment) {
    let status = status(session, ctx);
    let took = now.tick.since(ctx.began.tick);
    let method = &session.req_header().method;
    ctx.ledger.close(now.tick);
    live.phases.observe(ctx.ledger.spent());
    let meters = ctx.route.as_ref().map_or(&live.unrouted, |route| &route.meters);
    meters.answered(method, status, took);
    if let (Some(upstream), Some(bucket)) =
        (ctx.route.as_ref().and_then(|route| route.upstream()), &ctx.bucket)
    {
        upstream.observe(bucket.version, status, took);
    }
    if let Some(fault) = ctx.fault() {
        meters.rejected(fault);
    }
    if let Some(status) = ctx.cache_status {
        meters.cached(status as usize, status.as_str());
        if matches!(status, CacheStatus::Hit | CacheStatus::Stale | CacheStatus::Revalidated) {
            meters.served(session.as_downstream().body_bytes_sent() as u64);
        }
        if status == CacheStatus::Hit && session.cache.lock_duration().is_some() {
            meters.collapsed();
        }
        if let Some(plan) = &ctx.cache {
            meters.asked(plan.short());
        }
    }
    if live.access_log.is_on() {
        live.access_log.write(&line(session, ctx, status, took));
    }
}

/// The status that was sent; 499 when the client went away before one was. Refusals of gRPC calls
/// are all sent with 200: there it is what the fault stands for.
fn status(session: &Session, ctx: &RequestCtx) -> u16 {
    if let (Some(_), Some(fault)) = (ctx.grpc_status, ctx.fault()) {
        return fault.status();
    }
    let written = session.response_written().map(|response| response.status.as_u16());
    written.or_else(|| ctx.fault().map(Fault::status)).unwrap_or(Fault::ClientGone.status())
}

fn line<'a>(
    session: &'a Session,
    ctx: &'a RequestCtx,
    status: u16,
    took: Duration,
) -> AccessLine<'a> {
    let header = session.req_header();
    let route = ctx.route.as_deref();
    let host = header.headers.get(http::header::HOST).and_then(|host| host.to_str().ok());
    // HTTP/2 names the host in `:authority`.
    let host = host.or_else(|| header.uri.authority().map(http::uri::Authority::as_str));
    let began = std::time::UNIX_EPOCH + Duration::from_millis(ctx.began.unix_ms);
    AccessLine {
        timestamp: humantime::format_rfc3339_millis(began),
        request_id: ctx.request_id.as_ref().map_or("", RequestId::as_str),
        trace_id: ctx.trace.as_ref().map_or("", |trace| trace.trace_id()),
        client_ip: ctx.client,
        route: route.map(|route| &*route.name),
        tenant_id: ctx.identity.as_ref().and_then(|identity| identity.tenant_id.as_deref()),
        user_id: ctx.identity.as_ref().map(|identity| &*identity.subject),
        plan: ctx.identity.as_ref().and_then(|identity| identity.plan.as_deref()),
        api_key: ctx.identity.as_ref().and_then(|identity| identity.api_key.as_deref()),
        method: header.method.as_str(),
        host,
        path: ctx.path.as_deref().unwrap_or_else(|| header.uri.path()),
        upstream_path: ctx.outbound.as_ref().and_then(|outbound| outbound.rewritten()),
        status,
        grpc_status: ctx.grpc_status,
        code: ctx.fault().map(Fault::code),
        upstream: route
            .filter(|_| ctx.attempts > 0)
            .and_then(|route| route.upstream())
            .map(|upstream| &*upstream.service),
        upstream_version: ctx.version().filter(|_| ctx.attempts > 0).map(|v| &*v.name),
        upstream_endpoint: ctx.current_endpoint().map(|endpoint| &*endpoint.name),
        attempts: ctx.attempts,
        retry_reason: ctx.retry_reason,
        hedged: ctx.hedged,
        latency_ms: millis(took),
        upstream_latency_ms: ctx.answered_after.map(millis),
        rate_limited: ctx.limited.as_ref().is_some_and(|o| o.decision == Decision::Limited),
        rate_limit: ctx.limited.as_ref().and_then(|o| o.quotas.first()).map(|quota| &*quota.name),
        rate_limit_degraded: ctx.limited.as_ref().is_some_and(|outcome| outcome.degraded),
        rate_limit_shadow: ctx.limited.as_ref().and_then(|outcome| outcome.shadowed.as_deref()),
        cache: ctx.cache_status.map(CacheStatus::as_str),
        bytes_received: ctx.body_bytes,
        bytes_sent: session.as_downstream().body_bytes_sent() as u64,
        config_version: ctx.snapshot.version,
    }
}

/// Milliseconds with three decimals.
fn millis(span: Duration) -> f64 {
    (span.as_secs_f64() * 1_000_000.0).round() / 1_000.0
}
