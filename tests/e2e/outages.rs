//! What limits do while Redis is wrong or away, and that nobody gains by it afterwards.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate_kit::{Context, Gateway, Origin, Outcome, Redis, Result, Signal, wait};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{TcpListener, TcpStream};

use crate::{api, gateway, open_route};

/// Something that speaks Redis's protocol until it is asked to count.
struct Wrong {
    port: u16,
    /// Calls of the limiter's script.
    calls: Arc<AtomicUsize>,
}

impl Wrong {
    /// Answers each script call with these bytes; without any, not at all.
    async fn start(answer: &'static str) -> Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
        let (port, calls) = (listener.local_addr()?.port(), Arc::new(AtomicUsize::new(0)));
        let counted = Arc::clone(&calls);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, answer, Arc::clone(&counted)));
            }
        });
        Ok(Self { port, calls })
    }

    fn calls(&self) -> usize {
        self.calls.load(Ordering::SeqCst)
    }
}

async fn serve(stream: TcpStream, answer: &'static str, calls: Arc<AtomicUsize>) -> Result<()> {
    let mut stream = BufReader::new(stream);
    loop {
        let words = command(&mut stream).await?;
        let answer = match words.first().map(String::as_str) {
            Some("EVALSHA") => {
                calls.fetch_add(1, Ordering::SeqCst);
                answer
            }
            Some("EVAL") => answer,
            _ => "+OK\r\n",
        };
        stream.get_mut().write_all(answer.as_bytes()).await?;
    }
}

/// Reads a command: a list of texts.
async fn command(stream: &mut BufReader<TcpStream>) -> Result<Vec<String>> {
    let count = number(stream, '*').await?;
    let mut words = Vec::with_capacity(count);
    for _ in 0..count {
        let mut word = vec![0; number(stream, '$').await? + 2];
        stream.read_exact(&mut word).await?;
        word.truncate(word.len() - 2);
        words.push(String::from_utf8_lossy(&word).into_owned());
    }
    Ok(words)
}

async fn number(stream: &mut BufReader<TcpStream>, mark: char) -> Result<usize> {
    let mut line = String::new();
    stream.read_line(&mut line).await?;
    line.trim_end().strip_prefix(mark).context("a command")?.parse().context("a length")
}

/// A Redis at this port, and three routes whose limits differ in their failure mode only.
fn three_modes(port: u16, settings: &str) -> String {
    let all = ["open", "closed", "local"];
    let limit = |mode: &str| {
        format!(
            "  {mode}: {{algorithm: token_bucket, capacity: 3, refillPerSecond: 0.001, \
             key: [clientIp], mode: exact, failureMode: {mode}}}\n"
        )
    };
    let route = |mode: &str| {
        format!(
            "  - {{name: {mode}, match: {{pathPrefix: /{mode}}}, upstream: {{service: api}}, \
             policies: {{auth: none, rateLimit: {mode}}}}}\n"
        )
    };
    format!(
        "redis: {{url: \"redis://127.0.0.1:{port}\", {settings}}}\nrateLimits:\n{}routes:\n{}",
        all.map(limit).concat(),
        all.map(route).concat()
    )
}

async fn admitted(gateway: &Gateway, count: usize) -> Result<usize> {
    let mut admitted = 0;
    for _ in 0..count {
        match gateway.get("/").await?.status {
            200 => admitted += 1,
            status => assert_eq!(status, 429),
        }
    }
    Ok(admitted)
}

/// Whether a node sees the shared counter, which is used up.
async fn refused_by_redis(gateway: &Gateway) -> Result<bool> {
    let labels = [("counter", "redis"), ("decision", "limited")];
    Ok(gateway.metric("tidegate_limit_decisions_total", &labels).await? > 0.5)
}

/// Asks every node until all count in Redis again; returns how many passed meanwhile.
async fn admitted_until_shared(nodes: &[Gateway]) -> Result<usize> {
    let mut passed = 0;
    wait::until("every node to count in Redis again", async || {
        let mut back = 0;
        for node in nodes {
            passed += admitted(node, 3).await.ok()?;
            back += usize::from(refused_by_redis(node).await.ok()?);
        }
        (back == nodes.len()).then_some(())
    })
    .await?;
    Ok(passed)
}

/// R072 to R074, D7 and D8: whatever Redis says instead of an answer, each route goes by its own
/// failure mode, nobody gets a 500, each failed call is counted and each request marked; after
/// five failures Redis is not asked.
#[tokio::test]
async fn whatever_redis_answers_instead_each_route_goes_by_its_failure_mode() -> Outcome {
    let origin = Origin::start("api").await?;
    for answer in [
        "",
        "what?\r\n",
        "+OK\r\n",
        "*1\r\n:1\r\n",
        "*5\r\n:1\r\n:1\r\n:-1\r\n:0\r\n:0\r\n",
        "-NOPERM this user has no permissions to run the 'evalsha' command\r\n",
        "-OOM command not allowed when used memory > 'maxmemory'.\r\n",
        "-READONLY You can't write against a read only replica.\r\n",
        "-LOADING Redis is loading the dataset in memory\r\n",
        "-MISCONF Redis is configured to save RDB snapshots\r\n",
    ] {
        let redis = Wrong::start(answer).await?;
        let settings = three_modes(redis.port, "timeout: 200ms");
        let gateway = gateway(api(&[origin.address()]) + &settings).start().await?;
        for (path, status) in
            [("/open", 200), ("/open", 200), ("/closed", 503), ("/local", 200), ("/local", 200)]
        {
            gateway.get(path).await?.expect(status)?;
        }
        let failures = gateway.metric("tidegate_limit_redis_failures_total", &[]).await?;
        assert!((failures - 5.0).abs() < 0.1, "{answer:?}: {failures}");
        assert!(gateway.metric("tidegate_limit_breaker_open", &[]).await? > 0.5, "{answer:?}");
        let calls = redis.calls();
        assert!((5..=10).contains(&calls), "{answer:?}: {calls}; a lost connection costs two");

        let statuses = [("/open", 200), ("/closed", 503), ("/local", 200), ("/local", 429)];
        for (path, status) in statuses {
            let response = gateway.get(path).await?.expect(status)?;
            if status == 503 {
                assert!(response.number("retry-after")? >= 1, "T30");
                response.problem(503, "limit.unavailable")?;
            }
        }
        assert_eq!(redis.calls(), calls, "{answer:?}: nobody is asked");
        let failures = gateway.metric("tidegate_limit_redis_failures_total", &[]).await?;
        assert!((failures - 5.0).abs() < 0.1, "{answer:?}: {failures}");

        wait::until("all lines of the access log", async || {
            (gateway.access_lines().ok()?.len() == 9).then_some(())
        })
        .await?;
        let lines = gateway.access_lines()?;
        assert!(lines.iter().all(|line| line["rateLimitDegraded"] == true), "{answer:?}");
    }
    Ok(())
}

/// A value of a type that is not ours counts as none: it is replaced, and harms nobody.
#[tokio::test]
async fn a_counter_of_another_type_is_replaced() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let config = three_modes(redis.address().port(), "timeout: 5s, breaker: {failures: 2}");
    let gateway = gateway(api(&[origin.address()]) + &config).start().await?;
    gateway.get("/open").await?.expect(200)?;
    let keys = redis.query(&["KEYS", "tidegate:rl*"]).await?.texts();
    let [key] = &*keys else { panic!("{keys:?}") };
    redis.query(&["DEL", key]).await?;
    redis.query(&["LPUSH", key, "x"]).await?;
    for left in ["2", "1", "0"] {
        let response = gateway.get("/open").await?.expect(200)?;
        assert_eq!(response.header("x-ratelimit-remaining"), Some(left));
    }
    gateway.get("/open").await?.expect(429)?;
    assert!(gateway.metric("tidegate_limit_redis_failures_total", &[]).await? < 0.5);
    Ok(())
}

/// R071, C5: four nodes together admit the limit while Redis is away, and nothing more when it
/// is back, although it is empty then.
#[tokio::test]
async fn four_nodes_share_a_limit_while_redis_is_away_and_pay_for_it() -> Outcome {
    let (origin, mut redis) = (Origin::start("api").await?, Redis::start().await?);
    let config = api(&[origin.address()])
        + &format!(
            "redis: {{url: \"{}\", timeout: 5s, breaker: {{failures: 1, openFor: 1s}}}}\n\
             rateLimits:\n  burst: {{limit: 100, window: 10m, key: [clientIp], mode: exact}}\n",
            redis.url()
        )
        + &open_route("rateLimit: burst");
    let start = || gateway(&*config).start();
    let (a, b, c, d) = tokio::try_join!(start(), start(), start(), start())?;
    let nodes = [a, b, c, d];
    for node in &nodes {
        node.metric_until("tidegate_limit_nodes", &[], |nodes| nodes > 3.5).await?;
    }
    redis.kill().await?;
    for node in &nodes {
        assert_eq!(admitted(node, 30).await?, 25, "one node's share of four");
    }

    redis.restart().await?;
    let mut more = admitted_until_shared(&nodes).await?;
    for node in &nodes {
        more += admitted(node, 10).await?;
    }
    assert!(more <= 4, "{more} more than the limit");
    let mut charged = 0.0;
    for node in &nodes {
        charged += node.metric("tidegate_limit_charged_back_total", &[]).await?;
    }
    assert!((charged - 100.0).abs() < 4.5, "{charged}");
    Ok(())
}

/// The same for a Redis that hangs and goes on with what it had.
#[tokio::test]
async fn nobody_gains_by_a_redis_that_hangs_for_a_while() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let config = api(&[origin.address()])
        + &format!(
            "redis: {{url: \"{}\", timeout: 2s, breaker: {{failures: 1, openFor: 3s}}}}\n\
             rateLimits:\n  burst: {{algorithm: token_bucket, capacity: 100, \
             refillPerSecond: 0.001, key: [clientIp], mode: exact}}\n",
            redis.url()
        )
        + &open_route("rateLimit: burst");
    let start = || gateway(&*config).start();
    let (a, b) = tokio::try_join!(start(), start())?;
    let nodes = [a, b];
    for node in &nodes {
        node.metric_until("tidegate_limit_nodes", &[], |nodes| nodes > 1.5).await?;
        assert_eq!(admitted(node, 20).await?, 20);
    }
    redis.freeze()?;
    for node in &nodes {
        assert_eq!(admitted(node, 55).await?, 50, "one node's share of two");
    }
    redis.thaw()?;
    let more = admitted_until_shared(&nodes).await?;
    assert!(more <= 2, "{more} more than the limit");
    Ok(())
}

/// A node that is stopped says so; one that is killed is not waited for long.
#[tokio::test]
async fn a_node_that_stops_leaves_the_fleet() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let config = three_modes(redis.address().port(), "timeout: 5s");
    let config = api(&[origin.address()]) + &config;
    let (one, mut two) = (gateway(&*config).start().await?, gateway(&*config).start().await?);
    for node in [&one, &two] {
        node.metric_until("tidegate_limit_nodes", &[], |nodes| nodes > 1.5).await?;
    }
    two.signal(Signal::TERM)?;
    two.exit().await?;
    assert_eq!(redis.query(&["ZCARD", "tidegate:limit:nodes"]).await?.number(), Some(1));
    let left = redis.query(&["PTTL", "tidegate:limit:nodes"]).await?.number();
    assert!(left.is_some_and(|ms| ms > 0), "no key lives for ever: {left:?}");
    one.metric_until("tidegate_limit_nodes", &[], |nodes| nodes < 1.5).await?;
    Ok(())
}
