//! The table against a slow reference that knows nothing of it: the rules written down as a
//! comparison of every route with every other.

use std::cmp::Reverse;
use std::sync::LazyLock;

use regex::Regex;
use serde_json::{Value, json};

use super::super::Verdict;
use super::*;

/// Hosts of routes and of requests, made to collide.
const HOSTS: [&str; 5] = ["a.x", "b.a.x", "*.x", "*.a.x", "x"];
const REQUEST_HOSTS: [&str; 6] = ["a.x", "b.a.x", "c.b.a.x", "c.x", "x", "ax"];
const LITERALS: [&str; 8] = ["/", "/a", "/a/", "/a/b", "/a/b/", "/ab", "/b", "/a/c"];
/// Expressions with the literals that they begin with, counted by hand.
const EXPRESSIONS: [(&str, usize); 8] = [
    ("/a/[^/]+", 3),
    ("^/a.*", 2),
    ("/[ab]+(/c)?", 1),
    (".*", 0),
    ("/a/(b|c)/?", 3),
    ("/ab?$", 2),
    ("/a/b+", 4),
    ("/a/b/.*|/b", 0),
];
static COMPILED: LazyLock<Vec<(&str, usize, Regex)>> = LazyLock::new(|| {
    EXPRESSIONS
        .iter()
        .map(|(text, literal)| (*text, *literal, Regex::new(&format!("^({text})$")).unwrap()))
        .collect()
});
const REQUEST_PATHS: [&str; 13] = [
    "/", "/a", "/a/", "/a/b", "/a/bb", "/a/b/", "/a/b/c", "/a/c", "/ab", "/abb", "/b", "/b/c", "/c",
];
const METHODS: [&str; 4] = ["GET", "POST", "HEAD", "PURGE"];
const REQUEST_METHODS: [&str; 5] = ["GET", "POST", "HEAD", "PURGE", "PUT"];
const VALUES: [Option<&str>; 5] = [None, Some("1"), Some("2"), Some("1,2"), Some("")];

fn random_match(random: &mut fastrand::Rng) -> Value {
    let mut route = json!({});
    if random.u8(..3) > 0 {
        route["host"] = json!(random.choice(HOSTS).unwrap());
    }
    match random.u8(..8) {
        0 => {}
        1 | 2 => route["path"] = json!(random.choice(LITERALS).unwrap()),
        3..=5 => route["pathPrefix"] = json!(random.choice(LITERALS).unwrap()),
        _ => route["pathRegex"] = json!(random.choice(EXPRESSIONS).unwrap().0),
    }
    if random.bool() {
        route["methods"] = json!(random.choose_multiple(METHODS, random.clone().usize(1..3)));
    }
    let mut conditions = |names: &[&str]| -> Vec<Value> {
        let wanted = names.iter().filter(|_| random.u8(..3) == 0).collect::<Vec<_>>();
        wanted.into_iter().map(|name| random_condition(random, name)).collect()
    };
    route["headers"] = json!(conditions(&["x-a", "x-b"]));
    route["query"] = json!(conditions(&["q"]));
    route["priority"] = json!(random.i32(0..3));
    route
}

fn random_condition(random: &mut fastrand::Rng, name: &str) -> Value {
    match random.u8(..6) {
        0 | 1 => json!({"name": name, "exact": random.choice(["1", "2"]).unwrap()}),
        2 => json!({"name": name, "contains": random.choice(["1", "2"]).unwrap()}),
        3 => json!({"name": name, "present": true}),
        4 => json!({"name": name, "present": false}),
        _ => json!({"name": name, "regex": "[12]"}),
    }
}

fn random_request(random: &mut fastrand::Rng) -> Request {
    let mut choose = |from: &[&'static str]| *random.choice(from).unwrap();
    let method = choose(&REQUEST_METHODS);
    let target = format!("{method} {}{}", choose(&REQUEST_HOSTS), choose(&REQUEST_PATHS));
    let mut request = Request::new(&target);
    for name in ["x-a", "x-b"] {
        if let Some(value) = random.choice(VALUES).unwrap() {
            request = request.header(name, value);
        }
    }
    request.query = random.choice(VALUES).unwrap().map(|value| format!("z&q={value}"));
    request
}

fn text<'a>(value: &'a Value, key: &str) -> Option<&'a str> {
    value.get(key).and_then(Value::as_str)
}

fn list<'a>(value: &'a Value, key: &str) -> &'a [Value] {
    value.get(key).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

/// How specific the host and path of a route are, where it takes those of the request.
fn level(route: &Value, request: &Request) -> Option<[usize; 5]> {
    let host = match text(route, "host") {
        None => [0, 0],
        Some(wild) if wild.starts_with('*') => {
            request.host.ends_with(&wild[1..]).then_some([1, wild.len()])?
        }
        Some(name) => (name == request.host).then_some([2, 0])?,
    };
    let path = if let Some(exact) = text(route, "path") {
        (exact == request.path).then_some([1, 0, 0])?
    } else if let Some(pattern) = text(route, "pathRegex") {
        let (_, literal, whole) = COMPILED.iter().find(|(known, ..)| *known == pattern).unwrap();
        whole.is_match(&request.path).then_some([0, *literal, 1])?
    } else {
        let prefix = text(route, "pathPrefix").unwrap_or("/");
        let slashed = format!("{}/", request.path);
        let below = format!("{}/", prefix.trim_end_matches('/'));
        let takes = slashed.starts_with(&below) && request.path.len() >= prefix.len();
        takes.then_some([0, prefix.len(), 0])?
    };
    Some([host[0], host[1], path[0], path[1], path[2]])
}

fn holds(condition: &Value, value: Option<&str>) -> bool {
    let Some(value) = value else { return condition.get("present") == Some(&json!(false)) };
    if let Some(exact) = text(condition, "exact") {
        return exact == value;
    }
    if let Some(item) = text(condition, "contains") {
        return value.split(',').any(|part| part == item);
    }
    match condition.get("present") {
        Some(present) => *present == json!(true),
        None => value == "1" || value == "2",
    }
}

fn conditions_hold(route: &Value, request: &Request) -> bool {
    let header = |condition: &Value| {
        let value = request.headers.get(text(condition, "name").unwrap());
        holds(condition, value.map(|value| value.to_str().unwrap()))
    };
    let query = |condition: &Value| {
        holds(condition, request.query.as_ref().map(|query| query.split_once("q=").unwrap().1))
    };
    list(route, "headers").iter().all(header) && list(route, "query").iter().all(query)
}

const TIE: &str = "tie";

fn reference(routes: &[Value], request: &Request) -> String {
    let candidates: Vec<_> = routes
        .iter()
        .filter(|route| conditions_hold(route, request))
        .filter_map(|route| Some((level(route, request)?, route)))
        .collect();
    let Some(best) = candidates.iter().map(|(level, _)| *level).max() else {
        return "404".to_owned();
    };
    let best: Vec<&Value> =
        candidates.iter().filter(|(level, _)| *level == best).map(|(_, route)| *route).collect();
    let lists = |route: &Value, method: &str| list(route, "methods").contains(&json!(method));
    let mut method = request.method.as_str();
    if method == "HEAD" && !best.iter().any(|route| lists(route, "HEAD")) {
        method = "GET";
    }
    let mut takers: Vec<_> = best
        .iter()
        .filter(|route| list(route, "methods").is_empty() || lists(route, method))
        .map(|route| {
            let conditions = list(route, "headers").len() + list(route, "query").len();
            let priority = route["priority"].as_i64().unwrap();
            (Reverse((!list(route, "methods").is_empty(), conditions, priority)), route)
        })
        .collect();
    takers.sort_by_key(|(rank, _)| *rank);
    match takers.as_slice() {
        [] => {
            let mut allowed: Vec<&str> = best
                .iter()
                .flat_map(|route| list(route, "methods"))
                .filter_map(Value::as_str)
                .collect();
            allowed.sort_unstable();
            allowed.dedup();
            format!("405 {}", allowed.join(", "))
        }
        [(first, _), (second, _), ..] if first == second => TIE.to_owned(),
        [(_, route), ..] => text(route, "name").unwrap().to_owned(),
    }
}

/// Routes without ambiguous ones: of each pair the later is dropped.
fn random_routes(random: &mut fastrand::Rng) -> Vec<Value> {
    let mut routes: Vec<Value> = (0..random.usize(1..12))
        .map(|index| {
            let mut route = random_match(random);
            route["name"] = json!(format!("r{index}"));
            route
        })
        .collect();
    let mut problems = Problems::default();
    Table::compile(&config(&routes), &mut problems);
    let ambiguous = problems.0.iter().filter(|problem| problem.code == "route.ambiguous");
    let mut dropped: Vec<usize> = ambiguous
        .map(|problem| {
            let digits: String = problem.path.chars().filter(char::is_ascii_digit).collect();
            digits.parse().unwrap()
        })
        .collect();
    dropped.dedup();
    for index in dropped.into_iter().rev() {
        routes.remove(index);
    }
    routes
}

fn compile(routes: &[Value]) -> Table {
    let mut problems = Problems::default();
    let table = Table::compile(&config(routes), &mut problems);
    assert!(!problems.has_errors(), "{problems:?}");
    table
}

/// Compares tables of random routes, in random order too, on random requests.
fn compare(seed: u64, tables: usize, requests: usize) -> [usize; 3] {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut answers = [0; 3];
    for _ in 0..tables {
        let routes = random_routes(&mut random);
        let table = compile(&routes);
        let mut shuffled = routes.clone();
        random.shuffle(&mut shuffled);
        let permuted = compile(&shuffled);
        for _ in 0..requests {
            let request = random_request(&mut random);
            let expected = reference(&routes, &request);
            let given = answer(&table, &request);
            assert_eq!(given, expected, "seed {seed}: {request:?}\n{routes:#?}");
            assert_eq!(answer(&permuted, &request), given, "seed {seed}: order matters");
            let kind = if given.starts_with('r') { 0 } else { usize::from(given == "404") + 1 };
            answers[kind] += 1;
        }
    }
    answers
}

#[test]
fn the_table_agrees_with_the_reference() {
    let seed = 0x7469_6465;
    let [routed, refused, nothing] = compare(seed, 2_000, 100);
    assert_eq!(routed + refused + nothing, 200_000);
    assert!(routed > 50_000 && refused > 5_000 && nothing > 5_000, "{routed} {refused} {nothing}");
    // And another seed for every run, which the message names when it fails.
    compare(fastrand::u64(..), 50, 100);
}

#[test]
fn a_trace_chooses_what_the_table_finds() {
    let mut random = fastrand::Rng::with_seed(11);
    for _ in 0..200 {
        let routes = random_routes(&mut random);
        let table = compile(&routes);
        for _ in 0..50 {
            let request = random_request(&mut random);
            let given = answer(&table, &request);
            let trace = table.trace(&request.view());
            assert_eq!(trace.len(), routes.len());
            let chosen: Vec<_> =
                trace.iter().filter(|c| c.verdict == Verdict::Chosen).map(|c| &*c.name).collect();
            let expected = if given.starts_with('r') { vec![&*given] } else { vec![] };
            assert_eq!(chosen, expected, "{request:?} {routes:#?}");
            for candidate in &trace {
                let route = routes
                    .iter()
                    .find(|route| text(route, "name") == Some(&*candidate.name))
                    .unwrap();
                let methods = list(route, "methods");
                let method = request.method.as_str();
                let takes = methods.is_empty()
                    || methods.contains(&json!(method))
                    || method == "HEAD" && methods.contains(&json!("GET"));
                let matches =
                    takes && conditions_hold(route, &request) && level(route, &request).is_some();
                let failed = matches!(candidate.verdict, Verdict::Failed(_));
                assert_eq!(matches, !failed, "{candidate:?} {request:?} {route:#?}");
            }
        }
    }
}

/// No false alarms: every reported pair has a request that ties it. Expressions are left out,
/// because only those that can be told apart cheaply are.
#[test]
fn reported_ties_are_real() {
    let mut random = fastrand::Rng::with_seed(13);
    let mut reported = 0;
    for _ in 0..400 {
        let mut pair = [random_match(&mut random), random_match(&mut random)];
        for (route, name) in pair.iter_mut().zip(["r0", "r1"]) {
            route.as_object_mut().unwrap().shift_remove("pathRegex");
            route["host"] = json!("a.x");
            route["path"] = json!("/a");
            route.as_object_mut().unwrap().shift_remove("pathPrefix");
            route["name"] = json!(name);
            route["priority"] = json!(0);
        }
        let mut problems = Problems::default();
        Table::compile(&config(&pair), &mut problems);
        let tie = problems.0.iter().any(|problem| problem.code == "route.ambiguous");
        let mut witness = false;
        for method in METHODS {
            for a in VALUES {
                for b in VALUES {
                    for q in VALUES {
                        let mut request = Request::new(&format!("{method} a.x/a"));
                        if let Some(a) = a {
                            request = request.header("x-a", a);
                        }
                        if let Some(b) = b {
                            request = request.header("x-b", b);
                        }
                        request.query = q.map(|value| format!("q={value}"));
                        witness |= reference(&pair, &request) == TIE;
                    }
                }
            }
        }
        assert_eq!(tie, witness, "{pair:#?}");
        reported += usize::from(tie);
    }
    assert!(reported > 20, "{reported}");
}
