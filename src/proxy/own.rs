//! Exchanges of the gateway's own: subrequests of Pingora's that go through the same phases as any
//! request, but take what was decided about the request that they are made for from it. None is
//! routed, authenticated, limited, logged or counted as a request.
//!
//! There are two kinds: the legs of a hedged request (`hedge`), and errands, which are run in the
//! background for the cache (`errand`).

use std::sync::Arc;

use http::Version;
use http::header::HOST;
use pingora::http::RequestHeader;
use pingora::protocols::http::subrequest::server::SubrequestHandle;
use pingora_proxy::subrequest::Ctx as SubrequestCtx;
use pingora_proxy::{PreparedSubrequest, Session};

use super::deadline::Deadline;
use super::errand::Errand;
use super::hedge::Leg;
use super::{RequestCtx, client};
use crate::clock::Moment;
use crate::decide::Outbound;
use crate::edge::{Connection, Identity, RequestId, TraceContext};
use crate::snapshot::{Route, Snapshot};
use crate::upstream::Bucket;
use crate::wire::Watched;

/// What was decided about a request.
pub(super) struct Facts {
    snapshot: Arc<Snapshot>,
    watched: Option<Arc<Watched>>,
    began: Moment,
    request_id: Option<RequestId>,
    trace: Option<TraceContext>,
    route: Option<Arc<Route>>,
    identity: Option<Arc<Identity>>,
    outbound: Option<Outbound>,
    bucket: Option<Bucket>,
    deadline: Deadline,
    hash: u64,
}

impl Facts {
    /// What was decided about this request.
    pub(super) fn of(ctx: &RequestCtx) -> Self {
        Self {
            snapshot: Arc::clone(&ctx.snapshot),
            watched: ctx.watched.clone(),
            began: ctx.began,
            request_id: ctx.request_id.clone(),
            trace: ctx.trace.clone(),
            route: ctx.route.clone(),
            identity: ctx.identity.clone(),
            outbound: ctx.outbound.clone(),
            bucket: ctx.bucket.clone(),
            deadline: ctx.deadline,
            hash: ctx.hash,
        }
    }

    /// The connection that the request came on.
    pub(super) fn connection(&self) -> Option<&Connection> {
        self.watched.as_ref().map(|watched| &watched.connection)
    }

    /// Has another exchange take it over.
    pub(super) fn give(&self, ctx: &mut RequestCtx) {
        ctx.snapshot = Arc::clone(&self.snapshot);
        ctx.watched.clone_from(&self.watched);
        ctx.began = self.began;
        ctx.request_id.clone_from(&self.request_id);
        ctx.trace.clone_from(&self.trace);
        ctx.route.clone_from(&self.route);
        ctx.identity.clone_from(&self.identity);
        ctx.outbound.clone_from(&self.outbound);
        ctx.bucket.clone_from(&self.bucket);
        ctx.deadline = self.deadline;
        ctx.hash = self.hash;
        // Several exchanges for one connection: none of them may end it by its own deadline.
        ctx.multiplexed = true;
    }
}

/// Creates an exchange of the gateway's own, for the request of a session; none where Pingora gave
/// that no means for it.
///
/// Pingora writes the request's header down as HTTP/1 and reads it again, where the words of HTTP/2
/// make no sense: the version is another, and the host is a field.
pub(super) fn create(
    session: &mut Session,
    sub: SubrequestCtx,
) -> Option<(PreparedSubrequest, SubrequestHandle)> {
    session.subrequest_spawner.as_ref()?;
    let header = session.req_header_mut();
    let original = (header.version == Version::HTTP_2).then(|| header.clone());
    if let Some(original) = &original {
        header.set_version(Version::HTTP_11);
        let authority = original.uri.authority().filter(|_| !has_host(original));
        if let Some(authority) = authority {
            // A name that is no value is no host either: the request was refused before.
            let _ = header.insert_header(HOST, authority.as_str());
        }
    }
    let spawner = session.subrequest_spawner.as_ref();
    let created = spawner.map(|spawner| spawner.create_subrequest(session.as_downstream(), sub));
    if let Some(original) = original {
        *session.req_header_mut() = original;
    }
    created
}

fn has_host(header: &RequestHeader) -> bool {
    header.headers.contains_key(HOST)
}

/// Begins an exchange of the gateway's own; false for a request of a client's.
pub(super) fn begin(session: &mut Session, ctx: &mut RequestCtx) -> pingora::Result<bool> {
    let kind = session.subrequest_ctx.as_ref().and_then(|sub| sub.user_ctx());
    let Some(kind) = kind else { return Ok(false) };
    if let Some(leg) = kind.downcast_ref::<Arc<Leg>>() {
        leg.begin(ctx);
        client::take_out_unproved(session, ctx);
        return Ok(true);
    }
    let Some(errand) = kind.downcast_ref::<Arc<Errand>>().map(Arc::clone) else {
        return Ok(false);
    };
    errand.begin(session, ctx)?;
    Ok(true)
}
