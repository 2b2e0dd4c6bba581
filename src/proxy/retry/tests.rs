use http::HeaderValue;

use super::*;
use crate::clock::Tick;

/// R131: no spike, and no pause beyond its span.
#[test]
fn ten_thousand_pauses_are_spread_over_their_span() {
    fastrand::seed(7);
    for (attempts, longest) in [(1, 25), (2, 50), (3, 100), (4, 200), (5, 250), (60, 250)] {
        let mut tenths = [0_u32; 10];
        let span = Duration::from_millis(longest);
        for _ in 0..10_000 {
            let pause = pause(attempts, fastrand::f64());
            assert!(pause < span, "{pause:?}");
            let tenth = pause.as_nanos() * 10 / span.as_nanos();
            tenths[usize::try_from(tenth).unwrap()] += 1;
        }
        // A tenth holds 1000 on average; 150 is five standard deviations.
        assert!(tenths.iter().all(|count| (850..=1150).contains(count)), "{tenths:?}");
    }
    assert_eq!(pause(1, 0.0), Duration::ZERO);
}

#[test]
fn a_wait_is_told_in_seconds_or_by_a_date() {
    let now = Moment { tick: Tick::default(), unix_ms: 784_111_777_000 };
    let wait = |value: &'static str| {
        let headers =
            HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static(value))]);
        retry_after(&headers, now)
    };
    assert_eq!(wait("2"), Some(Duration::from_secs(2)));
    assert_eq!(wait("0"), Some(Duration::ZERO));
    assert_eq!(wait("99999999999999999999999"), Some(Duration::from_secs(u64::MAX)));
    assert_eq!(wait("Sun, 06 Nov 1994 08:49:47 GMT"), Some(Duration::from_secs(10)));
    assert_eq!(wait("Sun, 06 Nov 1994 08:49:27 GMT"), Some(Duration::ZERO));
    assert_eq!(wait("soon"), None);
    assert_eq!(retry_after(&HeaderMap::new(), now), None);
}

#[test]
fn a_failure_meets_one_condition() {
    let mut all = RetryPolicy::default();
    for condition in
        [&mut all.connect_failure, &mut all.timeout_connect, &mut all.timeout, &mut all.reset]
    {
        *condition = true;
    }
    for (stage, fault, expected) in [
        (Stage::Connecting, Fault::ConnectFailed, Some("connect-failure")),
        (Stage::Connecting, Fault::ConnectTimeout, Some("timeout-connect")),
        (Stage::Exchanging, Fault::ConnectionLost, Some("reset")),
        (Stage::Exchanging, Fault::ResponseTimeout, Some("timeout")),
        (Stage::Exchanging, Fault::ResponseInvalid, None),
        (Stage::Exchanging, Fault::RequestTimeout, None),
        (Stage::Exchanging, Fault::ClientGone, None),
        (Stage::Exchanging, Fault::Internal, None),
    ] {
        assert_eq!(reason(&all, fault, stage), expected, "{stage:?} {fault:?}");
        assert_eq!(reason(&RetryPolicy::default(), fault, stage), None);
    }
}

#[test]
fn only_a_kept_connection_excuses_a_failure() {
    let with = |retry: RetryType| {
        let mut e = Error::new_up(ErrorType::ReadError);
        e.retry = retry;
        e
    };
    let stale = with(RetryType::ReusedOnly);
    assert_eq!(excuse(&stale, Stage::Exchanging, true), Some("stale-connection"));
    assert_eq!(excuse(&stale, Stage::Exchanging, false), None);
    assert_eq!(excuse(&stale, Stage::Connecting, true), None);
    let refused = with(true.into());
    assert_eq!(excuse(&refused, Stage::Exchanging, false), Some("not-processed"));
    assert_eq!(excuse(&with(false.into()), Stage::Exchanging, true), None);
}
