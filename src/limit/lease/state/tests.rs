use super::*;

fn at(ms: u64) -> Tick {
    Tick::from_nanos(ms * 1_000_000)
}

fn reply(taken: u64, remaining: u64, epoch_ms: u64) -> Reply {
    Reply { allowed: true, taken, remaining, reset_ms: 700, epoch_ms }
}

/// A lease of a key that is asked for a hundred times a second, which wants more at `now`.
fn busy(now: u64) -> Lease {
    let mut lease = Lease::new(at(now - 1_000));
    for ms in (now - 1_000..now).step_by(10) {
        assert_eq!(lease.ask(1, 1, at(ms), 0), 0, "may hold nothing");
    }
    lease
}

/// The same, after a call at `now` for a request of cost 1 has brought `got` in advance.
fn leased(now: u64, got: u64) -> Lease {
    let mut lease = busy(now);
    assert_eq!(lease.ask(1, 1, at(now), got), got);
    lease.granted(1, &reply(1 + got, 100, 60_000));
    lease.told(reply(1 + got, 100, 60_000), at(now), true);
    lease
}

#[test]
fn a_cold_key_stays_exact() {
    let mut lease = Lease::new(at(0));
    for second in 0..30 {
        assert_eq!(lease.ask(1, 1, at(second * 1_000), 50), 0);
        assert_eq!(lease.spend(1, at(second * 1_000), true), None);
    }
}

#[test]
fn what_is_asked_for_follows_the_pace_up_to_the_bound() {
    let ask = |most| busy(5_000).ask(1, 1, at(5_000), most);
    let half_a_second = ask(1_000);
    assert!((35..=50).contains(&half_a_second), "{half_a_second}");
    assert_eq!((ask(20), ask(2), ask(1), ask(0)), (20, 2, 0, 0));
    assert_eq!(busy(5_000).ask(1, 21, at(5_000), 20), 0, "too few for one request");
    assert_eq!(busy(5_000).ask(1, 20, at(5_000), 20), 20);
}

#[test]
fn only_one_call_at_a_time_asks_for_more() {
    let mut lease = busy(5_000);
    assert_eq!(lease.ask(1, 1, at(5_000), 20), 20);
    assert_eq!(lease.ask(1, 1, at(5_001), 20), 0);
    lease.failed();
    assert_eq!(lease.ask(1, 1, at(5_002), 20), 20);
}

#[test]
fn what_is_held_is_spent_and_told() {
    let mut lease = leased(5_000, 3);
    for left in [102, 101, 100] {
        let told = lease.spend(1, at(5_100), true).unwrap();
        assert_eq!((told.allowed, told.remaining, told.reset_ms), (true, left, 600));
    }
    assert_eq!(lease.spend(1, at(5_100), true), None);
    assert_eq!(leased(5_000, 3).spend(4, at(5_000), true), None, "not enough is nothing");
}

#[test]
fn tokens_may_be_spent_until_they_expire_and_not_afterwards() {
    assert!(leased(5_000, 3).spend(1, at(5_999), true).is_some());
    let mut lease = leased(5_000, 3);
    assert_eq!(lease.expire(at(5_999), false), None);
    assert_eq!(lease.spend(1, at(6_000), true), None);
    let surplus = Surplus { back: 3, burnt: 0, epoch_ms: 60_000 };
    assert_eq!(lease.expire(at(6_000), false), Some(surplus));
    assert_eq!(lease.expire(at(6_000), false), None, "once");
    assert_eq!(leased(5_000, 3).expire(at(5_000), true), Some(surplus), "on the way out");
}

#[test]
fn what_is_found_too_late_is_not_given_back() {
    let back = |ms| leased(5_000, 3).expire(at(ms), false).map(|s| (s.back, s.burnt));
    assert_eq!(back(6_999), Some((3, 0)));
    assert_eq!(back(7_000), Some((0, 3)));
}

#[test]
fn tokens_of_an_earlier_window_are_spent_first_and_not_given_back() {
    let mut lease = leased(5_000, 4);
    assert_eq!(lease.ask(0, 1, at(5_010), 10), 6);
    lease.granted(0, &reply(6, 90, 120_000));
    lease.spend(3, at(5_020), true).unwrap();
    let surplus = Surplus { back: 6, burnt: 1, epoch_ms: 120_000 };
    assert_eq!(lease.expire(at(7_000), true).map(|s| s.burnt + s.back), Some(7));
    let mut lease = leased(5_000, 4);
    assert_eq!(lease.ask(0, 1, at(5_010), 10), 6);
    lease.granted(0, &reply(6, 90, 120_000));
    lease.spend(3, at(5_020), true).unwrap();
    assert_eq!(lease.expire(at(5_030), true), Some(surplus));
}

#[test]
fn whatever_may_yet_be_spent_or_credited_counts() {
    let mut lease = leased(5_000, 8);
    lease.spend(2, at(5_000), false).unwrap();
    assert_eq!(lease.outstanding(at(5_000)), 8, "six held, two out");
    assert_eq!(lease.ask(1, 1, at(5_000), 10), 2, "so much is free");
    assert_eq!(lease.outstanding(at(5_000)), 10);
    lease.failed();
    lease.keep(1);
    lease.put_back(1);
    assert_eq!((lease.held().0, lease.outstanding(at(5_000))), (7, 7));
    assert_eq!(lease.expire(at(6_000), false).unwrap().back, 6, "what came back is not fresh");
    assert_eq!((lease.outstanding(at(7_999)), lease.outstanding(at(8_000))), (6, 0));
    lease.put_back(5);
    assert_eq!(lease.held().0, 0, "nothing was out");
}

#[test]
fn who_holds_more_than_its_part_asks_for_nothing_and_nothing_lives_on() {
    let mut lease = leased(5_000, 8);
    assert_eq!(lease.ask(1, 1, at(5_500), 7), 0, "another node has come");
    assert_eq!(lease.held().1, at(6_000));
    assert_eq!(lease.ask(1, 1, at(5_500), 16), 8);
    assert_eq!(lease.held().1, at(6_500));
}

#[test]
fn more_is_called_for_in_time_and_not_when_it_is_scarce() {
    let lead = Duration::from_millis(50);
    let mut lease = leased(5_000, 20);
    assert!(!lease.is_low(lead));
    lease.spend(15, at(5_000), true).unwrap();
    assert!(lease.is_low(lead), "a quarter is left");
    assert_eq!(lease.ask(0, 1, at(5_000), 20), 15);
    assert!(!lease.is_low(lead), "a call is under way");
    assert_eq!(lease.granted(0, &reply(3, 3, 60_000)), Fetched::Part);
    lease.spend(8, at(5_000), true).unwrap();
    assert!(!lease.is_low(lead), "it is scarce: requests call for themselves");
}

#[test]
fn a_call_brings_all_or_part_or_nothing() {
    let fetched = |taken, remaining| {
        let mut lease = busy(5_000);
        assert_eq!(lease.ask(1, 1, at(5_000), 20), 20);
        (lease.granted(1, &reply(taken, remaining, 0)), lease.held().0)
    };
    assert_eq!(fetched(21, 50), (Fetched::All, 20));
    assert_eq!(fetched(6, 4), (Fetched::Part, 5));
    assert_eq!(fetched(1, 0), (Fetched::Nothing, 0));
    assert_eq!(fetched(0, 50), (Fetched::Nothing, 0), "another counter refused");
    assert_eq!(fetched(99, 0), (Fetched::All, 20), "never more than was asked for");
}

#[test]
fn what_is_told_never_goes_back_to_an_older_answer() {
    let mut lease = leased(5_000, 2);
    assert_eq!(lease.told(reply(1, 90, 0), at(5_020), false).remaining, 92);
    assert_eq!(lease.told(reply(1, 95, 0), at(5_010), false).remaining, 97, "its own answer");
    assert_eq!(lease.spend(1, at(5_030), true).unwrap().remaining, 91);
    let refused = Reply { allowed: false, ..reply(0, 0, 0) };
    assert_eq!(lease.told(refused, at(5_040), false).remaining, 0);
}

#[test]
fn a_key_is_forgotten_when_that_loses_nothing() {
    let mut lease = leased(5_000, 2);
    assert!(!lease.is_idle(at(60_000)), "it holds tokens");
    lease.expire(at(6_000), false);
    assert!(!lease.is_idle(at(7_999)), "what goes back may be on its way");
    assert!(lease.is_idle(at(8_000)));
}

#[test]
fn a_call_that_was_overtaken_never_makes_what_is_told_grow() {
    // R058: three are held and 100 left; a call for six more is under way.
    for (own, fetched) in [(93, 94), (99, 93)] {
        // Redis executed the call for more first, or the other one.
        let mut lease = leased(5_000, 3);
        lease.spend(3, at(5_000), true).unwrap();
        assert_eq!(lease.ask(0, 1, at(5_001), 6), 6);
        let mut last = lease.told(reply(1, own, 60_000), at(5_002), false).remaining;
        assert_eq!(last, own);
        lease.granted(0, &reply(6, fetched, 60_000));
        lease.told(reply(6, fetched, 60_000), at(5_001), true);
        for _ in 0..6 {
            let told = lease.spend(1, at(5_003), true).unwrap().remaining;
            assert!(told <= last, "{told} after {last}");
            last = told;
        }
        assert_eq!(last, own, "told as they were spent");
    }
}

#[test]
fn an_answer_that_comes_after_tokens_and_does_not_know_of_them_counts_them_once() {
    // R058: a call for six more is under way, and one for a request beside it.
    for own in [99, 92] {
        // Redis executed the request's call first, or the call for more.
        let mut lease = leased(5_000, 3);
        lease.spend(3, at(5_000), true).unwrap();
        assert_eq!(lease.ask(0, 1, at(5_001), 6), 6);
        assert_eq!(lease.ask(1, 1, at(5_002), 6), 0);
        lease.granted(0, &reply(6, 93, 60_000));
        let mut last = lease.told(reply(6, 93, 60_000), at(5_001), true).remaining;
        assert_eq!(last, 99);
        let told = lease.told(reply(1, own, 60_000), at(5_002), false).remaining;
        assert!(told <= last, "{told} after {last}");
        for _ in 0..6 {
            last = last.min(told);
            let told = lease.spend(1, at(5_003), true).unwrap().remaining;
            assert!(told <= last, "{told} after {last}");
        }
    }
}
