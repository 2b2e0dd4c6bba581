use std::time::{Duration, SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora_cache::{CacheMeta, NoCacheReason};

use super::super::fixtures::{headers, policy};
use super::{Admitted, Arrival, admit_response};
use crate::cache::CachePolicy;
use crate::clock::{Moment, Tick};

/// Wed, 15 Nov 2023 00:00:00 GMT.
const NOW: Moment = Moment { tick: Tick::from_nanos(0), unix_ms: 1_700_006_400_000 };

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_millis(NOW.unix_ms)
}

fn answer(status: u16, fields: &[(&'static str, &str)]) -> ResponseHeader {
    let mut answer = ResponseHeader::build(status, None).unwrap();
    for (name, value) in fields {
        answer.append_header(*name, *value).unwrap();
    }
    answer
}

fn admit_to(
    policy: &CachePolicy,
    request: &HeaderMap,
    answer: &ResponseHeader,
) -> Result<CacheMeta, NoCacheReason> {
    admitted(policy, request, answer, None).map(|admitted| admitted.meta)
}

fn admitted(
    policy: &CachePolicy,
    request: &HeaderMap,
    answer: &ResponseHeader,
    confirmation: Option<&HeaderMap>,
) -> Result<Admitted, NoCacheReason> {
    let mut asked = RequestHeader::build("GET", b"/", None).unwrap();
    for (name, value) in request {
        asked.append_header(name, value).unwrap();
    }
    let arrival =
        Arrival { request: &asked, response: answer, confirmation, took: Duration::ZERO, now: NOW };
    admit_response(policy, arrival)
}

/// Seconds that an answer stays fresh under a `ttl` of 300 s; none when it is not kept.
fn fresh(status: u16, fields: &[(&'static str, &str)]) -> Option<u64> {
    let meta = admit_to(&policy("{}"), &HeaderMap::new(), &answer(status, fields)).ok()?;
    Some(meta.fresh_until().duration_since(now()).unwrap().as_secs())
}

#[test]
fn statuses_kept_without_a_word_of_the_service() {
    for (status, seconds) in [
        (200, Some(300)),
        (301, Some(300)),
        (308, Some(300)),
        (404, None),
        (410, None),
        (203, Some(300)),
        (204, Some(300)),
        (206, None),
        (302, None),
        (304, None),
        (307, None),
        (400, None),
        (401, None),
        (403, None),
        (429, None),
        (500, None),
        (503, None),
    ] {
        assert_eq!(fresh(status, &[]), seconds, "{status}");
    }
}

#[test]
fn a_route_names_the_failures_that_it_keeps() {
    let named = policy("{statuses: {404: 5s, \"503\": 1s}}");
    for (status, seconds) in [(404, Some(5)), (503, Some(1)), (410, None), (200, Some(300))] {
        let meta = admit_to(&named, &HeaderMap::new(), &answer(status, &[])).ok();
        let fresh = meta.map(|meta| meta.fresh_until().duration_since(now()).unwrap().as_secs());
        assert_eq!(fresh, seconds, "{status}");
    }
}

#[test]
fn statuses_kept_when_the_service_says_so() {
    for (status, seconds) in [
        (203, Some(60)),
        (204, Some(60)),
        (302, Some(60)),
        (307, Some(60)),
        (404, Some(60)),
        (206, None),
        (304, None),
        (403, Some(60)),
        (500, Some(60)),
    ] {
        assert_eq!(fresh(status, &[("cache-control", "max-age=60")]), seconds, "{status}");
    }
}

#[test]
fn the_service_wins_over_the_route() {
    let later = "Wed, 15 Nov 2023 00:01:40 GMT";
    let date = ("date", "Wed, 15 Nov 2023 00:00:00 GMT");
    let skewed = ("date", "Wed, 15 Nov 2023 00:01:00 GMT");
    for (fields, seconds) in [
        (&[("cache-control", "max-age=60")][..], Some(60)),
        (&[("cache-control", "max-age=60, s-maxage=20")], Some(20)),
        (&[("cache-control", "s-maxage=\"20\"")], Some(20)),
        (&[("cache-control", "max-age=60"), ("expires", later)], Some(60)),
        (&[("cache-control", "public"), ("expires", later)], Some(100)),
        (&[("expires", later), date], Some(100)),
        (&[("expires", later), skewed], Some(40)),
        (&[("cache-control", "public")], Some(300)),
        (&[("cache-control", "max-age=999999999999")], Some(2_147_483_648)),
        (&[("cache-control", "max-age=0")], None),
        (&[("cache-control", "s-maxage=0, max-age=60")], None),
        (&[("cache-control", "max-age=soon")], None),
        (&[("cache-control", "max-age")], None),
        (&[("cache-control", "max-age=-1")], None),
        (&[("expires", "0")], None),
        (&[("expires", "Wed, 15 Nov 2023 00:00:00 GMT")], None),
        (&[("expires", later), ("expires", later)], None),
    ] {
        assert_eq!(fresh(200, fields), seconds, "{fields:?}");
    }
}

#[test]
fn time_spent_in_other_caches_is_gone() {
    for (age, seconds) in
        [("0", Some(60)), ("59", Some(1)), ("60", None), ("61", None), ("x", Some(60))]
    {
        let fields = [("cache-control", "max-age=60"), ("age", age)];
        assert_eq!(fresh(200, &fields), seconds, "{age}");
    }
    assert_eq!(fresh(200, &[("age", "299")]), Some(1), "the route's ttl is no exception");

    let old = answer(200, &[("cache-control", "max-age=60"), ("age", "20")]);
    let meta = admit_to(&policy("{}"), &HeaderMap::new(), &old).unwrap();
    assert_eq!(meta.epoch(), now() - Duration::from_secs(20));
    assert!(!meta.headers().contains_key("age"), "a 304 would count it again");
}

#[test]
fn answers_that_are_never_kept() {
    let public = ("cache-control", "public, max-age=60");
    for fields in [
        &[public, ("set-cookie", "a=b")][..],
        &[public, ("vary", "*")],
        &[public, ("vary", "a,b,c,d,e,f,g,h,i")],
        &[("cache-control", "no-store")],
        &[("cache-control", "max-age=60"), ("cache-control", "No-Store")],
        &[("cache-control", "private, max-age=60")],
        &[("cache-control", "no-cache")],
        &[("pragma", "no-cache")],
    ] {
        assert_eq!(fresh(200, fields), None, "{fields:?}");
    }
    assert_eq!(fresh(200, &[public, ("pragma", "no-cache")]), Some(60));
    assert_eq!(fresh(200, &[public, ("vary", "accept-encoding")]), Some(60));
}

#[test]
fn private_wins_even_where_the_key_holds_the_user() {
    let private = answer(200, &[("cache-control", "private, max-age=60")]);
    assert!(admit_to(&policy("{key: {user: true}}"), &HeaderMap::new(), &private).is_err());
}

#[test]
fn credentials_need_somebody_who_says_who_shares() {
    let silent = answer(200, &[("cache-control", "max-age=60")]);
    for name in ["authorization", "cookie", "x-api-key", "x-partner-key"] {
        let request = headers(&[(name, "x")]);
        assert!(admit_to(&policy("{}"), &request, &silent).is_err(), "{name}");
        for directive in ["public, max-age=60", "s-maxage=60", "must-revalidate, max-age=60"] {
            let explicit = answer(200, &[("cache-control", directive)]);
            assert!(admit_to(&policy("{}"), &request, &explicit).is_ok(), "{name} {directive}");
        }
        for yaml in ["{key: {user: true}}", "{key: {tenant: true}}", "{shared: true}"] {
            assert!(admit_to(&policy(yaml), &request, &silent).is_ok(), "{name} {yaml}");
        }
    }
}

#[test]
fn announced_bodies_above_the_route_limit_are_not_kept() {
    let policy = policy("{maxBodyBytes: 100}");
    for (length, kept) in [("100", true), ("101", false)] {
        let answer = answer(200, &[("content-length", length)]);
        let admitted = admit_to(&policy, &HeaderMap::new(), &answer);
        assert_eq!(admitted.is_ok(), kept, "{length}");
        if !kept {
            assert_eq!(admitted.unwrap_err(), NoCacheReason::ResponseTooLarge);
        }
    }
}

#[test]
fn stale_answers_only_as_far_as_the_service_allows() {
    let windows = |directives: &str| {
        let answer = answer(200, &[("cache-control", directives)]);
        let meta = admit_to(&policy("{}"), &HeaderMap::new(), &answer).unwrap();
        (meta.stale_while_revalidate_sec(), meta.stale_if_error_sec())
    };
    assert_eq!(windows("max-age=60"), (0, 0));
    assert_eq!(windows("max-age=60, stale-while-revalidate=5, stale-if-error=7"), (5, 7));
    assert_eq!(windows("max-age=60, stale-if-error=7, must-revalidate"), (0, 0));
}

#[test]
fn what_concerned_one_connection_is_not_stored() {
    let answer = answer(
        200,
        &[
            ("connection", "close, X-Hop"),
            ("x-hop", "1"),
            ("keep-alive", "timeout=5"),
            ("transfer-encoding", "chunked"),
            ("content-type", "text/plain"),
            ("etag", "\"a\""),
        ],
    );
    let meta = admit_to(&policy("{}"), &HeaderMap::new(), &answer).unwrap();
    let mut names: Vec<&str> = meta.headers().keys().map(http::HeaderName::as_str).collect();
    names.sort_unstable();
    assert_eq!(names, ["content-type", "etag"]);
}

#[test]
fn fields_that_are_not_for_all_are_withheld() {
    let told = "max-age=60, private=\"x-a\", no-cache=\"X-B, set-cookie\"";
    let fields = [("cache-control", told), ("x-a", "1"), ("x-b", "2"), ("x-c", "3")];
    let kept = admitted(&policy("{}"), &HeaderMap::new(), &answer(200, &fields), None).unwrap();
    let mut withheld: Vec<&str> = kept.withheld.iter().map(http::HeaderName::as_str).collect();
    withheld.sort_unstable();
    assert_eq!(withheld, ["set-cookie", "x-a", "x-b"]);
    let has = |name| kept.meta.headers().contains_key(name);
    assert!(!has("x-a") && !has("x-b") && has("x-c"));

    let cookie = answer(200, &[("set-cookie", "a=b")]);
    let kept = admitted(&policy("{dropSetCookie: true}"), &HeaderMap::new(), &cookie, None);
    assert!(!kept.unwrap().meta.headers().contains_key("set-cookie"));
}

#[test]
fn a_confirmation_renews_header_and_freshness() {
    let kept = answer(200, &[("cache-control", "max-age=1"), ("etag", "\"a\""), ("x-a", "old")]);
    let confirmation = headers(&[("cache-control", "max-age=9"), ("x-a", "new"), ("x-b", "1")]);
    let renewed =
        admitted(&policy("{}"), &HeaderMap::new(), &kept, Some(&confirmation)).unwrap().meta;
    assert_eq!(renewed.fresh_until(), now() + Duration::from_secs(9));
    for (name, value) in [("etag", "\"a\""), ("x-a", "new"), ("x-b", "1")] {
        assert_eq!(renewed.headers()[name], value);
    }
}

#[test]
fn a_route_may_beat_what_the_service_says_of_time_and_of_nothing_else() {
    let forced = |status, fields: &[(&'static str, &str)]| {
        let policy = policy("{forceTtl: 20s}");
        let meta = admit_to(&policy, &HeaderMap::new(), &answer(status, fields)).ok()?;
        Some(meta.fresh_until().duration_since(now()).unwrap().as_secs())
    };
    assert_eq!(forced(200, &[("cache-control", "max-age=900")]), Some(20));
    assert_eq!(forced(200, &[("cache-control", "max-age=0"), ("age", "99")]), Some(20));
    assert_eq!(forced(200, &[("expires", "0")]), Some(20));
    assert_eq!(forced(200, &[("cache-control", "no-store")]), None);
    assert_eq!(forced(200, &[("cache-control", "private")]), None);
    assert_eq!(forced(200, &[("cache-control", "no-cache"), ("etag", "\"a\"")]), Some(0));
    assert_eq!(forced(500, &[]), None);
    assert_eq!(forced(500, &[("cache-control", "max-age=5")]), Some(5));
}

#[test]
fn a_route_may_allow_stale_answers_where_the_service_does_not_forbid_them() {
    let windows = |directives: &str| {
        let policy = policy("{staleWhileRevalidate: 5s, staleIfError: 7s}");
        let answer = answer(200, &[("cache-control", directives), ("etag", "\"a\"")]);
        let meta = admit_to(&policy, &HeaderMap::new(), &answer).unwrap();
        (meta.stale_while_revalidate_sec(), meta.stale_if_error_sec())
    };
    assert_eq!(windows("max-age=60"), (5, 7));
    assert_eq!(windows("max-age=60, stale-if-error=1"), (5, 1));
    for forbidden in ["max-age=60, must-revalidate", "s-maxage=60", "no-cache, max-age=60"] {
        assert_eq!(windows(forbidden), (0, 0), "{forbidden}");
    }
    assert_eq!(windows("s-maxage=60, stale-while-revalidate=9"), (9, 0));
}
