use http::HeaderValue;

use super::*;

const NOW_MS: u64 = 1_795_348_800_000;

fn terms() -> Terms {
    Terms {
        ttl: 300,
        statuses: [(StatusCode::NOT_FOUND, 10)].into(),
        guess: None,
        force: None,
        stale: (0, 0),
        drops_cookies: false,
        heeds_client: true,
        sharing_settled: false,
    }
}

fn headers(lines: &[&str]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in lines {
        let (name, value) = line.split_once(": ").unwrap();
        let name = HeaderName::try_from(name).unwrap();
        headers.append(name, HeaderValue::from_str(value).unwrap());
    }
    headers
}

/// Judges an answer with these headers, to a request without any.
fn judged(terms: &Terms, status: u16, lines: &[&str]) -> Result<Kept, &'static str> {
    asked(terms, (&Method::GET, &[], false), status, lines)
}

fn asked(
    terms: &Terms,
    (method, request, credentials): (&Method, &[&str], bool),
    status: u16,
    lines: &[&str],
) -> Result<Kept, &'static str> {
    let dialogue = Dialogue {
        method,
        request: &headers(request),
        credentials,
        status: StatusCode::from_u16(status).unwrap(),
        answer: &headers(lines),
        exchange: Exchange { sent_ms: NOW_MS, received_ms: NOW_MS },
    };
    judge(terms, dialogue)
}

#[test]
fn a_client_that_is_not_heeded_cannot_forbid_keeping() {
    let asked = |heeds_client| {
        let terms = Terms { heeds_client, ..terms() };
        asked(&terms, (&Method::GET, &["cache-control: no-store"], false), 200, &[]).is_ok()
    };
    assert!(!asked(true) && asked(false));
}

fn fresh(status: u16, lines: &[&str]) -> Option<u32> {
    judged(&terms(), status, lines).ok().map(|kept| kept.fresh())
}

#[test]
fn the_route_says_what_the_service_leaves_open() {
    assert_eq!(fresh(200, &[]), Some(300));
    assert_eq!(fresh(404, &[]), Some(10));
    assert_eq!(fresh(404, &["cache-control: max-age=60"]), Some(60));
    assert_eq!(fresh(500, &[]), None);
    assert_eq!(fresh(500, &["cache-control: max-age=5"]), Some(5), "any final status, if told");
    assert_eq!(fresh(302, &[]), None);
    assert_eq!(fresh(302, &["cache-control: max-age=5"]), Some(5));
}

#[test]
fn the_service_may_refuse_in_many_words() {
    for line in [
        "cache-control: no-store",
        "cache-control: no-store, max-age=60",
        "cache-control: private, max-age=60",
        "cache-control: private=token",
        "cache-control: max-age=60, must-understand, no-store, private",
        "pragma: no-cache",
        "set-cookie: a=b",
        "vary: *",
        "cdn-cache-control: no-store",
        "cdn-cache-control: private",
        "content-range: bytes 0-1/2",
    ] {
        assert_eq!(fresh(200, &[line]), None, "{line}");
    }
    assert_eq!(fresh(200, &["pragma: no-cache", "cache-control: max-age=9"]), Some(9));
    assert_eq!(fresh(206, &["cache-control: max-age=60"]), None);
    assert_eq!(fresh(304, &["cache-control: max-age=60"]), None);
}

#[test]
fn must_understand_stands_over_no_store() {
    let line = &["cache-control: must-understand, no-store, max-age=60"];
    assert_eq!(fresh(200, line), Some(60));
    assert_eq!(fresh(299, line), None);
}

#[test]
fn what_is_said_to_us_alone_counts_alone() {
    let both = &["cdn-cache-control: max-age=60", "cache-control: no-store"];
    assert_eq!(fresh(200, both), Some(60));
    let short = &["cdn-cache-control: max-age=1", "cache-control: max-age=60"];
    assert_eq!(fresh(200, short), Some(1));
    let broken = &["cdn-cache-control: max-age=60, &&&", "cache-control: no-store"];
    assert_eq!(fresh(200, broken), None);
}

#[test]
fn an_old_answer_is_kept_only_if_it_can_be_confirmed_or_used_stale() {
    assert_eq!(fresh(200, &["cache-control: max-age=60", "age: 59"]), Some(1));
    assert_eq!(fresh(200, &["cache-control: max-age=60", "age: 60"]), None);
    assert_eq!(fresh(200, &["cache-control: max-age=60", "age: 60", "etag: \"a\""]), Some(0));
    let stale = &["cache-control: max-age=60, stale-if-error=9", "age: 60"];
    assert_eq!(judged(&terms(), 200, stale).unwrap().if_error, 9);
    assert_eq!(fresh(200, &["cache-control: no-cache"]), None);
    assert_eq!(fresh(200, &["cache-control: no-cache", "etag: \"a\""]), Some(0));
    let last = "last-modified: Sun, 22 Nov 2026 11:00:00 GMT";
    assert_eq!(fresh(200, &["cache-control: no-cache, max-age=60", last]), Some(0));
}

#[test]
fn stale_answers_need_leave_and_no_ban() {
    let kept = |words: &str| {
        let line = format!("cache-control: max-age=5, {words}");
        let kept = judged(&terms(), 200, &[&line]).unwrap();
        (kept.while_revalidate, kept.if_error)
    };
    assert_eq!(kept("public"), (0, 0));
    assert_eq!(kept("stale-while-revalidate=30, stale-if-error=60"), (30, 60));
    assert_eq!(kept("s-maxage=5, stale-while-revalidate=30"), (30, 0));
    for ban in ["must-revalidate", "proxy-revalidate"] {
        assert_eq!(kept(&format!("stale-while-revalidate=3, stale-if-error=6, {ban}")), (0, 0));
    }
}

#[test]
fn answers_to_callers_with_credentials_need_somebodys_word() {
    let with = |terms: &Terms, words: &str| {
        let line = format!("cache-control: {words}");
        asked(terms, (&Method::GET, &["authorization: x"], true), 200, &[&line]).is_ok()
    };
    assert!(!with(&terms(), "max-age=60"));
    for words in ["max-age=60, public", "s-maxage=60", "max-age=60, must-revalidate"] {
        assert!(with(&terms(), words), "{words}");
    }
    assert!(with(&Terms { sharing_settled: true, ..terms() }, "max-age=60"));
    assert!(!with(&Terms { sharing_settled: true, ..terms() }, "private"));
}

#[test]
fn some_fields_are_left_out_and_the_rest_is_kept() {
    let line = &["cache-control: max-age=60, private=\"x-a\", no-cache=\"x-b, x-c\""];
    let without = judged(&terms(), 200, line).unwrap().without;
    let names: Vec<&str> = without.iter().map(HeaderName::as_str).collect();
    assert_eq!(names, ["x-a", "x-b", "x-c"]);
    let cookies = Terms { drops_cookies: true, ..terms() };
    let kept = judged(&cookies, 200, &["set-cookie: a=b"]).unwrap();
    assert_eq!((kept.fresh(), kept.without.as_slice()), (300, &[header::SET_COOKIE][..]));
}

#[test]
fn guesses_are_for_routes_that_want_them() {
    let changed = "last-modified: Sun, 22 Nov 2026 11:00:00 GMT";
    assert_eq!(fresh(200, &[changed]), Some(300));
    let guessing = Terms { guess: Some(86_400), ..terms() };
    let fresh =
        |status, lines: &[&str]| judged(&guessing, status, lines).ok().map(|kept| kept.fresh());
    assert_eq!(fresh(200, &[changed]), Some(360), "a tenth of an hour");
    assert_eq!(fresh(200, &[]), Some(300));
    assert_eq!(fresh(500, &[changed]), None);
    assert_eq!(fresh(500, &[changed, "cache-control: public"]), Some(360));
}

#[test]
fn only_safe_methods_that_fetch_are_kept() {
    for (method, kept) in [("GET", true), ("HEAD", true), ("QUERY", true), ("POST", false)] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let answer = &["cache-control: max-age=60"];
        let judged = asked(&terms(), (&method, &[], false), 200, answer);
        assert_eq!(judged.is_ok(), kept, "{method}");
    }
    let refuses = asked(&terms(), (&Method::GET, &["cache-control: no-store"], false), 200, &[]);
    assert!(refuses.is_err());
}
