//! The schema, which finds what is wrong, against the types, which decide what is right.

use serde::Deserialize;
use serde_yaml::Value;

use super::super::Config;
use super::super::shape::{Keys, Shape};
use super::*;

const EVERY_KEY: &str = include_str!("../../../tests/golden/every-key.yaml");

/// Probably wrong almost anywhere.
const PROBES: [&str; 15] = [
    "null",
    "true",
    "5",
    "503",
    "-1",
    "70000",
    "5000000000",
    "1.5",
    "x",
    "\"5\"",
    "[]",
    "[x]",
    "[5]",
    "{}",
    "{x: 1}",
];

fn yaml(text: &str) -> Value {
    serde_yaml::from_str(text).unwrap()
}

/// The ways from a value to everything in it: keys and indexes as values.
fn ways(value: &Value) -> Vec<Vec<Value>> {
    let below: Vec<(Value, &Value)> = match value {
        Value::Mapping(mapping) => {
            mapping.iter().map(|(key, value)| (key.clone(), value)).collect()
        }
        Value::Sequence(items) => (0_u64..).map(Value::from).zip(items).collect(),
        _ => Vec::new(),
    };
    let mut all = vec![Vec::new()];
    for (step, value) in below {
        all.extend(ways(value).into_iter().map(|mut way| {
            way.insert(0, step.clone());
            way
        }));
    }
    all
}

fn at<'v>(value: &'v mut Value, way: &[Value]) -> &'v mut Value {
    way.iter().fold(value, |value, step| match step {
        Value::Number(index) => &mut value[usize::try_from(index.as_u64().unwrap()).unwrap()],
        key => &mut value[key],
    })
}

/// Checks one document: the checker finds something if and only if the types refuse it, and what
/// it leaves is accepted.
fn judge(mut document: Value, shape: &Shape, stricter: bool, what: &str) {
    let refused = Config::deserialize(&document).err();
    let problems = Checker::check(&mut document, shape).problems;
    match &refused {
        Some(error) => assert!(!problems.is_empty(), "{what}: unnoticed: {error}"),
        None => assert!(stricter || problems.is_empty(), "{what}: {problems:?}"),
    }
    if let Err(error) = Config::deserialize(&document) {
        panic!("{what}: not repaired: {error}\n{problems:?}");
    }
}

#[test]
fn the_checker_refuses_what_the_types_refuse_and_nothing_else() {
    let shape = Shape::of_config();
    let original = yaml(EVERY_KEY);
    judge(original.clone(), &shape, false, "the original");
    for way in ways(&original) {
        for probe in PROBES {
            let mut document = original.clone();
            *at(&mut document, &way) = yaml(probe);
            // The types take a list for a mapping, as if its keys were numbered; nobody means it.
            let stricter = probe.starts_with('[');
            judge(document, &shape, stricter, &format!("{way:?} = {probe}"));
        }
        let mut document = original.clone();
        if let Value::Mapping(mapping) = at(&mut document, &way) {
            mapping.insert("odd".into(), Value::Null);
            judge(document, &shape, false, &format!("{way:?} with one key more"));
        }
        if let Some((last, above)) = way.split_last() {
            let mut document = original.clone();
            if let Value::Mapping(mapping) = at(&mut document, above) {
                mapping.remove(last);
                judge(document, &shape, false, &format!("without {way:?}"));
            }
        }
    }
}

#[test]
fn the_sample_has_every_key() {
    fn visit(value: &Value, shape: &Shape, missing: &mut Vec<String>) {
        match (value, &shape.mapping) {
            (Value::Mapping(mapping), Some(Keys::Known(fields))) => {
                for field in fields.iter() {
                    match mapping.get(&field.name) {
                        Some(value) => visit(value, &field.shape, missing),
                        None => missing.push(format!("{}.{}", shape.name, field.name)),
                    }
                }
            }
            (Value::Mapping(mapping), Some(Keys::Free(values))) => {
                for value in mapping.values() {
                    visit(value, values, missing);
                }
            }
            (Value::Sequence(items), _) => {
                let shape = shape.list.as_ref().unwrap();
                for item in items {
                    visit(item, shape, missing);
                }
            }
            _ => {}
        }
    }
    let document = yaml(EVERY_KEY);
    let mut missing = Vec::new();
    visit(&document, &Shape::of_config(), &mut missing);
    // What one limit, condition, policy or version lacks, another has.
    missing.retain(|key| !EVERY_KEY.contains(&format!("{}:", key.rsplit('.').next().unwrap())));
    assert_eq!(missing, [""; 0]);
}

fn checked(text: &str) -> (Vec<String>, Config, Checker) {
    let mut document = yaml(text);
    let checker = Checker::check(&mut document, &Shape::of_config());
    let paths = checker.problems.iter().map(|problem| problem.path.clone()).collect();
    (paths, Config::deserialize(&document).unwrap(), checker)
}

#[test]
fn a_damaged_match_is_not_judged_but_the_rest_of_its_route_is() {
    let (paths, config, checker) = checked(
        "routes:\n\
         - {name: a, match: {pathPrefix: /a, hst: x}, upstream: {service: s}}\n\
         - {name: b, match: {headers: [{name: h, exact: 1}]}, upstream: {service: s}}\n\
         - {name: c, match: {}, upstream: {service: s}, policies: {retries: x, timeoutMs: 5}}\n",
    );
    assert_eq!(
        paths,
        ["routes[0].match.hst", "routes[1].match.headers[0].exact", "routes[2].policies.retries"]
    );
    let names: Vec<_> = config.routes.iter().map(|route| route.name.as_str()).collect();
    assert_eq!(names, ["a", "b", "c"]);
    assert!(config.routes[0].r#match.path_prefix.is_none());
    assert!(config.routes[1].r#match.headers.is_empty());
    assert_ne!(config.routes[0].r#match.path, config.routes[1].r#match.path);
    assert_eq!(config.routes[2].policies.timeout_ms, Some(5));
    assert!(!checker.dropped.contains_key("routes"));
}

#[test]
fn named_things_stay_so_that_references_to_them_hold() {
    let (paths, config, _) = checked(
        "rateLimits: {a: {}, b: text}\n\
         services: {s: {versions: [{name: stable}]}, t: []}\n\
         policies: {auth: yes}\n",
    );
    assert_eq!(paths, ["rateLimits.a.key", "rateLimits.b", "services.t", "policies.auth"]);
    assert!(config.rate_limits.contains_key("a") && config.rate_limits.contains_key("b"));
    assert_eq!(config.services["s"].versions[0].name, "stable");
    assert!(config.services.contains_key("t"));
    assert!(config.policies.auth.is_some());
}

#[test]
fn a_misspelt_required_key_is_one_problem() {
    let (paths, ..) = checked("tenants: {acme: {staus: ACTIVE}, other: {x: 1}}\n");
    assert_eq!(paths, ["tenants.acme.staus", "tenants.other.x", "tenants.other.status"]);
}
