use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::{EndpointHealth, FAILURES_TO_OUT, HealthBoard, OUT_FOR};
use crate::upstream::fixtures::at;

fn out_at(seconds: u64) -> EndpointHealth {
    let health = EndpointHealth::default();
    for _ in 0..FAILURES_TO_OUT {
        assert!(health.is_up(at(seconds)));
        health.failed(at(seconds));
    }
    health
}

#[test]
fn three_failures_in_a_row_take_it_out() {
    let health = out_at(5);
    assert!(!health.is_up(at(5)));
    assert!(!health.claim(at(5)));
}

#[test]
fn a_connection_in_between_starts_the_count_anew() {
    let health = EndpointHealth::default();
    for _ in 0..2 {
        health.failed(at(5));
        health.failed(at(5));
        health.connected();
    }
    assert!(health.is_up(at(5)));
    assert!(health.claim(at(5)) && health.claim(at(5)), "a healthy one is there for all");
}

#[test]
fn one_probe_after_the_pause_and_a_connection_brings_it_back() {
    let health = out_at(5);
    assert!(!health.claim(at(5 + OUT_FOR.as_secs() - 1)));
    assert!(health.is_up(at(5 + OUT_FOR.as_secs())), "time for a probe");
    assert!(health.claim(at(15)));
    assert!(!health.is_up(at(15)));
    assert!(!health.claim(at(15)), "one request only");
    health.connected();
    assert!(health.claim(at(15)) && health.claim(at(15)));
}

#[test]
fn a_failed_probe_keeps_it_out_for_another_pause() {
    let health = out_at(5);
    assert!(health.claim(at(15)));
    health.failed(at(17));
    assert!(!health.claim(at(26)));
    assert!(health.claim(at(27)));
}

#[test]
fn a_probe_that_never_reports_costs_one_pause() {
    let health = out_at(5);
    assert!(health.claim(at(15)));
    assert!(!health.claim(at(24)));
    assert!(health.claim(at(25)));
}

#[test]
fn only_one_of_many_threads_wins_the_probe() {
    let health = out_at(5);
    let won = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                for _ in 0..1_000 {
                    won.fetch_add(usize::from(health.claim(at(15))), Ordering::Relaxed);
                }
            });
        }
    });
    assert_eq!(won.into_inner(), 1);
}

#[test]
fn the_board_remembers_by_service_and_address() {
    let board = HealthBoard::default();
    let address = "10.0.0.1:80".parse().unwrap();
    let orders = board.of("orders", address);
    assert!(Arc::ptr_eq(&orders, &board.of("orders", address)));
    assert!(!Arc::ptr_eq(&orders, &board.of("users", address)));
    assert!(!Arc::ptr_eq(&orders, &board.of("orders", "10.0.0.1:81".parse().unwrap())));
}

#[test]
fn the_board_forgets_what_nobody_uses_before_it_grows() {
    let board = HealthBoard::default();
    let kept = board.of("orders", "10.0.0.1:80".parse().unwrap());
    for port in 1..10_000 {
        let _ = board.of("orders", format!("10.0.0.2:{port}").parse().unwrap());
    }
    assert!(board.seen.lock().len() < 20);
    assert!(Arc::ptr_eq(&kept, &board.of("orders", "10.0.0.1:80".parse().unwrap())));
}
