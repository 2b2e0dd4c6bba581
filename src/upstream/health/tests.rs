use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use super::{Checked, Claim, EndpointHealth, FAILURES_TO_OUT, OUT_FOR, WHOLE};
use crate::fault::Fault;
use crate::upstream::fixtures::at;

fn new() -> EndpointHealth {
    EndpointHealth::new("orders", "10.0.0.1:80".parse().unwrap())
}

fn out_at(seconds: u64) -> EndpointHealth {
    let health = new();
    for _ in 0..FAILURES_TO_OUT {
        assert!(health.is_up(at(seconds)));
        health.connect_failed(at(seconds));
    }
    health
}

#[test]
fn three_failures_in_a_row_take_it_out() {
    let health = out_at(5);
    assert!(!health.is_up(at(5)));
    assert_eq!(health.claim(at(5)), Claim::Lost);
    assert!(health.is_unreachable());
}

#[test]
fn a_connection_in_between_starts_the_count_anew() {
    let health = new();
    for _ in 0..2 {
        health.connect_failed(at(5));
        health.connect_failed(at(5));
        health.connected(at(5));
    }
    assert!(health.is_up(at(5)));
    assert_eq!([0; 2].map(|_| health.claim(at(5))), [Claim::Free; 2], "it is there for all");
}

#[test]
fn one_probe_after_the_pause_and_a_connection_brings_it_back() {
    let health = out_at(5);
    assert_eq!(health.claim(at(5 + OUT_FOR.as_secs() - 1)), Claim::Lost);
    assert!(health.is_up(at(5 + OUT_FOR.as_secs())), "time for a probe");
    assert_eq!(health.claim(at(15)), Claim::Probe);
    assert!(!health.is_up(at(15)));
    assert_eq!(health.claim(at(15)), Claim::Lost, "one request only");
    health.connected(at(15));
    assert_eq!([0; 2].map(|_| health.claim(at(15))), [Claim::Free; 2]);
}

#[test]
fn a_failed_probe_keeps_it_out_for_another_pause() {
    let health = out_at(5);
    assert_eq!(health.claim(at(15)), Claim::Probe);
    health.connect_failed(at(17));
    assert_eq!(health.claim(at(26)), Claim::Lost);
    assert_eq!(health.claim(at(27)), Claim::Probe);
}

#[test]
fn a_probe_that_never_reports_costs_one_pause() {
    let health = out_at(5);
    assert_eq!(health.claim(at(15)), Claim::Probe);
    assert_eq!(health.claim(at(24)), Claim::Lost);
    assert_eq!(health.claim(at(25)), Claim::Probe);
}

#[test]
fn only_one_of_many_threads_wins_the_probe() {
    let health = out_at(5);
    let won = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..1_000 {
                    let probe = health.claim(at(15)) == Claim::Probe;
                    won.fetch_add(usize::from(probe), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(won.into_inner(), 1);
}

const BASE: Duration = Duration::from_secs(10);

#[test]
fn a_connection_does_not_bring_back_what_fails_requests() {
    let health = new();
    health.eject(BASE, at(5));
    health.connected(at(5));
    assert!(health.is_out() && !health.is_unreachable());
    health.succeeded(false, at(6));
    assert!(health.is_out(), "nor does a request that was under way");
    assert_eq!(health.claim(at(15)), Claim::Probe);
    health.succeeded(true, at(16));
    assert!(!health.is_out());
}

#[test]
fn who_fails_again_is_left_out_longer_up_to_ten_times() {
    let health = new();
    let mut now = 100;
    for expected in [10, 20, 40, 80, 100, 100] {
        health.eject(BASE, at(now));
        assert_eq!(health.out_left(at(now)), Some(Duration::from_secs(expected)));
        now += expected;
        assert_eq!(health.claim(at(now)), Claim::Probe);
    }
    health.succeeded(true, at(now));
    health.eject(BASE, at(now + 5));
    assert_eq!(health.out_left(at(now + 5)), Some(Duration::from_secs(100)), "too soon");
    assert_eq!(health.claim(at(now + 105)), Claim::Probe);
    health.succeeded(true, at(now + 105));
    health.eject(BASE, at(now + 206));
    assert_eq!(health.out_left(at(now + 206)), Some(BASE), "it behaved for long enough");
}

#[test]
fn checks_in_a_row_take_it_out_and_bring_it_back() {
    let health = new();
    let fail = || health.checked(false, 3, at(1));
    let pass = || health.checked(true, 2, at(1));
    assert_eq!(health.check_state(), Checked::Unknown);
    assert!(health.is_well(at(1)), "a start is no outage");
    fail();
    fail();
    pass();
    assert_eq!(health.check_state(), Checked::Passing);
    fail();
    fail();
    assert!(health.is_well(at(1)));
    fail();
    assert!(!health.is_well(at(1)) && health.is_up(at(1)));
    pass();
    fail();
    pass();
    assert!(!health.is_well(at(1)), "two in a row are needed");
    pass();
    assert!(health.is_well(at(1)));
    for _ in 0..3 {
        fail();
    }
    health.unchecked();
    assert!(health.is_well(at(1)), "nobody asks any more");
}

#[test]
fn passed_checks_bring_back_what_requests_took_out() {
    let health = new();
    health.eject(BASE, at(5));
    health.checked(true, 2, at(6));
    assert!(health.is_out());
    health.checked(true, 2, at(6));
    assert!(!health.is_out());
}

#[test]
fn a_newcomer_waits_for_its_first_check() {
    let (settled, newcomer) = (new(), new());
    settled.settle(false, true);
    newcomer.settle(true, true);
    assert!(settled.is_well(at(1)));
    assert!(!newcomer.is_well(at(1)) && newcomer.is_awaited(at(1)));
    newcomer.settle(true, true);
    newcomer.checked(true, 2, at(1));
    assert!(newcomer.is_well(at(1)), "one is enough");
    newcomer.settle(true, true);
    assert!(newcomer.is_well(at(1)), "it is new only once");
}

#[test]
fn a_share_grows_from_a_tenth_to_the_whole() {
    let span = Duration::from_secs(10);
    let (settled, newcomer) = (new(), new());
    settled.settle(false, false);
    newcomer.settle(true, false);
    assert_eq!(settled.share(span, at(100)), WHOLE);
    let shares = [100, 105, 109, 110].map(|second| newcomer.share(span, at(second)));
    assert_eq!(shares, [100, 550, 910, WHOLE]);
    let back = out_at(200);
    back.connected(at(201));
    assert_eq!(back.share(span, at(201)), 100, "one that comes back grows too");
}

#[test]
fn the_last_failure_is_known() {
    let health = new();
    assert_eq!(health.last_error(), None);
    for fault in Fault::ALL {
        health.request_failed(*fault);
        assert_eq!(health.last_error(), Some(*fault));
    }
}
