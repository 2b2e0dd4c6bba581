use http::HeaderValue;

use super::*;

fn compile(policies: &Policies) -> (RetryPolicy, Vec<&'static str>) {
    let mut problems = Problems::default();
    let deadline = DeadlinePolicy::compile(policies, "p", &mut problems);
    let total = Duration::from_secs(10);
    let policy = RetryPolicy::compile(policies, &deadline, total, "p", &mut problems);
    (policy, problems.0.iter().map(|problem| problem.code).collect())
}

#[test]
fn only_failed_connections_are_repeated_by_default() {
    let (policy, problems) = compile(&Policies { retries: Some(2), ..Policies::default() });
    assert_eq!(policy.to_string(), "connect-failure");
    assert_eq!(policy.body_bytes_max, 65_536);
    assert!(!policy.timeout_connect && problems.is_empty());
}

#[test]
fn each_word_means_itself_and_nothing_else() {
    for (on, word) in [
        (RetryOn::ConnectFailure, "connect-failure"),
        (RetryOn::TimeoutConnect, "timeout-connect"),
        (RetryOn::Timeout, "timeout"),
        (RetryOn::Reset, "reset"),
        (RetryOn::Status(429), "429"),
        (RetryOn::Status(500), "500"),
        (RetryOn::Status(502), "502"),
        (RetryOn::Status(503), "503"),
        (RetryOn::Status(504), "504"),
    ] {
        let (policy, _) = compile(&Policies { retry_on: Some(vec![on]), ..Policies::default() });
        assert_eq!(policy.to_string(), word);
        for (code, name) in STATUSES {
            assert_eq!(policy.status(code), (name == word).then_some(name));
        }
        assert_eq!(policy.status(200), None);
    }
}

#[test]
fn a_third_retry_and_a_larger_buffer_are_refused() {
    let retries = |retries| compile(&Policies { retries: Some(retries), ..Policies::default() }).1;
    assert!(retries(2).is_empty());
    assert_eq!(retries(3), ["retries.too_many"]);
    let bytes = |bytes| {
        let retry_body_bytes = Some(ByteSize::new(bytes));
        compile(&Policies { retry_body_bytes, ..Policies::default() }).1
    };
    assert!(bytes(0).is_empty() && bytes(65_536).is_empty());
    assert_eq!(bytes(65_537), ["retry.body_bytes"]);
}

#[test]
fn a_timeout_that_leaves_no_time_is_warned_of() {
    let on_timeout = |attempt| {
        let retry_on = Some(vec![RetryOn::Timeout]);
        let policies = Policies {
            retries: Some(1),
            retry_on,
            attempt_timeout_ms: attempt,
            ..Policies::default()
        };
        compile(&policies).1
    };
    assert_eq!(on_timeout(None), ["retry.timeout"]);
    assert_eq!(on_timeout(Some(10_000)), ["retry.timeout"]);
    assert!(on_timeout(Some(9_999)).is_empty());
}

/// R128, R129.
#[test]
fn writes_need_a_key_and_a_route_that_goes_by_it() {
    let keys = |keys: &[&'static str]| {
        let values = keys.iter().map(|key| (IDEMPOTENCY_KEY, HeaderValue::from_static(key)));
        let mut headers = HeaderMap::new();
        values.for_each(|(name, value)| {
            headers.append(name, value);
        });
        headers
    };
    let plain = compile(&Policies::default()).0;
    let opted = compile(&Policies { retry_idempotency_key: Some(true), ..Policies::default() }).0;
    for method in [Method::GET, Method::HEAD, Method::OPTIONS, Method::PUT, Method::DELETE] {
        assert!(plain.permits(&method, &keys(&[])) && opted.permits(&method, &keys(&[])));
    }
    for method in [Method::POST, Method::PATCH] {
        assert!(!plain.permits(&method, &keys(&["a"])));
        assert!(!opted.permits(&method, &keys(&[])));
        assert!(opted.permits(&method, &keys(&["a"])) && opted.permits(&method, &keys(&["\"a\""])));
        for bad in [&[""][..], &["  "], &["\"\""], &["a", "a"], &["a", "b"]] {
            assert!(!opted.permits(&method, &keys(bad)), "{bad:?}");
        }
    }
}
