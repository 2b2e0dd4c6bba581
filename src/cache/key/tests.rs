use http::{HeaderValue, Method};
use pingora_cache::key::CacheHashKey;
use proptest::prelude::*;

use sha2::{Digest, Sha256};

use super::super::fixtures::{API_KEY, Request, caller, headers, policy};
use super::{Encoder, Factor, bypass, consider};
use crate::cache::CachePolicy;
use crate::edge::Scheme;

fn encode<'a>(factors: impl IntoIterator<Item = (&'a str, &'a str)>) -> Vec<u8> {
    let mut encoder = Encoder::new();
    for (name, value) in factors {
        encoder.push(name, value);
    }
    encoder.finish()
}

fn key(policy: &CachePolicy, request: &Request) -> [u8; 32] {
    request.with(|facts| consider(policy, facts)).unwrap().key
}

fn rich() -> (CachePolicy, Request) {
    let policy = policy(
        "{key: {tenant: true, user: true, language: [en, de], headers: [accept, x-empty, x-none]}}",
    );
    let request = Request {
        query: Some("b=2&a=1"),
        headers: headers(&[("accept", "text/html"), ("x-empty", ""), ("accept-language", "de")]),
        identity: Some(caller("main", "ada", "acme")),
        ..Request::default()
    };
    (policy, request)
}

#[test]
fn explained_factors_are_the_encoded_ones() {
    let (policy, request) = rich();
    let factors = request.with(|facts| policy.factors(facts));
    let shown: Vec<(&str, &str)> =
        factors.iter().map(|factor| (&*factor.name, &*factor.value)).collect();
    assert_eq!(
        shown,
        [
            ("method", "GET"),
            ("scheme", "https"),
            ("host", "api.example.com"),
            ("path", "/v1/orders"),
            ("query", "a=1"),
            ("query", "b=2"),
            ("route", "orders"),
            ("tenant", "acme"),
            ("provider", "main"),
            ("user", "ada"),
            ("language", "de"),
            ("header:accept", "text/html"),
            ("header:x-empty", ""),
        ]
    );
    let digest: [u8; 32] = Sha256::digest(encode(shown)).into();
    assert_eq!(digest, key(&policy, &request));
}

#[test]
fn every_factor_tells_requests_apart() {
    let (policy, _) = rich();
    let changes: [fn(&mut Request); 11] = [
        |request| request.scheme = Scheme::Http,
        |request| request.host = "www.example.com",
        |request| request.path = "/v1/orders/1",
        |request| request.query = Some("a=1&b=3"),
        |request| request.query = None,
        |request| request.identity = Some(caller("main", "ada", "globex")),
        |request| request.identity = Some(caller("main", "eve", "acme")),
        |request| request.identity = Some(caller("other", "ada", "acme")),
        |request| drop(request.headers.remove("accept-language")),
        |request| drop(request.headers.remove("x-empty")),
        |request| assert!(request.headers.append("accept", HeaderValue::from_static("*/*"))),
    ];
    let mut keys = vec![key(&policy, &rich().1)];
    for change in changes {
        let mut request = rich().1;
        change(&mut request);
        keys.push(key(&policy, &request));
    }
    let count = keys.len();
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), count);
}

#[test]
fn what_is_not_a_factor_changes_nothing() {
    let (policy, request) = rich();
    let before = key(&policy, &request);
    let mut other = rich().1;
    other.method = Method::HEAD;
    other.query = Some("a=1&b=2");
    for name in ["x-other", "range", "x-tenant-id", "if-none-match"] {
        other.headers.insert(name, HeaderValue::from_static("1"));
    }
    assert_eq!(key(&policy, &other), before);
}

#[test]
fn routes_do_not_share() {
    let compile = |route: &str| {
        let mut problems = crate::model::Problems::default();
        let model = crate::model::Cache::default();
        CachePolicy::compile(&model, route, false, &API_KEY, "", &mut problems).unwrap()
    };
    let request = Request::default();
    assert_ne!(key(&compile("a"), &request), key(&compile("b"), &request));
}

#[test]
fn header_values_that_are_not_text_stay_apart() {
    let policy = policy("{key: {headers: [x-a]}}");
    let with = |value: &[u8]| {
        let mut request = Request::default();
        request.headers.insert("x-a", HeaderValue::from_bytes(value).unwrap());
        (key(&policy, &request), request.with(|facts| policy.factors(facts)))
    };
    let (ff, factors) = with(b"\xff");
    assert_eq!(
        factors.last(),
        Some(&Factor { name: "header:x-a (hex)".to_owned(), value: "ff".to_owned() })
    );
    assert_ne!(ff, with(b"\xfe").0);
    assert_ne!(ff, with(b"ff").0);
    assert_ne!(ff, with("\u{fffd}".as_bytes()).0);
}

/// Why a request bypasses the cache of a plain policy.
fn refused(change: impl FnOnce(&mut Request)) -> Option<&'static str> {
    let mut request = Request::default();
    change(&mut request);
    let policy = policy("{}");
    request.with(|facts| {
        assert_eq!(consider(&policy, facts).is_none(), bypass(&policy, facts).is_some());
        bypass(&policy, facts)
    })
}

#[test]
fn methods_and_headers_that_bypass() {
    assert_eq!(refused(|_| ()), None);
    assert_eq!(refused(|request| request.method = Method::HEAD), None);
    for method in [Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
        assert!(refused(|request| request.method = method).is_some());
    }
    for (name, value, bypasses) in [
        ("cache-control", "no-store", true),
        ("cache-control", "max-stale=5 , No-Cache", false),
        ("cache-control", "max-age=0", false),
        ("cache-control", "max-age=10", false),
        ("cache-control", "only-if-cached", false),
        ("range", "bytes=0-1", false),
        ("if-none-match", "\"a\"", false),
        ("if-match", "\"a\"", true),
        ("if-unmodified-since", "Thu, 01 Jan 1970 00:00:00 GMT", true),
        ("upgrade", "websocket", true),
        ("content-length", "0", false),
        ("content-length", "1", true),
        ("transfer-encoding", "chunked", true),
    ] {
        let reason = refused(|request| request.headers = headers(&[(name, value)]));
        assert_eq!(reason.is_some(), bypasses, "{name}: {value}");
    }
}

#[test]
fn nobody_shares_by_absence() {
    for (yaml, identity, usable) in [
        ("{key: {user: true}}", None, false),
        ("{key: {user: true}}", Some(caller("main", "", "acme")), false),
        ("{key: {user: true}}", Some(caller("main", "ada", "")), true),
        ("{key: {tenant: true}}", None, false),
        ("{key: {tenant: true}}", Some(caller("main", "ada", "")), false),
        ("{key: {tenant: true}}", Some(caller("main", "ada", "acme")), true),
        ("{shared: true}", None, true),
    ] {
        let policy = policy(yaml);
        let request = Request { identity, ..Request::default() };
        assert_eq!(request.with(|facts| consider(&policy, facts)).is_some(), usable, "{yaml}");
    }
}

#[test]
fn hidden_separators_bypass_where_some_parameters_do_not_count() {
    let request = Request { query: Some("utm=1;version=2"), ..Request::default() };
    let some = policy("{key: {query: [version]}}");
    assert!(request.with(|facts| consider(&some, facts)).is_none());
    assert!(request.with(|facts| consider(&policy("{}"), facts)).is_some());
}

#[test]
fn the_digest_is_what_pingora_files_the_entry_under() {
    let (policy, request) = rich();
    let plan = request.with(|facts| consider(&policy, facts)).unwrap();
    assert_eq!(plan.digest().len(), 64);
    assert_eq!(plan.digest()[..32], plan.pingora_key().combined());
    assert_eq!(plan.pingora_key().primary_key(), plan.key);
}

#[test]
fn the_service_is_told_the_language_of_the_key() {
    let (policy, request) = rich();
    assert_eq!(policy.language(&request.headers).unwrap(), "de");
    assert_eq!(policy.language(&headers(&[])).unwrap(), "en");
}

/// The collision of the seed's own example (T10).
#[test]
fn separators_in_values_do_not_move_boundaries() {
    assert_ne!(
        encode([("path", "/x:acme"), ("tenant", "public")]),
        encode([("path", "/x"), ("tenant", "acme:public")])
    );
}

proptest! {
    /// Two different lists never encode to the same bytes. The alphabet holds the bytes that
    /// lengths and counts are made of, and few others, so that lists are often nearly alike.
    #[test]
    fn the_encoding_is_injective(
        one in proptest::collection::vec(("[\u{0}-\u{3}a]{0,3}", "[\u{0}-\u{3}a]{0,3}"), 0..4),
        other in proptest::collection::vec(("[\u{0}-\u{3}a]{0,3}", "[\u{0}-\u{3}a]{0,3}"), 0..4),
    ) {
        let bytes = |list: &[(String, String)]| {
            encode(list.iter().map(|(name, value)| (name.as_str(), value.as_str())))
        };
        prop_assert_eq!(bytes(&one) == bytes(&other), one == other);
    }

    /// Cutting one text at two places never gives the same bytes, whatever the text.
    #[test]
    fn boundaries_count(text in "\\PC{1,40}", cuts in (0_usize..40, 0_usize..40)) {
        let at = |cut: usize| text.split_at_checked(cut);
        if let (Some(one), Some(other)) = (at(cuts.0), at(cuts.1)) {
            prop_assert_eq!(encode([one]) == encode([other]), cuts.0 == cuts.1);
            prop_assert_ne!(encode([one]), encode([("", one.0), ("", one.1)]));
        }
    }

    /// What can be read back is no other list's encoding: whatever the list, and however long its
    /// texts, the encoding says where each ends.
    #[test]
    fn every_list_can_be_read_back(
        list in proptest::collection::vec((any::<String>(), any::<String>()), 0..12),
        long in 0_usize..70_000,
    ) {
        let mut list = list;
        if let Some((name, _)) = list.first_mut() {
            *name = "x".repeat(long);
        }
        let bytes = encode(list.iter().map(|(name, value)| (name.as_str(), value.as_str())));
        prop_assert_eq!(decode(&bytes), Some(list));
    }

    /// A letter that wanders from one text to the next makes another list of it.
    #[test]
    fn no_letter_wanders(
        list in proptest::collection::vec(("[:a\u{0}\u{1}]{0,4}", "[:a\u{0}\u{1}]{0,4}"), 1..5),
        from in 0_usize..10,
        forth in any::<bool>(),
    ) {
        let mut texts: Vec<String> =
            list.iter().flat_map(|(name, value)| [name.clone(), value.clone()]).collect();
        let from = from % (texts.len() - 1);
        let letter = if forth {
            texts[from].pop()
        } else {
            (!texts[from + 1].is_empty()).then(|| texts[from + 1].remove(0))
        };
        prop_assume!(letter.is_some());
        if forth {
            texts[from + 1].insert(0, letter.unwrap());
        } else {
            texts[from].push(letter.unwrap());
        }
        let pairs = |texts: &[String]| {
            encode(texts.chunks(2).map(|pair| (pair[0].as_str(), pair[1].as_str())))
        };
        let before: Vec<String> =
            list.iter().flat_map(|(name, value)| [name.clone(), value.clone()]).collect();
        prop_assert_ne!(pairs(&before), pairs(&texts));
    }

    /// Requests share a key if they agree in every factor, and in no other case; the values are
    /// such that joining them with any separator would make some alike.
    #[test]
    fn requests_share_a_key_only_if_they_agree(one in factors(), other in factors()) {
        let policy = policy("{key: {tenant: true, user: true, headers: [x-a, x-b]}}");
        let key = |[host, path, tenant, user, a, b]: [usize; 6]| {
            let request = Request {
                host: HOSTS[host],
                path: PATHS[path],
                headers: headers(&[("x-a", TEXTS[a]), ("x-b", TEXTS[b])]),
                identity: Some(caller("main", TEXTS[user], TEXTS[tenant])),
                ..Request::default()
            };
            key(&policy, &request)
        };
        prop_assert_eq!(key(one) == key(other), one == other);
    }
}

const HOSTS: [&str; 3] = ["a", "a.b", "b"];
const PATHS: [&str; 4] = ["/", "/a", "/a:b", "/a/tenant"];
const TEXTS: [&str; 6] = ["a", "a:b", "b", "a,b", "a b", "tenant:a"];

/// One value for each factor; most of them agree with those of another request.
fn factors() -> impl Strategy<Value = [usize; 6]> {
    let text = || prop_oneof![4 => Just(0), 1 => 0..TEXTS.len()];
    let host = prop_oneof![4 => Just(0), 1 => 0..HOSTS.len()];
    let path = prop_oneof![4 => Just(0), 1 => 0..PATHS.len()];
    (host, path, text(), text(), text(), text())
        .prop_map(|(host, path, tenant, user, a, b)| [host, path, tenant, user, a, b])
}

/// Reads an encoding back; none where it is none, or holds more than it says.
fn decode(bytes: &[u8]) -> Option<Vec<(String, String)>> {
    let mut rest = bytes;
    let number = |rest: &mut &[u8]| {
        let (number, behind) = rest.split_first_chunk::<8>()?;
        *rest = behind;
        usize::try_from(u64::from_be_bytes(*number)).ok()
    };
    let text = |rest: &mut &[u8]| {
        let length = number(rest)?;
        let (text, behind) = rest.split_at_checked(length)?;
        *rest = behind;
        String::from_utf8(text.to_vec()).ok()
    };
    let count = number(&mut rest)?;
    let mut list = Vec::new();
    for _ in 0..count {
        list.push((text(&mut rest)?, text(&mut rest)?));
    }
    rest.is_empty().then_some(list)
}
