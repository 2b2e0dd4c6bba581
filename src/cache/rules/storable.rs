//! Whether an answer may be kept by a cache that several callers share (RFC 9111 section 3), and on
//! which terms.
//!
//! What the service says wins over what the route says. Every refusal has a reason in words.

use http::{HeaderMap, HeaderName, Method, StatusCode, header};
use smallvec::SmallVec;

use super::control::{AnswerControl, Fields, RequestControl};
use super::freshness::{self, Exchange};
use super::{targeted, vary};

/// What a route says of answers that do not say it themselves.
#[derive(Clone, Debug)]
pub(in crate::cache) struct Terms {
    /// Seconds that an answer is fresh.
    pub(in crate::cache) ttl: u32,
    /// The same for some statuses, instead; these are kept although they are no success.
    pub(in crate::cache) statuses: Box<[(StatusCode, u32)]>,
    /// The most seconds that may be guessed from `Last-Modified`; none where nothing is guessed.
    pub(in crate::cache) guess: Option<u32>,
    /// Seconds that an answer is fresh whatever it says of that.
    pub(in crate::cache) force: Option<u32>,
    /// For how many seconds it may be used stale where it does not say: while it is confirmed, and
    /// if it cannot be.
    pub(in crate::cache) stale: (u32, u32),
    /// Answers that set a cookie are kept, without it.
    pub(in crate::cache) drops_cookies: bool,
    /// What clients ask of the cache counts.
    pub(in crate::cache) heeds_client: bool,
    /// Who may share answers to requests with credentials is settled by the key or in words.
    pub(in crate::cache) sharing_settled: bool,
}

/// A request and its answer.
#[derive(Clone, Copy, Debug)]
pub(in crate::cache) struct Dialogue<'a> {
    pub(in crate::cache) method: &'a Method,
    pub(in crate::cache) request: &'a HeaderMap,
    /// Whether the request carries credentials of any kind.
    pub(in crate::cache) credentials: bool,
    pub(in crate::cache) status: StatusCode,
    pub(in crate::cache) answer: &'a HeaderMap,
    pub(in crate::cache) exchange: Exchange,
}

/// On which terms an answer is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::cache) struct Kept {
    /// Its age as it arrived, in seconds.
    pub(in crate::cache) age: u32,
    /// For how many seconds since it was made it is fresh; less than its age where it is stale
    /// already, or is to be confirmed at each use.
    pub(in crate::cache) lifetime: u32,
    /// For how many seconds more it may be used while it is being confirmed.
    pub(in crate::cache) while_revalidate: u32,
    /// For how many seconds more it may be used if it cannot be confirmed.
    pub(in crate::cache) if_error: u32,
    /// Fields that are not kept with it.
    pub(in crate::cache) without: SmallVec<[HeaderName; 4]>,
}

impl Kept {
    /// For how many seconds it is fresh from now on.
    pub(in crate::cache) const fn fresh(&self) -> u32 {
        self.lifetime.saturating_sub(self.age)
    }
}

/// Judges an answer.
///
/// # Errors
/// Why it is not kept.
pub(in crate::cache) fn judge(terms: &Terms, dialogue: Dialogue<'_>) -> Result<Kept, &'static str> {
    let Dialogue { method, request, status, answer, .. } = dialogue;
    let own = AnswerControl::of(answer);
    let targeted = targeted::read(answer);
    let control = targeted.as_ref().or(own.as_ref());
    if terms.heeds_client && RequestControl::of(request).no_store {
        return Err(ASKED);
    }
    check_form(method, status, answer)?;
    check_words(control, status, answer)?;
    check_sharing(terms, dialogue, control)?;
    let mut without = SmallVec::new();
    if answer.contains_key(header::SET_COOKIE) {
        if !terms.drops_cookies {
            return Err(COOKIE);
        }
        without.push(header::SET_COOKIE);
    }
    let mut confirmed = false;
    if let Some(control) = control {
        for fields in [&control.private, &control.no_cache] {
            if let Fields::Names(names) = fields {
                without.extend(names.iter().cloned());
            }
        }
        confirmed = control.no_cache == Fields::All;
    }

    let received_ms = dialogue.exchange.received_ms;
    let told = freshness::lifetime(answer, targeted.as_ref(), own.as_ref(), received_ms);
    let guessed = || terms.guess.and_then(|most| freshness::heuristic(answer, received_ms, most));
    let forced = terms.force.filter(|_| is_kept_by_route(status));
    let lifetime = match told {
        _ if forced.is_some() => 0,
        Some(seconds) => seconds,
        None => by_route(terms, status, control, guessed)?,
    };
    let age = freshness::age(answer, dialogue.exchange);
    let lifetime = match forced {
        // What has to be confirmed has been stale for as long as it has been here.
        _ if confirmed => age,
        Some(seconds) => age.saturating_add(seconds),
        None => lifetime,
    };
    let strict = confirmed
        || control.is_some_and(|control| control.must_revalidate || control.proxy_revalidate);
    // `s-maxage` forbids stale answers too (section 5.2.2.10). A service that writes both means
    // what it says more closely, as every cache of the field takes it; a route cannot allow it.
    let bound = control.is_some_and(|control| control.s_maxage.is_some());
    let stale = |said: Option<u32>, by_route: u32| match said {
        _ if strict => 0,
        Some(seconds) => seconds,
        None if bound => 0,
        None => by_route,
    };
    let said = |of: fn(&AnswerControl) -> Option<u32>| control.and_then(of);
    let (by_route_while, by_route_if) = terms.stale;
    let while_revalidate = stale(said(|control| control.stale_while_revalidate), by_route_while);
    let if_error = stale(said(|control| control.stale_if_error), by_route_if);
    let kept = Kept { age, lifetime, while_revalidate, if_error, without };
    let stale = age.saturating_sub(lifetime);
    if kept.fresh() == 0 && stale >= while_revalidate.max(if_error) && !has_validator(answer) {
        return Err("the answer is stale on arrival, and nothing in it lets it be confirmed");
    }
    Ok(kept)
}

/// What no words can allow.
fn check_form(method: &Method, status: StatusCode, answer: &HeaderMap) -> Result<(), &'static str> {
    if !matches!(method.as_str(), "GET" | "HEAD" | "QUERY") {
        return Err("answers to this method are not kept");
    }
    if status.is_informational() || status == StatusCode::NOT_MODIFIED {
        return Err("the answer is no whole answer");
    }
    if status == StatusCode::PARTIAL_CONTENT || answer.contains_key(header::CONTENT_RANGE) {
        return Err("the answer is a part of one");
    }
    vary::names(answer).map(drop)
}

/// What the answer itself says.
fn check_words(
    control: Option<&AnswerControl>,
    status: StatusCode,
    answer: &HeaderMap,
) -> Result<(), &'static str> {
    let Some(control) = control else {
        // RFC 9111 section 5.4 gives `Pragma` no meaning here, but whoever sends it means it.
        let pragma = answer.get_all(header::PRAGMA).iter();
        let says = |value: &http::HeaderValue| {
            value.to_str().is_ok_and(|value| value.to_ascii_lowercase().contains("no-cache"))
        };
        let mut pragma = pragma.filter(|value| says(value));
        return pragma.next().map_or(Ok(()), |_| Err(PRAGMA));
    };
    // Section 5.2.2.3: who understands the status goes by the rest, and leaves `no-store` alone.
    if control.must_understand && !is_understood(status) {
        return Err("the answer says must-understand, and its status is not understood");
    }
    if control.no_store && !control.must_understand {
        return Err(NO_STORE);
    }
    if control.private == Fields::All {
        return Err(PRIVATE);
    }
    Ok(())
}

/// Section 3.5, for every kind of credential.
fn check_sharing(
    terms: &Terms,
    dialogue: Dialogue<'_>,
    control: Option<&AnswerControl>,
) -> Result<(), &'static str> {
    let allowed = |control: &AnswerControl| {
        control.public || control.must_revalidate || control.s_maxage.is_some()
    };
    if terms.sharing_settled || !dialogue.credentials || control.is_some_and(allowed) {
        return Ok(());
    }
    Err(CREDENTIALS)
}

/// How long an answer is fresh that does not say it.
fn by_route(
    terms: &Terms,
    status: StatusCode,
    control: Option<&AnswerControl>,
    guessed: impl Fn() -> Option<u32>,
) -> Result<u32, &'static str> {
    if let Some((_, seconds)) = terms.statuses.iter().find(|(other, _)| *other == status) {
        return Ok(*seconds);
    }
    if is_kept_by_route(status) {
        return Ok(guessed().unwrap_or(terms.ttl));
    }
    // `public` lets any answer be kept (section 3), and for a guess only.
    let is_public = control.is_some_and(|control| control.public);
    guessed()
        .filter(|_| is_public)
        .ok_or("answers with this status are kept only if the service says how long")
}

/// Whether an answer with this status is kept without a word of the service.
fn is_kept_by_route(status: StatusCode) -> bool {
    matches!(status.as_u16(), 200 | 203 | 204 | 300 | 301 | 308)
}

/// Whether the meaning of a status for caches is known here.
fn is_understood(status: StatusCode) -> bool {
    matches!(
        status.as_u16(),
        200 | 203 | 204 | 300 | 301 | 302 | 303 | 307 | 308 | 404 | 405 | 410 | 414 | 501
    )
}

/// Whether the service can be asked if this is still the answer.
fn has_validator(answer: &HeaderMap) -> bool {
    answer.contains_key(header::ETAG) || answer.contains_key(header::LAST_MODIFIED)
}

const COOKIE: &str = "the answer sets a cookie";
const NO_STORE: &str = "the answer says no-store";
const PRIVATE: &str = "the answer says private";
const PRAGMA: &str = "the answer says Pragma: no-cache";

const ASKED: &str = "the request says no-store";
const CREDENTIALS: &str = "the request has credentials, and nobody said who may share";

/// Reasons that lie with the request: another one's answer may be kept.
pub(in crate::cache) const OF_THE_REQUEST: [&str; 2] = [ASKED, CREDENTIALS];

/// Reasons that will most likely hold for the next answer too.
pub(in crate::cache) const LASTING: [&str; 4] = [COOKIE, NO_STORE, PRIVATE, PRAGMA];

#[cfg(test)]
mod tests;
