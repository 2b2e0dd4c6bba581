use std::collections::HashSet;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};

use super::super::plan::{Applied, Take, plan};
use super::super::testing::{rule, with_facts};
use super::*;
use crate::edge::{Identity, IdentityFacts};

fn limit(parts: &str) -> Arc<LimitRule> {
    with(parts, "cost: 1")
}

/// The same with one more setting.
fn with(parts: &str, more: &str) -> Arc<LimitRule> {
    rule("r", &format!("{{limit: 10, window: 1m, key: [{parts}], {more}}}"))
}

fn caller(tenant: Option<&str>, user: &str) -> Identity {
    let tenant_id = tenant.map(Arc::from);
    Identity::prove(IdentityFacts { tenant_id, subject: user.into(), ..IdentityFacts::default() })
}

fn key_of(rule: &LimitRule, client: &str, route: &str, identity: Option<&Identity>) -> String {
    with_facts(client, route, &HeaderMap::new(), identity, |facts| {
        counter_key(rule, &rule.tiers[0], facts).unwrap().name(&rule.tiers[0])
    })
}

fn tag(key: &str) -> &str {
    key.split_once('{').unwrap().1.split_once('}').unwrap().0
}

#[test]
fn a_key_has_the_documented_layout_and_shows_nobody() {
    let rule = limit("tenantId, userId");
    let key = key_of(&rule, "192.0.2.7", "orders", Some(&caller(Some("acme"), "alice")));
    let rest = key.strip_prefix(&*rule.tiers[0].key_prefix).unwrap();
    assert_eq!(rest.len(), TAIL);
    assert!(rule.tiers[0].key_prefix.starts_with("rl2:r:"));
    assert!(!key.contains("acme") && !key.contains("alice") && !key.contains("192.0"));
    assert_eq!(tag(&key).len(), 2 * TAG_BYTES);
}

#[test]
fn tenants_and_routes_have_budgets_of_their_own() {
    // R079: two tenants on one route, one tenant on two routes.
    let rule = limit("tenantId, routeName");
    let acme = caller(Some("acme"), "alice");
    let same_tenant = caller(Some("acme"), "bob");
    let other = caller(Some("umbra"), "alice");
    let key = |identity, route| key_of(&rule, "192.0.2.7", route, Some(identity));
    assert_eq!(key(&acme, "a"), key(&same_tenant, "a"));
    assert_ne!(key(&acme, "a"), key(&acme, "b"));
    assert_ne!(key(&acme, "a"), key(&other, "a"));
}

#[test]
fn parts_cannot_be_confused() {
    // T10: what one part ends with may be what the next begins with.
    let rule = limit("tenantId, userId");
    let mut keys = HashSet::new();
    let callers =
        [("a", "bc"), ("ab", "c"), ("a:b", "c"), ("a", "b:c"), ("a\u{1}", "c"), ("a", "\u{1}c")];
    for (tenant, user) in callers {
        keys.insert(key_of(&rule, "192.0.2.7", "r", Some(&caller(Some(tenant), user))));
    }
    assert_eq!(keys.len(), callers.len());
}

#[test]
fn a_missing_part_falls_back_to_the_client_and_to_no_caller() {
    // R078, R082.
    let rule = limit("tenantId");
    let nobody = |client: &str| key_of(&rule, client, "r", None);
    assert_eq!(nobody("192.0.2.7"), nobody("::ffff:192.0.2.7"));
    assert_ne!(nobody("192.0.2.7"), nobody("192.0.2.8"));
    let without_tenant = key_of(&rule, "192.0.2.7", "r", Some(&caller(None, "alice")));
    assert_eq!(without_tenant, nobody("192.0.2.7"));
    // A tenant whose name is the bytes of an address has not that address's budget.
    let named = key_of(&rule, "192.0.2.7", "r", Some(&caller(Some("ABCD"), "x")));
    assert_ne!(named, nobody("65.66.67.68"));
}

#[test]
fn every_part_that_may_be_missing_has_a_fallback() {
    for part in ["tenantId", "userId", "apiKey", "plan", "claim:org", "header:x-team", "cookie:c"] {
        let rule = limit(part);
        let nobody = |client: &str| key_of(&rule, client, "r", None);
        assert_ne!(nobody("192.0.2.7"), nobody("192.0.2.8"), "{part}");
    }
}

#[test]
fn an_empty_value_is_a_missing_one() {
    let rule = limit("header:x-team");
    let mut headers = HeaderMap::new();
    headers.insert("x-team", HeaderValue::from_static(""));
    let read = |headers: &HeaderMap| {
        with_facts("192.0.2.7", "r", headers, None, |facts| {
            counter_key(&rule, &rule.tiers[0], facts).unwrap()
        })
    };
    let empty = read(&headers);
    assert_eq!(empty, read(&HeaderMap::new()));
    headers.insert("x-team", HeaderValue::from_static("blue"));
    assert_ne!(empty, read(&headers));
}

#[test]
fn keys_that_begin_with_the_same_part_share_a_hash_tag() {
    let alice = caller(Some("acme"), "alice");
    let key = |rule: &Arc<LimitRule>| key_of(rule, "192.0.2.7", "r", Some(&alice));
    let (tenant, both, user) = (limit("tenantId"), limit("tenantId, userId"), limit("userId"));
    assert_eq!(tag(&key(&tenant)), tag(&key(&both)));
    assert_ne!(tag(&key(&tenant)), tag(&key(&user)));
}

#[test]
fn explanations_name_parts_and_say_what_is_missing() {
    let rule = limit("tenantId, clientIp, routeName");
    let describe = |identity: Option<&Identity>| {
        let headers = HeaderMap::new();
        with_facts("192.0.2.7", "orders", &headers, identity, |facts| Take::describe(&rule, facts))
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        describe(Some(&caller(Some("acme"), "alice"))),
        [pair("tenantId", "acme"), pair("clientIp", "192.0.2.7"), pair("routeName", "orders")]
    );
    assert_eq!(describe(None)[0], pair("tenantId", "192.0.2.7 (client address: no tenantId)"));
    let rule = with("tenantId, userId, global", "missingKey: userId, ipv4Prefix: 24");
    let describe = |identity: Option<&Identity>| {
        let headers = HeaderMap::new();
        with_facts("192.0.2.7", "orders", &headers, identity, |facts| Take::describe(&rule, facts))
    };
    let alice = caller(None, "alice");
    assert_eq!(describe(Some(&alice))[0], pair("tenantId", "alice (userId: no tenantId)"));
    assert_eq!(describe(None)[1], pair("userId", "192.0.2.0/24 (client address: no userId)"));
    assert_eq!(describe(None)[2], pair("global", "every request"));
}

#[test]
fn a_request_takes_from_each_rule_of_its_route() {
    let rules = [limit("clientIp"), limit("routeName")].map(|rule| Applied { rule, cost: 3 });
    let planned = |rules: &[Applied]| {
        with_facts("192.0.2.7", "r", &HeaderMap::new(), None, |facts| plan(rules, facts).unwrap())
    };
    let takes = planned(&rules);
    assert_eq!(takes.iter().map(|take| take.cost).collect::<Vec<_>>(), [3, 3]);
    assert!(planned(&[]).is_empty());
}

/// The key for a caller with this claim `c`.
fn by_claim(rule: &LimitRule, json: &str) -> String {
    let mut claims = serde_json::Map::new();
    claims.insert("c".to_owned(), serde_json::from_str(json).unwrap());
    let facts =
        IdentityFacts { claims: claims.into(), subject: "s".into(), ..IdentityFacts::default() };
    key_of(rule, "192.0.2.7", "r", Some(&Identity::prove(facts)))
}

fn by_headers(rule: &LimitRule, lines: &[&'static str]) -> String {
    let name = http::HeaderName::from_static("x-team");
    let lines = lines.iter().map(|line| (name.clone(), HeaderValue::from_static(line)));
    with_facts("192.0.2.7", "r", &lines.collect(), None, |facts| {
        counter_key(rule, &rule.tiers[0], facts).unwrap().name(&rule.tiers[0])
    })
}

#[test]
fn claims_count_by_what_they_say() {
    let rule = limit("claim:c");
    let key = |json: &str| by_claim(&rule, json);
    for (one, other) in [
        (r#"{"a": 1, "b": [2]}"#, r#"{"b": [2.0], "a": 1e0}"#),
        ("-0.0", "0"),
        ("1.5", "15e-1"),
        ("18446744073709551615", "18446744073709551615"),
    ] {
        assert_eq!(key(one), key(other), "{one} {other}");
    }
    let different = [
        "1",
        "\"1\"",
        "true",
        "\"true\"",
        "[1]",
        "[\"1\"]",
        "[[1]]",
        "[1, 2]",
        "[2, 1]",
        "[12]",
        r#"{"a": 1}"#,
        r#"{"a": 2}"#,
        r#"{"1": "a"}"#,
        r#"{"a": {"b": 1}}"#,
        r#"{"a": null}"#,
        "1.5",
        "-1",
        "9007199254740993",
        "18446744073709551615",
        "\"a\"",
        r#"["a", "b"]"#,
        r#"["ab"]"#,
        r#"["a,b"]"#,
        r#"[["a"], "b"]"#,
        r#"[["a", "b"]]"#,
    ];
    let keys: HashSet<_> = different.iter().map(|json| key(json)).collect();
    assert_eq!(keys.len(), different.len());
    let nobody = key_of(&rule, "192.0.2.7", "r", None);
    for empty in ["null", "\"\"", "[]", "{}"] {
        assert_eq!(key(empty), nobody, "{empty} says nothing");
    }
}

#[test]
fn several_lines_of_a_header_are_one_value() {
    let rule = limit("header:x-team");
    let key = |lines: &[&'static str]| by_headers(&rule, lines);
    assert_eq!(key(&["a", "b"]), key(&["a, b"]));
    assert_eq!(key(&["", "a", " "]), key(&["a"]));
    assert_ne!(key(&["a", "b"]), key(&["a"]), "a second line is not unseen");
    assert_ne!(key(&["a", "b"]), key(&["b", "a"]));
    assert_eq!(key(&["", ""]), key(&[]));
}

/// R078: an address counts as far as it tells clients apart.
#[test]
fn clients_of_one_network_share_a_budget() {
    let same = |rule: &LimitRule, a: &str, b: &str| {
        key_of(rule, a, "r", None) == key_of(rule, b, "r", None)
    };
    let usual = limit("clientIp");
    assert!(same(&usual, "2001:db8::1", "2001:db8::ffff:1"), "64 bits are one subscriber");
    assert!(!same(&usual, "2001:db8::1", "2001:db8:0:1::1"));
    assert!(!same(&usual, "192.0.2.7", "192.0.2.8"));
    assert!(same(&usual, "192.0.2.7", "::ffff:192.0.2.7"), "one client on both sockets");
    let wide = with("clientIp", "ipv4Prefix: 24, ipv6Prefix: 128");
    assert!(same(&wide, "192.0.2.7", "::ffff:192.0.2.200"));
    assert!(!same(&wide, "192.0.2.7", "192.0.3.7"));
    assert!(!same(&wide, "2001:db8::1", "2001:db8::2"));
    let widest = with("clientIp", "ipv4Prefix: 1, ipv6Prefix: 1");
    assert!(same(&widest, "1.2.3.4", "127.0.0.1") && !same(&widest, "1.2.3.4", "128.0.0.1"));
    assert!(!same(&widest, "1.2.3.4", "::1"), "the families stay apart");
    // What stands for a missing part is the same client.
    let user = limit("userId");
    assert!(same(&user, "2001:db8::1", "2001:db8::2"));
}

#[test]
fn nobody_lands_in_a_budget_by_leaving_something_out() {
    let rule = with("userId", "missingKey: 'header:x-team'");
    let alice = key_of(&rule, "192.0.2.7", "r", Some(&caller(None, "alice")));
    let named = by_headers(&rule, &["alice"]);
    assert_ne!(alice, named, "a header is not a verified user");
    assert_ne!(named, by_headers(&rule, &["bob"]));
    let nobody = key_of(&rule, "192.0.2.7", "r", None);
    assert_ne!(nobody, key_of(&rule, "192.0.2.8", "r", None), "the client, where both are missing");
    assert_ne!(nobody, by_headers(&rule, &["192.0.2.7"]));
    // Parts change places with nothing.
    let pair = limit("tenantId, userId");
    let one = key_of(&pair, "192.0.2.7", "r", Some(&caller(Some("x"), "")));
    let other = key_of(&pair, "192.0.2.7", "r", Some(&caller(None, "x")));
    assert_ne!(one, other);
}

#[test]
fn a_missing_part_is_refused_where_the_rule_says_so() {
    let refuse = |rule: &Arc<LimitRule>| {
        let applied = [Applied { rule: Arc::clone(rule), cost: 1 }];
        let headers = HeaderMap::new();
        with_facts("192.0.2.7", "r", &headers, None, |facts| plan(&applied, facts))
    };
    let rule = with("clientIp, 'header:x-team', tenantId", "missingKey: refuse");
    let reject = refuse(&rule).unwrap_err();
    assert_eq!((reject.fault.status(), reject.fault.code()), (403, "limit.key_missing"));
    assert!(reject.hint.unwrap().as_str().contains("header:x-team"));
    // Who only counts refuses nobody.
    assert!(refuse(&with("tenantId", "missingKey: refuse, shadow: true")).is_ok());
    for present in ["global", "clientIp", "routeName", "service"] {
        assert!(refuse(&with(present, "missingKey: refuse")).is_ok(), "{present}");
    }
}

#[test]
fn everybody_shares_what_is_global() {
    let rule = limit("global");
    let key = |client| key_of(&rule, client, "r", None);
    assert_eq!(key("192.0.2.7"), key("2001:db8::1"));
    assert_eq!(key("192.0.2.7"), key_of(&rule, "192.0.2.7", "other", None));
    let rest = with("tenantId", "missingKey: global");
    let nobody = |client| key_of(&rest, client, "r", None);
    assert_eq!(nobody("192.0.2.7"), nobody("192.0.2.8"));
}

#[test]
fn per_route_adds_the_route_once() {
    let rule = with("clientIp", "perRoute: true");
    let key = |rule: &LimitRule, route| key_of(rule, "192.0.2.7", route, None);
    assert_ne!(key(&rule, "a"), key(&rule, "b"));
    assert_eq!(key(&limit("clientIp"), "a"), key(&limit("clientIp"), "b"));
    assert_eq!(key(&rule, "a"), key(&limit("clientIp, routeName"), "a"), "the same said otherwise");
    assert_eq!(with("routeName", "perRoute: true").parts.len(), 1);
    assert_eq!(tag(&key(&rule, "a")), tag(&key(&limit("clientIp"), "a")));
}

#[test]
fn plans_never_share_a_counter() {
    let rule = with("tenantId", "plans: {free: {}, pro: {limit: 10}, max: {limit: 99}}");
    let acme = caller(Some("acme"), "alice");
    let keys: HashSet<_> = rule
        .tiers
        .iter()
        .map(|tier| {
            with_facts("192.0.2.7", "r", &HeaderMap::new(), Some(&acme), |facts| {
                counter_key(&rule, tier, facts).unwrap()
            })
        })
        .collect();
    assert_eq!(keys.len(), 4, "even where their numbers are the same");
}

#[test]
fn rules_never_share_a_counter() {
    for parts in ["tenantId", "tenantId, userId"] {
        let yaml = format!("{{limit: 10, window: 1m, key: [{parts}]}}");
        let acme = caller(Some("acme"), "alice");
        let id = |name| {
            let rule = rule(name, &yaml);
            with_facts("192.0.2.7", "r", &HeaderMap::new(), Some(&acme), |facts| {
                counter_key(&rule, &rule.tiers[0], facts).unwrap()
            })
        };
        assert_ne!(id("one"), id("two"), "{parts}");
        assert_eq!(id("one"), id("one"));
    }
}

proptest::proptest! {
    /// R079, T10: whatever the parts hold, only equal parts have equal keys.
    #[test]
    fn no_two_lists_of_parts_have_one_key(
        (a, b) in (parts(), parts()),
    ) {
        for words in ["tenantId, userId, 'header:x-team'", "userId, claim:c, tenantId"] {
            let rule = limit(words);
            let key = |(tenant, user, team, claim): &Parts| {
                let claims = serde_json::json!({"c": claim}).as_object().unwrap().clone();
                let facts = IdentityFacts {
                    tenant_id: (!tenant.is_empty()).then(|| tenant.as_str().into()),
                    subject: user.as_str().into(),
                    claims: claims.into(),
                    ..IdentityFacts::default()
                };
                let mut headers = HeaderMap::new();
                headers.insert("x-team", HeaderValue::from_str(team).unwrap());
                let identity = Identity::prove(facts);
                key_with(&rule, &headers, &identity)
            };
            let read = |(tenant, user, team, claim): &Parts| {
                let team = team.trim_ascii().to_owned();
                let last = if words.contains("claim") { claim.clone() } else { vec![team] };
                (tenant.clone(), user.clone(), last)
            };
            assert_eq!(read(&a) == read(&b), key(&a) == key(&b), "{words}");
        }
    }
}

type Parts = (String, String, String, Vec<String>);

/// Few characters, so that much is alike, and those that delimit elsewhere.
fn parts() -> impl proptest::strategy::Strategy<Value = Parts> {
    let text = || "[a:,|/ ]{0,3}";
    (text(), text(), text(), proptest::collection::vec(text(), 0..3))
}

fn key_with(rule: &LimitRule, headers: &HeaderMap, identity: &Identity) -> CounterKey {
    with_facts("192.0.2.7", "r", headers, Some(identity), |facts| {
        counter_key(rule, &rule.tiers[0], facts).unwrap()
    })
}
