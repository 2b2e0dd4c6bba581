//! What a request owes to the connection that it came on.

use http::header::{
    CONNECTION, CONTENT_TYPE, COOKIE, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Version};
use once_cell::sync::Lazy;
use pingora::Result;
use pingora_proxy::Session;

use super::{RequestCtx, strict};
use crate::clock;
use crate::edge::NameSet;
use crate::fault::{Fault, Reject};
use crate::shape;
use crate::wire::{Ended, Rules, Watched};

/// How long the rest of a refused body is read before the connection is given up instead.
const DRAIN: std::time::Duration = std::time::Duration::from_secs(1);

/// Leaves the deadlines of HTTP/1 to the connection's guard, and sets those that only a stream
/// of HTTP/2 can have. `last` says that this request is the last of its connection. Gives the
/// setting that keeps the connection.
pub(super) fn set_deadlines(session: &mut Session, rules: &Rules, last: bool) -> Option<u64> {
    // 0 is for ever: the guard knows how long an idle connection stays. Clients that said that
    // they will close, and those of HTTP/1.0 that did not ask otherwise, do not stay.
    let stays = session.get_keepalive().is_some() && !last;
    let keepalive = stays.then_some(0);
    session.set_keepalive(keepalive);
    // Interim answers came with HTTP/1.1 (RFC 9110 section 15.2).
    let old = session.req_header().version < Version::HTTP_11;
    session.set_ignore_info_resp(old);
    // Else Pingora fails a request because the next one came early, or loses the next one.
    session.set_pipelining_enabled(true);
    let http2 = session.as_downstream().is_http2();
    session.set_read_timeout(None);
    // A client may hold back one answer among others; the connection does not show that.
    session.set_write_timeout(http2.then_some(rules.read));
    session.set_total_drain_timeout(Some(DRAIN));
    keepalive
}

/// Tells the guard how long the request is, so that it knows whether anything of the next one has
/// been read along.
pub(super) fn note_extent(session: &Session, watched: &Watched) {
    let Some(http1) = session.as_downstream().as_http1() else { return };
    let headers = &session.req_header().headers;
    let body = if headers.contains_key(TRANSFER_ENCODING) {
        None
    } else {
        Some(shape::content_length(headers).unwrap_or(0))
    };
    watched.serve(http1.get_headers_raw_bytes().len(), body);
}

/// Takes headers out in which a client says who it is: from here on nobody can read them (R108).
pub(super) fn take_out_unproved(session: &mut Session, ctx: &RequestCtx) {
    let is_trusted = || {
        let connection = ctx.connection();
        connection.is_some_and(|connection| {
            let listener = ctx.snapshot.listeners.accepting(Some(connection.local));
            listener.limits.trusted.contains(connection.peer.ip())
        })
    };
    let headers = &session.req_header().headers;
    for name in ctx.snapshot.unproved.found_in(headers, is_trusted) {
        session.req_header_mut().remove_header(&name);
    }
}

/// Headers that concern one connection only (RFC 9110 section 7.6.1): those that Pingora's own
/// policy takes out.
static HOP_BY_HOP: Lazy<NameSet> = Lazy::new(|| {
    let old = ["keep-alive", "proxy-connection", "http2-settings"].map(HeaderName::from_static);
    let known = [
        CONNECTION,
        PROXY_AUTHENTICATE,
        PROXY_AUTHORIZATION,
        TE,
        TRAILER,
        TRANSFER_ENCODING,
        UPGRADE,
    ];
    NameSet::new(known.into_iter().chain(old))
});

/// Whether all headers of a request are for the service: then nothing has to be taken out of its
/// copy, and Pingora need not look for ten names one by one.
pub(super) fn is_end_to_end(headers: &HeaderMap) -> bool {
    !HOP_BY_HOP.is_in(headers)
}

/// Joins the fields into which a client of HTTP/2 may break its cookies up: HTTP/1 services and
/// policies know only one (RFC 9113 section 8.2.3).
pub(super) fn join_cookies(session: &mut Session) -> Result<()> {
    if !session.as_downstream().is_http2() {
        return Ok(());
    }
    if let Some(whole) = joined_cookie(&session.req_header().headers) {
        session.req_header_mut().insert_header(COOKIE, whole)?;
    }
    Ok(())
}

fn joined_cookie(headers: &HeaderMap) -> Option<HeaderValue> {
    let mut crumbs = headers.get_all(COOKIE).iter();
    let first = crumbs.next()?;
    let second = crumbs.next()?;
    let mut whole = first.as_bytes().to_vec();
    for crumb in std::iter::once(second).chain(crumbs) {
        whole.extend_from_slice(b"; ");
        whole.extend_from_slice(crumb.as_bytes());
    }
    // Values that were valid apart are so together.
    let mut whole = HeaderValue::from_bytes(&whole).ok()?;
    whole.set_sensitive(first.is_sensitive());
    Some(whole)
}

/// Why reading a body has failed, where the connection's guard has ended it.
pub(super) fn ended_by_guard(ctx: &RequestCtx) -> Option<Reject> {
    let watched = ctx.watched.as_ref()?;
    match watched.ended()? {
        Ended::Slow => Some(Fault::RequestTimeout.into()),
        Ended::Malformed => watched.violation().map(strict::malformed),
    }
}

/// Refuses an upload over HTTP/2 that comes too slowly. The guard cannot judge it: streams share
/// the connection. Calls of gRPC may be silent for long.
pub(super) fn keep_pace(session: &Session, ctx: &mut RequestCtx) -> Result<()> {
    if !session.as_downstream().is_http2() {
        return Ok(());
    }
    let local = ctx.connection().map(|connection| connection.local);
    let rules = &ctx.snapshot.listeners.accepting(local).rules;
    let took = clock::now().tick.since(ctx.began.tick);
    if took < rules.read || is_fast_enough(ctx.body_bytes, took, rules.min_rate) {
        return Ok(());
    }
    if is_grpc(&session.req_header().headers) {
        return Ok(());
    }
    let mut error = ctx.refuse(Fault::RequestTimeout.into());
    error.as_down();
    Err(error)
}

fn is_fast_enough(bytes: u64, took: std::time::Duration, min_rate: u64) -> bool {
    u128::from(bytes) * 1000 >= u128::from(min_rate) * took.as_millis()
}

fn is_grpc(headers: &HeaderMap) -> bool {
    let kind = headers.get(CONTENT_TYPE).map_or(b"".as_slice(), HeaderValue::as_bytes);
    kind.starts_with(b"application/grpc")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn crumbs_become_one_cookie_in_their_order() {
        let mut headers = HeaderMap::new();
        assert_eq!(joined_cookie(&headers), None);
        headers.append(COOKIE, HeaderValue::from_static("a=1"));
        assert_eq!(joined_cookie(&headers), None);
        headers.append(COOKIE, HeaderValue::from_static("b=2; c=3"));
        headers.append(COOKIE, HeaderValue::from_static("d=4"));
        assert_eq!(joined_cookie(&headers).unwrap(), "a=1; b=2; c=3; d=4");
    }

    #[test]
    fn a_header_for_one_connection_is_noticed() {
        let headers = |name: &'static str| {
            let pair = (HeaderName::from_static(name), HeaderValue::from_static("x"));
            HeaderMap::from_iter([pair, (COOKIE, HeaderValue::from_static("a=1"))])
        };
        for name in ["te", "connection", "keep-alive", "upgrade", "http2-settings"] {
            assert!(!is_end_to_end(&headers(name)), "{name}");
        }
        assert!(is_end_to_end(&headers("accept")));
    }

    #[test]
    fn an_upload_is_fast_enough_at_exactly_the_rate() {
        let took = Duration::from_millis(2500);
        assert!(is_fast_enough(250, took, 100));
        assert!(!is_fast_enough(249, took, 100));
        assert!(is_fast_enough(0, took, 0));
    }
}
