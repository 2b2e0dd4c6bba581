//! What the cache does for a request, phase by phase.

use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use pingora::http::ResponseHeader;
use pingora::{Error, ErrorSource, ErrorType};
use pingora_cache::storage::HitHandler;
use pingora_cache::{
    CacheMeta, CacheOptionOverrides, CachePhase, ForcedFreshness, NoCacheReason, RespCacheable,
};
use pingora_proxy::Session;

use super::{RequestCtx, purge, renew, translate, verify};
use crate::cache::{
    self, Admitted, Arrival, CachePlan, CachePolicy, CacheStatus, Forward, Note, Reuse, StatusLine,
    Verdict, Why,
};
use crate::clock::{self, Moment};
use crate::fault::{Fault, Reject};
use crate::live::Live;
use crate::telemetry::Phase;

/// What is noted of the cache on the way.
#[derive(Default)]
pub(super) struct Caching {
    /// The last purge known as the request was sent to the service.
    seen: u64,
    /// Why the service is asked, where the store would have had something.
    forward: Option<Forward>,
    /// Whether a stale answer is used, as it is allowed.
    stale: bool,
    /// Whether that is because the service failed.
    failed: bool,
    /// More about it, for people.
    detail: Option<&'static str>,
    /// The header of a confirmation (304).
    confirmation: Option<Box<HeaderMap>>,
    /// What the service answered with.
    service_status: Option<u16>,
    /// Fields that are not kept, for whoever fetched the answer.
    withheld: Option<Box<HeaderMap>>,
}

impl Caching {
    /// The number of the last purge known as the request was sent to the service.
    pub(super) const fn seen(&self) -> u64 {
        self.seen
    }
}

/// The route's policy and the request's plan, where it uses the cache.
fn used(ctx: &RequestCtx) -> Option<(&CachePolicy, &CachePlan)> {
    Some((ctx.route.as_ref()?.cache.as_ref()?, ctx.cache.as_ref()?))
}

/// Lets Pingora ask the store.
pub(super) fn enable(live: &Live, session: &mut Session, ctx: &mut RequestCtx) {
    let Some((policy, plan)) = used(ctx) else { return };
    if verify::bars(live, ctx) {
        return;
    }
    let backend = live.cache;
    // Who wants nothing but what is kept does not wait for what is not kept yet. A renewal neither
    // waits for requests nor has them wait: the entry answers them.
    let waits = !plan.is_only_if_cached() && ctx.errand.is_none();
    let mut overrides = CacheOptionOverrides::default();
    overrides.wait_timeout = Some(policy.lock_timeout);
    session.cache.enable(
        backend.storage(policy.local),
        None,
        Some(backend.predictor),
        waits.then_some(backend.lock),
        Some(overrides),
    );
    ctx.ledger.enter(Phase::Cache, clock::now().tick);
}

/// What becomes of an entry that was found.
pub(super) fn found(
    live: &Arc<Live>,
    session: &mut Session,
    meta: &CacheMeta,
    hit: &HitHandler,
    is_fresh: bool,
    ctx: &mut RequestCtx,
) -> Option<ForcedFreshness> {
    let (policy, plan) = used(ctx)?;
    let note = cache::note_of(hit).or_else(|| Note::of(meta));
    let verdict = note.map_or(Verdict::Keep, |note| live.cache.purges.judge(note));
    if renew::is_renewal(ctx) {
        let gone = verdict == Verdict::Gone;
        return Some(if gone { ForcedFreshness::ForceMiss } else { ForcedFreshness::ForceExpired });
    }
    let now = clock::now();
    let decision = cache::reuse(policy, plan, meta, verdict, now);
    if matches!(decision, Reuse::Fresh | Reuse::Stale | Reuse::Renew) {
        ctx.ledger.enter(Phase::Body, now.tick);
    }
    if decision == Reuse::Fresh {
        verify::hit(live, session, (meta, note), ctx);
    }
    if decision == Reuse::Renew {
        renew::start(live, session, ctx);
    }
    let caching = &mut ctx.caching;
    match decision {
        Reuse::Fresh => (!is_fresh).then_some(ForcedFreshness::ForceFresh),
        Reuse::Stale | Reuse::Renew => {
            caching.stale = true;
            Some(ForcedFreshness::ForceFresh)
        }
        Reuse::Expired(_) if !is_fresh => {
            caching.forward = Some(Forward::Stale);
            None
        }
        Reuse::Expired(since) => {
            caching.forward = Some(Forward::Stale);
            Some(ForcedFreshness::ForceExpiredServeStale { expired_at: Some(since) })
        }
        Reuse::Confirm(why) => {
            (caching.forward, caching.detail) = match why {
                Why::Request => (Some(Forward::Request), None),
                Why::Purge => (Some(Forward::Stale), Some("purged")),
            };
            Some(ForcedFreshness::ForceExpired)
        }
        Reuse::Gone => {
            caching.forward = Some(Forward::Miss);
            caching.detail = Some("purged");
            Some(ForcedFreshness::ForceMiss)
        }
        Reuse::Refuse => Some(ForcedFreshness::ForceMiss),
    }
}

/// Refuses a request that wants nothing but what is kept, where that does not answer it (RFC 9111
/// section 5.2.1.7).
///
/// # Errors
/// 504.
pub(super) fn forward(ctx: &mut RequestCtx) -> Result<(), Reject> {
    match used(ctx) {
        Some((_, plan)) if plan.is_only_if_cached() && !ctx.is_own() => {
            ctx.cache_status = Some(CacheStatus::Miss);
            ctx.caching.detail = Some("not-kept");
            Err(Fault::NotKept.into())
        }
        _ => Ok(()),
    }
}

/// The service is about to be asked: purges from here on are against its answer.
pub(super) fn ask(live: &Live, ctx: &mut RequestCtx) {
    if ctx.cache.is_some() {
        ctx.caching.seen = live.cache.purges.seen();
    }
}

/// The service has answered.
pub(super) fn answered(response: &ResponseHeader, ctx: &mut RequestCtx) {
    if ctx.cache.is_none() {
        return;
    }
    ctx.caching.service_status = Some(response.status.as_u16());
    if response.status == StatusCode::NOT_MODIFIED {
        ctx.caching.confirmation = Some(Box::new(response.headers.clone()));
    }
}

/// Whether the answer is kept.
pub(super) fn admit(
    session: &Session,
    response: &ResponseHeader,
    ctx: &mut RequestCtx,
    now: Moment,
) -> RespCacheable {
    if let Some(reason) = renew::refuses(ctx, response.status.as_u16()) {
        return RespCacheable::Uncacheable(reason);
    }
    let Some((policy, _)) = used(ctx) else {
        return RespCacheable::Uncacheable(NoCacheReason::NeverEnabled);
    };
    let arrival = Arrival {
        request: session.req_header(),
        response,
        confirmation: ctx.caching.confirmation.as_deref(),
        took: now.tick.since(ctx.sent),
        now,
    };
    match cache::admit_response(policy, arrival) {
        Ok(Admitted { mut meta, withheld }) => {
            let note = match purge::note(session, ctx, policy, meta.headers()) {
                Ok(note) => note,
                Err(why) => return RespCacheable::Uncacheable(NoCacheReason::Custom(why)),
            };
            note.attach(&mut meta);
            let confirmed = ctx.caching.confirmation.as_deref();
            let cookies = confirmed.map(|headers| (headers, header::SET_COOKIE));
            let fields = withheld.into_iter().map(|name| (&response.headers, name)).chain(cookies);
            let mut kept_back = HeaderMap::new();
            for (headers, name) in fields {
                for value in headers.get_all(&name) {
                    kept_back.append(name.clone(), value.clone());
                }
            }
            if !kept_back.is_empty() {
                ctx.caching.withheld = Some(Box::new(kept_back));
            }
            RespCacheable::Cacheable(meta)
        }
        Err(reason) => RespCacheable::Uncacheable(reason),
    }
}

/// Whether a stale answer may stand in for one that the service does not give (RFC 5861 section
/// 4). Within which time was settled when it was kept.
pub(super) fn may_use_stale(
    session: &Session,
    ctx: &mut RequestCtx,
    error: Option<&Error>,
    now: Moment,
) -> bool {
    // Renewals are our own.
    let Some(error) = error else { return false };
    if ctx.caching.forward == Some(Forward::Request) {
        return false;
    }
    // The time is over when it has passed whole, which Pingora counts otherwise.
    let meta = session.cache.maybe_cache_meta();
    let most = meta.map_or(0, |meta| i64::from(meta.stale_if_error_sec()));
    if meta.and_then(ttl).is_none_or(|ttl| -ttl >= most) {
        return false;
    }
    let may = if let ErrorType::HTTPStatus(status) = error.etype()
        && *error.esource() == ErrorSource::Upstream
        && ctx.refusal.is_none()
    {
        super::finish::answered(ctx, *status, now);
        ctx.caching.service_status = Some(*status);
        matches!(status, 500 | 502..=504)
    } else {
        let fault = ctx.fault().unwrap_or_else(|| translate::reject(error));
        matches!(fault.status(), 502..=504)
    };
    if may {
        ctx.caching.stale = true;
        ctx.caching.failed = true;
        ctx.caching.detail = Some("service-failed");
        // It is no refusal: the client gets an answer.
        ctx.refusal = None;
    }
    may
}

/// Notes what the cache did, on routes that have one.
pub(super) fn note(session: &Session, ctx: &mut RequestCtx) {
    if ctx.cache_status.is_none() && ctx.route.as_ref().is_some_and(|r| r.cache.is_some()) {
        let status = CacheStatus::of(&session.cache.phase());
        let stale = ctx.caching.stale && status == CacheStatus::Hit;
        ctx.cache_status = Some(if stale { CacheStatus::Stale } else { status });
    }
}

/// Tells the client what the cache did, and takes out what is for caches only.
pub(super) fn decorate(
    session: &Session,
    ctx: &RequestCtx,
    own_status: StatusCode,
    headers: &mut HeaderMap,
) {
    let Some(status) = ctx.cache_status else { return };
    for name in &cache::STRIPPED {
        headers.remove(name);
    }
    headers.insert(X_CACHE, HeaderValue::from_static(status.as_str()));
    let meta = session.cache.maybe_cache_meta();
    if session.cache.upstream_used() {
        as_fetched(ctx, meta, headers);
    }
    let told =
        told(session, ctx, status, own_status, meta.filter(|_| status != CacheStatus::Bypass));
    headers.append(CACHE_STATUS, told.header());
}

/// Gives back to who fetched an answer what is kept without: the age that it came with, and what
/// is for this client alone. Of other hits Pingora tells the age.
fn as_fetched(ctx: &RequestCtx, meta: Option<&CacheMeta>, headers: &mut HeaderMap) {
    if let Some(age) = meta.map(|meta| meta.age().as_secs()).filter(|age| *age > 0) {
        headers.insert(header::AGE, HeaderValue::from(age));
    }
    let Some(withheld) = &ctx.caching.withheld else { return };
    let names = withheld.keys().filter(|name| !headers.contains_key(*name));
    let lost: Vec<HeaderName> = names.cloned().collect();
    for name in lost {
        for value in withheld.get_all(&name) {
            headers.append(name.clone(), value.clone());
        }
    }
}

fn told<'a>(
    session: &Session,
    ctx: &'a RequestCtx,
    status: CacheStatus,
    own_status: StatusCode,
    meta: Option<&CacheMeta>,
) -> StatusLine<'a> {
    let caching = &ctx.caching;
    let waited = session.cache.lock_duration().is_some();
    let forward = match status {
        CacheStatus::Hit if waited => Some(miss(session, ctx)),
        CacheStatus::Stale if caching.failed => Some(Forward::Stale),
        CacheStatus::Hit | CacheStatus::Stale => None,
        CacheStatus::Bypass => Some(match session.req_header().method.as_str() {
            "GET" | "HEAD" | "QUERY" => Forward::Bypass,
            _ => Forward::Method,
        }),
        CacheStatus::Revalidated | CacheStatus::Expired => {
            Some(caching.forward.unwrap_or(Forward::Stale))
        }
        CacheStatus::Miss => Some(caching.forward.unwrap_or_else(|| miss(session, ctx))),
    };
    let filled = matches!(session.cache.phase(), CachePhase::Miss | CachePhase::Expired);
    let confirmed = session.cache.phase() == CachePhase::Revalidated;
    let own = Some(own_status.as_u16());
    StatusLine {
        hit: matches!(status, CacheStatus::Hit | CacheStatus::Stale),
        forward: forward.filter(|_| ctx.fault() != Some(Fault::NotKept)),
        forward_status: caching
            .service_status
            .filter(|_| forward.is_some())
            .filter(|status| Some(*status) != own),
        ttl: meta.and_then(ttl),
        stored: (filled && meta.is_some()) || confirmed,
        collapsed: waited && forward.is_some() && matches!(status, CacheStatus::Hit),
        detail: caching.detail,
        key: ctx.cache.as_ref().filter(|_| ctx.sees_cache_key()).map(|plan| &plan.key),
    }
}

/// What was not there.
fn miss(session: &Session, ctx: &RequestCtx) -> Forward {
    use pingora_cache::key::CacheHashKey;
    let key = session.cache.maybe_cache_key();
    if key.is_some_and(|key| key.variance_bin().is_some()) {
        return Forward::VaryMiss;
    }
    let by_uri = used(ctx).is_some_and(|(policy, _)| policy.is_by_uri());
    if by_uri { Forward::UriMiss } else { Forward::Miss }
}

/// For how many seconds more an answer is fresh.
fn ttl(meta: &CacheMeta) -> Option<i64> {
    let now = UNIX_EPOCH + Duration::from_millis(clock::now().unix_ms);
    match meta.fresh_until().duration_since(now) {
        Ok(left) => i64::try_from(left.as_millis().div_ceil(1_000)).ok(),
        Err(late) => i64::try_from(late.duration().as_secs()).ok().map(|seconds| -seconds),
    }
}

const X_CACHE: http::HeaderName = http::HeaderName::from_static("x-cache");
const CACHE_STATUS: http::HeaderName = http::HeaderName::from_static("cache-status");
