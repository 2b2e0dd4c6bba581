//! Limits in shadow: they count, say what they would have done, and refuse nobody.

use tidegate_kit::{Gateway, Origin, Outcome, Redis, Result};

use crate::{api, gateway, open_route};

const DECISIONS: &str = "tidegate_limit_decisions_total";

/// A limit of 2 in shadow beside one of 4 that is enforced; nothing comes back within a test.
fn limits(failure_mode: &str) -> String {
    let limit = |name: &str, capacity: u32, more: &str| {
        format!(
            "  {name}: {{algorithm: token_bucket, capacity: {capacity}, refillPerSecond: 0.001, \
             key: [clientIp], mode: exact{more}}}\n"
        )
    };
    let shadow = format!(", shadow: true, failureMode: {failure_mode}");
    format!("rateLimits:\n{}{}", limit("tried", 2, &shadow), limit("burst", 4, ""))
}

fn redis_at(redis: &Redis) -> String {
    format!("redis: {{url: \"{}\", timeout: 2s, breaker: {{failures: 1}}}}\n", redis.url())
}

async fn counted(gateway: &Gateway, limit: &str, decision: &str) -> Result<f64> {
    gateway.metric(DECISIONS, &[("limit", limit), ("decision", decision)]).await
}

/// Sends six requests: four pass, of which the limit in shadow would have refused two.
async fn try_out(gateway: &Gateway, counter: &str) -> Outcome {
    for (number, status) in [200, 200, 200, 200, 429, 429].into_iter().enumerate() {
        let response = gateway.get("/").await?.expect(status)?;
        for header in ["ratelimit", "ratelimit-policy"] {
            let value = response.required(header)?;
            assert!(value.contains("\"burst\"") && !value.contains("tried"), "{value}");
        }
        assert_eq!(response.number("x-ratelimit-limit")?, 4);
        if status == 429 {
            let problem = response.problem(429, "limit.exceeded")?;
            let violated = problem.get("violated-policies");
            assert_eq!(violated, Some(&serde_json::json!(["burst"])));
        }
        let line = gateway.access_line(response.required("x-request-id")?).await?;
        let said = |name: &str| line.get(name).unwrap_or(&serde_json::Value::Null);
        assert_eq!(said("rateLimit"), "burst");
        assert_eq!(*said("rateLimited"), status == 429);
        let by_shadow = said("rateLimitShadow").as_str();
        if number < 2 {
            assert_eq!(by_shadow, None, "request {number}");
        } else if status == 200 {
            assert_eq!(by_shadow, Some("tried"), "request {number}");
        }
    }
    let near = |value: f64, expected: f64| (value - expected).abs() < 0.1;
    assert!(near(counted(gateway, "tried", "allowed").await?, 2.0));
    let shadowed = [("limit", "tried"), ("decision", "shadow_limited"), ("counter", counter)];
    assert!(gateway.metric(DECISIONS, &shadowed).await? > 1.9);
    assert!(near(counted(gateway, "tried", "limited").await?, 0.0));
    assert!(near(counted(gateway, "burst", "limited").await?, 2.0));
    Ok(())
}

/// D13: what a limit would do is known before it is enforced.
#[tokio::test]
async fn a_limit_in_shadow_counts_and_never_refuses() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let rest = limits("local") + &open_route("rateLimit: [tried, burst]");
    let local = gateway(api(&[origin.address()]) + &rest).start().await?;
    try_out(&local, "local").await?;
    let config = api(&[origin.address()]) + &redis_at(&redis) + &rest;
    let shared = gateway(config).start().await?;
    try_out(&shared, "redis").await?;
    Ok(())
}

#[tokio::test]
async fn an_enforced_refusal_takes_nothing_from_a_limit_in_shadow() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let config = api(&[origin.address()])
        + &redis_at(&redis)
        + "rateLimits:\n  \
           narrow: {algorithm: token_bucket, capacity: 1, refillPerSecond: 0.001, \
             mode: exact, key: [clientIp, routeName]}\n  \
           tried: {algorithm: token_bucket, capacity: 2, refillPerSecond: 0.001, \
             mode: exact, shadow: true, key: [clientIp]}\n\
           policies: {auth: none, rateLimit: [narrow, tried]}\n\
           routes:\n  \
           - {name: one, match: {pathPrefix: /one}, upstream: {service: api}}\n  \
           - {name: two, match: {pathPrefix: /two}, upstream: {service: api}}\n";
    let gateway = gateway(config).start().await?;
    for status in [200, 429, 429, 429] {
        gateway.get("/one").await?.expect(status)?;
    }
    // Had the refused requests been counted, this one would have found the shadow empty.
    let second = gateway.get("/two").await?.expect(200)?;
    let line = gateway.access_line(second.required("x-request-id")?).await?;
    assert_eq!(line["rateLimitShadow"], serde_json::Value::Null);
    Ok(())
}

/// A limit that may not refuse anybody may not close a route either.
#[tokio::test]
async fn a_limit_in_shadow_refuses_nobody_while_redis_is_away() -> Outcome {
    let (origin, mut redis) = (Origin::start("api").await?, Redis::start().await?);
    let config = api(&[origin.address()])
        + &redis_at(&redis)
        + &limits("closed")
        + &open_route("rateLimit: tried");
    let gateway = gateway(config).start().await?;
    gateway.get("/").await?.expect(200)?;
    redis.kill().await?;
    for _ in 0..4 {
        let response = gateway.get("/").await?.expect(200)?;
        assert_eq!(response.header("ratelimit-policy"), None);
    }
    assert!(counted(&gateway, "tried", "unavailable").await? < 0.5);
    Ok(())
}
