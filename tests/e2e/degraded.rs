//! What happens while Redis is away, slow, or was never there.

use std::time::Duration;

use tidegate_kit::{Gateway, Origin, Outcome, Redis, Result};

use crate::{api, gateway};

/// Routes whose limits differ in their failure mode only. Each limit admits 3.
fn modes(redis: &str) -> String {
    let limit = |mode: &str| {
        format!(
            "  {mode}: {{algorithm: token_bucket, capacity: 3, refillPerSecond: 0.001, \
             key: [clientIp], failureMode: {mode}}}\n"
        )
    };
    let route = |mode: &str| {
        format!(
            "  - {{name: {mode}, match: {{pathPrefix: /{mode}}}, upstream: {{service: api}}, \
             policies: {{auth: none, rateLimit: {mode}}}}}\n"
        )
    };
    let all = ["open", "closed", "local"];
    format!("{redis}rateLimits:\n{}routes:\n{}", all.map(limit).concat(), all.map(route).concat())
}

/// `redis` with a breaker that opens after `failures` and closes again soon.
fn redis_at(redis: &Redis, failures: u32, open_for: &str) -> String {
    format!(
        "redis: {{url: \"{}\", timeout: 500ms, breaker: {{failures: {failures}, \
         openFor: {open_for}}}}}\n",
        redis.url()
    )
}

async fn statuses(gateway: &Gateway, target: &str, count: usize) -> Result<Vec<u16>> {
    let mut statuses = Vec::with_capacity(count);
    for _ in 0..count {
        statuses.push(gateway.get(target).await?.status);
    }
    Ok(statuses)
}

/// R069 to R073: each limit fails as its route asked.
#[tokio::test]
async fn open_lets_pass_closed_refuses_local_counts() -> Outcome {
    let (origin, mut redis) = (Origin::start("api").await?, Redis::start().await?);
    let config = api(&[origin.address()]) + &modes(&redis_at(&redis, 5, "30s"));
    let gateway = gateway(config).start().await?;
    redis.kill().await?;

    assert_eq!(statuses(&gateway, "/open", 6).await?, [200; 6]);
    assert_eq!(statuses(&gateway, "/local", 5).await?, [200, 200, 200, 429, 429]);
    let refused = gateway.get("/closed").await?;
    refused.problem(503, "limit.unavailable")?;
    assert!(refused.number("retry-after")? >= 1);
    assert_eq!(refused.header("x-ratelimit-remaining"), None);

    let open = gateway.get("/open").await?.expect(200)?;
    assert_eq!(open.header("x-ratelimit-remaining"), None, "nobody counted");
    let line = gateway.access_line(open.required("x-request-id")?).await?;
    assert_eq!(line["rateLimitDegraded"], true);
    assert!(gateway.metric("tidegate_limit_counting_locally", &[]).await? > 0.5);
    let told = gateway.log().matches("Redis is away").count();
    assert_eq!(told, 1, "said once, not for every request");
    Ok(())
}

/// R074: after so many failures Redis is left alone, and requests are fast again.
#[tokio::test]
async fn a_breaker_spares_a_redis_that_hangs() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let config = api(&[origin.address()]) + &modes(&redis_at(&redis, 3, "60s"));
    let gateway = gateway(config).start().await?;
    gateway.get("/open").await?.expect(200)?;
    redis.freeze()?;
    for _ in 0..3 {
        let slow = gateway.get("/open").await?.expect(200)?;
        assert!(slow.took >= Duration::from_millis(400), "{:?}", slow.took);
        assert!(slow.took < Duration::from_millis(1500), "{:?}", slow.took);
    }
    assert!(gateway.metric("tidegate_limit_breaker_open", &[]).await? > 0.5);
    for _ in 0..10 {
        let fast = gateway.get("/open").await?.expect(200)?;
        assert!(fast.took < Duration::from_millis(400), "{:?}", fast.took);
    }
    let failures = gateway.metric("tidegate_limit_redis_failures_total", &[]).await?;
    assert!((failures - 3.0).abs() < 0.1, "{failures}");
    redis.thaw()?;
    Ok(())
}

#[tokio::test]
async fn limits_are_shared_again_once_redis_is_back() -> Outcome {
    let (origin, mut redis) = (Origin::start("api").await?, Redis::start().await?);
    let config = api(&[origin.address()]) + &modes(&redis_at(&redis, 2, "1s"));
    let gateway = gateway(config).start().await?;
    redis.kill().await?;
    statuses(&gateway, "/open", 3).await?;
    assert!(gateway.metric("tidegate_limit_breaker_open", &[]).await? > 0.5);
    redis.restart().await?;
    tidegate_kit::wait::until("limits to be shared again", async || {
        gateway.get("/open").await.ok()?;
        let here = gateway.metric("tidegate_limit_counting_locally", &[]).await.ok()?;
        (here < 0.5).then_some(())
    })
    .await?;
    assert!(gateway.metric("tidegate_limit_breaker_open", &[]).await? < 0.5);
    let keys = redis.query(&["DBSIZE"]).await?.number();
    assert!(keys.is_some_and(|count| count > 0), "counted in Redis again");
    Ok(())
}

/// A Redis that was restarted has forgotten the script.
#[tokio::test]
async fn a_redis_without_the_script_is_taught_it() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let config = api(&[origin.address()]) + &modes(&redis_at(&redis, 5, "30s"));
    let gateway = gateway(config).start().await?;
    gateway.get("/closed").await?.expect(200)?;
    redis.query(&["SCRIPT", "FLUSH"]).await?;
    gateway.get("/closed").await?.expect(200)?;
    assert!(gateway.metric("tidegate_limit_redis_failures_total", &[]).await? < 0.5);
    Ok(())
}

#[tokio::test]
async fn the_gateway_starts_without_its_redis() -> Outcome {
    let (origin, mut redis) = (Origin::start("api").await?, Redis::start().await?);
    redis.kill().await?;
    let config = api(&[origin.address()]) + &modes(&redis_at(&redis, 1, "1s"));
    let gateway = gateway(config).start().await?;
    gateway.admin_get("/readyz").await?.expect(200)?;
    assert_eq!(statuses(&gateway, "/local", 4).await?, [200, 200, 200, 429]);
    assert!(gateway.metric("tidegate_limit_counting_locally", &[]).await? > 0.5);
    Ok(())
}

#[tokio::test]
async fn without_redis_in_the_configuration_limits_count_here_and_it_is_said_once() -> Outcome {
    let origin = Origin::start("api").await?;
    let gateway = gateway(api(&[origin.address()]) + &modes("")).start().await?;
    for mode in ["/open", "/closed", "/local"] {
        assert_eq!(statuses(&gateway, mode, 4).await?, [200, 200, 200, 429], "{mode}");
    }
    assert!(gateway.metric("tidegate_limit_counting_locally", &[]).await? > 0.5);
    assert_eq!(gateway.log().matches("no Redis is configured").count(), 1);
    Ok(())
}
