//! When a key set is to be fetched again: what the issuer's answer says of it (RFC 9111), within
//! the bounds of the configuration. Pure; the tests are below.

use std::time::{Duration, SystemTime};

use headers::{Age, CacheControl, Date, Expires, Header, HeaderMapExt};
use http::header::{EXPIRES, RETRY_AFTER};
use http::{HeaderMap, HeaderValue};

use crate::model::JwksSettings;

/// How long an answer is fresh from now on: zero where it is not to be stored or is stale
/// already, none where the issuer does not say. `now` stands in for a missing `Date`.
pub(super) fn lifetime(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let age = headers.typed_get::<Age>().map_or(Duration::ZERO, Duration::from);
    let control = headers.typed_get::<CacheControl>();
    if control.as_ref().is_some_and(|control| control.no_store() || control.no_cache()) {
        return Some(Duration::ZERO);
    }
    if let Some(max_age) = control.as_ref().and_then(CacheControl::max_age) {
        return Some(max_age.saturating_sub(age));
    }
    let value = headers.get(EXPIRES)?;
    let sent = headers.typed_get::<Date>().map_or(now, SystemTime::from);
    // A value that is no date, `0` above all, means that it has passed (RFC 9111, 5.3).
    let expires = date(value).unwrap_or(sent);
    Some(expires.duration_since(sent).unwrap_or_default().saturating_sub(age))
}

/// Time until the next fetch after a good one: the issuer's word within the bounds, or what the
/// configuration says where the issuer says nothing.
pub(super) fn refresh_in(lifetime: Option<Duration>, settings: &JwksSettings) -> Duration {
    let (shortest, longest) = (settings.min_refresh.get(), settings.max_refresh.get());
    // Compiling has refused bounds that are the wrong way round.
    lifetime.map_or(settings.refresh.get(), |fresh| fresh.min(longest).max(shortest))
}

/// How long the issuer asks to be left alone (RFC 9110, 10.2.3).
pub(super) fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let value = headers.get(RETRY_AFTER)?;
    if let Some(seconds) = value.to_str().ok().and_then(|text| text.trim().parse().ok()) {
        return Some(Duration::from_secs(seconds));
    }
    date(value)?.duration_since(now).ok()
}

fn date(value: &HeaderValue) -> Option<SystemTime> {
    Expires::decode(&mut std::iter::once(value)).ok().map(SystemTime::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Span;

    /// `Sun, 06 Nov 1994 08:49:37 GMT`, the example of RFC 9110.
    const NOW: u64 = 784_111_777;

    fn now() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(NOW)
    }

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines
            .iter()
            .map(|(name, value)| {
                (http::HeaderName::from_static(name), HeaderValue::from_static(value))
            })
            .collect()
    }

    #[test]
    fn the_issuers_word_counts() {
        let date = ("date", "Sun, 06 Nov 1994 08:49:37 GMT");
        let minute_later = ("expires", "Sun, 06 Nov 1994 08:50:37 GMT");
        let cases: [(&[_], Option<u64>); 16] = [
            (&[], None),
            (&[("cache-control", "public")], None),
            (&[("cache-control", "max-age=300")], Some(300)),
            (&[("cache-control", "public, max-age=300, must-revalidate")], Some(300)),
            (&[("cache-control", "max-age=300"), ("age", "100")], Some(200)),
            (&[("cache-control", "max-age=300"), ("age", "301")], Some(0)),
            (&[("cache-control", "max-age=300"), ("age", "soon")], Some(300)),
            (&[("cache-control", "max-age=300, no-store")], Some(0)),
            (&[("cache-control", "no-cache")], Some(0)),
            (&[("cache-control", "max-age=soon")], None),
            (&[("cache-control", "max-age=300"), date, minute_later], Some(300)),
            (&[date, minute_later], Some(60)),
            (&[minute_later], Some(60)),
            (&[date, minute_later, ("age", "20")], Some(40)),
            (&[date, ("expires", "0")], Some(0)),
            (&[date, ("expires", "Sun, 06 Nov 1994 08:49:00 GMT")], Some(0)),
        ];
        for (lines, seconds) in cases {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(lifetime(&headers(lines), now()), expected, "{lines:?}");
        }
    }

    #[test]
    fn the_next_fetch_stays_within_the_bounds() {
        let settings = JwksSettings {
            refresh: Span::from_secs(5),
            min_refresh: Span::from_secs(60),
            max_refresh: Span::from_secs(3600),
            ..JwksSettings::default()
        };
        let cases = [(None, 5), (Some(0), 60), (Some(59), 60), (Some(61), 61)];
        let more = [(Some(3600), 3600), (Some(3601), 3600), (Some(u64::MAX), 3600)];
        for (fresh, expected) in cases.into_iter().chain(more) {
            let fresh = fresh.map(Duration::from_secs);
            assert_eq!(refresh_in(fresh, &settings), Duration::from_secs(expected), "{fresh:?}");
        }
    }

    #[test]
    fn an_issuer_may_ask_to_be_left_alone() {
        let cases = [
            ("120", Some(120)),
            ("0", Some(0)),
            ("Sun, 06 Nov 1994 08:50:07 GMT", Some(30)),
            ("Sun, 06 Nov 1994 08:49:07 GMT", None),
            ("-1", None),
            ("later", None),
        ];
        for (value, seconds) in cases {
            let after = retry_after(&headers(&[("retry-after", value)]), now());
            assert_eq!(after, seconds.map(Duration::from_secs), "{value}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now()), None);
    }
}
