//! Many callers at once, and callers whose clocks are wrong.

use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tidegate::clock;
use tidegate::limit::Decision;
use tidegate::limit::math::{Algorithm, Numbers};

use crate::support::{
    Gateway, PATIENT, Rule, bucket, connect, fixed, log, places, quota, run, server, take, window,
};

/// Trials of each algorithm, each on a key of its own.
const TRIALS: u64 = 170;
const CONNECTIONS: u64 = 64;
const LIMIT: u64 = 40;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sixty_four_connections_admit_exactly_the_limit() {
    // R065, T5, T6: a thousand trials in all. Each connection asks once in each trial, all of
    // them at once: 64 requests for 40, by the server's clock.
    let server = server().await;
    let day = 86_400_000;
    let begin = clock::now().unix_ms - 1_000;
    let rules: Vec<(&str, Rule)> = vec![
        ("bucket", bucket(LIMIT, 1, 1, 1_000_000_000_000)),
        ("window", window(LIMIT, 1, 31 * day)),
        ("log", log(LIMIT, 1, day)),
        ("fixed", fixed(LIMIT, 1, 365 * day)),
        ("quota", quota(LIMIT, 1, begin, day)),
        ("places", places(LIMIT, 1, day)),
    ];
    let rules = Arc::new(rules);
    let mut tasks = Vec::new();
    for n in 0..CONNECTIONS {
        let (mut connection, rules) = (connect(&server).await, Arc::clone(&rules));
        tasks.push(tokio::spawn(async move {
            let mut admitted = Vec::new();
            for trial in 0..TRIALS {
                for (name, rule) in &*rules {
                    let key = format!("{name}:{trial}");
                    let reply = ask(&mut connection, &key, *rule, n).await;
                    admitted.push(u64::from(reply));
                }
            }
            admitted
        }));
    }
    let mut total = vec![0; rules.len() * usize::try_from(TRIALS).unwrap()];
    for task in tasks {
        for (sum, one) in total.iter_mut().zip(task.await.unwrap()) {
            *sum += one;
        }
    }
    assert!(total.len() >= 1_000 && total.iter().all(|sum| *sum == LIMIT), "{total:?}");
}

async fn ask(connection: &mut MultiplexedConnection, key: &str, rule: Rule, n: u64) -> bool {
    run(connection, None, &format!("node-{n}"), &[(key, rule)]).await[0].allowed
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn four_gateways_admit_exactly_the_limit_of_each_algorithm() {
    // R062, R064, R065, R067: 64 callers on four gateways.
    let server = server().await;
    let gateways: Vec<Arc<Gateway>> =
        (0..4).map(|_| Arc::new(Gateway::new(&server.url(), PATIENT))).collect();
    for (name, rule) in [
        ("window", "limit: 100, window: 31d"),
        ("bucket", "algorithm: token_bucket, capacity: 100, refillPerSecond: 0.0001"),
        ("log", "algorithm: sliding_log, limit: 100, window: 1d"),
        ("quota", "algorithm: quota, limit: 100, period: month"),
    ] {
        let yaml = format!("{{{rule}, mode: exact, key: [clientIp]}}");
        let caller = |n: usize| {
            let (gateway, yaml) = (Arc::clone(&gateways[n % 4]), yaml.clone());
            tokio::spawn(async move {
                let takes = [take(&gateway.rule(name, &yaml), "all")];
                let mut admitted = 0;
                for _ in 0..5 {
                    let outcome = gateway.take(&takes).await;
                    assert!(!outcome.degraded);
                    admitted += usize::from(outcome.decision == Decision::Allowed);
                }
                admitted
            })
        };
        let mut admitted = 0;
        for task in (0..64).map(caller).collect::<Vec<_>>() {
            admitted += task.await.unwrap();
        }
        assert_eq!(admitted, 100, "{name}");
    }
}

#[tokio::test]
async fn a_gateway_whose_clock_is_wrong_gains_nothing() {
    // T2: ten seconds ahead, and for a quota a whole period ahead or behind.
    let server = server().await;
    let (right, wrong) =
        (Gateway::new(&server.url(), PATIENT), Gateway::new(&server.url(), PATIENT));
    for (name, rule) in [
        ("window", "limit: 5, window: 1h"),
        ("bucket", "algorithm: token_bucket, capacity: 5, refillPerSecond: 0.0001"),
        ("log", "algorithm: sliding_log, limit: 5, window: 1h"),
        ("quota", "algorithm: quota, limit: 5, period: month"),
    ] {
        let yaml = format!("{{{rule}, mode: exact, key: [clientIp]}}");
        let mut admitted = 0;
        for ahead in [10, 10, 10, 25 * 86_400, 25 * 86_400] {
            let takes = [take(&right.rule(name, &yaml), name)];
            let outcome = right.take(&takes).await;
            admitted += u32::from(outcome.decision == Decision::Allowed);
            let takes = [take(&wrong.rule(name, &yaml), name)];
            let now = clock::now().plus(Duration::from_secs(ahead));
            let outcome = wrong.take_at(&takes, now).await;
            admitted += u32::from(outcome.decision == Decision::Allowed);
        }
        assert_eq!(admitted, 5, "{name}");
    }
    // The script itself: a node that is a period ahead or behind reckons other bounds.
    let mut connection = connect(&server).await;
    let (day, begin) = (86_400_000, clock::now().unix_ms - 3_600_000);
    let mut admitted = 0;
    for n in 0..30 {
        let shift = [0, day, 2 * day][n % 3];
        let (Numbers { limit, algorithm }, cost) = quota(5, 1, begin, day);
        let Algorithm::Quota { bounds } = algorithm else { panic!("a quota") };
        let bounds = bounds.map(|bound| bound + shift - day);
        let rule = (Numbers { limit, algorithm: Algorithm::Quota { bounds } }, cost);
        admitted += u32::from(run(&mut connection, None, "", &[("q", rule)]).await[0].allowed);
    }
    assert_eq!(admitted, 5);
}
