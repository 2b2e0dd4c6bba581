//! Limits in mode `leased`: few calls to Redis, and no more admitted than the bound.

use tidegate_kit::{Error, Gateway, Origin, Outcome, RawConnection, Redis, Request, Result, wait};

use crate::{api, gateway, open_route};

/// A thousand an hour, of which nodes may hold fifty.
fn config(origin: &Origin, redis: &Redis) -> String {
    api(&[origin.address()])
        + &format!("redis: {{url: \"{}\", timeout: 5s}}\n", redis.url())
        + "rateLimits:\n  hourly: {limit: 1000, window: 1h, key: [\"header:x-client\"], overage: 5%}\n"
        + &open_route("rateLimit: hourly")
}

/// Sends this many requests one after the other; returns how many passed.
async fn send(gateway: &Gateway, client: &str, count: u32) -> Result<u32> {
    let mut connection = RawConnection::connect(gateway.address()).await?;
    let mut passed = 0;
    for _ in 0..count {
        match connection.request(&Request::get("/").header("x-client", client)).await?.status {
            200 => passed += 1,
            429 => {}
            other => return Err(Error::new(format!("status {other}"))),
        }
    }
    Ok(passed)
}

/// Sends requests until the gateway takes tokens in advance: once it is sure which other nodes
/// do. Each time they are those of another client, so that none is used up.
async fn lends(gateway: &Gateway) -> Result<()> {
    let mut client = 0;
    wait::until("a lease", async || {
        client += 1;
        send(gateway, &format!("before-{client}"), 10).await.ok()?;
        let leases = [("counter", "lease")];
        let spent = gateway.metric("tidegate_limit_decisions_total", &leases).await.ok()?;
        (spent > 0.5).then_some(())
    })
    .await
}

/// How often Redis ran a script by its hash.
async fn calls(redis: &Redis) -> Result<u32> {
    let text = redis.query(&["INFO", "commandstats"]).await?.texts().concat();
    let calls = text.split("cmdstat_evalsha:calls=").nth(1).and_then(|rest| rest.split(',').next());
    Ok(calls.and_then(|calls| calls.parse().ok()).unwrap_or(0))
}

/// D9: two hundred requests are not two hundred calls; C4: and the limit holds.
#[tokio::test]
async fn a_busy_client_needs_few_calls_to_redis() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let gateway = gateway(config(&origin, &redis)).start().await?;
    lends(&gateway).await?;
    let before = calls(&redis).await?;
    let mut passed = send(&gateway, "one", 200).await?;
    let needed = calls(&redis).await? - before;
    // A node that is asked slowly takes little in advance; on any machine it is far from one
    // call a request.
    assert!(needed < 150, "{needed} calls for 200 requests");
    passed += send(&gateway, "one", 1_000).await?;
    assert!(passed <= 1_000, "{passed}");
    let labels = [("limit", "hourly"), ("counter", "lease")];
    let leased = gateway.metric("tidegate_limit_decisions_total", &labels).await?;
    assert!(leased > 100.0, "{leased}");
    // What was not admitted was held and not needed; nothing else is missing.
    let lost = gateway.metric("tidegate_limit_lease_expired_total", &[]).await?
        + gateway.metric("tidegate_limit_lease_given_back_total", &[]).await?;
    assert!(f64::from(passed) + lost >= 1_000.0 - 0.5, "{passed} passed, {lost} lost");
    Ok(())
}

/// R064, R075: whichever node is asked, all together stay within the bound.
#[tokio::test]
async fn two_gateways_admit_no_more_than_the_bound() -> Outcome {
    let (origin, redis) = (Origin::start("api").await?, Redis::start().await?);
    let config = config(&origin, &redis);
    let (one, two) = (gateway(&*config).start().await?, gateway(&*config).start().await?);
    tokio::try_join!(lends(&one), lends(&two))?;
    let (first, second) = tokio::try_join!(send(&one, "one", 900), send(&two, "one", 500))?;
    let passed = first + second;
    assert!((950..=1_050).contains(&passed), "{passed}");
    Ok(())
}
