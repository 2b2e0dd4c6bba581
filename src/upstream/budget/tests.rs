use std::sync::Arc;
use std::time::Duration;

use super::RetryBudget;
use crate::model;
use crate::upstream::fixtures::at;

fn budget(percent: u32, min_retries: u32) -> RetryBudget {
    RetryBudget::new(&model::RetryBudget { percent, min_retries }, &Arc::default())
}

#[test]
fn the_minimum_is_there_without_any_request() {
    let budget = budget(20, 3);
    assert_eq!([0; 4].map(|_| budget.try_retry(at(1))), [true, true, true, false]);
    assert_eq!(budget.retries(at(1)), 3, "a refused one is not counted");
    assert!(!budget.try_retry(at(10)), "ten seconds are not over");
    assert!(budget.try_retry(at(11)));
}

#[test]
fn the_share_is_exact_at_its_boundary() {
    let budget = budget(20, 3);
    (0..100).for_each(|_| budget.request(at(1)));
    let granted = (0..50).filter(|_| budget.try_retry(at(1))).count();
    assert_eq!((granted, budget.allowed(at(1))), (20, 20));
    (0..5).for_each(|_| budget.request(at(1)));
    assert!(budget.try_retry(at(1)) && !budget.try_retry(at(1)));
}

#[test]
fn nothing_is_repeated_where_nothing_is_allowed() {
    let budget = budget(0, 0);
    budget.request(at(1));
    assert!(!budget.try_retry(at(1)));
}

/// 200 requests a second for a minute, each of which fails and would be repeated up to five
/// times, as fast as it can.
#[test]
fn a_service_that_fails_altogether_sees_a_fifth_more() {
    let budget = budget(20, 3);
    let (mut requests, mut attempts) = (0_u64, 0_u64);
    for step in 0..60 * 200 {
        let now = at(0).plus(Duration::from_millis(step * 5));
        budget.request(now);
        requests += 1;
        attempts += 1;
        attempts += (0..5).take_while(|_| budget.try_retry(now)).count() as u64;
    }
    // What is allowed of ten seconds' requests, once for each ten seconds.
    assert!(attempts * 100 <= requests * 120, "{attempts} attempts of {requests} requests");
    assert!(attempts * 100 >= requests * 115, "the budget is used: {attempts} of {requests}");
}

/// A hundred requests in flight at once, on four threads.
#[test]
fn threads_do_not_overdraw_it() {
    let budget = budget(20, 0);
    (0..1000).for_each(|_| budget.request(at(1)));
    let granted = std::thread::scope(|scope| {
        let ask = || (0..1000).filter(|_| budget.try_retry(at(1))).count();
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum::<usize>()
    });
    assert!((190..=200).contains(&granted), "{granted}");
}
