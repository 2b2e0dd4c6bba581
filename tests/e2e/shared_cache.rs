//! Answers that nodes share in a real Redis, and every way in which that Redis can fail them.

use std::time::Duration;

use tidegate_kit::{
    Exit, Gateway, Issuer, Origin, Outcome, Redis, RedisCluster, Request, Response, Result, Setup,
    Signal, send, wait,
};

use crate::{api, gateway, has_keys, open_route, provider};

/// Patient enough for a busy machine.
const PATIENT: &str = "timeout: 1s";

/// A gateway that shares its answers; `redis` and `shared` are those mappings without braces.
fn setup(origin: &Origin, redis: &str, shared: &str, route: &str) -> Setup {
    gateway(config(origin, redis, shared, route))
}

fn config(origin: &Origin, redis: &str, shared: &str, route: &str) -> String {
    api(&[origin.address()])
        + &format!("redis: {{{redis}, breaker: {{failures: 3, openFor: 300ms}}}}\n")
        + &format!("cache: {{shared: {{{shared}}}}}\n")
        + route
}

fn server(redis: &Redis) -> String {
    format!("url: \"{}\"", redis.url())
}

fn cached() -> String {
    open_route("cache: {ttl: 60s}")
}

/// A gateway on this Redis that caches everything.
async fn node(origin: &Origin, redis: &Redis, shared: &str) -> Result<Gateway> {
    setup(origin, &server(redis), shared, &cached()).start().await
}

async fn ask(gateway: &Gateway, request: &Request, cache: &str) -> Result<Response> {
    let answer = gateway.send(request).await?.expect(200)?;
    assert_eq!(answer.header("x-cache"), Some(cache), "{}: {answer}", request.target());
    Ok(answer)
}

async fn looks(gateway: &Gateway, outcome: &str) -> Result<f64> {
    gateway.metric("tidegate_cache_shared_total", &[("outcome", outcome)]).await
}

/// The keys that hold answers.
async fn keys(redis: &Redis) -> Result<Vec<String>> {
    let mut keys = redis.query(&["KEYS", "tidegate:cache:*"]).await?.texts();
    keys.retain(|key| !key.starts_with("tidegate:cache:{purges}:"));
    Ok(keys)
}

/// Waits until a node has written that many answers.
async fn has_written(gateway: &Gateway, count: f64) -> Outcome {
    let name = "tidegate_cache_shared_writes_total";
    gateway.metric_until(name, &[("outcome", "written")], |n| n >= count).await?;
    Ok(())
}

/// Sends requests that nobody has asked before until one of them is answered by Redis, with no. That
/// request is returned; its answer is shared.
async fn asks_again(gateway: &Gateway, name: &str) -> Result<Request> {
    let before = looks(gateway, "miss").await?;
    let mut number = 0;
    wait::until("Redis to be asked", async || {
        number += 1;
        let request = Request::get(&format!("/{name}/{number}"));
        ask(gateway, &request, "MISS").await.ok()?;
        (looks(gateway, "miss").await.ok()? > before).then_some(request)
    })
    .await
}

/// R152, T13: the whole answer, as the first node got it.
#[tokio::test]
async fn what_one_node_fetched_another_serves() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let shared = format!("{PATIENT}, compressFrom: 200KiB");
    let one = node(&origin, &redis, &shared).await?;
    let two = node(&origin, &redis, &shared).await?;
    let mut count = 0.0;
    for target in [
        "/lamps?header=link:a&header=x-mark:1&header=link:b&etag=%22v1%22",
        "/old?cc=max-age%3D300&header=age:100",
        "/compressed/bytes/307200",
        "/chunked/bytes/153600",
        "/empty/bytes/0",
    ] {
        let request = Request::get(target);
        let first = ask(&one, &request, "MISS").await?;
        count += 1.0;
        has_written(&one, count).await?;
        let second = ask(&two, &request, "HIT").await?;
        assert!(first.body == second.body, "{target}");
        let of = |answer: &Response| {
            let mut fields = answer.headers.clone();
            let own = ["age", "x-cache", "cache-status", "x-request-id", "date", "connection"];
            fields.retain(|(name, _)| !own.contains(&name.as_str()));
            fields.retain(|(name, _)| name != "transfer-encoding");
            fields.sort();
            fields
        };
        assert_eq!(of(&first), of(&second), "{target}");
        let age = second.number("age")?;
        assert!(if target.contains("age:100") { age >= 100 } else { age < 60 }, "{target}: {age}");
        ask(&two, &request, "HIT").await?;
    }
    assert_eq!(origin.total(), 5, "one request for each");
    assert!((looks(&two, "hit").await? - 5.0).abs() < 0.1, "then memory answered");
    let part = Request::get("/chunked/bytes/153600").header("range", "bytes=100000-100009");
    assert_eq!(two.send(&part).await?.expect(206)?.body, b"xxxxxxxxxx");
    Ok(())
}

#[tokio::test]
async fn variants_are_told_apart_on_every_node() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let one = node(&origin, &redis, PATIENT).await?;
    let two = node(&origin, &redis, PATIENT).await?;
    let of = |kind: &str| Request::get("/lamps?vary=x-kind").header("x-kind", kind);
    for (count, kind) in [(1.0, "a"), (2.0, "b")] {
        ask(&one, &of(kind), "MISS").await?;
        has_written(&one, count).await?;
    }
    for kind in ["b", "a"] {
        let answer = ask(&two, &of(kind), "HIT").await?;
        assert_eq!(answer.echoed("x-kind")?.as_deref(), Some(kind));
    }
    ask(&two, &of("c"), "MISS").await?;
    assert_eq!(origin.total(), 3);
    Ok(())
}

#[tokio::test]
async fn a_restarted_node_finds_what_it_had() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let before = node(&origin, &redis, PATIENT).await?;
    let request = Request::get("/lamps");
    ask(&before, &request, "MISS").await?;
    has_written(&before, 1.0).await?;
    drop(before);
    let after = node(&origin, &redis, PATIENT).await?;
    ask(&after, &request, "HIT").await?;
    assert_eq!(origin.total(), 1);
    Ok(())
}

/// Wrong values, missing ones, lost ones: the service answers, and the entry is whole again.
#[tokio::test]
async fn whatever_redis_holds_clients_get_the_right_answer() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let shared = format!("{PATIENT}, compressFrom: 8MiB");
    let request = Request::get("/bytes/153600");
    let wrongs: [(&str, &[&str]); 6] = [
        (":1", &["DEL", "KEY"]),
        (":2", &["SET", "KEY", "chunk of somebody else"]),
        ("}", &["SET", "KEY", "garbage"]),
        ("}", &["SETRANGE", "KEY", "50", "garbage"]),
        ("}", &["DEL", "KEY"]),
        ("}", &["FLUSHALL"]),
    ];
    for (end, words) in wrongs {
        redis.query(&["FLUSHALL"]).await?;
        let writer = node(&origin, &redis, &shared).await?;
        let whole = ask(&writer, &request, "MISS").await?.body;
        has_written(&writer, 1.0).await?;
        let there = keys(&redis).await?;
        assert_eq!(there.len(), 4, "a head and three chunks: {there:?}");
        let key = there.into_iter().find(|key| key.ends_with(end)).unwrap_or_default();
        let words: Vec<&str> =
            words.iter().map(|word| if *word == "KEY" { &key } else { *word }).collect();
        redis.query(&words).await?;

        let reader = node(&origin, &redis, &shared).await?;
        assert!(ask(&reader, &request, "MISS").await?.body == whole, "{words:?}");
        has_written(&reader, 1.0).await?;
        let next = node(&origin, &redis, &shared).await?;
        assert!(ask(&next, &request, "HIT").await?.body == whole, "{words:?}: whole again");
    }
    Ok(())
}

/// Down from the start, up, down, back: a miss at most. What was fetched without Redis is shared
/// when it is there; since that one is new, nobody can say what was purged before, and another
/// node has the answer confirmed.
#[tokio::test]
async fn redis_may_come_and_go() -> Outcome {
    let (origin, mut redis) = (Origin::start("api").await?, Redis::start().await?);
    redis.kill().await?;
    let one = node(&origin, &redis, PATIENT).await?;
    let down = |number| Request::get(&format!("/down/{number}?etag=%22v1%22"));
    for number in 0..10 {
        ask(&one, &down(number), "MISS").await?;
    }
    ask(&one, &down(0), "HIT").await?;
    redis.restart().await?;
    let back = asks_again(&one, "back").await?;
    has_written(&one, 11.0).await?;
    let two = node(&origin, &redis, PATIENT).await?;
    ask(&two, &back, "HIT").await?;
    ask(&two, &down(0), "REVALIDATED").await?;
    ask(&two, &down(0), "HIT").await?;

    redis.kill().await?;
    for number in 0..10 {
        ask(&two, &Request::get(&format!("/again/{number}")), "MISS").await?;
    }
    assert!(looks(&two, "skipped").await? > 0.0, "it is left alone");
    ask(&two, &back, "HIT").await?;
    redis.restart().await?;
    // Whichever noticed first that Redis was away, the look-ups or the reading of the purges.
    asks_again(&two, "back-again").await?;
    Ok(())
}

/// A Redis that takes connections and says nothing costs a miss the time limit, three times; then
/// nothing until it answers.
#[tokio::test]
async fn a_frozen_redis_costs_little_and_then_nothing() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let one = node(&origin, &redis, "timeout: 100ms").await?;
    asks_again(&one, "before").await?;
    redis.freeze()?;
    for number in 0..30 {
        let answer = ask(&one, &Request::get(&format!("/frozen/{number}")), "MISS").await?;
        assert!(answer.took < Duration::from_secs(5), "{:?}", answer.took);
    }
    let timeouts = looks(&one, "timeout").await?;
    let skipped = looks(&one, "skipped").await?;
    // Fewer where the log of purges was found frozen before.
    assert!(timeouts < 3.1 && (timeouts + skipped - 30.0).abs() < 0.1, "{timeouts} {skipped}");
    redis.thaw()?;
    asks_again(&one, "thawed").await?;
    Ok(())
}

/// T12: whatever somebody does to the keys in Redis, a tenant gets no other tenant's answer.
#[tokio::test]
async fn tenants_stay_apart_in_redis() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let issuer = Issuer::start().await?;
    let route = "routes:\n  - {name: all, match: {pathPrefix: /}, upstream: {service: api}, \
                 policies: {auth: required, cache: {ttl: 60s, key: {tenant: true}}}}\n";
    let route = provider(&issuer) + route;
    let start = async || -> Result<Gateway> {
        let gateway = setup(&origin, &server(&redis), PATIENT, &route).start().await?;
        has_keys(&gateway).await?;
        Ok(gateway)
    };
    let of = |tenant: &str| -> Result<Request> {
        let token = issuer.token().tenant(tenant).sign()?;
        Ok(Request::get("/orders?cc=public%2C+max-age%3D60").bearer(&token))
    };
    let one = start().await?;
    ask(&one, &of("acme")?, "MISS").await?;
    has_written(&one, 1.0).await?;
    let acme = keys(&redis).await?;
    ask(&one, &of("initech")?, "MISS").await?;
    has_written(&one, 2.0).await?;
    let both = keys(&redis).await?;
    let initech = both.iter().find(|key| !acme.contains(key)).cloned().unwrap_or_default();

    let two = start().await?;
    assert_eq!(ask(&two, &of("initech")?, "HIT").await?.header("x-serial"), Some("2"));
    redis.query(&["COPY", &acme[0], &initech, "REPLACE"]).await?;
    let three = start().await?;
    assert_eq!(ask(&three, &of("acme")?, "HIT").await?.header("x-serial"), Some("1"));
    assert_eq!(ask(&three, &of("initech")?, "MISS").await?.header("x-serial"), Some("3"));
    assert!((looks(&three, "garbage").await? - 1.0).abs() < 0.1);
    Ok(())
}

#[tokio::test]
async fn a_cluster_holds_answers_too() -> Outcome {
    let (origin, cluster) = (Origin::start("api").await?, RedisCluster::start().await?);
    let shared = format!("{PATIENT}, compressFrom: 8MiB");
    let node = || setup(&origin, &cluster.place(), &shared, &cached()).start();
    let (one, two) = (node().await?, node().await?);
    for number in 1..=6_u8 {
        let request = Request::get(&format!("/{number}/bytes/153600"));
        ask(&one, &request, "MISS").await?;
        has_written(&one, number.into()).await?;
        ask(&two, &request, "HIT").await?;
    }
    assert_eq!(origin.total(), 6);
    Ok(())
}

#[tokio::test]
async fn sharing_begins_and_ends_with_the_configuration() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let one = node(&origin, &redis, PATIENT).await?;
    ask(&one, &Request::get("/a"), "MISS").await?;
    has_written(&one, 1.0).await?;
    let alone = api(&[origin.address()]) + &cached();
    let two = gateway(format!("configVersion: 1\n{alone}")).start().await?;
    ask(&two, &Request::get("/b"), "MISS").await?;
    let shared = config(&origin, &server(&redis), PATIENT, &cached());
    two.write_config(&format!("configVersion: 2\n{shared}"))?;
    two.runs_version(2).await?;
    ask(&two, &Request::get("/a"), "HIT").await?;
    assert!((looks(&two, "hit").await? - 1.0).abs() < 0.1);
    ask(&two, &Request::get("/b"), "HIT").await?;

    ask(&one, &Request::get("/c"), "MISS").await?;
    has_written(&one, 2.0).await?;
    two.write_config(&format!("configVersion: 3\n{alone}"))?;
    two.runs_version(3).await?;
    ask(&two, &Request::get("/c"), "MISS").await?;
    Ok(())
}

/// What a node stores while it drains is not lost to the others.
#[tokio::test]
async fn a_node_shares_its_last_answer_before_it_leaves() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let setup = setup(&origin, &server(&redis), PATIENT, &cached()).server("gracePeriod: 15s");
    let mut node = setup.start().await?;
    asks_again(&node, "ready").await?;
    let address = node.address();
    let held = tokio::spawn(async move { send(address, &Request::get("/hold/last")).await });
    node.metric_until("tidegate_requests_in_flight", &[], |requests| requests > 0.5).await?;
    node.signal(Signal::TERM)?;
    // All else that it has to tell Redis has been told.
    wait::until("the node to leave its fleet", async || {
        let nodes = redis.query(&["ZCARD", "tidegate:limit:nodes"]).await.ok()?;
        (nodes.number() == Some(0)).then_some(())
    })
    .await?;
    let before = keys(&redis).await?.len();
    redis.query(&["CLIENT", "PAUSE", "600", "WRITE"]).await?;
    origin.release("last");
    held.await??.expect(200)?;
    assert_eq!(node.exit().await?, Exit::Code(0));
    assert_eq!(keys(&redis).await?.len(), before + 1);
    Ok(())
}

/// A Redis that hangs is not waited for.
#[tokio::test]
async fn a_redis_that_hangs_does_not_hold_the_end_up() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let mut node = node(&origin, &redis, PATIENT).await?;
    asks_again(&node, "ready").await?;
    redis.freeze()?;
    ask(&node, &Request::get("/last"), "MISS").await?;
    node.signal(Signal::TERM)?;
    assert_eq!(node.exit().await?, Exit::Code(0));
    redis.thaw()?;
    Ok(())
}
