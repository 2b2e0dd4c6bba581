//! What the scripts promise in their headers, promise by promise.

use redis::aio::MultiplexedConnection;
use tidegate::clock;
use tidegate::limit::math::Numbers;
use tidegate::limit::script;

use crate::support::{
    DEADLINE, Rule, START_US, bucket, connect, eval, fixed, log, peek, places, query, quota, run,
    server, ttl, window, with_counter,
};

/// Everything that Redis holds, as it dumps it.
async fn dump(connection: &mut MultiplexedConnection, key: &str) -> Option<Vec<u8>> {
    query(connection, redis::cmd("DUMP").arg(key)).await
}

async fn keys(connection: &mut MultiplexedConnection) -> Vec<String> {
    query(connection, redis::cmd("KEYS").arg("*")).await
}

/// One rule of each algorithm with a limit; their states live for long.
fn all(limit: u64) -> [(&'static str, Rule); 6] {
    [
        ("bucket", bucket(limit, 1, 1, 100_000_000)),
        ("window", window(limit, 1, 3_600_000)),
        ("log", log(limit, 1, 3_600_000)),
        ("fixed", fixed(limit, 1, 86_400_000)),
        ("quota", quota(limit, 1, START_US / 1000 - 1_000, 86_400_000)),
        ("places", places(limit, 1, 3_600_000)),
    ]
}

#[tokio::test]
async fn exactly_after_the_wait_one_request_passes() {
    // R057, T3, T18: also for windows that are not whole seconds. A refusal changes nothing.
    let server = server().await;
    let mut connection = connect(&server).await;
    for (key, rule) in [
        ("bucket", bucket(2, 1, 1, 40_000_123)),
        ("minute", window(2, 1, 60_000)),
        ("odd", window(3, 2, 61_501)),
        ("log", log(3, 2, 61_501)),
        ("fixed", fixed(2, 1, 61_501)),
    ] {
        let rules = [(key, rule)];
        let (mut now, mut refused) = (START_US, 0);
        for step in 0..30 {
            let call = |n: u32| format!("{key}-{step}-{n}");
            let reply = run(&mut connection, Some(now), &call(0), &rules).await[0];
            if reply.allowed {
                continue;
            }
            refused += 1;
            // The clock of the test is not the one by which keys expire.
            let persist = redis::cmd("PERSIST").arg(key).to_owned();
            let _: bool = query(&mut connection, &persist).await;
            let before = dump(&mut connection, key).await;
            let early = now + (reply.reset_ms - 1) * 1000;
            assert!(!run(&mut connection, Some(early), &call(1), &rules).await[0].allowed, "{key}");
            assert_eq!(dump(&mut connection, key).await, before, "a refusal changes nothing");
            now += reply.reset_ms * 1000;
            assert!(run(&mut connection, Some(now), &call(2), &rules).await[0].allowed, "{key}");
        }
        assert!(refused > 5, "{key}");
    }
}

#[tokio::test]
async fn a_thousand_requests_at_one_instant_are_a_thousand() {
    // T1, R066: one microsecond, each request one of its own.
    let server = server().await;
    let mut connection = connect(&server).await;
    for (key, rule) in all(1_000) {
        for left in (0..1_000).rev() {
            let call = format!("n{left}");
            let reply = run(&mut connection, Some(START_US), &call, &[(key, rule)]).await[0];
            assert_eq!((reply.allowed, reply.remaining), (true, left), "{key}");
        }
        assert!(!run(&mut connection, Some(START_US), "over", &[(key, rule)]).await[0].allowed);
    }
    for key in ["log", "places"] {
        let entries: u64 = query(&mut connection, redis::cmd("ZCARD").arg(key)).await;
        assert_eq!(entries, 1_000, "a refused request adds nothing");
    }
}

#[tokio::test]
async fn a_call_that_is_repeated_is_counted_once_where_calls_are_remembered() {
    let server = server().await;
    let mut connection = connect(&server).await;
    for (key, rule) in [("log", log(4, 2, 60_000)), ("places", places(4, 2, 60_000))] {
        for call in ["a", "b", "a", "b", "b"] {
            let reply = run(&mut connection, Some(START_US), call, &[(key, rule)]).await[0];
            assert_eq!((reply.allowed, reply.taken), (true, 2), "{key} {call}");
        }
        assert!(!run(&mut connection, Some(START_US), "c", &[(key, rule)]).await[0].allowed);
        let standing = peek(&mut connection, Some(START_US), &[(key, rule.0)]).await[0];
        assert_eq!((standing.used, standing.remaining), (4, 0));
    }
}

#[tokio::test]
async fn every_key_expires_and_only_given_keys_are_touched() {
    // T3, T5, R068: windows of 1500 ms on the server's own clock.
    let server = server().await;
    let mut connection = connect(&server).await;
    let now_ms = clock::now().unix_ms;
    let rules = [
        ("a", window(2, 1, 1_500)),
        ("b", bucket(2, 1, 1, 500_000)),
        ("c", log(2, 1, 1_500)),
        ("d", fixed(2, 1, 1_500)),
        ("e", quota(2, 1, now_ms - 100, 1_500)),
        ("f", places(2, 1, 1_500)),
    ];
    for n in 0..5 {
        run(&mut connection, None, &format!("c{n}"), &rules).await;
    }
    for (key, most) in [("a", 3_000), ("b", 1_000), ("c", 1_500), ("d", 1_500), ("f", 1_500)] {
        let left = ttl(&mut connection, key).await;
        assert!((-2..=most).contains(&left) && left != -1, "{key}: {left}");
    }
    for (key, (numbers, _)) in [("g", log(2, 1, 1_500)), ("h", window(2, 1, 1_500))] {
        let mut charge = eval(script::CHARGE, &[key], None);
        charge.arg("charged");
        with_counter(&mut charge, &numbers);
        assert_eq!(query::<u64>(&mut connection, charge.arg(3)).await, 3);
        let left = ttl(&mut connection, key).await;
        assert!(left != -1, "{key}");
    }
    let start = clock::now();
    loop {
        let keys = keys(&mut connection).await;
        assert!(keys.iter().all(|key| "abcdefgh".contains(key.as_str())), "{keys:?}");
        if keys.is_empty() {
            break;
        }
        assert!(clock::now().tick.since(start.tick) < DEADLINE, "{keys:?} do not expire");
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_call_that_breaks_the_contract_does_nothing() {
    let server = server().await;
    let mut connection = connect(&server).await;
    let numbers = ["sliding_window", "5", "1000", "0", "0", "0"];
    let good = |name: &'static str, ask: &[&'static str]| {
        let mut arguments = vec!["k", "", "call", name];
        arguments.extend(&numbers[1..]);
        arguments.extend(ask);
        arguments
    };
    let ask = ["1", "1", "1", "0"];
    for (text, keys, arguments) in [
        (script::TAKE, 0, vec![""]),
        (script::TAKE, 1, good("sliding_window", &ask[..3])),
        (script::TAKE, 1, good("leaky_bucket", &ask)),
        (script::TAKE, 2, good("sliding_window", &ask)),
        (script::TAKE, 1, [&["k", "", ""][..], &["sliding_log"], &numbers[1..], &ask].concat()),
        (script::TAKE, 1, [&["k", "soon", "c"][..], &numbers, &ask].concat()),
        (script::CHARGE, 1, [&["k", "", "call"][..], &numbers].concat()),
        (script::CHARGE, 1, [&["k", "", "call"][..], &numbers, &["many"]].concat()),
        (script::GIVE_BACK, 1, [&["k", ""][..], &numbers, &["1"]].concat()),
        (script::RELEASE, 1, vec!["k"]),
        (script::RENEW, 1, vec!["k", "", "1000"]),
        (script::PEEK, 2, [&["k", "l", ""][..], &numbers].concat()),
    ] {
        let mut command = redis::cmd("EVAL");
        command.arg(text).arg(keys).arg(&arguments);
        assert!(command.exec_async(&mut connection).await.is_err(), "{arguments:?}");
    }
    assert_eq!(keys(&mut connection).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_foreign_value_counts_as_none_and_is_replaced() {
    let server = server().await;
    let mut connection = connect(&server).await;
    for (key, rule) in all(5) {
        for foreign in [&["SET", key, "garbage"][..], &["SADD", key, "x"], &["ZADD", key, "1", "x"]]
        {
            let _: u64 = query(&mut connection, redis::cmd("DEL").arg(key)).await;
            redis::cmd(foreign[0]).arg(&foreign[1..]).exec_async(&mut connection).await.unwrap();
            let counters: [(&str, Numbers); 1] = [(key, rule.0)];
            let standing = peek(&mut connection, Some(START_US), &counters).await[0];
            assert_eq!(standing.remaining, 5, "{key} {foreign:?}");
            for left in [4, 3] {
                let call = left.to_string();
                let reply = run(&mut connection, Some(START_US), &call, &[(key, rule)]).await[0];
                assert_eq!((reply.allowed, reply.remaining), (true, left), "{key} {foreign:?}");
            }
            assert!(ttl(&mut connection, key).await > 0, "{key} {foreign:?}");
        }
        // What only reads or gives free does not fail for it either.
        let _: u64 = query(&mut connection, redis::cmd("DEL").arg(key)).await;
        redis::cmd("SADD").arg(key).arg("x").exec_async(&mut connection).await.unwrap();
        let mut release = redis::cmd("EVAL");
        release.arg(script::RELEASE).arg(1).arg(key).arg("c");
        assert_eq!(query::<u64>(&mut connection, &release).await, 0);
        let mut renew = eval(script::RENEW, &[key], None);
        assert_eq!(query::<u64>(&mut connection, renew.arg(1_000).arg("c")).await, 0);
        let mut give_back = eval(script::GIVE_BACK, &[key], None);
        with_counter(&mut give_back, &rule.0);
        assert_eq!(query::<u64>(&mut connection, give_back.arg(1).arg(0)).await, 0);
    }
}

#[tokio::test]
async fn a_look_changes_nothing() {
    let server = server().await;
    let mut connection = connect(&server).await;
    for (key, rule) in all(5) {
        let standing = peek(&mut connection, None, &[(key, rule.0)]).await[0];
        assert_eq!((standing.used, standing.remaining, standing.reset_ms), (0, 5, 0), "{key}");
        assert_eq!(dump(&mut connection, key).await, None);
        run(&mut connection, Some(START_US), "c", &[(key, rule)]).await;
        let before = dump(&mut connection, key).await;
        let standing = peek(&mut connection, Some(START_US), &[(key, rule.0)]).await[0];
        assert_eq!((standing.used, standing.remaining), (1, 4), "{key}");
        assert!(standing.reset_ms > 0);
        assert_eq!(dump(&mut connection, key).await, before);
    }
}
