use serde_json::{Value, json};

use crate::model::{Problem, Severity};
use crate::routing::join::COMPARISONS;
use crate::routing::tests::compile;

fn problems(matches: &[Value]) -> Vec<Problem> {
    compile(matches).1.0
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

/// The places of ambiguous routes among these, all for one path.
fn tied(conditions: &[Value]) -> usize {
    let on_path = |when: &Value| {
        let mut when = when.clone();
        when["path"] = json!("/x");
        when
    };
    ambiguous(&conditions.iter().map(on_path).collect::<Vec<_>>()).len()
}

#[test]
fn versions_tenants_and_regions_tell_routes_apart() {
    let version = |version: &str| json!({"acceptVersion": version});
    assert_eq!(tied(&[version("v1"), version("v2")]), 0);
    assert_eq!(tied(&[version("v2"), version("2")]), 1, "two spellings of one version");
    let tenant = |names: Value| json!({"tenant": names});
    assert_eq!(tied(&[tenant(json!("acme")), tenant(json!(["globex", "initech"]))]), 0);
    assert_eq!(tied(&[tenant(json!(["acme", "globex"])), tenant(json!(["globex"]))]), 1);
    let region = |places: Value| json!({"region": places});
    assert_eq!(tied(&[region(json!("DE")), region(json!(["FR", "US"]))]), 0);
    assert_eq!(tied(&[region(json!(["DE", "US"])), region(json!(["US"]))]), 1);
    assert_eq!(tied(&[region(json!("continent:EU")), region(json!("continent:AS"))]), 0);
    assert_eq!(tied(&[region(json!("continent:EU")), region(json!("DE"))]), 1);
    let plan = |plan: &str| json!({"claims": [{"name": "plan", "exact": plan}]});
    assert_eq!(tied(&[plan("pro"), plan("basic")]), 0);
    assert_eq!(tied(&[plan("pro"), plan("pro")]), 1);
    assert_eq!(tied(&[plan("pro"), version("v1")]), 1, "different fields");
    let trusted =
        |value: &str| json!({"headers": [{"name": "x-a", "exact": value, "trustedOnly": true}]});
    assert_eq!(tied(&[trusted("1"), trusted("2")]), 0);
    assert_eq!(tied(&[trusted("1"), json!({"headers": [{"name": "x-a", "exact": "1"}]})]), 1);
}

/// A token may prove one plan while the key beside it proves another.
#[test]
fn callers_of_different_credentials_are_different_callers() {
    let plan = |plan: &str, auth: Value| {
        let claim = json!({"name": "plan", "exact": plan});
        json!({"claims": [claim], "auth": auth})
    };
    let key = || json!({"anyOf": ["apiKey"]});
    assert_eq!(tied(&[plan("pro", key()), plan("basic", json!("required"))]), 1);
    assert_eq!(tied(&[plan("pro", key()), plan("basic", key())]), 0);
    let hosted = json!({"tenant": "acme", "auth": "none"});
    assert_eq!(tied(&[hosted.clone(), json!({"tenant": "globex", "auth": "none"})]), 0);
    assert_eq!(tied(&[hosted, json!({"tenant": "globex"})]), 1);
    // Nor is one shadowed by the other.
    let mut high = plan("pro", key());
    high["priority"] = json!(1);
    assert_eq!(problems(&[high.clone(), plan("pro", json!("required"))]), []);
    assert_eq!(problems(&[high, plan("pro", key())])[0].code, "route.shadowed");
}

/// Compares ten thousand routes of one path; returns how many pairs were looked at.
fn comparisons(route: impl Fn(usize) -> Value) -> u64 {
    let before = COMPARISONS.get();
    assert_eq!(problems(&(0..10_000).map(route).collect::<Vec<_>>()), []);
    COMPARISONS.get() - before
}

#[test]
fn ten_thousand_routes_of_one_path_are_no_work() {
    let header = |name: &str, value: usize| json!({"name": name, "exact": value.to_string()});
    let by_header = |i| json!({"path": "/x", "headers": [header("x-t", i), header("x-a", 1)]});
    assert!(comparisons(by_header) < 100_000);
    // Two fields, each of which leaves half of them together.
    let by_two = |i: usize| {
        let own = if i.is_multiple_of(2) { "x-even" } else { "x-odd" };
        json!({"path": "/x", "headers": [header("x-a", i % 2), header(own, i)]})
    };
    assert!(comparisons(by_two) < 100_000);
    // Expressions that no literal beginning tells apart.
    let by_segment = |i| json!({"pathRegex": format!("/[a-z]+/items-{i}/[0-9]+")});
    assert!(comparisons(by_segment) < 100_000);
    // And copies end the search early instead of reporting fifty million pairs.
    let copies = vec![json!({"path": "/x"}); 10_000];
    assert_eq!(problems(&copies).len(), super::PAIRS_MAX);
}
