//! Which answers are kept: the rules of RFC 9111 section 3 on a route's terms, as Pingora wants
//! to hear it.

use std::time::{Duration, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, header};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_cache::key::HashBinary;
use pingora_cache::{CacheMeta, NoCacheReason};
use smallvec::SmallVec;

use super::CachePolicy;
use super::policy::CREDENTIALS;
use super::rules::freshness::Exchange;
use super::rules::storable::{Dialogue, Kept, OF_THE_REQUEST, judge};
use super::rules::{merge, vary};
use super::store::BodyLimit;
use crate::clock::Moment;

/// An answer of a service, with what it answers.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// The request as the client sent it, before any header was removed.
    pub request: &'a RequestHeader,
    /// The answer; where it confirms what is kept, that, with what Pingora has merged into it.
    pub response: &'a ResponseHeader,
    /// The header of the confirmation (304).
    pub confirmation: Option<&'a HeaderMap>,
    /// How long the exchange took, to the answer's header.
    pub took: Duration,
    /// When the header arrived.
    pub now: Moment,
}

/// An answer that is kept.
#[derive(Debug)]
pub struct Admitted {
    /// Header, freshness, stale times.
    pub meta: CacheMeta,
    /// Fields of the answer that are not kept with it; who fetched it gets them.
    pub withheld: SmallVec<[HeaderName; 4]>,
}

/// Whether an answer is kept and for how long (RFC 9111 section 3).
///
/// # Errors
/// Why it is not kept.
pub fn admit_response(
    policy: &CachePolicy,
    arrival: Arrival<'_>,
) -> Result<Admitted, NoCacheReason> {
    let Arrival { request, response, confirmation, took, now } = arrival;
    let mut parts = http::response::Parts::from(response.clone());
    if let Some(confirmation) = confirmation {
        merge::merge(&mut parts.headers, confirmation);
    }
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let credentials = CREDENTIALS.iter().any(|name| request.headers.contains_key(*name))
        || request.headers.contains_key(&policy.api_key);
    let dialogue = Dialogue {
        method: &request.method,
        request: &request.headers,
        credentials,
        status: response.status,
        answer: &parts.headers,
        exchange: Exchange {
            sent_ms: now.unix_ms.saturating_sub(took_ms),
            received_ms: now.unix_ms,
        },
    };
    let kept = judge(&policy.terms, dialogue).map_err(NoCacheReason::Custom)?;
    if length(&parts.headers).is_some_and(|length| length > policy.max_body_bytes) {
        return Err(NoCacheReason::ResponseTooLarge);
    }
    merge::end_hop(&mut parts.headers);
    for name in &kept.without {
        parts.headers.remove(name);
    }
    let mut meta = meta(&kept, ResponseHeader::from(parts), now);
    meta.extensions_mut().insert(BodyLimit(policy.max_body_bytes));
    Ok(Admitted { meta, withheld: kept.without })
}

/// Whether an answer was not kept for a reason that lies with its request.
#[must_use]
pub fn lies_with_request(reason: NoCacheReason) -> bool {
    matches!(reason, NoCacheReason::Custom(why) if OF_THE_REQUEST.contains(&why))
}

/// The variance of a request under the `Vary` of a stored answer; none where it has none. On
/// routes that compress, `coding` is what this client gets: it stands for `Accept-Encoding`.
#[must_use]
pub fn variance(
    meta: &CacheMeta,
    request: &RequestHeader,
    coding: Option<&str>,
) -> Option<HashBinary> {
    vary::hash(meta.headers(), &request.headers, coding)
}

fn meta(kept: &Kept, header: ResponseHeader, now: Moment) -> CacheMeta {
    let now = UNIX_EPOCH + Duration::from_millis(now.unix_ms);
    let seconds = |seconds: u32| Duration::from_secs(seconds.into());
    // What `Age` is counted from when the entry answers.
    let epoch = now.checked_sub(seconds(kept.age)).unwrap_or(UNIX_EPOCH);
    let mut meta = CacheMeta::new(
        epoch.checked_add(seconds(kept.lifetime)).unwrap_or(now),
        now,
        kept.while_revalidate,
        kept.if_error,
        header,
    );
    meta.set_epoch_override(epoch);
    meta
}

fn length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests;
