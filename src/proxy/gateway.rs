//! The data plane, in the order Pingora calls it.
//!
//! Each method borrows what its phase needs, asks one module, and keeps the answer in
//! [`RequestCtx`]. There is no logic here worth testing: this is the table of contents.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{HeaderMap, StatusCode};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::prelude::HttpPeer;
use pingora::protocols::Digest;
use pingora::{Error, Result};
use pingora_cache::key::HashBinary;
use pingora_cache::storage::HitHandler;
use pingora_cache::{CacheKey, CacheMeta, ForcedFreshness, RespCacheable};
use pingora_proxy::{FailToProxy, ProxyHttp, RangeType, Session};

use super::retry::{self, Stage};
use super::{
    RequestCtx, admit, answer, caching, client, compress, costs, digest, digested, finish, gate,
    grpc, hedge, local, own, purge, ranges, reply, stream, translate, upgrade,
};
use crate::cache;
use crate::clock;
use crate::fault::Fault;
use crate::live::Live;

/// The gateway as Pingora runs it.
pub struct Gateway {
    live: Arc<Live>,
}

impl Gateway {
    /// A data plane over the state of a process.
    #[must_use]
    pub const fn new(live: Arc<Live>) -> Self {
        Self { live }
    }
}

#[async_trait]
impl ProxyHttp for Gateway {
    /// Boxed, because Pingora moves it through several futures by value.
    type CTX = Box<RequestCtx>;

    /// Pins one snapshot and one reading of the clock.
    fn new_ctx(&self) -> Box<RequestCtx> {
        Box::new(RequestCtx::begin(&self.live, clock::now()))
    }

    /// Answers are compressed before the cache, so no module runs.
    fn init_downstream_modules(&self, _: &mut pingora::modules::http::HttpModules) {}

    /// Deadlines and identity of the request itself, before anything can be refused.
    async fn early_request_filter(
        &self,
        session: &mut Session,
        ctx: &mut Box<RequestCtx>,
    ) -> Result<()> {
        if own::begin(session, ctx)? {
            return Ok(());
        }
        admit::receive(&self.live, session, ctx);
        client::join_cookies(session)
    }

    fn allow_spawning_subrequest(&self, _: &Session, ctx: &Box<RequestCtx>) -> bool {
        (ctx.snapshot.hedges || ctx.snapshot.kept.is_some()) && !ctx.is_own()
    }

    /// Route, shape, identity, authorisation, limits: `admit` reads top to bottom.
    async fn request_filter(
        &self,
        session: &mut Session,
        ctx: &mut Box<RequestCtx>,
    ) -> Result<bool> {
        if ctx.is_own() {
            return Ok(false);
        }
        let admitted = match admit::admit(&self.live, session, ctx).await {
            Ok(answer) => digested::begin(session, ctx).await?.map(|()| answer),
            refused => refused,
        };
        match admitted {
            Ok(None) if hedge::applies(session, ctx) => {
                hedge::serve(&self.live, session, ctx).await?;
                reply::send(&self.live, session, ctx).await;
                Ok(true)
            }
            Ok(None) => Ok(false),
            Ok(Some(answer)) => {
                local::send(&self.live, session, ctx, answer).await;
                Ok(true)
            }
            Err(reject) => {
                ctx.refusal = Some(reject);
                reply::send(&self.live, session, ctx).await;
                Ok(true)
            }
        }
    }

    fn request_cache_filter(&self, session: &mut Session, ctx: &mut Box<RequestCtx>) -> Result<()> {
        caching::enable(&self.live, session, ctx);
        Ok(())
    }

    fn cache_key_callback(&self, _: &Session, ctx: &mut Box<RequestCtx>) -> Result<CacheKey> {
        match &ctx.cache {
            Some(plan) => Ok(plan.pingora_key()),
            None => Err(ctx.refuse(Fault::Internal.into())),
        }
    }

    async fn cache_hit_filter(
        &self,
        session: &mut Session,
        meta: &CacheMeta,
        hit: &mut HitHandler,
        is_fresh: bool,
        ctx: &mut Box<RequestCtx>,
    ) -> Result<Option<ForcedFreshness>> {
        Ok(caching::found(&self.live, session, meta, hit, is_fresh, ctx))
    }

    /// Runs where nothing kept answers.
    async fn proxy_upstream_filter(
        &self,
        session: &mut Session,
        ctx: &mut Box<RequestCtx>,
    ) -> Result<bool> {
        if let Err(reject) = caching::forward(ctx) {
            ctx.refusal = Some(reject);
            reply::send(&self.live, session, ctx).await;
            return Ok(false);
        }
        Ok(true)
    }

    fn response_cache_filter(
        &self,
        session: &Session,
        response: &ResponseHeader,
        ctx: &mut Box<RequestCtx>,
    ) -> Result<RespCacheable> {
        Ok(caching::admit(session, response, ctx, clock::now()))
    }

    fn range_header_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        _: &mut Box<RequestCtx>,
    ) -> RangeType {
        ranges::cut(session.req_header(), response)
    }

    /// A kept answer, too old, instead of a failure.
    fn should_serve_stale(
        &self,
        session: &mut Session,
        ctx: &mut Box<RequestCtx>,
        error: Option<&Error>,
    ) -> bool {
        caching::may_use_stale(session, ctx, error, clock::now())
    }

    fn cache_vary_filter(
        &self,
        meta: &CacheMeta,
        ctx: &mut Box<RequestCtx>,
        request: &RequestHeader,
    ) -> Option<HashBinary> {
        cache::variance(meta, request, compress::variant(ctx, request))
    }

    /// Runs once per attempt.
    async fn upstream_peer(
        &self,
        _: &mut Session,
        ctx: &mut Box<RequestCtx>,
    ) -> Result<Box<HttpPeer>> {
        retry::back_off(ctx).await;
        let peer = match gate::enter(ctx).await {
            Ok(()) => retry::next_peer(ctx, clock::now()),
            Err(reject) => Err(reject),
        };
        let peer = peer.map_err(|reject| ctx.refuse(reject));
        if let Some(leg) = &ctx.leg {
            leg.tell(ctx);
        }
        peer
    }

    async fn connected_to_upstream(
        &self,
        _: &mut Session,
        reused: bool,
        _: &HttpPeer,
        _: std::os::unix::io::RawFd,
        _: Option<&Digest>,
        ctx: &mut Box<RequestCtx>,
    ) -> Result<()> {
        retry::connected(ctx, reused, clock::now());
        Ok(())
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        ctx: &mut Box<RequestCtx>,
    ) -> Result<()> {
        caching::ask(&self.live, ctx);
        compress::ask(session, upstream, ctx)?;
        admit::prepare(upstream, ctx)?;
        retry::send(ctx).await;
        Ok(())
    }

    /// A length that lies is caught here; an honest one was refused in `admit`.
    async fn request_body_filter(
        &self,
        session: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Box<RequestCtx>,
    ) -> Result<()> {
        let bytes = body.as_ref().map_or(0, Bytes::len);
        if bytes > 0 {
            admit::count_body(bytes, session.was_upgraded(), ctx, clock::now().tick)?;
            client::keep_pace(session, ctx)?;
        }
        if ctx.signed_body.is_some() && !session.was_upgraded() {
            digest::pass(body, end, ctx)?;
        }
        Ok(())
    }

    /// Sees the service's answer before the cache does, 1xx included.
    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Box<RequestCtx>,
    ) -> Result<()> {
        answer::check(session, response, ctx)?;
        let switches = response.status == StatusCode::SWITCHING_PROTOCOLS;
        if response.status.is_informational() && !switches {
            return Ok(());
        }
        if switches {
            upgrade::accept(ctx, session, response)?;
        }
        answer::drill(response, ctx)?;
        let now = clock::now();
        stream::answered(ctx, response.status, now)?;
        finish::answered(ctx, response.status.as_u16(), now);
        reply::end_hop(response);
        retry::judge_status(session, response, ctx, now)?;
        costs::settle(&self.live, ctx, &response.headers, now);
        purge::invalidate(&self.live, session, ctx, response, now);
        if let Some(attempt) = &ctx.endpoint {
            attempt.is_last(now);
        }
        if let Some(errand) = &ctx.errand {
            errand.answered(response);
        }
        compress::begin(session, response, ctx)?;
        caching::answered(response, ctx);
        Ok(())
    }

    /// Each piece of an answer, as it comes from the service.
    fn upstream_response_body_filter(
        &self,
        _: &mut Session,
        body: &mut Option<Bytes>,
        end: bool,
        ctx: &mut Box<RequestCtx>,
    ) -> Result<Option<Duration>> {
        if let (Some(errand), Some(body)) = (&ctx.errand, body.as_ref()) {
            errand.piece(body);
        }
        if stream::counts_pieces(ctx) {
            stream::piece(ctx, clock::now())?;
        }
        compress::piece(ctx, body, end)?;
        Ok(None)
    }

    fn upstream_response_trailer_filter(
        &self,
        session: &mut Session,
        _: &mut HeaderMap,
        ctx: &mut Box<RequestCtx>,
    ) -> Result<()> {
        compress::trailers(session, ctx)
    }

    async fn response_trailer_filter(
        &self,
        _: &mut Session,
        trailers: &mut HeaderMap,
        ctx: &mut Box<RequestCtx>,
    ) -> Result<Option<Bytes>> {
        grpc::note(ctx, trailers);
        Ok(compress::instead_of_trailers(ctx))
    }

    /// Runs for answers of services and of the cache; our own go through `reply`, which calls
    /// the same `decorate`.
    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        ctx: &mut Box<RequestCtx>,
    ) -> Result<()> {
        if let Some(leg) = &ctx.leg {
            leg.tell(ctx); // Its request decorates the answer.
        }
        if ctx.is_own() {
            return Ok(());
        }
        reply::pass_on(&self.live, session, response, ctx);
        Ok(())
    }

    fn fail_to_connect(
        &self,
        session: &mut Session,
        _: &HttpPeer,
        ctx: &mut Box<RequestCtx>,
        e: Box<Error>,
    ) -> Box<Error> {
        retry::judge(session, ctx, e, (Stage::Connecting, false), clock::now())
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        e: Box<Error>,
        ctx: &mut Box<RequestCtx>,
        client_reused: bool,
    ) -> Box<Error> {
        let e = stream::explain(ctx, session, e);
        retry::judge(session, ctx, e, (Stage::Exchanging, client_reused), clock::now())
    }

    /// The one door out for failures.
    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        e: &Error,
        ctx: &mut Box<RequestCtx>,
    ) -> FailToProxy {
        let reject = ctx.refusal.take().or_else(|| client::ended_by_guard(ctx));
        let reject = reject.unwrap_or_else(|| translate::reject(e).into());
        let fault = reject.fault;
        ctx.refusal = Some(reject);
        if let Some(leg) = &ctx.leg {
            leg.tell(ctx);
        } else if ctx.errand.is_none() {
            reply::send(&self.live, session, ctx).await;
        }
        FailToProxy { error_code: fault.status(), can_reuse_downstream: fault.is_routine() }
    }

    /// What Pingora says of a request in its own log lines: without the query, which may hold an
    /// API key.
    fn request_summary(&self, session: &Session, _: &Box<RequestCtx>) -> String {
        let header = session.req_header();
        format!("{} {}", header.method, header.uri.path())
    }

    /// `finish` says what is logged.
    fn suppress_error_log(&self, _: &Session, ctx: &Box<RequestCtx>, e: &Error) -> bool {
        finish::failed(ctx, e);
        true
    }

    async fn logging(&self, session: &mut Session, _: Option<&Error>, ctx: &mut Box<RequestCtx>) {
        stream::end(ctx);
        let now = clock::now();
        finish::ended(ctx, now);
        if let Some(errand) = &ctx.errand {
            errand.end(session, ctx);
        }
        if !ctx.is_own() {
            finish::record(&self.live, session, ctx, now);
        }
    }
}
