use super::{Tried, choose};
use crate::upstream::fixtures::{at, sound};
use crate::upstream::{FAILURES_TO_OUT, Upstream};

const NOW: u64 = 100;

fn three() -> Upstream {
    sound(
        "{service: orders, port: 80}",
        "  orders: {endpoints: [{address: 10.0.0.1}, {address: 10.0.0.2}, {address: 10.0.0.3}]}",
    )
}

fn take_out(upstream: &Upstream, index: usize) {
    for _ in 0..FAILURES_TO_OUT {
        upstream.versions[0].endpoints[index].health.failed(at(NOW));
    }
}

fn picks(upstream: &Upstream, count: usize) -> [usize; 3] {
    let mut picks = [0; 3];
    for _ in 0..count {
        let (index, _) = choose(&upstream.versions[0], Tried::default(), at(NOW)).unwrap();
        picks[index] += 1;
    }
    picks
}

#[test]
fn the_rotation_is_exactly_even() {
    assert_eq!(picks(&three(), 30_000), [10_000; 3]);
}

#[test]
fn the_share_of_an_endpoint_that_is_out_goes_to_the_others_evenly() {
    let upstream = three();
    take_out(&upstream, 1);
    assert_eq!(picks(&upstream, 30_000), [15_000, 0, 15_000]);
}

#[test]
fn what_was_tried_is_skipped_while_something_else_is_healthy() {
    let upstream = three();
    let mut tried = Tried::default();
    for _ in 0..3 {
        let (index, _) = choose(&upstream.versions[0], tried, at(NOW)).unwrap();
        assert!(!tried.contains(index));
        tried.insert(index);
    }
    assert!(choose(&upstream.versions[0], tried, at(NOW)).is_some(), "a healthy tried one");
    take_out(&upstream, 0);
    take_out(&upstream, 1);
    assert_eq!(choose(&upstream.versions[0], tried, at(NOW)).unwrap().0, 2);
}

#[test]
fn none_healthy_is_none() {
    let upstream = three();
    for index in 0..3 {
        take_out(&upstream, index);
    }
    assert!(choose(&upstream.versions[0], Tried::default(), at(NOW)).is_none());
}

#[test]
fn after_the_pause_each_endpoint_gets_one_probe() {
    let upstream = three();
    for index in 0..3 {
        take_out(&upstream, index);
    }
    let later = at(NOW + 10);
    let mut probed: Vec<usize> =
        (0..3).map(|_| choose(&upstream.versions[0], Tried::default(), later).unwrap().0).collect();
    probed.sort_unstable();
    assert_eq!(probed, [0, 1, 2]);
    assert!(choose(&upstream.versions[0], Tried::default(), later).is_none());

    upstream.versions[0].endpoints[2].health.connected();
    let (index, _) = choose(&upstream.versions[0], Tried::default(), later).unwrap();
    assert_eq!(index, 2);
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
        seen[choose(&upstream.versions[0], Tried::default(), at(NOW)).unwrap().0] = true;
    }
    assert!(seen.iter().all(|seen| *seen));
    let mut tried = Tried::default();
    tried.insert(64);
    tried.insert(usize::MAX);
    assert!(!tried.contains(64) && !tried.contains(0));
}
