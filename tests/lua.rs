//! The limiter against a real `redis-server`, started by each test on a free port.
//!
//! Three circles: the script against the sums of `limit::math`, step by step over random
//! schedules with a given clock; many callers at once; and the limiter end to end while Redis
//! stops, stalls, forgets its scripts and comes back. Seeds are printed; `TIDEGATE_SEED` replays
//! one.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stdout,
    reason = "this is a test, support included: whatever is missing or wrong fails it"
)]

use std::net::{Ipv4Addr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use redis::aio::MultiplexedConnection;
use tidegate::clock::{self, Moment};
use tidegate::limit::math::{Algorithm, Counter, Numbers, Reply, State};
use tidegate::limit::{Decision, LimitRule, Limiter, Outcome, Take, script};
use tidegate::model::{self, Problems};
use tidegate::telemetry::Metrics;

/// How long anything that should happen soon may take on a busy machine.
const DEADLINE: Duration = Duration::from_secs(20);

/// Some time after the epoch, as in production: products must stay exact.
const START_US: u64 = 1_790_000_000_123_456;

// ---------------------------------------------------------------------------------------------
// Support

/// A `redis-server` of a test's own; stopped with it.
struct Server {
    child: Child,
    port: u16,
}

impl Server {
    async fn start() -> Self {
        // Between choosing a free port and using it somebody else may: then the server exits.
        for _ in 0..10 {
            let socket = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            let port = socket.local_addr().unwrap().port();
            drop(socket);
            let mut server = Self { child: spawn(port), port };
            if server.is_ready().await {
                return server;
            }
        }
        panic!("redis-server does not start");
    }

    async fn is_ready(&mut self) -> bool {
        let start = clock::now();
        while clock::now().tick.since(start.tick) < DEADLINE {
            if self.child.try_wait().unwrap().is_some() {
                return false;
            }
            if let Ok(mut connection) = self.try_connect().await
                && redis::cmd("PING").exec_async(&mut connection).await.is_ok()
            {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    }

    fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    async fn try_connect(&self) -> redis::RedisResult<MultiplexedConnection> {
        redis::Client::open(self.url())?.get_multiplexed_async_connection().await
    }

    async fn connect(&self) -> MultiplexedConnection {
        self.try_connect().await.unwrap()
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the port it had.
    async fn restart(&mut self) {
        self.child = spawn(self.port);
        assert!(self.is_ready().await);
    }

    fn signal(&self, signal: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(port: u16) -> Child {
    Command::new("redis-server")
        .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
        .args(["--save", "", "--appendonly", "no", "--daemonize", "no"])
        .stdout(Stdio::null())
        .spawn()
        .expect("redis-server must be installed for this test")
}

/// Runs the script; `now_us` none means the server's clock.
async fn run(
    connection: &mut MultiplexedConnection,
    now_us: Option<u64>,
    rules: &[(&str, Numbers)],
) -> Vec<Reply> {
    let mut command = redis::cmd("EVAL");
    command.arg(script::TAKE).arg(rules.len());
    for (key, _) in rules {
        command.arg(key);
    }
    command.arg(now_us.map_or(String::new(), |now| now.to_string()));
    for (_, numbers) in rules {
        let (algorithm, arguments) = script::arguments(numbers);
        command.arg(algorithm).arg(&arguments);
    }
    let flat: Vec<u64> = command.query_async(connection).await.unwrap();
    assert_eq!(flat.len(), rules.len() * script::RULE_REPLIES);
    flat.chunks(script::RULE_REPLIES)
        .map(|reply| Reply { allowed: reply[0] == 1, remaining: reply[1], reset_ms: reply[2] })
        .collect()
}

async fn stored(connection: &mut MultiplexedConnection, key: &str) -> Option<String> {
    redis::cmd("GET").arg(key).query_async(connection).await.unwrap()
}

/// Milliseconds; negative when the key has none (-1) or does not exist (-2).
async fn ttl(connection: &mut MultiplexedConnection, key: &str) -> i64 {
    redis::cmd("PTTL").arg(key).query_async(connection).await.unwrap()
}

fn text(state: State) -> String {
    match state {
        State::Bucket { debt, at_us } => format!("{debt} {at_us}"),
        State::Window { start_ms, current, previous } => {
            format!("{start_ms} {current} {previous}")
        }
    }
}

fn bucket(limit: u64, cost: u64, units_per_us: u64, units_per_token: u64) -> Numbers {
    Numbers { limit, cost, algorithm: Algorithm::TokenBucket { units_per_us, units_per_token } }
}

fn window(limit: u64, cost: u64, window_ms: u64) -> Numbers {
    Numbers { limit, cost, algorithm: Algorithm::SlidingWindow { window_ms } }
}

/// A random number generator whose seed is printed when the test fails.
fn random() -> fastrand::Rng {
    let seed = std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("TIDEGATE_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

fn rule(metrics: &Metrics, name: &str, yaml: &str) -> Arc<LimitRule> {
    let model = serde_yaml::from_str(yaml).unwrap();
    let mut problems = Problems::default();
    let rule = LimitRule::compile(name, &model, "rateLimits", metrics, &mut problems);
    Arc::new(rule.unwrap_or_else(|| panic!("{problems:?}")))
}

fn take(rule: &Arc<LimitRule>, who: &str) -> Take {
    Take { rule: Arc::clone(rule), key: format!("rl1:test:{}:{{{who}}}", rule.name) }
}

/// A limiter on a Redis, with what the tests look at.
struct Gateway {
    limiter: Limiter,
    metrics: Arc<Metrics>,
}

impl Gateway {
    fn new(url: &str, settings: &str) -> Self {
        let metrics = Arc::new(Metrics::new().unwrap());
        let limiter = Limiter::new(Arc::clone(&metrics));
        let yaml = format!("{{url: \"{url}\", {settings}}}");
        let model: model::Redis = serde_yaml::from_str(&yaml).unwrap();
        limiter.configure(Some((&model, url)));
        Self { limiter, metrics }
    }

    fn rule(&self, name: &str, yaml: &str) -> Arc<LimitRule> {
        rule(&self.metrics, name, yaml)
    }

    async fn take(&self, takes: &[Take]) -> Outcome {
        self.limiter.take(takes, clock::now()).await
    }

    async fn take_at(&self, takes: &[Take], now: Moment) -> Outcome {
        self.limiter.take(takes, now).await
    }
}

/// A time limit that only a Redis that is not there exceeds, on however busy a machine.
const PATIENT: &str = "timeout: 10s";

// ---------------------------------------------------------------------------------------------
// The script against the sums

/// Numbers whose states live for a minute of real time at least, because the clock of these
/// tests is not the one by which keys expire.
fn some_numbers(random: &mut fastrand::Rng) -> Numbers {
    let most = *random.choice(&[3, 30, 1_000]).unwrap();
    let limit = random.u64(1..=most);
    let cost = random.u64(1..=limit.min(4));
    if random.bool() {
        let units_per_us = random.u64(1..=12);
        let units_per_token = units_per_us * 60_000_000 + random.u64(0..1_000_000_000);
        return bucket(limit, cost, units_per_us, units_per_token);
    }
    window(limit, cost, random.u64(60_000..=90_000_000))
}

/// A step of the clock that meets borders as well as the middle of nowhere.
fn some_step(random: &mut fastrand::Rng, last: &[Reply]) -> i64 {
    let wait_us = last.iter().map(|reply| reply.reset_ms * 1000).max().unwrap_or(0);
    let wait = i64::try_from(wait_us).unwrap();
    match random.u32(..10) {
        0..4 => 0,
        4 => random.i64(0..2_000),
        5 => random.i64(0..60_000_000),
        6 => wait,
        7 => (wait - 1000).max(0),
        8 => wait / 2,
        _ => -random.i64(0..5_000_000),
    }
}

#[tokio::test]
async fn the_script_and_the_sums_agree_at_every_step() {
    let mut random = random();
    let server = Server::start().await;
    let mut connection = server.connect().await;
    let (mut allowed, mut refused) = (0, 0);
    for schedule in 0..60 {
        let count = random.usize(1..=4);
        let rules: Vec<(String, Numbers)> =
            (0..count).map(|n| (format!("{schedule}:{n}"), some_numbers(&mut random))).collect();
        let rules: Vec<_> = rules.iter().map(|(key, n)| (key.as_str(), *n)).collect();
        let mut states = vec![None; count];
        let mut now_us = START_US + random.u64(0..1_000_000_000);
        let mut last = Vec::new();
        for step in 0..80 {
            now_us = now_us.checked_add_signed(some_step(&mut random, &last)).unwrap();
            let mut counters: Vec<Counter> = rules
                .iter()
                .zip(&states)
                .map(|((_, n), s)| Counter::open(*n, *s, now_us))
                .collect();
            let passes = counters.iter().all(Counter::has_enough);
            let expected: Vec<Reply> = if passes {
                counters.iter_mut().map(Counter::accept).collect()
            } else {
                counters.iter().map(Counter::refuse).collect()
            };
            let given = run(&mut connection, Some(now_us), &rules).await;
            let place = format!("schedule {schedule}, step {step}, now {now_us}, {rules:?}");
            assert_eq!(given, expected, "{place}");
            for (((key, _), state), counter) in rules.iter().zip(&mut states).zip(&counters) {
                if passes {
                    *state = Some(counter.state());
                    let left = ttl(&mut connection, key).await;
                    let idle = i64::try_from(counter.idle_in_ms()).unwrap();
                    assert!(left <= idle && left > idle - 30_000, "{place}: {left} of {idle}");
                }
                assert_eq!(stored(&mut connection, key).await, state.map(text), "{place}");
            }
            if passes {
                allowed += 1;
            } else {
                refused += 1;
            }
            last = given;
        }
    }
    assert!(allowed > 500 && refused > 500, "{allowed} allowed, {refused} refused");
}

#[tokio::test]
async fn the_largest_numbers_are_exact() {
    let server = Server::start().await;
    let mut connection = server.connect().await;
    let max = tidegate::limit::math::EXACT_MAX;
    let month = 31 * 86_400_000;
    for (n, numbers) in [
        bucket(max, max / 3, 1, 1),
        bucket(max / 1_000_003, max / 3_000_013, 7, 1_000_003),
        bucket(1_000, 301, 1_000, max / 1_000),
        window(max / month, max / month / 3, month),
        window(max / 60_001, max / 180_007, 60_001),
    ]
    .into_iter()
    .enumerate()
    {
        let key = n.to_string();
        let mut state = None;
        let mut refused = 0;
        for step in 0..100 {
            let now_us = START_US + step * 17_333_337;
            let mut counter = Counter::open(numbers, state, now_us);
            let expected = if counter.has_enough() { counter.accept() } else { counter.refuse() };
            if expected.allowed {
                state = Some(counter.state());
            } else {
                refused += 1;
            }
            let given = run(&mut connection, Some(now_us), &[(&key, numbers)]).await;
            assert_eq!(given, [expected], "{numbers:?} step {step}");
            assert_eq!(stored(&mut connection, &key).await, state.map(text), "{numbers:?}");
        }
        assert!(refused > 10, "{numbers:?}");
    }
}

#[tokio::test]
async fn exactly_after_the_wait_one_request_passes() {
    // R057, T3: also for windows that are not whole seconds.
    let server = Server::start().await;
    let mut connection = server.connect().await;
    for (key, numbers) in [
        ("bucket", bucket(2, 1, 1, 40_000_123)),
        ("minute", window(2, 1, 60_000)),
        ("odd", window(3, 2, 61_501)),
    ] {
        let rules = [(key, numbers)];
        let mut now = START_US;
        for _ in 0..20 {
            let reply = run(&mut connection, Some(now), &rules).await[0];
            if reply.allowed {
                continue;
            }
            let before = stored(&mut connection, key).await;
            let early = now + (reply.reset_ms - 1) * 1000;
            assert!(!run(&mut connection, Some(early), &rules).await[0].allowed, "{key}");
            assert_eq!(stored(&mut connection, key).await, before, "a refusal changes nothing");
            now += reply.reset_ms * 1000;
            assert!(run(&mut connection, Some(now), &rules).await[0].allowed, "{key}");
            assert!(!run(&mut connection, Some(now), &rules).await[0].allowed, "{key}: only one");
        }
    }
}

#[tokio::test]
async fn a_thousand_requests_at_one_instant_are_a_thousand() {
    // T1.
    let server = Server::start().await;
    let mut connection = server.connect().await;
    for (key, numbers) in
        [("bucket", bucket(1_000, 1, 1, 100_000_000)), ("window", window(1_000, 1, 60_000))]
    {
        for left in (0..1_000).rev() {
            let reply = run(&mut connection, Some(START_US), &[(key, numbers)]).await[0];
            assert_eq!((reply.allowed, reply.remaining), (true, left), "{key}");
        }
        assert!(!run(&mut connection, Some(START_US), &[(key, numbers)]).await[0].allowed);
    }
}

#[tokio::test]
async fn every_key_expires_and_only_given_keys_are_touched() {
    // T3, T5, R068: a window of 1500 ms on the server's own clock.
    let server = Server::start().await;
    let mut connection = server.connect().await;
    let rules = [("a", window(2, 1, 1_500)), ("b", bucket(2, 1, 1, 500_000))];
    for _ in 0..5 {
        run(&mut connection, None, &rules).await;
    }
    for (key, most) in [("a", 3_000), ("b", 1_000)] {
        let left = ttl(&mut connection, key).await;
        assert!((-2..=most).contains(&left) && left != -1, "{key}: {left}");
    }
    let start = clock::now();
    loop {
        let keys: Vec<String> =
            redis::cmd("KEYS").arg("*").query_async(&mut connection).await.unwrap();
        assert!(keys.iter().all(|key| key == "a" || key == "b"), "{keys:?}");
        if keys.is_empty() {
            break;
        }
        assert!(clock::now().tick.since(start.tick) < DEADLINE, "{keys:?} do not expire");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_call_that_breaks_the_contract_does_nothing() {
    let server = Server::start().await;
    let mut connection = server.connect().await;
    let eval = |keys: usize, arguments: &[&str]| {
        let mut command = redis::cmd("EVAL");
        command.arg(script::TAKE).arg(keys).arg(arguments);
        command
    };
    for (keys, arguments) in [
        (0, &[""][..]),
        (1, &["k", "", "sliding_window", "5", "1", "1000"][..]),
        (1, &["k", "", "sliding_window", "5", "1", "1000", "0", "0"][..]),
        (1, &["k", "", "fixed_window", "5", "1", "1000", "0"][..]),
        (2, &["k", "l", "", "sliding_window", "5", "1", "1000", "0"][..]),
    ] {
        let result = eval(keys, arguments).exec_async(&mut connection).await;
        assert!(result.is_err(), "{arguments:?}");
    }
    let keys: usize = redis::cmd("DBSIZE").query_async(&mut connection).await.unwrap();
    assert_eq!(keys, 0);
    // A value that is not a state counts as none.
    redis::cmd("SET").arg("k").arg("garbage").exec_async(&mut connection).await.unwrap();
    let reply = run(&mut connection, Some(START_US), &[("k", window(5, 1, 60_000))]).await[0];
    assert_eq!((reply.allowed, reply.remaining), (true, 4));
}

// ---------------------------------------------------------------------------------------------
// Many at once

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_callers_on_one_key_admit_exactly_the_limit() {
    // R065, R067: 64 connections; R064: of four gateways.
    let server = Server::start().await;
    let gateways: Vec<Arc<Gateway>> =
        (0..4).map(|_| Arc::new(Gateway::new(&server.url(), PATIENT))).collect();
    for (name, yaml) in [
        ("window", "{limit: 100, window: 1d, key: [clientIp]}"),
        (
            "bucket",
            "{algorithm: token_bucket, capacity: 100, refillPerSecond: 0.001, key: [clientIp]}",
        ),
    ] {
        let tasks: Vec<_> = (0..64)
            .map(|n| {
                let gateway = Arc::clone(&gateways[n % 4]);
                tokio::spawn(async move {
                    let takes = [take(&gateway.rule(name, yaml), "all")];
                    let mut admitted = 0;
                    for _ in 0..5 {
                        let outcome = gateway.take(&takes).await;
                        assert!(!outcome.degraded);
                        admitted += usize::from(outcome.decision == Decision::Allowed);
                    }
                    admitted
                })
            })
            .collect();
        let mut admitted = 0;
        for task in tasks {
            admitted += task.await.unwrap();
        }
        assert_eq!(admitted, 100, "{name}");
    }
}

#[tokio::test]
async fn a_gateway_whose_clock_is_wrong_gains_nothing() {
    // T2.
    let server = Server::start().await;
    let (right, wrong) =
        (Gateway::new(&server.url(), PATIENT), Gateway::new(&server.url(), PATIENT));
    let yaml = "{limit: 5, window: 1h, key: [clientIp]}";
    let mut admitted = 0;
    for _ in 0..5 {
        let outcome = right.take(&[take(&right.rule("r", yaml), "a")]).await;
        admitted += u32::from(outcome.decision == Decision::Allowed);
        let ahead = clock::now().plus(Duration::from_secs(10));
        let outcome = wrong.take_at(&[take(&wrong.rule("r", yaml), "a")], ahead).await;
        admitted += u32::from(outcome.decision == Decision::Allowed);
    }
    assert_eq!(admitted, 5);
}

// ---------------------------------------------------------------------------------------------
// The limiter end to end

#[tokio::test]
async fn all_rules_of_a_request_or_none() {
    let server = Server::start().await;
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
    let mut server = Server::start().await;
    let gateway = Gateway::new(&server.url(), PATIENT);
    let takes = [take(&gateway.rule("r", "{limit: 1, window: 1h, key: [clientIp]}"), "a")];
    assert_eq!(gateway.take(&takes).await.decision, Decision::Allowed);
    assert_eq!(gateway.take(&takes).await.decision, Decision::Limited);
    server.kill();
    let outcome = gateway.take(&takes).await;
    assert_eq!((outcome.decision, outcome.degraded), (Decision::Limited, false));
    assert_eq!(gateway.metrics.limit_redis_failures.get(), 0);
}

#[tokio::test]
async fn a_redis_that_forgot_its_scripts_is_told_them_again() {
    let server = Server::start().await;
    let gateway = Gateway::new(&server.url(), PATIENT);
    let mut connection = server.connect().await;
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
    let server = Server::start().await;
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
    assert_eq!(keys, ["blue:rl1:test:r:{a}", "green:rl1:test:r:{a}"]);
}

#[tokio::test]
async fn a_dead_redis_opens_the_breaker_and_a_probe_closes_it() {
    // R069 to R074.
    let mut server = Server::start().await;
    let gateway = Gateway::new(&server.url(), PATIENT);
    let mode = |mode: &str| {
        let yaml = format!("{{limit: 50, window: 1h, key: [clientIp], failureMode: {mode}}}");
        [take(&gateway.rule(mode, &yaml), "a")]
    };
    let (open, closed, local) = (mode("open"), mode("closed"), mode("local"));
    assert!(!gateway.take(&local).await.degraded);
    assert_eq!(gateway.metrics.limit_local.get(), 0);

    server.kill();
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
    server.restart().await;
    for seconds in [0, 1, 29] {
        let now = start.plus(Duration::from_secs(seconds));
        assert!(gateway.take_at(&local, now).await.degraded, "{seconds}");
    }
    assert_eq!(gateway.metrics.limit_redis_failures.get(), 5);
    let calls: String = {
        let mut connection = server.connect().await;
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
    let mut server = Server::start().await;
    let gateway = Gateway::new(&server.url(), PATIENT);
    let yaml = "{limit: 9, window: 1h, key: [clientIp], failureMode: closed}";
    let takes = [take(&gateway.rule("r", yaml), "a")];
    for _ in 0..3 {
        for _ in 0..4 {
            let outcome = gateway.take(&takes).await;
            assert_eq!((outcome.decision, outcome.degraded), (Decision::Allowed, false));
        }
        server.kill();
        server.restart().await;
    }
    assert_eq!(gateway.metrics.limit_redis_failures.get(), 0);
}

#[tokio::test]
async fn a_stalled_redis_costs_the_time_limit_and_no_more() {
    let server = Server::start().await;
    let gateway = Gateway::new(&server.url(), "timeout: 100ms");
    let takes = [take(&gateway.rule("r", "{limit: 50, window: 1h, key: [clientIp]}"), "a")];
    // Connections exist before it stalls, so that this is about calls.
    let begin = clock::now();
    while gateway.take(&takes).await.degraded {
        assert!(clock::now().tick.since(begin.tick) < DEADLINE);
    }
    let failures = gateway.metrics.limit_redis_failures.get();
    server.signal("-STOP");
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

    server.signal("-CONT");
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
    let server = Server::start().await;
    let gateway = Gateway::new(&server.url(), "timeout: 50ms, breaker: {failures: 1, openFor: 1s}");
    let takes = [take(&gateway.rule("r", "{limit: 50, window: 1h, key: [clientIp]}"), "a")];
    let (mut connection, mut other) = (server.connect().await, server.connect().await);
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
    let mut server = Server::start().await;
    server.kill();
    let gateway =
        Gateway::new(&server.url(), &format!("{PATIENT}, breaker: {{failures: 2, openFor: 5s}}"));
    let takes = [take(&gateway.rule("r", "{limit: 50, window: 1h, key: [clientIp]}"), "a")];
    let start = clock::now();
    for _ in 0..10 {
        assert!(gateway.take_at(&takes, start).await.degraded);
    }
    assert_eq!(gateway.metrics.limit_redis_failures.get(), 2);
    server.restart().await;
    assert!(gateway.take_at(&takes, start.plus(Duration::from_secs(4))).await.degraded);
    assert!(!gateway.take_at(&takes, start.plus(Duration::from_secs(5))).await.degraded);
}

#[tokio::test]
async fn a_redis_that_refuses_calls_is_a_failure() {
    let server = Server::start().await;
    let gateway = Gateway::new(&server.url(), PATIENT);
    let takes = [take(&gateway.rule("r", "{limit: 50, window: 1h, key: [clientIp]}"), "a")];
    assert!(!gateway.take(&takes).await.degraded);
    let mut connection = server.connect().await;
    // A replica without its primary refuses writes.
    let mut become_replica = redis::cmd("REPLICAOF");
    become_replica.arg("127.0.0.1").arg(1).exec_async(&mut connection).await.unwrap();
    let outcome = gateway.take(&takes).await;
    assert_eq!((outcome.decision, outcome.degraded), (Decision::Allowed, true));
    assert_eq!(gateway.metrics.limit_redis_failures.get(), 1);
    redis::cmd("REPLICAOF").arg("NO").arg("ONE").exec_async(&mut connection).await.unwrap();
    assert!(!gateway.take(&takes).await.degraded);
}
