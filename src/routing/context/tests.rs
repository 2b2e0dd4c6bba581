use serde_json::{Value, json};

use crate::model::{Problem, Problems, Resolved};
use crate::routing::Table;
use crate::routing::tests::{compile, config};

fn problems(matches: &[Value]) -> Vec<Problem> {
    compile(matches).1.0
}

/// Code and place of each problem.
fn told(found: &[Problem]) -> Vec<(&str, &str)> {
    found.iter().map(|problem| (problem.code, problem.path.as_str())).collect()
}

#[test]
fn what_cannot_be_proved_is_not_matched() {
    let found = problems(&[
        json!({"auth": "none", "claims": [{"name": "plan", "exact": "pro"}]}),
        json!({"auth": "none", "path": "/1", "tenant": ["initech"]}),
        json!({"auth": "none", "path": "/2", "tenant": ["initech", "acme"]}),
        json!({"path": "/3", "claims": [{"name": "", "exact": "pro"}, {"name": "plan"},
            {"name": "roles", "exact": "a"}, {"name": "roles", "contains": "a"}]}),
    ]);
    let expected = [
        ("route.caller_unknown", "routes[0].match.claims[0]"),
        ("route.caller_unknown", "routes[1].match.tenant"),
        ("route.condition_invalid", "routes[3].match.claims[0]"),
        ("route.condition_invalid", "routes[3].match.claims[1]"),
        ("route.condition_invalid", "routes[3].match.claims[2]"),
    ];
    assert_eq!(told(&found), expected);
    assert!(found[0].help.as_deref().unwrap().contains("auth: required"));
}

#[test]
fn only_headers_come_from_trusted_proxies() {
    let field = json!({"name": "x", "exact": "1", "trustedOnly": true});
    let found = problems(&[json!({"headers": [field], "query": [field], "claims": [field]})]);
    let expected = [
        ("route.condition_invalid", "routes[0].match.query[0].trustedOnly"),
        ("route.condition_invalid", "routes[0].match.claims[0].trustedOnly"),
    ];
    assert_eq!(told(&found), expected);
}

#[test]
fn tenants_are_known_by_name() {
    let found = problems(&[
        json!({"tenant": "acne"}),
        json!({"path": "/1", "tenant": ["acme", "nobody-at-all"]}),
        json!({"path": "/2", "tenant": []}),
    ]);
    let expected = [
        ("reference.unknown", "routes[0].match.tenant"),
        ("reference.unknown", "routes[1].match.tenant[1]"),
        ("route.condition_invalid", "routes[2].match.tenant"),
    ];
    assert_eq!(told(&found), expected);
    assert_eq!(found[0].help.as_deref(), Some("did you mean `acme`?"));
    assert!(found[1].help.as_deref().unwrap().contains("nobody-at-all: {status"));
}

#[test]
fn a_host_belongs_to_one_tenant() {
    let mut config = config(&[json!({})]);
    let mut hosts = |tenant: &str, hosts: &[&str]| {
        config.tenants.get_mut(tenant).unwrap().hosts =
            hosts.iter().map(ToString::to_string).collect();
    };
    hosts("acme", &["a.x", "A.X.", "b.x:80"]);
    hosts("globex", &["a.x", "*.x", ""]);
    hosts("initech", &["c.x"]);
    let mut problems = Problems::default();
    Table::compile(&config, &Resolved::default(), &mut problems);
    let expected = [
        ("tenant.host_duplicate", "tenants.acme.hosts[1]"),
        ("tenant.host_invalid", "tenants.acme.hosts[2]"),
        ("tenant.host_duplicate", "tenants.globex.hosts[0]"),
        ("tenant.host_invalid", "tenants.globex.hosts[1]"),
        ("tenant.host_invalid", "tenants.globex.hosts[2]"),
    ];
    assert_eq!(told(&problems.0), expected);
    assert!(problems.0[2].message.contains("`acme`"), "{}", problems.0[2]);
}

#[test]
fn regions_need_a_database_and_two_letters() {
    let found = problems(&[
        json!({"region": "Germany"}),
        json!({"path": "/1", "region": ["DE", "fr", "continent:Europe"]}),
        json!({"path": "/2", "region": []}),
    ]);
    let expected = [
        ("route.region_invalid", "routes[0].match.region"),
        ("route.region_invalid", "routes[1].match.region[1]"),
        ("route.region_invalid", "routes[1].match.region[2]"),
        ("route.region_invalid", "routes[2].match.region"),
    ];
    assert_eq!(told(&found), expected);
    assert_eq!(found[1].help.as_deref(), Some("write `FR`"));

    let mut config = config(&[json!({"region": "DE"})]);
    let with = |config: &crate::model::Config, file: Option<&[u8]>| {
        let mut resolved = Resolved::default();
        resolved.files.extend(file.map(|bytes| ("world.mmdb".to_owned(), bytes.to_vec())));
        let mut problems = Problems::default();
        Table::compile(config, &resolved, &mut problems);
        problems.0
    };
    assert_eq!(told(&with(&config, Some(b"no database"))), [("geo.database", "geo.database")]);
    assert_eq!(with(&config, None), [], "whoever could not read the file has said so");
    config.geo = None;
    assert_eq!(told(&with(&config, None)), [("geo.missing", "routes[0].match.region")]);
}
