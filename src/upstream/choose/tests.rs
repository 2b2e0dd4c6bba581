use std::sync::Arc;
use std::time::Duration;

use super::{Attempt, Draw, Endpoint, EndpointSet, Tried, choose};
use crate::clock::Moment;
use crate::fault::Fault;
use crate::upstream::fixtures::{at, sound};
use crate::upstream::{FAILURES_TO_OUT, Instance, Pool, Upstream, Upstreams};

const NOW: u64 = 100;

fn three_with(settings: &str) -> Upstream {
    sound(
        "{service: orders, port: 80}",
        &format!(
            "  orders: {{endpoints: [{{address: 10.0.0.1}}, {{address: 10.0.0.2}}, \
             {{address: 10.0.0.3}}]{settings}}}"
        ),
    )
}

fn three() -> Upstream {
    three_with("")
}

fn pool(upstream: &Upstream) -> &Pool {
    &upstream.versions[0].pool
}

fn set(upstream: &Upstream) -> Arc<EndpointSet> {
    pool(upstream).current()
}

fn pick(upstream: &Upstream, tried: &Tried, now: Moment) -> Option<Attempt> {
    choose(pool(upstream), tried, Draw::default(), now)
}

fn next(upstream: &Upstream, now: Moment) -> Option<usize> {
    pick(upstream, &Tried::default(), now).map(|attempt| index(upstream, &attempt))
}

fn index(upstream: &Upstream, endpoint: &Endpoint) -> usize {
    set(upstream).endpoints.iter().position(|other| other.id() == endpoint.id()).unwrap()
}

fn take_out(upstream: &Upstream, index: usize) {
    for _ in 0..FAILURES_TO_OUT {
        set(upstream).endpoints[index].health.connect_failed(at(NOW));
    }
}

fn picks(upstream: &Upstream, count: usize) -> [usize; 3] {
    let mut picks = [0; 3];
    for _ in 0..count {
        picks[next(upstream, at(NOW)).unwrap()] += 1;
    }
    picks
}

/// R039.
#[test]
fn the_rotation_is_exactly_even() {
    assert_eq!(picks(&three(), 30_000), [10_000; 3]);
}

#[test]
fn the_rotation_is_exactly_even_on_many_threads() {
    let upstream = three();
    let counts = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(|| picks(&upstream, 3_000))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).fold([0; 3], |sum, counts| {
            [sum[0] + counts[0], sum[1] + counts[1], sum[2] + counts[2]]
        })
    });
    assert_eq!(counts, [4_000; 3]);
}

#[test]
fn the_share_of_an_endpoint_that_is_out_goes_to_the_others_evenly() {
    let upstream = three();
    take_out(&upstream, 1);
    assert_eq!(picks(&upstream, 30_000), [15_000, 0, 15_000]);
}

#[test]
fn routes_to_one_service_do_not_all_begin_with_the_same_endpoint() {
    let config = crate::upstream::fixtures::config(
        "  a: {endpoints: [{address: 10.0.0.1:80}, {address: 10.0.0.2:80}]}",
    );
    let (upstreams, resolved) = (Upstreams::default(), crate::model::Resolved::default());
    let mut first = [0; 2];
    for _ in 0..10 {
        let model = serde_yaml::from_str("{service: a}").unwrap();
        let mut problems = crate::model::Problems::default();
        let route = Upstream::compile(
            &model,
            &config,
            &resolved,
            &upstreams,
            &crate::telemetry::Metrics::new().unwrap(),
            "",
            &mut problems,
        );
        first[next(&route.unwrap(), at(NOW)).unwrap()] += 1;
    }
    assert_eq!(first, [5, 5]);
}

#[test]
fn what_was_tried_is_skipped_while_something_else_is_healthy() {
    for algorithm in ["round_robin", "random", "least_requests", "consistent_hash"] {
        let upstream = three_with(&format!(", loadBalancing: {{algorithm: {algorithm}}}"));
        let mut tried = Tried::default();
        for _ in 0..3 {
            let endpoint = pick(&upstream, &tried, at(NOW)).unwrap();
            assert!(!tried.contains(&endpoint), "{algorithm}");
            tried.insert(&endpoint);
        }
        assert!(pick(&upstream, &tried, at(NOW)).is_some(), "a healthy tried one");
        take_out(&upstream, 0);
        take_out(&upstream, 1);
        assert_eq!(index(&upstream, &pick(&upstream, &tried, at(NOW)).unwrap()), 2);
    }
}

#[test]
fn none_healthy_is_none() {
    let upstream = three();
    for index in 0..3 {
        take_out(&upstream, index);
    }
    assert!(next(&upstream, at(NOW)).is_none());
}

#[test]
fn after_the_pause_each_endpoint_gets_one_probe() {
    let upstream = three();
    for index in 0..3 {
        take_out(&upstream, index);
    }
    let later = at(NOW + 10);
    let mut probed: Vec<usize> = (0..3).map(|_| next(&upstream, later).unwrap()).collect();
    probed.sort_unstable();
    assert_eq!(probed, [0, 1, 2]);
    assert!(next(&upstream, later).is_none());

    set(&upstream).endpoints[2].health.connected(later);
    assert_eq!(next(&upstream, later), Some(2));
}

#[test]
fn endpoints_beyond_the_64th_are_reached_too() {
    let endpoints: Vec<String> = (0..100).map(|n| format!("{{address: 10.0.1.{n}}}")).collect();
    let upstream = sound(
        "{service: orders, port: 80}",
        &format!("  orders: {{endpoints: [{}]}}", endpoints.join(", ")),
    );
    let mut seen = [false; 100];
    for _ in 0..100 {
        seen[next(&upstream, at(NOW)).unwrap()] = true;
    }
    assert!(seen.iter().all(|seen| *seen));
}

#[test]
fn an_attempt_is_in_flight_until_it_is_dropped() {
    let upstream = three_with(", loadBalancing: {algorithm: least_requests}");
    let held: Vec<Attempt> =
        (0..3).map(|_| pick(&upstream, &Tried::default(), at(NOW)).unwrap()).collect();
    let in_flight = || set(&upstream).endpoints.iter().map(|e| e.health.in_flight()).sum::<u32>();
    assert_eq!(in_flight(), 3);
    drop(held);
    assert_eq!(in_flight(), 0);
}

/// Lets attempts at one endpoint fail, so many; those at others are not reported.
fn fail(upstream: &Upstream, at_index: usize, times: usize, fault: Fault) {
    let mut left = times;
    while left > 0 {
        let Some(attempt) = pick(upstream, &Tried::default(), at(NOW)) else { return };
        if index(upstream, &attempt) == at_index {
            attempt.failed(fault, at(NOW));
            left -= 1;
        }
        if set(upstream).endpoints[at_index].health.is_out() {
            return;
        }
    }
}

fn states(upstream: &Upstream) -> Vec<&'static str> {
    set(upstream).endpoints.iter().map(|endpoint| endpoint.health.state()).collect()
}

#[test]
fn failures_in_a_row_leave_an_endpoint_out_and_one_good_answer_brings_it_back() {
    let upstream = three_with(", ejection: {consecutiveFailures: 3, ejectFor: 10s}");
    fail(&upstream, 1, 2, Fault::ConnectionLost);
    assert_eq!(states(&upstream), ["up"; 3]);
    fail(&upstream, 1, 1, Fault::ResponseTimeout);
    assert_eq!(states(&upstream), ["up", "ejected", "up"]);
    assert_eq!(picks(&upstream, 300), [150, 0, 150]);
    let later = at(NOW + 10);
    let probe = (0..3).find_map(|_| {
        pick(&upstream, &Tried::default(), later).filter(|one| index(&upstream, one) == 1)
    });
    let probe = probe.unwrap();
    assert!((0..10).all(|_| next(&upstream, later) != Some(1)), "one probe at a time");
    probe.answered(200, later);
    assert_eq!(states(&upstream), ["up"; 3]);
}

#[test]
fn the_ceiling_holds_and_the_last_is_never_left_out() {
    let two_of_three = three_with(", ejection: {consecutiveFailures: 1, maxEjectedPercent: 67}");
    for index in 0..3 {
        fail(&two_of_three, index, 1, Fault::ConnectionLost);
    }
    assert_eq!(states(&two_of_three), ["ejected", "ejected", "up"]);
    let one_always = three_with(", ejection: {consecutiveFailures: 1, maxEjectedPercent: 0}");
    for index in 0..2 {
        fail(&one_always, index, 1, Fault::ConnectionLost);
    }
    assert_eq!(states(&one_always), ["ejected", "up", "up"]);
    let only = sound("{service: a}", "  a: {endpoints: [{address: 10.0.0.1:80}]}");
    fail(&only, 0, 100, Fault::ConnectionLost);
    assert_eq!(states(&only), ["up"]);
}

#[test]
fn the_share_of_failures_leaves_an_endpoint_out() {
    let settings = ", ejection: {consecutiveFailures: 0, errorPercent: 50, minRequests: 10}";
    let upstream = three_with(settings);
    for number in 0..60 {
        let attempt = pick(&upstream, &Tried::default(), at(NOW)).unwrap();
        let failing = index(&upstream, &attempt) == 2 && number % 2 == 0;
        attempt.answered(if failing { 503 } else { 200 }, at(NOW));
        if number == 25 {
            assert_eq!(states(&upstream), ["up"; 3], "too few to tell");
        }
    }
    assert_eq!(states(&upstream), ["up", "up", "ejected"]);
}

#[test]
fn what_is_not_the_services_fault_counts_for_nothing() {
    let upstream = three_with(", ejection: {consecutiveFailures: 1}");
    for _ in 0..9 {
        let attempt = pick(&upstream, &Tried::default(), at(NOW)).unwrap();
        attempt.failed(Fault::ClientGone, at(NOW));
        attempt.answered(500, at(NOW));
    }
    assert_eq!(states(&upstream), ["up"; 3]);
}

#[test]
fn one_attempt_fails_once() {
    let upstream = three_with(", ejection: {consecutiveFailures: 2}");
    let attempt = pick(&upstream, &Tried::default(), at(NOW)).unwrap();
    attempt.answered(503, at(NOW));
    attempt.failed(Fault::ConnectionLost, at(NOW));
    assert_eq!(states(&upstream), ["up"; 3]);
}

#[test]
fn in_a_panic_health_is_ignored() {
    let upstream = three_with(", ejection: {panicPercent: 50}");
    take_out(&upstream, 0);
    assert_eq!(picks(&upstream, 30), [0, 15, 15], "two of three are enough");
    take_out(&upstream, 1);
    assert_eq!(picks(&upstream, 30), [10; 3]);
}

fn instance(address: &str) -> Instance {
    Instance { address: address.parse().unwrap(), host: "orders".into(), weight: 1 }
}

#[test]
fn a_newcomer_waits_for_its_check_unless_nobody_else_is_well() {
    let upstreams = Upstreams::default();
    let config = crate::upstream::fixtures::config(
        "  a: {endpoints: [{address: 10.0.0.1:80}], healthCheck: {kind: tcp}}",
    );
    let mut problems = crate::model::Problems::default();
    let upstream = Upstream::compile(
        &serde_yaml::from_str("{service: a}").unwrap(),
        &config,
        &crate::model::Resolved::default(),
        &upstreams,
        &crate::telemetry::Metrics::new().unwrap(),
        "",
        &mut problems,
    )
    .unwrap();
    let two = [instance("10.0.0.1:80"), instance("10.0.0.2:80")];
    pool(&upstream).replace(&two, &upstreams.health);
    assert_eq!(states(&upstream), ["up", "awaiting_check"]);
    assert!((0..10).all(|_| next(&upstream, at(NOW)) == Some(0)));
    take_out(&upstream, 0);
    assert_eq!(next(&upstream, at(NOW)), Some(1));
    set(&upstream).endpoints[1].health.checked(true, 2, at(NOW));
    assert_eq!(states(&upstream), ["unreachable", "up"]);
}

#[test]
fn a_newcomer_grows_into_its_share() {
    let upstreams = Upstreams::default();
    let config = crate::upstream::fixtures::config(
        "  a: {endpoints: [{address: 10.0.0.1:80}], loadBalancing: {slowStart: 10s}}",
    );
    let mut problems = crate::model::Problems::default();
    let model = serde_yaml::from_str("{service: a}").unwrap();
    let resolved = crate::model::Resolved::default();
    let upstream = Upstream::compile(
        &model,
        &config,
        &resolved,
        &upstreams,
        &crate::telemetry::Metrics::new().unwrap(),
        "",
        &mut problems,
    )
    .unwrap();
    pool(&upstream).replace(&[instance("10.0.0.1:80"), instance("10.0.0.2:80")], &upstreams.health);
    let share = |seconds: u64| {
        let mut random = fastrand::Rng::with_seed(seconds);
        let mut count = 0;
        for _ in 0..10_000 {
            let draw = Draw { entropy: random.u64(..), ..Draw::default() };
            let attempt = choose(pool(&upstream), &Tried::default(), draw, at(seconds)).unwrap();
            count += index(&upstream, &attempt);
        }
        count
    };
    // 10 % of a share beside a whole one is 1 in 11, half of one 1 in 3.
    assert!((700..1_150).contains(&share(NOW)), "{}", share(NOW));
    assert!((3_300..3_800).contains(&share(NOW + 5)), "{}", share(NOW + 5));
    assert_eq!(share(NOW + 10), 5_000);
}

#[tokio::test]
async fn an_open_circuit_lets_one_trial_through_at_a_time() {
    let upstream = three_with(
        ", ejection: {consecutiveFailures: 0}, circuitBreaker: {errorPercent: 50, minRequests: 4}",
    );
    let service = pool(&upstream).service();
    let enter = |second| service.enter(Duration::from_secs(1), move || at(second));
    let attempt = |passage: &crate::upstream::Passage| {
        let draw = Draw { trial: passage.is_trial(), ..Draw::default() };
        choose(pool(&upstream), &Tried::default(), draw, at(NOW)).unwrap()
    };
    for _ in 0..8 {
        let passage = enter(NOW).await.unwrap();
        // Repeated elsewhere: not yet a failed request.
        attempt(&passage).answered(503, at(NOW));
    }
    for _ in 0..4 {
        let passage = enter(NOW).await.unwrap();
        let last = attempt(&passage);
        last.answered(503, at(NOW));
        last.is_last(at(NOW));
        last.is_last(at(NOW));
    }
    let refused = enter(NOW + 1).await.unwrap_err();
    assert_eq!(refused.fault, Fault::CircuitOpen);
    assert_eq!(refused.retry_after_seconds(), Some(4));
    assert!(refused.hint.unwrap().as_str().contains("`orders`"));
    assert!(service.again(at(NOW + 1)).is_err());
    let trial = enter(NOW + 5).await.unwrap();
    assert!(trial.is_trial() && enter(NOW + 5).await.is_err());
    attempt(&trial).answered(200, at(NOW + 5));
    assert!(!enter(NOW + 5).await.unwrap().is_trial());
}

#[tokio::test]
async fn a_request_holds_a_bounded_number_where_its_service_has_one() {
    for (bounds, is_bounded) in
        [("errorPercent: 50", false), ("maxRequests: 2", true), ("maxConnections: 2", true)]
    {
        let upstream = three_with(&format!(", circuitBreaker: {{{bounds}}}"));
        let passage = pool(&upstream).service().enter(Duration::from_secs(1), || at(NOW)).await;
        assert_eq!(passage.unwrap().is_bounded(), is_bounded, "{bounds}");
    }
}
