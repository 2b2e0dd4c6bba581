//! Which answers are kept.
//!
//! A conservative reading of RFC 9111 section 3 for a shared cache: what the service says wins
//! over the route's `ttl` (R147), what cannot be read counts as a refusal, and an answer to a
//! request with credentials is kept only where the configuration or the service says who may
//! share it. Every refusal has a reason in words, which Pingora carries in its cache phase.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, StatusCode, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_cache::cache_control::{CacheControl, DirectiveKey, InterpretCacheControl};
use pingora_cache::filters::calculate_serve_stale_durations;
use pingora_cache::key::HashBinary;
use pingora_cache::{CacheMeta, CacheMetaDefaults, NoCacheReason, RespCacheable};

use super::policy::CREDENTIALS;
use super::{CachePolicy, vary};
use crate::clock::Moment;

/// Whether an upstream's answer is kept and for how long (RFC 9111 section 3), at `now`, the
/// moment its header arrived. `request` are the headers that the client sent, before any was
/// removed.
#[must_use]
pub fn admit_response(
    policy: &CachePolicy,
    request: &HeaderMap,
    response: &ResponseHeader,
    now: Moment,
) -> RespCacheable {
    match judge(policy, request, response, now) {
        Ok(meta) => RespCacheable::Cacheable(meta),
        Err(reason) => RespCacheable::Uncacheable(reason),
    }
}

/// The variance of a request under the `Vary` of a stored answer; none where it has none.
#[must_use]
pub fn variance(meta: &CacheMeta, request: &RequestHeader) -> Option<HashBinary> {
    vary::hash(meta.headers(), &request.headers)
}

fn judge(
    policy: &CachePolicy,
    request: &HeaderMap,
    response: &ResponseHeader,
    now: Moment,
) -> Result<CacheMeta, NoCacheReason> {
    let control = CacheControl::from_resp_headers(response);
    let control = control.as_ref();
    check_response(&response.headers, control).map_err(NoCacheReason::Custom)?;
    check_sharing(policy, request, control).map_err(NoCacheReason::Custom)?;
    if length(&response.headers).is_some_and(|length| length > policy.max_body_bytes) {
        return Err(NoCacheReason::ResponseTooLarge);
    }

    let now = UNIX_EPOCH + Duration::from_millis(now.unix_ms);
    let lifetime = lifetime(policy, response, control, now).map_err(NoCacheReason::Custom)?;
    let age = age(&response.headers);
    // Time that the answer spent in caches before it came here is gone from its freshness.
    let fresh_until = lifetime
        .checked_sub(age)
        .filter(|fresh| !fresh.is_zero())
        .and_then(|fresh| now.checked_add(fresh))
        .ok_or(NoCacheReason::Custom("the answer is stale on arrival"))?;
    let (while_revalidate, if_error) = calculate_serve_stale_durations(control, &NEVER_STALE);
    let stored = stored_header(response);
    let mut meta = CacheMeta::new(fresh_until, now, while_revalidate, if_error, stored);
    if let Some(epoch) = now.checked_sub(age) {
        // What `Age` is counted from when the entry answers.
        meta.set_epoch_override(epoch);
    }
    Ok(meta)
}

/// What the answer itself says against keeping it.
fn check_response(headers: &HeaderMap, control: Option<&CacheControl>) -> Result<(), &'static str> {
    if headers.contains_key(header::SET_COOKIE) {
        return Err("the answer sets a cookie");
    }
    vary::names(headers)?;
    let Some(control) = control else {
        // RFC 9111 section 5.4 gives `Pragma` no meaning here, but whoever sends it means it.
        let pragma = headers.get_all(header::PRAGMA).iter();
        let mut words = pragma.filter_map(|value| value.to_str().ok());
        let unwanted = words.any(|value| value.to_ascii_lowercase().contains("no-cache"));
        return if unwanted { Err("the answer says Pragma: no-cache") } else { Ok(()) };
    };
    // `private` and `no-cache` count with a list of fields too: the rest of such an answer could
    // be kept, but there is little to gain.
    for (directive, reason) in [
        (DirectiveKey::NoStore, "the answer says no-store"),
        (DirectiveKey::Private, "the answer says private"),
        (DirectiveKey::NoCache, "the answer says no-cache"),
    ] {
        if control.has_directive(&directive) {
            return Err(reason);
        }
    }
    Ok(())
}

/// RFC 9111 section 3.5, for every header that says who is asking.
fn check_sharing(
    policy: &CachePolicy,
    request: &HeaderMap,
    control: Option<&CacheControl>,
) -> Result<(), &'static str> {
    let has = |name: &&str| request.contains_key(*name);
    let settled = policy.sharing_settled
        || !(CREDENTIALS.iter().any(has) || request.contains_key(&policy.api_key))
        || control.is_some_and(CacheControl::allow_caching_authorized_req);
    if settled { Ok(()) } else { Err("the request has credentials, and nobody said who may share") }
}

/// How long the answer is fresh, counted from when the service made it (RFC 9111 section 4.2.1).
fn lifetime(
    policy: &CachePolicy,
    response: &ResponseHeader,
    control: Option<&CacheControl>,
    now: SystemTime,
) -> Result<Duration, &'static str> {
    if !KEPT_IF_SAID.contains(&response.status) && !KEPT.contains(&response.status) {
        return Err("answers with this status are not kept");
    }
    for (directive, seconds) in [
        (DirectiveKey::SMaxAge, control.map(CacheControl::s_maxage)),
        (DirectiveKey::MaxAge, control.map(CacheControl::max_age)),
    ] {
        if control.is_some_and(|control| control.has_directive(&directive)) {
            let seconds = seconds.and_then(Result::ok).flatten();
            return seconds
                .map(|seconds| Duration::from_secs(seconds.into()))
                .ok_or("the answer's Cache-Control cannot be read");
        }
    }
    if response.headers.contains_key(header::EXPIRES) {
        let date = http_date(&response.headers, &header::DATE).unwrap_or(now);
        let expires = http_date(&response.headers, &header::EXPIRES);
        return expires
            .and_then(|expires| expires.duration_since(date).ok())
            .ok_or("the answer has expired");
    }
    match response.status {
        StatusCode::NOT_FOUND | StatusCode::GONE => Ok(policy.ttl.min(MAX_NEGATIVE_TTL)),
        status if KEPT.contains(&status) => Ok(policy.ttl),
        _ => Err("answers with this status are kept only if the service says how long"),
    }
}

/// The one date of a header; none where it is absent, repeated or not a date.
fn http_date(headers: &HeaderMap, name: &HeaderName) -> Option<SystemTime> {
    let mut values = headers.get_all(name).iter();
    let date = httpdate::parse_http_date(values.next()?.to_str().ok()?).ok()?;
    values.next().is_none().then_some(date)
}

/// Seconds spent in other caches; what is not a number is ignored (RFC 9111 section 5.1).
fn age(headers: &HeaderMap) -> Duration {
    let age = headers.get(header::AGE).and_then(|age| age.to_str().ok()?.trim().parse().ok());
    Duration::from_secs(age.unwrap_or_default())
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

/// The header as it is kept: without what concerned one connection only (RFC 9111 section 3.1)
/// and without `Age`, which every use of the entry counts anew.
fn stored_header(response: &ResponseHeader) -> ResponseHeader {
    let mut stored = response.clone();
    let listed: Vec<HeaderName> = response
        .headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| HeaderName::try_from(name.trim()).ok())
        .collect();
    for name in listed.iter().chain(&NOT_KEPT) {
        stored.remove_header(name);
    }
    stored
}

static NOT_KEPT: [HeaderName; 10] = [
    header::AGE,
    header::CONNECTION,
    HeaderName::from_static("keep-alive"),
    header::PROXY_AUTHENTICATE,
    HeaderName::from_static("proxy-authentication-info"),
    HeaderName::from_static("proxy-connection"),
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Statuses kept for the route's `ttl` where the service does not say for how long.
const KEPT: [StatusCode; 5] = [
    StatusCode::OK,
    StatusCode::MOVED_PERMANENTLY,
    StatusCode::PERMANENT_REDIRECT,
    StatusCode::NOT_FOUND,
    StatusCode::GONE,
];

/// Statuses kept only for as long as the service says.
const KEPT_IF_SAID: [StatusCode; 5] = [
    StatusCode::NON_AUTHORITATIVE_INFORMATION,
    StatusCode::NO_CONTENT,
    StatusCode::MULTIPLE_CHOICES,
    StatusCode::FOUND,
    StatusCode::TEMPORARY_REDIRECT,
];

/// What is missing now may be there soon: longer than this only if the service says so.
const MAX_NEGATIVE_TTL: Duration = Duration::from_secs(10);

/// Stale answers are served only as far as the service allows (RFC 5861).
const NEVER_STALE: CacheMetaDefaults = CacheMetaDefaults::new(|_| None, 0, 0);

#[cfg(test)]
mod tests;
