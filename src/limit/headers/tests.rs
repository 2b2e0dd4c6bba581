use std::sync::Arc;

use super::super::{Decision, Outcome};
use super::*;
use crate::fault::Fault;

fn quota(name: &str, remaining: Option<u64>, reset_ms: u64) -> Quota {
    Quota {
        name: Arc::from(name),
        limit: 100,
        window_s: 60,
        remaining,
        reset: Duration::from_millis(reset_ms),
        policy: policy(name, 100).item().unwrap(),
        limit_value: HeaderValue::from(100),
    }
}

fn policy(name: &str, limit: u64) -> Policy<'_> {
    Policy { name, limit, window_s: 60, overage: 0, at_once: false }
}

fn outcome(decision: Decision, quotas: Vec<Quota>) -> Outcome {
    Outcome { decision, quotas, ..Outcome::unlimited() }
}

fn headers(outcome: &Outcome) -> Vec<(String, String)> {
    let mut headers = Vec::new();
    outcome.write_headers(|name, value| {
        headers.push((name.to_string(), value.to_str().unwrap().to_owned()));
    });
    headers
}

fn assert_headers(outcome: &Outcome, expected: &[(&str, &str)]) {
    let expected: Vec<_> =
        expected.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    assert_eq!(headers(outcome), expected);
}

#[test]
fn one_rule_is_told_in_both_vocabularies() {
    assert_headers(
        &outcome(Decision::Allowed, vec![quota("std", Some(12), 29_001)]),
        &[
            ("ratelimit-policy", "\"std\";q=100;w=60"),
            ("ratelimit", "\"std\";r=12;t=30"),
            ("x-ratelimit-limit", "100"),
            ("x-ratelimit-remaining", "12"),
            ("x-ratelimit-reset", "30"),
        ],
    );
}

#[test]
fn several_rules_are_listed_and_the_first_is_the_tightest() {
    assert_headers(
        &outcome(Decision::Limited, vec![quota("a", Some(0), 1), quota("b", Some(7), 2_000)]),
        &[
            ("ratelimit-policy", "\"a\";q=100;w=60, \"b\";q=100;w=60"),
            ("ratelimit", "\"a\";r=0;t=1, \"b\";r=7;t=2"),
            ("x-ratelimit-limit", "100"),
            ("x-ratelimit-remaining", "0"),
            ("x-ratelimit-reset", "1"),
        ],
    );
}

#[test]
fn what_nobody_counted_has_no_number() {
    // R069.
    assert_headers(
        &outcome(Decision::Allowed, vec![quota("a", None, 0)]),
        &[("ratelimit-policy", "\"a\";q=100;w=60"), ("x-ratelimit-limit", "100")],
    );
    let mixed = outcome(Decision::Limited, vec![quota("a", Some(0), 900), quota("b", None, 0)]);
    assert_eq!(headers(&mixed)[1].1, "\"a\";r=0;t=1");
    assert_headers(&Outcome::unlimited(), &[]);
}

#[test]
fn numbers_are_written_in_full() {
    for number in [0, 7, 10, 1_234_567_890, NUMBER_MAX] {
        let mut text = b"=".to_vec();
        push_number(&mut text, number);
        assert_eq!(text, format!("={number}").into_bytes());
    }
}

#[test]
fn no_number_is_longer_than_structured_fields_allow() {
    for number in [NUMBER_MAX + 1, u64::MAX] {
        let mut text = Vec::new();
        push_number(&mut text, number);
        assert_eq!(text, b"999999999999999");
    }
}

/// R077: limit, window and worst-case overage; requests at once have no window.
#[test]
fn a_policy_says_all_that_it_promises() {
    let item = |policy: Policy<'_>| policy.item().unwrap().to_str().unwrap().to_owned();
    assert_eq!(
        item(Policy { overage: 5, ..policy("std", 100) }),
        "\"std\";q=100;w=60;tidegate-overage=5"
    );
    assert_eq!(
        item(Policy { window_s: 0, at_once: true, ..policy("places", 8) }),
        "\"places\";q=8;qu=\"concurrent-requests\""
    );
}

/// An item as a reader of structured fields sees it: the string, and its parameters.
fn item(entry: &sfv::ListEntry) -> (&str, Vec<(&str, &sfv::BareItem)>) {
    let sfv::ListEntry::Item(item) = entry else { panic!("an inner list: {entry:?}") };
    let parameters = item.params.iter().map(|(key, value)| (key.as_str(), value)).collect();
    (item.bare_item.as_string().unwrap().as_str(), parameters)
}

fn whole(value: &sfv::BareItem) -> u64 {
    u64::try_from(i64::from(value.as_integer().unwrap())).unwrap()
}

proptest::proptest! {
    #[test]
    fn readers_of_structured_fields_understand_every_rule(
        rules in proptest::collection::vec(
            (
                "[!#-\\[\\]-z|~]{1,64}", 1..u64::MAX, 0..4_000_000_u64, 0..1_000_u64,
                proptest::bool::ANY, proptest::option::of(0..u64::MAX), 0..9_000_000_000_u64,
            ),
            1..5,
        ),
    ) {
        let quotas = rules.iter().map(|(name, limit, window_s, overage, at_once, left, ms)| {
            let (limit, window_s, overage) = (*limit, *window_s, *overage);
            let policy = Policy { name, limit, window_s, overage, at_once: *at_once };
            Quota {
                limit,
                window_s,
                policy: policy.item().unwrap(),
                limit_value: HeaderValue::from(limit),
                ..quota(name, *left, *ms)
            }
        });
        let told = headers(&outcome(Decision::Allowed, quotas.collect()));
        let of = |name: &str| told.iter().find(|(other, _)| other == name).map(|(_, value)| value);
        let list = |text: &String| sfv::Parser::new(text).parse::<sfv::List>().unwrap();

        let policies = list(of("ratelimit-policy").unwrap());
        assert_eq!(policies.len(), rules.len());
        for (entry, (name, limit, window_s, overage, at_once, ..)) in policies.iter().zip(&rules) {
            let (string, parameters) = item(entry);
            assert_eq!(string, name);
            let mut expected = vec![("q", (*limit).min(NUMBER_MAX))];
            expected.extend((*window_s > 0).then_some(("w", *window_s)));
            expected.extend((*overage > 0).then_some(("tidegate-overage", *overage)));
            let numbers = parameters.iter().filter(|(key, _)| *key != "qu");
            assert_eq!(numbers.map(|(key, n)| (*key, whole(n))).collect::<Vec<_>>(), expected);
            let unit = parameters.iter().find(|(key, _)| *key == "qu");
            let unit = unit.map(|(_, unit)| unit.as_string().unwrap().as_str());
            assert_eq!(unit, at_once.then_some("concurrent-requests"));
        }

        let counted: Vec<_> = rules.iter().filter(|(.., left, _)| left.is_some()).collect();
        let limits = of("ratelimit").map(list).unwrap_or_default();
        assert_eq!(limits.len(), counted.len());
        for (entry, (name, .., left, ms)) in limits.iter().zip(counted) {
            let (string, parameters) = item(entry);
            assert_eq!(string, name);
            let numbers: Vec<_> = parameters.iter().map(|(key, n)| (*key, whole(n))).collect();
            let left = left.unwrap().min(NUMBER_MAX);
            assert_eq!(numbers, [("r", left), ("t", ms.div_ceil(1000))]);
        }
        let (_, limit, .., left, ms) = &rules[0];
        assert_eq!(of("x-ratelimit-limit"), Some(&limit.to_string()));
        let left = left.map(|left| left.min(NUMBER_MAX).to_string());
        assert_eq!(of("x-ratelimit-remaining"), left.as_ref());
        assert_eq!(of("x-ratelimit-reset"), left.map(|_| ms.div_ceil(1000).to_string()).as_ref());
    }
}

#[test]
fn a_refusal_tells_when_to_come_back() {
    let limited = outcome(Decision::Limited, vec![quota("std", Some(0), 1_001)]);
    let reject = limited.reject().unwrap();
    assert_eq!(reject.fault, Fault::LimitExceeded);
    assert_eq!(reject.retry_after_seconds(), Some(2), "rounded up: T19");
    assert_eq!(reject.violated.as_deref(), Some("std"));
    // T30: the client did nothing wrong.
    let unavailable = outcome(Decision::Unavailable, vec![quota("std", None, 30_000)]);
    let reject = unavailable.reject().unwrap();
    assert_eq!((reject.fault.status(), reject.retry_after_seconds()), (503, Some(30)));
    assert_eq!(reject.violated, None);
    assert_eq!(outcome(Decision::Allowed, Vec::new()).reject(), None);
}
