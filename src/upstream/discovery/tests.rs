use std::sync::Arc;

use super::answer::{Answer, Hint, Place};
use super::feed::Feed;
use crate::clock::Tick;
use crate::model::{Config, Problems, Resolved};
use crate::telemetry::Metrics;
use crate::upstream::fixtures::{codes, compile, config};
use crate::upstream::{Upstream, Upstreams};

/// Compiles the upstream of a route with what outlives configurations.
fn with(upstreams: &Upstreams, upstream: &str, config: &Config) -> Upstream {
    let mut problems = Problems::default();
    let model = serde_yaml::from_str(upstream).unwrap();
    let resolved = Resolved::default();
    let compiled = Upstream::compile(
        &model,
        config,
        &resolved,
        upstreams,
        &crate::telemetry::Metrics::new().unwrap(),
        "routes[0].upstream",
        &mut problems,
    );
    assert_eq!(problems, Problems::default());
    compiled.unwrap()
}

fn endpoints(upstream: &Upstream) -> Vec<String> {
    let set = upstream.versions[0].pool.current();
    set.endpoints.iter().map(|one| format!("{}*{}", one.name, one.weight)).collect()
}

fn answer(ips: &[&str]) -> Answer {
    let place =
        |ip: &&str| Place { ip: ip.parse().unwrap(), port: None, host: "orders".into(), weight: 1 };
    Answer { places: Ok(ips.iter().map(place).collect()), hint: Hint::None }
}

fn only_feed(upstreams: &Upstreams) -> Arc<Feed> {
    let feeds = upstreams.directory.feeds();
    assert_eq!(feeds.len(), 1);
    Arc::clone(&feeds[0])
}

fn hear(upstreams: &Upstreams, answer: Answer) {
    let metrics = Metrics::new().unwrap();
    let feed = only_feed(upstreams);
    upstreams.directory.publish(&feed, answer, Tick::default(), &upstreams.health, &metrics);
}

const DNS: &str = "  a: {discovery: {dns: {name: orders.internal}}}";

#[test]
fn pools_of_one_source_share_its_feed_each_with_its_port() {
    let (upstreams, config) = (Upstreams::default(), config(DNS));
    let first = with(&upstreams, "{service: a, port: 80}", &config);
    let second = with(&upstreams, "{service: a, port: 81}", &config);
    assert!(endpoints(&first).is_empty());
    assert_eq!(&*first.versions[0].sources[0], "dns:orders.internal");
    hear(&upstreams, answer(&["10.0.0.2", "10.0.0.1"]));
    assert_eq!(endpoints(&first), ["10.0.0.1:80*1", "10.0.0.2:80*1"]);
    assert_eq!(endpoints(&second), ["10.0.0.1:81*1", "10.0.0.2:81*1"]);
}

/// A reload never empties a service.
#[test]
fn a_pool_that_comes_later_is_filled_at_once() {
    let (upstreams, config) = (Upstreams::default(), config(DNS));
    let old = with(&upstreams, "{service: a, port: 80}", &config);
    hear(&upstreams, answer(&["10.0.0.1"]));
    let new = with(&upstreams, "{service: a, port: 80}", &config);
    drop(old);
    assert_eq!(endpoints(&new), ["10.0.0.1:80*1"]);
    upstreams.directory.forget();
    hear(&upstreams, answer(&["10.0.0.2"]));
    assert_eq!(endpoints(&new), ["10.0.0.2:80*1"]);
}

#[test]
fn an_unchanged_answer_leaves_the_pool_alone() {
    let (upstreams, config) = (Upstreams::default(), config(DNS));
    let upstream = with(&upstreams, "{service: a, port: 80}", &config);
    hear(&upstreams, answer(&["10.0.0.1", "10.0.0.2"]));
    let before = upstream.versions[0].pool.current();
    hear(&upstreams, answer(&["10.0.0.2", "10.0.0.1"]));
    hear(&upstreams, Answer::failed("x"));
    hear(&upstreams, answer(&[]));
    assert!(Arc::ptr_eq(&before, &upstream.versions[0].pool.current()));
    hear(&upstreams, answer(&["10.0.0.2"]));
    assert!(!Arc::ptr_eq(&before, &upstream.versions[0].pool.current()));
}

#[test]
fn a_feed_ends_with_its_last_pool() {
    let (upstreams, config) = (Upstreams::default(), config(DNS));
    let upstream = with(&upstreams, "{service: a, port: 80}", &config);
    upstreams.directory.forget();
    only_feed(&upstreams);
    drop(upstream);
    upstreams.directory.forget();
    assert!(upstreams.directory.feeds().is_empty());
}

/// New settings in the middle of an outage must not cost what is known.
#[test]
fn changed_settings_begin_with_what_was_known() {
    let upstreams = Upstreams::default();
    let upstream = with(&upstreams, "{service: a, port: 80}", &config(DNS));
    hear(&upstreams, answer(&["10.0.0.1"]));
    let slower = config("  a: {discovery: {dns: {name: orders.internal}, refresh: 20s}}");
    let changed = with(&upstreams, "{service: a, port: 80}", &slower);
    assert_eq!(upstreams.directory.feeds().len(), 2);
    assert_eq!(endpoints(&changed), ["10.0.0.1:80*1"]);
    drop(upstream);
    upstreams.directory.forget();
    hear(&upstreams, Answer::failed("x"));
    assert_eq!(endpoints(&changed), ["10.0.0.1:80*1"]);
    hear(&upstreams, answer(&["10.0.0.2"]));
    assert_eq!(endpoints(&changed), ["10.0.0.2:80*1"]);
}

#[test]
fn names_stand_beside_addresses_in_the_order_of_the_document() {
    let upstreams = Upstreams::default();
    let services = "  a: {endpoints: [{address: '10.0.0.9:80'}, {address: 'orders:81', weight: 3},
    {address: '10.0.0.1:81'}]}";
    let upstream = with(&upstreams, "{service: a}", &config(services));
    assert_eq!(endpoints(&upstream), ["10.0.0.9:80*1", "10.0.0.1:81*1"]);
    hear(&upstreams, answer(&["10.0.0.2", "10.0.0.1"]));
    assert_eq!(
        endpoints(&upstream),
        ["10.0.0.9:80*1", "10.0.0.1:81*3", "10.0.0.2:81*3"],
        "one address is one endpoint, the first counts"
    );
    hear(&upstreams, answer(&["10.0.0.2"]));
    assert_eq!(endpoints(&upstream), ["10.0.0.9:80*1", "10.0.0.2:81*3", "10.0.0.1:81*1"]);
}

/// What is wrong with a `discovery`, as codes and places.
fn wrong(upstream: &str, discovery: &str) -> Vec<(String, String)> {
    let services = config(&format!("  a: {{discovery: {{{discovery}}}}}"));
    let (compiled, problems) = compile(upstream, &services, &Resolved::default());
    assert_eq!(compiled.is_none(), problems.has_errors());
    let codes = codes(&problems).into_iter();
    codes.map(|(code, path)| (code.to_owned(), path.to_owned())).collect()
}

#[test]
fn settings_that_cannot_be_are_named() {
    let dns = "dns: {name: orders.internal, port: 80}";
    for (discovery, code, place) in [
        ("", "discovery.layout", ""),
        ("file: /a, dns: {name: orders, port: 80}", "discovery.layout", ""),
        ("file: ''", "discovery.file", ".file"),
        ("file: /etc/", "discovery.file", ".file"),
        ("dns: {name: 10.0.0.1, port: 80}", "discovery.dns", ".dns.name"),
        ("dns: {name: a, port: 80, server: ns.example}", "discovery.dns", ".dns.server"),
        ("dns: {name: orders}", "endpoint.port", ".dns"),
        ("dns: {name: orders, port: 0}", "endpoint.port", ".dns.port"),
        ("dns: {name: orders, port: 80, record: SRV}", "endpoint.port", ".dns.port"),
        ("consul: {url: 'ftp://x', service: a}", "discovery.consul", ".consul.url"),
        (&format!("{dns}, refresh: 999ms"), "discovery.range", ".refresh"),
        (&format!("{dns}, refresh: 61m"), "discovery.range", ".refresh"),
        (&format!("{dns}, timeout: 0s"), "discovery.range", ".timeout"),
        (&format!("{dns}, timeout: 31s"), "discovery.range", ".timeout"),
        (&format!("{dns}, emptyAnswers: 0"), "discovery.range", ".emptyAnswers"),
    ] {
        let place = format!("services.a.discovery{place}");
        assert_eq!(wrong("{service: a}", discovery), [(code.to_owned(), place)], "{discovery}");
    }
    for sound in [
        format!("{dns}, refresh: 1s, timeout: 30s, emptyAnswers: 1"),
        format!("{dns}, refresh: 1h, timeout: 1ms"),
        "dns: {name: orders, record: SRV}".to_owned(),
        "consul: {url: 'https://consul.example', service: a}".to_owned(),
        "file: endpoints".to_owned(),
    ] {
        assert_eq!(wrong("{service: a}", &sound), [], "{sound}");
    }
}

#[test]
fn a_port_is_said_once_or_said_to_be_useless() {
    let at = |place: &str| [("endpoint.port".to_owned(), place.to_owned())];
    let with_port = "{service: a, port: 81}";
    assert_eq!(wrong(with_port, "dns: {name: orders}"), []);
    assert_eq!(wrong(with_port, "dns: {name: orders, port: 81}"), []);
    let route = at("routes[0].upstream.port");
    assert_eq!(wrong(with_port, "dns: {name: orders, port: 80}"), route);
    assert_eq!(wrong(with_port, "dns: {name: orders, record: SRV}"), route);
    assert_eq!(wrong(with_port, "file: endpoints"), route);
    // It stands in for instances that are registered without one.
    assert_eq!(wrong(with_port, "consul: {url: 'http://consul', service: a}"), []);
}
