//! How old an answer is and for how long it may be used (RFC 9111 section 4.2).
//!
//! All of it in whole seconds, as dates and directives are: what is left of a second counts for
//! nothing, or an answer for one second would be stale as it arrives.

use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName, header};

use super::control::{AnswerControl, SECONDS_MAX};

/// When a request was sent and its answer arrived, in milliseconds since the epoch.
#[derive(Clone, Copy, Debug)]
pub(in crate::cache) struct Exchange {
    pub(in crate::cache) sent_ms: u64,
    pub(in crate::cache) received_ms: u64,
}

/// The age of an answer as it arrived, in seconds (section 4.2.3): the larger of what its `Date`
/// and its `Age` say, and of `Age` with the time that the exchange took.
pub(in crate::cache) fn age(headers: &HeaderMap, exchange: Exchange) -> u32 {
    // An answer that was made while it was asked for is new, though a second may have begun since.
    let (sent_s, received_s) = (exchange.sent_ms / 1_000, exchange.received_ms / 1_000);
    let made = date(headers, &header::DATE).filter(|date| *date < sent_s);
    let apparent = made.map_or(0, |date| received_s.saturating_sub(date));
    let delay = exchange.received_ms.saturating_sub(exchange.sent_ms) / 1_000;
    let corrected = told_age(headers).map_or(0, |age| u64::from(age) + delay);
    u32::try_from(apparent.max(corrected)).map_or(SECONDS_MAX, |age| age.min(SECONDS_MAX))
}

/// For how many seconds since it was made an answer is fresh by its own words (section 4.2.1);
/// none where it does not say. `targeted` is its `CDN-Cache-Control`, which counts alone.
pub(in crate::cache) fn lifetime(
    headers: &HeaderMap,
    targeted: Option<&AnswerControl>,
    control: Option<&AnswerControl>,
    received_ms: u64,
) -> Option<u32> {
    if let Some(targeted) = targeted {
        return targeted.s_maxage.or(targeted.max_age);
    }
    if let Some(seconds) = control.and_then(|control| control.s_maxage) {
        return Some(seconds);
    }
    if let Some(seconds) = control.and_then(|control| control.max_age) {
        return Some(seconds);
    }
    if !headers.contains_key(header::EXPIRES) {
        return None;
    }
    // What is no date, `0` above all, has expired (section 5.3).
    let expires = date(headers, &header::EXPIRES).unwrap_or(0);
    let made = date(headers, &header::DATE).unwrap_or(received_ms / 1_000);
    let seconds = expires.saturating_sub(made).min(SECONDS_MAX.into());
    Some(u32::try_from(seconds).unwrap_or(SECONDS_MAX))
}

/// A guess where the service says nothing (section 4.2.2): a tenth of the time since the answer was
/// changed last, at most `longest` seconds. None without a `Last-Modified` in the past.
pub(in crate::cache) fn heuristic(
    headers: &HeaderMap,
    received_ms: u64,
    longest: u32,
) -> Option<u32> {
    let made = date(headers, &header::DATE).unwrap_or(received_ms / 1_000);
    let unchanged = made.checked_sub(date(headers, &header::LAST_MODIFIED)?)?;
    let guess = u32::try_from(unchanged / 10).unwrap_or(SECONDS_MAX);
    Some(guess.min(longest))
}

/// The first number of `Age`; what is no number is as if it were not there (section 5.1).
fn told_age(headers: &HeaderMap) -> Option<u32> {
    let value = headers.get(header::AGE)?.to_str().ok()?;
    let first = value.split(',').next()?.trim();
    if first.is_empty() || !first.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some(first.parse().map_or(SECONDS_MAX, |age: u32| age.min(SECONDS_MAX)))
}

/// The date of a header in seconds since the epoch; none where it is absent, there twice, no date,
/// or before the epoch.
pub(in crate::cache) fn date(headers: &HeaderMap, name: &HeaderName) -> Option<u64> {
    let mut values = headers.get_all(name).iter();
    let date = httpdate::parse_http_date(values.next()?.to_str().ok()?).ok()?;
    values.next().is_none().then_some(date).and_then(seconds)
}

fn seconds(time: SystemTime) -> Option<u64> {
    time.duration_since(UNIX_EPOCH).ok().map(|since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// 2026-11-22T12:00:00Z.
    const NOON: u64 = 1_795_348_800;

    fn http_date(seconds: u64) -> String {
        httpdate::fmt_http_date(UNIX_EPOCH + std::time::Duration::from_secs(seconds))
    }

    fn headers(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name = HeaderName::try_from(*name).unwrap();
            headers.append(name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    fn exchange(took_ms: u64) -> Exchange {
        Exchange { sent_ms: NOON * 1_000 - took_ms, received_ms: NOON * 1_000 }
    }

    #[test]
    fn an_answer_is_as_old_as_the_oldest_word_says() {
        let age = |fields: &[(&str, &str)], took_ms| age(&headers(fields), exchange(took_ms));
        let (past, future) = (http_date(NOON - 30), http_date(NOON + 30));
        assert_eq!(age(&[], 5_000), 0);
        assert_eq!(age(&[("date", &past)], 0), 30);
        assert_eq!(age(&[("date", &future)], 0), 0);
        let before = http_date(NOON - 1);
        assert_eq!(age(&[("date", &before)], 1), 0, "made as the second ended");
        assert_eq!(age(&[("date", &before)], 0), 1);
        assert_eq!(age(&[("age", "20")], 1_999), 21, "and the time that it took");
        assert_eq!(age(&[("age", "20"), ("date", &past)], 0), 30);
        assert_eq!(age(&[("age", "40"), ("date", &past)], 0), 40);
        assert_eq!(age(&[("age", "99999999999")], 0), SECONDS_MAX);
        assert_eq!(age(&[("age", "7, 90")], 0), 7, "the first of a list");
        for nonsense in ["-7", "x", "1.5", ""] {
            assert_eq!(age(&[("age", nonsense)], 0), 0, "{nonsense}");
        }
    }

    #[test]
    fn who_says_it_for_us_is_believed_first() {
        let control = |line: &str| AnswerControl::of(&headers(&[("cache-control", line)])).unwrap();
        let expires = headers(&[("expires", &http_date(NOON + 9)), ("date", &http_date(NOON))]);
        let lifetime = |targeted: Option<&str>, line: Option<&str>| {
            let (targeted, line) = (targeted.map(control), line.map(control));
            lifetime(&expires, targeted.as_ref(), line.as_ref(), NOON * 1_000)
        };
        let all = Some("max-age=3, s-maxage=2");
        assert_eq!(lifetime(Some("max-age=1"), all), Some(1));
        assert_eq!(lifetime(Some("public"), all), None, "it counts alone");
        assert_eq!(lifetime(None, all), Some(2));
        assert_eq!(lifetime(None, Some("max-age=3")), Some(3));
        assert_eq!(lifetime(None, Some("public")), Some(9));
        assert_eq!(lifetime(None, None), Some(9));
    }

    #[test]
    fn expires_counts_from_the_date_and_nonsense_has_expired() {
        let lifetime =
            |fields: &[(&str, &str)]| lifetime(&headers(fields), None, None, NOON * 1_000);
        assert_eq!(lifetime(&[]), None);
        assert_eq!(lifetime(&[("expires", &http_date(NOON + 60))]), Some(60));
        let early = http_date(NOON - 40);
        assert_eq!(lifetime(&[("expires", &http_date(NOON)), ("date", &early)]), Some(40));
        assert_eq!(lifetime(&[("expires", &early)]), Some(0));
        for nonsense in ["0", "", "-1", "tomorrow", "Sun, 22 Nov 2026 12:00:00 CET"] {
            assert_eq!(lifetime(&[("expires", nonsense)]), Some(0), "{nonsense}");
        }
        let twice = http_date(NOON + 60);
        assert_eq!(lifetime(&[("expires", &twice), ("expires", &twice)]), Some(0));
    }

    #[test]
    fn a_guess_is_a_tenth_of_the_time_unchanged() {
        let changed = |ago: u64| headers(&[("last-modified", &http_date(NOON - ago))]);
        assert_eq!(heuristic(&changed(1_000), NOON * 1_000, 86_400), Some(100));
        assert_eq!(heuristic(&changed(10_000_000), NOON * 1_000, 86_400), Some(86_400));
        assert_eq!(heuristic(&headers(&[]), NOON * 1_000, 86_400), None);
        let later = headers(&[("last-modified", &http_date(NOON + 5))]);
        assert_eq!(heuristic(&later, NOON * 1_000, 86_400), None);
    }
}
