//! Connections that become something else than HTTP.
//!
//! Pingora passes a WebSocket handshake on by itself. Here nothing is passed that the route does
//! not list: the header of an attempt begins without `Upgrade`, and gets it back where both sides
//! are to switch.

use http::header;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::upstreams::peer::{H1UpgradePolicy, HttpPeer};
use pingora::{Error, ErrorType, Result};
use pingora_proxy::Session;

use super::RequestCtx;
use crate::wire::RequestFirst;

/// The client's silence in a tunnel is nobody's business but the service's.
const NO_LIMIT: Option<std::time::Duration> = None;

/// Notes the protocol that a request asks for, where its route passes it on.
pub(super) fn note(ctx: &mut RequestCtx, header: &RequestHeader) {
    let Some(forward) = ctx.route.as_ref().and_then(|route| route.forward()) else { return };
    if !forward.upgrades.is_empty() {
        let wanted = forward.upgrades.wanted(&header.method, header.version, &header.headers);
        if let Some(wanted) = wanted.cloned() {
            ctx.upgrade = Some(wanted);
            // A connection is nothing to keep.
            ctx.cache = None;
        }
    }
}

/// Settings of an attempt: Pingora passes no upgrade on by itself, and only HTTP/1.1 has any.
pub(super) fn prepare(ctx: &RequestCtx, peer: &mut HttpPeer) {
    peer.options.http_upstream_request_policy.h1_upgrade = H1UpgradePolicy::Deny;
    if ctx.upgrade.is_some() {
        peer.options.set_http_version(1, 1);
        RequestFirst::prepare(peer);
    }
}

/// Asks the service for the protocol.
pub(super) fn ask(ctx: &RequestCtx, upstream: &mut RequestHeader) -> Result<()> {
    if let Some(upgrade) = &ctx.upgrade {
        upstream.insert_header(header::CONNECTION, "Upgrade")?;
        upstream.insert_header(header::UPGRADE, upgrade.value().clone())?;
    }
    Ok(())
}

/// Judges an answer with 101: it must be what was asked for. A service that switches unasked
/// would have the gateway read what follows as HTTP, or the client as something else.
pub(super) fn accept(
    ctx: &RequestCtx,
    session: &mut Session,
    response: &ResponseHeader,
) -> Result<()> {
    if !ctx.upgrade.as_ref().is_some_and(|upgrade| upgrade.is_agreed(&response.headers)) {
        let mut e = Error::explain(ErrorType::InvalidHTTPHeader, "101 for what was not asked");
        e.as_up();
        e.set_retry(false);
        return Err(e);
    }
    session.set_read_timeout(NO_LIMIT);
    Ok(())
}
