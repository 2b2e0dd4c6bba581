//! The one door out: every answer that the gateway makes itself.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode, Version, header};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora_proxy::Session;

use super::{RequestCtx, caching, grpc};
use crate::action::{Answer, Upgrade};
use crate::clock;
use crate::edge::X_REQUEST_ID;
use crate::fault::{Fault, Reject, problem_body};
use crate::live::Live;
use crate::shape;
use crate::telemetry::{InFlight, Phase};
use crate::wire::Other;

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// Beside what the service says of its own time (W3C, Server Timing).
const SERVER_TIMING: header::HeaderName = header::HeaderName::from_static("server-timing");
const KEEP_ALIVE: header::HeaderName = header::HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: header::HeaderName = header::HeaderName::from_static("proxy-connection");

/// Longest unread body that is worth reading to keep a connection: a refusal should not cost
/// the client a new connection, nor us a large upload.
const DRAIN_BYTES_MAX: u64 = 64 * 1024;

/// Sends the refusal in the context, unless nobody is there to read it. An answer that has begun
/// can only be ended, and only gRPC has words for that.
pub(super) async fn send(live: &Live, session: &mut Session, ctx: &mut RequestCtx) {
    let Some(reject) = ctx.refusal.clone() else { return };
    if reject.fault == Fault::ClientGone {
        return;
    }
    ctx.ledger.enter(Phase::Body, clock::now().tick);
    let spoken = grpc::spoken(&session.req_header().headers);
    ctx.grpc_status = spoken.as_ref().map(|_| grpc::status(reject.fault));
    let begun = |response: &ResponseHeader| !response.status.is_informational();
    if session.response_written().is_some_and(begun) || session.was_upgraded() {
        grpc::end(session, &reject).await;
        if session.was_upgraded() {
            // Pingora just drops it. What the service said last is on its way.
            session.as_downstream_mut().shutdown().await;
        }
        return;
    }
    if ctx.violation().is_some() {
        // Nothing that follows has a meaning: there is no rest of a body, nor a next request.
        session.set_keepalive(None);
    } else {
        settle_body(session).await;
    }
    let id = ctx.request_id.as_ref().map_or("", |id| id.as_str());
    let answer = match spoken {
        Some(content_type) => grpc::render(&reject, content_type),
        None => problem(&reject, id),
    };
    let answer = complete(answer, &reject);
    // A write that fails means that the client has gone: there is nobody left to tell.
    if let Err(error) = write(live, session, ctx, answer).await {
        tracing::debug!(%error, "a refusal could not be sent");
    }
}

/// A refusal as problem details.
fn problem(reject: &Reject, request_id: &str) -> Answer {
    let status = StatusCode::from_u16(reject.fault.status());
    let mut headers = HeaderMap::with_capacity(16);
    headers.insert(header::CONTENT_TYPE, PROBLEM_JSON);
    Answer {
        status: status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR),
        headers,
        body: Bytes::from(problem_body(reject, request_id)),
    }
}

/// Adds what every refusal carries, in whatever words.
fn complete(mut answer: Answer, reject: &Reject) -> Answer {
    answer.headers.insert(header::CACHE_CONTROL, NO_STORE);
    for (name, value) in &reject.headers {
        answer.headers.insert(name.clone(), value.clone());
    }
    if let Some(seconds) = reject.retry_after_seconds() {
        answer.headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    answer
}

/// Writes an answer of the gateway's own.
pub(super) async fn write(
    live: &Live,
    session: &mut Session,
    ctx: &RequestCtx,
    answer: Answer,
) -> Result<()> {
    let Answer { status, headers, body } = answer;
    // Taken as they are, rather than copied one by one: this is what a flood of refusals pays.
    let (mut parts, ()) = http::Response::new(()).into_parts();
    parts.status = status;
    parts.headers = headers;
    let mut response = ResponseHeader::from(parts);
    // RFC 9110 section 8.6: with 204 there is no length, not even of nothing; what 304 would
    // have sent is not known here.
    if !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        response.insert_header(header::CONTENT_LENGTH, HeaderValue::from(body.len()))?;
    }
    decorate(live, session, &mut response, ctx);
    let bodiless = body.is_empty() || session.req_header().method == Method::HEAD;
    session.write_response_header(Box::new(response), bodiless).await?;
    if !bodiless {
        session.write_response_body(Some(body), true).await?;
    }
    Ok(())
}

/// Removes what concerns only the connection to the service: what its `Connection` names, and
/// what old software sends without naming it (RFC 9110 section 7.6.1). Upgrades keep theirs.
pub(super) fn end_hop(response: &mut ResponseHeader) {
    if response.status == http::StatusCode::SWITCHING_PROTOCOLS {
        return;
    }
    if let Some(connection) = response.headers.get(header::CONNECTION).cloned() {
        let named = connection.to_str().unwrap_or_default().split(',').map(str::trim);
        for name in named.filter(|name| !is_framing(name)) {
            response.remove_header(name);
        }
    }
    for name in [&KEEP_ALIVE, &PROXY_CONNECTION] {
        if response.headers.contains_key(name) {
            response.remove_header(name);
        }
    }
}

/// Fields that a service must not be able to remove by naming them: they frame the answer.
fn is_framing(name: &str) -> bool {
    ["", "close", "keep-alive", "content-length", "transfer-encoding", "connection"]
        .iter()
        .any(|framing| name.eq_ignore_ascii_case(framing))
}

/// The header of an answer of a service or of the cache goes to the client, an interim one (1xx)
/// as it is.
pub(super) fn pass_on(
    live: &Live,
    session: &mut Session,
    response: &mut ResponseHeader,
    ctx: &mut RequestCtx,
) {
    let switches = response.status == StatusCode::SWITCHING_PROTOCOLS;
    if let Some(watched) = ctx.watched.as_ref().filter(|_| switches) {
        let websocket = ctx.upgrade.as_ref().is_some_and(Upgrade::is_websocket);
        watched.tunnel(if websocket { Other::WebSocket } else { Other::Unknown });
        ctx.tunnel = Some(InFlight::enter(&live.metrics.tunnels));
    }
    if response.status.is_informational() && !switches {
        return;
    }
    if ctx.interim > 0 && !switches {
        // Pingora gives a connection up when it tells a client to go on with its body.
        session.set_keepalive(ctx.keepalive_s);
    }
    if ctx.multiplexed {
        grpc::note(ctx, &response.headers);
    }
    caching::note(session, ctx);
    decorate(live, session, response, ctx);
}

/// What every answer carries, whoever made it.
///
/// Works on the plain header map, as `decide::Outbound` does and for the same reason.
pub(super) fn decorate(
    live: &Live,
    session: &mut Session,
    response: &mut ResponseHeader,
    ctx: &RequestCtx,
) {
    if live.is_draining() {
        session.set_keepalive(None);
    }
    let nothing = ResponseHeader::from(http::Response::new(()).into_parts().0);
    let mut parts = http::response::Parts::from(std::mem::replace(response, nothing));
    // A gateway names the version that it speaks, not the service's (RFC 9110 section 2.5).
    if parts.version < Version::HTTP_11 {
        parts.version = Version::HTTP_11;
    }
    let headers = &mut parts.headers;
    // Once for all: each growth puts every header in its place anew.
    headers.reserve(if ctx.limited.is_some() { 1 + LIMIT_HEADERS } else { 1 });
    if let Some(id) = ctx.request_id_header() {
        headers.insert(X_REQUEST_ID, id);
    }
    if let Some(outcome) = &ctx.limited {
        outcome.write_headers(|name, value| {
            headers.insert(name, value);
        });
    }
    caching::decorate(session, ctx, parts.status, headers);
    if ctx.sees_timing()
        && let Some(phases) = ctx.ledger.server_timing()
    {
        headers.append(SERVER_TIMING, phases);
    }
    let old = session.req_header().version < Version::HTTP_11;
    if old && headers.remove(header::TRANSFER_ENCODING).is_some() {
        // HTTP/1.0 knows no chunks: the end of the connection is the end of the answer.
        session.set_keepalive(None);
    }
    *response = ResponseHeader::from(parts);
}

/// Headers that tell a client its limits, at most.
const LIMIT_HEADERS: usize = 5;

/// Reads and forgets what is left of a short body, so that the connection can go on; gives the
/// connection up where that is long, or will not come at all (`Expect: 100-continue`).
pub(super) async fn settle_body(session: &mut Session) {
    let headers = &session.req_header().headers;
    if !shape::has_body(headers) {
        return;
    }
    let short = !headers.contains_key(header::EXPECT)
        && shape::content_length(headers).is_some_and(|length| length <= DRAIN_BYTES_MAX);
    if !short || session.as_downstream_mut().drain_request_body().await.is_err() {
        session.set_keepalive(None);
    }
}
