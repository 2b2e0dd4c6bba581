//! The one door out: every answer that the gateway makes itself.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Version, header};
use pingora::Result;
use pingora::http::ResponseHeader;
use pingora_proxy::Session;

use super::RequestCtx;
use crate::cache::CacheStatus;
use crate::edge::X_REQUEST_ID;
use crate::fault::{Fault, Reject, problem_body};
use crate::live::Live;
use crate::shape;

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const KEEP_ALIVE: header::HeaderName = header::HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: header::HeaderName = header::HeaderName::from_static("proxy-connection");
const X_CACHE: header::HeaderName = header::HeaderName::from_static("x-cache");
const CACHE_STATUS: header::HeaderName = header::HeaderName::from_static("cache-status");

/// Longest unread body that is worth reading to keep a connection: a refusal should not cost
/// the client a new connection, nor us a large upload.
const DRAIN_BYTES_MAX: u64 = 64 * 1024;

/// Sends the refusal in the context, unless an answer has begun or nobody is there to read it.
pub(super) async fn send(live: &Live, session: &mut Session, ctx: &mut RequestCtx) {
    let Some(reject) = ctx.refusal.clone() else { return };
    if reject.fault == Fault::ClientGone || session.response_written().is_some() {
        return;
    }
    if shape::has_body(&session.req_header().headers) {
        read_rest(session).await;
    }
    // A write that fails means that the client has gone: there is nobody left to tell.
    if let Err(error) = write(live, session, ctx, &reject).await {
        tracing::debug!(%error, "a refusal could not be sent");
    }
}

async fn write(
    live: &Live,
    session: &mut Session,
    ctx: &RequestCtx,
    reject: &Reject,
) -> Result<()> {
    let id = ctx.request_id.as_ref().map_or("", |id| id.as_str());
    let body = problem_body(reject, id);
    let mut response = ResponseHeader::build(reject.fault.status(), Some(16))?;
    response.insert_header(header::CONTENT_TYPE, PROBLEM_JSON)?;
    response.insert_header(header::CONTENT_LENGTH, HeaderValue::from(body.len()))?;
    response.insert_header(header::CACHE_CONTROL, NO_STORE)?;
    for (name, value) in &reject.headers {
        response.insert_header(name.clone(), value.clone())?;
    }
    if let Some(seconds) = reject.retry_after_seconds() {
        response.insert_header(header::RETRY_AFTER, HeaderValue::from(seconds))?;
    }
    decorate(live, session, &mut response, ctx);
    let bodiless = session.req_header().method == Method::HEAD;
    session.write_response_header(Box::new(response), bodiless).await?;
    if !bodiless {
        session.write_response_body(Some(Bytes::from(body)), true).await?;
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
    if let Some(id) = ctx.request_id_header() {
        headers.insert(X_REQUEST_ID, id);
    }
    if let Some(outcome) = &ctx.limited {
        headers.reserve(LIMIT_HEADERS);
        outcome.write_headers(|name, value| {
            headers.insert(name, value);
        });
    }
    if let Some(status) = ctx.cache_status {
        cache_headers(session, headers, status);
    }
    *response = ResponseHeader::from(parts);
}

fn cache_headers(session: &Session, headers: &mut HeaderMap, status: CacheStatus) {
    headers.insert(X_CACHE, HeaderValue::from_static(status.as_str()));
    headers.append(CACHE_STATUS, HeaderValue::from_static(status.header()));
    if matches!(status, CacheStatus::Hit | CacheStatus::Stale)
        && let Some(meta) = session.cache.maybe_cache_meta()
    {
        headers.insert(header::AGE, HeaderValue::from(meta.age().as_secs()));
    }
}

/// Headers that tell a client its limits, at most.
const LIMIT_HEADERS: usize = 5;

/// Reads and forgets what is left of a short body, so that the connection can go on; gives the
/// connection up where that is long, or will not come at all (`Expect: 100-continue`).
async fn read_rest(session: &mut Session) {
    let headers = &session.req_header().headers;
    let short = !headers.contains_key(header::EXPECT)
        && shape::content_length(headers).is_some_and(|length| length <= DRAIN_BYTES_MAX);
    if !short || session.as_downstream_mut().drain_request_body().await.is_err() {
        session.set_keepalive(None);
    }
}
