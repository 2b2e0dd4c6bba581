//! Attempts: which endpoint is next, and whether a failed attempt is repeated.
//!
//! An attempt is repeated when all of these hold: the route lists what happened, has attempts
//! left, the request can be sent again (see `replay`), the pause before the next attempt leaves
//! time for it, and the service's retry budget grants it. When one does not hold, the client
//! gets what the last attempt gave.

use std::time::{Duration, SystemTime};

use http::{HeaderMap, header};
use pingora::http::ResponseHeader;
use pingora::upstreams::peer::{HttpPeer, HttpUpstreamRequestPolicy};
use pingora::{Error, ErrorSource, ErrorType, Result, RetryType};
use pingora_proxy::Session;

use super::{RequestCtx, digest, gate, replay, stream, translate};
use crate::clock::{self, Moment};
use crate::fault::{Fault, Reject};
use crate::limit::fair::Place;
use crate::snapshot::{RetryPolicy, Route};
use crate::telemetry::Phase;
use crate::upstream::{self, Passage};

/// Longest pause before the first repeated attempt; doubles with each further one (R131).
const BACK_OFF: Duration = Duration::from_millis(25);

/// Longest pause that doubling leads to.
const BACK_OFF_MAX: Duration = Duration::from_millis(250);

/// Attempts that stale pooled connections may cost before one is taken for a real failure.
const MAX_STALE: u32 = 3;

/// An attempt has a connection, `reused` or new.
pub(super) fn connected(ctx: &mut RequestCtx, reused: bool, now: Moment) {
    ctx.ledger.enter(Phase::Admit, now.tick);
    if let Some(attempt) = &ctx.endpoint {
        attempt.connected(now);
    }
    if let Some(route) = &ctx.route {
        route.meters.connected(reused);
    }
}

/// Nothing is left to do but to send. Where that helps, others are brought as far first. How long
/// it takes is no fault of the service's, whose time begins behind it.
pub(super) async fn send(ctx: &mut RequestCtx) {
    if goes_in_a_row(ctx) {
        tokio::task::yield_now().await;
    }
    let now = clock::now().tick;
    ctx.ledger.enter(Phase::Service, now);
    ctx.sent = now;
}

/// Whether a request is sent in a row with others. That finds a receiver on this machine awake,
/// whom to wake costs more than to send; receivers elsewhere wake up at their own expense.
/// Whoever holds what others may wait for holds it no longer than it must.
fn goes_in_a_row(ctx: &RequestCtx) -> bool {
    ctx.endpoint.as_ref().is_some_and(|attempt| attempt.endpoint().is_on_this_machine())
        && !ctx.place.as_ref().is_some_and(Place::is_scarce)
        && !ctx.passage.as_ref().is_some_and(Passage::is_bounded)
}

/// How far an attempt had come when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// No connection; nothing was sent.
    Connecting,
    /// Something may have been sent.
    Exchanging,
}

/// Pauses before a repeated attempt, as was decided when the one before failed.
pub(super) async fn back_off(ctx: &mut RequestCtx) {
    let pause = std::mem::take(&mut ctx.pause);
    if !pause.is_zero() {
        tokio::time::sleep(pause).await;
    }
}

/// The peer of the next attempt.
pub(super) fn next_peer(ctx: &mut RequestCtx, now: Moment) -> Result<Box<HttpPeer>, Reject> {
    ctx.ledger.enter(Phase::Connect, now.tick);
    let left = ctx.deadline.attempt(now.tick);
    if left.is_zero() {
        return Err(Fault::ResponseTimeout.into());
    }
    let others = ctx.leg.as_ref().and_then(|leg| leg.others());
    if let Some(endpoint) = &others {
        ctx.tried.insert(endpoint);
    }
    let version = ctx.version().ok_or_else(|| Reject::new(Fault::Internal))?;
    let pool = &version.pool;
    let Some(endpoint) = upstream::choose(pool, &ctx.tried, gate::draw(ctx), now) else {
        return Err(pool.service().no_endpoint());
    };
    if others.is_some_and(|other| other.id() == endpoint.id()) {
        return Err(Fault::NoEndpoint.into()); // Only the first leg's endpoint is well.
    }
    if ctx.attempts == 0 && is_budgeted(ctx) {
        version.pool.service().budget.request(now);
    }
    let mut peer = Box::new(endpoint.peer.clone());
    upstream::drilled::redirect(&mut peer, &endpoint);
    // Reading the answer begins with sending the request, so this bounds a service that does not
    // take the request too; a deadline for writing besides would only cost.
    stream::begin_attempt(ctx, &mut peer, now);
    let options = &mut peer.options;
    if ctx.end_to_end {
        options.http_upstream_request_policy = HttpUpstreamRequestPolicy::preserve();
    }
    let bound = |limit: Duration| limit.min(left);
    options.total_connection_timeout = options.total_connection_timeout.map(bound);
    options.connection_timeout = options.connection_timeout.map(bound);
    ctx.count_pick();
    ctx.tried.insert(&endpoint);
    ctx.endpoint = Some(endpoint);
    ctx.attempts += 1;
    ctx.answered_after = None;
    // The body is counted as it is sent, and each attempt sends it from its beginning.
    ctx.body_bytes = 0;
    digest::restart(ctx);
    Ok(peer)
}

/// Whether a request counts for its service's retry budget: once, where it may draw on it.
fn is_budgeted(ctx: &RequestCtx) -> bool {
    let draws = |route: &Route| route.retry.retries > 0 || route.hedge.is_some();
    ctx.route.as_deref().is_some_and(draws) && !ctx.leg.as_ref().is_some_and(|leg| leg.is_second())
}

/// Decides whether a failed attempt is repeated, and counts the failure.
#[expect(clippy::unnecessary_box_returns, reason = "Pingora's errors are boxed")]
pub(super) fn judge(
    session: &Session,
    ctx: &mut RequestCtx,
    mut e: Box<Error>,
    (stage, client_reused): (Stage, bool),
    now: Moment,
) -> Box<Error> {
    // An answer that is repeated is no failure; `judge_status` has decided.
    if matches!(e.etype, ErrorType::HTTPStatus(_)) && e.retry == RetryType::Decided(true) {
        return e;
    }
    let fault = ctx.fault().unwrap_or_else(|| translate::reject(&e));
    let Some(route) = &ctx.route else {
        e.set_retry(false);
        return e;
    };
    let excuse = excuse(&e, stage, client_reused);
    let client = e.esource == ErrorSource::Downstream;
    let counts = !client && !ctx.deadline.was_cut_short(now.tick);
    let answered = matches!(e.etype, ErrorType::HTTPStatus(_));
    if ctx.refusal.is_none() && counts && !answered && excuse.is_none() {
        route.meters.upstream_failed(fault);
        if let Some(attempt) = &ctx.endpoint {
            attempt.failed(fault, now);
        }
    }
    let reason = reason(&route.retry, fault, stage).filter(|_| ctx.answered_after.is_none());
    let again = ctx.refusal.is_none()
        && match (excuse, reason) {
            (Some(excuse), _) if ctx.attempts <= MAX_STALE => repeat_at_once(session, ctx, excuse),
            (_, Some(reason)) => repeat(session, ctx, reason, Duration::ZERO, now),
            _ => false,
        };
    if let Some(attempt) = ctx.endpoint.as_ref().filter(|_| !again) {
        attempt.is_last(now);
    }
    e.set_retry(again);
    e
}

/// Turns an answer that the route wants repeated into the error that repeats it; the answer to
/// the last attempt reaches the client as it is.
pub(super) fn judge_status(
    session: &Session,
    response: &ResponseHeader,
    ctx: &mut RequestCtx,
    now: Moment,
) -> Result<()> {
    let status = response.status.as_u16();
    let Some(reason) = ctx.route.as_ref().and_then(|route| route.retry.status(status)) else {
        return Ok(());
    };
    let wait = retry_after(&response.headers, now).unwrap_or(Duration::ZERO);
    if !repeat(session, ctx, reason, wait, now) {
        return Ok(());
    }
    let mut e = Error::new_up(ErrorType::HTTPStatus(status));
    e.set_retry(true);
    Err(e)
}

/// Why a failure is nobody's, and repeated beyond the route's own retries: a pooled connection
/// that the service had just closed, or an HTTP/2 connection on which it said that it has not
/// looked at the request (RFC 9113 section 8.7).
fn excuse(e: &Error, stage: Stage, client_reused: bool) -> Option<&'static str> {
    match e.retry {
        _ if stage == Stage::Connecting => None,
        RetryType::ReusedOnly if client_reused => Some("stale-connection"),
        RetryType::Decided(true) => Some("not-processed"),
        RetryType::ReusedOnly | RetryType::Decided(false) => None,
    }
}

/// The condition of the route that a failure meets.
fn reason(policy: &RetryPolicy, fault: Fault, stage: Stage) -> Option<&'static str> {
    let (listed, word) = match (stage, fault) {
        (Stage::Connecting, Fault::ConnectTimeout) => (policy.timeout_connect, "timeout-connect"),
        (Stage::Connecting, _) => (policy.connect_failure, "connect-failure"),
        (Stage::Exchanging, Fault::ConnectionLost) => (policy.reset, "reset"),
        (Stage::Exchanging, Fault::ResponseTimeout) => (policy.timeout, "timeout"),
        (Stage::Exchanging, _) => return None,
    };
    listed.then_some(word)
}

/// Whether an attempt is repeated that failed by nobody's fault: without a pause, and without
/// asking the budget, which is there for services in trouble.
fn repeat_at_once(session: &Session, ctx: &mut RequestCtx, reason: &'static str) -> bool {
    let again = replay::is_possible(session, ctx);
    if again {
        note(ctx, reason, Duration::ZERO);
    }
    again
}

/// Whether an attempt is repeated, not before `wait` is over. Asks the budget last: what is not
/// repeated for another reason costs it nothing.
fn repeat(
    session: &Session,
    ctx: &mut RequestCtx,
    reason: &'static str,
    wait: Duration,
    now: Moment,
) -> bool {
    let Some(route) = &ctx.route else { return false };
    if ctx.attempts > route.retry.retries || !replay::is_possible(session, ctx) {
        return false;
    }
    let pause = pause(ctx.attempts, fastrand::f64()).max(wait);
    if pause >= ctx.deadline.left(now.tick) {
        return false;
    }
    if !ctx.version().is_some_and(|version| version.pool.service().budget.try_retry(now)) {
        route.meters.retry_refused();
        return false;
    }
    note(ctx, reason, pause);
    true
}

fn note(ctx: &mut RequestCtx, reason: &'static str, pause: Duration) {
    if let Some(route) = &ctx.route {
        route.meters.retried(reason);
    }
    ctx.pause = pause;
    ctx.retry_reason = Some(reason);
}

/// The pause after that many attempts: a random part of a span that doubles ("full jitter"), so
/// that requests which failed together do not come back together. `entropy` is in `0..1`.
fn pause(attempts: u32, entropy: f64) -> Duration {
    let doubled = BACK_OFF.saturating_mul(1 << attempts.saturating_sub(1).min(8));
    doubled.min(BACK_OFF_MAX).mul_f64(entropy)
}

/// What `Retry-After` asks for, in seconds or as a date (RFC 9110 section 10.2.3).
fn retry_after(headers: &HeaderMap, now: Moment) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are later than any deadline.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let now = SystemTime::UNIX_EPOCH + Duration::from_millis(now.unix_ms);
    Some(date.duration_since(now).unwrap_or(Duration::ZERO))
}

#[cfg(test)]
mod tests;
