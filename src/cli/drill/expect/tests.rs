use super::*;
use crate::model::load_text;

const SECOND: Duration = Duration::from_secs(1);

fn config(text: &str) -> Config {
    let loaded = load_text(text, "test.yaml");
    loaded.config.unwrap_or_else(|| panic!("{:?}", loaded.problems))
}

fn drill(name: &str, seconds: u32) -> Drill<'static> {
    let point = Point::named(name).unwrap();
    Drill { point, length: SECOND * seconds, service: None }
}

fn limited() -> Config {
    config(
        "redis: {url: \"redis://127.0.0.1:1\"}\n\
         rateLimits:\n  o: {limit: 1, window: 1s, key: [clientIp], failureMode: open}\n  \
         c: {limit: 1, window: 1s, key: [clientIp], failureMode: closed}\n  \
         l: {limit: 1, window: 1s, key: [clientIp]}\n  \
         s: {limit: 1, window: 1s, key: [clientIp], failureMode: closed, shadow: true}\n\
         policies: {auth: none, rateLimit: l}\n\
         routes:\n  - {name: o, match: {path: /o}, respond: {status: 200}, policies: {rateLimit: \
         o}}\n  - {name: c, match: {path: /c}, respond: {status: 200}, policies: {rateLimit: [l, \
         c]}}\n  - {name: l, match: {path: /l}, respond: {status: 200}}\n  - {name: s, match: \
         {path: /s}, respond: {status: 200}, policies: {rateLimit: s}}\n",
    )
}

#[test]
fn a_route_fails_as_its_strictest_limit_says() {
    let config = limited();
    let of = |index: usize, seconds| {
        expected(&config, Some(&config.routes[index]), drill("redis-down", seconds))
    };
    assert!(of(0, 10).may.is_empty() && of(3, 10).may.is_empty());
    let closed = of(1, 10);
    assert_eq!(closed.may, [Outcome::new(503, "limit.unavailable")]);
    assert!(closed.must && !of(1, 3).must, "leases last for a while");
    let local = of(2, 10);
    assert_eq!((local.may, local.must), (vec![Outcome::new(429, "limit.exceeded")], false));
}

#[test]
fn what_a_configuration_does_not_use_is_not_drilled() {
    let config = limited();
    let depends = |name| depends(&config, Point::named(name).unwrap()).is_ok();
    assert!(depends("redis-slow") && depends("disk-full") && depends("control-plane-off"));
    for name in ["idp-down", "introspection-slow", "database-down", "registry-empty"] {
        assert!(!depends(name), "{name}");
    }
    assert!(!depends("upstream-down"), "there is no service");
}

#[test]
fn services_fail_where_a_route_leads_to_them() {
    let config = config(
        "services:\n  a: {endpoints: [{address: \"127.0.0.1:1\"}]}\n  \
         b: {discovery: {file: /x, refresh: 2s, emptyAnswers: 2}}\n\
         policies: {auth: none}\nroutes:\n  \
         - {name: a, match: {path: /a}, upstream: {service: a}}\n  \
         - {name: b, match: {path: /b}, upstream: {service: b}, policies: {cache: {ttl: 1s}}}\n  \
         - {name: r, match: {path: /r}, respond: {status: 200}}\n",
    );
    let of = |index: usize, drill| expected(&config, Some(&config.routes[index]), drill);
    let down = of(0, drill("upstream-down", 10));
    assert!(down.must && down.may.contains(&Outcome::new(502, "upstream.connect_failed")));
    assert!(!of(1, drill("upstream-down", 10)).must, "answers are kept");
    assert!(of(2, drill("upstream-down", 10)).may.is_empty());
    let other = Drill { service: Some("b"), ..drill("upstream-wrong", 10) };
    assert!(of(0, other).may.is_empty());
    assert!(of(0, drill("registry-empty", 10)).may.is_empty());
    assert!(of(1, drill("registry-down", 10)).may.is_empty());
    assert!(of(1, drill("registry-empty", 10)).must);
    assert!(!of(1, drill("registry-empty", 6)).must, "three look-ups, each a tenth late: 6.6 s");
    assert!(expected(&config, None, drill("upstream-down", 10)).may.is_empty());
}

/// What is watched exists.
#[test]
fn alarms_are_metrics() {
    for point in Point::ALL {
        for (name, _) in alarms(*point).0 {
            let name = name.trim_end_matches("_count");
            let known = crate::telemetry::Metrics::TABLE.iter().any(|(known, ..)| *known == name);
            assert!(known, "{point:?}: {name}");
        }
    }
}
