//! `concurrency`: requests at once, and that places come back however a request ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tidegate_kit::{
    Gateway, Habit, ManualOrigin, Origin, Outcome, RawConnection, Redis, Request, Response, Result,
    WebSocket, WebSocketOrigin,
};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use crate::{api, gateway, open_route};

/// A limit of requests at once.
fn at_once(limit: u32) -> String {
    format!("rateLimits:\n  places: {{algorithm: concurrency, limit: {limit}, key: [clientIp]}}\n")
}

/// Waits until no request holds a place.
async fn all_free(gateway: &Gateway) -> Result<()> {
    gateway.metric_until("tidegate_limit_places_held", &[], |held| held < 0.5).await.map(|_| ())
}

/// The next of those that are answered.
async fn next(clients: &mut JoinSet<Result<Response>>) -> Result<Response> {
    use tidegate_kit::{Context as _, Error};
    let answer = clients.join_next().await.ok_or_else(|| Error::new("nobody waits"))?;
    answer.context("a client")?
}

/// An origin that counts the requests that it is working on.
struct Busy {
    address: SocketAddr,
    now: Arc<AtomicUsize>,
    most: Arc<AtomicUsize>,
}

impl Busy {
    async fn start() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let (now, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let busy = Self { address, now: Arc::clone(&now), most: Arc::clone(&most) };
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(serve(stream, Arc::clone(&now), Arc::clone(&most)));
            }
        });
        Ok(busy)
    }
}

/// Answers requests without bodies; works on each for a few turns of the runtime.
async fn serve(mut stream: TcpStream, now: Arc<AtomicUsize>, most: Arc<AtomicUsize>) {
    let mut buffer = Vec::new();
    loop {
        while !buffer.ends_with(b"\r\n\r\n") {
            if !matches!(stream.read_buf(&mut buffer).await, Ok(read) if read > 0) {
                return;
            }
        }
        buffer.clear();
        most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
        // Before the answer: the gateway may let in the next one as soon as it has it.
        now.fetch_sub(1, Ordering::SeqCst);
        if stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await.is_err() {
            return;
        }
    }
}

/// Sends `each` requests over each of `connections`; returns how many were admitted.
async fn load(gateways: &[&Gateway], connections: usize, each: usize) -> Result<usize> {
    let mut clients = JoinSet::new();
    for gateway in gateways.iter().cycle().take(connections) {
        let address = gateway.address();
        clients.spawn(async move {
            let mut connection = RawConnection::connect(address).await?;
            let mut admitted = 0;
            for _ in 0..each {
                match connection.request(&Request::get("/")).await? {
                    Response { status: 200, .. } => admitted += 1,
                    Response { status: 429, .. } => {}
                    other => return Err(tidegate_kit::Error::new(format!("{other}"))),
                }
            }
            Ok(admitted)
        });
    }
    let mut admitted = 0;
    while let Some(client) = clients.join_next().await {
        admitted += client.map_err(|error| tidegate_kit::Error::new(error.to_string()))??;
    }
    Ok(admitted)
}

/// 64 connections at once, ten places: ten requests reach the service, the others are refused.
#[tokio::test]
async fn the_limit_is_the_number_of_requests_at_once() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()]) + &at_once(10) + &open_route("rateLimit: places");
    let gateway = gateway(config).start().await?;
    let address = gateway.address();
    let mut clients = JoinSet::new();
    for _ in 0..64 {
        clients.spawn(async move { tidegate_kit::send(address, &Request::get("/hold/x")).await });
    }
    for _ in 0..54 {
        let refused = next(&mut clients).await?;
        refused.problem(429, "limit.exceeded")?;
        assert_eq!(refused.number("retry-after")?, 1);
        assert_eq!(refused.number("x-ratelimit-limit")?, 10);
        assert_eq!(refused.number("x-ratelimit-remaining")?, 0);
    }
    origin.arrived(10).await?;
    assert!((gateway.metric("tidegate_limit_places_held", &[]).await? - 10.0).abs() < 0.1);
    origin.release("x");
    for _ in 0..10 {
        let passed = next(&mut clients).await?;
        passed.expect(200)?;
    }
    assert_eq!(origin.total(), 10);
    all_free(&gateway).await?;
    gateway.get("/").await?.expect(200)?;
    Ok(())
}

/// Never more than the limit while requests come and go on 64 connections.
#[tokio::test]
async fn the_limit_holds_under_races() -> Outcome {
    let origin = Busy::start().await?;
    let config = api(&[origin.address]) + &at_once(10) + &open_route("rateLimit: places");
    let gateway = gateway(config).start().await?;
    let admitted = load(&[&gateway], 64, 20).await?;
    let most = origin.most.load(Ordering::SeqCst);
    assert!(most <= 10, "{most} at once");
    assert!(admitted >= 20, "{admitted}");
    all_free(&gateway).await?;
    assert_eq!(origin.now.load(Ordering::SeqCst), 0);
    Ok(())
}

/// The same for two gateways that share a Redis: their requests count together, and places come
/// back to both.
#[tokio::test]
async fn two_gateways_share_the_places() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let config = api(&[origin.address()])
        + &format!("redis: {{url: \"{}\", timeout: 5s}}\n", redis.url())
        + &at_once(3)
        + &open_route("rateLimit: places");
    let (one, two) = (gateway(&*config).start().await?, gateway(&*config).start().await?);
    let mut held = JoinSet::new();
    for (n, gateway) in [&one, &two, &one].into_iter().enumerate() {
        let address = gateway.address();
        held.spawn(async move { tidegate_kit::send(address, &Request::get("/hold/x")).await });
        origin.arrived(n + 1).await?;
    }
    for gateway in [&one, &two] {
        gateway.get("/").await?.problem(429, "limit.exceeded")?;
    }
    origin.release("x");
    for _ in 0..3 {
        next(&mut held).await?.expect(200)?;
    }
    // Given back beside the requests: when Redis knows, it has no key of it any more.
    tidegate_kit::wait::until("places to come back", async || {
        let keys = redis.query(&["KEYS", "*places*"]).await.ok()?.texts();
        keys.is_empty().then_some(())
    })
    .await?;
    for gateway in [&one, &two] {
        gateway.get("/").await?.expect(200)?;
        assert!(gateway.metric("tidegate_limit_redis_failures_total", &[]).await? < 0.5);
    }
    Ok(())
}

/// A client that goes away while its request waits gives its place back.
#[tokio::test]
async fn a_client_that_goes_away_gives_its_place_back() -> Outcome {
    let origin = ManualOrigin::start().await?;
    let config = api(&[origin.address()]) + &at_once(1) + &open_route("rateLimit: places");
    let gateway = gateway(config).start().await?;
    let mut client = RawConnection::connect(gateway.address()).await?;
    client.send(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n").await?;
    let mut exchange = origin.request().await?;
    gateway.get("/").await?.problem(429, "limit.exceeded")?;
    drop(client);
    exchange.closed().await?;
    all_free(&gateway).await?;
    // And one that goes away in the middle of the answer.
    let mut client = RawConnection::connect(gateway.address()).await?;
    client.send(b"GET / HTTP/1.1\r\nhost: a.example\r\n\r\n").await?;
    let mut exchange = origin.request().await?;
    // More than the gateway gathers before it writes.
    exchange.send("HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await?;
    exchange.send(vec![b'h'; 500_000]).await?;
    while !client.peek().await?.contains("hhhh") {}
    gateway.get("/").await?.problem(429, "limit.exceeded")?;
    drop(client);
    exchange.closed().await?;
    all_free(&gateway).await?;
    Ok(())
}

/// A service that fails, cuts its answer short or is too slow; attempts that are repeated, and
/// attempts of which two run at once: one request, one place, and it comes back.
#[tokio::test]
async fn places_come_back_from_requests_that_fail() -> Outcome {
    let (one, two) = (Origin::start("one").await?, Origin::start("two").await?);
    let config = api(&[one.address(), two.address()])
        + &at_once(1)
        + &open_route(
            "rateLimit: places, timeoutMs: 2000, hedge: {percentile: 90, minDelay: 100ms}",
        );
    let gateway = gateway(config).start().await?;
    for _ in 0..30 {
        gateway.get("/").await?.expect(200)?;
        all_free(&gateway).await?;
    }
    for (path, status) in [("/reset", 502), ("/delay/10000", 504), ("/status/503", 503)] {
        let answer = gateway.get(path).await?;
        assert_eq!(answer.status, status, "{path}: {answer}");
        all_free(&gateway).await?;
    }
    // Cut short: an error, or half an answer.
    let _ = gateway.get("/cut/100000").await;
    all_free(&gateway).await?;
    one.set_habit(Habit::Hang);
    for _ in 0..4 {
        gateway.get("/").await?.expect(200)?;
        all_free(&gateway).await?;
    }
    Ok(())
}

/// A tunnel is one request, as long as it lasts.
#[tokio::test]
async fn a_tunnel_holds_its_place_until_it_ends() -> Outcome {
    use tidegate_kit::Context as _;
    let origin = WebSocketOrigin::start().await?;
    let config = api(&[origin.address()])
        + &at_once(1)
        + &open_route("rateLimit: places, upgrades: [websocket]");
    let gateway = gateway(config).start().await?;
    for is_polite in [true, false] {
        let mut socket =
            WebSocket::connect(gateway.address(), "/echo").await?.context("handshake")?;
        gateway.get("/").await?.problem(429, "limit.exceeded")?;
        if is_polite {
            socket.close().await?;
        }
        drop(socket);
        all_free(&gateway).await?;
    }
    Ok(())
}

/// All or nothing: what a limit of requests at once refuses costs no other limit anything.
#[tokio::test]
async fn a_refused_request_takes_from_no_other_limit() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()])
        + &at_once(1)
        + "  burst: {algorithm: token_bucket, capacity: 2, refillPerSecond: 0.001, \
             key: [clientIp]}\n"
        + &open_route("rateLimit: [places, burst]");
    let gateway = gateway(config).start().await?;
    let address = gateway.address();
    let mut held = JoinSet::new();
    held.spawn(async move { tidegate_kit::send(address, &Request::get("/hold/x")).await });
    origin.arrived(1).await?;
    for _ in 0..5 {
        let refused = gateway.get("/").await?;
        let problem = refused.problem(429, "limit.exceeded")?;
        assert_eq!(problem["violated-policies"], serde_json::json!(["places"]));
    }
    origin.release("x");
    next(&mut held).await?.expect(200)?;
    all_free(&gateway).await?;
    gateway.get("/").await?.expect(200)?;
    let refused = gateway.get("/").await?;
    let problem = refused.problem(429, "limit.exceeded")?;
    assert_eq!(problem["violated-policies"], serde_json::json!(["burst"]));
    Ok(())
}

/// R012, R063: a flood of keys, more than the node counts, neither turns newcomers away nor lets
/// in again who is used up.
#[tokio::test]
async fn a_flood_of_keys_frees_nobody() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()])
        + "rateLimits:\n  few: {limit: 3, window: 1h, key: [\"header:x-tenant\"]}\n"
        + &open_route("rateLimit: few");
    let gateway = gateway(config).server("limitKeys: 64").start().await?;
    let mut connection = RawConnection::connect(gateway.address()).await?;
    let mut ask = async |tenant: &str| {
        let request = Request::get("/").header("x-tenant", tenant);
        connection.request(&request).await.map(|answer| answer.status)
    };
    for status in [200, 200, 200, 429] {
        assert_eq!(ask("b").await?, status);
    }
    for n in 0..1_000 {
        assert_eq!(ask(&format!("a{n}")).await?, 200);
    }
    assert_eq!(ask("b").await?, 429);
    assert!((gateway.metric("tidegate_limit_local_keys", &[]).await? - 64.0).abs() < 0.1);
    let evicted = "tidegate_limit_local_evicted_total";
    assert!(gateway.metric(evicted, &[("state", "cold")]).await? >= 900.0);
    assert!(gateway.metric(evicted, &[("state", "lost")]).await? < 0.5);
    Ok(())
}
