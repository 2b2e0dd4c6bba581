use serde_json::{Value, json};

use crate::model::{Problem, Problems, Severity};
use crate::routing::Table;
use crate::routing::tests::config;

fn problems(matches: &[Value]) -> Vec<Problem> {
    let mut problems = Problems::default();
    Table::compile(&config(matches), &mut problems);
    problems.0
}

/// The places of ambiguous routes.
fn ambiguous(matches: &[Value]) -> Vec<String> {
    let problems = problems(matches);
    problems.into_iter().filter(|p| p.code == "route.ambiguous").map(|p| p.path).collect()
}

#[test]
fn a_tie_names_both_routes_and_a_request() {
    let found = problems(&[
        json!({"host": "api.example.com", "pathPrefix": "/v1/x", "methods": ["GET", "POST"]}),
        json!({"pathPrefix": "/v1/x"}),
        json!({"host": "API.example.com", "pathPrefix": "/v1/x", "methods": ["PUT", "POST"]}),
    ]);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].code, &*found[0].path), ("route.ambiguous", "routes[2].match"));
    assert_eq!(found[0].severity, Severity::Error);
    for word in ["`r0`", "`r2`", "`POST api.example.com/v1/x`"] {
        assert!(found[0].message.contains(word), "{}", found[0].message);
    }
    assert!(found[0].help.as_deref().unwrap().contains("priority"));
}

#[test]
fn the_request_shows_what_it_needs() {
    let found = problems(&[
        json!({"host": "*.a.b", "pathRegex": "/u/[0-9]+", "headers": [
            {"name": "x-a", "exact": "1"}]}),
        json!({"host": "*.a.b", "pathRegex": "/u/[0-9a-f]+", "query": [
            {"name": "q", "present": true}]}),
        json!({"host": "*.c", "pathRegex": "/u/[0-9]+"}),
        json!({"host": "*.c", "pathRegex": "/u/[a-z]+"}),
    ]);
    let told = "`GET any.a.b/u/0` where header `x-a` is `1` and parameter `q` is there";
    assert!(found[0].message.contains(told), "{}", found[0].message);
    // Nobody proved these apart, and no example is known.
    let told = "for a path expression `/u/[0-9]+` and path expression `/u/[a-z]+`";
    assert!(found[1].message.contains(told), "{}", found[1].message);
}

#[test]
fn anything_that_decides_prevents_a_tie() {
    let base = json!({"host": "a", "pathPrefix": "/x", "methods": ["GET"]});
    let with = |key: &str, value: Value| {
        let mut other = base.clone();
        other[key] = value;
        other
    };
    for other in [
        with("host", json!("b")),
        with("host", json!("*.a")),
        with("host", Value::Null),
        with("pathPrefix", json!("/x/")),
        with("methods", json!(["POST"])),
        with("methods", json!([])),
        with("headers", json!([{"name": "x-a", "present": true}])),
        with("query", json!([{"name": "q", "present": true}])),
        with("priority", json!(1)),
        json!({"host": "a", "path": "/x", "methods": ["GET"]}),
        json!({"host": "a", "pathRegex": "/x", "methods": ["GET"]}),
    ] {
        assert_eq!(ambiguous(&[base.clone(), other.clone()]), [""; 0], "{other}");
    }
    assert_eq!(ambiguous(&[base.clone(), base.clone()]), ["routes[1].match"]);
    assert_eq!(ambiguous(&[base.clone(), base.clone(), base]).len(), 3, "every pair");
}

#[test]
fn conditions_of_equal_number_tie_unless_they_exclude_each_other() {
    let when = |field: Value| json!({"path": "/x", "headers": [field]});
    let a = |test: &str, value: Value| {
        let mut field = json!({"name": "x-a"});
        field[test] = value;
        when(field)
    };
    let b = when(json!({"name": "x-b", "exact": "1"}));
    let (one, two) = (a("exact", json!("1")), a("exact", json!("2")));
    assert_eq!(ambiguous(&[one.clone(), two.clone()]).len(), 0);
    assert_eq!(ambiguous(&[one.clone(), a("present", json!(false))]).len(), 0);
    assert_eq!(ambiguous(&[one.clone(), a("present", json!(true))]).len(), 1);
    assert_eq!(ambiguous(&[one.clone(), b.clone()]).len(), 1);
    assert_eq!(ambiguous(&[b, one.clone(), two.clone()]).len(), 2, "across groups");
    assert_eq!(ambiguous(&[one.clone(), two, one]), ["routes[2].match"]);
}

#[test]
fn expressions_tie_unless_they_are_told_apart() {
    let regex = |pattern: &str| json!({"pathRegex": pattern});
    let tied = |a, b| ambiguous(&[regex(a), regex(b)]).len();
    assert_eq!(tied("/u/[0-9]+", "/u/[0-9]+"), 1);
    assert_eq!(tied("/u/[0-9]+", "/u/[a-z]+"), 1);
    assert_eq!(tied("/u/[0-9]+", "/u/[0-9]+/x"), 0, "another number of segments");
    assert_eq!(tied("/u/[0-9]+/x", "/u/[0-9]+/y"), 0, "another last segment");
    assert_eq!(tied("/u/[0-9]+", "/v/[a-z]+"), 0, "another beginning");
    assert_eq!(tied("/u/[0-9]+", "/us/[a-z]+"), 0, "a longer beginning");
}

#[test]
fn no_path_is_the_prefix_of_all() {
    assert_eq!(ambiguous(&[json!({}), json!({"pathPrefix": "/"})]).len(), 1);
}

#[test]
fn a_route_that_can_never_be_chosen_is_told() {
    let found = problems(&[
        json!({"pathPrefix": "/x", "methods": ["GET"], "priority": 1}),
        json!({"pathPrefix": "/x", "methods": ["GET", "POST"], "priority": 5}),
        json!({"pathPrefix": "/x", "methods": ["GET", "PUT"], "priority": 2}),
        json!({"pathPrefix": "/x"}),
        json!({"pathPrefix": "/x", "headers": [{"name": "x-a", "exact": "1"}]}),
    ]);
    let found: Vec<_> = found.iter().map(|p| (p.severity, p.code, p.path.as_str())).collect();
    assert_eq!(found, [(Severity::Warning, "route.shadowed", "routes[0].match")]);
}

#[test]
fn conditions_that_contradict_each_other_are_told() {
    let found = problems(&[json!({"headers": [
        {"name": "x-a", "exact": "1"}, {"name": "X-A", "present": false}]})]);
    assert_eq!(found.len(), 1);
    assert_eq!((found[0].severity, found[0].code), (Severity::Warning, "route.never"));
}

#[test]
fn ten_thousand_tenants_of_one_path_are_no_work() {
    let matches: Vec<Value> = (0..10_000)
        .map(|i| {
            let tenant = json!({"name": "x-tenant", "exact": i.to_string()});
            json!({"path": "/x", "headers": [tenant, {"name": "x-a", "exact": "1"}]})
        })
        .collect();
    assert_eq!(problems(&matches), []);
    // And copies end the search early instead of reporting fifty million pairs.
    let copies = vec![json!({"path": "/x"}); 10_000];
    assert_eq!(problems(&copies).len(), super::PAIRS_MAX);
}
