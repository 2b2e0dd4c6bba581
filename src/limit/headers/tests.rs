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
        policy: policy_item(name, 100, 60).unwrap(),
    }
}

fn outcome(decision: Decision, quotas: Vec<Quota>) -> Outcome {
    Outcome { decision, quotas, degraded: false }
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
    for number in [0, 7, 10, 1_234_567_890, u64::MAX] {
        let mut text = b"=".to_vec();
        push_number(&mut text, number);
        assert_eq!(text, format!("={number}").into_bytes());
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
