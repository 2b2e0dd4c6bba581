//! Errands: exchanges with a service that the gateway makes in the background for its cache, with
//! what was decided about a request whose client has been answered already.
//!
//! An errand asks for the whole answer, whatever part of it the client wanted, has the route's time
//! from its own beginning on, and does not depend on the client's connection. Where the answer goes
//! is known to the cache, or to who compares it; the copy for the client is thrown away.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, Method, header};
use parking_lot::Mutex;
use pingora::http::ResponseHeader;
use pingora::protocols::http::HttpTask;
use pingora::protocols::http::subrequest::server::SubrequestHandle;
use pingora_cache::CachePhase;
use pingora_proxy::subrequest::{BodyMode, Ctx as SubrequestCtx};
use pingora_proxy::{PreparedSubrequest, Session};

use super::deadline::Deadline;
use super::own::Facts;
use super::{RequestCtx, client, own};
use crate::cache::{self, CachePlan, Print, Printer};
use crate::clock;
use crate::edge::Connection;

/// What an errand is for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// To renew the entry under this key.
    Renew(CachePlan),
    /// To see what the service answers to this caller, without the cache; of longer contents than
    /// that nothing is said.
    Compare { body_bytes_max: u64 },
}

/// An exchange in the background.
pub(super) struct Errand {
    facts: Facts,
    purpose: Purpose,
    /// The body of a QUERY.
    body: Option<Bytes>,
    /// Only the errand and who waits for its end meet this lock.
    told: Mutex<Told>,
}

/// What an errand tells.
#[derive(Default)]
struct Told {
    status: Option<u16>,
    printer: Option<Printer>,
    /// What the cache did; none where the errand has failed or did not end.
    phase: Option<CachePhase>,
}

/// An errand that can be run.
pub(super) struct Prepared {
    errand: Arc<Errand>,
    exchange: PreparedSubrequest,
    handle: SubrequestHandle,
    limit: Duration,
}

/// Prepares an errand with what was decided about a request; none where that has no route, or
/// where Pingora gave it no means for it.
pub(super) fn prepare(
    session: &mut Session,
    ctx: &RequestCtx,
    purpose: Purpose,
) -> Option<Prepared> {
    let limit = ctx.route.as_ref()?.timeout.saturating_add(GRACE);
    let body = ctx.query_body.clone();
    let errand = Arc::new(Errand { facts: Facts::of(ctx), purpose, body, told: Mutex::default() });
    let mode = if errand.body.is_some() { BodyMode::ExpectBody } else { BodyMode::NoBody };
    let user_ctx = Box::new(Arc::clone(&errand));
    let sub = SubrequestCtx::builder().user_ctx(user_ctx).body_mode(mode).build();
    let (exchange, handle) = own::create(session, sub)?;
    Some(Prepared { errand, exchange, handle, limit })
}

impl Prepared {
    /// Runs it to its end, or to the end of its time.
    pub(super) async fn run(self) -> Arc<Errand> {
        let Self { errand, exchange, handle, limit } = self;
        // The sender is held to the end, because Pingora takes its end for a client that has gone.
        let SubrequestHandle { tx, mut rx, .. } = handle;
        let exchange = Box::pin(exchange.run());
        let body = errand.body.clone();
        let all = async {
            if let Some(body) = body {
                // Only fails where the exchange has ended already.
                let _ = tx.send(HttpTask::Body(Some(body), true)).await;
            }
            let drop_copy = async { while rx.recv().await.is_some() {} };
            tokio::join!(exchange, drop_copy);
        };
        if tokio::time::timeout(limit, all).await.is_err() {
            *errand.told.lock() = Told::default();
        }
        errand
    }
}

impl Errand {
    /// Gives an errand what is known of its request.
    pub(super) fn begin(
        self: Arc<Self>,
        session: &mut Session,
        ctx: &mut RequestCtx,
    ) -> pingora::Result<()> {
        self.facts.give(ctx);
        // What was taken out of the request is in the copy that Pingora made.
        client::take_out_unproved(session, ctx);
        // The connection goes on to other requests, whose deadlines are none of its business.
        ctx.watched = None;
        ctx.began = clock::now();
        if let Some(route) = &ctx.route {
            ctx.deadline = Deadline::of(route, &HeaderMap::new(), ctx.began.tick);
        }
        if let Purpose::Renew(plan) = self.purpose {
            ctx.cache = Some(plan);
        }
        let request = session.req_header_mut();
        for name in &NOT_ASKED {
            request.remove_header(name);
        }
        match &self.body {
            Some(body) => {
                request.remove_header(&header::TRANSFER_ENCODING);
                request.insert_header(header::CONTENT_LENGTH, body.len())?;
            }
            None => request.set_method(Method::GET),
        }
        ctx.errand = Some(self);
        Ok(())
    }

    /// The connection that its request came on.
    pub(super) fn connection(&self) -> Option<&Connection> {
        self.facts.connection()
    }

    /// Whether it renews an entry, which is then to be confirmed or replaced, fresh or not.
    pub(super) const fn renews(&self) -> bool {
        matches!(self.purpose, Purpose::Renew(_))
    }

    /// The service has answered with this header, finally.
    pub(super) fn answered(&self, header: &ResponseHeader) {
        let mut told = self.told.lock();
        told.status = Some(header.status.as_u16());
        if let Purpose::Compare { body_bytes_max } = self.purpose {
            told.printer = Some(Printer::new(header, body_bytes_max));
        }
    }

    /// A piece of the content has come.
    pub(super) fn piece(&self, piece: &Bytes) {
        let mut told = self.told.lock();
        if told.printer.as_mut().is_some_and(|printer| !printer.update(piece)) {
            told.printer = None;
        }
    }

    /// It is over.
    pub(super) fn end(&self, session: &Session, ctx: &RequestCtx) {
        let mut told = self.told.lock();
        if ctx.fault().is_some() {
            *told = Told { status: told.status, ..Told::default() };
        } else {
            told.phase = Some(session.cache.phase());
        }
    }

    /// What the service answered to the caller; none where it failed, or said nothing of it.
    pub(super) fn print(&self) -> Option<Print> {
        let mut told = self.told.lock();
        let printer = told.printer.take().filter(|_| told.phase.is_some());
        printer.and_then(Printer::finish)
    }

    /// What became of the entry.
    pub(super) fn renewal(&self) -> Renewal {
        let told = self.told.lock();
        match told.phase {
            Some(CachePhase::Revalidated) => Renewal::Renewed,
            Some(CachePhase::Expired | CachePhase::Miss) => Renewal::Replaced,
            // What this request's answer is not kept for says nothing of the entry.
            Some(CachePhase::RevalidatedNoCache(why) | CachePhase::Disabled(why))
                if cache::lies_with_request(why) =>
            {
                Renewal::Failed
            }
            // Confirmed for the last time, or answered by something that must not be kept.
            Some(CachePhase::RevalidatedNoCache(_)) => Renewal::Dropped,
            Some(CachePhase::Disabled(_)) if told.status.is_some_and(is_answer) => Renewal::Dropped,
            _ => Renewal::Failed,
        }
    }
}

/// What became of an entry that was to be renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Renewal {
    /// The service confirmed it.
    Renewed,
    /// The service gave another answer, which is kept in its place.
    Replaced,
    /// The service gave an answer that must not be kept.
    Dropped,
    /// The service gave no answer; the entry is as it was.
    Failed,
    /// Nothing was begun: as much is under way as may be.
    Skipped,
}

impl Renewal {
    /// The word of the metric.
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Renewed => "renewed",
            Self::Replaced => "replaced",
            Self::Dropped => "dropped",
            Self::Failed => "failed",
            Self::Skipped => "skipped",
        }
    }
}

/// Whether a service that answers so has answered the question, if only by a refusal. Others it is
/// worth to ask again (RFC 9111 section 4.3.3 has a cache go on with what it has).
pub(super) const fn is_answer(status: u16) -> bool {
    status < 500 && !matches!(status, 408 | 425 | 429)
}

/// Fields by which a client asks for less than the whole answer, or not for any.
static NOT_ASKED: [HeaderName; 9] = [
    header::RANGE,
    header::IF_RANGE,
    header::IF_MATCH,
    header::IF_NONE_MATCH,
    header::IF_MODIFIED_SINCE,
    header::IF_UNMODIFIED_SINCE,
    header::CACHE_CONTROL,
    header::PRAGMA,
    header::EXPECT,
];

/// An errand that is still not over this long after its own deadline is ended from outside.
const GRACE: Duration = Duration::from_secs(1);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_and_requests_to_wait_are_no_answers() {
        for (status, expected) in [
            (200, true),
            (404, true),
            (403, true),
            (499, true),
            (408, false),
            (425, false),
            (429, false),
            (500, false),
            (599, false),
        ] {
            assert_eq!(is_answer(status), expected, "{status}");
        }
    }
}
