use super::super::fixtures::compile;
use crate::model::Severity;

/// Codes and places of the problems of a policy on a route that does not authenticate.
fn found(yaml: &str) -> Vec<(&'static str, String)> {
    let (compiled, problems) = compile(yaml, false);
    assert_eq!(compiled.is_none(), problems.has_errors(), "{yaml}");
    problems.0.into_iter().map(|problem| (problem.code, problem.path)).collect()
}

fn one(code: &'static str, path: &str) -> Vec<(&'static str, String)> {
    vec![(code, path.to_owned())]
}

#[test]
fn the_defaults_are_sound() {
    assert_eq!(found("{}"), []);
}

#[test]
fn the_ttl_lies_between_a_second_and_a_week() {
    for (ttl, sound) in
        [("999ms", false), ("1s", true), ("7d", true), ("604801s", false), ("0s", false)]
    {
        let expected = if sound { vec![] } else { one("cache.ttl", "cache.ttl") };
        assert_eq!(found(&format!("{{ttl: {ttl}}}")), expected, "{ttl}");
    }
}

#[test]
fn a_body_fits_into_the_store() {
    for (bytes, sound) in [("0", false), ("1", true), ("8MiB", true), ("8388609", false)] {
        let expected = if sound { vec![] } else { one("cache.body", "cache.maxBodyBytes") };
        assert_eq!(found(&format!("{{maxBodyBytes: {bytes}}}")), expected, "{bytes}");
    }
}

#[test]
fn a_route_that_authenticates_says_who_shares() {
    for (yaml, sound) in [
        ("{}", false),
        ("{key: {language: [en], headers: [accept]}}", false),
        ("{key: {user: true}}", true),
        ("{key: {tenant: true}}", true),
        ("{shared: true}", true),
    ] {
        let (compiled, problems) = compile(yaml, true);
        assert_eq!(compiled.is_some(), sound, "{yaml}");
        if !sound {
            assert_eq!(problems.0[0].code, "cache.identity");
            assert!(problems.0[0].help.as_ref().unwrap().contains("shared: true"));
        }
    }
}

#[test]
fn a_key_of_facts_that_nobody_has_is_a_warning() {
    for yaml in ["{key: {user: true}}", "{key: {tenant: true}}"] {
        let (compiled, problems) = compile(yaml, false);
        assert!(compiled.is_some());
        assert_eq!(problems.0[0].code, "cache.identity");
        assert_eq!(problems.0[0].severity, Severity::Warning);
    }
}

#[test]
fn header_names() {
    for (name, sound) in [
        ("accept", true),
        ("X-Channel", true),
        ("no spaces", false),
        ("''", false),
        ("Authorization", false),
        ("cookie", false),
        ("x-api-key", false),
        ("X-Partner-Key", false),
        ("x-tenant-id", false),
        ("X-User-Id", false),
    ] {
        let expected = if sound { vec![] } else { one("cache.header", "cache.key.headers[0]") };
        assert_eq!(found(&format!("{{key: {{headers: [{name}]}}}}")), expected, "{name}");
    }
    assert_eq!(
        found("{key: {headers: [accept, x-a, Accept]}}"),
        one("cache.header", "cache.key.headers[2]")
    );
}

#[test]
fn languages() {
    for (tag, sound) in [("de-AT", true), ("''", false), ("'*'", false), ("de_AT", false)] {
        let expected = if sound { vec![] } else { one("cache.language", "cache.key.language[0]") };
        assert_eq!(found(&format!("{{key: {{language: [{tag}]}}}}")), expected, "{tag}");
    }
    assert_eq!(
        found("{key: {language: [en, de, EN]}}"),
        one("cache.language", "cache.key.language[2]")
    );
}

#[test]
fn query_parameters() {
    assert_eq!(found("{key: {query: [version, Version]}}"), []);
    assert_eq!(found("{key: {query: []}}"), one("cache.query", "cache.key.query"));
    assert_eq!(found("{key: {query: ['']}}"), one("cache.query", "cache.key.query[0]"));
    assert_eq!(found("{key: {query: [a, b, a]}}"), one("cache.query", "cache.key.query[2]"));
}

#[test]
fn all_problems_are_told_together() {
    let problems = found("{ttl: 0s, maxBodyBytes: 0, key: {headers: [cookie], query: ['']}}");
    assert_eq!(problems.len(), 4, "{problems:?}");
}
