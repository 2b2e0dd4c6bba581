//! A Redis of a test's own, calls of the scripts as the gateway makes them, and gateways.

use std::net::Ipv6Addr;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, Method};
use redis::aio::MultiplexedConnection;
use redis::{Cmd, FromRedisValue};
use tidegate::clock::{self, Moment};
use tidegate::edge::{Facts, RequestView, Scheme};
use tidegate::limit::math::{Algorithm, Ask, Numbers, Reply, Standing};
use tidegate::limit::{Applied, LimitRule, Limiter, Outcome, Take, script};
use tidegate::link;
use tidegate::model::{self, Problems};
use tidegate::telemetry::Metrics;
use tidegate_kit::Redis;

/// How long anything that should happen soon may take on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Some time after the epoch, as in production: products must stay exact.
pub(crate) const START_US: u64 = 1_790_000_000_123_456;

/// A `redis-server` of a test's own; stopped with it.
pub(crate) async fn server() -> Redis {
    Redis::start().await.unwrap()
}

pub(crate) async fn connect(server: &Redis) -> MultiplexedConnection {
    let client = redis::Client::open(server.url()).unwrap();
    // Sixty-four connections on a busy machine take their time.
    let patient = redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(DEADLINE))
        .set_response_timeout(Some(DEADLINE));
    client.get_multiplexed_async_connection_with_config(&patient).await.unwrap()
}

/// A call of a script, laid out by its arguments; `now_us` none means the server's clock.
pub(crate) fn eval(text: &str, keys: &[&str], now_us: Option<u64>) -> Cmd {
    let mut command = redis::cmd("EVAL");
    command.arg(text).arg(keys.len()).arg(keys);
    command.arg(now_us.map_or(String::new(), |now| now.to_string()));
    command
}

/// Adds a counter to a call.
pub(crate) fn with_counter(command: &mut Cmd, numbers: &Numbers) {
    let (algorithm, numbers) = script::counter(numbers);
    command.arg(algorithm).arg(&numbers);
}

/// A call of `take.lua`.
pub(crate) fn take_command(now_us: Option<u64>, call: &str, rules: &[(&str, Numbers, Ask)]) -> Cmd {
    let keys: Vec<&str> = rules.iter().map(|(key, ..)| *key).collect();
    let mut command = eval(script::TAKE, &keys, now_us);
    command.arg(call);
    for (_, numbers, ask) in rules {
        let (algorithm, arguments) = script::arguments(numbers, ask);
        command.arg(algorithm).arg(&arguments);
    }
    command
}

/// The answer of `take.lua`.
pub(crate) fn replies(text: &str) -> Vec<Reply> {
    let flat: Vec<u64> = text.split(' ').map(|number| number.parse().unwrap()).collect();
    let (replies, rest) = flat.as_chunks::<{ script::RULE_REPLIES }>();
    assert!(rest.is_empty(), "{flat:?}");
    let reply = |[allowed, taken, remaining, reset_ms, epoch_ms]: &[u64; 5]| Reply {
        allowed: *allowed == 1,
        taken: *taken,
        remaining: *remaining,
        reset_ms: *reset_ms,
        epoch_ms: *epoch_ms,
    };
    replies.iter().map(reply).collect()
}

pub(crate) async fn query<T: FromRedisValue>(
    connection: &mut MultiplexedConnection,
    command: &Cmd,
) -> T {
    command.query_async(connection).await.unwrap()
}

/// Takes just the cost of each rule.
pub(crate) async fn run(
    connection: &mut MultiplexedConnection,
    now_us: Option<u64>,
    call: &str,
    rules: &[(&str, Rule)],
) -> Vec<Reply> {
    let rule = |(key, (numbers, cost)): &(_, Rule)| (*key, *numbers, Ask::exactly(*cost));
    let rules: Vec<_> = rules.iter().map(rule).collect();
    replies(&query::<String>(connection, &take_command(now_us, call, &rules)).await)
}

/// How counters stand by `peek.lua`.
pub(crate) async fn peek(
    connection: &mut MultiplexedConnection,
    now_us: Option<u64>,
    counters: &[(&str, Numbers)],
) -> Vec<Standing> {
    let keys: Vec<&str> = counters.iter().map(|(key, _)| *key).collect();
    let mut command = eval(script::PEEK, &keys, now_us);
    for (_, numbers) in counters {
        with_counter(&mut command, numbers);
    }
    let flat: Vec<u64> = query(connection, &command).await;
    let (standings, rest) = flat.as_chunks::<{ script::PEEK_REPLIES }>();
    assert!(rest.is_empty() && standings.len() == counters.len(), "{flat:?}");
    let standing = |[used, remaining, reset_ms, epoch_ms]: &[u64; 4]| Standing {
        used: *used,
        remaining: *remaining,
        reset_ms: *reset_ms,
        epoch_ms: *epoch_ms,
    };
    standings.iter().map(standing).collect()
}

/// Milliseconds; negative when the key has none (-1) or does not exist (-2).
pub(crate) async fn ttl(connection: &mut MultiplexedConnection, key: &str) -> i64 {
    query(connection, redis::cmd("PTTL").arg(key)).await
}

/// Numbers, and what a request costs.
pub(crate) type Rule = (Numbers, u64);

pub(crate) fn bucket(limit: u64, cost: u64, units_per_us: u64, units_per_token: u64) -> Rule {
    (Numbers { limit, algorithm: Algorithm::TokenBucket { units_per_us, units_per_token } }, cost)
}

pub(crate) fn window(limit: u64, cost: u64, window_ms: u64) -> Rule {
    (Numbers { limit, algorithm: Algorithm::SlidingWindow { window_ms } }, cost)
}

pub(crate) fn log(limit: u64, cost: u64, window_ms: u64) -> Rule {
    (Numbers { limit, algorithm: Algorithm::SlidingLog { window_ms } }, cost)
}

pub(crate) fn fixed(limit: u64, cost: u64, window_ms: u64) -> Rule {
    (Numbers { limit, algorithm: Algorithm::FixedWindow { window_ms } }, cost)
}

/// A quota whose second period began at `begin_ms`; all are `length_ms` long.
pub(crate) fn quota(limit: u64, cost: u64, begin_ms: u64, length_ms: u64) -> Rule {
    let bounds = [begin_ms - length_ms, begin_ms, begin_ms + length_ms, begin_ms + 2 * length_ms];
    (Numbers { limit, algorithm: Algorithm::Quota { bounds } }, cost)
}

pub(crate) fn places(limit: u64, cost: u64, hold_ms: u64) -> Rule {
    (Numbers { limit, algorithm: Algorithm::Concurrency { hold_ms } }, cost)
}

/// A random number generator whose seed is printed when the test fails.
pub(crate) fn random() -> fastrand::Rng {
    let seed = std::env::var("TIDEGATE_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed = seed.unwrap_or_else(|| fastrand::u64(..));
    println!("TIDEGATE_SEED={seed}");
    fastrand::Rng::with_seed(seed)
}

pub(crate) fn rule(metrics: &Metrics, name: &str, yaml: &str) -> Arc<LimitRule> {
    let model = serde_yaml::from_str(yaml).unwrap();
    let mut problems = Problems::default();
    let rule = LimitRule::compile(name, &model, "rateLimits", metrics, &mut problems);
    Arc::new(rule.unwrap_or_else(|| panic!("{problems:?}")))
}

/// A take from a counter of a rule whose key is `clientIp`; `who` stands for the client.
pub(crate) fn take(rule: &Arc<LimitRule>, who: &str) -> Take {
    let bits = who.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    let headers = HeaderMap::new();
    let view = RequestView {
        method: &Method::GET,
        scheme: Scheme::Http,
        host: "api.example".into(),
        port: None,
        path: "/".into(),
        query: None,
        headers: &headers,
        client: Ipv6Addr::from(u128::from(bits) << 64).into(),
        peer_trusted: false,
        certificate: None,
    };
    let facts = Facts { view: &view, identity: None, request_id: "", route: "r", service: "s" };
    let applied = [Applied { rule: Arc::clone(rule), cost: rule.cost }];
    tidegate::limit::plan(&applied, &facts).unwrap().remove(0)
}

/// A limiter on a Redis, with what the tests look at.
pub(crate) struct Gateway {
    pub(crate) limiter: Limiter,
    pub(crate) metrics: Arc<Metrics>,
}

impl Gateway {
    pub(crate) fn new(url: &str, settings: &str) -> Self {
        let metrics = Arc::new(Metrics::new().unwrap());
        let limiter = Limiter::new(Arc::clone(&metrics));
        let yaml = format!("{{url: \"{url}\", {settings}}}");
        let model: model::Redis = serde_yaml::from_str(&yaml).unwrap();
        limiter.configure(Some(&link::Settings {
            timeout: model.timeout.get(),
            failures: model.breaker.failures,
            open_for: model.breaker.open_for.get(),
            expected_nodes: model.expected_nodes,
            ..link::Settings::server(url, &model.key_prefix)
        }));
        Self { limiter, metrics }
    }

    pub(crate) fn rule(&self, name: &str, yaml: &str) -> Arc<LimitRule> {
        rule(&self.metrics, name, yaml)
    }

    pub(crate) async fn take(&self, takes: &[Take]) -> Outcome {
        self.limiter.take(takes, clock::now()).await
    }

    pub(crate) async fn take_at(&self, takes: &[Take], now: Moment) -> Outcome {
        self.limiter.take(takes, now).await
    }
}

/// A time limit that only a Redis that is not there exceeds, on however busy a machine.
pub(crate) const PATIENT: &str = "timeout: 10s";
