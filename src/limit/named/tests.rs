use http::HeaderMap;

use super::super::plan;
use super::super::testing::{rule, with_facts};
use super::*;

fn assume(facts: IdentityFacts) -> Identity {
    Identity::prove(facts)
}

fn named(rule: &Arc<LimitRule>, parts: &[(&str, &str)]) -> Result<Take, Unnamed> {
    let own = |text: &&str| (*text).to_owned();
    let parts: Vec<_> = parts.iter().map(|(name, value)| (own(name), own(value))).collect();
    by_parts(rule, &parts, assume)
}

/// The counter of a real request: alice of acme, from `2001:db8::1`, on `orders` of `api`.
fn real(rule: &Arc<LimitRule>, facts: IdentityFacts) -> Take {
    let mut headers = HeaderMap::new();
    headers.insert("x-team", HeaderValue::from_static("red"));
    headers.insert("cookie", HeaderValue::from_static("a=1; session=s1"));
    let applied = [Applied { rule: Arc::clone(rule), cost: 1 }];
    let identity = assume(facts);
    let plan = |facts: &crate::edge::Facts<'_>| plan(&applied, facts).unwrap();
    with_facts("2001:db8::1", "orders", &headers, Some(&identity), plan).into_iter().next().unwrap()
}

fn alice() -> IdentityFacts {
    let claims = serde_json::json!({"dept": "r&d", "floor": 3}).as_object().unwrap().clone();
    IdentityFacts {
        subject: "alice".into(),
        tenant_id: Some("acme".into()),
        api_key: Some("key_1".into()),
        plan: Some("pro".into()),
        claims: claims.into(),
        ..IdentityFacts::default()
    }
}

fn by(key: &str) -> Arc<LimitRule> {
    rule("r", &format!("{{limit: 5, window: 1s, key: [{key}], plans: {{pro: {{limit: 50}}}}}}"))
}

#[test]
fn a_named_counter_is_the_one_of_the_request() {
    for (key, parts) in [
        ("tenantId, userId", &[("userId", "alice"), ("tenantId", "acme")][..]),
        ("apiKey", &[("apiKey", "key_1")]),
        ("plan, clientIp", &[("clientIp", "2001:db8::1")]),
        ("clientIp", &[("clientIp", "2001:db8::1")]),
        ("routeName, service", &[("routeName", "orders"), ("service", "api")]),
        ("'header:X-Team', userId", &[("header:x-team", "red"), ("userId", "alice")]),
        ("'cookie:session'", &[("cookie:session", "s1")]),
        ("'claim:dept'", &[("claim:dept", "r&d")]),
        ("'claim:floor'", &[("claim:floor:", "3")]),
    ] {
        let rule = by(key);
        let parts = [parts, &[("plan", "pro")]].concat();
        let (take, real) = (named(&rule, &parts).unwrap(), real(&rule, alice()));
        assert_eq!((take.tier, take.key), (real.tier, real.key), "{key}");
        assert_eq!(take.tier, 1);
        let again = by_key([&rule], &format!("tidegate:{}", real.name())).unwrap();
        assert_eq!((again.tier, again.key, again.name()), (1, real.key, real.name()));
    }
}

#[test]
fn a_caller_without_a_part_is_named_by_what_stands_for_it() {
    let rule = by("tenantId, userId");
    let facts = IdentityFacts { subject: "bob".into(), ..IdentityFacts::default() };
    let real = real(&rule, facts);
    let take = named(&rule, &[("userId", "bob"), ("clientIp", "2001:db8::1")]).unwrap();
    assert_eq!((take.tier, take.key), (0, real.key));
}

#[test]
fn what_is_missing_wrong_or_of_no_use_is_said() {
    let rule = by("tenantId, userId");
    let words = |parts: &[(&str, &str)]| named(&rule, parts).unwrap_err().to_string();
    let missing = words(&[("tenantId", "acme")]);
    assert!(missing.ends_with("give also: userId, or, for callers without, clientIp"), "{missing}");
    let all = [("tenantId", "acme"), ("userId", "alice")];
    assert!(named(&rule, &all).is_ok());
    let unused = words(&[all[0], all[1], ("clientIp", "192.0.2.9")]);
    assert_eq!(unused, "the limit does not count by `clientIp`, but by tenantId, userId");
    assert_eq!(named(&rule, &[all[0], all[0]]).unwrap_err(), Unnamed::Twice("tenantId".to_owned()));
    for (word, value) in [("tenant", "acme"), ("random", "1"), ("global", ""), ("header:", "x")] {
        let unknown = named(&rule, &[(word, value)]).unwrap_err();
        assert_eq!(unknown, Unnamed::Unknown(word.to_owned()), "{word}");
    }
    let rule = by("clientIp, 'header:x-team', 'cookie:a'");
    let team = "header:x-team";
    for (word, value) in [("clientIp", "here"), (team, "a\nb"), ("cookie:a", "1; b=2")] {
        let wrong = named(&rule, &[(word, value)]).unwrap_err();
        assert_eq!(wrong, Unnamed::Value(word.to_owned()));
    }
    assert_eq!(named(&rule, &[]).unwrap_err(), {
        let parts = ["clientIp", team, "cookie:a"].map(str::to_owned);
        Unnamed::Missing(parts.into())
    });
}

#[test]
fn only_the_name_of_a_counter_is_one() {
    let rule = by("clientIp");
    let name = named(&rule, &[("clientIp", "192.0.2.7")]).unwrap().name();
    assert!(by_key([&rule], &name).is_some());
    for wrong in [&name[1..], &name[..name.len() - 1], &format!("{name}0"), "rl2:r:", "r", ""] {
        assert!(by_key([&rule], wrong).is_none(), "{wrong}");
    }
    assert!(by_key([&by("userId")], &name).is_none(), "another limit's");
}
