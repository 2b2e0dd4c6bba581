//! Four gateways, one Redis, 64 connections that are spread unevenly: all together admit what the
//! limit says, whichever gateway a client meets.

use std::collections::BTreeMap;

use tidegate_kit::{Error, Gateway, Outcome, RawConnection, Redis, Request, Result, wait};
use tokio::task::JoinSet;

use crate::gateway;

/// Connections to each of the four gateways.
const SPREAD: [usize; 4] = [40, 16, 6, 2];

/// Requests that passed by tokens which their gateway held.
const LEASED: [(&str, &str); 3] =
    [("limit", "shared"), ("decision", "allowed"), ("counter", "lease")];

/// Gateways that answer by themselves: what is counted is the limit, not the way to a service.
/// Redis has time enough on a busy machine, so that every count is Redis's.
async fn fleet(redis: &Redis, mode: &str, capacity: u32) -> Result<Vec<Gateway>> {
    let config = format!(
        "redis: {{url: \"{}\", timeout: 10s}}\n\
         rateLimits:\n  shared: {{algorithm: token_bucket, capacity: {capacity}, \
         refillPerSecond: 0.0001, key: [\"header:x-trial\"], mode: {mode}}}\n\
         routes:\n  - {{name: all, match: {{pathPrefix: /}}, respond: {{status: 200}}, \
         policies: {{auth: none, rateLimit: shared}}}}\n",
        redis.url()
    );
    let mut gateways = Vec::with_capacity(SPREAD.len());
    for _ in SPREAD {
        gateways.push(gateway(&*config).start().await?);
    }
    Ok(gateways)
}

/// Every connection asks `each` times in every trial; returns how many passed in each trial.
async fn admitted(
    gateways: &[Gateway],
    trials: usize,
    each: usize,
) -> Result<BTreeMap<usize, u64>> {
    let mut clients = JoinSet::new();
    for (gateway, connections) in gateways.iter().zip(SPREAD) {
        for _ in 0..connections {
            clients.spawn(client(gateway.address(), trials, each));
        }
    }
    let mut admitted = BTreeMap::new();
    while let Some(client) = clients.join_next().await {
        let passed = client.map_err(|error| Error::new(error.to_string()))??;
        for (trial, passed) in passed.into_iter().enumerate() {
            *admitted.entry(trial).or_default() += passed;
        }
    }
    Ok(admitted)
}

async fn client(address: std::net::SocketAddr, trials: usize, each: usize) -> Result<Vec<u64>> {
    let mut connection = RawConnection::connect(address).await?;
    let mut passed = vec![0; trials];
    for (trial, passed) in passed.iter_mut().enumerate() {
        let request = Request::get("/").header("x-trial", &trial.to_string());
        for _ in 0..each {
            match connection.request(&request).await?.status {
                200 => *passed += 1,
                429 => {}
                other => return Err(Error::new(format!("trial {trial}: {other}"))),
            }
        }
    }
    Ok(passed)
}

/// R064, R065: exactly the limit, in a thousand trials.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_thousand_trials_admit_exactly_the_limit() -> Outcome {
    let redis = Redis::start().await?;
    let gateways = fleet(&redis, "exact", 20).await?;
    let admitted = admitted(&gateways, 1_000, 1).await?;
    assert_eq!(admitted.len(), 1_000);
    for (trial, passed) in admitted {
        assert_eq!(passed, 20, "trial {trial}");
    }
    Ok(())
}

/// R064, R075, C4: never more than the limit and what all nodes may hold in advance, and no less
/// than the limit without that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn leases_keep_within_the_stated_bound() -> Outcome {
    const LIMIT: u64 = 1_000;
    const OVERAGE: u64 = 50;
    let redis = Redis::start().await?;
    let gateways = fleet(&redis, "leased", 1_000).await?;
    for gateway in &gateways {
        let mut trial = 0;
        let leases = async || {
            // Each time another counter, so that none is used up before anything is held.
            trial += 1;
            let request = Request::get("/").header("x-trial", &format!("before-{trial}"));
            for _ in 0..10 {
                gateway.send(&request).await.ok()?;
            }
            let leased = gateway.metric("tidegate_limit_decisions_total", &LEASED).await.ok()?;
            (leased > 0.5).then_some(())
        };
        wait::until("the gateway spends from a lease", leases).await?;
    }
    let admitted = admitted(&gateways, 25, 25).await?;
    for (trial, passed) in admitted {
        assert!((LIMIT - OVERAGE..=LIMIT + OVERAGE).contains(&passed), "trial {trial}: {passed}");
    }
    let leased = gateways[0].metric("tidegate_limit_decisions_total", &LEASED).await?;
    assert!(leased > 1_000.0, "most of it came from leases: {leased}");
    Ok(())
}
