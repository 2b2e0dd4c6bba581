//! Rate limits: exact on one node, shared over Redis, told to clients.

use tidegate_kit::{
    Gateway, Issuer, Origin, Outcome, RawConnection, Redis, Request, Response, Result,
};
use tokio::task::JoinSet;

use crate::{api, gateway, has_keys, open_route, provider};

/// A bucket of `capacity` that gets nothing back within a test.
fn bucket(capacity: u32, key: &str) -> String {
    format!(
        "rateLimits:\n  burst: {{algorithm: token_bucket, capacity: {capacity}, \
         refillPerSecond: 0.001, key: [{key}]}}\n"
    )
}

/// `redis`, patient enough for a busy machine, so that every count is Redis's.
fn patient(redis: &Redis) -> String {
    format!("redis: {{url: \"{}\", timeout: 5s}}\n", redis.url())
}

/// Sends this many requests at once; returns how many of them got each status.
async fn flood(gateways: &[&Gateway], count: usize) -> Result<(usize, usize)> {
    let mut requests = JoinSet::new();
    for gateway in gateways.iter().cycle().take(count) {
        let address = gateway.address();
        requests.spawn(async move { tidegate_kit::send(address, &Request::get("/")).await });
    }
    let (mut passed, mut limited) = (0, 0);
    while let Some(response) = requests.join_next().await {
        match response.map_err(|error| tidegate_kit::Error::new(error.to_string()))?? {
            Response { status: 200, .. } => passed += 1,
            Response { status: 429, .. } => limited += 1,
            other => return Err(tidegate_kit::Error::new(format!("unexpected {other}"))),
        }
    }
    Ok((passed, limited))
}

/// R055, counted on the node.
#[tokio::test]
async fn a_burst_is_exact_on_one_node() -> Outcome {
    let origin = Origin::start("api").await?;
    let config =
        api(&[origin.address()]) + &bucket(20, "clientIp") + &open_route("rateLimit: burst");
    let gateway = gateway(config).start().await?;
    assert_eq!(flood(&[&gateway], 50).await?, (20, 30));
    assert_eq!(origin.total(), 20);
    let labels = |decision| [("limit", "burst"), ("decision", decision), ("counter", "local")];
    let metric = "tidegate_limit_decisions_total";
    assert!((gateway.metric(metric, &labels("allowed")).await? - 20.0).abs() < 0.1);
    assert!((gateway.metric(metric, &labels("limited")).await? - 30.0).abs() < 0.1);
    Ok(())
}

/// R064, R065: one limit, whichever node is asked.
#[tokio::test]
async fn two_gateways_share_one_limit() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let config = api(&[origin.address()])
        + &patient(&redis)
        + &bucket(30, "clientIp")
        + &open_route("rateLimit: burst");
    let (one, two) = (gateway(&*config).start().await?, gateway(&*config).start().await?);
    assert_eq!(flood(&[&one, &two, &one], 90).await?, (30, 60));
    for gateway in [&one, &two] {
        gateway.get("/").await?.problem(429, "limit.exceeded")?;
        assert!(gateway.metric("tidegate_limit_counting_locally", &[]).await? < 0.5);
        assert!(gateway.metric("tidegate_limit_redis_failures_total", &[]).await? < 0.5);
    }
    // R068: nothing stays for ever.
    let keys = redis.query(&["KEYS", "*"]).await?.texts();
    assert!(!keys.is_empty());
    for key in keys {
        let left = redis.query(&["PTTL", &key]).await?.number();
        assert!(left.is_some_and(|ms| ms > 0), "{key} lives for ever");
        assert!(key.starts_with("tidegate:"), "{key}");
    }
    Ok(())
}

#[tokio::test]
async fn a_sliding_window_admits_its_limit() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let config = api(&[origin.address()])
        + &patient(&redis)
        + "rateLimits:\n  hourly: {limit: 25, window: 1h, key: [clientIp]}\n"
        + &open_route("rateLimit: hourly");
    let gateway = gateway(config).start().await?;
    assert_eq!(flood(&[&gateway], 40).await?, (25, 15));
    Ok(())
}

/// R057, R058, R083, R084: what clients are told, on the way and at the end.
#[tokio::test]
async fn clients_are_told_what_is_left_and_when_to_come_back() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()])
        + "rateLimits:\n  burst: {algorithm: token_bucket, capacity: 3, refillPerSecond: 0.1, \
           key: [clientIp]}\n"
        + &open_route("rateLimit: burst");
    let gateway = gateway(config).start().await?;
    for left in [2, 1, 0] {
        let response = gateway.get("/").await?.expect(200)?;
        assert_eq!(response.number("x-ratelimit-limit")?, 3);
        assert_eq!(response.number("x-ratelimit-remaining")?, left);
        assert!(response.required("ratelimit-policy")?.starts_with("\"burst\";q=3;w="));
        assert!(response.required("ratelimit")?.starts_with(&format!("\"burst\";r={left};t=")));
        assert_eq!(response.header("retry-after"), None);
    }
    let refused = gateway.get("/").await?;
    let problem = refused.problem(429, "limit.exceeded")?;
    assert_eq!(refused.number("x-ratelimit-remaining")?, 0);
    let wait = refused.number("retry-after")?;
    assert!((1..=10).contains(&wait), "one token comes back in ten seconds, not {wait}");
    assert_eq!(problem["retry_after"], wait);
    assert_eq!(problem["violated-policies"], serde_json::json!(["burst"]));
    assert_eq!(problem["type"], "https://iana.org/assignments/http-problem-types#quota-exceeded");
    Ok(())
}

/// R079: each tenant has its own budget, and so has each route where the key says so.
#[tokio::test]
async fn budgets_are_kept_apart_by_their_key() -> Outcome {
    let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
    let config = api(&[origin.address()])
        + &provider(&issuer)
        + &bucket(2, "tenantId, routeName")
        + "policies: {auth: required, rateLimit: burst}\n\
           routes:\n  \
           - {name: one, match: {pathPrefix: /one}, upstream: {service: api}}\n  \
           - {name: two, match: {pathPrefix: /two}, upstream: {service: api}}\n";
    let gateway = gateway(config).start().await?;
    has_keys(&gateway).await?;
    for tenant in ["acme", "initech"] {
        let token = issuer.token().tenant(tenant).sign()?;
        for target in ["/one", "/two"] {
            for status in [200, 200, 429] {
                gateway.send(&Request::get(target).bearer(&token)).await?.expect(status)?;
            }
        }
    }
    Ok(())
}

/// All limits of a route apply together, and a refused request takes from none.
#[tokio::test]
async fn several_limits_take_together_or_not_at_all() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let config = api(&[origin.address()])
        + &patient(&redis)
        + "rateLimits:\n  \
           narrow: {algorithm: token_bucket, capacity: 2, refillPerSecond: 0.001, \
             key: [clientIp, routeName]}\n  \
           wide: {algorithm: token_bucket, capacity: 5, refillPerSecond: 0.001, key: [clientIp]}\n\
           policies: {auth: none, rateLimit: [narrow, wide]}\n\
           routes:\n  \
           - {name: one, match: {pathPrefix: /one}, upstream: {service: api}}\n  \
           - {name: two, match: {pathPrefix: /two}, upstream: {service: api}}\n  \
           - {name: three, match: {pathPrefix: /three}, upstream: {service: api}}\n";
    let gateway = gateway(config).start().await?;
    for status in [200, 200, 429, 429, 429] {
        gateway.get("/one").await?.expect(status)?;
    }
    // Had the refused requests been charged, `wide` would be empty by now.
    for status in [200, 200, 429] {
        gateway.get("/two").await?.expect(status)?;
    }
    gateway.get("/three").await?.expect(200)?;
    let refused = gateway.get("/three").await?;
    let problem = refused.problem(429, "limit.exceeded")?;
    assert_eq!(problem["violated-policies"], serde_json::json!(["wide"]));
    Ok(())
}

#[tokio::test]
async fn a_request_may_cost_more_than_one() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()])
        + "rateLimits:\n  dear: {algorithm: token_bucket, capacity: 20, refillPerSecond: 0.001, \
           cost: 5, key: [clientIp]}\n"
        + &open_route("rateLimit: dear");
    let gateway = gateway(config).start().await?;
    assert_eq!(flood(&[&gateway], 10).await?, (4, 6));
    Ok(())
}

/// A refusal costs the client a request, not its connection.
#[tokio::test]
async fn a_connection_survives_401_404_405_and_429() -> Outcome {
    let (origin, issuer) = (Origin::start("api").await?, Issuer::start().await?);
    let config = api(&[origin.address()])
        + &provider(&issuer)
        + &bucket(1, "clientIp")
        + "routes:\n  \
           - {name: private, match: {pathPrefix: /private, methods: [GET, POST]}, \
              upstream: {service: api}, policies: {auth: required}}\n  \
           - {name: scarce, match: {pathPrefix: /scarce}, upstream: {service: api}, \
              policies: {auth: none, rateLimit: burst}}\n  \
           - {name: open, match: {pathPrefix: /open}, upstream: {service: api}, \
              policies: {auth: none}}\n";
    let gateway = gateway(config).start().await?;
    let mut connection = RawConnection::connect(gateway.address()).await?;
    for (request, status) in [
        (Request::get("/private"), 401),
        (Request::post("/private", "a body that nobody reads"), 401),
        (Request::get("/nothing"), 404),
        (Request::new("DELETE", "/private"), 405),
        (Request::get("/scarce"), 200),
        (Request::get("/scarce"), 429),
        (Request::get("/open"), 200),
    ] {
        let response = connection.request(&request).await?.expect(status)?;
        assert_ne!(response.header("connection"), Some("close"), "{response}");
    }
    Ok(())
}

/// A client that writes its own address into `X-Forwarded-For` gains nothing, unless it is a
/// trusted proxy.
#[tokio::test]
async fn a_forged_address_is_no_new_budget() -> Outcome {
    let origin = Origin::start("api").await?;
    let config =
        api(&[origin.address()]) + &bucket(2, "clientIp") + &open_route("rateLimit: burst");
    let from = |address: &str| Request::get("/").header("x-forwarded-for", address);
    let strict = gateway(&*config).start().await?;
    for (address, status) in [("192.0.2.1", 200), ("192.0.2.2", 200), ("192.0.2.3", 429)] {
        strict.send(&from(address)).await?.expect(status)?;
    }
    let trusting = gateway(config).listener("trustedProxies: [127.0.0.0/8]").start().await?;
    for (address, status) in [
        ("192.0.2.1", 200),
        ("192.0.2.1", 200),
        ("192.0.2.1", 429),
        ("192.0.2.9, 192.0.2.1", 429),
        ("192.0.2.1, 192.0.2.2", 200),
    ] {
        trusting.send(&from(address)).await?.expect(status)?;
    }
    Ok(())
}
