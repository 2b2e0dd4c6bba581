//! The rules one by one.

use serde_json::json;

use super::super::level::EVALUATIONS;
use super::super::{Found, Verdict};
use super::*;

fn ask(table: &Table, request: &str) -> String {
    answer(table, &Request::new(request))
}

#[test]
fn the_seeds_example_routes_as_written() {
    let table = table(&[json!({
        "name": "checkout-orders", "host": "api.example.com", "pathPrefix": "/v1/orders",
        "methods": ["GET", "POST"]
    })]);
    assert_eq!(ask(&table, "GET api.example.com/v1/orders"), "checkout-orders");
    assert_eq!(ask(&table, "POST api.example.com/v1/orders/7"), "checkout-orders");
    assert_eq!(ask(&table, "PATCH api.example.com/v1/orders"), "405 GET, POST");
    assert_eq!(ask(&table, "GET api.example.com/v1/ordersx"), "404");
    assert_eq!(ask(&table, "GET other.example.com/v1/orders"), "404");
}

#[test]
fn hosts_go_from_specific_to_any() {
    let table = table(&[
        json!({"name": "any", "path": "/x"}),
        json!({"name": "com", "host": "*.example.com", "path": "/x"}),
        json!({"name": "eu", "host": "*.eu.example.com", "path": "/x"}),
        json!({"name": "api", "host": "api.eu.example.com", "path": "/x"}),
        json!({"name": "api-y", "host": "api.eu.example.com", "path": "/y"}),
        json!({"name": "com-y", "host": "*.example.com", "pathPrefix": "/y"}),
    ]);
    assert_eq!(ask(&table, "GET api.eu.example.com/x"), "api");
    assert_eq!(ask(&table, "GET b.eu.example.com/x"), "eu");
    assert_eq!(ask(&table, "GET a.b.eu.example.com/x"), "eu");
    assert_eq!(ask(&table, "GET eu.example.com/x"), "com", "not below itself");
    assert_eq!(ask(&table, "GET example.com/x"), "any");
    assert_eq!(ask(&table, "GET aexample.com/x"), "any");
    assert_eq!(ask(&table, "GET api.eu.example.com/y"), "api-y");
    assert_eq!(ask(&table, "GET api.eu.example.com/y/z"), "com-y", "hosts fall through");
    assert_eq!(ask(&table, "GET example.com/y"), "404");
}

#[test]
fn paths_go_from_exact_to_short() {
    let table = table(&[
        json!({"name": "all"}),
        json!({"name": "v1", "pathPrefix": "/v1/"}),
        json!({"name": "admin", "pathPrefix": "/v1/admin"}),
        json!({"name": "exact", "path": "/v1/admin/x"}),
        json!({"name": "short", "pathRegex": "/v1/.*/export"}),
        json!({"name": "long", "pathRegex": "/v1/admin/[0-9]+"}),
        json!({"name": "same", "pathRegex": "/v1/admin.*!"}),
    ]);
    assert_eq!(ask(&table, "GET h/v1/admin/x"), "exact");
    assert_eq!(ask(&table, "GET h/v1/admin/x/"), "admin");
    assert_eq!(ask(&table, "GET h/v1/admin/7"), "long");
    assert_eq!(ask(&table, "GET h/v1/admin/7a"), "admin");
    assert_eq!(ask(&table, "GET h/v1/admin/7/export"), "admin", "the longer literal");
    assert_eq!(ask(&table, "GET h/v1/orders/export"), "short", "same length: expression first");
    assert_eq!(ask(&table, "GET h/v1/admin/x!"), "same");
    assert_eq!(ask(&table, "GET h/v1/administrator"), "v1");
    assert_eq!(ask(&table, "GET h/v1"), "all");
    assert_eq!(ask(&table, "GET h/"), "all");
}

#[test]
fn expressions_are_evaluated_only_where_they_can_decide() {
    let table = table(&[
        json!({"name": "exact", "path": "/users/me"}),
        json!({"name": "orders", "pathPrefix": "/users/orders"}),
        json!({"name": "regex", "pathRegex": "/users/[^/]+"}),
        json!({"name": "all"}),
    ]);
    let evaluated = |request: &str, expected: &str| {
        let before = EVALUATIONS.get();
        assert_eq!(ask(&table, request), expected);
        EVALUATIONS.get() - before
    };
    assert_eq!(evaluated("GET h/users/me", "exact"), 0);
    assert_eq!(evaluated("GET h/users/orders/1", "orders"), 0);
    assert_eq!(evaluated("GET h/other", "all"), 0);
    assert_eq!(evaluated("GET h/users/7", "regex"), 1);
    assert_eq!(evaluated("GET h/users/7/x", "all"), 1);
}

#[test]
fn listed_methods_then_conditions_then_priority() {
    let canary = json!([{"name": "x-canary-group", "exact": "enabled"}]);
    let table = table(&[
        json!({"name": "stable", "pathPrefix": "/x", "methods": ["GET"]}),
        json!({"name": "canary", "pathPrefix": "/x", "methods": ["GET"], "headers": canary}),
        json!({"name": "rest", "pathPrefix": "/x", "headers": canary}),
        json!({"name": "v1", "pathPrefix": "/y", "methods": ["GET"], "priority": 5,
            "query": [{"name": "a", "present": true}]}),
        json!({"name": "v2", "pathPrefix": "/y", "methods": ["GET"], "priority": 10,
            "query": [{"name": "b", "present": true}]}),
    ]);
    let canary = |request: &str, value: &str| {
        answer(&table, &Request::new(request).header("x-canary-group", value))
    };
    assert_eq!(canary("GET h/x", "enabled"), "canary");
    assert_eq!(canary("GET h/x", "disabled"), "stable");
    assert_eq!(ask(&table, "GET h/x"), "stable");
    assert_eq!(canary("PUT h/x", "enabled"), "rest");
    assert_eq!(ask(&table, "PUT h/x"), "405 GET");
    assert_eq!(ask(&table, "GET h/y?a&b"), "v2");
    assert_eq!(ask(&table, "GET h/y?a"), "v1");
    assert_eq!(ask(&table, "GET h/y"), "404");
}

#[test]
fn a_specific_level_refuses_what_a_general_one_would_allow() {
    let enabled = json!([{"name": "x-a", "present": true}]);
    let table = table(&[
        json!({"name": "all"}),
        json!({"name": "admin", "pathPrefix": "/admin", "methods": ["POST", "GET", "PURGE"]}),
        json!({"name": "more", "pathPrefix": "/admin", "methods": ["PUT", "GET"],
            "headers": enabled}),
        json!({"name": "post", "pathRegex": "/admin.*z", "methods": ["POST"]}),
        json!({"name": "flag", "pathPrefix": "/flag", "methods": ["GET"], "headers": enabled}),
    ]);
    assert_eq!(ask(&table, "DELETE h/admin/x"), "405 GET, POST, PURGE");
    assert_eq!(ask(&table, "PURGE h/admin/x"), "admin");
    let with = Request::new("DELETE h/admin/x").header("x-a", "");
    assert_eq!(answer(&table, &with), "405 GET, POST, PURGE, PUT", "conditions that hold count");
    assert_eq!(ask(&table, "GET h/admin/z"), "405 POST", "the expression decides first");
    assert_eq!(ask(&table, "DELETE h/flag"), "all", "conditions that fail do not");
    assert_eq!(answer(&table, &Request::new("DELETE h/flag").header("x-a", "")), "405 GET");
}

#[test]
fn head_goes_where_get_goes_unless_listed() {
    let flag = json!([{"name": "x-a", "present": true}]);
    let table = table(&[
        json!({"name": "get", "path": "/x", "methods": ["GET"]}),
        json!({"name": "any", "path": "/x"}),
        json!({"name": "head-y", "path": "/y", "methods": ["HEAD"]}),
        json!({"name": "get-y", "path": "/y", "methods": ["GET"], "headers": flag}),
        json!({"name": "head-z", "path": "/z", "methods": ["HEAD"], "headers": flag}),
        json!({"name": "get-z", "path": "/z", "methods": ["GET"]}),
        json!({"name": "any-w", "path": "/w"}),
        json!({"name": "post", "path": "/p", "methods": ["POST"]}),
    ]);
    let flagged = |request: &str| answer(&table, &Request::new(request).header("x-a", ""));
    assert_eq!(ask(&table, "HEAD h/x"), "get");
    assert_eq!(flagged("HEAD h/y"), "head-y", "listing wins over more conditions");
    assert_eq!(flagged("GET h/y"), "get-y");
    assert_eq!(flagged("HEAD h/z"), "head-z");
    assert_eq!(ask(&table, "HEAD h/z"), "get-z", "the listing route is no candidate");
    assert_eq!(ask(&table, "HEAD h/w"), "any-w");
    assert_eq!(ask(&table, "HEAD h/p"), "405 POST");
    assert_eq!(ask(&table, "OPTIONS h/p"), "405 POST", "nothing implies OPTIONS");
}

#[test]
fn every_problem_of_every_route_is_reported() {
    let (table, problems) = compile(&[
        json!({"host": "a b", "pathPrefix": "v1", "methods": ["get", "GE T"], "headers": [
            {"name": "x"}, {"name": "x y", "exact": "1"}], "query": [{"name": ""}]}),
        json!({"pathRegex": "("}),
    ]);
    let found: Vec<_> = problems.0.iter().map(|p| (p.code, p.path.as_str())).collect();
    assert_eq!(
        found,
        [
            ("route.host_invalid", "routes[0].match.host"),
            ("route.path_invalid", "routes[0].match.pathPrefix"),
            ("route.method_invalid", "routes[0].match.methods[0]"),
            ("route.method_invalid", "routes[0].match.methods[1]"),
            ("route.condition_invalid", "routes[0].match.headers[0]"),
            ("route.condition_invalid", "routes[0].match.headers[1]"),
            ("route.condition_invalid", "routes[0].match.query[0]"),
            ("route.regex_invalid", "routes[1].match.pathRegex"),
        ]
    );
    assert_eq!(problems.0[2].help.as_deref(), Some("write `GET`"));
    assert_eq!(ask(&table, "GET h/"), "404");
}

#[test]
fn a_trace_says_why() {
    let table = table(&[
        json!({"name": "all"}),
        json!({"name": "host", "host": "a", "pathPrefix": "/x"}),
        json!({"name": "exact", "host": "a", "path": "/x/y"}),
        json!({"name": "other-host", "host": "*.b"}),
        json!({"name": "post", "host": "a", "path": "/x/y", "methods": ["POST"]}),
        json!({"name": "flag", "host": "a", "path": "/x/y",
            "headers": [{"name": "x-a", "exact": "1"}]}),
        json!({"name": "low", "host": "a", "path": "/x/y", "priority": -1,
            "query": [{"name": "q", "present": false}]}),
    ]);
    let trace = |request: &str| -> Vec<(String, String)> {
        let words = |verdict| match verdict {
            Verdict::Chosen => "chosen".to_owned(),
            Verdict::Outranked(why) => format!("outranked: {why}"),
            Verdict::Failed(why) => format!("failed: {why}"),
        };
        let candidates = table.trace(&Request::new(request).view(), &Caller::default());
        candidates.into_iter().map(|c| (c.name.to_string(), words(c.verdict))).collect()
    };
    let told = trace("GET a/x/y?q");
    let told: Vec<(&str, &str)> = told.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
    assert_eq!(
        told,
        [
            ("exact", "chosen"),
            ("all", "outranked: `exact` has the more specific host, `a`"),
            ("host", "outranked: `exact` has the exact path"),
            ("other-host", "failed: host `a` is not below `b`"),
            ("post", "failed: method GET is not one of POST"),
            ("flag", "failed: not met: header `x-a` is `1`"),
            ("low", "failed: not met: parameter `q` is not there"),
        ]
    );
    assert_eq!(trace("GET a/x/y")[0].0, "low");
    assert!(trace("POST a/x/y?q")[1].1.contains("`post`"), "{:?}", trace("POST a/x/y?q"));
    let found = table.find(&Request::new("GET c/").view(), &Caller::default());
    assert!(matches!(found, Found::Route(_)));
}

#[test]
fn places_are_where_some_routes_may_take_a_request_whatever_else_they_ask() {
    let table = table(&[
        json!({"name": "kept", "host": "*.example.com", "pathPrefix": "/a", "methods": ["GET"],
            "headers": [{"name": "x-beta", "exact": "1"}]}),
        json!({"name": "other", "pathPrefix": "/a/b"}),
        json!({"name": "rest", "pathPrefix": "/"}),
    ]);
    let places = table.places(|route| route == RouteIndex(0));
    for (request, path, expected) in [
        ("POST api.example.com/x", "/a", true),
        ("POST api.example.com/x", "/a/b/c", true),
        ("POST api.example.com/x", "/ab", false),
        ("POST api.example.com/a", "/x", false),
        ("POST example.org/x", "/a", false),
    ] {
        assert_eq!(places.hold(&Request::new(request).view(), path), expected, "{request} {path}");
    }
}
