//! Attempts: which endpoint is next, and whether a failed attempt may be repeated.

use std::time::Duration;

use pingora::http::ResponseHeader;
use pingora::prelude::HttpPeer;
use pingora::{Error, ErrorType, Result, RetryType};
use pingora_proxy::Session;

use super::{RequestCtx, translate};
use crate::clock::{self, Moment};
use crate::fault::{Fault, Reject};
use crate::snapshot::RetryPolicy;
use crate::upstream;

/// Longest first pause before an attempt is repeated; doubles with each attempt (R131).
const BACK_OFF: Duration = Duration::from_millis(25);

/// How far an attempt had come when it failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// No connection; nothing was sent.
    Connecting,
    /// Something may have been sent.
    Exchanging,
}

/// Pauses before a repeated attempt: a random part of a doubling span, never beyond the
/// route's timeout.
pub(super) async fn back_off(ctx: &RequestCtx) {
    if ctx.attempts == 0 {
        return;
    }
    let longest = BACK_OFF * (1 << ctx.attempts.min(4));
    let pause = longest.mul_f64(fastrand::f64()).min(remaining(ctx, clock::now()));
    tokio::time::sleep(pause).await;
}

/// The peer of the next attempt.
pub(super) fn next_peer(ctx: &mut RequestCtx, now: Moment) -> Result<Box<HttpPeer>, Reject> {
    let left = remaining(ctx, now);
    if left.is_zero() {
        return Err(Fault::ResponseTimeout.into());
    }
    let first = ctx.attempts == 0;
    let version = ctx.version().ok_or_else(|| Reject::new(Fault::Internal))?;
    let Some((index, endpoint)) = upstream::choose(version, ctx.tried, now) else {
        let wait = Duration::from_secs(1);
        return Err(Reject::new(Fault::NoEndpoint).with_retry_after(wait));
    };
    let mut peer = Box::new(endpoint.peer.clone());
    let options = &mut peer.options;
    // Reading the answer begins with sending the request, so this bounds a service that does not
    // take the request too; a deadline for writing besides would only cost.
    options.read_timeout = Some(left);
    if !first || options.total_connection_timeout.is_none_or(|limit| limit > left) {
        options.total_connection_timeout = options.total_connection_timeout.map(|t| t.min(left));
        options.connection_timeout = options.connection_timeout.map(|t| t.min(left));
    }
    ctx.count_pick();
    ctx.endpoint = Some(index);
    ctx.tried.insert(index);
    ctx.attempts += 1;
    Ok(peer)
}

/// Decides whether a failed attempt is repeated, and counts the failure.
#[expect(clippy::unnecessary_box_returns, reason = "Pingora's errors are boxed")]
pub(super) fn judge(
    session: &Session,
    ctx: &RequestCtx,
    mut e: Box<Error>,
    stage: Stage,
    client_reused: bool,
) -> Box<Error> {
    let fault = ctx.fault().unwrap_or_else(|| translate::reject(&e));
    let Some(route) = &ctx.route else {
        e.set_retry(false);
        return e;
    };
    // A pooled connection that the service had just closed: nobody's failure, and the one case
    // that is repeated beyond the route's own retries.
    let was_stale = client_reused && e.retry == RetryType::ReusedOnly;
    // An answer with 503 was an answer: it counts as a retry, below, and not as a failure.
    let answered = matches!(e.etype, ErrorType::HTTPStatus(_));
    if ctx.refusal.is_none() && fault != Fault::ClientGone && !was_stale && !answered {
        route.meters.upstream_failed(fault);
    }
    let reason = match (stage, &e.etype) {
        (Stage::Connecting, _) => route.retry.connect_failure.then_some("connect-failure"),
        (_, ErrorType::HTTPStatus(503)) => Some("503"),
        _ if fault == Fault::ConnectionLost => route.retry.reset.then_some("reset"),
        _ => None,
    };
    let repeatable = is_repeatable(session) && ctx.fault().is_none();
    let within = ctx.attempts <= route.retry.retries;
    let again =
        repeatable && ((was_stale && ctx.attempts <= MAX_STALE) || (within && reason.is_some()));
    if again {
        route.meters.retried(if was_stale { "stale-connection" } else { reason.unwrap_or("") });
    }
    e.set_retry(again);
    e
}

/// Attempts that stale pooled connections may cost before one is taken for a real failure.
const MAX_STALE: u32 = 3;

/// Turns an answer that the route wants repeated into the error that repeats it; the answer to
/// the last attempt reaches the client as it is.
pub(super) fn judge_status(
    session: &Session,
    response: &ResponseHeader,
    ctx: &RequestCtx,
) -> Result<()> {
    let Some(route) = &ctx.route else { return Ok(()) };
    let wanted = route.retry.status_503 && response.status == 503;
    if !wanted || ctx.attempts > route.retry.retries || !is_repeatable(session) {
        return Ok(());
    }
    let mut e = Error::new_up(ErrorType::HTTPStatus(503));
    e.set_retry(true);
    Err(e)
}

/// Whether a request can be sent again: an idempotent method, a body that is still at hand,
/// and no answer begun.
fn is_repeatable(session: &Session) -> bool {
    RetryPolicy::is_idempotent(&session.req_header().method)
        && !session.as_ref().retry_buffer_truncated()
        && session.response_written().is_none()
}

/// What is left of the route's timeout.
fn remaining(ctx: &RequestCtx, now: Moment) -> Duration {
    let timeout = ctx.route.as_ref().map_or(Duration::ZERO, |route| route.timeout);
    timeout.saturating_sub(now.tick.since(ctx.began.tick))
}
