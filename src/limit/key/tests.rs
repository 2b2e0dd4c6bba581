use std::collections::HashSet;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue};

use super::super::plan::{Take, plan};
use super::super::testing::{rule, with_facts};
use super::*;
use crate::edge::{Identity, IdentityFacts};

fn limit(parts: &str) -> Arc<LimitRule> {
    rule("r", &format!("{{limit: 10, window: 1m, key: [{parts}]}}"))
}

fn caller(tenant: Option<&str>, user: &str) -> Identity {
    let tenant_id = tenant.map(Arc::from);
    Identity::prove(IdentityFacts { tenant_id, subject: user.into(), ..IdentityFacts::default() })
}

fn key_of(rule: &LimitRule, client: &str, route: &str, identity: Option<&Identity>) -> String {
    with_facts(client, route, &HeaderMap::new(), identity, |facts| counter_key(rule, facts))
}

fn tag(key: &str) -> &str {
    key.split_once('{').unwrap().1.split_once('}').unwrap().0
}

#[test]
fn a_key_has_the_documented_layout_and_shows_nobody() {
    let rule = limit("tenantId, userId");
    let key = key_of(&rule, "192.0.2.7", "orders", Some(&caller(Some("acme"), "alice")));
    let rest = key.strip_prefix(&*rule.key_prefix).unwrap();
    assert_eq!(rest.len(), TAIL);
    assert!(rule.key_prefix.starts_with("rl1:r:"));
    assert!(!key.contains("acme") && !key.contains("alice") && !key.contains("192.0"));
    assert_eq!(tag(&key).len(), 2 * TAG_BYTES);
    assert_eq!(key.capacity(), key.len(), "one allocation of the right size");
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
        with_facts("192.0.2.7", "r", headers, None, |facts| counter_key(&rule, facts))
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
}

#[test]
fn a_rule_named_twice_is_taken_from_once() {
    let (one, two) = (limit("clientIp"), limit("routeName"));
    let rules = [Arc::clone(&one), two, Arc::clone(&one)];
    let takes = with_facts("192.0.2.7", "r", &HeaderMap::new(), None, |facts| plan(&rules, facts));
    assert_eq!(takes.len(), 2);
    assert!(with_facts("::1", "r", &HeaderMap::new(), None, |facts| plan(&[], facts)).is_empty());
}
