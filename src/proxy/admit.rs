//! May this request go on? Read it top to bottom.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use http::Version;
use pingora::http::RequestHeader;
use pingora::{Error, Result};
use pingora_proxy::Session;

use super::RequestCtx;
use crate::auth::{self, Denied};
use crate::decide::{self, Outbound};
use crate::edge::{Facts, Identity, RequestId, RequestView, TraceContext};
use crate::fault::{Fault, Hint, Reject};
use crate::live::Live;
use crate::snapshot::Route;

/// How long the rest of a refused body is read before the connection is given up instead.
const DRAIN: std::time::Duration = std::time::Duration::from_secs(1);

/// Sets the connection's deadlines, and gives the request its id and its trace.
pub(super) fn receive(live: &Live, session: &mut Session, ctx: &mut RequestCtx) {
    let listener = ctx.snapshot.listeners.accepting(|| local_address(session));
    // Pingora keeps idle connections for ever, or as long as the client asks, unless told here.
    let keepalive = if live.is_draining() { None } else { Some(listener.keepalive_s) };
    session.set_keepalive(keepalive);
    session.set_read_timeout(Some(listener.read_timeout));
    session.set_write_timeout(Some(listener.read_timeout));
    session.set_total_drain_timeout(Some(DRAIN));
    let headers = &session.req_header().headers;
    ctx.request_id = Some(RequestId::accept_or_mint(headers, fastrand::u128(..)));
    let entropy = (fastrand::u128(..), fastrand::u64(..));
    ctx.trace = Some(TraceContext::continue_or_start(headers, entropy));
}

/// Everything that must hold before a request is served, in the order of cost.
pub(super) async fn admit(
    live: &Live,
    session: &Session,
    ctx: &mut RequestCtx,
) -> Result<(), Reject> {
    let peer = peer_address(session);
    let header = session.req_header();
    check_framing(session, header)?;
    let snapshot = Arc::clone(&ctx.snapshot);
    let listener = snapshot.listeners.accepting(|| local_address(session));
    let (method, uri, headers) = (&header.method, &header.uri, &header.headers);
    let limits = &listener.limits;
    let view = RequestView::read(method, uri, headers, peer, false, limits)?; // 400 414 431
    ctx.client = Some(view.client);
    if header.uri.path() != view.path {
        ctx.path = Some(view.path.as_ref().into());
    }
    let route = decide::find(&snapshot, &view)?; // 404 405
    ctx.route = Some(Arc::clone(route));
    route.shape.check(&view)?; // 400 413 415
    ctx.identity = authenticate(live, ctx, route, &view).await?; // 401 503
    auth::authorize(&route.auth, ctx.identity.as_deref())?; // 403
    let request_id = ctx.request_id.clone();
    let facts = Facts {
        view: &view,
        identity: ctx.identity.as_deref(),
        request_id: request_id.as_ref().map_or("", RequestId::as_str),
        route: &route.name,
    };
    let plan = decide::plan(route, &facts, fastrand::u64(..));
    ctx.outbound = Some(Outbound::of(&view, &header.uri, peer.ip(), route)?);
    ctx.cache = plan.cache;
    ctx.bucket = Some(plan.bucket);
    if !plan.takes.is_empty() {
        let outcome = live.limiter.take(&plan.takes, ctx.began).await;
        let refused = outcome.reject();
        ctx.limited = Some(outcome);
        if let Some(reject) = refused {
            return Err(reject); // 429 503
        }
    }
    Ok(())
}

/// Who the caller is. An unknown key id is worth one look at the identity provider, shared by
/// all requests that ask at once and bounded in rate and time.
async fn authenticate(
    live: &Live,
    ctx: &RequestCtx,
    route: &Route,
    view: &RequestView<'_>,
) -> Result<Option<Arc<Identity>>, Reject> {
    let providers = &ctx.snapshot.providers;
    let verify = || {
        let keys = live.keys.current();
        auth::authenticate(&route.auth, providers, view, &keys, &live.tokens, ctx.began)
    };
    match verify() {
        Err(Denied::UnknownKey(unknown)) if live.keys.refetch(&unknown).await => {
            verify().map_err(Reject::from)
        }
        known => known.map_err(Reject::from),
    }
}

/// Builds the header that the service gets.
pub(super) fn prepare(upstream: &mut RequestHeader, ctx: &RequestCtx) -> Result<()> {
    let (Some(outbound), Some(route), Some(id), Some(trace)) =
        (&ctx.outbound, &ctx.route, &ctx.request_id, &ctx.trace)
    else {
        return Err(Error::new_str("a request reached the upstream phase without a route"));
    };
    outbound.prepare(upstream, route, ctx.identity.as_ref(), id, trace);
    Ok(())
}

/// Counts body bytes; beyond the route's limit the request is refused.
pub(super) fn count_body(bytes: usize, ctx: &mut RequestCtx) -> Result<()> {
    ctx.body_bytes += bytes as u64;
    let refused = match &ctx.route {
        Some(route) if ctx.body_bytes > route.shape.body_bytes_max => route.shape.too_large(),
        _ => return Ok(()),
    };
    let mut error = ctx.refuse(refused);
    error.as_down();
    Err(error)
}

/// Framing that two servers could read differently is refused: `Content-Length` beside
/// `Transfer-Encoding` (RFC 9112 section 6.3; Pingora drops the former before any hook sees
/// it), and so is a request without `Host` (section 3.2).
fn check_framing(session: &Session, header: &RequestHeader) -> Result<(), Reject> {
    if header.version > Version::HTTP_11 {
        return Ok(());
    }
    // An absolute target names a host too, but HTTP/1.1 wants the header all the same.
    if header.version == Version::HTTP_11 && !header.headers.contains_key(http::header::HOST) {
        return Err(Fault::HostInvalid.into());
    }
    // Pingora keeps such a target beside its own, repaired reading of it.
    if !header.raw_path_is_utf8() {
        return Err(malformed("The target holds bytes that are not UTF-8."));
    }
    let lengths = header.headers.get_all(http::header::CONTENT_LENGTH).iter().count();
    let coded = header.headers.contains_key(http::header::TRANSFER_ENCODING);
    if lengths > 1 {
        return Err(malformed("Content-Length is given more than once."));
    }
    if coded && has_raw_content_length(&session.as_downstream().to_h1_raw()) {
        return Err(malformed("Content-Length and Transfer-Encoding exclude each other."));
    }
    Ok(())
}

fn malformed(why: &'static str) -> Reject {
    Reject::new(Fault::MalformedRequest).with_hint(Hint::literal(why))
}

/// Whether the header block as received has a `Content-Length` line.
fn has_raw_content_length(raw: &[u8]) -> bool {
    const NAME: &[u8] = b"content-length";
    raw.split(|byte| *byte == b'\n')
        .filter_map(|line| line.split_at_checked(NAME.len()))
        .any(|(name, rest)| name.eq_ignore_ascii_case(NAME) && rest.starts_with(b":"))
}

fn local_address(session: &Session) -> Option<SocketAddr> {
    session.as_downstream().server_addr().and_then(|address| address.as_inet()).copied()
}

/// The address of the connection; a Unix socket counts as this machine.
fn peer_address(session: &Session) -> SocketAddr {
    session
        .as_downstream()
        .client_addr()
        .and_then(|address| address.as_inet())
        .copied()
        .unwrap_or_else(|| SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_raw_content_length_is_found_whatever_its_case() {
        let raw = b"POST / HTTP/1.1\r\nHost: a\r\nCONTENT-length: 3\r\n\r\n";
        assert!(has_raw_content_length(raw));
        let raw = b"POST /content-length: HTTP/1.1\r\nx-content-length: 3\r\n\r\n";
        assert!(!has_raw_content_length(raw));
    }
}
