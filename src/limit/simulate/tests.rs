use std::collections::HashMap;
use std::sync::Arc;

use super::*;
use crate::edge::{Identity, IdentityFacts};
use crate::limit::{Imagined, testing};
use crate::model::RateLimit;
use crate::telemetry::Metrics;

fn trial(yaml: &str) -> Trial {
    let model: RateLimit = serde_yaml::from_str(yaml).unwrap();
    Trial::of(testing::rule("r", yaml), &model, Metrics::new().unwrap()).unwrap()
}

fn ask(trial: &mut Trial, at_ms: u64, user: &str, plan: Option<&str>, cost: Option<u64>) {
    let caller = IdentityFacts {
        subject: user.into(),
        plan: plan.map(Into::into),
        ..IdentityFacts::default()
    };
    let request = Imagined { caller, route: "a", service: "s", ..Imagined::default() };
    trial.record(at_ms, request, cost, Identity::prove);
}

/// Requests of three users, in bursts: when, who, what it costs.
fn schedule(seed: u64, requests: usize) -> Vec<(u64, usize, u64)> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut at_ms = 1_790_000_000_000 + random.u64(..60_000);
    let one = |_| {
        at_ms += if random.u8(..10) == 0 { random.u64(..30_000) } else { random.u64(..200) };
        (at_ms, random.usize(..3), random.u64(1..=3))
    };
    (0..requests).map(one).collect()
}

/// How many a sliding window refuses, by the definition in `docs/limits.md` and nothing else:
/// what lies in the window counts, by sixtieths of it, the oldest as far as it overlaps.
fn window_refuses(schedule: &[(u64, usize, u64)], limit: u64, window_ms: u64) -> u64 {
    let cell_ms = window_ms.div_ceil(60);
    let mut taken: HashMap<usize, Vec<(u64, u64)>> = HashMap::new();
    let mut refused = 0;
    for (at_ms, user, cost) in schedule {
        let begin_ms = at_ms - window_ms;
        let mine = taken.entry(*user).or_default();
        let of = |wanted: &dyn Fn(u64) -> bool| -> u64 {
            let cells = mine.iter().map(|(at_ms, cost)| (at_ms / cell_ms, cost));
            cells.filter(|(cell, _)| wanted(*cell)).map(|(_, cost)| cost).sum()
        };
        let oldest = begin_ms / cell_ms;
        let stays_ms = (oldest + 1) * cell_ms - begin_ms;
        // Rounded up: an estimate that is too low would let too many pass.
        let partly = (of(&|cell| cell == oldest) * stays_ms).div_ceil(cell_ms);
        if of(&|cell| cell > oldest) + partly + cost <= limit {
            mine.push((*at_ms, *cost));
        } else {
            refused += 1;
        }
    }
    refused
}

/// The same of a bucket that gets one token back each `token_ms`.
fn bucket_refuses(schedule: &[(u64, usize, u64)], capacity: u64, token_ms: u64) -> u64 {
    // Thousandths of a token, so that a millisecond is a whole number.
    let mut level: HashMap<usize, (u64, u64)> = HashMap::new();
    let full = capacity * token_ms;
    let mut refused = 0;
    for (at_ms, user, cost) in schedule {
        let (left, then) = level.get(user).copied().unwrap_or((full, *at_ms));
        let left = full.min(left + (at_ms - then));
        let fits = left >= cost * token_ms;
        refused += u64::from(!fits);
        level.insert(*user, (if fits { left - cost * token_ms } else { left }, *at_ms));
    }
    refused
}

#[test]
fn counts_are_those_of_the_definitions() {
    for seed in 0..20 {
        let schedule = schedule(seed, 400);
        let mut trial = trial("{limit: 20, window: 10s, key: [userId]}");
        for (at_ms, user, cost) in &schedule {
            ask(&mut trial, *at_ms, &format!("u{user}"), None, Some(*cost));
        }
        let judged = trial.judge(0.05, 2);
        let window = window_refuses(&schedule, 20, 10_000);
        assert_eq!(judged.refused, window, "seed {seed}");
        assert_eq!((judged.tally.requests, judged.keys), (400, 3));
        let by = |word: &str| judged.algorithms.iter().find(|a| a.algorithm == word).unwrap();
        assert_eq!(by("sliding_window").refused, Some(window));
        // Twenty in ten seconds: a token each half second.
        let bucket = bucket_refuses(&schedule, 20, 500);
        assert_eq!(by("token_bucket").refused, Some(bucket), "seed {seed}");
        assert_eq!(judged.algorithms[0].algorithm, "sliding_window", "its own first");
        let named: u64 = judged.top.iter().map(|top| top.refused).sum();
        assert!(judged.top.len() <= 2 && named <= judged.refused);
        assert!(judged.top.is_sorted_by(|a, b| a.refused >= b.refused));

        let smallest = &by("sliding_window").smallest[0];
        let (limit, refused) = (smallest.limit.unwrap(), smallest.refused.unwrap());
        assert_eq!(refused, window_refuses(&schedule, limit, 10_000), "seed {seed}");
        assert!(refused < 20, "under five percent of 400");
        assert!(limit == 3 || window_refuses(&schedule, limit - 1, 10_000) >= 20, "seed {seed}");
        assert_eq!((smallest.now, smallest.requests), (Some(20), 400));
    }
}

#[test]
fn plans_are_judged_apart() {
    let mut trial =
        trial("{limit: 2, window: 1m, key: [userId], plans: {pro: {limit: 5}, idle: {limit: 9}}}");
    for n in 0..10 {
        ask(&mut trial, 1_790_000_000_000 + n, "a", None, None);
        ask(&mut trial, 1_790_000_000_000 + n, "b", Some("pro"), None);
    }
    let judged = trial.judge(0.5, 9);
    assert_eq!(judged.refused, 8 + 5);
    let smallest: Vec<_> = judged.algorithms[0]
        .smallest
        .iter()
        .map(|s| (s.plan.as_deref(), s.now, s.limit, s.refused))
        .collect();
    // Under half of ten.
    let expected = [(None, Some(2), Some(6), Some(4)), (Some("pro"), Some(5), Some(6), Some(4))];
    assert_eq!(smallest, expected);
    let top: Vec<_> = judged.top.iter().map(|top| (top.plan.as_deref(), top.refused)).collect();
    assert_eq!(top, [(None, 8), (Some("pro"), 5)]);
    assert_eq!(judged.top[0].parts, [("userId".to_owned(), "a".to_owned())]);
}

#[test]
fn a_quota_begins_anew_at_midnight_of_its_zone() {
    // 2026-09-22 in Berlin, two hours before that in Greenwich.
    const MIDNIGHT: u64 = 1_790_028_000_000;
    let mut trial =
        trial("{algorithm: quota, period: day, timeZone: Europe/Berlin, limit: 2, key: [userId]}");
    for at_ms in [-3, -2, -1, 0, 1, 2].map(|n| MIDNIGHT.strict_add_signed(n)) {
        ask(&mut trial, at_ms, "a", None, None);
    }
    let judged = trial.judge(0.0, 9);
    assert_eq!(judged.refused, 2, "one of three each day");
    assert_eq!(judged.algorithms[0].smallest[0].limit, Some(3));
}

#[test]
fn numbers_that_do_not_fit_are_said() {
    // Full again after half a second, shorter than any window.
    let mut trial =
        trial("{algorithm: token_bucket, capacity: 5, refillPerSecond: 10, key: [userId]}");
    for n in 0..8 {
        ask(&mut trial, 1_790_000_000_000 + n, "a", None, None);
    }
    let judged = trial.judge(0.0, 9);
    assert_eq!((judged.algorithm, judged.refused), ("token_bucket", 3));
    assert_eq!(judged.algorithms[0].smallest[0].limit, Some(8));
    for other in &judged.algorithms[1..] {
        assert!(other.refused.is_none() && other.unfit.is_some(), "{other:?}");
    }
}

#[test]
fn what_a_log_cannot_say_is_refused() {
    let unfit = |yaml: &str| {
        let model: RateLimit = serde_yaml::from_str(yaml).unwrap();
        let rule = Arc::clone(&testing::rule("r", "{limit: 1, window: 1s, key: [userId]}"));
        Trial::of(rule, &model, Metrics::new().unwrap()).err()
    };
    let key = |key: &str| unfit(&format!("{{limit: 1, window: 1s, key: [{key}]}}"));
    assert_eq!(key("clientIp, tenantId, userId, apiKey, plan, routeName, service"), None);
    assert_eq!(key("userId, 'cookie:s'"), Some(Unfit::Part("cookie:s".to_owned())));
    let at_once = "{algorithm: concurrency, limit: 1, key: [userId]}";
    assert_eq!(unfit(at_once), Some(Unfit::Concurrency));
}

#[test]
fn slow_requests_take_their_place_in_time() {
    let mut order = Order::default();
    let mut taken = Vec::new();
    for at_ms in [1_000, 30_000, 5_000, 30_500, 2_000, 31_000, 70_000, 3_000, 80_000] {
        order.push(at_ms, at_ms);
        while let Some((place, at_ms)) = order.due() {
            taken.push((place, at_ms));
        }
    }
    while let Some((place, at_ms)) = order.rest() {
        taken.push((place, at_ms));
    }
    assert!(taken.is_sorted_by_key(|(place, _)| *place), "{taken:?}");
    assert_eq!(order.late, 1);
    assert!(taken.contains(&(31_000, 3_000)), "too late, taken at the time reached: {taken:?}");
    assert_eq!(taken.len(), 9);
}

#[test]
fn a_line_counts_if_its_request_came_as_far_as_limits() {
    let reached = |more: &str| {
        let line = format!("{{\"timestamp\":\"2026-04-08T10:15:30.250Z\"{more}}}");
        let line = Line::read(line.as_bytes()).unwrap();
        assert_eq!(line.began_ms(), Ok(1_775_643_330_250));
        line.reached_limits()
    };
    assert!(reached(",\"route\":\"a\",\"code\":null"));
    assert!(reached(",\"route\":\"a\",\"code\":\"limit.exceeded\""));
    assert!(reached(",\"route\":\"a\",\"code\":\"upstream.no_endpoint\""));
    assert!(reached(",\"route\":\"a\",\"code\":\"request.body_too_large\",\"attempts\":1"));
    assert!(reached(",\"route\":\"a\",\"code\":\"request.timeout\",\"rateLimit\":\"r\""));
    assert!(!reached(""));
    assert!(!reached(",\"route\":null,\"code\":\"route.not_found\""));
    assert!(!reached(",\"route\":\"a\",\"code\":\"auth.token_expired\""));
    assert!(!reached(",\"route\":\"a\",\"code\":\"request.body_too_large\""));
    for wrong in ["", "[]", "{}", "{\"timestamp\":1}", "{\"timestamp\":\"x\",\"clientIp\":\"y\"}"] {
        assert!(Line::read(wrong.as_bytes()).is_err(), "{wrong}");
    }
    let line = |time: &str| format!("{{\"timestamp\":\"{time}\"}}");
    for time in ["", "yesterday", "2026-04-08"] {
        assert_eq!(Line::read(line(time).as_bytes()).unwrap().began_ms(), Err(Unreadable::Time));
    }
}
