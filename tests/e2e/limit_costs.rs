//! What requests cost: by their route, and by what their service says afterwards.

use tidegate_kit::{Gateway, Origin, Outcome, Redis, Request, Response, Result, wait};

use crate::{api, gateway, open_route};

const METRIC: &str = "tidegate_limit_response_costs_total";

/// A limit whose service says in `x-cost` what a request has cost.
fn priced(limit: u32) -> String {
    format!(
        "rateLimits:\n  priced: {{limit: {limit}, window: 1h, key: [clientIp], cost: 2, \
         responseCost: {{header: X-Cost, max: 10}}}}\n"
    )
}

/// A request whose answer says `cost`.
async fn say(gateway: &Gateway, path: &str, cost: &str) -> Result<Response> {
    gateway.get(&format!("{path}?header=x-cost:{cost}")).await
}

async fn counted(gateway: &Gateway, outcome: &str) -> Result<f64> {
    gateway.metric(METRIC, &[("limit", "priced"), ("outcome", outcome)]).await
}

/// R056: a route with cost 5 drains 20 in 4 requests, and shares them with the others.
#[tokio::test]
async fn a_route_may_cost_more_than_others() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()])
        + "rateLimits:\n  bucket: {algorithm: token_bucket, capacity: 20, \
           refillPerSecond: 0.001, key: [clientIp]}\n\
           policies: {auth: none, rateLimit: bucket}\n\
           routes:\n  \
           - {name: dear, match: {pathPrefix: /dear}, upstream: {service: api},\n     \
              policies: {rateLimitCost: 5}}\n  \
           - {name: usual, match: {pathPrefix: /}, upstream: {service: api}}\n";
    let gateway = gateway(config).start().await?;
    for left in [15, 10] {
        let response = gateway.get("/dear").await?.expect(200)?;
        assert_eq!(response.number("x-ratelimit-remaining")?, left);
    }
    let response = gateway.get("/").await?.expect(200)?;
    assert_eq!(response.number("x-ratelimit-remaining")?, 9);
    gateway.get("/dear").await?.expect(200)?;
    gateway.get("/dear").await?.problem(429, "limit.exceeded")?;
    for _ in 0..4 {
        gateway.get("/").await?.expect(200)?;
    }
    gateway.get("/").await?.problem(429, "limit.exceeded")?;
    assert_eq!(origin.total(), 8);
    Ok(())
}

/// Costs that no caller could pay, and costs at nothing, are errors of the configuration.
#[tokio::test]
async fn impossible_costs_are_told_before_they_run() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()]) + &priced(20) + &open_route("rateLimit: priced");
    let gateway = gateway(config).start().await?;
    let wrong = api(&[origin.address()])
        + &priced(20)
        + &open_route("rateLimit: priced, rateLimitCost: 21")
        + "  - {name: free, match: {pathPrefix: /free}, upstream: {service: api},\n     \
             policies: {auth: none, rateLimitCost: 2}}\n";
    gateway.write_config(&wrong)?;
    gateway.log_says("routes[0].policies.rateLimitCost").await?;
    gateway.log_says("a cost of 21 is out of range for the rate limit `priced`").await?;
    gateway.log_says("routes[1].policies.rateLimitCost").await?;
    gateway.get("/").await?.expect(200)?;
    Ok(())
}

#[tokio::test]
async fn a_service_says_afterwards_what_a_request_has_cost() -> Outcome {
    let origin = Origin::start("api").await?;
    let config = api(&[origin.address()]) + &priced(30) + &open_route("rateLimit: priced");
    let gateway = gateway(config).start().await?;
    let left = async |cost: &str| {
        let response = say(&gateway, "/", cost).await?.expect(200)?;
        assert_eq!(response.header("x-cost"), Some(cost), "the header stays");
        response.number("x-ratelimit-remaining")
    };
    assert_eq!(gateway.get("/").await?.number("x-ratelimit-remaining")?, 28, "as taken");
    assert_eq!(left("2").await?, 26);
    assert_eq!(left("10").await?, 16, "8 more, and the answer says so");
    assert_eq!(left("0").await?, 14, "2 come back after this answer");
    assert_eq!(left("11").await?, 14, "more than the most that is believed");
    assert_eq!(left("1.5").await?, 12);
    assert_eq!(left("-3").await?, 10);
    // The gateway's own answers cost what was taken, and refusals nothing.
    assert_eq!(left("10").await?, 0);
    for _ in 0..3 {
        say(&gateway, "/", "0").await?.problem(429, "limit.exceeded")?;
    }
    let counts = [("charged", 2.0), ("given_back", 1.0), ("kept", 2.0), ("unreadable", 3.0)];
    for (outcome, expected) in counts {
        let count = counted(&gateway, outcome).await?;
        assert!((count - expected).abs() < 0.1, "{outcome}: {count}");
    }
    Ok(())
}

/// Every request is settled once: repeated attempts and hedges do not count twice, and what the
/// cache answers costs what was taken.
#[tokio::test]
async fn a_cost_is_settled_once_whatever_it_took() -> Outcome {
    let (one, two) = (Origin::start("one").await?, Origin::start("two").await?);
    let routes = "policies: {auth: none, rateLimit: priced}\n\
         routes:\n  \
         - {name: tried, match: {pathPrefix: /status}, upstream: {service: api},\n     \
            policies: {retries: 1, retryOn: [\"503\"]}}\n  \
         - {name: hedged, match: {pathPrefix: /hedged}, upstream: {service: api},\n     \
            policies: {hedge: {percentile: 95, minDelay: 1ms}}}\n  \
         - {name: kept, match: {pathPrefix: /kept}, upstream: {service: api},\n     \
            policies: {cache: {ttl: 60s}}}\n";
    let config = api(&[one.address(), two.address()]) + &priced(100) + routes;
    let gateway = gateway(config).start().await?;
    let left = async |path: &str, status: u16| {
        let response = say(&gateway, path, "7").await?.expect(status)?;
        response.number("x-ratelimit-remaining")
    };
    assert_eq!(left("/status/503", 503).await?, 93, "two attempts, one cost");
    assert_eq!(one.total() + two.total(), 2);
    assert_eq!(left("/hedged/delay/50", 200).await?, 86);
    assert_eq!(left("/kept", 200).await?, 79);
    assert_eq!(left("/kept", 200).await?, 77, "the cache asked nobody");
    assert!((counted(&gateway, "charged").await? - 3.0).abs() < 0.1);
    Ok(())
}

/// With Redis the same, a moment later, and for all nodes.
#[tokio::test]
async fn costs_are_settled_between_nodes() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let config = api(&[origin.address()])
        + &format!("redis: {{url: \"{}\", timeout: 5s}}\n", redis.url())
        + &priced(40).replace("cost: 2", "cost: 2, mode: exact")
        + "policies: {auth: none, rateLimit: priced}\n\
           routes:\n  \
           - {name: all, match: {pathPrefix: /}, upstream: {service: api}}\n";
    let (one, two) = (gateway(&*config).start().await?, gateway(&*config).start().await?);
    let response = say(&one, "/", "10").await?.expect(200)?;
    assert_eq!(response.number("x-ratelimit-remaining")?, 30, "told at once");
    // Each look costs 2 and gets it back, so it finds what is left less 2.
    let settles = async |expected: u64| {
        wait::until(&format!("{expected} to be left"), async || {
            let response = two.send(&Request::get("/?header=x-cost:0")).await.ok()?;
            (response.number("x-ratelimit-remaining").ok()? == expected - 2).then_some(())
        })
        .await
    };
    settles(30).await?;
    say(&one, "/", "0").await?.expect(200)?;
    settles(30).await?;
    assert!(one.metric("tidegate_limit_redis_failures_total", &[]).await? < 0.5);
    Ok(())
}
