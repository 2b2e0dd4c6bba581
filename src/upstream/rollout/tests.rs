use std::sync::Arc;
use std::time::Duration;

use super::{Rollout, Rollouts, State};
use crate::model;
use crate::telemetry::Metrics;
use crate::upstream::fixtures::at;

fn settings() -> model::Rollout {
    serde_yaml::from_str(
        "{version: canary, steps: [100, 500, 10000], hold: 60s, minRequests: 50, \
         maxErrorPercent: 1, maxLatencyRatio: 1.5}",
    )
    .unwrap()
}

fn rollout() -> (Rollouts, Arc<Rollout>) {
    let rollouts = Rollouts::default();
    let metrics = Metrics::new().unwrap();
    let rollout = rollouts.of("orders", &settings(), &metrics);
    rollout.judge(at(0));
    (rollouts, rollout)
}

/// So many requests of a version, of which so many fail.
fn serve(rollout: &Rollout, new: bool, requests: u32, failed: u32, ms: u64) {
    for n in 0..requests {
        let status = if n < failed { 502 } else { 200 };
        rollout.observe(new, status, Duration::from_millis(ms));
    }
}

#[test]
fn a_version_that_does_well_goes_up_step_by_step() {
    let (_all, rollout) = rollout();
    assert_eq!(rollout.share(), 100);
    serve(&rollout, false, 1000, 5, 10);
    serve(&rollout, true, 50, 0, 10);
    rollout.judge(at(59));
    assert_eq!(rollout.share(), 100, "held for its time");
    rollout.judge(at(60));
    assert_eq!(rollout.share(), 500);
    rollout.judge(at(130));
    assert_eq!(rollout.share(), 500, "nothing was seen at this step yet");
    serve(&rollout, false, 1000, 0, 10);
    serve(&rollout, true, 50, 0, 10);
    rollout.judge(at(131));
    assert_eq!(rollout.share(), 10_000);
    // The old version gets nothing any more: what it did last is what counts.
    serve(&rollout, true, 50, 0, 11);
    rollout.judge(at(200));
    assert_eq!(rollout.progress(), (State::Done, 2, 10_000));
}

#[test]
fn failures_beyond_the_margin_end_it() {
    let (all, rollout) = rollout();
    serve(&rollout, false, 100, 1, 10);
    serve(&rollout, true, 49, 49, 10);
    rollout.judge(at(1));
    assert_eq!(rollout.share(), 100, "too few requests to judge by");
    serve(&rollout, true, 1, 0, 10);
    rollout.judge(at(2));
    assert_eq!(rollout.progress(), (State::Aborted, 0, 0));
    serve(&rollout, true, 5000, 0, 1);
    rollout.judge(at(500));
    assert_eq!(rollout.share(), 0, "it does not begin again by itself");
    // Nor does a reload of the same settings begin it again, while other settings do.
    let metrics = Metrics::new().unwrap();
    assert_eq!(all.of("orders", &settings(), &metrics).share(), 0);
    let other = model::Rollout { min_requests: 10, ..settings() };
    assert_eq!(all.of("orders", &other, &metrics).share(), 100);
}

#[test]
fn the_margin_itself_is_allowed() {
    let (_all, rollout) = rollout();
    serve(&rollout, false, 100, 1, 10);
    serve(&rollout, true, 100, 2, 10);
    rollout.judge(at(60));
    assert_eq!(rollout.share(), 500);
}

#[test]
fn slowness_ends_it() {
    let (_all, rollout) = rollout();
    serve(&rollout, false, 100, 0, 10);
    serve(&rollout, true, 100, 0, 20);
    rollout.judge(at(1));
    assert_eq!(rollout.progress().0, State::Aborted);
}

#[test]
fn without_an_old_version_to_compare_with_nothing_moves() {
    let (_all, rollout) = rollout();
    serve(&rollout, true, 1000, 0, 10);
    rollout.judge(at(600));
    assert_eq!(rollout.progress(), (State::Running, 0, 100));
}
