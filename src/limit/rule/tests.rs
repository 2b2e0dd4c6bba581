use super::super::testing::{compile, rule};
use super::*;

/// Codes and paths of what is wrong with a rule.
fn wrong(yaml: &str) -> Vec<(&'static str, String)> {
    let (compiled, problems) = compile("r", yaml);
    assert_eq!(compiled.is_some(), !problems.has_errors(), "{problems:?}");
    problems.0.iter().map(|problem| (problem.code, problem.path.clone())).collect()
}

#[track_caller]
fn assert_wrong(yaml: &str, code: &str, place: &str) {
    let found = wrong(yaml);
    let path = format!("rateLimits.r{place}");
    assert!(found.iter().any(|(c, p)| *c == code && *p == path), "{yaml}: {found:?}");
}

#[test]
fn the_seed_rule_compiles_with_its_words() {
    let rule = rule(
        "checkout-default",
        "{algorithm: token_bucket, capacity: 1000, refillPerSecond: 100,
          key: [tenantId, routeName]}",
    );
    let algorithm = Algorithm::TokenBucket { units_per_us: 1, units_per_token: 10_000 };
    assert_eq!(rule.numbers, Numbers { limit: 1000, cost: 1, algorithm });
    assert_eq!(rule.window_s, 10, "the time in which it fills");
    assert_eq!(rule.failure_mode, FailureMode::Local);
    assert_eq!(rule.policy, "\"checkout-default\";q=1000;w=10");
}

#[test]
fn fractional_windows_and_boundary_values_compile() {
    assert_eq!(rule("r", "{limit: 1, window: 1500ms, key: [clientIp]}").window_s, 2);
    for yaml in [
        "{limit: 1, window: 1s, key: [clientIp]}",
        "{limit: 1000, window: 31d, cost: 1000, key: [clientIp]}",
        "{algorithm: token_bucket, capacity: 1, refillPerSecond: 0.0001, key: [clientIp]}",
        "{algorithm: token_bucket, capacity: 1000000, refillPerSecond: 1e9, key: [clientIp]}",
    ] {
        assert_eq!(wrong(yaml), [], "{yaml}");
    }
}

#[test]
fn each_algorithm_takes_its_own_words_only() {
    let bucket = |rest: &str| format!("{{algorithm: token_bucket, key: [clientIp], {rest}}}");
    let window = |rest: &str| format!("{{algorithm: sliding_window, key: [clientIp], {rest}}}");
    assert_wrong(&bucket("capacity: 5"), "limit.missing", "");
    assert_wrong(&bucket("refillPerSecond: 5"), "limit.missing", "");
    assert_wrong(&window("limit: 5"), "limit.missing", "");
    assert_wrong(&window("window: 5s"), "limit.missing", "");
    let full = "capacity: 5, refillPerSecond: 1, limit: 5, window: 5s";
    assert_wrong(&bucket(full), "limit.unused", ".limit");
    assert_wrong(&bucket(full), "limit.unused", ".window");
    assert_wrong(&window(full), "limit.unused", ".capacity");
    assert_wrong(&window(full), "limit.unused", ".refillPerSecond");
}

#[test]
fn numbers_out_of_range_are_refused() {
    let bucket = |c: &str, r: &str| {
        format!("{{algorithm: token_bucket, capacity: {c}, refillPerSecond: {r}, key: [userId]}}")
    };
    assert_wrong(&bucket("0", "1"), "limit.range", ".capacity");
    assert_wrong(&bucket("1000000000000", "0.001"), "limit.range", ".capacity");
    for refill in ["0", "-1", ".nan", ".inf", "1.1e9"] {
        assert_wrong(&bucket("5", refill), "limit.range", ".refillPerSecond");
    }
    let window = |l: &str, w: &str, c: &str| {
        format!("{{limit: {l}, window: {w}, cost: {c}, key: [userId]}}")
    };
    assert_wrong(&window("0", "1s", "1"), "limit.range", ".limit");
    assert_wrong(&window("5", "999ms", "1"), "limit.range", ".window");
    assert_wrong(&window("5", "32d", "1"), "limit.range", ".window");
    assert_wrong(&window("5", "1s", "0"), "limit.range", ".cost");
    assert_wrong(&window("5", "1s", "6"), "limit.range", ".cost");
    assert_wrong(&window("900000000", "31d", "1"), "limit.range", ".limit");
    assert_eq!(wrong(&window("800000", "31d", "1")), []);
}

#[test]
fn keys_must_limit_somebody() {
    let key = |parts: &str| format!("{{limit: 5, window: 1s, key: [{parts}]}}");
    assert_wrong(&key(""), "limit.key", ".key");
    assert_wrong(&key("clientIp, requestId"), "limit.key", ".key[1]");
    assert_wrong(&key("random"), "limit.key", ".key[0]");
    assert_wrong(&key("userId, clientIp, userId"), "limit.key", ".key[2]");
    assert_wrong(&key("'header:a b'"), "limit.key", ".key[0]");
    assert_wrong(&key("'header:x-team', routeName"), "limit.key_chosen_by_client", ".key");
    assert_eq!(wrong(&key("'header:x-team', clientIp")), []);
    assert_eq!(wrong(&key("routeName")), []);
}

#[test]
fn all_problems_of_a_rule_are_reported_together() {
    let found =
        wrong("{algorithm: token_bucket, capacity: 0, refillPerSecond: 0, limit: 1, key: []}");
    assert_eq!(found.len(), 4, "{found:?}");
}

#[test]
fn names_fit_into_keys_and_headers() {
    let yaml = "{limit: 5, window: 1s, key: [clientIp]}";
    for name in ["a", "checkout-default", "v1/orders:read@eu", &"x".repeat(64)] {
        assert!(compile(name, yaml).0.is_some(), "{name}");
    }
    for name in ["", "a b", "a\"b", "a\\b", "{a}", "größe", "a\nb", &"x".repeat(65)] {
        let (_, problems) = compile(name, yaml);
        assert!(problems.0.iter().any(|problem| problem.code == "limit.name"), "{name}");
    }
}

#[test]
fn refill_rates_are_met() {
    // To a billionth where the capacity leaves room; R055 asks for one percent.
    for rate in [1.0 / 3.0, 1.67, 100.0 / 60.0, 0.017, 99.99, 333.0, 7e5, 1e9, 123_456.789] {
        let (per_us, per_token) = refill_units(1_000, rate).unwrap();
        #[expect(clippy::cast_precision_loss, reason = "far below 2^53")]
        let met = per_us as f64 * 1e6 / per_token as f64;
        assert!((met / rate - 1.0).abs() <= 1e-8, "{rate}: {met}");
        assert!(1_000 * per_token <= EXACT_MAX);
    }
    assert_eq!(refill_units(1_000, 100.0), Some((1, 10_000)));
    assert_eq!(refill_units(u64::MAX, 1.0), None);
}

#[test]
fn a_changed_meaning_changes_the_keys() {
    let prefix = |yaml: &str| rule("r", yaml).key_prefix.clone();
    let base = prefix("{limit: 5, window: 1s, key: [clientIp]}");
    assert_eq!(base, prefix("{limit: 5, window: 1000ms, key: [clientIp], failureMode: open}"));
    for other in [
        "{limit: 6, window: 1s, key: [clientIp]}",
        "{limit: 5, window: 2s, key: [clientIp]}",
        "{limit: 5, window: 1s, cost: 2, key: [clientIp]}",
        "{limit: 5, window: 1s, key: [userId]}",
        "{limit: 5, window: 1s, key: [clientIp, userId]}",
        "{algorithm: token_bucket, capacity: 5, refillPerSecond: 5, key: [clientIp]}",
    ] {
        assert_ne!(base, prefix(other), "{other}");
    }
}
