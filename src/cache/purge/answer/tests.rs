use std::borrow::Cow;

use super::super::super::fixtures::{Request, caller, headers, policy};
use super::*;

const KEY: super::super::super::KeyHash = [1; 32];

fn tags(fields: &[(&str, &str)]) -> Result<Tags, &'static str> {
    let policy = policy("{}");
    Request::default().with(|facts| tags_of(&policy, facts, &KEY, &headers(fields)))
}

fn has(fields: &[(&str, &str)], target: &Target<'_>) -> bool {
    tags(fields).unwrap().contains(&target.tag(None))
}

fn group(name: &str) -> Target<'_> {
    Target::Group { scheme: Scheme::Https, host: "api.example.com", name }
}

#[test]
fn tags_of_services() {
    let fields = [
        ("cache-tag", "products:1, a b ,,c"),
        ("Cache-Tag", "d"),
        ("surrogate-key", "e  f,g"),
        ("cache-groups", "\"h\", \"i j\";x=1"),
        ("cache-groups", "\"k\""),
    ];
    for text in ["products:1", "a b", "c", "d", "e", "f,g"] {
        assert!(has(&fields, &Target::Text(text.as_bytes())), "{text}");
    }
    for text in ["", "a", "f", "h", "Products:1"] {
        assert!(!has(&fields, &Target::Text(text.as_bytes())), "{text}");
    }
    for name in ["h", "i j", "k"] {
        assert!(has(&fields, &group(name)), "{name}");
    }
    let elsewhere = Target::Group { scheme: Scheme::Https, host: "other.example.com", name: "h" };
    assert!(!has(&fields, &elsewhere));
    let text = b"caf\xc3\xa9";
    assert!(has(&[("cache-tag", "café")], &Target::Text(text)));
}

#[test]
fn groups_that_are_no_list_of_strings_are_none() {
    for wrong in ["h", "\"h\", x", "\"h\", (\"i\")", "\"h", "\"h\" \"i\"", ":aA==:, \"h\""] {
        assert!(!has(&[("cache-groups", wrong)], &group("h")), "{wrong}");
    }
    assert!(!has(&[("cache-groups", "\"h\""), ("cache-groups", "x,")], &group("h")));
}

#[test]
fn an_answer_with_more_tags_than_are_kept_is_not_kept() {
    let list = |count: usize| (0..count).map(|n| format!("t{n}")).collect::<Vec<_>>().join(",");
    assert!(tags(&[("cache-tag", &list(ANSWER_TAGS_MAX))]).is_ok());
    assert!(tags(&[("cache-tag", &list(ANSWER_TAGS_MAX + 1))]).is_err());
    assert!(tags(&[("cache-tag", &list(ANSWER_TAGS_MAX)), ("surrogate-key", "x")]).is_err());
    assert!(tags(&[("cache-tag", &"x".repeat(TAG_BYTES_MAX))]).is_ok());
    assert!(tags(&[("cache-tag", &"x".repeat(TAG_BYTES_MAX + 1))]).is_err());
    // RFC 9875 section 2: so many groups of that length are understood.
    let groups: Vec<String> = (0..128).map(|n| format!("\"{n:0>128}\"")).collect();
    assert!(tags(&[("cache-groups", &groups.join(", "))]).is_ok());
}

#[test]
fn tags_of_the_configuration_are_compiled_into_the_entry() {
    let mut problems = crate::model::Problems::default();
    let written = ["products:{path.2}".to_owned(), "tenant:{tenant}".to_owned()];
    let templates =
        super::super::template::TagTemplates::compile(&written, None, true, "t", &mut problems);
    let policy = policy("{key: {tenant: true}}").with_tags(templates);
    let request = Request { identity: Some(caller("main", "alice", "acme")), ..Request::default() };
    let tags = request.with(|facts| tags_of(&policy, facts, &KEY, &headers(&[])).unwrap());
    for text in ["products:orders", "tenant:acme"] {
        for tenant in [None, Some("acme")] {
            assert!(tags.contains(&Target::Text(text.as_bytes()).tag(tenant)), "{text}");
        }
        assert!(!tags.contains(&Target::Text(text.as_bytes()).tag(Some("umbrella"))));
    }
}

/// An entry that callers of several tenants share belongs to none of them.
#[test]
fn only_what_the_key_keeps_apart_belongs_to_a_tenant() {
    let request = Request { identity: Some(caller("main", "alice", "acme")), ..Request::default() };
    for (yaml, own) in
        [("{key: {tenant: true}}", true), ("{key: {user: true}}", true), ("{shared: true}", false)]
    {
        let policy = policy(yaml);
        assert_eq!(request.with(|facts| policy.tenant_of(facts).is_some()), own, "{yaml}");
    }
    let policy = policy("{key: {user: true}}");
    let nobody = Request { identity: Some(caller("main", "alice", "")), ..Request::default() };
    assert!(nobody.with(|facts| policy.tenant_of(facts).is_none()));
}

fn invalidated(request: &Request, status: u16, fields: &[(&str, &str)]) -> Vec<Tag> {
    let status = StatusCode::from_u16(status).unwrap();
    let policy = policy("{key: {query: [page]}}");
    let orders = request.with(|facts| {
        invalidated_by(Some(&policy), facts, (status, &headers(fields)), |path| path != "/not-kept")
    });
    assert!(orders.iter().all(|order| !order.soft));
    orders.iter().flat_map(|order| order.tags.clone()).collect()
}

use super::super::tag::Tag;

fn url(path: &str, parameters: &[&str]) -> Tag {
    let parameters: Vec<Cow<'_, str>> = parameters.iter().map(|&p| p.into()).collect();
    let (scheme, host) = (Scheme::Https, "api.example.com");
    Target::Url(&Url { scheme, host, path, parameters: &parameters }).tag(None)
}

fn post() -> Request {
    Request { method: Method::POST, ..Request::default() }
}

#[test]
fn what_can_be_kept_nowhere_is_left_out() {
    let request = Request { path: "/not-kept", ..post() };
    assert!(invalidated(&request, 200, &[]).is_empty());
    let elsewhere = [("location", "/v1/orders")];
    assert_eq!(invalidated(&request, 201, &elsewhere), [url("/v1/orders", &[])]);
}

#[test]
fn unsafe_methods_invalidate_their_target() {
    let target = url("/v1/orders", &[]);
    for method in ["POST", "PUT", "DELETE", "PATCH", "PURGE"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = Request { method, ..Request::default() };
        for status in [200, 201, 204, 302, 304, 399] {
            assert_eq!(invalidated(&request, status, &[]), [target], "{status}");
        }
        for status in [400, 404, 412, 500, 503] {
            assert!(invalidated(&request, status, &[]).is_empty(), "{status}");
        }
    }
    for method in ["GET", "HEAD", "OPTIONS", "TRACE", "QUERY"] {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        let request = Request { method, ..Request::default() };
        assert!(invalidated(&request, 200, &[("location", "/x")]).is_empty());
    }
}

#[test]
fn the_query_counts_as_the_route_counts_it_and_whole() {
    let request = Request { query: Some("page=1&utm=x"), ..post() };
    let tags = invalidated(&request, 200, &[]);
    assert_eq!(tags, [url("/v1/orders", &["page=1"]), url("/v1/orders", &["page=1", "utm=x"])]);
}

#[test]
fn references_within_the_origin_are_invalidated_too() {
    for (reference, path, parameters) in [
        ("/v1/orders/7", "/v1/orders/7", &[][..]),
        ("orders/7?page=1#x", "/v1/orders/7", &["page=1"]),
        ("../v2/./x", "/v2/x", &[]),
        ("?page=2", "/v1/orders", &["page=2"]),
        ("", "/v1/orders", &[]),
        ("//api.example.com/y", "/y", &[]),
        ("https://API.example.com/y", "/y", &[]),
        ("HTTPS://api.example.com:443/y", "/y", &[]),
        ("https://api.example.com", "/", &[]),
        ("https://api.example.com?page=1", "/", &["page=1"]),
    ] {
        for name in ["location", "content-location"] {
            let tags = invalidated(&post(), 201, &[(name, reference)]);
            assert!(tags.contains(&url(path, parameters)), "{name}: {reference}");
            assert!(tags.contains(&url("/v1/orders", &[])), "{name}: {reference}");
        }
    }
    for reference in [
        "https://evil.example.com/y",
        "//evil.example.com/y",
        "http://api.example.com/y",
        "https://api.example.com:8443/y",
        "ftp://api.example.com/y",
        "https://api.example.com@evil.example.com/y",
        "/y%2Fz",
        "../../../../y",
    ] {
        let tags = invalidated(&post(), 201, &[("location", reference)]);
        assert_eq!(tags, [url("/v1/orders", &[])], "{reference}");
    }
}

/// RFC 9875 section 3.
#[test]
fn groups_are_invalidated_by_unsafe_methods_alone() {
    let field = [("cache-group-invalidation", "\"h\", \"i\"")];
    let tags = invalidated(&post(), 200, &field);
    for name in ["h", "i"] {
        assert!(tags.contains(&group(name).tag(None)), "{name}");
    }
    assert!(invalidated(&Request::default(), 200, &field).is_empty());
    assert!(invalidated(&post(), 500, &field).is_empty());
}
