use std::net::IpAddr;

use http::{HeaderMap, Method};

use super::*;
use crate::edge::Scheme;

/// `exact:x`, `contains:x`, `present:true` or `regex:x`.
fn model(name: &str, test: &str) -> FieldMatch {
    let (kind, value) = test.split_once(':').unwrap();
    let given = |wanted| (kind == wanted).then(|| value.to_owned());
    FieldMatch {
        name: name.to_owned(),
        exact: given("exact"),
        contains: given("contains"),
        present: (kind == "present").then(|| value == "true"),
        regex: given("regex"),
        trusted_only: false,
    }
}

fn header(test: &str) -> Condition {
    Condition::header(&model("X-A", test), "p", &mut Problems::default()).unwrap()
}

fn parameter(test: &str) -> Condition {
    Condition::query(&model("q", test), "p", &mut Problems::default()).unwrap()
}

fn holds(condition: &Condition, query: Option<&str>, lines: &[&[u8]]) -> bool {
    let headers: HeaderMap = lines
        .iter()
        .map(|line| (HeaderName::from_static("x-a"), HeaderValue::from_bytes(line).unwrap()))
        .collect();
    judge(condition, query, &headers, false) == Standing::Holds
}

fn judge(
    condition: &Condition,
    query: Option<&str>,
    headers: &HeaderMap,
    peer_trusted: bool,
) -> Standing {
    let view = RequestView {
        method: &Method::GET,
        scheme: Scheme::Http,
        host: "h".into(),
        port: None,
        path: "/".into(),
        query,
        headers,
        client: IpAddr::from([127, 0, 0, 1]),
        peer_trusted,
        certificate: None,
    };
    condition.judge(&view, &Caller::default())
}

fn holds_for(test: &str, lines: &[&[u8]]) -> bool {
    holds(&header(test), None, lines)
}

#[test]
fn exact_is_the_whole_value() {
    assert!(holds_for("exact:enabled", &[b"enabled"]));
    for other in [&b"Enabled"[..], b"enabled2", b"enabled, x", b"", b"\xff"] {
        assert!(!holds_for("exact:enabled", &[other]), "{other:?}");
    }
    assert!(!holds_for("exact:enabled", &[]));
    assert!(holds_for("exact:", &[b""]));
    assert!(!holds_for("exact:", &[]));
    assert!(holds_for("exact:a, b", &[b"a", b"b"]), "lines are one list");
    assert!(!holds_for("exact:a", &[b"a", b"b"]));
}

#[test]
fn contains_is_one_whole_item() {
    for list in [&b"new-checkout"[..], b"a,new-checkout", b"a , new-checkout ,b"] {
        assert!(holds_for("contains:new-checkout", &[list]), "{list:?}");
    }
    assert!(holds_for("contains:new-checkout", &[b"a", b"b, new-checkout"]));
    for list in [&b"new-checkout-2"[..], b"xnew-checkout", b"new checkout", b"", b"a b"] {
        assert!(!holds_for("contains:new-checkout", &[list]), "{list:?}");
    }
}

#[test]
fn presence_has_two_sides() {
    assert!(holds_for("present:true", &[b""]) && !holds_for("present:true", &[]));
    assert!(!holds_for("present:false", &[b""]) && holds_for("present:false", &[]));
    assert!(holds_for("present:true", &[b"\xff", b"x"]), "whatever it holds");
}

#[test]
fn expressions_match_the_whole_value() {
    assert!(holds_for("regex:v[0-9]+", &[b"v12"]));
    for value in [&b"xv12"[..], b"v12x", b"v", b"\xff"] {
        assert!(!holds_for("regex:v[0-9]+", &[value]), "{value:?}");
    }
    assert!(!holds_for("regex:.*", &[]), "no value is not an empty value");
    assert!(holds_for("regex:a, b", &[b"a", b"b"]));
}

#[test]
fn parameters_are_compared_decoded() {
    let at = |test: &str, query| holds(&parameter(test), query, &[]);
    assert!(at("exact:a b", Some("x=1&q=a+b")) && at("exact:a b", Some("%71=a%20b")));
    assert!(!at("exact:a", Some("q=b&q=a")), "the first counts");
    assert!(at("exact:", Some("q")) && at("exact:", Some("q=")));
    assert!(!at("exact:", Some("")) && !at("exact:", None));
    assert!(at("contains:b", Some("q=a,b")) && at("contains:b", Some("q=a%2Cb")));
    assert!(at("regex:[a-c]", Some("q=%62")) && !at("regex:[a-c]", Some("q=d")));
    assert!(at("present:true", Some("q=")) && !at("present:true", Some("qq=1")));
    assert!(at("present:false", Some("qq=1")) && !at("present:false", Some("q")));
}

#[test]
fn conditions_that_cannot_hold_together_exclude_each_other() {
    let pairs = [
        ("exact:a", "exact:b", true),
        ("exact:a", "exact:a", false),
        ("exact:a", "present:false", true),
        ("contains:a", "present:false", true),
        ("regex:.*", "present:false", true),
        ("present:true", "present:false", true),
        ("present:false", "present:false", false),
        ("present:true", "exact:a", false),
        ("exact:a, b", "contains:b", false),
        ("exact:a", "contains:b", true),
        ("exact:a", "regex:[a-c]", false),
        ("exact:d", "regex:[a-c]", true),
        ("contains:a", "contains:b", false),
        ("regex:a", "regex:b", false),
    ];
    for (a, b, excludes) in pairs {
        assert_eq!(header(a).excludes(&header(b)), excludes, "{a} {b}");
        assert_eq!(parameter(b).excludes(&parameter(a)), excludes, "{a} {b}");
        assert!(!header(a).excludes(&parameter(b)), "{a} {b}: other fields");
    }
}

#[test]
fn wrong_conditions_are_reported() {
    let mut none = model("x-a", "exact:a");
    none.exact = None;
    let two = FieldMatch { present: Some(true), ..model("x-a", "exact:a") };
    let wrong = [
        (none, INVALID),
        (two, INVALID),
        (model("x a", "exact:a"), INVALID),
        (model("host", "exact:a"), INVALID),
        (model("x-a", "contains: "), INVALID),
        (model("x-a", "contains:a,b"), INVALID),
        (model("x-a", "regex:("), "route.regex_invalid"),
    ];
    for (model, code) in wrong {
        let mut problems = Problems::default();
        assert!(Condition::header(&model, "routes[0]", &mut problems).is_none());
        let found: Vec<_> = problems.0.iter().map(|p| (p.code, p.path.as_str())).collect();
        assert_eq!(found, [(code, "routes[0]")], "{model:?}");
    }
    let mut problems = Problems::default();
    assert!(Condition::query(&model("", "exact:a"), "p", &mut problems).is_none());
    assert!(problems.has_errors());
}

#[test]
fn a_header_for_trusted_proxies_counts_only_from_them() {
    let with = |trusted_only, test: &str| {
        let model = FieldMatch { trusted_only, ..model("x-a", test) };
        Condition::header(&model, "p", &mut Problems::default()).unwrap()
    };
    let headers = HeaderMap::from_iter([(
        HeaderName::from_static("x-a"),
        HeaderValue::from_static("enabled"),
    )]);
    let (enabled, absent) = ("exact:enabled", "present:false");
    assert_eq!(judge(&with(true, enabled), None, &headers, true), Standing::Holds);
    assert_eq!(judge(&with(true, enabled), None, &headers, false), Standing::Fails);
    assert_eq!(judge(&with(false, enabled), None, &headers, false), Standing::Holds);
    assert_eq!(judge(&with(true, absent), None, &HeaderMap::new(), true), Standing::Holds);
    assert_eq!(judge(&with(true, absent), None, &HeaderMap::new(), false), Standing::Fails);
    assert_eq!(judge(&with(true, absent), None, &headers, true), Standing::Fails);
    assert_eq!(with(true, enabled).to_string(), "header `x-a` from a trusted proxy is `enabled`");
}

#[test]
fn versions_are_compared_without_their_letter() {
    let asks = |wanted: &str, lines: &[&'static str]| {
        let wanted = Condition::version(wanted, "p", &mut Problems::default()).unwrap();
        let line = |line: &&'static str| (ACCEPT_VERSION, HeaderValue::from_static(line));
        let headers: HeaderMap = lines.iter().map(line).collect();
        judge(&wanted, None, &headers, false) == Standing::Holds
    };
    for version in ["v2", "2", "V2", " v2 "] {
        assert!(asks("v2", &[version]) && asks("2", &[version]), "{version:?}");
        assert!(!asks("v1", &[version]) && !asks("v2.0", &[version]), "{version:?}");
    }
    for lines in [&[][..], &[""], &["v"], &["v2, v1"], &["v2", "v1"], &["v2", "v2"], &["22"]] {
        assert!(!asks("v2", lines), "{lines:?}");
    }
    assert!(asks("2024-01-31", &["2024-01-31"]));
    for wrong in ["", "v", "v 2", "v1,v2", "v2;q=1", "v\u{fc}"] {
        let mut problems = Problems::default();
        assert!(Condition::version(wrong, "p", &mut problems).is_none(), "{wrong}");
        assert_eq!(problems.0[0].code, INVALID);
    }
}
