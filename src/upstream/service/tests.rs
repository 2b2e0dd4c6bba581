use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

use super::Upstream;
use crate::model::{Problems, Resolved};
use crate::upstream::Upstreams;
use crate::upstream::fixtures::{codes, compile, config, sound};

fn refused(upstream: &str, services: &str) -> Problems {
    let (compiled, problems) = compile(upstream, &config(services), &Resolved::default());
    assert!(compiled.is_none());
    assert!(problems.has_errors());
    problems
}

fn hosts(entries: &[(&str, &[&str])]) -> Resolved {
    let addresses = |list: &[&str]| -> Vec<IpAddr> {
        list.iter().map(|address| address.parse().unwrap()).collect()
    };
    let hosts: HashMap<_, _> =
        entries.iter().map(|(host, list)| ((*host).to_owned(), addresses(list))).collect();
    Resolved { hosts, ..Resolved::default() }
}

#[test]
fn an_unknown_service_is_named_with_the_nearest_known_one() {
    let problems =
        refused("{service: checkot-api}", "  checkout-api: {endpoints: [{address: 10.0.0.1:80}]}");
    assert_eq!(codes(&problems), [("reference.unknown", "routes[0].upstream.service")]);
    assert_eq!(problems.0[0].help.as_deref(), Some("did you mean `checkout-api`?"));
}

#[test]
fn the_seed_example_compiles() {
    let upstream = sound(
        "{service: checkout-api, port: 8080}",
        "  checkout-api: {endpoints: [{address: 10.0.0.1}, {address: 10.0.0.2}]}",
    );
    assert_eq!(&*upstream.service, "checkout-api");
    assert_eq!(upstream.versions.len(), 1);
    assert_eq!(&*upstream.versions[0].name, "default");
    let set = upstream.versions[0].pool.current();
    let names: Vec<&str> = set.endpoints.iter().map(|e| &*e.name).collect();
    assert_eq!(names, ["10.0.0.1:8080", "10.0.0.2:8080"]);
}

#[test]
fn a_service_has_endpoints_or_versions() {
    assert_eq!(codes(&refused("{service: a}", "  a: {}")), [("service.layout", "services.a")]);
    let both = "  a:
    endpoints: [{address: 10.0.0.1:80}]
    versions: [{name: v1, endpoints: [{address: 10.0.0.1:80}]}]";
    assert_eq!(codes(&refused("{service: a}", both)), [("service.layout", "services.a")]);
}

#[test]
fn versions_have_distinct_names_and_endpoints() {
    let versions = "  a:
    versions:
      - {name: v1, endpoints: [{address: 10.0.0.1:80}]}
      - {name: v1, endpoints: []}
      - {name: '', endpoints: [{address: 10.0.0.1:80}]}";
    assert_eq!(
        codes(&refused("{service: a}", versions)),
        [
            ("service.version", "services.a.versions[1].name"),
            ("service.version", "services.a.versions[1].endpoints"),
            ("service.version", "services.a.versions[2].name"),
        ]
    );
}

#[test]
fn a_split_needs_versions() {
    assert_eq!(
        codes(&refused(
            "{service: a, splits: [{version: v1, weight: 10000}]}",
            "  a: {endpoints: [{address: 10.0.0.1:80}]}"
        )),
        [("split.versions", "routes[0].upstream.splits")]
    );
}

#[test]
fn the_port_is_said_once() {
    let services = "  a: {endpoints: [{address: 10.0.0.1:80}, {address: 10.0.0.2}]}";
    let same = sound("{service: a, port: 80}", services);
    assert_eq!(&*same.versions[0].pool.current().endpoints[1].name, "10.0.0.2:80");

    let problems = refused("{service: a, port: 81}", services);
    assert_eq!(codes(&problems), [("endpoint.port", "routes[0].upstream.port")]);
    let message = &problems.0[0].message;
    assert!(message.contains("80") && message.contains("81"), "{message}");

    let problems = refused("{service: a}", services);
    assert_eq!(codes(&problems), [("endpoint.port", "services.a.endpoints[1].address")]);

    let problems = refused("{service: a, port: 0}", "  a: {endpoints: [{address: 10.0.0.2}]}");
    assert_eq!(codes(&problems), [("endpoint.port", "routes[0].upstream.port")]);
}

#[test]
fn an_address_that_cannot_be_read_is_an_error_at_its_place() {
    let problems = refused("{service: a}", "  a: {endpoints: [{address: 'http://b'}]}");
    assert_eq!(codes(&problems), [("endpoint.address", "services.a.endpoints[0].address")]);
}

#[test]
fn a_host_with_several_addresses_makes_several_endpoints() {
    let resolved = hosts(&[("orders", &["10.0.0.1", "2001:db8::1", "10.0.0.1"])]);
    let services = config("  a: {endpoints: [{address: 'orders:80'}]}");
    let (upstream, problems) = compile("{service: a}", &services, &resolved);
    assert_eq!(problems, Problems::default());
    let upstream = upstream.unwrap();
    let set = upstream.versions[0].pool.current();
    let names: Vec<&str> = set.endpoints.iter().map(|e| &*e.name).collect();
    assert_eq!(names, ["10.0.0.1:80", "[2001:db8::1]:80"]);
}

#[test]
fn a_host_without_addresses_is_waited_for() {
    let resolved = hosts(&[("orders", &["10.0.0.1"])]);
    let services = config("  a: {endpoints: [{address: 'gone:80'}, {address: 'orders:80'}]}");
    let (upstream, problems) = compile("{service: a}", &services, &resolved);
    assert_eq!(problems, Problems::default());
    let upstream = upstream.unwrap();
    assert_eq!(upstream.versions[0].pool.current().endpoints.len(), 1);
    assert_eq!(&*upstream.versions[0].sources[0], "dns:gone");

    let upstream = sound("{service: a}", "  a: {endpoints: [{address: 'gone:80'}]}");
    assert!(upstream.versions[0].pool.current().endpoints.is_empty());
}

#[test]
fn discovery_stands_alone() {
    let layout = [("service.layout", "services.a")];
    let found = "discovery: {file: /a}";
    let beside = format!("  a: {{{found}, endpoints: [{{address: 10.0.0.1:80}}]}}");
    assert_eq!(codes(&refused("{service: a}", &beside)), layout);
    let beside = format!("  a: {{{found}, versions: [{{name: v1, {found}}}]}}");
    assert_eq!(codes(&refused("{service: a}", &beside)), layout);

    let both = format!(
        "  a: {{versions: [{{name: v1, {found}, endpoints: [{{address: 10.0.0.1:80}}]}}]}}"
    );
    let version = [("service.version", "services.a.versions[0].endpoints")];
    assert_eq!(codes(&refused("{service: a}", &both)), version);

    let upstream = sound("{service: a}", &format!("  a: {{versions: [{{name: v1, {found}}}]}}"));
    assert_eq!(&*upstream.versions[0].sources[0], "file:/a");
}

#[test]
fn what_is_wrong_with_a_service_is_told_once_and_stops_every_route() {
    let (config, resolved) = (config("  a: {}"), Resolved::default());
    let health = Upstreams::default();
    let metrics = crate::telemetry::Metrics::new().unwrap();
    let mut problems = Problems::default();
    for route in ["routes[0].upstream", "routes[1].upstream"] {
        let model = serde_yaml::from_str("{service: a}").unwrap();
        let compiled =
            Upstream::compile(&model, &config, &resolved, &health, &metrics, route, &mut problems);
        assert!(compiled.is_none());
    }
    assert_eq!(problems.0.len(), 1);
}

#[test]
fn health_outlives_the_snapshot() {
    let config = config("  a: {endpoints: [{address: 10.0.0.1:80}]}");
    let (resolved, health) = (Resolved::default(), Upstreams::default());
    let metrics = crate::telemetry::Metrics::new().unwrap();
    let mut problems = Problems::default();
    let mut compile = || {
        let model = serde_yaml::from_str("{service: a}").unwrap();
        Upstream::compile(&model, &config, &resolved, &health, &metrics, "", &mut problems).unwrap()
    };
    let (old, new) = (compile(), compile());
    assert!(Arc::ptr_eq(
        &old.versions[0].pool.current().endpoints[0].health,
        &new.versions[0].pool.current().endpoints[0].health
    ));
}
