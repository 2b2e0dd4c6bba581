//! The limiter end to end while Redis stops, stalls, forgets its scripts and comes back.

use std::time::Duration;

use tidegate::clock;
use tidegate::limit::Decision;

use crate::support::{DEADLINE, Gateway, PATIENT, connect, server, take};

#[tokio::test]
async fn all_rules_of_a_request_or_none() {
    let server = server().await;
    let gateway = Gateway::new(&server.url(), PATIENT);
    let wide = gateway.rule("wide", "{limit: 10, window: 1h, key: [clientIp]}");
    let narrow = gateway.rule(
        "narrow",
        "{algorithm: token_bucket, capacity: 2, refillPerSecond: 0.001, key: [clientIp]}",
    );
    let both = [take(&wide, "a"), take(&narrow, "a")];
    for _ in 0..2 {
        assert_eq!(gateway.take(&both).await.decision, Decision::Allowed);
    }
    for _ in 0..5 {
        let refused = gateway.take(&both).await;
        assert_eq!(refused.decision, Decision::Limited);
        assert_eq!(&*refused.quotas[0].name, "narrow");
        assert!(refused.reject().unwrap().retry_after.unwrap() > Duration::from_mins(15));
    }
    let outcome = gateway.take(&both[..1]).await;
    assert_eq!(outcome.quotas[0].remaining, Some(7), "refused requests took nothing");
}

#[tokio::test]
async fn what_is_used_up_is_answered_without_redis() {
    let mut server = server().await;
    let gateway = Gateway::new(&server.url(), PATIENT);
    let takes = [take(&gateway.rule("r", "{limit: 1, window: 1h, key: [clientIp]}"), "a")];
    assert_eq!(gateway.take(&takes).await.decision, Decision::Allowed);
    assert_eq!(gateway.take(&takes).await.decision, Decision::Limited);
    server.kill().await.unwrap();
    let outcome = gateway.take(&takes).await;
    assert_eq!((outcome.decision, outcome.degraded), (Decision::Limited, false));
    assert_eq!(gateway.metrics.limit_redis_failures.get(), 0);
}

#[tokio::test]
async fn a_redis_that_forgot_its_scripts_is_told_them_again() {
    let server = server().await;
    let gateway = Gateway::new(&server.url(), PATIENT);
    let mut connection = connect(&server).await;
    let takes = [take(&gateway.rule("r", "{limit: 100, window: 1h, key: [clientIp]}"), "a")];
    for left in (90..100).rev() {
        redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut connection).await.unwrap();
        let outcome = gateway.take(&takes).await;
        assert_eq!((outcome.quotas[0].remaining, outcome.degraded), (Some(left), false));
    }
    assert_eq!(gateway.metrics.limit_redis_failures.get(), 0);
}

#[tokio::test]
async fn keys_carry_the_prefix_and_databases_keep_apart() {
    let server = server().await;
    let url = format!("{}/3", server.url());
    let gateway = Gateway::new(&url, &format!("{PATIENT}, keyPrefix: blue"));
    let other = Gateway::new(&url, &format!("{PATIENT}, keyPrefix: green"));
    let yaml = "{limit: 1, window: 1h, key: [clientIp]}";
    for gateway in [&gateway, &other] {
        let outcome = gateway.take(&[take(&gateway.rule("r", yaml), "a")]).await;
        assert_eq!((outcome.decision, outcome.degraded), (Decision::Allowed, false));
    }
    let client = redis::Client::open(url).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let mut keys: Vec<String> =
        redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
    keys.sort();
    assert_eq!(keys.len(), 2);
    assert!(keys[0].starts_with("blue:rl2:r:") && keys[1].starts_with("green:rl2:r:"), "{keys:?}");
}

#[tokio::test]
async fn a_dead_redis_opens_the_breaker_and_a_probe_closes_it() {
    // R069 to R074.
    let mut server = server().await;
    let gateway = Gateway::new(&server.url(), PATIENT);
    let mode = |mode: &str| {
        let yaml = format!("{{limit: 50, window: 1h, key: [clientIp], failureMode: {mode}}}");
        [take(&gateway.rule(mode, &yaml), "a")]
    };
    let (open, closed, local) = (mode("open"), mode("closed"), mode("local"));
    assert!(!gateway.take(&local).await.degraded);
    assert_eq!(gateway.metrics.limit_local.get(), 0);

    server.kill().await.unwrap();
    let start = clock::now();
    for takes in [&open, &local, &open, &local] {
        let outcome = gateway.take_at(takes, start).await;
        assert_eq!((outcome.decision, outcome.degraded), (Decision::Allowed, true));
    }
    let refused = gateway.take_at(&closed, start).await;
    assert_eq!(refused.decision, Decision::Unavailable);
    assert_eq!(refused.reject().unwrap().fault.status(), 503);
    assert_eq!(gateway.metrics.limit_redis_failures.get(), 5);
    assert_eq!(gateway.metrics.limit_breaker_open.get(), 1);
    assert_eq!(gateway.metrics.limit_local.get(), 1);

    // The sixth asks nobody, and neither does anyone for 30 seconds.
    server.restart().await.unwrap();
    for seconds in [0, 1, 29] {
        let now = start.plus(Duration::from_secs(seconds));
        assert!(gateway.take_at(&local, now).await.degraded, "{seconds}");
    }
    assert_eq!(gateway.metrics.limit_redis_failures.get(), 5);
    let calls: String = {
        let mut connection = connect(&server).await;
        redis::cmd("INFO").arg("commandstats").query_async(&mut connection).await.unwrap()
    };
    assert!(!calls.contains("evalsha"), "{calls}");

    let probe = start.plus(Duration::from_secs(30));
    let outcome = gateway.take_at(&local, probe).await;
    assert_eq!((outcome.quotas[0].remaining, outcome.degraded), (Some(49), false));
    assert_eq!(gateway.metrics.limit_breaker_open.get(), 0);
    assert_eq!(gateway.metrics.limit_local.get(), 0);
    assert!(!gateway.take_at(&closed, probe).await.degraded);
}

#[tokio::test]
async fn a_restart_between_two_requests_is_not_noticed() {
    let mut server = server().await;
    let gateway = Gateway::new(&server.url(), PATIENT);
    let yaml = "{limit: 9, window: 1h, key: [clientIp], failureMode: closed}";
    let takes = [take(&gateway.rule("r", yaml), "a")];
    for _ in 0..3 {
        for _ in 0..4 {
            let outcome = gateway.take(&takes).await;
            assert_eq!((outcome.decision, outcome.degraded), (Decision::Allowed, false));
        }
        server.kill().await.unwrap();
        server.restart().await.unwrap();
    }
    assert_eq!(gateway.metrics.limit_redis_failures.get(), 0);
}

#[tokio::test]
async fn a_stalled_redis_costs_the_time_limit_and_no_more() {
    let server = server().await;
    let gateway = Gateway::new(&server.url(), "timeout: 100ms");
    let takes = [take(&gateway.rule("r", "{limit: 50, window: 1h, key: [clientIp]}"), "a")];
    // Connections exist before it stalls, so that this is about calls.
    let begin = clock::now();
    while gateway.take(&takes).await.degraded {
        assert!(clock::now().tick.since(begin.tick) < DEADLINE);
    }
    let failures = gateway.metrics.limit_redis_failures.get();
    server.freeze().unwrap();
    let start = clock::now();
    for n in 1..=5 {
        let before = clock::now();
        let outcome = gateway.take_at(&takes, start).await;
        let spent = clock::now().tick.since(before.tick);
        assert!(outcome.degraded && outcome.decision == Decision::Allowed);
        assert!((Duration::from_millis(99)..Duration::from_secs(2)).contains(&spent), "{spent:?}");
        assert_eq!(gateway.metrics.limit_redis_failures.get(), failures + n);
    }
    // The breaker is open: no waiting at all for the next thousand.
    let before = clock::now();
    for _ in 0..1_000 {
        assert!(gateway.take_at(&takes, start).await.degraded);
    }
    assert!(clock::now().tick.since(before.tick) < Duration::from_secs(2));
    assert_eq!(gateway.metrics.limit_redis_failures.get(), failures + 5);

    server.thaw().unwrap();
    let mut now = start;
    loop {
        now = now.plus(Duration::from_secs(31));
        if !gateway.take_at(&takes, now).await.degraded {
            break;
        }
        assert!(clock::now().tick.since(before.tick) < DEADLINE, "does not recover");
    }
    assert_eq!(gateway.metrics.limit_breaker_open.get(), 0);
}

#[tokio::test]
async fn a_slow_script_is_not_waited_for() {
    let server = server().await;
    let gateway = Gateway::new(&server.url(), "timeout: 50ms, breaker: {failures: 1, openFor: 1s}");
    let takes = [take(&gateway.rule("r", "{limit: 50, window: 1h, key: [clientIp]}"), "a")];
    let (mut connection, mut other) = (connect(&server).await, connect(&server).await);
    let busy = tokio::spawn(async move {
        // Holds the server, which runs one script at a time, for a good second.
        let script = "local t = redis.call('TIME'); local e = t[1] * 1000 + t[2] / 1000 + 1200
            repeat t = redis.call('TIME') until t[1] * 1000 + t[2] / 1000 > e return 1";
        let _: Result<i64, _> =
            redis::cmd("EVAL").arg(script).arg(0).query_async(&mut connection).await;
    });
    // Asked until it no longer answers.
    let ping = redis::cmd("PING");
    while tokio::time::timeout(Duration::from_millis(20), ping.exec_async(&mut other)).await.is_ok()
    {
        tokio::task::yield_now().await;
    }
    let before = clock::now();
    let outcome = gateway.take(&takes).await;
    assert!(outcome.degraded);
    assert!(clock::now().tick.since(before.tick) < Duration::from_secs(1));
    busy.await.unwrap();
}

#[tokio::test]
async fn a_redis_that_was_never_there_is_found_when_it_comes() {
    let mut server = server().await;
    server.kill().await.unwrap();
    let gateway =
        Gateway::new(&server.url(), &format!("{PATIENT}, breaker: {{failures: 2, openFor: 5s}}"));
    let takes = [take(&gateway.rule("r", "{limit: 50, window: 1h, key: [clientIp]}"), "a")];
    let start = clock::now();
    for _ in 0..10 {
        assert!(gateway.take_at(&takes, start).await.degraded);
    }
    assert_eq!(gateway.metrics.limit_redis_failures.get(), 2);
    server.restart().await.unwrap();
    assert!(gateway.take_at(&takes, start.plus(Duration::from_secs(4))).await.degraded);
    assert!(!gateway.take_at(&takes, start.plus(Duration::from_secs(5))).await.degraded);
}

#[tokio::test]
async fn a_redis_that_refuses_calls_is_a_failure() {
    let server = server().await;
    let gateway = Gateway::new(&server.url(), PATIENT);
    let takes = [take(&gateway.rule("r", "{limit: 50, window: 1h, key: [clientIp]}"), "a")];
    assert!(!gateway.take(&takes).await.degraded);
    let mut connection = connect(&server).await;
    // A replica without its primary refuses writes.
    let mut become_replica = redis::cmd("REPLICAOF");
    become_replica.arg("127.0.0.1").arg(1).exec_async(&mut connection).await.unwrap();
    let outcome = gateway.take(&takes).await;
    assert_eq!((outcome.decision, outcome.degraded), (Decision::Allowed, true));
    assert_eq!(gateway.metrics.limit_redis_failures.get(), 1);
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec_async(&mut connection).await.unwrap();
    assert!(!gateway.take(&takes).await.degraded);
}
